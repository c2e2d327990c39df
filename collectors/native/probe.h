/*
 * The probe: what runs inside the observed program, embedded or preloaded. Owns the region of this process.
 *
 * Host threads call into it; it allocates nothing, takes no lock, and does nothing at all
 * once inert (closed, or in a forked child that has not opened its own).
 */
#ifndef SI_NATIVE_PROBE_H
#define SI_NATIVE_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "region.h"

typedef struct si__probe_options {
    int (*adopt)(si__region *region, int fd, void *arg); /* told of the region once made (preload: hands fd to the agent) */
    void *adopt_arg;
} si__probe_options;

/* Creates the region, installs fork handlers, starts every collector's probe side. 0 or negative SI_E*. Not a signal handler. */
int si__probe_open(const si__probe_options *options);

/* Stops timers and hooks, marks the region inert. The region stays mapped: a late handler may still look at it. */
void si__probe_close(void);

/* The region of this process, or NULL when inert. Async-signal-safe. One relaxed load. */
si__region *si__probe_region(void);
int si__probe_fd(void);

/* ---- Threads ---- */

/* This thread's slot; claims one at first use. NULL: inert or full. Host thread context or a handler; no allocation. */
si__slot *si__thread_slot(void);

/* Finds threads that exist already (/proc/self/task) and gives each a slot and a timer. Runtime thread or opener. */
void si__threads_discover(void);

/* ---- Ring writer: reserve, fill, commit. Nests with signal handlers of the same thread. ---- */

si__event *si__ring_reserve(si__slot *slot, uint32_t frame_count, uint32_t text_bytes); /* NULL: full, drop counted */
void si__ring_commit(si__event *event, si__event_type type);
static inline uint64_t *si__event_pcs(si__event *e) { return (uint64_t *)(void *)(e + 1); }
static inline char *si__event_text(si__event *e) { return (char *)(si__event_pcs(e) + e->frame_count); }

/* ---- Instruments ---- */

/* Finds or makes the instrument; NULL when inert or full. Lock-free, no allocation, any host thread. */
si__instrument *si__instrument_get(si__instrument_kind kind, const char *name);
/* Adds one duration to an instrument: count, sum, max, bucket. Lock-free. */
void si__instrument_time(si__instrument *instrument, uint64_t duration_ns);

/* ---- Monotonic clock of all events ---- */
uint64_t si__now_ns(void); /* CLOCK_MONOTONIC; async-signal-safe */

#endif
