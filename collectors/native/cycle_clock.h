/*
 * The clock that waits are timed with: the processor's own counter where the kernel goes by it too, which is exact and
 * costs a third of CLOCK_MONOTONIC; else that clock, where it costs no system call; else the kernel's coarse one.
 *
 * A counter has no fixed frequency that we could rely on (machines are suspended and moved). So a stretch of cycles is
 * turned into nanoseconds by two moments at which both clocks were read: one before it, one after it.
 *
 * Written by the probe; read by the probe's host threads and, for waits in progress, by the reader of its region.
 */
#ifndef SI_NATIVE_CYCLE_CLOCK_H
#define SI_NATIVE_CYCLE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

typedef enum si__cycle_source {
    SI__CYCLES_CLOCK,   /* nanoseconds of CLOCK_MONOTONIC */
    SI__CYCLES_COARSE,  /* of CLOCK_MONOTONIC_COARSE: by ticks of 1 to 10 ms */
    SI__CYCLES_COUNTER, /* the processor's */
    SI__CYCLES_NONE     /* the program may read no clock: every reading is 0 */
} si__cycle_source;

/* One moment on both clocks. For all sources but the counter they are the same. */
typedef struct si__cycle_moment {
    uint64_t cycles, ns; /* ns: CLOCK_MONOTONIC */
} si__cycle_moment;

/* What this process reads; SI__CYCLES_CLOCK until it was chosen. */
extern _Atomic int si__cycle_source_now;
/* When it was chosen: before all waits of this process, and of its children. */
extern si__cycle_moment si__cycle_first;

/* Chooses the source, once; a few system calls. Opener's thread, before the region is made. Keeps errno. */
void si__cycle_clock_choose(void);

/* Takes `source` from now on: SI__CYCLES_NONE for a program that forbids itself to read clocks, others in tests. */
void si__cycle_clock_use(si__cycle_source source);

/* For the sources that cost a call. */
uint64_t si__cycles_slowly(void);

#if defined(__x86_64__)
#define SI__HAS_COUNTER 1
static inline uint64_t si__counter(void) {
    return __builtin_ia32_rdtsc();
}
#elif defined(__aarch64__)
#define SI__HAS_COUNTER 1
static inline uint64_t si__counter(void) {
    uint64_t now;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
    return now;
}
#else
#define SI__HAS_COUNTER 0
static inline uint64_t si__counter(void) {
    return 0;
}
#endif

/* Now. Async-signal-safe, any thread. */
static inline uint64_t si__cycles(void) {
    int source = atomic_load_explicit(&si__cycle_source_now, memory_order_relaxed);
    if (SI__HAS_COUNTER && __builtin_expect(source == SI__CYCLES_COUNTER, 1)) return si__counter();
    return si__cycles_slowly();
}

/* This moment, as read by a process whose source is `source`, not necessarily this one. */
si__cycle_moment si__cycle_moment_now(si__cycle_source source);

/* Nanoseconds of a cycle between two moments. What cannot be (clocks that were set, moments out of order) gives 0. */
double si__cycle_length_ns(const si__cycle_moment *from, const si__cycle_moment *to);

#endif
