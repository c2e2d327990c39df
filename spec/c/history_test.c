/* History: bounds, eviction, late points, a clock that is set back, and the file that survives a restart or is refused.
 */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/history/history.h"
#include "../../runtime/history/series.h"
#include "si/si.h"

#define MINUTE 60000
#define T0 ((int64_t)1700000000000)

static void count_series(void *arg, const char *name, si__series *series) {
    assert_string_equal(name, si__series_name(series));
    ++*(size_t *)arg;
}

static void kinds_are_apart(void **state) {
    (void)state;
    si__history *h = si__history_new();
    assert_int_equal(si__history_add(h, SI__SERIES_METRIC, "cpu", T0, 1), 0);
    assert_int_equal(si__history_add(h, SI__SERIES_PROFILE, "cpu", T0, 2), 0);
    assert_int_equal(si__history_count(h), 2);
    assert_true(si__series_last(si__history_find(h, SI__SERIES_METRIC, "cpu")) == 1);
    assert_true(si__series_last(si__history_find(h, SI__SERIES_PROFILE, "cpu")) == 2);
    assert_null(si__history_find(h, SI__SERIES_SEGMENT, "cpu"));
    size_t n = 0;
    si__history_each(h, SI__SERIES_PROFILE, count_series, &n);
    assert_int_equal(n, 1);
    si__history_free(h);
}

static void bad_points_are_refused(void **state) {
    (void)state;
    si__history *h = si__history_new();
    assert_int_equal(si__history_add(h, SI__SERIES_METRIC, "", T0, 1), SI_EINVAL);
    assert_int_equal(si__history_add(h, SI__SERIES_METRIC, NULL, T0, 1), SI_EINVAL);
    assert_int_equal(si__history_add(h, SI__SERIES_METRIC, "x", T0, NAN), SI_EINVAL);
    assert_int_equal(si__history_add(h, SI__SERIES_METRIC, "x", T0, INFINITY), SI_EINVAL);
    assert_int_equal(si__history_count(h), 0);
    si__history_free(h);
}

static void long_names_are_cut(void **state) {
    (void)state;
    char name[2000];
    si__history *h = si__history_new();
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(si__history_add(h, SI__SERIES_CALLSITE, name, T0, 1), 0);
    si__series *s = si__history_find(h, SI__SERIES_CALLSITE, name);
    assert_non_null(s);
    assert_int_equal(strlen(si__series_name(s)), SI__SERIES_NAME_BYTES - 1);
    si__history_free(h);
}

static void least_recently_fed_goes_first(void **state) {
    (void)state;
    char name[32];
    si__history *h = si__history_new();
    si__history_limit(h, 100, 1 << 30);
    si__history_add(h, SI__SERIES_METRIC, "metric", T0, 1);
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "cpu|f%d", i);
        si__history_add(h, SI__SERIES_CALLSITE, name, T0 + i, i);
        si__history_add(h, SI__SERIES_CALLSITE, "cpu|f0", T0 + i, i); /* kept alive */
    }
    assert_int_equal(si__history_count(h), 100);
    assert_int_equal(si__history_evicted(h), 401);
    assert_non_null(si__history_find(h, SI__SERIES_METRIC, "metric")); /* the flood pays for itself */
    assert_non_null(si__history_find(h, SI__SERIES_CALLSITE, "cpu|f0"));
    assert_null(si__history_find(h, SI__SERIES_CALLSITE, "cpu|f1"));
    assert_non_null(si__history_find(h, SI__SERIES_CALLSITE, "cpu|f499"));
    si__history_free(h);
}

static void bytes_are_bounded(void **state) {
    (void)state;
    char name[32];
    si__history *h = si__history_new();
    si__history_limit(h, 10000, 200000);
    for (int minute = 0; minute < 2000; minute++)
        for (int i = 0; i < 20; i++) {
            snprintf(name, sizeof name, "cpu|f%d", i);
            assert_int_equal(si__history_add(h, SI__SERIES_CALLSITE, name, T0 + minute * (int64_t)MINUTE, i), 0);
            assert_true(si__history_bytes(h) <= 200000);
        }
    assert_true(si__history_evicted(h) > 0);
    assert_true(si__history_count(h) > 5);
    si__history_free(h);
}

static void a_week_of_one_series_is_small(void **state) {
    (void)state;
    si__history *h = si__history_new();
    for (int minute = 0; minute < 7 * 1440; minute++)
        si__history_add(h, SI__SERIES_METRIC, "x", T0 + minute * (int64_t)MINUTE, minute);
    assert_true(si__history_bytes(h) < 32 * 1024);
    si__history_free(h);
}

static void late_points_are_dropped(void **state) {
    (void)state;
    si__history *h = si__history_new();
    si__history_add(h, SI__SERIES_METRIC, "x", T0 + 5000, 1);
    assert_int_equal(si__history_add(h, SI__SERIES_METRIC, "x", T0, 9), 0);
    assert_int_equal(si__history_dropped(h), 1);
    assert_true(si__series_last(si__history_find(h, SI__SERIES_METRIC, "x")) == 1);
    si__history_free(h);
}

static void a_clock_set_back_keeps_the_baseline(void **state) {
    (void)state;
    si__history *h = si__history_new();
    int64_t t = T0;
    for (int minute = 0; minute < 300; minute++, t += MINUTE) si__history_add(h, SI__SERIES_METRIC, "x", t, 10);
    t -= 3 * 3600 * (int64_t)1000;
    for (int minute = 0; minute < 3; minute++, t += MINUTE)
        assert_int_equal(si__history_add(h, SI__SERIES_METRIC, "x", t, 20), 0);
    si__series *s = si__history_find(h, SI__SERIES_METRIC, "x");
    si__baseline b;
    si__series_baseline(s, t, 24 * 3600 * (int64_t)1000, 60, 0, &b);
    assert_true(b.n > 250);
    assert_true(b.median == 10);
    assert_true(si__series_last(s) == 20);
    assert_true(si__series_window(s, SI__STAT_MAX, t, 10 * MINUTE, 0) == 20);
    assert_int_equal(si__history_dropped(h), 0);
    si__history_free(h);
}

/* ---- On disk ----------------------------------------------------------------------------------------------------- */

static char directory[64];
static char path[128];

static int make_directory(void **state) {
    (void)state;
    strcpy(directory, "/tmp/si-history-XXXXXX");
    if (!mkdtemp(directory)) return -1;
    snprintf(path, sizeof path, "%s/history", directory);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    char temporary[160];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    unlink(temporary);
    unlink(path);
    return rmdir(directory);
}

static si__history *filled(void) {
    char name[32];
    si__history *h = si__history_new();
    for (int minute = 0; minute < 2000; minute++) {
        si__history_add(h, SI__SERIES_METRIC, "process.cpu.utilization", T0 + minute * (int64_t)MINUTE,
                        sin(minute / 50.0));
        if (minute % 7 == 0) {
            snprintf(name, sizeof name, "checkout|p%d", minute % 100);
            si__history_add(h, SI__SERIES_SEGMENT, name, T0 + minute * (int64_t)MINUTE, minute);
        }
    }
    si__history_add(h, SI__SERIES_ERROR, "db", T0, 3);
    return h;
}

static void what_was_saved_comes_back(void **state) {
    (void)state;
    si__history *a = filled(), *b = si__history_new();
    int64_t now = T0 + 2000 * (int64_t)MINUTE;
    assert_int_equal(si__history_save(a, path), 0);
    assert_int_equal(si__history_load(b, path), 0);
    assert_int_equal(si__history_count(a), si__history_count(b));
    si__series *x = si__history_find(a, SI__SERIES_METRIC, "process.cpu.utilization");
    si__series *y = si__history_find(b, SI__SERIES_METRIC, "process.cpu.utilization");
    int64_t windows[] = {5 * MINUTE, 59 * MINUTE, 600 * MINUTE, 1440 * MINUTE, 7 * 1440 * (int64_t)MINUTE};
    for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
        for (int stat = SI__STAT_AVG; stat <= SI__STAT_PERCENTILE; stat++) {
            double u = si__series_window(x, (si__statistic)stat, now, windows[i], 95);
            double v = si__series_window(y, (si__statistic)stat, now, windows[i], 95);
            assert_true(u == v || (isnan(u) && isnan(v)));
        }
    si__baseline p, q;
    si__series_baseline(x, now, 86400000, 60, 0, &p);
    si__series_baseline(y, now, 86400000, 60, 0, &q);
    assert_true(p.median == q.median && p.mad == q.mad && p.p98 == q.p98 && p.n == q.n && p.same_hour == q.same_hour);
    /* feeding goes on as if nothing had happened */
    si__history_add(a, SI__SERIES_METRIC, "process.cpu.utilization", now, 5);
    si__history_add(b, SI__SERIES_METRIC, "process.cpu.utilization", now, 5);
    assert_true(si__series_window(x, SI__STAT_AVG, now, 86400000, 0) ==
                si__series_window(y, SI__STAT_AVG, now, 86400000, 0));
    si__history_free(a);
    si__history_free(b);
}

static void missing_file_is_told_apart(void **state) {
    (void)state;
    si__history *h = si__history_new();
    assert_int_equal(si__history_load(h, "/nonexistent/history"), SI_ENOTFOUND);
    assert_int_equal(si__history_save(h, "/nonexistent/history"), SI_EIO);
    si__history_free(h);
}

/* Every single flipped bit of a small file, and every truncation: refused, and nothing is taken over. */
static void damage_is_refused(void **state) {
    (void)state;
    uint8_t *data;
    size_t length;
    si__history *a = si__history_new();
    for (int i = 0; i < 12; i++) si__history_add(a, SI__SERIES_METRIC, "x", T0 + i * (int64_t)MINUTE, i);
    assert_int_equal(si__history_encode(a, &data, &length), 0);
    for (size_t bit = 0; bit < length * 8; bit++) {
        si__history *b = si__history_new();
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(si__history_decode(b, data, length), SI_EFORMAT);
        assert_int_equal(si__history_count(b), 0);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        si__history_free(b);
    }
    for (size_t cut = 0; cut < length; cut++) {
        si__history *b = si__history_new();
        assert_int_equal(si__history_decode(b, data, cut), SI_EFORMAT);
        si__history_free(b);
    }
    free(data);
    si__history_free(a);
}

static uint32_t crc32c(const uint8_t *data, size_t length) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
    return ~crc;
}

/* Random damage under a checksum that is right again: a hostile file. It may be refused or taken, but must do no harm.
 */
static void hostile_files_do_no_harm(void **state) {
    (void)state;
    uint8_t *data;
    size_t length;
    si__history *a = si__history_new();
    for (int i = 0; i < 40; i++) {
        si__history_add(a, SI__SERIES_METRIC, "x", T0 + i * (int64_t)MINUTE, i);
        si__history_add(a, SI__SERIES_CALLSITE, "cpu|f", T0 + i * (int64_t)MINUTE, i);
    }
    assert_int_equal(si__history_encode(a, &data, &length), 0);
    uint8_t *copy = malloc(length);
    unsigned seed = 1;
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xE3069283u);
    for (int round = 0; round < 5000; round++) {
        memcpy(copy, data, length);
        for (int i = 0; i < 1 + round % 4; i++)
            copy[8 + (size_t)rand_r(&seed) % (length - 12)] = (uint8_t)rand_r(&seed);
        uint32_t crc = crc32c(copy, length - 4);
        memcpy(copy + length - 4, &crc, 4);
        si__history *b = si__history_new();
        int status = si__history_decode(b, copy, length);
        assert_true(status == 0 || status == SI_EFORMAT);
        if (status == 0) {
            si__series *s = si__history_find(b, SI__SERIES_METRIC, "x");
            if (s) {
                si__trend trend;
                si__series_window(s, SI__STAT_AVG, T0 + 3600000, 86400000, 0);
                si__series_theil_sen(s, T0 + 3600000, 86400000, &trend);
            }
            si__history_add(b, SI__SERIES_METRIC, "x", T0 + 100 * (int64_t)MINUTE, 1);
            si__history_add(b, SI__SERIES_CALLSITE, "cpu|f", T0 - 100 * (int64_t)MINUTE, 1);
        }
        si__history_free(b);
    }
    free(copy);
    free(data);
    si__history_free(a);
}

static void a_failed_save_leaves_the_old_file(void **state) {
    (void)state;
    char temporary[160];
    si__history *a = filled(), *b = si__history_new();
    assert_int_equal(si__history_save(a, path), 0);
    snprintf(temporary, sizeof temporary, "%s.new", path);
    assert_int_equal(mkdir(temporary, 0700), 0); /* the temporary file cannot be made */
    assert_int_equal(si__history_save(a, path), SI_EIO);
    assert_int_equal(rmdir(temporary), 0);
    assert_int_equal(si__history_load(b, path), 0);
    assert_int_equal(si__history_count(b), si__history_count(a));
    si__history_free(a);
    si__history_free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_apart),
        cmocka_unit_test(bad_points_are_refused),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(least_recently_fed_goes_first),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(a_week_of_one_series_is_small),
        cmocka_unit_test(late_points_are_dropped),
        cmocka_unit_test(a_clock_set_back_keeps_the_baseline),
        cmocka_unit_test_setup_teardown(what_was_saved_comes_back, make_directory, remove_directory),
        cmocka_unit_test(missing_file_is_told_apart),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(hostile_files_do_no_harm),
        cmocka_unit_test_setup_teardown(a_failed_save_leaves_the_old_file, make_directory, remove_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
