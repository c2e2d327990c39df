/*
 * The CPU sampler, embedded: its samples add up to the CPU time that threads used, on the functions that used it. All
 * expectations are in CPU time, so a busy machine does not matter.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "sampled.h"

/* ---- Totals ---- */

typedef struct worker {
    pthread_t thread;
    uint64_t burn_ns, used_ns;
    int32_t tid;
} worker;

static _Atomic int running;

static void *work(void *arg) {
    worker *w = arg;
    uint64_t begin = cpu_ns();
    w->tid = (int32_t)syscall(SYS_gettid);
    burn(w->burn_ns);
    w->used_ns = cpu_ns() - begin;
    running--;
    return NULL;
}

static void totals(int threads, uint64_t burn_ns, uint32_t hz) {
    static worker workers[64];
    tally got = {0};
    uint64_t used = 0;
    sample_at(hz);
    running = threads;
    for (int i = 0; i < threads; i++) {
        workers[i].burn_ns = burn_ns;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    while (running > 0) {
        pause_ms(20);
        si__drain_events(drain, add, &got);
    }
    for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
    si__drain_events(drain, add, &got);
    for (int i = 0; i < threads; i++) used += workers[i].used_ns;
    double ratio = (double)got.value_ns / (double)used;
    print_message("%d threads: %.3f s used, ratio %.4f, %lu events, %lu late, %lu truncated, %lu off\n", threads,
                  (double)used / 1e9, ratio, got.events, got.late, got.truncated, got.off_stack);
    assert_true(fabs(ratio - 1) <= tolerance);
    assert_int_equal(got.value_ns, got.ticks * (1000000000u / hz));
    assert_true((double)got.truncated <= 2 * tolerance * (double)got.events);
    assert_int_equal(got.off_stack, 0);
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.threads_refused, 0);
    assert_int_equal(counts.dropped, 0);
}

static void samples_add_up_for_1_thread(void **state) {
    (void)state;
    totals(1, 1500000000u, 500);
}

static void samples_add_up_for_4_threads(void **state) {
    (void)state;
    totals(4, 400000000u, 500);
}

static void samples_add_up_for_32_threads(void **state) {
    (void)state;
    totals(32, 80000000u, 1000);
}

static void short_threads_are_not_undercounted(void **state) {
    (void)state;
    uint64_t used = 0;
    tally got = {0};
    sample_at(100);
    for (int i = 0; i < 600; i++) { /* each far shorter than a period, and than the kernel's own tick */
        worker w = {.burn_ns = 2000000};
        running = 1;
        assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
        pthread_join(w.thread, NULL);
        used += w.used_ns;
        if (i % 50 == 0) si__drain_events(drain, add, &got);
    }
    si__drain_events(drain, add, &got);
    /* About 120 ticks expected, each thread drawing 0 or 1: sigma is sqrt(600 * 0.2 * 0.8) = 9.8. */
    double expected = (double)used / 1e7;
    print_message("%lu ticks, %.1f expected, %lu of them late\n", got.ticks, expected, got.late);
    assert_true(fabs((double)got.ticks - expected) <= 4.5 * sqrt(expected));
    assert_true(got.late > 0);
}

/* With 19 to 1, one over the square root of n is 4.6 standard deviations. */
static void shares_are_within_one_over_sqrt_n(void **state) {
    (void)state;
    tally got = {.only_tid = (int32_t)syscall(SYS_gettid)};
    uint64_t a_ns = 0, b_ns = 0;
    sample_at(1000);
    while (a_ns + b_ns < 1500000000u) {
        uint64_t t0 = cpu_ns();
        sink += spin_a(570000);
        uint64_t t1 = cpu_ns();
        sink += spin_b(30000);
        b_ns += cpu_ns() - t1;
        a_ns += t1 - t0;
        si__drain_events(drain, add, &got);
    }
    sample_at(0);
    double truth = (double)a_ns / (double)(a_ns + b_ns), n = (double)got.ticks * (double)got.ticks / got.squares;
    double share = (double)got.in_a_ns / (double)(got.in_a_ns + got.in_b_ns);
    print_message("share %.3f, true %.3f, n %.0f\n", share, truth, n);
    assert_true(n > 100);
    assert_true(fabs(share - truth) <= 1.0 / sqrt(n));
    assert_true(got.in_b_ns > 0);
    assert_true((double)(got.in_a_ns + got.in_b_ns) >= 0.8 * (double)got.value_ns);
}

/* ---- Rates ---- */

static void rates_change_while_threads_run(void **state) {
    (void)state;
    tally got = {0};
    sample_at(0);
    burn(100000000);
    si__drain_events(drain, add, &got);
    assert_int_equal(got.events, 0);
    sample_at(1000);
    burn(100000000);
    si__drain_events(drain, add, &got);
    assert_in_range(got.ticks, 70, 130);
    assert_int_equal(got.value_ns, got.ticks * 1000000);
    tally slow = {0};
    si__region_set_cpu_mhz(region, 50000); /* nobody tells the thread: its next tick does */
    burn(400000000);
    si__drain_events(drain, add, &slow);
    assert_in_range(slow.events, 10, 50); /* 20; one at the old rate may stand for many, late ticks */
    assert_in_range(slow.value_ns / 1000000, 340, 460);
}

static void closed_means_no_ticks(void **state) {
    (void)state;
    sample_at(1000);
    burn(20000000);
    uint64_t samples = si__thread_slot()->samples;
    si__slot *slot = si__thread_slot();
    si__probe_close();
    samples = slot->samples;
    burn(50000000);
    assert_int_equal(slot->samples, samples);
    assert_int_equal(si__probe_open(NULL), 0);
    assert_int_equal(si__probe_open(NULL), -3 /* SI_EEXIST */);
    sample_at(1000);
    burn(50000000);
    assert_true(slot->samples > samples);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(samples_add_up_for_1_thread),
        TEST(samples_add_up_for_4_threads),
        TEST(samples_add_up_for_32_threads),
        TEST(short_threads_are_not_undercounted),
        TEST(shares_are_within_one_over_sqrt_n),
        TEST(rates_change_while_threads_run),
        TEST(closed_means_no_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
