/*
 * hiredis: what stands in front of its functions. Host threads.
 *
 * redisCommand and its like are one call each. A command that was appended is a call when redisGetReply fetches its
 * reply, which is where the thread waits. An asynchronous command is a call from when it was sent until its callback.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/time.h>

#include "database.h"
#include "native/handle.h"
#include "native/pattern.h"
#include "native/probe.h"

typedef void reply_fn(void *ac, void *reply, void *data);

#define ARGV (void *c, int argc, const char **argv, const size_t *lengths)
#define ARGV_ARGUMENTS (c, argc, argv, lengths)

/* Those with a list of arguments; the ones with "..." are written out below. */
#define FRONTS(X)                                                                                                      \
    X(void *, redisvCommand, (void *c, const char *format, va_list list), (c, format, list))                           \
    X(void *, redisCommandArgv, ARGV, ARGV_ARGUMENTS)                                                                  \
    X(int, redisvAppendCommand, (void *c, const char *format, va_list list), (c, format, list))                        \
    X(int, redisAppendCommandArgv, ARGV, ARGV_ARGUMENTS)                                                               \
    X(int, redisAppendFormattedCommand, (void *c, const char *text, size_t bytes), (c, text, bytes))                   \
    X(int, redisGetReply, (void *c, void **reply), (c, reply))                                                         \
    X(void, redisFree, (void *c), (c))                                                                                 \
    X(int, redisvAsyncCommand, (void *c, reply_fn *fn, void *data, const char *format, va_list list),                  \
      (c, fn, data, format, list))                                                                                     \
    X(int, redisAsyncCommandArgv,                                                                                      \
      (void *c, reply_fn *fn, void *data, int argc, const char **argv, const size_t *lengths),                         \
      (c, fn, data, argc, argv, lengths))                                                                              \
    X(int, redisAsyncFormattedCommand, (void *c, reply_fn *fn, void *data, const char *text, size_t bytes),            \
      (c, fn, data, text, bytes))                                                                                      \
    X(void *, redisConnect, (const char *host, int port), (host, port))                                                \
    X(void *, redisConnectWithTimeout, (const char *host, int port, struct timeval timeout), (host, port, timeout))

#define VARIADIC(X)                                                                                                    \
    X(void *, redisCommand, (void *c, const char *format, ...), ())                                                    \
    X(int, redisAppendCommand, (void *c, const char *format, ...), ())                                                 \
    X(int, redisAsyncCommand, (void *c, reply_fn *fn, void *data, const char *format, ...), ())

typedef struct functions {
    FRONTS(SI__CALL_POINTER)
    VARIADIC(SI__CALL_POINTER)
} functions;
static functions copies[SI__COPIES];

/* The first field of a redisReply is its type. */
enum { REPLY_ERROR = 6 };

static int is_error(const void *reply) {
    int type;
    if (!reply) return 1;
    memcpy(&type, reply, sizeof type);
    return type == REPLY_ERROR;
}

/* ---- Names ---- */

static si__instrument *instrument_of(const char *command, size_t command_bytes, const char *key, size_t key_bytes) {
    char name[SI__NAME_BYTES];
    si__pattern_command(command, command_bytes, key, key_bytes, name);
    return si__call_instrument(SI__INSTRUMENT_CALL_CACHE, name);
}

static si__instrument *instrument_of_argv(int argc, const char **argv, const size_t *lengths) {
    if (argc < 1 || !argv || !argv[0]) return instrument_of("", 0, NULL, 0);
    const char *key = argc > 1 ? argv[1] : NULL;
    size_t key_bytes = !key ? 0 : lengths ? lengths[1] : strnlen(key, 256);
    return instrument_of(argv[0], lengths ? lengths[0] : strnlen(argv[0], 64), key, key_bytes);
}

/* "*2\r\n$3\r\nGET\r\n$4\r\nname\r\n": its first two strings. */
static si__instrument *instrument_of_protocol(const char *text, size_t bytes) {
    const char *parts[2] = {NULL, NULL}, *at = text, *end = text + bytes;
    size_t lengths[2] = {0, 0};
    at = bytes ? memchr(text, '\n', bytes) : NULL;
    for (int i = 0; i < 2 && at && at + 2 < end && at[1] == '$'; i++) {
        size_t length = 0;
        for (at += 2; at < end && *at >= '0' && *at <= '9' && length < (1u << 30); at++)
            length = length * 10 + (size_t)(*at - '0');
        if (end - at < 2 || length > (size_t)(end - at) - 2) break;
        parts[i] = at + 2;
        lengths[i] = length;
        at = at + 2 + length + 1;
        if (at >= end) at = NULL;
    }
    return parts[0] ? instrument_of(parts[0], lengths[0], parts[1], lengths[1]) : instrument_of("", 0, NULL, 0);
}

typedef struct word {
    char text[256];
    size_t length;
} word;

static void append(word *out, const char *text, size_t length) {
    if (length > sizeof out->text - out->length) length = sizeof out->text - out->length;
    if (length) memcpy(out->text + out->length, text, length);
    out->length += length;
}

typedef struct arguments { /* a list of one's own, whatever kind of type va_list is */
    va_list list;
} arguments;

/* Takes the number of a conversion. Returns its last letter; NULL: we do not know it. */
static const char *skip_number(const char *at, arguments *from) {
    at += strspn(at, "-+ #0123456789.");
    int wide = *at == 'l' || *at == 'j' || *at == 'z';
    at += strspn(at, "hljz");
    if (*at && strchr("diouxXc", *at)) {
        if (wide)
            (void)va_arg(from->list, long long);
        else
            (void)va_arg(from->list, int);
        return at;
    }
    if (!*at || !strchr("eEfFgGaA", *at)) return NULL;
    (void)va_arg(from->list, double);
    return at;
}

/* One conversion of a format, at its '%': takes its argument. 0: one that we do not know, the rest stays unread. */
static int expand(const char **format, arguments *from, word *out) {
    const char *at = *format + 1;
    if (*at == '%') {
        append(out, "%", 1);
    } else if (*at == 's') {
        const char *text = va_arg(from->list, const char *);
        append(out, text ? text : "", text ? strnlen(text, sizeof out->text) : 0);
    } else if (*at == 'b') {
        const char *bytes = va_arg(from->list, const char *);
        append(out, bytes, va_arg(from->list, size_t));
    } else {
        append(out, "0", 1); /* a number: whatever it is, it tells one key from another */
        at = skip_number(at, from);
        if (!at) *format += strcspn(*format, " ");
        if (!at) return 0;
    }
    *format = at + 1;
    return 1;
}

/* The first two words of a command, as hiredis makes them: blanks of the format part words, those of arguments do not.
 */
static si__instrument *instrument_of_format(const char *format, va_list list) {
    static const word nothing;
    word words[2] = {nothing, nothing};
    int count = 0, readable = 1;
    arguments from;
    va_copy(from.list, list);
    const char *at = format;
    while (at && *at && count < 2) {
        if (*at == ' ') {
            count += words[count].length > 0;
            at++;
        } else if (*at == '%' && at[1]) {
            if (readable)
                readable = expand(&at, &from, &words[count]);
            else
                at += strcspn(at, " ");
        } else {
            append(&words[count], at++, 1);
        }
    }
    va_end(from.list);
    return instrument_of(words[0].text, words[0].length, words[1].text, words[1].length);
}

/* ---- Commands that wait ---- */

static void *on_redisvCommand(const functions *lib, const void *caller, void *c, const char *format, va_list list) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisvCommand(c, format, list);
    si__instrument *instrument = instrument_of_format(format, list);
    scope.start_ns = si__now_ns();
    void *reply = lib->redisvCommand(c, format, list);
    int saved = errno;
    si__call_count(instrument, si__call_leave(&scope), is_error(reply), caller, 0);
    errno = saved;
    return reply;
}

static void *on_redisCommandArgv(const functions *lib, const void *caller, SI__PARAMETERS(ARGV)) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisCommandArgv ARGV_ARGUMENTS;
    si__instrument *instrument = instrument_of_argv(argc, argv, lengths);
    scope.start_ns = si__now_ns();
    void *reply = lib->redisCommandArgv ARGV_ARGUMENTS;
    int saved = errno;
    si__call_count(instrument, si__call_leave(&scope), is_error(reply), caller, 0);
    errno = saved;
    return reply;
}

/* ---- Commands that are appended ---- */

static int appended(si__call_scope *scope, void *c, int rc, si__instrument *instrument) {
    int saved = errno;
    si__call_leave(scope);
    if (rc == 0) si__open_handle_queue(si__open_handle_make(c, SI__HANDLE_REDIS), instrument, scope->start_ns);
    errno = saved;
    return rc;
}

static int on_redisvAppendCommand(const functions *lib, const void *caller, void *c, const char *format, va_list list) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisvAppendCommand(c, format, list);
    si__instrument *instrument = instrument_of_format(format, list);
    return appended(&scope, c, lib->redisvAppendCommand(c, format, list), instrument);
}

static int on_redisAppendCommandArgv(const functions *lib, const void *caller, SI__PARAMETERS(ARGV)) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisAppendCommandArgv ARGV_ARGUMENTS;
    si__instrument *instrument = instrument_of_argv(argc, argv, lengths);
    return appended(&scope, c, lib->redisAppendCommandArgv ARGV_ARGUMENTS, instrument);
}

static int on_redisAppendFormattedCommand(const functions *lib, const void *caller, void *c, const char *text,
                                          size_t bytes) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisAppendFormattedCommand(c, text, bytes);
    si__instrument *instrument = instrument_of_protocol(text, bytes);
    return appended(&scope, c, lib->redisAppendFormattedCommand(c, text, bytes), instrument);
}

/* What nobody appended is a message of a subscription: waiting for it is no call. */
static int on_redisGetReply(const functions *lib, const void *caller, void *c, void **reply) {
    si__handle *handle = si__open_handle_find(c, SI__HANDLE_REDIS);
    si__call_scope scope;
    if (!handle || !si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisGetReply(c, reply);
    int rc = lib->redisGetReply(c, reply);
    int saved = errno;
    uint64_t since_ns, ns = si__call_leave(&scope);
    si__instrument *instrument = si__open_handle_pop(handle, &since_ns);
    if (instrument) si__call_count(instrument, ns, rc != 0 || (reply && is_error(*reply)), caller, 0);
    errno = saved;
    return rc;
}

static void on_redisFree(const functions *lib, const void *caller, void *c) {
    (void)caller;
    si__open_handle_drop(c ? si__open_handle_find(c, SI__HANDLE_REDIS) : NULL);
    lib->redisFree(c);
}

/* ---- Asynchronous commands ---- */

enum { PENDING_MAX = 1024 };

/* A command under way: hiredis gets this in place of the host's callback data. */
typedef struct pending {
    _Atomic uint32_t used;
    reply_fn *fn;
    void *data;
    si__instrument *instrument;
    uint64_t since_ns;
} pending;
static pending pendings[PENDING_MAX];
static _Atomic uint32_t pending_hint;

static pending *pending_new(void) {
    uint32_t from = atomic_fetch_add_explicit(&pending_hint, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < PENDING_MAX; i++) {
        pending *at = &pendings[(from + i) % PENDING_MAX];
        uint32_t none = 0;
        if (atomic_load_explicit(&at->used, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong_explicit(&at->used, &none, 1, memory_order_acquire, memory_order_relaxed))
            return at;
    }
    return NULL;
}

static void on_reply(void *ac, void *reply, void *data) {
    pending *own = data;
    pending done = {.fn = own->fn, .data = own->data, .instrument = own->instrument, .since_ns = own->since_ns};
    atomic_store_explicit(&own->used, 0, memory_order_release);
    uint64_t now_ns = si__now_ns();
    si__call_count(done.instrument, now_ns > done.since_ns ? now_ns - done.since_ns : 1, is_error(reply),
                   __builtin_return_address(0), 0);
    if (done.fn) done.fn(ac, reply, done.data);
}

/* Commands whose callback is called again and again, or not at all, are left alone. */
static int is_answered_once(const si__instrument *instrument) {
    static const char *const others[] = {"SUBSCRIBE",    "PSUBSCRIBE",   "SSUBSCRIBE", "UNSUBSCRIBE", "MONITOR",
                                         "PUNSUBSCRIBE", "SUNSUBSCRIBE", "COMMAND",    "[other]",     NULL};
    if (!instrument ||
        atomic_load_explicit(&((si__instrument *)(uintptr_t)instrument)->state, memory_order_acquire) != 2)
        return 0;
    size_t length = strcspn(instrument->name, " ");
    for (const char *const *other = others; *other; other++)
        if (strlen(*other) == length && strncmp(instrument->name, *other, length) == 0) return 0;
    return 1;
}

static pending *pending_for(reply_fn **fn, void **data, si__instrument *instrument, uint64_t now_ns) {
    pending *own = is_answered_once(instrument) ? pending_new() : NULL;
    if (!own) return NULL;
    own->fn = *fn;
    own->data = *data;
    own->instrument = instrument;
    own->since_ns = now_ns;
    *fn = on_reply;
    *data = own;
    return own;
}

/* A command that hiredis refused will have no reply. */
static int was_sent(si__call_scope *scope, pending *own, int rc) {
    si__call_leave(scope);
    if (own && rc != 0) atomic_store_explicit(&own->used, 0, memory_order_release);
    return rc;
}

static int on_redisvAsyncCommand(const functions *lib, const void *caller, void *c, reply_fn *fn, void *data,
                                 const char *format, va_list list) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisvAsyncCommand(c, fn, data, format, list);
    pending *own = pending_for(&fn, &data, instrument_of_format(format, list), scope.start_ns);
    return was_sent(&scope, own, lib->redisvAsyncCommand(c, fn, data, format, list));
}

static int on_redisAsyncCommandArgv(const functions *lib, const void *caller, void *c, reply_fn *fn, void *data,
                                    int argc, const char **argv, const size_t *lengths) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE))
        return lib->redisAsyncCommandArgv(c, fn, data, argc, argv, lengths);
    pending *own = pending_for(&fn, &data, instrument_of_argv(argc, argv, lengths), scope.start_ns);
    return was_sent(&scope, own, lib->redisAsyncCommandArgv(c, fn, data, argc, argv, lengths));
}

static int on_redisAsyncFormattedCommand(const functions *lib, const void *caller, void *c, reply_fn *fn, void *data,
                                         const char *text, size_t bytes) {
    si__call_scope scope;
    (void)caller;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE))
        return lib->redisAsyncFormattedCommand(c, fn, data, text, bytes);
    pending *own = pending_for(&fn, &data, instrument_of_protocol(text, bytes), scope.start_ns);
    return was_sent(&scope, own, lib->redisAsyncFormattedCommand(c, fn, data, text, bytes));
}

/* ---- Connections ---- */

static void *connected(si__call_scope *scope, void *c, const void *caller) {
    int saved = errno;
    uint64_t ns = si__call_leave(scope);
    si__call_count(si__call_instrument(SI__INSTRUMENT_CALL_CACHE, "CONNECT"), ns, !c, caller, 0);
    errno = saved;
    return c;
}

static void *on_redisConnect(const functions *lib, const void *caller, const char *host, int port) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisConnect(host, port);
    return connected(&scope, lib->redisConnect(host, port), caller);
}

static void *on_redisConnectWithTimeout(const functions *lib, const void *caller, const char *host, int port,
                                        struct timeval timeout) {
    si__call_scope scope;
    if (!si__call_enter(&scope, SI__INSTRUMENT_CALL_CACHE)) return lib->redisConnectWithTimeout(host, port, timeout);
    return connected(&scope, lib->redisConnectWithTimeout(host, port, timeout), caller);
}

/* ---- "..." goes on as a list ---- */

#define VARIADIC_FRONTS(place, copy)                                                                                   \
    static void *redisCommand_##place(void *c, const char *format, ...) {                                              \
        va_list list;                                                                                                  \
        va_start(list, format);                                                                                        \
        void *reply = on_redisvCommand(&copies[copy], __builtin_return_address(0), c, format, list);                   \
        va_end(list);                                                                                                  \
        return reply;                                                                                                  \
    }                                                                                                                  \
    static int redisAppendCommand_##place(void *c, const char *format, ...) {                                          \
        va_list list;                                                                                                  \
        va_start(list, format);                                                                                        \
        int rc = on_redisvAppendCommand(&copies[copy], __builtin_return_address(0), c, format, list);                  \
        va_end(list);                                                                                                  \
        return rc;                                                                                                     \
    }                                                                                                                  \
    static int redisAsyncCommand_##place(void *c, reply_fn *fn, void *data, const char *format, ...) {                 \
        va_list list;                                                                                                  \
        va_start(list, format);                                                                                        \
        int rc = on_redisvAsyncCommand(&copies[copy], __builtin_return_address(0), c, fn, data, format, list);         \
        va_end(list);                                                                                                  \
        return rc;                                                                                                     \
    }

FRONTS(SI__CALL_FRONT)
VARIADIC_FRONTS(first, 0)
VARIADIC_FRONTS(second, 1)
#define ALL_FRONTS(X) FRONTS(X) VARIADIC(X)
#define NO_FINDS(X)
SI__CALL_TABLES(si__redis_hooks, ALL_FRONTS, NO_FINDS);
