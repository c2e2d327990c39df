/* Window statistics against plain recomputation over the same points, and against values worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/history/history.h"
#include "../../runtime/history/select.h"
#include "../../runtime/history/series.h"

#define MINUTE ((int64_t)60000)
#define HOUR (60 * MINUTE)
#define T0 (((int64_t)1700000000000 / HOUR) * HOUR) /* a full hour, and a full minute */

static si__series *fed(si__history *h, int64_t from_ms, int64_t every_ms, size_t n, double (*value)(size_t i)) {
    for (size_t i = 0; i < n; i++)
        si__history_add(h, SI__SERIES_METRIC, "x", from_ms + (int64_t)i * every_ms, value(i));
    return si__history_find(h, SI__SERIES_METRIC, "x");
}

static double wavy(size_t i) {
    return 50 + 20 * sin((double)i * 0.7) + (double)(i * 7919 % 13);
}
static double ramp(size_t i) {
    return (double)i;
}
static double flat(size_t i) {
    (void)i;
    return 5;
}
static double rare(size_t i) {
    return i % 50 == 49 ? 100 : 10 + (double)(i % 3);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void near(double got, double wanted, double tolerance) {
    if (!(fabs(got - wanted) <= tolerance)) {
        print_error("got %.12g, wanted %.12g\n", got, wanted);
        fail();
    }
}

static void selection_equals_sorting(void **state) {
    (void)state;
    unsigned seed = 7;
    for (size_t n = 1; n < 200; n++) {
        double a[200], sorted[200], b[200];
        for (size_t i = 0; i < n; i++) a[i] = rand_r(&seed) % (n < 50 ? 5 : 1000);
        memcpy(sorted, a, sizeof a);
        qsort(sorted, n, sizeof *sorted, ascending);
        for (size_t rank = 0; rank < n; rank += 1 + n / 7) {
            memcpy(b, a, sizeof a);
            assert_true(si__select_nth(b, n, rank) == sorted[rank]);
        }
        memcpy(b, a, sizeof a);
        assert_true(si__select_median(b, n) == (n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2));
        memcpy(b, a, sizeof a);
        assert_true(si__select_percentile(b, n, 95) == sorted[(size_t)ceil(0.95 * (double)n) - 1]);
    }
}

/* Every statistic of recent windows, asked every second while points arrive: cached answers must never be stale. */
static void recent_windows_equal_recomputation(void **state) {
    (void)state;
    si__history *h = si__history_new();
    int64_t windows[] = {10000, 5 * MINUTE, 30 * MINUTE};
    double values[400];
    size_t n = 0;
    for (int64_t second = 0; second < 3600; second++) {
        int64_t now = T0 + second * 1000;
        if (second % 10 == 0) si__history_add(h, SI__SERIES_METRIC, "x", now, values[n] = wavy(n)), n++;
        si__series *s = si__history_find(h, SI__SERIES_METRIC, "x");
        int64_t window = windows[second % 3];
        double sum = 0, low = INFINITY, high = -INFINITY, sorted[400];
        size_t count = 0, first = n;
        for (size_t i = 0; i < n; i++) {
            if (T0 + (int64_t)i * 10000 <= now - window) continue;
            if (first == n) first = i;
            sum += values[i];
            low = fmin(low, values[i]);
            high = fmax(high, values[i]);
            sorted[count++] = values[i];
        }
        assert_true(si__series_window(s, SI__STAT_COUNT, now, window, 0) == (double)count);
        if (count == 0) {
            assert_true(isnan(si__series_window(s, SI__STAT_AVG, now, window, 0)));
            continue;
        }
        qsort(sorted, count, sizeof *sorted, ascending);
        near(si__series_window(s, SI__STAT_AVG, now, window, 0), sum / (double)count, 1e-9);
        near(si__series_window(s, SI__STAT_SUM, now, window, 0), sum, 1e-9);
        assert_true(si__series_window(s, SI__STAT_MIN, now, window, 0) == low);
        assert_true(si__series_window(s, SI__STAT_MAX, now, window, 0) == high);
        near(si__series_window(s, SI__STAT_DELTA, now, window, 0), values[n - 1] - values[first], 1e-9);
        assert_true(si__series_window(s, SI__STAT_PERCENTILE, now, window, 90) ==
                    sorted[(size_t)ceil(0.9 * (double)count) - 1]);
    }
    si__history_free(h);
}

static void rate_is_per_second(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, 10000, 60, ramp); /* one more every 10 s */
    near(si__series_window(s, SI__STAT_RATE, T0 + 590000, 5 * MINUTE, 0), 0.1, 1e-12);
    assert_true(isnan(si__series_window(s, SI__STAT_RATE, T0 + 590000, 1000, 0))); /* one point has no rate */
    si__history_free(h);
}

static void an_empty_window_is_not_a_number(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, 10000, 6, flat);
    int64_t later = T0 + 10 * HOUR;
    assert_true(isnan(si__series_window(s, SI__STAT_AVG, later, 5 * MINUTE, 0)));
    assert_true(isnan(si__series_window(s, SI__STAT_MAX, later, 5 * MINUTE, 0)));
    assert_true(isnan(si__series_window(s, SI__STAT_PERCENTILE, later, 5 * MINUTE, 50)));
    assert_true(si__series_window(s, SI__STAT_SUM, later, 5 * MINUTE, 0) == 0);
    assert_true(si__series_window(s, SI__STAT_COUNT, later, 5 * MINUTE, 0) == 0);
    assert_int_equal(si__series_age_ms(s, later), 10 * HOUR - 50000);
    assert_int_equal(si__series_age_ms(s, T0), 0); /* a point from the future is not old */
    si__history_free(h);
}

/* Beyond the raw ring: minutes for a day, ten minutes for a week. */
static void long_windows_come_from_coarser_rings(void **state) {
    (void)state;
    si__history *h = si__history_new();
    size_t n = 8 * 24 * 60;
    si__series *s = fed(h, T0, MINUTE, n, wavy);
    int64_t now = T0 + (int64_t)(n - 1) * MINUTE;
    struct {
        int64_t window;
        size_t points;
        double slack;
    } cases[] = {{12 * HOUR, 720, 0.05}, {24 * HOUR, 1440, 0.05}, {72 * HOUR, 4320, 0.2}};
    for (size_t c = 0; c < 3; c++) {
        double sum = 0, high = -INFINITY;
        for (size_t i = n - cases[c].points; i < n; i++) {
            sum += wavy(i);
            high = fmax(high, wavy(i));
        }
        near(si__series_window(s, SI__STAT_AVG, now, cases[c].window, 0), sum / (double)cases[c].points,
             cases[c].slack);
        near(si__series_window(s, SI__STAT_MAX, now, cases[c].window, 0), high, 0.5);
        near(si__series_window(s, SI__STAT_COUNT, now, cases[c].window, 0), (double)cases[c].points, 10);
    }
    /* longer than what is kept: all that is kept */
    assert_true(si__series_window(s, SI__STAT_COUNT, now, 30 * 24 * HOUR, 0) <= 7 * 24 * 60);
    si__history_free(h);
}

static void fast_points_overflow_into_minutes(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, 1000, 7200, ramp); /* every second for two hours */
    int64_t now = T0 + 7199 * 1000;
    near(si__series_window(s, SI__STAT_AVG, now, 5 * MINUTE, 0), 7199 - 149.5, 1e-9); /* exact: from the points */
    near(si__series_window(s, SI__STAT_AVG, now, 40 * MINUTE, 0), 7199 - 1199.5, 61); /* from minutes: to a minute */
    near(si__series_window(s, SI__STAT_MAX, now, HOUR, 0), 7199, 1);
    si__history_free(h);
}

static void a_long_gap_is_a_gap(void **state) {
    (void)state;
    si__history *h = si__history_new();
    fed(h, T0, MINUTE, 600, flat);
    int64_t later = T0 + 20 * 24 * HOUR; /* longer than every ring */
    for (int i = 0; i < 10; i++) si__history_add(h, SI__SERIES_METRIC, "x", later + i * MINUTE, 7);
    si__series *s = si__history_find(h, SI__SERIES_METRIC, "x");
    int64_t now = later + 9 * MINUTE;
    near(si__series_window(s, SI__STAT_AVG, now, 24 * HOUR, 0), 7, 1e-6);
    assert_true(si__series_window(s, SI__STAT_COUNT, now, 24 * HOUR, 0) == 10);
    assert_true(si__series_window(s, SI__STAT_MIN, now, 7 * 24 * HOUR, 0) == 7);
    si__history_free(h);
}

static void baseline_is_what_is_usual(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, MINUTE, 1000, rare);
    int64_t now = T0 + 999 * MINUTE;
    si__baseline b;
    si__series_baseline(s, now, 24 * HOUR, 60, 0, &b);
    assert_int_equal(b.n, 985); /* without the newest 15 minutes */
    assert_true(b.median == 11);
    assert_true(b.mad == 1);
    assert_true(b.p98 == 12);
    near(b.scale, 1.4826, 1e-9); /* above 5 % of the median */
    near(si__baseline_z(&b, 11 + 2 * 1.4826), 2, 1e-9);
    si__series_baseline(s, now, 24 * HOUR, 60, 10, &b);
    assert_true(b.scale == 10); /* the floor */
    si__series_baseline(s, now, 24 * HOUR, 986, 0, &b);
    assert_true(isnan(b.median) && isnan(b.p98) && isnan(si__baseline_z(&b, 100))); /* too few points */
    si__history_free(h);
}

static void a_flat_series_has_a_floor(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, MINUTE, 200, flat);
    si__baseline b;
    si__series_baseline(s, T0 + 199 * MINUTE, 24 * HOUR, 60, 0, &b);
    near(b.scale, 0.25, 1e-9); /* 5 % of the median: no deviation is infinitely unlikely */
    near(si__baseline_z(&b, 6), 4, 1e-9);
    si__baseline zero = {.median = 0, .scale = 0};
    assert_true(si__baseline_z(&zero, 0) == 0);
    assert_true(isinf(si__baseline_z(&zero, 1)));
    si__history_free(h);
}

/* Recomputing is skipped within a minute, but a new minute must be seen. */
static void baseline_follows_time(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, MINUTE, 100, flat);
    si__baseline b;
    si__series_baseline(s, T0 + 99 * MINUTE, 24 * HOUR, 60, 0, &b);
    assert_int_equal(b.n, 85);
    for (size_t i = 100; i < 130; i++) si__history_add(h, SI__SERIES_METRIC, "x", T0 + (int64_t)i * MINUTE, 5);
    si__series_baseline(s, T0 + 129 * MINUTE, 24 * HOUR, 60, 0, &b);
    assert_int_equal(b.n, 115);
    si__history_free(h);
}

static double daily(size_t i) {
    return i / 60 % 24 == 3 ? 90 : 10;
} /* busy from 3 to 4 o'clock, every day */

static double daily_spikes(size_t i) {
    return i / 60 % 24 == 3 && i % 10 == 4 ? 90 : 10;
}

static void the_same_hour_yesterday(void **state) {
    (void)state;
    si__history *h = si__history_new();
    size_t n = 24 * 60 + 3 * 60 + 30; /* 3:30 on the second day */
    si__series *s = fed(h, T0, MINUTE, n, daily);
    si__baseline b;
    si__series_baseline(s, T0 + (int64_t)n * MINUTE, 24 * HOUR, 60, 0, &b);
    assert_true(b.median == 10);
    assert_true(b.same_hour == 90);
    assert_true(b.same_hour_held == 90);
    si__history_free(h);
    h = si__history_new();
    s = fed(h, T0, MINUTE, n, daily_spikes); /* a minute in ten is high: that is held by nobody */
    si__series_baseline(s, T0 + (int64_t)n * MINUTE, 24 * HOUR, 60, 0, &b);
    assert_true(b.same_hour_held == 10);
    si__series_baseline(s, T0 + (int64_t)(n + 30 * 24 * 60) * MINUTE, 24 * HOUR, 60, 0, &b);
    assert_true(isnan(b.same_hour) && isnan(b.same_hour_held)); /* nothing is known of that hour */
    si__history_free(h);
}

static double outlier_ramp(size_t i) {
    return i % 17 == 3 ? 1000 : 100 + (double)i / 60.0 * 6;
} /* 6 an hour, with outliers */

static void trend_ignores_outliers(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__series *s = fed(h, T0, MINUTE, 360, outlier_ramp);
    si__trend trend;
    si__series_theil_sen(s, T0 + 359 * MINUTE, 6 * HOUR, &trend);
    assert_int_equal(trend.n, 45); /* stretches of 8 minutes */
    assert_true(trend.slope_per_hour > 4 && trend.slope_per_hour < 9);
    si__history_free(h);

    h = si__history_new();
    s = fed(h, T0, MINUTE, 360, ramp);
    si__series_theil_sen(s, T0 + 359 * MINUTE, 6 * HOUR, &trend);
    near(trend.slope_per_hour, 60, 0.5);
    near(trend.tau, 1, 1e-9);
    si__history_free(h);

    h = si__history_new();
    s = fed(h, T0, MINUTE, 360, flat);
    si__series_theil_sen(s, T0 + 359 * MINUTE, 6 * HOUR, &trend);
    near(trend.slope_per_hour, 0, 1e-9);
    near(trend.tau, 0, 1e-9);
    si__series_theil_sen(s, T0 + 20 * HOUR, 6 * HOUR, &trend); /* nothing in the window */
    assert_true(isnan(trend.slope_per_hour) && isnan(trend.tau));
    si__history_free(h);
}

/* Moving on minute by minute, with gaps, late points and equal values, gives what sorting everything anew gives. */
static void a_moving_baseline_equals_one_from_scratch(void **state) {
    (void)state;
    si__history *moving = si__history_new(), *fresh = si__history_new();
    unsigned x = 1;
    for (int minute = 0; minute < 3000; minute++) {
        x = x * 1664525u + 1013904223u;
        int gap = minute > 1600 && minute < 1640, points = gap || x % 17 == 0 ? 0 : 1 + (x >> 8) % 3;
        for (int i = 0; i < points; i++) {
            double value = (double)((x >> 16) % (minute < 400 ? 3 : 50)) + i;
            int64_t at = T0 + minute * MINUTE + i * 7000;
            si__history_add(moving, SI__SERIES_METRIC, "x", at, value);
            si__history_add(fresh, SI__SERIES_METRIC, "x", at, value);
        }
        if (minute < 20 || (minute > 2000 && minute < 2050)) continue; /* not looked at for longer than is kept */
        int64_t now = T0 + minute * MINUTE + 30000;
        si__baseline a, b;
        si__series *s = si__history_find(fresh, SI__SERIES_METRIC, "x");
        si__series_forget(s);
        si__series_baseline(si__history_find(moving, SI__SERIES_METRIC, "x"), now, 24 * HOUR, 5, 0.1, &a);
        si__series_baseline(s, now, 24 * HOUR, 5, 0.1, &b);
        assert_int_equal(a.n, b.n);
        if (isnan(b.median)) continue;
        assert_true(a.median == b.median && a.mad == b.mad && a.p98 == b.p98 && a.scale == b.scale);
        si__series_baseline(s, now, 23 * HOUR, 5, 0.1, &b); /* a second window: by selection, without the order */
        si__series_baseline(s, now, 12 * HOUR, 5, 0.1, &a);
        assert_true(a.n <= b.n);
    }
    si__history_free(moving);
    si__history_free(fresh);
}

/* The order against selection, which knows nothing of it: the first window of a series has the order, the second not.
 */
static void the_order_equals_selection(void **state) {
    (void)state;
    for (unsigned n = 20; n < 200; n += 3) {
        si__history *a = si__history_new(), *b = si__history_new();
        unsigned x = n;
        for (unsigned i = 0; i < n; i++) {
            x = x * 1664525u + 1013904223u;
            double value = (x >> 16) % (n % 2 ? 7 : 1000);
            si__history_add(a, SI__SERIES_METRIC, "x", T0 + i * MINUTE, value);
            si__history_add(b, SI__SERIES_METRIC, "x", T0 + i * MINUTE, value);
        }
        si__baseline p, q;
        int64_t now = T0 + n * MINUTE;
        si__series *s = si__history_find(b, SI__SERIES_METRIC, "x");
        si__series_baseline(s, now, HOUR, 1, 0, &q); /* takes the order */
        si__series_baseline(s, now, 24 * HOUR, 1, 0, &q);
        si__series_baseline(si__history_find(a, SI__SERIES_METRIC, "x"), now, 24 * HOUR, 1, 0, &p);
        assert_int_equal(p.n, q.n);
        assert_true(p.n > 0);
        assert_true(p.median == q.median && p.mad == q.mad && p.p98 == q.p98);
        si__history_free(a);
        si__history_free(b);
    }
}

static void median_of_the_last_few(void **state) {
    (void)state;
    si__history *h = si__history_new();
    double values[] = {1, 1, 1, 9, 2, 8};
    for (size_t i = 0; i < 6; i++) si__history_add(h, SI__SERIES_METRIC, "x", T0 + (int64_t)i, values[i]);
    si__series *s = si__history_find(h, SI__SERIES_METRIC, "x");
    assert_true(si__series_median_last(s, 3) == 8);
    assert_true(si__series_median_last(s, 4) == 5);
    assert_true(si__series_median_last(s, 100) == 1.5);
    si__history_free(h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selection_equals_sorting),
        cmocka_unit_test(recent_windows_equal_recomputation),
        cmocka_unit_test(rate_is_per_second),
        cmocka_unit_test(an_empty_window_is_not_a_number),
        cmocka_unit_test(long_windows_come_from_coarser_rings),
        cmocka_unit_test(fast_points_overflow_into_minutes),
        cmocka_unit_test(a_long_gap_is_a_gap),
        cmocka_unit_test(baseline_is_what_is_usual),
        cmocka_unit_test(a_flat_series_has_a_floor),
        cmocka_unit_test(baseline_follows_time),
        cmocka_unit_test(the_same_hour_yesterday),
        cmocka_unit_test(trend_ignores_outliers),
        cmocka_unit_test(a_moving_baseline_equals_one_from_scratch),
        cmocka_unit_test(the_order_equals_selection),
        cmocka_unit_test(median_of_the_last_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
