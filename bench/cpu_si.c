/* Our runtime, whole: sampler, loop and worker threads, rules that keep CPU sampling on at 100 Hz. No dashboard. */
#include "cpu_worker.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../collectors/native/probe.h"

static si_runtime *runtime;

int cpu_sampler_start(void) {
    si_options options;
    si_options_init(&options);
    options.app_name = "cpu_bench";
    options.rules_dir = SI_SOURCE_DIR "/bench/rules";
    int error = si_runtime_open(&runtime, &options);
    if (error) fprintf(stderr, "si: %s\n", si_strerror(error));
    return error ? -1 : 0;
}

void cpu_sampler_stop(void) {
    si_runtime_close(runtime, 2000);
}

cpu_counts cpu_sampler_counts(void) {
    cpu_counts counts = {0};
    si__region *region = si__probe_region();
    for (uint32_t i = 0; region && i < region->slots_used; i++) {
        counts.samples += si__region_slot(region, i)->samples;
        counts.lost += si__region_slot(region, i)->dropped;
    }
    return counts;
}

/* The kernel lists a process's timers: ours is found there by what it raises, with what it sends along. */
int cpu_sampler_signal(int *number, siginfo_t *content) {
    FILE *timers = fopen("/proc/self/timers", "r");
    char line[128];
    int timer_id = -1, found = -1;
    unsigned long value;
    while (timers && found && fgets(line, sizeof line, timers)) {
        if (sscanf(line, "ID: %d", &timer_id) == 1) continue;
        if (sscanf(line, "signal: %d/%lx", number, &value) != 2) continue;
        memset(content, 0, sizeof *content);
        content->si_signo = *number;
        content->si_code = SI_TIMER;
        content->si_timerid = timer_id;
        content->si_value.sival_ptr = (void *)value;
        found = 0;
    }
    if (timers) fclose(timers);
    return found;
}

void cpu_sampler_drained(void) {
    si__slot *slot = si__thread_slot();
    for (int i = 0; slot && slot->read_pos != slot->reserve_pos && i < 5000; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}
