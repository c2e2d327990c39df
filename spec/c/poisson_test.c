/* Poisson sampling is unbiased: for sizes below, at and far above the mean, totals come out right within their own
   standard error, and the weights are the formula's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../collectors/native/poisson.h"

static void weights_follow_the_formula(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1, 16, 1000, 65536, 524288, 5242880, 104857600};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        si__poisson p = {.left = -1, .mean = 524288, .state = 1};
        si__weight w;
        double calls = 1 / -expm1(-(double)sizes[i] / 524288);
        assert_int_equal(si__poisson_weight(&p, sizes[i], 524288, &w), 1);
        assert_float_equal((double)w.calls_q16 / 65536, calls, calls * 1e-9 + 1e-5);
        assert_float_equal((double)w.quantity, (double)sizes[i] * calls, (double)sizes[i] * calls * 1e-9 + 1);
        assert_true(w.calls >= (uint32_t)calls && w.calls <= (uint32_t)calls + 1);
    }
}

static void gaps_are_exponential(void **state) {
    (void)state;
    enum { N = 200000 };
    si__poisson p = {.state = 42};
    double sum = 0, squares = 0;
    for (int i = 0; i < N; i++) {
        si__poisson_draw(&p, 1000000);
        sum += (double)p.left;
        squares += (double)p.left * (double)p.left;
    }
    double mean = sum / N, deviation = sqrt(squares / N - mean * mean);
    assert_float_equal(mean, 1e6, 5 * 1e6 / sqrt(N));
    assert_float_equal(deviation, 1e6, 10 * 1e6 / sqrt(N));
}

/* 200 runs of a known load: the mean of the estimates is the truth within 4 standard errors of itself. */
static void totals_are_unbiased(void **state) {
    (void)state;
    static const uint64_t sizes[] = {24, 100, 4096, 70000, 2000000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        enum { RUNS = 200 };
        uint64_t mean = 100000, n = 20000000 / sizes[s] + 20;
        double sum = 0, squares = 0, calls = 0;
        for (uint64_t run = 0; run < RUNS; run++) {
            si__poisson p = {.state = run * 7919 + s + 1};
            double total = 0;
            for (uint64_t i = 0; i < n; i++) {
                si__weight w;
                if (!si__poisson_hit(&p, sizes[s]) && p.mean) continue;
                if (!si__poisson_weight(&p, sizes[s], mean, &w)) continue;
                total += (double)w.quantity;
                calls += w.calls;
            }
            sum += total;
            squares += total * total;
        }
        double truth = (double)(n * sizes[s]), average = sum / RUNS;
        double error = sqrt(fmax(squares / RUNS - average * average, 1) / RUNS);
        assert_float_equal(average, truth, 4 * error + 1e-6 * truth);
        assert_float_equal(calls / RUNS, (double)n, 4 * error / (double)sizes[s] + 0.01 * (double)n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_follow_the_formula),
        cmocka_unit_test(gaps_are_exponential),
        cmocka_unit_test(totals_are_unbiased),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
