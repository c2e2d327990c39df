/* Delivery from the outbox; see deliver.h. Alerting thread; writes wait for the writer. */
#include "deliver.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 200    /* outbox rows a tick */
#define GROUP_MOST 50  /* alerts in one message */
#define GATHER_MS 2000 /* what happens together is told together */
#define IN_FLIGHT 2000
#define DESTINATION 96

typedef struct flight { /* a message that the sender has */
    uint64_t notify_id;
    int64_t delivery;
} flight;

struct si__deliver_out {
    si__store *store;
    si__reader *reader;
    si__script *router;
    int recovered; /* what an earlier process had in the sender is free again */
    flight flights[IN_FLIGHT];
    size_t flight_count;
};

si__deliver_out *si__deliver_out_new(si__store *store, si__reader *reader, si__script *router) {
    si__deliver_out *out = calloc(1, sizeof *out);
    if (!out) return NULL;
    out->store = store;
    out->reader = reader;
    out->router = router;
    return out;
}

void si__deliver_out_free(si__deliver_out *out) {
    free(out);
}

/* ---- Alerts out of the store ---- */

#define ALERT_SELECT                                                                                                   \
    " alert.fingerprint,alert.rule,alert.subject,alert.severity,alert.summary,alert.runbook,alert.detail,app.name,"    \
    "app.environment,alert.host,alert.value,alert.started_ms,alert.fired_ms,alert.resolved_ms"

/* From the columns of ALERT_SELECT, starting at `first`. 0 or SI_ENOMEM. */
static int read_alert(sqlite3_stmt *row, int first, const char *about, si__alert *alert) {
    char **const texts[] = {&alert->rule,   &alert->subject, &alert->severity,    &alert->summary, &alert->runbook,
                            &alert->detail, &alert->app,     &alert->environment, &alert->host};
    int failed = SI_OK;
    *alert = (si__alert){0};
    snprintf(alert->fingerprint, sizeof alert->fingerprint, "%s", si__db_text(row, first));
    for (int i = 0; i < 9; i++)
        if (!(*texts[i] = si__report_strdup(si__db_text(row, first + 1 + i)))) failed = SI_ENOMEM;
    alert->state = !strcmp(about, "resolved") ? SI__ALERT_RESOLVED : SI__ALERT_FIRING;
    alert->value = sqlite3_column_type(row, first + 10) == SQLITE_NULL ? NAN : sqlite3_column_double(row, first + 10);
    alert->started_ms = sqlite3_column_int64(row, first + 11);
    alert->fired_ms = sqlite3_column_int64(row, first + 12);
    alert->resolved_ms = alert->state == SI__ALERT_RESOLVED ? sqlite3_column_int64(row, first + 13) : 0;
    if (failed) si__alert_clear(alert);
    return failed;
}

/* ---- Step 1: the outbox gets its destinations ---- */

typedef struct decision {
    int64_t outbox, alert;
    const char *state; /* what the outbox row becomes */
    char destinations[1024];
} decision;

typedef struct decisions {
    decision *items;
    size_t count;
} decisions;

static int apply_decision(si__tx *tx, const decision *d) {
    sqlite3_stmt *update = si__db_prepare(tx->db, "UPDATE outbox SET state=? WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(update, "si", d->state, d->outbox));
    for (const char *at = d->destinations; *at && !failed; at += strcspn(at, ",") + (strchr(at, ',') != NULL)) {
        char destination[DESTINATION];
        snprintf(destination, sizeof destination, "%.*s", (int)strcspn(at, ","), at);
        sqlite3_stmt *insert = si__db_prepare(
            tx->db, "INSERT OR IGNORE INTO delivery(outbox,alert,destination,state,error,attempts,time_ms)"
                    " VALUES(?,?,?,'new','',0,?)");
        failed = si__db_run(tx->db, si__db_bind(insert, "iisi", d->outbox, d->alert, destination, tx->now_ms));
    }
    return failed;
}

static int apply_decisions(si__tx *tx, void *arg) {
    const decisions *all = arg;
    int failed = SI_OK;
    for (size_t i = 0; i < all->count && !failed; i++) failed = apply_decision(tx, &all->items[i]);
    return failed;
}

/*
 * What becomes of a row. A silenced message is held. What was over before anybody was told is not told at all.
 */
static int decide(si__deliver_out *out, sqlite3_stmt *row, decision *d) {
    const char *about = si__db_text(row, 2), *state = si__db_text(row, 3);
    const char *firing_message = si__db_text(row, 6); /* what became of the message that it fired */
    int silenced = sqlite3_column_int(row, 4), resolved = !strcmp(about, "resolved");
    int still_fires = !strcmp(si__db_text(row, 5), "firing");
    *d = (decision){.outbox = sqlite3_column_int64(row, 0), .alert = sqlite3_column_int64(row, 1), .state = "routed"};
    if (resolved && (!strcmp(firing_message, "new") || !strcmp(firing_message, "held"))) return 0; /* that one first */
    if (resolved ? strcmp(firing_message, "routed") != 0 : !still_fires)
        d->state = "dropped";
    else if (silenced)
        d->state = "held";
    if (!strcmp(d->state, state)) return 0; /* still held */
    if (strcmp(d->state, "routed") != 0) return 1;
    si__alert alert;
    if (read_alert(row, 7, about, &alert)) return 0;
    if (si__script_route(out->router, &alert, d->destinations, sizeof d->destinations)) d->destinations[0] = '\0';
    if (!d->destinations[0]) d->state = "unrouted";
    si__alert_clear(&alert);
    return 1;
}

static void route_new(si__deliver_out *out, int64_t now_ms) {
    si__db *db = &out->reader->db;
    decisions all = {calloc(AT_ONCE, sizeof *all.items), 0};
    if (!all.items) return;
    sqlite3_stmt *read = si__db_prepare(
        db,
        "SELECT outbox.id,outbox.alert,about,outbox.state,"
        "EXISTS(SELECT 1 FROM silence WHERE until_ms>?1 AND coalesce(silence.rule,alert.rule)=alert.rule"
        " AND coalesce(silence.app,app.name)=app.name AND coalesce(silence.environment,app.environment)=app.environment"
        " AND coalesce(silence.host,alert.host)=alert.host AND "
        "coalesce(silence.severity,alert.severity)=alert.severity),"
        "alert.state,(SELECT earlier.state FROM outbox AS earlier WHERE earlier.alert=outbox.alert"
        " AND earlier.about='firing' ORDER BY earlier.id DESC LIMIT 1)," ALERT_SELECT
        " FROM outbox JOIN alert ON alert.id=outbox.alert JOIN app ON app.id=alert.app"
        " WHERE outbox.state='held' OR (outbox.state='new' AND outbox.created_ms<=?2)"
        " ORDER BY outbox.state='held',outbox.id LIMIT ?3");
    si__db_bind(read, "iii", now_ms, now_ms - GATHER_MS, (int64_t)AT_ONCE);
    while (si__db_step(db, read) == 1) {
        if (decide(out, read, &all.items[all.count])) all.count++;
        if (all.count == AT_ONCE) break;
    }
    if (read) sqlite3_reset(read);
    if (all.count) si__writer_call(si__store_writer(out->store), apply_decisions, &all);
    free(all.items);
}

/* ---- Step 2: what has a destination goes to the sender, grouped ---- */

typedef struct outcome {
    int64_t deliveries[GROUP_MOST];
    size_t count;
    const char *state, *error;
    int attempts;
    int64_t time_ms;
} outcome;

static int apply_outcome(si__tx *tx, void *arg) {
    const outcome *o = arg;
    int failed = SI_OK;
    for (size_t i = 0; i < o->count && !failed; i++) {
        sqlite3_stmt *update =
            si__db_prepare(tx->db, "UPDATE delivery SET state=?,error=?,attempts=?,time_ms=? WHERE id=?");
        si__db_bind(update, "ssiii", o->state, o->error ? o->error : "", (int64_t)o->attempts, o->time_ms,
                    o->deliveries[i]);
        failed = si__db_run(tx->db, update);
    }
    return failed;
}

static void note(si__deliver_out *out, outcome *o) {
    si__writer_call(si__store_writer(out->store), apply_outcome, o);
}

static void hand_over(si__deliver_out *out, si__notify *notify, const char *destination, const si__alert *alerts,
                      outcome *group) {
    char error[256] = "";
    uint64_t id = si__notify_send(notify, destination, alerts, group->count, error, sizeof error);
    group->state = id ? "queued" : "failed";
    group->error = error;
    /* No channel of that name is no failure for "default": routing names it so that a first channel needs no rule. */
    if (!id && !strcmp(destination, "default")) group->state = "no channel";
    note(out, group);
    for (size_t i = 0; id && i < group->count && out->flight_count < IN_FLIGHT; i++)
        out->flights[out->flight_count++] = (flight){id, group->deliveries[i]};
}

static int next_destination(si__deliver_out *out, const char *after, char destination[DESTINATION]) {
    si__db *db = &out->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT min(destination) FROM delivery WHERE state='new' AND destination>?");
    int found = si__db_step(db, si__db_bind(read, "s", after)) == 1 && sqlite3_column_type(read, 0) != SQLITE_NULL;
    if (found) snprintf(destination, DESTINATION, "%s", si__db_text(read, 0));
    if (read) sqlite3_reset(read);
    return found;
}

/* One message about everything new for a destination: firing and resolved apart, so that each says one thing. */
static void send_group(si__deliver_out *out, si__notify *notify, const char *destination, const char *about,
                       int64_t now_ms) {
    si__db *db = &out->reader->db;
    si__alert alerts[GROUP_MOST];
    outcome group = {.time_ms = now_ms};
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT delivery.id," ALERT_SELECT " FROM delivery JOIN outbox ON outbox.id=delivery.outbox"
                           " JOIN alert ON alert.id=delivery.alert JOIN app ON app.id=alert.app"
                           " WHERE delivery.state='new' AND destination=? AND about=?"
                           " ORDER BY delivery.id LIMIT ?");
    si__db_bind(read, "ssi", destination, about, (int64_t)GROUP_MOST);
    while (group.count < GROUP_MOST && si__db_step(db, read) == 1) {
        if (read_alert(read, 1, about, &alerts[group.count])) break;
        group.deliveries[group.count++] = sqlite3_column_int64(read, 0);
    }
    if (read) sqlite3_reset(read);
    if (group.count) hand_over(out, notify, destination, alerts, &group);
    for (size_t i = 0; i < group.count; i++) si__alert_clear(&alerts[i]);
}

static int recover_apply(si__tx *tx, void *arg) {
    (void)arg;
    return si__db_run(tx->db,
                      si__db_prepare(tx->db, "UPDATE delivery SET state='new' WHERE state IN ('queued','retry')"));
}

void si__deliver_out_tick(si__deliver_out *out, si__notify *notify, int64_t now_ms) {
    char destination[DESTINATION] = "";
    if (!out->recovered) out->recovered = !si__writer_call(si__store_writer(out->store), recover_apply, NULL);
    if (!out->recovered) return; /* the store cannot be written now: later */
    route_new(out, now_ms);
    while (out->flight_count + 2 * GROUP_MOST < IN_FLIGHT && next_destination(out, destination, destination)) {
        send_group(out, notify, destination, "firing", now_ms);
        send_group(out, notify, destination, "resolved", now_ms);
    }
    si__db_reset_all(&out->reader->db);
}

void si__deliver_out_event(void *arg, const si__notify_event *event) {
    si__deliver_out *out = arg;
    outcome o = {.state = event->state, .error = event->error, .attempts = event->attempts, .time_ms = event->time_ms};
    int over = !strcmp(event->state, "sent") || !strcmp(event->state, "failed");
    for (size_t i = out->flight_count; i-- > 0;) {
        if (out->flights[i].notify_id != event->id) continue;
        if (o.count < GROUP_MOST) o.deliveries[o.count++] = out->flights[i].delivery;
        if (over) out->flights[i] = out->flights[--out->flight_count];
    }
    if (o.count) note(out, &o);
}
