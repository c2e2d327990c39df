/*
 * Routes: a profile, a merge of profiles, or errors, as one call tree; optionally beside a base to compare with, and
 * with the trend of its top calls. Workers' threads.
 */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "selection.h"
#include "tree_view.h"

#define TREND_CALLS 60
#define YOUNG_MS (40 * 60000ll)
#define YOUNG_SLICES 12
#define DAY_MS 86400000ll

/* ---- What stands around the tree ---- */

static void put_context(si__request *request, si__json_writer *json, const si__range *range, int64_t at) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read =
        at ? si__db_bind(si__db_prepare(
                             db, "SELECT body,trigger,workload FROM profile JOIN context ON context.id=profile.context"
                                 " WHERE profile.id=? AND app=?"),
                         "ii", at, range->app)
           : si__db_bind(si__db_prepare(db,
                                        "SELECT body FROM context JOIN source ON source.id=context.source WHERE app=?1"
                                        " AND (?2=0 OR source.id=?2) ORDER BY context.id DESC LIMIT 1"),
                         "ii", range->app, range->source);
    if (si__db_step(db, read) == 1) {
        const char *body = si__db_text(read, 0);
        si__json_put_raw(json, "context", body, strlen(body));
        if (at) {
            si__json_put_string(json, "trigger", si__db_text(read, 1));
            si__json_put_string(json, "workload", si__db_text(read, 2));
        }
        sqlite3_reset(read);
    } else {
        si__json_put_raw(json, "context", "{}", 2);
    }
}

static void put_snapshot_context(si__request *request, si__json_writer *json, const char *id) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT json_extract(context,'$.context') FROM snapshot WHERE id=?");
    const char *text = si__db_step(db, si__db_bind(read, "s", id)) == 1 ? si__db_text(read, 0) : "";
    si__json_put_raw(json, "context", *text ? text : "{}", *text ? strlen(text) : 2);
    if (read) sqlite3_reset(read);
}

static int by_node(const void *a, const void *b) {
    uint32_t x = ((const si__entry *)a)->node, y = ((const si__entry *)b)->node;
    return (x > y) - (x < y);
}

/* The base as sorted entries, and its nodes (with nothing of their own) in the tree, so that what vanished is seen. */
static int add_base(si__tree *tree, const si__merge *base, si__entry **entries, size_t *count) {
    *count = si__sum_count(base->sum);
    *entries = malloc((*count + 1) * sizeof **entries);
    if (!*entries) return SI_ENOMEM;
    si__sum_entries(base->sum, *entries);
    for (size_t i = 0; i < *count; i++)
        if (si__sum_add(tree->merge.sum, (*entries)[i].node, 0, 0)) return SI_ENOMEM;
    qsort(*entries, *count, sizeof **entries, by_node);
    return SI_OK;
}

/* ---- Trend of the top calls over the 24 h before ---- */

typedef struct trend {
    si__json_writer *json;
    int64_t *times, *wholes;
    size_t count, capacity;
} trend;

static int note_whole(void *arg, uint32_t node, int64_t t, int64_t total) {
    trend *tr = arg;
    (void)node;
    if (tr->count == tr->capacity) return 1;
    tr->times[tr->count] = t;
    tr->wholes[tr->count++] = total;
    return 0;
}

static int put_share(void *arg, uint32_t node, int64_t t, int64_t total) {
    trend *tr = arg;
    (void)node;
    for (size_t i = 0; i < tr->count; i++) {
        if (tr->times[i] != t || tr->wholes[i] == 0) continue;
        si__json_array_begin(tr->json, NULL);
        si__json_put_int(tr->json, NULL, t);
        si__json_put_number(tr->json, NULL, (double)total / (double)tr->wholes[i]);
        si__json_array_end(tr->json);
    }
    return 0;
}

typedef struct heavy { /* the heaviest calls, by insertion */
    struct {
        int64_t weight;
        size_t branch;
    } calls[TREND_CALLS];
    size_t count;
} heavy;

static void find_heavy(const si__tree_view *w, heavy *h) {
    h->count = 0;
    for (size_t i = 1; i < w->count; i++) {
        int64_t mine = si__branch_weight(&w->branches[i]);
        if (h->count == TREND_CALLS && mine <= h->calls[TREND_CALLS - 1].weight) continue;
        size_t at = h->count < TREND_CALLS ? h->count++ : TREND_CALLS - 1;
        for (; at > 0 && h->calls[at - 1].weight < mine; at--) h->calls[at] = h->calls[at - 1];
        h->calls[at].weight = mine;
        h->calls[at].branch = i;
    }
}

/* Periods of ten minutes say nothing of a program that was started just now: its time so far is cut into slices, whose
 * profiles are added up here. shares[call][slice], negative: nothing. The start of the first slice, or 0: not young. */
static int64_t read_young(si__request *request, const si__range *day, const char *type, const si__tree_view *w,
                          const heavy *h, double shares[TREND_CALLS][YOUNG_SLICES], int64_t *step_ms) {
    si__merge all = {0};
    si__range slice = *day;
    int failed = si__read_merge(request->reader, day, type, &all);
    int64_t start = all.start_ms, length = day->to_ms - start;
    si__merge_clear(&all);
    if (failed || start <= 0 || length <= 0 || length > YOUNG_MS) return 0;
    *step_ms = length / YOUNG_SLICES < 10000 ? 10000 : length / YOUNG_SLICES;
    for (size_t c = 0; c < h->count; c++)
        for (int i = 0; i < YOUNG_SLICES; i++) shares[c][i] = -1;
    for (int i = 0; i < YOUNG_SLICES && start + i * *step_ms < day->to_ms; i++) {
        si__tree part = {0};
        slice.from_ms = start + i * *step_ms;
        slice.to_ms = slice.from_ms + *step_ms < day->to_ms ? slice.from_ms + *step_ms : day->to_ms;
        if (!si__read_merge(request->reader, &slice, type, &part.merge) && part.merge.total > 0 &&
            !si__tree_of(request->reader, &part)) {
            for (size_t c = 0; c < h->count; c++) {
                uint32_t node = w->branches[h->calls[c].branch].node;
                shares[c][i] = 0;
                for (size_t b = 0; b < part.count; b++)
                    if (part.branches[b].node == node)
                        shares[c][i] = (double)part.branches[b].total / (double)part.merge.total;
            }
        }
        si__tree_clear(&part);
    }
    return start;
}

static void put_trend(si__request *request, si__json_writer *json, const si__tree_view *w, const si__range *range,
                      const char *type, int64_t end_ms) {
    int64_t times[160], wholes[160], step_ms = 0, young = 0;
    double shares[TREND_CALLS][YOUNG_SLICES];
    heavy h;
    trend tr = {json, times, wholes, 0, 160};
    si__range day = {range->app, 0, end_ms - DAY_MS, end_ms};
    si__read_hot(request->reader, &day, type, 0, note_whole, &tr);
    find_heavy(w, &h);
    if (tr.count <= YOUNG_MS / 600000 + 1 && (!tr.count || times[0] > end_ms - YOUNG_MS - 600000))
        young = read_young(request, &day, type, w, &h, shares, &step_ms);
    si__json_object_begin(json, "trend");
    for (size_t c = 0; c < h.count; c++) {
        char name[16];
        uint32_t place = w->place[h.calls[c].branch];
        if (place == UINT32_MAX) continue;
        snprintf(name, sizeof name, "%u", place);
        si__json_array_begin(json, name);
        for (int i = 0; young && i < YOUNG_SLICES; i++) {
            if (shares[c][i] < 0) continue;
            si__json_array_begin(json, NULL);
            si__json_put_int(json, NULL, young + i * step_ms);
            si__json_put_number(json, NULL, shares[c][i]);
            si__json_array_end(json);
        }
        if (!young) si__read_hot(request->reader, &day, type, w->branches[h.calls[c].branch].node, put_share, &tr);
        si__json_array_end(json);
    }
    si__json_object_end(json);
}

/* ---- Routes ---- */

typedef struct asked { /* beside the tree itself */
    si__selection selection, base;
    int has_base, trend;
} asked;

/* What the tree stands beside: the base, or with trend=1 the 24 h before. */
static int read_before(si__request *request, const asked *a, si__merge *before, const si__merge *merge) {
    if (a->has_base) return si__selection_merge(request->reader, &a->base, before);
    si__range day = a->selection.range;
    day.to_ms = a->selection.at ? merge->start_ms : day.from_ms;
    day.from_ms = day.to_ms - DAY_MS;
    return si__read_merge(request->reader, &day, si__selection_type(&a->selection), before);
}

static void write_tree(si__request *request, si__json_writer *json, const asked *a, const si__tree *tree,
                       si__tree_view *view, const si__merge *before) {
    const si__selection *s = &a->selection;
    si__comparison comparison = {0};
    if (a->has_base) si__comparison_of(s, &tree->merge, &a->base, before, &comparison);
    view->base_factor = comparison.factor; /* 0 for the 24 h of trends: they hide nothing of what is asked for */
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "type", si__selection_type(s));
    si__json_put_string(json, "unit", si__type_unit(request->reader, s->range.app, si__selection_type(s)));
    si__merge_write(json, &tree->merge);
    if (*s->snapshot)
        put_snapshot_context(request, json, s->snapshot);
    else
        put_context(request, json, &s->range, s->at);
    si__tree_view_write(json, view);
    if (view->base) {
        si__json_object_begin(json, "before");
        si__merge_write(json, before);
        si__json_object_end(json);
    }
    if (a->has_base) si__comparison_write(json, &comparison);
    if (a->trend && !json->failed)
        put_trend(request, json, view, &s->range, si__selection_type(s), s->at ? tree->merge.end_ms : s->range.to_ms);
    si__json_object_end(json);
}

static void answer_tree(si__request *request, const asked *a, si__tree *tree) {
    si__tree_view view = {.limit = SI__TREE_VIEW_NODES, .name = si__tree_view_stored, .name_arg = request->reader};
    si__json_writer json = {0};
    si__merge before = {0};
    si__entry *base = NULL;
    int wants_base = a->has_base || a->trend;
    int failed = wants_base ? read_before(request, a, &before, &tree->merge) : SI_OK;
    if (!failed && wants_base) failed = add_base(tree, &before, &base, &view.base_count);
    if (!failed && wants_base) failed = si__tree_of(request->reader, tree);
    if (!failed) {
        view.base = base;
        view.branches = tree->branches;
        view.count = tree->count;
        write_tree(request, &json, a, tree, &view, &before);
        si__answer_json(request, 200, &json);
    } else if (failed == SI_ENOTFOUND) {
        si__answer_error(request, 404, "not_found", "The profile to compare with is not here (any more).", "base");
    } else {
        si__answer_failure(request, failed);
    }
    free(view.place);
    free(base);
    si__merge_clear(&before);
}

void si__tree_answer(si__request *request, const si__selection *selection, const si__selection *base, int with_trend) {
    asked a = {.selection = *selection, .has_base = base != NULL, .trend = with_trend};
    si__tree tree = {0};
    if (base) a.base = *base;
    if (si__selection_tree(request, selection, &tree)) return;
    answer_tree(request, &a, &tree);
    si__tree_clear(&tree);
}

void si__handle_tree(si__request *request) {
    si__selection selection, base;
    int has_base, with_trend = !strcmp(si__request_argument(request, "trend", ""), "1");
    if (si__selection_of(request, &selection) || si__selection_base(request, &selection, &base, &has_base)) return;
    si__tree_answer(request, &selection, has_base ? &base : NULL, with_trend);
}

void si__handle_error_tree(si__request *request) {
    asked a = {.selection = {.type = "error", .version = "", .snapshot = ""}};
    si__tree tree = {0};
    if (si__request_range(request, &a.selection.range)) return;
    int failed = si__read_merge_errors(request->reader, &a.selection.range, si__request_argument(request, "group", ""),
                                       &tree.merge);
    failed = failed ? failed : si__tree_of(request->reader, &tree);
    if (failed)
        si__answer_failure(request, failed);
    else {
        /* An error tree counts errors: that is its value. */
        for (size_t i = 0; i < tree.count; i++) {
            tree.branches[i].self = (int64_t)tree.branches[i].self_count;
            tree.branches[i].total = (int64_t)tree.branches[i].total_count;
        }
        answer_tree(request, &a, &tree);
    }
    si__tree_clear(&tree);
}
