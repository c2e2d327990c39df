/* Reading control groups. Called by process.c, host.c and the runtime, on the runtime's thread. */
#include "cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "procfile.h"
#include "si/si.h"

enum { PATH_BYTES = 4096 };

/* Version 1 says "no limit" with the highest page-aligned number that fits. */
#define NO_LIMIT_V1 (UINT64_C(1) << 62)

/* ---- Parsers ---- */

/* Is `word` one of a comma-separated list? */
static int in_list(const char *list, const char *end, const char *word) {
    size_t length = strlen(word);
    while (list <= end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - list) == length && memcmp(list, word, length) == 0) return 1;
        list = stop + 1;
    }
    return 0;
}

static int copy_text(const char *start, const char *end, char *out, size_t out_bytes) {
    size_t length = (size_t)(end - start);
    if (length + 1 > out_bytes || memchr(start, 0, length)) return 0;
    memcpy(out, start, length);
    out[length] = 0;
    return 1;
}

int si__cgroup_path_parse(const char *text, size_t length, const char *controller, char *path, size_t path_bytes) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (si__text_line(&at, end, &line, &line_end)) { /* "4:memory:/group", "0::/group" */
        const char *first = memchr(line, ':', (size_t)(line_end - line));
        const char *second = first ? memchr(first + 1, ':', (size_t)(line_end - first - 1)) : NULL;
        if (!second || second + 1 == line_end || second[1] != '/') continue;
        int is_v2 = second == first + 1;
        if (controller[0] == 0 ? !is_v2 : is_v2 || !in_list(first + 1, second, controller)) continue;
        return copy_text(second + 1, line_end, path, path_bytes);
    }
    return 0;
}

/* The n-th blank-separated field of a line. */
static int field(const char *line, const char *end, unsigned n, const char **start, const char **stop) {
    const char *at = line;
    for (unsigned i = 0; i < n; i++)
        if (!si__text_skip(&at, end)) return 0;
    while (at < end && *at == ' ') at++;
    *start = at;
    if (!si__text_skip(&at, end)) return 0;
    *stop = at;
    return 1;
}

int si__cgroup_mount_parse(const char *text, size_t length, const char *controller, char *mount, size_t mount_bytes,
                           char *root, size_t root_bytes) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (si__text_line(&at, end, &line, &line_end)) {
        /* 36 35 98:0 /root /mount/point options [optional...] - type source super,options */
        const char *dash = memmem(line, (size_t)(line_end - line), " - ", 3);
        const char *a, *b, *type, *type_end, *options, *options_end;
        if (!dash || !field(dash + 3, line_end, 0, &type, &type_end)) continue;
        int is_v2 = type_end - type == 7 && memcmp(type, "cgroup2", 7) == 0;
        int is_v1 = type_end - type == 6 && memcmp(type, "cgroup", 6) == 0;
        if (controller[0] == 0 ? !is_v2 : !is_v1) continue;
        if (is_v1 &&
            (!field(dash + 3, line_end, 2, &options, &options_end) || !in_list(options, options_end, controller)))
            continue;
        if (field(line, dash, 3, &a, &b) && copy_text(a, b, root, root_bytes) && field(line, dash, 4, &a, &b) &&
            copy_text(a, b, mount, mount_bytes))
            return 1;
    }
    return 0;
}

int si__cgroup_cpu_max_parse(const char *text, size_t length, double *cores) {
    const char *at = text, *end = text + length;
    uint64_t quota, period;
    *cores = 0;
    if (si__text_word(&at, end, "max")) return 1;
    if (!si__text_number(&at, end, &quota) || !si__text_number(&at, end, &period) || period == 0) return 0;
    *cores = (double)quota / (double)period;
    return 1;
}

int si__cgroup_number_parse(const char *text, size_t length, uint64_t *value) {
    const char *at = text, *end = text + length;
    *value = 0;
    return si__text_word(&at, end, "max") || si__text_number(&at, end, value);
}

int si__cgroup_key_parse(const char *text, size_t length, const char *key, uint64_t *value) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (si__text_line(&at, end, &line, &line_end))
        if (si__text_word(&line, line_end, key) && line < line_end && *line == ' ' &&
            si__text_number(&line, line_end, value))
            return 1;
    return 0;
}

unsigned si__cpus_allowed_parse(const char *text, size_t length) {
    const char *at = text, *end = text + length, *line, *line_end;
    uint64_t count = 0;
    while (si__text_line(&at, end, &line, &line_end)) {
        if (!si__text_word(&line, line_end, "Cpus_allowed_list:")) continue;
        uint64_t first, last;
        while (si__text_number(&line, line_end, &first)) {
            last = first;
            if (line < line_end && *line == '-') {
                line++;
                if (!si__text_number(&line, line_end, &last) || last < first) return 0;
            }
            if (last - first >= 65536) return 0;
            count += last - first + 1;
            if (line < line_end && *line == ',') line++;
        }
        return count <= 65536 ? (unsigned)count : 0;
    }
    return 0;
}

/* ---- One hierarchy ---- */

typedef struct hierarchy {
    const char *host_root;
    char mount[PATH_BYTES];
    char group[PATH_BYTES]; /* below the mount point; "" is the mount point itself */
} hierarchy;

static int find_hierarchy(const si__host *host, const si__procfile *groups, const si__procfile *mounts,
                          const char *controller, hierarchy *h) {
    char path[PATH_BYTES], root[PATH_BYTES];
    h->host_root = host->root;
    if (!si__cgroup_path_parse(groups->text, groups->length, controller, path, sizeof path)) return 0;
    if (!si__cgroup_mount_parse(mounts->text, mounts->length, controller, h->mount, sizeof h->mount, root, sizeof root))
        return 0;
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    int below = strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
    /* In a container the group is often outside of what is mounted: then the mount point is the group. */
    int usable = below && strcmp(path + length, "/") != 0 && !strstr(path + length, "/..");
    snprintf(h->group, sizeof h->group, "%s", usable ? path + length : "");
    return 1;
}

/* The group above; 0: this was the mount point. */
static int go_up(hierarchy *h) {
    if (h->group[0] == 0) return 0;
    *strrchr(h->group, '/') = 0; /* a group starts with '/' */
    return 1;
}

static int read_in(const hierarchy *h, si__procfile *file, const char *name) {
    return si__procfile_read(file, h->host_root, "%s%s/%s", h->mount, h->group, name) == 0;
}

static double lower_cores(double a, double b) {
    return b > 0 && (a <= 0 || b < a) ? b : a;
}
static uint64_t lower_bytes(uint64_t a, uint64_t b) {
    return b > 0 && (a == 0 || b < a) ? b : a;
}

static void read_v2(const si__procfile *groups, const si__procfile *mounts, const si__host *host, si__procfile *file,
                    si__cgroup *out) {
    hierarchy h;
    if (!find_hierarchy(host, groups, mounts, "", &h)) return;
    if (h.group[0]) out->found = 1;
    if (read_in(&h, file, "memory.current"))
        out->has_memory = si__cgroup_number_parse(file->text, file->length, &out->memory_bytes);
    if (read_in(&h, file, "memory.stat"))
        out->has_inactive = si__cgroup_key_parse(file->text, file->length, "inactive_file", &out->inactive_bytes);
    uint64_t us;
    if (read_in(&h, file, "cpu.stat") && si__cgroup_key_parse(file->text, file->length, "throttled_usec", &us)) {
        out->throttled_ns = us * 1000;
        out->has_throttled = 1;
    }
    do {
        double cores;
        uint64_t bytes;
        if (read_in(&h, file, "cpu.max") && si__cgroup_cpu_max_parse(file->text, file->length, &cores))
            out->cpu_cores = lower_cores(out->cpu_cores, cores);
        if (read_in(&h, file, "memory.max") && si__cgroup_number_parse(file->text, file->length, &bytes))
            out->memory_limit_bytes = lower_bytes(out->memory_limit_bytes, bytes);
    } while (go_up(&h));
}

static void read_v1_cpu(const si__procfile *groups, const si__procfile *mounts, const si__host *host,
                        si__procfile *file, si__cgroup *out) {
    hierarchy h;
    if (!find_hierarchy(host, groups, mounts, "cpu", &h)) return;
    if (h.group[0]) out->found = 1;
    uint64_t ns;
    if (read_in(&h, file, "cpu.stat") && si__cgroup_key_parse(file->text, file->length, "throttled_time", &ns)) {
        out->throttled_ns = ns;
        out->has_throttled = 1;
    }
    do {
        uint64_t quota, period; /* a quota of -1 is none: it does not parse */
        if (read_in(&h, file, "cpu.cfs_quota_us") && si__cgroup_number_parse(file->text, file->length, &quota) &&
            read_in(&h, file, "cpu.cfs_period_us") && si__cgroup_number_parse(file->text, file->length, &period) &&
            period > 0)
            out->cpu_cores = lower_cores(out->cpu_cores, (double)quota / (double)period);
    } while (go_up(&h));
}

static void read_v1_memory(const si__procfile *groups, const si__procfile *mounts, const si__host *host,
                           si__procfile *file, si__cgroup *out) {
    hierarchy h;
    if (!find_hierarchy(host, groups, mounts, "memory", &h)) return;
    if (h.group[0]) out->found = 1;
    if (read_in(&h, file, "memory.usage_in_bytes"))
        out->has_memory = si__cgroup_number_parse(file->text, file->length, &out->memory_bytes);
    if (read_in(&h, file, "memory.stat"))
        out->has_inactive = si__cgroup_key_parse(file->text, file->length, "total_inactive_file", &out->inactive_bytes);
    do {
        uint64_t bytes;
        if (read_in(&h, file, "memory.limit_in_bytes") && si__cgroup_number_parse(file->text, file->length, &bytes) &&
            bytes < NO_LIMIT_V1)
            out->memory_limit_bytes = lower_bytes(out->memory_limit_bytes, bytes);
    } while (go_up(&h));
}

/* "self", or the number. */
static void process_name(const si__host *host, char *out, size_t out_bytes) {
    if (host->pid > 0)
        snprintf(out, out_bytes, "%d", (int)host->pid);
    else
        snprintf(out, out_bytes, "self");
}

int si__cgroup_read(const si__host *host, si__cgroup *out) {
    si__procfile groups = {0}, mounts = {0}, file = {0};
    char process[16];
    *out = (si__cgroup){0};
    process_name(host, process, sizeof process);
    int result = SI_EUNAVAILABLE;
    if (si__procfile_read(&groups, host->root, "/proc/%s/cgroup", process) == 0 &&
        si__procfile_read(&mounts, host->root, "/proc/self/mountinfo") == 0) {
        read_v2(&groups, &mounts, host, &file, out);
        read_v1_cpu(&groups, &mounts, host, &file, out);
        if (!out->has_memory) read_v1_memory(&groups, &mounts, host, &file, out);
        if (out->cpu_cores > 0 || out->memory_limit_bytes > 0) out->found = 1;
        result = 0;
    }
    si__procfile_free(&groups);
    si__procfile_free(&mounts);
    si__procfile_free(&file);
    return result;
}

double si__cores_available(const si__host *host) {
    si__procfile status = {0};
    si__cgroup group;
    char process[16];
    double cores = host->cpu_count ? host->cpu_count : 1;
    process_name(host, process, sizeof process);
    if (si__procfile_read(&status, host->root, "/proc/%s/status", process) == 0) {
        unsigned allowed = si__cpus_allowed_parse(status.text, status.length);
        if (allowed > 0 && allowed < cores) cores = allowed;
    }
    si__procfile_free(&status);
    if (si__cgroup_read(host, &group) == 0 && group.cpu_cores > 0 && group.cpu_cores < cores) cores = group.cpu_cores;
    return cores < 0.01 ? 0.01 : cores;
}
