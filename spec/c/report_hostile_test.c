/*
 * Reports made by somebody who means harm: every one is refused or read harmlessly, within bounds; and no allocation
 * that fails leads to a crash or to half a report. To be run under sanitizers as well.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <msgpack/pack.h>
#include <msgpack/sbuffer.h>
#include <si/si.h>

#include "../../runtime/report/msgpack_reader.h"
#include "alloc_fail.h"
#include "report_sample.h"

static int decode(const void *bytes, size_t length, char error[200]) {
    si__report *report = NULL;
    /* From a block of just that size, so that a sanitizer sees a read past the end. */
    uint8_t *copy = malloc(length ? length : 1);
    if (length) memcpy(copy, bytes, length);
    int status = si__report_decode(copy, length, &report, error, 200);
    free(copy);
    assert_true(status == 0 ? report != NULL : report == NULL && error[0] != '\0');
    si__report_free(report);
    return status;
}

static void sample_bytes(unsigned stacks, uint8_t **bytes, size_t *length) {
    si__report *report = sample_report(stacks);
    assert_int_equal(si__report_encode(report, bytes, length), 0);
    si__report_free(report);
}

static void test_no_prefix_is_a_report(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    char error[200];
    sample_bytes(5, &bytes, &length);
    for (size_t cut = 0; cut < length; cut++) assert_int_equal(decode(bytes, cut, error), SI_EFORMAT);
    free(bytes);
}

static void test_changed_bytes_do_no_harm(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    char error[200];
    uint64_t random = 99;
    unsigned refused = 0;
    sample_bytes(5, &bytes, &length);
    for (int round = 0; round < 6000; round++) {
        uint8_t old[4];
        size_t at[4];
        for (int i = 0; i < 4; i++) {
            at[i] = sample_random(&random) % length;
            old[i] = bytes[at[i]];
            bytes[at[i]] = (uint8_t)sample_random(&random);
        }
        refused += decode(bytes, length, error) != 0;
        for (int i = 3; i >= 0; i--) bytes[at[i]] = old[i];
    }
    assert_true(refused > 1000);
    assert_int_equal(decode(bytes, length, error), 0);
    free(bytes);
}

static void test_huge_counts_are_refused_at_once(void **state) {
    (void)state;
    static const char *const bytes[] = {"\xdd\xff\xff\xff\xff",
                                        "\xdf\xff\xff\xff\xff",
                                        "\xdb\xff\xff\xff\xff",
                                        "\xc6\xff\xff\xff\xff",
                                        "\xdf\x80\x00\x00\x00",
                                        "\xc9\xff\xff\xff\xff",
                                        "\x81\xa7strings\xdd\xff\xff\xff\xff"};
    static const size_t lengths[] = {5, 5, 5, 5, 5, 5, 14};
    char error[200];
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        assert_int_equal(decode(bytes[i], lengths[i], error), SI_EFORMAT);
}

static void test_deep_nesting_is_refused(void **state) {
    (void)state;
    char error[200], *deep = malloc(1 << 20);
    memcpy(deep, "\x81\xa1x", 3);
    memset(deep + 3, 0x91, (1 << 20) - 3);
    deep[(1 << 20) - 1] = 0;
    assert_int_equal(decode(deep, 1 << 20, error), SI_ELIMIT);
    free(deep);
    char shallow[] =
        "\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01"; /* 16 levels: skipped */
    assert_int_equal(decode(shallow, sizeof shallow - 1, error), SI_EFORMAT);
    assert_string_equal(error, "version: is missing");
}

static void test_reserved_bytes_are_refused(void **state) {
    (void)state;
    char error[200];
    assert_int_equal(decode("\x81\xa1x\xc1", 4, error), SI_EFORMAT);
    assert_int_equal(decode("\xc0", 1, error), SI_EFORMAT);
    assert_int_equal(decode("", 0, error), SI_EFORMAT);
}

static void test_a_reader_knows_every_type(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0xd0, 0x80, 0xd1, 0x80, 0x00, 0xd2, 0x80, 0,    0,    0,    0xd3, 0x80, 0,
                                    0,    0,    0,    0,    0,    0,    0xff, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xca, 0x3f, 0xc0, 0,    0,    0xd6, 1,    1,    2,    3,
                                    4,    0xc7, 1,    5,    9,    0xc4, 2,    'h',  'i',  0xc3, 0xc0};
    si__msgpack_reader r = {.at = bytes, .end = bytes + sizeof bytes};
    assert_int_equal(si__msgpack_read_int(&r), -128);
    assert_int_equal(si__msgpack_read_int(&r), -32768);
    assert_int_equal(si__msgpack_read_int(&r), INT32_MIN);
    assert_true(si__msgpack_read_int(&r) == INT64_MIN);
    assert_int_equal(si__msgpack_read_int(&r), -1);
    assert_true(si__msgpack_read_uint(&r) == UINT64_MAX);
    assert_true(si__msgpack_read_double(&r) == 1.5);
    si__msgpack_skip(&r, 2);
    assert_int_equal(si__msgpack_read_bin(&r).length, 2);
    si__msgpack_skip(&r, 1);
    assert_true(isnan(si__msgpack_read_double(&r)));
    assert_int_equal(r.status, 0);
    assert_int_equal(si__msgpack_read_int(&r), 0);
    assert_int_equal(r.status, SI_EFORMAT);
}

/* ---- Well-formed MessagePack with hostile content ---- */

typedef struct forged {
    msgpack_sbuffer buffer;
    msgpack_packer pk;
} forged;

static void put_text(msgpack_packer *pk, const char *text) {
    msgpack_pack_str_with_body(pk, text, strlen(text));
}

static void put_ints(msgpack_packer *pk, unsigned n, int value) {
    msgpack_pack_array(pk, n);
    for (unsigned i = 0; i < n; i++) msgpack_pack_int(pk, value);
}

static void forge(forged *f, unsigned extra) {
    msgpack_packer *pk = &f->pk;
    msgpack_sbuffer_init(&f->buffer);
    msgpack_packer_init(pk, &f->buffer, msgpack_sbuffer_write);
    msgpack_pack_map(pk, 4 + extra);
    put_text(pk, "version"), put_ints(pk, 2, 1);
    put_text(pk, "context"), msgpack_pack_map(pk, 0);
    put_text(pk, "id"), msgpack_pack_array(pk, 3);
    msgpack_pack_bin_with_body(pk, "agentagentagent!", 16), msgpack_pack_bin_with_body(pk, "bootbootbootboot", 16),
        msgpack_pack_int(pk, 9);
    put_text(pk, "time"), put_ints(pk, 2, 0);
}

static int settle(forged *f, char error[200]) {
    int status = decode(f->buffer.data, f->buffer.size, error);
    msgpack_sbuffer_destroy(&f->buffer);
    return status;
}

static void test_repeated_long_strings_stay_within_bounds(void **state) {
    (void)state;
    forged f;
    char error[200], *longest = calloc(1, 16385);
    memset(longest, 'a', 16384);
    forge(&f, 2);
    put_text(&f.pk, "strings"), msgpack_pack_array(&f.pk, 1), put_text(&f.pk, longest);
    put_text(&f.pk, "points"), msgpack_pack_array(&f.pk, 4);
    for (int c = 0; c < 4; c++) put_ints(&f.pk, 100000, 0); /* 400 kB that ask for 3.2 GB */
    assert_int_equal(settle(&f, error), SI_ELIMIT);
    assert_string_equal(error, "points: would take more than 128 MiB");
    forge(&f, 1);
    put_text(&f.pk, "strings"), msgpack_pack_array(&f.pk, 1);
    msgpack_pack_str(&f.pk, 16385), msgpack_pack_str_body(&f.pk, longest, 16385);
    assert_int_equal(settle(&f, error), SI_ELIMIT);
    free(longest);
}

/* The fields after the columns are the caller's to pack. */
static void forge_tree_of(forged *f, unsigned fields, int introduced, unsigned nodes, int climb, int frame) {
    forge(f, 3);
    put_text(&f->pk, "strings"), msgpack_pack_array(&f->pk, 1), put_text(&f->pk, "x");
    put_text(&f->pk, "frames"), msgpack_pack_array(&f->pk, 4);
    for (int c = 0; c < 4; c++) put_ints(&f->pk, 1, 0);
    put_text(&f->pk, "errors"), msgpack_pack_array(&f->pk, 1), msgpack_pack_array(&f->pk, 6);
    for (int i = 0; i < 5; i++) msgpack_pack_int(&f->pk, 0);
    msgpack_pack_array(&f->pk, fields);
    msgpack_pack_int(&f->pk, introduced);
    for (int i = 0; i < 3; i++) msgpack_pack_int(&f->pk, 1);
    put_ints(&f->pk, nodes, climb), put_ints(&f->pk, nodes, frame), put_ints(&f->pk, nodes, 1),
        put_ints(&f->pk, nodes, 1);
}

static void forge_tree(forged *f, int introduced, unsigned nodes, int climb, int frame) {
    forge_tree_of(f, 8, introduced, nodes, climb, frame);
}

static void test_trees_that_refer_to_nothing_are_refused(void **state) {
    (void)state;
    forged f;
    char error[200];
    forge_tree(&f, 0, 1, 0, 0);
    assert_int_equal(settle(&f, error), 0);
    forge_tree(&f, 1, 1000, 0, 1); /* a recursion a thousand deep is fine */
    assert_int_equal(settle(&f, error), 0);
    forge_tree(&f, 0, 1, 1, 0);
    assert_int_equal(settle(&f, error), SI_EFORMAT);
    assert_string_equal(error, "errors: climbs above the root");
    forge_tree(&f, 0, 1, 0, 1);
    assert_int_equal(settle(&f, error), SI_EFORMAT);
    forge_tree(&f, 0, 2, 0, 0);
    assert_int_equal(settle(&f, error), SI_EFORMAT);
    forge_tree(&f, 2, 0, 0, 0);
    assert_int_equal(settle(&f, error), SI_EFORMAT);
    forge_tree(&f, 1, 1000001, 0, 1); /* more nodes than a tree may have */
    assert_true(settle(&f, error) != 0);
}

/* One node below the root, with `bytes` for how long their calls took. In both forms of decoding. */
static int decode_spreads(const char *bytes, uint32_t length) {
    forged f;
    char error[200];
    forge_tree_of(&f, 9, 0, 1, 0, 0);
    msgpack_pack_bin_with_body(&f.pk, bytes, length);
    uint8_t *copy = malloc(f.buffer.size);
    memcpy(copy, f.buffer.data, f.buffer.size);
    si__report *wire = NULL;
    int status = si__report_decode_wire(copy, f.buffer.size, &wire, error, sizeof error);
    if (!status) si__report_free(wire);
    assert_int_equal(settle(&f, error), status);
    if (status) assert_string_equal(error, "errors: malformed durations of calls");
    return status;
}

static void test_durations_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const struct {
        char bytes[24];
        uint32_t length;
        int status;
    } cases[] = {
        {{0}, 0, 0},                                      /* none */
        {{1, 3, 2, 9, 3}, 5, 0},                          /* node 1, three samples in bucket 9 */
        {{0, 1, 2, 9, 1, 1, 1, 2, 9, 1}, 10, 0},          /* the root and node 1 */
        {{1, 1, 2, 9, 1, 0, 1, 2, 9, 1}, 10, 0},          /* one twice: both count */
        {{1, 0, 0}, 3, 0},                                /* nothing, at length */
        {{2, 3, 2, 9, 3}, 5, SI_EFORMAT},                 /* there is no node 2 */
        {{1, 3, 2, 9, 3, 1, 1, 2, 9, 1}, 10, SI_EFORMAT}, /* nor is it there by steps */
        {{1, 3, 3, 9, 3}, 5, SI_EFORMAT},                 /* ends early */
        {{1, 3}, 2, SI_EFORMAT},                          /* earlier */
        {{1, 3, 2, 9, 0}, 5, SI_EFORMAT},                 /* a bucket of nothing */
        {{1, 3, 1, 9}, 4, SI_EFORMAT},                    /* half a bucket */
        {{1, 3, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff,
          (char)0xff, 1},
         12,
         SI_EFORMAT}, /* longer than memory */
        {{(char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, 1,
          3, 2, 9, 3},
         14,
         SI_EFORMAT}, /* node 2^64 - 1 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(decode_spreads(cases[i].bytes, cases[i].length), cases[i].status);
    forged f; /* of another kind altogether */
    char error[200];
    forge_tree_of(&f, 9, 0, 1, 0, 0);
    put_text(&f.pk, "tomorrow");
    assert_int_equal(settle(&f, error), SI_EFORMAT);
    forge_tree_of(&f, 9, 0, 1, 0, 0);
    msgpack_pack_nil(&f.pk);
    assert_int_equal(settle(&f, error), 0);
    forge_tree_of(&f, 11, 0, 1, 0, 0); /* what comes after 1.2 is skipped */
    msgpack_pack_bin_with_body(&f.pk, "\1\3\2\11\3", 5);
    put_text(&f.pk, "tomorrow"), msgpack_pack_int(&f.pk, 7);
    assert_int_equal(settle(&f, error), 0);
}

static void test_frames_that_refer_to_nothing_are_refused(void **state) {
    (void)state;
    static const int64_t wrong[] = {1, -1, INT64_MAX, INT64_MIN, 1ll << 32};
    char error[200];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        forged f;
        forge(&f, 2);
        put_text(&f.pk, "strings"), msgpack_pack_array(&f.pk, 1), put_text(&f.pk, "x");
        put_text(&f.pk, "frames"), msgpack_pack_array(&f.pk, 4);
        msgpack_pack_array(&f.pk, 1), msgpack_pack_int64(&f.pk, wrong[i]);
        for (int c = 1; c < 4; c++) put_ints(&f.pk, 1, 0);
        assert_int_equal(settle(&f, error), SI_EFORMAT);
        assert_string_equal(error, "frames: out of range");
    }
}

static void test_columns_of_unequal_length_are_refused(void **state) {
    (void)state;
    forged f;
    char error[200];
    forge(&f, 2);
    put_text(&f.pk, "strings"), msgpack_pack_array(&f.pk, 1), put_text(&f.pk, "x");
    put_text(&f.pk, "points"), msgpack_pack_array(&f.pk, 4);
    put_ints(&f.pk, 2, 0), put_ints(&f.pk, 2, 0), put_ints(&f.pk, 2, 0), put_ints(&f.pk, 1, 0);
    assert_int_equal(settle(&f, error), SI_EFORMAT);
    assert_string_equal(error, "points: columns of unequal length");
}

static void test_a_fingerprint_is_hex(void **state) {
    (void)state;
    static const char *const wrong[] = {"", "ABC", "../../x", "0123456789abcdef0123456789abcdef0"};
    char error[200];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        forged f;
        forge(&f, 2);
        put_text(&f.pk, "strings"), msgpack_pack_array(&f.pk, 1), put_text(&f.pk, wrong[i]);
        put_text(&f.pk, "alerts"), msgpack_pack_array(&f.pk, 1), put_ints(&f.pk, 15, 0);
        assert_int_equal(settle(&f, error), SI_EFORMAT);
        assert_non_null(strstr(error, "alerts: a fingerprint"));
    }
}

static void test_any_allocation_may_fail(void **state) {
    (void)state;
    uint8_t *bytes, *out;
    size_t length, out_length;
    char error[200];
    si__report *report = sample_report(10), *back;
    assert_int_equal(si__report_encode(report, &bytes, &length), 0);
    for (long nth = 1;; nth++) {
        alloc_fail_at(nth);
        int status = si__report_decode(bytes, length, &back, error, sizeof error);
        int hit = alloc_fail_hit;
        alloc_fail_at(0);
        if (status == 0) si__report_free(back);
        if (!hit) break;
        assert_true(status != 0 && back == NULL);
    }
    for (long nth = 1;; nth++) {
        alloc_fail_at(nth);
        int status = si__report_encode(report, &out, &out_length);
        int hit = alloc_fail_hit;
        alloc_fail_at(0);
        free(out);
        assert_int_equal(status, hit ? SI_ENOMEM : 0);
        if (!hit) break;
    }
    free(bytes);
    si__report_free(report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_prefix_is_a_report),
        cmocka_unit_test(test_changed_bytes_do_no_harm),
        cmocka_unit_test(test_huge_counts_are_refused_at_once),
        cmocka_unit_test(test_deep_nesting_is_refused),
        cmocka_unit_test(test_reserved_bytes_are_refused),
        cmocka_unit_test(test_a_reader_knows_every_type),
        cmocka_unit_test(test_repeated_long_strings_stay_within_bounds),
        cmocka_unit_test(test_trees_that_refer_to_nothing_are_refused),
        cmocka_unit_test(test_durations_that_make_no_sense_are_refused),
        cmocka_unit_test(test_frames_that_refer_to_nothing_are_refused),
        cmocka_unit_test(test_columns_of_unequal_length_are_refused),
        cmocka_unit_test(test_a_fingerprint_is_hex),
        cmocka_unit_test(test_any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
