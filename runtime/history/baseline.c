/*
 * Baseline and trend: what is usual for a series, and whether it climbs. Called by runtime/script on the loop thread.
 *
 * Both are computed once a minute per series at most, and remembered. The baseline's window moves on by a minute then
 * (order.c); a second window of the same series, and one beyond a day, costs a selection over its values.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "select.h"
#include "series.h"

#define SKIP_MINUTES                                                                                                   \
    15 /* the newest minutes are what is being judged, not part of what is usual: longer than rules hold */
#define TREND_POINTS 48

/* Averages of the slots whose number is in [first, last]; returns how many. */
static size_t slots_collect(const si__slots *slots, int64_t first, int64_t last, double *out) {
    size_t n = 0;
    if (!slots->count) return 0;
    int64_t oldest = slots->newest - (int64_t)slots->count + 1;
    if (first < oldest) first = oldest;
    if (last > slots->newest) last = slots->newest;
    for (int64_t slot = first; slot <= last; slot++) {
        size_t at = (uint64_t)slot % slots->capacity;
        if (slots->points[at]) out[n++] = slots->average[at];
    }
    return n;
}

/* The hour around 24 h ago: its median, and the highest level that lasted for ten minutes, which a spike does not. */
static void same_hour_yesterday(const si__series *series, int64_t now_ms, si__baseline *out) {
    const si__slots *ten = &series->ten;
    double values[8];
    int64_t middle = si__slot_of(now_ms - 24 * 3600 * (int64_t)1000, ten->step_ms);
    size_t n = slots_collect(ten, middle - 3, middle + 3, values);
    out->same_hour = out->same_hour_held = NAN;
    if (!n) return;
    out->same_hour = si__select_median(values, n);
    for (int64_t slot = middle - 3; slot <= middle + 3; slot++) {
        size_t at = (uint64_t)slot % ten->capacity;
        if (slot > ten->newest || slot <= ten->newest - (int64_t)ten->count || !ten->points[at]) continue;
        if (!(out->same_hour_held >= ten->minimum[at])) out->same_hour_held = ten->minimum[at];
    }
}

static void finish(si__baseline *out, double floor) {
    out->scale = fmax(1.4826 * out->mad, fmax(0.05 * fabs(out->median), floor));
}

static void baseline_select(const si__slots *slots, int64_t first, int64_t last, size_t min_points, double floor,
                            si__baseline *out) {
    double values[SI__MINUTE_RING];
    out->n = slots_collect(slots, first, last, values);
    if (out->n == 0 || out->n < min_points) return;
    out->p98 = si__select_percentile(values, out->n, 98);
    out->median = si__select_median(values, out->n);
    for (size_t i = 0; i < out->n; i++) values[i] = fabs(values[i] - out->median);
    out->mad = si__select_median(values, out->n);
    finish(out, floor);
}

static void baseline_order(const si__order *order, size_t min_points, double floor, si__baseline *out) {
    out->n = order->count;
    if (out->n == 0 || out->n < min_points) return;
    out->p98 = si__order_percentile(order, 98);
    out->median = si__order_median(order);
    out->mad = si__order_mad(order, out->median);
    finish(out, floor);
}

static void baseline_compute(si__series *series, int64_t now_ms, int64_t window_ms, size_t min_points, double floor,
                             si__baseline *out) {
    const si__slots *slots = window_ms <= SI__MINUTE_SLOTS * series->minute.step_ms ? &series->minute : &series->ten;
    int64_t now_slot = si__slot_of(now_ms, slots->step_ms),
            last = now_slot - (slots == &series->minute ? SKIP_MINUTES : 2);
    int64_t first = si__slot_of(now_ms - window_ms, slots->step_ms) + 1;
    *out = (si__baseline){.median = NAN, .mad = NAN, .p98 = NAN, .scale = NAN};
    same_hour_yesterday(series, now_ms, out);
    si__order *order = series->cache ? &series->cache->order : NULL;
    if (order && !order->window_ms && slots == &series->minute) order->window_ms = window_ms;
    if (order && slots == &series->minute && order->window_ms == window_ms &&
        si__order_move(order, slots, first, last) == 0)
        baseline_order(order, min_points, floor, out);
    else
        baseline_select(slots, first, last, min_points, floor, out);
}

void si__series_baseline(si__series *series, int64_t now_ms, int64_t window_ms, size_t min_points, double floor,
                         si__baseline *out) {
    int64_t minute = si__slot_of(now_ms, 60000);
    if (!series->cache) series->cache = calloc(1, sizeof *series->cache);
    si__series_cache *cache = series->cache;
    si__kept_baseline *known = NULL;
    for (size_t i = 0; cache && i < SI__KEPT_ANSWERS && !known; i++) {
        si__kept_baseline *k = &cache->baselines[i];
        if (k->used && k->window_ms == window_ms && k->min_points == min_points && k->floor == floor) known = k;
    }
    if (known && known->minute == minute) {
        *out = known->value;
        return;
    }
    baseline_compute(series, now_ms, window_ms, min_points, floor, out);
    if (!cache) return;
    if (!known) known = &cache->baselines[cache->next_baseline++ % SI__KEPT_ANSWERS];
    *known = (si__kept_baseline){
        .used = 1, .minute = minute, .window_ms = window_ms, .min_points = min_points, .floor = floor, .value = *out};
}

double si__baseline_z(const si__baseline *baseline, double value) {
    double away = value - baseline->median;
    if (baseline->scale > 0) return away / baseline->scale;
    if (isnan(away) || isnan(baseline->scale)) return NAN;
    return away == 0 ? 0 : copysign(INFINITY, away); /* a series that was always 0, with no floor */
}

/* How long the stretches are that a trend is made of: whole minutes, so that they change only when one has passed. */
static int64_t trend_part_ms(int64_t window_ms) {
    int64_t minutes = (window_ms + 60000 * TREND_POINTS - 1) / (60000 * (int64_t)TREND_POINTS);
    if (minutes < 2 && window_ms >= 40 * 60000) minutes = 2;
    return minutes * 60000;
}

/* Averages over equal stretches of the window, at most TREND_POINTS; x in hours. */
static size_t trend_points(const si__series *series, int64_t now_ms, int64_t window_ms, double *x, double *y) {
    double sum[TREND_POINTS] = {0}, count[TREND_POINTS] = {0};
    const si__slots *slots = window_ms <= SI__MINUTE_SLOTS * series->minute.step_ms ? &series->minute : &series->ten;
    int64_t part_ms = trend_part_ms(window_ms), parts = window_ms / part_ms;
    int64_t newest_part = si__slot_of(now_ms, part_ms), first_part = newest_part - parts + 1;
    size_t n = 0;
    if (!slots->count) return 0;
    int64_t first = si__slot_of(first_part * part_ms, slots->step_ms);
    int64_t oldest = slots->newest - (int64_t)slots->count + 1, slot = first > oldest ? first : oldest;
    size_t at = (uint64_t)slot % slots->capacity; /* no division per slot: this loop is most of the cost */
    int64_t end_ms = (first_part + 1) * part_ms, part = 0;
    for (; slot <= slots->newest; slot++, at = at + 1 == slots->capacity ? 0 : at + 1) {
        while (slot * slots->step_ms >= end_ms) {
            end_ms += part_ms;
            part++;
        }
        if (part >= parts || part >= TREND_POINTS) break;
        if (!slots->points[at]) continue;
        sum[part] += slots->average[at];
        count[part] += 1;
    }
    for (size_t i = 0; i < TREND_POINTS; i++) {
        if (count[i] == 0) continue;
        x[n] = ((double)i + 0.5) * (double)part_ms / 3600000.0;
        y[n++] = sum[i] / count[i];
    }
    return n;
}

static void trend_compute(const si__series *series, int64_t now_ms, int64_t window_ms, si__trend *out) {
    double x[TREND_POINTS], y[TREND_POINTS], slopes[TREND_POINTS * (TREND_POINTS - 1) / 2];
    size_t pairs = 0;
    long agree = 0;
    *out = (si__trend){.slope_per_hour = NAN, .tau = NAN};
    out->n = trend_points(series, now_ms, window_ms, x, y);
    if (out->n < 5) return;
    for (size_t i = 0; i < out->n; i++)
        for (size_t j = i + 1; j < out->n; j++) {
            agree += y[j] > y[i] ? 1 : y[j] < y[i] ? -1 : 0;
            slopes[pairs++] = (y[j] - y[i]) / (x[j] - x[i]);
        }
    out->slope_per_hour = si__select_median(slopes, pairs);
    out->tau = (double)agree / (double)pairs;
}

void si__series_theil_sen(si__series *series, int64_t now_ms, int64_t window_ms, si__trend *out) {
    int64_t week_ms = SI__TEN_MINUTE_SLOTS * series->ten.step_ms;
    if (window_ms > week_ms) window_ms = week_ms;
    if (window_ms < 60000) window_ms = 60000;
    int64_t part = si__slot_of(now_ms, trend_part_ms(window_ms));
    if (!series->cache) series->cache = calloc(1, sizeof *series->cache);
    si__series_cache *cache = series->cache;
    for (size_t i = 0; cache && i < SI__KEPT_ANSWERS; i++) {
        const si__kept_trend *k = &cache->trends[i];
        if (!k->used || k->part != part || k->window_ms != window_ms) continue;
        *out = k->value;
        return;
    }
    trend_compute(series, now_ms, window_ms, out);
    if (cache)
        cache->trends[cache->next_trend++ % SI__KEPT_ANSWERS] =
            (si__kept_trend){.used = 1, .part = part, .window_ms = window_ms, .value = *out};
}
