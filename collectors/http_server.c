/*
 * libmicrohttpd: the program's access handler is measured from the outside. Host threads, often the library's own.
 *
 * MHD_start_daemon gets a handler of ours, which calls the program's. A request is one call: the time spent in the
 * handler, over all its invocations, until the one in which the response was queued has returned; a connection that was
 * suspended meanwhile counts as spent in it, waiting for a slow client to send its body does not.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "http.h"
#include "native/handle.h"
#include "native/pattern.h"
#include "native/probe.h"

typedef int access_fn(void *arg, void *connection, const char *url, const char *method, const char *version,
                      const char *data, size_t *data_bytes, void **kept);
typedef int accept_fn(void *arg, const void *address, unsigned bytes);

#define START_VA                                                                                                       \
    (unsigned flags, uint16_t port, accept_fn *accepts, void *accepts_arg, access_fn *fn, void *arg, va_list options)
#define FRONTS(X)                                                                                                      \
    X(void *, MHD_start_daemon_va, START_VA, (flags, port, accepts, accepts_arg, fn, arg, options))                    \
    X(void, MHD_stop_daemon, (void *daemon), (daemon))                                                                 \
    X(int, MHD_queue_response, (void *connection, unsigned status, void *response), (connection, status, response))    \
    X(void, MHD_suspend_connection, (void *connection), (connection))
#define VARIADIC(X)                                                                                                    \
    X(void *, MHD_start_daemon,                                                                                        \
      (unsigned flags, uint16_t port, accept_fn *accepts, void *accepts_arg, access_fn *fn, void *arg, ...), ())

typedef struct functions {
    FRONTS(SI__CALL_POINTER)
    VARIADIC(SI__CALL_POINTER)
} functions;
static functions copies[SI__COPIES];

/* What a daemon's handler is called with; kept as long as the daemon is. */
typedef struct site {
    _Atomic(void *) daemon; /* NULL: free */
    access_fn *fn;
    void *arg;
} site;
enum { SITES_MAX = 64 };
static site sites[SITES_MAX];
static char being_started; /* stands for a daemon that is not there yet */

enum { QUEUED = 0x10000 }; /* a handle's state: this and the status */
enum { HANDLE_REQUEST = 0x68 };

static site *site_new(access_fn *fn, void *arg) {
    for (int i = 0; i < SITES_MAX; i++) {
        void *none = NULL;
        if (!atomic_compare_exchange_strong(&sites[i].daemon, &none, &being_started)) continue;
        sites[i].fn = fn;
        sites[i].arg = arg;
        return &sites[i];
    }
    return NULL;
}

/* ---- Requests ---- */

/* The time that the connection was suspended since the handler's last invocation. */
static uint64_t suspended_ns(si__handle *request, uint64_t now_ns) {
    uint64_t since_ns = atomic_exchange_explicit(&request->since_ns, 0, memory_order_relaxed);
    return since_ns && now_ns > since_ns ? now_ns - since_ns : 0;
}

/* The handler has returned. Its own address is the leaf of the stack: it is on it no more. */
static void returned(const site *at, si__handle *request, const char *method, const char *url, uint64_t ns, int result,
                     const void *caller) {
    uint64_t spent_ns = ns + atomic_load_explicit(&request->spent_ns, memory_order_relaxed);
    uint32_t state = atomic_load_explicit(&request->state, memory_order_relaxed), status = state & 0xffff;
    atomic_store_explicit(&request->spent_ns, spent_ns, memory_order_relaxed);
    if (!(state & QUEUED) && result) return; /* it will be called again */
    char name[SI__NAME_BYTES];
    si__pattern_path(method, url, name);
    si__open_handle_drop(request);
    si__call_count(si__call_instrument(SI__INSTRUMENT_HANDLER, name), spent_ns,
                   !(state & QUEUED) || (status >= 500 && status < 600), caller, (uint64_t)(uintptr_t)at->fn);
}

static int on_access(void *arg, void *connection, const char *url, const char *method, const char *version,
                     const char *data, size_t *data_bytes, void **kept) {
    const site *at = arg;
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_HANDLER))
        return at->fn(at->arg, connection, url, method, version, data, data_bytes, kept);
    if (kept && !*kept)
        si__open_handle_drop(si__open_handle_find(connection, HANDLE_REQUEST)); /* of a request that broke off */
    si__handle *request = si__open_handle_make(connection, HANDLE_REQUEST);
    uint64_t waited_ns = suspended_ns(request, scope.start_ns);
    int result = at->fn(at->arg, connection, url, method, version, data, data_bytes, kept);
    int saved = errno;
    returned(at, request, method, url, si__call_leave(&scope) + waited_ns, result, __builtin_return_address(0));
    errno = saved;
    return result;
}

static int on_MHD_queue_response(const functions *lib, const void *caller, void *connection, unsigned status,
                                 void *response) {
    int result = lib->MHD_queue_response(connection, status, response);
    si__handle *request = result ? si__open_handle_find(connection, HANDLE_REQUEST) : NULL;
    (void)caller;
    if (request) atomic_store_explicit(&request->state, QUEUED | (status & 0xffff), memory_order_relaxed);
    return result;
}

static void on_MHD_suspend_connection(const functions *lib, const void *caller, void *connection) {
    si__handle *request = si__open_handle_find(connection, HANDLE_REQUEST);
    (void)caller;
    /* Before it is: another thread may resume it at once. */
    if (request) atomic_store_explicit(&request->since_ns, si__now_ns(), memory_order_relaxed);
    lib->MHD_suspend_connection(connection);
}

/* ---- Daemons ---- */

static void *on_MHD_start_daemon_va(const functions *lib, const void *caller, SI__PARAMETERS(START_VA)) {
    site *at = fn && lib->MHD_queue_response ? site_new(fn, arg) : NULL;
    (void)caller;
    if (!at) return lib->MHD_start_daemon_va(flags, port, accepts, accepts_arg, fn, arg, options);
    void *daemon = lib->MHD_start_daemon_va(flags, port, accepts, accepts_arg, on_access, at, options);
    atomic_store(&at->daemon, daemon);
    return daemon;
}

static void on_MHD_stop_daemon(const functions *lib, const void *caller, void *daemon) {
    (void)caller;
    lib->MHD_stop_daemon(daemon);
    for (int i = 0; i < SITES_MAX; i++) {
        void *this_one = daemon;
        if (daemon) atomic_compare_exchange_strong(&sites[i].daemon, &this_one, NULL);
    }
}

/* "..." goes on as a list: the library has a function for that, so the options stay unread. */
#define START_DAEMON(place, copy)                                                                                      \
    static void *MHD_start_daemon_##place(unsigned flags, uint16_t port, accept_fn *accepts, void *accepts_arg,        \
                                          access_fn *fn, void *arg, ...) {                                             \
        va_list options;                                                                                               \
        va_start(options, arg);                                                                                        \
        void *daemon = on_MHD_start_daemon_va(&copies[copy], __builtin_return_address(0), flags, port, accepts,        \
                                              accepts_arg, fn, arg, options);                                          \
        va_end(options);                                                                                               \
        return daemon;                                                                                                 \
    }

FRONTS(SI__CALL_FRONT)
START_DAEMON(first, 0)
START_DAEMON(second, 1)
#define ALL_FRONTS(X) FRONTS(X) VARIADIC(X)
#define NO_FINDS(X)
SI__CALL_TABLES(si__http_server_hooks, ALL_FRONTS, NO_FINDS);
