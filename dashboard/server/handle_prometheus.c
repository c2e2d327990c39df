/*
 * Route: what an application reported last, for Prometheus: metrics, profiles, named calls, errors, alerts. Names from
 * programs are labels, never names of metrics, so that no two of them can collide. Workers' threads.
 */
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "handlers.h"
#include "series.h"

#define FRESH_MS (5 * 60000ll) /* what is older is not now */
#define CALLS 200

typedef struct page {
    si__request *request;
    si__range range;
    FILE *out;
} page;

static void put_help(const page *p, const char *name, const char *help) {
    fprintf(p->out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

/* first: opens the braces. */
static void put_label(const page *p, int first, const char *name, const char *value) {
    fprintf(p->out, "%s%s=\"", first ? "{" : ",", name);
    for (; *value; value++) {
        if (*value == '\n')
            fputs("\\n", p->out);
        else {
            if (*value == '"' || *value == '\\') fputc('\\', p->out);
            fputc(*value, p->out);
        }
    }
    fputc('"', p->out);
}

static void put_value(const page *p, double value) {
    char text[40] = "NaN";
    if (isfinite(value)) si__json_number(value, text);
    fprintf(p->out, "} %s\n", text);
}

static void put_metrics(const page *p) {
    si__db *db = &p->request->reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT series.name,series.unit,series.source,source.host,series.last FROM series JOIN source ON"
            " source.id=series.source WHERE series.app=? AND series.last_ms>? ORDER BY series.name,series.source"
            " LIMIT 20000");
    si__db_bind(read, "ii", p->range.app, p->range.from_ms);
    put_help(p, "si_metric", "A metric of a process or host, as last reported.");
    while (si__db_step(db, read) == 1) {
        fputs("si_metric", p->out);
        put_label(p, 1, "name", si__db_text(read, 0));
        put_label(p, 0, "unit", si__db_text(read, 1));
        put_label(p, 0, "source", si__db_text(read, 2));
        put_label(p, 0, "host", si__db_text(read, 3));
        put_value(p, sqlite3_column_double(read, 4));
    }
}

typedef struct sum {
    double value;
    uint64_t count;
} sum;

static int add_profile(void *arg, const si__profile_row *row) {
    sum *s = arg;
    double available = (double)row->duration_ns * row->cores, value = (double)row->total;
    if (!strcmp(row->type, "cpu")) value = available > 0 ? value / available : 0;
    s->value += value;
    s->count++;
    return 0;
}

static void put_profiles(const page *p) {
    si__db *db = &p->request->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT type,unit FROM profile_type WHERE app=? ORDER BY type LIMIT 64");
    si__db_bind(read, "i", p->range.app);
    put_help(p, "si_profile",
             "Average profile of the last five minutes: cpu as a share of the cores, others their total.");
    while (si__db_step(db, read) == 1) {
        sum s = {0, 0};
        const char *type = si__db_text(read, 0);
        si__read_profiles(p->request->reader, &p->range, type, add_profile, &s);
        if (!s.count) continue;
        fputs("si_profile", p->out);
        put_label(p, 1, "type", type);
        put_label(p, 0, "unit", strcmp(type, "cpu") ? si__db_text(read, 1) : "ratio");
        put_value(p, s.value / (double)s.count);
    }
}

static void put_call(const page *p, const char *metric, const si__segment_sum *call, const char *quantile,
                     double value) {
    fputs(metric, p->out);
    put_label(p, 1, "kind", call->kind);
    put_label(p, 0, "name", call->name);
    if (quantile) put_label(p, 0, "quantile", quantile);
    put_value(p, value);
}

static int put_calls(const page *p) {
    si__segment_sums sums = {0};
    int failed = si__read_segments(p->request->reader, &p->range, si__segment_add, &sums);
    si__segment_sort(&sums);
    size_t count = sums.count < CALLS ? sums.count : CALLS;
    put_help(p, "si_call_seconds", "Percentiles of named calls over the last five minutes.");
    for (size_t i = 0; i < count; i++) {
        put_call(p, "si_call_seconds", &sums.items[i], "0.5", si__sketch_quantile(sums.items[i].all, 0.5) / 1e9);
        put_call(p, "si_call_seconds", &sums.items[i], "0.95", si__sketch_quantile(sums.items[i].all, 0.95) / 1e9);
        put_call(p, "si_call_seconds", &sums.items[i], "0.99", si__sketch_quantile(sums.items[i].all, 0.99) / 1e9);
    }
    put_help(p, "si_calls", "Named calls in the last five minutes.");
    for (size_t i = 0; i < count; i++) put_call(p, "si_calls", &sums.items[i], NULL, (double)sums.items[i].count);
    put_help(p, "si_call_errors", "Named calls that failed in the last five minutes.");
    for (size_t i = 0; i < count; i++)
        put_call(p, "si_call_errors", &sums.items[i], NULL, (double)sums.items[i].errors);
    put_help(p, "si_calls_hidden", "Names of calls that are not told, because there are more than 200.");
    fprintf(p->out, "si_calls_hidden %zu\n", sums.count - count);
    si__segment_clear(&sums);
    return failed;
}

static void put_errors(const page *p) {
    si__db *db = &p->request->reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT error_group.name,sum(count) FROM error JOIN error_group ON error_group.id=error.name"
            " WHERE error.app=? AND t>=? AND t<? GROUP BY error.name ORDER BY error_group.name LIMIT 500");
    si__db_bind(read, "iii", p->range.app, p->range.from_ms, p->range.to_ms);
    put_help(p, "si_errors", "Errors of the last five minutes.");
    while (si__db_step(db, read) == 1) {
        fputs("si_errors", p->out);
        put_label(p, 1, "group", si__db_text(read, 0));
        put_value(p, sqlite3_column_double(read, 1));
    }
    sqlite3_stmt *firing = si__db_prepare(db, "SELECT count(*) FROM alert WHERE app=? AND state='firing'");
    put_help(p, "si_alerts_firing", "Alerts that fire now.");
    fprintf(p->out, "si_alerts_firing %lld\n", (long long)si__db_int(db, si__db_bind(firing, "i", p->range.app), 0));
}

void si__handle_prometheus(si__request *request) {
    char *text = NULL;
    size_t length = 0;
    page p = {.request = request};
    if (si__request_app(request, &p.range.app)) return;
    p.range.to_ms = si__clock_unix_ms() + 60000; /* clocks of agents may be a little ahead */
    p.range.from_ms = p.range.to_ms - FRESH_MS - 60000;
    p.out = open_memstream(&text, &length);
    int failed = p.out ? SI_OK : SI_ENOMEM;
    if (!failed) {
        put_metrics(&p);
        put_profiles(&p);
        failed = put_calls(&p);
        put_errors(&p);
        if (fclose(p.out) != 0 && !failed) failed = SI_ENOMEM;
    }
    if (!failed) {
        si__answer_take(request, "text/plain; version=0.0.4; charset=utf-8", text, length);
        return;
    }
    free(text);
    si__answer_failure(request, failed);
}
