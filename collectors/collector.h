/*
 * The contract of a collector: a constant struct that says what it is and how it is run.
 *
 * A collector has a probe side (inside the observed program: start/stop), a metrics side (read: run by the
 * runtime, also for another process), or both. registry.c lists them all.
 */
#ifndef SI_COLLECTOR_H
#define SI_COLLECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Receives one metric value. `name`: OpenTelemetry semantic conventions, static string. `unit`: UCUM ("1", "By", "s",
 * "{thread}", "By/s"). */
typedef struct si__metric_sink {
    void (*put)(void *arg, const char *name, const char *unit, double value);
    void *arg;
} si__metric_sink;

/* What a metrics reader may look at: passed in, so that a test can feed a fixture /proc and a fake clock. */
typedef struct si__host {
    const char *root; /* prefix of /proc, /sys: "" for the real one */
    pid_t pid;        /* the observed process; 0: none */
    uint64_t now_ns;  /* monotonic time of this reading */
    unsigned cpu_count;
    double clock_ticks_per_s; /* sysconf(_SC_CLK_TCK) */
    uint64_t page_bytes;
} si__host;

typedef struct si__collector {
    const char *name;  /* "cpu", "process"; also the key in cadence and reports */
    const char *title; /* "CPU time" */
    int host_wide;     /* 1: its metrics are about the host, read once however many processes are observed */
    /* Probe side; NULL: none. start returns 0 or a negative SI_E* and writes why into reason. Runs on a host thread at
     * open. */
    int (*start)(char *reason, size_t reason_bytes);
    void (*stop)(void);
    /* Embedded: the control words of the region have changed: hooks go in or out, timers follow. NULL: nothing to do.
       Runtime's thread. A preloaded probe has no such thread: there, calls look at the control words themselves. */
    void (*retune)(void);
    /* Metrics side; NULL: none. `state` is this reader's memory between two readings (for rates). Puts what could be
       read; writes why into reason for what could not and returns a negative SI_E* then. */
    void *(*reader_new)(void);
    int (*read)(void *state, const si__host *host, const si__metric_sink *sink, char *reason, size_t reason_bytes);
    void (*reader_free)(void *state);
} si__collector;

/* Every collector, in the order they are shown; ends with NULL. */
extern const si__collector *const si__collectors[];

#endif
