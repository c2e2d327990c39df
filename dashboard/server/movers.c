/* Functions whose own share of the profile changed; see movers.h. Workers' threads. */
#include "movers.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers.h"

#define TYPES 16
#define MOVER_LEAST 0.01   /* a change of less than a hundredth of the profile is no news */
#define FRAME_LEAST 0.0005 /* frames with less are not looked up by name */

typedef struct mover {
    char function[512], module[128];
    const char *type;
    double before, after;
} mover;

typedef struct movers {
    mover *items;
    size_t count, capacity;
} movers;

/* Self values per frame. */
static int by_frame(si__reader *reader, const si__sum *nodes, si__sum *frames) {
    size_t count = si__sum_count(nodes);
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    int failed = entries ? SI_OK : SI_ENOMEM;
    if (entries) si__sum_entries(nodes, entries);
    for (size_t i = 0; i < count && !failed; i++) {
        si__place place = si__places_get(reader->places, &reader->db, entries[i].node);
        failed = si__sum_add(frames, place.frame, 0, entries[i].value);
    }
    free(entries);
    return failed;
}

static int add_share(movers *all, size_t first, const si__frame_row *row, const char *type, double share,
                     int is_after) {
    for (size_t i = first; i < all->count; i++) {
        mover *m = &all->items[i];
        if (strncmp(m->function, row->function, sizeof m->function - 1) != 0 ||
            strncmp(m->module, row->module, sizeof m->module - 1) != 0)
            continue;
        *(is_after ? &m->after : &m->before) += share;
        return SI_OK;
    }
    if (all->count == all->capacity) {
        size_t capacity = all->capacity ? all->capacity * 2 : 64;
        mover *more = realloc(all->items, capacity * sizeof *more);
        if (!more) return SI_ENOMEM;
        all->items = more;
        all->capacity = capacity;
    }
    mover *m = &all->items[all->count++];
    *m = (mover){.type = type};
    snprintf(m->function, sizeof m->function, "%s", row->function);
    snprintf(m->module, sizeof m->module, "%s", row->module);
    *(is_after ? &m->after : &m->before) = share;
    return SI_OK;
}

/* A function has a frame for each of its lines: they are joined by name here. */
static int add_shares(si__reader *reader, movers *all, size_t first, const si__sum *frames, int64_t total,
                      const char *type, int is_after) {
    size_t count = si__sum_count(frames);
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    int failed = entries ? SI_OK : SI_ENOMEM;
    if (entries) si__sum_entries(frames, entries);
    for (size_t i = 0; i < count && !failed; i++) {
        si__frame_row row;
        double share = (double)entries[i].value / (double)total;
        if (share < FRAME_LEAST || si__read_frame(reader, entries[i].node, &row)) continue;
        failed = add_share(all, first, &row, type, share, is_after);
    }
    free(entries);
    return failed;
}

static int compare_type(si__request *request, const si__range windows[2], const char *type, movers *all) {
    size_t first = all->count;
    si__merge merges[2] = {{0}, {0}};
    int failed = SI_OK, comparable = 1;
    for (int i = 0; i < 2 && !failed; i++) {
        failed = si__read_merge(request->reader, &windows[i], type, &merges[i]);
        comparable &= !failed && merges[i].total > 0;
    }
    for (int i = 0; i < 2 && !failed && comparable; i++) {
        si__sum *frames = si__sum_new();
        failed = frames ? by_frame(request->reader, merges[i].sum, frames) : SI_ENOMEM;
        if (!failed) failed = add_shares(request->reader, all, first, frames, merges[i].total, type, i);
        si__sum_free(frames);
    }
    si__merge_clear(&merges[0]);
    si__merge_clear(&merges[1]);
    return failed;
}

static int by_change(const void *a, const void *b) {
    double x = fabs(((const mover *)a)->after - ((const mover *)a)->before);
    double y = fabs(((const mover *)b)->after - ((const mover *)b)->before);
    return (x < y) - (x > y);
}

si__range si__movers_before(const si__range *range) {
    si__range before = *range;
    before.to_ms = range->from_ms;
    before.from_ms = range->from_ms - (range->to_ms - range->from_ms);
    return before;
}

void si__movers_write(si__request *request, si__json_writer *json, const si__range *range, const si__range *before,
                      const char *const *types, size_t count, size_t limit) {
    movers all = {0};
    si__range windows[2] = {*before, *range};
    for (size_t i = 0; i < count; i++)
        if (compare_type(request, windows, types[i], &all)) break; /* out of memory: the rest of the page stands */
    if (all.count) qsort(all.items, all.count, sizeof *all.items, by_change);
    si__json_array_begin(json, "movers");
    for (size_t i = 0; i < all.count && i < limit; i++) {
        const mover *m = &all.items[i];
        if (fabs(m->after - m->before) < MOVER_LEAST) break;
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "type", m->type);
        si__json_put_string(json, "function", m->function);
        si__json_put_string(json, "module", m->module);
        si__json_put_number(json, "before", m->before);
        si__json_put_number(json, "after", m->after);
        si__json_object_end(json);
    }
    si__json_array_end(json);
    free(all.items);
}

/* ---- Route ---- */

static size_t read_types(si__request *request, int64_t app, char names[TYPES][64], const char *wanted) {
    si__db *db = &request->reader->db;
    size_t count = 0;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT type FROM profile_type WHERE app=?1 AND (?2='' OR type=?2) ORDER BY type LIMIT ?3");
    si__db_bind(read, "isi", app, wanted, (int64_t)TYPES);
    while (count < TYPES && si__db_step(db, read) == 1) snprintf(names[count++], 64, "%s", si__db_text(read, 0));
    if (read) sqlite3_reset(read);
    return count;
}

void si__handle_movers(si__request *request) {
    si__range range;
    size_t limit;
    char names[TYPES][64];
    const char *types[TYPES];
    if (si__request_range(request, &range) || si__request_limit(request, 50, 500, &limit)) return;
    si__range before = si__movers_before(&range);
    if (si__request_time(request, "base_from", before.from_ms, &before.from_ms) ||
        si__request_time(request, "base_to", before.to_ms, &before.to_ms))
        return;
    if (before.from_ms >= before.to_ms) {
        si__answer_error(request, 400, "invalid", "The range to compare with ends before it begins.", "base_from");
        return;
    }
    size_t count = read_types(request, range.app, names, si__request_argument(request, "type", ""));
    for (size_t i = 0; i < count; i++) types[i] = names[i];
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__movers_write(request, &json, &range, &before, types, count, limit);
    si__json_object_begin(&json, "before");
    si__json_put_int(&json, "from_ms", before.from_ms);
    si__json_put_int(&json, "to_ms", before.to_ms);
    si__json_object_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}
