/* Routes: named calls of a kind by the time that they took, and where that time went. Workers' threads. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "bottleneck.h"
#include "call_path.h"
#include "handlers.h"
#include "selection.h"
#include "tree_view.h"

#define CALLS 500

/* What a kind of the page is in reports. */
const char *const *si__bottleneck_kinds(const char *kind) {
    static const struct {
        const char *name, *kinds[4];
    } table[] = {{"http_handler", {"http_handler"}},
                 {"http_client", {"http_client"}},
                 {"database", {"sql", "cache", "document"}},
                 {"segment", {"segment", "call"}}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (!strcmp(table[i].name, kind)) return table[i].kinds;
    return NULL;
}

void si__bottleneck_refuse(si__request *request) {
    si__answer_error(request, 400, "invalid", "A kind is http_handler, http_client, database or segment.", "kind");
}

static int add(void *arg, const si__segment_row *row) {
    si__bottlenecks *found = arg;
    if (!found->kinds) return si__segment_add(&found->sums, row);
    for (const char *const *kind = found->kinds; *kind; kind++)
        if (!strcmp(*kind, row->kind)) return si__segment_add(&found->sums, row);
    return SI_OK;
}

static int by_time(const void *a, const void *b) { /* "other" never tops a list */
    const si__segment_sum *x = a, *y = b;
    int other = !strcmp(x->name, "other") - !strcmp(y->name, "other");
    if (other) return other;
    if (x->sum_ns != y->sum_ns) return x->sum_ns < y->sum_ns ? 1 : -1;
    return (x->name_id > y->name_id) - (x->name_id < y->name_id);
}

int si__bottlenecks_read(si__reader *reader, const si__range *range, const char *kind, si__bottlenecks *found) {
    *found = (si__bottlenecks){si__segment_sums_of(range), si__bottleneck_kinds(kind)};
    int failed = si__read_segments(reader, range, add, found);
    if (found->sums.count) qsort(found->sums.items, found->sums.count, sizeof *found->sums.items, by_time);
    return failed;
}

static int has_tree(si__reader *reader, const si__range *range, int64_t name) {
    sqlite3_stmt *read = si__db_prepare(&reader->db, "SELECT 1 FROM segment WHERE app=?1 AND name=?2 AND t>=?3 AND t<?4"
                                                     " AND length(body)>0 AND (?5=0 OR source=?5) LIMIT 1");
    si__db_bind(read, "iiiii", range->app, name, range->from_ms, range->to_ms, range->source);
    return si__db_int(&reader->db, read, 0) != 0;
}

static void put_call(si__json_writer *json, const si__segment_sum *sum, const si__segment_sums *sums, double seconds,
                     int has_tree) {
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "name", sum->name);
    si__json_put_string(json, "kind", sum->kind);
    si__json_put_uint(json, "count", sum->count);
    si__json_put_uint(json, "errors", sum->errors);
    si__json_put_number(json, "rate", seconds > 0 ? (double)sum->count / seconds : 0);
    si__json_put_number(json, "p50_ms", si__sketch_quantile(sum->all, 0.5) / 1e6);
    si__json_put_number(json, "p95_ms", si__sketch_quantile(sum->all, 0.95) / 1e6);
    si__json_put_number(json, "p99_ms", si__sketch_quantile(sum->all, 0.99) / 1e6);
    si__json_put_number(json, "max_ms", (double)sum->max_ns / 1e6);
    si__json_put_number(json, "total_ms", (double)sum->sum_ns / 1e6);
    si__json_put_bool(json, "tree", has_tree);
    si__segment_points_write(json, sum, sums);
    si__json_object_end(json);
}

static void put_calls(si__reader *reader, si__json_writer *json, const si__segment_sums *sums, const si__range *range) {
    double seconds = (double)(range->to_ms - range->from_ms) / 1000, hidden = 0, whole = 0;
    si__json_array_begin(json, "calls");
    for (size_t i = 0; i < sums->count; i++) {
        whole += (double)sums->items[i].sum_ns;
        if (i < CALLS)
            put_call(json, &sums->items[i], sums, seconds, has_tree(reader, range, sums->items[i].name_id));
        else
            hidden += (double)sums->items[i].sum_ns;
    }
    si__json_array_end(json);
    si__json_object_begin(json, "hidden");
    si__json_put_uint(json, "calls", sums->count > CALLS ? sums->count - CALLS : 0);
    si__json_put_number(json, "total_ms", hidden / 1e6);
    si__json_put_number(json, "share", whole > 0 ? hidden / whole : 0);
    si__json_object_end(json);
}

void si__handle_bottlenecks(si__request *request) {
    si__range range;
    si__bottlenecks found;
    const char *kind = si__request_argument(request, "kind", "http_handler");
    if (!si__bottleneck_kinds(kind)) {
        si__bottleneck_refuse(request);
        return;
    }
    if (si__request_range(request, &range)) return;
    int failed = si__bottlenecks_read(request->reader, &range, kind, &found);
    if (failed) {
        si__answer_failure(request, failed);
    } else {
        si__json_writer json = {0};
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "kind", kind);
        put_calls(request->reader, &json, &found.sums, &range);
        si__json_object_end(&json);
        si__answer_json(request, 200, &json);
    }
    si__segment_clear(&found.sums);
}

/* ---- Where the time of one call went ---- */

typedef struct waited { /* of one call, over the range */
    si__tree tree;
    si__call_paths paths;
    si__sketch *all; /* of every call, also those that no stack was taken of */
} waited;

static int add_bodies(si__reader *reader, const si__range *range, int64_t name, waited *to) {
    si__merge *merge = &to->tree.merge;
    int row, failed = SI_OK;
    sqlite3_stmt *read = si__db_prepare(
        &reader->db, "SELECT body,count,sum_ns,duration_ns,t,paths,sketch FROM segment WHERE app=?1 AND name=?2"
                     " AND t>=?3 AND t<?4 AND length(body)>0 AND (?5=0 OR source=?5)");
    si__db_bind(read, "iiiii", range->app, name, range->from_ms, range->to_ms, range->source);
    while (!failed && (row = si__db_step(&reader->db, read)) != 0) {
        if (row < 0) return row;
        int64_t duration_ns = sqlite3_column_int64(read, 3), start_ms = sqlite3_column_int64(read, 4);
        failed = si__sum_add_body(merge->sum, reader->codec, sqlite3_column_blob(read, 0),
                                  (size_t)sqlite3_column_bytes(read, 0));
        if (!failed)
            failed =
                si__call_paths_add(&to->paths, sqlite3_column_blob(read, 5), (size_t)sqlite3_column_bytes(read, 5));
        if (!failed)
            failed =
                si__sketch_merge_encoded(to->all, sqlite3_column_blob(read, 6), (size_t)sqlite3_column_bytes(read, 6));
        merge->profiles++;
        merge->samples += (uint64_t)sqlite3_column_int64(read, 1);
        merge->total = si__wrap_add(merge->total, sqlite3_column_int64(read, 2));
        merge->duration_ns += (uint64_t)duration_ns;
        if (!merge->start_ms || start_ms < merge->start_ms) merge->start_ms = start_ms;
        if (start_ms + duration_ns / 1000000 > merge->end_ms) merge->end_ms = start_ms + duration_ns / 1000000;
    }
    if (failed) sqlite3_reset(read);
    return failed;
}

static void answer_tree(si__request *request, const char *name, const char *kind, const waited *of) {
    const si__tree *tree = &of->tree;
    si__call_figures *figures = of->paths.count ? si__call_figures_of(&of->paths, tree->branches, tree->count) : NULL;
    if (of->paths.count && !figures) {
        si__answer_failure(request, SI_ENOMEM);
        return;
    }
    /* The whole is known exactly. */
    if (figures && tree->count) si__call_figures_set(&figures[0], of->all, si__sketch_count(of->all));
    si__tree_view view = {.branches = tree->branches,
                          .count = tree->count,
                          .figures = figures,
                          .limit = SI__TREE_VIEW_NODES,
                          .name = si__tree_view_stored,
                          .name_arg = request->reader};
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "type", kind);
    si__json_put_string(&json, "name", name);
    si__json_put_string(&json, "unit", "ns");
    si__merge_write(&json, &tree->merge);
    si__tree_view_write(&json, &view);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
    free(view.place);
    free(figures);
}

void si__handle_bottleneck_tree(si__request *request) {
    si__range range;
    si__db *db = &request->reader->db;
    const char *kind = si__request_argument(request, "kind", ""), *name = si__request_argument(request, "name", "");
    if (si__request_range(request, &range)) return;
    sqlite3_stmt *find =
        si__db_prepare(db, "SELECT id FROM segment_name WHERE app=?1 AND name=?2 AND (?3='' OR kind=?3) LIMIT 1");
    int64_t id = si__db_int(db, si__db_bind(find, "iss", range.app, name, kind), 0);
    if (!id) {
        si__answer_error(request, 404, "not_found", "No call of that kind and name was ever reported.", "name");
        return;
    }
    waited of = {.tree.merge.sum = si__sum_new(), .all = si__sketch_new()};
    int failed = of.tree.merge.sum && of.all ? add_bodies(request->reader, &range, id, &of) : SI_ENOMEM;
    if (!failed && of.tree.merge.profiles) failed = si__tree_of(request->reader, &of.tree);
    if (failed)
        si__answer_failure(request, failed);
    else if (!of.tree.merge.profiles)
        si__answer_error(request, 404, "no_tree", "Nothing was reported about where the time of this call went.",
                         "name");
    else
        answer_tree(request, name, kind, &of);
    si__tree_clear(&of.tree);
    si__call_paths_clear(&of.paths);
    si__sketch_free(of.all);
}
