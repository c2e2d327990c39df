/* Totals per function: recursion counted once, lines of one function together, the highest first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../runtime/callsites.h"

static uint32_t child(si__calltree *tree, uint32_t parent, const char *function, uint32_t line, int64_t value) {
    uint32_t node = si__calltree_child(tree, parent, si__calltree_frame(tree, function, "a.c", line, "app"));
    si__calltree_add(tree, node, value, 1);
    return node;
}

static void counts_recursion_once(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    uint32_t main_node = child(tree, 0, "main", 1, 0);
    uint32_t walk = child(tree, main_node, "walk", 10, 5);
    uint32_t deeper = child(tree, walk, "walk", 12, 7);
    child(tree, deeper, "leaf", 30, 8);
    si__callsite sites[8];
    assert_int_equal(si__callsites_top(tree, SI__CALLSITE_INCLUSIVE, sites, 8), 3);
    assert_string_equal(sites[0].name, "main (app)");
    assert_int_equal(sites[0].total, 20);
    assert_string_equal(sites[1].name, "walk (app)");
    assert_int_equal(sites[1].total, 20);
    assert_string_equal(sites[2].name, "leaf (app)");
    assert_int_equal(sites[2].total, 8);
    si__calltree_free(tree);
}

static void keeps_the_highest(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    const char *names[] = {"a", "b", "c", "d", "e"};
    const int64_t values[] = {3, 50, 4, 10, 7};
    for (int i = 0; i < 5; i++) child(tree, 0, names[i], 1, values[i]);
    si__callsite sites[2];
    assert_int_equal(si__callsites_top(tree, SI__CALLSITE_INCLUSIVE, sites, 2), 2);
    assert_string_equal(sites[0].name, "b (app)");
    assert_string_equal(sites[1].name, "d (app)");
    assert_int_equal(si__callsites_top(tree, SI__CALLSITE_INCLUSIVE, sites, 0), 0);
    si__calltree_free(tree);
}

static void an_empty_tree_has_none(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    si__callsite site;
    assert_int_equal(si__callsites_top(tree, SI__CALLSITE_INCLUSIVE, &site, 1), 0);
    si__calltree_free(tree);
}

static uint32_t in_module(si__calltree *tree, uint32_t parent, const char *function, const char *module,
                          int64_t value) {
    uint32_t node = si__calltree_child(tree, parent, si__calltree_frame(tree, function, "", 0, module));
    si__calltree_add(tree, node, value, 1);
    return node;
}

static void memory_belongs_to_who_asked_for_it(void **state) {
    (void)state;
    si__calltree *tree = si__calltree_new();
    uint32_t load = in_module(tree, in_module(tree, 0, "main", "app", 0), "load_orders", "app", 100);
    uint32_t push = in_module(tree, load, "std::vector<int>::push_back(int&&)", "app", 0);
    in_module(tree, push, "operator new(unsigned long)", "libstdc++.so.6.0.30", 4000);
    in_module(tree, load, "strdup", "libc.so.6", 20);
    in_module(tree, 0, "std::locale::classic()", "libstdc++.so.6.0.30", 7); /* nobody's: its own */
    si__callsite sites[4];
    assert_int_equal(si__callsites_top(tree, SI__CALLSITE_ORIGIN, sites, 4), 2);
    assert_string_equal(sites[0].name, "load_orders (app)");
    assert_int_equal(sites[0].total, 4120);
    assert_int_equal(sites[1].total, 7);
    si__calltree_free(tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_recursion_once),
        cmocka_unit_test(memory_belongs_to_who_asked_for_it),
        cmocka_unit_test(keeps_the_highest),
        cmocka_unit_test(an_empty_tree_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
