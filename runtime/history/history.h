/*
 * History: rings of every series at several resolutions; the only source of the numbers that a rule sees.
 *
 * A series has a kind and a name. Points are pushed in time order (older ones are dropped and counted). Window
 * statistics are in series.h. Time is milliseconds of a monotonic-ish engine clock given by the caller (Unix ms in
 * production, anything in tests). A clock that is set back by more than 10 minutes moves the known points with it, so
 * that a baseline survives. Loop thread only. Bounded: 10,000 series and 32 MiB; the least recently fed series of the
 * most numerous kind goes first.
 */
#ifndef SI_HISTORY_HISTORY_H
#define SI_HISTORY_HISTORY_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__history si__history;
typedef struct si__series si__series;

typedef enum si__series_kind {
    SI__SERIES_METRIC,   /* "process.cpu.utilization" */
    SI__SERIES_PROFILE,  /* a profile type's total: "cpu", in % of the available cores */
    SI__SERIES_CALLSITE, /* "cpu|function (module)": a call's total, as the profile's */
    SI__SERIES_SEGMENT,  /* "checkout|p50", "|p95", "|p99" in ms, "checkout|count" per minute, "checkout|errors" */
    SI__SERIES_ERROR     /* group: errors per 60 s */
} si__series_kind;
#define SI__SERIES_KINDS 5

si__history *si__history_new(void); /* NULL: out of memory */
void si__history_free(si__history *history);
/* Bounds, for tests and for a dashboard that holds many sources. */
void si__history_limit(si__history *history, size_t max_series, size_t max_bytes);

/* Adds a point. Names are cut at 511 bytes. 0, SI_EINVAL (no name, or a value that is not finite) or SI_ENOMEM. */
int si__history_add(si__history *history, si__series_kind kind, const char *name, int64_t time_ms, double value);
si__series *si__history_find(si__history *history, si__series_kind kind,
                             const char *name);              /* borrowed until the next add; NULL: none */
uint64_t si__history_generation(const si__history *history); /* changes when a series comes or goes */
size_t si__history_count(const si__history *history);
size_t si__history_bytes(const si__history *history);     /* about what all series hold */
uint64_t si__history_dropped(const si__history *history); /* points that came too late */
uint64_t si__history_evicted(const si__history *history); /* series that had to go */
/* Calls each for every series of a kind, most recently fed first. `each` must not add. */
void si__history_each(si__history *history, si__series_kind kind,
                      void (*each)(void *arg, const char *name, si__series *series), void *arg);

/* Saves to and restores from a file (atomically: temporary file, fsync, rename). A damaged file is refused whole
   (SI_EFORMAT) and changes nothing. A missing one is SI_ENOTFOUND. 0 or SI_E*. save blocks on the disk: to keep the
   loop free, encode on the loop and write on another thread. load replaces series of the same name. */
int si__history_save(const si__history *history, const char *path);
int si__history_load(si__history *history, const char *path);
int si__history_encode(const si__history *history, uint8_t **out,
                       size_t *length); /* *out is malloc'ed. 0 or SI_ENOMEM */
int si__history_decode(si__history *history, const uint8_t *data, size_t length); /* 0, SI_EFORMAT or SI_ENOMEM */
int si__history_write(const char *path, const uint8_t *data, size_t length); /* any thread. 0, SI_EIO or SI_ENOMEM */

/* Window statistics: see series.h. */

#endif
