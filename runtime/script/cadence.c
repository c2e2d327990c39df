/*
 * Cadence: what the set says, changed by its `when` function once a minute. Called by the engine on the loop thread.
 */
#include <lauxlib.h>
#include <string.h>
#include <time.h>

#include <si/si.h>

#include "engine.h"

#define LOOK_AGAIN_MS 60000

typedef struct cadence_call {
    si__script *script;
    si__cadence result;
} cadence_call;

/* The `now` argument: { hour, minute, wday (1 = Sunday), time (Unix seconds) }, local time. [-0, +1, m] */
static void push_now(lua_State *L, int64_t now_ms) {
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    localtime_r(&seconds, &tm);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, tm.tm_hour);
    lua_setfield(L, -2, "hour");
    lua_pushinteger(L, tm.tm_min);
    lua_setfield(L, -2, "minute");
    lua_pushinteger(L, tm.tm_wday + 1);
    lua_setfield(L, -2, "wday");
    lua_pushinteger(L, (lua_Integer)seconds);
    lua_setfield(L, -2, "time");
}

/* The `host` argument: { name, app, environment, cpu_quota (cores) }. [-0, +1, m] */
static void push_host(lua_State *L, const si__script_env *env) {
    lua_createtable(L, 0, 4);
    lua_pushstring(L, env->host);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, env->app);
    lua_setfield(L, -2, "app");
    lua_pushstring(L, env->environment);
    lua_setfield(L, -2, "environment");
    lua_pushnumber(L, env->cpu_quota);
    lua_setfield(L, -2, "cpu_quota");
}

/* [-1, +0, e] */
static int ask_when(lua_State *L) {
    cadence_call *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->set->cadence_ref);
    push_now(L, c->script->now_ms);
    push_host(L, &c->script->env);
    lua_call(L, 2, 1);
    if (lua_istable(L, -1)) si__cadence_read(L, &c->result);
    return 0;
}

static int cadence_equal(const si__cadence *a, const si__cadence *b) {
    return a->metrics_ms == b->metrics_ms && a->report_ms == b->report_ms && a->cpu_hz == b->cpu_hz &&
           a->cpu_background_hz == b->cpu_background_hz && a->cpu_every_ms == b->cpu_every_ms &&
           a->cpu_span_ms == b->cpu_span_ms && a->overhead_cpu == b->overhead_cpu && a->heap_bytes == b->heap_bytes &&
           a->wait_mean_ns == b->wait_mean_ns && a->wait_background_ns == b->wait_background_ns &&
           a->wait_every_ms == b->wait_every_ms && a->wait_span_ms == b->wait_span_ms;
}

void si__cadence_tick(si__script *script) {
    if (script->cadence_next_ms > script->now_ms + LOOK_AGAIN_MS)
        script->cadence_next_ms = 0; /* the clock was set back */
    if (script->now_ms < script->cadence_next_ms) return;
    script->cadence_next_ms = script->now_ms + LOOK_AGAIN_MS;
    cadence_call c = {script, script->set->cadence};
    if (script->set->cadence_ref != LUA_NOREF) {
        char error[SI__ERROR_BYTES], shown[SI__ERROR_BYTES + 64];
        si__unit *unit = script->set->units[script->set->cadence_unit];
        lua_pushcfunction(unit->sandbox->L, ask_when);
        lua_pushlightuserdata(unit->sandbox->L, &c);
        int status = si__sandbox_call(unit->sandbox, 1, 0, error, sizeof error);
        if (status != 0) {
            error[strcspn(error, "\n")] = '\0';
            si__ruleset_show_path(script->set, error, shown, sizeof shown);
            si__script_log(script, SI_LOG_WARN, "cadence: %s", shown);
            if (si__memory_is_short(unit)) si__memory_used_up(script, unit);
            c.result = script->set->cadence;
        }
    }
    if (script->cadence_known && cadence_equal(&script->cadence, &c.result)) return;
    script->cadence = c.result;
    script->cadence_known = 1;
    if (script->env.on_cadence) script->env.on_cadence(script->env.arg, &script->cadence);
}
