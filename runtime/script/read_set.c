/*
 * Reads the table that lua/si/engine.lua made into the C structures of a rule set. Runs protected, while loading.
 *
 * The table is ours and checked, but numbers and texts come from people: types are checked again, and what is half
 * read is always in a state that si__ruleset_clear_read can free.
 */
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ruleset.h"

static const char *const label_names[SI__LABELS] = {"app", "environment", "host", "rule", "severity", "subject"};

/* ---- Fields of the table at the top of the stack; each [-0, +0, e] ------------------------------------------------
 */

static char *dup_text(lua_State *L, const char *text) {
    char *copy = strdup(text);
    if (!copy) luaL_error(L, "out of memory");
    return copy;
}

static void get_text(lua_State *L, const char *field, char **out) {
    if (lua_getfield(L, -1, field) == LUA_TSTRING) *out = dup_text(L, lua_tostring(L, -1));
    lua_pop(L, 1);
}

static double get_number(lua_State *L, const char *field, double fallback) {
    double value = lua_getfield(L, -1, field) == LUA_TNUMBER ? lua_tonumber(L, -1) : fallback;
    lua_pop(L, 1);
    return isfinite(value) ? value : fallback;
}

static int64_t get_ms(lua_State *L, const char *field) {
    return (int64_t)get_number(L, field, 0);
}

static int get_flag(lua_State *L, const char *field) {
    lua_getfield(L, -1, field);
    int value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static int get_function(lua_State *L, const char *field) {
    if (lua_getfield(L, -1, field) == LUA_TFUNCTION) return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

static int get_choice(lua_State *L, const char *field, const char *const *names) {
    int found = 0;
    lua_getfield(L, -1, field);
    const char *text = lua_tostring(L, -1);
    for (int i = 0; text && names[i]; i++)
        if (strcmp(text, names[i]) == 0) found = i;
    lua_pop(L, 1);
    return found;
}

static void get_texts(lua_State *L, const char *field, si__text_list *out) {
    if (lua_getfield(L, -1, field) == LUA_TTABLE) {
        size_t n = lua_rawlen(L, -1);
        out->items = calloc(n ? n : 1, sizeof *out->items);
        if (!out->items) {
            luaL_error(L, "out of memory"); /* does not return */
            return;
        }
        for (size_t i = 1; i <= n; i++) {
            if (lua_rawgeti(L, -1, (lua_Integer)i) == LUA_TSTRING)
                out->items[out->count++] = dup_text(L, lua_tostring(L, -1));
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static unsigned get_labels(lua_State *L, const char *field) {
    unsigned bits = 0;
    if (lua_getfield(L, -1, field) == LUA_TTABLE)
        for (size_t i = 1; i <= lua_rawlen(L, -1); i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            const char *name = lua_tostring(L, -1);
            for (unsigned label = 0; name && label < SI__LABELS; label++)
                if (strcmp(name, label_names[label]) == 0) bits |= 1u << label;
            lua_pop(L, 1);
        }
    lua_pop(L, 1);
    return bits;
}

static void get_matcher(lua_State *L, const char *field, si__matcher *out) {
    if (lua_getfield(L, -1, field) == LUA_TTABLE)
        for (unsigned label = 0; label < SI__LABELS; label++) get_texts(L, label_names[label], &out->labels[label]);
    lua_pop(L, 1);
}

static const char *path_of(lua_State *L, const si__ruleset *set, const char *field) {
    lua_getfield(L, -1, field);
    const char *name = lua_tostring(L, -1);
    const si__source *source = name ? si__sources_find(&set->sources, name) : NULL;
    lua_pop(L, 1);
    return source ? source->path : "?";
}

/* An array of `n` zeroed elements in *out, for the list `field` that is left on the stack. Returns n. [-0, +1, e] */
static size_t open_list(lua_State *L, const char *field, size_t element, void **out) {
    lua_getfield(L, -1, field);
    size_t n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
    *out = calloc(n ? n : 1, element);
    if (!*out) return (size_t)luaL_error(L, "out of memory");
    return n;
}

/* ---- Rules ------------------------------------------------------------------------------------------------------- */

static void read_subject(lua_State *L, si__rule *rule) {
    static const char *const kinds[] = {"metric", "metrics", "profiles", "callsites", "segments", "errors", NULL};
    if (lua_getfield(L, -1, "watch") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_getfield(L, -1, "over");
    }
    luaL_checktype(L, -1, LUA_TTABLE);
    rule->over = (si__over)get_choice(L, "kind", kinds);
    get_text(L,
             rule->over == SI__OVER_METRIC      ? "name"
             : rule->over == SI__OVER_CALLSITES ? "profile"
                                                : "pattern",
             &rule->target);
    get_texts(L, "names", &rule->types);
    rule->top = (size_t)get_number(L, "top", 200);
    rule->min = get_number(L, "min", 0);
    lua_pop(L, 1);
}

static void read_rule(lua_State *L, const si__ruleset *set, si__rule *rule) {
    static const char *const no_data[] = {"keep", "fire", "resolve", NULL}, *const at[] = {"agent", "dashboard", NULL};
    rule->when_ref = rule->clear_ref = rule->summary_ref = rule->on_fire_ref = rule->attach_ref = LUA_NOREF;
    get_text(L, "name", &rule->name);
    rule->path = dup_text(L, path_of(L, set, "file"));
    rule->line = (int)get_number(L, "line", 0);
    get_text(L, "severity", &rule->severity);
    get_text(L, "runbook", &rule->runbook);
    get_text(L, "summary", &rule->summary);
    if (!rule->summary) rule->summary_ref = get_function(L, "summary");
    rule->when_ref = get_function(L, "when");
    rule->clear_ref = get_function(L, "clear");
    rule->on_fire_ref = get_function(L, "on_fire");
    rule->attach_ref = get_function(L, "attach");
    rule->hold_ms = get_ms(L, "hold");
    rule->keep_ms = get_ms(L, "keep");
    rule->every_ms = get_ms(L, "every");
    rule->no_data_after_ms = get_ms(L, "no_data_after");
    rule->grace_ms = get_ms(L, "grace");
    rule->no_data = (si__no_data)get_choice(L, "no_data", no_data);
    rule->at_dashboard = get_choice(L, "at", at);
    rule->enabled = get_flag(L, "enabled");
    read_subject(L, rule);
    if (!rule->name || !rule->severity || !rule->runbook || rule->when_ref == LUA_NOREF || rule->every_ms < 1)
        luaL_error(L, "incomplete rule");
}

/* ---- Routes ------------------------------------------------------------------------------------------------------ */

static void read_escalations(lua_State *L, si__route *route) {
    static const char *const unless[] = {"", "acked", NULL};
    void *items;
    size_t n = open_list(L, "escalate", sizeof *route->escalations, &items);
    route->escalations = items;
    for (size_t i = 1; i <= n && i <= 32; i++) { /* 32: one bit each in what a group remembers */
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__escalation *step = &route->escalations[route->escalation_count++];
        step->after_ms = get_ms(L, "after");
        step->unless_acked = get_choice(L, "unless", unless);
        get_texts(L, "to", &step->to);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_routes(lua_State *L, const char *field, si__route **routes, size_t *count, uint32_t *id) {
    void *items;
    luaL_checkstack(L, 12, "routes nested too deeply");
    size_t n = open_list(L, field, sizeof **routes, &items);
    *routes = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__route *route = &(*routes)[(*count)++];
        route->id = (*id)++;
        get_matcher(L, "match", &route->match);
        route->group_by = get_labels(L, "group_by");
        route->wait_ms = get_ms(L, "wait");
        route->interval_ms = get_ms(L, "interval");
        route->resend_ms = get_ms(L, "resend");
        route->next_too = get_flag(L, "continue");
        get_texts(L, "to", &route->to);
        read_escalations(L, route);
        read_routes(L, "children", &route->children, &route->child_count, id);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_inhibits(lua_State *L, si__ruleset *set) {
    void *items;
    size_t n = open_list(L, "inhibits", sizeof *set->inhibits, &items);
    set->inhibits = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__inhibit *inhibit = &set->inhibits[set->inhibit_count++];
        get_matcher(L, "source", &inhibit->source);
        get_matcher(L, "target", &inhibit->target);
        inhibit->equal = get_labels(L, "equal");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- Segments and cadence ---------------------------------------------------------------------------------------- */

static void read_segments(lua_State *L, si__ruleset *set) {
    void *items;
    size_t n = open_list(L, "segments", sizeof *set->segments, &items);
    set->segments = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__segment_rule *segment = &set->segments[set->segment_count++];
        segment->name_ref = LUA_NOREF;
        get_text(L, "pattern", &segment->pattern);
        get_text(L, "name", &segment->name);
        if (!segment->name) segment->name_ref = get_function(L, "name");
        if (lua_getfield(L, -1, "percentiles") == LUA_TTABLE)
            for (size_t p = 1; p <= lua_rawlen(L, -1) && segment->percentile_count < 8; p++) {
                lua_rawgeti(L, -1, (lua_Integer)p);
                segment->percentiles[segment->percentile_count++] = lua_tonumber(L, -1);
                lua_pop(L, 1);
            }
        lua_pop(L, 2);
        if (!segment->pattern) luaL_error(L, "incomplete segment");
    }
    lua_pop(L, 1);
}

/* The flat cadence table at the top of the stack. */
void si__cadence_read(lua_State *L, si__cadence *out) {
    out->metrics_ms = get_ms(L, "metrics_ms");
    out->report_ms = get_ms(L, "report_ms");
    out->cpu_hz = get_number(L, "cpu_hz", 100);
    out->cpu_background_hz = get_number(L, "cpu_background_hz", 10);
    out->cpu_every_ms = get_ms(L, "cpu_every_ms");
    out->cpu_span_ms = get_ms(L, "cpu_span_ms");
    out->overhead_cpu = get_number(L, "overhead_cpu", 0.01);
    out->heap_bytes = (int64_t)get_number(L, "heap_bytes", 524288);
    out->wait_mean_ns = (int64_t)(get_number(L, "wait_mean_ms", 10) * 1e6);
    out->wait_background_ns = (int64_t)(get_number(L, "wait_background_ms", 100) * 1e6);
    out->wait_every_ms = get_ms(L, "wait_every_ms");
    out->wait_span_ms = get_ms(L, "wait_span_ms");
}

void si__ruleset_read(lua_State *L, si__ruleset *set) {
    void *items;
    uint32_t id = 0;
    luaL_checkstack(L, 20, NULL);
    luaL_checktype(L, -1, LUA_TTABLE);
    size_t n = open_list(L, "rules", sizeof *set->rules, &items);
    set->rules = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        read_rule(L, set, &set->rules[set->rule_count++]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    read_routes(L, "routes", &set->routes, &set->route_count, &id);
    read_inhibits(L, set);
    read_segments(L, set);
    lua_getfield(L, -1, "cadence");
    set->cadence_ref = get_function(L, "now");
    lua_getfield(L, -1, "base");
    si__cadence_read(L, &set->cadence);
    lua_pop(L, 2);
}

/* ---- Freeing ----------------------------------------------------------------------------------------------------- */

static void clear_texts(si__text_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->items[i]);
    free(list->items);
}

static void clear_matcher(si__matcher *matcher) {
    for (unsigned label = 0; label < SI__LABELS; label++) clear_texts(&matcher->labels[label]);
}

static void clear_routes(si__route *routes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        clear_matcher(&routes[i].match);
        clear_texts(&routes[i].to);
        for (size_t e = 0; e < routes[i].escalation_count; e++) clear_texts(&routes[i].escalations[e].to);
        free(routes[i].escalations);
        clear_routes(routes[i].children, routes[i].child_count);
    }
    free(routes);
}

void si__ruleset_clear_read(si__ruleset *set) {
    for (size_t i = 0; i < set->rule_count; i++) {
        si__rule *rule = &set->rules[i];
        free(rule->name);
        free(rule->path);
        free(rule->severity);
        free(rule->runbook);
        free(rule->summary);
        free(rule->target);
        clear_texts(&rule->types);
    }
    free(set->rules);
    clear_routes(set->routes, set->route_count);
    for (size_t i = 0; i < set->inhibit_count; i++) {
        clear_matcher(&set->inhibits[i].source);
        clear_matcher(&set->inhibits[i].target);
    }
    free(set->inhibits);
    for (size_t i = 0; i < set->segment_count; i++) {
        free(set->segments[i].pattern);
        free(set->segments[i].name);
    }
    free(set->segments);
}
