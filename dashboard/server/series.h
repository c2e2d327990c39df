/* What the segment, error, health and overview routes share. Workers' threads. */
#ifndef SI_SERVER_SERIES_H
#define SI_SERVER_SERIES_H

#include "request.h"

int64_t si__bucket_ms(const si__range *range); /* the width of a point in charts: whole minutes, about 120 of them */

typedef struct si__segment_sum {
    int64_t name_id;
    char name[256], kind[32];
    uint64_t count, errors, max_ns;
    uint64_t sum_ns, *point_errors; /* point_errors: one a bucket */
    si__sketch *all, **points;      /* points: one a bucket, NULL where nothing was */
} si__segment_sum;

typedef struct si__segment_sums { /* buckets 0: no points */
    si__segment_sum *items;
    size_t count, capacity, buckets;
    int64_t from_ms, bucket_ms;
} si__segment_sums;

si__segment_sums si__segment_sums_of(const si__range *range); /* with a bucket for each point of a chart */
int si__segment_add(void *sums, const si__segment_row *row);  /* an si__segment_each */
void si__segment_sort(si__segment_sums *sums);                /* the most time first, "other" last */
void si__segment_clear(si__segment_sums *sums);

void si__segment_points_write(si__json_writer *json, const si__segment_sum *sum,
                              const si__segment_sums *sums); /* "points": [[t,p50,p95,p99,count,errors]] */

void si__errors_write(si__request *request, si__json_writer *json, const si__range *range); /* "points" of all errors */

/* One alert as JSON, and all firing ones of an application. */
void si__alert_write(si__request *request, si__json_writer *json, const char *key, int64_t alert);
void si__alerts_write_firing(si__request *request, si__json_writer *json, int64_t app);
void si__annotations_write(si__request *request, si__json_writer *json, const si__range *range); /* "annotations" */

#endif
