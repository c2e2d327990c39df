/* Routes: segments, errors and health over time. Workers' threads. */
#include "series.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

#define BUCKETS 120

int64_t si__bucket_ms(const si__range *range) {
    int64_t width = (range->to_ms - range->from_ms) / BUCKETS;
    return width < 60000 ? 60000 : (width + 59999) / 60000 * 60000;
}

/* ---- Segments ---- */

static si__segment_sum *segment_for(si__segment_sums *sums, const si__segment_row *row) {
    for (size_t i = 0; i < sums->count; i++)
        if (sums->items[i].name_id == row->name_id) return &sums->items[i];
    if (sums->count == sums->capacity) {
        size_t capacity = sums->capacity ? sums->capacity * 2 : 32;
        si__segment_sum *more = realloc(sums->items, capacity * sizeof *more);
        if (!more) return NULL;
        sums->items = more;
        sums->capacity = capacity;
    }
    si__segment_sum *sum = &sums->items[sums->count++];
    *sum = (si__segment_sum){.name_id = row->name_id};
    snprintf(sum->name, sizeof sum->name, "%s", row->name);
    snprintf(sum->kind, sizeof sum->kind, "%s", row->kind);
    sum->all = si__sketch_new();
    if (sums->buckets) sum->points = calloc(sums->buckets, sizeof *sum->points);
    if (sums->buckets) sum->point_errors = calloc(sums->buckets, sizeof *sum->point_errors);
    return sum->all && (!sums->buckets || (sum->points && sum->point_errors)) ? sum : NULL;
}

int si__segment_add(void *arg, const si__segment_row *row) {
    si__segment_sums *sums = arg;
    si__segment_sum *sum = segment_for(sums, row);
    if (!sum) return SI_ENOMEM;
    si__sketch *sketch = si__sketch_decode(row->sketch, row->sketch_bytes);
    if (!sketch) return SI_OK; /* damaged: left out */
    int failed = si__sketch_merge(sum->all, sketch);
    sum->count += row->count;
    sum->errors += row->errors;
    sum->sum_ns += row->sum_ns;
    if (row->max_ns > sum->max_ns) sum->max_ns = row->max_ns;
    size_t bucket = sums->bucket_ms ? (size_t)((row->t - sums->from_ms) / sums->bucket_ms) : 0;
    if (sum->points && bucket < sums->buckets) {
        sum->point_errors[bucket] += row->errors;
        si__sketch **point = &sum->points[bucket];
        if (!*point) {
            *point = sketch;
            sketch = NULL;
        } else if (!failed) {
            failed = si__sketch_merge(*point, sketch);
        }
    }
    si__sketch_free(sketch);
    return failed;
}

void si__segment_clear(si__segment_sums *sums) {
    for (size_t i = 0; i < sums->count; i++) {
        si__sketch_free(sums->items[i].all);
        for (size_t j = 0; sums->items[i].points && j < sums->buckets; j++) si__sketch_free(sums->items[i].points[j]);
        free(sums->items[i].points);
        free(sums->items[i].point_errors);
    }
    free(sums->items);
    *sums = (si__segment_sums){0};
}

static int by_time_spent(const void *a, const void *b) { /* the ones that matter first: p95 times count */
    const si__segment_sum *x = a, *y = b;
    double left = si__sketch_quantile(x->all, 0.95) * (double)x->count;
    double right = si__sketch_quantile(y->all, 0.95) * (double)y->count;
    int other = !strcmp(x->name, "other") - !strcmp(y->name, "other");
    return other ? other : (left < right) - (left > right);
}

void si__segment_sort(si__segment_sums *sums) {
    if (sums->count) qsort(sums->items, sums->count, sizeof *sums->items, by_time_spent);
}

si__segment_sums si__segment_sums_of(const si__range *range) {
    si__segment_sums sums = {.bucket_ms = si__bucket_ms(range)};
    sums.from_ms = range->from_ms - range->from_ms % sums.bucket_ms;
    sums.buckets = (size_t)((range->to_ms - sums.from_ms) / sums.bucket_ms + 1);
    return sums;
}

static void put_quantiles(si__json_writer *json, const si__sketch *sketch) {
    si__json_put_number(json, NULL, si__sketch_quantile(sketch, 0.5) / 1e6);
    si__json_put_number(json, NULL, si__sketch_quantile(sketch, 0.95) / 1e6);
    si__json_put_number(json, NULL, si__sketch_quantile(sketch, 0.99) / 1e6);
}

void si__segment_points_write(si__json_writer *json, const si__segment_sum *sum, const si__segment_sums *sums) {
    si__json_array_begin(json, "points");
    for (size_t i = 0; i < sums->buckets; i++) {
        if (!sum->points[i]) continue;
        si__json_array_begin(json, NULL);
        si__json_put_int(json, NULL, sums->from_ms + (int64_t)i * sums->bucket_ms);
        put_quantiles(json, sum->points[i]);
        si__json_put_uint(json, NULL, si__sketch_count(sum->points[i]));
        si__json_put_uint(json, NULL, sum->point_errors[i]);
        si__json_array_end(json);
    }
    si__json_array_end(json);
}

static void put_segment(si__json_writer *json, const si__segment_sum *sum, const si__segment_sums *sums) {
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "name", sum->name);
    si__json_put_string(json, "kind", sum->kind);
    si__json_put_uint(json, "count", sum->count);
    si__json_put_uint(json, "errors", sum->errors);
    si__json_put_number(json, "p50_ms", si__sketch_quantile(sum->all, 0.5) / 1e6);
    si__json_put_number(json, "p95_ms", si__sketch_quantile(sum->all, 0.95) / 1e6);
    si__json_put_number(json, "p99_ms", si__sketch_quantile(sum->all, 0.99) / 1e6);
    si__json_put_number(json, "max_ms", (double)sum->max_ns / 1e6);
    si__segment_points_write(json, sum, sums);
    si__json_object_end(json);
}

void si__handle_segments(si__request *request) {
    si__range range;
    if (si__request_range(request, &range)) return;
    si__segment_sums sums = si__segment_sums_of(&range);
    si__json_writer json = {0};
    int failed = si__read_segments(request->reader, &range, si__segment_add, &sums);
    if (failed)
        si__answer_failure(request, failed);
    else {
        si__segment_sort(&sums);
        si__json_object_begin(&json, NULL);
        si__json_array_begin(&json, "segments");
        for (size_t i = 0; i < sums.count; i++) put_segment(&json, &sums.items[i], &sums);
        si__json_array_end(&json);
        si__json_object_end(&json);
        si__answer_json(request, 200, &json);
    }
    si__segment_clear(&sums);
}

/* ---- Errors ---- */

static void put_error_points(si__request *request, si__json_writer *json, const si__range *range, int64_t group,
                             int64_t bucket_ms) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT t/?1*?1,sum(count) FROM error WHERE app=?2 AND t>=?3 AND t<?4"
                           " AND (?5=0 OR source=?5) AND (?6=0 OR name=?6) GROUP BY t/?1 ORDER BY t/?1");
    si__db_bind(read, "iiiiii", bucket_ms, range->app, range->from_ms, range->to_ms, range->source, group);
    si__json_array_begin(json, "points");
    while (si__db_step(db, read) == 1) {
        si__json_array_begin(json, NULL);
        si__json_put_int(json, NULL, sqlite3_column_int64(read, 0));
        si__json_put_int(json, NULL, sqlite3_column_int64(read, 1));
        si__json_array_end(json);
    }
    si__json_array_end(json);
}

void si__errors_write(si__request *request, si__json_writer *json, const si__range *range) {
    put_error_points(request, json, range, 0, si__bucket_ms(range));
}

void si__handle_errors(si__request *request) {
    si__range range;
    si__db *db = &request->reader->db;
    if (si__request_range(request, &range)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "groups");
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT error.name,error_group.name,sum(count),(SELECT min(t) FROM error AS first WHERE first.app=?1"
            " AND first.name=error.name AND t>=?2 AND t<?3 AND (?4=0 OR source=?4)),max(t),message FROM error"
            " JOIN error_group ON error_group.id=error.name WHERE error.app=?1 AND t>=?2 AND t<?3"
            " AND (?4=0 OR source=?4) GROUP BY error.name ORDER BY error_group.name='other',sum(count) DESC LIMIT 500");
    si__db_bind(read, "iiii", range.app, range.from_ms, range.to_ms, range.source);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "group", si__db_text(read, 1));
        si__json_put_string(&json, "message", si__db_text(read, 5));
        si__json_put_int(&json, "count", sqlite3_column_int64(read, 2));
        si__json_put_int(&json, "first_ms", sqlite3_column_int64(read, 3));
        si__json_put_int(&json, "last_ms", sqlite3_column_int64(read, 4));
        put_error_points(request, &json, &range, sqlite3_column_int64(read, 0), si__bucket_ms(&range));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Health ---- */

typedef struct metrics {
    si__json_writer *json;
    int64_t series; /* being written; 0: none */
} metrics;

static void end_series(metrics *m) {
    if (!m->series) return;
    si__json_array_end(m->json);
    si__json_object_end(m->json);
}

static int put_point(void *arg, const si__point_row *row) {
    metrics *m = arg;
    if (row->series != m->series) {
        end_series(m);
        m->series = row->series;
        si__json_object_begin(m->json, NULL);
        si__json_put_string(m->json, "name", row->name);
        si__json_put_string(m->json, "unit", row->unit);
        si__json_put_int(m->json, "source", row->source);
        si__json_array_begin(m->json, "points");
    }
    si__json_array_begin(m->json, NULL);
    si__json_put_int(m->json, NULL, row->t);
    si__json_put_number(m->json, NULL, row->average);
    si__json_put_number(m->json, NULL, row->low);
    si__json_put_number(m->json, NULL, row->high);
    si__json_array_end(m->json);
    return 0;
}

void si__handle_health(si__request *request) {
    si__range range;
    si__json_writer json = {0};
    metrics m = {&json, 0};
    if (si__request_range(request, &range)) return;
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "metrics");
    int failed = si__read_points(request->reader, &range, NULL, put_point, &m);
    end_series(&m);
    si__json_array_end(&json);
    si__json_object_end(&json);
    if (!failed) {
        si__answer_json(request, 200, &json);
        return;
    }
    si__json_discard(&json);
    si__answer_failure(request, failed);
}
