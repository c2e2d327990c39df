/*
 * From samples to names: this test's own stacks, walked with return addresses, become a call tree with functions,
 * lines and inlined calls; what is in no file keeps its place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../runtime/profile/resolve.h"
#include "../../runtime/profile/stack.h"
#include "fixture_code.h"
#include "si/si.h"

static uint64_t pcs[64];
static size_t pc_count;

#ifdef __clang__
#define NEVER_MERGED __attribute__((noinline))
#else
#define NEVER_MERGED __attribute__((noinline, noclone))
#endif

/* Not recursive, not inlined, no tail calls: each is a frame of its own. */
NEVER_MERGED static int level_three(void) {
    pc_count = walk_here(pcs, 64);
    return (int)pc_count;
}
static inline __attribute__((always_inline)) int level_two(void) {
    return level_three() + 1;
}
static const uint32_t level_two_line = __LINE__ - 2; /* the call */
NEVER_MERGED static int level_one(void) {
    return level_two() + 1;
}
static const uint32_t level_one_line = __LINE__ - 2; /* the call */

typedef struct world {
    si__binaries *binaries;
    si__space *space;
    si__stacks *stacks;
    si__profile *profile;
    si__symbolizer *symbolizer;
} world;

static void world_open(world *w) {
    si__module_list modules;
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    w->binaries = si__binaries_new();
    w->space = si__space_new(w->binaries, &modules, "");
    w->stacks = si__stacks_new(0);
    w->profile = si__profile_new();
    w->symbolizer = si__symbolizer_new(0);
    si__module_list_free(&modules);
}

static si__calltree *world_resolve(world *w) {
    si__rawprofile *raw = si__rawprofile_new(w->stacks, w->profile);
    si__calltree *tree = si__resolve(raw, w->symbolizer);
    assert_non_null(tree);
    si__rawprofile_free(raw);
    return tree;
}

static void world_close(world *w) {
    si__symbolizer_free(w->symbolizer);
    si__profile_free(w->profile);
    si__stacks_free(w->stacks);
    si__space_free(w->space);
    si__binaries_free(w->binaries);
}

static const si__frame *frame_of(const si__calltree *tree, uint32_t node) {
    return si__calltree_frame_at(tree, si__calltree_node_at(tree, node)->frame);
}

static uint32_t parent_of(const si__calltree *tree, uint32_t node) {
    return si__calltree_node_at(tree, node)->parent;
}

static uint32_t node_with_value(const si__calltree *tree, int64_t value) {
    for (uint32_t i = 0; i < si__calltree_node_count(tree); i++)
        if (si__calltree_node_at(tree, i)->self_value == value) return i;
    fail();
    return 0;
}

static void names_its_own_stack(void **state) {
    (void)state;
    world w;
    world_open(&w);
    assert_true(level_one() > 3);
    /* The first is where level_three called the unwinder: a return address too, taken as if sampled there. */
    uint32_t node = si__stacks_intern(w.stacks, w.space, pcs, pc_count, 0);
    si__profile_add(w.profile, node, 1234, 2);
    si__calltree *tree = world_resolve(&w);
    assert_int_equal(si__calltree_total_value(tree), 1234);
    assert_int_equal(si__calltree_total_count(tree), 2);

    uint32_t n = node_with_value(tree, 1234);
    assert_string_equal(frame_of(tree, n)->function, "level_three");
    assert_string_equal(frame_of(tree, n)->module, "resolve_test");
    assert_non_null(strstr(frame_of(tree, n)->file, "resolve_test.c"));
    n = parent_of(tree, n);
    assert_string_equal(frame_of(tree, n)->function, "level_two"); /* inlined */
    assert_int_equal(frame_of(tree, n)->line, level_two_line);
    n = parent_of(tree, n);
    assert_string_equal(frame_of(tree, n)->function, "level_one");
    assert_int_equal(frame_of(tree, n)->line, level_one_line);
    n = parent_of(tree, n);
    assert_string_equal(frame_of(tree, n)->function, "names_its_own_stack");
    int found_main = 0, found_cmocka = 0;
    for (; n; n = parent_of(tree, n)) {
        found_main += strcmp(frame_of(tree, n)->function, "main") == 0;
        found_cmocka += strncmp(frame_of(tree, n)->module, "libcmocka", 9) == 0;
    }
    assert_int_equal(found_main, 1);
    assert_true(found_cmocka >= 1);
    si__calltree_free(tree);
    world_close(&w);
}

static void keeps_values_and_unknown_places(void **state) {
    (void)state;
    world w;
    world_open(&w);
    level_one();
    uint64_t unknown[] = {0x1000, pcs[1]}, kernel[] = {0xffffffff80000000ull};
    si__profile_add(w.profile, si__stacks_intern(w.stacks, w.space, unknown, 2, 1 /* truncated */), 10, 1);
    si__profile_add(w.profile, si__stacks_intern(w.stacks, w.space, kernel, 1, 0), 20, 1);
    si__profile_add(w.profile, si__stacks_intern(w.stacks, w.space, pcs, pc_count, 0), 30, 1);
    si__profile_add(w.profile, si__stacks_intern(w.stacks, w.space, pcs + 1, pc_count - 1, 0), 40, 1);
    si__profile_add(w.profile, 0, 50, 1);
    si__calltree *tree = world_resolve(&w);
    assert_int_equal(si__calltree_total_value(tree), 150);
    assert_string_equal(frame_of(tree, node_with_value(tree, 20))->function, "[kernel]");
    uint32_t n = node_with_value(tree, 10);
    assert_string_equal(frame_of(tree, n)->function, "[anonymous]");
    assert_string_equal(frame_of(tree, n)->module, "");
    n = parent_of(tree, parent_of(tree, parent_of(tree, n))); /* level_two and level_one between */
    assert_string_equal(frame_of(tree, n)->function, "[truncated]");
    assert_int_equal(node_with_value(tree, 50), 0);
    si__calltree_free(tree);
    world_close(&w);
}

static void a_return_address_names_the_call_not_what_follows(void **state) {
    (void)state;
    world w;
    world_open(&w);
    /* The first byte after level_three, as if it ended with a call: the call is in level_three. */
    level_one();
    uint64_t start = (uint64_t)(uintptr_t)level_three;
    uint64_t stack[] = {pcs[0], start + 1, start};
    si__profile_add(w.profile, si__stacks_intern(w.stacks, w.space, stack, 3, 0), 1, 1);
    si__calltree *tree = world_resolve(&w);
    uint32_t n = parent_of(tree, node_with_value(tree, 1));
    assert_string_equal(frame_of(tree, n)->function, "level_three");
    assert_string_not_equal(frame_of(tree, parent_of(tree, n))->function, "level_three"); /* start - 1 */
    si__calltree_free(tree);
    world_close(&w);
}

static void an_empty_profile_is_an_empty_tree(void **state) {
    (void)state;
    world w;
    world_open(&w);
    si__calltree *tree = world_resolve(&w);
    assert_int_equal(si__calltree_node_count(tree), 1);
    assert_int_equal(si__calltree_total_value(tree), 0);
    si__calltree_free(tree);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_its_own_stack),
        cmocka_unit_test(keeps_values_and_unknown_places),
        cmocka_unit_test(a_return_address_names_the_call_not_what_follows),
        cmocka_unit_test(an_empty_profile_is_an_empty_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
