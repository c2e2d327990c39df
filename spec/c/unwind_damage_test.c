/*
 * The walker over damaged arenas and invented stacks: both lie between unmapped pages here, so that one load outside
 * ends the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include "../../collectors/native/unwind_table.h"
#include "unwind_reference.h"

static uint64_t random_state = 88172645463325252ull;
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* A region whose arena has an unmapped page on both sides. */
enum { PAGE = 4096, SLOTS_BYTES = SI__SLOT_COUNT * sizeof(si__slot), ARENA_AT = PAGE + SLOTS_BYTES + PAGE };
static si__region *guarded_region(size_t *total) {
    *total = ARENA_AT + SI__UNWIND_ARENA_BYTES + PAGE;
    char *base = mmap(NULL, *total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(base != MAP_FAILED);
    mprotect(base + ARENA_AT - PAGE, PAGE, PROT_NONE);
    mprotect(base + ARENA_AT + SI__UNWIND_ARENA_BYTES, PAGE, PROT_NONE);
    si__region *region = (void *)base;
    region->slots_off = PAGE;
    region->unwind_off = ARENA_AT;
    region->total_bytes = *total;
    return region;
}

/* A stack with unmapped pages around it, full of what a walk may take for frames. */
enum { FAKE_WORDS = 2048 };
static uint64_t *fake_stack(void) {
    char *base = mmap(NULL, FAKE_WORDS * 8 + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    mprotect(base, PAGE, PROT_NONE);
    mprotect(base + PAGE + FAKE_WORDS * 8, PAGE, PROT_NONE);
    return (uint64_t *)(void *)(base + PAGE);
}

static uint64_t plausible_word(const si__module_list *list, const uint64_t *fake) {
    uint64_t r = next_random();
    const si__module *m = &list->items[r % list->count];
    switch (r >> 32 & 3) {
    case 0:
    case 1:
        return m->start + next_random() % (m->end - m->start);
    case 2:
        return (uint64_t)(uintptr_t)(fake + next_random() % FAKE_WORDS);
    default:
        return next_random() >> (next_random() & 63);
    }
}

static void walk_fake(si__region *region, const si__module_list *list, uint64_t *fake) {
    si__regs regs;
    uint64_t *each = (uint64_t *)&regs, pcs[64], lo = (uint64_t)(uintptr_t)fake;
    unsigned flags = 0;
    for (unsigned i = 0; i < 32; i++) fake[next_random() % FAKE_WORDS] = plausible_word(list, fake);
    for (unsigned i = 0; i < sizeof(regs) / 8; i++) each[i] = plausible_word(list, fake);
    regs.sp = lo + next_random() % (FAKE_WORDS * 8 + 16);
    if (next_random() % 8) regs.sp &= ~7ull;
    unsigned count = si__unwind(region, NULL, &regs, lo, lo + FAKE_WORDS * 8, pcs, 64, &flags);
    assert_in_range(count, 1, 64);
}

static void no_stack_makes_it_read_elsewhere(void **state) {
    (void)state;
    si__module_list list;
    size_t total;
    si__region *region = guarded_region(&total);
    si__unwind_cache *cache = si__unwind_cache_new();
    uint64_t *fake = fake_stack();
    void *crypto = dlopen("libcrypto.so.3", RTLD_NOW); /* has the odd rules */
    int rows;
    size_t unavailable;
    assert_int_equal(si__module_list_read(getpid(), &list), 0);
    publish_self(cache, region, &rows, &unavailable);
    assert_true(rows >= 4);
    for (unsigned i = 0; i < FAKE_WORDS; i++) fake[i] = plausible_word(&list, fake);
    for (unsigned round = 0; round < 60000; round++) walk_fake(region, &list, fake);
    munmap((char *)fake - PAGE, FAKE_WORDS * 8 + 2 * PAGE);
    si__module_list_free(&list);
    if (crypto) dlclose(crypto);
    si__unwind_cache_free(cache);
    munmap(region, total);
}

static si__unwind_table *published_table(si__region *region, unsigned module) {
    si__unwind_arena *arena = (void *)((char *)region + region->unwind_off);
    si__unwind_root *root = (void *)((char *)arena + (atomic_load(&arena->root) & 0xffffffffu) * SI__ARENA_UNIT);
    assert_true(module < root->count);
    si__unwind_entry *entries = (void *)((uint64_t *)(void *)(root + 1) + root->count);
    return entries[module].table ? (void *)((char *)arena + entries[module].table * (size_t)SI__ARENA_UNIT) : NULL;
}

/* Overwrites a few words: of the root, of a table's head, or anywhere. */
static void damage(char *arena, size_t used, uint64_t root, const uint64_t *tables, size_t table_count,
                   unsigned words) {
    static const uint32_t extremes[] = {0,          1,          4,          63,         64,
                                        0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff, SI__UNWIND_ARENA_BYTES - 8};
    for (unsigned i = 0; i < words; i++) {
        uint64_t at = next_random() % used, r = next_random();
        if (r % 3 == 0) at = root + next_random() % 512;
        if (r % 3 == 1) at = tables[next_random() % table_count] + next_random() % sizeof(si__unwind_table);
        uint32_t value = next_random() & 1 ? (uint32_t)next_random() : extremes[next_random() % 10];
        at &= ~3ull;
        if (at + 4 <= used) memcpy(arena + at, &value, 4);
    }
}

/* A table that claims to be far bigger than the arena, consistently. */
static void enlarge(char *arena, uint64_t table) {
    si__unwind_table *t = (void *)(arena + table);
    t->bytes = 0xfffff000;
    switch (next_random() % 4) {
    case 0:
        t->rows_off = 0xc0000000;
        break;
    case 1:
        t->index_off = 0xc0000000;
        break;
    case 2:
        t->rules_off = 0xc0000000;
        break;
    default:
        t->saves_off = 0xc0000000;
    }
}

/* Rows of a table that all lead anywhere in, or beyond, the rule pool. */
static void misdirect(char *arena, uint64_t table) {
    si__unwind_table *t = (void *)(arena + table);
    uint64_t *rows = (void *)(arena + table + t->rows_off);
    for (uint32_t i = 0; i < t->row_count; i++)
        rows[i] = (rows[i] & ~0xffffffffull) | (uint32_t)next_random() << 3 | SI__ROW_RULE;
}

static void walk_here(si__region *region) {
    uint64_t lo, hi, pcs[SI__FRAMES_MAX];
    unsigned flags = 0;
    si__regs regs;
    main_stack_bounds(&lo, &hi);
    si__regs_here(&regs);
    assert_in_range(si__unwind(region, NULL, &regs, lo, hi, pcs, SI__FRAMES_MAX, &flags), 1, SI__FRAMES_MAX);
}

static void no_arena_makes_it_read_elsewhere(void **state) {
    (void)state;
    size_t total, used = 3 * 1024 * 1024, table_count = 0;
    si__region *region = guarded_region(&total);
    char *arena = (char *)region + region->unwind_off, *sound = malloc(used);
    si__module_list list;
    uint64_t *fake = fake_stack(), tables[64];
    si__unwind_cache *cache = si__unwind_cache_new();
    int rows;
    size_t unavailable;
    assert_non_null(sound);
    assert_int_equal(si__module_list_read(getpid(), &list), 0);
    publish_self(cache, region, &rows, &unavailable);
    assert_true(rows >= 4);
    memcpy(sound, arena, used);
    uint64_t root = (((si__unwind_arena *)(void *)arena)->root & 0xffffffffu) * SI__ARENA_UNIT;
    for (unsigned i = 0; i < list.count && table_count < 64; i++) {
        si__unwind_table *t = published_table(region, i);
        if (t) tables[table_count++] = (uint64_t)((char *)t - arena);
    }
    for (unsigned i = 0; i < FAKE_WORDS; i++) fake[i] = plausible_word(&list, fake);
    for (unsigned round = 0; round < 400; round++) {
        memcpy(arena, sound, used);
        for (size_t i = 0; i < table_count && round % 5 == 0; i++) enlarge(arena, tables[i]);
        for (size_t i = 0; i < table_count && round % 5 == 1; i++) misdirect(arena, tables[i]);
        if (round % 5 > 1) damage(arena, used, root, tables, table_count, round % 4 ? 1 + round % 3 : round);
        for (unsigned i = 0; i < 50; i++) walk_fake(region, &list, fake);
        walk_here(region);
    }
    free(sound);
    munmap((char *)fake - PAGE, FAKE_WORDS * 8 + 2 * PAGE);
    si__module_list_free(&list);
    si__unwind_forget(cache, region);
    si__unwind_cache_free(cache);
    munmap(region, total);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_stack_makes_it_read_elsewhere),
        cmocka_unit_test(no_arena_makes_it_read_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
