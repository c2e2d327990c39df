/*
 * A test program under its own sampler: opens the probe around each test, burns CPU time in known places, and adds up
 * what arrives. Included by the tests of the sampler, once each.
 */
#ifndef SI_SPEC_SAMPLED_H
#define SI_SPEC_SAMPLED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../collectors/native/unwind.h"
#include "../../runtime/ring/drain.h"

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Two workloads in sections of their own, so that a pc says which one ran. */
extern const char __start_work_a[], __stop_work_a[], __start_work_b[], __stop_work_b[];

__attribute__((noinline, used, section("work_a"))) static uint64_t spin_a(uint64_t n) {
    uint64_t x = n;
    for (uint64_t i = 0; i < n; i++) x = x * 6364136223846793005u + i;
    return x;
}

__attribute__((noinline, used, section("work_b"))) static uint64_t spin_b(uint64_t n) {
    uint64_t x = n;
    for (uint64_t i = 0; i < n; i++) x = (x ^ i) * 1442695040888963407u;
    return x;
}

static _Thread_local volatile uint64_t sink;

/* ThreadSanitizer delays signals and works on the threads' accounts before and after the measured part. */
#if defined(__SANITIZE_THREAD__)
static const double tolerance = 0.1;
enum { OWN_SIGNAL_BOOKS = 1 };
#else
static const double tolerance = 0.01;
enum { OWN_SIGNAL_BOOKS = 0 }; /* 1: signals are pending and masked in the sanitizer's books, not the kernel's */
#endif

static void burn(uint64_t ns) {
    for (uint64_t end = cpu_ns() + ns; cpu_ns() < end;) sink += spin_a(20000);
}

/* ---- What arrived ---- */

typedef struct tally {
    uint64_t value_ns, ticks, events, late, truncated, off_stack;
    uint64_t in_a_ns, in_b_ns;
    double squares;   /* of ticks: a sample that stands for many counts for less than as many samples */
    int32_t only_tid; /* 0: all */
} tally;

static void add(void *arg, const si__drained_event *event) {
    tally *t = arg;
    if (event->type != SI__EVENT_CPU || (t->only_tid && event->tid != t->only_tid)) return;
    t->events++;
    t->value_ns += (uint64_t)event->value;
    t->ticks += event->count;
    t->squares += (double)event->count * event->count;
    t->late += (event->flags & SI__EVENT_LATE) != 0;
    t->truncated += (event->flags & SI__STACK_TRUNCATED) != 0;
    t->off_stack += (event->flags & SI__STACK_OFF) != 0;
    uint64_t pc = event->pcs[0];
    if (pc >= (uintptr_t)__start_work_a && pc < (uintptr_t)__stop_work_a) t->in_a_ns += (uint64_t)event->value;
    if (pc >= (uintptr_t)__start_work_b && pc < (uintptr_t)__stop_work_b) t->in_b_ns += (uint64_t)event->value;
}

static si__region *region;
static si__drain *drain;
static si__unwind_cache *cache;

static void publish(void) {
    si__module_list modules;
    size_t unavailable;
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    uint32_t wanted = atomic_load(&region->modules_wanted);
    si__unwind_publish(cache, region, modules.items, modules.count, "", &unavailable);
    si__module_list_free(&modules);
    atomic_store(&region->modules_seen, wanted);
}

static int set_up(void **state) {
    (void)state;
    if (si__probe_open(NULL) != 0) return -1;
    region = si__probe_region();
    drain = si__drain_new(region);
    cache = si__unwind_cache_new();
    publish();
    return drain && cache && region->collectors[0].status == SI__COLLECTOR_ON ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__region_set_cpu_mhz(region, 0);
    si__probe_retune();
    si__probe_close();
    tally rest = {0};
    si__drain_events(drain, add, &rest);
    si__drain_free(drain);
    si__unwind_cache_free(cache);
    return 0;
}

static void sample_at(uint32_t hz) {
    si__region_set_cpu_mhz(region, hz * 1000);
    si__probe_retune();
}

static void pause_ms(long ms) {
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
