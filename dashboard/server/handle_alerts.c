/* Routes: alerts with their deliveries, acknowledgement, silences. Workers' threads; changes on the writer's. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "handlers.h"
#include "series.h"

#define ALERTS 500
#define DELIVERIES 500
#define SILENCES 500
#define SHORT_LOG 20 /* deliveries told with each alert of a list */

/* ---- Writing alerts ---- */

#define ALERT_COLUMNS                                                                                                  \
    "SELECT alert.id,fingerprint,rule,subject,severity,summary,runbook,detail,app.name,app.environment,alert.host,"    \
    "alert.state,started_ms,fired_ms,resolved_ms,acked_by,acked_ms,ack_comment,value,"                                 \
    "EXISTS(SELECT 1 FROM silence WHERE until_ms>?1 AND coalesce(silence.rule,alert.rule)=alert.rule"                  \
    " AND coalesce(silence.app,app.name)=app.name"                                                                     \
    " AND coalesce(silence.environment,app.environment)=app.environment"                                               \
    " AND coalesce(silence.host,alert.host)=alert.host"                                                                \
    " AND coalesce(silence.severity,alert.severity)=alert.severity)"                                                   \
    " FROM alert JOIN app ON app.id=alert.app "

static void put_deliveries(si__request *request, si__json_writer *json, int64_t alert, int64_t limit) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT destination,delivery.state,error,attempts,time_ms,about FROM delivery JOIN outbox ON"
                           " outbox.id=delivery.outbox WHERE delivery.alert=? ORDER BY delivery.id DESC LIMIT ?");
    si__db_bind(read, "ii", alert, limit);
    si__json_array_begin(json, "deliveries");
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "destination", si__db_text(read, 0));
        si__json_put_string(json, "state", si__db_text(read, 1));
        si__json_put_string(json, "error", si__db_text(read, 2));
        si__json_put_int(json, "attempts", sqlite3_column_int64(read, 3));
        si__json_put_int(json, "time_ms", sqlite3_column_int64(read, 4));
        si__json_put_string(json, "about", si__db_text(read, 5));
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

static void put_alert(si__request *request, si__json_writer *json, const char *key, sqlite3_stmt *row,
                      int64_t deliveries) {
    static const char *const texts[] = {"fingerprint", "rule", "subject", "severity", "summary", "runbook",
                                        "detail",      "app",  "env",     "host",     "state"};
    static const char *const times[] = {"started_ms", "fired_ms", "resolved_ms"};
    si__json_object_begin(json, key);
    si__json_put_int(json, "id", sqlite3_column_int64(row, 0));
    for (int i = 0; i < 11; i++) si__json_put_string(json, texts[i], si__db_text(row, 1 + i));
    for (int i = 0; i < 3; i++) si__json_put_int(json, times[i], sqlite3_column_int64(row, 12 + i));
    if (sqlite3_column_type(row, 15) == SQLITE_NULL) {
        si__json_put_null(json, "acked_by");
        si__json_put_null(json, "acked_ms");
    } else {
        si__json_put_string(json, "acked_by", si__db_text(row, 15));
        si__json_put_int(json, "acked_ms", sqlite3_column_int64(row, 16));
        si__json_put_string(json, "ack_comment", si__db_text(row, 17));
    }
    if (sqlite3_column_type(row, 18) == SQLITE_NULL)
        si__json_put_null(json, "value");
    else
        si__json_put_number(json, "value", sqlite3_column_double(row, 18));
    si__json_put_bool(json, "silenced", sqlite3_column_int(row, 19));
    put_deliveries(request, json, sqlite3_column_int64(row, 0), deliveries);
    si__json_object_end(json);
}

void si__alert_write(si__request *request, si__json_writer *json, const char *key, int64_t alert) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, ALERT_COLUMNS "WHERE alert.id=?2");
    if (si__db_step(db, si__db_bind(read, "ii", si__clock_unix_ms(), alert)) != 1) return;
    put_alert(request, json, key, read, DELIVERIES);
    sqlite3_reset(read);
}

void si__alerts_write_firing(si__request *request, si__json_writer *json, int64_t app) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db, ALERT_COLUMNS "WHERE alert.app=?2 AND alert.state='firing' ORDER BY started_ms DESC LIMIT 50");
    si__db_bind(read, "ii", si__clock_unix_ms(), app);
    si__json_array_begin(json, "alerts");
    while (si__db_step(db, read) == 1) put_alert(request, json, NULL, read, SHORT_LOG);
    si__json_array_end(json);
}

void si__handle_alerts(si__request *request) {
    si__db *db = &request->reader->db;
    const char *state = si__request_argument(request, "state", "");
    int known = !*state || !strcmp(state, "firing") || !strcmp(state, "pending") || !strcmp(state, "resolved");
    if (!known) {
        si__answer_error(request, 400, "invalid", "A state is pending, firing or resolved.", "state");
        return;
    }
    sqlite3_stmt *read = si__db_prepare(
        db, ALERT_COLUMNS "WHERE (?2='' OR alert.state=?2) AND (?3='' OR app.name=?3) AND (?4='' OR app.environment=?4)"
                          " ORDER BY alert.state='firing' DESC,started_ms DESC LIMIT ?5");
    si__db_bind(read, "isssi", si__clock_unix_ms(), state, si__request_argument(request, "app", ""),
                si__request_argument(request, "env", ""), (int64_t)ALERTS);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "alerts");
    while (si__db_step(db, read) == 1) put_alert(request, &json, NULL, read, SHORT_LOG);
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Changes ---- */

typedef struct change { /* what the writes of this file share */
    si__request *request;
    const si__json *body;
    int64_t id;
} change;

/* The number in the path; 0: answered with 404. */
static int64_t id_of(si__request *request) {
    char *end;
    long long id = strtoll(request->parameter, &end, 10);
    if (!*end && id > 0) return id;
    si__answer_failure(request, SI_ENOTFOUND);
    return 0;
}

static void refresh(si__request *request) {
    si__reader_end(request->reader);
    si__reader_begin(request->reader);
}

static int too_long(si__request *request, const si__json *body, const char *field) {
    if (strlen(si__json_get_string(body, field, "")) <= 2000) return 0;
    si__answer_error(request, 400, "invalid", "This text has at most 2000 characters.", field);
    return 1;
}

static void answer_alert(si__request *request, int64_t id) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__alert_write(request, &json, "alert", id);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static int ack_apply(si__tx *tx, void *arg) {
    change *c = arg;
    sqlite3_stmt *update = si__db_prepare(tx->db, "UPDATE alert SET acked_by=?,acked_ms=?,ack_comment=? WHERE id=?");
    si__db_bind(update, "sisi", c->request->user.email, tx->now_ms, si__json_get_string(c->body, "comment", ""), c->id);
    int failed = si__db_run(tx->db, update);
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, c->request->user.email, "alert acknowledged", c->request->parameter,
                              c->request->address);
}

void si__handle_alert_ack(si__request *request) {
    si__json *body;
    change c = {request, NULL, id_of(request)};
    if (!c.id || si__request_body(request, &body)) return;
    c.body = body;
    if (!too_long(request, body, "comment") && !si__request_write(request, ack_apply, &c)) {
        refresh(request);
        answer_alert(request, c.id);
    }
    si__json_free(body);
}

static int unack_apply(si__tx *tx, void *arg) {
    change *c = arg;
    sqlite3_stmt *update =
        si__db_prepare(tx->db, "UPDATE alert SET acked_by=NULL,acked_ms=NULL,ack_comment=NULL WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(update, "i", c->id));
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, c->request->user.email, "acknowledgement taken back", c->request->parameter,
                              c->request->address);
}

void si__handle_alert_unack(si__request *request) {
    change c = {request, NULL, id_of(request)};
    if (!c.id || si__request_write(request, unack_apply, &c)) return;
    refresh(request);
    answer_alert(request, c.id);
}

void si__handle_alert(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t id = id_of(request);
    sqlite3_stmt *find = si__db_prepare(db, "SELECT 1 FROM alert WHERE id=?");
    if (!id) return;
    if (si__db_int(db, si__db_bind(find, "i", id), 0))
        answer_alert(request, id);
    else
        si__answer_failure(request, SI_ENOTFOUND);
}

/* ---- The delivery log ---- */

void si__handle_deliveries(si__request *request) {
    static const char *const texts[] = {"rule", "subject", "app", "env", "about", "destination", "state", "error"};
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db,
        "SELECT delivery.id,delivery.alert,attempts,time_ms,rule,subject,app.name,app.environment,about,destination,"
        "delivery.state,error FROM delivery JOIN outbox ON outbox.id=delivery.outbox"
        " JOIN alert ON alert.id=delivery.alert JOIN app ON app.id=alert.app WHERE (?1='' OR app.name=?1)"
        " AND (?2='' OR app.environment=?2) AND (?3='' OR delivery.state=?3) ORDER BY delivery.id DESC LIMIT ?4");
    si__db_bind(read, "sssi", si__request_argument(request, "app", ""), si__request_argument(request, "env", ""),
                si__request_argument(request, "state", ""), (int64_t)DELIVERIES);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "deliveries");
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 0));
        si__json_put_int(&json, "alert", sqlite3_column_int64(read, 1));
        si__json_put_int(&json, "attempts", sqlite3_column_int64(read, 2));
        si__json_put_int(&json, "time_ms", sqlite3_column_int64(read, 3));
        for (int i = 0; i < 8; i++) si__json_put_string(&json, texts[i], si__db_text(read, 4 + i));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Silences ---- */

void si__handle_silences(si__request *request) {
    static const char *const names[] = {"rule", "app", "env", "host", "severity"};
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "silences");
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT rule,app,environment,host,severity,id,created_ms,until_ms,author,comment,until_ms>?1 FROM silence"
            " WHERE until_ms>?1 OR ?2 ORDER BY CASE WHEN ?2 THEN -id ELSE until_ms END LIMIT ?3");
    int64_t all = !strcmp(si__request_argument(request, "all", ""), "1");
    si__db_bind(read, "iii", si__clock_unix_ms(), all, (int64_t)SILENCES);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 5));
        si__json_object_begin(&json, "match");
        for (int i = 0; i < 5; i++)
            if (sqlite3_column_type(read, i) != SQLITE_NULL) si__json_put_string(&json, names[i], si__db_text(read, i));
        si__json_object_end(&json);
        si__json_put_int(&json, "created_ms", sqlite3_column_int64(read, 6));
        si__json_put_int(&json, "until_ms", sqlite3_column_int64(read, 7));
        si__json_put_string(&json, "created_by", si__db_text(read, 8));
        si__json_put_string(&json, "comment", si__db_text(read, 9));
        si__json_put_bool(&json, "active", sqlite3_column_int(read, 10));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static int silence_apply(si__tx *tx, void *arg) {
    change *c = arg;
    const si__json *match = si__json_get(c->body, "match");
    sqlite3_stmt *insert = si__db_prepare(tx->db, "INSERT INTO silence(rule,app,environment,host,severity,created_ms,"
                                                  "until_ms,author,comment) VALUES(?,?,?,?,?,?,?,?,?)");
    si__db_bind(insert, "sssssiiss", si__json_get_string(match, "rule", NULL), si__json_get_string(match, "app", NULL),
                si__json_get_string(match, "env", NULL), si__json_get_string(match, "host", NULL),
                si__json_get_string(match, "severity", NULL), tx->now_ms, si__json_get_integer(c->body, "until_ms", 0),
                c->request->user.email, si__json_get_string(c->body, "comment", ""));
    int failed = si__db_run(tx->db, insert);
    c->id = sqlite3_last_insert_rowid(tx->db->sql);
    tx->changed |= SI__CHANGED_ALERTS;
    return failed ? failed
                  : si__audit(tx, c->request->user.email, "silence made", si__json_get_string(c->body, "comment", ""),
                              c->request->address);
}

static int match_is_valid(const si__json *match) {
    static const char *const names[] = {"rule", "app", "env", "host", "severity"};
    size_t known = 0;
    for (const si__json *field = match ? match->first : NULL; field; field = field->next) {
        int found = 0;
        for (size_t i = 0; i < 5; i++) found |= !strcmp(field->key, names[i]);
        if (!found || field->type != SI__JSON_STRING || field->length == 0 || field->length > 255) return 0;
        known++;
    }
    return known > 0;
}

void si__handle_silence_make(si__request *request) {
    si__json *body;
    if (si__request_body(request, &body)) return;
    change c = {request, body, 0};
    int64_t until = si__json_get_integer(body, "until_ms", 0), now = si__clock_unix_ms();
    if (!match_is_valid(si__json_get(body, "match")))
        si__answer_error(request, 400, "invalid",
                         "A silence matches at least one of rule, app, env, host and severity, each a text.", "match");
    else if (until <= now || until > now + 366 * 86400000ll)
        si__answer_error(request, 400, "invalid", "A silence ends in the future, within a year.", "until_ms");
    else if (!too_long(request, body, "comment") && !si__request_write(request, silence_apply, &c)) {
        refresh(request);
        si__handle_silences(request);
        request->status = 201;
    }
    si__json_free(body);
}

static int silence_end_apply(si__tx *tx, void *arg) {
    change *c = arg;
    sqlite3_stmt *end = si__db_prepare(tx->db, "UPDATE silence SET until_ms=?1 WHERE id=?2 AND until_ms>?1");
    int failed = si__db_run(tx->db, si__db_bind(end, "ii", tx->now_ms, c->id));
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    tx->changed |= SI__CHANGED_ALERTS;
    return failed ? failed
                  : si__audit(tx, c->request->user.email, "silence ended", c->request->parameter, c->request->address);
}

void si__handle_silence_end(si__request *request) {
    change c = {request, NULL, id_of(request)};
    if (c.id && !si__request_write(request, silence_end_apply, &c)) si__answer_nothing(request);
}
