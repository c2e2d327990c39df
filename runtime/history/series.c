/*
 * The points of one series: a ring of points as they came and two rings of averages. Fed by history.c on the loop
 * thread.
 *
 * Rings grow with the data: a series that is fed once a minute for an hour costs 2 KB, one that is full for a week 28
 * KB.
 */
#include "series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

si__series *si__series_new(si__series_kind kind, const char *name, size_t length, uint64_t hash) {
    si__series *series = calloc(1, sizeof *series);
    if (!series) return NULL;
    series->name = malloc(length + 1);
    if (!series->name) {
        free(series);
        return NULL;
    }
    memcpy(series->name, name, length);
    series->name[length] = '\0';
    series->kind = kind;
    series->hash = hash;
    series->raw_lost_ms = INT64_MIN;
    series->last_ms = INT64_MIN;
    series->last = NAN;
    series->minute = (si__slots){.step_ms = 60000, .max = SI__MINUTE_RING};
    series->ten = (si__slots){.step_ms = 600000, .max = SI__TEN_MINUTE_SLOTS, .extremes = 1};
    return series;
}

static void slots_clear(si__slots *slots) {
    free(slots->average);
    free(slots->minimum);
    free(slots->maximum);
    free(slots->points);
}

void si__series_forget(si__series *series) {
    if (series->cache) free(series->cache->order.sorted);
    free(series->cache);
    series->cache = NULL;
}

void si__series_free(si__series *series) {
    if (!series) return;
    slots_clear(&series->minute);
    slots_clear(&series->ten);
    free(series->raw);
    si__series_forget(series);
    free(series->name);
    free(series);
}

const char *si__series_name(const si__series *series) {
    return series->name;
}
double si__series_last(const si__series *series) {
    return series->last;
}
int64_t si__series_last_ms(const si__series *series) {
    return series->last_ms;
}

int64_t si__series_age_ms(const si__series *series, int64_t now_ms) {
    return series->last_ms < now_ms ? now_ms - series->last_ms : 0;
}

const si__raw_point *si__series_raw(const si__series *series, size_t index) {
    return &series->raw[(series->raw_first + index) & (series->raw_capacity - 1)];
}

size_t si__series_bytes(const si__series *series) {
    size_t slot_bytes = sizeof(float) + sizeof(uint16_t);
    return sizeof *series + strlen(series->name) + 1 + series->raw_capacity * sizeof *series->raw +
           series->minute.capacity * slot_bytes + series->ten.capacity * (slot_bytes + 2 * sizeof(float)) +
           (series->cache ? sizeof *series->cache : 0) +
           (series->cache && series->cache->order.sorted ? SI__MINUTE_SLOTS * sizeof(float) : 0);
}

/* ---- Slots ------------------------------------------------------------------------------------------------------- */

/* Copies a ring of `count` elements ending at slot `newest` into one of another capacity. */
static void *ring_moved(void *old, size_t element, const si__slots *slots, uint32_t capacity) {
    char *made = calloc(capacity, element);
    if (!made) return NULL;
    for (uint32_t i = 0; i < slots->count; i++) {
        uint64_t slot = (uint64_t)(slots->newest - i);
        memcpy(made + slot % capacity * element, (char *)old + slot % slots->capacity * element, element);
    }
    return made;
}

int si__slots_reserve(si__slots *slots, uint32_t count) {
    if (count > slots->max) count = slots->max;
    if (count <= slots->capacity) return 0;
    uint32_t capacity = slots->capacity ? slots->capacity : 8;
    while (capacity < count) capacity *= 2;
    if (capacity > slots->max) capacity = slots->max;
    float *average = ring_moved(slots->average, sizeof *average, slots, capacity);
    uint16_t *points = ring_moved(slots->points, sizeof *points, slots, capacity);
    float *minimum = NULL, *maximum = NULL;
    if (slots->extremes) {
        minimum = ring_moved(slots->minimum, sizeof *minimum, slots, capacity);
        maximum = ring_moved(slots->maximum, sizeof *maximum, slots, capacity);
    }
    if (!average || !points || (slots->extremes && (!minimum || !maximum))) {
        free(average);
        free(points);
        free(minimum);
        free(maximum);
        return SI_ENOMEM;
    }
    slots_clear(slots);
    slots->average = average;
    slots->points = points;
    slots->minimum = minimum;
    slots->maximum = maximum;
    slots->capacity = capacity;
    return 0;
}

/* Opens slot `slot`, with gaps for the ones that were passed over. */
static int slots_advance(si__slots *slots, int64_t slot) {
    int64_t ahead = slots->count ? slot - slots->newest : 1;
    if (ahead <= 0) return 0;
    int64_t wanted = (int64_t)slots->count + ahead;
    if (ahead >= slots->max) { /* everything known is too old */
        slots->count = 0;
        wanted = 1;
        ahead = 1;
    }
    int status = si__slots_reserve(slots, wanted > slots->max ? slots->max : (uint32_t)wanted);
    if (status) return status;
    for (int64_t gap = slot - ahead + 1; gap <= slot; gap++) slots->points[(uint64_t)gap % slots->capacity] = 0;
    slots->newest = slot;
    slots->open_sum = 0;
    slots->count = wanted > slots->capacity ? slots->capacity : (uint32_t)wanted;
    return 0;
}

static int slots_push(si__slots *slots, int64_t time_ms, double value) {
    int status = slots_advance(slots, si__slot_of(time_ms, slots->step_ms));
    if (status) return status;
    size_t at = (uint64_t)slots->newest % slots->capacity;
    if (slots->points[at] == UINT16_MAX) return 0;
    unsigned n = slots->points[at] + 1u;
    slots->points[at] = (uint16_t)n;
    slots->open_sum += value;
    slots->average[at] = (float)(slots->open_sum / n);
    if (slots->extremes) {
        if (n == 1 || (float)value < slots->minimum[at]) slots->minimum[at] = (float)value;
        if (n == 1 || (float)value > slots->maximum[at]) slots->maximum[at] = (float)value;
    }
    return 0;
}

/* ---- Points ------------------------------------------------------------------------------------------------------ */

static int raw_grow(si__series *series) {
    uint32_t capacity = series->raw_capacity ? series->raw_capacity * 2 : 8;
    si__raw_point *raw = malloc(capacity * sizeof *raw);
    if (!raw) return SI_ENOMEM;
    for (uint32_t i = 0; i < series->raw_count; i++) raw[i] = *si__series_raw(series, i);
    free(series->raw);
    series->raw = raw;
    series->raw_capacity = capacity;
    series->raw_first = 0;
    return 0;
}

static void raw_drop_oldest(si__series *series) {
    series->raw_lost_ms = si__series_raw(series, 0)->time_ms;
    series->raw_first = (series->raw_first + 1) & (series->raw_capacity - 1);
    series->raw_count--;
}

int si__series_push(si__series *series, int64_t time_ms, double value) {
    while (series->raw_count && si__series_raw(series, 0)->time_ms <= time_ms - SI__RAW_WINDOW_MS)
        raw_drop_oldest(series);
    if (series->raw_count == series->raw_capacity) {
        if (series->raw_capacity >= SI__RAW_POINTS) {
            raw_drop_oldest(series);
        } else {
            int status = raw_grow(series);
            if (status) return status;
        }
    }
    int status = slots_push(&series->minute, time_ms, value);
    if (!status) status = slots_push(&series->ten, time_ms, value);
    if (status) return status;
    series->raw[(series->raw_first + series->raw_count++) & (series->raw_capacity - 1)] =
        (si__raw_point){time_ms, value};
    series->last_ms = time_ms;
    series->last = value;
    series->version++;
    return 0;
}

static void slots_shift(si__slots *slots, int64_t by_ms) {
    int64_t by = by_ms / slots->step_ms;
    if (!by || !slots->count) return;
    /* Slots live at slot % capacity, so moving them in time means moving them in the ring. */
    si__slots moved = *slots;
    uint32_t capacity = slots->capacity;
    for (int array = 0; array < 4; array++) {
        void *from = array == 0   ? (void *)slots->average
                     : array == 1 ? (void *)slots->points
                     : array == 2 ? (void *)slots->minimum
                                  : (void *)slots->maximum;
        size_t element = array == 1 ? sizeof(uint16_t) : sizeof(float);
        if (!from) continue;
        char copy[SI__MINUTE_RING * sizeof(float)];
        memcpy(copy, from, capacity * element);
        for (uint32_t i = 0; i < slots->count; i++) {
            uint64_t slot = (uint64_t)(slots->newest - i);
            memcpy((char *)from + (uint64_t)(moved.newest + by - i) % capacity * element,
                   copy + slot % capacity * element, element);
        }
    }
    slots->newest += by;
}

void si__series_shift(si__series *series, int64_t by_ms) {
    for (uint32_t i = 0; i < series->raw_count; i++)
        series->raw[(series->raw_first + i) & (series->raw_capacity - 1)].time_ms += by_ms;
    if (series->raw_lost_ms != INT64_MIN) series->raw_lost_ms += by_ms;
    series->last_ms += by_ms;
    slots_shift(&series->minute, by_ms);
    slots_shift(&series->ten, by_ms);
    si__series_forget(series);
    series->version++;
}

size_t si__series_copy(const si__series *series, int64_t from_ms, si__raw_point *out, size_t cap) {
    size_t first = 0, n = 0;
    while (first < series->raw_count && si__series_raw(series, first)->time_ms < from_ms) first++;
    if (series->raw_count - first > cap) first = series->raw_count - cap;
    for (size_t i = first; i < series->raw_count; i++) out[n++] = *si__series_raw(series, i);
    return n;
}

static int slot_average(const si__slots *slots, int64_t slot, double *value) {
    if (!slots->count || slot > slots->newest || slot < slots->newest - (int64_t)slots->count + 1) return 0;
    size_t at = (uint64_t)slot % slots->capacity;
    if (!slots->points[at]) return 0;
    *value = slots->average[at];
    return 1;
}

int si__series_minute(const si__series *series, int64_t minute, double *value) {
    if (slot_average(&series->minute, minute, value)) return 1;
    if (series->minute.count && minute >= series->minute.newest - (int64_t)series->minute.count + 1)
        return 0; /* a gap */
    return slot_average(&series->ten, si__slot_of(minute * 60000, series->ten.step_ms), value);
}
