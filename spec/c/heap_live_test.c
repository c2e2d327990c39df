/* The live table: what was added is found, what was released is gone, whatever the order and however many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/live.h"

static si__region *region;

static const void *at(uint64_t address) {
    return (const void *)(uintptr_t)address;
}

static int setup(void **state) {
    (void)state;
    int fd, error;
    region = si__region_create(&fd, &error);
    if (region) close(fd);
    return region ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    si__live_clear(region);
    si__region_unmap(region);
    return 0;
}

static void what_was_added_is_read_back(void **state) {
    (void)state;
    uint64_t serial;
    si__live_entry entry;
    assert_int_equal(si__live_maybe(at(0x1000)), 0);
    uint32_t index = si__live_add(region, at(0x1000), 4096, 3 * 65536, &serial);
    assert_int_not_equal(index, SI__LIVE_NONE);
    assert_int_equal(si__live_maybe(at(0x1000)), 1);
    assert_int_equal(si__live_at(region, index, serial, &entry), 1);
    assert_int_equal(entry.address, 0x1000);
    assert_int_equal(entry.bytes, 4096);
    assert_int_equal(entry.objects_q16, 3 * 65536);
    assert_int_equal(si__live_at(region, index, serial + 1, &entry), 0);
    assert_int_equal(si__live_at(region, SI__LIVE_COUNT, serial, &entry), 0);

    assert_int_equal(si__live_take(region, at(0x2000)), SI__LIVE_NONE);
    assert_int_equal(si__live_take(region, at(0x1000)), index);
    assert_int_equal(si__live_take(region, at(0x1000)), SI__LIVE_NONE); /* in our hands */
    assert_int_equal(si__live_at(region, index, serial, &entry), 1);    /* and still live */
    assert_int_equal(entry.address, 0x1000);
    si__live_put_back(region, index, at(0x1000));
    assert_int_equal(si__live_take(region, at(0x1000)), index);
    si__live_drop(region, index, at(0x1000));
    assert_int_equal(si__live_at(region, index, serial, &entry), 0);
    assert_int_equal(si__live_maybe(at(0x1000)), 0);
    assert_int_equal(si__live_count(), 0);
}

static void an_address_is_live_once(void **state) {
    (void)state;
    uint64_t first, second;
    si__live_entry entry;
    si__live_add(region, at(0x5550), 100, 65536, &first); /* its release is never seen */
    uint32_t index = si__live_add(region, at(0x5550), 200, 65536, &second);
    assert_int_equal(si__live_count(), 1);
    assert_int_equal(si__live_at(region, index, second, &entry), 1);
    assert_int_equal(entry.bytes, 200);
    assert_true(second > first);
}

static void a_full_table_refuses_and_says_so(void **state) {
    (void)state;
    si__heap_sums sums;
    uint64_t serial, kept = 0, added = SI__LIVE_COUNT + 1000;
    for (uint64_t i = 1; i <= added; i++) kept += si__live_add(region, at(i * 16), 10, 65536, &serial) != SI__LIVE_NONE;
    assert_true(kept > SI__LIVE_COUNT / 2);
    si__heap_sums_read(region, &sums);
    assert_int_equal(sums.entries, kept);
    assert_int_equal(sums.refused, added - kept);
    assert_float_equal(sums.live_bytes, 10.0 * (double)kept, 0.5);
    assert_float_equal(sums.live_objects, (double)kept, 0.001);
    for (uint64_t i = 1; i <= added; i++) {
        uint32_t index = si__live_take(region, at(i * 16));
        if (index == SI__LIVE_NONE) continue;
        si__live_drop(region, index, at(i * 16));
        kept--;
    }
    assert_int_equal(kept, 0);
    assert_int_equal(si__live_count(), 0);
    for (uint64_t i = 1; i <= added; i++) assert_int_equal(si__live_maybe(at(i * 16)), 0);
}

/* Readers look at pages that were ever used, and both sides have them in memory. */
static void few_entries_touch_few_pages(void **state) {
    (void)state;
    enum { ENTRIES = 500 };
    uint64_t serial;
    int pages = 0;
    for (uint64_t i = 1; i <= ENTRIES; i++)
        assert_int_not_equal(si__live_add(region, at(i * 0x12340), 10, 65536, &serial), SI__LIVE_NONE);
    for (size_t i = 0; i < SI__LIVE_CHUNKS / 64; i++) pages += __builtin_popcountll(region->live_chunks[i]);
    assert_in_range(pages, 1, 24); /* of 512, where it was 300 */
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        uint32_t index = si__live_take(region, at(i * 0x12340));
        assert_int_not_equal(index, SI__LIVE_NONE);
        si__live_drop(region, index, at(i * 0x12340));
    }
}

/* ---- Threads ---- */

enum { THREADS = 4, HELD = 64 };
static _Atomic int stop;

/* Every entry's numbers follow from its address, so a reader can tell one that is put together from two. */
static void *churn(void *arg) {
    uint64_t base = (uint64_t)(uintptr_t)arg << 32, held[HELD] = {0}, serial;
    for (uint64_t round = 0; !stop; round++) {
        uint64_t *slot = &held[round % HELD];
        if (*slot) {
            uint32_t index = si__live_take(region, at(*slot));
            if (index == SI__LIVE_NONE) abort();
            if (round % 3 == 0) { /* a realloc that failed */
                si__live_put_back(region, index, at(*slot));
                if (si__live_take(region, at(*slot)) != index) abort();
            }
            si__live_drop(region, index, at(*slot));
        }
        *slot = base + (round * 7919 % 4096) * 16 + 16;
        if (si__live_add(region, at(*slot), (int64_t)(*slot * 3), *slot & 0xffff, &serial) == SI__LIVE_NONE) *slot = 0;
    }
    for (int i = 0; i < HELD; i++) {
        uint32_t index = held[i] ? si__live_take(region, at(held[i])) : SI__LIVE_NONE;
        if (index != SI__LIVE_NONE) si__live_drop(region, index, at(held[i]));
    }
    return NULL;
}

static void check(void *arg, const si__live_entry *entry) {
    uint64_t *seen = arg;
    assert_int_equal(entry->bytes, (int64_t)(entry->address * 3));
    assert_int_equal(entry->objects_q16, entry->address & 0xffff);
    ++*seen;
}

static void readers_see_whole_entries_while_threads_change_them(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    uint64_t seen = 0;
    stop = 0;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
    while (seen < 200000) si__live_each(region, check, &seen);
    stop = 1;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(si__live_count(), 0);
    seen = 0;
    si__live_each(region, check, &seen);
    assert_int_equal(seen, 0);
}

/* Another process's region is hostile input. */
static void nonsense_in_the_table_is_passed_over(void **state) {
    (void)state;
    si__heap_sums sums;
    for (uint32_t i = 0; i < SI__LIVE_CHUNKS / 64; i++) region->live_chunks[i] = UINT64_MAX;
    srand(7);
    for (uint32_t i = 0; i < SI__LIVE_COUNT; i++) {
        si__live *entry = si__region_live(region, i);
        entry->address = (uint64_t)rand() << 33 | (uint64_t)rand();
        entry->bytes = (int64_t)((uint64_t)rand() << 33 | (uint64_t)rand());
        entry->objects_q16 = (uint64_t)rand() << 33;
        entry->serial = (uint64_t)rand();
    }
    region->slots_used = UINT32_MAX;
    si__heap_sums_read(region, &sums);
    assert_true(sums.live_bytes >= 0 && sums.live_objects >= 0);
    for (uint32_t i = 0; i < SI__LIVE_COUNT; i++) si__region_live(region, i)->address = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_added_is_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(an_address_is_live_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_refuses_and_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(few_entries_touch_few_pages, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_see_whole_entries_while_threads_change_them, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_in_the_table_is_passed_over, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
