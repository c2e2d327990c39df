/*
 * What was measured of a segment, as series that rules can look at. Called by the reporter on the loop thread, once per
 * segment and report; everything a rule needs later is a sum over these points.
 */
#include <math.h>
#include <stdio.h>

#include "../profile/sketch.h"
#include "engine.h"

#define PERCENTILES 8
#define THRESHOLDS 8

/* The share of calls that took at most value_ns: the sketch's quantile turned round. */
static double share_below(const si__sketch *sketch, double value_ns) {
    double low = 0, high = 1;
    if (si__sketch_quantile(sketch, 1) <= value_ns) return 1;
    if (si__sketch_quantile(sketch, 0) > value_ns) return 0;
    for (int i = 0; i < 40; i++) {
        double middle = (low + high) / 2;
        if (si__sketch_quantile(sketch, middle) <= value_ns)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void add(si__script *script, const char *name, const char *part, double value, int64_t time_ms) {
    char full[512];
    snprintf(full, sizeof full, "%.400s|%s", name, part);
    if (isfinite(value)) si__history_add(script->env.history, SI__SERIES_SEGMENT, full, time_ms, value);
}

void si__script_segment_observe(si__script *script, const char *name, const struct si__sketch *sketch, uint64_t count,
                                uint64_t errors, uint64_t duration_ns, int64_t time_ms) {
    char part[48];
    double percentiles[PERCENTILES + 1], thresholds[THRESHOLDS], minutes = (double)duration_ns / 60e9;
    size_t n = si__script_segment_percentiles(script, name, percentiles, PERCENTILES);
    int has_95 = 0;
    for (size_t i = 0; i < n; i++) has_95 |= percentiles[i] == 95;
    if (!has_95) percentiles[n++] = 95; /* rules over segments find them by this series */
    for (size_t i = 0; i < n; i++) {
        snprintf(part, sizeof part, "p%g", percentiles[i]);
        add(script, name, part, si__sketch_quantile(sketch, percentiles[i] / 100) / 1e6, time_ms);
    }
    add(script, name, "count", (double)count / minutes, time_ms);
    add(script, name, "errors", (double)errors / minutes, time_ms);
    add(script, name, "total", (double)count, time_ms);
    add(script, name, "failed", (double)errors, time_ms);
    n = si__script_segment_thresholds(script, name, thresholds, THRESHOLDS);
    for (size_t i = 0; i < n; i++) {
        snprintf(part, sizeof part, "below%g", thresholds[i]);
        add(script, name, part, (double)count * share_below(sketch, thresholds[i] * 1e6), time_ms);
    }
}
