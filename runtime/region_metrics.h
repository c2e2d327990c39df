/*
 * Metrics that come out of regions: the heap (calls, bytes, what is live) and how often threads made calls that can
 * wait, over all observed processes. Loop thread only.
 */
#ifndef SI_REGION_METRICS_H
#define SI_REGION_METRICS_H

#include <stdint.h>
#include <sys/types.h>

#include "../collectors/collector.h"
#include "../collectors/native/region.h"

/* What one process had counted when it was read last. */
typedef struct si__region_counts {
    uint64_t mallocs, frees, bytes, calls[4]; /* calls by si__wait_category */
    double live_bytes, live_objects;          /* now */
} si__region_counts;

/* Over all processes, since the last reading; `live_*` now. */
typedef struct si__region_gains {
    double mallocs, frees, bytes, calls[4], live_bytes, live_objects;
    double anonymous_bytes; /* resident memory that is no file's, of the processes with a heap profile */
    int heap, waits;        /* 1: some process has that collector */
} si__region_gains;

/* Adds to `gains` what the region of process `pid` counted since `last`, and updates that. */
void si__region_metrics_add(si__region *region, pid_t pid, si__region_counts *last, si__region_gains *gains);

/* Puts the metrics; elapsed_s > 0: rates per second of that time. */
void si__region_metrics_put(const si__region_gains *gains, double elapsed_s, const si__metric_sink *sink);

#endif
