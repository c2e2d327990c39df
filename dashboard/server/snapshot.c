/* Snapshots of merged profiles; see snapshot.h. Made and deleted on the writer's thread, read on the workers'. */
#include "snapshot.h"

#include <si/si.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

#define PER_APP 10000
#define CONTEXT_LIMIT ((size_t)64 << 10)

static int put_part(si__tx *tx, const char *id, int part, const si__merge *merge) {
    size_t count = si__sum_count(merge->sum), length = 0;
    const uint8_t *body = NULL;
    si__entry *entries = malloc((count + 1) * sizeof *entries);
    if (!entries) return SI_ENOMEM;
    si__sum_entries(merge->sum, entries);
    int failed = si__body_encode(tx->codec, entries, count, &body, &length);
    free(entries);
    if (failed) return failed;
    sqlite3_stmt *put =
        si__db_prepare(tx->db, "INSERT INTO snapshot_part(id,part,profiles,samples,total,duration_ns,core_ns,cores,"
                               "start_ms,end_ms,body) VALUES(?,?,?,?,?,?,?,?,?,?,?)");
    si__db_bind(put, "siiiiiddiib", id, (int64_t)part, (int64_t)merge->profiles, (int64_t)merge->samples, merge->total,
                (int64_t)merge->duration_ns, merge->core_ns, merge->cores, merge->start_ms, merge->end_ms, body,
                length);
    return si__db_run(tx->db, put);
}

int si__snapshot_make_apply(si__tx *tx, void *arg) {
    si__new_snapshot *make = arg;
    uint8_t random[16];
    char title[201], author[201], type[64], unit[32];
    const char *context = make->context ? make->context : "{}";
    if (!make->parts[SI__SNAPSHOT_MAIN] || !make->parts[SI__SNAPSHOT_MAIN]->sum || strlen(context) > CONTEXT_LIMIT)
        return SI_EINVAL;
    if (!si__store_has_app(tx, make->app)) return SI_ENOTFOUND;
    sqlite3_stmt *many = si__db_prepare(tx->db, "SELECT count(*) FROM snapshot WHERE app=?");
    if (si__db_int(tx->db, si__db_bind(many, "i", make->app), 0) >= PER_APP) return SI_ELIMIT;
    randombytes_buf(random, sizeof random);
    sodium_bin2base64(make->id, sizeof make->id, random, sizeof random, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sqlite3_stmt *put = si__db_prepare(tx->db, "INSERT INTO snapshot(id,app,type,unit,title,author,context,created_ms,"
                                               "from_ms,to_ms) VALUES(?,?,?,?,?,?,?,?,?,?)");
    si__db_bind(put, "sisssssiii", make->id, make->app, si__clip(type, sizeof type, make->type),
                si__clip(unit, sizeof unit, make->unit), si__clip(title, sizeof title, make->title),
                si__clip(author, sizeof author, make->author), context, tx->now_ms, make->from_ms, make->to_ms);
    int failed = si__db_run(tx->db, put);
    for (int i = 0; i < SI__SNAPSHOT_PARTS && !failed; i++)
        if (make->parts[i] && make->parts[i]->sum) failed = put_part(tx, make->id, i, make->parts[i]);
    return failed;
}

int si__snapshot_delete_apply(si__tx *tx, void *arg) {
    const si__snapshot_key *key = arg;
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM snapshot WHERE id=? AND app=?");
    int failed = si__db_run(tx->db, si__db_bind(drop, "si", key->id, key->app));
    if (failed) return failed;
    if (sqlite3_changes(tx->db->sql) == 0) return SI_ENOTFOUND;
    sqlite3_stmt *parts = si__db_prepare(tx->db, "DELETE FROM snapshot_part WHERE id=?");
    return si__db_run(tx->db, si__db_bind(parts, "s", key->id));
}

static int each_row(si__reader *reader, sqlite3_stmt *read, si__snapshot_each each, void *arg) {
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(&reader->db, read)) == 1) {
        si__snapshot_row out = {.id = si__db_text(read, 0),
                                .app = sqlite3_column_int64(read, 1),
                                .type = si__db_text(read, 2),
                                .unit = si__db_text(read, 3),
                                .title = si__db_text(read, 4),
                                .author = si__db_text(read, 5),
                                .context = si__db_text(read, 6),
                                .created_ms = sqlite3_column_int64(read, 7),
                                .from_ms = sqlite3_column_int64(read, 8),
                                .to_ms = sqlite3_column_int64(read, 9),
                                .bytes = (uint64_t)sqlite3_column_int64(read, 10),
                                .has_base = sqlite3_column_int64(read, 11) > 1};
        stopped = each(arg, &out);
    }
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}

int si__read_snapshots(si__reader *reader, int64_t app, int64_t limit, si__snapshot_each each, void *arg) {
    sqlite3_stmt *read = si__db_prepare(
        &reader->db, "SELECT id,app,type,unit,title,author,context,created_ms,from_ms,to_ms,"
                     "(SELECT sum(length(body)) FROM snapshot_part AS p WHERE p.id=snapshot.id)+length(context),"
                     "(SELECT count(*) FROM snapshot_part AS p WHERE p.id=snapshot.id)"
                     " FROM snapshot WHERE app=? ORDER BY created_ms DESC,id LIMIT ?");
    return each_row(reader, si__db_bind(read, "ii", app, limit), each, arg);
}

int si__read_snapshot(si__reader *reader, const char *id, si__snapshot_each each, void *arg) {
    sqlite3_stmt *exists = si__db_prepare(&reader->db, "SELECT 1 FROM snapshot WHERE id=?");
    if (!si__db_int(&reader->db, si__db_bind(exists, "s", id), 0)) return SI_ENOTFOUND;
    sqlite3_stmt *read = si__db_prepare(
        &reader->db, "SELECT id,app,type,unit,title,author,context,created_ms,from_ms,to_ms,"
                     "(SELECT sum(length(body)) FROM snapshot_part AS p WHERE p.id=snapshot.id)+length(context),"
                     "(SELECT count(*) FROM snapshot_part AS p WHERE p.id=snapshot.id) FROM snapshot WHERE id=?");
    return each_row(reader, si__db_bind(read, "s", id), each, arg);
}

int si__read_snapshot_merge(si__reader *reader, const char *id, si__snapshot_part part, si__merge *merge) {
    if (!merge->sum && !(merge->sum = si__sum_new())) return SI_ENOMEM;
    sqlite3_stmt *read =
        si__db_prepare(&reader->db, "SELECT body,profiles,samples,total,duration_ns,core_ns,cores,start_ms,end_ms"
                                    " FROM snapshot_part WHERE id=? AND part=?");
    int row = si__db_step(&reader->db, si__db_bind(read, "si", id, (int64_t)part));
    if (row != 1) return row ? row : SI_ENOTFOUND;
    int failed = si__sum_add_body(merge->sum, reader->codec, sqlite3_column_blob(read, 0),
                                  (size_t)sqlite3_column_bytes(read, 0));
    merge->profiles += (uint64_t)sqlite3_column_int64(read, 1);
    merge->samples += (uint64_t)sqlite3_column_int64(read, 2);
    merge->total = si__wrap_add(merge->total, sqlite3_column_int64(read, 3));
    merge->duration_ns += (uint64_t)sqlite3_column_int64(read, 4);
    merge->core_ns += sqlite3_column_double(read, 5);
    if (sqlite3_column_double(read, 6) > merge->cores) merge->cores = sqlite3_column_double(read, 6);
    int64_t start = sqlite3_column_int64(read, 7), end = sqlite3_column_int64(read, 8);
    if (!merge->start_ms || start < merge->start_ms) merge->start_ms = start;
    if (end > merge->end_ms) merge->end_ms = end;
    sqlite3_reset(read);
    return failed;
}
