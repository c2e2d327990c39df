/* Route: everything about an application on one page, small. Workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"
#include "kind.h"
#include "movers.h"
#include "series.h"

#define BUCKETS 128
#define TYPES 16
#define SEGMENTS 8
#define MOVERS 8
#define HEALTH 24

typedef struct line { /* averages over buckets of time */
    int64_t from_ms, bucket_ms;
    double sums[BUCKETS], all, last;
    uint32_t counts[BUCKETS], count;
} line;

static void line_add(line *l, int64_t t, double value) {
    int64_t bucket = (t - l->from_ms) / l->bucket_ms;
    if (bucket < 0 || bucket >= BUCKETS) return;
    l->sums[bucket] += value;
    l->counts[bucket]++;
    l->all += value;
    l->count++;
    l->last = value;
}

static void put_line(si__json_writer *json, const line *l) {
    si__json_array_begin(json, "points");
    for (int i = 0; i < BUCKETS; i++) {
        if (!l->counts[i]) continue;
        si__json_array_begin(json, NULL);
        si__json_put_int(json, NULL, l->from_ms + i * l->bucket_ms);
        si__json_put_number(json, NULL, l->sums[i] / l->counts[i]);
        si__json_array_end(json);
    }
    si__json_array_end(json);
}

static line line_for(const si__range *range) {
    /* Ten seconds at least: profiles come that often, and a demo's first minute is more than one point. */
    int64_t bucket = ((range->to_ms - range->from_ms) / (BUCKETS - 2) + 9999) / 10000 * 10000;
    if (bucket < 10000) bucket = 10000;
    return (line){.from_ms = range->from_ms - range->from_ms % bucket, .bucket_ms = bucket};
}

/* ---- Profiles ---- */

typedef struct profile_type {
    char name[64], unit[32];
} profile_type;

static size_t read_types(si__request *request, int64_t app, profile_type types[TYPES]) {
    si__db *db = &request->reader->db;
    size_t count = 0;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT type,unit FROM profile_type WHERE app=? ORDER BY type LIMIT ?");
    si__db_bind(read, "ii", app, (int64_t)TYPES);
    while (count < TYPES && si__db_step(db, read) == 1) {
        snprintf(types[count].name, sizeof types[count].name, "%s", si__db_text(read, 0));
        snprintf(types[count].unit, sizeof types[count].unit, "%s", si__db_text(read, 1));
        count++;
    }
    if (read) sqlite3_reset(read);
    return count;
}

/* Waits and allocations are told per second, as the page's history does: profiles differ in length. */
static int per_second(const profile_type *type) {
    if (!strcmp(type->name, "cpu") || si__kind_of(type->name)->nature == SI__LEVEL) return 0;
    return !strcmp(type->unit, "ns") || !strcmp(type->name, "alloc");
}

typedef struct type_line {
    const profile_type *type;
    line l;
} type_line;

static int add_profile(void *arg, const si__profile_row *row) {
    type_line *of = arg;
    double length_ns = (double)row->duration_ns, value = (double)row->total;
    if (!strcmp(row->type, "cpu")) {
        value = length_ns * row->cores > 0 ? value / (length_ns * row->cores) : 0;
    } else if (per_second(of->type)) {
        if (length_ns <= 0) return 0;
        value = value * 1e9 / length_ns;
    }
    line_add(&of->l, row->start_ms, value);
    return 0;
}

static void put_types(si__request *request, si__json_writer *json, const si__range *range, const profile_type *types,
                      size_t count) {
    si__json_array_begin(json, "types");
    for (size_t i = 0; i < count; i++) {
        type_line of = {.type = &types[i], .l = line_for(range)};
        char unit[40];
        si__read_profiles(request->reader, range, types[i].name, add_profile, &of);
        snprintf(unit, sizeof unit, "%s%s", strcmp(types[i].name, "cpu") ? types[i].unit : "ratio",
                 per_second(&types[i]) ? "/s" : "");
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "type", types[i].name);
        si__json_put_string(json, "unit", unit);
        if (of.l.count) {
            si__json_put_number(json, "last", of.l.last);
            si__json_put_number(json, "avg", of.l.all / of.l.count);
        } else {
            si__json_put_null(json, "last");
            si__json_put_null(json, "avg");
        }
        put_line(json, &of.l);
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

/* ---- The rest ---- */

static void put_segments(si__request *request, si__json_writer *json, const si__range *range) {
    si__segment_sums sums = {0};
    si__read_segments(request->reader, range, si__segment_add, &sums);
    si__segment_sort(&sums);
    si__json_array_begin(json, "segments");
    for (size_t i = 0; i < sums.count && i < SEGMENTS; i++) {
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "name", sums.items[i].name);
        si__json_put_string(json, "kind", sums.items[i].kind);
        si__json_put_number(json, "p95_ms", si__sketch_quantile(sums.items[i].all, 0.95) / 1e6);
        si__json_put_uint(json, "count", sums.items[i].count);
        si__json_object_end(json);
    }
    si__json_array_end(json);
    si__segment_clear(&sums);
}

static void put_errors(si__request *request, si__json_writer *json, const si__range *range) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *count =
        si__db_prepare(db, "SELECT sum(count) FROM error WHERE app=?1 AND t>=?2 AND t<?3 AND (?4=0 OR source=?4)");
    si__db_bind(count, "iiii", range->app, range->from_ms, range->to_ms, range->source);
    si__json_object_begin(json, "errors");
    si__json_put_int(json, "count", si__db_int(db, count, 0));
    si__errors_write(request, json, range);
    si__json_object_end(json);
}

typedef struct health {
    si__json_writer *json;
    const si__range *range;
    char name[256], unit[32];
    line l;
    int told;
} health;

/* Of what is measured everywhere, what one looks at first; of the program's own metrics all. */
static int is_of_interest(const char *name) {
    static const char *const first[] = {"process.cpu.utilization",
                                        "process.memory.usage",
                                        "system.cpu.utilization",
                                        "system.memory.utilization",
                                        "container.memory.utilization",
                                        "process.thread.count",
                                        "process.open_file_descriptor.count",
                                        "system.cpu.load_average"};
    static const char *const everywhere[] = {"process.", "system.", "container.", "si."};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        if (!strncmp(name, first[i], strlen(first[i]))) return 1;
    for (size_t i = 0; i < sizeof everywhere / sizeof *everywhere; i++)
        if (!strncmp(name, everywhere[i], strlen(everywhere[i]))) return 0;
    return 1;
}

static void end_metric(health *h) {
    if (!h->l.count || h->told >= HEALTH || !is_of_interest(h->name)) return;
    h->told++;
    si__json_object_begin(h->json, NULL);
    si__json_put_string(h->json, "name", h->name);
    si__json_put_string(h->json, "unit", h->unit);
    si__json_put_number(h->json, "last", h->l.last);
    put_line(h->json, &h->l);
    si__json_object_end(h->json);
}

/* Rows come by name: the sources of a name are averaged. */
static int add_health(void *arg, const si__point_row *row) {
    health *h = arg;
    if (strcmp(h->name, row->name) != 0) {
        end_metric(h);
        h->l = line_for(h->range);
        snprintf(h->name, sizeof h->name, "%s", row->name);
        snprintf(h->unit, sizeof h->unit, "%s", row->unit);
    }
    line_add(&h->l, row->t, row->average);
    return 0;
}

static void put_health(si__request *request, si__json_writer *json, const si__range *range) {
    health *h = calloc(1, sizeof *h);
    si__json_array_begin(json, "health");
    if (h) {
        h->json = json;
        h->range = range;
        si__read_points(request->reader, range, NULL, add_health, h);
        end_metric(h);
    }
    si__json_array_end(json);
    free(h);
}

void si__handle_overview(si__request *request) {
    si__range range;
    profile_type types[TYPES];
    si__json_writer json = {0};
    if (si__request_range(request, &range)) return;
    size_t count = read_types(request, range.app, types);
    si__json_object_begin(&json, NULL);
    put_types(request, &json, &range, types, count);
    put_segments(request, &json, &range);
    put_errors(request, &json, &range);
    const char *names[TYPES];
    for (size_t i = 0; i < count; i++) names[i] = types[i].name;
    si__range before = si__movers_before(&range);
    si__movers_write(request, &json, &range, &before, names, count, MOVERS);
    si__alerts_write_firing(request, &json, range.app);
    si__annotations_write(request, &json, &range);
    put_health(request, &json, &range);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}
