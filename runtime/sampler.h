/*
 * The sampler: decides at which rate CPU is sampled now.
 *
 * Sources, the highest wins: spans of the cadence with a background rate between them, a rule that asked for a closer
 * look, a manual profile, a rate forced for a whole run. The governor halves the result while our own CPU use is over
 * the budget. No timers of its own: tick it, it says when it wants to be ticked again. Loop thread only.
 */
#ifndef SI_SAMPLER_H
#define SI_SAMPLER_H

#include <stdint.h>

#include "script/script.h"

typedef struct si__sampler si__sampler;

/* `apply` is called with the new rate in Hz whenever it changes. NULL: out of memory. */
si__sampler *si__sampler_new(void (*apply)(void *arg, double hz), void *arg);
void si__sampler_free(si__sampler *sampler);

void si__sampler_cadence(si__sampler *sampler, const si__cadence *cadence);
void si__sampler_auto(si__sampler *sampler, int on);                  /* 0: the cadence does not sample by itself */
void si__sampler_force(si__sampler *sampler, double hz);              /* at least this rate from now on */
int si__sampler_manual(si__sampler *sampler, int on, int64_t now_ms); /* 0 or SI_ESTATE; ends by itself after 60 s */
void si__sampler_request(si__sampler *sampler, double hz, int64_t until_ms); /* a rule's closer look */
int si__sampler_manual_active(const si__sampler *sampler);

/* Tells our own CPU use over the last interval as a share of one core (0.01 = 1 %). */
void si__sampler_overhead(si__sampler *sampler, double share);
double si__sampler_throttle(const si__sampler *sampler); /* 1: not throttled; 0.5: half of the wanted rate, ... */
double si__sampler_hz(const si__sampler *sampler);       /* the rate in force */

/* Applies what is due; returns milliseconds until the next change, at most 1000. */
int64_t si__sampler_tick(si__sampler *sampler, int64_t now_ms);

#endif
