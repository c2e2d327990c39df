/*
 * Call trees with symbols. Made by profile/resolve.c on the worker thread and by the report decoder; read by reports,
 * rules, folded output and the dashboard, each by one owner at a time.
 */
#include "calltree.h"

#include <stdlib.h>
#include <string.h>

#include "index.h"
#include "si/si.h"
#include "strings.h"

enum { NODE_CAP = 1000000 };

struct si__calltree {
    si__strings *strings;
    si__frame *frames;
    size_t frame_count, frame_capacity;
    si__index frame_index;
    si__node *nodes;
    size_t node_count, node_capacity;
    si__index node_index;
    si__spreads spreads; /* by node */
    int64_t total_value;
    uint64_t total_count;
};

/* Values come from reports too: a hostile one must not overflow into undefined behaviour. */
static int64_t add_value(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return b < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

static uint64_t add_count(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* Strings are interned, so a frame is known by its pointers. */
static uint32_t frame_hash(const si__frame *frame) {
    uint32_t hash = si__hash64((uintptr_t)frame->function);
    hash = si__hash64((uintptr_t)frame->file + hash);
    return si__hash64((uintptr_t)frame->module + ((uint64_t)hash << 32 | frame->line));
}

static uint32_t frame_item_hash(const void *owner, uint32_t item) {
    const si__calltree *tree = owner;
    return frame_hash(&tree->frames[item]);
}

static uint32_t node_hash(uint32_t parent, uint32_t frame) {
    return si__hash64((uint64_t)parent << 32 | frame);
}

static uint32_t node_item_hash(const void *owner, uint32_t item) {
    const si__calltree *tree = owner;
    return node_hash(tree->nodes[item].parent, tree->nodes[item].frame);
}

/* Room for one more of `size` bytes in a growing array. Returns the array, moved perhaps, or NULL. */
static void *grow(void *items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return items;
    size_t wanted = *capacity ? *capacity + *capacity / 2 + 8 : 16;
    void *grown = realloc(items, wanted * size);
    if (grown) *capacity = wanted;
    return grown;
}

si__calltree *si__calltree_new(void) {
    si__calltree *tree = calloc(1, sizeof *tree);
    if (!tree) return NULL;
    tree->strings = si__strings_new();
    tree->nodes = grow(NULL, 0, &tree->node_capacity, sizeof *tree->nodes);
    if (!tree->strings || !tree->nodes) {
        si__calltree_free(tree);
        return NULL;
    }
    tree->nodes[0] = (si__node){.parent = 0, .frame = UINT32_MAX};
    tree->node_count = 1;
    return tree;
}

void si__calltree_free(si__calltree *tree) {
    if (!tree) return;
    si__strings_free(tree->strings);
    si__index_free(&tree->frame_index);
    si__index_free(&tree->node_index);
    si__spreads_clear(&tree->spreads);
    free(tree->frames);
    free(tree->nodes);
    free(tree);
}

uint32_t si__calltree_frame(si__calltree *tree, const char *function, const char *file, uint32_t line,
                            const char *module) {
    si__frame frame = {.line = line};
    frame.function = si__strings_intern(tree->strings, function && *function ? function : "[unknown]");
    frame.file = si__strings_intern(tree->strings, file ? file : "");
    frame.module = si__strings_intern(tree->strings, module ? module : "");
    if (!frame.function || !frame.file || !frame.module) return UINT32_MAX;

    uint32_t hash = frame_hash(&frame), position = hash, item;
    while ((item = si__index_next(&tree->frame_index, &position)) != SI__INDEX_NONE) {
        const si__frame *f = &tree->frames[item];
        if (f->function == frame.function && f->file == frame.file && f->module == frame.module && f->line == line)
            return item;
    }
    if (tree->frame_count >= NODE_CAP) return UINT32_MAX;
    void *frames = grow(tree->frames, tree->frame_count, &tree->frame_capacity, sizeof *tree->frames);
    if (!frames) return UINT32_MAX;
    tree->frames = frames;
    if (si__index_reserve(&tree->frame_index, frame_item_hash, tree)) return UINT32_MAX;
    item = (uint32_t)tree->frame_count++;
    tree->frames[item] = frame;
    si__index_put(&tree->frame_index, hash, item);
    return item;
}

uint32_t si__calltree_child(si__calltree *tree, uint32_t parent, uint32_t frame) {
    if (parent >= tree->node_count || frame >= tree->frame_count) return UINT32_MAX;
    uint32_t hash = node_hash(parent, frame), position = hash, item;
    while ((item = si__index_next(&tree->node_index, &position)) != SI__INDEX_NONE)
        if (tree->nodes[item].parent == parent && tree->nodes[item].frame == frame) return item;

    if (tree->node_count >= NODE_CAP) return UINT32_MAX;
    void *nodes = grow(tree->nodes, tree->node_count, &tree->node_capacity, sizeof *tree->nodes);
    if (!nodes) return UINT32_MAX;
    tree->nodes = nodes;
    if (si__index_reserve(&tree->node_index, node_item_hash, tree)) return UINT32_MAX;
    item = (uint32_t)tree->node_count++;
    tree->nodes[item] = (si__node){.parent = parent, .frame = frame};
    si__index_put(&tree->node_index, hash, item);
    return item;
}

void si__calltree_add(si__calltree *tree, uint32_t node, int64_t value, uint64_t count) {
    if (node >= tree->node_count) return;
    si__node *n = &tree->nodes[node];
    n->self_value = add_value(n->self_value, value);
    n->self_count = add_count(n->self_count, count);
    tree->total_value = add_value(tree->total_value, value);
    tree->total_count = add_count(tree->total_count, count);
}

int si__calltree_spread_add(si__calltree *tree, uint32_t node, const si__sketch *sketch, uint64_t samples) {
    return node < tree->node_count ? si__spreads_add(&tree->spreads, node, sketch, samples) : SI_EINVAL;
}

const si__spread *si__calltree_spread_at(const si__calltree *tree, size_t node) {
    return si__spreads_at(&tree->spreads, node);
}

size_t si__calltree_frame_count(const si__calltree *tree) {
    return tree->frame_count;
}
size_t si__calltree_node_count(const si__calltree *tree) {
    return tree->node_count;
}

const si__frame *si__calltree_frame_at(const si__calltree *tree, size_t index) {
    return index < tree->frame_count ? &tree->frames[index] : NULL;
}

const si__node *si__calltree_node_at(const si__calltree *tree, size_t index) {
    return index < tree->node_count ? &tree->nodes[index] : NULL;
}

int64_t si__calltree_total_value(const si__calltree *tree) {
    return tree->total_value;
}
uint64_t si__calltree_total_count(const si__calltree *tree) {
    return tree->total_count;
}

size_t si__calltree_bytes(const si__calltree *tree) {
    size_t slots = (tree->frame_index.slots ? (size_t)tree->frame_index.mask + 1 : 0) +
                   (tree->node_index.slots ? (size_t)tree->node_index.mask + 1 : 0);
    return sizeof *tree + si__strings_bytes(tree->strings) + tree->frame_capacity * sizeof *tree->frames +
           tree->node_capacity * sizeof *tree->nodes + slots * sizeof(uint32_t);
}

/* Finds or makes every frame of `from` in `into`. */
static int map_frames(si__calltree *into, const si__calltree *from, uint32_t *frames) {
    for (size_t i = 0; i < from->frame_count; i++) {
        const si__frame *f = &from->frames[i];
        frames[i] = si__calltree_frame(into, f->function, f->file, f->line, f->module);
        if (frames[i] == UINT32_MAX) return SI_ENOMEM;
    }
    return 0;
}

int si__calltree_merge(si__calltree *into, const si__calltree *from) {
    int result = SI_ENOMEM;
    uint32_t *frames = calloc(from->frame_count + 1, sizeof *frames);
    uint32_t *nodes = calloc(from->node_count, sizeof *nodes); /* node of `from` -> node of `into`; the root is 0 */
    if (!frames || !nodes || map_frames(into, from, frames)) goto done;

    /* First the shape, then the values: a merge that fails has changed no value. */
    for (size_t i = 1; i < from->node_count; i++) {
        const si__node *n = &from->nodes[i];
        nodes[i] = si__calltree_child(into, nodes[n->parent], frames[n->frame]);
        if (nodes[i] != UINT32_MAX) continue;
        if (into->node_count < NODE_CAP) goto done;
        nodes[i] = nodes[n->parent]; /* full: the caller keeps the value, so that totals stay true */
    }
    for (size_t i = 0; i < from->node_count; i++)
        si__calltree_add(into, nodes[i], from->nodes[i].self_value, from->nodes[i].self_count);
    for (size_t i = 0; i < from->spreads.count; i++) {
        const si__spread *spread = si__spreads_at(&from->spreads, i);
        if (spread) (void)si__spreads_add(&into->spreads, nodes[i], spread->sketch, spread->samples);
    }
    result = 0;
done:
    free(frames);
    free(nodes);
    return result;
}
