/* Reads segments and metrics from the store; see store.h. Readers' threads, inside one snapshot. */
#include <si/si.h>

#include "cover.h"
#include "rollup.h"

#define POINTS_A_SERIES 400

typedef struct reading {
    si__reader *reader;
    const si__range *range;
    si__segment_each each;
    void *arg;
} reading;

static int read_stretch(void *arg, int level, int64_t from_ms, int64_t to_ms, int64_t after) {
    (void)after;
    reading *r = arg;
    si__db *db = &r->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT kind,segment_name.name,segment.name,t,duration_ns,count,errors,sum_ns,max_ns,sketch"
                           " FROM segment JOIN segment_name ON segment_name.id=segment.name"
                           " WHERE segment.app=?1 AND resolution_ms=?2 AND t>=?3 AND t<?4 AND (?5=0 OR source=?5)");
    si__db_bind(read, "iiiii", r->range->app, level < 0 ? (int64_t)0 : si__rollup_steps_ms[level], from_ms, to_ms,
                r->range->source);
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(db, read)) == 1) {
        si__segment_row out = {.kind = si__db_text(read, 0),
                               .name = si__db_text(read, 1),
                               .name_id = sqlite3_column_int64(read, 2),
                               .t = sqlite3_column_int64(read, 3),
                               .duration_ns = (uint64_t)sqlite3_column_int64(read, 4),
                               .count = (uint64_t)sqlite3_column_int64(read, 5),
                               .errors = (uint64_t)sqlite3_column_int64(read, 6),
                               .sum_ns = (uint64_t)sqlite3_column_int64(read, 7),
                               .max_ns = (uint64_t)sqlite3_column_int64(read, 8),
                               .sketch = sqlite3_column_blob(read, 9),
                               .sketch_bytes = (size_t)sqlite3_column_bytes(read, 9)};
        stopped = r->each(r->arg, &out);
    }
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}

int si__read_segments(si__reader *reader, const si__range *range, si__segment_each each, void *arg) {
    reading r = {reader, range, each, arg};
    int64_t span = range->to_ms - range->from_ms;
    int top = range->source || span <= 6 * 3600000ll ? -1
              : span <= 3 * 86400000ll               ? 0
              : span <= 20 * 86400000ll              ? 1
                                                     : 2;
    return si__cover(reader, range->app, "", range->from_ms, range->to_ms, top, read_stretch, &r);
}

static int64_t bucket_of(int64_t span_ms, int64_t *resolution_ms) {
    *resolution_ms = span_ms <= 6 * 3600000ll ? 0 : span_ms <= 4 * 86400000ll ? 600000 : 3600000;
    int64_t bucket = span_ms / POINTS_A_SERIES, unit = *resolution_ms ? *resolution_ms : 1000;
    return bucket <= unit ? unit : (bucket + unit - 1) / unit * unit;
}

int si__read_points(si__reader *reader, const si__range *range, const char *name, si__point_each each, void *arg) {
    si__db *db = &reader->db;
    int64_t resolution_ms, bucket = bucket_of(range->to_ms - range->from_ms, &resolution_ms);
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT series.id,source,t/?6*?6,name,unit,sum(point.sum)/sum(n),min(low),max(high) FROM series"
            " JOIN point ON series=series.id AND resolution_ms=?5 AND t>=?3 AND t<?4"
            " WHERE app=?1 AND (?2=0 OR source=?2) AND (?7 IS NULL OR name=?7) GROUP BY series.id,t/?6 ORDER BY "
            "name,series.id,t/?6");
    si__db_bind(read, "iiiiiis", range->app, range->source, range->from_ms, range->to_ms, resolution_ms, bucket, name);
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(db, read)) == 1) {
        si__point_row out = {.series = sqlite3_column_int64(read, 0),
                             .source = sqlite3_column_int64(read, 1),
                             .t = sqlite3_column_int64(read, 2),
                             .name = si__db_text(read, 3),
                             .unit = si__db_text(read, 4),
                             .average = sqlite3_column_double(read, 5),
                             .low = sqlite3_column_double(read, 6),
                             .high = sqlite3_column_double(read, 7)};
        stopped = each(arg, &out);
    }
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}
