/*
 * MariaDB's and MySQL's client library: what stands in front of its functions. Host threads.
 *
 * One call is one query with the fetching of its rows: until they are stored, or, unbuffered, until the last one. A
 * prepared statement's preparation is a call of its own.
 */
#include <errno.h>
#include <string.h>

#include "database.h"
#include "native/handle.h"
#include "native/probe.h"
#include "native/statement.h"

#define FRONTS(X)                                                                                                      \
    X(int, mysql_query, (void *c, const char *sql), (c, sql))                                                          \
    X(int, mysql_real_query, (void *c, const char *sql, unsigned long bytes), (c, sql, bytes))                         \
    X(int, mysql_send_query, (void *c, const char *sql, unsigned long bytes), (c, sql, bytes))                         \
    X(signed char, mysql_read_query_result, (void *c), (c))                                                            \
    X(void *, mysql_store_result, (void *c), (c))                                                                      \
    X(void *, mysql_use_result, (void *c), (c))                                                                        \
    X(char **, mysql_fetch_row, (void *result), (result))                                                              \
    X(void, mysql_free_result, (void *result), (result))                                                               \
    X(void, mysql_close, (void *c), (c))                                                                               \
    X(int, mysql_stmt_prepare, (void *s, const char *sql, unsigned long bytes), (s, sql, bytes))                       \
    X(int, mysql_stmt_execute, (void *s), (s))                                                                         \
    X(int, mysql_stmt_store_result, (void *s), (s))                                                                    \
    X(int, mysql_stmt_fetch, (void *s), (s))                                                                           \
    X(signed char, mysql_stmt_free_result, (void *s), (s))                                                             \
    X(signed char, mysql_stmt_close, (void *s), (s))                                                                   \
    X(void *, mysql_real_connect,                                                                                      \
      (void *c, const char *host, const char *user, const char *password, const char *db, unsigned port,               \
       const char *socket, unsigned long flags),                                                                       \
      (c, host, user, password, db, port, socket, flags))
#define FINDS(X)                                                                                                       \
    X(unsigned, mysql_field_count, (void *c), ())                                                                      \
    X(unsigned, mysql_stmt_field_count, (void *s), ())

typedef struct functions {
    FRONTS(SI__CALL_POINTER)
    FINDS(SI__CALL_POINTER)
} functions;
static functions copies[SI__COPIES];

static si__instrument *instrument_named(const char *before, const char *sql, size_t bytes) {
    char name[SI__NAME_BYTES + 16] = "";
    size_t prefix = strlen(before);
    memcpy(name, before, prefix);
    si__statement_name(SI__SQL_MYSQL, sql, bytes, name + prefix);
    name[SI__NAME_BYTES - 1] = '\0';
    return si__call_instrument(SI__INSTRUMENT_CALL_SQL, name);
}

/* ---- A call of several parts: `since_ns` is 1 while it goes on ---- */

static void begin(si__handle *handle, si__instrument *instrument, uint64_t ns) {
    atomic_store_explicit(&handle->instrument, instrument, memory_order_relaxed);
    atomic_store_explicit(&handle->spent_ns, ns, memory_order_relaxed);
    atomic_store_explicit(&handle->since_ns, 1, memory_order_relaxed);
}

static int goes_on(si__handle *handle) {
    return handle && atomic_load_explicit(&handle->since_ns, memory_order_relaxed) != 0;
}

static void spend(si__handle *handle, uint64_t ns) {
    uint64_t before = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->spent_ns, before + ns, memory_order_relaxed);
}

static void end(si__handle *handle, int failed, const void *caller) {
    if (!goes_on(handle)) return;
    uint64_t ns = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->since_ns, 0, memory_order_relaxed);
    si__call_count(atomic_load_explicit(&handle->instrument, memory_order_relaxed), ns, failed, caller, 0);
}

/* ---- Queries ---- */

/* The server has answered: with rows, the call goes on until they are here. */
static int asked(const functions *lib, si__call_scope *scope, void *c, int rc, si__instrument *instrument,
                 const void *caller) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    si__handle *handle = si__open_handle_make(c, SI__HANDLE_MYSQL);
    end(handle, 0, caller); /* rows that nobody fetched */
    begin(handle, instrument, ns);
    if (rc || !lib->mysql_field_count || lib->mysql_field_count(c) == 0) end(handle, rc != 0, caller);
    errno = saved;
    return rc;
}

static int on_mysql_query(const functions *lib, const void *caller, void *c, const char *sql) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_query(c, sql);
    int rc = lib->mysql_query(c, sql);
    return asked(lib, &scope, c, rc, instrument_named("", sql, sql ? strlen(sql) : 0), caller);
}

static int on_mysql_real_query(const functions *lib, const void *caller, void *c, const char *sql,
                               unsigned long bytes) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_real_query(c, sql, bytes);
    int rc = lib->mysql_real_query(c, sql, bytes);
    return asked(lib, &scope, c, rc, instrument_named("", sql, bytes), caller);
}

static int on_mysql_send_query(const functions *lib, const void *caller, void *c, const char *sql,
                               unsigned long bytes) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_send_query(c, sql, bytes);
    int rc = lib->mysql_send_query(c, sql, bytes);
    int saved = errno;
    uint64_t ns = si__call_leave(&scope);
    si__handle *handle = si__open_handle_make(c, SI__HANDLE_MYSQL);
    end(handle, 0, caller);
    begin(handle, instrument_named("", sql, bytes), ns);
    if (rc) end(handle, 1, caller);
    errno = saved;
    return rc;
}

static signed char on_mysql_read_query_result(const functions *lib, const void *caller, void *c) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_MYSQL);
    si__call_scope scope;
    if (!goes_on(handle) || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_read_query_result(c);
    signed char rc = lib->mysql_read_query_result(c);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    if (rc || !lib->mysql_field_count || lib->mysql_field_count(c) == 0) end(handle, rc != 0, caller);
    errno = saved;
    return rc;
}

static void *on_mysql_store_result(const functions *lib, const void *caller, void *c) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_MYSQL);
    si__call_scope scope;
    if (!goes_on(handle) || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_store_result(c);
    void *result = lib->mysql_store_result(c);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    end(handle, !result, caller);
    errno = saved;
    return result;
}

/* The rows come with mysql_fetch_row: what goes on is the result's from here on. */
static void *on_mysql_use_result(const functions *lib, const void *caller, void *c) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_MYSQL);
    void *result = lib->mysql_use_result(c);
    int saved = errno;
    if (result && goes_on(handle)) {
        begin(si__open_handle_make(result, SI__HANDLE_MYSQL_RESULT),
              atomic_load_explicit(&handle->instrument, memory_order_relaxed),
              atomic_load_explicit(&handle->spent_ns, memory_order_relaxed));
        atomic_store_explicit(&handle->since_ns, 0, memory_order_relaxed);
    } else {
        end(handle, 1, caller);
    }
    errno = saved;
    return result;
}

static char **on_mysql_fetch_row(const functions *lib, const void *caller, void *result) {
    si__handle *handle = si__open_handle_find(result, SI__HANDLE_MYSQL_RESULT);
    si__call_scope scope;
    if (!goes_on(handle) || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_fetch_row(result);
    char **row = lib->mysql_fetch_row(result);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    if (!row) end(handle, 0, caller);
    errno = saved;
    return row;
}

static void on_mysql_free_result(const functions *lib, const void *caller, void *result) {
    si__handle *handle = si__open_handle_find(result, SI__HANDLE_MYSQL_RESULT);
    end(handle, 0, caller); /* before the address can be another result's */
    si__open_handle_drop(handle);
    lib->mysql_free_result(result);
}

static void on_mysql_close(const functions *lib, const void *caller, void *c) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_MYSQL);
    end(handle, 0, caller);
    si__open_handle_drop(handle);
    lib->mysql_close(c);
}

/* ---- Prepared statements ---- */

static int on_mysql_stmt_prepare(const functions *lib, const void *caller, void *s, const char *sql,
                                 unsigned long bytes) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_stmt_prepare(s, sql, bytes);
    int rc = lib->mysql_stmt_prepare(s, sql, bytes);
    int saved = errno;
    uint64_t ns = si__call_leave(&scope);
    size_t length = bytes == (unsigned long)-1 && sql ? strlen(sql) : bytes;
    si__handle *handle = si__open_handle_make(s, SI__HANDLE_MYSQL_STATEMENT);
    end(handle, 0, caller);
    atomic_store_explicit(&handle->instrument, instrument_named("", sql, length), memory_order_relaxed);
    si__call_count(instrument_named("PREPARE ", sql, length), ns, rc != 0, caller, 0);
    errno = saved;
    return rc;
}

static int on_mysql_stmt_execute(const functions *lib, const void *caller, void *s) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_stmt_execute(s);
    int rc = lib->mysql_stmt_execute(s);
    int saved = errno;
    uint64_t ns = si__call_leave(&scope);
    si__handle *handle = si__open_handle_make(s, SI__HANDLE_MYSQL_STATEMENT);
    end(handle, 0, caller);
    si__instrument *known = atomic_load_explicit(&handle->instrument, memory_order_relaxed);
    if (!si__instrument_valid(known)) known = si__call_instrument(SI__INSTRUMENT_CALL_SQL, "EXECUTE ?");
    begin(handle, known, ns);
    if (rc || !lib->mysql_stmt_field_count || lib->mysql_stmt_field_count(s) == 0) end(handle, rc != 0, caller);
    errno = saved;
    return rc;
}

static int on_mysql_stmt_store_result(const functions *lib, const void *caller, void *s) {
    si__handle *handle = si__open_handle_find(s, SI__HANDLE_MYSQL_STATEMENT);
    si__call_scope scope;
    if (!goes_on(handle) || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_stmt_store_result(s);
    int rc = lib->mysql_stmt_store_result(s);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    end(handle, rc != 0, caller);
    errno = saved;
    return rc;
}

static int on_mysql_stmt_fetch(const functions *lib, const void *caller, void *s) {
    si__handle *handle = si__open_handle_find(s, SI__HANDLE_MYSQL_STATEMENT);
    si__call_scope scope;
    if (!goes_on(handle) || !si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->mysql_stmt_fetch(s);
    int rc = lib->mysql_stmt_fetch(s);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    if (rc == 1 || rc == 100) end(handle, rc == 1, caller); /* an error, or no more rows */
    errno = saved;
    return rc;
}

static signed char on_mysql_stmt_free_result(const functions *lib, const void *caller, void *s) {
    end(si__open_handle_find(s, SI__HANDLE_MYSQL_STATEMENT), 0, caller);
    return lib->mysql_stmt_free_result(s);
}

static signed char on_mysql_stmt_close(const functions *lib, const void *caller, void *s) {
    si__handle *handle = si__open_handle_find(s, SI__HANDLE_MYSQL_STATEMENT);
    end(handle, 0, caller);
    si__open_handle_drop(handle);
    return lib->mysql_stmt_close(s);
}

/* ---- Connections ---- */

static void *on_mysql_real_connect(const functions *lib, const void *caller, void *c, const char *host,
                                   const char *user, const char *password, const char *db, unsigned port,
                                   const char *socket, unsigned long flags) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL))
        return lib->mysql_real_connect(c, host, user, password, db, port, socket, flags);
    void *connected = lib->mysql_real_connect(c, host, user, password, db, port, socket, flags);
    int saved = errno;
    uint64_t ns = si__call_leave(&scope);
    si__call_count(si__call_instrument(SI__INSTRUMENT_CALL_SQL, "CONNECT"), ns, !connected, caller, 0);
    errno = saved;
    return connected;
}

FRONTS(SI__CALL_FRONT)
SI__CALL_TABLES(si__mysql_hooks, FRONTS, FINDS);
