/* A forked child walks with the tables of its parent: whole stacks at once, and none that other tables were behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <unistd.h>

#include "unwind_reference.h"

typedef struct family {
    int fd; /* the parent's region, as the publisher has it */
    si__region *parent, *published, *child;
    si__unwind_cache *cache;
    si__module_list modules;
    uint64_t lo, hi;
} family;

static void publish(family *f) {
    size_t unavailable;
    assert_true(si__unwind_publish(f->cache, f->published, f->modules.items, f->modules.count, "", &unavailable) > 0);
}

static si__region *make_region(int *fd) {
    int error;
    si__region *region = si__region_create(fd, &error);
    assert_non_null(region);
    return region;
}

static si__region *make_child(void) {
    int fd;
    si__region *region = make_region(&fd);
    close(fd);
    return region;
}

static int setup(void **state) {
    static family f;
    int error;
    f = (family){0};
    f.parent = make_region(&f.fd);
    f.published = si__region_map(f.fd, &error);
    f.cache = si__unwind_cache_new();
    assert_non_null(f.published);
    assert_int_equal(si__module_list_read(getpid(), &f.modules), 0);
    main_stack_bounds(&f.lo, &f.hi);
    publish(&f);
    f.child = make_child();
    si__unwind_inherit(f.parent, f.child);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    family *f = *state;
    si__unwind_cache_free(f->cache);
    si__module_list_free(&f->modules);
    si__region_unmap(f->published);
    si__region_unmap(f->child);
    close(f->fd);
    return 0;
}

/* Frames of this very stack. */
static unsigned walk_here(const family *f, si__region *region, unsigned *flags) {
    uint64_t pcs[SI__FRAMES_MAX] = {0};
    si__regs regs;
    *flags = 0;
    si__regs_here(&regs);
    unsigned frames = si__unwind(region, NULL, &regs, f->lo, f->hi, pcs, SI__FRAMES_MAX, flags);
    for (unsigned i = frames; i < SI__FRAMES_MAX; i++) assert_int_equal(pcs[i], 0);
    return frames;
}

static void a_child_has_whole_stacks_at_once(void **state) {
    family *f = *state;
    unsigned flags;
    assert_int_equal(atomic_load(&f->child->inherits), 1);
    for (int i = 0; i < 3; i++) {
        unsigned frames = walk_here(f, f->child, &flags);
        assert_true(frames > 4);
        assert_int_equal(flags, 0);
        assert_int_equal(frames, walk_here(f, f->published, &flags));
    }
    assert_int_equal(atomic_load(&f->child->modules_wanted), 1);
}

static void tables_are_kept_by_regions_alone_when_nobody_asks_for_more(void **state) {
    family *f = *state;
    unsigned flags;
    assert_int_equal(si__unwind_cache_age(f->cache), 0); /* they were used just now */
    assert_true(si__unwind_cache_age(f->cache) > 10000);
    assert_int_equal(si__unwind_cache_age(f->cache), 0);
    assert_true(walk_here(f, f->published, &flags) > 4);
    assert_int_equal(flags, 0);
    publish(f); /* with the tables that are there */
    assert_true(walk_here(f, f->published, &flags) > 4);
    si__region *other = make_child();
    size_t unavailable; /* with new ones */
    assert_true(si__unwind_publish(f->cache, other, f->modules.items, f->modules.count, "", &unavailable) > 0);
    assert_true(walk_here(f, other, &flags) > 4);
    assert_int_equal(flags, 0);
    si__unwind_forget(f->cache, other);
    si__region_unmap(other);
}

static void a_region_that_is_let_go_of_is_as_it_was(void **state) {
    family *f = *state;
    unsigned flags;
    int error;
    si__region *other = si__region_map(f->fd, &error); /* as another process has it */
    assert_non_null(other);
    atomic_store(&other->live_refused, 77);
    si__region_let_go(f->published);
    assert_int_equal(atomic_load(&f->published->live_refused), 77);
    assert_int_equal(f->published->magic, SI__REGION_MAGIC);
    atomic_store(&f->published->live_refused, 78);
    si__region_let_go(f->published);
    assert_int_equal(atomic_load(&other->live_refused), 78);
    assert_true(walk_here(f, f->published, &flags) > 4);
    assert_int_equal(flags, 0);
    si__region_unmap(other);
}

static void other_tables_of_the_parent_are_not_believed(void **state) {
    family *f = *state;
    unsigned flags;
    publish(f);
    assert_int_equal(walk_here(f, f->child, &flags), 1);
    assert_int_equal(flags, SI__STACK_TRUNCATED);
    assert_int_equal(atomic_load(&f->child->inherits), 0);
    assert_int_equal(atomic_load(&f->child->modules_wanted), 2); /* asks for its own, once */
    walk_here(f, f->child, &flags);
    assert_int_equal(atomic_load(&f->child->modules_wanted), 2);
}

static void a_grandchild_inherits_what_its_parent_had_inherited(void **state) {
    family *f = *state;
    unsigned flags;
    si__region *grandchild = make_child();
    si__unwind_inherit(f->child, grandchild);
    f->child = grandchild;
    assert_int_equal(atomic_load(&grandchild->inherits), 1);
    assert_true(walk_here(f, grandchild, &flags) > 4);
    assert_int_equal(flags, 0);
    publish(f);
    walk_here(f, grandchild, &flags);
    si__region *next = make_child();
    si__unwind_inherit(grandchild, next);
    f->child = next;
    assert_int_equal(atomic_load(&next->inherits), 0); /* nothing to hand on */
    walk_here(f, next, &flags);
    assert_int_equal(flags, SI__STACK_TRUNCATED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_child_has_whole_stacks_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_are_kept_by_regions_alone_when_nobody_asks_for_more, setup, teardown),
        cmocka_unit_test_setup_teardown(a_region_that_is_let_go_of_is_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(other_tables_of_the_parent_are_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_grandchild_inherits_what_its_parent_had_inherited, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
