/*
 * One process under one sampler, told by cpu_bench.c over standard input what to do next; answers with a line each.
 *
 *   walk ROUNDS          -> "<main thread's CPU ns> <process's CPU ns> <samples> <lost>": a fixed amount of work,
 * sampled by the timer deliver COUNT COLD   -> "<p25> <median> <p75 ns> <samples> <lost>": COUNT signals sent to
 * itself, each timed from sending to the handler's return; COLD 1: after work that has thrown the sampler's data out of
 * the nearest caches frames               -> "<depth>" of the stack that is sampled quit
 */
#include "cpu_worker.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

enum { BATCH = 50 }; /* signals between two waits for the reader */

static volatile uint64_t sink;

static uint64_t clock_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void walk(void *rounds) {
    sink += workload_walk(*(unsigned *)rounds);
}

static void answer_walk(unsigned rounds) {
    cpu_counts before = cpu_sampler_counts();
    uint64_t thread = clock_ns(CLOCK_THREAD_CPUTIME_ID), process = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    workload_under_stack(walk, &rounds);
    thread = clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread;
    process = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process;
    cpu_counts after = cpu_sampler_counts();
    printf("%lu %lu %lu %lu\n", thread, process, after.samples - before.samples, after.lost - before.lost);
}

typedef struct delivery {
    unsigned count;
    int cold, number;
    siginfo_t content;
    uint64_t *took_ns;
} delivery;

static void deliver(void *arg) {
    delivery *d = arg;
    pid_t process = getpid();
    long thread = syscall(SYS_gettid);
    for (unsigned i = 0; i < d->count; i++) {
        if (i % BATCH == 0) cpu_sampler_drained();
        if (d->cold) sink += workload_evict();
        uint64_t start = clock_ns(CLOCK_MONOTONIC);
        syscall(SYS_rt_tgsigqueueinfo, process, thread, d->number, &d->content);
        d->took_ns[i] = clock_ns(CLOCK_MONOTONIC) - start;
    }
}

static void answer_deliver(unsigned count, int cold) {
    delivery d = {.count = count, .cold = cold, .took_ns = calloc(count, sizeof *d.took_ns)};
    if (!d.took_ns || cpu_sampler_signal(&d.number, &d.content)) {
        printf("failed\n");
        free(d.took_ns);
        return;
    }
    cpu_counts before = cpu_sampler_counts();
    workload_under_stack(deliver, &d);
    cpu_counts after = cpu_sampler_counts();
    qsort(d.took_ns, count, sizeof *d.took_ns, ascending);
    printf("%lu %lu %lu %lu %lu\n", d.took_ns[count / 4], d.took_ns[count / 2], d.took_ns[count / 4 * 3],
           after.samples - before.samples, after.lost - before.lost);
    free(d.took_ns);
}

static void count_frames(void *arg) {
    void *frames[128];
    *(int *)arg = backtrace(frames, 128);
}

int main(void) {
    char line[128];
    unsigned number;
    int cold, frames = 0;
    if (cpu_sampler_start()) return 1;
    sink += workload_walk(20000); /* warm, and long enough for the first samples and unwind tables */
    workload_under_stack(count_frames, &frames);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "walk %u", &number) == 1)
            answer_walk(number);
        else if (sscanf(line, "deliver %u %d", &number, &cold) == 2)
            answer_deliver(number, cold);
        else if (strcmp(line, "frames\n") == 0)
            printf("%d\n", frames);
        else
            break;
        fflush(stdout);
    }
    cpu_sampler_stop();
    return 0;
}
