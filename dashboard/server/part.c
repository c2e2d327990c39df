/* The parts of a range; see part.h. */
#include "part.h"

#include <si/si.h>
#include <stdlib.h>

#include "cover.h"
#include "kind.h"
#include "rollup.h"

typedef struct walk {
    const si__parts *parts;
    si__part_each each;
    void *arg;
    int is_level;
} walk;

/* Columns: profiles, samples, total, duration_ns, core_ns, cores, start, end, source, body. */
static int tell_rows(const walk *w, sqlite3_stmt *read, int level) {
    si__reader *reader = w->parts->reader;
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(&reader->db, read)) == 1) {
        si__part part = {.profiles = (uint64_t)sqlite3_column_int64(read, 0),
                         .samples = (uint64_t)sqlite3_column_int64(read, 1),
                         .total = sqlite3_column_int64(read, 2),
                         .duration_ns = (uint64_t)sqlite3_column_int64(read, 3),
                         .core_ns = sqlite3_column_double(read, 4),
                         .cores = sqlite3_column_double(read, 5),
                         .start_ms = sqlite3_column_int64(read, 6),
                         .end_ms = sqlite3_column_int64(read, 7),
                         .source = sqlite3_column_int64(read, 8),
                         .level = level};
        if (!w->parts->heads_only)
            stopped = si__body_decode(reader->codec, sqlite3_column_blob(read, 9),
                                      (size_t)sqlite3_column_bytes(read, 9), &part.entries, &part.count);
        if (stopped == SI_EFORMAT) stopped = SI_EIO; /* damaged: better said than left out */
        if (!stopped) stopped = w->each(w->arg, &part);
    }
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}

static int stretch(void *arg, int level, int64_t from_ms, int64_t to_ms, int64_t after) {
    const walk *w = arg;
    const si__range *range = w->parts->range;
    si__db *db = &w->parts->reader->db;
    if (level >= 0) {
        sqlite3_stmt *read = si__db_prepare(
            db, "SELECT profiles,samples,total,duration_ns,core_ns,cores,t,t+resolution_ms,source,body FROM rollup"
                " WHERE app=?1 AND type=?2 AND resolution_ms=?3 AND t>=?4 AND t<?5"
                " AND (CASE WHEN ?6 THEN source>0 ELSE source=0 END) AND (?7=0 OR source=?7)");
        si__db_bind(read, "isiiiii", range->app, w->parts->type, si__rollup_steps_ms[level], from_ms, to_ms,
                    (int64_t)w->is_level, w->is_level ? range->source : (int64_t)0);
        return tell_rows(w, read, level);
    }
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT 1,samples,total,duration_ns,duration_ns*cores,cores,start_ms,start_ms+duration_ns/1000000,source,"
            "body FROM profile CROSS JOIN profile_body USING(id)"
            " WHERE app=?1 AND type=?2 AND start_ms/600000>=?3/600000 AND start_ms/600000<=?4/600000"
            " AND profile.id>?5 AND start_ms>=?3 AND start_ms<?4 AND (?6=0 OR source=?6)"
            " AND (?7 IS NULL OR (SELECT app_version FROM context WHERE context.id=profile.context)=?7)"
            " AND trigger IN" SI__CONTINUOUS_TRIGGERS);
    si__db_bind(read, "isiiiis", range->app, w->parts->type, from_ms, to_ms, after, range->source, w->parts->version);
    return tell_rows(w, read, -1);
}

int si__parts_each(const si__parts *parts, si__part_each each, void *arg) {
    walk w = {parts, each, arg, si__kind_of(parts->type)->nature == SI__LEVEL};
    return si__cover(parts->reader, parts->range->app, parts->type, parts->range->from_ms, parts->range->to_ms,
                     parts->top_level, stretch, &w);
}

int si__parts_top(const si__range *range, const char *type, const char *version) {
    if (version || (range->source && si__kind_of(type)->nature == SI__FLOW)) return -1;
    return SI__ROLLUP_LEVELS - 1;
}

/* ---- Shares ---- */

static size_t place_of(const si__shares *shares, int64_t source) {
    size_t low = 0, high = shares->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (shares->items[middle].source < source)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int count_part(void *arg, const si__part *part) {
    si__shares *shares = arg;
    size_t at = place_of(shares, part->source);
    if (at == shares->count || shares->items[at].source != part->source) {
        if (shares->count == shares->capacity) {
            size_t wanted = shares->capacity ? shares->capacity * 2 : 16;
            void *more = realloc(shares->items, wanted * sizeof *shares->items);
            if (!more) return SI_ENOMEM;
            shares->items = more;
            shares->capacity = wanted;
        }
        for (size_t i = shares->count++; i > at; i--) shares->items[i] = shares->items[i - 1];
        shares->items[at] = (struct si__share){part->source, 0};
    }
    shares->items[at].profiles += part->profiles;
    return SI_OK;
}

int si__shares_count(si__shares *shares, const si__parts *parts) {
    si__parts heads = *parts;
    heads.heads_only = 1;
    return si__parts_each(&heads, count_part, shares);
}

uint64_t si__shares_of(const si__shares *shares, int64_t source) {
    size_t at = place_of(shares, source);
    int known = at < shares->count && shares->items[at].source == source;
    return known && shares->items[at].profiles ? shares->items[at].profiles : 1;
}

void si__shares_free(si__shares *shares) {
    free(shares->items);
    *shares = (si__shares){0};
}
