/*
 * Call trees as they come over the wire: they say what call trees say, node for node, and hostile bytes find nothing to
 * hold on to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "report_sample.h"

static si__report *wire_of(const uint8_t *bytes, size_t length) {
    char error[200] = "";
    si__report *wire = NULL;
    uint8_t *copy = malloc(length);
    memcpy(copy, bytes, length);
    int failed = si__report_decode_wire(copy, length, &wire, error, sizeof error);
    if (failed) assert_string_equal(error, "");
    return wire;
}

static void assert_text(const si__report *wire, uint32_t index, const char *expected) {
    const si__wire_text *text = &wire->names->texts[index];
    assert_int_equal(text->length, strlen(expected));
    assert_memory_equal(text->data, expected, text->length);
}

/* Adds the tree up again as a call tree of its own; returns 1 when every node of `tree` has the same value there. */
static void assert_same(const si__report *wire, const si__wire_tree *got, const si__calltree *tree) {
    si__calltree *rebuilt = si__calltree_new();
    uint32_t *nodes = calloc(got->node_count, sizeof *nodes);
    for (uint32_t i = 1; i < got->node_count; i++) {
        const si__wire_frame *f = &wire->names->frames[got->frames[i]];
        const si__wire_text *t = wire->names->texts;
        char function[4200], file[4200], module[4200];
        snprintf(function, sizeof function, "%.*s", (int)t[f->function].length, t[f->function].data);
        snprintf(file, sizeof file, "%.*s", (int)t[f->file].length, t[f->file].data);
        snprintf(module, sizeof module, "%.*s", (int)t[f->module].length, t[f->module].data);
        nodes[i] = si__calltree_child(rebuilt, nodes[got->parents[i]],
                                      si__calltree_frame(rebuilt, function, file, f->line, module));
    }
    for (size_t i = 0; i < got->value_count; i++)
        si__calltree_add(rebuilt, nodes[got->values[i].node], got->values[i].value, got->values[i].count);
    assert_int_equal(si__calltree_total_value(rebuilt), si__calltree_total_value(tree));
    assert_int_equal(si__calltree_node_count(rebuilt), si__calltree_node_count(tree));
    assert_int_equal(si__calltree_merge(rebuilt, tree), 0); /* the same nodes: none is added, all values double */
    assert_int_equal(si__calltree_node_count(rebuilt), si__calltree_node_count(tree));
    assert_int_equal(got->total_value * 2, si__calltree_total_value(rebuilt));
    assert_int_equal(got->total_count * 2, si__calltree_total_count(rebuilt));
    free(nodes);
    si__calltree_free(rebuilt);
}

/* How long calls took is the same in what was sent, in the call tree that came, and in the tree as it came. */
static void assert_same_durations(const si__wire_tree *got, const si__calltree *sent, const si__calltree *tree) {
    si__spread_reader reader = {.at = got->spreads, .end = got->spreads + got->spread_bytes};
    si__spread_view view;
    unsigned found = 0, expected = 0;
    int next;
    while ((next = si__spread_next(&reader, &view)) == 1) {
        /* Call trees are made in the order of the walk. */
        const si__spread *of = si__calltree_spread_at(tree, view.place);
        assert_non_null(of);
        assert_int_equal(of->samples, view.samples);
        si__sketch *sketch = si__sketch_decode(view.sketch, view.sketch_bytes);
        assert_int_equal(si__sketch_count(sketch), si__sketch_count(of->sketch));
        assert_true(si__sketch_quantile(sketch, 0.95) == si__sketch_quantile(of->sketch, 0.95));
        si__sketch_free(sketch);
        found++;
    }
    assert_int_equal(next, 0);
    uint64_t samples[2] = {0, 0};
    for (size_t i = 0; i < si__calltree_node_count(sent); i++) {
        const si__spread *was = si__calltree_spread_at(sent, i), *is = si__calltree_spread_at(tree, i);
        expected += was != NULL;
        samples[0] += was ? was->samples : 0;
        samples[1] += is ? is->samples : 0;
    }
    assert_true(expected > 3);
    assert_int_equal(found, expected);
    assert_int_equal(samples[0], samples[1]);
}

static si__calltree *small_tree(const char *function) {
    si__calltree *tree = si__calltree_new();
    uint32_t outer = si__calltree_child(tree, 0, si__calltree_frame(tree, "main", "main.c", 3, "shop"));
    uint32_t inner = si__calltree_child(tree, outer, si__calltree_frame(tree, function, "", 0, ""));
    si__calltree_add(tree, outer, 7, 1);
    si__calltree_add(tree, inner, 20, 2);
    return tree;
}

static void test_the_same_as_call_trees(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    char error[200];
    si__report *report = sample_report(40), *tree;
    assert_int_equal(si__report_encode(report, &bytes, &length), 0);
    assert_int_equal(si__report_decode(bytes, length, &tree, error, sizeof error), 0);
    si__report *wire = wire_of(bytes, length);
    assert_int_equal(wire->profile_count, tree->profile_count);
    for (size_t i = 0; i < wire->profile_count; i++) {
        assert_null(wire->profiles[i].tree);
        assert_same(wire, wire->profiles[i].wire, tree->profiles[i].tree);
    }
    for (size_t i = 0; i < wire->error_count; i++)
        if (tree->errors[i].tree) assert_same(wire, wire->errors[i].wire, tree->errors[i].tree);
    si__report_free(wire);
    si__report_free(tree);
    si__report_free(report);
    free(bytes);
}

static void test_a_segment_may_have_a_tree(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    char error[200];
    si__report *report = sample_report(4), *tree;
    size_t without = report->segment_count;
    si__report_segment *segment = si__report_add_segment(report);
    segment->name = si__report_strdup("GET /");
    segment->kind = si__report_strdup("http_handler");
    segment->sketch = si__sketch_new();
    segment->tree = small_tree("serve");
    assert_int_equal(si__report_encode(report, &bytes, &length), 0);
    assert_int_equal(si__report_decode(bytes, length, &tree, error, sizeof error), 0);
    si__report *wire = wire_of(bytes, length);
    assert_int_equal(wire->segment_count, without + 1);
    for (size_t i = 0; i < without; i++) {
        assert_same(wire, wire->segments[i].wire, tree->segments[i].tree);
        assert_same_durations(wire->segments[i].wire, report->segments[i].tree, tree->segments[i].tree);
    }
    assert_int_equal(si__calltree_total_value(tree->segments[without].tree), 27);
    assert_same(wire, wire->segments[without].wire, tree->segments[without].tree);
    si__report_free(wire);
    si__report_free(tree);
    si__report_free(report);
    free(bytes);
}

/* Names are made printable as call trees make them. */
static void test_names_are_made_printable(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length;
    si__report *report = sample_report(4);
    si__report_error *error = si__report_add_error(report);
    error->group = si__report_strdup("g");
    error->message = si__report_strdup("m");
    error->tree = small_tree("na\xc3\xafve");
    assert_int_equal(si__report_encode(report, &bytes, &length), 0);
    uint8_t *at = memmem(bytes, length, "na\xc3\xafve", 6);
    assert_non_null(at);
    memcpy(at, "na\x01\xffve", 6);
    si__report *wire = wire_of(bytes, length);
    const si__wire_tree *tree = wire->errors[wire->error_count - 1].wire;
    assert_text(wire, wire->names->frames[tree->frames[2]].function, "na??ve");
    assert_text(wire, wire->names->frames[tree->frames[1]].file, "main.c");
    si__report_free(wire);
    si__report_free(report);
    free(bytes);
}

static void test_no_damage_gets_through(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t length, read = 0;
    uint64_t random = 88172645463325252ull;
    si__report *report = sample_report(12);
    assert_int_equal(si__report_encode(report, &bytes, &length), 0);
    for (int round = 0; round < 3000; round++) {
        char error[200];
        si__report *wire = NULL;
        uint8_t *copy = malloc(length);
        memcpy(copy, bytes, length);
        for (int i = 0; i < 1 + round % 4; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            copy[random % length] = (uint8_t)(random >> 32);
        }
        size_t cut = round % 5 ? length : random % length;
        if (si__report_decode_wire(copy, cut, &wire, error, sizeof error)) {
            assert_null(wire);
            assert_true(error[0] != '\0');
            continue;
        }
        read++;
        for (size_t p = 0; p < wire->profile_count; p++) {
            const si__wire_tree *tree = wire->profiles[p].wire;
            for (uint32_t n = 1; n < tree->node_count; n++) {
                assert_true(tree->parents[n] < n);
                assert_true(tree->frames[n] < wire->names->frame_count);
            }
        }
        si__report_free(wire);
    }
    assert_true(read > 0 && read < 3000);
    si__report_free(report);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_as_call_trees),
        cmocka_unit_test(test_a_segment_may_have_a_tree),
        cmocka_unit_test(test_names_are_made_printable),
        cmocka_unit_test(test_no_damage_gets_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
