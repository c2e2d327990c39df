/*
 * Which series a rule is about. Called by engine.c before each round of a rule, on the loop thread.
 *
 * Looking through all series for those that match a pattern is slow and the answer seldom changes: it is kept with the
 * rule until the history gets a new series or lets one go. Only what depends on values (which call sites are the
 * largest) is done anew each time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../history/series.h"
#include "engine.h"
#include "pattern.h"

#define ROUND_SUBJECTS 2000
#define CANDIDATES 10000

typedef struct search {
    si__script *script;
    const si__rule *rule;
    si__subjects *found;
    char prefix[64];
    size_t prefix_length;
} search;

void si__subjects_free(si__subjects *subjects) {
    if (!subjects) return;
    for (size_t i = 0; i < subjects->known; i++) free(subjects->all[i].name);
    free(subjects->all);
    free(subjects->chosen);
    free(subjects);
}

static void put(search *s, const char *name, size_t length, si__series *series) {
    si__subjects *found = s->found;
    if (found->known >= CANDIDATES) return;
    if (found->known == found->capacity) {
        size_t capacity = found->capacity ? found->capacity * 2 : 4;
        si__subject *all = realloc(found->all, capacity * sizeof *all);
        if (!all) return;
        found->all = all;
        found->capacity = capacity;
    }
    si__subject made = {.name = strndup(name, length), .series = series};
    if (!made.name) return;
    made.key = si__instance_key(s->script, s->rule, made.name);
    found->all[found->known++] = made;
}

static void consider_pattern(void *arg, const char *name, si__series *series) {
    search *s = arg;
    const char *error;
    int matched = si__pattern_whole(s->rule->target, name, &error);
    if (error) s->found->error = error;
    if (matched == 1) put(s, name, strlen(name), series);
}

/* "NAME|p95" stands for its segment. */
static void consider_segment(void *arg, const char *name, si__series *series) {
    search *s = arg;
    char base[SI__SERIES_NAME_BYTES];
    size_t n = strlen(name);
    const char *error;
    if (n <= 4 || strcmp(name + n - 4, "|p95") != 0) return;
    snprintf(base, sizeof base, "%.*s", (int)(n - 4), name);
    if (s->rule->quiet) { /* those that this segment rule named */
        const si__segment_rule *named = si__segments_rule_of(s->script, base);
        if (named && named->unit == s->rule->unit && named->turn == s->rule->segment) put(s, base, n - 4, series);
        return;
    }
    int matched = si__pattern_whole(s->rule->target, base, &error);
    if (error) s->found->error = error;
    if (matched == 1) put(s, base, n - 4, series);
}

static void consider_callsite(void *arg, const char *name, si__series *series) {
    search *s = arg;
    if (strncmp(name, s->prefix, s->prefix_length) != 0) return;
    put(s, name + s->prefix_length, strlen(name + s->prefix_length), series);
}

si__series *si__subject_series(si__script *script, const si__rule *rule, const char *name) {
    char full[SI__SERIES_NAME_BYTES + 64];
    switch (rule->over) {
    case SI__OVER_METRIC:
        return si__history_find(script->env.history, SI__SERIES_METRIC, rule->target);
    case SI__OVER_METRICS:
        return si__history_find(script->env.history, SI__SERIES_METRIC, name);
    case SI__OVER_PROFILES:
        return si__history_find(script->env.history, SI__SERIES_PROFILE, name);
    case SI__OVER_ERRORS:
        return si__history_find(script->env.history, SI__SERIES_ERROR, name);
    case SI__OVER_SEGMENTS:
        snprintf(full, sizeof full, "%.500s|p95", name);
        return si__history_find(script->env.history, SI__SERIES_SEGMENT, full);
    case SI__OVER_CALLSITES:
        snprintf(full, sizeof full, "%.60s|%s", rule->target, name);
        return si__history_find(script->env.history, SI__SERIES_CALLSITE, full);
    }
    return NULL;
}

static void look_for(search *s) {
    si__history *history = s->script->env.history;
    const si__rule *rule = s->rule;
    switch (rule->over) {
    case SI__OVER_METRIC: /* one subject, with or without a series */
        put(s, "", 0, si__subject_series(s->script, rule, ""));
        break;
    case SI__OVER_METRICS:
        si__history_each(history, SI__SERIES_METRIC, consider_pattern, s);
        break;
    case SI__OVER_ERRORS:
        si__history_each(history, SI__SERIES_ERROR, consider_pattern, s);
        break;
    case SI__OVER_SEGMENTS:
        si__history_each(history, SI__SERIES_SEGMENT, consider_segment, s);
        break;
    case SI__OVER_PROFILES:
        for (size_t i = 0; i < rule->types.count; i++) {
            const char *type = rule->types.items[i];
            si__series *series = si__history_find(history, SI__SERIES_PROFILE, type);
            if (series) put(s, type, strlen(type), series);
        }
        break;
    case SI__OVER_CALLSITES:
        s->prefix_length = (size_t)snprintf(s->prefix, sizeof s->prefix, "%.60s|", rule->target);
        si__history_each(history, SI__SERIES_CALLSITE, consider_callsite, s);
        break;
    }
}

static int largest_first(const void *a, const void *b) {
    const si__subject *const *x = a, *const *y = b;
    double p = si__series_last((*x)->series), q = si__series_last((*y)->series);
    return p < q ? 1 : p > q ? -1 : 0;
}

/* Of the call sites those that hold enough, and of these the largest. */
static void choose(const si__rule *rule, si__subjects *subjects) {
    size_t most = rule->over == SI__OVER_CALLSITES ? rule->top : ROUND_SUBJECTS;
    subjects->count = 0;
    for (size_t i = 0; i < subjects->known; i++) {
        if (rule->over == SI__OVER_CALLSITES && !(si__series_last(subjects->all[i].series) >= rule->min)) continue;
        subjects->chosen[subjects->count++] = &subjects->all[i];
    }
    if (subjects->count <= most) return;
    if (rule->over == SI__OVER_CALLSITES)
        qsort(subjects->chosen, subjects->count, sizeof *subjects->chosen, largest_first);
    subjects->count = most;
}

const si__subjects *si__subjects_of(si__script *script, si__rule *rule) {
    uint64_t generation = si__history_generation(script->env.history);
    si__subjects *subjects = rule->subjects;
    if (!subjects || subjects->generation != generation) {
        si__subjects_free(subjects);
        rule->subjects = subjects = calloc(1, sizeof *subjects);
        if (!subjects) return NULL;
        subjects->generation = generation;
        search s = {.script = script, .rule = rule, .found = subjects};
        look_for(&s);
        subjects->chosen = calloc(subjects->known + 1, sizeof *subjects->chosen);
        if (!subjects->chosen) {
            si__subjects_free(subjects);
            rule->subjects = NULL;
            return NULL;
        }
        choose(rule, subjects);
    } else if (rule->over == SI__OVER_CALLSITES) {
        choose(rule, subjects);
    }
    return subjects;
}
