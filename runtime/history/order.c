/*
 * Order statistics of a moving window: one value leaves and one comes each minute, the rest stays where it is. Called
 * by baseline.c on the loop thread.
 *
 * Moving on costs a search and a move of at most 6 KB; median, percentile and median absolute deviation are then looked
 * up. When slots have been lost, or one has changed after it was taken in, everything is sorted anew.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "series.h"

static size_t index_of(const si__slots *slots, int64_t slot) {
    return (uint64_t)slot % slots->capacity;
}

static int64_t oldest_of(const si__slots *slots) {
    return slots->newest - (int64_t)slots->count + 1;
}

static int has_value(const si__slots *slots, int64_t slot) {
    return slot >= oldest_of(slots) && slot <= slots->newest && slots->points[index_of(slots, slot)] != 0;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* The first place whose value is not below. */
static uint32_t place_of(const si__order *order, float value) {
    uint32_t low = 0, high = order->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (order->sorted[middle] < value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(si__order *order, float value) {
    uint32_t at = place_of(order, value);
    memmove(order->sorted + at + 1, order->sorted + at, (order->count - at) * sizeof *order->sorted);
    order->sorted[at] = value;
    order->count++;
}

/* Returns whether it was there. */
static int take_out(si__order *order, float value) {
    uint32_t at = place_of(order, value);
    if (at >= order->count || order->sorted[at] != value) return 0;
    order->count--;
    memmove(order->sorted + at, order->sorted + at + 1, (order->count - at) * sizeof *order->sorted);
    return 1;
}

static void sort_anew(si__order *order, const si__slots *slots, int64_t first, int64_t last) {
    order->count = 0;
    int64_t from = first > oldest_of(slots) ? first : oldest_of(slots),
            to = last < slots->newest ? last : slots->newest;
    for (int64_t slot = from; slot <= to && order->count < SI__MINUTE_SLOTS; slot++)
        if (has_value(slots, slot)) order->sorted[order->count++] = slots->average[index_of(slots, slot)];
    qsort(order->sorted, order->count, sizeof *order->sorted, by_value);
}

/* Whether the slots that leave are still known, and the last one is as it was. */
static int can_move(const si__order *order, const si__slots *slots, int64_t first, int64_t last) {
    if (first < order->first || last < order->last || first > order->last || order->first < oldest_of(slots)) return 0;
    return !has_value(slots, order->last) ? order->last_points == 0
                                          : slots->points[index_of(slots, order->last)] == order->last_points;
}

int si__order_move(si__order *order, const si__slots *slots, int64_t first, int64_t last) {
    if (!order->sorted) {
        order->sorted = malloc((SI__MINUTE_SLOTS + 1) * sizeof *order->sorted);
        if (!order->sorted) {
            order->window_ms = 0;
            return SI_ENOMEM;
        }
        order->first = order->last = INT64_MAX;
    }
    int moved = slots->count && order->first != INT64_MAX && can_move(order, slots, first, last);
    for (int64_t slot = order->first; moved && slot < first; slot++)
        if (has_value(slots, slot)) moved = take_out(order, slots->average[index_of(slots, slot)]);
    for (int64_t before = order->last; moved && before < last; before++) {
        int64_t slot = before + 1;
        if (!has_value(slots, slot)) continue;
        if (order->count >= SI__MINUTE_SLOTS)
            moved = 0;
        else
            insert(order, slots->average[index_of(slots, slot)]);
    }
    if (!moved && slots->count) sort_anew(order, slots, first, last);
    if (!slots->count) order->count = 0;
    order->first = first;
    order->last = last;
    order->last_points = slots->count && has_value(slots, last) ? slots->points[index_of(slots, last)] : 0;
    return 0;
}

double si__order_median(const si__order *order) {
    uint32_t n = order->count;
    return n % 2 ? order->sorted[n / 2] : ((double)order->sorted[n / 2 - 1] + order->sorted[n / 2]) / 2;
}

double si__order_percentile(const si__order *order, double percent) {
    double rank = ceil(percent / 100 * order->count);
    uint32_t at = rank < 1 ? 0 : (uint32_t)rank - 1;
    return order->sorted[at < order->count ? at : order->count - 1];
}

/* The k-th smallest distance (from 0) from the median: distances grow to both sides of `middle`, so that the nearest k
   are a stretch around it. How many of them lie to its left is found by halving. */
static double distance(const si__order *order, double median, uint32_t middle, uint32_t k) {
    uint32_t left = middle, right = order->count - middle; /* how many there are on each side */
    uint32_t low = k + 1 > right ? k + 1 - right : 0, high = k + 1 < left ? k + 1 : left;
    while (low < high) {
        uint32_t i = (low + high) / 2, j = k + 1 - i; /* i from the left, j from the right */
        /* the next on the left is nearer than the last taken on the right: take more from the left */
        if (median - order->sorted[middle - 1 - i] < order->sorted[middle + j - 1] - median)
            low = i + 1;
        else
            high = i;
    }
    double a = low ? median - order->sorted[middle - low] : 0;
    double b = k + 1 - low ? order->sorted[middle + k - low] - median : 0;
    return a > b ? a : b;
}

double si__order_mad(const si__order *order, double median) {
    uint32_t n = order->count, low = 0, high = n;
    while (low < high) { /* the first that is not below the median */
        uint32_t at = (low + high) / 2;
        if (order->sorted[at] < median)
            low = at + 1;
        else
            high = at;
    }
    if (n % 2) return distance(order, median, low, n / 2);
    return (distance(order, median, low, n / 2 - 1) + distance(order, median, low, n / 2)) / 2;
}
