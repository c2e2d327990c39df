/*
 * The report's wire form: what goes in comes out, in few bytes; newer minor versions are read, newer major ones
 * refused.
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

#include "report_sample.h"

static si__report *through_the_wire(const si__report *report) {
    uint8_t *bytes;
    size_t length;
    char error[200];
    si__report *back = NULL;
    assert_int_equal(si__report_encode(report, &bytes, &length), SI_OK);
    if (si__report_decode(bytes, length, &back, error, sizeof error)) fail_msg("decode: %s", error);
    free(bytes);
    return back;
}

static void assert_same_tree(const si__calltree *a, const si__calltree *b) {
    assert_int_equal(si__calltree_node_count(a), si__calltree_node_count(b));
    assert_int_equal(si__calltree_total_value(a), si__calltree_total_value(b));
    assert_int_equal(si__calltree_total_count(a), si__calltree_total_count(b));
    /* Node numbers may differ; merging one into a copy of the other must find every node there, with the same value. */
    si__calltree *copy = si__calltree_new();
    assert_int_equal(si__calltree_merge(copy, a), 0);
    assert_int_equal(si__calltree_merge(copy, b), 0);
    assert_int_equal(si__calltree_node_count(copy), si__calltree_node_count(a));
    for (size_t i = 0; i < si__calltree_node_count(a); i++) {
        assert_int_equal(si__calltree_node_at(copy, i)->self_value, 2 * si__calltree_node_at(a, i)->self_value);
        assert_int_equal(si__calltree_node_at(copy, i)->self_count, 2 * si__calltree_node_at(a, i)->self_count);
    }
    si__calltree_free(copy);
}

static void test_everything_comes_back(void **state) {
    (void)state;
    si__report *a = sample_report(490), *b = through_the_wire(a);
    assert_memory_equal(&a->id, &b->id, sizeof a->id);
    assert_int_equal(a->start_ms, b->start_ms);
    assert_int_equal(a->end_ms, b->end_ms);
    assert_string_equal(b->context.app, "shop");
    assert_string_equal(b->context.runtime_version, "glibc 2.36");
    assert_string_equal(b->context.build_id, a->context.build_id);
    assert_int_equal(b->context.pid, 4711);
    assert_int_equal(b->context.tag_count, 2);
    assert_string_equal(b->context.tags[1], "team=checkout");
    assert_int_equal(b->point_count, a->point_count);
    for (size_t i = 0; i < a->point_count; i++) {
        assert_string_equal(b->points[i].name, a->points[i].name);
        assert_string_equal(b->points[i].unit, a->points[i].unit);
        assert_int_equal(b->points[i].time_ms, a->points[i].time_ms);
        assert_true(b->points[i].value == a->points[i].value);
    }
    assert_int_equal(b->profile_count, 1);
    assert_string_equal(b->profiles[0].type, "cpu");
    assert_string_equal(b->profiles[0].trigger, "cadence");
    assert_true(b->profiles[0].cores == 1.5);
    assert_int_equal(b->profiles[0].samples, a->profiles[0].samples);
    assert_int_equal(b->profiles[0].dropped, 3);
    assert_same_tree(a->profiles[0].tree, b->profiles[0].tree);
    assert_int_equal(b->segment_count, 1);
    assert_string_equal(b->segments[0].kind, "http_handler");
    assert_int_equal(b->segments[0].sum_ns, 9876543210);
    assert_true(si__sketch_quantile(b->segments[0].sketch, 0.95) == si__sketch_quantile(a->segments[0].sketch, 0.95));
    assert_int_equal(b->error_count, 2);
    assert_string_equal(b->errors[0].message, "card declined: \xc3\xa9");
    assert_same_tree(a->errors[0].tree, b->errors[0].tree);
    assert_null(b->errors[1].tree);
    assert_int_equal(b->alert_count, 1);
    assert_string_equal(b->alerts[0].fingerprint, a->alerts[0].fingerprint);
    assert_int_equal(b->alerts[0].state, SI__ALERT_FIRING);
    assert_true(b->alerts[0].value == 0.93);
    assert_int_equal(b->alerts[0].started_ms, a->alerts[0].started_ms);
    assert_string_equal(b->rules[0].file, "health.lua");
    assert_int_equal(b->rules[0].cost_ns, 98765);
    assert_string_equal(b->statuses[0].state, "on");
    assert_int_equal(b->losses[0].pending, 2);
    assert_string_equal(b->rules_hash, "deadbeefcafe");
    si__report_free(a);
    si__report_free(b);
}

static void test_an_empty_report_comes_back(void **state) {
    (void)state;
    si__report *a = si__report_new(), *b = through_the_wire(a); /* its strings are NULL */
    assert_string_equal(b->context.app, "");
    assert_string_equal(b->rules_hash, "");
    assert_int_equal(b->point_count, 0);
    si__report_free(a);
    si__report_free(b);
}

static void test_values_at_the_edges_come_back(void **state) {
    (void)state;
    static const double values[] = {
        0, -1, 1e-300, 1.7976931348623157e308, 0.1, 0.5, 9007199254740993.0, -123456.75, 4294967296.0};
    si__report *a = si__report_new();
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        si__point *p = si__report_add_point(a);
        p->name = si__report_strdup("x");
        p->time_ms = i % 2 ? INT64_MAX : INT64_MIN;
        p->value = values[i];
    }
    si__report_profile *profile = si__report_add_profile(a);
    profile->tree = si__calltree_new();
    profile->cores = INFINITY;
    profile->samples = UINT64_MAX;
    uint32_t f = si__calltree_frame(profile->tree, "f", "", UINT32_MAX, "m"),
             g = si__calltree_frame(profile->tree, "g", "g.c", 0, "");
    uint32_t n = si__calltree_child(profile->tree, 0, f);
    si__calltree_add(profile->tree, 0, -5, 1); /* the root can hold values too */
    si__calltree_add(profile->tree, n, INT64_MIN, 7);
    n = si__calltree_child(profile->tree, n, g);
    si__calltree_add(profile->tree, n, INT64_MAX, UINT64_MAX);
    n = si__calltree_child(profile->tree, n, f); /* recursion */
    si__calltree_add(profile->tree, n, 1, 0);
    si__report *b = through_the_wire(a);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        assert_true(b->points[i].value == values[i]);
        assert_int_equal(b->points[i].time_ms, a->points[i].time_ms);
    }
    assert_true(b->profiles[0].cores == 0);
    assert_true(b->profiles[0].samples == UINT64_MAX);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(si__calltree_node_at(b->profiles[0].tree, i)->self_value,
                         si__calltree_node_at(profile->tree, i)->self_value);
        assert_int_equal(si__calltree_node_at(b->profiles[0].tree, i)->self_count,
                         si__calltree_node_at(profile->tree, i)->self_count);
    }
    assert_int_equal(si__calltree_frame_at(b->profiles[0].tree, 0)->line, UINT32_MAX);
    assert_int_equal(si__calltree_frame_count(b->profiles[0].tree), 2);
    si__report_free(a);
    si__report_free(b);
}

static void test_what_is_not_a_number_is_left_out(void **state) {
    (void)state;
    si__report *a = si__report_new();
    const double values[] = {NAN, 1, INFINITY, 2, -INFINITY};
    for (size_t i = 0; i < 5; i++) {
        si__point *p = si__report_add_point(a);
        p->name = si__report_strdup("x");
        p->time_ms = (int64_t)i;
        p->value = values[i];
    }
    sample_alert(a);
    a->alerts[0].value = NAN;
    si__report *b = through_the_wire(a);
    assert_int_equal(b->point_count, 2);
    assert_int_equal(b->points[1].time_ms, 3);
    assert_true(isnan(b->alerts[0].value));
    si__report_free(a);
    si__report_free(b);
}

static void test_strings_are_repaired_and_cut(void **state) {
    (void)state;
    si__report *a = si__report_new();
    si__report_error *e = si__report_add_error(a);
    e->group = si__report_strdup("bad \xff\xc3 bytes \xed\xa0\x80");
    e->message = malloc(20001);
    for (int i = 0; i < 20000; i += 2) memcpy(e->message + i, "\xc3\xa9", 2);
    e->message[20000] = '\0';
    si__report *b = through_the_wire(a);
    assert_string_equal(b->errors[0].group, "bad ?? bytes ???");
    assert_int_equal(strlen(b->errors[0].message), 16384);
    assert_memory_equal(b->errors[0].message, e->message, 16384);
    si__report_free(a);
    si__report_free(b);
}

static void pack_text(msgpack_packer *pk, const char *text) {
    msgpack_pack_str_with_body(pk, text, strlen(text));
}

/* The required keys of a report with nothing in it; the caller has announced `extra` keys more. */
static void pack_minimum(msgpack_packer *pk, unsigned extra, unsigned major, unsigned minor) {
    msgpack_pack_map(pk, 5 + extra);
    pack_text(pk, "context"), msgpack_pack_map(pk, 2), pack_text(pk, "app"), msgpack_pack_int(pk, 1),
        pack_text(pk, "new thing"), msgpack_pack_nil(pk);
    pack_text(pk, "version"), msgpack_pack_array(pk, 2), msgpack_pack_int(pk, (int)major),
        msgpack_pack_int(pk, (int)minor);
    pack_text(pk, "id"), msgpack_pack_array(pk, 3);
    msgpack_pack_bin_with_body(pk, "agentagentagent!", 16), msgpack_pack_bin_with_body(pk, "bootbootbootboot", 16),
        msgpack_pack_int(pk, 9);
    pack_text(pk, "time"), msgpack_pack_array(pk, 2), msgpack_pack_int(pk, 1), msgpack_pack_int(pk, 2);
    pack_text(pk, "strings"), msgpack_pack_array(pk, 3), pack_text(pk, ""), pack_text(pk, "shop"), pack_text(pk, "cpu");
}

static int decode_packed(const msgpack_sbuffer *buffer, si__report **out, char *error, size_t error_bytes) {
    return si__report_decode((const uint8_t *)buffer->data, buffer->size, out, error, error_bytes);
}

static void test_a_newer_minor_version_is_read(void **state) {
    (void)state;
    msgpack_sbuffer buffer;
    msgpack_packer pk;
    char error[200];
    si__report *report;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&pk, &buffer, msgpack_sbuffer_write);
    pack_minimum(&pk, 3, 1, 7);
    pack_text(&pk, "from the future"), msgpack_pack_array(&pk, 2), msgpack_pack_map(&pk, 1), msgpack_pack_int(&pk, 1),
        msgpack_pack_true(&pk), msgpack_pack_double(&pk, 1.5);
    msgpack_pack_int(&pk, 17), msgpack_pack_nil(&pk); /* a key that is no string */
    pack_text(&pk, "statuses"), msgpack_pack_array(&pk, 1),
        msgpack_pack_array(&pk, 5); /* two fields more than we know */
    for (int i = 0; i < 3; i++) msgpack_pack_int(&pk, 2);
    pack_text(&pk, "more"), msgpack_pack_array(&pk, 0);
    if (decode_packed(&buffer, &report, error, sizeof error)) fail_msg("%s", error);
    assert_string_equal(report->context.app, "shop");
    assert_string_equal(report->context.host, "");
    assert_int_equal(report->id.sequence, 9);
    assert_int_equal(report->status_count, 1);
    assert_string_equal(report->statuses[0].reason, "cpu");
    si__report_free(report);
    msgpack_sbuffer_destroy(&buffer);
}

static void test_a_newer_major_version_is_refused_clearly(void **state) {
    (void)state;
    msgpack_sbuffer buffer;
    msgpack_packer pk;
    char error[200];
    si__report *report;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&pk, &buffer, msgpack_sbuffer_write);
    pack_minimum(&pk, 0, 2, 0);
    assert_int_equal(decode_packed(&buffer, &report, error, sizeof error), SI_EFORMAT);
    assert_null(report);
    assert_non_null(strstr(error, "version: format 2.x is not known here"));
    msgpack_sbuffer_destroy(&buffer);
}

static void test_a_key_given_twice_is_refused(void **state) {
    (void)state;
    msgpack_sbuffer buffer;
    msgpack_packer pk;
    char error[200];
    si__report *report;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&pk, &buffer, msgpack_sbuffer_write);
    pack_minimum(&pk, 1, 1, 0);
    pack_text(&pk, "time"), msgpack_pack_array(&pk, 2), msgpack_pack_int(&pk, 1), msgpack_pack_int(&pk, 2);
    assert_int_equal(decode_packed(&buffer, &report, error, sizeof error), SI_EFORMAT);
    assert_string_equal(error, "time: given twice");
    msgpack_sbuffer_destroy(&buffer);
}

static void test_compression_comes_back_and_is_checked(void **state) {
    (void)state;
    si__report *report = sample_report(50);
    uint8_t *bytes, *packed, *back;
    size_t length, packed_length, back_length;
    assert_int_equal(si__report_encode(report, &bytes, &length), 0);
    assert_int_equal(si__report_compress(bytes, length, &packed, &packed_length), 0);
    assert_true(packed_length < length);
    assert_int_equal(si__report_decompress(packed, packed_length, length, &back, &back_length),
                     0); /* exactly at the limit */
    assert_int_equal(back_length, length);
    assert_memory_equal(back, bytes, length);
    free(back);
    assert_int_equal(si__report_decompress(packed, packed_length, length - 1, &back, &back_length), SI_ELIMIT);
    assert_null(back);
    for (size_t cut = 0; cut < packed_length; cut += 7)
        assert_int_equal(si__report_decompress(packed, cut, 1 << 20, &back, &back_length), SI_EFORMAT);
    for (size_t i = 0; i < packed_length; i++) { /* any flipped bit is noticed, at the latest by the checksum */
        packed[i] ^= 0x10;
        int status = si__report_decompress(packed, packed_length, 1 << 20, &back, &back_length);
        if (status == 0) { /* but for bits of the header that change nothing of the content */
            assert_int_equal(back_length, length);
            assert_memory_equal(back, bytes, length);
            free(back);
        }
        packed[i] ^= 0x10;
    }
    free(bytes);
    free(packed);
    si__report_free(report);
}

static void test_a_bomb_is_refused(void **state) {
    (void)state;
    size_t length = (size_t)64 << 20;
    uint8_t *zeros = calloc(length, 1), *packed, *back;
    size_t packed_length, back_length;
    assert_int_equal(si__report_compress(zeros, length, &packed, &packed_length), 0);
    assert_true(packed_length < 100000);
    assert_int_equal(si__report_decompress(packed, packed_length, (size_t)8 << 20, &back, &back_length), SI_ELIMIT);
    assert_int_equal(si__report_decompress(packed, packed_length, SIZE_MAX, &back, &back_length),
                     SI_ELIMIT); /* by ratio */
    free(packed);
    free(zeros);
    assert_int_equal(si__report_compress((const uint8_t *)"", 0, &packed, &packed_length), 0);
    assert_int_equal(si__report_decompress(packed, packed_length, 10, &back, &back_length), 0);
    assert_int_equal(back_length, 0);
    free(back);
    free(packed);
}

/* The size of a profile on the wire: the difference that it makes to a report, over its nodes. */
static void test_a_profile_takes_few_bytes(void **state) {
    (void)state;
    si__report *with = sample_report(490), *without = sample_report(490);
    si__calltree_free(without->profiles[0].tree);
    without->profiles[0].tree = NULL;
    uint8_t *raw[2], *packed[2];
    size_t raw_length[2], length[2], nodes = si__calltree_node_count(with->profiles[0].tree);
    const si__report *reports[2] = {with, without};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(si__report_encode(reports[i], &raw[i], &raw_length[i]), 0);
        assert_int_equal(si__report_compress(raw[i], raw_length[i], &packed[i], &length[i]), 0);
        free(raw[i]);
        free(packed[i]);
    }
    double per_node = (double)(length[0] - length[1]) / (double)nodes;
    print_message("profile: 490 stacks, %zu nodes, %zu frames, %zu samples: %zu bytes packed, %zu compressed, %.2f "
                  "bytes a node with names\n",
                  nodes, si__calltree_frame_count(with->profiles[0].tree), (size_t)with->profiles[0].samples,
                  raw_length[0] - raw_length[1], length[0] - length[1], per_node);
    assert_true(per_node < 8);
    si__report_free(with);
    si__report_free(without);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_comes_back),
        cmocka_unit_test(test_an_empty_report_comes_back),
        cmocka_unit_test(test_values_at_the_edges_come_back),
        cmocka_unit_test(test_what_is_not_a_number_is_left_out),
        cmocka_unit_test(test_strings_are_repaired_and_cut),
        cmocka_unit_test(test_a_newer_minor_version_is_read),
        cmocka_unit_test(test_a_newer_major_version_is_refused_clearly),
        cmocka_unit_test(test_a_key_given_twice_is_refused),
        cmocka_unit_test(test_compression_comes_back_and_is_checked),
        cmocka_unit_test(test_a_bomb_is_refused),
        cmocka_unit_test(test_a_profile_takes_few_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
