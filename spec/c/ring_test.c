/* The ring of a thread: events come out as they went in, also when signal handlers write in the middle of a write. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../runtime/ring/drain.h"

/* An event says of itself what it must look like: value = serial, every pc = serial + index, text = 'a' + serial % 26.
 */
static void fill(si__event *event, int64_t serial, uint32_t frames, uint32_t text) {
    event->value = serial;
    event->count = text;
    event->frame_count = (uint16_t)frames;
    for (uint32_t i = 0; i < frames; i++) si__event_pcs(event)[i] = (uint64_t)serial + i;
    memset(si__event_text(event), 'a' + (int)(serial % 26), text);
}

typedef struct collected {
    size_t count, from_handler;
    int64_t last_plain, last_handler;
    int wrong;
    unsigned type; /* only events of this type are looked at; 0: all */
} collected;

#define PLAIN SI__EVENT_CPU
#define HANDLER SI__EVENT_ERROR

static void check(void *arg, const si__drained_event *event) {
    collected *c = arg;
    if (c->type && (unsigned)event->type != c->type) return;
    c->count++;
    if (event->type == HANDLER) {
        c->from_handler++;
        if (event->value <= c->last_handler) c->wrong++;
        c->last_handler = event->value;
    } else {
        if (event->value <= c->last_plain) c->wrong++;
        c->last_plain = event->value;
    }
    for (unsigned i = 0; i < event->frame_count; i++)
        if (event->pcs[i] != (uint64_t)event->value + i) c->wrong++;
    if (event->text_bytes != event->count) c->wrong++;
    for (uint32_t i = 0; i < event->text_bytes; i++)
        if (event->text[i] != 'a' + (int)(event->value % 26)) c->wrong++;
}

static si__region *region;
static si__drain *drain;

static int set_up(void **state) {
    (void)state;
    if (si__probe_open(NULL) != 0) return -1;
    region = si__probe_region();
    drain = si__drain_new(region);
    return drain ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__probe_close();
    collected rest = {0};
    si__drain_events(drain, check, &rest);
    si__drain_free(drain);
    return 0;
}

static void events_come_out_as_they_went_in(void **state) {
    (void)state;
    si__slot *slot = si__thread_slot();
    assert_non_null(slot);
    collected got = {.last_plain = -1, .last_handler = -1};
    int64_t serial = 0;
    for (int round = 0; round < 500; round++) { /* many times around the ring, at every alignment of its end */
        for (int i = 0; i < 7; i++, serial++) {
            uint32_t frames = (uint32_t)(serial * 7 % (SI__FRAMES_MAX + 1)), text = (uint32_t)(serial * 13 % 300);
            si__event *event = si__ring_reserve(slot, frames, text);
            assert_non_null(event);
            fill(event, serial, frames, text);
            si__ring_commit(event, PLAIN);
        }
        si__drain_events(drain, check, &got);
    }
    assert_int_equal(got.count, serial);
    assert_int_equal(got.wrong, 0);
}

static void what_is_trimmed_is_given_back(void **state) {
    (void)state;
    si__slot *slot = si__thread_slot();
    collected got = {.last_plain = -1, .last_handler = -1};
    uint64_t before = slot->reserve_pos;
    si__event *event = si__ring_reserve(slot, SI__FRAMES_MAX, 0);
    fill(event, 5, 10, 0);
    si__ring_trim(slot, event, SI__FRAMES_MAX, 0);
    si__ring_commit(event, PLAIN);
    assert_true(slot->reserve_pos - before <= sizeof(si__event) + 10 * 8 + 2200 /* padding at the ring's end */);
    for (int64_t i = 6; i < 2000; i++) {
        event = si__ring_reserve(slot, SI__FRAMES_MAX, 0);
        assert_non_null(event);
        fill(event, i, (uint32_t)(i % 40), 0);
        si__ring_trim(slot, event, SI__FRAMES_MAX, 0);
        si__ring_commit(event, PLAIN);
        if (i % 50 == 0) si__drain_events(drain, check, &got);
    }
    si__drain_events(drain, check, &got);
    assert_int_equal(got.count, 1995);
    assert_int_equal(got.wrong, 0);
}

static void a_full_ring_drops_and_counts(void **state) {
    (void)state;
    si__slot *slot = si__thread_slot();
    collected got = {.last_plain = -1, .last_handler = -1};
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    uint64_t dropped_before = counts.dropped;
    size_t written = 0;
    for (int64_t i = 0; i < 1000; i++) {
        si__event *event = si__ring_reserve(slot, 30, 10);
        if (!event) continue;
        fill(event, i, 30, 10);
        si__ring_commit(event, PLAIN);
        written++;
    }
    assert_in_range(written, 50, SI__RING_BYTES / 280);
    si__drain_events(drain, check, &got);
    si__drain_counts_get(drain, &counts);
    assert_int_equal(got.count, written);
    assert_int_equal(counts.dropped - dropped_before, 1000 - written);
    assert_int_equal(got.wrong, 0);
}

static void nothing_is_read_before_it_is_committed(void **state) {
    (void)state;
    si__slot *slot = si__thread_slot();
    collected got = {.last_plain = -1, .last_handler = -1};
    si__event *first = si__ring_reserve(slot, 2, 0), *second = si__ring_reserve(slot, 2, 0);
    fill(second, 2, 2, 0);
    si__ring_commit(second, PLAIN);
    assert_int_equal(si__drain_events(drain, check, &got), 0); /* the first one blocks the way */
    fill(first, 1, 2, 0);
    si__ring_commit(first, PLAIN);
    assert_int_equal(si__drain_events(drain, check, &got), 2);
    assert_int_equal(got.wrong, 0);
}

/* ---- Handlers that interrupt a writer, and a reader on another thread ---- */

static _Atomic int64_t handler_serial;
static _Atomic int64_t handler_written;
static si__slot *writer_slot;

static void write_in_handler(int signal) {
    (void)signal;
    int64_t serial = ++handler_serial;
    uint32_t frames = (uint32_t)(serial % 20);
    si__event *event = si__ring_reserve(writer_slot, SI__FRAMES_MAX, 0);
    if (!event) return;
    fill(event, serial, frames, 0);
    si__ring_trim(writer_slot, event, SI__FRAMES_MAX, 0);
    si__ring_commit(event, HANDLER);
    handler_written++;
}

static _Atomic int reading;
static void *read_all(void *arg) {
    si__thread_ignore_self();
    while (reading) {
        si__drain_events(drain, check, arg);
        struct timespec pause = {0, 200000};
        nanosleep(&pause, NULL);
    }
    si__drain_events(drain, check, arg);
    return NULL;
}

static void handlers_may_write_in_the_middle_of_a_write(void **state) {
    (void)state;
    collected got = {0};
    struct sigaction action = {.sa_handler = write_in_handler, .sa_flags = SA_RESTART};
    sigaction(SIGPROF, &action, NULL);
    writer_slot = si__thread_slot();
    reading = 1;
    pthread_t reader;
    sigset_t prof, before;
    sigemptyset(&prof);
    sigaddset(&prof, SIGPROF);
    pthread_sigmask(SIG_BLOCK, &prof, &before);
    assert_int_equal(pthread_create(&reader, NULL, read_all, &got), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    struct sigevent by_signal = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF};
    struct itimerspec often = {{0, 50000}, {0, 50000}}, never = {{0, 0}, {0, 0}};
    timer_t timer;
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &by_signal, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &often, NULL), 0);
    int64_t plain_written = 0;
    for (int64_t serial = 1; plain_written < 100000 || handler_written < 2000; serial++) {
        si__event *event = si__ring_reserve(writer_slot, 64, 40);
        if (!event) {
            struct timespec pause = {0, 50000};
            nanosleep(&pause, NULL);
            continue;
        }
        fill(event, serial, (uint32_t)(serial % 60), 40);
        si__ring_trim(writer_slot, event, 64, 40);
        si__ring_commit(event, PLAIN);
        plain_written++;
    }
    timer_settime(timer, 0, &never, NULL);
    timer_delete(timer);
    reading = 0;
    pthread_join(reader, NULL);
    signal(SIGPROF, SIG_IGN);
    signal(SIGPROF, SIG_DFL);

    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    assert_int_equal(got.wrong, 0);
    assert_int_equal(counts.malformed, 0);
    assert_int_equal(got.from_handler, handler_written);
    assert_int_equal(got.count, plain_written + handler_written);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_come_out_as_they_went_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_trimmed_is_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_ring_drops_and_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_read_before_it_is_committed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(handlers_may_write_in_the_middle_of_a_write, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
