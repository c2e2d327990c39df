/* Call trees: interning, totals, hostile names, merging, the cap, and memory that runs out at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/profile/calltree.h"
#include "allocation.h"
#include "si/si.h"

static uint32_t child(si__calltree *tree, uint32_t parent, const char *function, uint32_t line) {
    return si__calltree_child(tree, parent, si__calltree_frame(tree, function, "a.c", line, "app"));
}

static void interns_frames_and_nodes(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    uint32_t a = si__calltree_frame(tree, "f", "a.c", 1, "app");
    assert_int_equal(si__calltree_frame(tree, "f", "a.c", 1, "app"), a);
    assert_int_not_equal(si__calltree_frame(tree, "f", "a.c", 2, "app"), a);
    assert_int_not_equal(si__calltree_frame(tree, "f", "b.c", 1, "app"), a);
    assert_int_not_equal(si__calltree_frame(tree, "f", "a.c", 1, "lib"), a);
    assert_int_equal(si__calltree_frame_count(tree), 4);

    uint32_t main_ = child(tree, 0, "main", 10), f = child(tree, main_, "f", 1);
    assert_int_equal(child(tree, main_, "f", 1), f);
    assert_int_not_equal(child(tree, 0, "f", 1), f);
    assert_true(si__calltree_node_at(tree, f)->parent == main_);
    si__calltree_add(tree, f, 30, 3);
    si__calltree_add(tree, main_, 12, 1);
    si__calltree_add(tree, f, 1, 1);
    assert_int_equal(si__calltree_node_at(tree, f)->self_value, 31);
    assert_int_equal(si__calltree_node_at(tree, f)->self_count, 4);
    assert_int_equal(si__calltree_total_value(tree), 43);
    assert_int_equal(si__calltree_total_count(tree), 5);
    assert_null(si__calltree_node_at(tree, 99));
    assert_null(si__calltree_frame_at(tree, 99));
    assert_int_equal(si__calltree_child(tree, 99, 0), UINT32_MAX);
    assert_int_equal(si__calltree_child(tree, 0, 99), UINT32_MAX);
    si__calltree_free(tree);
}

static void cleans_hostile_names(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    char *huge = malloc(1000001);
    memset(huge, 'x', 1000000);
    huge[1000000] = 0;
    const si__frame *f = si__calltree_frame_at(tree, si__calltree_frame(tree, huge, NULL, 0, NULL));
    assert_int_equal(strlen(f->function), 4096);
    assert_string_equal(f->file, "");
    free(huge);
    f = si__calltree_frame_at(tree,
                              si__calltree_frame(tree, "a\nb\x1b[2J\x7f\xff\xc0\xafz\xed\xa0\x80", "\xe2\x82", 0, ""));
    assert_string_equal(f->function, "a?b?[2J????z???");
    assert_string_equal(f->file, "??");
    f = si__calltree_frame_at(tree,
                              si__calltree_frame(tree, "na\xc3\xafve<\xe2\x82\xac, \xf0\x9f\x94\xa5>", "", 0, ""));
    assert_string_equal(f->function, "na\xc3\xafve<\xe2\x82\xac, \xf0\x9f\x94\xa5>");
    f = si__calltree_frame_at(tree, si__calltree_frame(tree, "", "", 0, ""));
    assert_string_equal(f->function, "[unknown]");
    si__calltree_free(tree);
}

static void merges(void **state) {
    (void)state;
    si__calltree *a = si__calltree_new(), *b = si__calltree_new();
    si__calltree_add(a, child(a, child(a, 0, "main", 1), "f", 2), 10, 1);
    uint32_t main_ = child(b, 0, "main", 1);
    si__calltree_add(b, child(b, main_, "g", 3), 5, 2);
    si__calltree_add(b, child(b, main_, "f", 2), 7, 3);
    si__calltree_add(b, 0, 1, 1);
    assert_int_equal(si__calltree_merge(a, b), 0);
    assert_int_equal(si__calltree_node_count(a), 4);
    assert_int_equal(si__calltree_total_value(a), 23);
    assert_int_equal(si__calltree_total_count(a), 7);
    uint32_t f = child(a, child(a, 0, "main", 1), "f", 2);
    assert_int_equal(si__calltree_node_at(a, f)->self_value, 17);
    assert_int_equal(si__calltree_node_at(a, 0)->self_value, 1);
    si__calltree_free(a);
    si__calltree_free(b);
}

static void values_saturate(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    uint32_t f = child(tree, 0, "f", 1);
    si__calltree_add(tree, f, INT64_MAX, UINT64_MAX);
    si__calltree_add(tree, f, INT64_MAX, UINT64_MAX);
    assert_int_equal(si__calltree_total_value(tree), INT64_MAX);
    assert_true(si__calltree_total_count(tree) == UINT64_MAX);
    si__calltree_free(tree);
}

static void the_cap_loses_no_value(void **state) {
    (void)state;
    si__calltree *a = si__calltree_new(), *b = si__calltree_new();
    uint32_t last = 0, node = 0, frame = 0;
    while ((node = si__calltree_child(a, node, si__calltree_frame(a, "recursive", "", frame++ % 64, ""))) != UINT32_MAX)
        last = node;
    assert_int_equal(si__calltree_node_count(a), 1000000);
    assert_int_equal(last, 999999);
    si__calltree_add(b, child(b, child(b, 0, "new", 1), "leaf", 2), 42, 2);
    assert_int_equal(si__calltree_merge(a, b), 0);
    assert_int_equal(si__calltree_total_value(a), 42);
    assert_int_equal(si__calltree_node_count(a), 1000000);
    si__calltree_free(a);
    si__calltree_free(b);
}

/* Builds and merges; returns 0 when memory ran out on the way. */
static int build(void) {
    si__calltree *a = si__calltree_new(), *b = si__calltree_new();
    int whole = a && b;
    char name[32];
    for (uint32_t i = 0; whole && i < 300; i++) {
        sprintf(name, "function_%u", i);
        si__calltree *tree = i % 2 ? a : b;
        uint32_t node = child(tree, i / 2 % 20, name, i);
        whole = node != UINT32_MAX;
        si__calltree_add(tree, node, 1, 1);
    }
    if (whole) {
        int result = si__calltree_merge(a, b);
        whole = result == 0;
        if (whole) assert_int_equal(si__calltree_total_value(a), 300);
        if (!whole) assert_int_equal(si__calltree_total_value(a), 150); /* untouched */
    }
    si__calltree_free(a);
    si__calltree_free(b);
    return whole;
}

static void survives_every_failing_allocation(void **state) {
    (void)state;
    assert_true(fail_every_allocation(build) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interns_frames_and_nodes),
        cmocka_unit_test(cleans_hostile_names),
        cmocka_unit_test(merges),
        cmocka_unit_test(values_saturate),
        cmocka_unit_test(the_cap_loses_no_value),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
