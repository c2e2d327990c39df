/* Gives the outbox to the rule engine and takes its messages; see dispatch.h. */
#include "dispatch.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 200 /* outbox rows a tick */
#define WAITING 500 /* messages that are yet to be written, when the store cannot */
#define SILENCES 200
#define CHANNELS_MOST 50 /* that one name stands for */
#define SAVE_MS 10000    /* what the engine remembers, when nothing else is to be written */
#define STATE_NAME "rules_state:router"

typedef struct message {
    char destination[96];
    si__alert alerts[SI__DISPATCH_MOST];
    int64_t deliveries[SI__DISPATCH_MOST];
    size_t count;
} message;

typedef struct decision { /* what becomes of an outbox row */
    int64_t outbox, alert;
    const char *state;
} decision;

struct si__dispatch {
    si__store *store;
    si__reader *reader;
    si__script *router;
    si__dispatch_send send;
    si__dispatch_channels channels;
    void *arg;
    int resumed;
    int64_t saved_ms;
    message **messages;
    size_t message_count;
    decision decisions[AT_ONCE];
    size_t decision_count;
    char *state; /* of the engine, to be written with the rest; NULL: not now */
    size_t state_length;
};

int si__dispatch_read_alert(sqlite3_stmt *row, int first, const char *about, si__alert *alert) {
    char **const texts[] = {&alert->rule,   &alert->subject, &alert->severity,    &alert->summary, &alert->runbook,
                            &alert->detail, &alert->app,     &alert->environment, &alert->host};
    int failed = SI_OK;
    *alert = (si__alert){0};
    snprintf(alert->fingerprint, sizeof alert->fingerprint, "%s", si__db_text(row, first));
    for (int i = 0; i < 9; i++)
        if (!(*texts[i] = si__report_strdup(si__db_text(row, first + 1 + i)))) failed = SI_ENOMEM;
    alert->state = !strcmp(about, "resolved") ? SI__ALERT_RESOLVED : SI__ALERT_FIRING;
    alert->acked = !strcmp(about, "acked");
    alert->value = sqlite3_column_type(row, first + 10) == SQLITE_NULL ? NAN : sqlite3_column_double(row, first + 10);
    alert->started_ms = sqlite3_column_int64(row, first + 11);
    alert->fired_ms = sqlite3_column_int64(row, first + 12);
    alert->resolved_ms = alert->state == SI__ALERT_RESOLVED ? sqlite3_column_int64(row, first + 13) : 0;
    if (failed) si__alert_clear(alert);
    return failed;
}

/* ---- The engine's messages ---- */

static void message_free(message *m) {
    for (size_t i = 0; i < m->count; i++) si__alert_clear(&m->alerts[i]);
    free(m);
}

static void add_message(si__dispatch *d, const char *destination, const si__alert *alerts, size_t count) {
    for (size_t from = 0; from < count; from += SI__DISPATCH_MOST) {
        message *m = calloc(1, sizeof *m);
        message **grown = realloc(d->messages, (d->message_count + 1) * sizeof *grown);
        if (grown) d->messages = grown;
        if (!m || !grown) {
            free(m);
            return;
        }
        snprintf(m->destination, sizeof m->destination, "%s", destination);
        for (size_t i = from; i < count && m->count < SI__DISPATCH_MOST; i++)
            if (!si__alert_copy(&m->alerts[m->count], &alerts[i])) m->count++;
        d->messages[d->message_count++] = m;
    }
}

/* One message for each channel: what one of them has taken, another one may still have to. */
static void on_notify(void *arg, const char *destination, const si__alert *alerts, size_t count) {
    si__dispatch *d = arg;
    const char *names[CHANNELS_MOST];
    size_t channels = d->channels(d->arg, destination, names, CHANNELS_MOST);
    if (!channels) add_message(d, destination, alerts, count); /* there is none: that is said in the delivery log */
    for (size_t i = 0; i < channels && i < CHANNELS_MOST; i++) add_message(d, names[i], alerts, count);
}

/* ---- In the writer's transaction ---- */

/* The newest outbox row that says this about this alert. 0 and both ids, or SI_ENOTFOUND. */
static int find_row(si__tx *tx, const si__alert *alert, int64_t *outbox, int64_t *id) {
    const char *about = alert->state == SI__ALERT_RESOLVED ? "resolved" : "firing";
    sqlite3_stmt *read = si__db_prepare(
        tx->db, "SELECT alert.id FROM alert JOIN app ON app.id=alert.app WHERE app.name=? AND app.environment=?"
                " AND alert.fingerprint=? ORDER BY alert.started_ms DESC LIMIT 1");
    *id = si__db_int(tx->db, si__db_bind(read, "sss", alert->app, alert->environment, alert->fingerprint), 0);
    read = si__db_prepare(tx->db, "SELECT id FROM outbox WHERE alert=? AND about=? ORDER BY id DESC LIMIT 1");
    *outbox = *id ? si__db_int(tx->db, si__db_bind(read, "is", *id, about), 0) : 0;
    return *outbox ? SI_OK : SI_ENOTFOUND;
}

static int add_delivery(si__tx *tx, int64_t outbox, int64_t alert, const char *destination) {
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT OR IGNORE INTO delivery(outbox,alert,destination,state,error,attempts,time_ms)"
                               " VALUES(?,?,?,'new','',0,?)");
    return si__db_run(tx->db, si__db_bind(insert, "iisi", outbox, alert, destination, tx->now_ms));
}

/* A reminder is a message of its own: the row that it repeats has had its delivery there. */
static int deliver_alert(si__tx *tx, const si__alert *alert, const char *destination, int64_t *delivery) {
    int64_t outbox, id;
    *delivery = 0;
    if (find_row(tx, alert, &outbox, &id)) return SI_OK; /* the alert has been pruned */
    sqlite3_stmt *update = si__db_prepare(tx->db, "UPDATE outbox SET state='routed' WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(update, "i", outbox));
    if (!failed) failed = add_delivery(tx, outbox, id, destination);
    if (!failed && sqlite3_changes(tx->db->sql) == 0) {
        sqlite3_stmt *insert =
            si__db_prepare(tx->db, "INSERT INTO outbox(alert,about,state,created_ms) VALUES(?,?,'routed',?)");
        const char *about = alert->state == SI__ALERT_RESOLVED ? "resolved" : "firing";
        failed = si__db_run(tx->db, si__db_bind(insert, "isi", id, about, tx->now_ms));
        if (!failed) failed = add_delivery(tx, sqlite3_last_insert_rowid(tx->db->sql), id, destination);
    }
    if (!failed) *delivery = sqlite3_last_insert_rowid(tx->db->sql);
    return failed;
}

static int apply_decision(si__tx *tx, const decision *d) {
    sqlite3_stmt *update = si__db_prepare(tx->db, "UPDATE outbox SET state=? WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(update, "si", d->state, d->outbox));
    if (failed || strcmp(d->state, "dropped") != 0) return failed;
    update = si__db_prepare(tx->db, "UPDATE outbox SET state='dropped' WHERE alert=? AND state='handed'");
    return si__db_run(tx->db, si__db_bind(update, "i", d->alert));
}

static int apply_all(si__tx *tx, void *arg) {
    si__dispatch *d = arg;
    int failed = SI_OK;
    for (size_t i = 0; i < d->decision_count && !failed; i++) failed = apply_decision(tx, &d->decisions[i]);
    for (size_t i = 0; i < d->message_count && !failed; i++) {
        message *m = d->messages[i];
        for (size_t k = 0; k < m->count && !failed; k++)
            failed = deliver_alert(tx, &m->alerts[k], m->destination, &m->deliveries[k]);
    }
    if (failed || !d->state) return failed;
    sqlite3_stmt *put = si__db_prepare(tx->db, "INSERT OR REPLACE INTO meta(key,value) VALUES(?,?)");
    return si__db_run(tx->db, si__db_bind(put, "sb", STATE_NAME, d->state, d->state_length));
}

/* ---- What the engine is told ---- */

static void decide(si__dispatch *d, int64_t outbox, int64_t alert, const char *state) {
    if (d->decision_count < AT_ONCE) d->decisions[d->decision_count++] = (decision){outbox, alert, state};
}

/* New rows, oldest first. What was over before anybody was told is not told at all. */
static void hand_new(si__dispatch *d) {
    si__db *db = &d->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT outbox.id,outbox.alert,about,alert.state," SI__ALERT_SELECT
                           " FROM outbox JOIN alert ON alert.id=outbox.alert JOIN app ON app.id=alert.app"
                           " WHERE outbox.state='new' ORDER BY outbox.id LIMIT ?");
    si__db_bind(read, "i", (int64_t)AT_ONCE);
    while (si__db_step(db, read) == 1) {
        si__alert alert;
        int64_t outbox = sqlite3_column_int64(read, 0), id = sqlite3_column_int64(read, 1);
        int resolved = !strcmp(si__db_text(read, 2), "resolved");
        if (!resolved && strcmp(si__db_text(read, 3), "firing") != 0) {
            decide(d, outbox, id, "dropped");
            continue;
        }
        if (si__dispatch_read_alert(read, 4, si__db_text(read, 2), &alert)) break;
        int told = si__script_external_alert(d->router, &alert);
        si__alert_clear(&alert);
        if (told == SI_ELIMIT || told == SI_ENOMEM) break; /* it stays new: later */
        decide(d, outbox, id, told > 0 ? "handed" : resolved ? "dropped" : "unrouted");
    }
    if (read) sqlite3_reset(read);
}

static void hand_silences(si__dispatch *d, int64_t now_ms) {
    si__db *db = &d->reader->db;
    si__silence list[SILENCES];
    char *texts[SILENCES][7];
    size_t n = 0;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT rule,app,environment,host,severity,author,comment,until_ms FROM"
                                            " silence WHERE until_ms>? ORDER BY id DESC LIMIT ?");
    si__db_bind(read, "ii", now_ms, (int64_t)SILENCES);
    while (n < SILENCES && si__db_step(db, read) == 1) {
        for (int i = 0; i < 7; i++)
            texts[n][i] = sqlite3_column_type(read, i) == SQLITE_NULL ? NULL : strdup(si__db_text(read, i));
        list[n] = (si__silence){texts[n][0], texts[n][1], texts[n][2],
                                texts[n][3], texts[n][4], sqlite3_column_int64(read, 7),
                                texts[n][5], texts[n][6]};
        n++;
    }
    if (read) sqlite3_reset(read);
    si__script_silences(d->router, list, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 7; k++) free(texts[i][k]);
}

static void hand_acks(si__dispatch *d) {
    si__db *db = &d->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT fingerprint FROM alert WHERE state='firing' AND acked_ms IS NOT NULL LIMIT 2000");
    while (si__db_step(db, read) == 1) si__script_ack(d->router, si__db_text(read, 0), 1);
    if (read) sqlite3_reset(read);
}

/* ---- Acknowledged: PagerDuty stops calling people ---- */

typedef struct ack_write {
    int64_t alerts[AT_ONCE];
    size_t count;
} ack_write;

static int acks_apply(si__tx *tx, void *arg) {
    const ack_write *w = arg;
    int failed = SI_OK;
    for (size_t i = 0; i < w->count && !failed; i++) {
        sqlite3_stmt *insert =
            si__db_prepare(tx->db, "INSERT INTO outbox(alert,about,state,created_ms) VALUES(?,'acked','routed',?)");
        failed = si__db_run(tx->db, si__db_bind(insert, "ii", w->alerts[i], tx->now_ms));
        sqlite3_stmt *deliver = si__db_prepare(
            tx->db,
            "INSERT OR IGNORE INTO delivery(outbox,alert,destination,state,error,attempts,time_ms)"
            " SELECT DISTINCT ?1,?2,destination,'new','',0,?3 FROM delivery JOIN outbox ON"
            " outbox.id=delivery.outbox WHERE delivery.alert=?2 AND about='firing' AND destination LIKE 'pagerduty:%'");
        if (!failed)
            failed = si__db_run(tx->db, si__db_bind(deliver, "iii", (int64_t)sqlite3_last_insert_rowid(tx->db->sql),
                                                    w->alerts[i], tx->now_ms));
    }
    return failed;
}

/* Alerts that PagerDuty was told of, that somebody has acknowledged since, here. */
static void tell_acks(si__dispatch *d) {
    si__db *db = &d->reader->db;
    ack_write write = {.count = 0};
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT id FROM alert WHERE state='firing' AND acked_ms IS NOT NULL"
            " AND EXISTS(SELECT 1 FROM delivery AS d JOIN outbox AS o ON o.id=d.outbox WHERE d.alert=alert.id"
            " AND o.about='firing' AND d.destination LIKE 'pagerduty:%')"
            " AND NOT EXISTS(SELECT 1 FROM delivery AS d JOIN outbox AS o ON o.id=d.outbox WHERE d.alert=alert.id"
            " AND o.about='acked' AND o.created_ms>=alert.acked_ms) LIMIT ?");
    si__db_bind(read, "i", (int64_t)AT_ONCE);
    while (write.count < AT_ONCE && si__db_step(db, read) == 1)
        write.alerts[write.count++] = sqlite3_column_int64(read, 0);
    if (read) sqlite3_reset(read);
    if (write.count) si__writer_call(si__store_writer(d->store), acks_apply, &write);
}

/* ---- Life ---- */

static int forget_handed(si__tx *tx, void *arg) {
    (void)arg;
    return si__db_run(tx->db, si__db_prepare(tx->db, "UPDATE outbox SET state='new' WHERE state IN ('handed','held')"));
}

/* After a start: what the engine remembered, and the texts of what fires. Returns whether it went well. */
static int resume(si__dispatch *d, int64_t now_ms) {
    si__db *db = &d->reader->db;
    if (si__writer_call(si__store_writer(d->store), forget_handed, NULL)) return 0;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT value FROM meta WHERE key=?");
    if (si__db_step(db, si__db_bind(read, "s", STATE_NAME)) == 1)
        si__script_state_load(d->router, sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0), now_ms);
    if (read) sqlite3_reset(read);
    si__script_tick(d->router, now_ms);
    read = si__db_prepare(db, "SELECT" SI__ALERT_SELECT " FROM alert JOIN app ON app.id=alert.app"
                              " WHERE alert.state='firing' ORDER BY alert.id DESC LIMIT 2000");
    while (si__db_step(db, read) == 1) {
        si__alert alert;
        if (si__dispatch_read_alert(read, 0, "firing", &alert)) break;
        si__script_external_alert(d->router, &alert);
        si__alert_clear(&alert);
    }
    if (read) sqlite3_reset(read);
    return 1;
}

si__dispatch *si__dispatch_new(si__store *store, si__reader *reader, si__script *router, si__dispatch_send send,
                               si__dispatch_channels channels, void *arg) {
    si__dispatch *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->store = store;
    d->reader = reader;
    d->router = router;
    d->send = send;
    d->channels = channels;
    d->arg = arg;
    si__script_on_notify(router, on_notify, d);
    si__script_route_only(router);
    return d;
}

void si__dispatch_free(si__dispatch *dispatch) {
    if (!dispatch) return;
    for (size_t i = 0; i < dispatch->message_count; i++) message_free(dispatch->messages[i]);
    free(dispatch->messages);
    free(dispatch);
}

static void send_all(si__dispatch *d, int64_t now_ms) {
    for (size_t i = 0; i < d->message_count; i++) {
        message *m = d->messages[i];
        d->send(d->arg, m->destination, m->alerts, m->deliveries, m->count, now_ms);
        message_free(m);
    }
    d->message_count = 0;
}

void si__dispatch_tick(si__dispatch *d, int64_t now_ms) {
    if (!d->resumed) d->resumed = resume(d, now_ms);
    if (!d->resumed || d->message_count > WAITING) return; /* the store cannot be written now: later */
    d->decision_count = 0;
    hand_new(d);
    hand_silences(d, now_ms);
    hand_acks(d);
    tell_acks(d);
    si__db_reset_all(&d->reader->db);
    si__script_tick(d->router, now_ms);
    int due = now_ms - d->saved_ms >= SAVE_MS || now_ms < d->saved_ms;
    if (!d->decision_count && !d->message_count && !due) return;
    if (si__script_state_save(d->router, &d->state, &d->state_length)) d->state = NULL;
    int failed = si__writer_call(si__store_writer(d->store), apply_all, d);
    free(d->state);
    d->state = NULL;
    if (failed) return; /* rows stay new, messages wait */
    d->saved_ms = now_ms;
    send_all(d, now_ms);
}
