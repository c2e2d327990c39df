/* What a call tree hides when it is too large to send: the lightest of both sides of a comparison, never a caller of
   what stays, never more than it must, and it says how much of each side that was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../dashboard/server/tree_view.h"

/* Two callers below the root with three calls each; node is the index, frame too. Self values, then totals. */
enum { CALLS = 9, NOW_CALLER = 1, GONE_CALLER = 5 };
static const si__branch calls[CALLS] = {
    {0, 0, 0, 0, 100, 0, 100}, {1, 0, 1, 0, 99, 0, 99}, {2, 1, 2, 60, 60, 60, 60},
    {3, 1, 3, 30, 30, 30, 30}, {4, 1, 4, 9, 9, 9, 9},   {5, 0, 5, 0, 1, 0, 1},
    {6, 5, 6, 1, 1, 1, 1},     {7, 5, 7, 0, 0, 0, 0},   {8, 5, 8, 0, 0, 0, 0},
};
static const si__entry base[] = {{2, 120, 120}, {7, 80, 80}, {8, 4, 4}}; /* node 7 is what vanished */

static void name_frame(void *arg, uint32_t frame, si__frame_row *row) {
    static char name[16];
    (void)arg;
    snprintf(name, sizeof name, "f%u", frame);
    row->function = name;
}

static si__json *write_view(const si__branch *branches, size_t count, size_t limit, const si__entry *before,
                            size_t before_count, double factor) {
    si__tree_view view = {.branches = branches,
                          .count = count,
                          .base = before,
                          .base_count = before_count,
                          .base_factor = factor,
                          .limit = limit,
                          .name = name_frame};
    si__json_writer json = {0};
    char *text = NULL;
    size_t length = 0;
    si__json *parsed = NULL;
    si__json_object_begin(&json, NULL);
    si__tree_view_write(&json, &view);
    si__json_object_end(&json);
    assert_int_equal(si__json_take(&json, &text, &length), 0);
    assert_int_equal(si__json_parse(text, length, &parsed, NULL, 0), 0);
    free(text);
    free(view.place);
    return parsed;
}

static int shows(const si__json *json, int64_t node) {
    for (const si__json *id = si__json_get(json, "ids")->first; id; id = id->next)
        if ((int64_t)id->number == node) return 1;
    return 0;
}

static int64_t hidden(const si__json *json, const char *what) {
    return si__json_get_integer(si__json_get(json, "hidden"), what, -1);
}

static void what_vanished_is_no_more_hidden_than_what_is_new(void **state) {
    (void)state;
    si__json *json = write_view(calls, CALLS, 5, base, 3, 1);
    assert_int_equal(si__json_get(json, "nodes")->count, 5);
    assert_true(shows(json, 7)); /* 80 before, nothing now: heavier than nodes 3 and 4 */
    assert_true(shows(json, GONE_CALLER));
    assert_true(shows(json, 2) && shows(json, NOW_CALLER));
    assert_int_equal(hidden(json, "nodes"), 4);
    assert_int_equal(hidden(json, "value"), 40);
    assert_int_equal(hidden(json, "base_value"), 4);
    assert_float_equal(si__json_get_number(si__json_get(json, "hidden"), "share", 0), 0.40, 1e-9);
    assert_float_equal(si__json_get_number(si__json_get(json, "hidden"), "base_share", 0), 4.0 / 204, 1e-9);
    si__json_free(json);
}

static void a_base_is_weighed_after_its_factor(void **state) {
    (void)state;
    si__json *json = write_view(calls, CALLS, 5, base, 3, 0.1); /* 80 become 8: lighter than node 4 */
    assert_false(shows(json, 7));
    assert_true(shows(json, 3) && shows(json, 4));
    assert_int_equal(hidden(json, "base_value"), 84); /* told as it was measured */
    si__json_free(json);
}

static void the_day_of_trends_hides_nothing_of_the_selection(void **state) {
    (void)state;
    si__json *json = write_view(calls, CALLS, 5, base, 3, 0);
    for (int64_t node = 0; node < 5; node++) assert_true(shows(json, node));
    assert_false(shows(json, 7));
    si__json_free(json);
}

static void calls_of_equal_weight_are_not_hidden_together(void **state) {
    (void)state;
    enum { WIDE = 40 };
    si__branch wide[WIDE] = {{0, 0, 0, 0, WIDE - 1, 0, WIDE - 1}};
    for (uint32_t i = 1; i < WIDE; i++) wide[i] = (si__branch){i, 0, i, 1, 1, 1, 1};
    si__json *json = write_view(wide, WIDE, 30, NULL, 0, 0);
    assert_int_equal(si__json_get(json, "nodes")->count, 30);
    assert_int_equal(hidden(json, "nodes"), WIDE - 30);
    assert_int_equal(hidden(json, "value"), WIDE - 30);
    assert_int_equal(hidden(json, "base_value"), -1); /* there is no base: nothing is said of one */
    si__json_free(json);
}

static void a_small_tree_is_whole(void **state) {
    (void)state;
    si__json *json = write_view(calls, CALLS, CALLS, base, 3, 1);
    assert_int_equal(si__json_get(json, "nodes")->count, CALLS);
    assert_int_equal(hidden(json, "nodes"), 0);
    assert_int_equal(hidden(json, "base_value"), 0);
    si__json_free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_vanished_is_no_more_hidden_than_what_is_new),
        cmocka_unit_test(a_base_is_weighed_after_its_factor),
        cmocka_unit_test(the_day_of_trends_hides_nothing_of_the_selection),
        cmocka_unit_test(calls_of_equal_weight_are_not_hidden_together),
        cmocka_unit_test(a_small_tree_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
