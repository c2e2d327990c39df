/* Route: what has a text in its name: functions, segments, errors, metrics of an application. Workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

#define MOST 20
#define FRAMES 5000   /* candidates by name */
#define NODES 2000000 /* the store's own limit of an application */

/* LIKE's pattern for a text: the text itself, anywhere. NULL: out of memory. */
static char *pattern_of(const char *text) {
    char *out = malloc(2 * strlen(text) + 3), *at = out;
    if (!out) return NULL;
    *at++ = '%';
    for (; *text; text++) {
        if (*text == '%' || *text == '_' || *text == '\\') *at++ = '\\';
        *at++ = *text;
    }
    *at++ = '%';
    *at = '\0';
    return out;
}

static int by_id(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

typedef struct frames {
    int64_t ids[FRAMES];
    uint8_t used[FRAMES]; /* the application has it */
    size_t count;
} frames;

static void find_frames(si__db *db, int64_t app, const char *pattern, frames *f) {
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT id FROM frame WHERE function LIKE ? ESCAPE '\\' ORDER BY length(function) LIMIT ?");
    si__db_bind(read, "si", pattern, (int64_t)FRAMES);
    while (f->count < FRAMES && si__db_step(db, read) == 1) f->ids[f->count++] = sqlite3_column_int64(read, 0);
    if (read) sqlite3_reset(read);
    if (!f->count) return;
    qsort(f->ids, f->count, sizeof *f->ids, by_id);
    sqlite3_stmt *nodes = si__db_prepare(db, "SELECT frame FROM node WHERE app=? LIMIT ?"); /* from the index alone */
    si__db_bind(nodes, "ii", app, (int64_t)NODES);
    while (si__db_step(db, nodes) == 1) {
        int64_t frame = sqlite3_column_int64(nodes, 0);
        const int64_t *found = bsearch(&frame, f->ids, f->count, sizeof *f->ids, by_id);
        if (found) f->used[found - f->ids] = 1;
    }
}

typedef struct hit {
    char function[512], module[128], file[512];
} hit;

static int by_length(const void *a, const void *b) {
    const hit *x = a, *y = b;
    size_t left = strlen(x->function), right = strlen(y->function);
    return left != right ? (left > right) - (left < right) : strcmp(x->function, y->function);
}

static int put_functions(si__request *request, si__json_writer *json, int64_t app, const char *pattern) {
    si__db *db = &request->reader->db;
    frames *f = calloc(1, sizeof *f);
    hit *hits = calloc(FRAMES, sizeof *hits);
    size_t count = 0;
    if (f && hits)
        find_frames(db, app, pattern, f);
    else
        json->failed = 1;
    for (size_t i = 0; f && hits && i < f->count; i++) {
        si__frame_row row;
        int known = 0;
        if (!f->used[i] || si__read_frame(request->reader, (uint32_t)f->ids[i], &row)) continue;
        hit h;
        snprintf(h.function, sizeof h.function, "%s", row.function);
        snprintf(h.module, sizeof h.module, "%s", row.module);
        snprintf(h.file, sizeof h.file, "%s", row.file);
        for (size_t k = 0; k < count && !known; k++)
            known = !strcmp(hits[k].function, h.function) && !strcmp(hits[k].module, h.module);
        if (!known) hits[count++] = h;
    }
    if (count) qsort(hits, count, sizeof *hits, by_length);
    si__json_array_begin(json, "functions");
    for (size_t i = 0; i < count && i < MOST; i++) {
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "function", hits[i].function);
        si__json_put_string(json, "module", hits[i].module);
        si__json_put_string(json, "file", hits[i].file);
        si__json_object_end(json);
    }
    si__json_array_end(json);
    int truncated = count > MOST || (f && f->count == FRAMES);
    free(f);
    free(hits);
    return truncated;
}

/* Rows of one or two texts, as objects. 1: there were more. */
static int put_rows(si__db *db, si__json_writer *json, const char *key, const char *first, const char *second,
                    sqlite3_stmt *read) {
    int count = 0;
    si__json_array_begin(json, key);
    while (si__db_step(db, read) == 1) {
        if (++count > MOST) continue;
        si__json_object_begin(json, NULL);
        si__json_put_string(json, first, si__db_text(read, 0));
        if (second) si__json_put_string(json, second, si__db_text(read, 1));
        si__json_object_end(json);
    }
    si__json_array_end(json);
    return count > MOST;
}

static int put_apps(si__request *request, si__json_writer *json, const char *pattern) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *apps = si__db_prepare(db, "SELECT name,environment FROM app WHERE name LIKE ?1 ESCAPE '\\'"
                                            " OR environment LIKE ?1 ESCAPE '\\' ORDER BY name,environment LIMIT ?2");
    return put_rows(db, json, "apps", "app", "env", si__db_bind(apps, "si", pattern, (int64_t)MOST + 1));
}

static int put_named(si__request *request, si__json_writer *json, int64_t app, const char *pattern) {
    si__db *db = &request->reader->db;
    int truncated = put_functions(request, json, app, pattern);
    sqlite3_stmt *segments = si__db_prepare(db, "SELECT name,kind FROM segment_name WHERE app=? AND name LIKE ?"
                                                " ESCAPE '\\' ORDER BY length(name),name LIMIT ?");
    truncated |=
        put_rows(db, json, "segments", "name", "kind", si__db_bind(segments, "isi", app, pattern, (int64_t)MOST + 1));
    sqlite3_stmt *errors = si__db_prepare(db, "SELECT name FROM error_group WHERE app=? AND name LIKE ? ESCAPE '\\'"
                                              " ORDER BY length(name),name LIMIT ?");
    truncated |=
        put_rows(db, json, "errors", "group", NULL, si__db_bind(errors, "isi", app, pattern, (int64_t)MOST + 1));
    sqlite3_stmt *metrics = si__db_prepare(db, "SELECT DISTINCT name FROM series WHERE app=? AND name LIKE ?"
                                               " ESCAPE '\\' ORDER BY length(name),name LIMIT ?");
    truncated |=
        put_rows(db, json, "metrics", "name", NULL, si__db_bind(metrics, "isi", app, pattern, (int64_t)MOST + 1));
    return truncated;
}

void si__handle_search(si__request *request) {
    const char *text = si__request_argument(request, "q", "");
    int64_t app = 0;
    int in_app = *si__request_argument(request, "app", "") != '\0';
    if (strlen(text) > 200 || !*text) {
        si__answer_error(request, 400, "invalid", "A search is for a text of 1 to 200 characters.", "q");
        return;
    }
    if (in_app && si__request_app(request, &app)) return;
    char *pattern = pattern_of(text);
    si__json_writer json = {0};
    if (!pattern) {
        si__answer_failure(request, SI_ENOMEM);
        return;
    }
    si__json_object_begin(&json, NULL);
    int truncated = put_apps(request, &json, pattern);
    if (in_app) truncated |= put_named(request, &json, app, pattern);
    si__json_put_bool(&json, "truncated", truncated);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
    free(pattern);
}
