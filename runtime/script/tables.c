/*
 * The table library as rules see it: the standard functions behind a check of how far they would run, since they loop
 * in C where no hook fires. Opened by the sandbox.
 */
#include <lauxlib.h>
#include <lualib.h>

#include "sandbox.h"

/* Runs the standard function in this very frame, so that its errors name the caller's line. [-n, +results, e] */
static int forward(lua_State *L) {
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* A plain table of bounded length: __len would let a short table claim any length. */
static void check_table(lua_State *L, int arg) {
    luaL_checktype(L, arg, LUA_TTABLE);
    if (luaL_getmetafield(L, arg, "__len") != LUA_TNIL) luaL_argerror(L, arg, "table with __len is not allowed here");
    lua_Unsigned length = lua_rawlen(L, arg);
    if (length > SI__SANDBOX_TABLE_ITEMS) luaL_argerror(L, arg, "table with more than 100,000 items");
    si__sandbox_charge(L, length);
}

static void check_range(lua_State *L, lua_Integer first, lua_Integer last) {
    if (last >= first && (lua_Unsigned)last - (lua_Unsigned)first >= SI__SANDBOX_TABLE_ITEMS)
        luaL_error(L, "range of more than 100,000 items");
    if (last >= first) si__sandbox_charge(L, (lua_Unsigned)last - (lua_Unsigned)first);
}

/* table.insert, remove, pack, sort: the table's own length counts. [-n, +(0..1), e] */
static int by_length(lua_State *L) {
    check_table(L, 1);
    return forward(L);
}

/* table.sort(t [, less]): a sort of plain values runs wholly in C, hence its own smaller cap. [-(1..2), +0, e] */
static int sort(lua_State *L) {
    check_table(L, 1);
    lua_Unsigned length = lua_rawlen(L, 1);
    if (length > SI__SANDBOX_TABLE_ITEMS / 10) luaL_argerror(L, 1, "more than 10,000 items to sort");
    si__sandbox_charge(L, length * 16);
    return forward(L);
}

/* table.concat(t [, sep [, i [, j]]]) and table.unpack(t [, i [, j]]) [-n, +(1..), e] */
static int concat(lua_State *L) {
    check_table(L, 1);
    check_range(L, luaL_optinteger(L, 3, 1), luaL_optinteger(L, 4, (lua_Integer)lua_rawlen(L, 1)));
    return forward(L);
}

static int unpack(lua_State *L) {
    check_table(L, 1);
    check_range(L, luaL_optinteger(L, 2, 1), luaL_optinteger(L, 3, (lua_Integer)lua_rawlen(L, 1)));
    return forward(L);
}

/* table.move(a, first, last, to [, b]) [-(4..5), +1, e] */
static int move(lua_State *L) {
    check_table(L, 1);
    check_range(L, luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
    return forward(L);
}

void si__tables_open(lua_State *L) {
    static const luaL_Reg wrapped[] = {{"insert", by_length}, {"remove", by_length}, {"sort", sort}, {"concat", concat},
                                       {"unpack", unpack},    {"move", move},        {NULL, NULL}};
    int base = lua_gettop(L);
    lua_pushcfunction(L, luaopen_table);
    lua_call(L, 0, 1);
    lua_newtable(L);
    for (const luaL_Reg *r = wrapped; r->name; r++) {
        lua_getfield(L, base + 1, r->name);
        lua_pushcclosure(L, r->func, 1);
        lua_setfield(L, -2, r->name);
    }
    lua_getfield(L, base + 1, "pack");
    lua_setfield(L, -2, "pack");
    lua_setfield(L, base, "table");
    lua_settop(L, base);
}
