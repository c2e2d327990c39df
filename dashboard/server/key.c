/* Agent keys; see key.h. Checked on the agents' workers, made and revoked by admins or on the command line. */
#include "key.h"

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "handlers.h"
#include "server.h"
#include "session.h"

#define ID_HEX 16
#define MOST_LIVE 2 /* the old one and the next */

static const char *const purposes[] = {"report", "read"};

int si__key_is_name(const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length > 100) return 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < ' ' || *c == 0x7f || *c == '/') return 0;
    return 1;
}

int si__key_make_apply(si__tx *tx, void *arg) {
    si__new_key *key = arg;
    uint8_t id[ID_HEX / 2], hash[32];
    char secret[SI__SECRET_HEX], target[300];
    int64_t app;
    sqlite3_stmt *live = si__db_prepare(tx->db, "SELECT count(*) FROM agent_key WHERE app=? AND environment=?"
                                                " AND purpose=? AND revoked_ms IS NULL");
    si__db_bind(live, "sss", key->app, key->environment, purposes[key->purpose]);
    if (key->most_live && si__db_int(tx->db, live, 0) >= key->most_live) return SI_EEXIST;
    randombytes_buf(id, sizeof id);
    sodium_bin2hex(key->id, sizeof key->id, id, sizeof id);
    si__secret_make(secret);
    snprintf(key->key, sizeof key->key, "si_%s_%s", key->id, secret);
    si__secret_hash(key->key, hash);
    int failed = si__store_app(tx, key->app, key->environment, &app);
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT INTO agent_key(id,hash,app,environment,label,created_ms,created_by,purpose)"
                               " VALUES(?,?,?,?,?,?,?,?)");
    si__db_bind(insert, "sbsssiss", key->id, hash, sizeof hash, key->app, key->environment, key->label, tx->now_ms,
                key->author, purposes[key->purpose]);
    failed = failed ? failed : si__db_run(tx->db, insert);
    snprintf(target, sizeof target, "%s for %s/%s", key->id, key->app, key->environment);
    return failed ? failed : si__audit(tx, key->author, "agent key made", target, key->address);
}

int si__key_check(si__reader *reader, const char *key, int64_t *app, char *app_name, char *environment,
                  size_t name_bytes, char id[17]) {
    return si__key_check_for(reader, key, SI__KEY_REPORTS, app, app_name, environment, name_bytes, id);
}

/* SI_ENOTFOUND: the key of an application that was removed; SI_EAUTH: no key at all. */
static int check_gone(si__reader *reader, const char *key, const char id[17]) {
    uint8_t given[32];
    sqlite3_stmt *read = si__db_prepare(&reader->db, "SELECT hash FROM key_gone WHERE id=?");
    int found = si__db_step(&reader->db, si__db_bind(read, "s", id));
    if (found < 0) return found;
    si__secret_hash(key, given);
    int same = found == 1 && sqlite3_column_bytes(read, 0) == 32 &&
               sodium_memcmp(sqlite3_column_blob(read, 0), given, 32) == 0;
    if (found == 1) sqlite3_reset(read);
    return same ? SI_ENOTFOUND : SI_EAUTH;
}

int si__key_check_for(si__reader *reader, const char *key, si__key_purpose purpose, int64_t *app, char *app_name,
                      char *environment, size_t name_bytes, char id[17]) {
    static const uint8_t nothing[32] = {0};
    uint8_t stored[32], given[32];
    if (strncmp(key, "si_", 3) != 0 || strlen(key) != 3 + ID_HEX + 1 + SI__SECRET_HEX - 1 || key[3 + ID_HEX] != '_')
        return SI_EAUTH;
    snprintf(id, 17, "%.16s", key + 3);
    sqlite3_stmt *read =
        si__db_prepare(&reader->db, "SELECT hash,app,environment,revoked_ms,purpose FROM agent_key WHERE id=?");
    int found = si__db_step(&reader->db, si__db_bind(read, "s", id));
    if (found < 0) return found;
    int usable = found == 1 && sqlite3_column_bytes(read, 0) == 32 && !strcmp(si__db_text(read, 4), purposes[purpose]);
    memcpy(stored, usable ? sqlite3_column_blob(read, 0) : nothing, 32);
    int revoked = found == 1 && sqlite3_column_type(read, 3) != SQLITE_NULL;
    if (found == 1) {
        snprintf(app_name, name_bytes, "%s", si__db_text(read, 1));
        snprintf(environment, name_bytes, "%s", si__db_text(read, 2));
        sqlite3_reset(read);
    }
    si__secret_hash(key, given);
    if (!found) return check_gone(reader, key, id);
    if (sodium_memcmp(stored, given, 32) != 0 || !usable) return SI_EAUTH;
    if (revoked) return SI_ESTATE;
    *app = si__read_app(reader, app_name, environment);
    return *app ? SI_OK : SI_EAUTH;
}

int si__key_used(si__tx *tx, const char *id) {
    sqlite3_stmt *update =
        si__db_prepare(tx->db, "UPDATE agent_key SET used_ms=?1 WHERE id=?2 AND coalesce(used_ms,0)<?1-60000");
    return si__db_run(tx->db, si__db_bind(update, "is", tx->now_ms, id));
}

/* ---- Routes ---- */

void si__handle_keys(si__request *request) {
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "keys");
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT id,app,environment,label,created_ms,created_by,revoked_ms,used_ms,purpose FROM agent_key"
            " ORDER BY app,environment,created_ms");
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "id", si__db_text(read, 0));
        si__json_put_string(&json, "app", si__db_text(read, 1));
        si__json_put_string(&json, "environment", si__db_text(read, 2));
        si__json_put_string(&json, "label", si__db_text(read, 3));
        si__json_put_string(&json, "purpose", si__db_text(read, 8));
        si__json_put_int(&json, "created_ms", sqlite3_column_int64(read, 4));
        si__json_put_string(&json, "created_by", si__db_text(read, 5));
        for (int i = 6; i < 8; i++) {
            const char *name = i == 6 ? "revoked_ms" : "last_used_ms";
            if (sqlite3_column_type(read, i) == SQLITE_NULL)
                si__json_put_null(&json, name);
            else
                si__json_put_int(&json, name, sqlite3_column_int64(read, i));
        }
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static void answer_key(si__request *request, const si__new_key *key) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "id", key->id);
    si__json_put_string(&json, "key", key->key);
    si__json_put_string(&json, "app", key->app);
    si__json_put_string(&json, "environment", key->environment);
    si__json_put_string(&json, "label", key->label);
    si__json_put_string(&json, "purpose", purposes[key->purpose]);
    si__json_object_end(&json);
    si__answer_json(request, 201, &json);
}

static void make_key(si__request *request, si__new_key *key) {
    int failed = si__writer_call(si__store_writer(request->server->store), si__key_make_apply, key);
    if (failed == SI_EEXIST)
        si__answer_error(request, 409, "two_live",
                         "There are two keys already, the old one and the next: revoke one of them first.", NULL);
    else if (failed)
        si__answer_failure(request, failed);
    else
        answer_key(request, key);
}

void si__handle_key_make(si__request *request) {
    si__json *body;
    if (si__request_body(request, &body)) return;
    const char *purpose = si__json_get_string(body, "purpose", purposes[SI__KEY_REPORTS]);
    int reads = !strcmp(purpose, purposes[SI__KEY_READS]);
    si__new_key key = {.app = si__json_get_string(body, "app", ""),
                       .environment = si__json_get_string(body, "environment", ""),
                       .label = si__json_get_string(body, "label", ""),
                       .author = request->user.email,
                       .address = request->address,
                       .purpose = reads ? SI__KEY_READS : SI__KEY_REPORTS,
                       .most_live = MOST_LIVE};
    if (!si__key_is_name(key.app))
        si__answer_error(request, 400, "invalid", "An application's name has 1 to 100 characters, and no slash.",
                         "app");
    else if (!si__key_is_name(key.environment))
        si__answer_error(request, 400, "invalid", "An environment's name has 1 to 100 characters, and no slash.",
                         "environment");
    else if (strlen(key.label) > 200)
        si__answer_error(request, 400, "invalid", "A label has at most 200 characters.", "label");
    else if (!reads && strcmp(purpose, purposes[SI__KEY_REPORTS]) != 0)
        si__answer_error(request, 400, "invalid", "A key is to report or to read.", "purpose");
    else
        make_key(request, &key);
    si__json_free(body);
}

static int revoke_apply(si__tx *tx, void *arg) {
    si__request *request = arg;
    sqlite3_stmt *update =
        si__db_prepare(tx->db, "UPDATE agent_key SET revoked_ms=?1 WHERE id=?2 AND revoked_ms IS NULL");
    int failed = si__db_run(tx->db, si__db_bind(update, "is", tx->now_ms, request->parameter));
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, request->user.email, "agent key revoked", request->parameter, request->address);
}

void si__handle_key_revoke(si__request *request) {
    if (!si__request_write(request, revoke_apply, request)) si__answer_nothing(request);
}
