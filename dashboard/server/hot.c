/* The heaviest calls of each period; see hot.h. Encoded by the writer, read on readers' threads. */
#include "hot.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "rollup.h"

#define CALLS 200

int si__hot_level(int64_t span_ms) {
    return span_ms <= 2 * 86400000ll ? 0 : span_ms <= 14 * 86400000ll ? 1 : 2;
}

static int64_t magnitude(int64_t value) {
    return value < 0 ? (value == INT64_MIN ? INT64_MAX : -value) : value;
}

int si__hot_encode(si__places *places, si__db *db, si__body_codec *codec, const si__sum *sum, uint8_t **out,
                   size_t *length) {
    si__branch *branches = NULL;
    size_t count = 0, kept = 0;
    si__entry heaviest[CALLS + 1];
    const uint8_t *body = NULL;
    int failed = si__places_tree(places, db, sum, &branches, &count);
    if (failed) return failed;
    for (size_t i = 1; i < count; i++) {
        int64_t mine = magnitude(branches[i].total);
        if (kept == CALLS && mine <= magnitude(heaviest[CALLS - 1].value)) continue;
        size_t at = kept < CALLS ? kept++ : CALLS - 1;
        for (; at > 0 && magnitude(heaviest[at - 1].value) < mine; at--) heaviest[at] = heaviest[at - 1];
        heaviest[at] = (si__entry){branches[i].node, branches[i].total_count, branches[i].total};
    }
    heaviest[kept++] = (si__entry){0, branches[0].total_count, branches[0].total};
    free(branches);
    failed = si__body_encode(codec, heaviest, kept, &body, length);
    *out = failed ? NULL : malloc(*length);
    if (!*out) return failed ? failed : SI_ENOMEM;
    memcpy(*out, body, *length);
    return SI_OK;
}

void si__hot_free(si__hot *hot) {
    if (!hot) return;
    for (size_t i = 0; i < hot->count; i++) free(hot->periods[i].entries);
    free(hot->periods);
    free(hot);
}

const si__entry *si__hot_find(const si__hot_period *period, uint32_t node) {
    size_t low = 0, high = period->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (period->entries[middle].node < node)
            low = middle + 1;
        else
            high = middle;
    }
    return low < period->count && period->entries[low].node == node ? &period->entries[low] : NULL;
}

static si__hot_period *add_period(si__hot *hot, int64_t t, size_t count) {
    if (hot->count == hot->capacity) {
        size_t wanted = hot->capacity ? hot->capacity * 2 : 160;
        si__hot_period *more = realloc(hot->periods, wanted * sizeof *more);
        if (!more) return NULL;
        hot->periods = more;
        hot->capacity = wanted;
    }
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    if (!entries) return NULL;
    hot->periods[hot->count] = (si__hot_period){t, entries, count, 0};
    return &hot->periods[hot->count++];
}

static int add_encoded(si__reader *reader, si__hot *hot, int64_t t, const void *data, size_t length) {
    const si__entry *entries;
    size_t count;
    int failed = si__body_decode(reader->codec, data, length, &entries, &count);
    if (failed) return failed;
    si__hot_period *period = add_period(hot, t, count);
    if (!period) return SI_ENOMEM;
    memcpy(period->entries, entries, count * sizeof *entries);
    return SI_OK;
}

/* All calls of a period, from whatever there is. */
static int add_worked_out(si__reader *reader, si__hot *hot, int64_t t, int64_t step_ms) {
    si__range range = {hot->app, hot->source, t, t + step_ms};
    si__merge merge = {0};
    si__branch *branches = NULL;
    size_t count = 0;
    int failed = si__read_merge(reader, &range, hot->type, &merge);
    if (!failed && merge.profiles) failed = si__places_tree(reader->places, &reader->db, merge.sum, &branches, &count);
    si__hot_period *period = !failed && count ? add_period(hot, t, count) : NULL;
    if (!failed && count && !period) failed = SI_ENOMEM;
    if (period) period->exact = 1;
    for (size_t i = 0; period && i < count; i++) /* branches are in the order of their nodes */
        period->entries[i] = (si__entry){branches[i].node, branches[i].total_count, branches[i].total};
    free(branches);
    si__merge_clear(&merge);
    return failed;
}

static int by_time(const void *a, const void *b) {
    int64_t x = ((const si__hot_period *)a)->t, y = ((const si__hot_period *)b)->t;
    return (x > y) - (x < y);
}

typedef struct times {
    int64_t *items;
    size_t count, capacity;
} times;

static int note_time(times *all, int64_t t) {
    if (all->count == all->capacity) {
        size_t wanted = all->capacity ? all->capacity * 2 : 64;
        int64_t *more = realloc(all->items, wanted * sizeof *more);
        if (!more) return SI_ENOMEM;
        all->items = more;
        all->capacity = wanted;
    }
    all->items[all->count++] = t;
    return SI_OK;
}

static int read_periods(si__reader *reader, si__hot *hot) {
    si__db *db = &reader->db;
    int64_t step = si__rollup_steps_ms[si__hot_level(hot->to_ms - hot->from_ms)];
    times missing = {0};
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT t,hot FROM rollup AS r WHERE app=?1 AND type=?2 AND resolution_ms=?3 AND t>?4 AND t<?5 AND "
            "source=0"
            " AND NOT EXISTS(SELECT 1 FROM rollup_due AS d WHERE d.app=?1 AND d.type=?2 AND d.resolution_ms=?3 AND "
            "d.t=r.t)");
    si__db_bind(read, "isiii", hot->app, hot->type, step, hot->from_ms - step, hot->to_ms);
    int row, failed = SI_OK;
    while (!failed && (row = si__db_step(db, read)) == 1)
        failed = sqlite3_column_bytes(read, 1) && !hot->source
                     ? add_encoded(reader, hot, sqlite3_column_int64(read, 0), sqlite3_column_blob(read, 1),
                                   (size_t)sqlite3_column_bytes(read, 1))
                     : note_time(&missing, sqlite3_column_int64(read, 0));
    if (failed) sqlite3_reset(read);
    failed = failed ? failed : row;
    sqlite3_stmt *due =
        si__db_prepare(db, "SELECT t FROM rollup_due WHERE app=? AND type=? AND resolution_ms=? AND t>? AND t<?");
    si__db_bind(due, "isiii", hot->app, hot->type, step, hot->from_ms - step, hot->to_ms);
    while (!failed && (row = si__db_step(db, due)) == 1) failed = note_time(&missing, sqlite3_column_int64(due, 0));
    if (failed && due) sqlite3_reset(due);
    failed = failed ? failed : row;
    for (size_t i = 0; i < missing.count && !failed; i++) failed = add_worked_out(reader, hot, missing.items[i], step);
    free(missing.items);
    if (!failed && hot->count) qsort(hot->periods, hot->count, sizeof *hot->periods, by_time);
    return failed;
}

int si__hot_get(si__reader *reader, const si__range *range, const char *type, const si__hot **out) {
    const si__hot *kept = reader->hot;
    *out = kept;
    if (kept && kept->app == range->app && kept->source == range->source && kept->from_ms == range->from_ms &&
        kept->to_ms == range->to_ms && !strcmp(kept->type, type))
        return SI_OK;
    si__hot *hot = calloc(1, sizeof *hot);
    if (!hot) return SI_ENOMEM;
    hot->app = range->app;
    hot->source = range->source;
    hot->from_ms = range->from_ms;
    hot->to_ms = range->to_ms;
    memcpy(hot->type, type, strnlen(type, sizeof hot->type - 1));
    int failed = read_periods(reader, hot);
    if (failed) {
        si__hot_free(hot);
        return failed;
    }
    si__hot_free(reader->hot);
    *out = reader->hot = hot;
    return SI_OK;
}
