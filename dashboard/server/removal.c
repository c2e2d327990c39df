/* Removing an application; see removal.h. Writer thread, inside a transaction. */
#include "removal.h"

#include <si/si.h>
#include <stdio.h>

#include "audit.h"

#define ROWS_A_STEP 500
#define LARGE_ROWS_A_STEP 20 /* of files and snapshots, which may be megabytes each */
#define KEYS_REMEMBERED_MS (90 * 86400000ll)

/* ---- At once ---- */

static int run_for(si__tx *tx, const char *literal, int64_t app) {
    return si__db_run(tx->db, si__db_bind(si__db_prepare(tx->db, literal), "i", app));
}

/* Keys go, but for what tells their agents why they are refused. */
static int remove_keys(si__tx *tx, const si__removal *removal) {
    sqlite3_stmt *keep =
        si__db_prepare(tx->db, "INSERT OR REPLACE INTO key_gone(id,hash,gone_ms) SELECT id,hash,?3 FROM agent_key"
                               " WHERE app=?1 AND environment=?2");
    int failed = si__db_run(tx->db, si__db_bind(keep, "ssi", removal->app, removal->environment, tx->now_ms));
    sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM agent_key WHERE app=? AND environment=?");
    failed = failed ? failed : si__db_run(tx->db, si__db_bind(drop, "ss", removal->app, removal->environment));
    sqlite3_stmt *old = si__db_prepare(tx->db, "DELETE FROM key_gone WHERE gone_ms<?");
    return failed ? failed : si__db_run(tx->db, si__db_bind(old, "i", tx->now_ms - KEYS_REMEMBERED_MS));
}

int si__removal_apply(si__tx *tx, void *arg) {
    const si__removal *removal = arg;
    char target[300];
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT id FROM app WHERE name=? AND environment=?");
    int64_t app = si__db_int(tx->db, si__db_bind(find, "ss", removal->app, removal->environment), 0);
    if (!app) return SI_ENOTFOUND;
    sqlite3_stmt *note = si__db_prepare(tx->db, "INSERT INTO app_gone(id,removed_ms) VALUES(?,?)");
    int failed = si__db_run(tx->db, si__db_bind(note, "ii", app, tx->now_ms));
    failed = failed ? failed : remove_keys(tx, removal);
    failed = failed ? failed : run_for(tx, "DELETE FROM rollup_due WHERE app=?", app);
    failed = failed ? failed : run_for(tx, "DELETE FROM app WHERE id=?", app);
    if (failed) return failed;
    si__memo_forget(tx->memo); /* it names periods of the application that are to be rolled up */
    snprintf(target, sizeof target, "%s/%s", removal->app, removal->environment);
    return si__audit(tx, removal->author, "application deleted", target, removal->address);
}

/* ---- Row by row ---- */

typedef struct part {         /* of what there is of an application: ?1 its number, ?2 at most so many rows */
    const char *belonging[2]; /* what belongs to the rows that go next, in the same order */
    const char *rows;
    int64_t most;
} part;

static const part parts[] = {
    {{"DELETE FROM profile_body WHERE id IN (SELECT id FROM profile WHERE app=?1 ORDER BY id LIMIT ?2)"},
     "DELETE FROM profile WHERE id IN (SELECT id FROM profile WHERE app=?1 ORDER BY id LIMIT ?2)",
     ROWS_A_STEP},
    {{NULL}, "DELETE FROM rollup WHERE rowid IN (SELECT rowid FROM rollup WHERE app=?1 LIMIT ?2)", LARGE_ROWS_A_STEP},
    {{NULL}, "DELETE FROM segment WHERE id IN (SELECT id FROM segment WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL}, "DELETE FROM error WHERE id IN (SELECT id FROM error WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL},
     "DELETE FROM point WHERE (series,resolution_ms,t) IN (SELECT series,resolution_ms,t FROM point WHERE"
     " series=(SELECT id FROM series WHERE app=?1 ORDER BY source,name LIMIT 1) LIMIT ?2)",
     ROWS_A_STEP},
    {{NULL}, /* the first one has no points any more; others may have none */
     "DELETE FROM series WHERE id IN (SELECT id FROM series WHERE app=?1 ORDER BY source,name LIMIT ?2)"
     " AND NOT EXISTS(SELECT 1 FROM point WHERE point.series=series.id)",
     ROWS_A_STEP},
    {{"DELETE FROM delivery WHERE alert IN (SELECT id FROM alert WHERE app=?1 ORDER BY id LIMIT ?2)",
      "DELETE FROM outbox WHERE alert IN (SELECT id FROM alert WHERE app=?1 ORDER BY id LIMIT ?2)"},
     "DELETE FROM alert WHERE id IN (SELECT id FROM alert WHERE app=?1 ORDER BY id LIMIT ?2)",
     ROWS_A_STEP},
    {{"DELETE FROM snapshot_part WHERE id IN (SELECT id FROM snapshot WHERE app=?1 ORDER BY created_ms,id LIMIT ?2)"},
     "DELETE FROM snapshot WHERE id IN (SELECT id FROM snapshot WHERE app=?1 ORDER BY created_ms,id LIMIT ?2)",
     LARGE_ROWS_A_STEP},
    {{NULL},
     "DELETE FROM source_file WHERE id IN (SELECT id FROM source_file WHERE app=?1 LIMIT ?2)",
     LARGE_ROWS_A_STEP},
    {{NULL}, "DELETE FROM annotation WHERE id IN (SELECT id FROM annotation WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL},
     "DELETE FROM context WHERE id IN (SELECT context.id FROM source JOIN context ON context.source=source.id WHERE"
     " source.app=?1 LIMIT ?2)",
     ROWS_A_STEP},
    {{NULL}, "DELETE FROM source WHERE id IN (SELECT id FROM source WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL}, "DELETE FROM segment_name WHERE id IN (SELECT id FROM segment_name WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL}, "DELETE FROM error_group WHERE id IN (SELECT id FROM error_group WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL},
     "DELETE FROM app_version WHERE app=?1 AND version IN (SELECT version FROM app_version WHERE app=?1 LIMIT ?2)",
     ROWS_A_STEP},
    {{NULL},
     "DELETE FROM profile_type WHERE app=?1 AND type IN (SELECT type FROM profile_type WHERE app=?1 LIMIT ?2)",
     ROWS_A_STEP},
    {{NULL}, "DELETE FROM ledger WHERE app=?1 AND id IN (SELECT id FROM ledger WHERE app=?1 LIMIT ?2)", ROWS_A_STEP},
    {{NULL}, "DELETE FROM meta WHERE key IN ('rules_state:'||?1,'rules_loaded:'||?1) AND ?2>0", ROWS_A_STEP},
};

/* No number of a profile is given twice, because rollups remember up to which they are: when the newest of all is one
   that goes, an empty one of nobody's keeps its number. */
static int keep_newest_number(si__tx *tx, int64_t app) {
    const uint8_t *body;
    size_t length;
    sqlite3_stmt *find = si__db_prepare(tx->db, "SELECT id FROM profile WHERE id=(SELECT max(id) FROM profile)"
                                                " AND app=?");
    int64_t newest = si__db_int(tx->db, si__db_bind(find, "i", app), 0);
    if (!newest) return SI_OK;
    int failed =
        run_for(tx, "DELETE FROM profile_body WHERE id IN (SELECT id FROM profile WHERE app=0 AND id<>?1)", newest);
    failed = failed ? failed : run_for(tx, "DELETE FROM profile WHERE app=0 AND id<>?1", newest);
    failed = failed ? failed : si__body_encode(tx->codec, NULL, 0, &body, &length);
    sqlite3_stmt *empty = si__db_prepare(tx->db, "UPDATE profile_body SET body=?2 WHERE id=?1");
    failed = failed ? failed : si__db_run(tx->db, si__db_bind(empty, "ib", newest, body, length));
    return failed ? failed
                  : run_for(tx,
                            "UPDATE profile SET app=0,type='',start_ms=0,duration_ns=0,source=0,context=0,total=0,"
                            "samples=0,dropped=0,cores=1,trigger='',workload='' WHERE id=?",
                            newest);
}

/* How many rows went of one part, or SI_E*. */
static int delete_part(si__tx *tx, const part *p, int64_t app) {
    const char *const literals[] = {p->belonging[0], p->belonging[1], p->rows};
    for (size_t i = 0; i < 3; i++) {
        if (!literals[i]) continue;
        int failed = si__db_run(tx->db, si__db_bind(si__db_prepare(tx->db, literals[i]), "ii", app, p->most));
        if (failed) return failed;
    }
    return sqlite3_changes(tx->db->sql);
}

int si__removal_step(si__tx *tx, int *unswept) {
    sqlite3_stmt *next = si__db_prepare(tx->db, "SELECT id FROM app_gone WHERE done_ms IS NULL ORDER BY id LIMIT 1");
    int64_t app = si__db_int(tx->db, next, 0);
    *unswept =
        !app && si__db_int(tx->db, si__db_prepare(tx->db, "SELECT count(*) FROM app_gone WHERE swept_ms IS NULL"), 0);
    if (!app) return 0;
    int went = keep_newest_number(tx, app);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && went == 0; i++) went = delete_part(tx, &parts[i], app);
    if (went) return went < 0 ? went : 1;
    si__intern_forget(tx->intern);
    si__memo_forget(tx->memo);
    sqlite3_stmt *done = si__db_prepare(tx->db, "UPDATE app_gone SET done_ms=?2 WHERE id=?1");
    int failed = si__db_run(tx->db, si__db_bind(done, "ii", app, tx->now_ms));
    return failed ? failed : 1;
}

int si__removal_swept(si__tx *tx) {
    sqlite3_stmt *swept = si__db_prepare(tx->db, "UPDATE app_gone SET swept_ms=? WHERE done_ms IS NOT NULL AND"
                                                 " swept_ms IS NULL");
    return si__db_run(tx->db, si__db_bind(swept, "i", tx->now_ms));
}

int64_t si__removal_count(si__db *db) {
    return si__db_int(db, si__db_prepare(db, "SELECT count(*) FROM app_gone WHERE done_ms IS NULL"), 0);
}
