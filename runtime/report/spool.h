/*
 * The spool: reports on disk until the dashboard has acknowledged them.
 *
 * state_dir/spool/, 0700, one owner by flock; append-only segment files <= 4 MiB of records {length, crc32c, class, id, payload}.
 * No mutable ledger: the state is what a scan finds. Blocking (fsync): worker thread only, after open.
 */
#ifndef SI_REPORT_SPOOL_H
#define SI_REPORT_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "report.h"

typedef enum si__spool_class { SI__SPOOL_SAMPLES, SI__SPOOL_METRICS, SI__SPOOL_ALERTS } si__spool_class; /* lowest is dropped first */

typedef struct si__spool si__spool;

typedef struct si__spool_limits { uint64_t disk_bytes, memory_bytes, free_floor_bytes; int64_t age_ms; } si__spool_limits; /* 0: default */

typedef struct si__spool_counts { /* made = stored_acked + pending + dropped_*; all since the spool was opened, pending incl. what was found */
    uint64_t made, acked, pending, dropped_size, dropped_age, dropped_disk, dropped_rejected, damaged, recovered;
    uint64_t pending_bytes;
    int disk_ok; char disk_error[128];
} si__spool_counts;

typedef struct si__spool_record { uint64_t handle; si__report_id id; si__spool_class klass; uint8_t *payload; size_t length; int64_t made_ms; } si__spool_record;

/* dir NULL: memory only. A directory held by another agent: SI_EEXIST. */
int si__spool_open(const char *dir, const si__spool_limits *limits, si__spool **out, char *error, size_t error_bytes);
void si__spool_close(si__spool *spool);

/* Takes a copy. When disk fails it stays in memory within bounds and is written when the disk is back. Never fails the caller: what is dropped is counted. */
void si__spool_put(si__spool *spool, const si__report_id *id, si__spool_class klass, const uint8_t *payload, size_t length, int64_t now_ms);
/* The oldest record not acked and not already taken, highest class first; 0 or SI_ENOTFOUND. The record's payload is the caller's to free. */
int si__spool_take(si__spool *spool, si__spool_record *out);
void si__spool_ack(si__spool *spool, uint64_t handle);      /* stored by the dashboard: forget it */
void si__spool_return(si__spool *spool, uint64_t handle);   /* could not be delivered now: offer again */
void si__spool_reject(si__spool *spool, uint64_t handle);   /* refused for good: quarantine and count */
void si__spool_tick(si__spool *spool, int64_t now_ms);      /* ages, retries the disk */
void si__spool_counts_get(si__spool *spool, si__spool_counts *out);
/* The agent's uuid, made once and kept in state_dir; random when there is no dir. */
int si__agent_uuid(const char *state_dir, uint8_t uuid[16]);

#endif
