/*
 * Makes the Nth allocation fail, for tests linked with -Wl,--wrap of malloc, calloc, realloc and strdup.
 * Counts the allocations of all threads; 0 turns it off.
 */
#ifndef SPEC_ALLOC_FAIL_H
#define SPEC_ALLOC_FAIL_H

#include <stdatomic.h>
#include <stddef.h>

static atomic_long alloc_fail_countdown; /* the allocation that brings it from 1 to 0 fails; below: off */
static atomic_int alloc_fail_hit;

static inline void alloc_fail_at(long nth) {
    atomic_store(&alloc_fail_hit, 0);
    atomic_store(&alloc_fail_countdown, nth);
}

static inline int alloc_fail_now(void) {
    if (atomic_load(&alloc_fail_countdown) <= 0 || atomic_fetch_sub(&alloc_fail_countdown, 1) != 1) return 0;
    atomic_store(&alloc_fail_hit, 1);
    return 1;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t size) {
    return alloc_fail_now() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    return alloc_fail_now() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return alloc_fail_now() ? NULL : __real_realloc(old, size);
}
char *__wrap_strdup(const char *text) {
    return alloc_fail_now() ? NULL : __real_strdup(text);
}

#endif
