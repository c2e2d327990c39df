/*
 * One SQLite connection; see db.h. Used by the writer thread, by the workers that answer requests (one connection
 * each), and by the subcommands.
 */
#include "db.h"

#include <si/si.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int code_of(int result) {
    int primary = result & 0xff;
    if (primary == SQLITE_FULL) return SI_ELIMIT;
    if (primary == SQLITE_NOMEM) return SI_ENOMEM;
    if (primary == SQLITE_CONSTRAINT) return SI_EEXIST;
    return SI_EIO;
}

/* Readers loop over rows without looking at each result: what went wrong is kept here, and said. */
static void note_failure(si__db *db, const char *sql) {
    db->failures++;
    fprintf(stderr, "si-dashboard: error: store: %s, in: %.200s\n", sqlite3_errmsg(db->sql), sql ? sql : "?");
}

static int configure(si__db *db, si__db_mode mode) {
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_busy_timeout(db->sql, 10000); /* a subcommand of ours may be writing: it is short */
    sqlite3_limit(db->sql, SQLITE_LIMIT_LENGTH, 64 << 20);
    int failed = si__db_exec(db, "PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=268435456");
    if (mode == SI__DB_WRITE) {
        failed = failed ? failed : si__db_exec(db, "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL");
        failed = failed ? failed : si__db_exec(db, "PRAGMA synchronous=FULL; PRAGMA cache_size=-32768");
        failed =
            failed ? failed : si__db_exec(db, "PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864");
    } else {
        failed = failed ? failed : si__db_exec(db, "PRAGMA query_only=ON; PRAGMA cache_size=-8192");
    }
    return failed;
}

int si__db_open(si__db *db, const char *data_dir, si__db_mode mode, char *error, size_t error_bytes) {
    *db = (si__db){0};
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/si.db", data_dir) >= sizeof path) {
        snprintf(error, error_bytes, "the data directory's name is too long");
        return SI_EINVAL;
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (mode == SI__DB_WRITE ? SQLITE_OPEN_CREATE : 0);
    mode_t old = mode == SI__DB_WRITE ? umask(077) : 0;
    int result = sqlite3_open_v2(path, &db->sql, flags, NULL);
    int failed = result == SQLITE_OK ? configure(db, mode) : code_of(result);
    if (mode == SI__DB_WRITE) umask(old);
    if (!failed) return SI_OK;
    snprintf(error, error_bytes, "%s: %s", path, db->sql ? sqlite3_errmsg(db->sql) : "out of memory");
    si__db_close(db);
    return failed;
}

void si__db_close(si__db *db) {
    for (size_t i = 0; i < SI__DB_STATEMENTS; i++) sqlite3_finalize(db->statements[i].statement);
    sqlite3_close(db->sql);
    *db = (si__db){0};
}

sqlite3_stmt *si__db_prepare(si__db *db, const char *literal) {
    size_t slot = ((uintptr_t)literal >> 3) * 0x9E3779B97F4A7C15ull >> 55;
    while (db->statements[slot].text && db->statements[slot].text != literal) slot = (slot + 1) % SI__DB_STATEMENTS;
    if (db->statements[slot].text) {
        sqlite3_reset(db->statements[slot].statement);
        sqlite3_clear_bindings(db->statements[slot].statement);
        return db->statements[slot].statement;
    }
    if (db->statement_count + 1 >= SI__DB_STATEMENTS) { /* more literals than slots: a mistake of ours */
        note_failure(db, literal);
        return NULL;
    }
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(db->sql, literal, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
        note_failure(db, literal);
        return NULL;
    }
    db->statements[slot].text = literal;
    db->statements[slot].statement = statement;
    db->statement_count++;
    return statement;
}

sqlite3_stmt *si__db_bind(sqlite3_stmt *statement, const char *format, ...) {
    if (!statement) return NULL;
    va_list values;
    va_start(values, format);
    for (int i = 1; format[i - 1]; i++) {
        switch (format[i - 1]) {
        case 'i':
            sqlite3_bind_int64(statement, i, va_arg(values, int64_t));
            break;
        case 'u':
            sqlite3_bind_int64(statement, i, va_arg(values, uint32_t));
            break;
        case 'd':
            sqlite3_bind_double(statement, i, va_arg(values, double));
            break;
        case 's':
            sqlite3_bind_text(statement, i, va_arg(values, const char *), -1, SQLITE_STATIC);
            break;
        case 't': {
            const char *text = va_arg(values, const char *);
            size_t length = va_arg(values, size_t);
            sqlite3_bind_text64(statement, i, text, length, SQLITE_STATIC, SQLITE_UTF8);
            break;
        }
        case 'b': {
            const void *data = va_arg(values, const void *);
            size_t length = va_arg(values, size_t);
            sqlite3_bind_blob64(statement, i, data ? data : "", length, SQLITE_STATIC);
            break;
        }
        default:
            sqlite3_bind_null(statement, i);
        }
    }
    va_end(values);
    return statement;
}

int si__db_step(si__db *db, sqlite3_stmt *statement) {
    if (!statement) return SI_EIO;
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) return 1;
    if (result != SQLITE_DONE && (result & 0xff) != SQLITE_CONSTRAINT) note_failure(db, sqlite3_sql(statement));
    sqlite3_reset(statement);
    return result == SQLITE_DONE ? 0 : code_of(result);
}

int si__db_run(si__db *db, sqlite3_stmt *statement) {
    int result = si__db_step(db, statement);
    if (result == 1) sqlite3_reset(statement);
    return result < 0 ? result : SI_OK;
}

int64_t si__db_int(si__db *db, sqlite3_stmt *statement, int64_t fallback) {
    if (si__db_step(db, statement) != 1) return fallback;
    int64_t value = sqlite3_column_type(statement, 0) == SQLITE_NULL ? fallback : sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return value;
}

const char *si__db_text(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

void si__db_reset_all(si__db *db) {
    for (size_t i = 0; i < SI__DB_STATEMENTS; i++) {
        sqlite3_stmt *statement = db->statements[i].statement;
        if (statement && sqlite3_stmt_busy(statement)) sqlite3_reset(statement);
    }
}

int si__db_exec(si__db *db, const char *sql) {
    int result = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);
    return result == SQLITE_OK ? SI_OK : code_of(result);
}
