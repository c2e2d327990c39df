/*
 * One SQLite connection: opening, prepared statements kept by their text, binding, reading.
 *
 * A connection belongs to one thread at a time. Every value reaches SQL as a bound parameter; no statement is built
 * from input.
 */
#ifndef SI_SERVER_DB_H
#define SI_SERVER_DB_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

typedef enum si__db_mode { SI__DB_WRITE, SI__DB_READ } si__db_mode;

#define SI__DB_STATEMENTS 512 /* a power of two */

typedef struct si__db {
    sqlite3 *sql;
    struct {
        const char *text; /* the address of a literal is its key */
        sqlite3_stmt *statement;
    } statements[SI__DB_STATEMENTS];
    size_t statement_count;
    uint64_t failures; /* of SQLite, other than constraints, since it was opened: a reader compares before and after */
} si__db;

/* Opens data_dir/si.db. WRITE: WAL, synchronous=FULL, made when missing. READ: may not change anything. 0 or SI_EIO
 * with error set. */
int si__db_open(si__db *db, const char *data_dir, si__db_mode mode, char *error, size_t error_bytes);
void si__db_close(si__db *db);

/* The statement for a string literal, reset and with its parameters cleared. NULL on a failure of SQLite (logged by the
 * caller). */
sqlite3_stmt *si__db_prepare(si__db *db, const char *literal);

/*
 * Binds the parameters 1.. by a format: 'i' int64_t, 'u' uint32_t, 'd' double, 's' const char * (NULL: null),
 * 't' const char * and size_t,
 * 'b' const void * and size_t, 'n' null. Text and blobs must live until the statement is stepped to its end.
 * Returns the statement (NULL stays NULL).
 */
sqlite3_stmt *si__db_bind(sqlite3_stmt *statement, const char *format, ...);

/* Steps a statement that returns no rows to its end and resets it. 0 or SI_EIO / SI_ELIMIT (disk full). NULL: SI_EIO.
 */
int si__db_run(si__db *db, sqlite3_stmt *statement);

/* Steps: 1 a row, 0 the end (reset), negative SI_E* (reset). NULL: SI_EIO. */
int si__db_step(si__db *db, sqlite3_stmt *statement);

/* The first column of the first row, or fallback. Resets. */
int64_t si__db_int(si__db *db, sqlite3_stmt *statement, int64_t fallback);

/* Column text, never NULL, borrowed until the next step. */
const char *si__db_text(sqlite3_stmt *statement, int column);

/* Resets whatever is in the middle of its rows: an open statement would hold the snapshot that it reads from. */
void si__db_reset_all(si__db *db);

/* Runs plain SQL of ours. 0 or SI_EIO / SI_ELIMIT. */
int si__db_exec(si__db *db, const char *sql);

#endif
