/* Sessions of people; see session.h. Workers read, the writer's thread makes and ends. */
#include "session.h"

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "record.h"

#define TOUCH_MS 60000 /* how often the time of last use is written */

void si__secret_make(char out[SI__SECRET_HEX]) {
    uint8_t bytes[32];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(out, SI__SECRET_HEX, bytes, sizeof bytes);
    sodium_memzero(bytes, sizeof bytes);
}

void si__secret_hash(const char *secret, uint8_t out[32]) {
    crypto_hash_sha256(out, (const unsigned char *)secret, strlen(secret));
}

static const char *cookie_name(const si__request *request) {
    return request->server->options->behind_tls_proxy ? "__Host-si_session" : "si_session";
}

/* ---- Reading ---- */

typedef struct touch {
    si__write write;
    uint8_t hash[32];
    int64_t user;
} touch;

static int touch_apply(si__tx *tx, void *arg) {
    touch *t = arg;
    sqlite3_stmt *session = si__db_prepare(tx->db, "UPDATE session SET used_ms=? WHERE hash=?");
    int failed = si__db_run(tx->db, si__db_bind(session, "ib", tx->now_ms, t->hash, sizeof t->hash));
    sqlite3_stmt *user = si__db_prepare(tx->db, "UPDATE user SET last_seen_ms=? WHERE id=?");
    return failed ? failed : si__db_run(tx->db, si__db_bind(user, "ii", tx->now_ms, t->user));
}

static void touch_done(void *arg, int result) {
    (void)result; /* the next request tries again */
    free(arg);
}

static void touch_session(si__request *request, const uint8_t hash[32]) {
    touch *t = calloc(1, sizeof *t);
    if (!t) return;
    memcpy(t->hash, hash, sizeof t->hash);
    t->user = request->user.id;
    t->write = (si__write){.apply = touch_apply, .done = touch_done, .arg = t};
    if (si__writer_submit(si__store_writer(request->server->store), &t->write)) free(t);
}

void si__session_read(si__request *request) {
    const char *token = MHD_lookup_connection_value(request->connection, MHD_COOKIE_KIND, cookie_name(request));
    if (!token || strlen(token) != SI__SECRET_HEX - 1) return;
    uint8_t hash[32];
    si__secret_hash(token, hash);
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT user.id,name,email,role,session.created_ms,used_ms FROM session"
                                            " JOIN user ON user.id=session.user WHERE hash=? AND disabled=0");
    if (si__db_step(db, si__db_bind(read, "b", hash, sizeof hash)) != 1) return;
    int64_t now = si__clock_unix_ms(), created = sqlite3_column_int64(read, 4), used = sqlite3_column_int64(read, 5);
    if (now - created < SI__SESSION_LONGEST_MS && now - used < SI__SESSION_IDLE_MS) {
        request->user.id = sqlite3_column_int64(read, 0);
        snprintf(request->user.name, sizeof request->user.name, "%s", si__db_text(read, 1));
        snprintf(request->user.email, sizeof request->user.email, "%s", si__db_text(read, 2));
        request->user.role = si__role_parse(si__db_text(read, 3));
        snprintf(request->token, sizeof request->token, "%s", token);
    }
    sqlite3_reset(read);
    if (request->user.id && now - used > TOUCH_MS) touch_session(request, hash);
}

/* ---- Making and ending ---- */

int si__session_make(si__tx *tx, int64_t user, const char *address, const char *browser, char token[SI__SECRET_HEX]) {
    uint8_t hash[32];
    char cut[201];
    si__secret_make(token);
    si__secret_hash(token, hash);
    sqlite3_stmt *insert = si__db_prepare(
        tx->db, "INSERT INTO session(hash,user,created_ms,used_ms,address,browser) VALUES(?1,?2,?3,?3,?4,?5)");
    int failed = si__db_run(tx->db, si__db_bind(insert, "biiss", hash, sizeof hash, user, tx->now_ms, address,
                                                si__clip(cut, sizeof cut, browser)));
    sqlite3_stmt *seen = si__db_prepare(tx->db, "UPDATE user SET last_seen_ms=? WHERE id=?");
    return failed ? failed : si__db_run(tx->db, si__db_bind(seen, "ii", tx->now_ms, user));
}

void si__session_cookie(si__request *request, const char *token) {
    snprintf(request->cookie, sizeof request->cookie, "%s=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=%d%s",
             cookie_name(request), token, *token ? (int)(SI__SESSION_LONGEST_MS / 1000) : 0,
             request->server->options->behind_tls_proxy ? "; Secure" : "");
    snprintf(request->token, sizeof request->token, "%s", token);
}

int si__session_end(si__tx *tx, const char *token) {
    uint8_t hash[32];
    si__secret_hash(token, hash);
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM session WHERE hash=?");
    return si__db_run(tx->db, si__db_bind(drop, "b", hash, sizeof hash));
}

/* ---- Cross-site requests ---- */

void si__session_csrf(const si__request *request, char out[SI__SECRET_HEX]) {
    uint8_t bytes[32];
    const char *of = request->token[0] ? request->token : "nobody";
    crypto_generichash(bytes, sizeof bytes, (const unsigned char *)of, strlen(of), request->server->secret,
                       sizeof request->server->secret);
    sodium_bin2hex(out, SI__SECRET_HEX, bytes, sizeof bytes);
}

static int is_own_origin(si__request *request) {
    const char *origin = si__request_header(request, "Origin"), *host = si__request_header(request, "Host");
    const char *scheme = request->server->options->behind_tls_proxy ? "https://" : "http://";
    return origin && host && !strncmp(origin, scheme, strlen(scheme)) && !strcmp(origin + strlen(scheme), host);
}

int si__session_check_origin(si__request *request) {
    char wanted[SI__SECRET_HEX];
    const char *given = si__request_header(request, "X-CSRF-Token");
    si__session_csrf(request, wanted);
    if (!is_own_origin(request)) {
        si__answer_error(request, 403, "origin", "The request does not come from this page: its Origin does not match.",
                         NULL);
        return 0;
    }
    if (given && strlen(given) == SI__SECRET_HEX - 1 && sodium_memcmp(given, wanted, SI__SECRET_HEX - 1) == 0) return 1;
    si__answer_error(request, 403, "csrf",
                     "The X-CSRF-Token header is missing or out of date; get it from /api/v1/session.", NULL);
    return 0;
}

/* ---- Links ---- */

int si__link_make(si__tx *tx, const char *purpose, int64_t user, const char *email, const char *role,
                  int64_t expires_ms, char token[SI__SECRET_HEX]) {
    uint8_t hash[32];
    si__secret_make(token);
    si__secret_hash(token, hash);
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT INTO link(hash,purpose,user,email,role,expires_ms) VALUES(?,?,?,?,?,?)");
    return si__db_run(tx->db, si__db_bind(insert, "bsissi", hash, sizeof hash, purpose, user, email, role, expires_ms));
}

int si__link_use(si__tx *tx, const char *purpose, const char *token, si__link *out) {
    uint8_t hash[32];
    si__secret_hash(token, hash);
    sqlite3_stmt *find =
        si__db_prepare(tx->db, "SELECT user,email,role FROM link WHERE hash=? AND purpose=? AND used_ms IS NULL"
                               " AND expires_ms>?");
    int found = si__db_step(tx->db, si__db_bind(find, "bsi", hash, sizeof hash, purpose, tx->now_ms));
    if (found != 1) return found ? found : SI_EAUTH;
    out->user = sqlite3_column_int64(find, 0);
    snprintf(out->email, sizeof out->email, "%s", si__db_text(find, 1));
    snprintf(out->role, sizeof out->role, "%s", si__db_text(find, 2));
    sqlite3_reset(find);
    sqlite3_stmt *use = si__db_prepare(tx->db, "UPDATE link SET used_ms=? WHERE hash=?");
    return si__db_run(tx->db, si__db_bind(use, "ib", tx->now_ms, hash, sizeof hash));
}
