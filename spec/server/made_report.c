/* Reports made for tests; see made_report.h. */
#include "made_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(int truth) {
    if (!truth) abort();
}

static void set(char **field, const char *text) {
    free(*field);
    *field = si__report_strdup(text);
    need(*field != NULL);
}

uint64_t made_random(uint64_t *state) { /* xorshift64* */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ull;
}

si__report *made_report(const made *m) {
    si__report *report = si__report_new();
    need(report != NULL);
    snprintf((char *)report->id.agent, sizeof report->id.agent, "agent-%09u", m->agent);
    snprintf((char *)report->id.boot, sizeof report->id.boot, "boot-%010u", m->agent);
    report->id.sequence = m->sequence;
    report->start_ms = m->start_ms;
    report->end_ms = m->end_ms;
    si__context *context = &report->context;
    set(&context->app, m->app ? m->app : "shop");
    set(&context->environment, m->environment ? m->environment : "test");
    set(&context->app_version, m->version ? m->version : "1.0");
    set(&context->host, m->host ? m->host : "host-1");
    set(&context->runtime_type, "C");
    set(&context->runtime_version, "glibc 2.36");
    set(&context->build_id, "0123456789abcdef");
    set(&context->run_id, "626f6f74");
    set(&context->agent_version, "0.1.0");
    set(&context->os, "Linux 6.1.0 x86_64");
    context->pid = 1000 + m->agent;
    set(&report->rules_hash, "abcdef");
    return report;
}

unsigned made_depth(unsigned stack) {
    return 8 + stack * 7 % 17;
}

/* Stacks share their outer calls: a function is chosen by the stack's number with ever more of its bits. */
unsigned made_function(unsigned stack, unsigned depth) {
    unsigned kept = depth < 2 ? 0 : depth < 16 ? stack >> (16 - depth) : stack;
    return (kept * 2654435761u + depth * 40503u) % 3000;
}

static uint32_t add_stack(si__calltree *tree, unsigned stack) {
    uint32_t node = 0;
    for (unsigned depth = 0; depth < made_depth(stack); depth++) {
        char name[64], file[64];
        unsigned function = made_function(stack, depth);
        snprintf(name, sizeof name, "function_%u", function);
        snprintf(file, sizeof file, "src/part_%u.c", function % 100);
        uint32_t frame =
            si__calltree_frame(tree, name, file, 10 + function % 7, function % 5 ? "shop" : "libshop.so.1");
        node = si__calltree_child(tree, node, frame);
        need(node != UINT32_MAX);
    }
    return node;
}

si__report_profile *made_profile(si__report *report, const char *type, int64_t start_ms, unsigned stacks,
                                 unsigned universe, uint64_t seed) {
    uint64_t state = seed | 1;
    si__report_profile *profile = si__report_add_profile(report);
    need(profile != NULL);
    set(&profile->type, type);
    set(&profile->unit, "ns");
    set(&profile->trigger, "cadence");
    set(&profile->workload, "");
    profile->start_ms = start_ms;
    profile->duration_ns = 2000000000;
    profile->cores = 4;
    profile->tree = si__calltree_new();
    need(profile->tree != NULL);
    uint32_t *leaves = calloc(universe, sizeof *leaves); /* of the stacks that were drawn before */
    for (unsigned distinct = 0; distinct < stacks;) {
        double u = (double)(made_random(&state) >> 11) / 9007199254740992.0;
        unsigned stack = (unsigned)(exp(u * log(universe + 1.0)) - 1); /* near enough to Zipf */
        if (stack >= universe) continue;
        if (!leaves[stack]) {
            leaves[stack] = add_stack(profile->tree, stack);
            distinct++;
        }
        si__calltree_add(profile->tree, leaves[stack], 10000000, 1);
    }
    free(leaves);
    profile->samples = si__calltree_total_count(profile->tree);
    return profile;
}

void made_segment(si__report *report, const char *name, int64_t start_ms, uint64_t first_ns, unsigned count) {
    si__report_segment *segment = si__report_add_segment(report);
    need(segment != NULL);
    set(&segment->name, name);
    set(&segment->kind, "segment");
    segment->start_ms = start_ms;
    segment->duration_ns = 60000000000;
    segment->sketch = si__sketch_new();
    need(segment->sketch != NULL);
    for (unsigned i = 1; i <= count; i++) {
        need(!si__sketch_add(segment->sketch, first_ns * i, 1));
        segment->sum_ns += first_ns * i;
        segment->max_ns = first_ns * i;
    }
    segment->count = count;
}

void made_error(si__report *report, const char *group, const char *message, int64_t start_ms, unsigned count) {
    si__report_error *error = si__report_add_error(report);
    need(error != NULL);
    set(&error->group, group);
    set(&error->message, message);
    error->start_ms = start_ms;
    error->duration_ns = 60000000000;
    error->count = count;
    error->tree = si__calltree_new();
    need(error->tree != NULL);
    uint32_t outer = si__calltree_child(error->tree, 0, si__calltree_frame(error->tree, "main", "main.c", 1, "shop"));
    uint32_t inner = si__calltree_child(error->tree, outer, si__calltree_frame(error->tree, "pay", "pay.c", 2, "shop"));
    si__calltree_add(error->tree, inner, 0, count);
}

void made_point(si__report *report, const char *name, int64_t time_ms, double value) {
    si__point *point = si__report_add_point(report);
    need(point != NULL);
    set(&point->name, name);
    set(&point->unit, "1");
    point->time_ms = time_ms;
    point->value = value;
}

void made_alert(si__report *report, const char *rule, si__alert_state state, int64_t started_ms) {
    si__alert *alert = si__report_add_alert(report);
    need(alert != NULL);
    uint64_t hash = 14695981039346656037ull;
    for (const char *c = rule; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211ull;
    snprintf(alert->fingerprint, sizeof alert->fingerprint, "%016llx%016llx", (unsigned long long)hash,
             (unsigned long long)hash);
    set(&alert->rule, rule);
    set(&alert->subject, "");
    set(&alert->severity, "critical");
    set(&alert->summary, "it is too high");
    set(&alert->runbook, "");
    set(&alert->detail, "");
    set(&alert->app, report->context.app);
    set(&alert->environment, report->context.environment);
    set(&alert->host, report->context.host);
    alert->state = state;
    alert->value = 0.97;
    alert->started_ms = started_ms;
    if (state >= SI__ALERT_FIRING) alert->fired_ms = started_ms + 60000;
    if (state == SI__ALERT_RESOLVED) alert->resolved_ms = started_ms + 120000;
}

uint8_t *made_bytes(si__report *report, size_t *length) {
    uint8_t *raw = NULL, *packed = NULL;
    size_t raw_length = 0;
    need(!si__report_encode(report, &raw, &raw_length));
    need(!si__report_compress(raw, raw_length, &packed, length));
    free(raw);
    si__report_free(report);
    return packed;
}
