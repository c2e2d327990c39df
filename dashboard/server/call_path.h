/*
 * How long the calls of each call path took: as a column of stored segments, and added up over a range for a tree.
 *
 * Percentiles cannot be added, so a sketch is kept of every path that was sampled (runtime/profile/spread.h) and merged
 * along the tree: a caller's percentiles are those of all that it calls. The writer makes columns, workers' threads
 * read them. One owner.
 */
#ifndef SI_SERVER_CALL_PATH_H
#define SI_SERVER_CALL_PATH_H

#include "../../runtime/profile/index.h"
#include "../../runtime/profile/spread.h"
#include "places.h"

/* Writes what is written for places 0.. of a tree as a column for the store: the place i is its node ids[i]. 0,
   SI_EFORMAT or SI_ENOMEM. */
int si__call_paths_encode(const uint8_t *spreads, size_t length, const uint32_t *ids, si__spread_writer *out);

typedef struct si__call_paths { /* zero-initialise: columns added up */
    uint32_t *nodes;            /* of the store, in no order */
    si__spreads spreads;        /* in the same order */
    size_t count, capacity;
    si__index index;
} si__call_paths;

int si__call_paths_add(si__call_paths *paths, const uint8_t *column, size_t length); /* 0, SI_EFORMAT, SI_ENOMEM */
int si__call_paths_column(const si__call_paths *paths, si__spread_writer *out);      /* all of it as one column */
void si__call_paths_clear(si__call_paths *paths);

typedef struct si__call_figures { /* of one branch with all below it; samples 0: not known */
    double p50_ns, p95_ns, p99_ns;
    uint64_t samples; /* so many were taken */
    uint64_t calls;   /* and stand for so many calls */
} si__call_figures;

/* The figures of each branch (callers first), malloc'ed; NULL: out of memory. */
si__call_figures *si__call_figures_of(const si__call_paths *paths, const si__branch *branches, size_t count);
void si__call_figures_set(si__call_figures *figures, const si__sketch *sketch, uint64_t samples);

#endif
