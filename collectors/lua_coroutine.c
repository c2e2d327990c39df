/*
 * Which coroutine runs. Lua does not tell, so the two functions of its library that resume one are replaced by
 * functions that say so and do the same; hosts that resume from C say it themselves (si_lua_enter). Host threads, in
 * calls from Lua.
 *
 * A sample that still waits is settled whenever one coroutine is left for another: it never waits across a switch.
 */
#include "lua_vm.h"

static void begin(lua_thread *t, uint32_t *was) {
    *was = atomic_exchange_explicit(&t->busy, 1, memory_order_acquire);
    atomic_signal_fence(memory_order_seq_cst);
}

static void end(lua_thread *t, uint32_t was) {
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&t->busy, was, memory_order_release);
}

static void settle(lua_attached *s, lua_State *L, int own) {
    lua_thread *t = si__lua_here;
    uint32_t was;
    if (t->hooked != L) return;
    begin(t, &was);
    si__lua_settle(t, s, own);
    si__lua_unhook(t);
    end(t, was);
}

void si__lua_enter(lua_attached *s, lua_State *co, lua_State *from) {
    uint32_t depth = atomic_load_explicit(&s->depth, memory_order_relaxed);
    /* An error that could not be caught anywhere else (no memory) may have left coroutines behind. */
    while (from && depth > 0 && s->running[depth] != from) depth--;
    if (depth + 1 >= LUA_DEPTH || s->running[depth] == co) return;
    settle(s, s->running[depth], 0);
    s->running[depth + 1] = co;
    atomic_store_explicit(&s->depth, depth + 1, memory_order_release);
}

void si__lua_leave(lua_attached *s, lua_State *co) {
    uint32_t depth = atomic_load_explicit(&s->depth, memory_order_relaxed);
    if (depth == 0 || s->running[depth] != co) return;
    settle(s, co, 1);
    atomic_store_explicit(&s->depth, depth - 1, memory_order_release);
}

lua_State *si__lua_swap(lua_attached *s, lua_State *L) {
    uint32_t depth = atomic_load_explicit(&s->depth, memory_order_relaxed);
    lua_State *before = s->running[depth];
    if (before == L) return L;
    settle(s, before, 0);
    s->running[depth] = L; /* one aligned word, for the handler */
    return before;
}

lua_attached *si__lua_running(const lua_State *L) {
    lua_thread *t = si__lua_here;
    for (uint32_t i = 0; t && i < lua_places(t); i++) {
        lua_attached *s = atomic_load_explicit(&t->states[i], memory_order_relaxed);
        if (s && lua_current(s) == L) return s;
    }
    return NULL;
}

void si_lua_enter(lua_State *co, lua_State *from) {
    if (!si__lua_here || !co) return;
    lua_attached *s = from ? si__lua_running(from) : NULL;
    if (!s) {
        lua_thread *t = si__lua_here;
        for (uint32_t i = 0; i < lua_places(t) && !s; i++) {
            lua_attached *other = atomic_load_explicit(&t->states[i], memory_order_relaxed);
            if (other && si__lua_state_of(other->library, co) == other) s = other;
        }
    }
    if (s) si__lua_enter(s, co, from);
}

void si_lua_leave(lua_State *co) {
    lua_attached *s = si__lua_running(co);
    if (s) si__lua_leave(s, co);
}

/* ---- What stands in the coroutine library ---- */

/* resume runs `co` and returns; it raises no error. [as the real one] */
__attribute__((always_inline)) static inline int resume_followed(lua_State *L, lua_State *co, lua_CFunction resume) {
    lua_attached *s = si__lua_running(L);
    if (!s) return resume(L);
    si__lua_enter(s, co, L);
    int results = resume(L);
    si__lua_leave(s, co);
    return results;
}

/* coroutine.resume; upvalue: the real one. */
LUA_FOLLOWED static int coroutine_resume(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_CFunction resume = l->lua_tocfunction(L, lua_upvalueindex(1));
    lua_State *co = l->lua_tothread(L, 1);
    return co ? resume_followed(L, co, resume) : resume(L); /* which says what is wrong */
}

/* The coroutine has failed: what coroutine.wrap does then. The error object is on top. */
__attribute__((noinline)) static int propagate(const lua_library *l, lua_State *L, lua_State *co) {
    int status = l->lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = l->lua_resetthread(co);
        l->lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && l->lua_type(L, -1) == LUA_TSTRING) {
        l->luaL_where(L, 1);
        l->lua_rotate(L, -2, 1);
        l->lua_concat(L, 2);
    }
    return l->lua_error(L);
}

/* What coroutine.wrap returns; upvalues: the coroutine, the real coroutine.resume. */
LUA_FOLLOWED static int coroutine_wrapped(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_State *co = l->lua_tothread(L, lua_upvalueindex(1));
    l->lua_pushvalue(L, lua_upvalueindex(1));
    l->lua_rotate(L, 1, 1);
    int results = resume_followed(L, co, l->lua_tocfunction(L, lua_upvalueindex(2)));
    if (!l->lua_toboolean(L, -results)) return propagate(l, L, co);
    return results - 1;
}

/* coroutine.wrap; upvalues: the real one, the real coroutine.resume. */
static int coroutine_wrap(lua_State *L) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    if (l->lua_type(L, 1) != LUA_TFUNCTION) return l->lua_tocfunction(L, lua_upvalueindex(1))(L);
    lua_State *co = l->lua_newthread(L);
    l->lua_pushvalue(L, 1);
    l->lua_xmove(L, co, 1);
    l->lua_pushvalue(L, lua_upvalueindex(2));
    l->lua_pushcclosure(L, coroutine_wrapped, 2);
    return 1;
}

/* Pushes package.loaded.coroutine, if it is a table. 1: it is on the stack. */
static int push_library(const lua_library *l, lua_State *L) {
    int top = l->lua_gettop(L);
    if (l->lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED") == LUA_TTABLE &&
        l->lua_getfield(L, -1, "coroutine") == LUA_TTABLE)
        return 1;
    l->lua_settop(L, top);
    return 0;
}

void si__lua_follow_coroutines(lua_attached *s, lua_State *L) {
    const lua_library *l = s->library;
    int top = l->lua_gettop(L);
    if (!push_library(l, L)) return;
    int library = l->lua_gettop(L);
    l->lua_getfield(L, library, "resume");
    l->lua_getfield(L, library, "wrap");
    s->resume = l->lua_tocfunction(L, -2);
    s->wrap = l->lua_tocfunction(L, -1);
    if (s->resume && s->wrap && s->resume != coroutine_resume && s->wrap != coroutine_wrap) {
        l->lua_pushvalue(L, -2);
        l->lua_pushcclosure(L, coroutine_wrap, 2); /* takes wrap and resume */
        l->lua_setfield(L, library, "wrap");
        l->lua_pushcclosure(L, coroutine_resume, 1);
        l->lua_setfield(L, library, "resume");
    } else {
        s->resume = s->wrap = NULL;
    }
    l->lua_settop(L, top);
}

void si__lua_unfollow_coroutines(lua_attached *s, lua_State *L) {
    const lua_library *l = s->library;
    int top = l->lua_gettop(L);
    if (!s->resume || !push_library(l, L)) return;
    int library = l->lua_gettop(L);
    l->lua_getfield(L, library, "resume");
    if (l->lua_tocfunction(L, -1) == coroutine_resume) {
        l->lua_pushcclosure(L, s->resume, 0);
        l->lua_setfield(L, library, "resume");
    }
    l->lua_getfield(L, library, "wrap");
    if (l->lua_tocfunction(L, -1) == coroutine_wrap) {
        l->lua_pushcclosure(L, s->wrap, 0);
        l->lua_setfield(L, library, "wrap");
    }
    l->lua_settop(L, top);
}
