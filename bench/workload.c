/*
 * The benchmark's work. Compiled without frame pointers, as distributions do, so that a sampler cannot take the easy
 * way.
 */
#include "workload.h"

#include <stdlib.h>

typedef struct descent {
    void (*leaf)(void *arg);
    void *arg;
} descent;

/* Functions of their own, not one that recurses: each has another frame size, as in a real program. */
#define LEVEL(number, next, bytes)                                                                                     \
    __attribute__((noinline)) static void level_##number(descent *d) {                                                 \
        volatile char room[bytes];                                                                                     \
        room[0] = (char)number;                                                                                        \
        next(d);                                                                                                       \
        room[bytes - 1] = room[0]; /* not a tail call */                                                               \
    }

static void call_leaf(descent *d) {
    d->leaf(d->arg);
}

LEVEL(20, call_leaf, 16)
LEVEL(19, level_20, 48)
LEVEL(18, level_19, 16)
LEVEL(17, level_18, 200)
LEVEL(16, level_17, 32)
LEVEL(15, level_16, 64)
LEVEL(14, level_15, 16)
LEVEL(13, level_14, 16)
LEVEL(12, level_13, 500)
LEVEL(11, level_12, 24)

static descent *sorted_for;

/* The middle of the stack is libc's: qsort calls back. */
static int compare(const void *a, const void *b) {
    (void)a, (void)b;
    if (sorted_for) {
        descent *d = sorted_for;
        sorted_for = NULL;
        level_11(d);
    }
    return 0;
}

static void through_libc(descent *d) {
    int two[2] = {1, 2};
    sorted_for = d;
    qsort(two, 2, sizeof *two, compare);
    sorted_for = NULL;
}

LEVEL(10, through_libc, 16)
LEVEL(9, level_10, 40)
LEVEL(8, level_9, 16)
LEVEL(7, level_8, 96)
LEVEL(6, level_7, 16)
LEVEL(5, level_6, 16)
LEVEL(4, level_5, 300)
LEVEL(3, level_4, 16)
LEVEL(2, level_3, 56)
LEVEL(1, level_2, 16)

void workload_under_stack(void (*leaf)(void *arg), void *arg) {
    descent d = {leaf, arg};
    level_1(&d);
}

__attribute__((aligned(64))) uint64_t workload_walk(unsigned rounds) {
    enum { WORDS = 16 * 1024 / sizeof(uint64_t) };
    static uint64_t words[WORDS] __attribute__((aligned(4096)));
    uint64_t sum = 1;
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < WORDS; i++) {
            sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15ull;
            words[i] = sum >> 7;
        }
    return sum;
}

uint64_t workload_evict(void) {
    enum { WORDS = 4 * 1024 * 1024 / sizeof(uint64_t) };
    static uint64_t words[WORDS];
    uint64_t sum = 0;
    for (size_t i = 0; i < WORDS; i += 8) sum += words[i]++;
    return sum;
}
