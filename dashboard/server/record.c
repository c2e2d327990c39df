/*
 * A report becomes rows: the ledger, the source and its context. Writer thread, inside a transaction; see record.h.
 */
#include "record.h"

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/json.h"

#define SKEW_LIMIT_MS (5 * 60 * 1000)
#define CONTEXT_CAP 1024
#define APPS_LIMIT 10000

const char *si__clip(char *out, size_t cap, const char *text) {
    if (cap == 0) return out;
    if (!text) text = "";
    size_t length = strnlen(text, cap);
    if (length >= cap) {
        length = cap - 1;
        while (length && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
    }
    memcpy(out, text, length);
    out[length] = '\0';
    return out;
}

int si__store_app(si__tx *tx, const char *name, const char *environment, int64_t *app) {
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT id FROM app WHERE name=? AND environment=?");
    *app = si__db_int(tx->db, si__db_bind(find, "ss", name, environment), 0);
    if (*app) return SI_OK;
    if (si__db_int(tx->db, si__db_prepare(tx->db, "SELECT count(*) FROM app"), 0) >= APPS_LIMIT) return SI_EINVAL;
    sqlite3_stmt *insert = si__db_prepare(
        tx->db, "INSERT INTO app(id,name,environment,created_ms) VALUES(1+max((SELECT coalesce(max(id),0) FROM app),"
                "(SELECT coalesce(max(id),0) FROM app_gone)),?,?,?)");
    int failed = si__db_run(tx->db, si__db_bind(insert, "ssi", name, environment, tx->now_ms));
    *app = sqlite3_last_insert_rowid(tx->db->sql);
    return failed;
}

int si__store_has_app(si__tx *tx, int64_t app) {
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT 1 FROM app WHERE id=?");
    return si__db_int(tx->db, si__db_bind(find, "i", app), 0) != 0;
}

/* The context of a profile as JSON: what the page shows as tags. */
static int context_json(const si__context *context, char **out) {
    si__json_writer json = {0};
    char text[CONTEXT_CAP];
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "host", si__clip(text, sizeof text, context->host));
    si__json_put_int(&json, "pid", context->pid);
    si__json_put_string(&json, "app_version", si__clip(text, sizeof text, context->app_version));
    si__json_put_string(&json, "runtime_type", si__clip(text, sizeof text, context->runtime_type));
    si__json_put_string(&json, "runtime_version", si__clip(text, sizeof text, context->runtime_version));
    si__json_put_string(&json, "build_id", si__clip(text, sizeof text, context->build_id));
    si__json_put_string(&json, "run_id", si__clip(text, sizeof text, context->run_id));
    si__json_put_string(&json, "agent_version", si__clip(text, sizeof text, context->agent_version));
    si__json_put_string(&json, "os", si__clip(text, sizeof text, context->os));
    si__json_array_begin(&json, "tags");
    for (size_t i = 0; i < context->tag_count && i < 64; i++)
        si__json_put_string(&json, NULL, si__clip(text, sizeof text, context->tags[i]));
    si__json_array_end(&json);
    si__json_object_end(&json);
    return si__json_take(&json, out, NULL);
}

static void put_statuses(si__json_writer *json, const si__report *report) {
    char text[CONTEXT_CAP];
    si__json_array_begin(json, NULL);
    for (size_t i = 0; i < report->status_count && i < 256; i++) {
        const si__report_status *status = &report->statuses[i];
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "name", si__clip(text, sizeof text, status->name));
        si__json_put_string(json, "state", si__clip(text, sizeof text, status->state));
        si__json_put_string(json, "reason", si__clip(text, sizeof text, status->reason));
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

static void put_losses(si__json_writer *json, const si__report *report) {
    char text[CONTEXT_CAP];
    si__json_array_begin(json, NULL);
    for (size_t i = 0; i < report->loss_count && i < 256; i++) {
        const si__report_loss *loss = &report->losses[i];
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "name", si__clip(text, sizeof text, loss->name));
        si__json_put_uint(json, "made", loss->made);
        si__json_put_uint(json, "stored", loss->stored);
        si__json_put_uint(json, "pending", loss->pending);
        si__json_put_uint(json, "dropped", loss->dropped);
        si__json_put_string(json, "reason", si__clip(text, sizeof text, loss->reason));
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

static void put_rules(si__json_writer *json, const si__report *report) {
    char text[CONTEXT_CAP];
    si__json_array_begin(json, NULL);
    for (size_t i = 0; i < report->rule_count && i < 1000; i++) {
        const si__report_rule *rule = &report->rules[i];
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "name", si__clip(text, sizeof text, rule->name));
        si__json_put_string(json, "file", si__clip(text, sizeof text, rule->file));
        si__json_put_string(json, "state", si__clip(text, sizeof text, rule->state));
        si__json_put_string(json, "error", si__clip(text, sizeof text, rule->error));
        si__json_put_uint(json, "evaluations", rule->evaluations);
        si__json_put_uint(json, "cost_ns", rule->cost_ns);
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

static int make_json(const si__report *report, void (*put)(si__json_writer *, const si__report *), char **out) {
    si__json_writer json = {0};
    put(&json, report);
    return si__json_take(&json, out, NULL);
}

static int upsert_source(si__record *record) {
    si__db *db = record->tx->db;
    const si__report *report = record->report;
    const si__context *context = &report->context;
    char host[256];
    si__clip(host, sizeof host, context->host);
    sqlite3_stmt *find = si__db_prepare(db, "SELECT id FROM source WHERE app=? AND agent=? AND host=?");
    record->source =
        si__db_int(db, si__db_bind(find, "ibs", record->app, report->id.agent, sizeof report->id.agent, host), 0);
    if (record->source) return SI_OK;
    sqlite3_stmt *insert = si__db_prepare(
        db, "INSERT INTO source(app,agent,host,first_seen_ms,last_seen_ms,report_end_ms) VALUES(?,?,?,?,?,-1)");
    si__db_bind(insert, "ibsii", record->app, report->id.agent, sizeof report->id.agent, host, record->tx->now_ms,
                record->tx->now_ms);
    int failed = si__db_run(db, insert);
    record->source = sqlite3_last_insert_rowid(db->sql);
    return failed;
}

/* What a source says of itself is taken from its newest report: a spool may deliver older ones later. */
static int update_source(si__record *record, const char *statuses, const char *losses, const char *rules) {
    const si__context *context = &record->report->context;
    char version[256], type[64], runtime[256], build[128], run[64], agent[64], os[256], hash[128];
    sqlite3_stmt *update = si__db_prepare(
        record->tx->db,
        "UPDATE source SET pid=?,app_version=?,runtime_type=?,runtime_version=?,build_id=?,run_id=?,agent_version=?,"
        "os=?,statuses=?,losses=?,rules=?,rules_hash=?,report_end_ms=?,clock_ahead_ms=? WHERE id=? AND "
        "report_end_ms<=?");
    si__db_bind(update, "isssssssssssiiii", context->pid, si__clip(version, sizeof version, context->app_version),
                si__clip(type, sizeof type, context->runtime_type),
                si__clip(runtime, sizeof runtime, context->runtime_version),
                si__clip(build, sizeof build, context->build_id), si__clip(run, sizeof run, context->run_id),
                si__clip(agent, sizeof agent, context->agent_version), si__clip(os, sizeof os, context->os), statuses,
                losses, rules, si__clip(hash, sizeof hash, record->report->rules_hash), record->time_ms,
                -record->shift_ms, record->source, record->time_ms);
    int failed = si__db_run(record->tx->db, update);
    if (failed) return failed;
    sqlite3_stmt *seen =
        si__db_prepare(record->tx->db, "UPDATE source SET last_seen_ms=max(last_seen_ms,?) WHERE id=?");
    return si__db_run(record->tx->db, si__db_bind(seen, "ii", record->tx->now_ms, record->source));
}

static int find_context(si__record *record, const char *body) {
    si__db *db = record->tx->db;
    uint8_t hash[16];
    crypto_generichash(hash, sizeof hash, (const unsigned char *)body, strlen(body), NULL, 0);
    sqlite3_stmt *find = si__db_prepare(db, "SELECT id FROM context WHERE source=? AND hash=?");
    record->context = si__db_int(db, si__db_bind(find, "ib", record->source, hash, sizeof hash), 0);
    if (record->context) return SI_OK;
    char version[256];
    sqlite3_stmt *insert = si__db_prepare(db, "INSERT INTO context(source,hash,body,app_version) VALUES(?,?,?,?)");
    si__db_bind(insert, "ibss", record->source, hash, sizeof hash, body,
                si__clip(version, sizeof version, record->report->context.app_version));
    int failed = si__db_run(db, insert);
    record->context = sqlite3_last_insert_rowid(db->sql);
    return failed;
}

/* A version that was not seen before draws a deploy mark where it first reported. */
static int mark_version(si__record *record) {
    si__db *db = record->tx->db;
    char version[128], text[160];
    if (!*si__clip(version, sizeof version, record->report->context.app_version)) return SI_OK;
    sqlite3_stmt *insert =
        si__db_prepare(db, "INSERT OR IGNORE INTO app_version(app,version,first_seen_ms) VALUES(?,?,?)");
    int64_t start = si__record_time(record, record->report->start_ms);
    int failed = si__db_run(db, si__db_bind(insert, "isi", record->app, version, start));
    if (failed || sqlite3_changes(db->sql) == 0) return failed;
    snprintf(text, sizeof text, "version %s", version);
    sqlite3_stmt *mark =
        si__db_prepare(db, "INSERT INTO annotation(app,time_ms,kind,text,author) VALUES(?,?,'deploy',?,'')");
    return si__db_run(db, si__db_bind(mark, "iis", record->app, start, text));
}

int si__record_source(si__record *record) {
    char *context = NULL, *statuses = NULL, *losses = NULL, *rules = NULL;
    int failed = upsert_source(record);
    failed = failed ? failed : context_json(&record->report->context, &context);
    failed = failed ? failed : make_json(record->report, put_statuses, &statuses);
    failed = failed ? failed : make_json(record->report, put_losses, &losses);
    failed = failed ? failed : make_json(record->report, put_rules, &rules);
    failed = failed ? failed : update_source(record, statuses, losses, rules);
    failed = failed ? failed : find_context(record, context);
    failed = failed ? failed : mark_version(record);
    free(context);
    free(statuses);
    free(losses);
    free(rules);
    return failed;
}

/* 1: the report is new and noted; 0: stored before; negative: SI_E*. */
static int enter_ledger(si__tx *tx, int64_t app, const si__report_id *id) {
    uint8_t whole[40], key[16]; /* half the size on disk, twice */
    memcpy(whole, id->agent, 16);
    memcpy(whole + 16, id->boot, 16);
    for (int i = 0; i < 8; i++) whole[32 + i] = (uint8_t)(id->sequence >> (56 - 8 * i));
    crypto_generichash(key, sizeof key, whole, sizeof whole, NULL, 0);
    sqlite3_stmt *insert = si__db_prepare(tx->db, "INSERT OR IGNORE INTO ledger(app,id,received_ms) VALUES(?,?,?)");
    int failed = si__db_run(tx->db, si__db_bind(insert, "ibi", app, key, sizeof key, tx->now_ms));
    return failed ? failed : sqlite3_changes(tx->db->sql) > 0;
}

int si__store_report_apply(si__tx *tx, void *arg) {
    si__store_report *job = arg;
    si__record record = {.tx = tx, .report = job->report, .app = job->app};
    if (job->paths) record.paths = job->paths->keys;
    if (!si__store_has_app(tx, job->app)) return SI_ENOTFOUND; /* it was removed since its key was looked at */
    int entered = enter_ledger(tx, job->app, &job->report->id);
    job->duplicate = entered == 0;
    if (entered <= 0) return entered;
    int64_t ahead = si__record_time(&record, job->report->end_ms) - tx->now_ms;
    if (ahead > SKEW_LIMIT_MS) record.shift_ms = -ahead;
    record.time_ms = si__record_time(&record, job->report->end_ms);
    if (job->report->names) {
        record.frames = calloc(job->report->names->frame_count + 1, sizeof *record.frames);
        if (!record.frames) return SI_ENOMEM;
    }
    int failed = si__record_source(&record);
    failed = failed ? failed : si__record_profiles(&record);
    failed = failed ? failed : si__record_segments(&record);
    failed = failed ? failed : si__record_errors(&record);
    failed = failed ? failed : si__record_points(&record);
    failed = failed ? failed : si__record_alerts(&record);
    free(record.frames);
    if (failed) return failed;
    sqlite3_stmt *seen = si__db_prepare(tx->db, "UPDATE app SET last_seen_ms=max(coalesce(last_seen_ms,0),?),"
                                                " first_report_ms=min(coalesce(first_report_ms,?),?) WHERE id=?");
    return si__db_run(tx->db, si__db_bind(seen, "iiii", tx->now_ms, tx->now_ms, tx->now_ms, record.app));
}
