/*
 * The methods of a series, as rules call them: s:avg("5m"), p:baseline("24h"):z(x). Docstrings stand by the functions;
 * docs/rules.md lists them. Windows are durations in quotes; a statistic of an empty window is NaN (sum, count: 0),
 * and every comparison with NaN is false. Called inside protected calls only.
 */
#include "handle.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../history/series.h"
#include "ruleset.h"
#include "sandbox.h"
#include "units.h"

#define HANDLE "si.series"
#define TRACED "si.series.traced"
#define BASELINE "si.baseline"
#define TREND "si.trend"

static uint64_t serial_now(lua_State *L) {
    return si__unit_of(L)->set->serial;
}

/* The metatable is the first upvalue of every method: quicker than to look it up by its name. */
static si__handle *check(lua_State *L) {
    si__handle *h = lua_touserdata(L, 1);
    if (!h || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1))) {
        luaL_typeerror(L, 1, "series: write s:avg(\"5m\") with a colon");
        return NULL; /* raised */
    }
    lua_pop(L, 1);
    if (h->serial != serial_now(L))
        luaL_error(L, "this series was kept from an earlier call: use the one that the function was given");
    return h;
}

static int64_t check_window(lua_State *L, int arg) {
    int64_t ms = 0;
    size_t length = 0;
    si__unit *unit = si__unit_of(L);
    const char *text = lua_type(L, arg) == LUA_TSTRING ? lua_tolstring(L, arg, &length) : "";
    const size_t at = (length + (unsigned char)text[0]) % (sizeof unit->windows / sizeof *unit->windows);
    if (length && strncmp(unit->windows[at].text, text, sizeof unit->windows[at].text) == 0)
        return unit->windows[at].ms;
    if (!length || si__duration_parse(text, &ms) != 0 || ms <= 0)
        luaL_argerror(L, arg, "expected a window in quotes, such as \"5m\"");
    if (length < sizeof unit->windows[at].text) {
        memcpy(unit->windows[at].text, text, length + 1);
        unit->windows[at].ms = ms;
    }
    return ms;
}

static int push_window(lua_State *L, si__statistic statistic, double percent, int window_arg) {
    si__handle *h = check(L);
    int64_t window_ms = check_window(L, window_arg);
    int additive = statistic == SI__STAT_SUM || statistic == SI__STAT_COUNT;
    lua_pushnumber(L, h->series  ? si__series_window(h->series, statistic, h->now_ms, window_ms, percent)
                      : additive ? 0
                                 : NAN);
    return 1;
}

/* s:avg(window): mean of the points in the window. [-2, +1, e] */
static int avg(lua_State *L) {
    return push_window(L, SI__STAT_AVG, 0, 2);
}
/* s:min(window): smallest value. [-2, +1, e] */
static int minimum(lua_State *L) {
    return push_window(L, SI__STAT_MIN, 0, 2);
}
/* s:max(window): largest value. [-2, +1, e] */
static int maximum(lua_State *L) {
    return push_window(L, SI__STAT_MAX, 0, 2);
}
/* s:sum(window): sum of all points in the window. [-2, +1, e] */
static int sum(lua_State *L) {
    return push_window(L, SI__STAT_SUM, 0, 2);
}
/* s:count(window): number of points. [-2, +1, e] */
static int count(lua_State *L) {
    return push_window(L, SI__STAT_COUNT, 0, 2);
}
/* s:delta(window): last minus first value in the window. [-2, +1, e] */
static int delta(lua_State *L) {
    return push_window(L, SI__STAT_DELTA, 0, 2);
}
/* s:rate(window): delta per second. [-2, +1, e] */
static int rate(lua_State *L) {
    return push_window(L, SI__STAT_RATE, 0, 2);
}

static double check_percent(lua_State *L, int arg) {
    double percent = luaL_checknumber(L, arg);
    luaL_argcheck(L, percent > 0 && percent <= 100, arg, "expected a percentage between 0 and 100");
    return percent;
}

/* s:percentile(percent, window): nearest-rank percentile of the points in the window. [-3, +1, e] */
static int percentile(lua_State *L) {
    return push_window(L, SI__STAT_PERCENTILE, check_percent(L, 2), 3);
}

/* s:last(): the newest value. [-1, +1, e] */
static int last(lua_State *L) {
    si__handle *h = check(L);
    lua_pushnumber(L, h->series ? si__series_last(h->series) : NAN);
    return 1;
}

/* s:age(): seconds since the newest point; math.huge when there is none. [-1, +1, e] */
static int age(lua_State *L) {
    si__handle *h = check(L);
    lua_pushnumber(L, h->series ? (double)si__series_age_ms(h->series, h->now_ms) / 1000.0 : HUGE_VAL);
    return 1;
}

/* s:name(): what the series is of: metric, profile type, "function (module)", segment or error group. [-1, +1, e] */
static int name(lua_State *L) {
    lua_pushstring(L, check(L)->name);
    return 1;
}

/* s:median_last(n): median of the last n points. [-2, +1, e] */
static int median_last(lua_State *L) {
    si__handle *h = check(L);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 1 && n <= SI__RAW_POINTS, 2, "expected a number from 1 to 512");
    lua_pushnumber(L, h->series ? si__series_median_last(h->series, (size_t)n) : NAN);
    return 1;
}

static double option_number(lua_State *L, int arg, const char *field, double fallback) {
    double value = fallback;
    if (lua_istable(L, arg)) {
        if (lua_getfield(L, arg, field) != LUA_TNIL) value = luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    return value;
}

/* b:z(value): how many scaled deviations value is above what is usual. b is what s:baseline returned. [-2, +1, e] */
static int baseline_z(lua_State *L) {
    const si__baseline *b = luaL_checkudata(L, 1, BASELINE);
    lua_pushnumber(L, si__baseline_z(b, luaL_checknumber(L, 2)));
    return 1;
}

/* A field of a baseline; upvalue: the method z. [-2, +1, m] */
static int baseline_index(lua_State *L) {
    const si__baseline *b = lua_touserdata(L, 1);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "z") == 0)
        lua_pushvalue(L, lua_upvalueindex(1));
    else if (strcmp(name, "median") == 0)
        lua_pushnumber(L, b->median);
    else if (strcmp(name, "p98") == 0)
        lua_pushnumber(L, b->p98);
    else if (strcmp(name, "mad") == 0)
        lua_pushnumber(L, b->mad);
    else if (strcmp(name, "scale") == 0)
        lua_pushnumber(L, b->scale);
    else if (strcmp(name, "same_hour") == 0)
        lua_pushnumber(L, b->same_hour);
    else if (strcmp(name, "same_hour_held") == 0)
        lua_pushnumber(L, b->same_hour_held);
    else if (strcmp(name, "n") == 0)
        lua_pushinteger(L, (lua_Integer)b->n);
    else
        return luaL_error(L, "a baseline has median, mad, p98, n, same_hour, same_hour_held, scale and z, and no '%s'",
                          name);
    return 1;
}

/* A field of a trend. [-2, +1, m] */
static int trend_index(lua_State *L) {
    const si__trend *trend = lua_touserdata(L, 1);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "slope_per_hour") == 0)
        lua_pushnumber(L, trend->slope_per_hour);
    else if (strcmp(name, "tau") == 0)
        lua_pushnumber(L, trend->tau);
    else if (strcmp(name, "n") == 0)
        lua_pushinteger(L, (lua_Integer)trend->n);
    else
        return luaL_error(L, "a trend has slope_per_hour, tau and n, and no '%s'", name);
    return 1;
}

/* s:baseline(window [, { min_points = 60, floor = 0 }]): { median, mad, p98, n, same_hour, same_hour_held, scale, z =
   function }. What is usual: over the window's minutes, the newest 15 left out. floor: smallest deviation that counts,
   in the series' unit. Fewer than min_points minutes: all NaN. [-(2..3), +1, e] */
static int baseline(lua_State *L) {
    si__handle *h = check(L);
    int64_t window_ms = check_window(L, 2);
    if (!lua_isnoneornil(L, 3)) luaL_checktype(L, 3, LUA_TTABLE);
    double min_points = option_number(L, 3, "min_points", 60), floor = option_number(L, 3, "floor", 0);
    luaL_argcheck(L, min_points >= 1 && min_points <= 1440, 3, "min_points: expected 1 to 1440");
    luaL_argcheck(L, floor >= 0 && isfinite(floor), 3, "floor: expected 0 or more");
    si__baseline b = {.median = NAN, .mad = NAN, .p98 = NAN, .scale = NAN, .same_hour = NAN, .same_hour_held = NAN};
    if (h->series) si__series_baseline(h->series, h->now_ms, window_ms, (size_t)min_points, floor, &b);
    *(si__baseline *)lua_newuserdatauv(L, sizeof b, 0) = b;
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_setmetatable(L, -2);
    si__sandbox_charge(L, b.n);
    return 1;
}

/* s:theil_sen(window): { slope_per_hour, tau, n }: a trend that outliers do not bend, in units per hour, and how
   steadily it goes one way (-1..1). NaN with fewer than 5 points. [-2, +1, e] */
static int theil_sen(lua_State *L) {
    si__handle *h = check(L);
    int64_t window_ms = check_window(L, 2);
    si__trend trend = {.slope_per_hour = NAN, .tau = NAN};
    if (h->series) si__series_theil_sen(h->series, h->now_ms, window_ms, &trend);
    *(si__trend *)lua_newuserdatauv(L, sizeof trend, 0) = trend;
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_setmetatable(L, -2);
    si__sandbox_charge(L, 20000);
    return 1;
}

/* ---- Segments ---------------------------------------------------------------------------------------------------- */

static int push_part(lua_State *L, const char *part, si__statistic statistic, int window_arg) {
    char full[SI__SERIES_NAME_BYTES];
    si__handle *h = check(L);
    if (h->kind != SI__SERIES_SEGMENT) return luaL_error(L, "only segments have this method");
    snprintf(full, sizeof full, "%s|%s", h->name, part);
    si__series *series = si__history_find(h->history, SI__SERIES_SEGMENT, full);
    if (lua_isnoneornil(L, window_arg)) {
        lua_pushnumber(L, series ? si__series_last(series) : NAN);
        return 1;
    }
    int64_t window_ms = check_window(L, window_arg);
    lua_pushnumber(L, series                      ? si__series_window(series, statistic, h->now_ms, window_ms, 0)
                      : statistic == SI__STAT_SUM ? 0
                                                  : NAN);
    return 1;
}

/* s:p(percent [, window]): a segment's duration percentile in ms, newest or averaged over the window; for other series
   the percentile of the points in the window. [-(2..3), +1, e] */
static int any_p(lua_State *L) {
    char part[32];
    if (check(L)->kind != SI__SERIES_SEGMENT) return percentile(L);
    snprintf(part, sizeof part, "p%g", check_percent(L, 2));
    return push_part(L, part, SI__STAT_AVG, 3);
}

/* Calls of one sort: the newest per minute, or all in the window. Older history has no totals. */
static int push_calls(lua_State *L, const char *total, const char *per_minute) {
    char full[SI__SERIES_NAME_BYTES];
    si__handle *h = check(L);
    if (lua_isnoneornil(L, 2) || h->kind != SI__SERIES_SEGMENT) return push_part(L, per_minute, SI__STAT_SUM, 2);
    snprintf(full, sizeof full, "%s|%s", h->name, total);
    const si__series *known = si__history_find(h->history, SI__SERIES_SEGMENT, full);
    return push_part(L, known ? total : per_minute, SI__STAT_SUM, 2);
}

/* s:calls([window]): calls per minute, newest; or all calls in the window. [-(1..2), +1, e] */
static int segment_calls(lua_State *L) {
    return push_calls(L, "total", "count");
}
/* s:errors([window]): the same for calls that failed. [-(1..2), +1, e] */
static int segment_errors(lua_State *L) {
    return push_calls(L, "failed", "errors");
}
/* s:good(window, below): calls in the window that took less, for a duration (or ms) that an slo names. [-3, +1, e] */
static int segment_good(lua_State *L) {
    char part[48];
    int64_t ms = 0;
    if (lua_type(L, 3) == LUA_TNUMBER)
        ms = (int64_t)lua_tonumber(L, 3);
    else if (si__duration_parse(luaL_checkstring(L, 3), &ms) != 0)
        luaL_argerror(L, 3, "expected a duration in quotes, such as \"250ms\"");
    check_window(L, 2);
    snprintf(part, sizeof part, "below%g", (double)ms);
    return push_part(L, part, SI__STAT_SUM, 2);
}

/* ---- Growth of call sites ---------------------------------------------------------------------------------------- */

typedef struct growth {
    const char *name;
    double usual, now;
} growth;

typedef struct growth_search {
    const char *prefix;
    size_t prefix_length, n, most, seen;
    int64_t now_ms;
    growth best[20];
} growth_search;

static void growth_consider(void *arg, const char *full, si__series *series) {
    growth_search *search = arg;
    if (strncmp(full, search->prefix, search->prefix_length) != 0 || search->seen >= 500) return;
    if (si__series_age_ms(series, search->now_ms) > 15 * 60000) return;
    search->seen++;
    si__baseline b;
    si__series_baseline(series, search->now_ms, 24 * 3600 * (int64_t)1000, 1, 0, &b);
    growth g = {full + search->prefix_length, isnan(b.median) ? 0 : b.median, si__series_median_last(series, 3)};
    if (!(g.now > g.usual)) return;
    size_t at = search->n;
    while (at > 0 && search->best[at - 1].now - search->best[at - 1].usual < g.now - g.usual) at--;
    if (at >= search->most) return;
    if (search->n < search->most) search->n++;
    memmove(&search->best[at + 1], &search->best[at], (search->n - 1 - at) * sizeof g);
    search->best[at] = g;
}

/* p:top_growth([n]): the n (5) call sites of a profile that grew most against their own last 24 h:
   a list of { name, usual, now }. Also fine as the result of attach. [-(1..2), +1, e] */
static int top_growth(lua_State *L) {
    char prefix[64];
    si__handle *h = check(L);
    lua_Integer most = luaL_optinteger(L, 2, 5);
    luaL_argcheck(L, most >= 1 && most <= 20, 2, "expected a number from 1 to 20");
    if (h->kind != SI__SERIES_PROFILE) return luaL_error(L, "only profiles have this method");
    int n = snprintf(prefix, sizeof prefix, "%s|", h->name);
    growth_search search = {.prefix = prefix, .prefix_length = (size_t)n, .most = (size_t)most, .now_ms = h->now_ms};
    if (n > 0 && (size_t)n < sizeof prefix) si__history_each(h->history, SI__SERIES_CALLSITE, growth_consider, &search);
    lua_createtable(L, (int)search.n, 0);
    for (size_t i = 0; i < search.n; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, search.best[i].name);
        lua_setfield(L, -2, "name");
        lua_pushnumber(L, search.best[i].usual);
        lua_setfield(L, -2, "usual");
        lua_pushnumber(L, search.best[i].now);
        lua_setfield(L, -2, "now");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* ---- Misspelt methods ----------------------------------------------------------------------------------------------
 */

#define METHOD_BYTES 24

/* How far apart two short names are: 2 for every letter that is missing, added or another, 1 for neighbours that
   changed places. */
static size_t letters_apart(const char *a, const char *b) {
    size_t rows[3][METHOD_BYTES + 1], m = strlen(a), n = strlen(b);
    if (m > METHOD_BYTES || n > METHOD_BYTES) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) rows[0][j] = 2 * j;
    for (size_t i = 1; i <= m; i++) {
        const size_t *before = rows[(i - 1) % 3], *earlier = rows[(i + 1) % 3];
        size_t *row = rows[i % 3];
        row[0] = 2 * i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]) * (size_t)2;
            if (before[j] + 2 < best) best = before[j] + 2;
            if (row[j - 1] + 2 < best) best = row[j - 1] + 2;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && earlier[j - 2] + 1 < best)
                best = earlier[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[m % 3][n];
}

/* __index of the table of methods: there is no such one, but perhaps one that is nearly called so. [-2, +0, e] */
static int no_method(lua_State *L) {
    const char *asked = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
    char near[METHOD_BYTES + 1] = "";
    size_t distance = 2 * (strlen(asked) / 3 + 1);
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        const char *known = lua_tostring(L, -2); /* keys of this table are text */
        size_t d = letters_apart(asked, known);
        if (d <= distance && (d < distance || !*near || strcmp(known, near) < 0)) {
            distance = d;
            snprintf(near, sizeof near, "%s", known);
        }
        lua_pop(L, 1);
    }
    if (*near) return luaL_error(L, "a series has no method '%s'. Did you mean '%s'?", asked, near);
    return luaL_error(L, "a series has no method '%s'", asked);
}

/* ---- Tracing ----------------------------------------------------------------------------------------------------- */

/* Appends the value at `index` as people write it. [-0, +0, m] */
static void append_value(lua_State *L, int index, char *text, size_t bytes) {
    size_t n = strlen(text);
    const si__baseline *b = luaL_testudata(L, index, BASELINE);
    const si__trend *t = luaL_testudata(L, index, TREND);
    if (b)
        snprintf(text + n, bytes - n, "median %.6g, mad %.6g, p98 %.6g, n %zu, same hour %.6g, scale %.6g", b->median,
                 b->mad, b->p98, b->n, b->same_hour, b->scale);
    else if (t)
        snprintf(text + n, bytes - n, "slope_per_hour %.6g, tau %.3g, n %zu", t->slope_per_hour, t->tau, t->n);
    else if (lua_type(L, index) == LUA_TSTRING)
        snprintf(text + n, bytes - n, "\"%.200s\"", lua_tostring(L, index));
    else if (lua_type(L, index) == LUA_TNUMBER)
        snprintf(text + n, bytes - n, "%.6g", lua_tonumber(L, index));
    else
        snprintf(text + n, bytes - n, "%s", lua_istable(L, index) ? "{ ... }" : luaL_typename(L, index));
}

/* A method that says what it was asked and what it answered. Upvalues: its name, the method. [-n, +(0..), e] */
static int traced(lua_State *L) {
    char text[600];
    int n = lua_gettop(L);
    const si__unit *unit = si__unit_of(L);
    si__handle *h = luaL_testudata(L, 1, TRACED);
    if (!h) return luaL_typeerror(L, 1, "series: write s:avg(\"5m\") with a colon");
    snprintf(text, sizeof text, "s:%s(", lua_tostring(L, lua_upvalueindex(1)));
    for (int i = 2; i <= n; i++) {
        if (i > 2) strncat(text, ", ", sizeof text - strlen(text) - 1);
        append_value(L, i, text, sizeof text);
    }
    strncat(text, ") = ", sizeof text - strlen(text) - 1);
    *(si__handle *)lua_newuserdatauv(L, sizeof *h, 0) = *h; /* methods take plain handles */
    lua_rawgeti(L, LUA_REGISTRYINDEX, unit->handle_ref);
    lua_setmetatable(L, -2);
    lua_replace(L, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, n, LUA_MULTRET);
    if (lua_gettop(L) > 0) append_value(L, 1, text, sizeof text);
    if (unit->trace) unit->trace(unit->trace_arg, text);
    return lua_gettop(L);
}

/* __index of traced handles; upvalue: the table of methods. [-2, +1, e] */
static int traced_index(lua_State *L) {
    lua_pushvalue(L, 2);
    lua_gettable(L, lua_upvalueindex(1));
    lua_pushvalue(L, 2);
    lua_insert(L, -2);
    lua_pushcclosure(L, traced, 2);
    return 1;
}

/* tostring(s) [-1, +1, m] */
static int to_text(lua_State *L) {
    si__handle *h = luaL_checkudata(L, 1, HANDLE);
    lua_pushfstring(L, "series %s", h->serial == serial_now(L) ? h->name : "(kept from an earlier call)");
    return 1;
}

void si__handles_open(lua_State *L) {
    static const luaL_Reg methods[] = {{"avg", avg},
                                       {"min", minimum},
                                       {"max", maximum},
                                       {"sum", sum},
                                       {"count", count},
                                       {"delta", delta},
                                       {"rate", rate},
                                       {"percentile", percentile},
                                       {"last", last},
                                       {"age", age},
                                       {"name", name},
                                       {"median_last", median_last},
                                       {"baseline", baseline},
                                       {"theil_sen", theil_sen},
                                       {"p", any_p},
                                       {"calls", segment_calls},
                                       {"errors", segment_errors},
                                       {"good", segment_good},
                                       {"top_growth", top_growth},
                                       {NULL, NULL}};
    luaL_newmetatable(L, BASELINE);
    lua_pushcfunction(L, baseline_z);
    lua_pushcclosure(L, baseline_index, 1);
    lua_setfield(L, -2, "__index");
    luaL_newmetatable(L, TREND);
    lua_pushcfunction(L, trend_index);
    lua_setfield(L, -2, "__index");
    luaL_newmetatable(L, HANDLE); /* baseline trend handle */
    luaL_newlibtable(L, methods);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -5);
    lua_pushvalue(L, -5);
    luaL_setfuncs(L, methods, 3);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, no_method);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index"); /* baseline trend handle methods */
    lua_pushcfunction(L, to_text);
    lua_setfield(L, -3, "__tostring");
    luaL_newmetatable(L, TRACED); /* baseline trend handle methods traced */
    lua_insert(L, -2);
    lua_pushcclosure(L, traced_index, 1);
    lua_setfield(L, -2, "__index");
    si__unit_of(L)->traced_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    si__unit_of(L)->handle_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 2);
}

void si__handle_push(lua_State *L, const si__handle *from) {
    si__handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = *from;
    h->serial = serial_now(L);
    const si__unit *unit = si__unit_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, unit->trace ? unit->traced_ref : unit->handle_ref);
    lua_setmetatable(L, -2);
}
