/* Routes: a source file with what each of its lines cost, and the files that were uploaded. Workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "audit.h"
#include "handlers.h"
#include "key.h"
#include "selection.h"
#include "server.h"
#include "source_text.h"

#define FILES_PER_APP 20000
#define BYTES_PER_APP ((int64_t)256 << 20) /* compressed */

/* ---- One file with its costs ---- */

typedef struct line {
    uint32_t number;
    int64_t self, total;
    uint64_t samples;
} line;

typedef struct listing {
    const si__tree *tree;
    uint32_t *lines; /* of each branch; 0: another file */
    line *items;     /* by line */
    size_t count;
    int64_t self, total;
} listing;

static int by_number(const void *a, const void *b) {
    uint32_t x = ((const line *)a)->number, y = ((const line *)b)->number;
    return (x > y) - (x < y);
}

/* Among the callers of a branch: 2 the same line, 1 another line of the file, 0 none. */
static int inside(const listing *l, size_t branch) {
    int found = 0;
    for (size_t at = l->tree->branches[branch].parent; at; at = l->tree->branches[at].parent) {
        if (l->lines[at] == l->lines[branch]) return 2;
        found |= l->lines[at] != 0;
    }
    return found;
}

/* Which branches are in the file; frames repeat, so each is looked up once in a row. */
static int find_lines(si__reader *reader, listing *l, const char *file) {
    size_t count = l->tree->count;
    l->lines = calloc(count + 1, sizeof *l->lines);
    l->items = calloc(count + 1, sizeof *l->items);
    if (!l->lines || !l->items) return SI_ENOMEM;
    for (size_t i = 1; i < count; i++) {
        si__frame_row row;
        if (si__read_frame(reader, l->tree->branches[i].frame, &row) || strcmp(row.file, file) != 0) continue;
        l->lines[i] = row.line ? row.line : UINT32_MAX; /* UINT32_MAX: the line is not known */
    }
    return SI_OK;
}

static void add_lines(listing *l) {
    for (size_t i = 1; i < l->tree->count; i++) {
        const si__branch *branch = &l->tree->branches[i];
        if (!l->lines[i]) continue;
        int caller = inside(l, i);
        l->items[l->count++] =
            (line){l->lines[i], branch->self, caller == 2 ? 0 : branch->total, caller == 2 ? 0 : branch->total_count};
        l->self = si__wrap_add(l->self, branch->self);
        if (!caller) l->total = si__wrap_add(l->total, branch->total);
    }
    if (l->count) qsort(l->items, l->count, sizeof *l->items, by_number);
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (kept && l->items[kept - 1].number == l->items[i].number) {
            line *into = &l->items[kept - 1];
            into->self = si__wrap_add(into->self, l->items[i].self);
            into->total = si__wrap_add(into->total, l->items[i].total);
            into->samples += l->items[i].samples;
        } else {
            l->items[kept++] = l->items[i];
        }
    }
    l->count = kept;
}

static void put_text(si__json_writer *json, const si__source_text *source) {
    si__json_array_begin(json, "lines");
    for (const char *at = source->text, *end = at + source->length; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((stop ? stop : end) - at);
        si__json_put_text(json, NULL, at, length && at[length - 1] == '\r' ? length - 1 : length);
        at += length + 1;
    }
    si__json_array_end(json);
}

static void put_listing(si__json_writer *json, const listing *l) {
    si__json_array_begin(json, "values");
    for (size_t i = 0; i < l->count; i++) {
        si__json_array_begin(json, NULL);
        si__json_put_uint(json, NULL, l->items[i].number == UINT32_MAX ? 0 : l->items[i].number);
        si__json_put_int(json, NULL, l->items[i].self);
        si__json_put_int(json, NULL, l->items[i].total);
        si__json_put_uint(json, NULL, l->items[i].samples);
        si__json_array_end(json);
    }
    si__json_array_end(json);
    si__json_put_int(json, "self", l->self);
    si__json_put_int(json, "file_total", l->total);
}

static void answer_source(si__request *request, const si__selection *selection, const char *file, const listing *l,
                          const si__source_text *source) {
    si__json_writer json = {0};
    const char *type = si__selection_type(selection);
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "file", file);
    si__json_put_string(&json, "path", source->path);
    si__json_put_string(&json, "origin", source->origin);
    si__json_put_string(&json, "version", source->version);
    si__json_put_string(&json, "type", type);
    si__json_put_string(&json, "unit", si__type_unit(request->reader, selection->range.app, type));
    si__merge_write(&json, &l->tree->merge);
    put_text(&json, source);
    put_listing(&json, l);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static void answer_missing(si__request *request, int failed) {
    if (failed == SI_ENOTFOUND)
        si__answer_error(request, 404, "no_source",
                         "The text of this file was not given: upload it, or start si-dashboard with --sources.",
                         "file");
    else if (failed == SI_ELIMIT || failed == SI_EFORMAT)
        si__answer_error(request, 404, "no_source", "This file is larger than 1 MiB, or no text.", "file");
    else
        si__answer_failure(request, failed);
}

void si__handle_source(si__request *request) {
    si__selection selection;
    si__tree tree = {0};
    si__source_text source = {0};
    const char *file = si__request_argument(request, "file", "");
    if (si__selection_of(request, &selection) || si__selection_tree(request, &selection, &tree)) return;
    listing l = {.tree = &tree};
    int failed = find_lines(request->reader, &l, file);
    if (!failed) add_lines(&l);
    if (failed) {
        si__answer_failure(request, failed);
    } else if (!l.count) {
        si__answer_error(request, 404, "not_found", "No call in what is selected is in this file.", "file");
    } else {
        failed = si__source_text_find(request, selection.range.app, selection.version, file, &source);
        if (failed)
            answer_missing(request, failed);
        else
            answer_source(request, &selection, file, &l, &source);
    }
    si__source_text_clear(&source);
    free(l.lines);
    free(l.items);
    si__tree_clear(&tree);
}

/* ---- Uploads ---- */

void si__handle_source_files(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t app;
    if (si__request_app(request, &app)) return;
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "files");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,version,path,bytes,created_ms,author FROM source_file"
                                            " WHERE app=? ORDER BY path,created_ms DESC LIMIT 5000");
    si__db_bind(read, "i", app);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 0));
        si__json_put_string(&json, "version", si__db_text(read, 1));
        si__json_put_string(&json, "path", si__db_text(read, 2));
        si__json_put_int(&json, "bytes", sqlite3_column_int64(read, 3));
        si__json_put_int(&json, "created_ms", sqlite3_column_int64(read, 4));
        si__json_put_string(&json, "author", si__db_text(read, 5));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_put_bool(&json, "directory", request->server->options->sources_dir != NULL);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

typedef struct upload {
    si__request *request;
    int64_t app, id;
    const char *version;
    char path[SI__SOURCE_PATH];
    void *body;
    size_t length;
} upload;

static int upload_apply(si__tx *tx, void *arg) {
    upload *u = arg;
    if (!si__store_has_app(tx, u->app)) return SI_ENOTFOUND;
    sqlite3_stmt *sum = si__db_prepare(tx->db, "SELECT coalesce(sum(length(body)),0) FROM source_file WHERE app=?");
    sqlite3_stmt *count = si__db_prepare(tx->db, "SELECT count(*) FROM source_file WHERE app=?");
    if (si__db_int(tx->db, si__db_bind(sum, "i", u->app), 0) + (int64_t)u->length > BYTES_PER_APP ||
        si__db_int(tx->db, si__db_bind(count, "i", u->app), 0) >= FILES_PER_APP)
        return SI_EEXIST;
    sqlite3_stmt *put = si__db_prepare(
        tx->db, "INSERT INTO source_file(app,version,path,body,bytes,created_ms,author) VALUES(?1,?2,?3,?4,?5,?6,?7)"
                " ON CONFLICT(app,version,path) DO UPDATE SET body=?4,bytes=?5,created_ms=?6,author=?7");
    si__db_bind(put, "issbiis", u->app, u->version, u->path, u->body, u->length, (int64_t)u->request->body_length,
                tx->now_ms, u->request->user.email);
    int failed = si__db_run(tx->db, put);
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT id FROM source_file WHERE app=? AND version=? AND path=?");
    if (!failed) u->id = si__db_int(tx->db, si__db_bind(find, "iss", u->app, u->version, u->path), 0);
    return failed ? failed
                  : si__audit(tx, u->request->user.email, "source file uploaded", u->path, u->request->address);
}

static int compress_body(upload *u) {
    size_t room = ZSTD_compressBound(u->request->body_length);
    u->body = malloc(room);
    if (!u->body) return SI_ENOMEM;
    u->length = ZSTD_compress(u->body, room, u->request->body, u->request->body_length, 6);
    return ZSTD_isError(u->length) ? SI_ENOMEM : SI_OK;
}

static void store_upload(si__request *request, upload *u) {
    int failed = compress_body(u);
    if (!failed) failed = si__writer_call(si__store_writer(request->server->store), upload_apply, u);
    if (failed == SI_EEXIST) {
        si__answer_error(request, 409, "full", "An application has room for 20,000 source files and 256 MiB of them.",
                         NULL);
    } else if (failed) {
        si__answer_failure(request, failed);
    } else {
        si__json_writer json = {0};
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", u->id);
        si__json_put_string(&json, "path", u->path);
        si__json_object_end(&json);
        si__answer_json(request, 201, &json);
    }
    free(u->body);
}

void si__handle_source_upload(si__request *request) {
    upload u = {.request = request, .version = si__request_argument(request, "version", "")};
    if (si__request_app(request, &u.app)) return;
    if (si__source_path(si__request_argument(request, "path", ""), u.path))
        si__answer_error(request, 400, "invalid", "A path has 1 to 1000 characters.", "path");
    else if (strlen(u.version) > 120)
        si__answer_error(request, 400, "invalid", "A version has at most 120 characters.", "version");
    else if (!request->body_length || memchr(request->body, '\0', request->body_length))
        si__answer_error(request, 400, "invalid", "The body is the text of the file, and must be text.", NULL);
    else
        store_upload(request, &u);
}

static int delete_apply(si__tx *tx, void *arg) {
    si__request *request = arg;
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM source_file WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(drop, "i", (int64_t)strtoll(request->parameter, NULL, 10)));
    if (!failed && sqlite3_changes(tx->db->sql) == 0) failed = SI_ENOTFOUND;
    return failed ? failed
                  : si__audit(tx, request->user.email, "source file deleted", request->parameter, request->address);
}

void si__handle_source_delete(si__request *request) {
    if (!si__request_write(request, delete_apply, request)) si__answer_nothing(request);
}
