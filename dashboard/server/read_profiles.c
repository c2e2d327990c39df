/* Reads profiles, one by one or added up, from the store; see store.h. Readers' threads, inside one snapshot. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "kind.h"
#include "part.h"

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
        " WHERE app=?1 AND type=?2 AND start_ms/600000>=?3/600000 AND start_ms/600000<=?4/600000 AND start_ms>=?3"
        " AND start_ms<?4 AND (?5=0 OR profile.source=?5) ORDER BY start_ms");
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
    si__merge *merge;
    const si__shares *shares; /* of a level; NULL: a flow */
    double total, samples;    /* of a level */
} merging;

static void add_head(si__merge *merge, const si__part *part) {
    merge->profiles += part->profiles;
    merge->duration_ns += part->duration_ns;
    merge->core_ns += part->core_ns;
    if (part->cores > merge->cores) merge->cores = part->cores;
    if (!merge->start_ms || part->start_ms < merge->start_ms) merge->start_ms = part->start_ms;
    if (part->end_ms > merge->end_ms) merge->end_ms = part->end_ms;
    merge->rollups += part->level >= 0;
}

static int add_part(void *arg, const si__part *part) {
    merging *m = arg;
    add_head(m->merge, part);
    if (m->shares) {
        uint64_t parts = si__shares_of(m->shares, part->source);
        m->total += (double)part->total / (double)parts;
        m->samples += (double)part->samples / (double)parts;
        return si__sum_add_share(m->merge->sum, part->entries, part->count, parts);
    }
    m->merge->samples += part->samples;
    m->merge->total = si__wrap_add(m->merge->total, part->total);
    int failed = SI_OK;
    for (size_t i = 0; i < part->count && !failed; i++)
        failed = si__sum_add(m->merge->sum, part->entries[i].node, part->entries[i].count, part->entries[i].value);
    return failed;
}

static int prepare_merge(si__merge *merge) {
    if (!merge->sum) merge->sum = si__sum_new();
    return merge->sum ? SI_OK : SI_ENOMEM;
}

/* What all nodes of an average have together: rounding each may have moved the sum a little. */
static int64_t total_of(const si__sum *sum) {
    int64_t total = 0;
    size_t count = si__sum_count(sum);
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    if (!entries) return 0;
    si__sum_entries(sum, entries);
    for (size_t i = 0; i < count; i++) total = si__wrap_add(total, entries[i].value);
    free(entries);
    return total;
}

static int merge_level(const si__parts *parts, si__merge *merge) {
    si__shares shares = {0};
    merging m = {merge, &shares, 0, 0};
    int failed = si__shares_count(&shares, parts);
    failed = failed ? failed : si__parts_each(parts, add_part, &m);
    si__shares_free(&shares);
    if (failed) return failed;
    si__sum_round(merge->sum);
    merge->total = total_of(merge->sum);
    merge->samples = m.samples < 1e18 ? (uint64_t)(m.samples + 0.5) : 0;
    return SI_OK;
}

int si__read_merge_version(si__reader *reader, const si__range *range, const char *type, const char *version,
                           si__merge *merge) {
    if (version && !*version) version = NULL;
    si__parts parts = {reader, range, type, version, si__parts_top(range, type, version), 0};
    int failed = prepare_merge(merge);
    if (failed) return failed;
    if (si__kind_of(type)->nature == SI__LEVEL) return merge_level(&parts, merge);
    merging m = {merge, NULL, 0, 0};
    return si__parts_each(&parts, add_part, &m);
}

int si__read_merge(si__reader *reader, const si__range *range, const char *type, si__merge *merge) {
    return si__read_merge_version(reader, range, type, NULL, merge);
}

/* Columns: body, profiles, samples, total, duration_ns, core_ns, cores, start, end. */
static int add_rows(si__reader *reader, sqlite3_stmt *read, si__merge *merge) {
    merging m = {merge, NULL, 0, 0};
    int row;
    while ((row = si__db_step(&reader->db, read)) == 1) {
        si__part part = {.profiles = (uint64_t)sqlite3_column_int64(read, 1),
                         .samples = (uint64_t)sqlite3_column_int64(read, 2),
                         .total = sqlite3_column_int64(read, 3),
                         .duration_ns = (uint64_t)sqlite3_column_int64(read, 4),
                         .core_ns = sqlite3_column_double(read, 5),
                         .cores = sqlite3_column_double(read, 6),
                         .start_ms = sqlite3_column_int64(read, 7),
                         .end_ms = sqlite3_column_int64(read, 8),
                         .level = -1};
        int failed = SI_OK;
        if (sqlite3_column_bytes(read, 0) > 0)
            failed = si__body_decode(reader->codec, sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0),
                                     &part.entries, &part.count);
        failed = failed ? failed : add_part(&m, &part);
        if (failed) {
            sqlite3_reset(read);
            return failed;
        }
    }
    return row;
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
