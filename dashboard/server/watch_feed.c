/* From the store into a history, minute by minute; see watch_feed.h. Called by watch.c on the alerting thread. */
#include "watch_feed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/history/series.h"
#include "../../runtime/profile/profile_type.h"

#define DAY_MS 86400000ll
#define LATE_MS 300000 /* a source that is later than this is not waited for */
#define ROWS 20000     /* of one kind, in one minute */
#define QUIET_GROUPS 500
#define ERROR_WINDOW_MS 600000 /* an error row tells of at most so long */

static const char silence[] = "agent.silence"; /* watch.c's own: nobody can report it */

/* ---- Where in time ---- */

int64_t si__watch_feed_ready(const si__watch_feed *feed, int64_t now_ms) {
    si__db *db = &feed->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT min(report_end_ms) FROM source WHERE app=? AND last_seen_ms>?"
                           " AND instr(coalesce(statuses,''),'{\"name\":\"agent\",\"state\":\"off\"')=0");
    int64_t late = now_ms - LATE_MS, ready = si__db_int(db, si__db_bind(read, "ii", feed->app, late), 0);
    if (ready < late) ready = late;
    return ready < now_ms ? ready : now_ms;
}

static void newest(void *arg, const char *name, si__series *series) {
    int64_t *last = arg, ms = si__series_last_ms(series);
    if (strncmp(name, silence, sizeof silence - 1) != 0 && ms > *last) *last = ms;
}

int64_t si__watch_feed_begin(const si__watch_feed *feed, int64_t now_ms) {
    int64_t last = 0, oldest = now_ms - DAY_MS;
    for (int kind = 0; kind < SI__SERIES_KINDS; kind++)
        si__history_each(feed->history, (si__series_kind)kind, newest, &last);
    if (last <= oldest || last > now_ms) { /* nothing, or nothing that counts: from the store */
        si__db *db = &feed->reader->db;
        sqlite3_stmt *read = si__db_prepare(db, "SELECT coalesce(first_report_ms,created_ms) FROM app WHERE id=?");
        last = si__db_int(db, si__db_bind(read, "i", feed->app), oldest) - LATE_MS;
        if (last < oldest) last = oldest;
    }
    return last - last % SI__WATCH_MINUTE_MS;
}

/* ---- Sources side by side ---- */

typedef struct across { /* one name over all sources */
    const si__watch_feed *feed;
    si__series_kind kind;
    int64_t time_ms;
    char name[256];
    double sum;
    size_t sources;
} across;

static void end_name(across *a) {
    char total[SI__SERIES_NAME_BYTES];
    if (!a->sources) return;
    snprintf(total, sizeof total, "%s/sum", a->name);
    si__history_add(a->feed->history, a->kind, a->name, a->time_ms, a->sum / (double)a->sources);
    if (!a->feed->plain) si__history_add(a->feed->history, a->kind, total, a->time_ms, a->sum);
    a->sources = 0;
    a->sum = 0;
}

/* Rows come ordered by name. */
static void add_source(across *a, const char *name, const char *host, int64_t source, double value) {
    char full[SI__SERIES_NAME_BYTES];
    if (!isfinite(value) || !strncmp(name, silence, sizeof silence - 1)) return;
    if (strcmp(a->name, name) != 0) {
        end_name(a);
        snprintf(a->name, sizeof a->name, "%s", name);
    }
    snprintf(full, sizeof full, "%.240s/%.200s/%lld", name, host, (long long)source);
    if (!a->feed->plain) si__history_add(a->feed->history, a->kind, full, a->time_ms, value);
    a->sum += value;
    a->sources++;
}

typedef struct stretch {
    int64_t from_ms, to_ms, time_ms; /* time: of the point that stands for it */
    int64_t resolution_ms;           /* of the points that are read */
} stretch;

static void feed_metrics(const si__watch_feed *feed, const stretch *of) {
    si__db *db = &feed->reader->db;
    across a = {.feed = feed, .kind = SI__SERIES_METRIC, .time_ms = of->time_ms};
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT s.name,source.host,s.source,sum(p.sum),sum(p.n) FROM series AS s JOIN source ON source.id=s.source"
            " JOIN point AS p ON p.series=s.id AND p.resolution_ms=?6 AND p.t>=?2 AND p.t<?3"
            " WHERE s.app=?1 AND s.last_ms>=?2 AND (?5=0 OR s.source=?5) GROUP BY s.id ORDER BY s.name,s.id LIMIT ?4");
    si__db_bind(read, "iiiiii", feed->app, of->from_ms, of->to_ms, (int64_t)ROWS, feed->source, of->resolution_ms);
    while (si__db_step(db, read) == 1)
        add_source(&a, si__db_text(read, 0), si__db_text(read, 1), sqlite3_column_int64(read, 2),
                   sqlite3_column_double(read, 3) / sqlite3_column_double(read, 4));
    end_name(&a);
}

double si__watch_profile_value(int type, double total, double duration_ns, double core_ns, double profiles) {
    double seconds = duration_ns / 1e9;
    if (type == SI__PROFILE_CPU) return total / core_ns * 100;
    if (type == SI__PROFILE_HEAP) return total / profiles;
    if (type == SI__PROFILE_ALLOC) return total / seconds;
    return total / (seconds * 1e6);
}

/* A profile tells of each minute that it overlaps: sources that report every two minutes are in every sum. */
static void feed_profiles(const si__watch_feed *feed, const stretch *of) {
    si__db *db = &feed->reader->db;
    across a = {.feed = feed, .kind = SI__SERIES_PROFILE, .time_ms = of->time_ms};
    for (int type = 0; type < SI__PROFILE_TYPES; type++) {
        const char *name = si__profile_kind_of((si__profile_type)type)->name;
        sqlite3_stmt *read = si__db_prepare(
            db, "SELECT source.host,profile.source,sum(total),sum(duration_ns),sum(duration_ns*cores),count(*)"
                " FROM profile JOIN source ON source.id=profile.source WHERE profile.app=?1 AND type=?2"
                " AND start_ms/600000 BETWEEN (?3-600000)/600000 AND ?4/600000 AND start_ms<?4"
                " AND start_ms+max(duration_ns/1000000,1)>?3 AND trigger='cadence' AND (?6=0 OR source=?6)"
                " GROUP BY profile.source LIMIT ?5");
        si__db_bind(read, "isiiii", feed->app, name, of->from_ms, of->to_ms, (int64_t)ROWS, feed->source);
        while (si__db_step(db, read) == 1)
            add_source(&a, name, si__db_text(read, 0), sqlite3_column_int64(read, 1),
                       si__watch_profile_value(type, sqlite3_column_double(read, 2), sqlite3_column_double(read, 3),
                                               sqlite3_column_double(read, 4), sqlite3_column_double(read, 5)));
    }
    end_name(&a);
}

/* ---- Segments: all sources' calls together ---- */

typedef struct calls {
    char name[256];
    si__sketch *sketch;
    uint64_t count, errors, duration_ns;
} calls;

static void end_segment(const si__watch_feed *feed, calls *c, int64_t time_ms) {
    if (c->sketch && c->count)
        si__script_segment_observe(feed->script, c->name, c->sketch, c->count, c->errors, c->duration_ns, time_ms);
    si__sketch_free(c->sketch);
    *c = (calls){0};
}

static void feed_segments(const si__watch_feed *feed, int64_t from_ms) {
    si__db *db = &feed->reader->db;
    calls c = {0};
    int64_t to_ms = from_ms + SI__WATCH_MINUTE_MS;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT n.name,count,errors,duration_ns,sketch FROM segment JOIN segment_name AS n ON n.id=segment.name"
            " WHERE segment.app=?1 AND resolution_ms=0 AND t>=?2 AND t<?3 AND (?5=0 OR source=?5)"
            " ORDER BY n.name LIMIT ?4");
    si__db_bind(read, "iiiii", feed->app, from_ms, to_ms, (int64_t)ROWS, feed->source);
    while (si__db_step(db, read) == 1) {
        const char *name = si__db_text(read, 0);
        uint64_t duration_ns = (uint64_t)sqlite3_column_int64(read, 3);
        si__sketch *sketch = si__sketch_decode(sqlite3_column_blob(read, 4), (size_t)sqlite3_column_bytes(read, 4));
        if (!sketch) continue;
        if (strcmp(c.name, name) != 0) end_segment(feed, &c, to_ms);
        snprintf(c.name, sizeof c.name, "%s", name);
        if (!c.sketch) c.sketch = si__sketch_new();
        if (c.sketch) si__sketch_merge(c.sketch, sketch);
        c.count += (uint64_t)sqlite3_column_int64(read, 1);
        c.errors += (uint64_t)sqlite3_column_int64(read, 2);
        if (duration_ns > c.duration_ns) c.duration_ns = duration_ns;
        si__sketch_free(sketch);
    }
    end_segment(feed, &c, to_ms);
}

/* ---- Errors ---- */

typedef struct quiet { /* groups without an error in this minute */
    int64_t time_ms;
    char (*names)[SI__SERIES_NAME_BYTES];
    size_t count;
} quiet;

static void note_quiet(void *arg, const char *name, si__series *series) {
    quiet *q = arg;
    if (si__series_last_ms(series) < q->time_ms && q->count < QUIET_GROUPS)
        snprintf(q->names[q->count++], SI__SERIES_NAME_BYTES, "%s", name);
}

/* A row is spread over the time that it tells of. */
static void feed_errors(const si__watch_feed *feed, int64_t from_ms) {
    si__db *db = &feed->reader->db;
    int64_t to_ms = from_ms + SI__WATCH_MINUTE_MS;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT g.name,sum(count*(min(?3,t+max(duration_ns/1000000,1))-max(?2,t))*1.0/max(duration_ns/1000000,1))"
            " FROM error JOIN error_group AS g ON g.id=error.name WHERE error.app=?1 AND t>=?2-?4 AND t<?3"
            " AND t+max(duration_ns/1000000,1)>?2 AND (?6=0 OR source=?6) GROUP BY g.id LIMIT ?5");
    si__db_bind(read, "iiiiii", feed->app, from_ms, to_ms, (int64_t)ERROR_WINDOW_MS, (int64_t)ROWS, feed->source);
    while (si__db_step(db, read) == 1)
        si__history_add(feed->history, SI__SERIES_ERROR, si__db_text(read, 0), to_ms, sqlite3_column_double(read, 1));
    quiet q = {.time_ms = to_ms, .names = malloc(QUIET_GROUPS * sizeof *q.names)};
    if (!q.names) return;
    si__history_each(feed->history, SI__SERIES_ERROR, note_quiet, &q);
    for (size_t i = 0; i < q.count; i++) si__history_add(feed->history, SI__SERIES_ERROR, q.names[i], to_ms, 0);
    free(q.names);
}

void si__watch_feed_minute(const si__watch_feed *feed, int64_t from_ms) {
    const stretch minute = {from_ms, from_ms + SI__WATCH_MINUTE_MS, from_ms + SI__WATCH_MINUTE_MS, 0};
    feed_metrics(feed, &minute);
    feed_profiles(feed, &minute);
    feed_segments(feed, from_ms);
    feed_errors(feed, from_ms);
}

void si__watch_feed_coarse(const si__watch_feed *feed, int64_t from_ms) {
    const stretch all = {from_ms, from_ms + SI__WATCH_COARSE_MS, from_ms + SI__WATCH_COARSE_MS / 2,
                         SI__WATCH_COARSE_MS};
    feed_metrics(feed, &all);
    feed_profiles(feed, &all);
    for (int64_t ms = all.from_ms; ms < all.to_ms; ms += SI__WATCH_MINUTE_MS) {
        feed_segments(feed, ms);
        feed_errors(feed, ms);
    }
}
