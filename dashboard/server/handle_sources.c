/* Routes: sources, their versions, what their collectors say, the rules that they run. Workers' threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "handlers.h"

#define UP_MS (5 * 60000ll) /* agents report every two minutes at the latest, by default */
#define DAY_MS 86400000ll

/* Text that the recorder wrote as JSON, or an empty array. */
static void put_stored_json(si__json_writer *json, const char *key, const char *text) {
    if (*text)
        si__json_put_raw(json, key, text, strlen(text));
    else
        si__json_put_raw(json, key, "[]", 2);
}

/* Did its last report say that the program ended in order? */
static int has_ended(const char *statuses) {
    si__json *list = NULL;
    int ended = 0;
    if (si__json_parse(statuses, strlen(statuses), &list, NULL, 0)) return 0;
    for (const si__json *status = list->first; status; status = status->next)
        ended |= !strcmp(si__json_get_string(status, "name", ""), "agent") &&
                 !strcmp(si__json_get_string(status, "state", ""), "off");
    si__json_free(list);
    return ended;
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
        db, "SELECT id,pid,first_seen_ms,last_seen_ms,statuses,losses,clock_ahead_ms,host,app_version,runtime_type,"
            "runtime_version,build_id,run_id,agent_version,os,rules_hash,tags FROM source WHERE app=?"
            " ORDER BY last_seen_ms DESC LIMIT 1000");
    si__db_bind(read, "i", app);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 0));
        si__json_put_int(&json, "pid", sqlite3_column_int64(read, 1));
        si__json_put_int(&json, "first_seen_ms", sqlite3_column_int64(read, 2));
        si__json_put_int(&json, "last_seen_ms", sqlite3_column_int64(read, 3));
        si__json_put_bool(&json, "up", now - sqlite3_column_int64(read, 3) < UP_MS);
        si__json_put_bool(&json, "ended", has_ended(si__db_text(read, 4)));
        put_stored_json(&json, "tags", si__db_text(read, 16));
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
    int64_t evaluations = si__json_get_integer(rule, "evaluations", 0),
            cost_ns = si__json_get_integer(rule, "cost_ns", 0);
    si__json_put_int(json, "evaluations", evaluations);
    si__json_put_int(json, "cost_ns", cost_ns);
    si__json_put_number(json, "cost_us", evaluations > 0 ? (double)cost_ns / 1e3 / (double)evaluations : 0);
    si__json_object_end(json);
}

/* The dashboard's own rules, as the alerting thread wrote them down; see watch.h. */
static void put_dashboard_rules(si__request *request, si__json_writer *json, int64_t app) {
    si__db *db = &request->reader->db;
    char name[48];
    snprintf(name, sizeof name, "rules_loaded:%lld", (long long)app);
    sqlite3_stmt *read = si__db_prepare(db, "SELECT value FROM meta WHERE key=?");
    if (si__db_step(db, si__db_bind(read, "s", name)) != 1) return;
    si__json_put_raw(json, "dashboard", sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0));
    sqlite3_reset(read);
}

void si__handle_rules(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t app;
    char hash[130] = "";
    int64_t errors = 0;
    if (si__request_app(request, &app)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "rules");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,host,rules,rules_hash FROM source WHERE app=? AND last_seen_ms>?"
                                            " ORDER BY last_seen_ms DESC LIMIT 100");
    si__db_bind(read, "ii", app, si__clock_unix_ms() - DAY_MS);
    while (si__db_step(db, read) == 1) {
        si__json *rules = NULL;
        const char *text = si__db_text(read, 2);
        if (!hash[0]) snprintf(hash, sizeof hash, "%s", si__db_text(read, 3));
        if (si__json_parse(text, strlen(text), &rules, NULL, 0)) continue;
        for (const si__json *rule = rules->first; rule; rule = rule->next) {
            put_rule(&json, rule, sqlite3_column_int64(read, 0), si__db_text(read, 1));
            errors += *si__json_get_string(rule, "error", "") != '\0';
        }
        si__json_free(rules);
    }
    si__json_array_end(&json);
    put_dashboard_rules(request, &json, app);
    si__json_put_string(&json, "hash", hash);
    si__json_put_int(&json, "errors", errors);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Versions ---- */

void si__handle_versions(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t app;
    if (si__request_app(request, &app)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "versions");
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT version,first_seen_ms,(SELECT max(last_seen_ms) FROM source WHERE source.app=?1 AND "
            "app_version=version),"
            "(SELECT count(*) FROM source WHERE source.app=?1 AND app_version=version) FROM app_version WHERE app=?1"
            " ORDER BY first_seen_ms DESC LIMIT 500");
    si__db_bind(read, "i", app);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "version", si__db_text(read, 0));
        si__json_put_int(&json, "first_seen_ms", sqlite3_column_int64(read, 1));
        if (sqlite3_column_type(read, 2) == SQLITE_NULL)
            si__json_put_null(&json, "last_seen_ms"); /* every source has moved on */
        else
            si__json_put_int(&json, "last_seen_ms", sqlite3_column_int64(read, 2));
        si__json_put_int(&json, "sources", sqlite3_column_int64(read, 3));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Collectors: what works where, and why not ---- */

#define COLLECTORS 256
#define REASONS 16
#define STATES 4

static const char *const states[STATES] = {"on", "off", "unavailable", "degraded"};

typedef struct collector {
    char name[128];
    int64_t counts[STATES];
    struct {
        char state[16], reason[512];
        int64_t sources[64];
        size_t count; /* may be larger than what is listed */
    } reasons[REASONS];
    size_t reason_count;
} collector;

typedef struct collectors {
    collector *items;
    size_t count;
} collectors;

static collector *collector_for(collectors *all, const char *name) {
    for (size_t i = 0; i < all->count; i++)
        if (!strncmp(all->items[i].name, name, sizeof all->items[i].name - 1)) return &all->items[i];
    if (all->count == COLLECTORS) return NULL;
    collector *more = realloc(all->items, (all->count + 1) * sizeof *more);
    if (!more) return NULL;
    all->items = more;
    collector *c = &all->items[all->count++];
    memset(c, 0, sizeof *c);
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}

static void note_reason(collector *c, const char *state, const char *reason, int64_t source) {
    size_t i = 0;
    while (i < c->reason_count && (strcmp(c->reasons[i].state, state) != 0 ||
                                   strncmp(c->reasons[i].reason, reason, sizeof c->reasons[i].reason - 1) != 0))
        i++;
    if (i == REASONS) return;
    if (i == c->reason_count) {
        snprintf(c->reasons[i].state, sizeof c->reasons[i].state, "%s", state);
        snprintf(c->reasons[i].reason, sizeof c->reasons[i].reason, "%s", reason);
        c->reason_count++;
    }
    if (c->reasons[i].count < 64) c->reasons[i].sources[c->reasons[i].count] = source;
    c->reasons[i].count++;
}

static void add_statuses(collectors *all, const char *text, int64_t source) {
    si__json *list = NULL;
    if (si__json_parse(text, strlen(text), &list, NULL, 0)) return;
    for (const si__json *status = list->first; status; status = status->next) {
        const char *state = si__json_get_string(status, "state", ""),
                   *reason = si__json_get_string(status, "reason", "");
        collector *c = collector_for(all, si__json_get_string(status, "name", ""));
        for (int i = 0; c && i < STATES; i++) c->counts[i] += !strcmp(states[i], state);
        if (c && *reason) note_reason(c, state, reason, source);
    }
    si__json_free(list);
}

static void put_collector(si__json_writer *json, const collector *c) {
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "name", c->name);
    si__json_object_begin(json, "sources");
    for (int i = 0; i < STATES; i++) si__json_put_int(json, states[i], c->counts[i]);
    si__json_object_end(json);
    si__json_array_begin(json, "reasons");
    for (size_t i = 0; i < c->reason_count; i++) {
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "state", c->reasons[i].state);
        si__json_put_string(json, "reason", c->reasons[i].reason);
        si__json_put_uint(json, "count", c->reasons[i].count);
        si__json_array_begin(json, "sources");
        for (size_t k = 0; k < c->reasons[i].count && k < 64; k++)
            si__json_put_int(json, NULL, c->reasons[i].sources[k]);
        si__json_array_end(json);
        si__json_object_end(json);
    }
    si__json_array_end(json);
    si__json_object_end(json);
}

void si__handle_collectors(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t app;
    if (si__request_app(request, &app)) return;
    collectors all = {0};
    si__json_writer json = {0};
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,statuses FROM source WHERE app=? AND last_seen_ms>?"
                                            " ORDER BY last_seen_ms DESC LIMIT 1000");
    si__db_bind(read, "ii", app, si__clock_unix_ms() - DAY_MS);
    while (si__db_step(db, read) == 1) add_statuses(&all, si__db_text(read, 1), sqlite3_column_int64(read, 0));
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "collectors");
    for (size_t i = 0; i < all.count; i++) put_collector(&json, &all.items[i]);
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
    free(all.items);
}
