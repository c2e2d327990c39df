/*
 * si: continuous profiling and monitoring for C, C++ and Lua programs.
 *
 * This is the whole public C API. Every function says its units, who owns what, which thread may
 * call it, and how it fails. Nothing here blocks a caller on the network or on disk except
 * si_runtime_close, which is bounded by its timeout. No function changes errno.
 */
#ifndef SI_SI_H
#define SI_SI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SI_VERSION "0.1.0"

#if defined(__GNUC__)
#define SI_API __attribute__((visibility("default")))
#else
#define SI_API
#endif

/* ---- Errors -------------------------------------------------------------------------------- */

/*
 * One list yields the enum, the names, the messages and the Lua constants.
 * Every function that can fail returns 0 or one of these negative values.
 */
#define SI_ERROR_MAP(X)                                                                                                \
    X(EINVAL, 1, "invalid argument")                                                                                   \
    X(ENOMEM, 2, "out of memory")                                                                                      \
    X(EEXIST, 3, "a runtime is already open in this process")                                                          \
    X(ESTATE, 4, "not possible in the current state")                                                                  \
    X(ETIMEDOUT, 5, "timed out")                                                                                       \
    X(EUNAVAILABLE, 6, "not available here")                                                                           \
    X(ERULES, 7, "the rules could not be loaded")                                                                      \
    X(EIO, 8, "input or output failed")                                                                                \
    X(ECRASHED, 9, "the guarded call crashed")                                                                         \
    X(EFORMAT, 10, "malformed data")                                                                                   \
    X(ELIMIT, 11, "a limit was reached")                                                                               \
    X(EAUTH, 12, "the agent key was refused")                                                                          \
    X(ENOTFOUND, 13, "not found")

typedef enum si_error {
    SI_OK = 0,
#define X(name, number, message) SI_##name = -(number),
    SI_ERROR_MAP(X)
#undef X
} si_error;

/** The name of an error ("SI_EINVAL"), or "SI_UNKNOWN". Static string; any thread. */
SI_API const char *si_err_name(int error);

/** A sentence for an error. Static string; any thread. */
SI_API const char *si_strerror(int error);

/** The library's version, such as "0.1.0". Static string; any thread. */
SI_API const char *si_version(void);

/* ---- Runtime ------------------------------------------------------------------------------- */

typedef struct si_runtime si_runtime; /* opaque; one per process */

/** Severity of a log message, lowest first. */
typedef enum si_log_level { SI_LOG_DEBUG, SI_LOG_NOTICE, SI_LOG_WARN, SI_LOG_ERROR } si_log_level;

/** Receives log messages. Called on the runtime's thread, or on the caller's within si_runtime_open; `message` is
 * borrowed for the call. */
typedef void (*si_log_fn)(void *log_data, si_log_level level, const char *message);

/*
 * Options. Always fill with si_options_init first: it stores the defaults, then the SI_*
 * environment variables (SI_AGENT_KEY, SI_APP_NAME, SI_APP_VERSION, SI_APP_ENVIRONMENT,
 * SI_HOST_NAME, SI_DASHBOARD_URL, SI_PROXY_URL, SI_CA_FILE, SI_RULES_DIR, SI_STATE_DIR, SI_CHANNELS_FILE,
 * SI_AUTO_PROFILING, SI_RECORD_CRASHES, SI_DEBUG). Strings are copied by si_runtime_open; NULL means "the default".
 */
typedef struct si_options {
    size_t size;                 /* set by si_options_init: sizeof(si_options) of the caller's header */
    const char *agent_key;       /* from the dashboard; NULL: no upload */
    const char *app_name;        /* NULL: the program's name */
    const char *app_version;     /* NULL: "" */
    const char *app_environment; /* NULL: "default" */
    const char *host_name;       /* NULL: gethostname */
    const char *dashboard_url;   /* such as "https://si.example.org"; NULL: no upload */
    const char *proxy_url;       /* for libcurl; NULL: libcurl's own environment variables */
    const char *ca_file;         /* PEM file to verify the dashboard with; NULL: the system's */
    const char *rules_dir;       /* NULL: the default rules inside the library */
    const char *state_dir;       /* spool and baselines; NULL: no spool on disk, memory only */
    const char *channels_file;   /* JSON: where notifications go and their secrets; NULL: none */
    int auto_profiling;          /* 1 (default): profile by cadence; 0: only si_profile_start */
    int debug;                   /* 1: log debug messages too */
    si_log_fn log;               /* NULL: warnings and errors to standard error */
    void *log_data;              /* passed to log; not owned */
    int record_crashes;          /* 1: record SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT and uncaught C++ exceptions with
                                    their stack, then go on as without us (the program's own handler, or death). With a
                                    state_dir, the next process that opens it reports what this one died of. 0: only
                                    what si_guard guards */
} si_options;

/** Fills *options with defaults, then environment variables. Borrowed strings only. Any thread. */
SI_API void si_options_init(si_options *options);

/**
 * Starts the runtime: one thread for the loop, one for blocking work, samplers as the cadence says.
 * *out is NULL on error. One runtime per process: SI_EEXIST when one is open, or still busy after its close.
 * Broken rules do not fail the open: the default rules are used and the error is logged.
 * Errors: SI_EINVAL, SI_ENOMEM, SI_EEXIST, SI_EIO, SI_EUNAVAILABLE (no shared memory for samples), SI_ETIMEDOUT (not
 * up within 10 s). Any thread; not from a signal handler.
 */
SI_API int si_runtime_open(si_runtime **out, const si_options *options);

/**
 * Stops sampling, writes what is pending to the spool, tries one upload, and frees the runtime.
 * Returns within timeout_ms plus half a second. SI_ETIMEDOUT: stopped, but reports are left in the spool (or lost
 * without a state_dir). Other threads may be in calls on the same runtime: these return SI_ESTATE, as a second close
 * does. NULL is allowed and returns 0. Any thread but the runtime's.
 */
SI_API int si_runtime_close(si_runtime *runtime, uint32_t timeout_ms);

/**
 * Asks for a report now instead of at the next cadence, and waits until it is handed over (to the
 * dashboard, or else to the spool), at most timeout_ms milliseconds. Errors: SI_EINVAL, SI_ENOMEM, SI_ETIMEDOUT,
 * SI_ESTATE (closed, or in a forked child).
 */
SI_API int si_runtime_flush(si_runtime *runtime, uint32_t timeout_ms);

/* ---- Segments ------------------------------------------------------------------------------ */

/* One running measurement; lives in the caller's frame. Its fields are private. */
typedef struct si_segment {
    uint64_t start_ns;
    void *slot;
} si_segment;

/**
 * Measures wall time of a code segment. Lock-free, no allocation, about 100 ns a pair (two clock readings).
 * `name`: at most 95 bytes are kept; not owned, need not outlive the call. Any thread; start and stop may be on
 * different threads. Without an open runtime both do nothing. Not from a signal handler.
 */
SI_API void si_segment_start(si_segment *segment, const char *name);
SI_API void si_segment_stop(si_segment *segment);

#if defined(__GNUC__)
static inline si_segment si_segment_begin_(const char *name) {
    si_segment s;
    si_segment_start(&s, name);
    return s;
}
#define SI_CONCAT2_(a, b) a##b
#define SI_CONCAT_(a, b) SI_CONCAT2_(a, b)
#ifndef __cplusplus
/** SI_SEGMENT("name") { ... }: stops when the block is left, by return, break or goto too. */
#define SI_SEGMENT(name)                                                                                               \
    for (si_segment SI_CONCAT_(si_seg_, __LINE__) __attribute__((cleanup(si_segment_stop))) = si_segment_begin_(name), \
                                                  *SI_CONCAT_(si_once_, __LINE__) = &SI_CONCAT_(si_seg_, __LINE__);    \
         SI_CONCAT_(si_once_, __LINE__); SI_CONCAT_(si_once_, __LINE__) = NULL)
#endif
#endif

/* ---- Handlers and calls -------------------------------------------------------------------- */

/** What kind of outgoing call si_call_start measures. */
typedef enum si_call_kind {
    SI_CALL_HTTP = 1,
    SI_CALL_SQL = 2,
    SI_CALL_CACHE = 3,
    SI_CALL_DOCUMENT = 4,
    SI_CALL_OTHER = 5
} si_call_kind;

/* One running call; lives in the caller's frame. Its fields are private. */
typedef struct si_call {
    uint64_t start_ns;
    void *slot;
} si_call;

/**
 * Measures one HTTP request handled by this program. `pattern` is the route ("GET /orders/:id"),
 * not the raw path. `status`: the HTTP status code sent; 5xx counts as an error of the handler.
 * Same rules as si_segment_start.
 */
SI_API void si_handler_start(si_call *call, const char *pattern);
SI_API void si_handler_stop(si_call *call, int status);

/** Measures one outgoing call, such as (SI_CALL_SQL, "SELECT FROM orders"). Same rules as si_segment_start. */
SI_API void si_call_start(si_call *call, si_call_kind kind, const char *what);
SI_API void si_call_stop(si_call *call);

/* ---- Errors of the program ----------------------------------------------------------------- */

/**
 * Records an error with the caller's stack trace. Aggregated per group: count and stacks per 60 s.
 * `group`: at most 95 bytes, few distinct values; `message`: at most 255 bytes. Neither is owned.
 * Any thread; lock-free; no allocation. Not from a signal handler.
 */
SI_API void si_error_record(const char *group, const char *message);

/**
 * Runs fn(arg) and returns its value. If it raises SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT on this
 * thread, the crash is recorded as an error with its stack and SI_ECRASHED is returned.
 * The interrupted call's locks and memory stay as they were: use it around code whose state can be thrown away.
 * `runtime` may be NULL: guarded, but not recorded. SI_ENOMEM: there was no room for an alternate signal stack, and fn
 * was not called.
 */
SI_API int si_guard(si_runtime *runtime, int (*fn)(void *), void *arg);

/* ---- Lua states ---------------------------------------------------------------------------- */

struct lua_State;

/*
 * Functions of the host's Lua library: libsi carries a Lua of its own, hidden, and must never mix the two up.
 * SI_LUA_ATTACH fills it in; only a program that loads Lua by hand does so itself.
 */
/* clang-format off */
#define SI_LUA_FUNCTIONS(X)                                                                                            \
    X(lua_version) X(lua_sethook) X(lua_gethook) X(lua_gethookmask) X(lua_gethookcount) X(lua_getstack) X(lua_getinfo) \
    X(lua_gc) X(lua_status) X(lua_gettop) X(lua_settop) X(lua_rotate) X(lua_pushvalue) X(lua_checkstack) X(lua_xmove)  \
    X(lua_type) X(lua_typename) X(lua_tolstring) X(lua_touserdata) X(lua_tothread) X(lua_tocfunction) X(lua_toboolean) \
    X(lua_pushinteger) X(lua_pushstring) X(lua_pushlightuserdata) X(lua_pushcclosure) X(lua_newuserdatauv)             \
    X(lua_createtable) X(lua_setmetatable) X(lua_getfield) X(lua_setfield) X(lua_rawgetp) X(lua_rawsetp)               \
    X(lua_rawgeti) X(lua_newthread) X(lua_resume) X(lua_resetthread) X(lua_load) X(lua_callk) X(lua_pcallk)            \
    X(lua_error) X(lua_concat) X(lua_atpanic) X(luaL_where) X(luaL_traceback) X(luaL_checkversion_)
/* clang-format on */
#define SI_LUA_FIELD_(name) void (*name)(void);
typedef struct si_lua_functions {
    size_t size;        /* sizeof(si_lua_functions) of the caller's header */
    size_t debug_bytes; /* sizeof(lua_Debug) of the caller's lua.h */
    SI_LUA_FUNCTIONS(SI_LUA_FIELD_)
} si_lua_functions;
#undef SI_LUA_FIELD_

/**
 * Profiles a Lua 5.4 state of the host too: its functions appear in CPU, heap and wait stacks between those of C,
 * coroutines are followed, and lua.* metrics are set (docs/lua.md). `runtime` may be NULL, as under `si run`; profiles
 * come as long as a runtime is open in the process.
 *
 * Call it on the thread that runs the state, early: before programs keep coroutine.resume or coroutine.wrap in locals.
 * Attached again on another thread, a state belongs to that one from then on; no other thread may run it meanwhile.
 * lua_close detaches by itself, on that thread. Finds the host's Lua as the dynamic linker does; a program that has Lua
 * linked in statically and exports none of it uses SI_LUA_ATTACH instead. SI_EINVAL: no state, or of a Lua other than
 * 5.4. SI_EUNAVAILABLE: Lua's functions or code were not found (si_lua_reason says what). SI_ELIMIT: 64 states are
 * attached on this thread. SI_ENOMEM. Not from a signal handler.
 */
SI_API int si_lua_attach(si_runtime *runtime, struct lua_State *L);

/** The same with the host's functions given; `functions` is copied. SI_EINVAL also for a size that does not fit. */
SI_API int si_lua_attach_functions(si_runtime *runtime, struct lua_State *L, const si_lua_functions *functions);

/** Puts everything back as it was. The thread of the state, or any while no thread runs it. SI_ENOTFOUND: was not
 * attached. */
SI_API int si_lua_detach(struct lua_State *L);

/** Why the last si_lua_attach on this thread failed, or "". Static storage; this thread. */
SI_API const char *si_lua_reason(void);

/**
 * For hosts that resume coroutines from C: around lua_resume(co, from, ...), with `from` NULL when C resumes. Two
 * stores; nothing when `co` belongs to no attached state. Lua's own coroutine library needs neither.
 */
SI_API void si_lua_enter(struct lua_State *co, struct lua_State *from);
SI_API void si_lua_leave(struct lua_State *co);

/**
 * A message handler for lua_pcall (a lua_CFunction): records the error with the Lua and C stack, grouped by where it
 * was raised, and returns the error object as it is. Only for the outermost lua_pcall: one that handles errors as part
 * of its work would count them all. The state must be attached, else nothing is recorded.
 */
SI_API int si_lua_error(struct lua_State *L);

#if defined(__GNUC__)
#define SI_LUA_VALUE_(name) (void (*)(void)) name,
/** si_lua_attach with the functions that this very program is linked with. lua.h and lauxlib.h come first. */
#define SI_LUA_ATTACH(runtime, L)                                                                                      \
    __extension__({                                                                                                    \
        static const si_lua_functions si_lua_here_ = {sizeof(si_lua_functions), sizeof(lua_Debug),                     \
                                                      SI_LUA_FUNCTIONS(SI_LUA_VALUE_)};                                \
        si_lua_attach_functions(runtime, L, &si_lua_here_);                                                            \
    })
#endif

/* ---- Metrics of the program ---------------------------------------------------------------- */

/** Sets a metric to `value`. Name as in OpenTelemetry ("queue.length"), at most 95 bytes. Lock-free; any thread. */
SI_API void si_gauge_set(const char *name, double value);

/** Adds `value` (>= 0) to a metric that only grows. Reported as a rate per second. Lock-free; any thread. */
SI_API void si_counter_add(const char *name, double value);

/* ---- Manual profiling ---------------------------------------------------------------------- */

/**
 * Starts a profile by hand, whatever the cadence says: focused on what the program does between start and stop.
 * `type`: "cpu", "heap" (what is live when it stops), "alloc", "lock", "network", "system" or "channel". `workload`: a
 * label to find it by, at most 63 bytes, or NULL. One of each type at a time; stops by itself after 60 s. Waits at most
 * 5 s for the runtime's thread. SI_EUNAVAILABLE: no such profiler here. SI_ESTATE: already started.
 */
SI_API int si_profile_start(si_runtime *runtime, const char *type, const char *workload);

/** Stops a manual profile; it goes out with the next report. SI_ESTATE: none runs. */
SI_API int si_profile_stop(si_runtime *runtime, const char *type);

#ifdef __cplusplus
} /* extern "C" */

namespace si {

/** Measures the scope it stands in: `si::segment s("checkout");`. Same rules as si_segment_start. */
class segment {
  public:
    explicit segment(const char *name) { si_segment_start(&segment_, name); }
    ~segment() { si_segment_stop(&segment_); }
    segment(const segment &) = delete;
    segment &operator=(const segment &) = delete;

  private:
    si_segment segment_;
};

/** Measures an outgoing call for the scope it stands in. Same rules as si_call_start. */
class call {
  public:
    call(si_call_kind kind, const char *what) { si_call_start(&call_, kind, what); }
    ~call() { si_call_stop(&call_); }
    call(const call &) = delete;
    call &operator=(const call &) = delete;

  private:
    si_call call_;
};

/** Measures a request handler for the scope it stands in; set `status` before leaving. Same rules as si_handler_start.
 */
class handler {
  public:
    explicit handler(const char *pattern) { si_handler_start(&call_, pattern); }
    ~handler() { si_handler_stop(&call_, status); }
    handler(const handler &) = delete;
    handler &operator=(const handler &) = delete;
    int status = 200;

  private:
    si_call call_;
};

} /* namespace si */
#endif

#endif
