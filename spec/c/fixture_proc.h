/* A made-up /proc and /sys in a temporary directory, and a sink that remembers what a collector put. */
#ifndef SI_SPEC_FIXTURE_PROC_H
#define SI_SPEC_FIXTURE_PROC_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../collectors/collector.h"

static char proc_root[64];

__attribute__((unused)) static int proc_open(void **state) {
    (void)state;
    strcpy(proc_root, "/tmp/si-proc-XXXXXX");
    return mkdtemp(proc_root) ? 0 : -1;
}

__attribute__((unused)) static int proc_close(void **state) {
    (void)state;
    char line[128];
    snprintf(line, sizeof line, "rm -rf %s", proc_root);
    return system(line);
}

/* Writes a file below the root, with the directories that it needs. */
__attribute__((format(printf, 2, 3), unused)) static void proc_write(const char *path, const char *format, ...) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", proc_root, path);
    for (char *p = whole + strlen(proc_root) + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        (void)mkdir(whole, 0755);
        *p = '/';
    }
    FILE *out = fopen(whole, "w");
    if (!out) abort();
    va_list arguments;
    va_start(arguments, format);
    vfprintf(out, format, arguments);
    va_end(arguments);
    if (fclose(out)) abort();
}

__attribute__((unused)) static void proc_remove(const char *path) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", proc_root, path);
    if (unlink(whole)) abort();
}

/* ---- The sink ---- */

typedef struct put_value {
    const char *name, *unit;
    double value;
} put_value;

static put_value puts_[128];
static size_t put_count;
static char put_reason[256];
static int put_result;

static void take_put(void *arg, const char *name, const char *unit, double value) {
    (void)arg;
    if (put_count == 128) abort();
    puts_[put_count++] = (put_value){name, unit, value};
}

/* Reads once; values are then looked up with put_of. */
__attribute__((unused)) static int take_reading(const si__collector *collector, void *state, const si__host *host) {
    const si__metric_sink sink = {take_put, NULL};
    put_count = 0;
    put_result = collector->read(state, host, &sink, put_reason, sizeof put_reason);
    return put_result;
}

/* NaN when it was not put. */
__attribute__((unused)) static double put_of(const char *name) {
    double value = NAN;
    int times = 0;
    for (size_t i = 0; i < put_count; i++) {
        if (strcmp(puts_[i].name, name) != 0) continue;
        value = puts_[i].value;
        times++;
    }
    if (times > 1) abort(); /* a metric is put once */
    return value;
}

#define assert_put(name, wanted) assert_float_equal(put_of(name), (wanted), 1e-6 * (1 + fabs((double)(wanted))))
#define assert_not_put(name) assert_true(isnan(put_of(name)))

#endif
