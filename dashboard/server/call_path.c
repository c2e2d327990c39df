/* Durations by call path; see call_path.h. */
#include "call_path.h"

#include <si/si.h>
#include <stdlib.h>

/* ---- Columns ---- */

static int by_place(const void *a, const void *b) {
    const si__spread_view *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

int si__call_paths_encode(const uint8_t *spreads, size_t length, const uint32_t *ids, si__spread_writer *out) {
    si__spread_view *views = NULL, view;
    size_t count = 0, capacity = 0;
    si__spread_reader reader = {.at = spreads, .end = spreads + length};
    int next = 0, failed = SI_OK;
    while (!failed && (next = si__spread_next(&reader, &view)) == 1) {
        if (count == capacity) {
            capacity = capacity * 2 + 64;
            si__spread_view *more = realloc(views, capacity * sizeof *more);
            if (!more) {
                failed = SI_ENOMEM;
                break;
            }
            views = more;
        }
        view.place = ids[view.place]; /* over the store's caps, several places are one node */
        views[count++] = view;
    }
    if (!failed && next < 0) failed = next;
    if (!failed && count) qsort(views, count, sizeof *views, by_place);
    for (size_t i = 0; i < count && !failed; i++)
        si__spread_write_encoded(out, views[i].place, views[i].samples, views[i].sketch, views[i].sketch_bytes);
    free(views);
    return failed ? failed : out->failed ? SI_ENOMEM : SI_OK;
}

static uint32_t node_hash(const void *owner, uint32_t item) {
    const si__call_paths *paths = owner;
    return si__hash64(paths->nodes[item]);
}

/* The number of a node among the paths; SI__INDEX_NONE: there is none. */
static uint32_t find(const si__call_paths *paths, uint32_t node) {
    uint32_t position = si__hash64(node), item;
    while ((item = si__index_next(&paths->index, &position)) != SI__INDEX_NONE && paths->nodes[item] != node) {}
    return item;
}

static uint32_t find_or_make(si__call_paths *paths, uint32_t node) {
    uint32_t item = find(paths, node);
    if (item != SI__INDEX_NONE) return item;
    if (paths->count == paths->capacity) {
        size_t wanted = paths->capacity * 2 + 64;
        uint32_t *more = realloc(paths->nodes, wanted * sizeof *more);
        if (!more) return SI__INDEX_NONE;
        paths->nodes = more;
        paths->capacity = wanted;
    }
    if (si__index_reserve(&paths->index, node_hash, paths)) return SI__INDEX_NONE;
    item = (uint32_t)paths->count++;
    paths->nodes[item] = node;
    si__index_put(&paths->index, si__hash64(node), item);
    return item;
}

int si__call_paths_add(si__call_paths *paths, const uint8_t *column, size_t length) {
    si__spread_reader reader = {.at = column, .end = column + length};
    si__spread_view view;
    int next, failed = SI_OK;
    while (!failed && (next = si__spread_next(&reader, &view)) != 0) {
        if (next < 0) return next;
        uint32_t item = find_or_make(paths, view.place);
        failed = item == SI__INDEX_NONE
                     ? SI_ENOMEM
                     : si__spreads_add_encoded(&paths->spreads, item, view.sketch, view.sketch_bytes, view.samples);
    }
    return failed;
}

typedef struct numbered {
    uint32_t node, item;
} numbered;

static int by_node(const void *a, const void *b) {
    const numbered *x = a, *y = b;
    return (x->node > y->node) - (x->node < y->node);
}

int si__call_paths_column(const si__call_paths *paths, si__spread_writer *out) {
    numbered *order = malloc((paths->count + 1) * sizeof *order);
    if (!order) return SI_ENOMEM;
    for (size_t i = 0; i < paths->count; i++) order[i] = (numbered){paths->nodes[i], (uint32_t)i};
    qsort(order, paths->count, sizeof *order, by_node);
    for (size_t i = 0; i < paths->count; i++) {
        const si__spread *spread = si__spreads_at(&paths->spreads, order[i].item);
        if (spread) si__spread_write(out, order[i].node, spread);
    }
    free(order);
    return out->failed ? SI_ENOMEM : SI_OK;
}

void si__call_paths_clear(si__call_paths *paths) {
    si__spreads_clear(&paths->spreads);
    si__index_free(&paths->index);
    free(paths->nodes);
    *paths = (si__call_paths){0};
}

/* ---- Figures ---- */

void si__call_figures_set(si__call_figures *figures, const si__sketch *sketch, uint64_t samples) {
    *figures = (si__call_figures){.p50_ns = si__sketch_quantile(sketch, 0.5),
                                  .p95_ns = si__sketch_quantile(sketch, 0.95),
                                  .p99_ns = si__sketch_quantile(sketch, 0.99),
                                  .samples = samples,
                                  .calls = si__sketch_count(sketch)};
}

/* From the leaves up: what is below a branch is in it when its turn comes, and is needed no longer. */
static int add_up(const si__call_paths *paths, const si__branch *branches, size_t count, si__spreads *sums,
                  si__call_figures *figures) {
    for (size_t i = count; i-- > 0;) {
        uint32_t item = find(paths, branches[i].node);
        const si__spread *own = item == SI__INDEX_NONE ? NULL : si__spreads_at(&paths->spreads, item);
        if (own && si__spreads_add(sums, (uint32_t)i, own->sketch, own->samples)) return SI_ENOMEM;
        const si__spread *sum = si__spreads_at(sums, i);
        if (!sum) continue;
        si__call_figures_set(&figures[i], sum->sketch, sum->samples);
        if (i && si__spreads_add(sums, branches[i].parent, sum->sketch, sum->samples)) return SI_ENOMEM;
        si__spreads_drop(sums, i);
    }
    return SI_OK;
}

si__call_figures *si__call_figures_of(const si__call_paths *paths, const si__branch *branches, size_t count) {
    si__call_figures *figures = calloc(count + 1, sizeof *figures);
    si__spreads sums = {0};
    if (figures && add_up(paths, branches, count, &sums, figures)) {
        free(figures);
        figures = NULL;
    }
    si__spreads_clear(&sums);
    return figures;
}
