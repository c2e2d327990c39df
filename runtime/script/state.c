/*
 * Alert states over a restart, as JSON. Called by the runtime on the loop thread: save now and then and at the end,
 * load once after the rules are loaded.
 *
 * What fired and was told is not told again; what was pending goes on being pending.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "../report/json.h"
#include "engine.h"

#define STATE_VERSION 1
#define DETAIL_BYTES 512 /* 500 alerts must stay below what the parser takes */

/* What both kinds have: how people were told, and how often it fired of late. */
static void put_told(si__json_writer *w, const si__instance *instance) {
    char escalated[24];
    snprintf(escalated, sizeof escalated, "%016llx", (unsigned long long)instance->escalated);
    si__json_put_string(w, "state", si__alert_state_name(instance->alert.state));
    si__json_put_int(w, "fired_ms", instance->alert.fired_ms);
    si__json_put_int(w, "resolved_ms", instance->alert.resolved_ms);
    si__json_put_int(w, "changed_ms", instance->changed_ms);
    if (instance->acked) si__json_put_bool(w, "acked", 1);
    if (instance->told) si__json_put_bool(w, "told", 1);
    if (instance->told_ms) si__json_put_int(w, "told_ms", instance->told_ms);
    if (instance->escalated) si__json_put_string(w, "escalated", escalated);
    if (instance->flapping) si__json_put_bool(w, "flapping", 1);
    if (instance->silenced) si__json_put_string(w, "silenced", instance->silenced);
    si__json_array_begin(w, "fires_ms");
    for (unsigned i = 0; i < SI__FLAP_FIRES && i < instance->fire_count; i++)
        si__json_put_int(w, NULL, instance->fires_ms[i]);
    si__json_array_end(w);
}

static void put_own(si__json_writer *w, const si__instance *instance) {
    const si__alert *a = &instance->alert;
    si__json_object_begin(w, NULL);
    si__json_put_string(w, "rule", a->rule);
    si__json_put_string(w, "subject", a->subject);
    si__json_put_string(w, "summary", a->summary);
    si__json_put_text(w, "detail", a->detail, strnlen(a->detail, DETAIL_BYTES));
    si__json_put_number(w, "value", a->value);
    si__json_put_int(w, "started_ms", a->started_ms);
    si__json_put_int(w, "clear_since_ms", instance->clear_since_ms);
    put_told(w, instance);
    si__json_object_end(w);
}

int si__script_state_save(const si__script *script, char **out, size_t *length) {
    si__json_writer w = {0};
    si__json_object_begin(&w, NULL);
    si__json_put_int(&w, "version", STATE_VERSION);
    si__json_array_begin(&w, "alerts");
    for (size_t i = 0; i < script->instance_count; i++)
        if (!script->instances[i]->external) put_own(&w, script->instances[i]);
    si__json_array_end(&w);
    si__json_array_begin(&w, "external"); /* their texts come from outside again */
    for (size_t i = 0; i < script->instance_count; i++) {
        if (!script->instances[i]->external) continue;
        si__json_object_begin(&w, NULL);
        si__json_put_string(&w, "fingerprint", script->instances[i]->alert.fingerprint);
        si__json_put_int(&w, "outside_fired_ms", script->instances[i]->outside_fired_ms);
        put_told(&w, script->instances[i]);
        si__json_object_end(&w);
    }
    si__json_array_end(&w);
    si__json_object_end(&w);
    return si__json_take(&w, out, length);
}

static const si__rule *rule_named(const si__script *script, const char *name) {
    for (size_t i = 0; script->set && i < script->set->rule_count; i++)
        if (strcmp(script->set->rules[i].name, name) == 0) return &script->set->rules[i];
    return NULL;
}

/* A time from the file: never in the future, or a clock that was ahead would hold an alert up. */
static int64_t get_ms(const si__json *object, const char *key, int64_t now_ms) {
    int64_t ms = si__json_get_integer(object, key, 0);
    return ms < 0 ? 0 : ms > now_ms ? now_ms : ms;
}

static void restore_told(si__instance *instance, const si__json *saved, int state, int64_t now_ms) {
    si__alert *a = &instance->alert;
    a->state = (si__alert_state)state;
    a->fired_ms = get_ms(saved, "fired_ms", now_ms);
    a->resolved_ms = get_ms(saved, "resolved_ms", now_ms);
    instance->changed_ms = get_ms(saved, "changed_ms", now_ms);
    instance->acked = si__json_get_bool(saved, "acked", 0);
    instance->told = si__json_get_bool(saved, "told", 0);
    instance->told_ms = get_ms(saved, "told_ms", now_ms);
    instance->escalated = strtoull(si__json_get_string(saved, "escalated", "0"), NULL, 16);
    instance->flapping = si__json_get_bool(saved, "flapping", 0);
    const char *silenced = si__json_get_string(saved, "silenced", "");
    if (*silenced) si__text_set(&instance->silenced, silenced, 255);
    const si__json *fires = si__json_get(saved, "fires_ms");
    instance->fire_count = 0;
    for (const si__json *at = fires && fires->type == SI__JSON_ARRAY ? fires->first : NULL;
         at && instance->fire_count < SI__FLAP_FIRES; at = at->next) {
        int64_t ms = at->type == SI__JSON_NUMBER ? (int64_t)at->number : 0;
        instance->fires_ms[instance->fire_count++] = ms > now_ms ? now_ms : ms;
    }
}

static void restore(si__script *script, const si__json *saved, int64_t now_ms) {
    int state = si__alert_state_parse(si__json_get_string(saved, "state", ""));
    const si__rule *rule = rule_named(script, si__json_get_string(saved, "rule", ""));
    const char *subject = si__json_get_string(saved, "subject", "");
    if (!rule || !rule->enabled || rule->at_dashboard != script->env.at_dashboard || state <= SI__ALERT_INACTIVE)
        return;
    si__instance *instance = si__instance_find(script, rule, subject);
    if (!instance) instance = si__instance_add(script, rule, subject);
    if (!instance) return;
    si__alert *a = &instance->alert;
    si__text_set(&a->summary, si__json_get_string(saved, "summary", a->summary), 512);
    si__text_set(&a->detail, si__json_get_string(saved, "detail", ""), DETAIL_BYTES);
    a->value = si__json_get_number(saved, "value", NAN);
    a->started_ms = get_ms(saved, "started_ms", now_ms);
    instance->clear_since_ms = get_ms(saved, "clear_since_ms", now_ms);
    restore_told(instance, saved, state, now_ms);
}

static void restore_external(si__script *script, const si__json *saved, int64_t now_ms) {
    int state = si__alert_state_parse(si__json_get_string(saved, "state", ""));
    const char *fingerprint = si__json_get_string(saved, "fingerprint", "");
    si__instance *instance;
    if (state < SI__ALERT_FIRING || strlen(fingerprint) != 32) return;
    if (si__external_restore(script, fingerprint, &instance) || !instance->bare) return;
    restore_told(instance, saved, state, now_ms);
    instance->outside_fired_ms = si__json_get_integer(saved, "outside_fired_ms", 0);
}

int si__script_state_load(si__script *script, const char *text, size_t length, int64_t now_ms) {
    si__json *root;
    int status = si__json_parse(text, length, &root, NULL, 0);
    if (status) return status;
    const si__json *alerts = si__json_get(root, "alerts"), *external = si__json_get(root, "external");
    if (si__json_get_integer(root, "version", 0) != STATE_VERSION || !alerts || alerts->type != SI__JSON_ARRAY) {
        si__json_free(root);
        return SI_EFORMAT;
    }
    script->now_ms = now_ms;
    for (const si__json *saved = alerts->first; saved; saved = saved->next) restore(script, saved, now_ms);
    for (const si__json *saved = external && external->type == SI__JSON_ARRAY ? external->first : NULL; saved;
         saved = saved->next)
        restore_external(script, saved, now_ms);
    si__json_free(root);
    if (script->set) si__routing_rebuild(script);
    return 0;
}
