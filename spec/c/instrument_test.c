/* Segments, handlers, calls and metrics of the program: exact counts from many threads, quantiles within 1 %. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../runtime/ring/drain.h"
#include "si/si.h"

static si__drain *drain;

static int set_up(void **state) {
    (void)state;
    if (si__probe_open(NULL) != 0) return -1;
    drain = si__drain_new(si__probe_region());
    return drain ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__drain_free(drain);
    si__probe_close();
    return 0;
}

typedef struct found {
    const char *name;
    si__instrument_kind kind;
    uint64_t count, errors, sum_ns, max_ns, bucket_sum;
    double value, p50, p99;
    size_t instruments;
} found;

static double quantile(const uint32_t *buckets, uint64_t total, double q) {
    uint64_t rank = (uint64_t)(q * (double)(total - 1)), seen = 0;
    for (uint32_t i = 0; i < SI__BUCKET_COUNT; i++) {
        seen += buckets[i];
        if (seen > rank) return si__bucket_mid(i);
    }
    return -1;
}

static void look(void *arg, const si__drained_instrument *instrument) {
    found *f = arg;
    f->instruments++;
    if (instrument->kind != f->kind || strcmp(instrument->name, f->name) != 0) return;
    f->count = instrument->count;
    f->errors = instrument->errors;
    f->sum_ns = instrument->sum_ns;
    f->max_ns = instrument->max_ns;
    f->value = instrument->value;
    for (uint32_t i = 0; instrument->buckets && i < SI__BUCKET_COUNT; i++) f->bucket_sum += instrument->buckets[i];
    if (instrument->buckets) {
        f->p50 = quantile(instrument->buckets, f->bucket_sum, 0.5);
        f->p99 = quantile(instrument->buckets, f->bucket_sum, 0.99);
    }
}

static found find(si__instrument_kind kind, const char *name) {
    found f = {.name = name, .kind = kind};
    si__drain_instruments(drain, look, &f);
    return f;
}

enum { THREADS = 8, ROUNDS = 20000 };

static void *hammer(void *arg) {
    char name[32];
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(name, sizeof name, "shared/%d", i % 16);
        si_segment segment;
        si_segment_start(&segment, name);
        si_segment_stop(&segment);
        si_counter_add("jobs", 0.5);
    }
    return NULL;
}

static void no_event_of_many_threads_is_lost(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    found f = find(SI__INSTRUMENT_SEGMENT, "shared/3");
    assert_int_equal(f.count, THREADS * ROUNDS / 16);
    assert_int_equal(f.bucket_sum, f.count);
    assert_int_equal(f.instruments, 17); /* no name was entered twice */
    hammer(NULL);
    f = find(SI__INSTRUMENT_COUNTER, "jobs");
    assert_int_equal(f.count, ROUNDS); /* since the last call */
    assert_true(f.value == ROUNDS * 0.5);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_within_one_percent(void **state) {
    (void)state;
    enum { N = 20001 };
    static double values[N];
    si__instrument *instrument = si__instrument_get(SI__INSTRUMENT_SEGMENT, "sketch");
    assert_non_null(instrument);
    unsigned seed = 12345;
    uint64_t sum = 0, max = 0;
    for (int i = 0; i < N; i++) { /* from 100 ns to 100 s, evenly on a logarithmic scale, in random order */
        double u = (double)rand_r(&seed) / RAND_MAX;
        values[i] = floor(100.0 * pow(10.0, 9.0 * u));
        si__instrument_time(instrument, (uint64_t)values[i]);
        sum += (uint64_t)values[i];
        if ((uint64_t)values[i] > max) max = (uint64_t)values[i];
    }
    qsort(values, N, sizeof values[0], by_value);
    found f = find(SI__INSTRUMENT_SEGMENT, "sketch");
    assert_int_equal(f.count, N);
    assert_int_equal(f.sum_ns, sum);
    assert_int_equal(f.max_ns, max);
    assert_true(fabs(f.p50 / values[N / 2] - 1) <= 0.01);
    assert_true(fabs(f.p99 / values[(int)(0.99 * (N - 1))] - 1) <= 0.01);
    si__instrument_time(instrument, 10);
    assert_int_equal(find(SI__INSTRUMENT_SEGMENT, "sketch").max_ns, 10); /* of the period, not of all time */
}

static void handlers_count_errors_and_calls_have_kinds(void **state) {
    (void)state;
    static const int statuses[] = {200, 404, 499, 500, 503, 599, 600, 301};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        si_call call;
        si_handler_start(&call, "GET /orders/:id");
        si_handler_stop(&call, statuses[i]);
    }
    si_call outer, inner; /* nested, same name, other kind */
    si_call_start(&outer, SI_CALL_SQL, "GET /orders/:id");
    si_call_start(&inner, SI_CALL_HTTP, "GET /orders/:id");
    si_call_stop(&inner);
    si_call_stop(&outer);
    si_call_stop(&outer); /* twice counts once */
    found f = find(SI__INSTRUMENT_HANDLER, "GET /orders/:id");
    assert_int_equal(f.count, 8);
    assert_int_equal(f.errors, 3);
    si_call_start(&outer, SI_CALL_SQL, "GET /orders/:id");
    si_call_stop(&outer);
    assert_int_equal(find(SI__INSTRUMENT_CALL_SQL, "GET /orders/:id").count, 1);
}

static int leave_by_return(void) {
    SI_SEGMENT("block") {
        return 3;
    }
    return 0;
}

static void a_segment_ends_however_its_block_is_left(void **state) {
    (void)state;
    assert_int_equal(leave_by_return(), 3);
    for (int i = 0; i < 5; i++) SI_SEGMENT("block") {
            if (i % 2) break;
        }
    assert_int_equal(find(SI__INSTRUMENT_SEGMENT, "block").count, 6);
}

static void gauges_keep_the_last_value(void **state) {
    (void)state;
    si_gauge_set("queue.length", 7);
    si_gauge_set("queue.length", -2.25);
    found f = find(SI__INSTRUMENT_GAUGE, "queue.length");
    assert_true(f.value == -2.25);
    assert_int_equal(f.count, 2);
    si_counter_add("only.up", -5);
    si_counter_add("only.up", NAN);
    assert_int_equal(find(SI__INSTRUMENT_COUNTER, "only.up").count, 0);
    si_counter_add("only.up", INFINITY);
    assert_true(isfinite(find(SI__INSTRUMENT_COUNTER, "only.up").value));
}

static void long_and_odd_names_are_cut_and_kept(void **state) {
    (void)state;
    char name[300], cut[SI__NAME_BYTES];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    memset(cut, 'n', sizeof cut - 1);
    cut[sizeof cut - 1] = '\0';
    si_segment segment;
    si_segment_start(&segment, name);
    si_segment_stop(&segment);
    si_segment_start(&segment, cut);
    si_segment_stop(&segment);
    assert_int_equal(find(SI__INSTRUMENT_SEGMENT, cut).count, 2);
    si_segment_start(&segment, "");
    si_segment_stop(&segment);
    assert_int_equal(find(SI__INSTRUMENT_SEGMENT, "").count, 1);
    si_segment_start(&segment, NULL);
    si_segment_stop(&segment);
}

static void without_a_runtime_nothing_happens(void **state) {
    (void)state;
    si_segment over_the_end, segment;
    si_segment_start(&over_the_end, "over the end");
    si__probe_close();
    si_segment_stop(&over_the_end);
    si_segment_start(&segment, "closed");
    si_segment_stop(&segment);
    si_gauge_set("closed", 1);
    si_counter_add("closed", 1);
    si_error_record("closed", "closed");
    assert_null(si__probe_region());
    assert_int_equal(find(SI__INSTRUMENT_SEGMENT, "closed").instruments, 0);
    assert_int_equal(si__probe_open(NULL), 0);
}

static void a_forked_child_counts_nothing_into_its_parent(void **state) {
    (void)state;
    si_segment segment;
    si_segment_start(&segment, "forked");
    pid_t child = fork();
    if (child == 0) {
        si_segment own;
        si_segment_stop(&segment);
        si_segment_start(&own, "forked");
        si_segment_stop(&own);
        si_counter_add("forked", 1);
        si_error_record("forked", "in the child");
        _exit(si__probe_region() != NULL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    si_segment_stop(&segment);
    found f = find(SI__INSTRUMENT_SEGMENT, "forked");
    assert_int_equal(f.count, 1);
    assert_int_equal(f.instruments, 1);
}

static void too_many_names_are_counted(void **state) {
    (void)state;
    char name[32];
    si__drain_counts counts;
    for (int i = 0; i < 3 * SI__INSTRUMENT_COUNT; i++) {
        snprintf(name, sizeof name, "name %d", i);
        si_gauge_set(name, i);
    }
    found f = find(SI__INSTRUMENT_GAUGE, "name 0");
    si__drain_counts_get(drain, &counts);
    assert_true(counts.instruments_refused >= 2 * SI__INSTRUMENT_COUNT);
    assert_int_equal(f.count, 1);
    si_gauge_set("name 0", 5); /* what has a place keeps it */
    assert_true(find(SI__INSTRUMENT_GAUGE, "name 0").value == 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(no_event_of_many_threads_is_lost),
        TEST(quantiles_are_within_one_percent),
        TEST(handlers_count_errors_and_calls_have_kinds),
        TEST(a_segment_ends_however_its_block_is_left),
        TEST(gauges_keep_the_last_value),
        TEST(long_and_odd_names_are_cut_and_kept),
        TEST(without_a_runtime_nothing_happens),
        TEST(a_forked_child_counts_nothing_into_its_parent),
        TEST(too_many_names_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
