/*
 * The sandbox: allocator, clock, allow-list and the protected call. See sandbox.h; loop thread only.
 */
#include "sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOOK_COUNT 1000
#define GC_PAUSE 400 /* percent: the language stays, and marking it is most of a cycle; rules make little garbage */
#define HOOK_COUNT_LONG 4   /* comparing two long texts takes its time, in some locales a lot of it */
#define HOOK_COUNT_HEAVY 50 /* with a lot of memory in use single instructions may be slow */
#define HEAVY_BYTES (2u << 20)
#define WORK_BEFORE_CLOCK (256u << 10)

si__sandbox *si__sandbox_of(lua_State *L) {
    return *(si__sandbox **)lua_getextraspace(L);
}

static int64_t cpu_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

static int hook_count(const si__sandbox *sandbox) {
    if (sandbox->long_text) return HOOK_COUNT_LONG;
    return sandbox->used_bytes > HEAVY_BYTES ? HOOK_COUNT_HEAVY : HOOK_COUNT;
}

/* Where the rule file is: the language's own files (si/...) may be what runs, and are not to blame. */
static void find_culprit(lua_State *L, lua_Debug *ar) {
    lua_getinfo(L, "Sl", ar);
    if (strncmp(ar->short_src, "si/", 3) != 0 && ar->currentline > 0) return;
    for (int level = 1; lua_getstack(L, level, ar); level++) {
        lua_getinfo(L, "Sl", ar);
        if (strncmp(ar->short_src, "si/", 3) != 0 && ar->currentline > 0) return;
    }
    if (lua_getstack(L, 0, ar)) lua_getinfo(L, "Sl", ar);
}

/* CPU time and not wall time: a busy machine must not get innocent rules disabled. */
static void count_hook(lua_State *L, lua_Debug *ar) {
    si__sandbox *sandbox = si__sandbox_of(L);
    int64_t now = cpu_now_ns();
    if (!sandbox->start_ns) sandbox->start_ns = now;
    if (now - sandbox->start_ns > sandbox->budget_ns) sandbox->killed = 1;
    sandbox->work = 0;
    if (sandbox->killed) {
        lua_sethook(L, count_hook, LUA_MASKCOUNT, 1);
        find_culprit(L, ar);
        lua_pushfstring(L, "%s:%d: stopped: it used more than %d ms of CPU time", ar->short_src, ar->currentline,
                        (int)(sandbox->budget_ns / 1000000));
        lua_error(L);
    }
    lua_sethook(L, count_hook, LUA_MASKCOUNT, hook_count(sandbox));
}

static void charge(si__sandbox *sandbox, uint64_t work) {
    sandbox->work += work;
    if (sandbox->work <= WORK_BEFORE_CLOCK || !sandbox->L) return;
    sandbox->work = 0;
    lua_sethook(sandbox->L, count_hook, LUA_MASKCOUNT, 1);
}

void si__sandbox_charge(lua_State *L, uint64_t steps) {
    charge(si__sandbox_of(L), steps);
}

static int may_grow(si__sandbox *sandbox, size_t held, size_t wanted) {
    si__pool *pool = sandbox->pool;
    if (sandbox->used_bytes - held + wanted > sandbox->cap_bytes)
        sandbox->refusal = SI__REFUSED_OWN_CAP;
    else if (pool && pool->used_bytes - held + wanted > pool->cap_bytes)
        sandbox->refusal = SI__REFUSED_POOL;
    else
        return 1;
    return 0;
}

static void account(si__sandbox *sandbox, size_t held, size_t now) {
    sandbox->used_bytes += now - held;
    if (sandbox->pool) sandbox->pool->used_bytes += now - held;
}

static void drop(si__sandbox *sandbox, void *ptr, size_t held) {
    if (held && held <= SI__BLOCK_BYTES)
        si__blocks_give(&sandbox->blocks, ptr, held);
    else
        free(ptr);
}

/* Small blocks come from lists, others from malloc; crossing over copies. NULL: out of memory, and ptr is as it was,
   also when it was to shrink: Lua 5.4 can live with that. */
static void *move(si__sandbox *sandbox, void *ptr, size_t held, size_t wanted) {
    int was_small = held && held <= SI__BLOCK_BYTES, is_small = wanted <= SI__BLOCK_BYTES;
    if (!was_small && !is_small) {
        void *moved = realloc(ptr, wanted);
        return !moved && wanted <= held ? ptr : moved;
    }
    if (was_small && is_small && (held - 1) / SI__BLOCK_STEP == (wanted - 1) / SI__BLOCK_STEP) return ptr;
    void *made = is_small ? si__blocks_take(&sandbox->blocks, wanted) : malloc(wanted);
    if (!made) return NULL;
    if (ptr) memcpy(made, ptr, held < wanted ? held : wanted);
    if (ptr) drop(sandbox, ptr, held);
    return made;
}

/* When ptr is NULL, osize is a type tag and not a size. */
static void *count_alloc(void *ud, void *ptr, size_t osize, size_t nsize) {
    si__sandbox *sandbox = ud;
    size_t held = ptr ? osize : 0;
    if (nsize == 0) {
        drop(sandbox, ptr, held);
        account(sandbox, held, 0);
        return NULL;
    }
    if (nsize > held) {
        if (!may_grow(sandbox, held, nsize)) return NULL;
        if (!ptr && osize == LUA_TSTRING && nsize > SI__SANDBOX_LONG_BYTES) {
            if (nsize > SI__SANDBOX_OBJECT_BYTES) {
                sandbox->refusal = SI__REFUSED_OWN_CAP;
                return NULL;
            }
            if (!sandbox->long_text) sandbox->work = WORK_BEFORE_CLOCK; /* look closely from now on */
            sandbox->long_text = 1;
        }
        charge(sandbox, nsize);
    }
    void *moved = move(sandbox, ptr, held, nsize);
    if (moved) account(sandbox, held, nsize);
    return moved;
}

/* ---- The allow-list ---------------------------------------------------------------------------------------------- */

/* setmetatable(table, metatable): __gc is refused: finalizers would run outside any call's budget. [-2, +1, e] */
static int set_metatable(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) return luaL_error(L, "__gc is not allowed in rules");
        lua_pop(L, 1);
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* print(...): to the log, one line. [-n, +0, e] */
static int print_line(lua_State *L) {
    si__sandbox *sandbox = si__sandbox_of(L);
    luaL_Buffer b;
    int n = lua_gettop(L);
    luaL_checkstack(L, 4, NULL);
    luaL_buffinit(L, &b);
    for (int i = 1; i <= n && i <= 32; i++) {
        if (i > 1) luaL_addchar(&b, '\t');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    if (sandbox->print) sandbox->print(sandbox->owner, lua_tostring(L, -1));
    return 0;
}

static const char *const base_names[] = {"assert",   "error",  "ipairs", "next",     "pairs",    "pcall",
                                         "rawequal", "rawlen", "select", "tonumber", "tostring", "type"};
static const char *const utf8_names[] = {"char", "charpattern", "codepoint", "codes", "len", "offset"};

/* Copies the named fields of the table at `from` into the table at the top. [-0, +0, m] */
static void copy_fields(lua_State *L, int from, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        lua_getfield(L, from, names[i]);
        lua_setfield(L, -2, names[i]);
    }
}

/* The standard library is opened into a table nobody else sees; what is allowed is copied out of it. [-0, +0, m] */
static int build_base(lua_State *L) {
    si__sandbox *sandbox = lua_touserdata(L, 1);
    lua_newtable(L); /* base */
    int base = lua_gettop(L);
    lua_pushcfunction(L, luaopen_base);
    lua_call(L, 0, 1);
    int globals = lua_gettop(L);
    lua_pushvalue(L, base);
    copy_fields(L, globals, base_names, sizeof base_names / sizeof *base_names);
    lua_pushcfunction(L, set_metatable);
    lua_setfield(L, base, "setmetatable");
    lua_pushcfunction(L, print_line);
    lua_setfield(L, base, "print");
    lua_settop(L, base);
    /* luaopen_base filled the globals of the state: nothing of ours looks there, and nothing of theirs may. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_settable(L, -4);
    }
    lua_settop(L, base);
    lua_pushcfunction(L, luaopen_math);
    lua_call(L, 0, 1);
    lua_setfield(L, base, "math");
    lua_pushcfunction(L, luaopen_utf8);
    lua_call(L, 0, 1);
    lua_newtable(L);
    copy_fields(L, lua_absindex(L, -2), utf8_names, sizeof utf8_names / sizeof *utf8_names);
    lua_setfield(L, base, "utf8");
    lua_settop(L, base);
    si__strings_open(L);
    si__tables_open(L);
    sandbox->base_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

si__sandbox *si__sandbox_new(void *owner, si__pool *pool) {
    si__sandbox *sandbox = calloc(1, sizeof *sandbox);
    if (!sandbox) return NULL;
    sandbox->cap_bytes = SI__SANDBOX_MEMORY_BYTES;
    sandbox->budget_ns = SI__SANDBOX_CALL_NS;
    sandbox->owner = owner;
    sandbox->pool = pool;
    lua_State *L = lua_newstate(count_alloc, sandbox);
    if (!L) {
        si__blocks_free(&sandbox->blocks);
        free(sandbox);
        return NULL;
    }
    *(si__sandbox **)lua_getextraspace(L) = sandbox;
    sandbox->L = L;
    lua_sethook(L, count_hook, LUA_MASKCOUNT, HOOK_COUNT);
    lua_gc(L, LUA_GCINC, GC_PAUSE, 0, 0);
    lua_pushcfunction(L, build_base); /* light C function: pushing it cannot raise */
    lua_pushlightuserdata(L, sandbox);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        si__sandbox_free(sandbox);
        return NULL;
    }
    return sandbox;
}

void si__sandbox_free(si__sandbox *sandbox) {
    if (!sandbox) return;
    if (sandbox->L) lua_close(sandbox->L);
    si__blocks_free(&sandbox->blocks);
    free(sandbox);
}

void si__sandbox_push_env(lua_State *L) {
    si__sandbox *sandbox = si__sandbox_of(L);
    luaL_checkstack(L, 8, NULL);
    lua_newtable(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, sandbox->base_ref);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2);     /* env base key value key */
        if (lua_istable(L, -2)) { /* a library: each file gets its own table */
            lua_newtable(L);
            lua_pushnil(L);
            while (lua_next(L, -4)) { /* value key copy inner-key inner-value */
                lua_pushvalue(L, -2);
                lua_insert(L, -2);
                lua_rawset(L, -4);
            }
        } else {
            lua_pushvalue(L, -2);
        }
        lua_rawset(L, -6);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- The protected call ------------------------------------------------------------------------------------------ */

/* Message handler: runs where the error was raised, possibly inside the hook, so it calls nothing of the script's. */
static int add_traceback(lua_State *L) {
    if (lua_type(L, 1) == LUA_TSTRING)
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    else
        luaL_traceback(L, L, lua_pushfstring(L, "error object is a %s value", luaL_typename(L, 1)), 1);
    return 1;
}

static void copy_error(lua_State *L, int status, char *error, size_t error_bytes) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (status == LUA_ERRMEM) text = "not enough memory: more than a rule file may use, or a text of more than 2 MiB";
    if (!text) text = "error in error handling";
    if (!error_bytes) return;
    size_t n = strlen(text);
    if (n >= error_bytes) n = error_bytes - 1;
    memcpy(error, text, n);
    error[n] = '\0';
}

static void call_begin(si__sandbox *sandbox) {
    sandbox->killed = 0;
    sandbox->start_ns = 0; /* the first look at the clock starts it: short calls never pay for one */
    sandbox->work = 0;
    sandbox->refusal = SI__REFUSED_NOT;
}

static void call_end(si__sandbox *sandbox) {
    sandbox->out_of_time = sandbox->killed;
    if (sandbox->killed) lua_sethook(sandbox->L, count_hook, LUA_MASKCOUNT, hook_count(sandbox));
    sandbox->killed = 0;
}

int si__sandbox_call(si__sandbox *sandbox, int nargs, int nresults, char *error, size_t error_bytes) {
    lua_State *L = sandbox->L;
    int handler = lua_gettop(L) - nargs;
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, handler);
    call_begin(sandbox);
    int status = lua_pcall(L, nargs, nresults, handler);
    if (status != LUA_OK) {
        copy_error(L, status, error, error_bytes);
        lua_settop(L, handler - 1);
    } else {
        lua_remove(L, handler);
    }
    call_end(sandbox);
    return status;
}

int si__sandbox_load(si__sandbox *sandbox, const char *text, size_t length, const char *chunk_name, char *error,
                     size_t error_bytes) {
    lua_State *L = sandbox->L;
    call_begin(sandbox);
    int status = luaL_loadbufferx(L, text, length, chunk_name, "t");
    if (status != LUA_OK) {
        copy_error(L, status, error, error_bytes);
        lua_pop(L, 2);
        call_end(sandbox);
        return status;
    }
    lua_insert(L, -2);
    lua_setupvalue(L, -2, 1);
    call_end(sandbox);
    return 0;
}
