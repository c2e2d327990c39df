/* The stack table, profiles over it, the ring of the last minutes, and raw profiles: on made-up and on real addresses.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/region.h"
#include "../../runtime/profile/profile_ring.h"
#include "../../runtime/profile/rawprofile.h"
#include "../../runtime/profile/stack.h"
#include "allocation.h"
#include "si/si.h"

/* A space of made-up modules: files that do not exist at 0x10000 (app) and 0x20000 (libc), anonymous code at 0x30000.
 */
typedef struct world {
    si__binaries *binaries;
    si__space *space;
} world;

static int world_open(world *w) {
    si__module modules[] = {
        {.start = 0x10000, .end = 0x18000, .file_offset = 0x1000, .device = 1, .inode = 10, .path = "/nowhere/app"},
        {.start = 0x20000, .end = 0x28000, .file_offset = 0, .device = 1, .inode = 11, .path = "/nowhere/libc.so.6"},
        {.start = 0x30000, .end = 0x38000, .file_offset = 0, .path = ""},
    };
    si__module_list list = {modules, 3};
    w->binaries = si__binaries_new();
    w->space = w->binaries ? si__space_new(w->binaries, &list, "") : NULL;
    return w->space != NULL;
}

static void world_close(world *w) {
    si__space_free(w->space);
    if (w->binaries) si__binaries_free(w->binaries);
}

static const si__location *leaf(const si__stacks *stacks, uint32_t node) {
    return si__stacks_location(stacks, si__stacks_node(stacks, node)->location);
}

static uint32_t parent(const si__stacks *stacks, uint32_t node) {
    return si__stacks_node(stacks, node)->parent;
}

static void shares_what_stacks_have_in_common(void **state) {
    (void)state;
    world w;
    assert_true(world_open(&w));
    si__stacks *stacks = si__stacks_new(0);
    uint64_t a[] = {0x20010, 0x10020, 0x10030}, b[] = {0x20050, 0x10020, 0x10030};
    uint32_t x = si__stacks_intern(stacks, w.space, a, 3, 0), y = si__stacks_intern(stacks, w.space, b, 3, 0);
    assert_int_equal(si__stacks_intern(stacks, w.space, a, 3, 0), x);
    assert_int_not_equal(x, y);
    assert_int_equal(parent(stacks, x), parent(stacks, y));
    assert_int_equal(si__stacks_node_count(stacks), 2 + 4);
    assert_int_equal(si__stacks_intern(stacks, w.space, a, 0, 0), 0);

    const si__location *l = leaf(stacks, x);
    assert_string_equal(si__stacks_binary(stacks, l->binary)->name, "libc.so.6");
    assert_int_equal(l->offset, 0x10);
    assert_int_equal(l->flags, SI__LOCATION_EXACT);
    l = leaf(stacks, parent(stacks, x));
    assert_string_equal(si__stacks_binary(stacks, l->binary)->name, "app");
    assert_int_equal(l->offset, 0x1020);
    assert_int_equal(l->flags, 0); /* a return address */

    uint64_t exact[] = {0x10020}; /* the same address as a leaf is another location */
    l = leaf(stacks, si__stacks_intern(stacks, w.space, exact, 1, 0));
    assert_int_equal(l->flags, SI__LOCATION_EXACT);
    uint64_t last[] = {0x10020, 0x28000}; /* a call as the module's last instruction: the return address is past it */
    l = leaf(stacks, parent(stacks, si__stacks_intern(stacks, w.space, last, 2, 0)));
    assert_int_equal(l->offset, 0x8000);
    si__stacks_free(stacks);
    world_close(&w);
}

static void unknown_code_does_not_grow_the_table(void **state) {
    (void)state;
    world w;
    assert_true(world_open(&w));
    si__stacks *stacks = si__stacks_new(0);
    uint32_t first = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t pcs[] = {0x30000 + i * 7, 0x30100 + i * 8, 0x900000 + i, 0x10020};
        uint32_t node = si__stacks_intern(stacks, w.space, pcs, 4, 0);
        if (i == 0) first = node;
        assert_int_equal(node, first);
    }
    assert_string_equal(si__special_name(leaf(stacks, first)->offset), "[anonymous]");
    assert_int_equal(leaf(stacks, first)->binary, 0);
    assert_int_equal(si__stacks_node_count(stacks), 2 + 2);
    uint64_t kernel[] = {0xffffffff81000000ull, 0x10020};
    assert_string_equal(si__special_name(leaf(stacks, si__stacks_intern(stacks, w.space, kernel, 2, 0))->offset),
                        "[kernel]");
    uint64_t zero[] = {0, 0};
    si__stacks_intern(stacks, w.space, zero, 2, 0);
    si__stacks_free(stacks);
    world_close(&w);
}

static void marks_truncated_stacks(void **state) {
    (void)state;
    world w;
    assert_true(world_open(&w));
    si__stacks *stacks = si__stacks_new(0);
    uint64_t pcs[1000];
    for (size_t i = 0; i < 1000; i++) pcs[i] = 0x10000 + i;
    uint32_t node = si__stacks_intern(stacks, w.space, pcs, 2, SI__STACK_TRUNCATED);
    uint32_t outermost = parent(stacks, parent(stacks, node));
    assert_string_equal(si__special_name(leaf(stacks, outermost)->offset), "[truncated]");
    node = si__stacks_intern(stacks, w.space, pcs, 1000, 0); /* more frames than an event can have */
    size_t depth = 0;
    for (; node; node = parent(stacks, node)) depth++;
    assert_int_equal(depth, SI__FRAMES_MAX + 1);
    si__stacks_free(stacks);
    world_close(&w);
}

static void on_signal(int number) {
    (void)number;
}

static void the_frame_under_a_signal_is_exact(void **state) {
    (void)state;
    /* The kernel knows where handlers return to: libc has told it. */
    struct sigaction action = {.sa_handler = on_signal}, old;
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } kernel = {0};
#if !defined(__x86_64__)
    skip(); /* the trampoline is in the vdso */
#endif
    sigaction(SIGUSR2, &action, &old);
    assert_int_equal(syscall(SYS_rt_sigaction, SIGUSR2, NULL, &kernel, sizeof kernel.mask), 0);
    sigaction(SIGUSR2, &old, NULL);
    void *trampoline_address = kernel.restorer;

    si__module_list modules;
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    si__binaries *binaries = si__binaries_new();
    si__space *space = si__space_new(binaries, &modules, "");
    si__stacks *stacks = si__stacks_new(0);
    uint64_t here = (uint64_t)(uintptr_t)on_signal;
    uint64_t pcs[] = {here, (uint64_t)(uintptr_t)trampoline_address, here + 2, here + 1};
    uint32_t node = si__stacks_intern(stacks, space, pcs, 4, 0);
    node = parent(stacks, node);
    const si__location *l = leaf(stacks, node);
    assert_int_equal(l->offset, si__stacks_binary(stacks, l->binary)->sigreturn_offset);
    assert_int_equal(l->flags, SI__LOCATION_EXACT);
    node = parent(stacks, node);
    assert_int_equal(leaf(stacks, node)->flags, SI__LOCATION_EXACT); /* interrupted, not calling */
    node = parent(stacks, node);
    assert_int_equal(leaf(stacks, node)->flags, 0);

    /* Sampled on the trampoline itself: the interrupted frame is exact then, too, and known stacks do not hide it. */
    for (int round = 0; round < 2; round++) {
        node = si__stacks_intern(stacks, space, pcs + 1, 3, 0);
        assert_int_equal(leaf(stacks, parent(stacks, node))->flags, SI__LOCATION_EXACT);
        assert_int_equal(leaf(stacks, parent(stacks, parent(stacks, node)))->flags, 0);
    }

    /* The test itself has a build id, as the linker's default is, and so does libc. */
    for (size_t i = 1; i < si__stacks_binary_count(stacks); i++)
        assert_true(strlen(si__stacks_binary(stacks, (uint32_t)i)->build_id) >= 16);
    si__stacks_free(stacks);
    si__space_free(space);
    assert_true(si__binaries_count(binaries) > 2);
    si__binaries_trim(binaries);
    assert_int_equal(si__binaries_count(binaries), 0); /* nobody holds one any more */
    si__binaries_free(binaries);
    si__module_list_free(&modules);
}

static void a_full_table_says_so_and_recovers(void **state) {
    (void)state;
    world w;
    assert_true(world_open(&w));
    si__stacks *stacks = si__stacks_new(100);
    si__profile *profile = si__profile_new();
    uint64_t kept[] = {0x10001, 0x20001};
    si__profile_add(profile, si__stacks_intern(stacks, w.space, kept, 2, 0), 7, 1);
    uint32_t full = 0;
    for (uint64_t i = 0; i < 500; i++) {
        uint64_t pcs[] = {0x10000 + i * 3, 0x20000 + i};
        full = si__stacks_intern(stacks, w.space, pcs, 2, 0);
        si__profile_add(profile, full, 0, 0);
        si__profile_clear(profile);
    }
    assert_string_equal(si__special_name(leaf(stacks, full)->offset), "[stack table full]");
    assert_true(si__stacks_refused(stacks) > 400);
    assert_true(si__stacks_fill(stacks) >= 0.5);
    assert_true(si__stacks_node_count(stacks) <= 100);

    uint32_t node = si__stacks_intern(stacks, w.space, kept, 2, 0);
    si__profile_add(profile, node, 7, 1);
    si__profile *const live[] = {profile};
    assert_int_equal(si__stacks_collect(stacks, live, 1, NULL, 0), 0);
    assert_int_equal(si__stacks_node_count(stacks), 4);
    assert_int_equal(si__profile_at(profile, 0)->node, si__stacks_intern(stacks, w.space, kept, 2, 0));
    assert_int_equal(si__profile_total_value(profile), 7);
    uint64_t fresh[] = {0x10777, 0x20001};
    assert_int_not_equal(si__stacks_intern(stacks, w.space, fresh, 2, 0), 1);
    si__profile_free(profile);
    si__stacks_free(stacks);
    world_close(&w);
}

static void profiles_add_merge_and_export(void **state) {
    (void)state;
    world w;
    assert_true(world_open(&w));
    si__stacks *stacks = si__stacks_new(0);
    si__profile *a = si__profile_new(), *b = si__profile_new();
    uint64_t pcs[] = {0, 0x10020, 0x10030}, unused[] = {0x20666};
    si__stacks_intern(stacks, w.space, unused, 1, 0);
    for (uint64_t i = 0; i < 100; i++) {
        pcs[0] = 0x20000 + i % 10;
        si__profile_add(i % 2 ? a : b, si__stacks_intern(stacks, w.space, pcs, 3, 0), (int64_t)i, 1);
    }
    si__profile_merge(a, b);
    assert_int_equal(si__profile_count(a), 10);
    assert_int_equal(si__profile_total_value(a), 4950);
    assert_int_equal(si__profile_total_count(a), 100);

    si__rawprofile *raw = si__rawprofile_new(stacks, a);
    si__stacks_free(stacks); /* a raw profile stands alone */
    si__space_free(w.space);
    w.space = NULL;
    assert_int_equal(raw->node_count, 1 + 2 + 10);
    assert_int_equal(raw->location_count, 12);
    assert_int_equal(raw->binary_count, 3);
    int64_t value = 0;
    uint64_t count = 0;
    for (size_t i = 0; i < raw->node_count; i++) {
        value += raw->nodes[i].self_value;
        count += raw->nodes[i].self_count;
        if (i > 0) assert_true(raw->nodes[i].parent < i);
        if (i > 0) assert_true(raw->nodes[i].location < raw->location_count);
    }
    assert_int_equal(value, raw->total_value);
    assert_int_equal(count, raw->total_count);
    assert_string_equal(raw->binaries[raw->locations[0].binary]->path,
                        raw->locations[0].offset >= 0x1000 ? "/nowhere/app" : "/nowhere/libc.so.6");
    si__profile_clear(a);
    assert_int_equal(si__profile_count(a) + si__profile_total_count(a), 0);
    si__rawprofile_free(raw);
    si__profile_free(a);
    si__profile_free(b);
    world_close(&w);
}

static void the_ring_keeps_the_last_minutes(void **state) {
    (void)state;
    const uint64_t second = 1000000000;
    si__profile_ring *ring = si__profile_ring_new(10 * second, 12);
    si__profile *window = si__profile_new();
    assert_true(si__profile_ring_take(ring, 0, 100 * second, window) == 0);
    for (uint64_t t = 1000; t < 1200; t++) si__profile_ring_add(ring, t * second, 5 + t % 3, 1, 1);
    /* 1080..1200 is kept: 12 slices */
    assert_true(si__profile_ring_take(ring, 0, 1200 * second, window) == 120 * second);
    assert_int_equal(si__profile_total_count(window), 120);
    assert_int_equal(si__profile_count(window), 3);
    si__profile_clear(window);
    assert_true(si__profile_ring_take(ring, 1150 * second, 1205 * second, window) == 55 * second); /* now is later */
    assert_int_equal(si__profile_total_count(window), 50);
    si__profile_clear(window);
    si__profile_ring_add(ring, 1001 * second, 5, 1, 1); /* too late */
    si__profile_ring_add(ring, 1081 * second, 5, 1, 1); /* late, still kept */
    si__profile_ring_take(ring, 1080 * second, 1090 * second, window);
    assert_int_equal(si__profile_total_count(window), 11);
    si__profile_clear(window);
    si__profile_ring_add(ring, 5000 * second, 9, 1, 1); /* after a long idle time nothing old shows up */
    si__profile_ring_take(ring, 0, 5001 * second, window);
    assert_int_equal(si__profile_total_count(window), 1);

    si__profile *slices[16];
    assert_int_equal(si__profile_ring_profiles(ring, slices, 16), 12);
    si__profile_ring_clear(ring);
    assert_int_equal(si__profile_ring_profiles(ring, slices, 16), 0);
    assert_null(si__profile_ring_new(0, 5));
    si__profile_free(window);
    si__profile_ring_free(ring);
}

static int build(void) {
    world w = {0};
    si__stacks *stacks = NULL;
    si__profile *profile = NULL;
    si__rawprofile *raw = NULL;
    int whole = world_open(&w) && (stacks = si__stacks_new(0)) && (profile = si__profile_new());
    uint64_t refused = 0;
    for (uint64_t i = 0; whole && i < 400; i++) {
        uint64_t pcs[] = {0x10000 + i * 3, 0x20000 + i, 0x10005};
        si__profile_add(profile, si__stacks_intern(stacks, w.space, pcs, 3, 0), 1, 1);
    }
    if (whole) {
        assert_int_equal(si__profile_total_count(profile), 400); /* what is lost is counted all the same */
        refused = si__stacks_refused(stacks);
        raw = si__rawprofile_new(stacks, profile);
        if (raw) assert_int_equal(raw->total_value, 400);
        whole = raw && si__stacks_collect(stacks, &profile, 1, NULL, 0) == 0;
    }
    if (w.binaries) whole = whole && si__binaries_count(w.binaries) == 2 && refused == 0;
    whole = whole && si__profile_count(profile) == 400; /* the ones the root had to take show as fewer */
    si__rawprofile_free(raw);
    si__profile_free(profile);
    si__stacks_free(stacks);
    world_close(&w);
    return whole;
}

static void survives_every_failing_allocation(void **state) {
    (void)state;
    assert_true(fail_every_allocation(build) > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_what_stacks_have_in_common),
        cmocka_unit_test(unknown_code_does_not_grow_the_table),
        cmocka_unit_test(marks_truncated_stacks),
        cmocka_unit_test(the_frame_under_a_signal_is_exact),
        cmocka_unit_test(a_full_table_says_so_and_recovers),
        cmocka_unit_test(profiles_add_merge_and_export),
        cmocka_unit_test(the_ring_keeps_the_last_minutes),
        cmocka_unit_test(survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
