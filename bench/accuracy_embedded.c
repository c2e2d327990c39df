/*
 * What this very process knows of itself, through its own region, the drain and the recorder into a report that is
 * packed and unpacked: a live heap 200 times, latencies of requests, counts of errors. See accuracy.h.
 */
#include <math.h>
#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../collectors/native/live.h"
#include "../collectors/native/probe.h"
#include "../runtime/recorder.h"
#include "accuracy.h"

typedef struct observer {
    si__region *region;
    si__drain *drain;
    si__recorder *recorder;
    si__source *source;
    si__space *space;
    si__binaries *binaries;
} observer;

/* The calling thread is the agent's from now on: what it allocates is nobody's. */
static int begin(observer *agent, uint64_t heap_bytes) {
    static const si__module_list nothing;
    const si__probe_options options = {.heap_bytes = heap_bytes};
    si__thread_ignore_self();
    if (si__probe_open(&options) != 0) return -1;
    agent->binaries = si__binaries_new();
    agent->region = si__probe_region();
    agent->drain = si__drain_new(agent->region);
    agent->recorder = si__recorder_new(0);
    agent->source = si__recorder_source_new(agent->recorder, agent->region);
    agent->space = si__space_new(agent->binaries, &nothing, NULL);
    si__recorder_enable(agent->recorder, 1u << SI__PROFILE_HEAP);
    return 0;
}

static void end(observer *agent) {
    si__probe_close();
    si__recorder_source_end(agent->recorder, agent->source);
    si__recorder_free(agent->recorder);
    si__space_free(agent->space);
    si__binaries_free(agent->binaries);
    si__drain_free(agent->drain);
}

static void on_event(void *arg, const si__drained_event *event) {
    observer *agent = arg;
    si__recorder_event(agent->recorder, agent->source, agent->space, event);
}
static void on_instrument(void *arg, const si__drained_instrument *gained) {
    observer *agent = arg;
    si__recorder_tally(agent->recorder, gained);
}

/* A report of all since the last one, as the dashboard unpacks it; *heap_bytes: what its heap profile adds up to. */
static si__report *cut(observer *agent, double *heap_bytes) {
    si__unresolved_list list = {0};
    si__report *made = si__report_new(), *got = NULL;
    uint8_t *packed = NULL;
    size_t length;
    char error[160];
    si__drain_events(agent->drain, on_event, agent);
    si__drain_instruments(agent->drain, on_instrument, agent);
    if (!made || si__recorder_cut(agent->recorder, 1700000000000, 2, made, &list) != 0) return NULL;
    if (heap_bytes) *heap_bytes = NAN;
    for (size_t i = 0; i < list.count; i++) {
        for (size_t p = 0; heap_bytes && p < made->profile_count; p++)
            if (list.items[i].tree == &made->profiles[p].tree && strcmp(made->profiles[p].type, "heap") == 0)
                *heap_bytes = (double)list.items[i].raw->total_value;
        *list.items[i].tree = si__calltree_new();
        si__rawprofile_free(list.items[i].raw);
    }
    free(list.items);
    if (si__report_encode(made, &packed, &length) == 0 &&
        si__report_decode(packed, length, &got, error, sizeof error) != 0)
        printf("INVALID: %s\n", error);
    si__report_free(made);
    free(packed);
    return got;
}

/* ---- The live heap ---- */

enum { ROUNDS = 200, BLOCKS = 6000, MEAN_BYTES = 16384 };

static size_t *blocks[BLOCKS]; /* each starts with its size */
static double asked_bytes;

static void *allocate(void *arg) {
    uint32_t random = *(uint32_t *)arg;
    double asked = 0;
    for (int i = 0; i < BLOCKS; i++) {
        random = random * 1664525u + 1013904223u;
        size_t bytes = 16 + (random >> 8 & 511) * (random >> 20 & 31 ? 1 : 64);
        blocks[i] = malloc(bytes);
        if (!blocks[i]) abort();
        *blocks[i] = bytes;
        asked += (double)bytes;
    }
    asked_bytes = asked;
    return NULL;
}

/* Every sample tells the variance that it stands for: with p = size / weight, weight^2 * (1 - p). */
static void add_variance(void *arg, const si__live_entry *entry) {
    double size = (double)*(const size_t *)(uintptr_t)entry->address, weight = (double)entry->bytes;
    *(double *)arg += weight * (weight - size);
}

void accuracy_live_rounds(accuracy *a) {
    observer agent;
    double error = 0, variance = 0, squares = 0, truth = 0;
    int within = 0;
    if (begin(&agent, MEAN_BYTES) != 0) {
        printf("INVALID: the probe does not open: %s\n", si__probe_reason());
        a->rows++, a->failed++;
        return;
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        double told = 0, due = 0;
        uint32_t seed = round;
        si__region_set_means(agent.region, 0, 0, 0); /* the rate as it was at the beginning */
        si__probe_retune();
        si__region_set_means(agent.region, MEAN_BYTES, 0, 0);
        si__probe_retune();
        if (pthread_create(&thread, NULL, allocate, &seed)) abort();
        pthread_join(thread, NULL);
        si__report_free(cut(&agent, &told));
        si__live_each(agent.region, add_variance, &due);
        for (int i = 0; i < BLOCKS; i++) free(blocks[i]);
        double off = told - asked_bytes;
        within += fabs(off) <= 2 * sqrt(due);
        error += off, variance += due, squares += off * off, truth += asked_bytes;
    }
    double left = 0;
    si__report_free(cut(&agent, &left));
    end(&agent);
    accuracy_row(a, "live heap, embedded, mean of 200 rounds (3 standard errors)", "bytes", truth / ROUNDS,
                 (truth + error) / ROUNDS, 3 * sqrt(variance) / ROUNDS);
    accuracy_row(a, "live heap, embedded, spread of 200 rounds over the one due", "times", 1, sqrt(squares / variance),
                 3 / sqrt(2.0 * ROUNDS));
    accuracy_row(a, "live heap, embedded, rounds within 2 sigma, of 200", "rounds", 0.9545 * ROUNDS, within,
                 3 * sqrt(ROUNDS * 0.9545 * 0.0455) + 1);
    accuracy_row(a, "live heap, embedded, after all was released", "bytes", 0, left, 0);
}

/* ---- Requests and segments, at the same time in several threads ---- */

enum { SERVERS = 3, ERRORS = 3 };

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

typedef struct server {
    const char *pattern, *kind;
    int requests, mostly_slow, sleeps;
    double *took_ns;
    uint64_t failed, errors[ERRORS];
} server;

static const char *const groups[ERRORS] = {"timeout", "no such order", "payment refused"};

static void work(const server *s, double ns) {
    if (s->sleeps) {
        struct timespec t = {0, (long)ns};
        nanosleep(&t, NULL);
        return;
    }
    for (double until = now_ns() + ns; now_ns() < until;) continue;
}

/* Durations as services have them: log-normal; or two humps, of which the slow one is a tenth. */
static double duration_ns(const server *s, uint32_t *random) {
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        *random = *random * 1664525u + 1013904223u;
        sum += (double)(*random >> 8) / 16777216;
    }
    double normal = sum - 6;
    *random = *random * 1664525u + 1013904223u;
    if (s->mostly_slow) return (*random >> 8) % 10 ? 100000 + 20000 * fabs(normal) : 900000 + 100000 * fabs(normal);
    return 60000 * exp(0.9 * normal);
}

static void *serve(void *arg) {
    server *s = arg;
    uint32_t random = (uint32_t)s->requests;
    for (int i = 0; i < s->requests; i++) {
        double due = duration_ns(s, &random), start = now_ns();
        int status = i % 37 == 0 ? 503 : i % 41 == 0 ? 404 : 200;
        if (strcmp(s->kind, "http_handler") == 0) {
            si_call call;
            si_handler_start(&call, s->pattern);
            work(s, due);
            si_handler_stop(&call, status);
            s->failed += status >= 500;
        } else {
            SI_SEGMENT(s->pattern) {
                work(s, due);
            }
        }
        s->took_ns[i] = now_ns() - start;
        for (int e = 0; e < ERRORS; e++) {
            if (i % (5 + 6 * e)) continue;
            si_error_record(groups[e], "as it happens");
            s->errors[e]++;
        }
    }
    return NULL;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const si__report_segment *segment_named(const si__report *report, const server *s) {
    for (size_t i = 0; i < report->segment_count; i++)
        if (strcmp(report->segments[i].name, s->pattern) == 0 && strcmp(report->segments[i].kind, s->kind) == 0)
            return &report->segments[i];
    return NULL;
}

static void compare_server(accuracy *a, const si__report *report, server *s) {
    static const double quantiles[] = {0.5, 0.95, 0.99};
    const si__report_segment *got = segment_named(report, s);
    char what[128];
    qsort(s->took_ns, (size_t)s->requests, sizeof *s->took_ns, ascending);
    for (int q = 0; q < 3; q++) {
        double truth = s->took_ns[(int)ceil(quantiles[q] * s->requests) - 1];
        snprintf(what, sizeof what, "%s %s, p%.0f", s->kind, s->pattern, quantiles[q] * 100);
        accuracy_row(a, what, "ns", truth, got ? si__sketch_quantile(got->sketch, quantiles[q]) : NAN, 0.01 * truth);
    }
    snprintf(what, sizeof what, "%s %s, count", s->kind, s->pattern);
    accuracy_row(a, what, "calls", s->requests, got ? (double)got->count : NAN, 0);
    if (strcmp(s->kind, "http_handler") != 0) return;
    snprintf(what, sizeof what, "%s %s, failed", s->kind, s->pattern);
    accuracy_row(a, what, "calls", (double)s->failed, got ? (double)got->errors : NAN, 0);
}

void accuracy_requests(accuracy *a) {
    observer agent;
    pthread_t threads[SERVERS];
    server servers[SERVERS] = {
        {"GET /orders/:id", "http_handler", 4000 * a->scale, 0, 0, NULL, 0, {0}},
        {"POST /checkout", "http_handler", 2000 * a->scale, 1, 1, NULL, 0, {0}},
        {"load catalog", "segment", 2000 * a->scale, 1, 1, NULL, 0, {0}},
    };
    if (begin(&agent, 0) != 0) {
        printf("INVALID: the probe does not open: %s\n", si__probe_reason());
        a->rows++, a->failed++;
        return;
    }
    for (int i = 0; i < SERVERS; i++) {
        servers[i].took_ns = calloc((size_t)servers[i].requests, sizeof(double));
        if (!servers[i].took_ns || pthread_create(&threads[i], NULL, serve, &servers[i])) abort();
    }
    for (int i = 0; i < SERVERS; i++) pthread_join(threads[i], NULL);
    si__report *report = cut(&agent, NULL);
    end(&agent);
    if (!report) {
        a->rows++, a->failed++;
        return;
    }
    for (int i = 0; i < SERVERS; i++) compare_server(a, report, &servers[i]);
    for (int e = 0; e < ERRORS; e++) {
        double truth = 0, got = NAN;
        char what[96];
        for (int i = 0; i < SERVERS; i++) truth += (double)servers[i].errors[e];
        for (size_t i = 0; i < report->error_count; i++)
            if (strcmp(report->errors[i].group, groups[e]) == 0) got = (double)report->errors[i].count;
        snprintf(what, sizeof what, "errors \"%s\", of %d threads", groups[e], SERVERS);
        accuracy_row(a, what, "errors", truth, got, 0);
    }
    for (int i = 0; i < SERVERS; i++) free(servers[i].took_ns);
    si__report_free(report);
}
