/*
 * si.core: what the language in lua/si/ asks of C: units, patterns, where a word was used, and where problems go.
 *
 * Only lua/si/ sees this table; rule files do not. Called while a set is loaded, on the loop thread.
 */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "ruleset.h"
#include "units.h"

static si__ruleset *set_of(lua_State *L) {
    return si__unit_of(L)->set;
}

/* duration("5m") -> milliseconds, or nil and why. [-1, +(1|2), m] */
static int core_duration(lua_State *L) {
    int64_t ms;
    const char *text = luaL_checkstring(L, 1);
    if (si__duration_parse(text, &ms) == 0) {
        lua_pushinteger(L, ms);
        return 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "\"%s\" is not a duration; write a number and ms, s, m, h, d or w, such as \"90s\" or \"1h30m\"",
                    text);
    return 2;
}

/* size("8MiB") -> bytes, or nil and why. [-1, +(1|2), m] */
static int core_size(lua_State *L) {
    double bytes;
    if (lua_type(L, 1) == LUA_TNUMBER) {
        lua_settop(L, 1);
        return 1;
    }
    const char *text = luaL_checkstring(L, 1);
    if (si__size_parse(text, &bytes) == 0) {
        lua_pushnumber(L, bytes);
        return 1;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "\"%s\" is not a size; write a number and B, KiB, MiB, GiB, kB, MB or GB, such as \"8MiB\"",
                    text);
    return 2;
}

/* pattern_error("http .*") -> nil, or why it is malformed. [-1, +1, m] */
static int core_pattern_error(lua_State *L) {
    /* Malformed parts are found where matching reaches them: probe with each suffix of the pattern's own text. */
    size_t length;
    const char *p = luaL_checklstring(L, 1, &length), *error = NULL;
    if (length > 500) error = "pattern longer than 500 bytes";
    if (!error && strlen(p) != length) error = "pattern holds a NUL byte";
    int depth = 0;
    for (size_t i = 0; !error && i < length; i++) {
        if (p[i] == '%') {
            if (++i == length) error = "malformed pattern (ends with '%')";
        } else if (p[i] == '[') {
            size_t at = i + 1;
            if (at < length && p[at] == '^') at++;
            if (at < length && p[at] == ']') at++;
            while (at < length && p[at] != ']') at += p[at] == '%' ? 2 : 1;
            if (at >= length) error = "malformed pattern (missing ']')";
            i = at;
        } else if (p[i] == '(') {
            depth++;
        } else if (p[i] == ')' && depth-- == 0) {
            error = "malformed pattern (')' without '(')";
        }
    }
    if (!error && depth) error = "malformed pattern (missing ')')";
    if (!error) si__pattern_whole(p, "", &error);
    if (error)
        lua_pushstring(L, error);
    else
        lua_pushnil(L);
    return 1;
}

/* where() -> file, line of the innermost frame that belongs to a rule file; "?", 0 outside. [-0, +2, m] */
static int core_where(lua_State *L) {
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.source[0] != '@') continue;
        lua_pushstring(L, ar.source + 1);
        lua_pushinteger(L, ar.currentline);
        return 2;
    }
    lua_pushliteral(L, "?");
    lua_pushinteger(L, 0);
    return 2;
}

/* Whether `field` followed by '=' stands in the line, as a word of its own. */
static int line_sets(const char *line, size_t length, const char *field, size_t field_length) {
    for (size_t i = 0; i + field_length < length; i++) {
        if (memcmp(line + i, field, field_length) != 0) continue;
        int before = i ? (unsigned char)line[i - 1] : ' ';
        if (before == '_' || before == '.' || (before >= '0' && before <= '9') ||
            ((before | 32) >= 'a' && (before | 32) <= 'z'))
            continue;
        size_t after = i + field_length;
        while (after < length && (line[after] == ' ' || line[after] == '\t')) after++;
        if (after < length && line[after] == '=' && (after + 1 == length || line[after + 1] != '=')) return 1;
    }
    return 0;
}

/* line_of(file, line, field) -> the line at or after `line` where the field is set, else `line`. [-3, +1, m] */
static int core_line_of(lua_State *L) {
    const char *file = luaL_checkstring(L, 1);
    lua_Integer first = luaL_checkinteger(L, 2);
    size_t field_length;
    const char *field = luaL_checklstring(L, 3, &field_length);
    const si__source *source = si__sources_find(&set_of(L)->sources, file);
    const char *at = source ? source->text : NULL;
    lua_Integer found = first;
    for (lua_Integer line = 1; at && *at && line < first + 60; line++) {
        const char *end = strchr(at, '\n');
        size_t length = end ? (size_t)(end - at) : strlen(at);
        if (line > first && length && *at != ' ' && *at != '\t' && *at != '}' && *at != '-')
            break; /* the next declaration */
        if (line >= first && line_sets(at, length, field, field_length)) {
            found = line;
            break;
        }
        at = end ? end + 1 : NULL;
    }
    lua_pushinteger(L, found);
    return 1;
}

/* place(file) -> its number among the files, in the order in which they count. [-1, +1, m] */
static int core_place(lua_State *L) {
    const si__source_list *sources = &set_of(L)->sources;
    const si__source *source = si__sources_find(sources, luaL_checkstring(L, 1));
    lua_pushinteger(L, source ? source - sources->items : 0);
    return 1;
}

/* problem("error" | "warning", file, line, message). While loading it is collected, later it is raised. [-4, +0, e] */
static int core_problem(lua_State *L) {
    si__ruleset *set = set_of(L);
    int warning = strcmp(luaL_checkstring(L, 1), "warning") == 0;
    const char *file = luaL_checkstring(L, 2), *message = luaL_checkstring(L, 4);
    int line = (int)luaL_checkinteger(L, 3);
    if (set->loaded) { /* a tail call leaves no frame of the file's: then the rule's own place is shown instead */
        if (warning) return 0;
        lua_pushstring(L, line > 0 ? lua_pushfstring(L, "%s:%d: %s", file, line, message) : message);
        return lua_error(L);
    }
    si__ruleset_problem(set, warning, file, line, message);
    return 0;
}

void si__core_push(lua_State *L) {
    static const luaL_Reg functions[] = {{"duration", core_duration},
                                         {"size", core_size},
                                         {"pattern_error", core_pattern_error},
                                         {"where", core_where},
                                         {"line_of", core_line_of},
                                         {"place", core_place},
                                         {"problem", core_problem},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_pushboolean(L, set_of(L)->partial);
    lua_setfield(L, -2, "partial");
}
