/* The recorder: what drained events, instruments and closer looks become in a report, whatever the wall clock does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../../runtime/recorder.h"

static const int64_t noon_ms = 1700000000000;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void sample(si__recorder *r, const si__space *space, int64_t value_ns) {
    static const uint64_t pcs[] = {0x1000, 0x2000};
    const si__drained_event event = {
        .type = SI__EVENT_CPU, .time_ns = now_ns(), .value = value_ns, .count = 1, .frame_count = 2, .pcs = pcs};
    si__recorder_event(r, NULL, space, &event);
}

static void fail_in(si__recorder *r, const si__space *space, si__event_type type, int64_t value, const char *text,
                    uint32_t bytes) {
    static const uint64_t pcs[] = {0x3000};
    const si__drained_event event = {
        .type = type, .value = value, .count = 1, .frame_count = 1, .pcs = pcs, .text = text, .text_bytes = bytes};
    si__recorder_event(r, NULL, space, &event);
}

static void forget(si__unresolved_list *list) {
    for (size_t i = 0; i < list->count; i++) si__rawprofile_free(list->items[i].raw);
    free(list->items);
}

static const si__space nowhere = {0};

static void durations_come_from_a_clock_that_nobody_sets(void **state) {
    (void)state;
    si__recorder *r = si__recorder_new(0);
    si__unresolved_list list;
    for (int i = 0; i < 3; i++) { /* the second cut comes a day before the first one, the third two days later */
        static const int64_t day_ms = 86400000;
        const int64_t at_ms[] = {noon_ms, noon_ms - day_ms, noon_ms + day_ms};
        uint64_t before = now_ns();
        sample(r, &nowhere, 10000000);
        while (now_ns() - before < 3000000) continue;
        si__report *report = si__report_new();
        assert_int_equal(si__recorder_cut(r, at_ms[i], 2, report, &list), 0);
        assert_int_equal(report->profile_count, 1);
        const si__report_profile *p = &report->profiles[0];
        assert_true(p->duration_ns >= 3000000 && p->duration_ns < 60000000000);
        assert_int_equal(p->start_ms, at_ms[i] - (int64_t)(p->duration_ns / 1000000));
        assert_int_equal(report->start_ms, p->start_ms);
        assert_int_equal(report->end_ms, at_ms[i]);
        assert_int_equal(p->samples, 1);
        assert_true(p->cores == 2);
        forget(&list);
        si__report_free(report);
    }
    si__recorder_free(r);
}

static void every_closer_look_goes_out(void **state) {
    (void)state;
    si__recorder *r = si__recorder_new(0);
    sample(r, &nowhere, 1);
    si__recorder_focus(r, SI__PROFILE_CPU, "first", "", 120000); /* with the past */
    sample(r, &nowhere, 2);
    si__recorder_focus(r, SI__PROFILE_CPU, "second", "import", 0); /* ends the first */
    sample(r, &nowhere, 4);
    si__recorder_focus_end(r, SI__PROFILE_CPU);
    si__recorder_focus_end(r, SI__PROFILE_CPU);
    assert_false(si__recorder_focused(r, SI__PROFILE_CPU));
    si__recorder_focus(r, SI__PROFILE_CPU, "third", NULL, 0);
    sample(r, &nowhere, 8);
    si__report *report = si__report_new();
    si__unresolved_list list;
    assert_int_equal(si__recorder_cut(r, noon_ms, 1, report, &list), 0);
    static const struct {
        const char *trigger, *workload;
        int64_t value;
    } wanted[] = {{"cadence", "", 15}, {"first", "", 3}, {"second", "import", 4}}; /* the third still runs */
    assert_int_equal(report->profile_count, 3);
    assert_int_equal(list.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(report->profiles[i].trigger, wanted[i].trigger);
        assert_string_equal(report->profiles[i].workload, wanted[i].workload);
        assert_ptr_equal(list.items[i].tree, &report->profiles[i].tree);
        assert_int_equal(list.items[i].raw->total_value, wanted[i].value);
    }
    forget(&list);
    si__report_free(report);
    sample(r, &nowhere, 16);
    si__recorder_focus_end(r, SI__PROFILE_CPU);
    report = si__report_new();
    assert_int_equal(si__recorder_cut(r, noon_ms, 1, report, &list), 0);
    assert_int_equal(report->profile_count, 2);
    assert_string_equal(report->profiles[1].trigger, "third");
    assert_int_equal(list.items[1].raw->total_value, 24);
    forget(&list);
    si__report_free(report);
    for (int i = 0; i < 100; i++)
        si__recorder_focus(r, SI__PROFILE_CPU, "again", "", 0); /* nobody fetches them: bounded */
    report = si__report_new();
    assert_int_equal(si__recorder_cut(r, noon_ms, 1, report, &list), 0);
    assert_int_equal(report->profile_count, 9);
    forget(&list);
    si__report_free(report);
    si__recorder_free(r);
}

static void errors_are_counted_once_and_crashes_named(void **state) {
    (void)state;
    si__recorder *r = si__recorder_new(0);
    const si__drained_instrument counted = {.kind = SI__INSTRUMENT_ERROR, .name = "disk", .count = 7};
    fail_in(r, &nowhere, SI__EVENT_ERROR, 0, "disk\0first", 10);
    fail_in(r, &nowhere, SI__EVENT_ERROR, 0, "disk\0last", 9);
    fail_in(r, &nowhere, SI__EVENT_ERROR, 1, "no message", 10);     /* its count found no room */
    fail_in(r, &nowhere, SI__EVENT_ERROR, 0, "counted before", 14); /* in the report before this one */
    fail_in(r, &nowhere, SI__EVENT_CRASH, 11, "at 0x0", 6);
    fail_in(r, &nowhere, SI__EVENT_CRASH, -1, "", 0);
    si__recorder_tally(r, &counted);
    si__report *report = si__report_new();
    si__unresolved_list list;
    assert_int_equal(si__recorder_cut(r, noon_ms, 1, report, &list), 0);
    assert_int_equal(report->error_count, 4);
    assert_string_equal(report->errors[0].group, "disk");
    assert_string_equal(report->errors[0].message, "last");
    assert_int_equal(report->errors[0].count, 7); /* 5 of them were not sampled */
    assert_string_equal(report->errors[1].group, "no message");
    assert_string_equal(report->errors[1].message, "");
    assert_int_equal(report->errors[1].count, 1);
    assert_string_equal(report->errors[2].group, "crash: SIGSEGV");
    assert_string_equal(report->errors[2].message, "at 0x0");
    assert_int_equal(report->errors[2].count, 1);
    assert_string_equal(report->errors[3].group, "crash: SIG?");
    assert_int_equal(list.count, 5);
    assert_ptr_equal(list.items[1].tree, &report->errors[0].tree);
    assert_int_equal(list.items[1].raw->total_count, 2);
    forget(&list);
    si__report_free(report);
    si__recorder_free(r);
}

static void to_one_name(void *arg, const char *raw, char *out, size_t out_bytes) {
    (void)arg;
    if (strncmp(raw, "/orders/", 8) == 0) snprintf(out, out_bytes, "/orders/:id");
}

static void segments_of_one_public_name_are_merged(void **state) {
    (void)state;
    si__recorder *r = si__recorder_new(0);
    si__recorder_rename(r, to_one_name, NULL);
    static uint32_t buckets[SI__BUCKET_COUNT];
    buckets[40] = 3;
    const si__drained_instrument gained[] = {
        {.kind = SI__INSTRUMENT_HANDLER,
         .name = "/orders/1",
         .count = 3,
         .sum_ns = 30,
         .max_ns = 20,
         .errors = 1,
         .buckets = buckets},
        {.kind = SI__INSTRUMENT_HANDLER,
         .name = "/orders/2",
         .count = 3,
         .sum_ns = 12,
         .max_ns = 5,
         .buckets = buckets},
        {.kind = SI__INSTRUMENT_CALL_SQL, .name = "/orders/3", .count = 3, .buckets = buckets}};
    for (size_t i = 0; i < 3; i++) si__recorder_tally(r, &gained[i]);
    si__report *report = si__report_new();
    si__unresolved_list list;
    assert_int_equal(si__recorder_cut(r, noon_ms, 1, report, &list), 0);
    assert_int_equal(report->segment_count, 2);
    const si__report_segment *s = &report->segments[0];
    assert_string_equal(s->name, "/orders/:id");
    assert_string_equal(s->kind, "http_handler");
    assert_int_equal(s->count, 6);
    assert_int_equal(s->errors, 1);
    assert_int_equal(s->sum_ns, 42);
    assert_int_equal(s->max_ns, 20);
    assert_int_equal(si__sketch_count(s->sketch), 6);
    assert_string_equal(report->segments[1].kind, "sql");
    forget(&list);
    si__report_free(report);
    si__recorder_free(r);
}

static double gauge, counter;
static int told;

static void on_metric(void *arg, const char *name, double value) {
    (void)arg;
    told++;
    if (strcmp(name, "queue") == 0) gauge = value;
    if (strcmp(name, "orders") == 0) counter = value;
}

static void gauges_hold_and_counters_make_no_peaks(void **state) {
    (void)state;
    si__recorder *r = si__recorder_new(0);
    const si__drained_instrument set = {.kind = SI__INSTRUMENT_GAUGE, .name = "queue", .count = 1, .value = 17};
    const si__drained_instrument add = {.kind = SI__INSTRUMENT_COUNTER, .name = "orders", .count = 1, .value = 100};
    si__recorder_tally(r, &set);
    si__recorder_tally(r, &add);
    si__recorder_tally(r, &add);
    si__recorder_metrics(r, on_metric, NULL);
    assert_int_equal(told, 2);
    assert_true(gauge == 17);
    assert_true(counter > 0 && counter <= 200); /* per second, and not per microsecond */
    si__recorder_metrics(r, on_metric, NULL);
    assert_true(gauge == 17 && counter == 0);
    si__recorder_free(r);
}

static void a_full_stack_table_is_not_collected_at_every_event(void **state) {
    (void)state;
    si__binary binary = {
        .references = 1, .serial = 1, .path = "program", .name = "program", .sigreturn_offset = UINT64_MAX};
    si__mapping mapping = {.start = 0x1000, .end = UINT64_C(1) << 46, .binary = &binary};
    const si__space space = {.serial = 1, .mappings = &mapping, .count = 1};
    si__recorder *r = si__recorder_new(1); /* the whole run keeps every stack in use */
    uint64_t pcs[128];
    uint64_t before = now_ns();
    for (uint64_t i = 0; i < 20000; i++) {
        for (uint64_t f = 0; f < 128; f++) pcs[f] = 0x10000 + i * 131072 + f * 64;
        si__drained_event event = {
            .type = SI__EVENT_CPU, .time_ns = before, .value = 1, .count = 1, .frame_count = 128, .pcs = pcs};
        si__recorder_event(r, NULL, &space, &event);
    }
    si__rawprofile *raw = si__recorder_whole_run(r, SI__PROFILE_CPU);
    assert_int_equal(raw->total_count, 20000);
    si__rawprofile_free(raw);
    si__recorder_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_come_from_a_clock_that_nobody_sets),
        cmocka_unit_test(every_closer_look_goes_out),
        cmocka_unit_test(errors_are_counted_once_and_crashes_named),
        cmocka_unit_test(segments_of_one_public_name_are_merged),
        cmocka_unit_test(gauges_hold_and_counters_make_no_peaks),
        cmocka_unit_test(a_full_stack_table_is_not_collected_at_every_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
