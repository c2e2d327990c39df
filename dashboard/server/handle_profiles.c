/* Route: the history of a profile type, one point a recorded profile. Workers' threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

#define POINTS 4000

typedef struct history {
    si__json_writer json;
    int64_t bucket_ms; /* 0: every profile is told; else the largest of each bucket */
    int64_t bucket;
    int waiting;
    si__profile_row best;
    double best_value;
    char best_version[256], best_trigger[256];
} history;

static double value_of(const si__profile_row *row) {
    double available = (double)row->duration_ns * row->cores;
    if (!strcmp(row->type, "cpu")) return available > 0 ? (double)row->total / available : 0;
    return (double)row->total;
}

static void put_point(si__json_writer *json, const si__profile_row *row, double value) {
    si__json_object_begin(json, NULL);
    si__json_put_int(json, "id", row->id);
    si__json_put_int(json, "t", row->start_ms);
    si__json_put_number(json, "duration_ms", (double)row->duration_ns / 1e6);
    si__json_put_number(json, "value", value);
    si__json_put_int(json, "total", row->total);
    si__json_put_uint(json, "samples", row->samples);
    si__json_put_int(json, "source", row->source);
    si__json_put_string(json, "app_version", row->app_version);
    si__json_put_string(json, "trigger", row->trigger);
    si__json_object_end(json);
}

static void flush(history *h) {
    if (h->waiting) put_point(&h->json, &h->best, h->best_value);
    h->waiting = 0;
}

static int add_point(void *arg, const si__profile_row *row) {
    history *h = arg;
    double value = value_of(row);
    if (!h->bucket_ms) {
        put_point(&h->json, row, value);
        return 0;
    }
    int64_t bucket = row->start_ms / h->bucket_ms;
    if (bucket != h->bucket) flush(h);
    h->bucket = bucket;
    if (h->waiting && value <= h->best_value) return 0;
    h->best = *row;
    snprintf(h->best_version, sizeof h->best_version, "%s", row->app_version);
    snprintf(h->best_trigger, sizeof h->best_trigger, "%s", row->trigger);
    h->best.app_version = h->best_version;
    h->best.trigger = h->best_trigger;
    h->best_value = value;
    h->waiting = 1;
    return 0;
}

void si__handle_profiles(si__request *request) {
    si__range range;
    si__db *db = &request->reader->db;
    const char *type = si__request_argument(request, "type", "cpu");
    if (si__request_range(request, &range)) return;
    sqlite3_stmt *count = si__db_prepare(db, "SELECT count(*) FROM profile WHERE app=?1 AND type=?2 AND start_ms>=?3 "
                                             "AND start_ms<?4 AND (?5=0 OR source=?5)");
    int64_t found =
        si__db_int(db, si__db_bind(count, "isiii", range.app, type, range.from_ms, range.to_ms, range.source), 0);
    sqlite3_stmt *unit = si__db_prepare(db, "SELECT unit FROM profile_type WHERE app=? AND type=?");
    history h = {.bucket_ms = found > POINTS ? (range.to_ms - range.from_ms) / POINTS + 1 : 0, .bucket = -1};
    si__json_object_begin(&h.json, NULL);
    si__json_put_string(&h.json, "type", type);
    int known = si__db_step(db, si__db_bind(unit, "is", range.app, type)) == 1;
    si__json_put_string(&h.json, "unit", known ? si__db_text(unit, 0) : "");
    if (unit) sqlite3_reset(unit);
    si__json_array_begin(&h.json, "points");
    int failed = si__read_profiles(request->reader, &range, type, add_point, &h);
    flush(&h);
    si__json_array_end(&h.json);
    si__json_put_bool(&h.json, "truncated", h.bucket_ms != 0);
    si__json_put_int(&h.json, "profiles", found);
    si__json_object_end(&h.json);
    if (!failed) {
        si__answer_json(request, 200, &h.json);
        return;
    }
    si__json_discard(&h.json);
    si__answer_failure(request, failed);
}
