/*
 * States of a program whose Lua 5.4 is a shared library: under `si run` they are attached by themselves.
 *
 * Two functions of the library are hooked where the host imports them: lua_pcallk, by which C begins to run Lua, and
 * lua_resume, by which a scheduler in C goes on with a coroutine. Only Lua 5.4 has all the names that are asked for;
 * other Luas beside it (LuaJIT, 5.1 to 5.3) are not touched: hooks go by library, not by name. Host threads, in the
 * host's calls: a call from within Lua costs two loads and a call more, the outermost one some ten nanoseconds.
 *
 * The outermost lua_pcallk also gets a message handler that records the error, in front of the host's own.
 */
#include <errno.h>
#include <string.h>

#include "lua_host.h"
#include "lua_vm.h"
#include "native/fork.h"
#include "native/hook.h"
#include "native/probe.h"

/* An attached state costs some 10 us once. A host that makes a state for every request has some of them attached. */
enum { ATTACH_SHARE = 50, ATTACH_BURST_NS = 5000000, FOLLOW_TRIES = 32, REFUSED_CALLS = 1024 };

/* What is called besides SI_LUA_FUNCTIONS. X(name, result, parameters) */
#define MORE_FUNCTIONS(X)                                                                                              \
    X(lua_getupvalue, const char *, (lua_State *, int, int))                                                           \
    X(lua_copy, void, (lua_State *, int, int))                                                                         \
    X(lua_absindex, int, (lua_State *, int))

typedef struct functions { /* of one copy of the library; filled in by the walker (hook.c) */
    si_lua_functions all;
#define X(name, result, parameters) result(*name) parameters;
    MORE_FUNCTIONS(X)
#undef X
} functions;
static functions copies[SI__LUA_COPIES] = {
    {.all = {.size = sizeof(si_lua_functions), .debug_bytes = sizeof(lua_Debug)}},
    {.all = {.size = sizeof(si_lua_functions), .debug_bytes = sizeof(lua_Debug)}}};

#define X(name, result, parameters) typedef result(*name##_fn) parameters;
LUA_FUNCTIONS(X)
#undef X
#define LUA(f, name) ((name##_fn)(f)->all.name)

/* ---- Which states are attached ---- */

static _Atomic uint64_t first_ns, spent_ns;
static __thread struct {
    const lua_State *L;
    unsigned calls; /* since it was refused */
} refused __attribute__((tls_model("initial-exec")));

/* The state that L belongs to, if this thread runs it. */
static lua_attached *state_here(const functions *f, lua_State *L) {
    const lua_library *l = si__lua_here ? si__lua_library_known(&f->all) : NULL;
    return l ? si__lua_state_of(l, L) : NULL;
}

static int is_dear(uint64_t now_ns) {
    uint64_t since = 0;
    if (atomic_compare_exchange_strong_explicit(&first_ns, &since, now_ns, memory_order_relaxed, memory_order_relaxed))
        since = now_ns;
    return atomic_load_explicit(&spent_ns, memory_order_relaxed) > ATTACH_BURST_NS + (now_ns - since) / ATTACH_SHARE;
}

/* Attaches the state of L, which runs nothing. NULL: cannot be, or not now. */
static lua_attached *attach_host(const functions *f, lua_State *L) {
    uint64_t began_ns = si__now_ns();
    if (is_dear(began_ns) || (refused.L == L && ++refused.calls < REFUSED_CALLS)) return NULL;
    int rc = si_lua_attach_functions(NULL, L, &f->all);
    atomic_fetch_add_explicit(&spent_ns, si__now_ns() - began_ns, memory_order_relaxed);
    refused.L = rc ? L : NULL;
    refused.calls = 0;
    return rc ? NULL : state_here(f, L);
}

static int follow_inside(lua_State *L) {
    lua_attached *s = si__lua_running(L);
    if (s) si__lua_follow_coroutines(s, L);
    return 0;
}

/* The coroutine library was not there yet when the state was attached: hosts open their libraries inside a call. */
static void follow_late(const functions *f, lua_attached *s, lua_State *L) {
    const lua_library *l = s->library;
    if (s->follow_tries++ >= FOLLOW_TRIES || !l->lua_checkstack(L, 4)) return;
    l->lua_pushcclosure(L, follow_inside, 0);
    if (LUA(f, lua_pcallk)(L, 0, 0, 0, 0, NULL) != LUA_OK) l->lua_settop(L, -2);
}

/* ---- The outermost call ---- */

/* In front of a handler of the host's, a C function without upvalues: called as it would have been. [-1, +1, -] */
static int record_and_handle(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_attached *s = l ? si__lua_state_of(l, L) : NULL;
    lua_CFunction handler = s ? s->handler : NULL;
    si__lua_record_error(L, __builtin_return_address(0));
    return handler ? handler(L) : 1;
}

/* With a handler of ours under the function. */
static int call_with_ours(const functions *f, const lua_library *l, lua_State *L, int arguments, int results) {
    int at = l->lua_gettop(L) - arguments;
    l->lua_pushcclosure(L, si_lua_error, 0); /* without upvalues: nothing is allocated */
    l->lua_rotate(L, at, 1);
    int status = LUA(f, lua_pcallk)(L, arguments, results, at, 0, NULL);
    l->lua_rotate(L, at, -1);
    l->lua_settop(L, -2);
    return status;
}

static void put_at(const functions *f, const lua_library *l, lua_State *L, int at, lua_CFunction function) {
    l->lua_pushcclosure(L, function, 0);
    f->lua_copy(L, -1, at);
    l->lua_settop(L, -2);
}

static int call_recorded(const functions *f, lua_attached *s, lua_State *L, int arguments, int results, int handler) {
    const lua_library *l = s->library;
    if (!l->lua_checkstack(L, 2)) return LUA(f, lua_pcallk)(L, arguments, results, handler, 0, NULL);
    if (handler == 0) return call_with_ours(f, l, L, arguments, results);
    int at = f->lua_absindex(L, handler);
    lua_CFunction own = l->lua_tocfunction(L, at), before = s->handler;
    int has_upvalue = own && f->lua_getupvalue(L, at, 1) != NULL;
    if (has_upvalue) l->lua_settop(L, -2);
    if (!own || has_upvalue || own == si_lua_error) return LUA(f, lua_pcallk)(L, arguments, results, handler, 0, NULL);
    s->handler = own;
    put_at(f, l, L, at, record_and_handle);
    int status = LUA(f, lua_pcallk)(L, arguments, results, at, 0, NULL);
    s->handler = before;
    put_at(f, l, L, at, own);
    return status;
}

/* L runs nothing yet. A host may use a coroutine as a second stack: then this is what runs meanwhile. */
static int call_outermost(const functions *f, lua_State *L, int arguments, int results, int handler) {
    lua_attached *s = si__lua_running(L);
    int saved = errno;
    if (!s) s = state_here(f, L);
    if (!s) s = attach_host(f, L);
    if (s && !s->resume) follow_late(f, s, L);
    errno = saved;
    if (!s) return LUA(f, lua_pcallk)(L, arguments, results, handler, 0, NULL);
    lua_State *before = si__lua_swap(s, L);
    int status = call_recorded(f, s, L, arguments, results, handler);
    if (before != L) si__lua_swap(s, before);
    return status;
}

static inline int is_observed(void) {
    return si__owner_region() != NULL;
}

/* A library that lacks one of them is not Lua as we know it. */
static inline int is_whole(const functions *f) {
    return f->lua_copy && f->lua_getupvalue && f->lua_absindex && f->all.lua_getstack && f->all.lua_checkstack &&
           f->all.lua_rawgeti && f->all.lua_tothread && f->all.lua_settop;
}

/* A coroutine may yield through this frame and never come back to it. */
static int call_nested(const functions *f, lua_State *L, int arguments, int results, int handler, lua_KContext context,
                       lua_KFunction after) {
    lua_attached *s = si__lua_running(L);
    if (s && !s->resume) {
        int saved = errno;
        follow_late(f, s, L);
        errno = saved;
    }
    return LUA(f, lua_pcallk)(L, arguments, results, handler, context, after);
}

static int on_pcall(const functions *f, lua_State *L, int arguments, int results, int handler, lua_KContext context,
                    lua_KFunction after) {
    lua_Debug ar;
    if (!is_observed() || !is_whole(f)) return LUA(f, lua_pcallk)(L, arguments, results, handler, context, after);
    if (after || LUA(f, lua_getstack)(L, 0, &ar)) return call_nested(f, L, arguments, results, handler, context, after);
    return call_outermost(f, L, arguments, results, handler);
}

/* ---- Coroutines that C resumes ---- */

/* The state of a coroutine that C resumes while nothing else of the state runs. */
static lua_attached *attach_main(const functions *f, lua_State *co) {
    lua_Debug ar;
    if (!LUA(f, lua_checkstack)(co, 1)) return NULL;
    LUA(f, lua_rawgeti)(co, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = LUA(f, lua_tothread)(co, -1);
    LUA(f, lua_settop)(co, -2);
    if (!main || LUA(f, lua_getstack)(main, 0, &ar)) return NULL;
    return attach_host(f, main);
}

static int on_resume(const functions *f, lua_State *co, lua_State *from, int arguments, int *results) {
    if (!is_observed() || !is_whole(f)) return LUA(f, lua_resume)(co, from, arguments, results);
    int saved = errno;
    lua_attached *s = from ? si__lua_running(from) : state_here(f, co);
    if (!s && !from) s = attach_main(f, co);
    errno = saved;
    if (!s) return LUA(f, lua_resume)(co, from, arguments, results);
    si__lua_enter(s, co, from);
    int status = LUA(f, lua_resume)(co, from, arguments, results);
    si__lua_leave(s, co);
    return status;
}

/* ---- The hooks ---- */

#define FRONTS(place, copy)                                                                                            \
    static int lua_pcallk_##place(lua_State *L, int arguments, int results, int handler, lua_KContext context,         \
                                  lua_KFunction after) {                                                               \
        return on_pcall(&copies[copy], L, arguments, results, handler, context, after);                                \
    }                                                                                                                  \
    static int lua_resume_##place(lua_State *co, lua_State *from, int arguments, int *results) {                       \
        return on_resume(&copies[copy], co, from, arguments, results);                                                 \
    }
FRONTS(first, 0)
FRONTS(second, 1)

/* lua_newuserdatauv comes first: Lua 5.4 alone has it. The rest of the names stand in every Lua. */
#define FIND_FIRST(name) {#name, 0, (uintptr_t *)(void *)&copies[0].all.name},
#define FIND_SECOND(name) {#name, 0, (uintptr_t *)(void *)&copies[1].all.name},
#define MORE_FIRST(name, result, parameters) {#name, 0, (uintptr_t *)(void *)&copies[0].name},
#define MORE_SECOND(name, result, parameters) {#name, 0, (uintptr_t *)(void *)&copies[1].name},
#define HOOKS(place, copy, finds, more)                                                                                \
    static const si__hook place##_hooks[] = {                                                                          \
        {"lua_newuserdatauv", 0, (uintptr_t *)(void *)&copies[copy].all.lua_newuserdatauv},                            \
        {"lua_pcallk", (uintptr_t)lua_pcallk_##place, (uintptr_t *)(void *)&copies[copy].all.lua_pcallk},              \
        {"lua_resume", (uintptr_t)lua_resume_##place, (uintptr_t *)(void *)&copies[copy].all.lua_resume},              \
        SI_LUA_FUNCTIONS(finds) MORE_FUNCTIONS(more)}
HOOKS(first, 0, FIND_FIRST, MORE_FIRST);
HOOKS(second, 1, FIND_SECOND, MORE_SECOND);

static si__hook_copy hook_copies[SI__LUA_COPIES] = {{.rival = "lua_gettop"}, {.rival = "lua_gettop"}};
const si__hook_table si__lua_host_hooks[SI__LUA_COPIES] = {
    {first_hooks, sizeof first_hooks / sizeof *first_hooks, 0, &hook_copies[0]},
    {second_hooks, sizeof second_hooks / sizeof *second_hooks, 0, &hook_copies[1]},
};
