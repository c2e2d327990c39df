/*
 * The sampler: decides at which rates everything is sampled now.
 *
 * Sources, the most eager wins: spans of the cadence with background rates between them, a rule that asked for a closer
 * look, a manual profile, rates forced for a whole run. The governor slows all of them down together while our own CPU
 * use is over the budget. No timers of its own: tick it, it says when it wants to be ticked again. Loop thread only.
 */
#ifndef SI_SAMPLER_H
#define SI_SAMPLER_H

#include <stdint.h>

#include "profile/profile_type.h"
#include "script/script.h"

typedef struct si__sampler si__sampler;

typedef struct si__rates { /* as in si__control of the region */
    double cpu_hz;         /* 0: off */
    uint64_t heap_bytes;   /* bytes between two samples, on average; 0: off */
    uint64_t wait_ns;      /* waited time between two samples, on average; 0: off */
    uint64_t call_ns;      /* the same for stacks of handlers and calls; 0: off */
} si__rates;

/* `apply` is called with the new rates whenever one changes. NULL: out of memory. */
si__sampler *si__sampler_new(void (*apply)(void *arg, const si__rates *rates), void *arg);
void si__sampler_free(si__sampler *sampler);

void si__sampler_cadence(si__sampler *sampler, const si__cadence *cadence);
void si__sampler_auto(si__sampler *sampler, int on); /* 0: the cadence does not sample by itself */

enum { SI__FORCED_HEAP_BYTES = 64 * 1024, SI__FORCED_WAIT_NS = 1000000 };

/* At least these from now on, and whatever the governor says: hz of CPU, and every other sampler at the means above,
   finer than usual: whoever asks for files wants true totals. 0: no such wish. */
void si__sampler_force(si__sampler *sampler, double cpu_hz);

/* A profile by hand; ends by itself after 60 s. 0 or SI_ESTATE (it is that way already). */
int si__sampler_manual(si__sampler *sampler, si__profile_type type, int on, int64_t now_ms);
int si__sampler_manual_active(const si__sampler *sampler, si__profile_type type);

/* A rule's closer look: CPU at `hz`; waits and allocations ten times finer than usual, whatever hz says. */
void si__sampler_request(si__sampler *sampler, si__profile_type type, double hz, int64_t until_ms);

/* Tells our own CPU use over the last interval as a share of one core (0.01 = 1 %). */
void si__sampler_overhead(si__sampler *sampler, double share);
double si__sampler_throttle(const si__sampler *sampler); /* 1: not throttled; 0.5: half of the wanted rates, ... */
si__rates si__sampler_rates(const si__sampler *sampler); /* in force */

/* Whether a type is sampled at all by now: it belongs into reports. */
int si__sampler_samples(const si__sampler *sampler, si__profile_type type);

/* Applies what is due; returns milliseconds until the next change, at most 1000. */
int64_t si__sampler_tick(si__sampler *sampler, int64_t now_ms);

#endif
