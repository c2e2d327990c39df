/*
 * Routes: sessions of people, and invitations that wait. Both are named by the first half of the hash under which they
 * are stored, which leads to nothing. Workers' threads; changes on the writer's.
 */
#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "handlers.h"
#include "session.h"

#define ROWS 1000
#define ID_HEX 33 /* 16 bytes of a hash, and the NUL */

static void id_of(sqlite3_stmt *row, int column, char out[ID_HEX]) {
    out[0] = '\0';
    if (sqlite3_column_bytes(row, column) < 16) return;
    sodium_bin2hex(out, ID_HEX, sqlite3_column_blob(row, column), 16);
}

/* The id in the path as bytes. 0, or SI_ENOTFOUND: answered. */
static int bytes_of(si__request *request, uint8_t out[16]) {
    size_t length = 0;
    if (!sodium_hex2bin(out, 16, request->parameter, strlen(request->parameter), NULL, &length, NULL) && length == 16)
        return SI_OK;
    si__answer_failure(request, SI_ENOTFOUND);
    return SI_ENOTFOUND;
}

void si__handle_sessions(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t now = si__clock_unix_ms();
    int all = request->user.role >= SI__ROLE_ADMIN && !strcmp(si__request_argument(request, "all", ""), "1");
    uint8_t own[32];
    char id[ID_HEX];
    si__secret_hash(request->token, own);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "sessions");
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT hash,user.name,email,session.created_ms,used_ms,address,browser FROM session"
            " JOIN user ON user.id=session.user WHERE (?1 OR user.id=?2) AND session.created_ms>?3 AND used_ms>?4"
            " ORDER BY used_ms DESC LIMIT ?5");
    si__db_bind(read, "iiiii", (int64_t)all, request->user.id, now - SI__SESSION_LONGEST_MS, now - SI__SESSION_IDLE_MS,
                (int64_t)ROWS);
    while (si__db_step(db, read) == 1) {
        int current = sqlite3_column_bytes(read, 0) == 32 && !memcmp(sqlite3_column_blob(read, 0), own, 32);
        id_of(read, 0, id);
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "id", id);
        si__json_put_string(&json, "user", si__db_text(read, 1));
        si__json_put_string(&json, "email", si__db_text(read, 2));
        si__json_put_int(&json, "created_ms", sqlite3_column_int64(read, 3));
        si__json_put_int(&json, "used_ms", sqlite3_column_int64(read, 4));
        si__json_put_string(&json, "address", si__db_text(read, 5));
        si__json_put_string(&json, "browser", si__db_text(read, 6));
        si__json_put_bool(&json, "current", current);
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

typedef struct ending {
    si__request *request;
    uint8_t id[16];
} ending;

static int end_apply(si__tx *tx, void *arg) {
    ending *e = arg;
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM session WHERE substr(hash,1,16)=?1 AND (?2 OR user=?3)");
    si__db_bind(drop, "bii", e->id, sizeof e->id, (int64_t)(e->request->user.role >= SI__ROLE_ADMIN),
                e->request->user.id);
    int failed = si__db_run(tx->db, drop);
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, e->request->user.email, "session ended", e->request->parameter, e->request->address);
}

void si__handle_session_end(si__request *request) {
    ending e = {.request = request};
    if (!bytes_of(request, e.id) && !si__request_write(request, end_apply, &e)) si__answer_nothing(request);
}

/* ---- Invitations ---- */

void si__handle_invitations(si__request *request) {
    si__db *db = &request->reader->db;
    char id[ID_HEX];
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "invitations");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT hash,email,role,expires_ms FROM link WHERE purpose='invite'"
                                            " AND used_ms IS NULL AND expires_ms>? ORDER BY expires_ms LIMIT ?");
    si__db_bind(read, "ii", si__clock_unix_ms(), (int64_t)ROWS);
    while (si__db_step(db, read) == 1) {
        id_of(read, 0, id);
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "id", id);
        si__json_put_string(&json, "email", si__db_text(read, 1));
        si__json_put_string(&json, "role", si__db_text(read, 2));
        si__json_put_int(&json, "expires_ms", sqlite3_column_int64(read, 3));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static int withdraw_apply(si__tx *tx, void *arg) {
    ending *e = arg;
    sqlite3_stmt *drop =
        si__db_prepare(tx->db, "DELETE FROM link WHERE substr(hash,1,16)=? AND purpose='invite' AND used_ms IS NULL");
    int failed = si__db_run(tx->db, si__db_bind(drop, "b", e->id, sizeof e->id));
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, e->request->user.email, "invitation withdrawn", e->request->parameter,
                              e->request->address);
}

void si__handle_invitation_withdraw(si__request *request) {
    ending e = {.request = request};
    if (!bytes_of(request, e.id) && !si__request_write(request, withdraw_apply, &e)) si__answer_nothing(request);
}
