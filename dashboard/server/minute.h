/*
 * The dashboard's own last days, minute by minute: what arrived, how long it waited, what it keeps. Two days of rows in
 * the store, so a restart loses a minute at most. Ticked by the alerting thread; read by workers.
 */
#ifndef SI_SERVER_MINUTE_H
#define SI_SERVER_MINUTE_H

#include "server.h"

/* The columns of a row, in order, for people and for the API. Rates and counts are of the minute that began at t. */
#define SI__MINUTE_FIELDS                                                                                              \
    "[\"t\",\"reports\",\"profiles\",\"duplicates\",\"refused\",\"bytes\",\"queued_most\",\"wait_most_ms\","           \
    "\"wait_mean_ms\",\"commits\",\"requests\",\"store_bytes\",\"rollups_due\"]"

typedef struct si__minute { /* where the counts stood at the last row; zero-initialised */
    int64_t began_ms;
    uint64_t stored, profiles, duplicates, refused, bytes, commits, requests;
    size_t queued_most;
} si__minute;

/* Every second or so; writes a row when a minute has passed. One thread, with its own reader. */
void si__minute_tick(si__minute *minute, si__server *server, si__reader *reader, int64_t now_ms);

#endif
