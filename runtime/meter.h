/*
 * The meter: reads every collector's metrics for the host and for each observed process.
 *
 * Values of several processes are added up where that makes sense (CPU, memory, threads) and the highest is taken where
 * it does not (ratios of limits). Reads /proc: microseconds to a millisecond. Loop thread only.
 */
#ifndef SI_METER_H
#define SI_METER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../collectors/collector.h"

typedef struct si__meter si__meter;

typedef struct si__reading {
    const char *name, *unit;
    double value;
} si__reading; /* static strings */

/* host_root: prefix of /proc and /sys; "" for the real one. `collectors` ends with NULL. NULL: out of memory. */
si__meter *si__meter_new(const si__collector *const *collectors, const char *host_root);
void si__meter_free(si__meter *meter);
int si__meter_add(si__meter *meter, pid_t pid); /* observe a process, if it is not yet: 0 or SI_ENOMEM */
void si__meter_remove(si__meter *meter, pid_t pid);

/* Reads all; returns the readings (borrowed until the next call) and their number. Rates need two readings. */
const si__reading *si__meter_read(si__meter *meter, uint64_t now_ns, size_t *count);

/* Why collector `index` could not read everything last time; "" when it could. */
const char *si__meter_reason(const si__meter *meter, size_t index);

#endif
