/* Routes: applications, their sources, the rules they run, and whether the first report came. Workers' threads. */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "handlers.h"

#define UP_MS (5 * 60000ll) /* agents report every two minutes at the latest, by default */
#define CPU_POINTS_MS 3600000ll

typedef struct cpu_line {
    si__json_writer *json;
    int64_t t;
    double sum, last;
    uint64_t count;
    int any;
} cpu_line;

static void flush_cpu(cpu_line *line) {
    if (!line->count) return;
    si__json_array_begin(line->json, NULL);
    si__json_put_int(line->json, NULL, line->t);
    si__json_put_number(line->json, NULL, line->sum / (double)line->count);
    si__json_array_end(line->json);
    line->last = line->sum / (double)line->count;
    line->any = 1;
    line->sum = 0;
    line->count = 0;
}

/* Share of the cores per minute, averaged over what reported in it. */
static int add_cpu(void *arg, const si__profile_row *row) {
    cpu_line *line = arg;
    int64_t minute = row->start_ms - row->start_ms % 60000;
    if (minute != line->t) flush_cpu(line);
    line->t = minute;
    double available = (double)row->duration_ns * row->cores;
    if (available > 0) {
        line->sum += (double)row->total / available;
        line->count++;
    }
    return 0;
}

static void put_cpu(si__request *request, si__json_writer *json, int64_t app) {
    int64_t now = si__clock_unix_ms();
    si__range range = {app, 0, now - CPU_POINTS_MS, now + 60000};
    cpu_line line = {.json = json};
    si__json_object_begin(json, "cpu");
    si__json_array_begin(json, "points");
    si__read_profiles(request->reader, &range, "cpu", add_cpu, &line);
    flush_cpu(&line);
    si__json_array_end(json);
    if (line.any)
        si__json_put_number(json, "last", line.last);
    else
        si__json_put_null(json, "last");
    si__json_object_end(json);
}

void si__handle_apps(si__request *request) {
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    int64_t now = si__clock_unix_ms();
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "apps");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,name,environment,last_seen_ms,(SELECT count(*) FROM source "
                                            "WHERE source.app=app.id AND source.last_seen_ms>?),"
                                            "(SELECT count(*) FROM alert WHERE alert.app=app.id AND "
                                            "alert.state='firing') FROM app ORDER BY name,environment LIMIT 500");
    si__db_bind(read, "i", now - UP_MS);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "app", si__db_text(read, 1));
        si__json_put_string(&json, "env", si__db_text(read, 2));
        si__json_put_int(&json, "sources", sqlite3_column_int64(read, 4));
        if (sqlite3_column_type(read, 3) == SQLITE_NULL)
            si__json_put_null(&json, "last_seen_ms");
        else
            si__json_put_int(&json, "last_seen_ms", sqlite3_column_int64(read, 3));
        si__json_put_int(&json, "firing", sqlite3_column_int64(read, 5));
        put_cpu(request, &json, sqlite3_column_int64(read, 0));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* Text that the recorder wrote as JSON, or an empty array. */
static void put_stored_json(si__json_writer *json, const char *key, const char *text) {
    if (*text)
        si__json_put_raw(json, key, text, strlen(text));
    else
        si__json_put_raw(json, key, "[]", 2);
}

void si__handle_sources(si__request *request) {
    static const char *const names[] = {"host",   "app_version",   "runtime_type", "runtime_version", "build_id",
                                        "run_id", "agent_version", "os",           "rules_hash"};
    si__db *db = &request->reader->db;
    int64_t app, now = si__clock_unix_ms();
    if (si__request_app(request, &app)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "sources");
    sqlite3_stmt *read = si__db_prepare(
        db,
        "SELECT "
        "id,pid,first_seen_ms,last_seen_ms,statuses,losses,clock_ahead_ms,host,app_version,runtime_type,runtime_"
        "version,"
        "build_id,run_id,agent_version,os,rules_hash FROM source WHERE app=? ORDER BY last_seen_ms DESC LIMIT 1000");
    si__db_bind(read, "i", app);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 0));
        si__json_put_int(&json, "pid", sqlite3_column_int64(read, 1));
        si__json_put_int(&json, "first_seen_ms", sqlite3_column_int64(read, 2));
        si__json_put_int(&json, "last_seen_ms", sqlite3_column_int64(read, 3));
        si__json_put_bool(&json, "up", now - sqlite3_column_int64(read, 3) < UP_MS);
        put_stored_json(&json, "statuses", si__db_text(read, 4));
        put_stored_json(&json, "losses", si__db_text(read, 5));
        si__json_put_int(&json, "clock_ahead_ms", sqlite3_column_int64(read, 6));
        for (int i = 0; i < 9; i++) si__json_put_string(&json, names[i], si__db_text(read, 7 + i));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Rules as loaded ---- */

static void put_rule(si__json_writer *json, const si__json *rule, int64_t source, const char *host) {
    static const char *const names[] = {"name", "file", "state", "error"};
    si__json_object_begin(json, NULL);
    si__json_put_int(json, "source", source);
    si__json_put_string(json, "host", host);
    for (size_t i = 0; i < 4; i++) si__json_put_string(json, names[i], si__json_get_string(rule, names[i], ""));
    si__json_put_int(json, "evaluations", si__json_get_integer(rule, "evaluations", 0));
    si__json_put_int(json, "cost_ns", si__json_get_integer(rule, "cost_ns", 0));
    si__json_object_end(json);
}

void si__handle_rules(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t app;
    char hash[130] = "";
    if (si__request_app(request, &app)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "rules");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,host,rules,rules_hash FROM source WHERE app=? AND last_seen_ms>?"
                                            " ORDER BY last_seen_ms DESC LIMIT 100");
    si__db_bind(read, "ii", app, si__clock_unix_ms() - 86400000);
    while (si__db_step(db, read) == 1) {
        si__json *rules = NULL;
        const char *text = si__db_text(read, 2);
        if (!hash[0]) snprintf(hash, sizeof hash, "%s", si__db_text(read, 3));
        if (si__json_parse(text, strlen(text), &rules, NULL, 0)) continue;
        for (const si__json *rule = rules->first; rule; rule = rule->next)
            put_rule(&json, rule, sqlite3_column_int64(read, 0), si__db_text(read, 1));
        si__json_free(rules);
    }
    si__json_array_end(&json);
    si__json_put_string(&json, "hash", hash);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

void si__handle_first_report(si__request *request) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT first_report_ms FROM app WHERE name=? AND environment=?");
    si__db_bind(read, "ss", si__request_argument(request, "app", ""), si__request_argument(request, "env", ""));
    int64_t first = si__db_int(db, read, 0);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_bool(&json, "received", first != 0);
    if (first)
        si__json_put_int(&json, "t", first);
    else
        si__json_put_null(&json, "t");
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}
