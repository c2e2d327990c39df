/*
 * CLOCK_MONOTONIC as it was at the kernel's last tick (every 1 to 10 ms): a read costs a sixth of an exact one.
 *
 * The difference of two readings is some ticks more or less than the time between them, but right on average, since
 * calls do not start in step with the ticks. That is all that an estimate from samples needs.
 */
#ifndef SI_NATIVE_COARSE_CLOCK_H
#define SI_NATIVE_COARSE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The kernel's function in the vdso; libc's until si__coarse_clock_find has run, and where there is no vdso. */
extern int (*si__coarse_clock)(clockid_t, struct timespec *);

/* Any thread, any time before the readings are to be cheap. No allocation; idempotent. */
void si__coarse_clock_find(void);

static inline uint64_t si__coarse_ns(void) {
    struct timespec now;
    si__coarse_clock(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
