/* Route: what the charts show, as CSV. Workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bottleneck.h"
#include "csv.h"
#include "handlers.h"
#include "series.h"

typedef struct chart {
    si__request *request;
    si__range range;
    FILE *out;
} chart;

static int put_profile(void *arg, const si__profile_row *row) {
    chart *c = arg;
    double available = (double)row->duration_ns * row->cores;
    int is_cpu = !strcmp(row->type, "cpu");
    si__csv_time(c->out, row->start_ms);
    si__csv_text(c->out, 0, row->type);
    si__csv_number(c->out, 0, !is_cpu ? (double)row->total : available > 0 ? (double)row->total / available : 0);
    si__csv_number(c->out, 0, (double)row->total);
    si__csv_number(c->out, 0, (double)row->samples);
    si__csv_number(c->out, 0, (double)row->duration_ns / 1e6);
    si__csv_number(c->out, 0, (double)row->source);
    si__csv_text(c->out, 0, row->app_version);
    si__csv_text(c->out, 0, row->trigger);
    si__csv_number(c->out, 0, (double)row->id);
    si__csv_end(c->out);
    return 0;
}

static int profiles(chart *c) {
    fputs("time,time_ms,type,value,total,samples,duration_ms,source,app_version,trigger,profile\r\n", c->out);
    return si__read_profiles(c->request->reader, &c->range, si__request_argument(c->request, "type", "cpu"),
                             put_profile, c);
}

static void put_segment(FILE *out, const si__segment_sum *sum, const si__segment_sums *sums) {
    for (size_t i = 0; i < sums->buckets; i++) {
        if (!sum->points[i]) continue;
        si__csv_time(out, sums->from_ms + (int64_t)i * sums->bucket_ms);
        si__csv_text(out, 0, sum->name);
        si__csv_text(out, 0, sum->kind);
        si__csv_number(out, 0, si__sketch_quantile(sum->points[i], 0.5) / 1e6);
        si__csv_number(out, 0, si__sketch_quantile(sum->points[i], 0.95) / 1e6);
        si__csv_number(out, 0, si__sketch_quantile(sum->points[i], 0.99) / 1e6);
        si__csv_number(out, 0, (double)si__sketch_count(sum->points[i]));
        si__csv_number(out, 0, (double)sum->point_errors[i]);
        si__csv_end(out);
    }
}

static int segments(chart *c, const char *kind) {
    si__bottlenecks found;
    int failed = si__bottlenecks_read(c->request->reader, &c->range, kind, &found);
    fputs("time,time_ms,name,kind,p50_ms,p95_ms,p99_ms,count,errors\r\n", c->out);
    for (size_t i = 0; !failed && i < found.sums.count; i++) put_segment(c->out, &found.sums.items[i], &found.sums);
    si__segment_clear(&found.sums);
    return failed;
}

static int errors(chart *c) {
    si__db *db = &c->request->reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT t/?1*?1,error_group.name,sum(count) FROM error JOIN error_group ON error_group.id=error.name"
            " WHERE error.app=?2 AND t>=?3 AND t<?4 AND (?5=0 OR source=?5) GROUP BY t/?1,error.name ORDER BY t/?1");
    si__db_bind(read, "iiiii", si__bucket_ms(&c->range), c->range.app, c->range.from_ms, c->range.to_ms,
                c->range.source);
    fputs("time,time_ms,group,count\r\n", c->out);
    while (si__db_step(db, read) == 1) {
        si__csv_time(c->out, sqlite3_column_int64(read, 0));
        si__csv_text(c->out, 0, si__db_text(read, 1));
        si__csv_number(c->out, 0, (double)sqlite3_column_int64(read, 2));
        si__csv_end(c->out);
    }
    return SI_OK;
}

static int put_metric(void *arg, const si__point_row *row) {
    chart *c = arg;
    si__csv_time(c->out, row->t);
    si__csv_text(c->out, 0, row->name);
    si__csv_text(c->out, 0, row->unit);
    si__csv_number(c->out, 0, (double)row->source);
    si__csv_number(c->out, 0, row->average);
    si__csv_number(c->out, 0, row->low);
    si__csv_number(c->out, 0, row->high);
    si__csv_end(c->out);
    return 0;
}

static int health(chart *c) {
    fputs("time,time_ms,metric,unit,source,average,minimum,maximum\r\n", c->out);
    return si__read_points(c->request->reader, &c->range, NULL, put_metric, c);
}

static int write_chart(chart *c, const char *name) {
    if (!strcmp(name, "profiles")) return profiles(c);
    if (!strcmp(name, "segments")) return segments(c, "");
    if (!strcmp(name, "bottlenecks")) return segments(c, si__request_argument(c->request, "kind", "http_handler"));
    if (!strcmp(name, "errors")) return errors(c);
    return health(c);
}

static int is_chart(const char *name) {
    static const char *const names[] = {"profiles", "segments", "bottlenecks", "errors", "health"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(name, names[i])) return 1;
    return 0;
}

void si__handle_charts(si__request *request) {
    const char *name = si__request_argument(request, "chart", "profiles");
    chart c = {.request = request};
    char *text = NULL;
    size_t length = 0;
    if (!is_chart(name)) {
        si__answer_error(request, 400, "invalid", "A chart is profiles, bottlenecks, segments, errors or health.",
                         "chart");
        return;
    }
    if (!strcmp(name, "bottlenecks") && !si__bottleneck_kinds(si__request_argument(request, "kind", "http_handler"))) {
        si__bottleneck_refuse(request);
        return;
    }
    if (si__request_range(request, &c.range)) return;
    c.out = open_memstream(&text, &length);
    int failed = c.out ? write_chart(&c, name) : SI_ENOMEM;
    if (c.out && fclose(c.out) != 0 && !failed) failed = SI_ENOMEM;
    if (failed) {
        free(text);
        si__answer_failure(request, failed);
        return;
    }
    snprintf(request->disposition, sizeof request->disposition, "attachment; filename=\"%s.csv\"", name);
    si__answer_take(request, "text/csv; charset=utf-8; header=present", text, length);
}
