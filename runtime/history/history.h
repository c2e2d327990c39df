/*
 * History: rings of every series at several resolutions; the only source of the numbers that a rule sees.
 *
 * A series has a kind and a name. Points are pushed in time order (older ones are dropped and counted). Window statistics are incremental.
 * Time is milliseconds of a monotonic-ish engine clock given by the caller (Unix ms in production, anything in tests).
 * Loop thread only. Bounded: 10,000 series, least recently fed evicted first.
 */
#ifndef SI_HISTORY_HISTORY_H
#define SI_HISTORY_HISTORY_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__history si__history;
typedef struct si__series si__series;

typedef enum si__series_kind {
    SI__SERIES_METRIC,   /* "process.cpu.utilization" */
    SI__SERIES_PROFILE,  /* a profile type's total per second: "cpu" */
    SI__SERIES_CALLSITE, /* "cpu|function" : a call's total */
    SI__SERIES_SEGMENT,  /* "checkout|p95" in ms, "checkout|count", ... */
    SI__SERIES_ERROR     /* group: errors per 60 s */
} si__series_kind;

si__history *si__history_new(void);
void si__history_free(si__history *history);
int si__history_add(si__history *history, si__series_kind kind, const char *name, int64_t time_ms, double value); /* 0 or SI_E* */
si__series *si__history_find(si__history *history, si__series_kind kind, const char *name); /* borrowed; NULL: none */
size_t si__history_count(const si__history *history);
void si__history_each(si__history *history, si__series_kind kind, void (*each)(void *arg, const char *name, si__series *series), void *arg);

/* Saves to and restores from a file (atomically: temporary file, fsync, rename). A damaged file is refused whole. 0 or SI_E*. */
int si__history_save(const si__history *history, const char *path);
int si__history_load(si__history *history, const char *path);

/* Window statistics: see series.h (owned by history/). */

#endif
