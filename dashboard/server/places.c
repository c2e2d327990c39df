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

static int by_node(const void *a, const void *b) {
    uint32_t x = ((const si__branch *)a)->node, y = ((const si__branch *)b)->node;
    return (x > y) - (x < y);
}

/* Callers have smaller numbers than what they call, so sorted by number callers come first. */
static size_t index_of(const si__branch *branches, size_t count, uint32_t node) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (branches[middle].node < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Adds every caller that is not in the sum itself, with nothing of its own. */
static int add_callers(si__places *places, si__db *db, si__sum *all, const si__entry *entries, size_t count) {
    if (si__sum_add(all, 0, 0, 0)) return SI_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        uint32_t node = entries[i].node;
        size_t before;
        do {
            before = si__sum_count(all);
            if (si__sum_add(all, node, 0, 0)) return SI_ENOMEM;
            uint32_t parent = si__places_get(places, db, node).parent;
            node = parent < node ? parent : 0; /* a damaged row cannot send us round in circles */
        } while (node && si__sum_count(all) > before);
    }
    for (size_t i = 0; i < count; i++)
        if (si__sum_add(all, entries[i].node, entries[i].count, entries[i].value)) return SI_ENOMEM;
    return SI_OK;
}

int si__places_tree(si__places *places, si__db *db, const si__sum *sum, si__branch **out, size_t *count) {
    size_t own = si__sum_count(sum), n = 0;
    si__sum *all = si__sum_new();
    si__entry *entries = malloc((own + 1) * sizeof *entries);
    si__branch *branches = NULL;
    int failed = all && entries ? SI_OK : SI_ENOMEM;
    if (!failed) {
        si__sum_entries(sum, entries);
        failed = add_callers(places, db, all, entries, own);
    }
    if (!failed) {
        n = si__sum_count(all);
        free(entries);
        entries = malloc(n * sizeof *entries);
        branches = calloc(n, sizeof *branches);
        failed = entries && branches ? SI_OK : SI_ENOMEM;
    }
    if (!failed) {
        si__sum_entries(all, entries);
        for (size_t i = 0; i < n; i++)
            branches[i] = (si__branch){entries[i].node, 0, 0, entries[i].value, entries[i].value, entries[i].count,
                                       entries[i].count};
        qsort(branches, n, sizeof *branches, by_node);
        for (size_t i = n; i-- > 1;) {
            si__place place = si__places_get(places, db, branches[i].node);
            branches[i].frame = place.frame;
            branches[i].parent = (uint32_t)(place.parent < branches[i].node ? index_of(branches, i, place.parent) : 0);
            si__branch *caller = &branches[branches[i].parent];
            caller->total = si__wrap_add(caller->total, branches[i].total);
            caller->total_count += branches[i].total_count;
        }
    }
    si__sum_free(all);
    free(entries);
    if (failed)
        free(branches);
    else
        *out = branches;
    *count = n;
    return failed;
}
