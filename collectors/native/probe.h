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
    /* Told of the region once made, before the collectors start (preload: hands fd to the agent and waits for its
       tables). Afterwards the descriptor is closed. Negative: nobody wants it, the probe stays closed. NULL: the
       descriptor stays open, see si__probe_fd. */
    int (*adopt)(si__region *region, int fd, void *arg);
    /* Preload, in a forked child: the same without waiting. May run in a signal handler: system calls only. */
    int (*adopt_quietly)(si__region *region, int fd);
    void *adopt_arg;
    uint32_t cpu_mhz;                      /* rate until the runtime says another one; 0: off until then */
    uint64_t heap_bytes, wait_ns, call_ns; /* likewise, see si__control */
    int crashes;                           /* 1: fatal crashes are recorded, see crash.h */
    const char *crash_dir;                 /* and noted in a file there; NULL: they are not. Copied */
    int preloaded; /* 1: no thread of ours in this process; timers that are off keep a slow tick to notice a change */
} si__probe_options;

/*
 * Creates the region, installs fork handlers, starts every collector's probe side. NULL options: all defaults.
 * 0, SI_EEXIST (already open), SI_EUNAVAILABLE (no memfd here: si__probe_reason says why). Not from a signal handler.
 * Opened again after si__probe_close, the same region is used further.
 */
int si__probe_open(const si__probe_options *options);

/*
 * Preload: the probe without a region yet. The calling thread, the only one, gets its timer; the region is made, and
 * handed over by adopt_quietly, at the first tick or when the program creates a thread: a process that ends before has
 * cost a few system calls. 0 or negative SI_E*.
 */
int si__probe_open_later(const si__probe_options *options);

/* The region, made now if it was put off. NULL: inert. Async-signal-safe. */
si__region *si__probe_region_needed(void);

/* The region that this process has made, also while the probe is closed; NULL: none. */
si__region *si__probe_region_made(void);

/* Preload: the process is about to exit. Accounts the calling thread's CPU time since its last tick. Does nothing in a
   child of vfork. Host thread; async-signal-safe. */
void si__probe_settle(void);

/* Preload: the program is about to be replaced by another one (exec). Accounts what that one will not: see
   si__timer_leave. As above. */
void si__probe_leave(void);

int si__probe_is_preloaded(void);

/* Why the last si__probe_open failed, or "". Static storage; the thread that opened. */
const char *si__probe_reason(void);

/* Stops timers and hooks, marks the region inert. The region stays mapped: a late handler may still look at it. */
void si__probe_close(void);

/* The region of this process, or NULL when inert. Async-signal-safe. One relaxed load. */
si__region *si__probe_region(void);
/* The region's descriptor (close-on-exec, high-numbered), or -1: inert, preloaded, or closed by the host. */
int si__probe_fd(void);

/* ---- Threads ---- */

/* This thread's slot; claims one at first use. NULL: inert or full. Host thread context or a handler; no allocation. */
si__slot *si__thread_slot(void);

/* Finds threads that exist already (/proc/self/task) and gives each a slot and a timer. Runtime thread or opener. */
void si__threads_discover(void);

/* Makes this thread invisible to discovery and to samplers: the runtime's own threads call it first thing. */
void si__thread_ignore_self(void);

/* Tells every collector that the control words have changed. Runtime thread, after si__region_set_*. Embedded only. */
void si__probe_retune(void);

/*
 * What the runtime's thread does about once a second, embedded: finds threads that no wrapper saw, closes the slots of
 * those that are gone, and, when modules were loaded or unloaded, hooks the new ones and asks for unwind tables.
 */
void si__probe_refresh(void);

/* ---- Ring writer: reserve, fill, commit. Nests with signal handlers of the same thread. ---- */

si__event *si__ring_reserve(si__slot *slot, uint32_t frame_count, uint32_t text_bytes); /* NULL: full, drop counted */
/* Gives back what was reserved beyond the event's frame_count and text_bytes, once both are final and before commit. */
void si__ring_trim(si__slot *slot, si__event *event, uint32_t reserved_frames, uint32_t reserved_text);
void si__ring_commit(si__event *event, si__event_type type);
/* Instead of commit: there is no event after all. Nothing was written behind the frames. */
void si__ring_cancel(si__slot *slot, si__event *event, uint32_t reserved_frames, uint32_t reserved_text);
static inline uint64_t *si__event_pcs(si__event *e) {
    return (uint64_t *)(void *)(e + 1);
}
static inline char *si__event_text(si__event *e) {
    return (char *)(si__event_pcs(e) + e->frame_count);
}

/* ---- Instruments ---- */

/* Finds or makes the instrument; NULL when inert or full. Lock-free, no allocation, any host thread. */
si__instrument *si__instrument_get(si__instrument_kind kind, const char *name);
/* Adds one duration to an instrument: count, sum, max, bucket. Lock-free. */
void si__instrument_time(si__instrument *instrument, uint64_t duration_ns);
/* Whether `instrument` belongs to the region now open: one taken before a fork or a close does not. */
int si__instrument_valid(const si__instrument *instrument);

/* ---- Monotonic clock of all events ---- */
uint64_t si__now_ns(void); /* CLOCK_MONOTONIC; async-signal-safe */

#endif
