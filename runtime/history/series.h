/*
 * One series: its recent points, its rings at coarser resolutions, and the window statistics that rules ask for.
 *
 * Called by history.c (feeding, saving) and by runtime/script (statistics), on the loop thread only. Results are cached
 * until a point arrives or the window's edge passes a point, so a rule that asks again pays a comparison.
 *
 * Resolutions: the last 512 points as they came (at most 1 h), 1 min x 24 h, 10 min x 7 d. A window is answered from
 * the finest ring that covers it; windows longer than 7 d are cut to 7 d. Every statistic of an empty window is NaN, so
 * that comparisons with it are false; sum and count are 0 then.
 */
#ifndef SI_HISTORY_SERIES_H
#define SI_HISTORY_SERIES_H

#include <stddef.h>
#include <stdint.h>

#include "history.h"

#define SI__SERIES_NAME_BYTES 512
#define SI__RAW_POINTS 512
#define SI__RAW_WINDOW_MS (3600 * (int64_t)1000)
#define SI__MINUTE_SLOTS 1440
#define SI__MINUTE_RING (SI__MINUTE_SLOTS + 32) /* what has left the window is known for a while: order.c */
#define SI__TEN_MINUTE_SLOTS 1008

typedef struct si__raw_point {
    int64_t time_ms;
    double value;
} si__raw_point;

/* A ring of averages over equal steps of time. Slot k covers [k * step, (k + 1) * step). Grows up to max slots. */
typedef struct si__slots {
    int64_t step_ms;
    int64_t newest;  /* slot number; meaningless while count is 0 */
    double open_sum; /* of the newest slot, which still takes points */
    uint32_t capacity, max, count;
    int extremes; /* 1: minimum and maximum are kept too */
    float *average, *minimum, *maximum;
    uint16_t *points; /* per slot; 0: gap */
} si__slots;

typedef struct si__baseline {
    double median, mad, p98; /* of the window's minutes, the newest 15 left out; NaN when n < min_points */
    double scale;            /* what z divides by: 1.4826 * MAD, at least 5 % of the median, at least floor */
    double same_hour;        /* median of the hour around 24 h ago; NaN: none */
    double same_hour_held;   /* highest level that was held for ten minutes in that hour: a nightly job's; NaN: none */
    size_t n;
} si__baseline;

typedef struct si__trend {
    double slope_per_hour; /* median of all pairwise slopes; NaN with fewer than 5 points */
    double tau;            /* Kendall's tau, -1..1: how steadily it goes one way */
    size_t n;
} si__trend;

typedef enum si__statistic {
    SI__STAT_AVG,
    SI__STAT_MIN,
    SI__STAT_MAX,
    SI__STAT_SUM,
    SI__STAT_COUNT, /* points */
    SI__STAT_DELTA, /* last minus first */
    SI__STAT_RATE,  /* delta per second */
    SI__STAT_PERCENTILE
} si__statistic;

/* `percent` (0..100, nearest rank) is read by SI__STAT_PERCENTILE only. Windows in milliseconds, ending at now_ms. */
double si__series_window(si__series *series, si__statistic statistic, int64_t now_ms, int64_t window_ms,
                         double percent);
double si__series_last(const si__series *series);
int64_t si__series_last_ms(const si__series *series);                /* time of the last point */
int64_t si__series_age_ms(const si__series *series, int64_t now_ms); /* since the last point, never negative */
double si__series_median_last(const si__series *series,
                              size_t n); /* of the last n points, at most 512; NaN: fewer than 1 */
/* `floor`: smallest scale in the series' own unit; min_points: fewer minutes than this give NaN. */
void si__series_baseline(si__series *series, int64_t now_ms, int64_t window_ms, size_t min_points, double floor,
                         si__baseline *out);
double si__baseline_z(const si__baseline *baseline, double value);
/* Over at most 48 equal stretches of the window, so that its cost is bounded. */
void si__series_theil_sen(si__series *series, int64_t now_ms, int64_t window_ms, si__trend *out);
const char *si__series_name(const si__series *series); /* borrowed */
/* The newest values of a stretch: for drawing and replay. Returns how many were written (oldest first, at most cap). */
size_t si__series_copy(const si__series *series, int64_t from_ms, si__raw_point *out, size_t cap);

/* The average of a minute (Unix minutes) as it is remembered: for a day by the minute, for a week that of its ten
   minutes. 1 and *value, or 0: nothing is known of it. */
int si__series_minute(const si__series *series, int64_t minute, double *value);

/* ---- Shared by the files of this folder -------------------------------------------------------------------------- */

typedef struct si__memo {
    int64_t window_ms, expires_ms;
    double percent, value;
    uint32_t version;
    uint8_t statistic, used;
} si__memo;

#define SI__KEPT_ANSWERS 2 /* a rule asks for a long and a short window, and when and clear differ */

typedef struct si__kept_baseline {
    int64_t window_ms, minute;
    size_t min_points;
    double floor;
    si__baseline value;
    int used;
} si__kept_baseline;

typedef struct si__kept_trend {
    int64_t window_ms, part;
    si__trend value;
    int used;
} si__kept_trend;

/* The minutes of one window in order of their values: moved on minute by minute instead of being sorted anew. order.c
 */
typedef struct si__order {
    int64_t window_ms;    /* 0: not in use */
    int64_t first, last;  /* slots in it */
    uint16_t last_points; /* of slot `last` when it was taken in: it may have got more since */
    uint32_t count;
    float *sorted; /* SI__MINUTE_SLOTS */
} si__order;

typedef struct si__series_cache { /* only series that a rule looks at have one */
    si__memo memo[8];
    si__kept_baseline baselines[SI__KEPT_ANSWERS];
    si__kept_trend trends[SI__KEPT_ANSWERS];
    si__order order;
    uint32_t next, next_baseline, next_trend;
} si__series_cache;

struct si__series { /* what an evaluation looks at comes first, in one line of the processor's cache */
    si__series_cache *cache;
    int64_t last_ms;
    double last;
    si__raw_point *raw;
    uint32_t raw_capacity, raw_first, raw_count; /* capacity: 0 or a power of two */
    uint32_t version;                            /* of the points; changes with each */
    int64_t raw_lost_ms; /* time of the newest point that the raw ring let go; INT64_MIN: none yet */
    si__series_kind kind;
    char *name;
    uint64_t hash;
    struct si__series *newer, *older, *chain;
    si__slots minute, ten;
};

si__series *si__series_new(si__series_kind kind, const char *name, size_t length,
                           uint64_t hash); /* NULL: out of memory */
void si__series_free(si__series *series);
void si__series_forget(si__series *series); /* answers that are kept; they are computed again when asked for */
int si__series_push(si__series *series, int64_t time_ms, double value); /* 0 or SI_ENOMEM; time >= the last one's */
void si__series_shift(si__series *series, int64_t by_ms); /* the clock was set back: moves all points by by_ms */
size_t si__series_bytes(const si__series *series);
int si__slots_reserve(si__slots *slots, uint32_t count); /* 0 or SI_ENOMEM; capacity for `count` slots */
const si__raw_point *si__series_raw(const si__series *series, size_t index); /* 0: oldest */

/* order.c: brings the order up to slots [first, last] of the minute ring. 0, or SI_ENOMEM: it is not in use then. */
int si__order_move(si__order *order, const si__slots *minutes, int64_t first, int64_t last);
double si__order_median(const si__order *order);                     /* count > 0 */
double si__order_mad(const si__order *order, double median);         /* count > 0 */
double si__order_percentile(const si__order *order, double percent); /* nearest rank; count > 0 */

/* history.c for store.c */
void si__history_take(si__history *history, si__series *filled); /* takes ownership; replaces one of the same name */
const si__series *si__history_oldest(const si__history *history,
                                     si__series_kind kind); /* then along ->newer; NULL: none */

static inline int64_t si__slot_of(int64_t time_ms, int64_t step_ms) {
    int64_t slot = time_ms / step_ms;
    return time_ms % step_ms < 0 ? slot - 1 : slot;
}

#endif
