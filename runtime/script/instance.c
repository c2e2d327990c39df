/*
 * The life of one alert: pending -> firing -> resolved, and the flapping in between. Called by engine.c on the loop
 * thread.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"
#include "units.h"

#define SUBJECT_BYTES 512
#define FLAP_WINDOW_MS (3600 * (int64_t)1000)
#define FLAP_QUIET_MS (1800 * (int64_t)1000)

int si__text_set(char **field, const char *text, size_t max_bytes) {
    size_t n = strnlen(text, max_bytes);
    if (n == max_bytes)
        while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80) n--;
    if (*field && strlen(*field) == n && memcmp(*field, text, n) == 0) return 0;
    char *copy = strndup(text, n);
    if (!copy) return SI_ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

void si__instance_fingerprint(const si__script *script, const char *rule, const char *subject, char hex[33],
                              uint64_t *key) {
    si__hash hash;
    const char *parts[] = {rule, script->env.app, script->env.environment, script->env.host, subject};
    si__hash_begin(&hash);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) si__hash_add(&hash, parts[i], strlen(parts[i]));
    if (hex) si__hash_hex(&hash, hex);
    *key = hash.a;
}

uint64_t si__instance_key(const si__script *script, const si__rule *rule, const char *subject) {
    char cut[SUBJECT_BYTES];
    uint64_t key;
    snprintf(cut, sizeof cut, "%s", subject);
    si__instance_fingerprint(script, rule->name, cut, NULL, &key);
    return key;
}

static si__instance *find_key(si__script *script, uint64_t key, const si__rule *rule, const char *subject) {
    si__instance *found = script->buckets[key & (SI__INSTANCE_BUCKETS - 1)];
    while (found && (found->key != key || found->external || strcmp(found->alert.rule, rule->name) != 0 ||
                     strncmp(found->alert.subject, subject, SUBJECT_BYTES - 1) != 0))
        found = found->chain;
    return found;
}

si__instance *si__instance_of(si__script *script, const si__rule *rule, const si__subject *subject) {
    return script->instance_count ? find_key(script, subject->key, rule, subject->name) : NULL;
}

si__instance *si__instance_find(si__script *script, const si__rule *rule, const char *subject) {
    return find_key(script, si__instance_key(script, rule, subject), rule, subject);
}

void si__instance_index(si__script *script, si__instance *instance) {
    si__instance **bucket = &script->buckets[instance->key & (SI__INSTANCE_BUCKETS - 1)];
    instance->chain = *bucket;
    *bucket = instance;
}

static void unindex(si__script *script, const si__instance *instance) {
    si__instance **link = &script->buckets[instance->key & (SI__INSTANCE_BUCKETS - 1)];
    while (*link && *link != instance) link = &(*link)->chain;
    if (*link) *link = instance->chain;
}

static void instance_free(si__instance *instance) {
    si__alert_clear(&instance->alert);
    free(instance->silenced);
    free(instance);
}

/* Room for one more: what was resolved goes first. */
static int make_room(si__script *script) {
    if (script->instance_count < SI__INSTANCES) return 1;
    size_t own = 0;
    si__instance *resolved = NULL;
    for (size_t i = 0; i < script->instance_count; i++) {
        if (script->instances[i]->external) continue;
        own++;
        if (script->instances[i]->alert.state == SI__ALERT_RESOLVED) resolved = script->instances[i];
    }
    if (own < SI__INSTANCES) return 1;
    if (resolved) {
        si__instance_remove(script, resolved);
        return 1;
    }
    if (!script->instances_full) {
        script->instances_full = 1;
        si__script_log(script, SI_LOG_WARN, "rules: %d alerts are active at once; further ones are ignored",
                       SI__INSTANCES);
    }
    return 0;
}

si__instance *si__instance_add(si__script *script, const si__rule *rule, const char *subject) {
    if (!make_room(script)) return NULL;
    si__instance *instance = calloc(1, sizeof *instance);
    si__instance **grown = realloc(script->instances, (script->instance_count + 1) * sizeof *grown);
    if (grown) script->instances = grown;
    if (!instance || !grown) {
        free(instance);
        return NULL;
    }
    si__alert *a = &instance->alert;
    int failed = si__text_set(&a->rule, rule->name, 64) || si__text_set(&a->subject, subject, SUBJECT_BYTES - 1) ||
                 si__text_set(&a->severity, rule->severity, 16) ||
                 si__text_set(&a->summary, rule->summary ? rule->summary : rule->name, 512) ||
                 si__text_set(&a->runbook, rule->runbook, 1024) || si__text_set(&a->detail, "", 1) ||
                 si__text_set(&a->app, script->env.app, 255) ||
                 si__text_set(&a->environment, script->env.environment, 255) ||
                 si__text_set(&a->host, script->env.host, 255);
    if (failed) {
        instance_free(instance);
        return NULL;
    }
    si__instance_fingerprint(script, a->rule, a->subject, a->fingerprint, &instance->key);
    a->state = SI__ALERT_PENDING;
    a->value = NAN;
    a->started_ms = script->now_ms;
    instance->round = script->round;
    script->instances[script->instance_count++] = instance;
    si__instance_index(script, instance);
    return instance;
}

void si__instance_remove(si__script *script, si__instance *instance) {
    unindex(script, instance);
    si__routing_forget(script, instance);
    for (size_t i = 0; i < script->instance_count; i++)
        if (script->instances[i] == instance) {
            script->instances[i] = script->instances[--script->instance_count];
            break;
        }
    script->instances_full = 0;
    instance_free(instance);
}

static void tell_state(si__script *script, si__instance *instance) {
    if (script->env.on_alert && !instance->external) script->env.on_alert(script->env.arg, &instance->alert);
}

static void note_fire(si__script *script, si__instance *instance) {
    memmove(instance->fires_ms + 1, instance->fires_ms, sizeof instance->fires_ms - sizeof *instance->fires_ms);
    instance->fires_ms[0] = script->now_ms;
    instance->fire_count++;
    int64_t oldest = instance->fires_ms[SI__FLAP_FIRES - 1];
    if (instance->flapping || instance->fire_count < SI__FLAP_FIRES || script->now_ms - oldest > FLAP_WINDOW_MS) return;
    char took[32], text[2048];
    instance->flapping = 1;
    snprintf(text, sizeof text,
             "Flapping: fired %d times within %s. Further changes are not sent until it is quiet for 30 min.%s%s",
             SI__FLAP_FIRES, si__duration_format(script->now_ms - oldest, took, sizeof took),
             *instance->alert.detail ? "\n" : "", instance->alert.detail);
    si__text_set(&instance->alert.detail, text, sizeof text - 1);
    instance->told = 0; /* said once, now */
}

void si__instance_fire(si__script *script, si__instance *instance) {
    int was_flapping = instance->flapping;
    instance->alert.state = SI__ALERT_FIRING;
    instance->alert.fired_ms = script->now_ms;
    instance->alert.resolved_ms = 0;
    instance->clear_since_ms = 0;
    instance->changed_ms = script->now_ms;
    instance->acked = 0;
    instance->escalated = 0;
    note_fire(script, instance);
    tell_state(script, instance);
    if (!was_flapping) si__routing_changed(script, instance);
}

void si__instance_resolve(si__script *script, si__instance *instance) {
    instance->alert.state = SI__ALERT_RESOLVED;
    instance->alert.resolved_ms = script->now_ms;
    instance->clear_since_ms = 0;
    instance->changed_ms = script->now_ms;
    tell_state(script, instance);
    if (!instance->flapping) si__routing_changed(script, instance);
}

void si__instance_cancel(si__script *script, si__instance *instance) {
    instance->alert.state = SI__ALERT_INACTIVE;
    tell_state(script, instance);
    si__instance_remove(script, instance);
}

void si__instances_tick(si__script *script) {
    for (size_t i = script->instance_count; i-- > 0;) {
        si__instance *instance = script->instances[i];
        int64_t quiet_ms = script->now_ms - instance->changed_ms;
        if (instance->bare) { /* saved, and never heard of again */
            if (script->now_ms - script->started_ms > SI__RESOLVED_KEPT_MS) si__instance_remove(script, instance);
            continue;
        }
        if (instance->flapping && quiet_ms >= FLAP_QUIET_MS) {
            instance->flapping = 0;
            instance->fire_count = 0;
            si__routing_changed(script, instance);
        }
        if (instance->alert.state != SI__ALERT_RESOLVED || instance->flapping || quiet_ms < SI__RESOLVED_KEPT_MS)
            continue;
        if (quiet_ms >= SI__RESOLVED_OWED_MS || !si__routing_owes(script, instance))
            si__instance_remove(script, instance);
    }
}

static const si__rule *rule_in_force(const si__script *script, const char *name) {
    for (size_t i = 0; i < script->set->rule_count; i++) {
        const si__rule *rule = &script->set->rules[i];
        if (strcmp(rule->name, name) == 0)
            return rule->enabled && rule->at_dashboard == script->env.at_dashboard ? rule : NULL;
    }
    return NULL;
}

void si__instances_reload(si__script *script) {
    for (size_t i = script->instance_count; i-- > 0;) {
        si__instance *instance = script->instances[i];
        if (instance->external) continue;
        const si__rule *rule = rule_in_force(script, instance->alert.rule);
        if (rule) {
            si__text_set(&instance->alert.severity, rule->severity, 16);
            si__text_set(&instance->alert.runbook, rule->runbook, 1024);
        } else if (instance->alert.state == SI__ALERT_PENDING) {
            si__instance_cancel(script, instance);
        } else if (instance->alert.state == SI__ALERT_FIRING) {
            si__text_set(&instance->alert.detail, "The rule was removed from the rule files.", 512);
            si__instance_resolve(script, instance);
        }
    }
}
