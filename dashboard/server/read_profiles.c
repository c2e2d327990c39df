/* Reads profiles, one by one or added up, from the store; see store.h. Readers' threads, inside one snapshot. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "cover.h"
#include "rollup.h"

int64_t si__read_app(si__reader *reader, const char *name, const char *environment) {
    sqlite3_stmt *find = si__db_prepare(&reader->db, "SELECT id FROM app WHERE name=? AND environment=?");
    return si__db_int(&reader->db, si__db_bind(find, "ss", name, environment), 0);
}

/* ---- Rows ---- */

static int each_row(si__reader *reader, sqlite3_stmt *read, si__profile_each each, void *arg) {
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(&reader->db, read)) == 1) {
        si__profile_row out = {.id = sqlite3_column_int64(read, 0),
                               .app = sqlite3_column_int64(read, 1),
                               .type = si__db_text(read, 2),
                               .start_ms = sqlite3_column_int64(read, 3),
                               .duration_ns = (uint64_t)sqlite3_column_int64(read, 4),
                               .source = sqlite3_column_int64(read, 5),
                               .context = sqlite3_column_int64(read, 6),
                               .total = sqlite3_column_int64(read, 7),
                               .samples = (uint64_t)sqlite3_column_int64(read, 8),
                               .cores = sqlite3_column_double(read, 9),
                               .trigger = si__db_text(read, 10),
                               .app_version = si__db_text(read, 11)};
        stopped = each(arg, &out);
    }
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}

int si__read_profiles(si__reader *reader, const si__range *range, const char *type, si__profile_each each, void *arg) {
    sqlite3_stmt *read = si__db_prepare(
        &reader->db,
        "SELECT profile.id,app,type,start_ms,duration_ns,profile.source,context,total,samples,cores,trigger,app_version"
        " FROM profile LEFT JOIN context ON context.id=profile.context"
        " WHERE app=?1 AND type=?2 AND start_ms>=?3 AND start_ms<?4 AND (?5=0 OR profile.source=?5) ORDER BY start_ms");
    si__db_bind(read, "isiii", range->app, type, range->from_ms, range->to_ms, range->source);
    return each_row(reader, read, each, arg);
}

int si__read_profile(si__reader *reader, int64_t app, int64_t id, si__profile_each each, void *arg) {
    sqlite3_stmt *exists = si__db_prepare(&reader->db, "SELECT 1 FROM profile WHERE id=? AND app=?");
    if (!si__db_int(&reader->db, si__db_bind(exists, "ii", id, app), 0)) return SI_ENOTFOUND;
    sqlite3_stmt *read = si__db_prepare(
        &reader->db,
        "SELECT profile.id,app,type,start_ms,duration_ns,profile.source,context,total,samples,cores,trigger,app_version"
        " FROM profile LEFT JOIN context ON context.id=profile.context WHERE profile.id=? AND app=?");
    return each_row(reader, si__db_bind(read, "ii", id, app), each, arg);
}

/* ---- Merges ---- */

typedef struct merging {
    si__reader *reader;
    si__merge *merge;
    const char *type;
    int64_t app, source;
} merging;

/* Columns: body, profiles, samples, total, duration_ns, core_ns, cores, start, end. */
static int add_rows(si__reader *reader, sqlite3_stmt *read, si__merge *merge) {
    int row;
    while ((row = si__db_step(&reader->db, read)) == 1) {
        int failed = SI_OK;
        if (sqlite3_column_bytes(read, 0) > 0)
            failed = si__sum_add_body(merge->sum, reader->codec, sqlite3_column_blob(read, 0),
                                      (size_t)sqlite3_column_bytes(read, 0));
        if (failed) {
            sqlite3_reset(read);
            return failed;
        }
        merge->profiles += (uint64_t)sqlite3_column_int64(read, 1);
        merge->samples += (uint64_t)sqlite3_column_int64(read, 2);
        merge->total = si__wrap_add(merge->total, sqlite3_column_int64(read, 3));
        merge->duration_ns += (uint64_t)sqlite3_column_int64(read, 4);
        merge->core_ns += sqlite3_column_double(read, 5);
        if (sqlite3_column_double(read, 6) > merge->cores) merge->cores = sqlite3_column_double(read, 6);
        int64_t start = sqlite3_column_int64(read, 7), end = sqlite3_column_int64(read, 8);
        if (!merge->start_ms || start < merge->start_ms) merge->start_ms = start;
        if (end > merge->end_ms) merge->end_ms = end;
    }
    return row;
}

static int merge_stretch(void *arg, int level, int64_t from_ms, int64_t to_ms) {
    merging *m = arg;
    si__db *db = &m->reader->db;
    sqlite3_stmt *read;
    if (level < 0) {
        read = si__db_prepare(
            db, "SELECT body,1,samples,total,duration_ns,duration_ns*cores,cores,start_ms,start_ms+duration_ns/1000000"
                " FROM profile JOIN profile_body USING(id)"
                " WHERE app=?1 AND type=?2 AND start_ms>=?3 AND start_ms<?4 AND (?5=0 OR source=?5)"
                " AND trigger IN" SI__CONTINUOUS_TRIGGERS);
        si__db_bind(read, "isiii", m->app, m->type, from_ms, to_ms, m->source);
        return add_rows(m->reader, read, m->merge);
    }
    read =
        si__db_prepare(db, "SELECT body,profiles,samples,total,duration_ns,core_ns,cores,t,t+resolution_ms FROM rollup"
                           " WHERE app=? AND type=? AND resolution_ms=? AND t>=? AND t<?");
    si__db_bind(read, "isiii", m->app, m->type, si__rollup_steps_ms[level], from_ms, to_ms);
    m->merge->rollups += (uint64_t)((to_ms - from_ms) / si__rollup_steps_ms[level]);
    return add_rows(m->reader, read, m->merge);
}

static int prepare_merge(si__merge *merge) {
    if (!merge->sum) merge->sum = si__sum_new();
    return merge->sum ? SI_OK : SI_ENOMEM;
}

int si__read_merge(si__reader *reader, const si__range *range, const char *type, si__merge *merge) {
    merging m = {reader, merge, type, range->app, range->source};
    int failed = prepare_merge(merge);
    if (failed) return failed;
    int top = range->source ? -1 : SI__ROLLUP_LEVELS - 1; /* rollups are of all sources */
    return si__cover(reader, range->app, type, range->from_ms, range->to_ms, top, merge_stretch, &m);
}

int si__read_merge_one(si__reader *reader, int64_t app, int64_t id, si__merge *merge) {
    int failed = prepare_merge(merge);
    if (failed) return failed;
    sqlite3_stmt *read =
        si__db_prepare(&reader->db, "SELECT body,1,samples,total,duration_ns,duration_ns*cores,cores,start_ms,"
                                    "start_ms+duration_ns/1000000 FROM profile JOIN profile_body USING(id)"
                                    " WHERE id=? AND app=?");
    uint64_t before = merge->profiles;
    failed = add_rows(reader, si__db_bind(read, "ii", id, app), merge);
    return failed ? failed : merge->profiles > before ? SI_OK : SI_ENOTFOUND;
}

int si__read_merge_errors(si__reader *reader, const si__range *range, const char *group, si__merge *merge) {
    int failed = prepare_merge(merge);
    if (failed) return failed;
    sqlite3_stmt *read = si__db_prepare(
        &reader->db, "SELECT body,1,count,count,error.duration_ns,0.0,0.0,t,t+error.duration_ns/1000000 FROM error"
                     " JOIN error_group ON error_group.id=error.name"
                     " WHERE error.app=?1 AND t>=?2 AND t<?3 AND error_group.name=?4 AND (?5=0 OR source=?5)");
    si__db_bind(read, "iiisi", range->app, range->from_ms, range->to_ms, group, range->source);
    return add_rows(reader, read, merge);
}

void si__merge_clear(si__merge *merge) {
    si__sum_free(merge->sum);
    *merge = (si__merge){0};
}

int si__read_frame(si__reader *reader, uint32_t id, si__frame_row *row) {
    sqlite3_stmt *read = si__db_prepare(&reader->db, "SELECT function,file,line,module FROM frame WHERE id=?");
    int found = si__db_step(&reader->db, si__db_bind(read, "u", id));
    if (found != 1) return found ? found : SI_ENOTFOUND;
    *row = (si__frame_row){si__db_text(read, 0), si__db_text(read, 1), si__db_text(read, 3),
                           (uint32_t)sqlite3_column_int64(read, 2)};
    return SI_OK; /* the row stays until the statement is used again */
}
