/* Routes: marks on the timeline, such as deploys; from people, and from programs with an agent key. Workers' threads.
 */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "annotation.h"
#include "audit.h"
#include "clock.h"
#include "handlers.h"
#include "key.h"
#include "series.h"

#define MARKS 500

static int put_mark(void *arg, const si__annotation *mark) {
    si__json_writer *json = arg;
    si__json_object_begin(json, NULL);
    si__json_put_int(json, "id", mark->id);
    si__json_put_int(json, "time_ms", mark->time_ms);
    si__json_put_string(json, "kind", mark->kind);
    si__json_put_string(json, "text", mark->text);
    si__json_put_string(json, "author", mark->author);
    si__json_put_string(json, "link", mark->link);
    si__json_object_end(json);
    return 0;
}

void si__annotations_write(si__request *request, si__json_writer *json, const si__range *range) {
    si__json_array_begin(json, "annotations");
    si__read_annotations(request->reader, range, MARKS, put_mark, json);
    si__json_array_end(json);
}

void si__handle_annotations(si__request *request) {
    si__range range;
    if (si__request_range(request, &range)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__annotations_write(request, &json, &range);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

typedef struct change {
    si__request *request;
    si__annotation mark;
} change;

static int make_apply(si__tx *tx, void *arg) {
    change *c = arg;
    int failed = si__annotation_make_apply(tx, &c->mark);
    return failed ? failed
                  : si__audit(tx, c->request->user.email, "annotation made", c->mark.text, c->request->address);
}

/* A link is shown to people: it leads to a web page or nowhere. */
static int is_link(const char *link) {
    if (!*link) return 1;
    if ((strncmp(link, "https://", 8) != 0 && strncmp(link, "http://", 7) != 0) || strlen(link) > 1000) return 0;
    for (const unsigned char *c = (const unsigned char *)link; *c; c++)
        if (*c <= ' ' || *c == 0x7f || *c == '"' || *c == '<' || *c == '>') return 0;
    return 1;
}

/* The application: the key's own, or the one that the body names. 0, or answered. */
static int app_of(si__request *request, const si__json *body, int64_t *app) {
    const char *name = si__json_get_string(body, "app", ""), *environment = si__json_get_string(body, "env", "");
    int named = *name || *environment;
    *app = named ? si__read_app(request->reader, name, environment) : request->key_app;
    if (*app && (!request->key_app || *app == request->key_app)) return SI_OK;
    if (request->key_app)
        si__answer_error(request, 403, "wrong_app", "The key is for another application or environment.", "app");
    else
        si__answer_failure(request, SI_ENOTFOUND);
    return SI_ENOTFOUND;
}

static void make(si__request *request, const si__json *body) {
    change c = {request,
                {.time_ms = si__json_get_integer(body, "time_ms", si__clock_unix_ms()),
                 .kind = si__json_get_string(body, "kind", request->key_app ? "deploy" : "note"),
                 .text = si__json_get_string(body, "text", ""),
                 .link = si__json_get_string(body, "link", ""),
                 .author = request->user.email}};
    if (!si__key_is_name(c.mark.kind) || strlen(c.mark.kind) > 32)
        si__answer_error(request, 400, "invalid", "A kind is a short word such as deploy or note.", "kind");
    else if (c.mark.time_ms <= 0 || c.mark.time_ms > 253402300799000ll)
        si__answer_error(request, 400, "invalid", "A time is a number of milliseconds since 1970.", "time_ms");
    else if (!*c.mark.text || strlen(c.mark.text) > 500)
        si__answer_error(request, 400, "invalid", "An annotation has a text, of at most 500 characters.", "text");
    else if (!is_link(c.mark.link))
        si__answer_error(request, 400, "invalid", "A link begins with https:// or http://.", "link");
    else if (!app_of(request, body, &c.mark.app) && !si__request_write(request, make_apply, &c)) {
        si__json_writer json = {0};
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", c.mark.id);
        si__json_object_end(&json);
        si__answer_json(request, 201, &json);
    }
}

void si__handle_annotation_make(si__request *request) {
    si__json *body;
    if (si__request_body(request, &body)) return;
    make(request, body);
    si__json_free(body);
}

static int delete_apply(si__tx *tx, void *arg) {
    change *c = arg;
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT app FROM annotation WHERE id=?");
    c->mark.app = si__db_int(tx->db, si__db_bind(find, "i", c->mark.id), 0);
    int failed = c->mark.app ? si__annotation_delete_apply(tx, &c->mark) : SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, c->request->user.email, "annotation deleted", c->request->parameter,
                              c->request->address);
}

void si__handle_annotation_delete(si__request *request) {
    char *end;
    change c = {request, {.id = strtoll(request->parameter, &end, 10)}};
    if (*end)
        si__answer_failure(request, SI_ENOTFOUND);
    else if (!si__request_write(request, delete_apply, &c))
        si__answer_nothing(request);
}
