/*
 * What the CPU benchmark runs while it is sampled: a fixed amount of work under a stack as deep as those of real
 * servers, about 25 frames, two of them in libc, none of ours with a frame pointer.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>

/* Calls leaf(arg) at the bottom of the stack. */
void workload_under_stack(void (*leaf)(void *arg), void *arg);

/* A chain of multiplications over 16 KiB, `rounds` times: bound by the core alone, so that where the data happens to
   lie in memory makes no difference between two processes. Returns something that depends on all of it. */
uint64_t workload_walk(unsigned rounds);

/* Walks 4 MiB once: afterwards little else is left in the nearest caches. */
uint64_t workload_evict(void);

#endif
