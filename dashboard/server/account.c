/*
 * Signing in and out, the first account, invitations; see account.h. Workers' threads; changes on the writer's.
 *
 * Passwords are hashed with argon2id. A wrong address and a wrong password take the same time and get the same answer.
 */
#include "account.h"

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "handlers.h"
#include "record.h"

#define HASH_OPS crypto_pwhash_OPSLIMIT_INTERACTIVE
#define HASH_BYTES ((size_t)32 << 20)
#define HASHES_AT_ONCE 2
#define TRIES_PER_USER 5
#define TRIES_PER_ADDRESS 20
#define PASSWORD_MOST 512

int si__account_is_email(const char *text) {
    const char *at = strchr(text, '@');
    if (!at || at == text || !at[1] || strchr(at + 1, '@') || strlen(text) > 254) return 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c <= ' ' || *c == 0x7f || *c == '<' || *c == '>' || *c == '"' || *c == ',') return 0;
    return 1;
}

/* ---- Passwords ---- */

/* 1: go on and call hash_end after; 0: it was answered, too many are at it. */
static int hash_begin(si__request *request) {
    if (atomic_fetch_add(&request->server->hashing, 1) < HASHES_AT_ONCE) return 1;
    atomic_fetch_sub(&request->server->hashing, 1);
    request->retry_after_s = 1;
    si__answer_error(request, 429, "busy", "Too many sign-ins at once; try again in a second.", NULL);
    return 0;
}

static void hash_end(si__request *request) {
    atomic_fetch_sub(&request->server->hashing, 1);
}

static int hash_password(si__request *request, const char *password, char out[crypto_pwhash_STRBYTES]) {
    size_t length = strlen(password);
    if (length < SI__PASSWORD_LEAST || length > PASSWORD_MOST) {
        si__answer_error(request, 400, "invalid", "A password has at least 10 characters, and at most 512.",
                         "password");
        return SI_EINVAL;
    }
    if (!hash_begin(request)) return SI_ELIMIT;
    int failed = crypto_pwhash_str_alg(out, password, length, HASH_OPS, HASH_BYTES, crypto_pwhash_ALG_ARGON2ID13);
    hash_end(request);
    if (!failed) return SI_OK;
    si__answer_failure(request, SI_ENOMEM);
    return SI_ENOMEM;
}

/* Verifies against a stored hash, or against one of nobody: the time is the same. */
static int verify_password(const char *stored, const char *password) {
    static _Atomic int made;
    static char nobody[crypto_pwhash_STRBYTES]; /* made under the limit of HASHES_AT_ONCE; a lost race makes it twice,
                                                   the same way */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    size_t length = strlen(password) > PASSWORD_MOST ? PASSWORD_MOST : strlen(password);
    if (!made) {
        pthread_mutex_lock(&lock);
        if (!made && !crypto_pwhash_str_alg(nobody, "nobody", 6, HASH_OPS, HASH_BYTES, crypto_pwhash_ALG_ARGON2ID13))
            made = 1;
        pthread_mutex_unlock(&lock);
    }
    int known = stored[0] != '\0';
    int right = crypto_pwhash_str_verify(known ? stored : nobody, password, length) == 0;
    return known && right;
}

/* ---- Answers ---- */

static void answer_session(si__request *request) {
    char csrf[SI__SECRET_HEX];
    si__db *db = &request->reader->db;
    si__session_csrf(request, csrf);
    int64_t users = si__db_int(db, si__db_prepare(db, "SELECT count(*) FROM user"), 0);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_bool(&json, "setup_needed", users == 0);
    if (request->user.id) {
        si__json_object_begin(&json, "user");
        si__json_put_int(&json, "id", request->user.id);
        si__json_put_string(&json, "name", request->user.name);
        si__json_put_string(&json, "email", request->user.email);
        si__json_put_string(&json, "role", si__role_name(request->user.role));
        si__json_object_end(&json);
    } else {
        si__json_put_null(&json, "user");
    }
    si__json_put_string(&json, "csrf", csrf);
    si__json_put_string(&json, "version", SI_VERSION);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

void si__handle_session(si__request *request) {
    answer_session(request);
}

typedef struct signing { /* what the writes of this file share */
    si__request *request;
    const char *token, *email, *name, *hash; /* of the request; hash of the password */
    const char *action, *browser;
    int64_t user;
    si__user signed_in;
    char session[SI__SECRET_HEX];
} signing;

/* Makes the session of s->user, ends the one that came with the request: a planted cookie is worth nothing. */
static int open_session(si__tx *tx, signing *s) {
    sqlite3_stmt *read = si__db_prepare(tx->db, "SELECT name,email,role FROM user WHERE id=? AND disabled=0");
    int found = si__db_step(tx->db, si__db_bind(read, "i", s->user));
    if (found != 1) return found ? found : SI_EAUTH;
    s->signed_in = (si__user){.id = s->user, .role = si__role_parse(si__db_text(read, 2))};
    si__clip(s->signed_in.name, sizeof s->signed_in.name, si__db_text(read, 0));
    si__clip(s->signed_in.email, sizeof s->signed_in.email, si__db_text(read, 1));
    sqlite3_reset(read);
    int failed = s->request->token[0] ? si__session_end(tx, s->request->token) : SI_OK;
    failed = failed ? failed : si__session_make(tx, s->user, s->request->address, s->browser, s->session);
    return failed ? failed : si__audit(tx, s->signed_in.email, s->action, "", s->request->address);
}

static void finish_signing(signing *s) {
    s->request->user = s->signed_in;
    si__session_cookie(s->request, s->session);
    si__reader_end(s->request->reader); /* what was just written is to be seen */
    si__reader_begin(s->request->reader);
    answer_session(s->request);
}

static int insert_user(si__tx *tx, const char *email, const char *name, const char *role, const char *hash,
                       int64_t *id) {
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT INTO user(email,name,role,password_hash,created_ms) VALUES(?,?,?,?,?)");
    int failed = si__db_run(tx->db, si__db_bind(insert, "ssssi", email, name, role, hash, tx->now_ms));
    *id = sqlite3_last_insert_rowid(tx->db->sql);
    return failed;
}

/* ---- Set-up ---- */

int si__account_setup_link(si__tx *tx, char token[SI__SECRET_HEX]) {
    token[0] = '\0';
    if (si__db_int(tx->db, si__db_prepare(tx->db, "SELECT count(*) FROM user"), 1) > 0) return SI_OK;
    int failed = si__db_run(tx->db, si__db_prepare(tx->db, "DELETE FROM link WHERE purpose='setup'"));
    return failed ? failed : si__link_make(tx, "setup", 0, NULL, "admin", tx->now_ms + 30 * 86400000ll, token);
}

int si__account_sign_in_link(si__tx *tx, char token[SI__SECRET_HEX]) {
    int64_t user = si__db_int(
        tx->db, si__db_prepare(tx->db, "SELECT id FROM user WHERE role='admin' AND disabled=0 ORDER BY id LIMIT 1"), 0);
    int failed = SI_OK;
    if (!user) failed = insert_user(tx, "admin@localhost", "Admin", "admin", NULL, &user);
    failed = failed ? failed : si__link_make(tx, "sign-in", user, NULL, NULL, tx->now_ms + SI__SIGN_IN_LINK_MS, token);
    return failed ? failed : si__audit(tx, "command line", "sign-in link made", "", "");
}

static int setup_apply(si__tx *tx, void *arg) {
    signing *s = arg;
    si__link link;
    int failed = si__link_use(tx, "setup", s->token, &link);
    if (!failed && si__db_int(tx->db, si__db_prepare(tx->db, "SELECT count(*) FROM user"), 1) > 0) failed = SI_EAUTH;
    failed = failed ? failed : insert_user(tx, s->email, s->name, "admin", s->hash, &s->user);
    return failed ? failed : open_session(tx, s);
}

/* 0, or answered: name and address of a new account are usable. */
static int check_person(si__request *request, const char *email, const char *name) {
    if (email && !si__account_is_email(email)) {
        si__answer_error(request, 400, "invalid", "This is not an e-mail address.", "email");
        return SI_EINVAL;
    }
    if (*name && strlen(name) < 128) return SI_OK;
    si__answer_error(request, 400, "invalid", "A name has between 1 and 127 characters.", "name");
    return SI_EINVAL;
}

/* 1: may try; 0: answered with 429. */
static int may_try(si__request *request, const char *who) {
    int64_t now = si__clock_monotonic_ns() / 1000000;
    char address[96];
    snprintf(address, sizeof address, "address:%s", request->address);
    int wait = si__throttle_wait_s(request->server->throttle, address, now);
    int own = who ? si__throttle_wait_s(request->server->throttle, who, now) : 0;
    if (own > wait) wait = own;
    if (!wait) return 1;
    request->retry_after_s = wait;
    si__answer_error(request, 429, "too_many", "Too many failed attempts; wait a little.", NULL);
    return 0;
}

static void note_failure(si__request *request, const char *who) {
    int64_t now = si__clock_monotonic_ns() / 1000000;
    char address[96];
    snprintf(address, sizeof address, "address:%s", request->address);
    si__throttle_failed(request->server->throttle, address, TRIES_PER_ADDRESS, now);
    if (who) si__throttle_failed(request->server->throttle, who, TRIES_PER_USER, now);
}

/* A link was used in a write: tells the person how that ended. */
static void answer_link_use(signing *s, int failed) {
    if (!failed) {
        finish_signing(s);
        return;
    }
    if (failed != SI_EAUTH) {
        si__answer_failure(s->request, failed);
        return;
    }
    note_failure(s->request, NULL);
    si__answer_error(s->request, 403, "link", "This link was used already, has expired, or was never made.", "token");
}

static int write_signing(signing *s, int (*apply)(si__tx *tx, void *arg)) {
    const char *browser = si__request_header(s->request, "User-Agent");
    s->browser = browser ? browser : "";
    return si__writer_call(si__store_writer(s->request->server->store), apply, s);
}

void si__handle_setup(si__request *request) {
    si__json *body;
    char hash[crypto_pwhash_STRBYTES];
    if (!may_try(request, NULL) || si__request_body(request, &body)) return;
    signing s = {.request = request,
                 .token = si__json_get_string(body, "token", ""),
                 .email = si__json_get_string(body, "email", ""),
                 .name = si__json_get_string(body, "name", ""),
                 .hash = hash,
                 .action = "set-up"};
    if (!check_person(request, s.email, s.name) &&
        !hash_password(request, si__json_get_string(body, "password", ""), hash))
        answer_link_use(&s, write_signing(&s, setup_apply));
    si__json_free(body);
}

static int invite_apply(si__tx *tx, void *arg) {
    signing *s = arg;
    si__link link;
    int failed = si__link_use(tx, "invite", s->token, &link);
    failed = failed ? failed : insert_user(tx, link.email, s->name, link.role, s->hash, &s->user);
    return failed ? failed : open_session(tx, s);
}

void si__handle_accept_invite(si__request *request) {
    si__json *body;
    char hash[crypto_pwhash_STRBYTES];
    if (!may_try(request, NULL) || si__request_body(request, &body)) return;
    signing s = {.request = request,
                 .token = si__json_get_string(body, "token", ""),
                 .name = si__json_get_string(body, "name", ""),
                 .hash = hash,
                 .action = "invitation accepted"};
    if (!check_person(request, NULL, s.name) &&
        !hash_password(request, si__json_get_string(body, "password", ""), hash))
        answer_link_use(&s, write_signing(&s, invite_apply));
    si__json_free(body);
}

/* ---- Sign-in ---- */

static int sign_in_apply(si__tx *tx, void *arg) {
    return open_session(tx, arg);
}

static int sign_in_link_apply(si__tx *tx, void *arg) {
    signing *s = arg;
    si__link link;
    int failed = si__link_use(tx, "sign-in", s->token, &link);
    s->user = failed ? 0 : link.user;
    return failed ? failed : open_session(tx, s);
}

static int failed_apply(si__tx *tx, void *arg) {
    signing *s = arg;
    return si__audit(tx, s->email, "sign-in failed", "", s->request->address);
}

static void sign_in(signing *s, const char *password) {
    si__db *db = &s->request->reader->db;
    char stored[crypto_pwhash_STRBYTES] = "", who[300];
    snprintf(who, sizeof who, "user:%.254s", s->email);
    for (char *c = who; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 32); /* addresses are compared without case */
    if (!may_try(s->request, who)) return;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,password_hash FROM user WHERE email=? AND disabled=0");
    if (si__db_step(db, si__db_bind(read, "s", s->email)) == 1) {
        s->user = sqlite3_column_int64(read, 0);
        snprintf(stored, sizeof stored, "%s", si__db_text(read, 1));
        sqlite3_reset(read);
    }
    if (!hash_begin(s->request)) return;
    int right = verify_password(stored, password);
    hash_end(s->request);
    if (right) {
        si__throttle_forget(s->request->server->throttle, who);
        int failed = write_signing(s, sign_in_apply);
        if (failed)
            si__answer_failure(s->request, failed);
        else
            finish_signing(s);
        return;
    }
    note_failure(s->request, who);
    write_signing(s, failed_apply);
    si__answer_error(s->request, 401, "sign_in", "The address or the password is wrong.", NULL);
}

void si__handle_sign_in(si__request *request) {
    si__json *body;
    if (si__request_body(request, &body)) return;
    signing s = {.request = request, .email = si__json_get_string(body, "email", ""), .action = "sign-in"};
    if (strlen(s.email) > 254)
        si__answer_error(request, 401, "sign_in", "The address or the password is wrong.", NULL);
    else
        sign_in(&s, si__json_get_string(body, "password", ""));
    si__json_free(body);
}

void si__handle_sign_in_link(si__request *request) {
    si__json *body;
    if (!may_try(request, NULL) || si__request_body(request, &body)) return;
    signing s = {.request = request, .token = si__json_get_string(body, "token", ""), .action = "sign-in by link"};
    answer_link_use(&s, write_signing(&s, sign_in_link_apply));
    si__json_free(body);
}

static int sign_out_apply(si__tx *tx, void *arg) {
    si__request *request = arg;
    int failed = si__session_end(tx, request->token);
    return failed ? failed : si__audit(tx, request->user.email, "sign-out", "", request->address);
}

void si__handle_sign_out(si__request *request) {
    if (request->user.id && si__request_write(request, sign_out_apply, request)) return;
    si__session_cookie(request, "");
    si__answer_nothing(request);
}

/* ---- One's own password ---- */

static int password_apply(si__tx *tx, void *arg) {
    signing *s = arg;
    uint8_t own[32];
    si__secret_hash(s->request->token, own);
    sqlite3_stmt *update = si__db_prepare(tx->db, "UPDATE user SET password_hash=? WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(update, "si", s->hash, s->request->user.id));
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM session WHERE user=? AND hash<>?");
    failed = failed ? failed : si__db_run(tx->db, si__db_bind(drop, "ib", s->request->user.id, own, sizeof own));
    return failed ? failed : si__audit(tx, s->request->user.email, "password changed", "", s->request->address);
}

/* 1 when `current` is the password, or there never was one. 0: answered. */
static int is_current(si__request *request, const char *current) {
    si__db *db = &request->reader->db;
    char stored[crypto_pwhash_STRBYTES] = "", who[300];
    sqlite3_stmt *read = si__db_prepare(db, "SELECT coalesce(password_hash,'') FROM user WHERE id=?");
    if (si__db_step(db, si__db_bind(read, "i", request->user.id)) == 1) {
        snprintf(stored, sizeof stored, "%s", si__db_text(read, 0));
        sqlite3_reset(read);
    }
    if (!stored[0]) return 1;
    snprintf(who, sizeof who, "password:%lld", (long long)request->user.id);
    if (!may_try(request, who) || !hash_begin(request)) return 0;
    int right = verify_password(stored, current);
    hash_end(request);
    if (right) return 1;
    note_failure(request, who);
    si__answer_error(request, 400, "password", "This is not the current password.", "current");
    return 0;
}

void si__handle_password(si__request *request) {
    si__json *body;
    char hash[crypto_pwhash_STRBYTES];
    if (si__request_body(request, &body)) return;
    signing s = {.request = request, .hash = hash};
    if (is_current(request, si__json_get_string(body, "current", "")) &&
        !hash_password(request, si__json_get_string(body, "password", ""), hash) &&
        !si__request_write(request, password_apply, &s))
        si__answer_nothing(request);
    si__json_free(body);
}
