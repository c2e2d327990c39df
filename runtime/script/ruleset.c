/*
 * Loads a rule set: the language from lua/si/, then every rule file in an environment of its own, then the
 * cross-checks.
 *
 * Called by script.c and check.c on the loop thread. Every protected call has the sandbox's budget.
 */
#include "ruleset.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"

#define LANGUAGE_NS (1000 * (int64_t)1000000) /* our own Lua, under sanitizers too */

void si__hash_begin(si__hash *hash) {
    *hash = (si__hash){0xCBF29CE484222325u, 0x84222325CBF29CE4u};
}

/* Two differently mixed lanes. Not cryptographic: it tells sets and alerts apart. The length is mixed in, so that
   ("a", "bc") and ("ab", "c") differ. */
void si__hash_add(si__hash *hash, const void *data, size_t length) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        hash->a = (hash->a ^ bytes[i]) * 0x100000001B3u;
        hash->b = (hash->b + bytes[i]) * 0x9E3779B97F4A7C15u;
        hash->b ^= hash->b >> 29;
    }
    hash->a = (hash->a ^ length) * 0xFF51AFD7ED558CCDu;
    hash->b = (hash->b ^ length) * 0xC4CEB9FE1A85EC53u;
    hash->a ^= hash->a >> 33;
    hash->b ^= hash->b >> 31;
}

void si__hash_hex(const si__hash *hash, char out[33]) {
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash->a, (unsigned long long)hash->b);
}

/* ---- Problems ---------------------------------------------------------------------------------------------------- */

void si__ruleset_problem(si__ruleset *set, int warning, const char *file, int line, const char *message) {
    const si__source *source = si__sources_find(&set->sources, file);
    const char *path = source ? source->path : file, *kind = warning ? "warning: " : "";
    char number[24] = "";
    if (line > 0) snprintf(number, sizeof number, "%d:", line);
    if (!warning) set->error_count++; /* counted even if there is no memory left to say why */
    si__problem *problems = realloc(set->problems, (set->problem_count + 1) * sizeof *problems);
    if (!problems) return;
    set->problems = problems;
    si__problem made = {.warning = warning, .line = line, .path = strdup(path)};
    size_t n = strlen(message) + strlen(path) + 64;
    made.text = malloc(n);
    if (!made.path || !made.text) {
        free(made.path);
        free(made.text);
        return;
    }
    snprintf(made.text, n, "%s:%s %s%s", path, number, kind, message);
    problems[set->problem_count++] = made;
}

static int by_place(const void *a, const void *b) {
    const si__problem *x = a, *y = b;
    int order = strcmp(x->path, y->path);
    return order ? order : x->line - y->line;
}

/* Finds the "name.lua:LINE: " a Lua message starts with. Returns the source and what follows, or NULL. */
static const si__source *split_message(const si__ruleset *set, const char *message, int *line, const char **rest) {
    for (size_t i = 0; i < set->sources.count; i++) {
        const si__source *s = &set->sources.items[i];
        size_t n = strlen(s->name);
        if (strncmp(message, s->name, n) != 0 || message[n] != ':') continue;
        char *end;
        long number = strtol(message + n + 1, &end, 10);
        if (end == message + n + 1 || *end != ':') continue;
        *line = (int)number;
        *rest = end[1] == ' ' ? end + 2 : end + 1;
        return s;
    }
    return NULL;
}

int si__ruleset_show_path(const si__ruleset *set, const char *message, char *out, size_t out_bytes) {
    int line;
    const char *rest;
    const si__source *s = split_message(set, message, &line, &rest);
    if (s)
        snprintf(out, out_bytes, "%s:%d: %s", s->path, line, rest);
    else
        snprintf(out, out_bytes, "%s", message);
    return s != NULL;
}

/* A Lua error as a problem of its file: first line only, the traceback adds nothing here. */
static void lua_problem(si__ruleset *set, const si__source *source, char *message) {
    int line = 0;
    const char *rest = message;
    message[strcspn(message, "\n")] = '\0';
    const si__source *said = split_message(set, message, &line, &rest);
    si__ruleset_problem(set, 0, said ? said->name : source->name, line, said ? rest : message);
}

/* ---- The language ------------------------------------------------------------------------------------------------ */

/* require for lua/si/: loads an embedded module once. [-1, +1, e] */
static int library_require(lua_State *L) {
    si__sandbox *sandbox = si__sandbox_of(L);
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
    (void)sandbox;
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

static void load_file(si__ruleset *set, const si__source *source) {
    char error[SI__ERROR_BYTES], chunk[80];
    si__sandbox *sandbox = set->sandbox;
    lua_pushcfunction(sandbox->L, push_file_env);
    int status = si__sandbox_call(sandbox, 0, 1, error, sizeof error);
    snprintf(chunk, sizeof chunk, "@%s", source->name);
    if (!status) status = si__sandbox_load(sandbox, source->text, source->length, chunk, error, sizeof error);
    if (!status) status = si__sandbox_call(sandbox, 0, 0, error, sizeof error);
    if (status) lua_problem(set, source, error);
}

static int finish_language(lua_State *L) {
    si__ruleset *set = si__sandbox_of(L)->owner;
    lua_getfield(L, LUA_REGISTRYINDEX, "si.engine");
    lua_getfield(L, -1, "finish");
    lua_call(L, 0, 1);
    if (set->error_count == 0) si__ruleset_read(L, set);
    return 0;
}

static void print_to_owner(void *owner, const char *text) {
    si__ruleset *set = owner;
    if (set->print) set->print(set->print_arg, text);
}

/* Runs a C function in the budget; an error there is ours, not a file's. */
static int run_step(si__ruleset *set, lua_CFunction step) {
    char error[SI__ERROR_BYTES];
    set->sandbox->budget_ns = LANGUAGE_NS;
    lua_pushcfunction(set->sandbox->L, step);
    int status = si__sandbox_call(set->sandbox, 0, 0, error, sizeof error);
    set->sandbox->budget_ns = SI__SANDBOX_CALL_NS;
    if (status) si__ruleset_problem(set, 0, "rules", 0, error);
    return status;
}

si__ruleset *si__ruleset_new(si__source_list *sources, int partial) {
    si__ruleset *set = calloc(1, sizeof *set);
    if (set) set->sandbox = si__sandbox_new(set);
    if (!set || !set->sandbox) {
        si__sources_clear(sources);
        free(set);
        return NULL;
    }
    set->sources = *sources;
    *sources = (si__source_list){0};
    set->partial = partial;
    set->cadence_ref = LUA_NOREF;
    set->sandbox->print = print_to_owner;
    si__hash hash;
    si__hash_begin(&hash);
    for (size_t i = 0; i < set->sources.count; i++) {
        si__hash_add(&hash, set->sources.items[i].name, strlen(set->sources.items[i].name));
        si__hash_add(&hash, set->sources.items[i].text, set->sources.items[i].length);
    }
    si__hash_hex(&hash, set->hash);
    if (run_step(set, open_language) == 0) {
        for (size_t i = 0; i < set->sources.count; i++) load_file(set, &set->sources.items[i]);
        run_step(set, finish_language);
    }
    set->loaded = 1;
    if (set->problem_count) qsort(set->problems, set->problem_count, sizeof *set->problems, by_place);
    return set;
}

void si__ruleset_free(si__ruleset *set) {
    if (!set) return;
    si__ruleset_clear_read(set);
    si__sandbox_free(set->sandbox);
    si__sources_clear(&set->sources);
    for (size_t i = 0; i < set->problem_count; i++) {
        free(set->problems[i].path);
        free(set->problems[i].text);
    }
    free(set->problems);
    free(set);
}
