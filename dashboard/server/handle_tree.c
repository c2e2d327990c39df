/*
 * Routes: a profile, a merge of profiles, or errors, as one call tree; optionally beside a base to compare with, and
 * with the trend of its top calls. Workers' threads.
 */
#include <errno.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "rollup.h"
#include "tree.h"

#define NODES 20000 /* more are hidden, smallest first, and the answer says how many */
#define TREND_CALLS 60
#define DAY_MS 86400000ll

int64_t si__tree_id(si__request *request, const char *name) {
    const char *text = si__request_argument(request, name, "");
    char *end;
    errno = 0;
    if (!*text) return 0;
    int64_t id = strtoll(text, &end, 10);
    if (!errno && !*end && id > 0) return id;
    si__answer_error(request, 400, "invalid", "A profile is named by the number that /profiles gives it.", name);
    return -1;
}

int si__tree_of(si__reader *reader, si__tree *tree) {
    return si__places_tree(reader->places, &reader->db, tree->merge.sum, &tree->branches, &tree->count);
}

void si__tree_clear(si__tree *tree) {
    si__merge_clear(&tree->merge);
    free(tree->branches);
    *tree = (si__tree){0};
}

int si__tree_read(si__request *request, const si__range *range, const char *type, int64_t at, si__tree *tree) {
    int failed = at ? si__read_merge_one(request->reader, range->app, at, &tree->merge)
                    : si__read_merge(request->reader, range, type, &tree->merge);
    failed = failed ? failed : si__tree_of(request->reader, tree);
    if (!failed) return SI_OK;
    if (failed == SI_ENOTFOUND)
        si__answer_error(request, 404, "not_found",
                         "This profile is not here (any more): telemetry is kept for a limited time.", "at");
    else
        si__answer_failure(request, failed);
    si__tree_clear(tree);
    return failed;
}

/* ---- Pruning: the smallest totals go, never a caller of what stays ---- */

typedef struct pruning {
    int64_t least; /* totals below are hidden */
    uint64_t hidden;
    int64_t hidden_value;
} pruning;

static int64_t magnitude(int64_t value) {
    return value < 0 ? (value == INT64_MIN ? INT64_MAX : -value) : value;
}

static int64_t weight(const si__branch *branch) {
    int64_t total = magnitude(branch->total),
            count = branch->total_count > INT64_MAX ? INT64_MAX : (int64_t)branch->total_count;
    return total ? total : count;
}

static int by_weight(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static int choose_least(const si__branch *branches, size_t count, pruning *p) {
    if (count <= NODES) return SI_OK;
    int64_t *weights = malloc(count * sizeof *weights);
    if (!weights) return SI_ENOMEM;
    for (size_t i = 0; i < count; i++) weights[i] = weight(&branches[i]);
    qsort(weights, count, sizeof *weights, by_weight);
    p->least = weights[NODES] + 1;
    free(weights);
    return SI_OK;
}

/* ---- Writing ---- */

typedef struct writing {
    si__request *request;
    si__json_writer json;
    const si__branch *branches;
    size_t count;
    uint32_t *place; /* branch -> index in the answer; UINT32_MAX: hidden */
    uint32_t *frame_ids;
    const si__entry *base; /* sorted by node; NULL: none */
    size_t base_count;
} writing;

static const si__entry *base_of(const writing *w, uint32_t node) {
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
    if (frame && si__read_frame(w->request->reader, frame, &row)) row.function = "?";
    si__json_array_begin(&w->json, NULL);
    si__json_put_string(&w->json, NULL, row.function);
    si__json_put_string(&w->json, NULL, row.file);
    si__json_put_uint(&w->json, NULL, row.line);
    si__json_put_string(&w->json, NULL, row.module);
    si__json_array_end(&w->json);
}

static int by_frame(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The frames of the visible branches, each once, in order of their ids. */
static size_t collect_frames(writing *w) {
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < w->count; i++)
        if (w->place[i] != UINT32_MAX) w->frame_ids[n++] = w->branches[i].frame;
    qsort(w->frame_ids, n, sizeof *w->frame_ids, by_frame);
    for (size_t i = 0; i < n; i++)
        if (!kept || w->frame_ids[kept - 1] != w->frame_ids[i]) w->frame_ids[kept++] = w->frame_ids[i];
    si__json_array_begin(&w->json, "frames");
    for (size_t i = 0; i < kept; i++) put_frame(w, w->frame_ids[i]);
    si__json_array_end(&w->json);
    return kept;
}

static void put_nodes(writing *w, size_t frames) {
    si__json_array_begin(&w->json, "nodes");
    for (size_t i = 0; i < w->count; i++) {
        if (w->place[i] == UINT32_MAX) continue;
        const si__branch *branch = &w->branches[i];
        const uint32_t *frame = bsearch(&branch->frame, w->frame_ids, frames, sizeof *w->frame_ids, by_frame);
        si__json_array_begin(&w->json, NULL);
        if (i == 0)
            si__json_put_int(&w->json, NULL, -1);
        else
            si__json_put_uint(&w->json, NULL, w->place[branch->parent]);
        si__json_put_uint(&w->json, NULL, frame ? (uint64_t)(frame - w->frame_ids) : 0);
        si__json_put_int(&w->json, NULL, branch->self);
        si__json_put_uint(&w->json, NULL, branch->self_count);
        const si__entry *base = w->base ? base_of(w, branch->node) : NULL;
        if (w->base) si__json_put_int(&w->json, NULL, base ? base->value : 0);
        si__json_array_end(&w->json);
    }
    si__json_array_end(&w->json);
    si__json_array_begin(&w->json, "ids");
    for (size_t i = 0; i < w->count; i++)
        if (w->place[i] != UINT32_MAX) si__json_put_uint(&w->json, NULL, w->branches[i].node);
    si__json_array_end(&w->json);
}

static void put_tree(writing *w) {
    pruning p = {0};
    uint32_t next = 0;
    w->place = malloc((w->count + 1) * sizeof *w->place);
    w->frame_ids = malloc((w->count + 1) * sizeof *w->frame_ids);
    if (!w->place || !w->frame_ids || choose_least(w->branches, w->count, &p)) {
        w->json.failed = 1;
        return;
    }
    for (size_t i = 0; i < w->count; i++) {
        int keep = i == 0 || (weight(&w->branches[i]) >= p.least && w->place[w->branches[i].parent] != UINT32_MAX);
        w->place[i] = keep ? next++ : UINT32_MAX;
        if (keep) continue;
        p.hidden++;
        p.hidden_value = si__wrap_add(p.hidden_value, w->branches[i].self);
    }
    put_nodes(w, collect_frames(w));
    si__json_object_begin(&w->json, "hidden");
    si__json_put_uint(&w->json, "nodes", p.hidden);
    si__json_put_int(&w->json, "value", p.hidden_value);
    si__json_object_end(&w->json);
}

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

static void put_totals(si__json_writer *json, const si__merge *merge) {
    si__json_put_uint(json, "profiles", merge->profiles);
    si__json_put_uint(json, "samples", merge->samples);
    si__json_put_int(json, "total", merge->total);
    si__json_put_number(json, "duration_ms", (double)merge->duration_ns / 1e6);
    si__json_put_number(json, "cores", merge->duration_ns ? merge->core_ns / (double)merge->duration_ns : merge->cores);
    si__json_put_int(json, "start_ms", merge->start_ms);
    si__json_put_int(json, "end_ms", merge->end_ms);
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

static void put_trend(writing *w, const si__range *range, const char *type, int64_t end_ms) {
    int64_t times[160], wholes[160];
    trend tr = {&w->json, times, wholes, 0, 160};
    si__range day = {range->app, 0, end_ms - DAY_MS, end_ms};
    si__read_hot(w->request->reader, &day, type, 0, note_whole, &tr);
    size_t candidates = 0;
    struct heavy {
        int64_t weight;
        size_t branch;
    } heavy[TREND_CALLS];
    for (size_t i = 1; i < w->count; i++) { /* the heaviest calls, by insertion */
        int64_t mine = weight(&w->branches[i]);
        if (candidates == TREND_CALLS && mine <= heavy[TREND_CALLS - 1].weight) continue;
        size_t at = candidates < TREND_CALLS ? candidates++ : TREND_CALLS - 1;
        for (; at > 0 && heavy[at - 1].weight < mine; at--) heavy[at] = heavy[at - 1];
        heavy[at] = (struct heavy){mine, i};
    }
    si__json_object_begin(&w->json, "trend");
    for (size_t i = 0; i < candidates; i++) {
        char name[16];
        uint32_t place = w->place[heavy[i].branch];
        if (place == UINT32_MAX) continue;
        snprintf(name, sizeof name, "%u", place);
        si__json_array_begin(&w->json, name);
        si__read_hot(w->request->reader, &day, type, w->branches[heavy[i].branch].node, put_share, &tr);
        si__json_array_end(&w->json);
    }
    si__json_object_end(&w->json);
}

/* ---- Routes ---- */

typedef struct asked { /* beside the tree itself */
    int64_t at, base_at;
    si__range base;
    int has_base, trend;
} asked;

static int read_asked(si__request *request, const si__range *range, asked *a) {
    a->base = *range;
    a->at = si__tree_id(request, "at");
    a->base_at = a->at < 0 ? -1 : si__tree_id(request, "base");
    if (a->at < 0 || a->base_at < 0) return SI_EINVAL;
    if (si__request_time(request, "base_from", 0, &a->base.from_ms) ||
        si__request_time(request, "base_to", 0, &a->base.to_ms))
        return SI_EINVAL;
    a->trend = !strcmp(si__request_argument(request, "trend", ""), "1");
    a->has_base = a->base_at || a->base.to_ms > a->base.from_ms;
    return SI_OK;
}

static int read_before(si__request *request, const asked *a, const si__range *range, const char *type,
                       si__merge *before, const si__merge *merge) {
    if (a->has_base)
        return a->base_at ? si__read_merge_one(request->reader, range->app, a->base_at, before)
                          : si__read_merge(request->reader, &a->base, type, before);
    si__range day = *range; /* trend=1: the 24 h before */
    day.to_ms = a->at ? merge->start_ms : range->from_ms;
    day.from_ms = day.to_ms - DAY_MS;
    return si__read_merge(request->reader, &day, type, before);
}

static void put_unit(si__request *request, si__json_writer *json, int64_t app, const char *type) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *unit = si__db_prepare(db, "SELECT unit FROM profile_type WHERE app=? AND type=?");
    int known = si__db_step(db, si__db_bind(unit, "is", app, type)) == 1;
    si__json_put_string(json, "unit", known ? si__db_text(unit, 0) : "");
    if (unit) sqlite3_reset(unit);
}

static void answer_tree(si__request *request, const si__range *range, const char *type, const asked *a,
                        si__tree *tree) {
    writing w = {.request = request};
    si__merge before = {0};
    si__entry *base = NULL;
    int wants_base = a->has_base || a->trend;
    int failed = wants_base ? read_before(request, a, range, type, &before, &tree->merge) : SI_OK;
    if (!failed && wants_base) failed = add_base(tree, &before, &base, &w.base_count);
    if (!failed && wants_base) {
        free(tree->branches);
        tree->branches = NULL;
        failed = si__tree_of(request->reader, tree);
    }
    if (!failed) {
        w.base = base;
        w.branches = tree->branches;
        w.count = tree->count;
        si__json_object_begin(&w.json, NULL);
        si__json_put_string(&w.json, "type", type);
        put_unit(request, &w.json, range->app, type);
        put_totals(&w.json, &tree->merge);
        put_context(request, &w.json, range, a->at);
        put_tree(&w);
        if (wants_base) {
            si__json_object_begin(&w.json, "before");
            put_totals(&w.json, &before);
            si__json_object_end(&w.json);
        }
        if (a->trend && !w.json.failed) put_trend(&w, range, type, a->at ? tree->merge.end_ms : range->to_ms);
        si__json_object_end(&w.json);
        si__answer_json(request, 200, &w.json);
    } else if (failed == SI_ENOTFOUND) {
        si__answer_error(request, 404, "not_found", "The profile to compare with is not here (any more).", "base");
    } else {
        si__answer_failure(request, failed);
    }
    free(w.place);
    free(w.frame_ids);
    free(base);
    si__merge_clear(&before);
}

void si__handle_tree(si__request *request) {
    si__range range;
    asked a;
    si__tree tree = {0};
    const char *type = si__request_argument(request, "type", "cpu");
    if (si__request_range(request, &range) || read_asked(request, &range, &a)) return;
    if (si__tree_read(request, &range, type, a.at, &tree)) return;
    answer_tree(request, &range, type, &a, &tree);
    si__tree_clear(&tree);
}

void si__handle_error_tree(si__request *request) {
    si__range range;
    asked a = {0};
    si__tree tree = {0};
    if (si__request_range(request, &range)) return;
    int failed =
        si__read_merge_errors(request->reader, &range, si__request_argument(request, "group", ""), &tree.merge);
    failed = failed ? failed : si__tree_of(request->reader, &tree);
    if (failed)
        si__answer_failure(request, failed);
    else {
        /* An error tree counts errors: that is its value. */
        for (size_t i = 0; i < tree.count; i++) {
            tree.branches[i].self = (int64_t)tree.branches[i].self_count;
            tree.branches[i].total = (int64_t)tree.branches[i].total_count;
        }
        answer_tree(request, &range, "error", &a, &tree);
    }
    si__tree_clear(&tree);
}
