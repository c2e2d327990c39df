/*
 * What spool.c (the queue) and spool_disk.c (its files) share.
 *
 * Two locks. `io` is held by whoever works on files, over system calls, and is taken first. `state` guards the queue
 * and is held for moments only, because put takes it on the loop's thread. Files are changed under both.
 */
#ifndef SI_REPORT_SPOOL_PRIVATE_H
#define SI_REPORT_SPOOL_PRIVATE_H

#include <pthread.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "spool.h"

#define SI__SPOOL_CLASSES 3

typedef struct si__spool_file_entry { /* one file of records of one class */
    TAILQ_ENTRY(si__spool_file_entry) link;
    uint64_t number; /* names are in the order of making */
    si__spool_class klass;
    uint64_t bytes;
    size_t live; /* records not yet finished */
    int keep;    /* could not be read: not ours to delete */
} si__spool_file_entry;

typedef struct si__spool_entry {       /* one record, from put or found until it is finished */
    TAILQ_ENTRY(si__spool_entry) link; /* of its class, oldest first */
    TAILQ_ENTRY(si__spool_entry) unwritten_link, taken_link;
    uint64_t handle;
    si__report_id id;
    si__spool_class klass;
    size_t length;
    int64_t made_ms;
    int64_t born_ms;            /* on the spool's own clock */
    uint8_t *payload;           /* the copy in memory; NULL once it is on disk */
    si__spool_file_entry *file; /* NULL: in memory only */
    uint64_t offset;            /* of its header in the file */
    int unwritten, taken;       /* on these lists */
    int writing;                /* payload is being written: do not free */
    int doomed;                 /* taken while its file had to go: no payload any more */
} si__spool_entry;

TAILQ_HEAD(si__spool_entries, si__spool_entry);
TAILQ_HEAD(si__spool_files, si__spool_file_entry);

struct si__spool {
    pthread_mutex_t io, state;
    si__spool_limits limits;
    /* under state */
    struct si__spool_entries classes[SI__SPOOL_CLASSES], unwritten, taken;
    si__spool_counts counts;
    uint64_t memory_bytes; /* payloads held, with what an entry costs */
    uint64_t next_handle;
    int64_t clock_ms, last_ms; /* ages; see advance_clock */
    /* under io (files: and state, to change) */
    struct si__spool_files files;
    si__spool_file_entry *active[SI__SPOOL_CLASSES]; /* being appended to */
    uint64_t disk_bytes, next_number, quarantine_bytes;
    size_t file_bytes;     /* a file is full beyond this */
    char *state_dir, *dir; /* NULL: memory only */
    int lock_fd;           /* -1: the directory is not ours (yet) */
    dev_t lock_dev;        /* what lock_fd stood for when it was made */
    ino_t lock_ino;
    int64_t retry_at_ms; /* monotonic: leave the disk alone until then */
};

/* ---- spool.c: the queue. Caller holds state ---- */

si__spool_entry *si__spool_entry_add(si__spool *spool, const si__report_id *id, si__spool_class klass, size_t length,
                                     int64_t made_ms);
/* Ends a record: off all lists, counted in *counter, freed. */
void si__spool_entry_finish(si__spool *spool, si__spool_entry *entry, uint64_t *counter);
void si__spool_memory_release(si__spool *spool, si__spool_entry *entry); /* frees the payload */
uint64_t si__spool_entry_cost(size_t length);

/* ---- spool_disk.c: the files. Caller holds io, not state ---- */

/* Makes, locks and scans the directory. 0, SI_EEXIST or SI_EIO; the reason is in counts.disk_error. */
int si__spool_disk_open(si__spool *spool);
void si__spool_disk_write(si__spool *spool); /* everything unwritten, as far as the disk goes along */
void si__spool_disk_sweep(si__spool *spool); /* removes files without live records */
int si__spool_disk_read(si__spool *spool, const si__spool_entry *entry, uint8_t *payload); /* 0 or SI_EIO, SI_EFORMAT */
void si__spool_quarantine(si__spool *spool, const char *name, const uint8_t *data, size_t length);
void si__spool_lock_release(si__spool *spool);

#endif
