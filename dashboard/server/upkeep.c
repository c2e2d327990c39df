/*
 * Upkeep of the store; see upkeep.h. Writer thread, inside a transaction; each step deletes a bounded number of rows,
 * so that reports never wait for long.
 */
#include "upkeep.h"

#include <si/si.h>
#include <sys/statvfs.h>

#include "rollup.h"

#define ROUND_MS 60000
#define LAST_HOUR_MS 3600000
#define ROWS_A_STEP 1000
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
    int64_t oldest = si__db_int(tx->db, si__db_prepare(tx->db, "SELECT min(start_ms) FROM profile"), tx->now_ms);
    int64_t some = (tx->now_ms - oldest) / 50, sooner = oldest + (some > 3600000 ? some : 3600000);
    if (sooner > tx->now_ms - LAST_HOUR_MS)
        return cut; /* call trees are never deleted: what is left may be those alone */
    upkeep->hurry = 1;
    return sooner > cut ? sooner : cut;
}

/* 1: it deleted as many as it may, so there may be more. */
static int delete_some(si__tx *tx, const char *literal, int64_t before_ms) {
    int failed =
        si__db_run(tx->db, si__db_bind(si__db_prepare(tx->db, literal), "ii", before_ms, (int64_t)ROWS_A_STEP));
    return failed ? failed : sqlite3_changes(tx->db->sql) >= ROWS_A_STEP;
}

static int delete_profiles(si__tx *tx, int64_t before_ms) {
    int more = delete_some(
        tx,
        "DELETE FROM profile_body WHERE id IN (SELECT id FROM profile WHERE start_ms<? ORDER BY start_ms,id LIMIT ?)",
        before_ms);
    if (more < 0) return more;
    int failed = delete_some(
        tx, "DELETE FROM profile WHERE id IN (SELECT id FROM profile WHERE start_ms<? ORDER BY start_ms,id LIMIT ?)",
        before_ms);
    return failed < 0 ? failed : more;
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
    return 0;
}

static int give_back(si__tx *tx) {
    uint64_t used, unused;
    si__upkeep_size(tx->db, &used, &unused);
    if (unused < FREE_PAGES_ENOUGH || unused * 3 < used) return 0; /* free pages are used again first */
    int failed = si__db_exec(tx->db, "PRAGMA incremental_vacuum(500)");
    return failed ? failed : 1;
}

static int phase_step(si__tx *tx, si__upkeep *upkeep) {
    int64_t cut = upkeep->cut_ms, own = tx->now_ms - upkeep->retention_ms;
    switch (upkeep->phase) {
    case 0:
        return delete_profiles(tx, cut);
    case 1:
        return delete_some(
            tx, "DELETE FROM rollup WHERE rowid IN (SELECT rowid FROM rollup WHERE t+resolution_ms<=? LIMIT ?)", cut);
    case 2:
        return delete_some(
            tx, "DELETE FROM hot WHERE (app,type,node,t) IN (SELECT app,type,node,t FROM hot WHERE t<? LIMIT ?)", cut);
    case 3:
        return delete_some(
            tx, "DELETE FROM segment WHERE id IN (SELECT id FROM segment WHERE t+max(resolution_ms,1)<=? LIMIT ?)",
            cut);
    case 4:
        return delete_some(tx, "DELETE FROM error WHERE id IN (SELECT id FROM error WHERE t<? LIMIT ?)", cut);
    case 5:
        return delete_points(tx, upkeep);
    case 6:
        return delete_some(
            tx, "DELETE FROM ledger WHERE (app,id) IN (SELECT app,id FROM ledger WHERE received_ms<? LIMIT ?)",
            tx->now_ms - LEDGER_MS);
    case 7:
        return delete_sources(tx, own - 86400000);
    case 8:
        return delete_some(tx, "DELETE FROM annotation WHERE id IN (SELECT id FROM annotation WHERE time_ms<? LIMIT ?)",
                           own);
    case 9:
        return delete_some(tx,
                           "DELETE FROM session WHERE hash IN (SELECT hash FROM session WHERE created_ms<? LIMIT ?)",
                           tx->now_ms - INVITATION_MS);
    case 10:
        return delete_some(tx, "DELETE FROM link WHERE hash IN (SELECT hash FROM link WHERE expires_ms<? LIMIT ?)",
                           tx->now_ms - INVITATION_MS);
    default:
        return give_back(tx);
    }
}

int si__upkeep_step(si__tx *tx, si__upkeep *upkeep) {
    int made = si__rollup_step(tx, upkeep->places, upkeep->grace_ms);
    if (made) return made;
    if (tx->now_ms < upkeep->next_ms) return 0;
    if (upkeep->phase == 0 && upkeep->cut_ms == 0) upkeep->cut_ms = cut_of(tx, upkeep);
    int more = phase_step(tx, upkeep);
    if (more) return more;
    if (upkeep->phase++ < 11) return 1;
    upkeep->phase = 0;
    upkeep->cut_ms = 0;
    upkeep->next_ms = tx->now_ms + (upkeep->hurry ? 0 : ROUND_MS);
    return 0;
}
