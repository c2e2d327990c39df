/* The audit log; see audit.h. Written inside the transaction of the change itself; read by admins. */
#include "audit.h"

#include "handlers.h"
#include "record.h"

#define ROWS 1000

int si__audit(si__tx *tx, const char *user, const char *action, const char *target, const char *address) {
    char cut[512];
    sqlite3_stmt *insert =
        si__db_prepare(tx->db, "INSERT INTO audit(time_ms,user,action,target,address) VALUES(?,?,?,?,?)");
    return si__db_run(
        tx->db, si__db_bind(insert, "issss", tx->now_ms, user, action, si__clip(cut, sizeof cut, target), address));
}

void si__handle_audit(si__request *request) {
    si__db *db = &request->reader->db;
    int64_t before;
    if (si__request_time(request, "before", INT64_MAX, &before)) return; /* an id: a whole number too */
    si__json_writer json = {0};
    si__json_array_begin(&json, NULL);
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT time_ms,user,action,target,address,id FROM audit WHERE id<?1 AND (?2='' OR user=?2)"
                           " AND (?3='' OR action=?3) ORDER BY id DESC LIMIT ?4");
    si__db_bind(read, "issi", before, si__request_argument(request, "user", ""),
                si__request_argument(request, "action", ""), (int64_t)ROWS);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_int(&json, "id", sqlite3_column_int64(read, 5));
        si__json_put_int(&json, "time_ms", sqlite3_column_int64(read, 0));
        si__json_put_string(&json, "user", si__db_text(read, 1));
        si__json_put_string(&json, "action", si__db_text(read, 2));
        si__json_put_string(&json, "target", si__db_text(read, 3));
        si__json_put_string(&json, "address", si__db_text(read, 4));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__answer_json(request, 200, &json);
}
