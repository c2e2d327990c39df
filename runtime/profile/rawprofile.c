/* Raw profiles: exported on the loop thread, used and freed on the worker thread. */
#include "rawprofile.h"

#include <stdlib.h>

#define UNSEEN UINT32_MAX

/* Numbers, 1 + old -> new: what was marked, in the old order. Returns how many. */
static uint32_t renumber(uint32_t *map, size_t count, uint32_t first) {
    uint32_t next = first;
    for (size_t i = first; i < count; i++) map[i] = map[i] ? next++ : UNSEEN;
    return next;
}

typedef struct maps {
    uint32_t *nodes, *locations, *binaries;
    size_t location_limit, binary_limit;
} maps;

/* Marks every node, location and binary that the profile uses. */
static void mark(const si__stacks *stacks, const si__profile *profile, maps *m) {
    for (size_t i = 0; i < si__profile_count(profile); i++) {
        uint32_t node = si__profile_at(profile, i)->node;
        while (node && node < si__stacks_node_count(stacks) && !m->nodes[node]) {
            const si__stack_node *n = si__stacks_node(stacks, node);
            m->nodes[node] = 1;
            m->locations[n->location] = 1;
            m->binaries[si__stacks_location(stacks, n->location)->binary] = 1;
            node = n->parent;
        }
    }
}

static int copy(const si__stacks *stacks, const si__profile *profile, si__rawprofile *raw, const maps *m) {
    size_t table_nodes = si__stacks_node_count(stacks);
    raw->nodes = calloc(raw->node_count, sizeof *raw->nodes);
    raw->locations = calloc(raw->location_count + 1, sizeof *raw->locations);
    raw->binaries = calloc(raw->binary_count, sizeof(si__binary *));
    raw->names = calloc(si__stacks_name_count(stacks) + 1, sizeof *raw->names);
    if (!raw->nodes || !raw->locations || !raw->binaries || !raw->names) return -1;
    for (uint32_t i = 1; i < m->binary_limit; i++) {
        if (m->binaries[i] == UNSEEN) continue;
        si__binary *binary = si__stacks_binary(stacks, i);
        si__binary_retain(binary);
        raw->binaries[m->binaries[i]] = binary;
    }
    for (uint32_t i = 0; i < m->location_limit; i++) {
        if (m->locations[i] == UNSEEN) continue;
        si__location *l = &raw->locations[m->locations[i]];
        *l = *si__stacks_location(stacks, i);
        l->binary = m->binaries[l->binary];
        if (!l->binary && l->offset >= SI__SPECIALS) {
            si__frame_name *name = si__stacks_name(stacks, l->offset - SI__SPECIALS);
            raw->names[raw->name_count] = si__frame_name_retain(name);
            l->offset = SI__SPECIALS + raw->name_count++;
        }
    }
    for (uint32_t i = 1; i < table_nodes; i++) {
        if (m->nodes[i] == UNSEEN) continue;
        const si__stack_node *n = si__stacks_node(stacks, i);
        raw->nodes[m->nodes[i]] = (si__raw_node){m->nodes[n->parent], m->locations[n->location], 0, 0};
    }
    for (size_t i = 0; i < si__profile_count(profile); i++) {
        const si__profile_entry *e = si__profile_at(profile, i);
        uint32_t to = e->node < table_nodes ? m->nodes[e->node] : 0;
        si__raw_node *n = &raw->nodes[to];
        const si__spread *spread = si__profile_spread_at(profile, i);
        if (spread && si__spreads_add(&raw->spreads, to, spread->sketch, spread->samples)) return -1;
        n->self_value += e->value; /* the sums cannot overflow where their total did not */
        n->self_count += e->count;
    }
    raw->total_value = si__profile_total_value(profile);
    raw->total_count = si__profile_total_count(profile);
    return 0;
}

si__rawprofile *si__rawprofile_new(const si__stacks *stacks, const si__profile *profile) {
    si__rawprofile *raw = calloc(1, sizeof *raw);
    maps m = {.location_limit = si__stacks_location_count(stacks), .binary_limit = si__stacks_binary_count(stacks)};
    size_t table_nodes = si__stacks_node_count(stacks);
    m.nodes = calloc(table_nodes, sizeof *m.nodes);
    m.locations = calloc(m.location_limit, sizeof *m.locations);
    m.binaries = calloc(m.binary_limit, sizeof *m.binaries);
    int failed = !raw || !m.nodes || !m.locations || !m.binaries;
    if (!failed) {
        mark(stacks, profile, &m);
        m.nodes[0] = 0;    /* the root stays 0 */
        m.binaries[0] = 0; /* and "no binary" too */
        raw->node_count = renumber(m.nodes, table_nodes, 1);
        raw->location_count = renumber(m.locations, m.location_limit, 0);
        raw->binary_count = renumber(m.binaries, m.binary_limit, 1);
        failed = copy(stacks, profile, raw, &m);
    }
    free(m.nodes);
    free(m.locations);
    free(m.binaries);
    if (!failed) return raw;
    si__rawprofile_free(raw);
    return NULL;
}

void si__rawprofile_free(si__rawprofile *raw) {
    if (!raw) return;
    for (size_t i = 1; raw->binaries && i < raw->binary_count; i++) si__binary_release(raw->binaries[i]);
    for (size_t i = 0; i < raw->name_count; i++) si__frame_name_release(raw->names[i]);
    si__spreads_clear(&raw->spreads);
    free(raw->names);
    free(raw->binaries);
    free(raw->locations);
    free(raw->nodes);
    free(raw);
}
