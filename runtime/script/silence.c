/*
 * Silences: alerts that nobody is told of for a while, because somebody said so. Called by the dashboard, which keeps
 * them in its store, and by the engine every tick; loop thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"

struct si__held_silence {
    char *globs[5]; /* rule, app, environment, host, severity; NULL: any */
    int64_t until_ms;
    char why[256]; /* "by ann@example.org (\"deploying\")" */
};

int si__glob_matches(const char *glob, const char *text) {
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*glob == '*') {
            star = ++glob;
            resume = text;
        } else if (*glob == *text) {
            glob++;
            text++;
        } else if (star) {
            glob = star;
            text = ++resume;
        } else {
            return 0;
        }
    }
    while (*glob == '*') glob++;
    return *glob == '\0';
}

static void free_list(struct si__held_silence *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < 5; k++) free(list[i].globs[k]);
    free(list);
}

void si__silences_free(si__script *script) {
    free_list(script->silences, script->silence_count);
    script->silences = NULL;
    script->silence_count = 0;
}

static int hold(struct si__held_silence *held, const si__silence *from) {
    const char *const globs[] = {from->rule, from->app, from->environment, from->host, from->severity};
    for (size_t k = 0; k < 5; k++)
        if (globs[k] && !(held->globs[k] = strdup(globs[k]))) return SI_ENOMEM;
    held->until_ms = from->until_ms;
    snprintf(held->why, sizeof held->why, "by %.80s%s%.120s%s",
             from->author && *from->author ? from->author : "somebody", from->comment && *from->comment ? " (\"" : "",
             from->comment ? from->comment : "", from->comment && *from->comment ? "\")" : "");
    return 0;
}

int si__script_silences(si__script *script, const si__silence *silences, size_t count) {
    struct si__held_silence *list = calloc(count ? count : 1, sizeof *list);
    if (!list) return SI_ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (hold(&list[i], &silences[i])) {
            free_list(list, count);
            return SI_ENOMEM;
        }
    si__silences_free(script);
    script->silences = list;
    script->silence_count = count;
    return 0;
}

static const struct si__held_silence *find(const si__script *script, const si__alert *alert) {
    const char *const labels[] = {alert->rule, alert->app, alert->environment, alert->host, alert->severity};
    for (size_t i = 0; i < script->silence_count; i++) {
        const struct si__held_silence *silence = &script->silences[i];
        int any = silence->until_ms > script->now_ms;
        for (size_t k = 0; k < 5 && any; k++)
            any = !silence->globs[k] || si__glob_matches(silence->globs[k], labels[k] ? labels[k] : "");
        if (any) return silence;
    }
    return NULL;
}

/* It was quiet for a reason that has gone: what still fires is told again, with that reason. */
static void silence_ended(si__script *script, si__instance *instance) {
    char text[2560];
    snprintf(text, sizeof text, "The silence %s has ended, and it still fires.%s%.2000s", instance->silenced,
             instance->alert.detail && *instance->alert.detail ? "\n" : "",
             instance->alert.detail ? instance->alert.detail : "");
    free(instance->silenced);
    instance->silenced = NULL;
    if (instance->alert.state != SI__ALERT_FIRING || instance->flapping) return;
    si__text_set(&instance->alert.detail, text, sizeof text - 1);
    si__routing_changed(script, instance);
}

void si__silences_tick(si__script *script) {
    for (size_t i = 0; i < script->instance_count; i++) {
        si__instance *instance = script->instances[i];
        if (instance->bare) continue;
        const struct si__held_silence *silence = script->silence_count ? find(script, &instance->alert) : NULL;
        if (silence)
            si__text_set(&instance->silenced, silence->why, sizeof silence->why);
        else if (instance->silenced)
            silence_ended(script, instance);
    }
}
