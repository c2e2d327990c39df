/*
 * Call sites for rules at the dashboard: what every function costs over all sources of an application, minute by
 * minute, from the profiles in the store. Only types that a rule in force asks for are read. Alerting thread.
 *
 * "TYPE|function (module)" is the average over the sources that had a profile of the minute, in the units that rules
 * have at the agent; who counts as a call site is said there too (runtime/callsites.h).
 */
#ifndef SI_SERVER_WATCH_SITES_H
#define SI_SERVER_WATCH_SITES_H

#include "../../runtime/profile/profile_type.h"
#include "functions.h"
#include "watch_feed.h"

typedef struct si__watch_sites {          /* of one application; zero-initialised */
    int64_t fed_to_ms[SI__PROFILE_TYPES]; /* 0: not asked for yet */
    si__functions *functions;             /* names of frames that were looked up */
} si__watch_sites;

/* Feeds what rules ask for up to ready_ms, or until the monotonic clock is at until_ns: call it again then. A type that
   is asked for anew is read from 24 hours back. */
void si__watch_sites_feed(const si__watch_feed *feed, si__watch_sites *sites, int64_t ready_ms, int64_t now_ms,
                          int64_t until_ns);
/* One point for each of the largest call sites of a type, from the profiles that overlap from_ms to to_ms. */
void si__watch_sites_step(const si__watch_feed *feed, si__watch_sites *sites, si__profile_type type, int64_t from_ms,
                          int64_t to_ms, int64_t time_ms);
void si__watch_sites_clear(si__watch_sites *sites);

#endif
