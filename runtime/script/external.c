/*
 * Alerts from outside: at the dashboard, what agents report. Their state comes from there, everything about telling
 * people is the engine's. Called by the dashboard on its alerting thread.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"

static uint64_t key_of(const char *fingerprint) {
    uint64_t key = 0xCBF29CE484222325u;
    for (size_t i = 0; i < 32 && fingerprint[i]; i++) key = (key ^ (unsigned char)fingerprint[i]) * 0x100000001B3u;
    return key;
}

static si__instance *find(si__script *script, const char *fingerprint) {
    uint64_t key = key_of(fingerprint);
    si__instance *found = script->buckets[key & (SI__INSTANCE_BUCKETS - 1)];
    while (found && (!found->external || found->key != key || strcmp(found->alert.fingerprint, fingerprint) != 0))
        found = found->chain;
    return found;
}

/* Room for one more: what was resolved goes first. */
static int make_room(si__script *script) {
    size_t externals = 0;
    si__instance *resolved = NULL;
    for (size_t i = 0; i < script->instance_count; i++) {
        if (!script->instances[i]->external) continue;
        externals++;
        if (script->instances[i]->alert.state == SI__ALERT_RESOLVED) resolved = script->instances[i];
    }
    if (externals < SI__EXTERNALS) return 1;
    if (resolved) si__instance_remove(script, resolved);
    return resolved != NULL;
}

int si__external_restore(si__script *script, const char *fingerprint, si__instance **out) {
    *out = find(script, fingerprint);
    if (*out) return 0;
    if (!make_room(script)) return SI_ELIMIT;
    si__instance *made = calloc(1, sizeof *made);
    si__instance **grown = realloc(script->instances, (script->instance_count + 1) * sizeof *grown);
    if (grown) script->instances = grown;
    if (!made || !grown) {
        free(made);
        return SI_ENOMEM;
    }
    strncpy(made->alert.fingerprint, fingerprint, sizeof made->alert.fingerprint - 1);
    made->key = key_of(made->alert.fingerprint);
    made->external = made->bare = 1;
    made->alert.value = NAN;
    script->instances[script->instance_count++] = made;
    si__instance_index(script, made);
    *out = made;
    return 0;
}

/* Everything but the state. 0 or SI_ENOMEM. */
static int take_texts(si__instance *instance, const si__alert *from) {
    si__alert *to = &instance->alert;
    const struct {
        char **to;
        const char *from;
        size_t most;
    } texts[] = {{&to->rule, from->rule, 255},        {&to->subject, from->subject, 511},
                 {&to->severity, from->severity, 16}, {&to->summary, from->summary, 512},
                 {&to->runbook, from->runbook, 1024}, {&to->detail, from->detail, 2048},
                 {&to->app, from->app, 255},          {&to->environment, from->environment, 255},
                 {&to->host, from->host, 255}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (si__text_set(texts[i].to, texts[i].from ? texts[i].from : "", texts[i].most)) return SI_ENOMEM;
    to->value = from->value;
    to->started_ms = from->started_ms;
    return 0;
}

static int resolve(si__script *script, si__instance *instance, const si__alert *alert) {
    if (instance->alert.state != SI__ALERT_FIRING) return 0;
    int told = instance->told;
    si__instance_resolve(script, instance);
    if (alert->resolved_ms > 0) instance->alert.resolved_ms = alert->resolved_ms;
    return told;
}

int si__script_external_alert(si__script *script, const si__alert *alert) {
    if (!script->set) return SI_ESTATE;
    si__instance *instance = find(script, alert->fingerprint);
    int firing = alert->state == SI__ALERT_FIRING;
    if (!instance && !firing) return 0;
    int fresh = !instance;
    if (!instance) {
        int status = si__external_restore(script, alert->fingerprint, &instance);
        if (status) return status;
    }
    if (take_texts(instance, alert)) {
        if (instance->bare) si__instance_remove(script, instance); /* half of it is there: not usable */
        return SI_ENOMEM;
    }
    if (instance->bare) {
        instance->bare = 0;
        if (!fresh) si__routing_restore(script, instance);
    }
    if (!firing) return resolve(script, instance, alert);
    if (instance->alert.state != SI__ALERT_FIRING || alert->fired_ms > instance->outside_fired_ms) {
        si__instance_fire(script, instance);
        if (alert->fired_ms > 0 && alert->fired_ms < script->now_ms) instance->alert.fired_ms = alert->fired_ms;
        instance->outside_fired_ms = alert->fired_ms;
    }
    return si__routing_listens(script, &instance->alert);
}
