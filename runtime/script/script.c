/*
 * The Lua host's front: load, tick, describe. See script.h; loop thread only.
 */
#include "script.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "engine.h"

void si__script_log(si__script *script, int level, const char *format, ...) {
    char message[SI__ERROR_BYTES + 256];
    va_list args;
    if (!script->env.log) return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    script->env.log(script->env.arg, level, message);
}

si__script *si__script_new(const si__script_env *env) {
    si__script *script = calloc(1, sizeof *script);
    if (!script) return NULL;
    script->env = *env;
    script->on_notify = env->on_notify;
    script->notify_arg = env->arg;
    script->env.app = strdup(env->app ? env->app : "");
    script->env.environment = strdup(env->environment ? env->environment : "");
    script->env.host = strdup(env->host ? env->host : "");
    if (!script->env.app || !script->env.environment || !script->env.host) {
        si__script_free(script);
        return NULL;
    }
    return script;
}

void si__script_free(si__script *script) {
    if (!script) return;
    si__routing_clear(script);
    for (size_t i = 0; i < script->instance_count; i++) {
        si__alert_clear(&script->instances[i]->alert);
        free(script->instances[i]->silenced);
        free(script->instances[i]);
    }
    free(script->instances);
    si__silences_free(script);
    si__segments_free(script);
    si__ruleset_free(script->set);
    free((char *)script->env.app);
    free((char *)script->env.environment);
    free((char *)script->env.host);
    free(script);
}

/* What rules print, at most 20 lines in ten seconds. */
static void log_print(void *arg, const char *text) {
    si__script *script = arg;
    if (script->now_ms < script->print_since_ms || script->now_ms - script->print_since_ms >= 10000) {
        script->print_since_ms = script->now_ms;
        script->printed = 0;
    }
    script->printed++;
    if (script->printed <= 20) si__script_log(script, SI_LOG_NOTICE, "rules: %s", text);
    if (script->printed == 21) si__script_log(script, SI_LOG_NOTICE, "rules: (print: more lines are left out)");
}

/* Every problem, one a line, as much as fits. */
static void join_problems(const si__ruleset *set, char *error, size_t error_bytes) {
    size_t n = 0;
    if (!error_bytes) return;
    snprintf(error, error_bytes, "the rules could not be loaded");
    for (size_t i = 0; i < set->problem_count && n < error_bytes; i++) {
        if (set->problems[i].warning) continue;
        int wrote = snprintf(error + n, error_bytes - n, "%s%s", n ? "\n" : "", set->problems[i].text);
        if (wrote < 0) return;
        n += (size_t)wrote;
    }
}

static void put_in_force(si__script *script, si__ruleset *set) {
    si__ruleset *old = script->set;
    set->print = log_print;
    set->print_arg = script;
    script->set = set;
    si__segments_reset(script);
    si__instances_reload(script);
    si__routing_rebuild(script);
    si__ruleset_free(old);
    script->cadence_next_ms = 0;
    if (!script->cadence_known) { /* the first set: the caller needs a cadence before the first tick */
        script->cadence = set->cadence;
        script->cadence_known = 1;
        if (script->env.on_cadence) script->env.on_cadence(script->env.arg, &script->cadence);
    }
}

int si__script_load_sources(si__script *script, si__source_list *sources, int partial, char *error,
                            size_t error_bytes) {
    si__ruleset *set = si__ruleset_new(sources, partial);
    if (!set) {
        if (error_bytes) snprintf(error, error_bytes, "out of memory");
        return SI_ENOMEM;
    }
    if (set->error_count) {
        join_problems(set, error, error_bytes);
        si__ruleset_free(set);
        return SI_ERULES;
    }
    for (size_t i = 0; i < set->problem_count; i++) si__script_log(script, SI_LOG_WARN, "%s", set->problems[i].text);
    put_in_force(script, set);
    return 0;
}

int si__script_load(si__script *script, const char *dir, char *error, size_t error_bytes) {
    si__source_list sources;
    if (error_bytes) error[0] = '\0';
    int status = si__sources_read(&sources, dir, error, error_bytes);
    if (status) return status;
    return si__script_load_sources(script, &sources, 0, error, error_bytes);
}

void si__script_tick(si__script *script, int64_t now_ms) {
    script->now_ms = now_ms;
    if (!script->set) return;
    if (!script->started_ms || script->started_ms > now_ms) script->started_ms = now_ms;
    if (!script->route_only) {
        si__cadence_tick(script);
        si__engine_tick(script);
    }
    si__instances_tick(script);
    si__silences_tick(script);
    si__routing_tick(script);
}

const char *si__script_hash(const si__script *script) {
    return script->set ? script->set->hash : "";
}

void si__script_on_notify(si__script *script,
                          void (*on_notify)(void *arg, const char *destination, const si__alert *alerts, size_t count),
                          void *arg) {
    script->on_notify = on_notify;
    script->notify_arg = arg;
}

void si__script_route_only(si__script *script) {
    script->route_only = 1;
}

int si__script_ack(si__script *script, const char *fingerprint, int acked) {
    for (size_t i = 0; i < script->instance_count; i++)
        if (strcmp(script->instances[i]->alert.fingerprint, fingerprint) == 0) {
            script->instances[i]->acked = acked != 0;
            return 0;
        }
    return SI_ENOTFOUND;
}
