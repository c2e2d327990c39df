/*
 * si.testing_core: the product's own rule engine and history as a Lua module, for specs under busted.
 *
 * Built from the same sources as libsi, but with Lua's API left undefined: the interpreter that runs the specs provides
 * it, for itself and for the sandbox inside. lua/si/testing.lua is the face people see.
 *
 * Callbacks of the engine are recorded in C and turned into Lua tables after the call has returned, since nothing may
 * raise through the engine.
 */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "../engine.h"
#include "../units.h"

#define ENGINE "si.testing.engine"
#define MAX_EVENTS 100000

typedef enum event_kind { EVENT_ALERT, EVENT_NOTIFY, EVENT_CADENCE, EVENT_PROFILE, EVENT_LOG } event_kind;

typedef struct event {
    event_kind kind;
    int level;
    char *text; /* destination or log message */
    si__alert *alerts;
    size_t alert_count;
    si__cadence cadence;
    si__profile_request request;
} event;

typedef struct engine {
    si__history *history;
    si__script *script;
    event *events;
    size_t event_count, event_capacity;
} engine;

/* ---- Recording --------------------------------------------------------------------------------------------------- */

static event *record(engine *e, event_kind kind) {
    if (e->event_count == e->event_capacity) {
        size_t capacity = e->event_capacity ? e->event_capacity * 2 : 64;
        event *events = capacity <= MAX_EVENTS ? realloc(e->events, capacity * sizeof *events) : NULL;
        if (!events) return NULL;
        e->events = events;
        e->event_capacity = capacity;
    }
    event *made = &e->events[e->event_count++];
    *made = (event){.kind = kind};
    return made;
}

static void record_alerts(event *made, const si__alert *alerts, size_t count) {
    made->alerts = calloc(count ? count : 1, sizeof *made->alerts);
    for (size_t i = 0; made->alerts && i < count; i++)
        if (si__alert_copy(&made->alerts[i], &alerts[i]) == 0) made->alert_count++;
}

static void on_alert(void *arg, const si__alert *alert) {
    event *made = record(arg, EVENT_ALERT);
    if (made) record_alerts(made, alert, 1);
}

static void on_notify(void *arg, const char *destination, const si__alert *alerts, size_t count) {
    event *made = record(arg, EVENT_NOTIFY);
    if (!made) return;
    made->text = strdup(destination);
    record_alerts(made, alerts, count);
}

static void on_cadence(void *arg, const si__cadence *cadence) {
    event *made = record(arg, EVENT_CADENCE);
    if (made) made->cadence = *cadence;
}

static void on_profile(void *arg, const si__profile_request *request) {
    event *made = record(arg, EVENT_PROFILE);
    if (made) made->request = *request;
}

static void on_log(void *arg, int level, const char *message) {
    event *made = record(arg, EVENT_LOG);
    if (!made) return;
    made->level = level;
    made->text = strdup(message);
}

static void clear_events(engine *e) {
    for (size_t i = 0; i < e->event_count; i++) {
        free(e->events[i].text);
        for (size_t k = 0; k < e->events[i].alert_count; k++) si__alert_clear(&e->events[i].alerts[k]);
        free(e->events[i].alerts);
    }
    e->event_count = 0;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------ */

static void set_text(lua_State *L, const char *field, const char *text) {
    lua_pushstring(L, text ? text : "");
    lua_setfield(L, -2, field);
}

static void set_number(lua_State *L, const char *field, double value) {
    lua_pushnumber(L, value);
    lua_setfield(L, -2, field);
}

static void push_alert(lua_State *L, const si__alert *a) {
    lua_createtable(L, 0, 16);
    set_text(L, "fingerprint", a->fingerprint);
    set_text(L, "rule", a->rule);
    set_text(L, "subject", a->subject);
    set_text(L, "severity", a->severity);
    set_text(L, "summary", a->summary);
    set_text(L, "runbook", a->runbook);
    set_text(L, "detail", a->detail);
    set_text(L, "app", a->app);
    set_text(L, "environment", a->environment);
    set_text(L, "host", a->host);
    set_text(L, "state", si__alert_state_name(a->state));
    set_number(L, "value", a->value);
    set_number(L, "started_ms", (double)a->started_ms);
    set_number(L, "fired_ms", (double)a->fired_ms);
    set_number(L, "resolved_ms", (double)a->resolved_ms);
}

static void push_event(lua_State *L, const event *made) {
    static const char *const names[] = {"alert", "notify", "cadence", "profile", "log"};
    lua_newtable(L);
    set_text(L, "kind", names[made->kind]);
    if (made->kind == EVENT_NOTIFY) set_text(L, "to", made->text);
    if (made->kind == EVENT_LOG) set_text(L, "message", made->text);
    if (made->kind == EVENT_LOG) set_number(L, "level", made->level);
    if (made->kind == EVENT_CADENCE) {
        set_number(L, "metrics_ms", (double)made->cadence.metrics_ms);
        set_number(L, "report_ms", (double)made->cadence.report_ms);
        set_number(L, "cpu_hz", made->cadence.cpu_hz);
        set_number(L, "cpu_background_hz", made->cadence.cpu_background_hz);
        set_number(L, "cpu_every_ms", (double)made->cadence.cpu_every_ms);
        set_number(L, "cpu_span_ms", (double)made->cadence.cpu_span_ms);
        set_number(L, "overhead_cpu", made->cadence.overhead_cpu);
        set_number(L, "heap_bytes", (double)made->cadence.heap_bytes);
        set_number(L, "wait_mean_ns", (double)made->cadence.wait_mean_ns);
        set_number(L, "wait_background_ns", (double)made->cadence.wait_background_ns);
        set_number(L, "wait_every_ms", (double)made->cadence.wait_every_ms);
        set_number(L, "wait_span_ms", (double)made->cadence.wait_span_ms);
    }
    if (made->kind == EVENT_PROFILE) {
        set_text(L, "type", made->request.type);
        set_text(L, "rule", made->request.rule);
        set_number(L, "hz", made->request.hz);
        set_number(L, "span_ms", (double)made->request.span_ms);
        set_number(L, "before_ms", (double)made->request.before_ms);
    }
    lua_createtable(L, (int)made->alert_count, 0);
    for (size_t i = 0; i < made->alert_count; i++) {
        push_alert(L, &made->alerts[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "alerts");
}

/* ---- Methods ----------------------------------------------------------------------------------------------------- */

static engine *check(lua_State *L) {
    engine *e = luaL_checkudata(L, 1, ENGINE);
    luaL_argcheck(L, e->script != NULL, 1, "closed");
    return e;
}

/* new { app =, environment =, host =, cpu_quota =, dashboard = } -> engine. [-1, +1, e] */
static int new (lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    engine *e = lua_newuserdatauv(L, sizeof *e, 0);
    memset(e, 0, sizeof *e);
    luaL_setmetatable(L, ENGINE);
    si__script_env env = {.arg = e,
                          .log = on_log,
                          .on_cadence = on_cadence,
                          .on_alert = on_alert,
                          .on_notify = on_notify,
                          .on_profile = on_profile};
    lua_getfield(L, 1, "app");
    lua_getfield(L, 1, "environment");
    lua_getfield(L, 1, "host");
    lua_getfield(L, 1, "cpu_quota");
    lua_getfield(L, 1, "dashboard");
    env.app = luaL_optstring(L, 3, "app");
    env.environment = luaL_optstring(L, 4, "test");
    env.host = luaL_optstring(L, 5, "host");
    env.cpu_quota = luaL_optnumber(L, 6, 4);
    env.at_dashboard = lua_toboolean(L, 7);
    env.history = e->history = si__history_new();
    if (e->history) e->script = si__script_new(&env);
    if (!e->script) return luaL_error(L, "out of memory");
    lua_settop(L, 2);
    return 1;
}

static int push_status(lua_State *L, int status, const char *error) {
    if (status == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, *error ? error : si_err_name(status));
    return 2;
}

/* engine:load({ { name, path, text }, ... }) -> true, or nil and every problem, one a line. [-2, +(1|2), e] */
static int load(lua_State *L) {
    engine *e = check(L);
    char error[8192] = "";
    si__source_list sources = {0};
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t n = lua_rawlen(L, 2);
    for (size_t i = 1; i <= n; i++) {
        size_t length = 0;
        lua_rawgeti(L, 2, (lua_Integer)i);
        for (int part = 1; part <= 3; part++) lua_rawgeti(L, 3, part);
        const char *text = lua_tolstring(L, 6, &length);
        if (!lua_tostring(L, 4) || !lua_tostring(L, 5) || !text ||
            si__sources_add(&sources, lua_tostring(L, 4), lua_tostring(L, 5), text, length) != 0) {
            si__sources_clear(&sources);
            return luaL_error(L, "expected { name, path, text }");
        }
        lua_settop(L, 2);
    }
    return push_status(L, si__script_load_sources(e->script, &sources, 1, error, sizeof error), error);
}

/* engine:load_dir(dir or nil) -> true, or nil and every problem. [-2, +(1|2), e] */
static int load_dir(lua_State *L) {
    engine *e = check(L);
    char error[8192] = "";
    return push_status(L, si__script_load(e->script, luaL_optstring(L, 2, NULL), error, sizeof error), error);
}

/* engine:add(kind, name, time_ms, value) [-5, +0, e] */
static int add(lua_State *L) {
    static const char *const kinds[] = {"metric", "profile", "callsite", "segment", "error", NULL};
    engine *e = check(L);
    int kind = luaL_checkoption(L, 2, NULL, kinds);
    int status = si__history_add(e->history, (si__series_kind)kind, luaL_checkstring(L, 3),
                                 (int64_t)luaL_checknumber(L, 4), luaL_checknumber(L, 5));
    if (status) return luaL_error(L, "%s", si_err_name(status));
    return 0;
}

/* engine:tick(now_ms) [-2, +0, e] */
static int tick(lua_State *L) {
    engine *e = check(L);
    si__script_tick(e->script, (int64_t)luaL_checknumber(L, 2));
    return 0;
}

/* engine:events() -> what happened since the last call, in order. [-1, +1, e] */
static int events(lua_State *L) {
    engine *e = check(L);
    lua_createtable(L, (int)e->event_count, 0);
    for (size_t i = 0; i < e->event_count; i++) {
        push_event(L, &e->events[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    clear_events(e);
    return 1;
}

/* engine:alerts() -> every alert that is not inactive. [-1, +1, e] */
static int alerts(lua_State *L) {
    engine *e = check(L);
    lua_newtable(L);
    for (size_t i = 0; i < e->script->instance_count; i++) {
        push_alert(L, &e->script->instances[i]->alert);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* engine:rules() -> { { name, file, line, enabled, disabled, error, evaluations, watch, hold_ms, at }, ... }. [-1, +1,
 * e] */
static int rules(lua_State *L) {
    engine *e = check(L);
    const si__ruleset *set = e->script->set;
    lua_newtable(L);
    for (size_t i = 0; set && i < set->rule_count; i++) {
        const si__rule *rule = &set->rules[i];
        lua_newtable(L);
        set_text(L, "name", rule->name);
        set_text(L, "file", rule->path);
        set_text(L, "error", rule->error);
        set_text(L, "at", rule->at_dashboard ? "dashboard" : "agent");
        if (rule->over == SI__OVER_METRIC) set_text(L, "watch", rule->target);
        set_number(L, "line", rule->line);
        set_number(L, "hold_ms", (double)rule->hold_ms);
        set_number(L, "evaluations", (double)rule->evaluations);
        lua_pushboolean(L, rule->enabled);
        lua_setfield(L, -2, "enabled");
        lua_pushboolean(L, rule->disabled);
        lua_setfield(L, -2, "disabled");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* engine:segment(raw) -> the name that is kept, and its percentiles. [-2, +2, e] */
static int segment(lua_State *L) {
    engine *e = check(L);
    char name[96];
    double percentiles[8];
    const char *raw = luaL_checkstring(L, 2);
    si__script_segment_name(e->script, raw, name, sizeof name);
    size_t n = si__script_segment_percentiles(e->script, raw, percentiles, 8);
    lua_pushstring(L, name);
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushnumber(L, percentiles[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 2;
}

/* engine:route { rule =, severity =, ... } -> "slack:perf,email:leads": where such an alert would go. [-2, +1, e] */
static int route(lua_State *L) {
    engine *e = check(L);
    char out[1024];
    static const char *const fields[] = {"app", "environment", "host", "rule", "severity", "subject"};
    const char *values[6];
    luaL_checktype(L, 2, LUA_TTABLE);
    for (int i = 0; i < 6; i++) {
        lua_getfield(L, 2, fields[i]);
        values[i] = luaL_optstring(L, -1, "");
    }
    si__alert alert = {.app = (char *)values[0],
                       .environment = (char *)values[1],
                       .host = (char *)values[2],
                       .rule = (char *)values[3],
                       .severity = (char *)values[4],
                       .subject = (char *)values[5]};
    int status = si__script_route(e->script, &alert, out, sizeof out);
    if (status) return luaL_error(L, "%s", si_err_name(status));
    lua_pushstring(L, out);
    return 1;
}

/* engine:ack(fingerprint) -> whether there is such an alert. [-2, +1, e] */
static int ack(lua_State *L) {
    engine *e = check(L);
    lua_pushboolean(L, si__script_ack(e->script, luaL_checkstring(L, 2), 1) == 0);
    return 1;
}

/* engine:save() -> the alert states as text, the series as the agent's file has them. [-1, +2, e] */
static int save(lua_State *L) {
    engine *e = check(L);
    char *text;
    uint8_t *series;
    size_t length;
    int status = si__script_state_save(e->script, &text, &length);
    if (status) return luaL_error(L, "%s", si_err_name(status));
    lua_pushlstring(L, text, length);
    free(text);
    status = si__history_encode(e->history, &series, &length);
    if (status) return luaL_error(L, "%s", si_err_name(status));
    lua_pushlstring(L, (const char *)series, length);
    free(series);
    return 2;
}

/* engine:restore(text, series, now_ms) -> true, or nil and why. [-4, +(1|2), e] */
static int restore(lua_State *L) {
    engine *e = check(L);
    size_t length, series_length;
    const char *text = luaL_checklstring(L, 2, &length), *series = luaL_checklstring(L, 3, &series_length);
    int status = si__history_decode(e->history, (const uint8_t *)series, series_length);
    if (status) return push_status(L, status, "");
    return push_status(L, si__script_state_load(e->script, text, length, (int64_t)luaL_checknumber(L, 4)), "");
}

static int close_engine(lua_State *L) {
    engine *e = luaL_checkudata(L, 1, ENGINE);
    si__script_free(e->script);
    si__history_free(e->history);
    clear_events(e);
    free(e->events);
    memset(e, 0, sizeof *e);
    return 0;
}

typedef struct line_list {
    char **items;
    size_t count;
} line_list;

static void collect_line(void *arg, const char *line) {
    line_list *list = arg;
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items) return;
    list->items = items;
    items[list->count] = strdup(line);
    if (items[list->count]) list->count++;
}

/* Pushes the lines as a list and frees them. [-0, +1, m] */
static void push_lines(lua_State *L, line_list *lines) {
    lua_createtable(L, (int)lines->count, 0);
    for (size_t i = 0; i < lines->count; i++) {
        lua_pushstring(L, lines->items[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
        free(lines->items[i]);
    }
    free(lines->items);
}

/* check(dir) -> number of problems, list of lines. [-1, +2, e] */
static int check_dir(lua_State *L) {
    line_list lines = {0};
    int problems = si__script_check(luaL_optstring(L, 1, NULL), collect_line, &lines);
    lua_pushinteger(L, problems);
    push_lines(L, &lines);
    return 2;
}

/* engine:explain(rule, now_ms) -> list of lines: what the rule sees now; empty when there is no such rule. [-3, +1, e]
 */
static int explain(lua_State *L) {
    engine *e = check(L);
    line_list lines = {0};
    const char *rule = luaL_checkstring(L, 2);
    int64_t now_ms = (int64_t)luaL_checknumber(L, 3);
    si__script_explain(e->script, rule, now_ms, collect_line, &lines);
    push_lines(L, &lines);
    return 1;
}

/* duration("5m") -> milliseconds, or nil. [-1, +1, e] */
static int duration(lua_State *L) {
    int64_t ms;
    if (si__duration_parse(luaL_checkstring(L, 1), &ms) == 0)
        lua_pushinteger(L, ms);
    else
        lua_pushnil(L);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_si_testing_core(lua_State *L);

int luaopen_si_testing_core(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"load", load},     {"load_dir", load_dir}, {"add", add},         {"tick", tick},          {"events", events},
        {"alerts", alerts}, {"rules", rules},       {"segment", segment}, {"route", route},        {"ack", ack},
        {"save", save},     {"restore", restore},   {"explain", explain}, {"close", close_engine}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", new}, {"check", check_dir}, {"duration", duration}, {NULL, NULL}};
    luaL_checkversion(L);
    luaL_newmetatable(L, ENGINE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close_engine);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
