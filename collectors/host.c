/*
 * The host collector: how the machine is doing, and the container that the observed process is in.
 *
 * Run by the runtime's meter on its thread, once per reading. Rates and shares are given from the second reading on.
 * What a kernel does not have (pressure, swap, a control group) is left out in silence; what should be there and cannot
 * be read is left out with a reason.
 */
#include <errno.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "collector.h"
#include "host_stat.h"
#include "native/cgroup.h"
#include "native/procfile.h"
#include "process_stat.h"

enum { PRESSURES = 3 };

static const struct {
    const char *path, *some, *full;
} pressures[PRESSURES] = {
    {"/proc/pressure/cpu", "system.linux.psi.cpu.some", NULL}, /* "full" means nothing for a whole host's CPU */
    {"/proc/pressure/memory", "system.linux.psi.memory.some", "system.linux.psi.memory.full"},
    {"/proc/pressure/io", "system.linux.psi.io.some", "system.linux.psi.io.full"},
};

/* What only grows, as it was at the last reading. */
typedef struct counts {
    uint64_t now_ns;
    int has_cpu, has_network, has_disk, has_paging, has_pressure[PRESSURES], has_throttled;
    si__cpu_ticks cpu;
    si__bytes_moved network, disk;
    si__paging paging;
    uint64_t some_us[PRESSURES], full_us[PRESSURES], throttled_ns;
} counts;

typedef struct reader {
    si__procfile file;
    counts last;
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
    free(r);
}

static void put(const reading *r, const char *name, const char *unit, double value) {
    r->sink->put(r->sink->arg, name, unit, value);
}

static void put_rate(const reading *r, const char *name, const char *unit, uint64_t now, uint64_t last, double scale) {
    if (r->elapsed_s > 0 && now >= last) put(r, name, unit, (double)(now - last) * scale / r->elapsed_s);
}

static void missing(reading *r, const char *what, int error) {
    si__reason_add(r->reason, r->reason_bytes, "%s: %s", what, error ? strerror(-error) : "not as expected");
    r->incomplete = 1;
}

/* ---- CPU ---- */

static void put_share(const reading *r, const char *name, uint64_t now, uint64_t last, double total) {
    if (now >= last) put(r, name, "1", (double)(now - last) / total);
}

static void put_cpu(reading *r) {
    si__procfile *file = &r->state->file;
    int error = si__procfile_read(file, r->host->root, "/proc/stat");
    r->now.has_cpu = !error && si__cpu_ticks_parse(file->text, file->length, &r->now.cpu);
    if (!r->now.has_cpu) {
        missing(r, "system.cpu.utilization", error);
        return;
    }
    const si__cpu_ticks *a = &r->state->last.cpu, *b = &r->now.cpu;
    uint64_t before = si__cpu_ticks_total(a), after = si__cpu_ticks_total(b);
    if (!r->state->last.has_cpu || after <= before) return;
    double total = (double)(after - before);
    /* Waiting for storage is idle time; its count may even go back. What is left is work, time stolen by other guests
     * too. */
    uint64_t idle = b->idle >= a->idle ? b->idle - a->idle : 0;
    if (b->iowait >= a->iowait) idle += b->iowait - a->iowait;
    double busy = 1 - (double)idle / total;
    put(r, "system.cpu.utilization", "1", busy > 0 ? busy : 0);
    put_share(r, "system.cpu.utilization.user", b->user, a->user, total);
    put_share(r, "system.cpu.utilization.nice", b->nice, a->nice, total);
    put_share(r, "system.cpu.utilization.system", b->system, a->system, total);
    put_share(r, "system.cpu.utilization.idle", b->idle, a->idle, total);
    put_share(r, "system.cpu.utilization.iowait", b->iowait, a->iowait, total);
    put_share(r, "system.cpu.utilization.interrupt", b->irq, a->irq, total);
    put_share(r, "system.cpu.utilization.steal", b->steal, a->steal, total);
}

static void put_load(reading *r) {
    si__procfile *file = &r->state->file;
    double load[3];
    put(r, "system.cpu.logical.count", "{cpu}", r->host->cpu_count);
    int error = si__procfile_read(file, r->host->root, "/proc/loadavg");
    if (error || !si__load_average_parse(file->text, file->length, load)) {
        missing(r, "system.cpu.load_average", error);
        return;
    }
    put(r, "system.cpu.load_average.1m", "{thread}", load[0]);
    put(r, "system.cpu.load_average.5m", "{thread}", load[1]);
    put(r, "system.cpu.load_average.15m", "{thread}", load[2]);
}

/* ---- Memory ---- */

static void put_memory(reading *r) {
    si__procfile *file = &r->state->file;
    uint64_t total, available, swap, swap_free;
    int error = si__procfile_read(file, r->host->root, "/proc/meminfo");
    if (error || !si__kib_parse(file->text, file->length, "MemTotal:", &total) || total == 0 ||
        !si__kib_parse(file->text, file->length, "MemAvailable:", &available) || available > total) {
        missing(r, "system.memory", error);
        return;
    }
    put(r, "system.memory.limit", "By", (double)total);
    put(r, "system.memory.available", "By", (double)available);
    put(r, "system.memory.usage", "By", (double)(total - available));
    put(r, "system.memory.utilization", "1", (double)(total - available) / (double)total);
    if (!si__kib_parse(file->text, file->length, "SwapTotal:", &swap) || swap == 0 ||
        !si__kib_parse(file->text, file->length, "SwapFree:", &swap_free) || swap_free > swap)
        return; /* no swap */
    put(r, "system.paging.usage", "By", (double)(swap - swap_free));
    put(r, "system.paging.utilization", "1", (double)(swap - swap_free) / (double)swap);
}

static void put_paging(reading *r) {
    si__procfile *file = &r->state->file;
    int error = si__procfile_read(file, r->host->root, "/proc/vmstat");
    r->now.has_paging = !error && si__paging_parse(file->text, file->length, &r->now.paging);
    if (!r->now.has_paging) {
        missing(r, "system.paging", error);
        return;
    }
    const si__paging *a = &r->state->last.paging, *b = &r->now.paging;
    if (!r->state->last.has_paging) return;
    put_rate(r, "system.paging.operations.in", "{operation}/s", b->pages_in, a->pages_in, 1);
    put_rate(r, "system.paging.operations.out", "{operation}/s", b->pages_out, a->pages_out, 1);
    put_rate(r, "system.paging.faults.major", "{fault}/s", b->major_faults, a->major_faults, 1);
}

/* ---- Network and disks ---- */

static void put_network(reading *r) {
    si__procfile *file = &r->state->file;
    int error = si__procfile_read(file, r->host->root, "/proc/net/dev");
    r->now.has_network = !error && si__network_parse(file->text, file->length, &r->now.network);
    if (!r->now.has_network) {
        missing(r, "system.network.io", error);
        return;
    }
    const si__bytes_moved *a = &r->state->last.network, *b = &r->now.network;
    if (!r->state->last.has_network) return;
    put_rate(r, "system.network.io.receive", "By/s", b->in, a->in, 1);
    put_rate(r, "system.network.io.transmit", "By/s", b->out, a->out, 1);
    put_rate(r, "system.network.errors", "{error}/s", b->errors, a->errors, 1);
}

static void put_disks(reading *r) {
    si__procfile *file = &r->state->file;
    int error = si__procfile_read(file, r->host->root, "/proc/diskstats");
    r->now.has_disk = !error && si__disks_parse(file->text, file->length, &r->now.disk);
    if (!r->now.has_disk) {
        if (error != -ENOENT && (error || file->length))
            missing(r, "system.disk.io", error); /* a container may show none */
        return;
    }
    const si__bytes_moved *a = &r->state->last.disk, *b = &r->now.disk;
    if (!r->state->last.has_disk) return;
    put_rate(r, "system.disk.io.read", "By/s", b->in, a->in, 1);
    put_rate(r, "system.disk.io.write", "By/s", b->out, a->out, 1);
}

/* ---- Pressure and container ---- */

/* Share of the time in which some, or all, had to wait: kernels since 4.20 that were built and started with it. */
static void put_pressure(reading *r) {
    si__procfile *file = &r->state->file;
    for (size_t i = 0; i < PRESSURES; i++) {
        if (si__procfile_read(file, r->host->root, "%s", pressures[i].path)) continue;
        r->now.has_pressure[i] = si__pressure_parse(file->text, file->length, &r->now.some_us[i], &r->now.full_us[i]);
        if (!r->now.has_pressure[i] || !r->state->last.has_pressure[i]) continue;
        put_rate(r, pressures[i].some, "1", r->now.some_us[i], r->state->last.some_us[i], 1e-6);
        if (pressures[i].full) put_rate(r, pressures[i].full, "1", r->now.full_us[i], r->state->last.full_us[i], 1e-6);
    }
}

static void put_container(reading *r) {
    si__cgroup group;
    if (si__cgroup_read(r->host, &group) || !group.found) return;
    if (group.cpu_cores > 0) put(r, "container.cpu.limit", "{cpu}", group.cpu_cores);
    r->now.has_throttled = group.has_throttled;
    r->now.throttled_ns = group.throttled_ns;
    if (group.has_throttled && r->state->last.has_throttled)
        put_rate(r, "container.cpu.throttled", "s/s", group.throttled_ns, r->state->last.throttled_ns, 1e-9);
    if (group.memory_limit_bytes > 0) put(r, "container.memory.limit", "By", (double)group.memory_limit_bytes);
    if (!group.has_memory) return;
    put(r, "container.memory.usage", "By", (double)group.memory_bytes);
    if (!group.has_inactive) return;
    uint64_t held = group.memory_bytes > group.inactive_bytes ? group.memory_bytes - group.inactive_bytes : 0;
    put(r, "container.memory.working_set", "By", (double)held);
    if (group.memory_limit_bytes > 0) /* page cache that goes when asked brings no limit nearer */
        put(r, "container.memory.utilization", "1", (double)held / (double)group.memory_limit_bytes);
}

static int read_host(void *state, const si__host *host, const si__metric_sink *sink, char *reason,
                     size_t reason_bytes) {
    reading r = {.state = state, .host = host, .sink = sink, .reason = reason, .reason_bytes = reason_bytes};
    reason[0] = 0;
    if (!state) {
        si__reason_add(reason, reason_bytes, "out of memory");
        return SI_ENOMEM;
    }
    const counts *last = &r.state->last;
    if (last->now_ns && host->now_ns > last->now_ns) r.elapsed_s = (double)(host->now_ns - last->now_ns) / 1e9;
    r.now.now_ns = host->now_ns;
    put_cpu(&r);
    put_load(&r);
    put_memory(&r);
    put_paging(&r);
    put_network(&r);
    put_disks(&r);
    put_pressure(&r);
    put_container(&r);
    r.state->last = r.now;
    return r.incomplete ? SI_EUNAVAILABLE : 0;
}

const si__collector si__collector_host = {
    .name = "host",
    .title = "Host and container",
    .host_wide = 1,
    .reader_new = reader_new,
    .read = read_host,
    .reader_free = reader_free,
};
