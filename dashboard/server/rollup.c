/* Rollups of profiles and segments, and the hot calls' totals; see rollup.h. Writer thread, inside a transaction. */
#include "rollup.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/profile/sketch.h"
#include "record.h"

#define HOT_CALLS 200

const int64_t si__rollup_steps_ms[SI__ROLLUP_LEVELS] = {600000, 3600000, 86400000};

int si__rollup_mark(si__tx *tx, int64_t app, const char *type, int64_t t) {
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

typedef struct total {
    int64_t profiles, samples, total, duration_ns;
    double core_ns, cores;
} total;

static sqlite3_stmt *parts_of(si__tx *tx, const period *p) {
    int64_t finer = finer_than(p->resolution_ms), end = p->t + p->resolution_ms;
    if (!finer)
        return si__db_bind(
            si__db_prepare(tx->db, "SELECT body,1,samples,total,duration_ns,duration_ns*cores,cores FROM profile"
                                   " JOIN profile_body USING(id) WHERE app=? AND type=? AND start_ms>=? AND start_ms<?"
                                   " AND trigger IN" SI__CONTINUOUS_TRIGGERS),
            "isii", p->app, p->type, p->t, end);
    return si__db_bind(si__db_prepare(tx->db, "SELECT body,profiles,samples,total,duration_ns,core_ns,cores FROM rollup"
                                              " WHERE app=? AND type=? AND t>=? AND t<? AND resolution_ms=?"),
                       "isiii", p->app, p->type, p->t, end, finer);
}

static int add_parts(si__tx *tx, const period *p, si__sum *sum, total *all) {
    sqlite3_stmt *parts = parts_of(tx, p);
    int row;
    while ((row = si__db_step(tx->db, parts)) == 1) {
        int failed =
            si__sum_add_body(sum, tx->codec, sqlite3_column_blob(parts, 0), (size_t)sqlite3_column_bytes(parts, 0));
        if (failed == SI_ENOMEM) {
            sqlite3_reset(parts);
            return failed;
        }
        all->profiles = si__wrap_add(all->profiles, sqlite3_column_int64(parts, 1));
        all->samples = si__wrap_add(all->samples, sqlite3_column_int64(parts, 2));
        all->total = si__wrap_add(all->total, sqlite3_column_int64(parts, 3));
        all->duration_ns = si__wrap_add(all->duration_ns, sqlite3_column_int64(parts, 4));
        all->core_ns += sqlite3_column_double(parts, 5);
        if (sqlite3_column_double(parts, 6) > all->cores) all->cores = sqlite3_column_double(parts, 6);
    }
    return row;
}

static int put_rollup(si__tx *tx, const period *p, const si__sum *sum, const total *all) {
    size_t count = si__sum_count(sum), length = 0;
    const uint8_t *body = NULL;
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    if (!entries) return SI_ENOMEM;
    si__sum_entries(sum, entries);
    int failed = si__body_encode(tx->codec, entries, count, &body, &length);
    if (!failed) {
        sqlite3_stmt *put =
            si__db_prepare(tx->db, "INSERT OR REPLACE INTO rollup(app,type,resolution_ms,t,profiles,samples,total,"
                                   "duration_ns,core_ns,cores,body) VALUES(?,?,?,?,?,?,?,?,?,?,?)");
        si__db_bind(put, "isiiiiiiddb", p->app, p->type, p->resolution_ms, p->t, all->profiles, all->samples,
                    all->total, all->duration_ns, all->core_ns, all->cores, body, length);
        failed = si__db_run(tx->db, put);
    }
    free(entries);
    return failed;
}

static int by_total(const void *a, const void *b) {
    int64_t x = ((const si__branch *)a)->total, y = ((const si__branch *)b)->total;
    return (x < y) - (x > y);
}

/* The calls with the largest totals of the period: what a trend line reads. Node 0 is the whole, and always first. */
static int put_hot(si__tx *tx, const period *p, si__places *places, const si__sum *sum) {
    sqlite3_stmt *clear = si__db_prepare(tx->db, "DELETE FROM hot WHERE t=? AND app=? AND type=?");
    int failed = si__db_run(tx->db, si__db_bind(clear, "iis", p->t, p->app, p->type));
    si__branch *branches = NULL;
    size_t count = 0;
    failed = failed ? failed : si__places_tree(places, tx->db, sum, &branches, &count);
    if (!failed) qsort(branches + 1, count - 1, sizeof *branches, by_total); /* their order is not needed any more */
    for (size_t i = 0; i < count && i <= HOT_CALLS && !failed; i++) {
        sqlite3_stmt *put =
            si__db_prepare(tx->db, "INSERT INTO hot(app,type,node,t,total,samples) VALUES(?,?,?,?,?,?)");
        failed = si__db_run(tx->db, si__db_bind(put, "isuiii", p->app, p->type, branches[i].node, p->t,
                                                branches[i].total, (int64_t)branches[i].total_count));
    }
    free(branches);
    return failed;
}

static int roll_profiles(si__tx *tx, const period *p, si__places *places) {
    total all = {0};
    si__sum *sum = si__sum_new();
    int failed = sum ? add_parts(tx, p, sum, &all) : SI_ENOMEM;
    if (!failed && all.profiles) failed = put_rollup(tx, p, sum, &all);
    if (!failed && all.profiles && !finer_than(p->resolution_ms)) failed = put_hot(tx, p, places, sum);
    si__sum_free(sum);
    return failed;
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

int si__rollup_step(si__tx *tx, si__places *places, int64_t grace_ms) {
    sqlite3_stmt *due = si__db_prepare(tx->db, "SELECT app,type,resolution_ms,t FROM rollup_due WHERE marked_ms<=?1"
                                               " AND t+resolution_ms<=?1 ORDER BY resolution_ms,t LIMIT 1");
    int row = si__db_step(tx->db, si__db_bind(due, "i", tx->now_ms - grace_ms));
    if (row != 1) return row;
    period p = {sqlite3_column_int64(due, 0), sqlite3_column_int64(due, 2), sqlite3_column_int64(due, 3), ""};
    si__clip(p.type, sizeof p.type, si__db_text(due, 1));
    sqlite3_reset(due);
    int failed = p.type[0] ? roll_profiles(tx, &p, places) : roll_segments(tx, &p);
    if (failed) return failed;
    sqlite3_stmt *done =
        si__db_prepare(tx->db, "DELETE FROM rollup_due WHERE app=? AND type=? AND resolution_ms=? AND t=?");
    failed = si__db_run(tx->db, si__db_bind(done, "isii", p.app, p.type, p.resolution_ms, p.t));
    return failed ? failed : 1;
}
