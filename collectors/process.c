/*
 * The process collector: health of one process, read from /proc. Works for any process that we may look at.
 *
 * Run by the runtime's meter on its thread, for each observed process with a state of its own. Rates are given from the
 * second reading on. What cannot be read is left out, and the reason says why.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector.h"
#include "native/cgroup.h"
#include "native/procfile.h"
#include "process_stat.h"

enum { THREADS_MAX = 4096 };

typedef struct thread_switches {
    uint64_t tid, voluntary, involuntary;
} thread_switches;

/* What only grows, as it was at the last reading. */
typedef struct counts {
    uint64_t now_ns;
    uint64_t user_ticks, system_ticks, minor_faults, major_faults;
    int has_io;
    uint64_t read_bytes, written_bytes;
    int has_switches;
    uint64_t voluntary, involuntary; /* ours: added up over threads, those that ended included */
} counts;

typedef struct reader {
    si__procfile file;
    uint64_t start_ticks; /* of the process that the counts belong to; 0: none yet */
    counts last;
    thread_switches *threads; /* sorted by tid, as at the last reading */
    size_t thread_count;
} reader;

typedef struct reading {
    reader *state;
    const si__host *host;
    const si__metric_sink *sink;
    char *reason;
    size_t reason_bytes;
    int incomplete;
    counts now;
    double elapsed_s; /* 0: no rates yet */
} reading;

static void *reader_new(void) {
    return calloc(1, sizeof(reader));
}

static void reader_free(void *state) {
    reader *r = state;
    if (!r) return;
    si__procfile_free(&r->file);
    free(r->threads);
    free(r);
}

static void put(const reading *r, const char *name, const char *unit, double value) {
    r->sink->put(r->sink->arg, name, unit, value);
}

/* A rate of what only grows. One that went back (it belongs to another life) is no rate. */
static void put_rate(const reading *r, const char *name, const char *unit, uint64_t now, uint64_t last, double scale) {
    if (r->elapsed_s > 0 && now >= last) put(r, name, unit, (double)(now - last) * scale / r->elapsed_s);
}

static void missing(reading *r, const char *what, int error) {
    si__reason_add(r->reason, r->reason_bytes, "%s: %s", what, error ? strerror(-error) : "not as expected");
    r->incomplete = 1;
}

static int read_file(reading *r, const char *name) {
    return si__procfile_read(&r->state->file, r->host->root, "/proc/%d/%s", (int)r->host->pid, name);
}

/* ---- CPU, memory, threads, faults ---- */

static void put_cpu(const reading *r) {
    const counts *last = &r->state->last, *now = &r->now;
    double second = 1 / r->host->clock_ticks_per_s;
    put_rate(r, "process.cpu.time.user", "s/s", now->user_ticks, last->user_ticks, second);
    put_rate(r, "process.cpu.time.system", "s/s", now->system_ticks, last->system_ticks, second);
    uint64_t all = now->user_ticks + now->system_ticks, before = last->user_ticks + last->system_ticks;
    put_rate(r, "process.cpu.time", "s/s", all, before, second);
    if (r->elapsed_s > 0)
        put_rate(r, "process.cpu.utilization", "1", all, before, second / si__cores_available(r->host));
}

static void put_uptime(reading *r, uint64_t start_ticks) {
    si__procfile *file = &r->state->file;
    int error = si__procfile_read(file, r->host->root, "/proc/uptime");
    const char *at = file->text;
    double up_s;
    if (error || !si__text_decimal(&at, at + file->length, &up_s)) {
        missing(r, "process.uptime", error);
        return;
    }
    double age_s = up_s - (double)start_ticks / r->host->clock_ticks_per_s;
    put(r, "process.uptime", "s", age_s > 0 ? age_s : 0);
}

static void put_memory(reading *r, const si__process_stat *stat) {
    uint64_t bytes;
    put(r, "process.memory.virtual", "By", (double)stat->virtual_bytes);
    put(r, "process.thread.count", "{thread}", (double)stat->threads);
    int error = read_file(r, "status");
    if (!error && si__kib_parse(r->state->file.text, r->state->file.length, "VmRSS:", &bytes))
        put(r, "process.memory.usage", "By", (double)bytes);
    else
        missing(r, "process.memory.usage", error);
}

/* ---- Context switches ---- */

static int by_tid(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of our own process the kernel knows the sum, ended threads included. */
static int own_switches(reading *r) {
    struct rusage usage;
    if (r->host->root[0] || r->host->pid != getpid() || getrusage(RUSAGE_SELF, &usage)) return 0;
    r->now.voluntary = (uint64_t)usage.ru_nvcsw;
    r->now.involuntary = (uint64_t)usage.ru_nivcsw;
    r->now.has_switches = 1;
    return 1;
}

/* Reads every thread; returns their number or a negative errno. */
static int read_threads(reading *r, thread_switches *threads) {
    char path[4200];
    snprintf(path, sizeof path, "%s/proc/%d/task", r->host->root, (int)r->host->pid);
    DIR *dir = opendir(path);
    if (!dir) return -errno;
    int count = 0;
    for (struct dirent *e; (e = readdir(dir)) && count < THREADS_MAX;) {
        const char *name = e->d_name;
        thread_switches *t = &threads[count];
        if (!si__text_number(&name, name + strlen(name), &t->tid)) continue;
        if (si__procfile_read(&r->state->file, r->host->root, "/proc/%d/task/%llu/status", (int)r->host->pid,
                              (unsigned long long)t->tid))
            continue; /* it has just ended */
        if (si__switches_parse(r->state->file.text, r->state->file.length, &t->voluntary, &t->involuntary)) count++;
    }
    closedir(dir);
    return count;
}

/* The file of a process only knows its first thread: threads are read one by one and what each did since is added up.
 */
static void read_switches(reading *r) {
    if (own_switches(r)) return;
    reader *s = r->state;
    thread_switches *threads = calloc(THREADS_MAX, sizeof *threads);
    int count = threads ? read_threads(r, threads) : -ENOMEM;
    if (count <= 0 || count == THREADS_MAX) {
        missing(r, "process.context_switches", count == THREADS_MAX ? -E2BIG : count);
        free(threads);
        return;
    }
    qsort(threads, (size_t)count, sizeof *threads, by_tid);
    r->now.voluntary = s->last.voluntary;
    r->now.involuntary = s->last.involuntary;
    r->now.has_switches = 1;
    for (size_t i = 0, k = 0; i < (size_t)count; i++) {
        while (k < s->thread_count && s->threads[k].tid < threads[i].tid) k++;
        thread_switches before = {0}; /* a new thread: all that it did */
        if (k < s->thread_count && s->threads[k].tid == threads[i].tid) before = s->threads[k];
        if (threads[i].voluntary >= before.voluntary) r->now.voluntary += threads[i].voluntary - before.voluntary;
        if (threads[i].involuntary >= before.involuntary)
            r->now.involuntary += threads[i].involuntary - before.involuntary;
    }
    free(s->threads);
    s->thread_count = (size_t)count;
    thread_switches *fitted = realloc(threads, (size_t)count * sizeof *threads);
    s->threads = fitted ? fitted : threads;
}

static void put_switches(reading *r) {
    read_switches(r);
    const counts *last = &r->state->last, *now = &r->now;
    if (!now->has_switches || !last->has_switches) return;
    put_rate(r, "process.context_switches.voluntary", "{context_switch}/s", now->voluntary, last->voluntary, 1);
    put_rate(r, "process.context_switches.involuntary", "{context_switch}/s", now->involuntary, last->involuntary, 1);
}

/* ---- Descriptors ---- */

/* Number of open descriptors, or a negative errno. */
static int count_descriptors(const reading *r) {
    char path[4200];
    snprintf(path, sizeof path, "%s/proc/%d/fd", r->host->root, (int)r->host->pid);
    struct stat st;
    DIR *dir = opendir(path);
    if (!dir) return -errno;
    int ours = r->host->root[0] == 0 && r->host->pid == getpid(); /* then the directory itself is one of them */
    int count = 0;
    if (fstat(dirfd(dir), &st) == 0 && st.st_size > 0 && r->host->root[0] == 0) {
        count = (int)st.st_size; /* Linux 6.2 and later tell at once */
    } else {
        for (struct dirent *e; (e = readdir(dir));) count += e->d_name[0] >= '0' && e->d_name[0] <= '9';
    }
    closedir(dir);
    return count - ours;
}

static void put_descriptors(reading *r) {
    int count = count_descriptors(r);
    if (count < 0) {
        missing(r, "process.open_file_descriptor.count", count);
        return;
    }
    put(r, "process.open_file_descriptor.count", "{file_descriptor}", count);
    uint64_t limit = 0;
    int error = read_file(r, "limits");
    if (error || !si__file_limit_parse(r->state->file.text, r->state->file.length, &limit))
        missing(r, "process.open_file_descriptor.utilization", error);
    else if (limit > 0)
        put(r, "process.open_file_descriptor.utilization", "1", (double)count / (double)limit);
}

/* ---- Storage ---- */

static void put_io(reading *r) {
    counts *now = &r->now;
    const counts *last = &r->state->last;
    int error = read_file(r, "io");
    now->has_io = !error && si__process_io_parse(r->state->file.text, r->state->file.length, &now->read_bytes,
                                                 &now->written_bytes);
    if (!now->has_io) {
        missing(r, "process.disk.io", error);
        return;
    }
    if (!last->has_io) return;
    put_rate(r, "process.disk.io.read", "By/s", now->read_bytes, last->read_bytes, 1);
    put_rate(r, "process.disk.io.write", "By/s", now->written_bytes, last->written_bytes, 1);
}

/* ---- The reading ---- */

/* 0, or why there is no such process any more. */
static int check_process(reading *r, si__process_stat *stat) {
    int error = read_file(r, "stat");
    if (error == -ENOENT || error == -ESRCH) {
        si__reason_add(r->reason, r->reason_bytes, "process %d is gone", (int)r->host->pid);
        return SI_ENOTFOUND;
    }
    if (error || !si__process_stat_parse(r->state->file.text, r->state->file.length, stat)) {
        missing(r, "/proc/PID/stat", error);
        return SI_EUNAVAILABLE;
    }
    if (stat->state == 'Z' || stat->state == 'X' || stat->state == 'x') {
        si__reason_add(r->reason, r->reason_bytes, "process %d has ended", (int)r->host->pid);
        return SI_ENOTFOUND;
    }
    if (r->state->start_ticks && r->state->start_ticks != stat->start_ticks) {
        si__reason_add(r->reason, r->reason_bytes, "process %d is gone; another one has its number", (int)r->host->pid);
        return SI_ENOTFOUND;
    }
    r->state->start_ticks = stat->start_ticks;
    return 0;
}

static int read_process(void *state, const si__host *host, const si__metric_sink *sink, char *reason,
                        size_t reason_bytes) {
    reading r = {.state = state, .host = host, .sink = sink, .reason = reason, .reason_bytes = reason_bytes};
    si__process_stat stat;
    reason[0] = 0;
    if (!state) {
        si__reason_add(reason, reason_bytes, "out of memory");
        return SI_ENOMEM;
    }
    if (host->pid <= 0) {
        si__reason_add(reason, reason_bytes, "no process to observe");
        return SI_EINVAL;
    }
    int result = check_process(&r, &stat);
    if (result) return result;

    const counts *last = &r.state->last;
    if (last->now_ns && host->now_ns > last->now_ns) r.elapsed_s = (double)(host->now_ns - last->now_ns) / 1e9;
    r.now = (counts){.now_ns = host->now_ns,
                     .user_ticks = stat.user_ticks,
                     .system_ticks = stat.system_ticks,
                     .minor_faults = stat.minor_faults,
                     .major_faults = stat.major_faults};
    put_cpu(&r);
    put_memory(&r, &stat);
    put_rate(&r, "process.paging.faults.minor", "{fault}/s", r.now.minor_faults, last->minor_faults, 1);
    put_rate(&r, "process.paging.faults.major", "{fault}/s", r.now.major_faults, last->major_faults, 1);
    put_switches(&r);
    put_descriptors(&r);
    put_io(&r);
    put_uptime(&r, stat.start_ticks);
    r.state->last = r.now;
    return r.incomplete ? SI_EUNAVAILABLE : 0;
}

const si__collector si__collector_process = {
    .name = "process",
    .title = "Process health",
    .reader_new = reader_new,
    .read = read_process,
    .reader_free = reader_free,
};
