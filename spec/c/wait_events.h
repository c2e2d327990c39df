/*
 * A test program whose waits are sampled: the probe open around each test, hooks in this program's own calls, and what
 * arrives added up by call. Included by the tests of locks and waits, once each.
 */
#ifndef SI_SPEC_WAIT_EVENTS_H
#define SI_SPEC_WAIT_EVENTS_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../collectors/native/unwind.h"
#include "../../collectors/native/wait_call.h"
#include "../../runtime/ring/drain.h"

enum { MEAN_NS = 1000000, MS = 1000000 };

static si__region *region;
static si__drain *drain;
static si__unwind_cache *cache;

/* ---- What arrived ---- */

typedef struct waited {
    uint64_t ns[SI__WAIT_CALL_COUNT], count[SI__WAIT_CALL_COUNT], events[SI__WAIT_CALL_COUNT];
    uint64_t category_ns[SI__WAIT_CATEGORIES];
    uint64_t by_category_ns[SI__WAIT_CALL_COUNT][SI__WAIT_CATEGORIES];
    uint64_t caller[SI__WAIT_CALL_COUNT]; /* the frame below the call's name, of the last event */
    uint32_t sequence[SI__WAIT_CALL_COUNT];
    uint64_t unnamed, truncated, all;
} waited;

static int32_t only_tid; /* 0: all threads count */

static void add(void *arg, const si__drained_event *event) {
    waited *w = arg;
    if (event->type != SI__EVENT_WAIT || (only_tid && event->tid != only_tid)) return;
    const si__wait_text *text = (const void *)event->text;
    assert_int_equal(event->text_bytes, sizeof *text);
    assert_true(text->call > 0 && text->call < SI__WAIT_CALL_COUNT && event->detail < SI__WAIT_CATEGORIES);
    w->all++;
    w->events[text->call]++;
    w->ns[text->call] += (uint64_t)event->value;
    w->count[text->call] += event->count;
    w->category_ns[event->detail] += (uint64_t)event->value;
    w->by_category_ns[text->call][event->detail] += (uint64_t)event->value;
    w->sequence[text->call] = text->sequence;
    w->truncated += (event->flags & (SI__STACK_TRUNCATED | SI__STACK_OFF)) != 0;
    assert_true(event->frame_count >= 2);
    w->caller[text->call] = event->pcs[1];
    const si__name *name = si__region_name(region, (uint32_t)event->pcs[0]);
    w->unnamed += !si__pc_is_name(event->pcs[0]) || strcmp(name->function, si__wait_call_name(text->call)) != 0;
}

static void collect_more(waited *w) {
    si__drain_events(drain, add, w);
    assert_int_equal(w->unnamed, 0);
}

static void collect(waited *w) {
    memset(w, 0, sizeof *w);
    collect_more(w);
}

__attribute__((unused)) static uint64_t tally(si__tally which) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < region->slots_used; i++) sum += si__region_tallies(region, i)->of[which];
    return sum;
}

static uint64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Past the hooks. */
static void pause_ns(long ns) {
    const struct timespec pause = {ns / 1000000000, ns % 1000000000};
    syscall(SYS_nanosleep, &pause, NULL);
}

/* ---- Around each test ---- */

static void sample_every(uint64_t mean_ns) {
    si__region_set_means(region, 0, mean_ns, 0);
    si__probe_retune();
}

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
    if (!drain || !cache) return -1;
    publish();
    only_tid = 0;
    sample_every(MEAN_NS);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    waited rest;
    sample_every(0);
    collect(&rest);
    si__probe_close();
    si__drain_free(drain);
    si__unwind_cache_free(cache);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Waits until thread `tid` is seen waiting in `call`, at most 10 s. 1: it is, *out says more. */
__attribute__((unused)) static int seen_waiting(int32_t tid, si__wait_call call, si__waiting *out) {
    for (int turn = 0; turn < 10000; turn++, pause_ns(MS))
        for (uint32_t i = 0; i < region->slots_used; i++)
            if (si__wait_now_read(region, i, out) && out->tid == tid && out->call == (uint32_t)call) return 1;
    return 0;
}

/* Nobody is seen waiting but those who wait for others to end. */
__attribute__((unused)) static int nobody_waits(void) {
    si__waiting now;
    int waiting = 0;
    for (uint32_t i = 0; i < region->slots_used; i++) waiting += si__wait_now_read(region, i, &now);
    return waiting == 0;
}

#endif
