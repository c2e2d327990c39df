/*
 * Records on disk: the bytes, the scan, and system calls that say what failed.
 *
 * Called by spool.c on the worker thread, and at open. No descriptor is kept but the lock's: a host may close what it
 * did not open, and a number that came back as the host's own file must never be written to.
 */
#include "spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "crc32c.h"

#define LOCK_FD_LOWEST 200 /* out of the way of programs that count on low numbers */

static const uint8_t magic[4] = {'s', 'i', 'R', '1'};

static void put_le(uint8_t *to, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *from, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)from[i] << (8 * i);
    return value;
}

static uint32_t record_crc(const uint8_t *head, const uint8_t *payload, size_t length) {
    uint32_t crc = si__crc32c(0, head + 4, 4);
    crc = si__crc32c(crc, head + 12, SI__SPOOL_HEAD_BYTES - 12);
    return si__crc32c(crc, payload, length);
}

void si__spool_head_write(uint8_t head[SI__SPOOL_HEAD_BYTES], const si__spool_found *record) {
    memset(head, 0, SI__SPOOL_HEAD_BYTES);
    memcpy(head, magic, sizeof magic);
    put_le(head + 4, record->length, 4);
    head[12] = (uint8_t)record->klass;
    put_le(head + 16, (uint64_t)record->made_ms, 8);
    memcpy(head + 24, record->id.agent, 16);
    memcpy(head + 40, record->id.boot, 16);
    put_le(head + 56, record->id.sequence, 8);
    put_le(head + 8, record_crc(head, record->payload, record->length), 4);
}

int si__spool_head_read(const uint8_t *data, size_t length, size_t offset, si__spool_found *out) {
    if (offset > length || length - offset < SI__SPOOL_HEAD_BYTES) return 0;
    const uint8_t *head = data + offset, *payload = head + SI__SPOOL_HEAD_BYTES;
    size_t bytes = (size_t)get_le(head + 4, 4);
    if (memcmp(head, magic, sizeof magic) != 0 || bytes > length - offset - SI__SPOOL_HEAD_BYTES) return 0;
    if (head[12] > SI__SPOOL_ALERTS || get_le(head + 8, 4) != record_crc(head, payload, bytes)) return 0;
    out->klass = (si__spool_class)head[12];
    out->made_ms = (int64_t)get_le(head + 16, 8);
    memcpy(out->id.agent, head + 24, 16);
    memcpy(out->id.boot, head + 40, 16);
    out->id.sequence = get_le(head + 56, 8);
    out->offset = offset;
    out->payload = payload;
    out->length = bytes;
    return 1;
}

void si__spool_scan(const uint8_t *data, size_t length, void (*found)(void *arg, const si__spool_found *record),
                    void (*damaged)(void *arg, size_t offset, size_t bytes), void *arg) {
    size_t at = 0, bad_from = 0;
    while (at < length) {
        si__spool_found record;
        if (si__spool_head_read(data, length, at, &record)) {
            if (bad_from < at) damaged(arg, bad_from, at - bad_from);
            found(arg, &record);
            at += SI__SPOOL_HEAD_BYTES + record.length;
            bad_from = at;
            continue;
        }
        /* Lengths cannot be trusted after damage: look for the next header that proves itself by its checksum. */
        const uint8_t *next = at + 1 < length ? memmem(data + at + 1, length - at - 1, magic, sizeof magic) : NULL;
        at = next ? (size_t)(next - data) : length;
    }
    if (bad_from < length) damaged(arg, bad_from, length - bad_from);
}

static int read_all(int fd, uint8_t *out, size_t length, off_t offset) {
    while (length > 0) {
        ssize_t n = pread(fd, out, length, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        if (n == 0) return -EIO; /* shorter than it was */
        out += n;
        offset += n;
        length -= (size_t)n;
    }
    return 0;
}

int si__spool_file_read_at(const char *path, size_t offset, uint8_t *out, size_t length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -errno;
    int status = read_all(fd, out, length, (off_t)offset);
    close(fd);
    return status;
}

int si__spool_file_read(const char *path, size_t limit, uint8_t **out, size_t *length) {
    *out = NULL;
    *length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return -errno;
    struct stat st;
    int status = fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) ? -EINVAL : 0;
    if (!status && (uint64_t)st.st_size > limit) status = -EFBIG;
    if (!status && !(*out = malloc((size_t)st.st_size + 1))) status = -ENOMEM;
    if (!status) status = read_all(fd, *out, (size_t)st.st_size, 0);
    close(fd);
    if (status) {
        free(*out);
        *out = NULL;
        return status;
    }
    *length = (size_t)st.st_size;
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? -errno : -EIO;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int sync_dir(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int status = fsync(fd) ? -errno : 0;
    close(fd);
    return status;
}

int si__spool_file_append(const char *dir, const char *path, size_t offset, const si__spool_piece *pieces, size_t n) {
    int flags = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | (offset ? 0 : O_CREAT | O_EXCL);
    int fd = open(path, flags, 0600);
    if (fd < 0) return -errno;
    struct stat st;
    int status = fstat(fd, &st) ? -errno : (uint64_t)st.st_size != offset ? -EIO : 0;
    for (size_t i = 0; i < n && !status; i++) status = write_all(fd, pieces[i].data, pieces[i].length);
    if (!status && fsync(fd)) status = -errno;
    if (!status && !offset) status = sync_dir(dir);
    if (status && offset) {
        if (ftruncate(fd, (off_t)offset)) { /* then a scan finds whole records, or a torn one to skip */
        }
    } else if (status) {
        unlink(path);
    }
    close(fd);
    return status;
}

int si__spool_dir_make(const char *dir) {
    struct stat st;
    if (mkdir(dir, 0700) && errno != EEXIST) return -errno;
    if (lstat(dir, &st)) return -errno;
    if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
    if (st.st_uid != geteuid()) return -EPERM;
    if ((st.st_mode & 077) && chmod(dir, 0700)) return -errno;
    return 0;
}

int si__spool_dir_lock(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int status = -errno;
        close(fd);
        return status;
    }
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOCK_FD_LOWEST);
    if (high < 0) return fd;
    close(fd); /* the lock belongs to both */
    return high;
}

int64_t si__spool_dir_free_bytes(const char *dir) {
    struct statvfs fs;
    if (statvfs(dir, &fs)) return -errno;
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, &bytes) || bytes > INT64_MAX)
        return INT64_MAX;
    return (int64_t)bytes;
}
