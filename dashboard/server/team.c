/* People: who is there, invitations, roles. Routes for admins; workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "audit.h"
#include "handlers.h"

#define INVITATION_MS (7 * 86400000ll)

void si__handle_users(si__request *request) {
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "users");
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT id,name,email,role,disabled,created_ms,last_seen_ms FROM user ORDER BY id");
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 0));
        si__json_put_string(&json, "name", si__db_text(read, 1));
        si__json_put_string(&json, "email", si__db_text(read, 2));
        si__json_put_string(&json, "role", si__db_text(read, 3));
        si__json_put_bool(&json, "disabled", sqlite3_column_int(read, 4));
        si__json_put_int(&json, "created_ms", sqlite3_column_int64(read, 5));
        if (sqlite3_column_type(read, 6) == SQLITE_NULL)
            si__json_put_null(&json, "last_seen_ms");
        else
            si__json_put_int(&json, "last_seen_ms", sqlite3_column_int64(read, 6));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* ---- Invitations ---- */

typedef struct invitation {
    si__request *request;
    const char *email, *role;
    char token[SI__SECRET_HEX];
} invitation;

static int invite_apply(si__tx *tx, void *arg) {
    invitation *i = arg;
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT 1 FROM user WHERE email=?");
    if (si__db_int(tx->db, si__db_bind(find, "s", i->email), 0)) return SI_EEXIST;
    int failed = si__link_make(tx, "invite", 0, i->email, i->role, tx->now_ms + INVITATION_MS, i->token);
    return failed ? failed : si__audit(tx, i->request->user.email, "invitation made", i->email, i->request->address);
}

void si__handle_invite(si__request *request) {
    si__json *body;
    if (si__request_body(request, &body)) return;
    invitation i = {request, si__json_get_string(body, "email", ""), si__json_get_string(body, "role", "viewer"), ""};
    if (!si__account_is_email(i.email))
        si__answer_error(request, 400, "invalid", "This is not an e-mail address.", "email");
    else if (si__role_parse(i.role) == SI__ROLE_PUBLIC)
        si__answer_error(request, 400, "invalid", "A role is viewer, editor or admin.", "role");
    else if (!si__request_write(request, invite_apply, &i)) {
        char url[SI__SECRET_HEX + 32];
        snprintf(url, sizeof url, "/invite?token=%s", i.token);
        si__json_writer json = {0};
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "invite_url", url);
        si__json_object_end(&json);
        si__answer_json(request, 201, &json);
    }
    si__json_free(body);
}

/* ---- Roles ---- */

typedef struct change {
    si__request *request;
    int64_t user;
    const char *role; /* NULL: as it is */
    int disabled;     /* -1: as it is */
} change;

static int admins(si__tx *tx) {
    return (int)si__db_int(tx->db,
                           si__db_prepare(tx->db, "SELECT count(*) FROM user WHERE role='admin' AND disabled=0"), 0);
}

static int change_apply(si__tx *tx, void *arg) {
    change *c = arg;
    char target[128];
    sqlite3_stmt *update = si__db_prepare(
        tx->db,
        "UPDATE user SET role=coalesce(?1,role), disabled=CASE WHEN ?2<0 THEN disabled ELSE ?2 END WHERE id=?3");
    int failed = si__db_run(tx->db, si__db_bind(update, "sii", c->role, (int64_t)c->disabled, c->user));
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    if (!failed && admins(tx) == 0) failed = SI_EAUTH; /* somebody must be able to undo this */
    if (!failed && c->disabled == 1) {
        sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM session WHERE user=?");
        failed = si__db_run(tx->db, si__db_bind(drop, "i", c->user));
    }
    snprintf(target, sizeof target, "user %lld: %s%s%s", (long long)c->user, c->role ? "role " : "",
             c->role ? c->role : "",
             c->disabled < 0 ? ""
             : c->disabled   ? " disabled"
                             : " enabled");
    return failed ? failed : si__audit(tx, c->request->user.email, "user changed", target, c->request->address);
}

void si__handle_user_change(si__request *request) {
    si__json *body;
    char *end;
    change c = {request, strtoll(request->parameter, &end, 10), NULL, -1};
    if (*end) {
        si__answer_failure(request, SI_ENOTFOUND);
        return;
    }
    if (si__request_body(request, &body)) return;
    c.role = si__json_get_string(body, "role", NULL);
    c.disabled = si__json_get_bool(body, "disabled", -1);
    if (c.role && si__role_parse(c.role) == SI__ROLE_PUBLIC)
        si__answer_error(request, 400, "invalid", "A role is viewer, editor or admin.", "role");
    else {
        int failed = si__writer_call(si__store_writer(request->server->store), change_apply, &c);
        if (failed == SI_EAUTH)
            si__answer_error(request, 409, "last_admin", "One admin must remain.", NULL);
        else if (failed)
            si__answer_failure(request, failed);
        else {
            si__reader_end(request->reader);
            si__reader_begin(request->reader);
            si__handle_users(request);
        }
    }
    si__json_free(body);
}
