/*
 * Allocations that fail on purpose, for tests linked with ${SI_WRAP_MALLOC}: every malloc, calloc and realloc of
 * the test and the code under test comes through here.
 */
#ifndef SI_SPEC_ALLOCATION_H
#define SI_SPEC_ALLOCATION_H

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);

static long allocations_left = -1; /* -1: all succeed */

static int allocation_fails(void) {
    if (allocations_left < 0) return 0;
    if (allocations_left-- > 0) return 0;
    allocations_left = 0; /* once out of memory, always: the harder case */
    errno = ENOMEM;
    return 1;
}

void *__wrap_malloc(size_t bytes) {
    return allocation_fails() ? NULL : __real_malloc(bytes);
}
void *__wrap_calloc(size_t count, size_t bytes) {
    return allocation_fails() ? NULL : __real_calloc(count, bytes);
}
void *__wrap_realloc(void *old, size_t bytes) {
    return allocation_fails() ? NULL : __real_realloc(old, bytes);
}

/* Runs fn with memory for 0, 1, 2, ... allocations until it says 1 (went through). Returns how many it took. */
__attribute__((unused)) static long fail_every_allocation(int (*fn)(void)) {
    for (long n = 0;; n++) {
        allocations_left = n;
        int whole = fn();
        allocations_left = -1;
        if (whole) return n;
    }
}

#endif
