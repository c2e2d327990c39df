/* Routes: snapshots, which keep what was looked at beyond retention. Workers' threads; changes on the writer's. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "handlers.h"
#include "selection.h"

#define LISTED 1000

typedef struct making {
    si__request *request;
    si__new_snapshot snapshot;
} making;

static int make_apply(si__tx *tx, void *arg) {
    making *m = arg;
    int failed = si__snapshot_make_apply(tx, &m->snapshot);
    return failed ? failed
                  : si__audit(tx, m->request->user.email, "snapshot made", m->snapshot.id, m->request->address);
}

/* What the page needs to open it again: its own address, and the tags of what was looked at. */
static char *context_of(si__request *request, const si__selection *selection, const char *path) {
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    char *text = NULL;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT body FROM context WHERE ?1>0 AND id=(SELECT context FROM profile WHERE profile.id=?1 AND app=?2)"
            " UNION ALL SELECT * FROM (SELECT body FROM context JOIN source ON source.id=context.source WHERE ?1=0 AND"
            " app=?2 AND (?3=0 OR source.id=?3) ORDER BY context.id DESC LIMIT 1)");
    si__db_bind(read, "iii", selection->at, selection->range.app, selection->range.source);
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "path", path);
    if (si__db_step(db, read) == 1)
        si__json_put_raw(&json, "context", si__db_text(read, 0), strlen(si__db_text(read, 0)));
    if (read) sqlite3_reset(read);
    si__json_object_end(&json);
    si__json_take(&json, &text, NULL);
    return text;
}

/* An address within the page: it is shown as a link, so it must not lead elsewhere. */
static int is_own_path(const char *path) {
    if (!*path) return 1;
    if (path[0] != '/' || path[1] == '/' || path[1] == '\\' || strlen(path) > 2000) return 0;
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        if (*c < ' ' || *c == 0x7f) return 0;
    return 1;
}

static void make(si__request *request, const si__selection *selection, const si__selection *base, const char *title,
                 const char *path) {
    si__merge merges[SI__SNAPSHOT_PARTS] = {{0}, {0}};
    making m = {request,
                {.app = selection->range.app,
                 .type = si__selection_type(selection),
                 .unit = si__type_unit(request->reader, selection->range.app, si__selection_type(selection)),
                 .title = title,
                 .author = request->user.email,
                 .from_ms = selection->range.from_ms,
                 .to_ms = selection->range.to_ms,
                 .parts = {&merges[0], base ? &merges[1] : NULL}}};
    int failed = si__selection_merge(request->reader, selection, &merges[0]);
    if (!failed && base) failed = si__selection_merge(request->reader, base, &merges[1]);
    char *context = failed ? NULL : context_of(request, selection, path);
    m.snapshot.context = context;
    if (failed == SI_ENOTFOUND)
        si__answer_error(request, 404, "not_found", "This profile is not here (any more).", "at");
    else if (!failed && merges[0].profiles == 0)
        si__answer_error(request, 404, "empty", "There is nothing here to keep: no profile is selected.", "from");
    else if (failed || !context)
        si__answer_failure(request, failed ? failed : SI_ENOMEM);
    else if (!si__request_write(request, make_apply, &m)) {
        char url[SI__SNAPSHOT_ID + 8];
        si__json_writer json = {0};
        snprintf(url, sizeof url, "/s/%s", m.snapshot.id);
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "id", m.snapshot.id);
        si__json_put_string(&json, "url", url);
        si__json_object_end(&json);
        si__answer_json(request, 201, &json);
    }
    free(context);
    si__merge_clear(&merges[0]);
    si__merge_clear(&merges[1]);
}

void si__handle_snapshot_make(si__request *request) {
    si__selection selection, base;
    si__json *body;
    int has_base;
    if (si__selection_of(request, &selection) || si__selection_base(request, &selection, &base, &has_base) ||
        si__request_body(request, &body))
        return;
    const char *title = si__json_get_string(body, "title", ""), *path = si__json_get_string(body, "path", "");
    if (strlen(title) > 200)
        si__answer_error(request, 400, "invalid", "A title has at most 200 characters.", "title");
    else if (!is_own_path(path))
        si__answer_error(request, 400, "invalid", "A path is an address within this page, such as /a/shop/live/...",
                         "path");
    else
        make(request, &selection, has_base ? &base : NULL, title, path);
    si__json_free(body);
}

/* ---- Reading ---- */

typedef struct naming {
    si__request *request;
    si__json_writer *json;
    int64_t app;
    char name[128], environment[128];
} naming;

static int name_app(naming *n, int64_t app) {
    si__db *db = &n->request->reader->db;
    n->app = app;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT name,environment FROM app WHERE id=?");
    if (si__db_step(db, si__db_bind(read, "i", app)) != 1) return SI_ENOTFOUND;
    snprintf(n->name, sizeof n->name, "%s", si__db_text(read, 0));
    snprintf(n->environment, sizeof n->environment, "%s", si__db_text(read, 1));
    sqlite3_reset(read);
    return SI_OK;
}

static void put_fields(si__json_writer *json, const naming *n, const si__snapshot_row *row) {
    si__json *context = NULL;
    if (si__json_parse(row->context, strlen(row->context), &context, NULL, 0)) context = NULL;
    si__json_put_string(json, "id", row->id);
    si__json_put_string(json, "title", row->title);
    si__json_put_string(json, "path", si__json_get_string(context, "path", ""));
    si__json_put_string(json, "app", n->name);
    si__json_put_string(json, "env", n->environment);
    si__json_put_string(json, "type", row->type);
    si__json_put_string(json, "unit", row->unit);
    si__json_put_int(json, "created_ms", row->created_ms);
    si__json_put_string(json, "author", row->author);
    si__json_put_int(json, "from_ms", row->from_ms);
    si__json_put_int(json, "to_ms", row->to_ms);
    si__json_put_uint(json, "bytes", row->bytes);
    si__json_put_bool(json, "has_base", row->has_base);
    si__json_free(context);
}

static int put_row(void *arg, const si__snapshot_row *row) {
    naming *n = arg;
    si__json_object_begin(n->json, NULL);
    put_fields(n->json, n, row);
    si__json_object_end(n->json);
    return 0;
}

void si__handle_snapshots(si__request *request) {
    int64_t apps[500] = {0};
    size_t count = 0;
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT DISTINCT app FROM snapshot JOIN app ON app.id=snapshot.app WHERE (?1='' OR app.name=?1)"
            " AND (?2='' OR app.environment=?2) ORDER BY app LIMIT 500");
    si__db_bind(read, "ss", si__request_argument(request, "app", ""), si__request_argument(request, "env", ""));
    while (count < 500 && si__db_step(db, read) == 1) apps[count++] = sqlite3_column_int64(read, 0);
    if (read) sqlite3_reset(read);
    si__json_writer json = {0};
    naming n = {.request = request, .json = &json};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "snapshots");
    for (size_t i = 0; i < count; i++)
        if (!name_app(&n, apps[i])) si__read_snapshots(request->reader, apps[i], LISTED, put_row, &n);
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static int find_app(void *arg, const si__snapshot_row *row) {
    *(int64_t *)arg = row->app;
    return 0;
}

/* 0, or answered with 404. */
static int app_of(si__request *request, int64_t *app) {
    *app = 0;
    int failed = si__read_snapshot(request->reader, request->parameter, find_app, app);
    if (failed) si__answer_failure(request, failed);
    return failed;
}

static int put_one(void *arg, const si__snapshot_row *row) {
    naming *n = arg;
    put_fields(n->json, n, row);
    return 0;
}

void si__handle_snapshot(si__request *request) {
    si__json_writer json = {0};
    naming n = {.request = request, .json = &json};
    si__selection selection = {.version = "", .snapshot = request->parameter}, base;
    if (app_of(request, &selection.range.app)) return;
    if (name_app(&n, selection.range.app) || si__selection_snapshot(request->reader, &selection)) {
        si__answer_failure(request, SI_ENOTFOUND);
        return;
    }
    base = selection;
    base.part = SI__SNAPSHOT_BASE;
    si__tree_answer(request, &selection, selection.snapshot_has_base ? &base : NULL, 0);
    if (request->status != 200) return;
    char *tree = request->out;
    size_t length = request->out_length;
    request->out = NULL;
    si__json_object_begin(&json, NULL);
    si__read_snapshot(request->reader, request->parameter, put_one, &n);
    si__json_put_raw(&json, "profile", tree, length);
    si__json_object_end(&json);
    free(tree);
    si__answer_json(request, 200, &json);
}

static int delete_apply(si__tx *tx, void *arg) {
    making *m = arg;
    si__snapshot_key key = {m->snapshot.app, m->request->parameter};
    int failed = si__snapshot_delete_apply(tx, &key);
    return failed ? failed : si__audit(tx, m->request->user.email, "snapshot deleted", key.id, m->request->address);
}

void si__handle_snapshot_delete(si__request *request) {
    making m = {.request = request};
    if (!app_of(request, &m.snapshot.app) && !si__request_write(request, delete_apply, &m)) si__answer_nothing(request);
}
