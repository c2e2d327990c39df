/* Time of day in Unix milliseconds, and a monotonic clock for durations. Any thread. */
#ifndef SI_SERVER_CLOCK_H
#define SI_SERVER_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t si__clock_unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int64_t si__clock_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

#endif
