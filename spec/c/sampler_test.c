/* The sampler: spans and background rate of a cadence, requests, manual profiles, the overhead governor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <si/si.h>

#include "../../runtime/sampler.h"

static double applied;

static si__rates rates;

static void apply(void *arg, const si__rates *now) {
    (void)arg;
    applied = now->cpu_hz;
    rates = *now;
}

static si__sampler *with_cadence(int64_t every_ms, int64_t span_ms) {
    const si__cadence cadence = {.metrics_ms = 60000,
                                 .report_ms = 60000,
                                 .cpu_hz = 100,
                                 .cpu_background_hz = 10,
                                 .cpu_every_ms = every_ms,
                                 .cpu_span_ms = span_ms,
                                 .overhead_cpu = 0.01};
    si__sampler *s = si__sampler_new(apply, NULL);
    si__sampler_cadence(s, &cadence);
    applied = -1;
    return s;
}

static double rate_at(si__sampler *s, int64_t now_ms) {
    si__sampler_tick(s, now_ms);
    return si__sampler_rates(s).cpu_hz;
}

static void samples_fast_in_spans_and_slowly_between(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 2000);
    assert_true(rate_at(s, 1000) == 100);
    assert_true(applied == 100);
    assert_true(rate_at(s, 2999) == 100);
    assert_true(rate_at(s, 3000) == 10);
    assert_true(rate_at(s, 8999) == 10);
    assert_true(rate_at(s, 9000) == 100);
    si__sampler_free(s);
}

static void wants_to_be_ticked_when_the_span_ends(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 2000);
    si__sampler_tick(s, 0);
    assert_int_equal(si__sampler_tick(s, 1800), 200);
    si__sampler_free(s);
}

static void a_span_as_long_as_its_period_is_always_on(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 8000);
    for (int64_t t = 0; t < 20000; t += 500) assert_true(rate_at(s, t) == 100);
    si__sampler_free(s);
}

static void a_request_raises_the_rate_until_it_ends(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 2000);
    si__sampler_tick(s, 0);
    si__sampler_request(s, SI__PROFILE_CPU, 250, 5000);
    assert_true(rate_at(s, 4999) == 250);
    assert_true(rate_at(s, 5000) == 10);
    si__sampler_free(s);
}

static void manual_profiles_end_by_themselves(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 2000);
    si__sampler_auto(s, 0);
    assert_true(rate_at(s, 0) == 0);
    assert_int_equal(si__sampler_manual(s, SI__PROFILE_CPU, 1, 1000), 0);
    assert_int_equal(si__sampler_manual(s, SI__PROFILE_CPU, 1, 1000), SI_ESTATE);
    assert_true(rate_at(s, 1000) == 100);
    assert_true(rate_at(s, 61000) == 0);
    assert_int_equal(si__sampler_manual(s, SI__PROFILE_CPU, 0, 61000), SI_ESTATE);
    si__sampler_free(s);
}

static void halves_the_rate_over_the_budget_and_comes_back(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 8000);
    si__sampler_overhead(s, 0.02);
    assert_true(rate_at(s, 0) == 50);
    si__sampler_overhead(s, 0.02);
    assert_true(rate_at(s, 1) == 25);
    si__sampler_overhead(s, 0.005); /* under the budget, but not far below: stays */
    assert_true(rate_at(s, 2) == 25);
    si__sampler_overhead(s, 0.001);
    si__sampler_overhead(s, 0.001);
    assert_true(rate_at(s, 3) == 100);
    si__sampler_overhead(s, 0.001);
    assert_true(rate_at(s, 4) == 100);
    si__sampler_free(s);
}

static void a_forced_rate_is_not_throttled(void **state) {
    (void)state;
    si__sampler *s = with_cadence(8000, 2000);
    si__sampler_force(s, 100);
    for (int i = 0; i < 8; i++) si__sampler_overhead(s, 0.5);
    assert_true(rate_at(s, 5000) == 100);
    si__sampler_free(s);
}

static void every_sampler_follows_the_same_wishes(void **state) {
    (void)state;
    const si__cadence cadence = {.cpu_hz = 100,
                                 .cpu_every_ms = 1,
                                 .cpu_span_ms = 1,
                                 .heap_bytes = 524288,
                                 .wait_mean_ns = 10000000,
                                 .wait_background_ns = 0,
                                 .wait_every_ms = 16000,
                                 .wait_span_ms = 4000,
                                 .overhead_cpu = 0.01};
    si__sampler *s = si__sampler_new(apply, NULL);
    si__sampler_cadence(s, &cadence);
    assert_int_equal(si__sampler_tick(s, 0), 1000);
    assert_int_equal(rates.heap_bytes, 524288);
    assert_int_equal(rates.wait_ns, 10000000);
    si__sampler_tick(s, 4000);
    assert_int_equal(rates.wait_ns, 0);
    assert_false(si__sampler_samples(s, SI__PROFILE_LOCK));
    assert_true(si__sampler_samples(s, SI__PROFILE_HEAP));
    si__sampler_request(s, SI__PROFILE_NETWORK, 0, 6000); /* a closer look between two spans */
    si__sampler_tick(s, 5000);
    assert_int_equal(rates.wait_ns, 1000001);
    si__sampler_tick(s, 6000);
    assert_int_equal(rates.wait_ns, 0);
    si__sampler_overhead(s, 0.5); /* over the budget: all of them slow down */
    si__sampler_tick(s, 16000);
    assert_true(rates.cpu_hz == 50);
    assert_int_equal(rates.heap_bytes, 2 * 524288);
    assert_int_equal(rates.wait_ns, 2 * 10000000);
    si__sampler_free(s);
}

static void two_profiles_by_hand_do_not_disturb_each_other(void **state) {
    (void)state;
    si__sampler *s = si__sampler_new(apply, NULL);
    si__sampler_auto(s, 0);
    si__sampler_tick(s, 0);
    assert_int_equal(si__sampler_manual(s, SI__PROFILE_LOCK, 1, 0), 0);
    assert_int_equal(si__sampler_manual(s, SI__PROFILE_ALLOC, 1, 30000), 0);
    si__sampler_tick(s, 30000);
    assert_true(rates.wait_ns > 0 && rates.heap_bytes > 0);
    assert_true(rates.cpu_hz == 0);
    si__sampler_tick(s, 60000); /* the first is over */
    assert_true(rates.wait_ns == 0 && rates.heap_bytes > 0);
    assert_int_equal(si__sampler_manual(s, SI__PROFILE_ALLOC, 0, 60000), 0);
    si__sampler_tick(s, 60001);
    assert_true(rates.heap_bytes == 0);
    si__sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sampler_follows_the_same_wishes),
        cmocka_unit_test(two_profiles_by_hand_do_not_disturb_each_other),
        cmocka_unit_test(samples_fast_in_spans_and_slowly_between),
        cmocka_unit_test(wants_to_be_ticked_when_the_span_ends),
        cmocka_unit_test(a_span_as_long_as_its_period_is_always_on),
        cmocka_unit_test(a_request_raises_the_rate_until_it_ends),
        cmocka_unit_test(manual_profiles_end_by_themselves),
        cmocka_unit_test(halves_the_rate_over_the_budget_and_comes_back),
        cmocka_unit_test(a_forced_rate_is_not_throttled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
