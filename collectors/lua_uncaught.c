/*
 * Errors that end a script of the standalone interpreter, under `si run` (preload_lua.c).
 *
 * lua.c runs every chunk by a lua_pcall from its C function `pmain`, with a message handler that it has put on its
 * stack just below the chunk. That slot is given a handler of ours, which records the error and then calls lua.c's:
 * what the script prints is the same. The slot is there when the chunk begins, so a call hook waits for that moment; it
 * is removed at the last chunk's first call, before a line of it has run. Host threads, in Lua's hook.
 */
#include <dlfcn.h>
#include <string.h>

#include "lua_vm.h"

/* There is one interpreter in a process. */
static lua_CFunction interpreters; /* its message handler */
static int chunks_left;
static const char *(*get_local)(lua_State *, const lua_Debug *, int);
static const char *(*set_local)(lua_State *, const lua_Debug *, int);

/* In place of the interpreter's handler, and calling it as it would have been: it looks at levels from 1. [-1, +1, m]
 */
static int record_and_handle(lua_State *L) {
    si__lua_record_error(L, __builtin_return_address(0));
    return interpreters(L);
}

/* `ar` is of the interpreter's C function. Below what it calls there are strings, and the handler. */
static void take_handler(const lua_library *l, lua_State *L, const lua_Debug *ar) {
    int last = 0;
    if (!l->lua_checkstack(L, 2)) return;
    for (int i = 1; get_local(L, ar, i); i++) {
        lua_CFunction function = l->lua_tocfunction(L, -1);
        l->lua_settop(L, -2);
        if (function) last = i;
    }
    if (!last || !get_local(L, ar, last)) return;
    lua_CFunction found = l->lua_tocfunction(L, -1);
    l->lua_settop(L, -2);
    Dl_info program, handler;
    if (found == record_and_handle || (interpreters && found != interpreters)) return;
    if (!dladdr((const void *)(uintptr_t)l->lua_resume, &program) ||
        !dladdr((const void *)(uintptr_t)found, &handler) || program.dli_fbase != handler.dli_fbase)
        return;
    interpreters = found;
    l->lua_pushcclosure(L, record_and_handle, 0);
    set_local(L, ar, last);
}

/* Whether the function `level` calls away from Lua's base is one that the interpreter itself has called. */
static int is_first(const lua_library *l, lua_State *L, int level, lua_Debug *base) {
    lua_Debug beyond;
    return l->lua_getstack(L, level + 1, base) && !l->lua_getstack(L, level + 2, &beyond) &&
           l->lua_getinfo(L, "S", base) && base->what[0] == 'C';
}

static void on_call(lua_State *L, lua_Debug *ar) {
    lua_library *l = si__lua_library_around(__builtin_return_address(0));
    lua_Debug base;
    (void)ar;
    if (!l) return;
    if (chunks_left > 0 && is_first(l, L, 0, &base)) {
        take_handler(l, L, &base);
        chunks_left--;
    }
    if (chunks_left <= 0 && l->lua_gethook(L) == on_call) l->lua_sethook(L, NULL, 0, 0);
}

void si__lua_watch_uncaught(lua_State *L, int chunks) {
    lua_attached *s = si__lua_running(L);
    void *get = dlsym(RTLD_DEFAULT, "lua_getlocal"), *set = dlsym(RTLD_DEFAULT, "lua_setlocal");
    lua_Debug base;
    if (!s || !get || !set || chunks <= 0) return;
    memcpy(&get_local, &get, sizeof get_local);
    memcpy(&set_local, &set, sizeof set_local);
    if (is_first(s->library, L, 1, &base)) take_handler(s->library, L, &base);
    chunks_left = chunks;
    if (!s->library->lua_gethook(L)) s->library->lua_sethook(L, on_call, LUA_MASKCALL, 0);
}
