/* Routes: named calls of a kind by the time that they took, and where that time went. Workers' threads. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "bottleneck.h"
#include "handlers.h"

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

static void put_call(si__json_writer *json, const si__segment_sum *sum, const si__segment_sums *sums, double seconds) {
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
    si__segment_points_write(json, sum, sums);
    si__json_object_end(json);
}

static void put_calls(si__json_writer *json, const si__segment_sums *sums, const si__range *range) {
    double seconds = (double)(range->to_ms - range->from_ms) / 1000, hidden = 0, whole = 0;
    si__json_array_begin(json, "calls");
    for (size_t i = 0; i < sums->count; i++) {
        whole += (double)sums->items[i].sum_ns;
        if (i < CALLS)
            put_call(json, &sums->items[i], sums, seconds);
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
        put_calls(&json, &found.sums, &range);
        si__json_object_end(&json);
        si__answer_json(request, 200, &json);
    }
    si__segment_clear(&found.sums);
}
