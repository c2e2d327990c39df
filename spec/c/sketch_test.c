/* The quantile sketch: its promised error, merging, the compact form, hostile bytes, and failing memory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../collectors/native/bucket.h"
#include "../../runtime/profile/sketch.h"
#include "allocation.h"
#include "si/si.h"

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Durations over many orders of magnitude, as real ones are. */
static uint64_t draw(uint64_t *seed) {
    double uniform = (double)(next_random(seed) >> 11) / 9007199254740992.0;
    return (uint64_t)exp(uniform * 25);
}

static void quantiles_are_within_the_promised_error(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    uint64_t seed = 42;
    si__sketch *sketch = si__sketch_new();
    for (int i = 0; i < COUNT; i++) {
        values[i] = draw(&seed);
        assert_int_equal(si__sketch_add(sketch, values[i], 1), 0);
    }
    qsort(values, COUNT, sizeof *values, by_value);
    assert_int_equal(si__sketch_count(sketch), COUNT);
    for (int i = 0; i <= 1000; i++) {
        double q = i / 1000.0;
        uint64_t rank = (uint64_t)ceil(q * COUNT);
        double exact = (double)values[rank ? rank - 1 : 0];
        double error = fabs(si__sketch_quantile(sketch, q) - exact);
        assert_true(error <= exact / 128 + 1e-9);
    }
    si__sketch_free(sketch);
}

static void small_values_and_extremes(void **state) {
    (void)state;
    si__sketch *sketch = si__sketch_new();
    assert_true(si__sketch_quantile(sketch, 0.5) == 0);
    for (uint64_t v = 0; v < 64; v++) si__sketch_add(sketch, v, 1);
    for (int v = 1; v <= 64; v++) assert_true(si__sketch_quantile(sketch, v / 64.0) == v - 1);
    assert_true(si__sketch_quantile(sketch, -1) == 0);
    assert_true(si__sketch_quantile(sketch, 7) == 63);
    assert_true(si__sketch_quantile(sketch, NAN) == 0);
    si__sketch_add(sketch, UINT64_MAX, 1);
    assert_true(si__sketch_quantile(sketch, 1) > 1e13);
    si__sketch_add(sketch, 5, UINT64_MAX); /* saturates */
    assert_true(si__sketch_count(sketch) == UINT64_MAX);
    assert_true(si__sketch_quantile(sketch, 0.9) == 5);
    si__sketch *more = si__sketch_new();
    si__sketch_add(more, 3, 9);
    assert_int_equal(si__sketch_merge(sketch, more), 0); /* there is nothing left to count with */
    assert_true(si__sketch_count(sketch) == UINT64_MAX);
    assert_int_equal(si__sketch_merge(more, sketch), 0);
    assert_true(si__sketch_count(more) == UINT64_MAX);
    size_t length = si__sketch_encode(more, NULL, 0);
    uint8_t *bytes = malloc(length);
    si__sketch_encode(more, bytes, length);
    assert_true(si__sketch_valid(bytes, length));
    free(bytes);
    si__sketch_free(more);
    si__sketch_free(sketch);
}

static si__sketch *copy_by_code(const si__sketch *sketch) {
    size_t length = si__sketch_encode(sketch, NULL, 0);
    uint8_t *bytes = malloc(length + 1);
    bytes[length] = 0xa5;
    assert_int_equal(si__sketch_encode(sketch, bytes, length), length);
    assert_int_equal(bytes[length], 0xa5);
    si__sketch *copy = si__sketch_decode(bytes, length);
    for (size_t cut = 1; cut < length; cut++) { /* cut off anywhere: another sketch, or none, never a crash */
        si__sketch *part = si__sketch_decode(bytes, cut);
        if (part) assert_true(si__sketch_count(part) < si__sketch_count(sketch));
        si__sketch_free(part);
    }
    free(bytes);
    return copy;
}

static void merging_equals_adding_to_one(void **state) {
    (void)state;
    si__sketch *all = si__sketch_new(), *half[2] = {si__sketch_new(), si__sketch_new()};
    uint64_t seed = 7;
    for (int i = 0; i < 3000; i++) {
        uint64_t v = draw(&seed);
        si__sketch_add(all, v, 1 + i % 3);
        si__sketch_add(half[i % 2], v, 1 + i % 3);
    }
    si__sketch *decoded = copy_by_code(half[1]);
    assert_non_null(decoded);
    assert_int_equal(si__sketch_merge(half[0], decoded), 0);
    assert_int_equal(si__sketch_count(half[0]), si__sketch_count(all));
    for (int i = 0; i <= 100; i++)
        assert_true(si__sketch_quantile(half[0], i / 100.0) == si__sketch_quantile(all, i / 100.0));
    size_t a = si__sketch_encode(half[0], NULL, 0), b = si__sketch_encode(all, NULL, 0);
    assert_int_equal(a, b);
    uint8_t *bytes[2] = {malloc(a), malloc(b)}; /* bucket for bucket */
    si__sketch_encode(half[0], bytes[0], a);
    si__sketch_encode(all, bytes[1], b);
    assert_memory_equal(bytes[0], bytes[1], a);
    assert_true(si__sketch_valid(bytes[0], a));
    assert_int_equal(si__sketch_merge_encoded(all, bytes[0], a), 0);
    assert_int_equal(si__sketch_count(all), 2 * si__sketch_count(half[0]));
    assert_int_equal(si__sketch_buckets(all), si__sketch_buckets(half[0]));
    free(bytes[0]);
    free(bytes[1]);
    si__sketch_free(all);
    si__sketch_free(half[0]);
    si__sketch_free(half[1]);
    si__sketch_free(decoded);
}

static void refuses_malformed_bytes(void **state) {
    (void)state;
    static const struct {
        uint8_t bytes[24];
        size_t length;
    } bad[] = {
        {{5}, 1},                                                                 /* no count */
        {{5, 0}, 2},                                                              /* count of nothing */
        {{5, 1, 0, 1}, 4},                                                        /* the same bucket again */
        {{0xff, 0xff, 0x7f, 1}, 4},                                               /* no such bucket */
        {{0xbf, 0x13, 1, 1, 1}, 5},                                               /* last bucket, then one more */
        {{5, 0x81, 0}, 3},                                                        /* padded varint */
        {{5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}, 11},       /* more than 64 bits */
        {{5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1}, 13}, /* total over 64 bits */
    };
    si__sketch *empty = si__sketch_decode(NULL, 0);
    assert_non_null(empty);
    assert_true(si__sketch_valid(NULL, 0));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(si__sketch_decode(bad[i].bytes, bad[i].length));
        assert_false(si__sketch_valid(bad[i].bytes, bad[i].length));
        assert_int_equal(si__sketch_merge_encoded(empty, bad[i].bytes, bad[i].length), SI_EFORMAT);
    }
    assert_int_equal(si__sketch_count(empty), 0);
    si__sketch_free(empty);
    assert_int_equal(SI__BUCKET_COUNT, 2496); /* 0xbf 0x13 above is 2495 */
}

static int build(void) {
    si__sketch *a = si__sketch_new(), *b = si__sketch_new();
    int whole = a && b;
    for (uint64_t i = 0; whole && i < 100; i++)
        whole = si__sketch_add(a, i * 1000, 1) == 0 && si__sketch_add(b, i * 777, 1) == 0;
    if (whole) {
        whole = si__sketch_merge(a, b) == 0;
        assert_int_equal(si__sketch_count(a), whole ? 200 : 100);
    }
    if (whole) {
        uint8_t bytes[4096];
        si__sketch *copy = si__sketch_decode(bytes, si__sketch_encode(a, bytes, sizeof bytes));
        whole = copy != NULL;
        si__sketch_free(copy);
    }
    si__sketch_free(a);
    si__sketch_free(b);
    return whole;
}

static void survives_every_failing_allocation(void **state) {
    (void)state;
    assert_true(fail_every_allocation(build) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_the_promised_error),
        cmocka_unit_test(small_values_and_extremes),
        cmocka_unit_test(merging_equals_adding_to_one),
        cmocka_unit_test(refuses_malformed_bytes),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
