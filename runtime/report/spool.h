/*
 * The spool: reports on disk until the dashboard has acknowledged them.
 *
 * state_dir/spool/, 0700, one owner by flock; append-only segment files <= 4 MiB of records {length, crc32c, class, id,
 * payload}. No mutable ledger: the state is what a scan finds; a file goes when all its records are acked, so after a
 * restart some that were acked may be sent again, and the dashboard knows them by their id. A bad record is skipped,
 * set aside in spool/quarantine/ and counted. When the disk fails, records stay in memory within bounds until it is
 * back.
 *
 * Threads: put and counts_get never wait for a disk and may be called on the loop. All else blocks: worker thread, or
 * before the loop runs. Every function is safe against the others. si__upload does all of it on the worker.
 */
#ifndef SI_REPORT_SPOOL_H
#define SI_REPORT_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "report.h"

typedef enum si__spool_class {
    SI__SPOOL_SAMPLES,
    SI__SPOOL_METRICS,
    SI__SPOOL_ALERTS
} si__spool_class; /* lowest is dropped first */

typedef struct si__spool si__spool;

typedef struct si__spool_limits {
    uint64_t disk_bytes, memory_bytes, free_floor_bytes;
    int64_t age_ms;
} si__spool_limits; /* 0: default */

/* Since the spool was opened, always: made = acked + pending + dropped_* + damaged. `made` includes what was found on
   disk
   (`recovered`, and what was found damaged). `recovered` is for information and part of no sum. */
typedef struct si__spool_counts {
    uint64_t made, acked, pending, dropped_size, dropped_age, dropped_disk, dropped_rejected, damaged, recovered;
    uint64_t pending_bytes;
    int disk_ok;
    char disk_error[128];
} si__spool_counts;

typedef struct si__spool_record {
    uint64_t handle;
    si__report_id id;
    si__spool_class klass;
    uint8_t *payload;
    size_t length;
    int64_t made_ms;
} si__spool_record;

/* dir: the agent's state_dir, made 0700 when missing (not its parents); the spool is its subdirectory "spool". NULL:
   memory only. A directory held by another agent: SI_EEXIST. SI_ENOMEM. A disk that cannot be used is no error: 0, with
   the reason in error and in counts.disk_error; it is tried again. */
int si__spool_open(const char *dir, const si__spool_limits *limits, si__spool **out, char *error, size_t error_bytes);
/* Writes what is still in memory, gives up the lock and frees. No other call may run. */
void si__spool_close(si__spool *spool);
/* In a forked child, to let go of the parent's lock. The child must use the spool for nothing else. Async-signal-safe.
 */
void si__spool_after_fork(si__spool *spool);

/* Takes a copy, in memory: si__spool_write_pending puts it on disk. Never fails the caller: what is dropped is counted.
   now_ms: Unix time, kept as made_ms. A payload longer than 4 MiB - 64 is dropped (dropped_size). */
void si__spool_put(si__spool *spool, const si__report_id *id, si__spool_class klass, const uint8_t *payload,
                   size_t length, int64_t now_ms);
/* Lets go of what is too old, writes and syncs what is in memory only; then the copies in memory go. Worker. */
void si__spool_write_pending(si__spool *spool);
/* The oldest record not acked and not already taken, highest class first; 0, SI_ENOTFOUND or SI_ENOMEM. The record's
 * payload is the caller's to free. */
int si__spool_take(si__spool *spool, si__spool_record *out);
void si__spool_ack(si__spool *spool, uint64_t handle);    /* stored by the dashboard: forget it */
void si__spool_return(si__spool *spool, uint64_t handle); /* could not be delivered now: offer again */
void si__spool_reject(si__spool *spool, uint64_t handle); /* refused for good: quarantine and count */
void si__spool_drop(si__spool *spool, uint64_t handle);   /* nobody wants it any more: only count, as rejected */
/* Ages, and retries the disk (at most every 5 s). Call every few seconds; now_ms: Unix time. Records age by what passes
   between the times given here and to put, so that a clock that is set makes none older. */
void si__spool_tick(si__spool *spool, int64_t now_ms);
void si__spool_counts_get(si__spool *spool, si__spool_counts *out);
/* The agent's uuid, made once and kept in state_dir; random when there is no dir. 0, or SI_EIO: it could not be kept
 * (but is usable). */
int si__agent_uuid(const char *state_dir, uint8_t uuid[16]);

#endif
