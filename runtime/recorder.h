/*
 * The recorder: what all observed processes sent since the last report, and how it becomes one.
 *
 * Drained events go in, together with the address space that gives their pcs a meaning. A cut moves everything
 * recorded so far into a report; what still needs symbols is listed as raw profiles for the worker thread. Loop thread
 * only.
 */
#ifndef SI_RECORDER_H
#define SI_RECORDER_H

#include <stddef.h>
#include <stdint.h>

#include "profile/profile_type.h"
#include "profile/rawprofile.h"
#include "profile/space.h"
#include "report/report.h"
#include "ring/drain.h"

typedef struct si__recorder si__recorder;

/* A profile whose call tree is still to be made: resolved on the worker, then stored at *tree. */
typedef struct si__unresolved {
    si__rawprofile *raw; /* owned */
    si__calltree **tree; /* in the report */
} si__unresolved;

typedef struct si__unresolved_list {
    si__unresolved *items;
    size_t count;
} si__unresolved_list;

/* Gives a raw segment name its public one ("/orders/7" -> "/orders/:id"); writes into out. */
typedef void (*si__rename_fn)(void *arg, const char *raw, char *out, size_t out_bytes);

/* keep_whole_run: 1 keeps a profile that is never cut, for files at the end. NULL: out of memory. Durations are
   measured with the monotonic clock; a Unix time is only ever that of the cut. */
si__recorder *si__recorder_new(int keep_whole_run);
void si__recorder_free(si__recorder *recorder);
void si__recorder_rename(si__recorder *recorder, si__rename_fn rename, void *arg);

/* ---- Processes ---- */

/* What belongs to one observed process: its live heap. `region` is borrowed until the source ends; NULL: out of memory.
 */
typedef struct si__source si__source;
si__source *si__recorder_source_new(si__recorder *recorder, si__region *region);

/* The process has ended: what was live then goes into the whole run. Frees the source. NULL is fine. */
void si__recorder_source_end(si__recorder *recorder, si__source *source);

/* ---- What comes in ---- */

/* Reports have these types too from now on (bits 1 << si__profile_type). They always have CPU. */
void si__recorder_enable(si__recorder *recorder, unsigned types);

/* One drained event, with the address space of its process. `source` NULL: its live heap is not followed. */
void si__recorder_event(si__recorder *recorder, si__source *source, const si__space *space,
                        const si__drained_event *event);
/* An error that the agent itself has seen, such as the program's death. with_stack 1: shown with the last stack that
   anybody sent. */
void si__recorder_error(si__recorder *recorder, const char *group, const char *message, int with_stack);
int64_t si__recorder_crash(const si__recorder *recorder); /* signal of the last crash that nobody survived; 0: none */

/* The program has died of `signal`. If its last crash by it was taken back, because a handler had come back from it,
   that was the crash after all. 1: it counts again. */
int si__recorder_uphold(si__recorder *recorder, int64_t signal);
int si__recorder_has_stack(const si__recorder *recorder);        /* whether si__recorder_error has one to show */
void si__recorder_lost(si__recorder *recorder, uint64_t events); /* events dropped by full rings */

/* What an instrument gained. */
void si__recorder_tally(si__recorder *recorder, const si__drained_instrument *gained);

/* Custom metrics: gauges as they were set last, counters per second since the last call (or a second, if that is less:
   two calls in a row make no peak). `each` borrows the name. */
void si__recorder_metrics(si__recorder *recorder, void (*each)(void *arg, const char *name, double value), void *arg);

/* Starts a profile of its own besides the regular one; before_ms of the past are put into it, where the type has a past
   (a level has none). Ends one of that type that runs. */
void si__recorder_focus(si__recorder *recorder, si__profile_type type, const char *trigger, const char *workload,
                        int64_t before_ms);
void si__recorder_focus_end(si__recorder *recorder, si__profile_type type); /* it goes out with the next cut */
int si__recorder_focused(const si__recorder *recorder, si__profile_type type);

/*
 * Moves what was recorded into the report: the time covered, profiles (the regular ones first, then those that have
 * ended), segments, errors. now_ms: Unix time; `cores` is stored with the profiles. Trees that need symbols are listed
 * in *out; their raw profiles are the caller's to free. 0 or SI_ENOMEM (what did not fit is lost).
 */
int si__recorder_cut(si__recorder *recorder, int64_t now_ms, double cores, si__report *report,
                     si__unresolved_list *out);

/* The whole run so far as a raw profile, or NULL; of a level: what processes had when they ended. The caller frees it.
 */
si__rawprofile *si__recorder_whole_run(const si__recorder *recorder, si__profile_type type);
/* The errors of the whole run, each with its stacks as a raw profile (NULL: none), `each` on the caller. Borrowed. */
void si__recorder_whole_errors(const si__recorder *recorder,
                               void (*each)(void *arg, const char *group, const char *message, uint64_t count,
                                            const si__rawprofile *stacks),
                               void *arg);

/* What the last `before_ms` held of a type; NULL: nothing, or out of memory. The caller frees it. */
si__rawprofile *si__recorder_recent(const si__recorder *recorder, si__profile_type type, int64_t before_ms);
uint64_t si__recorder_whole_samples(const si__recorder *recorder, si__profile_type type); /* 0: not kept */
uint64_t si__recorder_events(const si__recorder *recorder);

#endif
