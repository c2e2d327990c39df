/*
 * Evaluates rules: finds the series each is about, calls its functions under the sandbox's budget, moves its alerts on.
 *
 * Called from si__script_tick on the loop thread. Everything that touches Lua runs inside one protected call; what a
 * rule wants done (a profile, say) is returned as data and applied after that call has ended.
 */
#include "engine.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <si/si.h>

#include "../history/series.h"
#include "handle.h"
#include "units.h"

#define ROUND_NS (250 * (int64_t)1000000) /* one rule over all its subjects */
#define REQUESTS 4

/* One call into Lua: which function, about which series, and what came back. */
typedef struct call {
    int ref;
    si__handle about;
    enum { CALL_CONDITION, CALL_TEXT, CALL_REQUESTS, CALL_PROFILE } wants;
    int truth;
    double value; /* a second number that `when` returned; NaN: none */
    char *text;
    size_t text_bytes;
    si__profile_request *requests; /* room for REQUESTS; only where requests are wanted */
    size_t request_count;
} call;

/* CPU time and not wall time: on a busy machine a round takes long, and nobody's rule is to blame. */
static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

/* ---- Inside the protected call ----------------------------------------------------------------------------------- */

static void append_text(call *c, const char *text) {
    size_t n = strlen(c->text);
    snprintf(c->text + n, c->text_bytes - n, "%s%s", n ? "\n" : "", text);
}

/* One line of attach: text, or what top_growth returns: { name, usual, now }. The item is at the top. [-0, +0, e] */
static void append_item(lua_State *L, call *c) {
    char line[640];
    if (lua_type(L, -1) == LUA_TSTRING) {
        append_text(c, lua_tostring(L, -1));
        return;
    }
    if (!lua_istable(L, -1)) luaL_error(L, "expected text or a list of text, got a %s", luaL_typename(L, -1));
    lua_getfield(L, -1, "name");
    lua_getfield(L, -2, "usual");
    lua_getfield(L, -3, "now");
    if (lua_type(L, -3) != LUA_TSTRING || !lua_isnumber(L, -1)) luaL_error(L, "expected items { name, usual, now }");
    snprintf(line, sizeof line, "%.480s: %.4g, usually %.4g", lua_tostring(L, -3), lua_tonumber(L, -1),
             lua_tonumber(L, -2));
    append_text(c, line);
    lua_pop(L, 3);
}

static void take_text(lua_State *L, call *c) {
    c->text[0] = '\0';
    if (lua_isnil(L, -1)) return;
    if (!lua_istable(L, -1)) {
        append_item(L, c);
        return;
    }
    size_t n = lua_rawlen(L, -1);
    for (size_t i = 1; i <= n && i <= 50; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        append_item(L, c);
        lua_pop(L, 1);
    }
}

static void take_request(lua_State *L, call *c) {
    si__profile_request *r = &c->requests[c->request_count];
    lua_getfield(L, -1, "request");
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "on_fire must return profile { ... } or a list of them");
    lua_pop(L, 1);
    *r = (si__profile_request){0};
    lua_getfield(L, -1, "type");
    snprintf(r->type, sizeof r->type, "%s", luaL_optstring(L, -1, "cpu"));
    lua_getfield(L, -2, "hz");
    r->hz = lua_tonumber(L, -1);
    lua_getfield(L, -3, "span_ms");
    r->span_ms = (int64_t)lua_tonumber(L, -1);
    lua_getfield(L, -4, "before_ms");
    r->before_ms = (int64_t)lua_tonumber(L, -1);
    lua_pop(L, 4);
    c->request_count++;
}

static void take_requests(lua_State *L, call *c) {
    if (lua_isnil(L, -1)) return;
    luaL_argexpected(L, lua_istable(L, -1), 1, "profile { ... }");
    size_t n = lua_rawlen(L, -1);
    if (n == 0) take_request(L, c);
    for (size_t i = 1; i <= n && i <= REQUESTS; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        luaL_argexpected(L, lua_istable(L, -1), 1, "profile { ... }");
        take_request(L, c);
        lua_pop(L, 1);
    }
}

/* What profile_when returns: true for the usual profile, or profile { ... }. */
static void take_profile(lua_State *L, call *c) {
    if (lua_istable(L, -1)) {
        take_requests(L, c);
    } else if (lua_toboolean(L, -1)) {
        c->requests[0] = (si__profile_request){.type = "cpu", .hz = 250, .span_ms = 10000, .before_ms = 120000};
        c->request_count = 1;
    }
}

/* [-1, +0, e] */
static int run_call(lua_State *L) {
    call *c = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
    si__handle_push(L, &c->about);
    lua_call(L, 1, c->wants == CALL_CONDITION ? 2 : 1);
    if (c->wants == CALL_CONDITION) {
        c->truth = lua_toboolean(L, 1);
        c->value = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : NAN;
    } else if (c->wants == CALL_TEXT) {
        take_text(L, c);
    } else if (c->wants == CALL_PROFILE) {
        take_profile(L, c);
    } else {
        take_requests(L, c);
    }
    return 0;
}

static int do_call(si__ruleset *set, si__unit *unit, call *c, char *error, size_t error_bytes) {
    lua_pushcfunction(unit->sandbox->L, run_call); /* neither push can raise */
    lua_pushlightuserdata(unit->sandbox->L, c);
    int status = si__sandbox_call(unit->sandbox, 1, 0, error, error_bytes);
    set->serial++; /* handles made for this call are invalid now */
    return status;
}

/* ---- Errors of rules --------------------------------------------------------------------------------------------- */

/* At most one line a second and rule. */
static void log_failure(si__script *script, si__rule *rule, const char *shown, const char *traceback) {
    if (rule->last_log_ms && script->now_ms >= rule->last_log_ms && script->now_ms - rule->last_log_ms < 1000) {
        rule->unlogged++;
        return;
    }
    char more[48] = "";
    if (rule->unlogged) snprintf(more, sizeof more, " (and %u more errors)", rule->unlogged);
    si__script_log(script, SI_LOG_WARN, "rule \"%s\": %s%s", rule->name, shown, more);
    if (traceback) si__script_log(script, SI_LOG_DEBUG, "rule \"%s\": %s", rule->name, traceback);
    rule->last_log_ms = script->now_ms;
    rule->unlogged = 0;
}

void si__rule_disable(si__script *script, si__rule *rule, const char *why) {
    if (rule->disabled) return;
    rule->disabled = 1;
    if (!*rule->error) snprintf(rule->error, sizeof rule->error, "%.255s", why);
    si__script_log(script, SI_LOG_ERROR, "rule \"%s\" is disabled %s; save its file to try again: %s", rule->name, why,
                   rule->error);
}

/* After 100 errors in a row a rule is disabled; running out of time, or of the memory it may use, counts more: three
   of these within an hour are enough. */
static void rule_failed(si__script *script, si__rule *rule, int status, const char *error) {
    char shown[SI__ERROR_BYTES + 256];
    si__unit *unit = script->set->units[rule->unit];
    int out_of_memory = status == LUA_ERRMEM && unit->sandbox->refusal == SI__REFUSED_OWN_CAP;
    int out_of_time = status && unit->sandbox->out_of_time;
    if (!si__ruleset_show_path(script->set, error, shown, sizeof shown))
        snprintf(shown, sizeof shown, "%s:%d: %s", rule->path, rule->line, error);
    char *traceback = strchr(shown, '\n');
    if (traceback) *traceback++ = '\0';
    snprintf(rule->error, sizeof rule->error, "%.255s", shown);
    rule->errors_in_row++;
    if (out_of_time || out_of_memory) { /* not in a row: a summary may be the culprit, and conditions go well between */
        if (script->now_ms - rule->heavy_ms > SI__HEAVY_WINDOW_MS) rule->heavy_errors = 0;
        rule->heavy_errors++;
        rule->heavy_ms = script->now_ms;
    }
    log_failure(script, rule, shown, traceback);
    if (rule->errors_in_row >= SI__ERRORS_IN_ROW || rule->heavy_errors >= SI__HEAVY_ERRORS)
        si__rule_disable(script, rule,
                         out_of_time     ? "after running out of time three times"
                         : out_of_memory ? "after running out of memory three times"
                                         : "after too many errors in a row");
}

static int rule_call(si__script *script, si__rule *rule, call *c) {
    char error[SI__ERROR_BYTES];
    si__unit *unit = script->set->units[rule->unit];
    if (!unit->sandbox || c->ref == LUA_NOREF) return LUA_ERRRUN; /* its file has just been ended */
    size_t before = unit->sandbox->used_bytes;
    int status = do_call(script->set, unit, c, error, sizeof error);
    rule->calls++;
    if (unit->sandbox->used_bytes > before) rule->grown_bytes += unit->sandbox->used_bytes - before;
    if (status)
        rule_failed(script, rule, status, error);
    else if (c->wants == CALL_CONDITION || c->wants == CALL_PROFILE)
        rule->errors_in_row = 0;
    if (si__memory_is_short(unit)) si__memory_used_up(script, unit); /* also when pcall swallowed the error */
    return status;
}

/* ---- One subject ------------------------------------------------------------------------------------------------- */

si__handle si__engine_handle(const si__script *script, const si__rule *rule, const si__subject *s) {
    static const si__series_kind kinds[] = {SI__SERIES_METRIC,   SI__SERIES_METRIC,  SI__SERIES_PROFILE,
                                            SI__SERIES_CALLSITE, SI__SERIES_SEGMENT, SI__SERIES_ERROR};
    return (si__handle){.history = script->env.history,
                        .series = s->series,
                        .kind = kinds[rule->over],
                        .now_ms = script->now_ms,
                        .name = rule->over == SI__OVER_METRIC ? rule->target : s->name};
}

/* Summary, attachment and requests of an alert about to fire. */
static void prepare_fire(si__script *script, si__rule *rule, si__instance *instance, const si__handle *about,
                         call *requests) {
    char text[2048] = "";
    call c = {.about = *about, .wants = CALL_TEXT, .text = text, .text_bytes = sizeof text};
    if (rule->summary_ref != LUA_NOREF) {
        c.ref = rule->summary_ref;
        if (rule_call(script, rule, &c) == 0 && *text) si__text_set(&instance->alert.summary, text, 512);
    } else {
        si__text_set(&instance->alert.summary, rule->summary, 512);
    }
    text[0] = '\0';
    if (rule->attach_ref != LUA_NOREF) {
        c.ref = rule->attach_ref;
        if (rule_call(script, rule, &c) != 0) text[0] = '\0';
    }
    si__text_set(&instance->alert.detail, text, sizeof text - 1);
    *requests =
        (call){.ref = rule->on_fire_ref, .about = *about, .wants = CALL_REQUESTS, .requests = requests->requests};
    if (rule->on_fire_ref == LUA_NOREF || rule_call(script, rule, requests) != 0) requests->request_count = 0;
}

static void send_requests(si__script *script, const si__rule *rule, call *c) {
    for (size_t i = 0; i < c->request_count; i++) {
        snprintf(c->requests[i].rule, sizeof c->requests[i].rule, "%s", rule->name);
        if (script->env.on_profile) script->env.on_profile(script->env.arg, &c->requests[i]);
    }
}

static void fire(si__script *script, si__rule *rule, si__instance *instance, const si__handle *about, const char *why) {
    si__profile_request room[REQUESTS];
    call requests = {.requests = room};
    prepare_fire(script, rule, instance, about, &requests);
    if (why) si__text_set(&instance->alert.detail, why, 512);
    si__instance_fire(script, instance);
    send_requests(script, rule, &requests);
}

/* A segment's profile_when: no alert, only profiles, and those not too often. */
static int evaluate_quiet(si__script *script, si__rule *rule, const si__subject *s, const si__handle *about) {
    if (rule->quiet_last_ms > script->now_ms) rule->quiet_last_ms = 0; /* the clock was set back */
    if (!s->series || si__series_age_ms(s->series, script->now_ms) > rule->no_data_after_ms) return 0;
    if (rule->quiet_last_ms && script->now_ms - rule->quiet_last_ms < rule->keep_ms) return 0;
    si__profile_request room[REQUESTS];
    call c = {.ref = rule->when_ref, .about = *about, .wants = CALL_PROFILE, .requests = room};
    int status = rule_call(script, rule, &c);
    if (status || !c.request_count) return status;
    rule->quiet_last_ms = script->now_ms;
    send_requests(script, rule, &c);
    return 0;
}

/* The condition holds (again). */
static void advance_true(si__script *script, si__rule *rule, si__instance *instance, const si__subject *s,
                         const si__handle *about, double value, const char *why) {
    int fresh = !instance || instance->alert.state == SI__ALERT_RESOLVED;
    if (!instance) instance = si__instance_add(script, rule, s->name);
    if (!instance) return;
    instance->round = script->round;
    instance->alert.value = value;
    instance->clear_since_ms = 0;
    if (fresh) {
        instance->alert.state = SI__ALERT_PENDING;
        instance->alert.started_ms = script->now_ms;
        if (rule->hold_ms > 0 && script->env.on_alert) script->env.on_alert(script->env.arg, &instance->alert);
    }
    if (instance->alert.state == SI__ALERT_PENDING && script->now_ms - instance->alert.started_ms >= rule->hold_ms)
        fire(script, rule, instance, about, why);
}

/* The condition does not hold; `cleared`: and the way back is complete. */
static void advance_false(si__script *script, const si__rule *rule, si__instance *instance, int cleared, double value) {
    if (!instance) return;
    instance->round = script->round;
    if (instance->alert.state == SI__ALERT_RESOLVED) return;
    instance->alert.value = value;
    if (instance->alert.state == SI__ALERT_PENDING) {
        si__instance_cancel(script, instance);
    } else if (!cleared) {
        instance->clear_since_ms = 0;
    } else {
        if (!instance->clear_since_ms) instance->clear_since_ms = script->now_ms;
        if (script->now_ms - instance->clear_since_ms >= rule->keep_ms) si__instance_resolve(script, instance);
    }
}

static void evaluate_without_data(si__script *script, si__rule *rule, si__instance *instance, const si__subject *s,
                                  const si__handle *about) {
    char took[32], why[96];
    if (instance) instance->round = script->round;
    if (rule->no_data == SI__NO_DATA_RESOLVE) {
        if (instance && instance->alert.state == SI__ALERT_FIRING) si__instance_resolve(script, instance);
        if (instance && instance->alert.state == SI__ALERT_PENDING) si__instance_cancel(script, instance);
    } else if (rule->no_data == SI__NO_DATA_FIRE && script->now_ms - script->started_ms >= rule->grace_ms) {
        snprintf(why, sizeof why, "No data for %s.", si__duration_format(rule->no_data_after_ms, took, sizeof took));
        advance_true(script, rule, instance, s, about, NAN, why);
    }
}

/* Returns 0, or a status when the rule's function failed. */
static int evaluate_subject(si__script *script, si__rule *rule, const si__subject *s) {
    si__handle about = si__engine_handle(script, rule, s);
    rule->evaluations++;
    if (rule->quiet) return evaluate_quiet(script, rule, s, &about);
    si__instance *instance = si__instance_of(script, rule, s);
    if (!s->series || si__series_age_ms(s->series, script->now_ms) > rule->no_data_after_ms) {
        evaluate_without_data(script, rule, instance, s, &about);
        return 0;
    }
    call c = {.ref = rule->when_ref, .about = about, .wants = CALL_CONDITION};
    int status = rule_call(script, rule, &c);
    if (instance) instance->round = script->round;
    if (status) return status; /* an alert stays as it is: an error is no all-clear */
    double value = isnan(c.value) ? si__series_last(s->series) : c.value;
    int firing = instance && instance->alert.state == SI__ALERT_FIRING, cleared = !c.truth;
    if (firing && rule->clear_ref != LUA_NOREF) {
        call clear = {.ref = rule->clear_ref, .about = about, .wants = CALL_CONDITION};
        status = rule_call(script, rule, &clear);
        if (status) return status;
        cleared = clear.truth;
        if (!cleared) instance->clear_since_ms = 0;
    }
    if (firing ? !cleared : c.truth)
        advance_true(script, rule, instance, s, &about, value, NULL);
    else
        advance_false(script, rule, instance, cleared, value);
    return 0;
}

/* ---- Rounds ------------------------------------------------------------------------------------------------------ */

/* Whether the round must end: the rule ran out of time, or was disabled. */
static int must_end(const si__script *script, const si__rule *rule) {
    const si__sandbox *sandbox = script->set->units[rule->unit]->sandbox;
    return rule->disabled || !sandbox || sandbox->out_of_time;
}

/* Returns nonzero to end the round. */
static int visit(si__script *script, si__rule *rule, const si__subject *s, int64_t started_ns) {
    evaluate_subject(script, rule, s);
    if (must_end(script, rule)) return 1;
    if (++script->visits % 16 || clock_ns() - started_ns < ROUND_NS) return 0;
    rule_failed(script, rule, 0,
                "too slow: took more than 250 ms for all it is about; the rest was left out this time");
    return 1;
}

/* Alerts whose subjects were not listed this time. */
static void visit_unlisted(si__script *script, si__rule *rule) {
    int ended = 0;
    for (size_t i = script->instance_count; i-- > 0 && !ended;) {
        si__instance *instance = script->instances[i];
        if (i >= script->instance_count || instance->external || instance->round == script->round ||
            instance->alert.state == SI__ALERT_RESOLVED || strcmp(instance->alert.rule, rule->name) != 0)
            continue;
        char name[SI__SERIES_NAME_BYTES];
        snprintf(name, sizeof name, "%s", instance->alert.subject); /* the instance may be freed while we look */
        si__subject one = {.name = name, .series = si__subject_series(script, rule, name), .key = instance->key};
        evaluate_subject(script, rule, &one);
        ended = must_end(script, rule);
    }
}

static void evaluate_rule(si__script *script, si__rule *rule) {
    int64_t started_ns = clock_ns();
    script->round++;
    script->set->units[rule->unit]->sandbox->out_of_time = 0;
    const si__subjects *subjects = si__subjects_of(script, rule);
    if (!subjects) return;
    if (subjects->error) rule_failed(script, rule, 0, subjects->error);
    int ended = 0;
    for (size_t i = 0; i < subjects->count && !ended; i++) ended = visit(script, rule, subjects->chosen[i], started_ns);
    if (!ended) visit_unlisted(script, rule);
    rule->cost_ns += (uint64_t)(clock_ns() - started_ns);
}

void si__engine_tick(si__script *script) {
    si__ruleset *set = script->set;
    for (size_t i = 0; i < set->rule_count; i++) {
        si__rule *rule = &set->rules[i];
        if (!rule->enabled || rule->disabled || rule->at_dashboard != script->env.at_dashboard) continue;
        if (!set->units[rule->unit]->sandbox) continue;
        if (rule->next_ms > script->now_ms + rule->every_ms)
            rule->next_ms = script->now_ms; /* the clock was set back */
        if (rule->next_ms > script->now_ms) continue;
        rule->next_ms = script->now_ms + rule->every_ms;
        evaluate_rule(script, rule);
    }
}

int si__engine_probe(si__ruleset *set, si__rule *rule, si__history *history, char *error, size_t error_bytes) {
    static const si__series_kind kinds[] = {SI__SERIES_METRIC,   SI__SERIES_METRIC,  SI__SERIES_PROFILE,
                                            SI__SERIES_CALLSITE, SI__SERIES_SEGMENT, SI__SERIES_ERROR};
    char text[2048];
    si__handle about = {.history = history, .name = "probe", .kind = kinds[rule->over], .now_ms = 0};
    int refs[] = {rule->when_ref, rule->clear_ref, rule->summary_ref, rule->attach_ref, rule->on_fire_ref};
    for (size_t i = 0; i < sizeof refs / sizeof *refs; i++) {
        si__profile_request room[REQUESTS];
        call c = {.ref = refs[i],
                  .requests = room,
                  .about = about,
                  .text = text,
                  .text_bytes = sizeof text,
                  .wants = i == 0 && rule->quiet ? CALL_PROFILE
                           : i < 2               ? CALL_CONDITION
                           : i < 4               ? CALL_TEXT
                                                 : CALL_REQUESTS};
        int status = refs[i] == LUA_NOREF ? 0 : do_call(set, set->units[rule->unit], &c, error, error_bytes);
        if (status) return status;
    }
    return 0;
}

int si__engine_ask(si__ruleset *set, const si__rule *rule, int ref, const si__handle *about, int *truth, char *error,
                   size_t error_bytes) {
    si__profile_request room[REQUESTS];
    call c = {.ref = ref, .about = *about, .wants = rule->quiet ? CALL_PROFILE : CALL_CONDITION, .requests = room};
    int status = do_call(set, set->units[rule->unit], &c, error, error_bytes);
    *truth = c.truth || c.request_count > 0;
    return status;
}
