/* Publishing with each allocation failing in turn: nothing breaks, nothing is claimed that is not so, and the next time
 * all is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "alloc_fail.h"
#include "unwind_reference.h"

/* Our program, the test library and the vdso: small files, so that the many rounds take no time. */
static size_t keep_small(si__module_list *list) {
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *path = list->items[i].path;
        if (!strstr(path, "unwind_memory_test") && !strstr(path, "cmocka") && strcmp(path, "[vdso]")) continue;
        si__module swap = list->items[kept];
        list->items[kept++] = list->items[i];
        list->items[i] = swap;
    }
    return kept;
}

static void every_failed_allocation_is_survived(void **state) {
    (void)state;
    int fd, error;
    uint64_t lo, hi;
    si__module_list list;
    si__region *region = si__region_create(&fd, &error);
    assert_non_null(region);
    main_stack_bounds(&lo, &hi);
    assert_int_equal(si__module_list_read(getpid(), &list), 0);
    int count = (int)keep_small(&list);
    assert_true(count >= 2);
    long nth = 0, partial = 0, failed = 0;
    do {
        size_t unavailable;
        si__unwind_cache *cache = si__unwind_cache_new();
        alloc_fail_at(++nth);
        int rows = si__unwind_publish(cache, region, list.items, (size_t)count, "", &unavailable);
        int hit = atomic_load(&alloc_fail_hit);
        alloc_fail_at(0);
        if (rows < 0) {
            assert_int_equal(rows, SI_ENOMEM);
            failed++;
        } else {
            assert_int_equal((size_t)rows + unavailable, count);
            if (rows < count) partial++;
        }
        si__regs regs;
        uint64_t pcs[SI__FRAMES_MAX];
        unsigned flags = 0;
        si__regs_here(&regs);
        assert_in_range(si__unwind(region, NULL, &regs, lo, hi, pcs, SI__FRAMES_MAX, &flags), 1, SI__FRAMES_MAX);
        rows = si__unwind_publish(cache, region, list.items, (size_t)count, "", &unavailable);
        assert_int_equal(rows, count);
        assert_int_equal(unavailable, 0);
        si__unwind_cache_free(cache);
        if (!hit) break;
    } while (nth < 10000);
    assert_true(nth > 30 && nth < 10000 && failed > 3 && partial > 10);
    si__module_list_free(&list);
    si__region_unmap(region);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failed_allocation_is_survived)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
