/* Parsers for the host's files in /proc. Pure functions over text that may be anything. */
#ifndef SI_HOST_STAT_H
#define SI_HOST_STAT_H

#include <stddef.h>
#include <stdint.h>

/* Clock ticks of all CPUs together, from /proc/stat; guest time is part of user time. */
typedef struct si__cpu_ticks {
    uint64_t user, nice, system, idle, iowait, irq, steal;
} si__cpu_ticks;

int si__cpu_ticks_parse(const char *text, size_t length, si__cpu_ticks *out); /* 1: found */
uint64_t si__cpu_ticks_total(const si__cpu_ticks *ticks);

int si__load_average_parse(const char *text, size_t length, double load[3]); /* 1: all three */

typedef struct si__bytes_moved {
    uint64_t in, out; /* received, sent; or read, written. In bytes */
    uint64_t errors;  /* network: received and sent */
} si__bytes_moved;

/* Sums of /proc/net/dev, without the loopback interface. 1: the header was there. */
int si__network_parse(const char *text, size_t length, si__bytes_moved *out);

/* Sums of /proc/diskstats over whole disks: no partitions, no memory, loop, or stacked devices, whose traffic is that
   of the disks below. 1: at least one line was understood. */
int si__disks_parse(const char *text, size_t length, si__bytes_moved *out);

/* Swap traffic and major faults from /proc/vmstat. 1: found. */
typedef struct si__paging {
    uint64_t pages_in, pages_out, major_faults;
} si__paging;
int si__paging_parse(const char *text, size_t length, si__paging *out);

/* Stalled time in microseconds, ever growing, of a file in /proc/pressure: lines "some" and "full". 1: "some" found. */
int si__pressure_parse(const char *text, size_t length, uint64_t *some_us, uint64_t *full_us);

#endif
