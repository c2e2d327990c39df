/*
 * Describes the rules in force and the alerts that are not inactive, for a report. Called by the runtime on the loop
 * thread.
 */
#include <string.h>

#include <si/si.h>

#include "engine.h"

static const char *rule_state(const si__script *script, const si__rule *rule) {
    int worst = SI__ALERT_INACTIVE;
    if (rule->disabled || !rule->enabled) return "disabled";
    for (size_t i = 0; i < script->instance_count; i++) {
        const si__alert *a = &script->instances[i]->alert;
        if (script->instances[i]->external) continue;
        if (strcmp(a->rule, rule->name) != 0) continue;
        if (a->state == SI__ALERT_FIRING) return si__alert_state_name(SI__ALERT_FIRING);
        if (a->state == SI__ALERT_PENDING) worst = SI__ALERT_PENDING;
    }
    return si__alert_state_name((si__alert_state)worst);
}

int si__script_describe(si__script *script, si__report *report) {
    for (size_t i = 0; script->set && i < script->set->rule_count; i++) {
        const si__rule *rule = &script->set->rules[i];
        if (rule->at_dashboard != script->env.at_dashboard) continue;
        si__report_rule *out = si__report_add_rule(report);
        if (!out) return SI_ENOMEM;
        out->name = si__report_strdup(rule->name);
        out->file = si__report_strdup(rule->path);
        out->state = si__report_strdup(rule_state(script, rule));
        out->error = si__report_strdup(rule->error);
        out->evaluations = rule->evaluations;
        out->cost_ns = rule->cost_ns;
        if (!out->name || !out->file || !out->state || !out->error) return SI_ENOMEM;
    }
    for (size_t i = 0; i < script->instance_count; i++) {
        if (script->instances[i]->external) continue;
        si__alert *out = si__report_add_alert(report);
        if (!out) return SI_ENOMEM;
        if (si__alert_copy(out, &script->instances[i]->alert) != 0) return SI_ENOMEM;
    }
    return 0;
}

int si__script_wants_callsites(const si__script *script, const char *type, int grown) {
    for (size_t i = 0; script->set && i < script->set->rule_count; i++) {
        const si__rule *rule = &script->set->rules[i];
        if (!rule->enabled || rule->at_dashboard != script->env.at_dashboard) continue;
        if (rule->over == SI__OVER_CALLSITES && strcmp(rule->target, type) == 0) return 1;
        for (size_t t = 0; grown && rule->over == SI__OVER_PROFILES && t < rule->types.count; t++)
            if (strcmp(rule->types.items[t], type) == 0) return 1;
    }
    return 0;
}
