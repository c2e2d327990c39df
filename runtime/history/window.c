/*
 * Window statistics: what a rule's s:avg("5m") and its siblings come down to. Called by runtime/script on the loop
 * thread.
 *
 * A window is answered from the finest ring that covers it. The answer is remembered until the series gets a point or
 * the oldest point counted leaves the window.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "select.h"
#include "series.h"

/* The values of one window, in time order, whatever ring they come from. */
typedef struct window {
    double sum, min, max, first, last;
    int64_t first_ms, last_ms, expires_ms;
    uint64_t points;
    size_t n;
    double *values; /* NULL: not collected */
} window;

static void window_take(window *w, int64_t time_ms, double value, double min, double max, uint64_t points) {
    if (!w->n) {
        w->first = value;
        w->first_ms = time_ms;
        w->min = min;
        w->max = max;
    }
    if (min < w->min) w->min = min;
    if (max > w->max) w->max = max;
    w->last = value;
    w->last_ms = time_ms;
    w->sum += value * (double)points;
    w->points += points;
    if (w->values) w->values[w->n] = value;
    w->n++;
}

static void scan_raw(const si__series *series, window *w, int64_t now_ms, int64_t window_ms) {
    size_t low = 0, high = series->raw_count; /* the first point inside */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (si__series_raw(series, middle)->time_ms > now_ms - window_ms)
            high = middle;
        else
            low = middle + 1;
    }
    for (size_t i = low; i < series->raw_count; i++) {
        const si__raw_point *p = si__series_raw(series, i);
        window_take(w, p->time_ms, p->value, p->value, p->value, 1);
    }
    w->expires_ms = w->n ? w->first_ms + window_ms : INT64_MAX;
}

static void scan_slots(const si__slots *slots, window *w, int64_t now_ms, int64_t window_ms) {
    int64_t first = si__slot_of(now_ms - window_ms, slots->step_ms) + 1;
    w->expires_ms = first * slots->step_ms + window_ms;
    if (!slots->count) return;
    int64_t oldest = slots->newest - (int64_t)slots->count + 1;
    for (int64_t slot = first > oldest ? first : oldest; slot <= slots->newest; slot++) {
        size_t at = (uint64_t)slot % slots->capacity;
        if (!slots->points[at]) continue;
        double average = slots->average[at];
        window_take(w, slot * slots->step_ms + slots->step_ms / 2, average,
                    slots->extremes ? slots->minimum[at] : average, slots->extremes ? slots->maximum[at] : average,
                    slots->points[at]);
    }
}

/* Minimum and maximum beyond the raw ring come from the 10-minute ring, the only one that keeps extremes. */
static void window_scan(const si__series *series, window *w, si__statistic statistic, int64_t now_ms,
                        int64_t window_ms) {
    int extremes = statistic == SI__STAT_MIN || statistic == SI__STAT_MAX;
    if (series->raw_lost_ms <= now_ms - window_ms)
        scan_raw(series, w, now_ms, window_ms);
    else if (window_ms <= SI__MINUTE_SLOTS * series->minute.step_ms && !extremes)
        scan_slots(&series->minute, w, now_ms, window_ms);
    else
        scan_slots(&series->ten, w, now_ms, window_ms);
}

static double window_value(window *w, si__statistic statistic, double percent) {
    double seconds = (double)(w->last_ms - w->first_ms) / 1000.0;
    if (statistic == SI__STAT_SUM) return w->sum;
    if (statistic == SI__STAT_COUNT) return (double)w->points;
    if (!w->n) return NAN;
    switch (statistic) {
    case SI__STAT_AVG:
        return w->sum / (double)w->points;
    case SI__STAT_MIN:
        return w->min;
    case SI__STAT_MAX:
        return w->max;
    case SI__STAT_DELTA:
        return w->last - w->first;
    case SI__STAT_RATE:
        return seconds > 0 ? (w->last - w->first) / seconds : NAN;
    case SI__STAT_PERCENTILE:
        return si__select_percentile(w->values, w->n, percent);
    case SI__STAT_SUM:
    case SI__STAT_COUNT:
        break;
    }
    return NAN;
}

double si__series_window(si__series *series, si__statistic statistic, int64_t now_ms, int64_t window_ms,
                         double percent) {
    double values[SI__MINUTE_RING];
    if (window_ms > SI__TEN_MINUTE_SLOTS * series->ten.step_ms) window_ms = SI__TEN_MINUTE_SLOTS * series->ten.step_ms;
    if (window_ms < 1) window_ms = 1;
    if (!series->cache) series->cache = calloc(1, sizeof *series->cache); /* without memory: slower, not wrong */
    si__series_cache *cache = series->cache;
    si__memo *known = NULL; /* the same question, answered of older points */
    for (size_t i = 0; cache && i < sizeof cache->memo / sizeof *cache->memo && cache->memo[i].used; i++) {
        si__memo *m = &cache->memo[i];
        if (m->statistic != statistic || m->window_ms != window_ms ||
            (statistic == SI__STAT_PERCENTILE && m->percent != percent))
            continue;
        if (m->version == series->version && now_ms < m->expires_ms) return m->value;
        known = m;
        break;
    }
    window w = {.values = statistic == SI__STAT_PERCENTILE ? values : NULL};
    window_scan(series, &w, statistic, now_ms, window_ms);
    double value = window_value(&w, statistic, percent);
    if (cache) {
        si__memo *m = known ? known : &cache->memo[cache->next++ % (sizeof cache->memo / sizeof *cache->memo)];
        *m = (si__memo){.window_ms = window_ms,
                        .expires_ms = w.expires_ms,
                        .percent = percent,
                        .value = value,
                        .version = series->version,
                        .statistic = (uint8_t)statistic,
                        .used = 1};
    }
    return value;
}

double si__series_median_last(const si__series *series, size_t n) {
    double values[SI__RAW_POINTS];
    if (n > series->raw_count) n = series->raw_count;
    if (!n) return series->last; /* NaN before the first point */
    for (size_t i = 0; i < n; i++) values[i] = si__series_raw(series, series->raw_count - n + i)->value;
    return si__select_median(values, n);
}
