/* Delivery of the engine's messages; see deliver.h. Alerting thread; writes wait for the writer. */
#include "deliver.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define GROUP_MOST SI__DISPATCH_MOST
#define IN_FLIGHT 2000
#define DESTINATION 96
#define AT_A_TIME                                                                                                      \
    4 /* messages that the sender has for one channel; the rest waits in the store and is told together                \
       */

typedef struct flight { /* a message that the sender has */
    uint64_t notify_id;
    int64_t delivery;
    char destination[DESTINATION];
} flight;

struct si__deliver_out {
    si__store *store;
    si__reader *reader;
    si__dispatch *dispatch;
    si__notify *notify; /* of the tick that runs */
    int recovered;      /* what an earlier process had in the sender is free again */
    flight flights[IN_FLIGHT];
    size_t flight_count;
};

/* ---- What has a destination goes to the sender ---- */

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

static void add_flight(si__deliver_out *out, uint64_t id, int64_t delivery, const char *destination) {
    flight *f = &out->flights[out->flight_count++];
    f->notify_id = id;
    f->delivery = delivery;
    snprintf(f->destination, sizeof f->destination, "%s", destination);
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
        add_flight(out, id, group->deliveries[i], destination);
}

/* Room for one more message? A channel that takes nothing must not hold up the others. */
static int has_room(const si__deliver_out *out, const char *destination) {
    uint64_t last = 0;
    int messages = 0;
    if (out->flight_count + 2 * GROUP_MOST >= IN_FLIGHT) return 0;
    for (size_t i = 0; i < out->flight_count; i++) {
        const flight *f = &out->flights[i];
        if (f->notify_id == last || strcmp(f->destination, destination) != 0) continue;
        last = f->notify_id;
        messages++;
    }
    return messages < AT_A_TIME;
}

/* A message of the engine's. What the sender has no room for stays in the store as new, for the next tick. */
static void on_message(void *arg, const char *destination, const si__alert *alerts, const int64_t *deliveries,
                       size_t count, int64_t now_ms) {
    si__deliver_out *out = arg;
    outcome group = {.time_ms = now_ms};
    for (size_t i = 0; i < count; i++) group.deliveries[group.count++] = deliveries[i];
    if (group.count && has_room(out, destination)) hand_over(out, out->notify, destination, alerts, &group);
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

/* What an earlier process, or a receiver that took nothing, left behind: one message about all of it, in the order in
   which it happened. */
static void send_group(si__deliver_out *out, si__notify *notify, const char *destination, int64_t now_ms) {
    si__db *db = &out->reader->db;
    si__alert alerts[GROUP_MOST];
    outcome group = {.time_ms = now_ms};
    sqlite3_stmt *read = si__db_prepare(db, "SELECT delivery.id,about," SI__ALERT_SELECT
                                            " FROM delivery JOIN outbox ON outbox.id=delivery.outbox"
                                            " JOIN alert ON alert.id=delivery.alert JOIN app ON app.id=alert.app"
                                            " WHERE delivery.state='new' AND destination=?"
                                            " ORDER BY delivery.id LIMIT ?");
    si__db_bind(read, "si", destination, (int64_t)GROUP_MOST);
    while (group.count < GROUP_MOST && si__db_step(db, read) == 1) {
        if (si__dispatch_read_alert(read, 2, si__db_text(read, 1), &alerts[group.count])) break;
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

static void send_waiting(si__deliver_out *out, int64_t now_ms) {
    char destination[DESTINATION] = "";
    while (next_destination(out, destination, destination))
        if (has_room(out, destination)) send_group(out, out->notify, destination, now_ms);
}

static size_t channels_of(void *arg, const char *destination, const char **names, size_t most) {
    const si__deliver_out *out = arg;
    return si__notify_channels(out->notify, destination, names, most);
}

void si__deliver_out_tick(si__deliver_out *out, si__notify *notify, int64_t now_ms) {
    if (!out->recovered) out->recovered = !si__writer_call(si__store_writer(out->store), recover_apply, NULL);
    if (!out->recovered) return; /* the store cannot be written now: later */
    out->notify = notify;
    send_waiting(out, now_ms); /* first: nothing overtakes what has waited */
    si__dispatch_tick(out->dispatch, now_ms);
    send_waiting(out, now_ms);
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

si__deliver_out *si__deliver_out_new(si__store *store, si__reader *reader, si__script *router) {
    si__deliver_out *out = calloc(1, sizeof *out);
    if (!out) return NULL;
    out->store = store;
    out->reader = reader;
    out->dispatch = si__dispatch_new(store, reader, router, on_message, channels_of, out);
    if (out->dispatch) return out;
    free(out);
    return NULL;
}

void si__deliver_out_free(si__deliver_out *out) {
    if (!out) return;
    si__dispatch_free(out->dispatch);
    free(out);
}
