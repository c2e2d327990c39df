/*
 * Memory that ran out inside a rule: the one that holds too much gives it back, and nobody else notices. Called by the
 * engine after a protected call has ended, on the loop thread.
 *
 * A rule that only asked for too much has nothing left after a collection. One that kept it is found by taking the
 * functions of rules away, the one that made its file grow most first, until the memory is free; when the file's
 * globals hold it, that first one it is. The file is then started afresh without it. What several files keep together
 * is taken from the one that keeps most. Alerts live in C and go on through all of this.
 */
#include <lauxlib.h>
#include <stdio.h>

#include <si/si.h>

#include "engine.h"

#define SHORT_BYTES (SI__UNIT_MEMORY_BYTES / 4 * 3)
#define KEPT_BYTES (SI__UNIT_MEMORY_BYTES / 2) /* what is still there after a collection, and too much */

static size_t collected_bytes(const si__unit *unit) {
    if (!unit->sandbox) return 0;
    lua_gc(unit->sandbox->L, LUA_GCCOLLECT, 0);
    return unit->sandbox->used_bytes - unit->language_bytes;
}

static void drop_functions(si__unit *unit, si__rule *rule) {
    int *const refs[] = {&rule->when_ref, &rule->clear_ref, &rule->summary_ref, &rule->on_fire_ref, &rule->attach_ref};
    for (size_t i = 0; i < sizeof refs / sizeof *refs; i++) {
        luaL_unref(unit->sandbox->L, LUA_REGISTRYINDEX, *refs[i]);
        *refs[i] = LUA_NOREF;
    }
}

/* Every rule of a unit that has ended says why. */
static void say_ended(si__script *script, const si__unit *unit) {
    for (size_t i = 0; i < script->set->rule_count; i++) {
        si__rule *rule = &script->set->rules[i];
        if (rule->unit != unit->number || rule->disabled) continue;
        rule->error[0] = '\0';
        si__rule_disable(script, rule, unit->error);
    }
}

static void start_afresh(si__script *script, si__unit *unit) {
    if (unit->restarts >= SI__UNIT_RESTARTS)
        si__unit_end(unit, "because its file used too much memory again and again");
    else if (si__unit_restart(unit) == 0)
        return;
    say_ended(script, unit);
}

/* Too little was held by the one that asked: the file that holds most pays. */
static void relieve_pool(si__script *script) {
    si__unit *largest = NULL;
    size_t most = 0;
    for (size_t i = 0; i < script->set->unit_count; i++) {
        size_t bytes = collected_bytes(script->set->units[i]);
        if (bytes <= most) continue;
        most = bytes;
        largest = script->set->units[i];
    }
    if (script->set->pool.used_bytes < script->set->pool.cap_bytes / 4 * 3) return;
    if (largest) start_afresh(script, largest);
}

static double growth(const si__rule *rule) {
    return (double)rule->grown_bytes / (double)(rule->calls ? rule->calls : 1);
}

/* The rule with functions of the unit that makes it grow most; NULL: none is left. */
static si__rule *fastest(si__script *script, const si__unit *unit) {
    si__rule *found = NULL;
    for (size_t i = 0; i < script->set->rule_count; i++) {
        si__rule *rule = &script->set->rules[i];
        if (rule->unit != unit->number || rule->when_ref == LUA_NOREF) continue;
        if (!found || growth(rule) > growth(found)) found = rule;
    }
    return found;
}

/* The rule that keeps the memory, or is most likely to; NULL: none. Takes functions away: start_afresh brings them
 * back.
 */
static si__rule *find_keeper(si__script *script, si__unit *unit) {
    si__rule *first = fastest(script, unit), *rule = first;
    for (; rule; rule = fastest(script, unit)) {
        drop_functions(unit, rule);
        if (collected_bytes(unit) < KEPT_BYTES) return rule;
    }
    return first;
}

int si__memory_is_short(const si__unit *unit) {
    return unit->sandbox->refusal != SI__REFUSED_NOT || unit->sandbox->used_bytes > unit->language_bytes + SHORT_BYTES;
}

void si__memory_used_up(si__script *script, si__unit *unit) {
    si__refusal refusal = unit->sandbox->refusal;
    if (collected_bytes(unit) >= KEPT_BYTES) {
        si__rule *keeper = find_keeper(script, unit);
        if (keeper) {
            snprintf(keeper->error, sizeof keeper->error, "%s:%d: keeps more memory than a rule file may use",
                     keeper->path, keeper->line);
            si__rule_disable(script, keeper, "because of its memory");
        }
        start_afresh(script, unit);
    } else if (refusal == SI__REFUSED_POOL) {
        relieve_pool(script);
    }
}
