/* Rollups of profiles and segments, and the hot calls' totals; see rollup.h. Writer thread, inside a transaction. */
#include "rollup.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/profile/sketch.h"
#include "hot.h"
#include "kind.h"
#include "record.h"

#define PROFILES_A_STEP 1024
#define PENDING_MANY 256
#define MARK_AGAIN_MS 1000

const int64_t si__rollup_steps_ms[SI__ROLLUP_LEVELS] = {600000, 3600000, 86400000};

int si__rollup_mark(si__tx *tx, int64_t app, const char *type, int64_t t) {
    si__memo_period *recent = si__memo_find(tx->memo, app, type, t - t % si__rollup_steps_ms[0]);
    recent->pending++;
    if (tx->now_ms - recent->marked_ms < MARK_AGAIN_MS && tx->now_ms >= recent->marked_ms) return SI_OK;
    recent->marked_ms = tx->now_ms;
    for (int i = 0; i < SI__ROLLUP_LEVELS; i++) {
        int64_t step = si__rollup_steps_ms[i];
        sqlite3_stmt *mark =
            si__db_prepare(tx->db, "INSERT INTO rollup_due(app,type,resolution_ms,t,marked_ms) VALUES(?1,?2,?3,?4,?5)"
                                   " ON CONFLICT DO UPDATE SET marked_ms=?5 WHERE marked_ms<?5");
        int failed = si__db_run(tx->db, si__db_bind(mark, "isiii", app, type, step, t - t % step, tx->now_ms));
        if (failed) return failed;
    }
    return SI_OK;
}

typedef struct period {
    int64_t app, resolution_ms, t;
    char type[64];
} period;

static int64_t finer_than(int64_t resolution_ms) { /* 0: what was reported */
    for (int i = 1; i < SI__ROLLUP_LEVELS; i++)
        if (si__rollup_steps_ms[i] == resolution_ms) return si__rollup_steps_ms[i - 1];
    return 0;
}

/* ---- Profiles ---- */

typedef struct total { /* of one source; of all: source 0 */
    si__sum *sum;
    int64_t source, profiles, samples, total, duration_ns;
    double core_ns, cores;
} total;

typedef struct totals {
    total *items;
    size_t count, capacity;
} totals;

static total *total_for(totals *all, int64_t source) {
    for (size_t i = all->count; i-- > 0;)
        if (all->items[i].source == source) return &all->items[i];
    if (all->count == all->capacity) {
        size_t wanted = all->capacity ? all->capacity * 2 : 8;
        total *more = realloc(all->items, wanted * sizeof *more);
        if (!more) return NULL;
        all->items = more;
        all->capacity = wanted;
    }
    all->items[all->count] = (total){.sum = si__sum_new(), .source = source};
    return all->items[all->count].sum ? &all->items[all->count++] : NULL;
}

static void totals_clear(totals *all) {
    for (size_t i = 0; i < all->count; i++) si__sum_free(all->items[i].sum);
    free(all->items);
    *all = (totals){0};
}

/* Columns: source, profiles, samples, total, duration_ns, core_ns, cores, body. A body that is damaged is left out: the
   rest of the period is worth having. */
static int add_row(si__tx *tx, totals *all, sqlite3_stmt *row, int is_level) {
    total *t = total_for(all, is_level ? sqlite3_column_int64(row, 0) : 0);
    if (!t) return SI_ENOMEM;
    int failed = si__sum_add_body(t->sum, tx->codec, sqlite3_column_blob(row, 7), (size_t)sqlite3_column_bytes(row, 7));
    if (failed) return failed == SI_ENOMEM ? failed : SI_OK;
    t->profiles = si__wrap_add(t->profiles, sqlite3_column_int64(row, 1));
    t->samples = si__wrap_add(t->samples, sqlite3_column_int64(row, 2));
    t->total = si__wrap_add(t->total, sqlite3_column_int64(row, 3));
    t->duration_ns = si__wrap_add(t->duration_ns, sqlite3_column_int64(row, 4));
    t->core_ns += sqlite3_column_double(row, 5);
    if (sqlite3_column_double(row, 6) > t->cores) t->cores = sqlite3_column_double(row, 6);
    return SI_OK;
}

static int put_rollup(si__tx *tx, const period *p, const total *t, int64_t upto) {
    size_t count = si__sum_count(t->sum), length = 0;
    const uint8_t *body = NULL;
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    if (!entries) return SI_ENOMEM;
    si__sum_entries(t->sum, entries);
    int failed = si__body_encode(tx->codec, entries, count, &body, &length);
    if (!failed) {
        sqlite3_stmt *put =
            si__db_prepare(tx->db, "INSERT OR REPLACE INTO rollup(app,type,resolution_ms,t,source,upto,profiles,"
                                   "samples,total,duration_ns,core_ns,cores,body) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)");
        si__db_bind(put, "isiiiiiiiiddb", p->app, p->type, p->resolution_ms, p->t, t->source, upto, t->profiles,
                    t->samples, t->total, t->duration_ns, t->core_ns, t->cores, body, length);
        failed = si__db_run(tx->db, put);
    }
    free(entries);
    return failed;
}

static int set_hot(si__tx *tx, const period *p, si__places *places, const si__sum *sum) {
    uint8_t *hot = NULL;
    size_t length = 0;
    int failed = si__hot_encode(places, tx->db, tx->codec, sum, &hot, &length);
    sqlite3_stmt *put = si__db_prepare(tx->db, "UPDATE rollup SET hot=?1 WHERE app=?2 AND type=?3 AND resolution_ms=?4"
                                               " AND t=?5 AND source=0");
    if (!failed)
        failed = si__db_run(tx->db, si__db_bind(put, "bisii", hot, length, p->app, p->type, p->resolution_ms, p->t));
    free(hot);
    return failed;
}

/* Of a level, the row of source 0 has no body of its own, only what is heaviest on the average of all sources. */
static int put_level_hot(si__tx *tx, const period *p, si__places *places) {
    si__sum *all = si__sum_new();
    total none = {.sum = si__sum_new()};
    int row = 0, failed = all && none.sum ? SI_OK : SI_ENOMEM;
    sqlite3_stmt *read = si__db_prepare(tx->db, "SELECT profiles,body FROM rollup WHERE app=? AND type=? AND "
                                                "resolution_ms=? AND t=? AND source>0");
    si__db_bind(read, "isii", p->app, p->type, p->resolution_ms, p->t);
    while (!failed && (row = si__db_step(tx->db, read)) == 1) {
        const si__entry *entries;
        size_t count = 0;
        int64_t parts = sqlite3_column_int64(read, 0);
        if (!si__body_decode(tx->codec, sqlite3_column_blob(read, 1), (size_t)sqlite3_column_bytes(read, 1), &entries,
                             &count))
            failed = si__sum_add_share(all, entries, count, parts > 0 ? (uint64_t)parts : 1);
    }
    if (failed && read) sqlite3_reset(read);
    failed = failed ? failed : row;
    if (!failed) si__sum_round(all);
    failed = failed ? failed : put_rollup(tx, p, &none, 0);
    failed = failed ? failed : set_hot(tx, p, places, all);
    si__sum_free(all);
    si__sum_free(none.sum);
    return failed;
}

static int finish_hot(si__tx *tx, const period *p, si__places *places, const totals *all) {
    if (all->count && all->items[0].source) return put_level_hot(tx, p, places);
    if (all->count) return set_hot(tx, p, places, all->items[0].sum);
    return SI_OK;
}

/* Adds the stored rollup of each source that got something new. */
static int add_stored(si__tx *tx, const period *p, totals *all, int is_level) {
    int failed = SI_OK;
    for (size_t i = 0; i < all->count && !failed; i++) {
        sqlite3_stmt *stored = si__db_prepare(tx->db, "SELECT source,profiles,samples,total,duration_ns,core_ns,cores,"
                                                      "body FROM rollup WHERE app=? AND type=? AND resolution_ms=? AND "
                                                      "t=? AND source=?");
        si__db_bind(stored, "isiii", p->app, p->type, p->resolution_ms, p->t, all->items[i].source);
        int row = si__db_step(tx->db, stored);
        if (row == 1) failed = add_row(tx, all, stored, is_level);
        if (stored) sqlite3_reset(stored);
        if (row < 0) failed = row;
    }
    return failed;
}

/* Adds what came since to a finest rollup, at most PROFILES_A_STEP. 1: there is more to add; 0: it is complete; or
   SI_E*. */
static int extend(si__tx *tx, const period *p, si__places *places, int is_level) {
    totals all = {0};
    sqlite3_stmt *last =
        si__db_prepare(tx->db, "SELECT max(upto) FROM rollup WHERE app=? AND type=? AND resolution_ms=? AND t=?");
    int64_t upto = si__db_int(tx->db, si__db_bind(last, "isii", p->app, p->type, p->resolution_ms, p->t), 0);
    sqlite3_stmt *read = si__db_prepare(
        tx->db, "SELECT source,1,samples,total,duration_ns,duration_ns*cores,cores,body,profile.id,"
                "trigger IN" SI__CONTINUOUS_TRIGGERS " FROM profile CROSS JOIN profile_body USING(id)"
                " WHERE app=? AND type=? AND start_ms/600000=? AND profile.id>? ORDER BY profile.id LIMIT ?");
    si__db_bind(read, "isiii", p->app, p->type, p->t / 600000, upto, (int64_t)PROFILES_A_STEP);
    int row, failed = SI_OK, read_count = 0;
    while (!failed && (row = si__db_step(tx->db, read)) == 1) {
        upto = sqlite3_column_int64(read, 8);
        read_count++;
        if (sqlite3_column_int64(read, 9)) failed = add_row(tx, &all, read, is_level);
    }
    if (failed && read) sqlite3_reset(read);
    failed = failed ? failed : row;
    size_t fresh = all.count;
    failed = failed ? failed : add_stored(tx, p, &all, is_level);
    for (size_t i = 0; i < fresh && !failed; i++) failed = put_rollup(tx, p, &all.items[i], upto);
    int more = read_count == PROFILES_A_STEP;
    if (!failed && !more && fresh) failed = finish_hot(tx, p, places, &all);
    totals_clear(&all);
    return failed ? failed : more;
}

/* Makes a coarser rollup anew, from the next finer ones. */
static int sum_up(si__tx *tx, const period *p, si__places *places, int is_level) {
    totals all = {0};
    sqlite3_stmt *clear =
        si__db_prepare(tx->db, "DELETE FROM rollup WHERE app=? AND type=? AND resolution_ms=? AND t=?");
    int row = 0, failed = si__db_run(tx->db, si__db_bind(clear, "isii", p->app, p->type, p->resolution_ms, p->t));
    sqlite3_stmt *parts = si__db_prepare(
        tx->db, "SELECT source,profiles,samples,total,duration_ns,core_ns,cores,body FROM rollup WHERE app=?1 AND "
                "type=?2 AND resolution_ms=?3 AND t>=?4 AND t<?5 AND (CASE WHEN ?6 THEN source>0 ELSE source=0 END) "
                "ORDER BY source");
    si__db_bind(parts, "isiiii", p->app, p->type, finer_than(p->resolution_ms), p->t, p->t + p->resolution_ms,
                (int64_t)is_level);
    while (!failed && (row = si__db_step(tx->db, parts)) == 1) failed = add_row(tx, &all, parts, is_level);
    if (failed && parts) sqlite3_reset(parts);
    failed = failed ? failed : row;
    for (size_t i = 0; i < all.count && !failed; i++) failed = put_rollup(tx, p, &all.items[i], 0);
    if (!failed) failed = finish_hot(tx, p, places, &all);
    totals_clear(&all);
    return failed;
}

static int roll_profiles(si__tx *tx, const period *p, si__places *places) {
    int is_level = si__kind_of(p->type)->nature == SI__LEVEL;
    return finer_than(p->resolution_ms) ? sum_up(tx, p, places, is_level) : extend(tx, p, places, is_level);
}

/* ---- Segments ---- */

typedef struct segment_total {
    int64_t name, duration_ns, count, errors, sum_ns, max_ns;
    si__sketch *sketch;
} segment_total;

static int put_segment(si__tx *tx, const period *p, segment_total *all) {
    if (!all->sketch) return SI_OK;
    size_t length = si__sketch_encode(all->sketch, NULL, 0);
    uint8_t *bytes = malloc(length ? length : 1);
    int failed = bytes ? SI_OK : SI_ENOMEM;
    if (bytes) {
        si__sketch_encode(all->sketch, bytes, length);
        sqlite3_stmt *put = si__db_prepare(
            tx->db, "INSERT INTO segment(app,name,resolution_ms,t,source,duration_ns,count,errors,sum_ns,"
                    "max_ns,sketch) VALUES(?,?,?,?,0,?,?,?,?,?,?)");
        si__db_bind(put, "iiiiiiiiib", p->app, all->name, p->resolution_ms, p->t, all->duration_ns, all->count,
                    all->errors, all->sum_ns, all->max_ns, bytes, length);
        failed = si__db_run(tx->db, put);
    }
    free(bytes);
    si__sketch_free(all->sketch);
    *all = (segment_total){0};
    return failed;
}

static int add_segment(segment_total *all, sqlite3_stmt *row) {
    si__sketch *sketch = si__sketch_decode(sqlite3_column_blob(row, 6), (size_t)sqlite3_column_bytes(row, 6));
    if (!sketch) return SI_OK; /* damaged: its percentiles are lost, and counted nowhere */
    int failed = SI_OK;
    if (all->sketch) failed = si__sketch_merge(all->sketch, sketch);
    if (all->sketch)
        si__sketch_free(sketch);
    else
        all->sketch = sketch;
    all->name = sqlite3_column_int64(row, 0);
    all->duration_ns = si__wrap_add(all->duration_ns, sqlite3_column_int64(row, 1));
    all->count = si__wrap_add(all->count, sqlite3_column_int64(row, 2));
    all->errors = si__wrap_add(all->errors, sqlite3_column_int64(row, 3));
    all->sum_ns = si__wrap_add(all->sum_ns, sqlite3_column_int64(row, 4));
    if (sqlite3_column_int64(row, 5) > all->max_ns) all->max_ns = sqlite3_column_int64(row, 5);
    return failed;
}

static int roll_segments(si__tx *tx, const period *p) {
    sqlite3_stmt *clear = si__db_prepare(tx->db, "DELETE FROM segment WHERE app=? AND resolution_ms=? AND t=?");
    int failed = si__db_run(tx->db, si__db_bind(clear, "iii", p->app, p->resolution_ms, p->t));
    if (failed) return failed;
    sqlite3_stmt *parts =
        si__db_prepare(tx->db, "SELECT name,duration_ns,count,errors,sum_ns,max_ns,sketch FROM segment"
                               " WHERE app=? AND resolution_ms=? AND t>=? AND t<? ORDER BY name");
    si__db_bind(parts, "iiii", p->app, finer_than(p->resolution_ms), p->t, p->t + p->resolution_ms);
    segment_total all = {0};
    int row;
    while ((row = si__db_step(tx->db, parts)) == 1) {
        if (all.sketch && all.name != sqlite3_column_int64(parts, 0)) failed = put_segment(tx, p, &all);
        if (!failed) failed = add_segment(&all, parts);
        if (failed) break;
    }
    if (failed && parts) sqlite3_reset(parts);
    failed = failed ? failed : row;
    if (!failed) return put_segment(tx, p, &all);
    si__sketch_free(all.sketch);
    return failed;
}

/* ---- What is due ---- */

/* A period that is not over, or not quiet, and has had so many profiles that reading them one by one takes long. */
static int roll_fullest(si__tx *tx, si__places *places) {
    si__memo_period *fullest = si__memo_fullest(tx->memo, PENDING_MANY);
    if (!fullest) return 0;
    period p = {fullest->app, si__rollup_steps_ms[0], fullest->t, ""};
    memcpy(p.type, fullest->type, sizeof p.type);
    if (!p.type[0]) { /* segments are summed up when their time is over */
        fullest->pending = 0;
        return 1;
    }
    fullest->pending = fullest->pending > PROFILES_A_STEP ? fullest->pending - PROFILES_A_STEP : 0;
    int failed = roll_profiles(tx, &p, places);
    return failed < 0 ? failed : 1;
}

int si__rollup_step(si__tx *tx, si__places *places, int64_t grace_ms) {
    int more = roll_fullest(tx, places);
    if (more) return more;
    sqlite3_stmt *due = si__db_prepare(tx->db, "SELECT app,type,resolution_ms,t FROM rollup_due WHERE marked_ms<=?1"
                                               " AND t+resolution_ms<=?1 ORDER BY resolution_ms,t LIMIT 1");
    int row = si__db_step(tx->db, si__db_bind(due, "i", tx->now_ms - grace_ms));
    if (row != 1) return row;
    period p = {sqlite3_column_int64(due, 0), sqlite3_column_int64(due, 2), sqlite3_column_int64(due, 3), ""};
    si__clip(p.type, sizeof p.type, si__db_text(due, 1));
    sqlite3_reset(due);
    more = p.type[0] ? roll_profiles(tx, &p, places) : roll_segments(tx, &p);
    if (more) return more;
    if (p.resolution_ms == si__rollup_steps_ms[0]) { /* the next report marks it again, and what it is in */
        si__memo_period *recent = si__memo_find(tx->memo, p.app, p.type, p.t);
        recent->pending = 0;
        recent->marked_ms = 0;
    }
    sqlite3_stmt *done =
        si__db_prepare(tx->db, "DELETE FROM rollup_due WHERE app=? AND type=? AND resolution_ms=? AND t=?");
    int failed = si__db_run(tx->db, si__db_bind(done, "isii", p.app, p.type, p.resolution_ms, p.t));
    return failed ? failed : 1;
}
