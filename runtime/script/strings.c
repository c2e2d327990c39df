/*
 * The string library as rules see it: capped subjects and results, patterns with a step budget, no dump and no pack.
 *
 * Opened by the sandbox. Also the table behind ("x"):method, so that s:rep(...) cannot get around it.
 */
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "pattern.h"
#include "sandbox.h"

static const char *check_subject(lua_State *L, int arg, size_t *length) {
    const char *s = luaL_checklstring(L, arg, length);
    if (*length > SI__SANDBOX_STRING_BYTES) luaL_argerror(L, arg, "text longer than 1 MiB");
    si__sandbox_charge(L, *length);
    return s;
}

/* string.rep(s, n [, sep]) [-(2..3), +1, m]: result of at most 1 MiB. */
static int rep(lua_State *L) {
    size_t length, sep_length = 0;
    const char *s = luaL_checklstring(L, 1, &length);
    lua_Integer n = luaL_checkinteger(L, 2);
    const char *sep = luaL_optlstring(L, 3, "", &sep_length);
    luaL_Buffer b;
    if (n <= 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (length + sep_length > 0 && (lua_Unsigned)n > SI__SANDBOX_STRING_BYTES / (length + sep_length))
        return luaL_error(L, "string.rep: result longer than 1 MiB");
    if (length + sep_length == 0) n = 1;
    si__sandbox_charge(L, (uint64_t)n);
    luaL_buffinit(L, &b);
    for (lua_Integer i = 0; i < n; i++) {
        luaL_addlstring(&b, s, length);
        if (i + 1 < n) luaL_addlstring(&b, sep, sep_length);
    }
    luaL_pushresult(&b);
    return 1;
}

/* string.format(fmt, ...) [-n, +1, e]: arguments of at most 1 MiB in all; then the standard one. */
static int format(lua_State *L) {
    size_t total = 0;
    for (int i = 1; i <= lua_gettop(L); i++) {
        size_t length = 0;
        if (lua_type(L, i) == LUA_TSTRING) lua_tolstring(L, i, &length);
        total += length;
    }
    if (total > SI__SANDBOX_STRING_BYTES) return luaL_error(L, "string.format: more than 1 MiB of text");
    return lua_tocfunction(L, lua_upvalueindex(1))(L); /* in this very frame: its errors name the caller's line */
}

/* ---- Matching ---------------------------------------------------------------------------------------------------- */

/* One attempt; raises what was wrong. */
static const char *match_at(lua_State *L, si__pattern_match *m, const char *at, const char *p, size_t p_length) {
    uint64_t before = m->steps;
    const char *end = si__pattern_at(m, at, p, p_length);
    si__sandbox_charge(L, m->steps - before);
    if (m->error) luaL_error(L, "%s", m->error);
    return end;
}

static void push_capture(lua_State *L, const si__pattern_match *m, int index, const char *start, const char *end) {
    if (index >= m->level) {
        if (index != 0) luaL_error(L, "invalid capture index %%%d", index + 1);
        lua_pushlstring(L, start, (size_t)(end - start));
    } else if (m->capture[index].length == SI__CAPTURE_POSITION) {
        lua_pushinteger(L, m->capture[index].start - m->subject + 1);
    } else {
        lua_pushlstring(L, m->capture[index].start, (size_t)m->capture[index].length);
    }
}

/* Pushes all captures, or the whole match when there are none and `whole`. Returns how many. */
static int push_captures(lua_State *L, const si__pattern_match *m, const char *start, const char *end, int whole) {
    int n = m->level == 0 && whole ? 1 : m->level;
    luaL_checkstack(L, n, "too many captures");
    for (int i = 0; i < n; i++) push_capture(L, m, i, start, end);
    return n;
}

static size_t start_offset(lua_Integer init, size_t length) {
    if (init > 0) return (size_t)init - 1;
    if (init == 0) return 0;
    return init < -(lua_Integer)length ? 0 : (size_t)((lua_Integer)length + init);
}

static int find_plain(lua_State *L, const char *s, size_t length, size_t offset, const char *p, size_t p_length) {
    const char *found = p_length ? memmem(s + offset, length - offset, p, p_length) : s + offset;
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - s + 1);
    lua_pushinteger(L, found - s + (lua_Integer)p_length);
    return 2;
}

static int find_or_match(lua_State *L, int find) {
    size_t length, p_length;
    const char *s = check_subject(L, 1, &length), *p = check_subject(L, 2, &p_length);
    size_t offset = start_offset(luaL_optinteger(L, 3, 1), length);
    if (offset > length) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || strcspn(p, "^$*+?.([%-") == p_length))
        return find_plain(L, s, length, offset, p, p_length);
    si__pattern_match m;
    si__pattern_begin(&m, s, length, SI__SANDBOX_PATTERN_STEPS);
    int anchored = p_length > 0 && *p == '^';
    for (const char *at = s + offset; at <= s + length; at++) {
        const char *end = match_at(L, &m, at, p + anchored, p_length - (size_t)anchored);
        if (end && find) {
            lua_pushinteger(L, at - s + 1);
            lua_pushinteger(L, end - s);
            return 2 + push_captures(L, &m, at, end, 0);
        }
        if (end) return push_captures(L, &m, at, end, 1);
        if (anchored) break;
    }
    lua_pushnil(L);
    return 1;
}

/* string.find(s, pattern [, init [, plain]]) [-(2..4), +(1..), e] */
static int find(lua_State *L) {
    return find_or_match(L, 1);
}
/* string.match(s, pattern [, init]) [-(2..3), +(1..), e] */
static int match(lua_State *L) {
    return find_or_match(L, 0);
}

/* The iterator of gmatch; upvalues: text, pattern, offset, end of the last match (-1: none). [-0, +(0..), e] */
static int gmatch_next(lua_State *L) {
    size_t length, p_length;
    const char *s = lua_tolstring(L, lua_upvalueindex(1), &length);
    const char *p = lua_tolstring(L, lua_upvalueindex(2), &p_length);
    lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
    si__pattern_match m;
    si__pattern_begin(&m, s, length, SI__SANDBOX_PATTERN_STEPS);
    for (const char *at = s + lua_tointeger(L, lua_upvalueindex(3)); at <= s + length; at++) {
        const char *end = match_at(L, &m, at, p, p_length);
        if (!end || end - s == last) continue;
        lua_pushinteger(L, end - s);
        lua_copy(L, -1, lua_upvalueindex(3));
        lua_replace(L, lua_upvalueindex(4));
        return push_captures(L, &m, at, end, 1);
    }
    return 0;
}

/* string.gmatch(s, pattern [, init]) [-(2..3), +1, e] */
static int gmatch(lua_State *L) {
    size_t length, p_length;
    check_subject(L, 1, &length);
    check_subject(L, 2, &p_length);
    size_t offset = start_offset(luaL_optinteger(L, 3, 1), length);
    lua_settop(L, 2);
    lua_pushinteger(L, offset > length ? (lua_Integer)length + 1 : (lua_Integer)offset);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

/* A replacement string with its %1 and %% filled in. */
static void add_expanded(lua_State *L, luaL_Buffer *b, const si__pattern_match *m, const char *start, const char *end) {
    size_t length;
    const char *r = lua_tolstring(L, 3, &length);
    for (size_t i = 0; i < length; i++) {
        if (r[i] != '%') {
            luaL_addchar(b, r[i]);
            continue;
        }
        char c = ++i < length ? r[i] : '\0';
        if (c == '%') {
            luaL_addchar(b, '%');
        } else if (c == '0') {
            luaL_addlstring(b, start, (size_t)(end - start));
        } else if (c >= '1' && c <= '9') {
            push_capture(L, m, c - '1', start, end);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            luaL_addvalue(b);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
}

/* What stands for a match, by the kind of the replacement: text, table or function. */
static void add_replacement(lua_State *L, luaL_Buffer *b, const si__pattern_match *m, const char *start,
                            const char *end) {
    int type = lua_type(L, 3);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        add_expanded(L, b, m, start, end);
        return;
    }
    if (type == LUA_TTABLE) {
        push_capture(L, m, 0, start, end);
        lua_gettable(L, 3);
    } else {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(L, m, start, end, 1), 1);
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(b, start, (size_t)(end - start));
    } else if (lua_isstring(L, -1)) {
        luaL_addvalue(b);
    } else {
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    }
}

/* string.gsub(s, pattern, replacement [, n]) [-(3..4), +2, e]: result of at most 1 MiB. */
static int gsub(lua_State *L) {
    size_t length, p_length;
    const char *s = check_subject(L, 1, &length), *p = check_subject(L, 2, &p_length);
    int type = lua_type(L, 3);
    luaL_argexpected(L, type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TTABLE || type == LUA_TFUNCTION, 3,
                     "string/function/table");
    lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)length + 1), n = 0;
    if (type == LUA_TNUMBER) lua_tolstring(L, 3, NULL);
    int anchored = p_length > 0 && *p == '^';
    si__pattern_match m;
    luaL_Buffer b;
    si__pattern_begin(&m, s, length, SI__SANDBOX_PATTERN_STEPS);
    luaL_buffinit(L, &b);
    const char *at = s, *last = NULL, *s_end = s + length;
    while (n < most) {
        const char *end = match_at(L, &m, at, p + anchored, p_length - (size_t)anchored);
        if (end && end != last) {
            n++;
            add_replacement(L, &b, &m, at, end);
            at = last = end;
        } else if (at < s_end) {
            luaL_addchar(&b, *at++);
        } else {
            break;
        }
        if (luaL_bufflen(&b) > SI__SANDBOX_STRING_BYTES) return luaL_error(L, "string.gsub: result longer than 1 MiB");
        if (anchored) break;
    }
    if (at < s_end) luaL_addlstring(&b, at, (size_t)(s_end - at));
    luaL_pushresult(&b);
    lua_pushinteger(L, n);
    return 2;
}

void si__strings_open(lua_State *L) {
    static const char *const kept[] = {"byte", "char", "len", "lower", "reverse", "sub", "upper"};
    static const luaL_Reg capped[] = {{"find", find}, {"match", match}, {"gmatch", gmatch},
                                      {"gsub", gsub}, {"rep", rep},     {NULL, NULL}};
    int base = lua_gettop(L);
    lua_pushcfunction(L, luaopen_string); /* sets the string metatable, whose __index is replaced below */
    lua_call(L, 0, 1);
    luaL_newlib(L, capped);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        lua_getfield(L, base + 1, kept[i]);
        lua_setfield(L, base + 2, kept[i]);
    }
    lua_getfield(L, base + 1, "format");
    lua_pushcclosure(L, format, 1);
    lua_setfield(L, base + 2, "format");
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushvalue(L, base + 2);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 2);
    lua_setfield(L, base, "string"); /* files get copies: this table itself stays out of reach */
    lua_settop(L, base);
}
