/*
 * Lua states of the host that are attached: what the files lua_*.c share. Theirs alone; includes lua.h for types and
 * constants only. Every function of Lua is called through `lua_library`, the host's own.
 */
#ifndef SI_LUA_VM_H
#define SI_LUA_VM_H

#include <lua.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "native/interpreter.h"
#include "si/si.h"

/* X(name, result, parameters): in the order of SI_LUA_FUNCTIONS. */
#define LUA_FUNCTIONS(X)                                                                                               \
    X(lua_version, lua_Number, (lua_State *))                                                                          \
    X(lua_sethook, void, (lua_State *, lua_Hook, int, int))                                                            \
    X(lua_gethook, lua_Hook, (lua_State *))                                                                            \
    X(lua_gethookmask, int, (lua_State *))                                                                             \
    X(lua_gethookcount, int, (lua_State *))                                                                            \
    X(lua_getstack, int, (lua_State *, int, lua_Debug *))                                                              \
    X(lua_getinfo, int, (lua_State *, const char *, lua_Debug *))                                                      \
    X(lua_gc, int, (lua_State *, int, ...))                                                                            \
    X(lua_status, int, (lua_State *))                                                                                  \
    X(lua_gettop, int, (lua_State *))                                                                                  \
    X(lua_settop, void, (lua_State *, int))                                                                            \
    X(lua_rotate, void, (lua_State *, int, int))                                                                       \
    X(lua_pushvalue, void, (lua_State *, int))                                                                         \
    X(lua_checkstack, int, (lua_State *, int))                                                                         \
    X(lua_xmove, void, (lua_State *, lua_State *, int))                                                                \
    X(lua_type, int, (lua_State *, int))                                                                               \
    X(lua_typename, const char *, (lua_State *, int))                                                                  \
    X(lua_tolstring, const char *, (lua_State *, int, size_t *))                                                       \
    X(lua_touserdata, void *, (lua_State *, int))                                                                      \
    X(lua_tothread, lua_State *, (lua_State *, int))                                                                   \
    X(lua_tocfunction, lua_CFunction, (lua_State *, int))                                                              \
    X(lua_toboolean, int, (lua_State *, int))                                                                          \
    X(lua_pushinteger, void, (lua_State *, lua_Integer))                                                               \
    X(lua_pushstring, const char *, (lua_State *, const char *))                                                       \
    X(lua_pushlightuserdata, void, (lua_State *, void *))                                                              \
    X(lua_pushcclosure, void, (lua_State *, lua_CFunction, int))                                                       \
    X(lua_newuserdatauv, void *, (lua_State *, size_t, int))                                                           \
    X(lua_createtable, void, (lua_State *, int, int))                                                                  \
    X(lua_setmetatable, int, (lua_State *, int))                                                                       \
    X(lua_getfield, int, (lua_State *, int, const char *))                                                             \
    X(lua_setfield, void, (lua_State *, int, const char *))                                                            \
    X(lua_rawgetp, int, (lua_State *, int, const void *))                                                              \
    X(lua_rawsetp, void, (lua_State *, int, const void *))                                                             \
    X(lua_rawgeti, int, (lua_State *, int, lua_Integer))                                                               \
    X(lua_newthread, lua_State *, (lua_State *))                                                                       \
    X(lua_resume, int, (lua_State *, lua_State *, int, int *))                                                         \
    X(lua_resetthread, int, (lua_State *))                                                                             \
    X(lua_load, int, (lua_State *, lua_Reader, void *, const char *, const char *))                                    \
    X(lua_callk, void, (lua_State *, int, int, lua_KContext, lua_KFunction))                                           \
    X(lua_pcallk, int, (lua_State *, int, int, int, lua_KContext, lua_KFunction))                                      \
    X(lua_error, int, (lua_State *))                                                                                   \
    X(lua_concat, void, (lua_State *, int))                                                                            \
    X(lua_atpanic, lua_CFunction, (lua_State *, lua_CFunction))                                                        \
    X(luaL_where, void, (lua_State *, int))                                                                            \
    X(luaL_traceback, void, (lua_State *, lua_State *, const char *, int))                                             \
    X(luaL_checkversion_, void, (lua_State *, lua_Number, size_t))

enum {
    LUA_LIBRARIES = 4,     /* Lua libraries of one process */
    LUA_SITES = 12,        /* places that call C functions */
    LUA_STATES = 64,       /* attached states of one thread */
    LUA_DEPTH = 224,       /* coroutines that resumed one another; Lua allows 200 C calls in one another */
    LUA_ITEMS = 224,       /* Lua frames looked at */
    LUA_DEEP = 8000,       /* Lua calls in one another; with more, only C frames are told */
    LUA_KNOWN_NAMES = 256, /* power of two */
    LUA_WAITING_BYTES = 12 * 1024,
    LUA_HOSTS = 8 /* coroutines of one state with count hooks of their own */
};

typedef struct lua_code { /* where functions lie: [from, to) */
    uint64_t from, to;
} lua_code;

/* ---- One Lua library of the host (lua_library.c); made once, never freed ---- */

typedef struct lua_library {
#define X(name, result, parameters) result(*name) parameters;
    LUA_FUNCTIONS(X)
#undef X
    lua_code core;    /* the C API, the core and the auxiliary library */
    lua_code vm;      /* the interpreter's loop, luaV_execute */
    lua_code resume;  /* lua_resume */
    lua_code collect; /* lua_gc */
    lua_code step;    /* luaC_step, once seen at work; to 0: not yet */
    const int32_t
        *table; /* of the module's functions, sorted: pairs of offsets from table_base, of which the first is a start */
    size_t table_count;
    uint64_t table_base;
    uint64_t sites[LUA_SITES]; /* return addresses of calls of C functions */
    _Atomic uint32_t site_count;
} lua_library;

/* The library whose functions these are, made at first. NULL: *reason says why. Under the attach lock. */
lua_library *si__lua_library(const si_lua_functions *functions, const char **reason);

/* The one made before of these functions; NULL: none. */
const lua_library *si__lua_library_known(const si_lua_functions *functions);

/* The library that the code at `pc` belongs to: of a function of ours, by its return address. NULL: none is known. */
lua_library *si__lua_library_around(const void *pc);

/* Finds the functions as the dynamic linker does. 0, or -1: *missing is not there. */
int si__lua_find(si_lua_functions *out, const char **missing);

/* The function that holds `pc`: its bounds; {0, 0}: not found. dl_iterate_phdr: not in a signal handler. */
lua_code si__lua_function_at(const lua_library *library, uint64_t pc);

/* The collector's step, when `frames` (return addresses, leaf first) show it called by the loop. */
void si__lua_find_step(lua_library *library, const uint64_t *frames, unsigned count);

/* Calls a C function in every way there is, to learn the sites. Raises. [-0, +0, m] */
void si__lua_learn_sites(lua_library *library, lua_State *L);

static inline int lua_in(lua_code code, uint64_t pc) {
    return pc >= code.from && pc < code.to;
}

/* Whether C functions are called from there: a return address. Async-signal-safe. */
int si__lua_is_site(const lua_library *library, uint64_t pc);

/* ---- One attached state (lua_vm.c); lives in a userdata of the state ---- */

typedef struct lua_host_hook { /* a hook of the host's that ours stands in for */
    lua_State *L;
    lua_Hook call;
    int mask, count;
    int left, chunk; /* count hooks: instructions until the host's next, and between two calls of ours */
} lua_host_hook;

typedef struct lua_attached {
    lua_library *library;
    _Atomic(struct lua_thread *) owner;
    lua_State *running[LUA_DEPTH]; /* the main coroutine, and those resumed in one another */
    _Atomic uint32_t depth;        /* of the last */
    lua_host_hook hosts[LUA_HOSTS];
    uint32_t host_last;         /* the one noted last */
    lua_CFunction panic;        /* the host's */
    lua_CFunction handler;      /* of the host's outermost lua_pcall (lua_host.c) */
    int64_t memory_bytes;       /* as last read */
    lua_CFunction resume, wrap; /* of the coroutine library; NULL: it is not followed */
    uint32_t follow_tries;      /* since it was not there (lua_host.c) */
} lua_attached;

static inline lua_State *lua_current(const lua_attached *s) {
    return s->running[atomic_load_explicit(&s->depth, memory_order_relaxed)];
}

/* ---- One thread with attached states ---- */

typedef struct lua_item { /* a frame of Lua's, leaf first */
    uint64_t name;
    uint16_t segment; /* 0: the running coroutine, 1: who resumed it ... */
    int16_t loop;     /* which activation of the loop on the C stack runs it, from the leaf; -1: none */
    uint8_t is_c;
    uint8_t fresh; /* its loop was started for it */
} lua_item;

typedef struct lua_waiting { /* a sample that waits for its Lua frames; pcs and text follow */
    uint64_t time_ns;
    int64_t value;
    uint32_t type, count, detail, text_bytes;
    uint16_t flags, frames;
    uint32_t bytes; /* of all of it */
} lua_waiting;

typedef struct lua_known_name {
    uint64_t key;
    char name[56];
} lua_known_name;

typedef struct lua_known_c { /* what Lua calls a C function */
    uint64_t from, name;
} lua_known_c;

typedef struct lua_thread {
    _Atomic(lua_attached *) states[LUA_STATES];
    _Atomic uint32_t places; /* of `states` that have been used: the rest is empty */
    _Atomic uint32_t busy;   /* 1: this thread is in here already */
    si__region *region;      /* that the waiting samples are for */
    si__slot *slot;
    lua_State *hooked; /* has our hook for the waiting samples; NULL: none */
    lua_attached *hooked_state;
    uint32_t waiting_bytes;
    uint32_t item_count;
    uint16_t loops[LUA_DEPTH + 1]; /* scratch, as the next three */
    lua_item items[LUA_ITEMS];
    uint64_t structure[SI__FRAMES_MAX], merged[SI__FRAMES_MAX];
    lua_known_name names[LUA_KNOWN_NAMES];
    lua_known_c functions[LUA_KNOWN_NAMES];
    _Alignas(8) char waiting[LUA_WAITING_BYTES];
} lua_thread;

static inline uint32_t lua_places(const lua_thread *t) {
    return atomic_load_explicit(&t->places, memory_order_relaxed);
}

extern __thread lua_thread *si__lua_here __attribute__((tls_model("initial-exec")));

/* ---- Stacks (lua_stack.c) ---- */

typedef struct lua_shape { /* what a C stack says about Lua */
    unsigned loops;        /* activations of the interpreter's loop */
    unsigned resumes;      /* of lua_resume */
    int quiet;      /* 1: below the innermost loop a C function runs, and nothing of Lua's core below that: the state
                       is whole and may be looked at */
    int collecting; /* 1: garbage is collected */
} lua_shape;

lua_shape si__lua_shape(const lua_library *library, const uint64_t *pcs, unsigned count);

/* Whether the coroutines on a C stack are those that the state knows of. */
static inline int si__lua_fits(const lua_attached *s, const lua_shape *shape, unsigned flags) {
    uint32_t depth = atomic_load_explicit(&s->depth, memory_order_relaxed);
    return shape->resumes == depth || ((flags & SI__STACK_TRUNCATED) && shape->resumes < depth);
}

/* Lists the Lua frames of the state and gives each the activation that runs it, by the C stack `structure`. */
void si__lua_collect(lua_thread *t, const lua_attached *s, const uint64_t *structure, unsigned count);

/* Puts the collected frames in place of the loop's in pcs[count] (room for SI__FRAMES_MAX). `skip`: activations at the
   leaf that the collected stack has and this one has not; negative: the other way round. Returns the new count. */
unsigned si__lua_merge(lua_thread *t, const lua_library *library, uint64_t *pcs, unsigned count, int skip,
                       unsigned *flags);

/* ---- Samples that wait (lua_wait.c); the caller has set `busy` ---- */

int si__lua_wait(lua_thread *t, lua_attached *s, const si__interpreted *sample); /* 1: waits; 0: no room, or too deep */

/* Writes them with their Lua frames; the state is whole. own: by the C stack of each, for a coroutine that has just
   been left; else by the C stack of this moment. */
void si__lua_settle(lua_thread *t, lua_attached *s, int own);
void si__lua_write_raw(lua_thread *t);    /* as they are */
void si__lua_unhook(lua_thread *t);       /* puts back what the host had on the hooked coroutine */
void si__lua_unhook_all(lua_attached *s); /* on every coroutine that runs */
/* The C stack of this moment, into t->structure; stores SI__STACK_*. Returns the number of frames. */
unsigned si__lua_walk_here(lua_thread *t, unsigned *flags);

/* ---- Coroutines (lua_coroutine.c), collector (lua_garbage.c) ---- */

/* The functions of ours that resume coroutines lie in a section of their own. */
#define LUA_FOLLOWED __attribute__((section("si_lua_followed"), noinline))
extern const char __start_si_lua_followed[] __attribute__((visibility("hidden")));
extern const char __stop_si_lua_followed[] __attribute__((visibility("hidden")));

/* The state of this thread whose running coroutine is L: a compare, mostly. NULL: none. */
lua_attached *si__lua_running(const lua_State *L);
/* From here to si__lua_leave, `co` is what runs; `from` has resumed it, NULL: C has. */
void si__lua_enter(lua_attached *s, lua_State *co, lua_State *from);
void si__lua_leave(lua_attached *s, lua_State *co);
/* L runs from now on in place of the running coroutine, without having been resumed. Returns who ran before. */
lua_State *si__lua_swap(lua_attached *s, lua_State *L);
void si__lua_follow_coroutines(lua_attached *s, lua_State *L);   /* [-0, +0, m] */
void si__lua_unfollow_coroutines(lua_attached *s, lua_State *L); /* [-0, +0, m] */
void si__lua_watch_collector(lua_attached *s, lua_State *L);     /* [-0, +0, m] */
void si__lua_count_tick(lua_attached *s, lua_State *L, uint64_t now_ns, uint64_t value_ns, const lua_shape *shape);
void si__lua_read_memory(lua_attached *s, lua_State *L, int gone);

/* The attached state that L belongs to and that this thread runs; NULL: none. At most [-0, +0, -], one slot. */
lua_attached *si__lua_state_of(const lua_library *library, lua_State *L);

/* What si_lua_error does; `caller`: where Lua called the message handler from. */
int si__lua_record_error(lua_State *L, const void *caller);

/* A standalone interpreter (lua.c) whose state has just been attached, from within the chunk of LUA_INIT: errors that
   end its script are recorded. `chunks`: how many more it is going to run (lua_uncaught.c). [-0, +0, -] */
void si__lua_watch_uncaught(lua_State *L, int chunks);

extern const char si__lua_key; /* its address: the key of the guard in the registry */

#endif
