/*
 * For tests of measured calls: a workload says what it did and how long that took, by its own clock, and is played
 * twice: in this process with the probe open, and in an unmodified program with the probe preloaded. Each time the
 * instruments must say the same. Included once by a test.
 */
#ifndef SI_SPEC_CALL_HOST_H
#define SI_SPEC_CALL_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../collectors/native/unwind.h"
#include "../../runtime/ring/drain.h"
#include "preload_agent.h"

enum { DONE_MAX = 64, TIMES_MAX = 64, CALL_NS = 1000000 };

/* What a workload did under one name. */
typedef struct done {
    si__instrument_kind kind;
    char name[SI__NAME_BYTES];
    unsigned count, errors;
    unsigned times; /* of these, known in time */
    uint64_t ns[TIMES_MAX];
} done;

static done dones[DONE_MAX];
static unsigned done_count;

static inline uint64_t host_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One call was made; `ns` 0: its time is not checked. */
static void did(si__instrument_kind kind, const char *name, int failed, uint64_t ns) {
    unsigned i = 0;
    while (i < done_count && (dones[i].kind != kind || strcmp(dones[i].name, name) != 0)) i++;
    if (i == done_count) {
        if (done_count == DONE_MAX) abort();
        dones[done_count++].kind = kind;
        snprintf(dones[i].name, sizeof dones[i].name, "%s", name);
    }
    dones[i].count++;
    dones[i].errors += failed != 0;
    if (ns && dones[i].times < TIMES_MAX) dones[i].ns[dones[i].times++] = ns;
}

/* A call that takes `expression`, timed by the test. */
#define TIMED(kind, name, failed, expression)                                                                          \
    do {                                                                                                               \
        uint64_t since_ns_ = host_ns();                                                                                \
        expression;                                                                                                    \
        did(kind, name, failed, host_ns() - since_ns_);                                                                \
    } while (0)

/* ---- What the probe says ---- */

typedef struct told {
    unsigned instruments, found;
    uint64_t calls; /* with a stack */
    uint64_t named; /* of these, with a name and the time of the call itself */
    uint64_t frames;
} told;

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The value that a share of all lies below: in a bucket, at its middle. */
static double quantile(const uint32_t *buckets, uint64_t count, double share) {
    uint64_t rank = (uint64_t)(share * (double)(count - 1)), seen = 0;
    for (uint32_t i = 0; i < SI__BUCKET_COUNT; i++)
        if ((seen += buckets[i]) > rank) return si__bucket_mid(i);
    return 0;
}

static void compare(void *arg, const si__drained_instrument *instrument) {
    told *t = arg;
    t->instruments++;
    for (unsigned i = 0; i < done_count; i++) {
        done *d = &dones[i];
        if (d->kind != instrument->kind || strcmp(d->name, instrument->name) != 0) continue;
        if (instrument->count != d->count || instrument->errors != d->errors)
            print_message("%s: %lu calls, %lu errors\n", d->name, instrument->count, instrument->errors);
        assert_int_equal(instrument->count, d->count);
        assert_int_equal(instrument->errors, d->errors);
        t->found++;
        if (d->times < d->count || d->times < 10) return;
        qsort(d->ns, d->times, sizeof d->ns[0], by_time);
        /* Of few calls, the next one up or down may be the 95th percentile, too; and where the test was not running
           between its clock and the call's, the two differ. */
        unsigned rank = (unsigned)(0.95 * (d->times - 1));
        double low = (double)d->ns[rank ? rank - 1 : 0], high = (double)d->ns[rank + 1 < d->times ? rank + 1 : rank];
        double probe = quantile(instrument->buckets, instrument->count, 0.95);
        int right = probe >= low * 0.9875 - 200000 && probe <= high * 1.0125; /* half a bucket */
        if (!right) print_message("%s: p95 %.0f ns, by the test's own clock %.0f to %.0f\n", d->name, probe, low, high);
        assert_true(right);
        return;
    }
    if (instrument->kind < SI__INSTRUMENT_HANDLER || instrument->kind > SI__INSTRUMENT_CALL_OTHER) return;
    print_message("not done, but counted: %s (%lu)\n", instrument->name, instrument->count);
    fail();
}

static void take_call(void *arg, const si__drained_event *event) {
    told *t = arg;
    if (event->type != SI__EVENT_CALL) return;
    t->calls++;
    t->frames += event->frame_count;
    uint64_t ns = 0;
    size_t length = strnlen(event->text, event->text_bytes);
    if (event->text_bytes == length + 9) memcpy(&ns, event->text + length + 1, 8);
    for (unsigned i = 0; i < done_count; i++)
        if (dones[i].kind == event->detail && strcmp(dones[i].name, event->text) == 0 && ns > 0 &&
            event->value >= (int64_t)ns && event->count > 0) {
            t->named++;
            return;
        }
}

static void all_was_told(const told *t) {
    if (t->found != done_count) print_message("%u of %u names were found\n", t->found, done_count);
    assert_int_equal(t->found, done_count);
    int timed = 0; /* then it took long enough for a sample */
    for (unsigned i = 0; i < done_count; i++) timed |= dones[i].times > 10;
    if (timed) assert_true(t->calls > 0);
    assert_int_equal(t->named, t->calls);
    assert_true(t->frames >= 2 * t->calls); /* a caller, and who called it */
}

/* ---- Embedded ---- */

static void play_embedded(void (*workload)(const char *), const char *argument) {
    told t = {0};
    size_t unavailable;
    si__module_list modules;
    si__probe_options options = {.call_ns = CALL_NS};
    assert_int_equal(si__probe_open(&options), 0);
    si__region *region = si__probe_region();
    si__unwind_cache *cache = si__unwind_cache_new();
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    si__unwind_publish(cache, region, modules.items, modules.count, "", &unavailable);
    si__drain *drain = si__drain_new(region);
    done_count = 0;
    memset(dones, 0, sizeof dones);
    workload(argument);
    si__drain_events(drain, take_call, &t);
    si__drain_instruments(drain, compare, &t);
    all_was_told(&t);
    si__drain_free(drain);
    si__probe_close();
    si__module_list_free(&modules);
    si__unwind_cache_free(cache);
}

/* ---- Preloaded ---- */

/* In the program that knows nothing: it tells what it did, and ends. */
static int play(void (*workload)(const char *), const char *argument) {
    workload(argument);
    return write(1, dones, sizeof dones[0] * done_count) == (ssize_t)(sizeof dones[0] * done_count) ? 0 : 3;
}

static void preload(const preload_agent *agent) {
    char number[24];
    setenv("LD_PRELOAD", SI_BINARY_DIR "/lib/libsi-probe.so", 1);
    setenv("SI_PROBE_SOCKET", preload_agent_path(agent), 1);
    snprintf(number, sizeof number, "%d", CALL_NS);
    setenv("SI_PROBE_CALL_NS", number, 1);
}

/* Runs "program play WHICH ARGUMENT". */
static void play_preloaded(const char *program, const char *which, const char *argument) {
    int fds[2], status;
    told t = {0};
    preload_sums sums;
    preload_agent *agent = preload_agent_new(1, 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        dup2(fds[1], 1);
        preload(agent);
        execl(program, program, "play", which, argument, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    memset(dones, 0, sizeof dones);
    size_t length = 0;
    ssize_t got;
    while ((got = read(fds[0], (char *)dones + length, sizeof dones - length)) > 0) length += (size_t)got;
    close(fds[0]);
    done_count = (unsigned)(length / sizeof dones[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(done_count > 0);
    preload_agent_sum(agent, &sums);
    preload_agent_instruments(agent, compare, &t);
    preload_agent_calls(agent, take_call, &t);
    all_was_told(&t);
    preload_agent_free(agent);
}

#endif
