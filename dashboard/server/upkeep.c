/*
 * Upkeep of the store; see upkeep.h. Writer thread, inside a transaction; each step deletes a bounded number of rows,
 * so that reports never wait for long.
 */
#include "upkeep.h"

#include <si/si.h>
#include <string.h>
#include <sys/statvfs.h>

#include "record.h"
#include "removal.h"
#include "rollup.h"
#include "sweep.h"

#define ROUND_MS 60000
#define LAST_HOUR_MS 3600000
#define ROWS_A_STEP 1000
#define LEDGER_STEPS 20 /* of a round */
#define LAST_PHASE 10
#define SERIES_A_STEP 50
#define RAW_POINTS_MS (3 * 86400000ll)
#define LEDGER_MS (21 * 86400000ll) /* a spool keeps 7 days: three times that */
#define FREE_DISK_FLOOR ((uint64_t)256 << 20)
#define FREE_PAGES_ENOUGH ((uint64_t)64 << 20)
#define INVITATION_MS (30 * 86400000ll)

void si__upkeep_size(si__db *db, uint64_t *used_bytes, uint64_t *free_bytes) {
    int64_t page = si__db_int(db, si__db_prepare(db, "PRAGMA page_size"), 4096);
    int64_t pages = si__db_int(db, si__db_prepare(db, "PRAGMA page_count"), 0);
    int64_t unused = si__db_int(db, si__db_prepare(db, "PRAGMA freelist_count"), 0);
    *used_bytes = (uint64_t)((pages - unused) * page);
    *free_bytes = (uint64_t)(unused * page);
}

static int64_t oldest_profile(si__tx *tx) {
    sqlite3_stmt *read = si__db_prepare(
        tx->db, "SELECT min((SELECT start_ms/600000 FROM profile WHERE profile.app=p.app AND profile.type=p.type"
                " ORDER BY start_ms/600000 LIMIT 1))*600000 FROM profile_type AS p");
    return si__db_int(tx->db, read, tx->now_ms);
}

/* Telemetry before this goes. When there is too much of it, each round takes the oldest fiftieth of its time. */
static int64_t cut_of(si__tx *tx, si__upkeep *upkeep) {
    upkeep->hurry = 0;
    int64_t cut = tx->now_ms - upkeep->retention_ms;
    uint64_t used, unused;
    si__upkeep_size(tx->db, &used, &unused);
    struct statvfs disk;
    int disk_low = statvfs(upkeep->data_dir, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < FREE_DISK_FLOOR &&
                   unused < FREE_PAGES_ENOUGH; /* deleting makes room inside the file, which is what new reports need */
    if (!disk_low && (!upkeep->max_bytes || used <= upkeep->max_bytes)) return cut;
    int64_t oldest = oldest_profile(tx);
    int64_t some = (tx->now_ms - oldest) / 50, sooner = oldest + (some > 3600000 ? some : 3600000);
    if (sooner > tx->now_ms - LAST_HOUR_MS) return cut; /* the last hour always stays */
    upkeep->hurry = 1;
    return sooner > cut ? sooner : cut;
}

/* 1: it deleted as many as it may, so there may be more. */
static int delete_some(si__tx *tx, const char *literal, int64_t before_ms) {
    int failed =
        si__db_run(tx->db, si__db_bind(si__db_prepare(tx->db, literal), "ii", before_ms, (int64_t)ROWS_A_STEP));
    return failed ? failed : sqlite3_changes(tx->db->sql) >= ROWS_A_STEP;
}

static int delete_profile(si__tx *tx, int64_t id) {
    sqlite3_stmt *body = si__db_prepare(tx->db, "DELETE FROM profile_body WHERE id=?");
    int failed = si__db_run(tx->db, si__db_bind(body, "i", id));
    sqlite3_stmt *head = si__db_prepare(tx->db, "DELETE FROM profile WHERE id=?");
    return failed ? failed : si__db_run(tx->db, si__db_bind(head, "i", id));
}

/* Profiles lie by application and type: goes through these one after the other. The newest stays, so that no number is
   given twice: rollups remember up to which they are. */
static int delete_profiles(si__tx *tx, si__upkeep *upkeep) {
    int64_t ids[ROWS_A_STEP], app;
    char type[64];
    int count = 0, row;
    sqlite3_stmt *next = si__db_prepare(tx->db, "SELECT app,type FROM profile_type WHERE (app,type)>(?,?)"
                                                " ORDER BY app,type LIMIT 1");
    row = si__db_step(tx->db, si__db_bind(next, "is", upkeep->app_after, upkeep->type_after));
    if (row != 1) {
        upkeep->app_after = 0;
        upkeep->type_after[0] = '\0';
        return row;
    }
    app = sqlite3_column_int64(next, 0);
    si__clip(type, sizeof type, si__db_text(next, 1));
    sqlite3_reset(next);
    sqlite3_stmt *old = si__db_prepare(
        tx->db, "SELECT id FROM profile WHERE app=?1 AND type=?2 AND start_ms/600000<=?3/600000 AND start_ms<?3"
                " AND id<(SELECT max(id) FROM profile) LIMIT ?4");
    si__db_bind(old, "isii", app, type, upkeep->cut_ms, (int64_t)ROWS_A_STEP);
    while ((row = si__db_step(tx->db, old)) == 1) ids[count++] = sqlite3_column_int64(old, 0);
    for (int i = 0; i < count && row >= 0; i++) row = delete_profile(tx, ids[i]);
    if (row < 0) return row;
    upkeep->deleted += (uint64_t)count;
    if (count < ROWS_A_STEP) {
        upkeep->app_after = app;
        memcpy(upkeep->type_after, type, sizeof type);
    }
    return 1;
}

/* The ledger lies by report: each round looks at some of it, and goes on from there in the next. */
static int delete_ledger(si__tx *tx, si__upkeep *upkeep) {
    struct {
        int64_t app;
        uint8_t id[16];
    } old[ROWS_A_STEP];
    int seen = 0, count = 0, row;
    sqlite3_stmt *next = si__db_prepare(tx->db, "SELECT app,id,received_ms FROM ledger WHERE (app,id)>(?,?)"
                                                " ORDER BY app,id LIMIT ?");
    si__db_bind(next, "ibi", upkeep->ledger_app, upkeep->ledger_id, sizeof upkeep->ledger_id, (int64_t)ROWS_A_STEP);
    while ((row = si__db_step(tx->db, next)) == 1) {
        seen++;
        upkeep->ledger_app = sqlite3_column_int64(next, 0);
        memset(upkeep->ledger_id, 0, sizeof upkeep->ledger_id);
        if (sqlite3_column_bytes(next, 1) == 16) memcpy(upkeep->ledger_id, sqlite3_column_blob(next, 1), 16);
        if (sqlite3_column_int64(next, 2) >= tx->now_ms - LEDGER_MS) continue;
        old[count].app = upkeep->ledger_app;
        memcpy(old[count++].id, upkeep->ledger_id, 16);
    }
    for (int i = 0; i < count && row >= 0; i++) {
        sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM ledger WHERE app=? AND id=?");
        row = si__db_run(tx->db, si__db_bind(drop, "ib", old[i].app, old[i].id, sizeof old[i].id));
    }
    if (row < 0) return row;
    if (seen < ROWS_A_STEP) {
        upkeep->ledger_app = 0;
        memset(upkeep->ledger_id, 0, sizeof upkeep->ledger_id);
        upkeep->ledger_steps = 0;
        return 0;
    }
    if (++upkeep->ledger_steps < LEDGER_STEPS) return 1;
    upkeep->ledger_steps = 0;
    return 0;
}

/* Points lie by series: goes through the series a few at a time. */
static int delete_points(si__tx *tx, si__upkeep *upkeep) {
    int64_t series[SERIES_A_STEP];
    int count = 0, row;
    sqlite3_stmt *next = si__db_prepare(tx->db, "SELECT id FROM series WHERE id>? ORDER BY id LIMIT ?");
    si__db_bind(next, "ii", upkeep->series_after, (int64_t)SERIES_A_STEP);
    while ((row = si__db_step(tx->db, next)) == 1) series[count++] = sqlite3_column_int64(next, 0);
    if (row < 0) return row;
    int64_t raw_cut = tx->now_ms - RAW_POINTS_MS > upkeep->cut_ms ? tx->now_ms - RAW_POINTS_MS : upkeep->cut_ms;
    for (int i = 0; i < count; i++) {
        int64_t steps[] = {0, 600000, 3600000}, cuts[] = {raw_cut, upkeep->cut_ms, upkeep->cut_ms};
        for (int j = 0; j < 3; j++) {
            sqlite3_stmt *drop = si__db_prepare(tx->db, "DELETE FROM point WHERE series=? AND resolution_ms=? AND t<?");
            int failed = si__db_run(tx->db, si__db_bind(drop, "iii", series[i], steps[j], cuts[j]));
            if (failed) return failed;
        }
        upkeep->series_after = series[i];
    }
    if (count == SERIES_A_STEP) return 1;
    upkeep->series_after = 0;
    return 0;
}

/* Sources that said nothing for longer than anything of theirs is kept. */
static int delete_sources(si__tx *tx, int64_t before_ms) {
    static const char *const statements[] = {
        ("DELETE FROM point WHERE series IN (SELECT id FROM series WHERE source IN (SELECT id FROM source WHERE "
         "last_seen_ms<?))"),
        "DELETE FROM series WHERE source IN (SELECT id FROM source WHERE last_seen_ms<?)",
        "DELETE FROM context WHERE source IN (SELECT id FROM source WHERE last_seen_ms<?)",
        "DELETE FROM source WHERE last_seen_ms<?",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        int failed = si__db_run(tx->db, si__db_bind(si__db_prepare(tx->db, statements[i]), "i", before_ms));
        if (failed) return failed;
    }
    if (sqlite3_changes(tx->db->sql)) si__memo_forget(tx->memo);
    return 0;
}

static int give_back(si__tx *tx) {
    uint64_t used, unused;
    si__upkeep_size(tx->db, &used, &unused);
    if (unused < FREE_PAGES_ENOUGH || unused * 3 < used) return 0; /* free pages are used again first */
    int failed = si__db_exec(tx->db, "PRAGMA incremental_vacuum(500)");
    return failed ? failed : 1;
}

static int delete_rollups(si__tx *tx, si__upkeep *upkeep) {
    int more =
        delete_some(tx, "DELETE FROM rollup WHERE rowid IN (SELECT rowid FROM rollup WHERE t+resolution_ms<=? LIMIT ?)",
                    upkeep->cut_ms);
    if (more >= 0) upkeep->deleted += (uint64_t)sqlite3_changes(tx->db->sql);
    return more;
}

static int phase_step(si__tx *tx, si__upkeep *upkeep) {
    int64_t cut = upkeep->cut_ms, own = tx->now_ms - upkeep->retention_ms;
    switch (upkeep->phase) {
    case 0:
        return delete_profiles(tx, upkeep);
    case 1:
        return delete_rollups(tx, upkeep);
    case 2:
        return delete_some(
            tx, "DELETE FROM segment WHERE id IN (SELECT id FROM segment WHERE t+max(resolution_ms,1)<=? LIMIT ?)",
            cut);
    case 3:
        return delete_some(tx, "DELETE FROM error WHERE id IN (SELECT id FROM error WHERE t<? LIMIT ?)", cut);
    case 4:
        return delete_points(tx, upkeep);
    case 5:
        return delete_ledger(tx, upkeep);
    case 6:
        return delete_sources(tx, own - 86400000);
    case 7:
        return delete_some(tx, "DELETE FROM annotation WHERE id IN (SELECT id FROM annotation WHERE time_ms<? LIMIT ?)",
                           own);
    case 8:
        return delete_some(tx,
                           "DELETE FROM session WHERE hash IN (SELECT hash FROM session WHERE created_ms<? LIMIT ?)",
                           tx->now_ms - INVITATION_MS);
    case 9:
        return delete_some(tx, "DELETE FROM link WHERE hash IN (SELECT hash FROM link WHERE expires_ms<? LIMIT ?)",
                           tx->now_ms - INVITATION_MS);
    default:
        return give_back(tx);
    }
}

/* Calls that nobody has any more go from time to time, sooner when there is too much. */
static int sweep_step(si__tx *tx, si__upkeep *upkeep) {
    int64_t pause_ms = upkeep->hurry ? upkeep->sweep_ms / 20 : upkeep->sweep_ms;
    if (!upkeep->swept_ms) upkeep->swept_ms = tx->now_ms;
    int between_rounds = upkeep->phase == 0 && upkeep->cut_ms == 0; /* else much of what goes is still there */
    if (!upkeep->sweep && (!between_rounds || !upkeep->deleted || tx->now_ms - upkeep->swept_ms < pause_ms)) return 0;
    if (!upkeep->sweep && !(upkeep->sweep = si__sweep_new(tx, upkeep->places))) return SI_ENOMEM;
    int more = si__sweep_step(tx, upkeep->sweep);
    if (more > 0) return more;
    si__sweep_free(upkeep->sweep, tx->intern);
    upkeep->sweep = NULL;
    upkeep->swept_ms = tx->now_ms;
    if (more == 0) upkeep->deleted = 0;
    return more == 0 ? si__removal_swept(tx) : more;
}

/* Rows of removed applications; a sweep follows at once. */
static int removal_step(si__tx *tx, si__upkeep *upkeep) {
    int unswept = 0, more = upkeep->sweep ? 0 : si__removal_step(tx, &unswept);
    if (unswept && !upkeep->deleted) upkeep->deleted = 1;
    if (unswept && !upkeep->sweep) upkeep->swept_ms = 1; /* long ago */
    return more;
}

int si__upkeep_step(si__tx *tx, si__upkeep *upkeep) {
    int made = si__rollup_step(tx, upkeep->places, upkeep->grace_ms);
    if (!made) made = removal_step(tx, upkeep);
    if (!made) made = sweep_step(tx, upkeep);
    if (made) return made;
    if (tx->now_ms < upkeep->next_ms) return 0;
    if (upkeep->phase == 0 && upkeep->cut_ms == 0) upkeep->cut_ms = cut_of(tx, upkeep);
    int more = phase_step(tx, upkeep);
    if (more) return more;
    if (upkeep->phase++ < LAST_PHASE) return 1;
    upkeep->phase = 0;
    upkeep->cut_ms = 0;
    upkeep->next_ms = tx->now_ms + (upkeep->hurry ? 0 : ROUND_MS);
    return 0;
}
