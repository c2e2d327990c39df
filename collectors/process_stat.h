/* Parsers for the files of one process in /proc. Pure functions over text that may be anything. */
#ifndef SI_PROCESS_STAT_H
#define SI_PROCESS_STAT_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__process_stat { /* /proc/PID/stat */
    char state;                   /* 'R', 'S', 'Z', ... */
    uint64_t minor_faults, major_faults;
    uint64_t user_ticks, system_ticks;
    uint64_t threads;
    uint64_t start_ticks; /* since boot */
    uint64_t virtual_bytes;
} si__process_stat;

int si__process_stat_parse(const char *text, size_t length, si__process_stat *out); /* 1: whole */

/* The number of KiB behind a key of /proc/PID/status ("VmRSS:") or /proc/meminfo, in bytes. 1: found. */
int si__kib_parse(const char *text, size_t length, const char *key, uint64_t *bytes);

/* Voluntary and involuntary context switches of /proc/PID/task/TID/status. 1: both found. */
int si__switches_parse(const char *text, size_t length, uint64_t *voluntary, uint64_t *involuntary);

/* Bytes read from and written to storage, from /proc/PID/io. 1: both found. */
int si__process_io_parse(const char *text, size_t length, uint64_t *read_bytes, uint64_t *written_bytes);

/* The soft limit of open files from /proc/PID/limits; 0: unlimited. 1: found. */
int si__file_limit_parse(const char *text, size_t length, uint64_t *limit);

#endif
