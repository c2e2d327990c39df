/*
 * Segment rules: raw name -> the name that is kept. Called by the runtime for every segment it drains, on the loop
 * thread; answers are cached, so Lua runs once per raw name.
 */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"
#include "pattern.h"

#define CACHE_SLOTS 8192 /* a power of two */
#define CACHE_NAMES 4096
#define NAME_BYTES 96

struct si__segment_cache {
    size_t count;
    struct {
        uint64_t hash;
        char *raw, *name; /* name NULL: unchanged */
    } slots[CACHE_SLOTS];
    /* The way back: names that rules gave. Borrowed from slots; the first rule that gave a name has it. */
    struct {
        const char *name;
        const si__segment_rule *rule;
    } given[CACHE_SLOTS];
};

typedef struct rename_call {
    int ref;
    const char *raw;
    char name[NAME_BYTES];
} rename_call;

/* [-1, +0, e] */
static int ask_name(lua_State *L) {
    rename_call *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
    lua_pushstring(L, c->raw);
    lua_call(L, 1, 1);
    if (lua_isnil(L, -1)) return 0;
    size_t length;
    const char *name = luaL_checklstring(L, -1, &length);
    if (length == 0 || strlen(name) != length)
        return luaL_error(L, "a segment's name must not be empty or hold a NUL byte");
    snprintf(c->name, sizeof c->name, "%s", name);
    return 0;
}

static const si__segment_rule *rule_for(const si__script *script, const char *raw) {
    for (size_t i = 0; i < script->set->segment_count; i++) {
        const char *error;
        if (si__pattern_whole(script->set->segments[i].pattern, raw, &error) == 1) return &script->set->segments[i];
    }
    return NULL;
}

static void rename_segment(si__script *script, const si__segment_rule *rule, const char *raw, rename_call *c) {
    c->name[0] = '\0';
    c->raw = raw;
    if (!rule) return;
    if (rule->name) {
        snprintf(c->name, sizeof c->name, "%s", rule->name);
        return;
    }
    if (rule->name_ref == LUA_NOREF) return;
    char error[SI__ERROR_BYTES], shown[SI__ERROR_BYTES + 64];
    c->ref = rule->name_ref;
    si__unit *unit = script->set->units[rule->unit];
    lua_pushcfunction(unit->sandbox->L, ask_name);
    lua_pushlightuserdata(unit->sandbox->L, c);
    int status = si__sandbox_call(unit->sandbox, 1, 0, error, sizeof error);
    if (status == 0) return;
    c->name[0] = '\0';
    error[strcspn(error, "\n")] = '\0';
    si__ruleset_show_path(script->set, error, shown, sizeof shown);
    si__script_log(script, SI_LOG_WARN, "segment \"%s\" keeps its name: %s", raw, shown);
    if (si__memory_is_short(unit)) si__memory_used_up(script, unit);
}

void si__segments_reset(si__script *script) {
    si__segment_cache *cache = script->segments;
    if (!cache || !cache->count) return;
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        free(cache->slots[i].raw);
        free(cache->slots[i].name);
    }
    memset(cache, 0, sizeof *cache);
}

void si__segments_free(si__script *script) {
    si__segments_reset(script);
    free(script->segments);
    script->segments = NULL;
}

/* The slot that holds raw, or the free one where it belongs. */
static size_t slot_of(const si__segment_cache *cache, const char *raw, uint64_t hash) {
    size_t at = hash & (CACHE_SLOTS - 1);
    while (cache->slots[at].raw && (cache->slots[at].hash != hash || strcmp(cache->slots[at].raw, raw) != 0))
        at = (at + 1) & (CACHE_SLOTS - 1);
    return at;
}

static uint64_t name_hash(const char *name) {
    si__hash hash;
    si__hash_begin(&hash);
    si__hash_add(&hash, name, strlen(name));
    return hash.b;
}

/* The place of a given name, or the free one where it belongs. There is always one free: CACHE_NAMES < CACHE_SLOTS. */
static size_t given_at(const si__segment_cache *cache, const char *name) {
    size_t at = name_hash(name) & (CACHE_SLOTS - 1);
    while (cache->given[at].name && strcmp(cache->given[at].name, name) != 0) at = (at + 1) & (CACHE_SLOTS - 1);
    return at;
}

static int answer(const char *name, const char *raw, char *out, size_t out_bytes) {
    snprintf(out, out_bytes, "%s", name && *name ? name : raw);
    return name && *name && strcmp(name, raw) != 0;
}

static void remember(si__segment_cache *cache, size_t at, uint64_t hash, const char *raw, const char *name,
                     const si__segment_rule *rule) {
    cache->slots[at].raw = strdup(raw);
    if (!cache->slots[at].raw) return;
    cache->slots[at].hash = hash;
    cache->slots[at].name = *name && strcmp(name, raw) != 0 ? strdup(name) : NULL;
    cache->count++;
    if (!rule || !cache->slots[at].name) return;
    size_t given = given_at(cache, cache->slots[at].name);
    if (cache->given[given].name) return;
    cache->given[given].name = cache->slots[at].name;
    cache->given[given].rule = rule;
}

int si__script_segment_name(si__script *script, const char *raw, char *out, size_t out_bytes) {
    rename_call c = {.ref = LUA_NOREF};
    if (!script->set || script->set->segment_count == 0) return answer(NULL, raw, out, out_bytes);
    if (!script->segments) script->segments = calloc(1, sizeof *script->segments);
    uint64_t hash = name_hash(raw);
    size_t at = script->segments ? slot_of(script->segments, raw, hash) : 0;
    if (script->segments && script->segments->slots[at].raw)
        return answer(script->segments->slots[at].name, raw, out, out_bytes);
    const si__segment_rule *rule = rule_for(script, raw);
    rename_segment(script, rule, raw, &c);
    if (script->segments) {
        if (script->segments->count >= CACHE_NAMES) si__segments_reset(script); /* names without end: start over */
        remember(script->segments, slot_of(script->segments, raw, hash), hash, raw, c.name, rule);
    }
    return answer(c.name, raw, out, out_bytes);
}

const si__segment_rule *si__segments_rule_of(const si__script *script, const char *name) {
    if (!script->set) return NULL;
    if (script->segments) {
        size_t at = given_at(script->segments, name);
        if (script->segments->given[at].name) return script->segments->given[at].rule;
    }
    return rule_for(script, name);
}

size_t si__script_segment_percentiles(si__script *script, const char *name, double *out, size_t cap) {
    static const double usual[] = {50, 95, 99};
    const si__segment_rule *rule = si__segments_rule_of(script, name);
    const double *from = rule ? rule->percentiles : usual;
    size_t n = rule ? rule->percentile_count : sizeof usual / sizeof *usual;
    if (n > cap) n = cap;
    memcpy(out, from, n * sizeof *out);
    return n;
}

static size_t add_once(double *out, size_t count, size_t cap, double value) {
    for (size_t i = 0; i < count; i++)
        if (out[i] == value) return count;
    if (count < cap) out[count++] = value;
    return count;
}

size_t si__script_segment_thresholds(const si__script *script, const char *name, double *out_ms, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; script->set && i < script->set->threshold_count; i++)
        if (strcmp(script->set->thresholds[i].segment, name) == 0)
            n = add_once(out_ms, n, cap, script->set->thresholds[i].below_ms);
    for (size_t i = 0; i < script->below_count; i++) n = add_once(out_ms, n, cap, script->below_ms[i]);
    return n;
}

size_t si__script_thresholds(const si__script *script, double *out_ms, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; script->set && i < script->set->threshold_count; i++)
        n = add_once(out_ms, n, cap, script->set->thresholds[i].below_ms);
    return n;
}

void si__script_count_below(si__script *script, const double *below_ms, size_t count) {
    const size_t most = sizeof script->below_ms / sizeof *script->below_ms;
    script->below_count = 0;
    for (size_t i = 0; i < count && i < most; i++) script->below_ms[script->below_count++] = below_ms[i];
}
