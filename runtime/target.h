/*
 * A target: one observed process with a region of shared memory. Keeps its unwind tables and its address space up to
 * date, and drains what its probe wrote into the recorder.
 *
 * Loop thread only; mappings are read and tables compiled on the worker thread.
 */
#ifndef SI_TARGET_H
#define SI_TARGET_H

#include <stdint.h>
#include <sys/types.h>

#include "../collectors/native/region.h"
#include "../collectors/native/unwind.h"
#include "profile/space.h"
#include "recorder.h"
#include "region_metrics.h"
#include "sampler.h"
#include "waiting.h"
#include "worker.h"

typedef struct si__target si__target;

typedef struct si__target_parts { /* borrowed; shared by all targets */
    si__worker *worker;
    si__unwind_cache *cache; /* worker thread only */
    si__binaries *binaries;
    si__recorder *recorder;
    void (*log)(void *arg, int level, const char *message);
    void *log_arg;
} si__target_parts;

/* own: the region is this process's own and stays mapped when the target is freed. NULL: out of memory. */
si__target *si__target_new(const si__target_parts *parts, pid_t pid, si__region *region, int own);

/* Reads the mappings anew and publishes tables for them; ready(arg) on the loop when done (may be NULL). */
void si__target_refresh(si__target *target, void (*ready)(void *arg), void *arg);

/* Hands everything that is in the rings to the recorder; refreshes first when the program has loaded modules. Returns
   the number of events taken and stores the fullest ring's share in *fill. */
size_t si__target_drain(si__target *target, double *fill);

/* Instruments: what was counted since the last call goes to the recorder. */
void si__target_tally(si__target *target);

/* About once a second: finds threads and modules that nobody told us of, where this process is the observed one. */
void si__target_beat(si__target *target);

/* Another process's region is no longer resident in this one until it is read again. */
void si__target_let_go(si__target *target);

/* Waits that go on right now: what has passed of them goes to the recorder. Before a report is cut. */
void si__target_waits(si__target *target);

/* Adds what the probe has counted since the last call. */
void si__target_metrics(si__target *target, si__region_gains *gains, si__stuck *stuck);

void si__target_rates(si__target *target, const si__rates *rates);
pid_t si__target_pid(const si__target *target);
const si__space *si__target_space(const si__target *target); /* NULL until the first refresh is done */
const si__region *si__target_region(const si__target *target);
size_t si__target_modules_without_rows(const si__target *target);

/* The process has ended: takes what is left, then frees the target as soon as no work runs for it; freed(arg) then, on
 * the loop. */
void si__target_end(si__target *target, void (*freed)(void *arg), void *arg);

#endif
