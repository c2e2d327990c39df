/*
 * Profiles, segments, errors and points of a report become rows. Writer thread, inside a transaction; see record.h.
 *
 * Names are capped in length and in number per application: what is over the cap is kept under "other", so that no
 * program that puts ids into names can fill the store.
 */
#include <math.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "call_path.h"
#include "record.h"

#define NAME_CAP 256
#define TYPES_PER_APP 64
#define SEGMENT_NAMES_PER_APP 10000
#define ERROR_GROUPS_PER_APP 2000
#define SERIES_PER_APP 50000

static int64_t count_of(si__record *record, const char *literal) {
    return si__db_int(record->tx->db, si__db_bind(si__db_prepare(record->tx->db, literal), "i", record->app), 0);
}

static int64_t as_int(uint64_t value) {
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

/* ---- Profiles ---- */

/* 0; SI_ELIMIT is never returned: an unknown type over the cap is SI_ENOTFOUND, and its profile is left out. */
static int know_type(si__record *record, const char *type, const char *unit) {
    si__db *db = record->tx->db;
    sqlite3_stmt *find = si__db_prepare(db, "SELECT 1 FROM profile_type WHERE app=? AND type=?");
    if (si__db_int(db, si__db_bind(find, "is", record->app, type), 0)) return SI_OK;
    if (count_of(record, "SELECT count(*) FROM profile_type WHERE app=?") >= TYPES_PER_APP) return SI_ENOTFOUND;
    sqlite3_stmt *insert = si__db_prepare(db, "INSERT INTO profile_type(app,type,unit) VALUES(?,?,?)");
    return si__db_run(db, si__db_bind(insert, "iss", record->app, type, unit));
}

/* How long the calls of a tree took, with the store's numbers of its nodes. */
static int encode_paths(const si__calltree *tree, const uint32_t *ids, si__spread_writer *paths) {
    si__spread_writer places = {0};
    for (size_t i = 0; i < si__calltree_node_count(tree); i++) {
        const si__spread *spread = si__calltree_spread_at(tree, i);
        if (spread) si__spread_write(&places, (uint32_t)i, spread);
    }
    int failed = places.failed ? SI_ENOMEM : si__call_paths_encode(places.data, places.length, ids, paths);
    free(places.data);
    return failed;
}

/* The tree's non-zero nodes as a body; borrowed from the codec. `paths` NULL: durations are not asked for. */
static int encode_tree(si__record *record, const si__calltree *tree, const uint8_t **body, size_t *length,
                       si__spread_writer *paths) {
    size_t count = si__calltree_node_count(tree), used = 0;
    uint32_t *ids = calloc(count ? count : 1, sizeof *ids);
    si__entry *entries = malloc((count ? count : 1) * sizeof *entries);
    int failed = ids && entries ? si__intern_tree(record->tx->intern, record->app, tree, ids) : SI_ENOMEM;
    for (size_t i = 0; i < count && !failed; i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        if (node->self_value || node->self_count)
            entries[used++] = (si__entry){ids[i], node->self_count, node->self_value};
    }
    if (!failed) failed = si__body_encode(record->tx->codec, entries, used, body, length);
    if (!failed && paths) failed = encode_paths(tree, ids, paths);
    free(ids);
    free(entries);
    return failed;
}

static int encode_wire(si__record *record, const si__wire_tree *tree, const uint8_t **body, size_t *length,
                       si__spread_writer *paths) {
    uint32_t *ids = malloc(tree->node_count * sizeof *ids);
    si__entry *entries = malloc((tree->value_count + 1) * sizeof *entries);
    int failed = ids && entries ? si__intern_wire(record->tx->intern, record->app, record->report->names, tree,
                                                  record->frames, ids)
                                : SI_ENOMEM;
    for (size_t i = 0; i < tree->value_count && !failed; i++) {
        const si__wire_value *value = &tree->values[i];
        entries[i] = (si__entry){ids[value->node], value->count, value->value};
    }
    if (!failed) failed = si__body_encode(record->tx->codec, entries, tree->value_count, body, length);
    if (!failed && paths) failed = si__call_paths_encode(tree->spreads, tree->spread_bytes, ids, paths);
    free(ids);
    free(entries);
    return failed;
}

/* The same of a profile whose ways have keys. */
static int encode_known(si__record *record, const si__wire_tree *tree, const uint8_t **body, size_t *length) {
    uint32_t *ids = malloc((tree->value_count + 1) * sizeof *ids);
    si__entry *entries = malloc((tree->value_count + 1) * sizeof *entries);
    int failed = ids && entries ? si__intern_values(record->tx->intern, record->app, record->report->names, tree,
                                                    record->paths, record->frames, ids)
                                : SI_ENOMEM;
    for (size_t i = 0; i < tree->value_count && !failed; i++)
        entries[i] = (si__entry){ids[i], tree->values[i].count, tree->values[i].value};
    if (!failed) failed = si__body_encode(record->tx->codec, entries, tree->value_count, body, length);
    free(ids);
    free(entries);
    return failed;
}

static int encode_profile(si__record *record, const si__report_profile *profile, const uint8_t **body, size_t *length) {
    if (!profile->wire) return encode_tree(record, profile->tree, body, length, NULL);
    if (!record->paths) return encode_wire(record, profile->wire, body, length, NULL);
    return encode_known(record, profile->wire, body, length);
}

static int record_profile(si__record *record, const si__report_profile *profile) {
    si__db *db = record->tx->db;
    char type[64], unit[32], trigger[NAME_CAP], workload[NAME_CAP];
    si__clip(type, sizeof type, profile->type && *profile->type ? profile->type : "unknown");
    int failed = know_type(record, type, si__clip(unit, sizeof unit, profile->unit));
    if (failed) return failed == SI_ENOTFOUND ? SI_OK : failed;
    const uint8_t *body = NULL;
    size_t length = 0;
    if (!profile->tree && !profile->wire) return SI_OK;
    int64_t total = profile->wire ? profile->wire->total_value : si__calltree_total_value(profile->tree);
    failed = encode_profile(record, profile, &body, &length);
    if (failed) return failed;
    int64_t start = si__record_time(record, profile->start_ms);
    double cores = profile->cores > 0 && profile->cores < 1e6 ? profile->cores : 1;
    sqlite3_stmt *insert =
        si__db_prepare(db, "INSERT INTO profile(app,type,start_ms,duration_ns,source,context,total,samples,dropped,"
                           "cores,trigger,workload) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)");
    si__db_bind(insert, "isiiiiiiidss", record->app, type, start, as_int(profile->duration_ns), record->source,
                record->context, total, as_int(profile->samples), as_int(profile->dropped), cores,
                si__clip(trigger, sizeof trigger, profile->trigger),
                si__clip(workload, sizeof workload, profile->workload));
    failed = si__db_run(db, insert);
    if (failed) return failed;
    sqlite3_stmt *put = si__db_prepare(db, "INSERT INTO profile_body(id,body) VALUES(?,?)");
    failed = si__db_run(db, si__db_bind(put, "ib", (int64_t)sqlite3_last_insert_rowid(db->sql), body, length));
    return failed ? failed : si__rollup_mark(record->tx, record->app, type, start);
}

int si__record_profiles(si__record *record) {
    int failed = SI_OK;
    for (size_t i = 0; i < record->report->profile_count && !failed; i++) {
        const si__report_profile *profile = &record->report->profiles[i];
        failed = record_profile(record, profile);
        if (record->paths && profile->wire) record->paths += profile->wire->value_count;
    }
    return failed;
}

/* ---- Segments ---- */

static int segment_name(si__record *record, const char *kind, const char *name, int64_t *id) {
    si__db *db = record->tx->db;
    sqlite3_stmt *find = si__db_prepare(db, "SELECT id FROM segment_name WHERE app=? AND kind=? AND name=?");
    if ((*id = si__db_int(db, si__db_bind(find, "iss", record->app, kind, name), 0)) != 0) return SI_OK;
    if (strcmp(name, "other") != 0 &&
        count_of(record, "SELECT count(*) FROM segment_name WHERE app=?") >= SEGMENT_NAMES_PER_APP)
        return segment_name(record, kind, "other", id);
    sqlite3_stmt *insert = si__db_prepare(db, "INSERT INTO segment_name(app,kind,name) VALUES(?,?,?)");
    int failed = si__db_run(db, si__db_bind(insert, "iss", record->app, kind, name));
    *id = sqlite3_last_insert_rowid(db->sql);
    return failed;
}

static int record_segment(si__record *record, const si__report_segment *segment) {
    if (!segment->sketch) return SI_OK;
    char kind[32], name[NAME_CAP];
    int64_t name_id = 0;
    int failed = segment_name(record, si__clip(kind, sizeof kind, segment->kind),
                              si__clip(name, sizeof name, segment->name), &name_id);
    size_t length = failed ? 0 : si__sketch_encode(segment->sketch, NULL, 0);
    uint8_t *sketch = failed ? NULL : malloc(length ? length : 1);
    if (!sketch) return failed ? failed : SI_ENOMEM;
    si__sketch_encode(segment->sketch, sketch, length);
    const uint8_t *body = NULL; /* empty: not known where its time went */
    size_t body_length = 0;
    si__spread_writer paths = {0};
    if (segment->tree) failed = encode_tree(record, segment->tree, &body, &body_length, &paths);
    if (segment->wire) failed = encode_wire(record, segment->wire, &body, &body_length, &paths);
    int64_t t = si__record_time(record, segment->start_ms);
    sqlite3_stmt *insert =
        si__db_prepare(record->tx->db, "INSERT INTO segment(app,name,resolution_ms,t,source,duration_ns,count,errors,"
                                       "sum_ns,max_ns,sketch,body,paths) VALUES(?,?,0,?,?,?,?,?,?,?,?,?,?)");
    si__db_bind(insert, "iiiiiiiiibbb", record->app, name_id, t, record->source, as_int(segment->duration_ns),
                as_int(segment->count), as_int(segment->errors), as_int(segment->sum_ns), as_int(segment->max_ns),
                sketch, length, body, body_length, paths.data, paths.length);
    failed = failed ? failed : si__db_run(record->tx->db, insert);
    free(paths.data);
    free(sketch);
    return failed ? failed : si__rollup_mark(record->tx, record->app, "", t);
}

int si__record_segments(si__record *record) {
    int failed = SI_OK;
    for (size_t i = 0; i < record->report->segment_count && !failed; i++)
        failed = record_segment(record, &record->report->segments[i]);
    return failed;
}

/* ---- Errors ---- */

static int error_group(si__record *record, const char *name, int64_t *id) {
    si__db *db = record->tx->db;
    sqlite3_stmt *find = si__db_prepare(db, "SELECT id FROM error_group WHERE app=? AND name=?");
    if ((*id = si__db_int(db, si__db_bind(find, "is", record->app, name), 0)) != 0) return SI_OK;
    if (strcmp(name, "other") != 0 &&
        count_of(record, "SELECT count(*) FROM error_group WHERE app=?") >= ERROR_GROUPS_PER_APP)
        return error_group(record, "other", id);
    sqlite3_stmt *insert = si__db_prepare(db, "INSERT INTO error_group(app,name) VALUES(?,?)");
    int failed = si__db_run(db, si__db_bind(insert, "is", record->app, name));
    *id = sqlite3_last_insert_rowid(db->sql);
    return failed;
}

static int record_error(si__record *record, const si__report_error *error) {
    char name[NAME_CAP], message[1024];
    int64_t group = 0;
    const uint8_t *body = NULL;
    size_t length = 0;
    int failed = error_group(record, si__clip(name, sizeof name, error->group), &group);
    if (!failed && error->tree) failed = encode_tree(record, error->tree, &body, &length, NULL);
    if (!failed && error->wire) failed = encode_wire(record, error->wire, &body, &length, NULL);
    if (failed) return failed;
    sqlite3_stmt *insert = si__db_prepare(
        record->tx->db, "INSERT INTO error(app,name,t,duration_ns,source,count,message,body) VALUES(?,?,?,?,?,?,?,?)");
    si__db_bind(insert, "iiiiiisb", record->app, group, si__record_time(record, error->start_ms),
                as_int(error->duration_ns), record->source, as_int(error->count),
                si__clip(message, sizeof message, error->message), body, length);
    return si__db_run(record->tx->db, insert);
}

int si__record_errors(si__record *record) {
    int failed = SI_OK;
    for (size_t i = 0; i < record->report->error_count && !failed; i++)
        failed = record_error(record, &record->report->errors[i]);
    return failed;
}

/* ---- Points ---- */

/* *id 0: over the cap, leave the point out. */
static int series_of(si__record *record, const char *name, const char *unit, int64_t *id) {
    si__db *db = record->tx->db;
    if ((*id = si__memo_series(record->tx->memo, record->source, name)) != 0) return SI_OK;
    sqlite3_stmt *find = si__db_prepare(db, "SELECT id FROM series WHERE app=? AND source=? AND name=?");
    if ((*id = si__db_int(db, si__db_bind(find, "iis", record->app, record->source, name), 0)) != 0) {
        si__memo_keep_series(record->tx->memo, record->source, name, *id);
        return SI_OK;
    }
    if (count_of(record, "SELECT count(*) FROM series WHERE app=?") >= SERIES_PER_APP) return SI_OK;
    sqlite3_stmt *insert = si__db_prepare(db, "INSERT INTO series(app,source,name,unit) VALUES(?,?,?,?)");
    int failed = si__db_run(db, si__db_bind(insert, "iiss", record->app, record->source, name, unit));
    *id = sqlite3_last_insert_rowid(db->sql);
    return failed;
}

static int record_point(si__record *record, const si__point *point) {
    static const int64_t resolutions[] = {600000, 3600000};
    si__db *db = record->tx->db;
    char name[NAME_CAP], unit[32];
    int64_t series = 0, t = si__record_time(record, point->time_ms);
    if (!isfinite(point->value)) return SI_OK;
    int failed =
        series_of(record, si__clip(name, sizeof name, point->name), si__clip(unit, sizeof unit, point->unit), &series);
    if (failed || !series) return failed;
    sqlite3_stmt *raw = si__db_prepare(
        db, "INSERT OR IGNORE INTO point(series,resolution_ms,t,sum,n,low,high) VALUES(?1,0,?2,?3,1,?3,?3)");
    failed = si__db_run(db, si__db_bind(raw, "iid", series, t, point->value));
    if (failed || sqlite3_changes(db->sql) == 0) return failed; /* two values for one instant: the first stays */
    for (size_t i = 0; i < 2 && !failed; i++) {
        sqlite3_stmt *add =
            si__db_prepare(db, "INSERT INTO point(series,resolution_ms,t,sum,n,low,high) VALUES(?1,?2,?3,?4,1,?4,?4)"
                               " ON CONFLICT DO UPDATE SET sum=sum+?4,n=n+1,low=min(low,?4),high=max(high,?4)");
        failed = si__db_run(db, si__db_bind(add, "iiid", series, resolutions[i], t - t % resolutions[i], point->value));
    }
    if (failed) return failed;
    sqlite3_stmt *last =
        si__db_prepare(db, "UPDATE series SET last=?,last_ms=? WHERE id=? AND coalesce(last_ms,-1)<=?");
    return si__db_run(db, si__db_bind(last, "diii", point->value, t, series, t));
}

int si__record_points(si__record *record) {
    int failed = SI_OK;
    for (size_t i = 0; i < record->report->point_count && !failed; i++)
        failed = record_point(record, &record->report->points[i]);
    return failed;
}
