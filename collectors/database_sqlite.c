/*
 * SQLite: what stands in front of its functions. Host threads.
 *
 * One call is one execution of a statement: its steps until it is done, fails, or is reset, and for the first one the
 * preparation too. sqlite3_exec and sqlite3_get_table are one call whatever they run.
 */
#include <errno.h>
#include <string.h>

#include "database.h"
#include "native/handle.h"
#include "native/probe.h"
#include "native/statement.h"

enum { OK = 0, ROW = 100, DONE = 101 };

#define FRONTS(X)                                                                                                      \
    X(int, sqlite3_step, (void *statement), (statement))                                                               \
    X(int, sqlite3_reset, (void *statement), (statement))                                                              \
    X(int, sqlite3_finalize, (void *statement), (statement))                                                           \
    X(int, sqlite3_prepare, (void *db, const char *sql, int bytes, void **out, const char **tail),                     \
      (db, sql, bytes, out, tail))                                                                                     \
    X(int, sqlite3_prepare_v2, (void *db, const char *sql, int bytes, void **out, const char **tail),                  \
      (db, sql, bytes, out, tail))                                                                                     \
    X(int, sqlite3_prepare_v3, (void *db, const char *sql, int bytes, unsigned flags, void **out, const char **tail),  \
      (db, sql, bytes, flags, out, tail))                                                                              \
    X(int, sqlite3_exec,                                                                                               \
      (void *db, const char *sql, int (*row)(void *, int, char **, char **), void *arg, char **why),                   \
      (db, sql, row, arg, why))                                                                                        \
    X(int, sqlite3_get_table, (void *db, const char *sql, char ***result, int *rows, int *columns, char **why),        \
      (db, sql, result, rows, columns, why))
#define FINDS(X) X(const char *, sqlite3_sql, (void *statement), ())

typedef struct functions {
    FRONTS(SI__CALL_POINTER)
    FINDS(SI__CALL_POINTER)
} functions;
static functions copies[SI__COPIES];

static si__instrument *instrument_of(const char *sql, size_t bytes) {
    char name[SI__NAME_BYTES];
    si__statement_name(SI__SQL_SQLITE, sql, bytes, name);
    return si__call_instrument(SI__INSTRUMENT_CALL_SQL, name);
}

/* The execution is over, if there was one. `since_ns` is 1 between its first step and its end. */
static void end_execution(si__handle *handle, int failed, const void *caller) {
    if (!handle || !atomic_load_explicit(&handle->since_ns, memory_order_relaxed)) return;
    uint64_t spent_ns = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->since_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->spent_ns, 0, memory_order_relaxed);
    si__call_count(atomic_load_explicit(&handle->instrument, memory_order_relaxed), spent_ns, failed, caller, 0);
}

static void spend(si__handle *handle, uint64_t ns) {
    uint64_t before = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->spent_ns, before + ns, memory_order_relaxed);
}

static void name_it(const functions *lib, si__handle *handle, void *statement) {
    si__instrument *known = atomic_load_explicit(&handle->instrument, memory_order_relaxed);
    if (si__instrument_valid(known)) return;
    const char *sql = lib->sqlite3_sql ? lib->sqlite3_sql(statement) : NULL;
    atomic_store_explicit(&handle->instrument, instrument_of(sql, sql ? strlen(sql) : 0), memory_order_relaxed);
}

static int on_sqlite3_step(const functions *lib, const void *caller, void *statement) {
    si__call_scope scope;
    if (!statement || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->sqlite3_step(statement);
    int rc = lib->sqlite3_step(statement);
    int saved = errno;
    uint64_t ns = si__call_leave(&scope);
    si__handle *handle = si__open_handle_make(statement, SI__HANDLE_SQLITE);
    name_it(lib, handle, statement);
    spend(handle, ns);
    atomic_store_explicit(&handle->since_ns, 1, memory_order_relaxed);
    if (rc != ROW) end_execution(handle, rc != DONE, caller);
    errno = saved;
    return rc;
}

/* What its end takes belongs to an execution that still goes on. */
static int on_sqlite3_reset(const functions *lib, const void *caller, void *statement) {
    si__handle *handle = statement ? si__open_handle_find(statement, SI__HANDLE_SQLITE) : NULL;
    int runs = handle && atomic_load_explicit(&handle->since_ns, memory_order_relaxed) != 0;
    si__call_scope scope;
    if (!runs || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->sqlite3_reset(statement);
    int rc = lib->sqlite3_reset(statement);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    end_execution(handle, 0, caller);
    errno = saved;
    return rc;
}

/* Afterwards the address may be another thread's statement: what is known is taken out before. */
static int on_sqlite3_finalize(const functions *lib, const void *caller, void *statement) {
    si__handle *handle = statement ? si__open_handle_find(statement, SI__HANDLE_SQLITE) : NULL;
    if (!handle) return lib->sqlite3_finalize(statement);
    si__instrument *instrument = atomic_load_explicit(&handle->instrument, memory_order_relaxed);
    uint64_t spent_ns = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    int runs = atomic_load_explicit(&handle->since_ns, memory_order_relaxed) != 0;
    si__call_scope scope;
    si__open_handle_drop(handle);
    if (!runs || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->sqlite3_finalize(statement);
    int rc = lib->sqlite3_finalize(statement);
    int saved = errno;
    si__call_count(instrument, spent_ns + si__call_leave(&scope), 0, caller, 0);
    errno = saved;
    return rc;
}

/* A statement may get the address of an older one: it begins anew. */
static int prepared(si__call_scope *scope, int rc, void **out) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    if (rc == OK && out && *out) {
        si__open_handle_drop(si__open_handle_find(*out, SI__HANDLE_SQLITE));
        spend(si__open_handle_make(*out, SI__HANDLE_SQLITE), ns);
    }
    errno = saved;
    return rc;
}

static int on_sqlite3_prepare(const functions *lib, const void *caller, void *db, const char *sql, int bytes,
                              void **out, const char **tail) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->sqlite3_prepare(db, sql, bytes, out, tail);
    return prepared(&scope, lib->sqlite3_prepare(db, sql, bytes, out, tail), out);
}

static int on_sqlite3_prepare_v2(const functions *lib, const void *caller, void *db, const char *sql, int bytes,
                                 void **out, const char **tail) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->sqlite3_prepare_v2(db, sql, bytes, out, tail);
    return prepared(&scope, lib->sqlite3_prepare_v2(db, sql, bytes, out, tail), out);
}

static int on_sqlite3_prepare_v3(const functions *lib, const void *caller, void *db, const char *sql, int bytes,
                                 unsigned flags, void **out, const char **tail) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL))
        return lib->sqlite3_prepare_v3(db, sql, bytes, flags, out, tail);
    return prepared(&scope, lib->sqlite3_prepare_v3(db, sql, bytes, flags, out, tail), out);
}

static int executed(si__call_scope *scope, int rc, const char *sql, const void *caller) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    si__call_count(instrument_of(sql, sql ? strlen(sql) : 0), ns, rc != OK, caller, 0);
    errno = saved;
    return rc;
}

static int on_sqlite3_exec(const functions *lib, const void *caller, void *db, const char *sql,
                           int (*row)(void *, int, char **, char **), void *arg, char **why) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->sqlite3_exec(db, sql, row, arg, why);
    return executed(&scope, lib->sqlite3_exec(db, sql, row, arg, why), sql, caller);
}

static int on_sqlite3_get_table(const functions *lib, const void *caller, void *db, const char *sql, char ***result,
                                int *rows, int *columns, char **why) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL))
        return lib->sqlite3_get_table(db, sql, result, rows, columns, why);
    return executed(&scope, lib->sqlite3_get_table(db, sql, result, rows, columns, why), sql, caller);
}

FRONTS(SI__CALL_FRONT)
SI__CALL_TABLES(si__sqlite_hooks, FRONTS, FINDS);
