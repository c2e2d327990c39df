/* Where nodes are in the call tree; see places.h. Readers' threads, and the writer's when it is idle. */
#include "places.h"

#include <si/si.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BATCH 1024 /* nodes are made in bunches, so neighbours are asked for together */

struct si__places {
    _Atomic uint64_t *slots; /* parent << 32 | frame; 0: not known yet. Address space only until touched */
};

si__places *si__places_new(void) {
    si__places *places = calloc(1, sizeof *places);
    if (!places) return NULL;
    void *memory = mmap(NULL, (size_t)SI__PLACES_LIMIT * sizeof *places->slots, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        free(places);
        return NULL;
    }
    places->slots = memory;
    return places;
}

void si__places_free(si__places *places) {
    if (!places) return;
    munmap((void *)places->slots, (size_t)SI__PLACES_LIMIT * sizeof *places->slots);
    free(places);
}

static void load_batch(si__places *places, si__db *db, uint32_t node) {
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,parent,frame FROM node WHERE id BETWEEN ? AND ?");
    int64_t from = node - node % BATCH;
    si__db_bind(read, "ii", from, from + BATCH - 1);
    while (si__db_step(db, read) == 1) {
        int64_t id = sqlite3_column_int64(read, 0);
        uint64_t place = (uint64_t)sqlite3_column_int64(read, 1) << 32 | (uint32_t)sqlite3_column_int64(read, 2);
        if (id > 0 && id < SI__PLACES_LIMIT) atomic_store_explicit(&places->slots[id], place, memory_order_relaxed);
    }
}

si__place si__places_get(si__places *places, si__db *db, uint32_t node) {
    if (node == 0 || node >= SI__PLACES_LIMIT) return (si__place){0, 0};
    uint64_t place = atomic_load_explicit(&places->slots[node], memory_order_relaxed);
    if (!place) {
        load_batch(places, db, node);
        place = atomic_load_explicit(&places->slots[node], memory_order_relaxed);
    }
    return (si__place){(uint32_t)(place >> 32), (uint32_t)place};
}

/* ---- Trees ---- */

/* Nodes as bits, and how many stand before each word: the place of a node among those that are set, at once. */
typedef struct node_set {
    uint64_t *words;
    uint32_t *before;
    size_t word_count, count;
} node_set;

static int has(const node_set *set, uint32_t node) {
    return (set->words[node / 64] >> (node % 64) & 1) != 0;
}

static uint32_t place_of(const node_set *set, uint32_t node) {
    uint64_t below = set->words[node / 64] & ((1ull << (node % 64)) - 1);
    return set->before[node / 64] + (uint32_t)__builtin_popcountll(below);
}

/* The entries' nodes with all their callers, up to the root. 0 or SI_ENOMEM. */
static int collect(si__places *places, si__db *db, const si__entry *entries, size_t count, node_set *set) {
    set->word_count =
        (count ? entries[count - 1].node : 0) / 64 + 1; /* callers have smaller numbers than what they call */
    set->words = calloc(set->word_count, sizeof *set->words);
    set->before = calloc(set->word_count, sizeof *set->before);
    if (!set->words || !set->before) return SI_ENOMEM;
    set->words[0] = 1; /* the root */
    for (size_t i = 0; i < count; i++) {
        for (uint32_t node = entries[i].node; !has(set, node);) {
            set->words[node / 64] |= 1ull << (node % 64);
            uint32_t parent = si__places_get(places, db, node).parent;
            node = parent < node ? parent : 0; /* a damaged row cannot send us round in circles */
        }
    }
    for (size_t i = 0; i < set->word_count; i++) {
        set->before[i] = (uint32_t)set->count;
        set->count += (size_t)__builtin_popcountll(set->words[i]);
    }
    return SI_OK;
}

static void fill(si__places *places, si__db *db, const node_set *set, const si__entry *entries, size_t count,
                 si__branch *branches) {
    size_t n = 0;
    for (size_t i = 0; i < set->word_count; i++)
        for (uint64_t left = set->words[i]; left; left &= left - 1)
            branches[n++].node = (uint32_t)(i * 64 + (size_t)__builtin_ctzll(left));
    for (size_t i = 0; i < count; i++) {
        si__branch *branch = &branches[place_of(set, entries[i].node)];
        branch->self = branch->total = entries[i].value;
        branch->self_count = branch->total_count = entries[i].count;
    }
    for (size_t i = n; i-- > 1;) { /* callees before their callers: totals go up */
        si__place place = si__places_get(places, db, branches[i].node);
        branches[i].frame = place.frame;
        branches[i].parent = place.parent < branches[i].node ? place_of(set, place.parent) : 0;
        si__branch *caller = &branches[branches[i].parent];
        caller->total = si__wrap_add(caller->total, branches[i].total);
        caller->total_count += branches[i].total_count;
    }
}

int si__places_tree(si__places *places, si__db *db, const si__sum *sum, si__branch **out, size_t *count) {
    size_t own = si__sum_count(sum);
    node_set set = {0};
    si__entry *entries = malloc((own + 1) * sizeof *entries);
    int failed = entries ? SI_OK : SI_ENOMEM;
    if (entries) si__sum_entries(sum, entries);
    failed = failed ? failed : collect(places, db, entries, own, &set);
    *out = failed ? NULL : calloc(set.count, sizeof **out);
    if (*out) fill(places, db, &set, entries, own, *out);
    *count = set.count;
    free(entries);
    free(set.words);
    free(set.before);
    return *out ? SI_OK : SI_ENOMEM;
}
