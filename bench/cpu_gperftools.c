/* gperftools' CPU profiler, at its default of 100 Hz, writing to a file that nobody keeps. */
#include "cpu_worker.h"

#include <gperftools/profiler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char file[] = "/tmp/si-bench.XXXXXX";

int cpu_sampler_start(void) {
    int descriptor = mkstemp(file);
    if (descriptor < 0) return -1;
    close(descriptor);
    unsetenv("CPUPROFILE_FREQUENCY");
    return ProfilerStart(file) ? 0 : -1;
}

void cpu_sampler_stop(void) {
    ProfilerStop();
    unlink(file);
}

cpu_counts cpu_sampler_counts(void) {
    struct ProfilerState state;
    ProfilerGetCurrentState(&state);
    return (cpu_counts){.samples = (uint64_t)state.samples_gathered};
}

int cpu_sampler_signal(int *number, siginfo_t *content) {
    *number = SIGPROF;
    memset(content, 0, sizeof *content);
    content->si_signo = SIGPROF;
    content->si_code = SI_TIMER; /* its handler does not look */
    return 0;
}

void cpu_sampler_drained(void) {}
