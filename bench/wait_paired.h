/*
 * What a hooked call costs against the same call without hooks, in one process: for lock_bench.c and wait_bench.c.
 *
 * Hooks go in and out of the program's own table of functions between slices of a millisecond or so, so that the same
 * machine code makes the same calls and what else the machine does hits both alike. The difference of neighbouring
 * slices is given with the 95 % interval of its median (order statistics), and so is that of two slices without hooks,
 * which says what is noise.
 */
#ifndef SI_BENCH_WAIT_PAIRED_H
#define SI_BENCH_WAIT_PAIRED_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../collectors/native/probe.h"

enum { PAIRED_SLICES = 500, PAIRED_MEAN_NS = 10000000 };

typedef struct paired_work {
    const char *title;
    void (*run)(unsigned calls);
    unsigned calls; /* in a slice */
    si__tally tally;
    unsigned counted; /* executions that one of `calls` is counted as */
} paired_work;

static int paired_ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double paired_slice(const paired_work *work, int hooked) {
    si__region *region = si__probe_region();
    si__region_set_means(region, 0, hooked ? PAIRED_MEAN_NS : 0, 0);
    si__probe_retune();
    work->run(work->calls / 8); /* warm again after the change */
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    work->run(work->calls);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
    return ns / work->calls;
}

static void paired_print(double *values) {
    qsort(values, PAIRED_SLICES, sizeof *values, paired_ascending);
    int middle = PAIRED_SLICES / 2, reach = (int)ceil(0.98 * sqrt(PAIRED_SLICES));
    printf(" %+.2f [%+.2f, %+.2f] |", values[middle], values[middle - reach], values[middle + reach]);
}

static uint64_t paired_executions(si__tally tally) {
    uint64_t sum = 0;
    si__region *region = si__probe_region();
    for (uint32_t i = 0; i < region->slots_used; i++) sum += si__region_tallies(region, i)->of[tally];
    return sum;
}

/* 0: measured; 1: the hooks did not see the calls, so there is nothing to say. */
static int paired_measure(const paired_work *work) {
    static double plain[PAIRED_SLICES], added[PAIRED_SLICES], noise[PAIRED_SLICES];
    uint64_t before = paired_executions(work->tally);
    for (int i = 0; i < PAIRED_SLICES; i++) {
        /* In turns, which one comes first: what follows a change of tables would else be counted to one of them. */
        double first = paired_slice(work, 0), hooked, second;
        if (i % 2) {
            hooked = paired_slice(work, 1);
            second = paired_slice(work, 0);
        } else {
            second = paired_slice(work, 0);
            hooked = paired_slice(work, 1);
        }
        plain[i] = first;
        noise[i] = second - first;
        added[i] = hooked - second; /* one with one: a mean of two would have lost its CPU more often than one has */
    }
    uint64_t seen = paired_executions(work->tally) - before;
    uint64_t due = (uint64_t)PAIRED_SLICES * work->counted * (work->calls + work->calls / 8);
    if (seen < due) {
        printf("INVALID: %s: %lu of %lu calls were seen\n", work->title, seen, due);
        return 1;
    }
    qsort(plain, PAIRED_SLICES, sizeof *plain, paired_ascending);
    printf("| %s | %.1f |", work->title, plain[PAIRED_SLICES / 2]);
    paired_print(added);
    paired_print(noise);
    printf("\n");
    fflush(stdout);
    return 0;
}

static int paired_bench(const paired_work *works, int count) {
    int invalid = 0;
    if (si__probe_open(NULL) != 0) {
        fprintf(stderr, "the probe does not open: %s\n", si__probe_reason());
        return 1;
    }
    printf("\nNanoseconds a call; medians of %d slices, in brackets their 95 %% intervals\n\n", PAIRED_SLICES);
    printf("| | without us | added | two alike |\n| --- | --- | --- | --- |\n");
    for (int i = 0; i < count; i++) invalid += paired_measure(&works[i]);
    si__probe_close();
    return invalid != 0;
}

#endif
