/*
 * libpq: what stands in front of its functions. Host threads.
 *
 * PQexec and its like are one call each; when the answer is a COPY, the call goes on until the last result. A query
 * that was sent is a call from then until its result comes, with up to 16 of them under way (pipelines).
 */
#include <errno.h>
#include <string.h>

#include "database.h"
#include "native/handle.h"
#include "native/probe.h"
#include "native/statement.h"

enum { COPY_OUT = 3, COPY_IN = 4, BAD_RESPONSE = 5, FATAL_ERROR = 7, COPY_BOTH = 8, SINGLE_TUPLE = 9 };

#define QUERY                                                                                                          \
    (void *c, const char *sql, int n, const unsigned *types, const char *const *values, const int *lengths,            \
     const int *formats, int format)
#define QUERY_ARGUMENTS (c, sql, n, types, values, lengths, formats, format)
#define PREPARED                                                                                                       \
    (void *c, const char *name, int n, const char *const *values, const int *lengths, const int *formats, int format)
#define PREPARED_ARGUMENTS (c, name, n, values, lengths, formats, format)
#define PREPARE (void *c, const char *name, const char *sql, int n, const unsigned *types)
#define PREPARE_ARGUMENTS (c, name, sql, n, types)

#define FRONTS(X)                                                                                                      \
    X(void *, PQexec, (void *c, const char *sql), (c, sql))                                                            \
    X(void *, PQexecParams, QUERY, QUERY_ARGUMENTS)                                                                    \
    X(void *, PQprepare, PREPARE, PREPARE_ARGUMENTS)                                                                   \
    X(void *, PQexecPrepared, PREPARED, PREPARED_ARGUMENTS)                                                            \
    X(int, PQsendQuery, (void *c, const char *sql), (c, sql))                                                          \
    X(int, PQsendQueryParams, QUERY, QUERY_ARGUMENTS)                                                                  \
    X(int, PQsendPrepare, PREPARE, PREPARE_ARGUMENTS)                                                                  \
    X(int, PQsendQueryPrepared, PREPARED, PREPARED_ARGUMENTS)                                                          \
    X(void *, PQgetResult, (void *c), (c))                                                                             \
    X(void, PQfinish, (void *c), (c))                                                                                  \
    X(void *, PQconnectdb, (const char *info), (info))                                                                 \
    X(void *, PQconnectdbParams, (const char *const *words, const char *const *values, int expand),                    \
      (words, values, expand))                                                                                         \
    X(void *, PQsetdbLogin,                                                                                            \
      (const char *host, const char *port, const char *options, const char *tty, const char *db, const char *user,     \
       const char *password),                                                                                          \
      (host, port, options, tty, db, user, password))
#define FINDS(X)                                                                                                       \
    X(int, PQresultStatus, (const void *result), ())                                                                   \
    X(int, PQstatus, (const void *c), ())

typedef struct functions {
    FRONTS(SI__CALL_POINTER)
    FINDS(SI__CALL_POINTER)
} functions;
static functions copies[SI__COPIES];

/* ---- Names ---- */

static si__instrument *instrument_named(const char *before, const char *sql) {
    char name[SI__NAME_BYTES + 16] = "";
    size_t prefix = strlen(before);
    memcpy(name, before, prefix);
    si__statement_name(SI__SQL_POSTGRES, sql, sql ? strlen(sql) : 0, name + prefix);
    name[SI__NAME_BYTES - 1] = '\0';
    return si__call_instrument(SI__INSTRUMENT_CALL_SQL, name);
}

static uint64_t prepared_as(const char *name) {
    uint64_t hash = 14695981039346656037ull;
    for (; name && *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211ull; /* FNV-1a */
    return hash << 8 | SI__HANDLE_POSTGRES_PREPARED;
}

static void note_prepared(void *c, const char *name, const char *sql) {
    si__handle *handle = si__open_handle_make(c, prepared_as(name));
    atomic_store_explicit(&handle->instrument, instrument_named("", sql), memory_order_relaxed);
}

static si__instrument *instrument_prepared(void *c, const char *name) {
    si__handle *handle = si__open_handle_find(c, prepared_as(name));
    si__instrument *known = handle ? atomic_load_explicit(&handle->instrument, memory_order_relaxed) : NULL;
    return si__instrument_valid(known) ? known : si__call_instrument(SI__INSTRUMENT_CALL_SQL, "EXECUTE ?");
}

/* ---- Calls that wait ---- */

/* The answer to one call: counted now, or, for a COPY, when its last result comes. */
static void *answered(const functions *lib, si__call_scope *scope, void *c, void *result, si__instrument *instrument,
                      const void *caller) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    int status = result && lib->PQresultStatus ? lib->PQresultStatus(result) : result ? 0 : FATAL_ERROR;
    if (status == COPY_IN || status == COPY_OUT || status == COPY_BOTH)
        si__open_handle_queue(si__open_handle_make(c, SI__HANDLE_POSTGRES), instrument, scope->start_ns);
    else
        si__call_count(instrument, ns, status == FATAL_ERROR || status == BAD_RESPONSE, caller, 0);
    errno = saved;
    return result;
}

/* A call that waits for its answer gives up what was under way on the connection. */
static int enter(si__call_scope *scope, void *c) {
    if (!si__call_enter(scope, SI__INSTRUMENT_CALL_SQL)) return 0;
    si__open_handle_drop(si__open_handle_find(c, SI__HANDLE_POSTGRES));
    return 1;
}

static void *on_PQexec(const functions *lib, const void *caller, void *c, const char *sql) {
    si__call_scope scope;
    if (!enter(&scope, c)) return lib->PQexec(c, sql);
    void *result = lib->PQexec(c, sql);
    return answered(lib, &scope, c, result, instrument_named("", sql), caller);
}

static void *on_PQexecParams(const functions *lib, const void *caller, SI__PARAMETERS(QUERY)) {
    si__call_scope scope;
    if (!enter(&scope, c)) return lib->PQexecParams QUERY_ARGUMENTS;
    void *result = lib->PQexecParams QUERY_ARGUMENTS;
    return answered(lib, &scope, c, result, instrument_named("", sql), caller);
}

static void *on_PQprepare(const functions *lib, const void *caller, SI__PARAMETERS(PREPARE)) {
    si__call_scope scope;
    if (!enter(&scope, c)) return lib->PQprepare PREPARE_ARGUMENTS;
    void *result = lib->PQprepare PREPARE_ARGUMENTS;
    note_prepared(c, name, sql);
    return answered(lib, &scope, c, result, instrument_named("PREPARE ", sql), caller);
}

static void *on_PQexecPrepared(const functions *lib, const void *caller, SI__PARAMETERS(PREPARED)) {
    si__call_scope scope;
    if (!enter(&scope, c)) return lib->PQexecPrepared PREPARED_ARGUMENTS;
    void *result = lib->PQexecPrepared PREPARED_ARGUMENTS;
    return answered(lib, &scope, c, result, instrument_prepared(c, name), caller);
}

/* ---- Calls that are sent ---- */

static int sent(si__call_scope *scope, void *c, int ok, si__instrument *instrument) {
    int saved = errno;
    si__call_leave(scope);
    if (ok) si__open_handle_queue(si__open_handle_make(c, SI__HANDLE_POSTGRES), instrument, scope->start_ns);
    errno = saved;
    return ok;
}

static int on_PQsendQuery(const functions *lib, const void *caller, void *c, const char *sql) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQsendQuery(c, sql);
    int ok = lib->PQsendQuery(c, sql);
    return sent(&scope, c, ok, instrument_named("", sql));
}

static int on_PQsendQueryParams(const functions *lib, const void *caller, SI__PARAMETERS(QUERY)) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQsendQueryParams QUERY_ARGUMENTS;
    int ok = lib->PQsendQueryParams QUERY_ARGUMENTS;
    return sent(&scope, c, ok, instrument_named("", sql));
}

static int on_PQsendPrepare(const functions *lib, const void *caller, SI__PARAMETERS(PREPARE)) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQsendPrepare PREPARE_ARGUMENTS;
    int ok = lib->PQsendPrepare PREPARE_ARGUMENTS;
    note_prepared(c, name, sql);
    return sent(&scope, c, ok, instrument_named("PREPARE ", sql));
}

static int on_PQsendQueryPrepared(const functions *lib, const void *caller, SI__PARAMETERS(PREPARED)) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQsendQueryPrepared PREPARED_ARGUMENTS;
    int ok = lib->PQsendQueryPrepared PREPARED_ARGUMENTS;
    return sent(&scope, c, ok, instrument_prepared(c, name));
}

/* Whether `result` ends what was sent: rows that come one by one and COPY do not. `since_ns` 1: something ended since
   the last NULL, which separates queries. */
static void arrived(const functions *lib, void *c, const void *result, const void *caller) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_POSTGRES);
    int status = result && lib->PQresultStatus ? lib->PQresultStatus(result) : 0;
    if (!handle) return;
    if (result && (status == SINGLE_TUPLE || status == COPY_IN || status == COPY_OUT || status == COPY_BOTH)) return;
    int ended = atomic_load_explicit(&handle->since_ns, memory_order_relaxed) != 0;
    atomic_store_explicit(&handle->since_ns, result != NULL, memory_order_relaxed);
    if (ended) return; /* a further result of the same query, or the NULL behind it */
    uint64_t since_ns, now_ns = si__now_ns();
    si__instrument *instrument = si__open_handle_pop(handle, &since_ns);
    if (instrument)
        si__call_count(instrument, now_ns > since_ns ? now_ns - since_ns : 1,
                       status == FATAL_ERROR || status == BAD_RESPONSE, caller, 0);
}

static void *on_PQgetResult(const functions *lib, const void *caller, void *c) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQgetResult(c);
    void *result = lib->PQgetResult(c);
    int saved = errno;
    si__call_leave(&scope);
    arrived(lib, c, result, caller);
    errno = saved;
    return result;
}

/* ---- Connections ---- */

static void on_PQfinish(const functions *lib, const void *caller, void *c) {
    (void)caller;
    si__open_handle_drop(si__open_handle_find(c, SI__HANDLE_POSTGRES));
    lib->PQfinish(c);
}

static void *connected(const functions *lib, si__call_scope *scope, void *c, const void *caller) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    int failed = !c || (lib->PQstatus && lib->PQstatus(c) != 0);
    si__call_count(si__call_instrument(SI__INSTRUMENT_CALL_SQL, "CONNECT"), ns, failed, caller, 0);
    errno = saved;
    return c;
}

static void *on_PQconnectdb(const functions *lib, const void *caller, const char *info) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQconnectdb(info);
    return connected(lib, &scope, lib->PQconnectdb(info), caller);
}

static void *on_PQconnectdbParams(const functions *lib, const void *caller, const char *const *words,
                                  const char *const *values, int expand) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL)) return lib->PQconnectdbParams(words, values, expand);
    return connected(lib, &scope, lib->PQconnectdbParams(words, values, expand), caller);
}

static void *on_PQsetdbLogin(const functions *lib, const void *caller, const char *host, const char *port,
                             const char *options, const char *tty, const char *db, const char *user,
                             const char *password) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_SQL))
        return lib->PQsetdbLogin(host, port, options, tty, db, user, password);
    return connected(lib, &scope, lib->PQsetdbLogin(host, port, options, tty, db, user, password), caller);
}

FRONTS(SI__CALL_FRONT)
SI__CALL_TABLES(si__postgres_hooks, FRONTS, FINDS);
