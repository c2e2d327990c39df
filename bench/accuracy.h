/*
 * Measurements against programs whose truth is known: for `./dev bench accuracy` (accuracy_bench.c, all of it) and
 * spec/c/accuracy_test.c (the same programs, less of each).
 *
 * Every measurement prints rows: truth, estimate, error, what is allowed. One thread.
 */
#ifndef SI_BENCH_ACCURACY_H
#define SI_BENCH_ACCURACY_H

typedef struct accuracy {
    const char *si;   /* the `si` command */
    const char *self; /* this program: `self --program NAME SCALE` is what is observed */
    const char *dir;  /* for files; made and removed by the caller */
    int scale;        /* how much of everything: 1 is the test's */
    int runs;         /* of the observed program whose live heap is known */
    int rows, failed;
} accuracy;

/* Prints a row; it has failed when estimate and truth differ by more than `allowed`, or when any is no number. */
void accuracy_row(accuracy *a, const char *what, const char *unit, double truth, double estimate, double allowed);

/* The observed programs: each prints lines "TYPE FUNCTION CALL TRUTH SIGMA", TRUTH and SIGMA in the unit of the folded
   file, CALL "-" for any. Returns an exit code. */
int accuracy_program(const char *name, int scale);

void accuracy_cpu(accuracy *a);         /* CPU time of functions and threads, under `si run` */
void accuracy_waits(accuracy *a);       /* locks, sleeps, pipes, sockets, polls, under `si run` */
void accuracy_leak(accuracy *a);        /* what is live and what leaks, under `si run` */
void accuracy_live_runs(accuracy *a);   /* a live heap, over and over, under `si run` */
void accuracy_live_rounds(accuracy *a); /* a live heap, 200 times, embedded */
void accuracy_requests(accuracy *a);    /* latencies of requests and segments, error counts, embedded */

#endif
