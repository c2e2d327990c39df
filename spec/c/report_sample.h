/*
 * A full report for tests: every kind of content, with a CPU profile shaped like a server's (a random call graph of
 * functions with realistic names, walked by popularity). The same every time.
 */
#ifndef SPEC_REPORT_SAMPLE_H
#define SPEC_REPORT_SAMPLE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/report.h"

static inline uint64_t sample_random(uint64_t *state) { /* xorshift64* */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ull;
}

enum { SAMPLE_FUNCTIONS = 2000, SAMPLE_CALLEES = 6 };

static inline void sample_function(unsigned f, char *name, size_t name_bytes, char *file, size_t file_bytes) {
    static const char *const areas[] = {"http",  "json", "buffer",   "cache", "session",
                                        "order", "pool", "template", "log",   "crypto"};
    static const char *const verbs[] = {"parse",  "read",  "write",  "find", "insert",
                                        "encode", "flush", "lookup", "copy", "handle"};
    static const char *const nouns[] = {"header", "request_line", "chunk", "entry", "row",
                                        "field",  "token",        "block", "reply", "index"};
    const char *area = areas[f % 10], *verb = verbs[f / 10 % 10], *noun = nouns[f / 100 % 10];
    if (f % 3)
        snprintf(name, name_bytes, "shop_%s_%s_%s%u", area, verb, noun, f / 1000);
    else
        snprintf(name, name_bytes, "shop::%s::%s<std::string, unsigned long>::%s_%u(shop::Context&) const", area, noun,
                 verb, f / 1000);
    snprintf(file, file_bytes, "/usr/src/shop/src/%s/%s.c", area, noun);
}

/* Adds samples until there are `stacks` different ones. */
static inline si__calltree *sample_tree(unsigned stacks, uint64_t seed) {
    uint64_t state = seed | 1;
    si__calltree *tree = si__calltree_new();
    unsigned char *seen = calloc(1000001, 1);
    unsigned distinct = 0;
    while (tree && seen && distinct < stacks) {
        unsigned function = (unsigned)(sample_random(&state) % 4), depth = 8 + (unsigned)(sample_random(&state) % 24);
        uint32_t node = 0;
        for (unsigned d = 0; d < depth; d++) {
            char name[160], file[80];
            sample_function(function, name, sizeof name, file, sizeof file);
            uint32_t frame =
                si__calltree_frame(tree, name, file, 10 + function * 7 % 900, function % 5 ? "shop" : "libshop.so.1");
            node = si__calltree_child(tree, node, frame);
            uint64_t r = sample_random(&state) % 100; /* the first callee is the popular one */
            unsigned callee = r < 70 ? 0 : r < 85 ? 1 : r < 93 ? 2 : r < 97 ? 3 : r < 99 ? 4 : 5;
            function = (function * SAMPLE_CALLEES + callee + 4) * 2654435761u % SAMPLE_FUNCTIONS;
        }
        si__calltree_add(tree, node, 10000000, 1);
        if (!seen[node]) distinct++;
        seen[node] = 1;
    }
    free(seen);
    return tree;
}

static inline void sample_context(si__context *c) {
    c->app = si__report_strdup("shop");
    c->environment = si__report_strdup("production");
    c->app_version = si__report_strdup("2.4.1");
    c->host = si__report_strdup("web-17.eu.example.org");
    c->runtime_type = si__report_strdup("C++");
    c->runtime_version = si__report_strdup("glibc 2.36");
    c->build_id = si__report_strdup("4f1c2b7a9e8d0c5b6a7f8e9d0c1b2a3f4e5d6c7b");
    c->run_id = si__report_strdup("00112233445566778899aabbccddeeff");
    c->agent_version = si__report_strdup("0.1.0");
    c->os = si__report_strdup("Linux 6.1.0 x86_64");
    c->pid = 4711;
    c->tags = calloc(2, sizeof *c->tags);
    c->tags[0] = si__report_strdup("zone=b");
    c->tags[1] = si__report_strdup("team=checkout");
    c->tag_count = 2;
}

static inline void sample_points(si__report *report) {
    static const char *const names[] = {"process.cpu.utilization", "process.memory.usage",
                                        "process.threads",         "system.cpu.utilization",
                                        "system.memory.usage",     "process.open_file_descriptor.count"};
    static const char *const units[] = {"1", "By", "{thread}", "1", "By", "{count}"};
    uint64_t state = 42;
    for (int minute = 0; minute < 2; minute++)
        for (int i = 0; i < 6; i++) {
            si__point *p = si__report_add_point(report);
            p->name = si__report_strdup(names[i]);
            p->unit = si__report_strdup(units[i]);
            p->time_ms = report->start_ms + minute * 60000 + 17;
            p->value = i % 3 == 0 ? (double)(sample_random(&state) % 1000000) / 1e6
                                  : (double)(sample_random(&state) % 100000000);
        }
}

static inline void sample_alert(si__report *report) {
    si__alert *a = si__report_add_alert(report);
    snprintf(a->fingerprint, sizeof a->fingerprint, "0123456789abcdef0123456789abcdef");
    a->rule = si__report_strdup("cpu_high");
    a->subject = si__report_strdup("process.cpu.utilization");
    a->severity = si__report_strdup("critical");
    a->summary = si__report_strdup("CPU above 85 % for 5 min");
    a->runbook = si__report_strdup("https://runbooks.example.org/cpu");
    a->detail = si__report_strdup("main\n  work");
    a->app = si__report_strdup("shop");
    a->environment = si__report_strdup("production");
    a->host = si__report_strdup("web-17.eu.example.org");
    a->state = SI__ALERT_FIRING;
    a->value = 0.93;
    a->started_ms = report->start_ms - 300000;
    a->fired_ms = report->start_ms + 1;
}

static inline void sample_self(si__report *report) {
    si__report_rule *rule = si__report_add_rule(report);
    rule->name = si__report_strdup("cpu_high");
    rule->file = si__report_strdup("health.lua");
    rule->state = si__report_strdup("firing");
    rule->error = si__report_strdup("");
    rule->evaluations = 120;
    rule->cost_ns = 98765;
    si__report_status *status = si__report_add_status(report);
    status->name = si__report_strdup("cpu");
    status->state = si__report_strdup("on");
    status->reason = si__report_strdup("");
    si__report_loss *loss = si__report_add_loss(report);
    loss->name = si__report_strdup("reports");
    loss->made = 10, loss->stored = 7, loss->pending = 2, loss->dropped = 1;
    loss->reason = si__report_strdup("age");
    report->rules_hash = si__report_strdup("deadbeefcafe");
}

static inline si__report *sample_report(unsigned stacks) {
    si__report *report = si__report_new();
    for (unsigned i = 0; i < 16; i++) report->id.agent[i] = (uint8_t)(i * 7), report->id.boot[i] = (uint8_t)(200 - i);
    report->id.sequence = 42;
    report->start_ms = 1700000000000;
    report->end_ms = 1700000120000;
    sample_context(&report->context);
    sample_points(report);
    si__report_profile *profile = si__report_add_profile(report);
    profile->type = si__report_strdup("cpu");
    profile->unit = si__report_strdup("ns");
    profile->trigger = si__report_strdup("cadence");
    profile->workload = si__report_strdup("");
    profile->start_ms = report->start_ms;
    profile->duration_ns = 8000000000;
    profile->cores = 1.5;
    profile->tree = sample_tree(stacks, 7);
    profile->samples = si__calltree_total_count(profile->tree);
    profile->dropped = 3;
    si__report_segment *segment = si__report_add_segment(report);
    segment->name = si__report_strdup("GET /orders/:id");
    segment->kind = si__report_strdup("http_handler");
    segment->start_ms = report->start_ms;
    segment->duration_ns = 60000000000;
    segment->sketch = si__sketch_new();
    uint64_t state = 3;
    for (int i = 0; i < 500; i++) si__sketch_add(segment->sketch, 1000000 + sample_random(&state) % 40000000, 1);
    segment->tree = sample_tree(4, 5);
    for (uint32_t i = 0; i < 400; i++) { /* durations of the first few nodes: some have none */
        uint32_t node = i % 3 ? i % 7 : 0;
        si__sketch *one = si__sketch_new();
        si__sketch_add(one, 1000000 + sample_random(&state) % 40000000, 1 + i % 3);
        si__calltree_spread_add(segment->tree, node, one, 1);
        si__sketch_free(one);
    }
    segment->count = 500, segment->errors = 4, segment->sum_ns = 9876543210, segment->max_ns = 41000000;
    si__report_error *error = si__report_add_error(report);
    error->group = si__report_strdup("payment");
    error->message = si__report_strdup("card declined: \xc3\xa9");
    error->start_ms = report->start_ms;
    error->duration_ns = 60000000000;
    error->count = 5;
    error->tree = sample_tree(3, 7);
    error = si__report_add_error(report);
    error->group = si__report_strdup("no stack");
    error->message = si__report_strdup("");
    sample_alert(report);
    sample_self(report);
    return report;
}

#endif
