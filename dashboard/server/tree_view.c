/* A call tree as the page gets it; see tree_view.h. Workers' threads. */
#include "tree_view.h"

#include <si/si.h>
#include <stdlib.h>

/* ---- Pruning: the smallest totals go, never a caller of what stays ---- */

typedef struct pruning {
    int64_t least; /* totals below are hidden */
    uint64_t hidden;
    int64_t hidden_value;
} pruning;

static int64_t magnitude(int64_t value) {
    return value < 0 ? (value == INT64_MIN ? INT64_MAX : -value) : value;
}

int64_t si__branch_weight(const si__branch *branch) {
    int64_t total = magnitude(branch->total),
            count = branch->total_count > INT64_MAX ? INT64_MAX : (int64_t)branch->total_count;
    return total ? total : count;
}

static int by_weight(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static int choose_least(const si__branch *branches, size_t count, size_t limit, pruning *p) {
    if (count <= limit) return SI_OK;
    int64_t *weights = malloc(count * sizeof *weights);
    if (!weights) return SI_ENOMEM;
    for (size_t i = 0; i < count; i++) weights[i] = si__branch_weight(&branches[i]);
    qsort(weights, count, sizeof *weights, by_weight);
    p->least = weights[limit] + 1;
    free(weights);
    return SI_OK;
}

/* ---- Writing ---- */

typedef struct writing {
    si__json_writer *json;
    si__tree_view *view;
    uint32_t *frame_ids;
} writing;

static const si__entry *base_of(const si__tree_view *w, uint32_t node) {
    size_t low = 0, high = w->base_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w->base[middle].node < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < w->base_count && w->base[low].node == node ? &w->base[low] : NULL;
}

static void put_frame(writing *w, uint32_t frame) {
    si__frame_row row = {"", "", "", 0};
    if (frame) w->view->name(w->view->name_arg, frame, &row);
    si__json_array_begin(w->json, NULL);
    si__json_put_string(w->json, NULL, row.function);
    si__json_put_string(w->json, NULL, row.file);
    si__json_put_uint(w->json, NULL, row.line);
    si__json_put_string(w->json, NULL, row.module);
    si__json_array_end(w->json);
}

static int by_frame(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The frames of the visible branches, each once, in order of their ids. */
static size_t collect_frames(writing *w) {
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < w->view->count; i++)
        if (w->view->place[i] != UINT32_MAX) w->frame_ids[n++] = w->view->branches[i].frame;
    qsort(w->frame_ids, n, sizeof *w->frame_ids, by_frame);
    for (size_t i = 0; i < n; i++)
        if (!kept || w->frame_ids[kept - 1] != w->frame_ids[i]) w->frame_ids[kept++] = w->frame_ids[i];
    si__json_array_begin(w->json, "frames");
    for (size_t i = 0; i < kept; i++) put_frame(w, w->frame_ids[i]);
    si__json_array_end(w->json);
    return kept;
}

static void put_nodes(writing *w, size_t frames) {
    si__json_array_begin(w->json, "nodes");
    for (size_t i = 0; i < w->view->count; i++) {
        if (w->view->place[i] == UINT32_MAX) continue;
        const si__branch *branch = &w->view->branches[i];
        const uint32_t *frame = bsearch(&branch->frame, w->frame_ids, frames, sizeof *w->frame_ids, by_frame);
        si__json_array_begin(w->json, NULL);
        if (i == 0)
            si__json_put_int(w->json, NULL, -1);
        else
            si__json_put_uint(w->json, NULL, w->view->place[branch->parent]);
        si__json_put_uint(w->json, NULL, frame ? (uint64_t)(frame - w->frame_ids) : 0);
        si__json_put_int(w->json, NULL, branch->self);
        si__json_put_uint(w->json, NULL, branch->self_count);
        const si__entry *base = w->view->base ? base_of(w->view, branch->node) : NULL;
        if (w->view->base) si__json_put_int(w->json, NULL, base ? base->value : 0);
        si__json_array_end(w->json);
    }
    si__json_array_end(w->json);
    if (w->view->without_ids) return;
    si__json_array_begin(w->json, "ids");
    for (size_t i = 0; i < w->view->count; i++)
        if (w->view->place[i] != UINT32_MAX) si__json_put_uint(w->json, NULL, w->view->branches[i].node);
    si__json_array_end(w->json);
}

/* Of each node that is shown [p50, p95, p99, samples, calls], durations in ns; null where they are not known. */
static void put_percentiles(const writing *w) {
    si__json_array_begin(w->json, "percentiles");
    for (size_t i = 0; i < w->view->count; i++) {
        const si__call_figures *of = &w->view->figures[i];
        if (w->view->place[i] == UINT32_MAX) continue;
        if (!of->samples) {
            si__json_put_null(w->json, NULL);
            continue;
        }
        si__json_array_begin(w->json, NULL);
        si__json_put_number(w->json, NULL, of->p50_ns);
        si__json_put_number(w->json, NULL, of->p95_ns);
        si__json_put_number(w->json, NULL, of->p99_ns);
        si__json_put_uint(w->json, NULL, of->samples);
        si__json_put_uint(w->json, NULL, of->calls);
        si__json_array_end(w->json);
    }
    si__json_array_end(w->json);
}

static double share_of(int64_t part, int64_t whole) {
    return whole ? (double)magnitude(part) / (double)magnitude(whole) : 0;
}

void si__tree_view_write(si__json_writer *json, si__tree_view *view) {
    pruning p = {0};
    uint32_t next = 0;
    writing w = {json, view, malloc((view->count + 1) * sizeof *w.frame_ids)};
    view->place = malloc((view->count + 1) * sizeof *view->place);
    if (!view->place || !w.frame_ids || choose_least(view->branches, view->count, view->limit, &p)) {
        json->failed = 1;
        free(w.frame_ids);
        return;
    }
    for (size_t i = 0; i < view->count; i++) {
        const si__branch *branch = &view->branches[i];
        int keep = i == 0 || (si__branch_weight(branch) >= p.least && view->place[branch->parent] != UINT32_MAX);
        view->place[i] = keep ? next++ : UINT32_MAX;
        if (keep) continue;
        p.hidden++;
        p.hidden_value = si__wrap_add(p.hidden_value, branch->self);
    }
    put_nodes(&w, collect_frames(&w));
    if (view->figures) put_percentiles(&w);
    si__json_object_begin(json, "hidden");
    si__json_put_uint(json, "nodes", p.hidden);
    si__json_put_int(json, "value", p.hidden_value);
    si__json_put_number(json, "share", share_of(p.hidden_value, view->count ? view->branches[0].total : 0));
    si__json_object_end(json);
    free(w.frame_ids);
}

void si__tree_view_stored(void *reader, uint32_t frame, si__frame_row *row) {
    if (si__read_frame(reader, frame, row)) *row = (si__frame_row){"?", "", "", 0};
}
