/*
 * Reads the table that lua/si/engine.lua made into the C structures of a rule set. Runs protected, while loading.
 *
 * The table is ours and checked, but numbers and texts come from people: types are checked again, and what is half
 * read is always in a state that si__ruleset_clear_read can free.
 */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
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

static size_t place_of(lua_State *L, const si__ruleset *set, const char *field) {
    lua_getfield(L, -1, field);
    const char *name = lua_tostring(L, -1);
    const si__source *source = name ? si__sources_find(&set->sources, name) : NULL;
    lua_pop(L, 1);
    return source ? (size_t)(source - set->sources.items) : 0;
}

/* Room for the list `field`, which is left on the stack, after the `have` elements of *items. Returns how many more.
   [-0, +1, e] */
static size_t extend_list(lua_State *L, const char *field, size_t element, void **items, size_t have) {
    lua_getfield(L, -1, field);
    size_t n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
    char *grown = realloc(*items, (have + n + 1) * element);
    if (!grown) return (size_t)luaL_error(L, "out of memory");
    memset(grown + have * element, 0, (n + 1) * element);
    *items = grown;
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

static void read_functions(lua_State *L, si__rule *rule) {
    if (!rule->summary) rule->summary_ref = get_function(L, "summary");
    rule->when_ref = get_function(L, "when");
    rule->clear_ref = get_function(L, "clear");
    rule->on_fire_ref = get_function(L, "on_fire");
    rule->attach_ref = get_function(L, "attach");
}

static void read_rule(lua_State *L, const si__unit *unit, si__rule *rule) {
    const si__ruleset *set = unit->set;
    static const char *const no_data[] = {"keep", "fire", "resolve", NULL}, *const at[] = {"agent", "dashboard", NULL};
    rule->when_ref = rule->clear_ref = rule->summary_ref = rule->on_fire_ref = rule->attach_ref = LUA_NOREF;
    rule->unit = unit->number;
    rule->place = place_of(L, set, "file");
    get_text(L, "name", &rule->name);
    rule->path = dup_text(L, path_of(L, set, "file"));
    rule->line = (int)get_number(L, "line", 0);
    get_text(L, "severity", &rule->severity);
    get_text(L, "runbook", &rule->runbook);
    get_text(L, "summary", &rule->summary);
    read_functions(L, rule);
    rule->hold_ms = get_ms(L, "hold");
    rule->keep_ms = get_ms(L, "keep");
    rule->every_ms = get_ms(L, "every");
    rule->no_data_after_ms = get_ms(L, "no_data_after");
    rule->grace_ms = get_ms(L, "grace");
    rule->no_data = (si__no_data)get_choice(L, "no_data", no_data);
    rule->at_dashboard = get_choice(L, "at", at);
    rule->enabled = get_flag(L, "enabled");
    rule->quiet = get_flag(L, "quiet");
    rule->segment = (size_t)get_number(L, "segment", 0);
    read_subject(L, rule);
    if (!rule->name || !rule->severity || !rule->runbook || rule->when_ref == LUA_NOREF || rule->every_ms < 1)
        luaL_error(L, "incomplete rule");
}

/* ---- Routes ------------------------------------------------------------------------------------------------------ */

static void read_escalations(lua_State *L, si__route *route) {
    static const char *const unless[] = {"", "acked", NULL};
    void *items = NULL;
    size_t n = extend_list(L, "escalate", sizeof *route->escalations, &items, 0);
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

static void read_route(lua_State *L, const si__ruleset *set, si__route *route, unsigned depth);

static void read_children(lua_State *L, const si__ruleset *set, si__route *route, unsigned depth) {
    void *items = NULL;
    luaL_checkstack(L, 12, "routes nested too deeply");
    if (depth > 50) luaL_error(L, "routes nested too deeply");
    size_t n = extend_list(L, "children", sizeof *route->children, &items, 0);
    route->children = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        read_route(L, set, &route->children[route->child_count++], depth + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_route(lua_State *L, const si__ruleset *set, si__route *route, unsigned depth) {
    route->place = place_of(L, set, "file");
    get_matcher(L, "match", &route->match);
    route->group_by = get_labels(L, "group_by");
    route->wait_ms = get_ms(L, "wait");
    route->interval_ms = get_ms(L, "interval");
    route->resend_ms = get_ms(L, "resend");
    route->next_too = get_flag(L, "continue");
    get_texts(L, "to", &route->to);
    read_escalations(L, route);
    read_children(L, set, route, depth);
}

static void read_routes(lua_State *L, si__ruleset *set) {
    void *items = set->routes;
    size_t n = extend_list(L, "routes", sizeof *set->routes, &items, set->route_count);
    set->routes = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__route *route = &set->routes[set->route_count++];
        route->turn = i;
        read_route(L, set, route, 0);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_inhibits(lua_State *L, si__ruleset *set) {
    void *items = set->inhibits;
    size_t n = extend_list(L, "inhibits", sizeof *set->inhibits, &items, set->inhibit_count);
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

static void read_segments(lua_State *L, const si__unit *unit) {
    si__ruleset *set = unit->set;
    void *items = set->segments;
    size_t n = extend_list(L, "segments", sizeof *set->segments, &items, set->segment_count);
    set->segments = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__segment_rule *segment = &set->segments[set->segment_count++];
        segment->name_ref = LUA_NOREF;
        segment->unit = unit->number;
        segment->place = place_of(L, set, "file");
        segment->turn = i;
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

static void read_thresholds(lua_State *L, si__ruleset *set) {
    void *items = set->thresholds;
    size_t n = extend_list(L, "thresholds", sizeof *set->thresholds, &items, set->threshold_count);
    set->thresholds = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        si__threshold *threshold = &set->thresholds[set->threshold_count++];
        get_text(L, "segment", &threshold->segment);
        threshold->below_ms = get_number(L, "below_ms", 0);
        lua_pop(L, 1);
        if (!threshold->segment) luaL_error(L, "incomplete objective");
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

static void read_cadence(lua_State *L, const si__unit *unit) {
    si__ruleset *set = unit->set;
    if (lua_getfield(L, -1, "cadence") == LUA_TTABLE) {
        set->cadence_unit = unit->number;
        set->cadence_ref = get_function(L, "now");
        lua_getfield(L, -1, "base");
        si__cadence_read(L, &set->cadence);
        lua_pop(L, 1);
    } else if (!set->cadence_file) {
        lua_getfield(L, -2, "default_cadence");
        si__cadence_read(L, &set->cadence);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

/* Calls a function of the engine module with what is on the stack above `base`; one result. [-n, +1, e] */
static void call_engine(lua_State *L, const char *name, int nargs) {
    lua_getfield(L, LUA_REGISTRYINDEX, "si.engine");
    lua_getfield(L, -1, name);
    lua_insert(L, -2 - nargs);
    lua_pop(L, 1);
    lua_call(L, nargs, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
}

static void collect_names(lua_State *L, si__ruleset *set) {
    void *items = set->names;
    size_t n = extend_list(L, "names", sizeof *set->names, &items, set->name_count);
    set->names = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        size_t at = set->name_count++;
        get_text(L, "name", &set->names[at].name);
        get_text(L, "file", &set->names[at].file);
        set->names[at].line = (int)get_number(L, "line", 0);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void collect_catch_alls(lua_State *L, si__ruleset *set) {
    void *items = set->catch_alls;
    size_t n = extend_list(L, "catch_alls", sizeof *set->catch_alls, &items, set->catch_all_count);
    set->catch_alls = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        size_t at = set->catch_all_count++;
        get_text(L, "file", &set->catch_alls[at].file);
        set->catch_alls[at].line = (int)get_number(L, "line", 0);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void collect_cadence(lua_State *L, si__ruleset *set) {
    if (lua_getfield(L, -1, "cadence") == LUA_TTABLE) {
        char text[256], *file = NULL;
        int line = (int)get_number(L, "line", 0);
        get_text(L, "file", &file);
        if (!set->cadence_file) {
            set->cadence_file = file;
            set->cadence_line = line;
        } else {
            snprintf(text, sizeof text,
                     "cadence: declared twice; the other one is at %s:%d. Name your file cadence.lua to replace the "
                     "default one",
                     set->cadence_file, set->cadence_line);
            si__ruleset_problem(set, 0, file ? file : "?", line, text);
            free(file);
        }
    }
    lua_pop(L, 1);
}

int si__ruleset_collect(lua_State *L) {
    const si__unit *unit = lua_touserdata(L, 1);
    luaL_checkstack(L, 20, NULL);
    call_engine(L, "summary", 0);
    collect_names(L, unit->set);
    collect_catch_alls(L, unit->set);
    collect_cadence(L, unit->set);
    return 0;
}

/* What the other units have: { names = { name, ... }, catch_alls = { { file, line, place }, ... } }. [-0, +1, e] */
static void push_others(lua_State *L, const si__ruleset *set) {
    lua_createtable(L, 0, 2);
    lua_createtable(L, (int)set->name_count, 0);
    for (size_t i = 0; i < set->name_count; i++) {
        lua_pushstring(L, set->names[i].name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "names");
    lua_createtable(L, (int)set->catch_all_count, 0);
    for (size_t i = 0; i < set->catch_all_count; i++) {
        const si__source *source = si__sources_find(&set->sources, set->catch_alls[i].file);
        lua_createtable(L, 0, 3);
        lua_pushstring(L, set->catch_alls[i].file);
        lua_setfield(L, -2, "file");
        lua_pushinteger(L, set->catch_alls[i].line);
        lua_setfield(L, -2, "line");
        lua_pushinteger(L, source ? source - set->sources.items : 0);
        lua_setfield(L, -2, "place");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "catch_alls");
}

int si__ruleset_finish(lua_State *L) {
    const si__unit *unit = lua_touserdata(L, 1);
    si__ruleset *set = unit->set;
    luaL_checkstack(L, 20, NULL);
    push_others(L, set);
    call_engine(L, "finish", 1);
    if (set->error_count) return 0;
    void *items = set->rules;
    size_t n = extend_list(L, "rules", sizeof *set->rules, &items, set->rule_count);
    set->rules = items;
    for (size_t i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        read_rule(L, unit, &set->rules[set->rule_count++]);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    read_routes(L, set);
    read_inhibits(L, set);
    read_segments(L, unit);
    read_thresholds(L, set);
    read_cadence(L, unit);
    return 0;
}

/* ---- Restarts ---------------------------------------------------------------------------------------------------- */

static void find_rule(lua_State *L, const si__unit *unit) {
    lua_getfield(L, -1, "name");
    const char *name = lua_tostring(L, -1);
    si__rule *found = NULL;
    for (size_t i = 0; name && i < unit->set->rule_count; i++) {
        si__rule *rule = &unit->set->rules[i];
        if (rule->unit == unit->number && strcmp(rule->name, name) == 0) found = rule;
    }
    lua_pop(L, 1);
    if (found && !found->disabled) read_functions(L, found);
}

int si__ruleset_find_functions(lua_State *L) {
    const si__unit *unit = lua_touserdata(L, 1);
    si__ruleset *set = unit->set;
    luaL_checkstack(L, 20, NULL);
    call_engine(L, "finish", 0);
    lua_getfield(L, -1, "rules");
    for (size_t i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        find_rule(L, unit);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_getfield(L, -1, "segments");
    for (size_t i = 1; i <= lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        for (size_t k = 0; k < set->segment_count; k++)
            if (set->segments[k].unit == unit->number && set->segments[k].turn == i && !set->segments[k].name)
                set->segments[k].name_ref = get_function(L, "name");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (set->cadence_unit == unit->number && lua_getfield(L, -1, "cadence") == LUA_TTABLE)
        set->cadence_ref = get_function(L, "now");
    return 0;
}

void si__ruleset_forget_functions(si__ruleset *set, size_t unit) {
    for (size_t i = 0; i < set->rule_count; i++) {
        si__rule *rule = &set->rules[i];
        if (rule->unit != unit) continue;
        rule->when_ref = rule->clear_ref = rule->summary_ref = rule->on_fire_ref = rule->attach_ref = LUA_NOREF;
    }
    for (size_t i = 0; i < set->segment_count; i++)
        if (set->segments[i].unit == unit) set->segments[i].name_ref = LUA_NOREF;
    if (set->cadence_unit == unit) set->cadence_ref = LUA_NOREF;
}

/* ---- Order ------------------------------------------------------------------------------------------------------- */

static int by_rule(const void *a, const void *b) {
    const si__rule *x = a, *y = b;
    return x->place != y->place ? (x->place < y->place ? -1 : 1) : x->line - y->line;
}

static int by_turn(size_t place_a, size_t turn_a, size_t place_b, size_t turn_b) {
    if (place_a != place_b) return place_a < place_b ? -1 : 1;
    return turn_a < turn_b ? -1 : turn_a > turn_b;
}

static int by_route(const void *a, const void *b) {
    const si__route *x = a, *y = b;
    return by_turn(x->place, x->turn, y->place, y->turn);
}

static int by_segment(const void *a, const void *b) {
    const si__segment_rule *x = a, *y = b;
    return by_turn(x->place, x->turn, y->place, y->turn);
}

void si__ruleset_order(si__ruleset *set) {
    if (set->rule_count) qsort(set->rules, set->rule_count, sizeof *set->rules, by_rule);
    if (set->route_count) qsort(set->routes, set->route_count, sizeof *set->routes, by_route);
    if (set->segment_count) qsort(set->segments, set->segment_count, sizeof *set->segments, by_segment);
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
    for (size_t i = 0; i < set->name_count; i++) {
        free(set->names[i].name);
        free(set->names[i].file);
    }
    free(set->names);
    for (size_t i = 0; i < set->catch_all_count; i++) free(set->catch_alls[i].file);
    free(set->catch_alls);
    free(set->cadence_file);
    for (size_t i = 0; i < set->rule_count; i++) {
        si__rule *rule = &set->rules[i];
        free(rule->name);
        free(rule->path);
        free(rule->severity);
        free(rule->runbook);
        free(rule->summary);
        free(rule->target);
        si__subjects_free(rule->subjects);
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
    for (size_t i = 0; i < set->threshold_count; i++) free(set->thresholds[i].segment);
    free(set->thresholds);
}
