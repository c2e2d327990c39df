/*
 * HTTP: hooks what the program has loaded of libcurl and libmicrohttpd (http_server.c). This file is libcurl's.
 *
 * curl_easy_perform is one call. A transfer of a multi handle is a call from curl_multi_add_handle until
 * curl_multi_info_read tells that it is done. Names have no user, password, query or id: native/pattern.h.
 */
#include "http.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector.h"
#include "native/call.h"
#include "native/handle.h"
#include "native/pattern.h"
#include "native/probe.h"

enum { EFFECTIVE_URL = 0x100001, EFFECTIVE_METHOD = 0x10003a, RESPONSE_CODE = 0x200002, MESSAGE_DONE = 1 };
enum { HANDLE_TRANSFER = 0x63 };

typedef struct message { /* CURLMsg */
    int kind;
    void *easy;
    union {
        void *other;
        int result;
    } data;
} message;

#define FRONTS(X)                                                                                                      \
    X(int, curl_easy_perform, (void *easy), (easy))                                                                    \
    X(int, curl_multi_add_handle, (void *multi, void *easy), (multi, easy))                                            \
    X(int, curl_multi_remove_handle, (void *multi, void *easy), (multi, easy))                                         \
    X(message *, curl_multi_info_read, (void *multi, int *left), (multi, left))                                        \
    X(void, curl_easy_cleanup, (void *easy), (easy))
#define FINDS(X) X(int, curl_easy_getinfo, (void *easy, int what, ...), ())

typedef struct functions {
    FRONTS(SI__CALL_POINTER)
    FINDS(SI__CALL_POINTER)
} functions;
static functions copies[SI__COPIES];

/* Of the transfer that has just ended. */
static void count(const functions *lib, void *easy, int result, uint64_t ns, const void *caller) {
    const char *url = NULL, *method = NULL;
    char name[SI__NAME_BYTES];
    long status = 0;
    if (lib->curl_easy_getinfo) {
        lib->curl_easy_getinfo(easy, EFFECTIVE_URL, &url);
        lib->curl_easy_getinfo(easy, RESPONSE_CODE, &status);
        if (lib->curl_easy_getinfo(easy, EFFECTIVE_METHOD, &method) != 0) method = NULL; /* before 7.72 */
    }
    si__pattern_url(method, url, name);
    si__call_count(si__call_instrument(SI__INSTRUMENT_CALL_HTTP, name), ns,
                   result != 0 || (status >= 500 && status < 600), caller, 0);
}

static int on_curl_easy_perform(const functions *lib, const void *caller, void *easy) {
    si__call_scope scope;
    if (!easy || !si__call_enter(&scope, SI__INSTRUMENT_CALL_HTTP)) return lib->curl_easy_perform(easy);
    int result = lib->curl_easy_perform(easy);
    int saved = errno;
    count(lib, easy, result, si__call_leave(&scope), caller);
    errno = saved;
    return result;
}

static int on_curl_multi_add_handle(const functions *lib, const void *caller, void *multi, void *easy) {
    si__call_scope scope;
    (void)caller;
    if (!easy || !si__call_enter(&scope, SI__INSTRUMENT_CALL_HTTP)) return lib->curl_multi_add_handle(multi, easy);
    int result = lib->curl_multi_add_handle(multi, easy);
    int saved = errno;
    si__call_leave(&scope);
    if (result == 0)
        atomic_store_explicit(&si__open_handle_make(easy, HANDLE_TRANSFER)->since_ns, scope.start_ns,
                              memory_order_relaxed);
    errno = saved;
    return result;
}

/* Taken out before it was done: no call. */
static int on_curl_multi_remove_handle(const functions *lib, const void *caller, void *multi, void *easy) {
    (void)caller;
    si__open_handle_drop(easy ? si__open_handle_find(easy, HANDLE_TRANSFER) : NULL);
    return lib->curl_multi_remove_handle(multi, easy);
}

static message *on_curl_multi_info_read(const functions *lib, const void *caller, void *multi, int *left) {
    message *told = lib->curl_multi_info_read(multi, left);
    si__handle *handle = told && told->kind == MESSAGE_DONE ? si__open_handle_find(told->easy, HANDLE_TRANSFER) : NULL;
    if (!handle) return told;
    int saved = errno;
    uint64_t since_ns = atomic_load_explicit(&handle->since_ns, memory_order_relaxed), now_ns = si__now_ns();
    si__open_handle_drop(handle);
    count(lib, told->easy, told->data.result, now_ns > since_ns ? now_ns - since_ns : 1, caller);
    errno = saved;
    return told;
}

static void on_curl_easy_cleanup(const functions *lib, const void *caller, void *easy) {
    (void)caller;
    si__open_handle_drop(easy ? si__open_handle_find(easy, HANDLE_TRANSFER) : NULL);
    lib->curl_easy_cleanup(easy);
}

FRONTS(SI__CALL_FRONT)
SI__CALL_TABLES(si__curl_hooks, FRONTS, FINDS);

/* ---- The collector ---- */

static const si__hook_table *const tables[] = {&si__curl_hooks[0], &si__curl_hooks[1], &si__http_server_hooks[0],
                                               &si__http_server_hooks[1]};
enum { TABLES = sizeof tables / sizeof *tables };

static int start(char *reason, size_t reason_bytes) {
    int rc = si__hook_install_all(tables, TABLES);
    if (rc != 0) snprintf(reason, reason_bytes, "too many hook tables");
    return rc;
}

static void stop(void) {
    for (int i = 0; i < TABLES; i++) si__hook_remove(tables[i]);
}

const si__collector si__collector_http = {.name = "http", .title = "HTTP", .start = start, .stop = stop};
