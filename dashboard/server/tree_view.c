/* A call tree as the page gets it; see tree_view.h. Workers' threads. */
#include "tree_view.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

/* ---- Pruning: the smallest totals go, never a caller of what stays ---- */

typedef struct pruning {
    int64_t *weights; /* per branch */
    int64_t *bases;   /* a base's own values per branch; NULL: no base */
    int64_t least;    /* weights below are hidden, */
    size_t ties;      /* and of those that weigh just this much all but the first so many */
    uint64_t hidden;
    int64_t hidden_value, hidden_base;
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

static int64_t scaled(int64_t value, double factor) {
    double product = (double)magnitude(value) * factor;
    return product >= 9e18 ? INT64_MAX : (int64_t)product;
}

/* The base's own values, and weights that are the larger of both sides. */
static int weigh_base(const si__tree_view *view, pruning *p) {
    int64_t *totals = calloc(view->count + 1, sizeof *totals);
    p->bases = malloc((view->count + 1) * sizeof *p->bases);
    if (!totals || !p->bases) {
        free(totals);
        return SI_ENOMEM;
    }
    for (size_t i = 0; i < view->count; i++) {
        const si__entry *base = base_of(view, view->branches[i].node);
        totals[i] = p->bases[i] = base ? base->value : 0;
    }
    for (size_t i = view->count; i-- > 1;) { /* callers come first */
        uint32_t parent = view->branches[i].parent;
        totals[parent] = si__wrap_add(totals[parent], totals[i]);
    }
    for (size_t i = 0; i < view->count && view->base_factor > 0; i++) {
        int64_t weight = scaled(totals[i], view->base_factor);
        if (weight > p->weights[i]) p->weights[i] = weight;
    }
    free(totals);
    return SI_OK;
}

static int weigh(const si__tree_view *view, pruning *p) {
    p->weights = malloc((view->count + 1) * sizeof *p->weights);
    if (!p->weights) return SI_ENOMEM;
    for (size_t i = 0; i < view->count; i++) p->weights[i] = si__branch_weight(&view->branches[i]);
    return view->base ? weigh_base(view, p) : SI_OK;
}

static int choose_least(size_t count, size_t limit, pruning *p) {
    p->ties = SIZE_MAX;
    if (count <= limit || !limit) return SI_OK;
    int64_t *weights = malloc(count * sizeof *weights);
    if (!weights) return SI_ENOMEM;
    memcpy(weights, p->weights, count * sizeof *weights);
    qsort(weights, count, sizeof *weights, by_weight);
    p->least = weights[limit - 1];
    for (p->ties = 0; p->ties < limit && weights[limit - 1 - p->ties] == p->least;) p->ties++;
    free(weights);
    return SI_OK;
}

static int keeps(pruning *p, const si__tree_view *view, size_t i) {
    if (i > 0 && (p->weights[i] < p->least || view->place[view->branches[i].parent] == UINT32_MAX)) return 0;
    if (p->weights[i] > p->least) return 1;
    if (p->ties == 0) return i == 0;
    p->ties--;
    return 1;
}

static void clear(pruning *p) {
    free(p->weights);
    free(p->bases);
}

/* ---- Writing ---- */

typedef struct writing {
    si__json_writer *json;
    si__tree_view *view;
    const int64_t *bases;
    uint32_t *frame_ids;
} writing;

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
        if (w->bases) si__json_put_int(w->json, NULL, w->bases[i]);
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

static void put_hidden(si__json_writer *json, const si__tree_view *view, const pruning *p) {
    si__json_object_begin(json, "hidden");
    si__json_put_uint(json, "nodes", p->hidden);
    si__json_put_int(json, "value", p->hidden_value);
    si__json_put_number(json, "share", share_of(p->hidden_value, view->count ? view->branches[0].total : 0));
    if (p->bases) {
        int64_t whole = 0;
        for (size_t i = 0; i < view->count; i++) whole = si__wrap_add(whole, p->bases[i]);
        si__json_put_int(json, "base_value", p->hidden_base);
        si__json_put_number(json, "base_share", share_of(p->hidden_base, whole));
    }
    si__json_object_end(json);
}

void si__tree_view_write(si__json_writer *json, si__tree_view *view) {
    pruning p = {0};
    uint32_t next = 0;
    writing w = {json, view, NULL, malloc((view->count + 1) * sizeof *w.frame_ids)};
    view->place = malloc((view->count + 1) * sizeof *view->place);
    if (!view->place || !w.frame_ids || weigh(view, &p) || choose_least(view->count, view->limit, &p)) {
        json->failed = 1;
        clear(&p);
        free(w.frame_ids);
        return;
    }
    w.bases = p.bases;
    for (size_t i = 0; i < view->count; i++) {
        const si__branch *branch = &view->branches[i];
        int keep = keeps(&p, view, i);
        view->place[i] = keep ? next++ : UINT32_MAX;
        if (keep) continue;
        p.hidden++;
        p.hidden_value = si__wrap_add(p.hidden_value, branch->self);
        if (p.bases) p.hidden_base = si__wrap_add(p.hidden_base, p.bases[i]);
    }
    put_nodes(&w, collect_frames(&w));
    if (view->figures) put_percentiles(&w);
    put_hidden(json, view, &p);
    clear(&p);
    free(w.frame_ids);
}

void si__tree_view_stored(void *reader, uint32_t frame, si__frame_row *row) {
    if (si__read_frame(reader, frame, row)) *row = (si__frame_row){"?", "", "", 0};
}
