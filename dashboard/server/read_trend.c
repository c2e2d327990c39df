/* Reads how much time a call or a function took over time; see store.h. Readers' threads, inside one snapshot. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "cover.h"
#include "rollup.h"

int si__read_hot(si__reader *reader, const si__range *range, const char *type, uint32_t node, si__trend_each each,
                 void *arg) {
    sqlite3_stmt *read = si__db_prepare(
        &reader->db, "SELECT t,total FROM hot WHERE app=? AND type=? AND node=? AND t>=? AND t<? ORDER BY t");
    si__db_bind(read, "isuii", range->app, type, node, range->from_ms, range->to_ms);
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(&reader->db, read)) == 1)
        stopped = each(arg, node, sqlite3_column_int64(read, 0), sqlite3_column_int64(read, 1));
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}

typedef struct function_trend {
    si__reader *reader;
    const si__range *range;
    const char *type;
    si__trend_each each;
    void *arg;
    uint32_t *frames; /* sorted: the function's frames, one a line */
    size_t frame_count;
    uint8_t *known; /* per node: 0 not asked, 1 outside the function, 2 inside it or called by it */
    int64_t known_count;
} function_trend;

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int find_frames(function_trend *trend, const char *function, const char *module) {
    si__db *db = &trend->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id FROM frame WHERE function=?1 AND (?2='' OR module=?2)");
    si__db_bind(read, "ss", function, module);
    size_t capacity = 0;
    int row;
    while ((row = si__db_step(db, read)) == 1) {
        if (trend->frame_count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            uint32_t *more = realloc(trend->frames, capacity * sizeof *more);
            if (!more) {
                sqlite3_reset(read);
                return SI_ENOMEM;
            }
            trend->frames = more;
        }
        trend->frames[trend->frame_count++] = (uint32_t)sqlite3_column_int64(read, 0);
    }
    if (trend->frame_count) qsort(trend->frames, trend->frame_count, sizeof *trend->frames, by_number);
    return row;
}

/* Is the node, or one of its callers, the function? Callers have smaller numbers, so the walk ends. */
static int is_inside(function_trend *trend, uint32_t node) {
    uint32_t at = node;
    int answer = 0;
    while (at && at < trend->known_count && !answer) {
        if (trend->known[at])
            answer = trend->known[at];
        else {
            si__place place = si__places_get(trend->reader->places, &trend->reader->db, at);
            if (bsearch(&place.frame, trend->frames, trend->frame_count, sizeof *trend->frames, by_number))
                answer = 2;
            else
                at = place.parent < at ? place.parent : 0;
        }
    }
    if (!answer) answer = 1;
    for (uint32_t step = node; step && step < trend->known_count && !trend->known[step];) {
        trend->known[step] = (uint8_t)answer;
        if (step == at) break;
        step = si__places_get(trend->reader->places, &trend->reader->db, step).parent;
    }
    return answer == 2;
}

static int tell(function_trend *trend, int64_t t, const si__merge *merge) {
    size_t count = si__sum_count(merge->sum);
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    if (!entries) return SI_ENOMEM;
    si__sum_entries(merge->sum, entries);
    int64_t inside = 0, whole = 0;
    for (size_t i = 0; i < count; i++) {
        whole = si__wrap_add(whole, entries[i].value);
        if (is_inside(trend, entries[i].node)) inside = si__wrap_add(inside, entries[i].value);
    }
    free(entries);
    int stopped = trend->each(trend->arg, 0, t, whole);
    return stopped ? stopped : trend->each(trend->arg, 1, t, inside);
}

int si__read_function_trend(si__reader *reader, const si__range *range, const char *type, const char *function,
                            const char *module, si__trend_each each, void *arg) {
    function_trend trend = {.reader = reader, .range = range, .type = type, .each = each, .arg = arg};
    int64_t span = range->to_ms - range->from_ms, step = si__rollup_steps_ms[span <= 2 * 86400000ll    ? 0
                                                                             : span <= 14 * 86400000ll ? 1
                                                                                                       : 2];
    trend.known_count = si__db_int(&reader->db, si__db_prepare(&reader->db, "SELECT max(id) FROM node"), 0) + 1;
    trend.known = calloc((size_t)trend.known_count, 1);
    int failed = trend.known ? find_frames(&trend, function, module) : SI_ENOMEM;
    for (int64_t t = range->from_ms - range->from_ms % step; t < range->to_ms && !failed && trend.frame_count;
         t += step) {
        si__range period = *range;
        period.from_ms = t > range->from_ms ? t : range->from_ms;
        period.to_ms = t + step < range->to_ms ? t + step : range->to_ms;
        si__merge merge = {0};
        failed = si__read_merge(reader, &period, type, &merge);
        if (!failed && merge.profiles) failed = tell(&trend, t, &merge);
        si__merge_clear(&merge);
    }
    free(trend.frames);
    free(trend.known);
    return failed;
}
