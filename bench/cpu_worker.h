/*
 * A sampler under test, for cpu_worker.c. Each worker program is linked with one of cpu_none.c, cpu_si.c,
 * cpu_gperftools.c.
 */
#ifndef BENCH_CPU_WORKER_H
#define BENCH_CPU_WORKER_H

#include <signal.h>
#include <stdint.h>

typedef struct cpu_counts {
    uint64_t samples; /* taken since the start */
    uint64_t lost;
} cpu_counts;

/* Starts sampling this process at 100 Hz. 0, or -1 with the reason on standard error. */
int cpu_sampler_start(void);
void cpu_sampler_stop(void);
cpu_counts cpu_sampler_counts(void);

/* Which signal takes a sample, and with what content it would come from the timer; 0 when it was found. */
int cpu_sampler_signal(int *number, siginfo_t *content);

/* Waits until what was recorded has been read by whoever reads it, so that a full buffer is not what we measure. */
void cpu_sampler_drained(void);

#endif
