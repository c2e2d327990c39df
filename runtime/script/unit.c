/*
 * One Lua state with the language from lua/si/ and rule files in it, each in an environment of its own. See unit.h;
 * loop thread only. Every protected call has the sandbox's budget.
 */
#include "unit.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "handle.h"
#include "ruleset.h"

#define LANGUAGE_NS (1000 * (int64_t)1000000) /* our own Lua, under sanitizers too */

si__unit *si__unit_of(lua_State *L) {
    return si__sandbox_of(L)->owner;
}

/* ---- The language ------------------------------------------------------------------------------------------------ */

/* require for lua/si/: loads an embedded module once. [-1, +1, e] */
static int library_require(lua_State *L) {
    const char *name = luaL_checkstring(L, 1);
    if (strncmp(name, "si.", 3) != 0) return luaL_error(L, "no module '%s'", name);
    lua_getfield(L, LUA_REGISTRYINDEX, "si.modules");
    if (lua_getfield(L, -1, name) != LUA_TNIL) return 1;
    const struct si__embedded_file *file = si__source_library(name + 3);
    if (!file) return luaL_error(L, "no module '%s'", name);
    lua_pushfstring(L, "=si/%s.lua", name + 3);
    const char *chunk = lua_tostring(L, -1);
    if (luaL_loadbufferx(L, (const char *)file->data, file->size, chunk, "t") != LUA_OK) return lua_error(L);
    si__sandbox_push_env(L);
    lua_pushcfunction(L, library_require);
    lua_setfield(L, -2, "require");
    lua_setupvalue(L, -2, 1);
    lua_call(L, 0, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

/* Leaves the engine module's table in the registry. [-0, +0, e] */
static int open_language(lua_State *L) {
    lua_newtable(L);
    si__core_push(L);
    lua_setfield(L, -2, "si.core");
    lua_setfield(L, LUA_REGISTRYINDEX, "si.modules");
    si__handles_open(L);
    lua_pushcfunction(L, library_require);
    lua_pushliteral(L, "si.engine");
    lua_call(L, 1, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "si.engine");
    return 0;
}

/* Pushes an environment with the words in it. [-0, +1, e] */
static int push_file_env(lua_State *L) {
    si__sandbox_push_env(L);
    lua_getfield(L, LUA_REGISTRYINDEX, "si.engine");
    lua_getfield(L, -1, "words");
    lua_call(L, 0, 1);
    lua_pushnil(L);
    while (lua_next(L, -2)) { /* env engine words key value */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_settable(L, 1);
    }
    lua_settop(L, 1);
    return 1;
}

static void load_file(si__unit *unit, const si__source *source) {
    char error[SI__ERROR_BYTES], chunk[80];
    si__sandbox *sandbox = unit->sandbox;
    lua_pushcfunction(sandbox->L, push_file_env);
    int status = si__sandbox_call(sandbox, 0, 1, error, sizeof error);
    snprintf(chunk, sizeof chunk, "@%s", source->name);
    if (!status) status = si__sandbox_load(sandbox, source->text, source->length, chunk, error, sizeof error);
    if (!status) status = si__sandbox_call(sandbox, 0, 0, error, sizeof error);
    if (status) si__ruleset_lua_problem(unit->set, source, error);
}

void si__unit_load(si__unit *unit) {
    const si__source_list *sources = &unit->set->sources;
    for (size_t i = 0; i < sources->count; i++)
        if (sources->items[i].unit == unit->number) load_file(unit, &sources->items[i]);
}

int si__unit_step(si__unit *unit, lua_CFunction step, void *arg) {
    char error[SI__ERROR_BYTES];
    unit->sandbox->budget_ns = LANGUAGE_NS;
    lua_pushcfunction(unit->sandbox->L, step);
    lua_pushlightuserdata(unit->sandbox->L, arg);
    int status = si__sandbox_call(unit->sandbox, 1, 0, error, sizeof error);
    unit->sandbox->budget_ns = SI__SANDBOX_CALL_NS;
    if (status) si__ruleset_problem(unit->set, 0, "rules", 0, error);
    return status;
}

static void print_to_owner(void *owner, const char *text) {
    si__ruleset *set = ((si__unit *)owner)->set;
    if (set->print) set->print(set->print_arg, text);
}

/* Opens a sandbox with the language. What the language itself takes does not count against the files. 0 or SI_ENOMEM.
 */
static int open_sandbox(si__unit *unit) {
    unit->sandbox = si__sandbox_new(unit, &unit->set->pool);
    if (!unit->sandbox) return SI_ENOMEM;
    unit->sandbox->print = print_to_owner;
    if (si__unit_step(unit, open_language, NULL) == 0) {
        lua_gc(unit->sandbox->L, LUA_GCCOLLECT, 0);
        unit->sandbox->cap_bytes = SI__UNIT_MEMORY_BYTES + unit->sandbox->used_bytes;
        unit->language_bytes = unit->sandbox->used_bytes;
        unit->set->pool.cap_bytes += unit->language_bytes;
    }
    return 0;
}

static void close_sandbox(si__unit *unit) {
    si__sandbox_free(unit->sandbox);
    unit->sandbox = NULL;
    unit->set->pool.cap_bytes -= unit->language_bytes;
    unit->language_bytes = 0;
}

si__unit *si__unit_new(si__ruleset *set, size_t number) {
    si__unit *unit = calloc(1, sizeof *unit);
    if (!unit) return NULL;
    unit->set = set;
    unit->number = number;
    if (open_sandbox(unit) == 0) return unit;
    free(unit);
    return NULL;
}

void si__unit_free(si__unit *unit) {
    if (!unit) return;
    close_sandbox(unit);
    free(unit);
}

void si__unit_end(si__unit *unit, const char *why) {
    close_sandbox(unit);
    snprintf(unit->error, sizeof unit->error, "%.255s", why);
}

int si__unit_restart(si__unit *unit) {
    size_t errors = unit->set->error_count;
    si__ruleset_forget_functions(unit->set, unit->number);
    close_sandbox(unit);
    unit->restarts++;
    unit->set->loaded = 0; /* problems are collected, and counted as the reason to give up */
    int failed = open_sandbox(unit);
    if (!failed) {
        si__unit_load(unit);
        if (unit->set->error_count == errors) si__unit_step(unit, si__ruleset_find_functions, unit);
        failed = unit->set->error_count != errors;
    }
    unit->set->loaded = 1;
    unit->set->error_count = errors;
    if (!failed) return 0;
    si__ruleset_forget_functions(unit->set, unit->number);
    si__unit_end(unit, "its file could not be started again after it had used too much memory");
    return SI_ERULES;
}
