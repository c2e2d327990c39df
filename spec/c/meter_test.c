/* The meter: values of several processes become one, the host is read once, and what cannot be read has a reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>
#include <si/si.h>

#include "../../runtime/meter.h"

static int readers, host_readings, refuse;

static void *reader_new(void) {
    readers++;
    return calloc(1, sizeof(int));
}

static void reader_free(void *state) {
    readers--;
    free(state);
}

/* A process's values are made from its number. */
static int read_process(void *state, const si__host *host, const si__metric_sink *sink, char *reason,
                        size_t reason_bytes) {
    int *readings = state;
    (*readings)++;
    sink->put(sink->arg, "process.cpu.utilization", "1", 0.1 * host->pid);
    sink->put(sink->arg, "process.memory.usage", "By", 100.0 * host->pid);
    sink->put(sink->arg, "process.open_file_descriptor.utilization", "1", 0.01 * host->pid);
    sink->put(sink->arg, "process.uptime", "s", 10.0 * host->pid);
    sink->put(sink->arg, "process.nonsense", "By", NAN);
    if (*readings > 1) sink->put(sink->arg, "process.rate", "{x}/s", 1);
    if (!refuse) return 0;
    snprintf(reason, reason_bytes, "not allowed for %d", (int)host->pid);
    return SI_EIO;
}

static int read_host(void *state, const si__host *host, const si__metric_sink *sink, char *reason,
                     size_t reason_bytes) {
    (void)state, (void)reason, (void)reason_bytes;
    host_readings++;
    assert_true(host->cpu_count >= 1 && host->page_bytes >= 4096 && host->clock_ticks_per_s > 0);
    assert_string_equal(host->root, "/elsewhere");
    sink->put(sink->arg, "system.cpu.utilization", "1", 0.5);
    return 0;
}

static const si__collector process_collector = {
    .name = "process", .reader_new = reader_new, .read = read_process, .reader_free = reader_free};
static const si__collector probe_only = {.name = "probe"};
static const si__collector host_collector = {.name = "host", .host_wide = 1, .read = read_host};
static const si__collector *const collectors[] = {&process_collector, &probe_only, &host_collector, NULL};

static double value(si__meter *m, uint64_t now_ns, const char *name) {
    size_t count;
    const si__reading *readings = si__meter_read(m, now_ns, &count);
    double found = NAN;
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(readings[i].value));
        if (strcmp(readings[i].name, name) == 0) {
            assert_true(isnan(found)); /* once */
            found = readings[i].value;
        }
    }
    return found;
}

static void processes_add_up_where_that_means_something(void **state) {
    (void)state;
    si__meter *m = si__meter_new(collectors, "/elsewhere");
    for (int pid = 1; pid <= 3; pid++) assert_int_equal(si__meter_add(m, pid), 0);
    assert_int_equal(si__meter_add(m, 2), 0); /* known already */
    assert_float_equal(value(m, 1, "process.cpu.utilization"), 0.6, 1e-9);
    assert_float_equal(value(m, 2, "process.memory.usage"), 600, 1e-9);
    assert_float_equal(value(m, 3, "process.open_file_descriptor.utilization"), 0.03, 1e-9);
    assert_float_equal(value(m, 4, "process.uptime"), 30, 1e-9);
    assert_float_equal(value(m, 5, "process.rate"), 3, 1e-9);
    assert_true(isnan(value(m, 6, "process.nonsense")));
    host_readings = 0;
    assert_float_equal(value(m, 7, "system.cpu.utilization"), 0.5, 1e-9);
    assert_int_equal(host_readings, 1);
    si__meter_free(m);
    assert_int_equal(readers, 0);
}

static void a_process_that_went_is_forgotten(void **state) {
    (void)state;
    si__meter *m = si__meter_new(collectors, "/elsewhere");
    assert_int_equal(si__meter_add(m, 1), 0);
    assert_int_equal(si__meter_add(m, 5), 0);
    assert_float_equal(value(m, 1, "process.memory.usage"), 600, 1e-9);
    si__meter_remove(m, 1);
    si__meter_remove(m, 77);
    assert_float_equal(value(m, 2, "process.memory.usage"), 500, 1e-9);
    assert_float_equal(value(m, 3, "system.cpu.utilization"), 0.5, 1e-9); /* of the next first one */
    assert_int_equal(readers, 1);
    si__meter_remove(m, 5);
    assert_true(isnan(value(m, 4, "process.memory.usage")));
    assert_int_equal(readers, 0);
    si__meter_free(m);
}

static void what_cannot_be_read_has_a_reason_until_it_can(void **state) {
    (void)state;
    si__meter *m = si__meter_new(collectors, "/elsewhere");
    assert_int_equal(si__meter_add(m, 4), 0);
    refuse = 1;
    value(m, 1, "process.uptime");
    assert_string_equal(si__meter_reason(m, 0), "not allowed for 4");
    assert_string_equal(si__meter_reason(m, 2), "");
    assert_string_equal(si__meter_reason(m, 9999), "");
    refuse = 0;
    value(m, 2, "process.uptime");
    assert_string_equal(si__meter_reason(m, 0), "");
    si__meter_free(m);
}

static void many_processes_stay_within_bounds(void **state) {
    (void)state;
    si__meter *m = si__meter_new(collectors, "/elsewhere");
    for (int pid = 1; pid <= 1000; pid++) assert_int_equal(si__meter_add(m, pid), 0);
    assert_true(value(m, 1, "process.memory.usage") >= 600);
    for (int pid = 1; pid <= 1000; pid++) si__meter_remove(m, pid);
    assert_int_equal(readers, 0);
    si__meter_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_add_up_where_that_means_something),
        cmocka_unit_test(a_process_that_went_is_forgotten),
        cmocka_unit_test(what_cannot_be_read_has_a_reason_until_it_can),
        cmocka_unit_test(many_processes_stay_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
