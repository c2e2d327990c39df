/*
 * What a rule sees now, for people: `si rules list` and `si rules explain`. Called by the si command and by tests, on
 * the thread that owns the script.
 */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include <si/si.h>

#include "../history/series.h"
#include "engine.h"
#include "handle.h"
#include "units.h"

#define SUBJECTS 20

typedef struct printer {
    void (*print)(void *arg, const char *line);
    void *arg;
} printer;

static size_t active_alerts(const si__script *script, const si__rule *rule, const char **state) {
    size_t n = 0;
    *state = rule->disabled || !rule->enabled ? "disabled" : si__alert_state_name(SI__ALERT_INACTIVE);
    for (size_t i = 0; i < script->instance_count; i++) {
        const si__instance *instance = script->instances[i];
        if (instance->external || strcmp(instance->alert.rule, rule->name) != 0) continue;
        if (instance->alert.state != SI__ALERT_PENDING && instance->alert.state != SI__ALERT_FIRING) continue;
        n++;
        if (rule->disabled || !rule->enabled) continue;
        if (instance->alert.state == SI__ALERT_FIRING || strcmp(*state, "firing") != 0)
            *state = si__alert_state_name(instance->alert.state);
    }
    return n;
}

int si__script_rule(const si__script *script, size_t number, si__rule_info *out) {
    if (!script->set || number >= script->set->rule_count) return SI_ENOTFOUND;
    const si__rule *rule = &script->set->rules[number];
    *out = (si__rule_info){.name = rule->name,
                           .file = rule->path,
                           .severity = rule->severity,
                           .error = rule->error,
                           .line = rule->line,
                           .enabled = rule->enabled,
                           .at_dashboard = rule->at_dashboard,
                           .raises_alerts = !rule->quiet,
                           .every_ms = rule->every_ms,
                           .hold_ms = rule->hold_ms,
                           .keep_ms = rule->keep_ms,
                           .evaluations = rule->evaluations,
                           .cost_ns = rule->cost_ns};
    out->alerts = active_alerts(script, rule, &out->state);
    return 0;
}

static void print_trace(void *arg, const char *text) {
    const printer *p = arg;
    char line[700];
    snprintf(line, sizeof line, "      %s", text);
    p->print(p->arg, line);
}

static void explain_function(si__script *script, si__rule *rule, int ref, const char *name, const si__handle *about,
                             printer *p) {
    char error[SI__ERROR_BYTES], line[SI__ERROR_BYTES + 64];
    int truth = 0;
    si__unit *unit = script->set->units[rule->unit];
    if (ref == LUA_NOREF || !unit->sandbox) return;
    snprintf(line, sizeof line, "    %s", name);
    p->print(p->arg, line);
    unit->trace = print_trace;
    unit->trace_arg = p;
    int status = si__engine_ask(script->set, rule, ref, about, &truth, error, sizeof error);
    unit->trace = NULL;
    error[strcspn(error, "\n")] = '\0';
    snprintf(line, sizeof line, "      -> %s", status ? error : truth ? "true" : "false");
    p->print(p->arg, line);
}

static void explain_subject(si__script *script, si__rule *rule, const si__subject *s, int64_t now_ms, printer *p) {
    char line[900], age[40] = "", state[200];
    const si__instance *instance = si__instance_of(script, rule, s);
    snprintf(state, sizeof state, "%s", instance ? si__alert_state_name(instance->alert.state) : "inactive");
    if (instance && instance->alert.state == SI__ALERT_PENDING)
        snprintf(state, sizeof state, "pending for %s",
                 si__duration_format(now_ms - instance->alert.started_ms, age, sizeof age));
    if (!s->series)
        snprintf(line, sizeof line, "  %.500s: no data; %s", *s->name ? s->name : rule->target, state);
    else
        snprintf(line, sizeof line, "  %.500s: last %.6g, %s ago; %s", *s->name ? s->name : rule->target,
                 si__series_last(s->series), si__duration_format(si__series_age_ms(s->series, now_ms), age, sizeof age),
                 state);
    p->print(p->arg, line);
    if (!s->series) return;
    si__handle about = si__engine_handle(script, rule, s);
    about.now_ms = now_ms;
    explain_function(script, rule, rule->when_ref, rule->quiet ? "profile_when" : "when", &about, p);
    explain_function(script, rule, rule->clear_ref, "clear", &about, p);
}

int si__script_explain(si__script *script, const char *name, int64_t now_ms, void (*print)(void *arg, const char *line),
                       void *arg) {
    char line[700], hold[40], keep[40];
    printer p = {print, arg};
    si__rule *rule = NULL;
    if (!script->set) return SI_ESTATE;
    for (size_t i = 0; i < script->set->rule_count; i++)
        if (strcmp(script->set->rules[i].name, name) == 0) rule = &script->set->rules[i];
    if (!rule) return SI_ENOTFOUND;
    snprintf(line, sizeof line, "%s (%s:%d), %s, hold %s, keep %s", rule->name, rule->path, rule->line, rule->severity,
             si__duration_format(rule->hold_ms, hold, sizeof hold),
             si__duration_format(rule->keep_ms, keep, sizeof keep));
    print(arg, line);
    if (*rule->error) {
        snprintf(line, sizeof line, "  %s: %.255s", rule->disabled ? "disabled" : "last error", rule->error);
        print(arg, line);
    }
    const si__subjects *subjects = si__subjects_of(script, rule);
    if (!subjects) return SI_ENOMEM;
    if (!subjects->count) print(arg, "  it is about nothing that is known now");
    for (size_t i = 0; i < subjects->count && i < SUBJECTS; i++)
        explain_subject(script, rule, subjects->chosen[i], now_ms, &p);
    if (subjects->count > SUBJECTS) {
        snprintf(line, sizeof line, "  and %zu more", subjects->count - SUBJECTS);
        print(arg, line);
    }
    return 0;
}
