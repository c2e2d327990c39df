/* The dashboard's own last days, minute by minute; see minute.h. The row is written on the writer's thread. */
#include "minute.h"

#include <si/si.h>
#include <stdlib.h>

#include "handlers.h"
#include "upkeep.h"

#define MINUTE_MS 60000
#define KEPT_MS (2 * 86400000ll)
#define SHOWN_MS (6 * 3600000ll) /* unless it is said */

typedef struct row {
    int64_t t;
    char *text;
    size_t length;
} row;

static int put_apply(si__tx *tx, void *arg) {
    const row *r = arg;
    sqlite3_stmt *put = si__db_prepare(tx->db, "INSERT OR REPLACE INTO self_minute(t,body) VALUES(?,?)");
    int failed = si__db_run(tx->db, si__db_bind(put, "ib", r->t, r->text, r->length));
    sqlite3_stmt *old = si__db_prepare(tx->db, "DELETE FROM self_minute WHERE t<? OR t>?"); /* a clock was set back */
    return failed ? failed : si__db_run(tx->db, si__db_bind(old, "ii", r->t - KEPT_MS, r->t + KEPT_MS));
}

/* What came since the last row; begins the next one. */
static uint64_t since(uint64_t now, uint64_t *before) {
    uint64_t grown = now - *before;
    *before = now;
    return grown;
}

static void put_row(si__minute *m, si__server *server, si__reader *reader, const si__writer_counts *writer) {
    si__ingest_counts *counts = &server->ingest;
    si__json_writer json = {0};
    uint64_t used, unused, waited = atomic_exchange(&counts->waited_ns, 0),
                           answered = atomic_exchange(&counts->waits, 0);
    si__upkeep_size(&reader->db, &used, &unused);
    si__json_array_begin(&json, NULL);
    si__json_put_int(&json, NULL, m->began_ms);
    si__json_put_uint(&json, NULL, since(atomic_load(&counts->stored), &m->stored));
    si__json_put_uint(&json, NULL, since(atomic_load(&counts->profiles), &m->profiles));
    si__json_put_uint(&json, NULL, since(atomic_load(&counts->duplicates), &m->duplicates));
    si__json_put_uint(&json, NULL, since(atomic_load(&counts->refused), &m->refused));
    si__json_put_uint(&json, NULL, since(atomic_load(&counts->bytes), &m->bytes));
    si__json_put_uint(&json, NULL, m->queued_most);
    si__json_put_number(&json, NULL, (double)(atomic_exchange(&counts->wait_most_ns, 0) / 1000) / 1e3);
    si__json_put_number(&json, NULL, answered ? (double)waited / (double)answered / 1e6 : 0);
    si__json_put_uint(&json, NULL, since(writer->commits, &m->commits));
    si__json_put_uint(&json, NULL, since(atomic_load(&server->requests), &m->requests));
    si__json_put_uint(&json, NULL, used);
    si__json_put_int(&json, NULL,
                     si__db_int(&reader->db, si__db_prepare(&reader->db, "SELECT count(*) FROM rollup_due"), 0));
    si__json_array_end(&json);
    row r = {.t = m->began_ms};
    m->queued_most = 0;
    if (si__json_take(&json, &r.text, &r.length)) return;
    si__writer_call(si__store_writer(server->store), put_apply, &r); /* a failure leaves a gap */
    free(r.text);
}

void si__minute_tick(si__minute *m, si__server *server, si__reader *reader, int64_t now_ms) {
    int64_t began_ms = now_ms - now_ms % MINUTE_MS;
    si__writer_counts writer;
    si__writer_counts_get(si__store_writer(server->store), &writer);
    if (writer.queued > m->queued_most) m->queued_most = writer.queued;
    if (!m->began_ms) m->began_ms = began_ms;
    if (began_ms == m->began_ms) return;
    put_row(m, server, reader, &writer);
    m->began_ms = began_ms;
}

/* ---- Route ---- */

void si__handle_self_history(si__request *request) {
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    int64_t from, to;
    if (si__request_time(request, "to", INT64_MAX, &to) ||
        si__request_time(request, "from", to == INT64_MAX ? 0 : to - SHOWN_MS, &from))
        return;
    si__json_object_begin(&json, NULL);
    si__json_put_int(&json, "step_ms", MINUTE_MS);
    si__json_put_raw(&json, "fields", SI__MINUTE_FIELDS, sizeof SI__MINUTE_FIELDS - 1);
    si__json_array_begin(&json, "points");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT body FROM self_minute WHERE t>=? AND t<? ORDER BY t");
    si__db_bind(read, "ii", from, to);
    while (si__db_step(db, read) == 1)
        si__json_put_raw(&json, NULL, sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0));
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}
