/*
 * Limits of the control group that a process is in: the container's share of the machine, version 1 and 2.
 *
 * Used by the process and host readers, and by the runtime to know how many cores are available. Runtime thread.
 */
#ifndef SI_CGROUP_H
#define SI_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#include "../collector.h"

typedef struct si__cgroup {
    int found;             /* 1: the process is in a group below the root, or a limit applies to it */
    double cpu_cores;      /* lowest quota of the group and those above it; 0: none */
    uint64_t throttled_ns; /* time that the group was held back, ever growing */
    int has_throttled;
    uint64_t memory_bytes;   /* in use, page cache included */
    uint64_t inactive_bytes; /* of it page cache that can go at once */
    int has_memory, has_inactive;
    uint64_t memory_limit_bytes; /* lowest limit; 0: none */
} si__cgroup;

/* Fills *out for host->pid (0: this process). What cannot be found stays 0. 0 or SI_EUNAVAILABLE when /proc tells
 * nothing. */
int si__cgroup_read(const si__host *host, si__cgroup *out);

/* How many cores the process may use: the lowest of host->cpu_count, its affinity and its quota. At least 0.01. */
double si__cores_available(const si__host *host);

/* ---- Parsers ---- */

/* The group of a controller in the text of /proc/PID/cgroup: "" names version 2. 1: found, path copied. */
int si__cgroup_path_parse(const char *text, size_t length, const char *controller, char *path, size_t path_bytes);

/* Where it is mounted, from the text of /proc/self/mountinfo: mount point and the group that is its root. 1: found. */
int si__cgroup_mount_parse(const char *text, size_t length, const char *controller, char *mount, size_t mount_bytes,
                           char *root, size_t root_bytes);

/* Version 2's cpu.max, "max 100000" or "50000 100000": cores, 0 for none. 1: read. */
int si__cgroup_cpu_max_parse(const char *text, size_t length, double *cores);

/* A number alone, or "max" (0). 1: read. */
int si__cgroup_number_parse(const char *text, size_t length, uint64_t *value);

/* The number behind `key` in lines of "key number". 1: found. */
int si__cgroup_key_parse(const char *text, size_t length, const char *key, uint64_t *value);

/* Number of CPUs in the list behind "Cpus_allowed_list:" of /proc/PID/status, such as "0-3,8". 0: not found. */
unsigned si__cpus_allowed_parse(const char *text, size_t length);

#endif
