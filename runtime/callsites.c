/* Inclusive totals per function. Worker thread; linear in nodes times depth. */
#include "callsites.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int same_function(const si__frame *a, const si__frame *b) {
    return strcmp(a->function, b->function) == 0 && strcmp(a->module, b->module) == 0;
}

/* Frames differ by line too; group[f] is the first frame with the same function and module. */
static uint32_t *group_frames(const si__calltree *tree) {
    size_t count = si__calltree_frame_count(tree), slots = 16;
    while (slots < count * 2) slots *= 2;
    uint32_t *group = malloc((count + 1) * sizeof *group), *table = calloc(slots, sizeof *table);
    for (size_t f = 0; group && table && f < count; f++) {
        const si__frame *frame = si__calltree_frame_at(tree, f);
        size_t hash = 5381;
        for (const char *c = frame->function; *c; c++) hash = hash * 33 ^ (unsigned char)*c;
        size_t at = hash & (slots - 1);
        while (table[at] && !same_function(si__calltree_frame_at(tree, table[at] - 1), frame))
            at = (at + 1) & (slots - 1);
        if (!table[at]) table[at] = (uint32_t)f + 1;
        group[f] = table[at] - 1;
    }
    int complete = group && table;
    free(table);
    if (complete) return group;
    free(group);
    return NULL;
}

static int is_below_itself(const si__calltree *tree, const uint32_t *group, size_t node) {
    uint32_t own = group[si__calltree_node_at(tree, node)->frame];
    for (uint32_t up = si__calltree_node_at(tree, node)->parent; up; up = si__calltree_node_at(tree, up)->parent)
        if (group[si__calltree_node_at(tree, up)->frame] == own) return 1;
    return 0;
}

static size_t insert(si__callsite *out, size_t count, size_t cap, const si__frame *frame, int64_t total) {
    if (count == cap && total <= out[count - 1].total) return count;
    size_t at = count < cap ? count++ : cap - 1;
    while (at > 0 && out[at - 1].total < total) {
        out[at] = out[at - 1];
        at--;
    }
    snprintf(out[at].name, sizeof out[at].name, "%.120s%s%.30s%s", frame->function, *frame->module ? " (" : "",
             frame->module, *frame->module ? ")" : "");
    out[at].total = total;
    return count;
}

/* Whether a frame only allocates for somebody else. */
static int is_allocating(const si__frame *frame) {
    static const char *const prefixes[] = {"std::", "__gnu_cxx::", "operator new", "void std::", "void* std::"};
    static const char *const modules[] = {"libc.so", "libstdc++", "libc++", "libjemalloc", "libtcmalloc", "ld-linux"};
    static const char *const names[] = {"xmalloc", "xcalloc", "xrealloc", "xstrdup", "xmemdup", "l_alloc"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(frame->function, prefixes[i], strlen(prefixes[i])) == 0) return 1;
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (strncmp(frame->module, modules[i], strlen(modules[i])) == 0) return 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(frame->function, names[i]) == 0) return 1;
    return 0;
}

static void add_inclusive(const si__calltree *tree, const uint32_t *group, int64_t *subtree, int64_t *totals) {
    size_t nodes = si__calltree_node_count(tree);
    for (size_t n = nodes; n-- > 1;) { /* children come after their parents */
        const si__node *node = si__calltree_node_at(tree, n);
        subtree[n] += node->self_value;
        subtree[node->parent] += subtree[n];
    }
    for (size_t n = 1; n < nodes; n++)
        if (!is_below_itself(tree, group, n)) totals[group[si__calltree_node_at(tree, n)->frame]] += subtree[n];
}

static void add_origins(const si__calltree *tree, const uint32_t *group, int64_t *totals) {
    size_t nodes = si__calltree_node_count(tree);
    for (size_t n = 1; n < nodes; n++) {
        int64_t value = si__calltree_node_at(tree, n)->self_value;
        size_t at = n;
        while (value && at && is_allocating(si__calltree_frame_at(tree, si__calltree_node_at(tree, at)->frame)))
            at = si__calltree_node_at(tree, at)->parent;
        if (value) totals[group[si__calltree_node_at(tree, at ? at : n)->frame]] += value;
    }
}

size_t si__callsites_top(const si__calltree *tree, si__callsite_rule rule, si__callsite *out, size_t cap) {
    size_t nodes = si__calltree_node_count(tree), frames = si__calltree_frame_count(tree), count = 0;
    int64_t *subtree = calloc(nodes + 1, sizeof *subtree), *totals = calloc(frames + 1, sizeof *totals);
    uint32_t *group = group_frames(tree);
    if (subtree && totals && group && cap) {
        if (rule == SI__CALLSITE_INCLUSIVE)
            add_inclusive(tree, group, subtree, totals);
        else
            add_origins(tree, group, totals);
        for (size_t f = 0; f < frames; f++)
            if (group[f] == f && totals[f] > 0)
                count = insert(out, count, cap, si__calltree_frame_at(tree, f), totals[f]);
    }
    free(subtree);
    free(totals);
    free(group);
    return count;
}
