/*
 * libmongoc: what stands in front of its functions. Host threads.
 *
 * An operation is one call, named "database.collection operation"; never what is asked for or written. A query is a
 * call from its first document asked for until there are no more, or its cursor goes.
 */
#include <errno.h>
#include <string.h>

#include "database.h"
#include "native/fork.h"
#include "native/handle.h"
#include "native/probe.h"

/* X(result, name, parameters, arguments, operation): operations of a collection, which is the first parameter, that
   return true. */
#define OPERATIONS(X)                                                                                                  \
    X(_Bool, mongoc_collection_insert_one, (void *c, const void *d, const void *o, void *r, void *e), (c, d, o, r, e), \
      "insert")                                                                                                        \
    X(_Bool, mongoc_collection_insert_many, (void *c, const void **d, size_t n, const void *o, void *r, void *e),      \
      (c, d, n, o, r, e), "insert")                                                                                    \
    X(_Bool, mongoc_collection_insert, (void *c, int f, const void *d, const void *w, void *e), (c, f, d, w, e),       \
      "insert")                                                                                                        \
    X(_Bool, mongoc_collection_update_one, (void *c, const void *s, const void *u, const void *o, void *r, void *e),   \
      (c, s, u, o, r, e), "update")                                                                                    \
    X(_Bool, mongoc_collection_update_many, (void *c, const void *s, const void *u, const void *o, void *r, void *e),  \
      (c, s, u, o, r, e), "update")                                                                                    \
    X(_Bool, mongoc_collection_replace_one, (void *c, const void *s, const void *u, const void *o, void *r, void *e),  \
      (c, s, u, o, r, e), "update")                                                                                    \
    X(_Bool, mongoc_collection_update, (void *c, int f, const void *s, const void *u, const void *w, void *e),         \
      (c, f, s, u, w, e), "update")                                                                                    \
    X(_Bool, mongoc_collection_delete_one, (void *c, const void *s, const void *o, void *r, void *e), (c, s, o, r, e), \
      "delete")                                                                                                        \
    X(_Bool, mongoc_collection_delete_many, (void *c, const void *s, const void *o, void *r, void *e),                 \
      (c, s, o, r, e), "delete")                                                                                       \
    X(_Bool, mongoc_collection_remove, (void *c, int f, const void *s, const void *w, void *e), (c, f, s, w, e),       \
      "delete")                                                                                                        \
    X(_Bool, mongoc_collection_find_and_modify_with_opts, (void *c, const void *s, const void *o, void *r, void *e),   \
      (c, s, o, r, e), "findAndModify")                                                                                \
    X(_Bool, mongoc_collection_drop, (void *c, void *e), (c, e), "drop")                                               \
    X(_Bool, mongoc_collection_drop_with_opts, (void *c, const void *o, void *e), (c, o, e), "drop")                   \
    X(_Bool, mongoc_collection_command_simple, (void *c, const void *d, const void *p, void *r, void *e),              \
      (c, d, p, r, e), COMMAND)                                                                                        \
    X(_Bool, mongoc_collection_read_command_with_opts,                                                                 \
      (void *c, const void *d, const void *p, const void *o, void *r, void *e), (c, d, p, o, r, e), COMMAND)           \
    X(_Bool, mongoc_collection_write_command_with_opts, (void *c, const void *d, const void *o, void *r, void *e),     \
      (c, d, o, r, e), COMMAND)                                                                                        \
    X(int64_t, mongoc_collection_count_documents,                                                                      \
      (void *c, const void *s, const void *o, const void *p, void *r, void *e), (c, s, o, p, r, e), "count")           \
    X(int64_t, mongoc_collection_estimated_document_count, (void *c, const void *o, const void *p, void *r, void *e),  \
      (c, o, p, r, e), "count")

/* The same for a client or a database, whose second parameter is the database's name or the command. */
#define COMMANDS(X)                                                                                                    \
    X(_Bool, mongoc_client_command_simple, (void *c, const char *n, const void *d, const void *p, void *r, void *e),   \
      (c, n, d, p, r, e), n)                                                                                           \
    X(_Bool, mongoc_client_read_command_with_opts,                                                                     \
      (void *c, const char *n, const void *d, const void *p, const void *o, void *r, void *e), (c, n, d, p, o, r, e),  \
      n)                                                                                                               \
    X(_Bool, mongoc_client_write_command_with_opts,                                                                    \
      (void *c, const char *n, const void *d, const void *o, void *r, void *e), (c, n, d, o, r, e), n)                 \
    X(_Bool, mongoc_client_command_with_opts,                                                                          \
      (void *c, const char *n, const void *d, const void *p, const void *o, void *r, void *e), (c, n, d, p, o, r, e),  \
      n)                                                                                                               \
    X(_Bool, mongoc_database_command_simple, (void *c, const void *d, const void *p, void *r, void *e),                \
      (c, d, p, r, e), database_name(lib, c))                                                                          \
    X(_Bool, mongoc_database_command_with_opts,                                                                        \
      (void *c, const void *d, const void *p, const void *o, void *r, void *e), (c, d, p, o, r, e),                    \
      database_name(lib, c))

#define OTHERS(X)                                                                                                      \
    X(void *, mongoc_client_get_collection, (void *c, const char *db, const char *name), (c, db, name))                \
    X(void *, mongoc_database_get_collection, (void *c, const char *name), (c, name))                                  \
    X(void, mongoc_collection_destroy, (void *c), (c))                                                                 \
    X(void *, mongoc_collection_find_with_opts, (void *c, const void *s, const void *o, const void *p), (c, s, o, p))  \
    X(void *, mongoc_collection_find,                                                                                  \
      (void *c, int f, uint32_t skip, uint32_t limit, uint32_t batch, const void *s, const void *o, const void *p),    \
      (c, f, skip, limit, batch, s, o, p))                                                                             \
    X(void *, mongoc_collection_aggregate, (void *c, int f, const void *s, const void *o, const void *p),              \
      (c, f, s, o, p))                                                                                                 \
    X(_Bool, mongoc_cursor_next, (void *c, const void **document), (c, document))                                      \
    X(void, mongoc_cursor_destroy, (void *c), (c))                                                                     \
    X(void *, mongoc_collection_create_bulk_operation_with_opts, (void *c, const void *o), (c, o))                     \
    X(void *, mongoc_collection_create_bulk_operation, (void *c, _Bool ordered, const void *w), (c, ordered, w))       \
    X(uint32_t, mongoc_bulk_operation_execute, (void *c, void *r, void *e), (c, r, e))                                 \
    X(void, mongoc_bulk_operation_destroy, (void *c), (c))

#define FOUR(result, name, parameters, arguments, operation) X4(result, name, parameters, arguments)
#define X4 SI__CALL_POINTER
#define FINDS(X)                                                                                                       \
    X(const char *, mongoc_collection_get_name, (void *c), ())                                                         \
    X(const char *, mongoc_database_get_name, (void *c), ())                                                           \
    X(_Bool, mongoc_cursor_error, (void *c, void *e), ())                                                              \
    X(const uint8_t *, bson_get_data, (const void *bson), ())

typedef struct functions {
    OTHERS(SI__CALL_POINTER)
    OPERATIONS(FOUR)
    COMMANDS(FOUR)
    FINDS(SI__CALL_POINTER)
} functions;
#undef X4
static functions copies[SI__COPIES];

/* ---- Names ---- */

static const char *database_name(const functions *lib, void *database) {
    return lib->mongoc_database_get_name ? lib->mongoc_database_get_name(database) : NULL;
}

static void add(char *out, const char *text, size_t most) {
    size_t used = strlen(out), length = text ? strnlen(text, most) : 0;
    if (length > SI__NAME_BYTES - 1 - used) length = SI__NAME_BYTES - 1 - used;
    if (length) memcpy(out + used, text, length);
    out[used + length] = '\0';
}

/* The first key of a command's document is its name. */
static const char *command_of(const functions *lib, const void *bson) {
    const uint8_t *data = bson && lib->bson_get_data ? lib->bson_get_data(bson) : NULL;
    uint32_t length;
    if (!data) return "command";
    memcpy(&length, data, sizeof length); /* of the document: its length, then a type and a name */
    if (length < 8 || data[4] == 0) return "command";
    for (uint32_t i = 5; i < length && i < 45; i++) {
        char c = (char)data[i];
        if (c == '\0') return i > 5 ? (const char *)data + 5 : "command";
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')) break;
    }
    return "command";
}

static void name_collection(const functions *lib, void *collection, char *out) {
    si__handle *handle = si__open_handle_find(collection, SI__HANDLE_MONGO);
    out[0] = '\0';
    if (handle)
        add(out, handle->name, 80);
    else
        add(out, lib->mongoc_collection_get_name ? lib->mongoc_collection_get_name(collection) : "collection", 64);
}

static si__instrument *instrument_of(const char *where, const char *operation) {
    char name[SI__NAME_BYTES] = "";
    add(name, where, 72);
    if (name[0]) add(name, " ", 1);
    add(name, operation, 40);
    return si__call_instrument(SI__INSTRUMENT_CALL_DOCUMENT, name);
}

static si__instrument *instrument_of_collection(const functions *lib, void *collection, const char *operation) {
    char where[SI__NAME_BYTES];
    name_collection(lib, collection, where);
    return instrument_of(where, operation);
}

static void *named(void *collection, const char *database, const char *name) {
    si__handle *handle = collection && si__owner_region() ? si__open_handle_make(collection, SI__HANDLE_MONGO) : NULL;
    if (!handle) return collection;
    handle->name[0] = '\0';
    add(handle->name, database, 40);
    add(handle->name, ".", 1);
    add(handle->name, name, 40);
    return collection;
}

static void *on_mongoc_client_get_collection(const functions *lib, const void *caller, void *c, const char *db,
                                             const char *name) {
    (void)caller;
    return named(lib->mongoc_client_get_collection(c, db, name), db, name);
}

static void *on_mongoc_database_get_collection(const functions *lib, const void *caller, void *c, const char *name) {
    (void)caller;
    return named(lib->mongoc_database_get_collection(c, name), database_name(lib, c), name);
}

static void on_mongoc_collection_destroy(const functions *lib, const void *caller, void *c) {
    (void)caller;
    si__open_handle_drop(si__open_handle_find(c, SI__HANDLE_MONGO));
    lib->mongoc_collection_destroy(c);
}

/* ---- Operations ---- */

static void finish(si__call_scope *scope, si__instrument *instrument, int failed, const void *caller) {
    si__call_count(instrument, si__call_leave(scope), failed, caller, 0);
}

#define COMMAND command_of(lib, d)
#define FAILED(rc) (sizeof(rc) == sizeof(_Bool) ? !(rc) : (int64_t)(rc) < 0)

#define OPERATION(result, name, parameters, arguments, operation)                                                      \
    static result on_##name(const functions *lib, const void *caller, SI__OPEN parameters) {                           \
        si__call_scope scope;                                                                                          \
        if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT)) return lib->name arguments;                         \
        si__instrument *instrument = instrument_of_collection(lib, c, operation);                                      \
        result rc = lib->name arguments;                                                                               \
        int saved = errno;                                                                                             \
        finish(&scope, instrument, FAILED(rc), caller);                                                                \
        errno = saved;                                                                                                 \
        return rc;                                                                                                     \
    }
OPERATIONS(OPERATION)

#define ON_COMMAND(result, name, parameters, arguments, where)                                                         \
    static result on_##name(const functions *lib, const void *caller, SI__OPEN parameters) {                           \
        si__call_scope scope;                                                                                          \
        if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT)) return lib->name arguments;                         \
        si__instrument *instrument = instrument_of(where, COMMAND);                                                    \
        result rc = lib->name arguments;                                                                               \
        int saved = errno;                                                                                             \
        finish(&scope, instrument, FAILED(rc), caller);                                                                \
        errno = saved;                                                                                                 \
        return rc;                                                                                                     \
    }
COMMANDS(ON_COMMAND)

/* ---- Queries: `since_ns` is 1 from the first document that was asked for ---- */

static void spend(si__handle *handle, uint64_t ns) {
    uint64_t before = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->spent_ns, before + ns, memory_order_relaxed);
}

static void *queried(si__call_scope *scope, void *cursor, si__instrument *instrument) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    if (cursor) {
        si__open_handle_drop(si__open_handle_find(cursor, SI__HANDLE_MONGO_CURSOR));
        si__handle *handle = si__open_handle_make(cursor, SI__HANDLE_MONGO_CURSOR);
        atomic_store_explicit(&handle->instrument, instrument, memory_order_relaxed);
        spend(handle, ns);
    }
    errno = saved;
    return cursor;
}

static void *on_mongoc_collection_find_with_opts(const functions *lib, const void *caller, void *c, const void *s,
                                                 const void *o, const void *p) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT)) return lib->mongoc_collection_find_with_opts(c, s, o, p);
    void *cursor = lib->mongoc_collection_find_with_opts(c, s, o, p);
    return queried(&scope, cursor, instrument_of_collection(lib, c, "find"));
}

static void *on_mongoc_collection_find(const functions *lib, const void *caller, void *c, int f, uint32_t skip,
                                       uint32_t limit, uint32_t batch, const void *s, const void *o, const void *p) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT))
        return lib->mongoc_collection_find(c, f, skip, limit, batch, s, o, p);
    void *cursor = lib->mongoc_collection_find(c, f, skip, limit, batch, s, o, p);
    return queried(&scope, cursor, instrument_of_collection(lib, c, "find"));
}

static void *on_mongoc_collection_aggregate(const functions *lib, const void *caller, void *c, int f, const void *s,
                                            const void *o, const void *p) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT)) return lib->mongoc_collection_aggregate(c, f, s, o, p);
    void *cursor = lib->mongoc_collection_aggregate(c, f, s, o, p);
    return queried(&scope, cursor, instrument_of_collection(lib, c, "aggregate"));
}

static void end_query(si__handle *handle, int failed, const void *caller) {
    if (!handle || !atomic_load_explicit(&handle->since_ns, memory_order_relaxed)) return;
    uint64_t ns = atomic_load_explicit(&handle->spent_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->since_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->state, 1, memory_order_relaxed); /* what is asked after the end is no call */
    si__call_count(atomic_load_explicit(&handle->instrument, memory_order_relaxed), ns, failed, caller, 0);
}

static _Bool on_mongoc_cursor_next(const functions *lib, const void *caller, void *c, const void **document) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_MONGO_CURSOR);
    si__call_scope scope;
    if (!handle || atomic_load_explicit(&handle->state, memory_order_relaxed) ||
        !si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT))
        return lib->mongoc_cursor_next(c, document);
    _Bool more = lib->mongoc_cursor_next(c, document);
    int saved = errno;
    spend(handle, si__call_leave(&scope));
    atomic_store_explicit(&handle->since_ns, 1, memory_order_relaxed);
    if (!more) end_query(handle, lib->mongoc_cursor_error && lib->mongoc_cursor_error(c, NULL), caller);
    errno = saved;
    return more;
}

static void on_mongoc_cursor_destroy(const functions *lib, const void *caller, void *c) {
    si__handle *handle = c ? si__open_handle_find(c, SI__HANDLE_MONGO_CURSOR) : NULL;
    end_query(handle, 0, caller);
    si__open_handle_drop(handle);
    lib->mongoc_cursor_destroy(c);
}

/* ---- Bulk operations: the name is known where they are made ---- */

static void *bulk_made(const functions *lib, void *c, void *bulk) {
    int saved = errno;
    if (bulk && si__owner_region()) {
        si__handle *handle = si__open_handle_make(bulk, SI__HANDLE_MONGO);
        name_collection(lib, c, handle->name);
    }
    errno = saved;
    return bulk;
}

static void *on_mongoc_collection_create_bulk_operation_with_opts(const functions *lib, const void *caller, void *c,
                                                                  const void *o) {
    (void)caller;
    return bulk_made(lib, c, lib->mongoc_collection_create_bulk_operation_with_opts(c, o));
}

static void *on_mongoc_collection_create_bulk_operation(const functions *lib, const void *caller, void *c,
                                                        _Bool ordered, const void *w) {
    (void)caller;
    return bulk_made(lib, c, lib->mongoc_collection_create_bulk_operation(c, ordered, w));
}

static uint32_t on_mongoc_bulk_operation_execute(const functions *lib, const void *caller, void *c, void *r, void *e) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_DOCUMENT)) return lib->mongoc_bulk_operation_execute(c, r, e);
    const si__handle *handle = si__open_handle_find(c, SI__HANDLE_MONGO);
    si__instrument *instrument = instrument_of(handle ? handle->name : "", "bulkWrite");
    uint32_t rc = lib->mongoc_bulk_operation_execute(c, r, e);
    int saved = errno;
    finish(&scope, instrument, rc == 0, caller);
    errno = saved;
    return rc;
}

static void on_mongoc_bulk_operation_destroy(const functions *lib, const void *caller, void *c) {
    (void)caller;
    si__open_handle_drop(c ? si__open_handle_find(c, SI__HANDLE_MONGO) : NULL);
    lib->mongoc_bulk_operation_destroy(c);
}

/* ---- Tables ---- */

#define X4 SI__CALL_FRONT
OTHERS(SI__CALL_FRONT)
OPERATIONS(FOUR)
COMMANDS(FOUR)
#undef X4

/* mongoc_client_get_collection stands first: it is in every version. */
static const si__hook first_hooks[] = {
#define X4 SI__CALL_HOOK_FIRST
    OTHERS(SI__CALL_HOOK_FIRST) OPERATIONS(FOUR) COMMANDS(FOUR) FINDS(SI__CALL_FIND_FIRST)
#undef X4
};
static const si__hook second_hooks[] = {
#define X4 SI__CALL_HOOK_SECOND
    OTHERS(SI__CALL_HOOK_SECOND) OPERATIONS(FOUR) COMMANDS(FOUR) FINDS(SI__CALL_FIND_SECOND)
#undef X4
};
static si__hook_copy hook_copies[SI__COPIES];
const si__hook_table si__mongo_hooks[SI__COPIES] = {
    {first_hooks, sizeof first_hooks / sizeof *first_hooks, 0, &hook_copies[0]},
    {second_hooks, sizeof second_hooks / sizeof *second_hooks, 0, &hook_copies[1]},
};
