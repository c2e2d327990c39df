/* Marks on the timeline; see annotation.h. Made and deleted on the writer's thread, read on the workers'. */
#include "annotation.h"

#include <si/si.h>

#include "record.h"

int si__annotation_make_apply(si__tx *tx, void *arg) {
    si__annotation *mark = arg;
    char kind[33], text[501], link[1001], author[201];
    if (!*si__clip(text, sizeof text, mark->text)) return SI_EINVAL;
    if (!si__store_has_app(tx, mark->app)) return SI_ENOTFOUND;
    sqlite3_stmt *put =
        si__db_prepare(tx->db, "INSERT INTO annotation(app,time_ms,kind,text,author,link) VALUES(?,?,?,?,?,?)");
    si__db_bind(put, "iissss", mark->app, mark->time_ms, si__clip(kind, sizeof kind, mark->kind), text,
                si__clip(author, sizeof author, mark->author), si__clip(link, sizeof link, mark->link));
    int failed = si__db_run(tx->db, put);
    mark->id = sqlite3_last_insert_rowid(tx->db->sql);
    return failed;
}

int si__annotation_delete_apply(si__tx *tx, void *arg) {
    const si__annotation *mark = arg;
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM annotation WHERE id=? AND app=?");
    int failed = si__db_run(tx->db, si__db_bind(drop, "ii", mark->id, mark->app));
    return failed ? failed : sqlite3_changes(tx->db->sql) ? SI_OK : SI_ENOTFOUND;
}

int si__read_annotations(si__reader *reader, const si__range *range, int64_t limit, si__annotation_each each,
                         void *arg) {
    sqlite3_stmt *read =
        si__db_prepare(&reader->db, "SELECT * FROM (SELECT id,time_ms,kind,text,author,link FROM annotation WHERE app=?"
                                    " AND time_ms>=? AND time_ms<? ORDER BY time_ms DESC,id DESC LIMIT ?)"
                                    " ORDER BY time_ms,id");
    si__db_bind(read, "iiii", range->app, range->from_ms, range->to_ms, limit);
    int row, stopped = 0;
    while (!stopped && (row = si__db_step(&reader->db, read)) == 1) {
        si__annotation out = {.id = sqlite3_column_int64(read, 0),
                              .app = range->app,
                              .time_ms = sqlite3_column_int64(read, 1),
                              .kind = si__db_text(read, 2),
                              .text = si__db_text(read, 3),
                              .author = si__db_text(read, 4),
                              .link = si__db_text(read, 5)};
        stopped = each(arg, &out);
    }
    if (stopped) sqlite3_reset(read);
    return stopped ? stopped : row;
}
