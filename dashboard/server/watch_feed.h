/*
 * What rules at the dashboard look at: whole minutes of what the sources of an application reported, read from the
 * store into the application's history. Alerting thread.
 *
 * Metrics and profile totals: "NAME/HOST/SOURCE" for each source, "NAME" for their average, "NAME/sum" for their sum.
 * Call sites are in watch_sites.h. Segments (percentiles of all calls together) and error groups: of the whole
 * application. Units as at the agent.
 */
#ifndef SI_SERVER_WATCH_FEED_H
#define SI_SERVER_WATCH_FEED_H

#include "../../runtime/history/history.h"
#include "../../runtime/script/script.h"
#include "store.h"

#define SI__WATCH_MINUTE_MS 60000

typedef struct si__watch_feed { /* all borrowed */
    si__reader *reader;
    int64_t app;
    si__history *history;
    si__script *script; /* for the names and thresholds of segments */
    int64_t source;     /* of this one alone; 0: of all */
    int plain;          /* 1: "NAME" alone, as an agent has it: neither "NAME/sum" nor the sources one by one */
} si__watch_feed;

/* Up to when every source that is alive has reported, at least until five minutes before now. */
int64_t si__watch_feed_ready(const si__watch_feed *feed, int64_t now_ms);

/* Where to go on: after the last minute in the history, or where the application's data of the last 24 h begins. A
   whole minute. */
int64_t si__watch_feed_begin(const si__watch_feed *feed, int64_t now_ms);

/* What profiles of one source say together, in the unit that rules have at the agent (docs/rules.md lists them): of
   their total, their duration, the same times the cores, and how many they are. */
double si__watch_profile_value(int type, double total, double duration_ns, double core_ns, double profiles);

/* The minute from from_ms on. Minutes must come in order. */
void si__watch_feed_minute(const si__watch_feed *feed, int64_t from_ms);
/* The ten minutes from from_ms on, for what is older than a day: metrics and profiles as one point, calls and errors by
   the minute. */
#define SI__WATCH_COARSE_MS 600000
void si__watch_feed_coarse(const si__watch_feed *feed, int64_t from_ms);

#endif
