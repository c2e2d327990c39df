/*
 * The spool's queue: what is pending, in which class, in memory or on disk, and the counts that must add up.
 *
 * put and counts_get run on the loop's thread and never wait for a disk; all else runs on the worker (upload.c submits
 * it).
 */
#include "spool.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spool_file.h"
#include "spool_private.h"

#define DISK_BYTES ((uint64_t)256 << 20)
#define MEMORY_BYTES ((uint64_t)32 << 20)
#define FREE_FLOOR_BYTES ((uint64_t)64 << 20)
#define AGE_MS ((int64_t)7 * 24 * 3600 * 1000)
#define GAP_MAX_MS ((int64_t)3600 * 1000) /* a longer step is a clock that was set, not time that passed */

uint64_t si__spool_entry_cost(size_t length) {
    return sizeof(si__spool_entry) + length;
}

static void locks_init(si__spool *spool) {
    pthread_mutex_init(&spool->io, NULL);
    pthread_mutex_init(&spool->state, NULL);
}

static int paths_init(si__spool *spool, const char *dir) {
    if (!dir || !*dir) return SI_OK;
    spool->state_dir = strdup(dir);
    if (!spool->state_dir || asprintf(&spool->dir, "%s/spool", dir) < 0) {
        spool->dir = NULL;
        return SI_ENOMEM;
    }
    return SI_OK;
}

static void limits_init(si__spool *spool, const si__spool_limits *limits) {
    if (limits) spool->limits = *limits;
    if (!spool->limits.disk_bytes) spool->limits.disk_bytes = DISK_BYTES;
    if (!spool->limits.memory_bytes) spool->limits.memory_bytes = MEMORY_BYTES;
    if (!spool->limits.free_floor_bytes) spool->limits.free_floor_bytes = FREE_FLOOR_BYTES;
    if (!spool->limits.age_ms) spool->limits.age_ms = AGE_MS;
    spool->file_bytes = SI__SPOOL_FILE_BYTES;
    if (spool->file_bytes > spool->limits.disk_bytes / 8) spool->file_bytes = (size_t)(spool->limits.disk_bytes / 8);
}

int si__spool_open(const char *dir, const si__spool_limits *limits, si__spool **out, char *error, size_t error_bytes) {
    *out = NULL;
    if (error_bytes) error[0] = '\0';
    si__spool *spool = calloc(1, sizeof *spool);
    if (!spool) return SI_ENOMEM;
    locks_init(spool);
    limits_init(spool, limits);
    for (int c = 0; c < SI__SPOOL_CLASSES; c++) TAILQ_INIT(&spool->classes[c]);
    TAILQ_INIT(&spool->unwritten);
    TAILQ_INIT(&spool->taken);
    TAILQ_INIT(&spool->files);
    spool->lock_fd = -1;
    spool->next_number = spool->next_handle = 1;
    spool->counts.disk_ok = 1;
    int status = paths_init(spool, dir);
    if (!status && spool->dir) {
        status = si__spool_disk_open(spool);
        if (error_bytes) snprintf(error, error_bytes, "%s", spool->counts.disk_error);
        if (status == SI_EIO) status = SI_OK; /* in memory until the disk is fit; tick tries again */
    }
    if (status) {
        si__spool_close(spool);
        return status;
    }
    *out = spool;
    return SI_OK;
}

void si__spool_close(si__spool *spool) {
    if (!spool) return;
    pthread_mutex_lock(&spool->io);
    if (spool->dir && spool->lock_fd >= 0) {
        spool->retry_at_ms = 0; /* one last attempt, whatever came before */
        si__spool_disk_write(spool);
        si__spool_disk_sweep(spool);
    }
    pthread_mutex_unlock(&spool->io);
    for (int c = 0; c < SI__SPOOL_CLASSES; c++) {
        si__spool_entry *entry, *next;
        for (entry = TAILQ_FIRST(&spool->classes[c]); entry; entry = next) {
            next = TAILQ_NEXT(entry, link);
            free(entry->payload);
            free(entry);
        }
    }
    si__spool_file_entry *file;
    while ((file = TAILQ_FIRST(&spool->files))) {
        TAILQ_REMOVE(&spool->files, file, link);
        free(file);
    }
    si__spool_lock_release(spool);
    free(spool->state_dir);
    free(spool->dir);
    pthread_mutex_destroy(&spool->io);
    pthread_mutex_destroy(&spool->state);
    free(spool);
}

void si__spool_after_fork(si__spool *spool) {
    si__spool_lock_release(spool); /* else the child would keep the parent's lock alive */
}

/* ---- Entries. The caller holds state ---- */

si__spool_entry *si__spool_entry_add(si__spool *spool, const si__report_id *id, si__spool_class klass, size_t length,
                                     int64_t made_ms) {
    si__spool_entry *entry = calloc(1, sizeof *entry);
    if (!entry) return NULL;
    entry->handle = spool->next_handle++;
    entry->id = *id;
    entry->klass = klass;
    entry->length = length;
    entry->made_ms = made_ms;
    entry->born_ms = spool->clock_ms;
    TAILQ_INSERT_TAIL(&spool->classes[klass], entry, link);
    spool->counts.pending++;
    spool->counts.pending_bytes += length;
    return entry;
}

void si__spool_memory_release(si__spool *spool, si__spool_entry *entry) {
    if (!entry->payload) return;
    free(entry->payload);
    entry->payload = NULL;
    spool->memory_bytes -= si__spool_entry_cost(entry->length);
}

void si__spool_entry_finish(si__spool *spool, si__spool_entry *entry, uint64_t *counter) {
    TAILQ_REMOVE(&spool->classes[entry->klass], entry, link);
    if (entry->unwritten) TAILQ_REMOVE(&spool->unwritten, entry, unwritten_link);
    if (entry->taken) TAILQ_REMOVE(&spool->taken, entry, taken_link);
    si__spool_memory_release(spool, entry);
    if (entry->file) entry->file->live--;
    spool->counts.pending--;
    spool->counts.pending_bytes -= entry->length;
    ++*counter;
    free(entry);
}

/* Makes room in memory for a record of `klass`: the oldest of the lowest class goes first. 0 when only higher ones are
 * left. */
static int memory_room(si__spool *spool, si__spool_class klass, uint64_t cost) {
    uint64_t *counter = spool->counts.disk_ok ? &spool->counts.dropped_size : &spool->counts.dropped_disk;
    for (int c = 0; c <= (int)klass; c++) {
        si__spool_entry *entry = TAILQ_FIRST(&spool->classes[c]), *next;
        for (; entry && spool->memory_bytes + cost > spool->limits.memory_bytes; entry = next) {
            next = TAILQ_NEXT(entry, link);
            if (entry->payload && !entry->writing && !entry->taken) si__spool_entry_finish(spool, entry, counter);
        }
    }
    return spool->memory_bytes + cost <= spool->limits.memory_bytes;
}

/* ---- Time. The caller holds state ---- */

/* Ages count what passes between calls; a clock that is set, in either direction, makes nothing older. Callers may be a
   little out of order: a small step back is none. */
static void advance_clock(si__spool *spool, int64_t now_ms) {
    int64_t step = now_ms - spool->last_ms;
    if (spool->last_ms && step <= 0 && step >= -GAP_MAX_MS) return;
    if (spool->last_ms && step > 0 && step <= GAP_MAX_MS) spool->clock_ms += step;
    spool->last_ms = now_ms;
}

static void expire(si__spool *spool) {
    for (int c = 0; c < SI__SPOOL_CLASSES; c++) {
        si__spool_entry *entry = TAILQ_FIRST(&spool->classes[c]), *next;
        for (; entry && spool->clock_ms - entry->born_ms > spool->limits.age_ms; entry = next) {
            next = TAILQ_NEXT(entry, link);
            if (!entry->taken) si__spool_entry_finish(spool, entry, &spool->counts.dropped_age);
        }
    }
}

void si__spool_put(si__spool *spool, const si__report_id *id, si__spool_class klass, const uint8_t *payload,
                   size_t length, int64_t now_ms) {
    si__spool_entry *entry = NULL;
    size_t longest = spool->file_bytes > SI__SPOOL_HEAD_BYTES ? spool->file_bytes - SI__SPOOL_HEAD_BYTES : 0;
    uint8_t *copy = length <= longest ? malloc(length ? length : 1) : NULL;
    if (copy && length) memcpy(copy, payload, length);
    pthread_mutex_lock(&spool->state);
    advance_clock(spool, now_ms);
    spool->counts.made++;
    if (copy && memory_room(spool, klass, si__spool_entry_cost(length)))
        entry = si__spool_entry_add(spool, id, klass, length, now_ms);
    if (entry) {
        entry->payload = copy;
        spool->memory_bytes += si__spool_entry_cost(length);
        if (spool->dir) {
            TAILQ_INSERT_TAIL(&spool->unwritten, entry, unwritten_link);
            entry->unwritten = 1;
        }
    } else if (spool->counts.disk_ok) {
        spool->counts.dropped_size++;
    } else {
        spool->counts.dropped_disk++;
    }
    pthread_mutex_unlock(&spool->state);
    if (!entry) free(copy);
}

/* The caller holds io. */
static void expire_and_write(si__spool *spool) {
    pthread_mutex_lock(&spool->state);
    expire(spool);
    pthread_mutex_unlock(&spool->state);
    if (spool->dir) si__spool_disk_write(spool);
    si__spool_disk_sweep(spool);
}

void si__spool_write_pending(si__spool *spool) {
    pthread_mutex_lock(&spool->io);
    expire_and_write(spool);
    pthread_mutex_unlock(&spool->io);
}

void si__spool_tick(si__spool *spool, int64_t now_ms) {
    pthread_mutex_lock(&spool->state);
    advance_clock(spool, now_ms);
    pthread_mutex_unlock(&spool->state);
    si__spool_write_pending(spool);
}

/* ---- Delivery ---- */

static si__spool_entry *next_to_take(si__spool *spool) {
    for (int c = SI__SPOOL_CLASSES - 1; c >= 0; c--) {
        si__spool_entry *entry;
        TAILQ_FOREACH(entry, &spool->classes[c], link)
        if (!entry->taken) return entry;
    }
    return NULL;
}

static void mark_taken(si__spool *spool, si__spool_entry *entry) {
    entry->taken = 1;
    TAILQ_INSERT_TAIL(&spool->taken, entry, taken_link);
}

static void unmark_taken(si__spool *spool, si__spool_entry *entry) {
    entry->taken = 0;
    TAILQ_REMOVE(&spool->taken, entry, taken_link);
}

/* Takes one entry into *out: 0; SI_ENOMEM; SI_EFORMAT or SI_EIO when what is on disk is lost (and counted). The caller
 * holds io. */
static int take_entry(si__spool *spool, si__spool_entry *entry, si__spool_record *out) {
    int status = SI_OK;
    *out = (si__spool_record){entry->handle, entry->id,     entry->klass, malloc(entry->length ? entry->length : 1),
                              entry->length, entry->made_ms};
    if (!out->payload) return SI_ENOMEM;
    mark_taken(spool, entry);
    if (entry->payload) {
        memcpy(out->payload, entry->payload, entry->length);
        return SI_OK;
    }
    pthread_mutex_unlock(&spool->state); /* the entry stays: it is taken, and files change under io only */
    status = si__spool_disk_read(spool, entry, out->payload);
    pthread_mutex_lock(&spool->state);
    if (!status) return SI_OK;
    if (status == SI_EIO) entry->file->keep = 1; /* perhaps readable another day */
    si__spool_entry_finish(spool, entry, &spool->counts.damaged);
    free(out->payload);
    out->payload = NULL;
    return status;
}

int si__spool_take(si__spool *spool, si__spool_record *out) {
    int status = SI_ENOTFOUND;
    pthread_mutex_lock(&spool->io);
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry;
    while ((entry = next_to_take(spool))) {
        status = take_entry(spool, entry, out);
        if (status == SI_OK || status == SI_ENOMEM) break;
        status = SI_ENOTFOUND;
    }
    pthread_mutex_unlock(&spool->state);
    pthread_mutex_unlock(&spool->io);
    return status;
}

static si__spool_entry *find_taken(si__spool *spool, uint64_t handle) {
    si__spool_entry *entry;
    TAILQ_FOREACH(entry, &spool->taken, taken_link)
    if (entry->handle == handle) return entry;
    return NULL;
}

static void finish_taken(si__spool *spool, uint64_t handle, uint64_t *counter) {
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry = find_taken(spool, handle);
    if (entry) si__spool_entry_finish(spool, entry, counter);
    pthread_mutex_unlock(&spool->state);
    si__spool_disk_sweep(spool);
}

void si__spool_ack(si__spool *spool, uint64_t handle) {
    pthread_mutex_lock(&spool->io);
    finish_taken(spool, handle, &spool->counts.acked);
    pthread_mutex_unlock(&spool->io);
}

void si__spool_drop(si__spool *spool, uint64_t handle) {
    pthread_mutex_lock(&spool->io);
    finish_taken(spool, handle, &spool->counts.dropped_rejected);
    pthread_mutex_unlock(&spool->io);
}

void si__spool_return(si__spool *spool, uint64_t handle) {
    pthread_mutex_lock(&spool->io);
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry = find_taken(spool, handle);
    if (entry && entry->doomed)
        si__spool_entry_finish(spool, entry, &spool->counts.dropped_size);
    else if (entry)
        unmark_taken(spool, entry);
    pthread_mutex_unlock(&spool->state);
    pthread_mutex_unlock(&spool->io);
}

static void quarantine_name(const si__report_id *id, char name[96]) {
    size_t at = (size_t)snprintf(name, 96, "rejected-");
    for (int i = 0; i < 16; i++) at += (size_t)snprintf(name + at, 96 - at, "%02x", id->boot[i]);
    snprintf(name + at, 96 - at, "-%llu", (unsigned long long)id->sequence);
}

void si__spool_reject(si__spool *spool, uint64_t handle) {
    pthread_mutex_lock(&spool->io);
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry = find_taken(spool, handle);
    uint8_t *payload = entry && !entry->doomed ? malloc(entry->length ? entry->length : 1) : NULL;
    if (payload && entry->payload) memcpy(payload, entry->payload, entry->length);
    int in_memory = payload && entry->payload;
    pthread_mutex_unlock(&spool->state);
    if (payload && (in_memory || !si__spool_disk_read(spool, entry, payload))) {
        char name[96];
        quarantine_name(&entry->id, name);
        si__spool_quarantine(spool, name, payload, entry->length);
    }
    free(payload);
    finish_taken(spool, handle, &spool->counts.dropped_rejected);
    pthread_mutex_unlock(&spool->io);
}

void si__spool_counts_get(si__spool *spool, si__spool_counts *out) {
    pthread_mutex_lock(&spool->state);
    *out = spool->counts;
    pthread_mutex_unlock(&spool->state);
}
