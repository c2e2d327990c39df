/*
 * The reading end of a region: events of every thread, what the instruments gained, and what was lost.
 *
 * The runtime's thread, one drain per region. The region may belong to another process, dead or hostile: everything is
 * copied out and bounded before it is believed. A region of this process itself is drained the same way.
 */
#ifndef SI_RING_DRAIN_H
#define SI_RING_DRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "../../collectors/native/region.h"

typedef struct si__drain si__drain;

/* Counts (not events) that are in the region already are taken as seen. `region` is borrowed and must outlive the
   drain. NULL: out of memory. */
si__drain *si__drain_new(si__region *region);
void si__drain_free(si__drain *drain);

/* Takes nothing as seen: the region is fresh, and what its process counted before we came is news. Before any other
   call. */
void si__drain_from_zero(si__drain *drain);

/* ---- Events ---- */

/* A copy; pointers are valid during the call. */
typedef struct si__drained_event {
    si__event_type type;
    uint32_t slot;
    int32_t tid;
    const char *thread_name; /* at most 15 bytes */
    uint64_t time_ns;        /* CLOCK_MONOTONIC of the machine */
    int64_t value;
    uint32_t count;
    uint32_t detail; /* as in si__event; not checked */
    unsigned flags;  /* SI__STACK_*, SI__EVENT_* */
    unsigned frame_count;
    const uint64_t *pcs; /* leaf first */
    const char *text;    /* followed by a NUL that text_bytes does not count; errors: group NUL message */
    uint32_t text_bytes;
    /* Waits that last (runtime/waiting.h); the drain leaves both 0. */
    int64_t reported; /* part of the value that was recorded before */
    int in_progress;  /* 1: the wait goes on */
} si__drained_event;

typedef void (*si__drain_event_fn)(void *arg, const si__drained_event *event);

/* Hands over every committed event, each thread's in order, and frees the slots of threads that have ended. Returns how
   many events there were. */
size_t si__drain_events(si__drain *drain, si__drain_event_fn fn, void *arg);

/* ---- Instruments ---- */

/* What one instrument gained since the last call. */
typedef struct si__drained_instrument {
    si__instrument_kind kind;
    const char *name; /* printable as it was given, at most 95 bytes */
    uint64_t count;   /* since the last call; > 0 */
    uint64_t sum_ns;
    uint64_t errors;
    uint64_t max_ns;         /* since the last call */
    double value;            /* gauge: now; counter: since the last call; always finite */
    const uint32_t *buckets; /* SI__BUCKET_COUNT counts since the last call; NULL for kinds without durations */
} si__drained_instrument;

typedef void (*si__drain_instrument_fn)(void *arg, const si__drained_instrument *instrument);

/* Hands over every instrument that was used since the last call. Returns how many. */
size_t si__drain_instruments(si__drain *drain, si__drain_instrument_fn fn, void *arg);

/* ---- Losses, and threads ---- */

typedef struct si__drain_counts { /* since the drain was made */
    uint64_t events;
    uint64_t dropped;             /* events that found their ring full */
    uint64_t malformed;           /* rings given up because of nonsense in them */
    uint64_t threads_refused;     /* threads without a slot or a timer */
    uint64_t instruments_refused; /* calls whose name found no room */
    uint32_t threads;             /* observed at the last si__drain_events */
} si__drain_counts;

void si__drain_counts_get(si__drain *drain, si__drain_counts *out);

/* Whether a thread waits for its stack bounds; then si__drain_answer_stacks is worth the reading of maps. */
int si__drain_stacks_wanted(si__drain *drain);

/* Answers threads that run on a stack they do not know, from the text of the process's maps file. Returns how many. */
size_t si__drain_answer_stacks(si__drain *drain, const char *maps, size_t length);

#endif
