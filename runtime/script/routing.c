/*
 * Routing: which routes an alert takes, which alerts travel together, and when. Called by the engine on the loop
 * thread.
 *
 * A group is sent `wait` after its first change, then at most every `interval`, and again every `resend` while
 * something fires. What fired and was over before anybody was told is not sent at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"

#define MAX_LEAVES 16 /* routes that one alert takes, with continue = true */

typedef struct leaf_list {
    const si__route *routes[MAX_LEAVES];
    size_t count;
} leaf_list;

static const char *label_of(const si__alert *alert, unsigned label) {
    const char *labels[SI__LABELS] = {alert->app,  alert->environment, alert->host,
                                      alert->rule, alert->severity,    alert->subject};
    return labels[label] ? labels[label] : "";
}

static int matches(const si__matcher *matcher, const si__alert *alert) {
    for (unsigned label = 0; label < SI__LABELS; label++) {
        const si__text_list *wanted = &matcher->labels[label];
        int any = wanted->count == 0;
        for (size_t i = 0; i < wanted->count && !any; i++)
            any = si__glob_matches(wanted->items[i], label_of(alert, label));
        if (!any) return 0;
    }
    return 1;
}

/* The deepest matching routes; the first one that matches takes the alert unless it says continue. Returns how many. */
static size_t find_leaves(const si__route *routes, size_t count, const si__alert *alert, leaf_list *out) {
    size_t before = out->count;
    for (size_t i = 0; i < count; i++) {
        const si__route *route = &routes[i];
        if (!matches(&route->match, alert)) continue;
        if (find_leaves(route->children, route->child_count, alert, out) == 0 && out->count < MAX_LEAVES)
            out->routes[out->count++] = route;
        if (!route->next_too) break;
    }
    return out->count - before;
}

/* ---- Inhibition and silence -------------------------------------------------------------------------------------- */

/* Looked up once a tick: with many alerts, every alert against every other would be too many. */
static void find_causes(si__script *script) {
    size_t inhibits = script->set->inhibit_count, n = 0, capacity = 0;
    free(script->causes);
    free(script->cause_ends);
    script->causes = NULL;
    script->cause_ends = inhibits ? calloc(inhibits, sizeof *script->cause_ends) : NULL;
    if (!script->cause_ends) return;
    for (size_t i = 0; i < inhibits; i++) {
        for (size_t k = 0; k < script->instance_count; k++) {
            const si__instance *source = script->instances[k];
            if (source->alert.state != SI__ALERT_FIRING || source->bare ||
                !matches(&script->set->inhibits[i].source, &source->alert))
                continue;
            if (n == capacity) {
                size_t wanted = capacity ? capacity * 2 : 16;
                const si__instance **grown = realloc(script->causes, wanted * sizeof *grown);
                if (!grown) break; /* without memory something is told too much */
                script->causes = grown;
                capacity = wanted;
            }
            script->causes[n++] = source;
        }
        script->cause_ends[i] = n;
    }
}

static int equal_labels(unsigned labels, const si__alert *a, const si__alert *b) {
    for (unsigned label = 0; label < SI__LABELS; label++)
        if (labels & 1u << label && strcmp(label_of(a, label), label_of(b, label)) != 0) return 0;
    return 1;
}

/* Nothing is to be told about it now: inhibited by what fires, or silenced by somebody. */
static int muted(const si__script *script, const si__instance *target) {
    if (target->silenced) return 1;
    for (size_t i = 0; script->cause_ends && i < script->set->inhibit_count; i++) {
        const si__inhibit *inhibit = &script->set->inhibits[i];
        if (!matches(&inhibit->target, &target->alert)) continue;
        for (size_t k = i ? script->cause_ends[i - 1] : 0; k < script->cause_ends[i]; k++)
            if (script->causes[k] != target && equal_labels(inhibit->equal, &script->causes[k]->alert, &target->alert))
                return 1;
    }
    return 0;
}

/* ---- Groups ------------------------------------------------------------------------------------------------------ */

static si__group *group_for(si__script *script, const si__route *route, const si__alert *alert) {
    si__hash hash;
    si__hash_begin(&hash);
    for (unsigned label = 0; label < SI__LABELS; label++)
        if (route->group_by & 1u << label) si__hash_add(&hash, label_of(alert, label), strlen(label_of(alert, label)));
    for (size_t i = 0; i < script->group_count; i++)
        if (script->groups[i].route == route && script->groups[i].key == hash.a) return &script->groups[i];
    si__group *grown = realloc(script->groups, (script->group_count + 1) * sizeof *grown);
    if (!grown) return NULL;
    script->groups = grown;
    grown[script->group_count] = (si__group){.route = route, .key = hash.a};
    return &grown[script->group_count++];
}

static si__member *member_of(si__group *group, const si__instance *instance) {
    for (size_t i = 0; i < group->count; i++)
        if (group->members[i].instance == instance) return &group->members[i];
    return NULL;
}

static void member_remove(si__group *group, si__member *member) {
    *member = group->members[--group->count];
}

static void group_add(si__script *script, const si__route *route, si__instance *instance, int dirty) {
    si__group *group = group_for(script, route, &instance->alert);
    if (!group) return;
    si__member *member = member_of(group, instance);
    if (!member) {
        si__member *grown = realloc(group->members, (group->count + 1) * sizeof *grown);
        if (!grown) return;
        group->members = grown;
        member = &grown[group->count++];
        *member = (si__member){.instance = instance};
    }
    if (!dirty) return;
    member->dirty = 1;
    if (!group->dirty_ms) group->dirty_ms = script->now_ms;
}

void si__routing_changed(si__script *script, si__instance *instance) {
    if (instance->alert.state == SI__ALERT_FIRING) {
        leaf_list leaves = {.count = 0};
        find_leaves(script->set->routes, script->set->route_count, &instance->alert, &leaves);
        for (size_t i = 0; i < leaves.count; i++) group_add(script, leaves.routes[i], instance, 1);
        return;
    }
    for (size_t i = 0; i < script->group_count; i++) {
        si__group *group = &script->groups[i];
        si__member *member = member_of(group, instance);
        if (!member) continue;
        if (instance->told) {
            member->dirty = 1;
            if (!group->dirty_ms) group->dirty_ms = script->now_ms;
        } else {
            member_remove(group, member);
        }
    }
}

void si__routing_forget(si__script *script, si__instance *instance) {
    free(script->cause_ends); /* it may be among the causes; they are looked up anew in the next tick */
    script->cause_ends = NULL;
    for (size_t i = 0; i < script->group_count; i++) {
        si__member *member = member_of(&script->groups[i], instance);
        if (member) member_remove(&script->groups[i], member);
    }
}

int si__routing_owes(const si__script *script, const si__instance *instance) {
    for (size_t i = 0; i < script->group_count; i++)
        for (size_t k = 0; k < script->groups[i].count; k++)
            if (script->groups[i].members[k].instance == instance && script->groups[i].members[k].dirty) return 1;
    return 0;
}

void si__routing_clear(si__script *script) {
    free(script->causes);
    free(script->cause_ends);
    script->causes = NULL; /* they may point at what is about to go */
    script->cause_ends = NULL;
    for (size_t i = 0; i < script->group_count; i++) free(script->groups[i].members);
    free(script->groups);
    script->groups = NULL;
    script->group_count = 0;
}

void si__routing_restore(si__script *script, si__instance *instance) {
    int firing = instance->alert.state == SI__ALERT_FIRING;
    if (instance->bare || (!firing && !(instance->alert.state == SI__ALERT_RESOLVED && instance->told))) return;
    leaf_list leaves = {.count = 0};
    int owed = firing ? !instance->told : !instance->flapping; /* that it is over is not told while it flaps */
    find_leaves(script->set->routes, script->set->route_count, &instance->alert, &leaves);
    for (size_t k = 0; k < leaves.count; k++) {
        group_add(script, leaves.routes[k], instance, owed);
        si__group *group = group_for(script, leaves.routes[k], &instance->alert);
        /* it has waited since then: a program that ends again and again must not put its message off for ever */
        if (group && owed && instance->changed_ms > 0 && instance->changed_ms < group->dirty_ms)
            group->dirty_ms = instance->changed_ms;
        if (group && instance->told && instance->told_ms > group->sent_ms) group->sent_ms = instance->told_ms;
    }
}

void si__routing_rebuild(si__script *script) {
    si__routing_clear(script);
    for (size_t i = 0; i < script->instance_count; i++) si__routing_restore(script, script->instances[i]);
}

int si__routing_listens(const si__script *script, const si__alert *alert) {
    leaf_list leaves = {.count = 0};
    find_leaves(script->set->routes, script->set->route_count, alert, &leaves);
    for (size_t i = 0; i < leaves.count; i++)
        if (leaves.routes[i]->to.count || leaves.routes[i]->escalation_count) return 1;
    return 0;
}

/* ---- Sending ----------------------------------------------------------------------------------------------------- */

/* Alerts are copied by value for the call only: their strings stay the instances'. */
static void notify(si__script *script, const si__text_list *to, const si__alert *alerts, size_t count) {
    if (!script->on_notify || count == 0) return;
    for (size_t i = 0; i < to->count; i++) script->on_notify(script->notify_arg, to->items[i], alerts, count);
}

static int is_due(const si__script *script, const si__group *group, int *resend) {
    int dirty = 0, firing = 0;
    for (size_t i = 0; i < group->count; i++) {
        const si__member *m = &group->members[i];
        int quiet = muted(script, m->instance);
        if (m->dirty && !quiet) dirty = 1;
        if (m->instance->alert.state == SI__ALERT_FIRING && !quiet && !m->instance->acked) firing = 1;
    }
    *resend = firing && group->sent_ms && script->now_ms - group->sent_ms >= group->route->resend_ms;
    if (*resend) return 1;
    if (!dirty) return 0;
    if (!group->sent_ms) return script->now_ms - group->dirty_ms >= group->route->wait_ms;
    return script->now_ms - group->sent_ms >= group->route->interval_ms && script->now_ms - group->dirty_ms >= 0;
}

/* Sends everything that fires, and what was resolved since the last time. */
static void send_group(si__script *script, si__group *group) {
    si__alert *alerts = malloc((group->count ? group->count : 1) * sizeof *alerts);
    size_t n = 0;
    if (!alerts) return;
    for (size_t i = group->count; i-- > 0;) {
        si__member *m = &group->members[i];
        si__instance *instance = m->instance;
        int firing = instance->alert.state == SI__ALERT_FIRING;
        if (muted(script, instance) || (!firing && !m->dirty)) continue;
        alerts[n++] = instance->alert;
        m->dirty = 0;
        if (firing) {
            instance->told = 1;
            instance->told_ms = script->now_ms;
        }
    }
    notify(script, &group->route->to, alerts, n);
    free(alerts);
    group->sent_ms = script->now_ms;
    group->dirty_ms = 0;
    for (size_t i = group->count; i-- > 0;) {
        si__member *m = &group->members[i];
        if (m->dirty && !group->dirty_ms) group->dirty_ms = script->now_ms; /* held back by an inhibit or a silence */
        if (!m->dirty && m->instance->alert.state != SI__ALERT_FIRING) {
            m->instance->told = 0;
            member_remove(group, m);
        }
    }
}

static uint64_t escalation_bit(const si__escalation *step) {
    si__hash hash;
    si__hash_begin(&hash);
    si__hash_add(&hash, &step->after_ms, sizeof step->after_ms);
    for (size_t i = 0; i < step->to.count; i++) si__hash_add(&hash, step->to.items[i], strlen(step->to.items[i]));
    return (uint64_t)1 << (hash.a >> 58); /* the same step after a reload has the same bit */
}

static void escalate(si__script *script, si__group *group, const si__escalation *step) {
    uint64_t bit = escalation_bit(step);
    si__alert *alerts = NULL;
    size_t n = 0;
    for (size_t i = 0; i < group->count; i++) {
        si__instance *instance = group->members[i].instance;
        if (instance->alert.state != SI__ALERT_FIRING || instance->escalated & bit ||
            (step->unless_acked && instance->acked) || script->now_ms - instance->alert.fired_ms < step->after_ms ||
            muted(script, instance))
            continue;
        if (!alerts) alerts = malloc(group->count * sizeof *alerts);
        if (!alerts) return;
        instance->escalated |= bit;
        alerts[n++] = instance->alert;
    }
    notify(script, &step->to, alerts, n);
    free(alerts);
}

void si__routing_tick(si__script *script) {
    find_causes(script);
    for (size_t i = script->group_count; i-- > 0;) {
        si__group *group = &script->groups[i];
        int resend;
        if (group->sent_ms > script->now_ms) group->sent_ms = script->now_ms; /* the clock was set back */
        if (group->dirty_ms > script->now_ms) group->dirty_ms = script->now_ms;
        if (is_due(script, group, &resend)) send_group(script, group);
        for (size_t k = 0; k < group->route->escalation_count; k++)
            escalate(script, group, &group->route->escalations[k]);
        if (group->count) continue;
        free(group->members);
        *group = script->groups[--script->group_count];
    }
}

int si__script_route(si__script *script, const si__alert *alert, char *out, size_t out_bytes) {
    leaf_list leaves = {.count = 0};
    size_t n = 0;
    if (out_bytes == 0) return SI_EINVAL;
    out[0] = '\0';
    if (!script->set) return SI_ESTATE;
    find_leaves(script->set->routes, script->set->route_count, alert, &leaves);
    for (size_t i = 0; i < leaves.count; i++)
        for (size_t k = 0; k < leaves.routes[i]->to.count; k++) {
            int wrote = snprintf(out + n, out_bytes - n, "%s%s", n ? "," : "", leaves.routes[i]->to.items[k]);
            if (wrote < 0 || (size_t)wrote >= out_bytes - n) return SI_ELIMIT;
            n += (size_t)wrote;
        }
    return 0;
}
