/*
 * The stack table. Called for every sample drained from a ring, on the loop thread: a cache from pc to location saves
 * the search for the module, and nodes are found by hash. No system call, no file, and no allocation once a stack is
 * known.
 */
#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "../../collectors/native/region.h"
#include "index.h"
#include "profile.h"
#include "si/si.h"

enum { DEFAULT_NODE_CAP = 262144, CACHE_SLOTS = 4096, CALLERS_SLOTS = 2048, FULL_NODE = 1, NAMES_MAX = 65536 };

/* The growing part: rebuilt whole by collect. Locations 0..SI__SPECIALS-1 are the specials, in their order. */
typedef struct table {
    si__stack_node *nodes;
    size_t node_count, node_capacity;
    si__index node_index;
    si__location *locations;
    size_t location_count, location_capacity;
    si__index location_index;
    si__binary **binaries; /* [0] is NULL; each a reference */
    size_t binary_count, binary_capacity;
    si__frame_name **names; /* each a reference */
    size_t name_count, name_capacity;
    si__index name_index;
} table;

/* Remembers what a pc of a space is. key: pc, with the top bit set when exact. */
typedef struct cached {
    uint64_t key;
    uint32_t space;
    uint32_t location; /* with TRAMPOLINE and OURS */
} cached;

/* Remembers where the callers of a leaf ended up: samples of one function differ in their leaf, hardly in its callers.
   Known by 128 bits of hash; a chance match is not to be expected in the life of a machine. */
typedef struct known_callers {
    uint64_t hash[2];
    uint32_t node; /* 0: empty */
} known_callers;

#define TRAMPOLINE 0x80000000u
#define OURS 0x40000000u /* a function of ours that stands before the program's call: not shown among its callers */
#define EXACT_KEY (1ull << 63)

struct si__stacks {
    table t;
    size_t node_cap, location_cap;
    uint64_t refused;
    cached cache[CACHE_SLOTS];
    known_callers callers[CALLERS_SLOTS];
};

const char *si__special_name(uint64_t special) {
    static const char *const names[] = {"[anonymous]", "[kernel]", "[truncated]", "[stack table full]"};
    return special < sizeof names / sizeof *names ? names[special] : "[unknown]";
}

static uint32_t node_hash(uint32_t parent, uint32_t location) {
    return si__hash64((uint64_t)parent << 32 | location);
}

static uint32_t node_item_hash(const void *owner, uint32_t item) {
    const table *t = owner;
    return node_hash(t->nodes[item].parent, t->nodes[item].location);
}

static uint32_t location_hash(uint64_t offset, uint32_t binary, uint32_t flags) {
    return si__hash64(offset * 2 + flags + ((uint64_t)binary << 44));
}

static uint32_t location_item_hash(const void *owner, uint32_t item) {
    const table *t = owner;
    return location_hash(t->locations[item].offset, t->locations[item].binary, t->locations[item].flags);
}

static void *grow(void *items, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return items;
    size_t wanted = *capacity + *capacity / 2 + 64;
    void *grown = realloc(items, wanted * size);
    if (grown) *capacity = wanted;
    return grown;
}

/* The child of parent at location, made if there is room. UINT32_MAX: none. */
static inline uint32_t node_child(table *t, size_t cap, uint32_t parent, uint32_t location) {
    uint32_t hash = node_hash(parent, location), position = hash, item;
    while ((item = si__index_next(&t->node_index, &position)) != SI__INDEX_NONE)
        if (t->nodes[item].parent == parent && t->nodes[item].location == location) return item;

    if (t->node_count >= cap) return UINT32_MAX;
    void *nodes = grow(t->nodes, t->node_count, &t->node_capacity, sizeof *t->nodes);
    if (!nodes) return UINT32_MAX;
    t->nodes = nodes;
    if (si__index_reserve(&t->node_index, node_item_hash, t)) return UINT32_MAX;
    item = (uint32_t)t->node_count++;
    t->nodes[item] = (si__stack_node){parent, location};
    si__index_put(&t->node_index, hash, item);
    return item;
}

static uint32_t location_intern(table *t, size_t cap, uint64_t offset, uint32_t binary, uint32_t flags) {
    uint32_t hash = location_hash(offset, binary, flags), position = hash, item;
    while ((item = si__index_next(&t->location_index, &position)) != SI__INDEX_NONE) {
        const si__location *l = &t->locations[item];
        if (l->offset == offset && l->binary == binary && l->flags == flags) return item;
    }
    if (t->location_count >= cap) return UINT32_MAX;
    void *locations = grow(t->locations, t->location_count, &t->location_capacity, sizeof *t->locations);
    if (!locations) return UINT32_MAX;
    t->locations = locations;
    if (si__index_reserve(&t->location_index, location_item_hash, t)) return UINT32_MAX;
    item = (uint32_t)t->location_count++;
    t->locations[item] = (si__location){offset, binary, flags};
    si__index_put(&t->location_index, hash, item);
    return item;
}

/* The number of a binary; takes a reference when it is new. 0: out of memory. */
static uint32_t binary_number(table *t, si__binary *binary) {
    for (size_t i = 1; i < t->binary_count; i++)
        if (t->binaries[i] == binary) return (uint32_t)i;
    void *binaries = grow(t->binaries, t->binary_count, &t->binary_capacity, sizeof *t->binaries);
    if (!binaries) return 0;
    t->binaries = binaries;
    si__binary_retain(binary);
    t->binaries[t->binary_count] = binary;
    return (uint32_t)t->binary_count++;
}

static uint32_t name_item_hash(const void *owner, uint32_t item) {
    return ((const table *)owner)->names[item]->hash;
}

/* The number of a name; takes over the reference. UINT32_MAX: no room. */
static uint32_t name_number(table *t, si__frame_name *name) {
    uint32_t position = name->hash, item;
    while ((item = si__index_next(&t->name_index, &position)) != SI__INDEX_NONE) {
        if (!si__frame_name_equal(t->names[item], name)) continue;
        si__frame_name_release(name);
        return item;
    }
    void *names = t->name_count < NAMES_MAX ? grow(t->names, t->name_count, &t->name_capacity, sizeof *t->names) : NULL;
    if (names) t->names = names;
    if (!names || si__index_reserve(&t->name_index, name_item_hash, t)) {
        si__frame_name_release(name);
        return UINT32_MAX;
    }
    item = (uint32_t)t->name_count++;
    t->names[item] = name;
    si__index_put(&t->name_index, name->hash, item);
    return item;
}

static void table_free(table *t) {
    for (size_t i = 1; i < t->binary_count; i++) si__binary_release(t->binaries[i]);
    for (size_t i = 0; i < t->name_count; i++) si__frame_name_release(t->names[i]);
    free(t->names);
    si__index_free(&t->name_index);
    free(t->binaries);
    free(t->nodes);
    free(t->locations);
    si__index_free(&t->node_index);
    si__index_free(&t->location_index);
    *t = (table){0};
}

/* An empty table: root, the node for what finds no room, and the specials. */
static int table_init(table *t) {
    *t = (table){0};
    t->nodes = grow(NULL, 0, &t->node_capacity, sizeof *t->nodes);
    t->binaries = grow(NULL, 0, &t->binary_capacity, sizeof *t->binaries);
    if (!t->nodes || !t->binaries) goto fail;
    t->nodes[0] = (si__stack_node){0, UINT32_MAX};
    t->node_count = 1;
    t->binaries[0] = NULL;
    t->binary_count = 1;
    for (uint32_t special = 0; special < SI__SPECIALS; special++)
        if (location_intern(t, SI__SPECIALS, special, 0, SI__LOCATION_EXACT) != special) goto fail;
    if (node_child(t, 2, 0, SI__SPECIAL_FULL) != FULL_NODE) goto fail;
    return 0;
fail:
    table_free(t);
    return SI_ENOMEM;
}

si__stacks *si__stacks_new(size_t node_cap) {
    si__stacks *stacks = calloc(1, sizeof *stacks);
    if (!stacks) return NULL;
    stacks->node_cap = node_cap ? node_cap : DEFAULT_NODE_CAP;
    if (stacks->node_cap > UINT32_MAX / 4) stacks->node_cap = UINT32_MAX / 4;
    stacks->location_cap = stacks->node_cap / 2 + SI__SPECIALS;
    if (table_init(&stacks->t)) {
        free(stacks);
        return NULL;
    }
    return stacks;
}

void si__stacks_free(si__stacks *stacks) {
    if (!stacks) return;
    table_free(&stacks->t);
    free(stacks);
}

/* The location of a frame that has a name instead of an address. UINT32_MAX: no room. */
static uint32_t locate_name(si__stacks *stacks, const si__space *space, uint64_t pc) {
    si__frame_name *name = si__frame_name_copy(space->names, (uint32_t)pc);
    if (!name) return SI__SPECIAL_ANONYMOUS;
    uint32_t number = name_number(&stacks->t, name);
    if (number == UINT32_MAX) return number;
    return location_intern(&stacks->t, stacks->location_cap, SI__SPECIALS + (uint64_t)number, 0, SI__LOCATION_EXACT);
}

static int is_ours(const si__binary *binary) {
    return strncmp(binary->name, "libsi-probe.so", 14) == 0 || strncmp(binary->name, "libsi.so", 8) == 0;
}

/* What a pc is, the long way. UINT32_MAX: no room. */
static uint32_t locate_slowly(si__stacks *stacks, const si__space *space, uint64_t pc, int exact) {
    const si__mapping *m = si__space_find(space, exact ? pc : pc - 1);
    if (!m || !m->binary) return SI__SPECIAL_ANONYMOUS;
    uint64_t offset = pc - m->start + m->file_offset;
    /* The trampoline that a handler returns to was not called: nothing lies before its first instruction. */
    uint32_t trampoline = offset == m->binary->sigreturn_offset ? TRAMPOLINE : 0;
    uint32_t binary = binary_number(&stacks->t, m->binary);
    if (!binary) return UINT32_MAX;
    uint32_t flags = exact || trampoline ? SI__LOCATION_EXACT : 0;
    uint32_t location = location_intern(&stacks->t, stacks->location_cap, offset, binary, flags);
    return location == UINT32_MAX ? location : location | trampoline | (is_ours(m->binary) ? OURS : 0);
}

static inline uint32_t locate(si__stacks *stacks, const si__space *space, uint64_t pc, int exact) {
    int named = si__pc_is_name(pc);
    if (!named && (pc & EXACT_KEY)) return SI__SPECIAL_KERNEL;
    uint64_t key = exact || named ? pc | EXACT_KEY : pc;
    cached *c = &stacks->cache[si__hash64(key) % CACHE_SLOTS];
    if (c->key == key && c->space == (uint32_t)space->serial) return c->location;
    uint32_t location = named ? locate_name(stacks, space, pc) : locate_slowly(stacks, space, pc, exact);
    if (location != UINT32_MAX) *c = (cached){key, (uint32_t)space->serial, location};
    return location;
}

/* Fills locations leaf first; returns their number, or SIZE_MAX when there was no room. `exact`: pcs[0] is the
 * instruction. */
static size_t locate_all(si__stacks *stacks, const si__space *space, const uint64_t *pcs, size_t count, int exact,
                         uint32_t *locations) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t location = locate(stacks, space, pcs[i], exact);
        if (location == UINT32_MAX) return SIZE_MAX;
        int skipped = (location & OURS) && !exact;
        exact = (location & TRAMPOLINE) != 0; /* what a signal has interrupted */
        location &= ~(TRAMPOLINE | OURS);
        if (skipped) continue;
        if (location == SI__SPECIAL_ANONYMOUS && used && locations[used - 1] == location) continue;
        locations[used++] = location;
    }
    return used;
}

/* The node of the innermost of pcs, found or made frame by frame. UINT32_MAX: no room. */
static uint32_t intern_slowly(si__stacks *stacks, const si__space *space, const uint64_t *pcs, size_t count, int exact,
                              int truncated) {
    uint32_t locations[SI__FRAMES_MAX];
    size_t used = locate_all(stacks, space, pcs, count, exact, locations);
    if (used == SIZE_MAX) return UINT32_MAX;
    uint32_t node = truncated ? node_child(&stacks->t, stacks->node_cap, 0, SI__SPECIAL_TRUNCATED) : 0;
    for (size_t i = used; i-- > 0 && node != UINT32_MAX;)
        node = node_child(&stacks->t, stacks->node_cap, node, locations[i]);
    return node;
}

/* The node of a leaf's callers. UINT32_MAX: no room. */
static uint32_t intern_callers(si__stacks *stacks, const si__space *space, const uint64_t *pcs, size_t count,
                               int truncated) {
    uint64_t a = space->serial * 2 + (uint64_t)truncated, b = count;
    for (size_t i = 0; i < count; i++) {
        __uint128_t product = (__uint128_t)(a ^ pcs[i]) * 0x9e3779b97f4a7c15ull;
        a = (uint64_t)product ^ (uint64_t)(product >> 64);
        b = (b + pcs[i]) * 0xd6e8feb86659fd93ull;
        b ^= b >> 32;
    }
    known_callers *known = &stacks->callers[a % CALLERS_SLOTS];
    if (known->node && known->hash[0] == a && known->hash[1] == b) return known->node;
    uint32_t node = intern_slowly(stacks, space, pcs, count, 0, truncated);
    if (node != UINT32_MAX && node != 0) *known = (known_callers){{a, b}, node};
    return node;
}

uint32_t si__stacks_intern(si__stacks *stacks, const si__space *space, const uint64_t *pcs, size_t count,
                           unsigned event_flags) {
    if (count == 0) return 0;
    int truncated = count > SI__FRAMES_MAX || (event_flags & SI__STACK_TRUNCATED);
    if (count > SI__FRAMES_MAX) count = SI__FRAMES_MAX;

    uint32_t leaf = locate(stacks, space, pcs[0], 1), node = UINT32_MAX;
    if (leaf != UINT32_MAX) leaf &= ~OURS;           /* time that we take is shown as ours */
    if (leaf != UINT32_MAX && (leaf & TRAMPOLINE)) { /* sampled on the trampoline: its caller is exact */
        node = intern_slowly(stacks, space, pcs, count, 1, truncated);
    } else if (leaf != UINT32_MAX) {
        node = intern_callers(stacks, space, pcs + 1, count - 1, truncated);
        int joined = leaf == SI__SPECIAL_ANONYMOUS && node != UINT32_MAX && node != 0 &&
                     stacks->t.nodes[node].location == SI__SPECIAL_ANONYMOUS;
        if (node != UINT32_MAX && !joined) node = node_child(&stacks->t, stacks->node_cap, node, leaf);
    }
    if (node != UINT32_MAX) return node;
    stacks->refused++;
    return FULL_NODE;
}

double si__stacks_fill(const si__stacks *stacks) {
    double nodes = (double)stacks->t.node_count / (double)stacks->node_cap;
    double locations = (double)stacks->t.location_count / (double)stacks->location_cap;
    return nodes > locations ? nodes : locations;
}

uint64_t si__stacks_refused(const si__stacks *stacks) {
    return stacks->refused;
}

/* Marks a node in map (1), with all its ancestors. */
static void mark_node(const table *t, uint32_t node, uint32_t *map) {
    while (node && node < t->node_count && !map[node]) {
        map[node] = 1;
        node = t->nodes[node].parent;
    }
}

static void mark(const table *t, si__profile *const *profiles, size_t count, const si__node_list *lists,
                 size_t list_count, uint32_t *map) {
    for (size_t p = 0; p < count; p++)
        for (size_t i = 0; i < si__profile_count(profiles[p]); i++)
            mark_node(t, si__profile_at(profiles[p], i)->node, map);
    for (size_t l = 0; l < list_count; l++)
        for (size_t i = 0; i < lists[l].count; i++) mark_node(t, lists[l].nodes[i], map);
}

/* Copies the marked nodes to `fresh`; map becomes old node -> new node. */
static int copy_marked(const table *old, size_t node_cap, size_t location_cap, table *fresh, uint32_t *map) {
    for (size_t i = 1; i < old->node_count; i++) {
        if (!map[i]) continue;
        const si__stack_node *n = &old->nodes[i];
        const si__location *l = &old->locations[n->location];
        uint32_t binary = l->binary ? binary_number(fresh, old->binaries[l->binary]) : 0;
        if (l->binary && !binary) return SI_ENOMEM;
        uint64_t offset = l->offset;
        if (!l->binary && offset >= SI__SPECIALS) {
            uint32_t number = name_number(fresh, si__frame_name_retain(old->names[offset - SI__SPECIALS]));
            if (number == UINT32_MAX) return SI_ENOMEM;
            offset = SI__SPECIALS + (uint64_t)number;
        }
        uint32_t location = location_intern(fresh, location_cap, offset, binary, l->flags);
        if (location == UINT32_MAX) return SI_ENOMEM;
        map[i] = node_child(fresh, node_cap, map[n->parent], location);
        if (map[i] == UINT32_MAX) return SI_ENOMEM;
    }
    return 0;
}

int si__stacks_collect(si__stacks *stacks, si__profile *const *profiles, size_t count, const si__node_list *lists,
                       size_t list_count) {
    table fresh;
    uint32_t *map = calloc(stacks->t.node_count, sizeof *map);
    if (!map) return SI_ENOMEM;
    int result = table_init(&fresh);
    if (!result) {
        mark(&stacks->t, profiles, count, lists, list_count, map);
        result = copy_marked(&stacks->t, stacks->node_cap, stacks->location_cap, &fresh, map);
        if (result) table_free(&fresh);
    }
    if (!result) {
        for (size_t p = 0; p < count; p++) si__profile_renumber(profiles[p], map, stacks->t.node_count);
        for (size_t l = 0; l < list_count; l++)
            for (size_t i = 0; i < lists[l].count; i++) {
                uint32_t *node = &lists[l].nodes[i];
                *node = *node < stacks->t.node_count ? map[*node] : 0;
            }
        table_free(&stacks->t);
        stacks->t = fresh;
        memset(stacks->cache, 0, sizeof stacks->cache);
        memset(stacks->callers, 0, sizeof stacks->callers);
    }
    free(map);
    return result;
}

size_t si__stacks_node_count(const si__stacks *stacks) {
    return stacks->t.node_count;
}

const si__stack_node *si__stacks_node(const si__stacks *stacks, uint32_t node) {
    return node < stacks->t.node_count ? &stacks->t.nodes[node] : NULL;
}

const si__location *si__stacks_location(const si__stacks *stacks, uint32_t number) {
    return number < stacks->t.location_count ? &stacks->t.locations[number] : NULL;
}

si__binary *si__stacks_binary(const si__stacks *stacks, uint32_t number) {
    return number < stacks->t.binary_count ? stacks->t.binaries[number] : NULL;
}

si__frame_name *si__stacks_name(const si__stacks *stacks, uint64_t number) {
    return number < stacks->t.name_count ? stacks->t.names[number] : NULL;
}

size_t si__stacks_name_count(const si__stacks *stacks) {
    return stacks->t.name_count;
}

size_t si__stacks_location_count(const si__stacks *stacks) {
    return stacks->t.location_count;
}
size_t si__stacks_binary_count(const si__stacks *stacks) {
    return stacks->t.binary_count;
}

size_t si__stacks_bytes(const si__stacks *stacks) {
    const table *t = &stacks->t;
    size_t slots = (t->node_index.slots ? (size_t)t->node_index.mask + 1 : 0) +
                   (t->location_index.slots ? (size_t)t->location_index.mask + 1 : 0);
    return sizeof *stacks + t->node_capacity * sizeof *t->nodes + t->location_capacity * sizeof *t->locations +
           t->name_capacity * sizeof *t->names + t->name_count * sizeof **t->names +
           t->binary_capacity * sizeof *t->binaries + slots * sizeof(uint32_t);
}
