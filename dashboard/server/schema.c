/*
 * The schema of si.db as a list of migrations, applied in order; PRAGMA user_version counts them. Runs once at start,
 * before any other thread exists.
 *
 * A stack is a node: (app, parent node, frame). A profile's body is a blob of sorted node ids with values (body.h).
 * Rollups repeat what profiles say; `rollup_due` names the periods whose rollup is missing or out of date.
 */
#include "schema.h"

#include <si/si.h>
#include <stdio.h>
#include <string.h>

#include "backup.h"

static const char *const migrations[] = {
    /* 1: the first version */
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    /* Who reports. */
    "CREATE TABLE app(id INTEGER PRIMARY KEY, name TEXT NOT NULL, environment TEXT NOT NULL, created_ms INTEGER NOT "
    "NULL,"
    " first_report_ms INTEGER, last_seen_ms INTEGER, UNIQUE(name, environment));"
    "CREATE TABLE source(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, agent BLOB NOT NULL, host TEXT NOT NULL, pid "
    "INTEGER,"
    " app_version TEXT, runtime_type TEXT, runtime_version TEXT, build_id TEXT, run_id TEXT, agent_version TEXT, os "
    "TEXT,"
    " tags TEXT, first_seen_ms INTEGER NOT NULL, last_seen_ms INTEGER NOT NULL, report_end_ms INTEGER NOT NULL,"
    " statuses TEXT, losses TEXT, rules TEXT, rules_hash TEXT, clock_ahead_ms INTEGER, UNIQUE(app, agent, host));"
    "CREATE TABLE context(id INTEGER PRIMARY KEY, source INTEGER NOT NULL, hash BLOB NOT NULL, body TEXT NOT NULL,"
    " app_version TEXT NOT NULL, UNIQUE(source, hash));"
    "CREATE TABLE app_version(app INTEGER NOT NULL, version TEXT NOT NULL, first_seen_ms INTEGER NOT NULL,"
    " PRIMARY KEY(app, version)) WITHOUT ROWID;"
    /* Every report that was stored, by the hash of its id: what makes a replay a duplicate. */
    "CREATE TABLE ledger(app INTEGER NOT NULL, id BLOB NOT NULL, received_ms INTEGER NOT NULL, PRIMARY KEY(app, id)) "
    "WITHOUT ROWID;"
    "CREATE INDEX ledger_received ON ledger(received_ms);"
    /* Call trees. */
    "CREATE TABLE frame(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, function TEXT NOT NULL, file TEXT NOT NULL,"
    " line INTEGER NOT NULL, module TEXT NOT NULL);"
    "CREATE INDEX frame_function ON frame(function);"
    "CREATE TABLE node(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, parent INTEGER NOT NULL, frame INTEGER NOT NULL,"
    " UNIQUE(app, parent, frame));"
    "CREATE TABLE profile(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, type TEXT NOT NULL, start_ms INTEGER NOT NULL,"
    " duration_ns INTEGER NOT NULL, source INTEGER NOT NULL, context INTEGER NOT NULL, total INTEGER NOT NULL,"
    " samples INTEGER NOT NULL, dropped INTEGER NOT NULL, cores REAL NOT NULL, trigger TEXT NOT NULL, workload TEXT "
    "NOT NULL);"
    "CREATE INDEX profile_time ON profile(app, type, start_ms);"
    "CREATE INDEX profile_age ON profile(start_ms);"
    "CREATE TABLE profile_body(id INTEGER PRIMARY KEY, body BLOB NOT NULL);"
    "CREATE TABLE profile_type(app INTEGER NOT NULL, type TEXT NOT NULL, unit TEXT NOT NULL, PRIMARY KEY(app, type)) "
    "WITHOUT ROWID;"
    "CREATE TABLE rollup(app INTEGER NOT NULL, type TEXT NOT NULL, resolution_ms INTEGER NOT NULL, t INTEGER NOT NULL,"
    " profiles INTEGER NOT NULL, samples INTEGER NOT NULL, total INTEGER NOT NULL, duration_ns INTEGER NOT NULL,"
    " core_ns REAL NOT NULL, cores REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY(app, type, resolution_ms, t));"
    "CREATE TABLE rollup_due(app INTEGER NOT NULL, type TEXT NOT NULL, resolution_ms INTEGER NOT NULL, t INTEGER NOT "
    "NULL,"
    " marked_ms INTEGER NOT NULL, PRIMARY KEY(app, type, resolution_ms, t)) WITHOUT ROWID;"
    "CREATE TABLE hot(app INTEGER NOT NULL, type TEXT NOT NULL, node INTEGER NOT NULL, t INTEGER NOT NULL, total "
    "INTEGER NOT NULL,"
    " samples INTEGER NOT NULL, PRIMARY KEY(app, type, node, t)) WITHOUT ROWID;"
    "CREATE INDEX hot_age ON hot(t);"
    /* Metrics. resolution_ms 0: as reported. */
    "CREATE TABLE series(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, source INTEGER NOT NULL, name TEXT NOT NULL,"
    " unit TEXT NOT NULL, last REAL, last_ms INTEGER, UNIQUE(app, source, name));"
    "CREATE TABLE point(series INTEGER NOT NULL, resolution_ms INTEGER NOT NULL, t INTEGER NOT NULL, sum REAL NOT NULL,"
    " n INTEGER NOT NULL, low REAL NOT NULL, high REAL NOT NULL, PRIMARY KEY(series, resolution_ms, t)) WITHOUT ROWID;"
    /* Segments: a sketch each, because percentiles cannot be averaged. resolution_ms 0: as reported. */
    "CREATE TABLE segment_name(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,"
    " UNIQUE(app, kind, name));"
    "CREATE TABLE segment(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, name INTEGER NOT NULL, resolution_ms INTEGER "
    "NOT NULL,"
    " t INTEGER NOT NULL, source INTEGER NOT NULL, duration_ns INTEGER NOT NULL, count INTEGER NOT NULL, errors "
    "INTEGER NOT NULL,"
    " sum_ns INTEGER NOT NULL, max_ns INTEGER NOT NULL, sketch BLOB NOT NULL);"
    "CREATE INDEX segment_time ON segment(app, resolution_ms, t);"
    /* Errors. */
    "CREATE TABLE error_group(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE(app, name));"
    "CREATE TABLE error(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, name INTEGER NOT NULL, t INTEGER NOT NULL,"
    " duration_ns INTEGER NOT NULL, source INTEGER NOT NULL, count INTEGER NOT NULL, message TEXT NOT NULL, body BLOB);"
    "CREATE INDEX error_time ON error(app, t);"
    "CREATE TABLE annotation(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, time_ms INTEGER NOT NULL, kind TEXT NOT "
    "NULL,"
    " text TEXT NOT NULL, author TEXT NOT NULL);"
    "CREATE INDEX annotation_time ON annotation(app, time_ms);"
    /* Alerts: one row an incident, one outbox row a message about it. */
    "CREATE TABLE alert(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, source INTEGER NOT NULL, fingerprint TEXT NOT "
    "NULL,"
    " rule TEXT NOT NULL, subject TEXT NOT NULL, severity TEXT NOT NULL, summary TEXT NOT NULL, runbook TEXT NOT NULL,"
    " detail TEXT NOT NULL, host TEXT NOT NULL, state TEXT NOT NULL, value REAL, started_ms INTEGER NOT NULL,"
    " fired_ms INTEGER NOT NULL, resolved_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, acked_by TEXT, acked_ms "
    "INTEGER,"
    " ack_comment TEXT, UNIQUE(app, fingerprint, started_ms));"
    "CREATE INDEX alert_state ON alert(state, started_ms);"
    "CREATE TABLE silence(id INTEGER PRIMARY KEY, rule TEXT, app TEXT, environment TEXT, host TEXT, severity TEXT,"
    " created_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, author TEXT NOT NULL, comment TEXT NOT NULL);"
    "CREATE TABLE outbox(id INTEGER PRIMARY KEY, alert INTEGER NOT NULL, about TEXT NOT NULL, state TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL);"
    "CREATE INDEX outbox_state ON outbox(state);"
    "CREATE TABLE delivery(id INTEGER PRIMARY KEY, outbox INTEGER NOT NULL, alert INTEGER NOT NULL, destination TEXT "
    "NOT NULL,"
    " state TEXT NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL, time_ms INTEGER NOT NULL, UNIQUE(outbox, "
    "destination));"
    "CREATE INDEX delivery_alert ON delivery(alert);"
    "CREATE INDEX delivery_state ON delivery(state);"
    /* People and keys. Secrets are stored as hashes only. */
    "CREATE TABLE user(id INTEGER PRIMARY KEY, email TEXT NOT NULL COLLATE NOCASE UNIQUE, name TEXT NOT NULL, role "
    "TEXT NOT NULL,"
    " password_hash TEXT, disabled INTEGER NOT NULL DEFAULT 0, created_ms INTEGER NOT NULL, last_seen_ms INTEGER);"
    "CREATE TABLE session(hash BLOB PRIMARY KEY, user INTEGER NOT NULL, created_ms INTEGER NOT NULL, used_ms INTEGER "
    "NOT NULL,"
    " address TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE link(hash BLOB PRIMARY KEY, purpose TEXT NOT NULL, user INTEGER, email TEXT, role TEXT,"
    " expires_ms INTEGER NOT NULL, used_ms INTEGER) WITHOUT ROWID;"
    "CREATE TABLE agent_key(id TEXT PRIMARY KEY, hash BLOB NOT NULL, app TEXT NOT NULL, environment TEXT NOT NULL,"
    " label TEXT NOT NULL, created_ms INTEGER NOT NULL, created_by TEXT NOT NULL, revoked_ms INTEGER, used_ms INTEGER) "
    "WITHOUT ROWID;"
    "CREATE TABLE audit(id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, user TEXT NOT NULL, action TEXT NOT NULL,"
    " target TEXT NOT NULL, address TEXT NOT NULL);"
    "CREATE TRIGGER audit_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;"
    "CREATE TRIGGER audit_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;"
    "INSERT INTO meta VALUES('hash_key', randomblob(16)), ('application', 'si-dashboard');",
    /* 2: snapshots; links at annotations */
    "CREATE TABLE snapshot(id TEXT PRIMARY KEY, app INTEGER NOT NULL, type TEXT NOT NULL, unit TEXT NOT NULL, title "
    "TEXT NOT NULL,"
    " author TEXT NOT NULL, context TEXT NOT NULL, created_ms INTEGER NOT NULL, from_ms INTEGER NOT NULL,"
    " to_ms INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX snapshot_app ON snapshot(app, created_ms);"
    "CREATE TABLE snapshot_part(id TEXT NOT NULL, part INTEGER NOT NULL, profiles INTEGER NOT NULL, samples INTEGER "
    "NOT NULL,"
    " total INTEGER NOT NULL, duration_ns INTEGER NOT NULL, core_ns REAL NOT NULL, cores REAL NOT NULL,"
    " start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY(id, part));"
    "ALTER TABLE annotation ADD COLUMN link TEXT NOT NULL DEFAULT '';",
    /* 3: sources of programs, keys that read, what a session's browser says it is */
    "CREATE TABLE source_file(id INTEGER PRIMARY KEY, app INTEGER NOT NULL, version TEXT NOT NULL, path TEXT NOT NULL,"
    " body BLOB NOT NULL, bytes INTEGER NOT NULL, created_ms INTEGER NOT NULL, author TEXT NOT NULL,"
    " UNIQUE(app, version, path));"
    "ALTER TABLE agent_key ADD COLUMN purpose TEXT NOT NULL DEFAULT 'report';"
    "ALTER TABLE session ADD COLUMN browser TEXT NOT NULL DEFAULT '';",
    /* 4: rollups that grow as profiles arrive (upto: the last profile in it), of each source for levels, with their
       heaviest calls; profiles are found by ten-minute slots; fewer indexes. Rollups that were due, and those of
       levels, which added up what does not add up, are made anew. */
    "ALTER TABLE rollup RENAME TO rollup_before;"
    "CREATE TABLE rollup(app INTEGER NOT NULL, type TEXT NOT NULL, resolution_ms INTEGER NOT NULL, t INTEGER NOT NULL,"
    " source INTEGER NOT NULL, upto INTEGER NOT NULL, profiles INTEGER NOT NULL, samples INTEGER NOT NULL,"
    " total INTEGER NOT NULL, duration_ns INTEGER NOT NULL, core_ns REAL NOT NULL, cores REAL NOT NULL, hot BLOB,"
    " body BLOB NOT NULL, PRIMARY KEY(app, type, resolution_ms, t, source));"
    "INSERT OR REPLACE INTO rollup_due(app,type,resolution_ms,t,marked_ms)"
    " SELECT app,type,resolution_ms,t,0 FROM rollup_before WHERE type IN ('heap','lua_heap');"
    "INSERT INTO rollup SELECT app,type,resolution_ms,t,0,(SELECT coalesce(max(id),0) FROM profile),profiles,samples,"
    "total,duration_ns,core_ns,cores,NULL,body FROM rollup_before AS b WHERE NOT EXISTS(SELECT 1 FROM rollup_due AS d"
    " WHERE d.app=b.app AND d.type=b.type AND d.resolution_ms=b.resolution_ms AND d.t=b.t);"
    "DROP TABLE rollup_before;"
    "DROP TABLE hot;"
    "DROP INDEX profile_time;"
    "DROP INDEX profile_age;"
    "CREATE INDEX profile_slot ON profile(app, type, start_ms/600000);"
    "DROP INDEX ledger_received;",
    /* 5: where the time of a segment went. The calls in its body are in use, as those of a profile's are. */
    ("ALTER TABLE segment ADD COLUMN body BLOB;"
     "CREATE INDEX segment_body ON segment(app, name, t) WHERE length(body)>0;"),
    /* 6: how long the calls of each path in that body took */
    "ALTER TABLE segment ADD COLUMN paths BLOB;",
    /* 7: applications that were removed (their numbers are not given again), the keys they had; our own health */
    ("CREATE TABLE app_gone(id INTEGER PRIMARY KEY, removed_ms INTEGER NOT NULL, done_ms INTEGER, swept_ms INTEGER);"
     "CREATE TABLE key_gone(id TEXT PRIMARY KEY, hash BLOB NOT NULL, gone_ms INTEGER NOT NULL) WITHOUT ROWID;"
     "CREATE TABLE self_minute(t INTEGER PRIMARY KEY, body BLOB NOT NULL);"),
};

#define QUICK_CHECK_BYTES ((int64_t)4 << 30)
#define CURRENT ((int64_t)(sizeof migrations / sizeof migrations[0]))

/* Statements of this file run once: they are not kept. */
static int64_t pragma_int(si__db *db, const char *sql) {
    sqlite3_stmt *statement = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(db->sql, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return value;
}

static int quick_check(si__db *db, char *error, size_t error_bytes) {
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(db->sql, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    int ok = result == SQLITE_ROW && !strcmp(si__db_text(statement, 0), "ok");
    if (!ok) {
        const char *why = result == SQLITE_ROW ? si__db_text(statement, 0) : sqlite3_errmsg(db->sql);
        snprintf(error, error_bytes, "the store is damaged (%s); restore a backup, or move si.db away to start afresh",
                 why);
    }
    sqlite3_finalize(statement);
    return ok ? SI_OK : SI_EFORMAT;
}

static int migrate(si__db *db, int64_t from, char *error, size_t error_bytes) {
    int failed = si__db_exec(db, "BEGIN IMMEDIATE");
    if (!failed && pragma_int(db, "PRAGMA user_version") != from) { /* another process was faster */
        si__db_exec(db, "ROLLBACK");
        return SI_OK;
    }
    for (int64_t i = from; i < CURRENT && !failed; i++) failed = si__db_exec(db, migrations[i]);
    char version[64];
    snprintf(version, sizeof version, "PRAGMA user_version=%d", (int)CURRENT);
    failed = failed ? failed : si__db_exec(db, version);
    failed = failed ? failed : si__db_exec(db, "COMMIT");
    if (!failed) return SI_OK;
    snprintf(error, error_bytes, "could not bring the store from version %d to %d: %s", (int)from, (int)CURRENT,
             sqlite3_errmsg(db->sql));
    si__db_exec(db, "ROLLBACK");
    return failed;
}

int64_t si__schema_version(void) {
    return CURRENT;
}

/* What was there, in case that the new version turns out worse. An earlier copy of the same version stays. */
static int keep_copy(si__db *db, int64_t version, char *error, size_t error_bytes) {
    char path[4200];
    const char *file = sqlite3_db_filename(db->sql, "main");
    if (!file || !*file) return SI_OK; /* in memory */
    snprintf(path, sizeof path, "%.4096s.version-%d", file, (int)version);
    int failed = si__backup_copy(db, path, error, error_bytes);
    return failed == SI_EEXIST ? SI_OK : failed;
}

int si__schema_open(si__db *db, int check, char *error, size_t error_bytes) {
    int64_t pages = pragma_int(db, "PRAGMA page_count"), page_bytes = pragma_int(db, "PRAGMA page_size");
    int failed = check && pages * page_bytes <= QUICK_CHECK_BYTES ? quick_check(db, error, error_bytes) : SI_OK;
    if (failed) return failed;
    int64_t version = pragma_int(db, "PRAGMA user_version");
    if (version > CURRENT) {
        snprintf(error, error_bytes, "the store was written by a newer si-dashboard (version %d, this one knows %d)",
                 (int)version, (int)CURRENT);
        return SI_EFORMAT;
    }
    if (version == 0 && pragma_int(db, "SELECT count(*) FROM sqlite_master") > 0) {
        snprintf(error, error_bytes, "si.db is not a store of si-dashboard");
        return SI_EFORMAT;
    }
    if (version > 0 && version < CURRENT && !check) {
        snprintf(error, error_bytes, "the store is of version %d, this is for %d: start this si-dashboard on it first",
                 (int)version, (int)CURRENT);
        return SI_ESTATE;
    }
    if (version > 0 && version < CURRENT && (failed = keep_copy(db, version, error, error_bytes)) != 0) return failed;
    return version < CURRENT ? migrate(db, version, error, error_bytes) : SI_OK;
}
