/* The meter: runs the readers of all collectors, host once and process per observed process. Loop thread only. */
#include "meter.h"

#include <math.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_COLLECTORS = 32, MAX_READINGS = 256, REASON_BYTES = 160, MAX_SUMMED = 64 };

typedef struct watched {
    pid_t pid;
    void *states[MAX_COLLECTORS];
} watched;

struct si__meter {
    const si__collector *const *collectors;
    char *root;
    watched *processes;
    size_t process_count;
    si__reading readings[MAX_READINGS];
    size_t reading_count;
    char reasons[MAX_COLLECTORS][REASON_BYTES];
};

si__meter *si__meter_new(const si__collector *const *collectors, const char *host_root) {
    si__meter *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->collectors = collectors;
    m->root = strdup(host_root);
    if (!m->root) {
        free(m);
        return NULL;
    }
    return m;
}

static void free_states(si__meter *m, watched *w) {
    for (size_t i = 0; m->collectors[i] && i < MAX_COLLECTORS; i++)
        if (w->states[i]) m->collectors[i]->reader_free(w->states[i]);
}

void si__meter_free(si__meter *m) {
    if (!m) return;
    for (size_t i = 0; i < m->process_count; i++) free_states(m, &m->processes[i]);
    free(m->processes);
    free(m->root);
    free(m);
}

int si__meter_add(si__meter *m, pid_t pid) {
    for (size_t i = 0; i < m->process_count; i++)
        if (m->processes[i].pid == pid) return 0;
    watched *grown = realloc(m->processes, (m->process_count + 1) * sizeof *grown);
    if (!grown) return SI_ENOMEM;
    m->processes = grown;
    grown[m->process_count++] = (watched){.pid = pid};
    return 0;
}

void si__meter_remove(si__meter *m, pid_t pid) {
    for (size_t i = 0; i < m->process_count; i++) {
        if (m->processes[i].pid != pid) continue;
        free_states(m, &m->processes[i]);
        m->processes[i] = m->processes[--m->process_count];
        return;
    }
}

/* Ratios of a limit and ages do not add up over processes; everything else, CPU shares included, does. */
static int adds_up(const char *name, const char *unit) {
    if (strcmp(name, "process.uptime") == 0) return 0;
    return strcmp(unit, "1") != 0 || strcmp(name, "process.cpu.utilization") == 0;
}

static void put(void *arg, const char *name, const char *unit, double value) {
    si__meter *m = arg;
    if (!isfinite(value)) return;
    for (size_t i = 0; i < m->reading_count; i++) {
        si__reading *r = &m->readings[i];
        if (strcmp(r->name, name) != 0) continue;
        if (adds_up(name, unit))
            r->value += value;
        else if (value > r->value)
            r->value = value;
        return;
    }
    if (m->reading_count < MAX_READINGS) m->readings[m->reading_count++] = (si__reading){name, unit, value};
}

static void read_process(si__meter *m, watched *w, int first, si__host host) {
    const si__metric_sink sink = {put, m};
    host.pid = w->pid;
    for (size_t i = 0; m->collectors[i] && i < MAX_COLLECTORS; i++) {
        const si__collector *c = m->collectors[i];
        if (!c->read || (c->host_wide && !first)) continue;
        if (!w->states[i] && c->reader_new) w->states[i] = c->reader_new();
        char reason[REASON_BYTES] = "";
        int rc = c->read(w->states[i], &host, &sink, reason, sizeof reason);
        if (first || rc) memcpy(m->reasons[i], rc ? reason : "", rc ? sizeof reason : 1);
    }
}

const si__reading *si__meter_read(si__meter *m, uint64_t now_ns, size_t *count) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    const si__host host = {.root = m->root,
                           .now_ns = now_ns,
                           .cpu_count = cpus > 0 ? (unsigned)cpus : 1,
                           .clock_ticks_per_s = (double)sysconf(_SC_CLK_TCK),
                           .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE)};
    m->reading_count = 0;
    size_t limit = m->process_count < MAX_SUMMED ? m->process_count : MAX_SUMMED;
    for (size_t i = 0; i < limit; i++) read_process(m, &m->processes[i], i == 0, host);
    *count = m->reading_count;
    return m->readings;
}

const char *si__meter_reason(const si__meter *m, size_t index) {
    return index < MAX_COLLECTORS ? m->reasons[index] : "";
}
