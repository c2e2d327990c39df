/*
 * The spool's directory: opening and scanning it, writing what is pending, keeping within bounds, setting damage aside.
 *
 * Worker thread, or the opener's; the caller holds the io lock. A failing disk is left alone for some seconds at a
 * time.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "spool_file.h"
#include "spool_private.h"

#define RETRY_MS 5000
#define QUARANTINE_BYTES ((uint64_t)4 << 20)
#define BATCH 64
#define SANE_CLOCK_MS 1577836800000ll /* 2020: a clock before it was never set */

static const char class_letters[SI__SPOOL_CLASSES + 1] = "sma"; /* samples, metrics, alerts */

static int64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void file_path(const si__spool *spool, si__spool_class klass, uint64_t number, char *out, size_t bytes) {
    snprintf(out, bytes, "%s/%c%016llx.seg", spool->dir, class_letters[klass], (unsigned long long)number);
}

static void disk_failed(si__spool *spool, const char *what, int error) {
    char reason[64];
    pthread_mutex_lock(&spool->state);
    spool->counts.disk_ok = 0;
    snprintf(spool->counts.disk_error, sizeof spool->counts.disk_error, "%s: %s", what,
             error == -EWOULDBLOCK ? "another agent uses it" : strerror_r(-error, reason, sizeof reason));
    pthread_mutex_unlock(&spool->state);
    spool->retry_at_ms = monotonic_ms() + RETRY_MS;
}

static void disk_works(si__spool *spool) {
    pthread_mutex_lock(&spool->state);
    spool->counts.disk_ok = 1;
    spool->counts.disk_error[0] = '\0';
    pthread_mutex_unlock(&spool->state);
    spool->retry_at_ms = 0;
}

/* ---- The lock ---- */

static void lock_hold(si__spool *spool, int fd) {
    struct stat st = {0};
    fstat(fd, &st);
    spool->lock_fd = fd;
    spool->lock_dev = st.st_dev;
    spool->lock_ino = st.st_ino;
}

/* Whether the number still stands for our file: a host may close it, and open something of its own there. */
static int lock_is_held(const si__spool *spool) {
    struct stat st;
    return spool->lock_fd >= 0 && !fstat(spool->lock_fd, &st) && st.st_dev == spool->lock_dev &&
           st.st_ino == spool->lock_ino;
}

void si__spool_lock_release(si__spool *spool) {
    if (lock_is_held(spool)) close(spool->lock_fd);
    spool->lock_fd = -1;
}

/* ---- Quarantine ---- */

void si__spool_quarantine(si__spool *spool, const char *name, const uint8_t *data, size_t length) {
    char dir[4096], path[4352];
    if (!spool->dir || spool->quarantine_bytes + length > QUARANTINE_BYTES) return;
    if (snprintf(dir, sizeof dir, "%s/quarantine", spool->dir) >= (int)sizeof dir || si__spool_dir_make(dir)) return;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    si__spool_piece piece = {data, length};
    if (!si__spool_file_append(dir, path, 0, &piece, 1)) spool->quarantine_bytes += length;
}

static void count_quarantine(si__spool *spool) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/quarantine", spool->dir) >= (int)sizeof path) return;
    DIR *dir = opendir(path);
    spool->quarantine_bytes = 0;
    for (struct dirent *item; dir && (item = readdir(dir));) {
        struct stat st;
        if (!fstatat(dirfd(dir), item->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode))
            spool->quarantine_bytes += (uint64_t)st.st_size;
    }
    if (dir) closedir(dir);
}

/* ---- Scanning ---- */

typedef struct scan {
    si__spool *spool;
    si__spool_file_entry *file;
    const uint8_t *data;
    int64_t now_ms; /* Unix; 0: this machine's clock is not set */
    int out_of_memory;
} scan;

static void on_found(void *arg, const si__spool_found *record) {
    scan *s = arg;
    si__spool *spool = s->spool;
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry = si__spool_entry_add(spool, &record->id, record->klass, record->length, record->made_ms);
    if (entry) {
        entry->file = s->file;
        entry->offset = record->offset;
        s->file->live++;
        spool->counts.made++;
        spool->counts.recovered++;
        if (s->now_ms > record->made_ms && record->made_ms >= SANE_CLOCK_MS)
            entry->born_ms -= s->now_ms - record->made_ms;
    } else {
        s->out_of_memory = 1;
    }
    pthread_mutex_unlock(&spool->state);
}

static void on_damaged(void *arg, size_t offset, size_t bytes) {
    scan *s = arg;
    char name[96];
    pthread_mutex_lock(&s->spool->state);
    s->spool->counts.made++;
    s->spool->counts.damaged++;
    pthread_mutex_unlock(&s->spool->state);
    snprintf(name, sizeof name, "damaged-%c%016llx-%zu", class_letters[s->file->klass],
             (unsigned long long)s->file->number, offset);
    si__spool_quarantine(s->spool, name, s->data + offset, bytes);
}

static int scan_file(si__spool *spool, si__spool_class klass, uint64_t number, int64_t now_ms) {
    char path[4352];
    uint8_t *data;
    size_t length;
    si__spool_file_entry *file = calloc(1, sizeof *file);
    if (!file) return SI_ENOMEM;
    file->number = number;
    file->klass = klass;
    file_path(spool, klass, number, path, sizeof path);
    int status = si__spool_file_read(path, 2 * SI__SPOOL_FILE_BYTES, &data, &length);
    scan s = {spool, file, data, now_ms, status == -ENOMEM};
    if (!status) {
        file->bytes = length;
        si__spool_scan(data, length, on_found, on_damaged, &s);
        free(data);
    } else if (!s.out_of_memory) {
        file->keep = 1; /* unreadable: left where it is */
        pthread_mutex_lock(&spool->state);
        spool->counts.made++;
        spool->counts.damaged++;
        pthread_mutex_unlock(&spool->state);
    }
    TAILQ_INSERT_TAIL(&spool->files, file, link);
    spool->disk_bytes += file->bytes;
    if (s.out_of_memory) file->keep = 1;
    return s.out_of_memory ? SI_ENOMEM : SI_OK;
}

typedef struct name { /* of a file found in the directory */
    uint64_t number;
    si__spool_class klass;
} name;

static int compare_names(const void *a, const void *b) {
    const name *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int parse_name(const char *text, name *out) {
    const char *letter = *text ? strchr(class_letters, *text) : NULL;
    if (!letter || strlen(text) != 21 || strcmp(text + 17, ".seg") != 0) return 0;
    if (strspn(text + 1, "0123456789abcdef") != 16) return 0;
    out->klass = (si__spool_class)(letter - class_letters);
    out->number = strtoull(text + 1, NULL, 16);
    return out->number < UINT64_MAX;
}

static int scan_dir(si__spool *spool) {
    name *names = NULL;
    size_t count = 0, capacity = 0;
    int status = SI_OK;
    DIR *dir = opendir(spool->dir);
    if (!dir) return SI_EIO;
    for (struct dirent *item; !status && (item = readdir(dir));) {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            name *moved = realloc(names, capacity * sizeof *names);
            if (!moved) {
                status = SI_ENOMEM;
                break;
            }
            names = moved;
        }
        count += (size_t)parse_name(item->d_name, &names[count]);
    }
    closedir(dir);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms < SANE_CLOCK_MS) now_ms = 0;
    if (count) qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count && !status; i++) {
        status = scan_file(spool, names[i].klass, names[i].number, now_ms);
        if (names[i].number >= spool->next_number) spool->next_number = names[i].number + 1;
    }
    free(names);
    return status;
}

int si__spool_disk_open(si__spool *spool) {
    char path[4352];
    if (mkdir(spool->state_dir, 0700) && errno != EEXIST) {
        disk_failed(spool, spool->state_dir, -errno);
        return SI_EIO;
    }
    int status = si__spool_dir_make(spool->dir);
    if (status) {
        disk_failed(spool, spool->dir, status);
        return SI_EIO;
    }
    snprintf(path, sizeof path, "%s/lock", spool->dir);
    int fd = si__spool_dir_lock(path);
    if (fd < 0) {
        disk_failed(spool, spool->dir, fd);
        return fd == -EWOULDBLOCK ? SI_EEXIST : SI_EIO;
    }
    lock_hold(spool, fd);
    count_quarantine(spool);
    status = scan_dir(spool);
    if (status == SI_EIO) {
        disk_failed(spool, spool->dir, -EIO);
        si__spool_lock_release(spool); /* so that the next attempt scans */
    }
    if (status) return status;
    disk_works(spool);
    si__spool_disk_sweep(spool);
    return SI_OK;
}

/* Somebody may have removed the directory, or a host our descriptor: then the lock says nothing any more. */
static int still_ours(si__spool *spool) {
    struct stat named;
    char path[4352];
    if (spool->lock_fd < 0) return 0;
    snprintf(path, sizeof path, "%s/lock", spool->dir);
    if (lock_is_held(spool) && !stat(path, &named) && named.st_dev == spool->lock_dev &&
        named.st_ino == spool->lock_ino)
        return 1;
    si__spool_lock_release(spool);
    return 0;
}

/* Gets a lost directory back without scanning: what was in it is known, or gone. */
static int reclaim(si__spool *spool) {
    char path[4352];
    int known = !TAILQ_EMPTY(&spool->files) || spool->next_number > 1;
    if (!known) return si__spool_disk_open(spool);
    int status = si__spool_dir_make(spool->dir);
    snprintf(path, sizeof path, "%s/lock", spool->dir);
    int fd = status ? status : si__spool_dir_lock(path);
    if (fd < 0) {
        disk_failed(spool, spool->dir, fd);
        return SI_EIO;
    }
    lock_hold(spool, fd);
    return SI_OK;
}

/* ---- Bounds ---- */

void si__spool_disk_sweep(si__spool *spool) {
    si__spool_file_entry *file, *next;
    for (file = TAILQ_FIRST(&spool->files); file; file = next) {
        char path[4352];
        next = TAILQ_NEXT(file, link);
        if (file->live || file->keep) continue;
        file_path(spool, file->klass, file->number, path, sizeof path);
        if (unlink(path) && errno != ENOENT) continue; /* next time */
        TAILQ_REMOVE(&spool->files, file, link);
        if (spool->active[file->klass] == file) spool->active[file->klass] = NULL;
        spool->disk_bytes -= file->bytes;
        free(file);
    }
}

/* Gives up the oldest file of the lowest class, up to `klass`. 0 when there is none. */
static int drop_file(si__spool *spool, si__spool_class klass) {
    si__spool_file_entry *victim = NULL, *file;
    TAILQ_FOREACH(file, &spool->files, link)
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what was swept is off the list, which the analyzer cannot follow */
    if (!file->keep && file->klass <= klass && (!victim || file->klass < victim->klass)) victim = file;
    if (!victim) return 0;
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry, *next;
    for (entry = TAILQ_FIRST(&spool->classes[victim->klass]); entry; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry->file != victim) continue;
        if (entry->taken) { /* on its way to the dashboard: its fate is still open */
            entry->doomed = 1;
            entry->file = NULL;
            victim->live--;
        } else {
            si__spool_entry_finish(spool, entry, &spool->counts.dropped_size);
        }
    }
    pthread_mutex_unlock(&spool->state);
    uint64_t before = spool->disk_bytes;
    si__spool_disk_sweep(spool);
    return spool->disk_bytes < before;
}

/* ---- Writing ---- */

typedef struct batch { /* records of one class that go into one file */
    si__spool_entry *entries[BATCH];
    uint8_t heads[BATCH][SI__SPOOL_HEAD_BYTES];
    si__spool_piece pieces[2 * BATCH];
    size_t count;
    uint64_t bytes;
} batch;

/* Collects from the front of what is unwritten, as much as fits the class's file. */
static void collect(si__spool *spool, batch *b) {
    b->count = 0;
    b->bytes = 0;
    pthread_mutex_lock(&spool->state);
    si__spool_entry *entry = TAILQ_FIRST(&spool->unwritten);
    if (entry) {
        si__spool_class klass = entry->klass;
        si__spool_file_entry *file = spool->active[klass];
        if (file && file->bytes + SI__SPOOL_HEAD_BYTES + entry->length > spool->file_bytes)
            file = spool->active[klass] = NULL;
        uint64_t at = file ? file->bytes : 0;
        for (; entry && b->count < BATCH; entry = TAILQ_NEXT(entry, unwritten_link)) {
            if (entry->klass != klass) continue;
            if (at + b->bytes + SI__SPOOL_HEAD_BYTES + entry->length > spool->file_bytes) break;
            entry->writing = 1;
            b->bytes += SI__SPOOL_HEAD_BYTES + entry->length;
            b->entries[b->count++] = entry;
        }
    }
    pthread_mutex_unlock(&spool->state);
    for (size_t i = 0; i < b->count; i++) { /* `writing` keeps them where they are */
        const si__spool_entry *e = b->entries[i];
        si__spool_found record = {e->id, e->klass, e->made_ms, 0, e->payload, e->length};
        si__spool_head_write(b->heads[i], &record);
        b->pieces[2 * i] = (si__spool_piece){b->heads[i], SI__SPOOL_HEAD_BYTES};
        b->pieces[2 * i + 1] = (si__spool_piece){e->payload, e->length};
    }
}

static si__spool_file_entry *file_for(si__spool *spool, si__spool_class klass) {
    if (spool->active[klass]) return spool->active[klass];
    si__spool_file_entry *file = calloc(1, sizeof *file);
    if (!file) return NULL;
    file->number = spool->next_number++;
    file->klass = klass;
    return file;
}

/* Writes and syncs a batch. 0 or a negative errno. */
static int write_batch(si__spool *spool, batch *b) {
    char path[4352];
    si__spool_class klass = b->entries[0]->klass;
    int64_t free_bytes = si__spool_dir_free_bytes(spool->dir);
    if (free_bytes < 0) return (int)free_bytes;
    if ((uint64_t)free_bytes < spool->limits.free_floor_bytes + b->bytes) return -ENOSPC;
    si__spool_file_entry *file = file_for(spool, klass);
    if (!file) return -ENOMEM;
    int fresh = file != spool->active[klass];
    file_path(spool, klass, file->number, path, sizeof path);
    int status = si__spool_file_append(spool->dir, path, file->bytes, b->pieces, 2 * b->count);
    if (status) {
        if (fresh) free(file);
        spool->active[klass] = NULL; /* never append behind what may be torn */
        return status;
    }
    uint64_t offset = file->bytes;
    file->bytes += b->bytes;
    spool->disk_bytes += b->bytes;
    if (fresh) TAILQ_INSERT_TAIL(&spool->files, file, link);
    spool->active[klass] = file;
    pthread_mutex_lock(&spool->state);
    for (size_t i = 0; i < b->count; i++) {
        si__spool_entry *e = b->entries[i];
        e->file = file;
        e->offset = offset;
        offset += SI__SPOOL_HEAD_BYTES + e->length;
        file->live++;
        TAILQ_REMOVE(&spool->unwritten, e, unwritten_link);
        e->unwritten = e->writing = 0;
        si__spool_memory_release(spool, e);
    }
    pthread_mutex_unlock(&spool->state);
    return 0;
}

static void release_batch(si__spool *spool, batch *b) {
    pthread_mutex_lock(&spool->state);
    for (size_t i = 0; i < b->count; i++) b->entries[i]->writing = 0;
    pthread_mutex_unlock(&spool->state);
}

static void drop_batch(si__spool *spool, batch *b) {
    pthread_mutex_lock(&spool->state);
    for (size_t i = 0; i < b->count; i++) {
        si__spool_entry *e = b->entries[i];
        e->writing = 0;
        if (!e->taken) {
            si__spool_entry_finish(spool, e, &spool->counts.dropped_size);
        } else { /* on its way to the dashboard: it keeps its copy in memory until that is decided */
            TAILQ_REMOVE(&spool->unwritten, e, unwritten_link);
            e->unwritten = 0;
        }
    }
    pthread_mutex_unlock(&spool->state);
}

void si__spool_disk_write(si__spool *spool) {
    if (spool->retry_at_ms && monotonic_ms() < spool->retry_at_ms) return;
    if (!still_ours(spool) && reclaim(spool)) return;
    batch *b = malloc(sizeof *b);
    if (!b) return;
    int status = 0;
    for (;;) {
        collect(spool, b);
        if (!b->count) break;
        int room = 1;
        while (room && spool->disk_bytes + b->bytes > spool->limits.disk_bytes)
            room = drop_file(spool, b->entries[0]->klass);
        if (!room) { /* what is on disk is worth more */
            drop_batch(spool, b);
            continue;
        }
        int appending = spool->active[b->entries[0]->klass] != NULL;
        if ((status = write_batch(spool, b))) {
            release_batch(spool, b);
            if (appending && status == -ENOENT) continue; /* somebody removed the file: a new one will do */
            disk_failed(spool, "writing the spool", status);
            break;
        }
    }
    if (!status) disk_works(spool); /* or there was nothing to write: the next write will tell */
    free(b);
}

int si__spool_disk_read(si__spool *spool, const si__spool_entry *entry, uint8_t *payload) {
    char path[4352];
    si__spool_found record;
    size_t length = SI__SPOOL_HEAD_BYTES + entry->length;
    if (!entry->file) return SI_EIO;
    uint8_t *whole = malloc(length);
    if (!whole) return SI_EIO;
    file_path(spool, entry->klass, entry->file->number, path, sizeof path);
    int status = si__spool_file_read_at(path, (size_t)entry->offset, whole, length) ? SI_EIO : SI_OK;
    if (!status && (!si__spool_head_read(whole, length, 0, &record) || record.length != entry->length ||
                    memcmp(&record.id, &entry->id, sizeof record.id) != 0))
        status = SI_EFORMAT;
    if (!status) memcpy(payload, record.payload, entry->length);
    free(whole);
    return status;
}
