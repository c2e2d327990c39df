/*
 * History on disk: one file, little endian, ended by a crc32c over everything before it. Written whole, read whole or
 * not at all.
 *
 * encode and decode run on the loop thread; write blocks on the disk and may run anywhere.
 * A damaged or hostile file must not hurt: lengths are checked against what is left, slot and point counts against the
 * rings.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <si/si.h>

#include "series.h"

static const char magic[8] = "SIHIST1\n";
#define FILE_LIMIT (256u << 20)

static uint32_t crc32c(const uint8_t *data, size_t length) {
    static uint32_t table[256];
    static _Atomic int ready;
    if (!ready) { /* two threads that race here write the same values */
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0x82F63B78u : c >> 1;
            table[i] = c;
        }
        ready = 1;
    }
    uint32_t crc = ~0u;
    for (size_t i = 0; i < length; i++) crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
    return ~crc;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

typedef struct buffer {
    uint8_t *data;
    size_t length, capacity;
    int failed;
} buffer;

static void put(buffer *b, const void *bytes, size_t n) {
    if (b->length + n > b->capacity && !b->failed) {
        size_t capacity = (b->capacity + n) * 2;
        uint8_t *data = realloc(b->data, capacity);
        if (!data) {
            b->failed = 1;
            return;
        }
        b->data = data;
        b->capacity = capacity;
    }
    if (b->failed) return;
    memcpy(b->data + b->length, bytes, n);
    b->length += n;
}

static void put_u32(buffer *b, uint32_t v) {
    put(b, &v, sizeof v);
}
static void put_i64(buffer *b, int64_t v) {
    put(b, &v, sizeof v);
}
static void put_double(buffer *b, double v) {
    put(b, &v, sizeof v);
}

static void put_slots(buffer *b, const si__slots *slots) {
    put_u32(b, slots->count);
    put_i64(b, slots->newest);
    put_double(b, slots->open_sum);
    for (uint32_t i = slots->count; i-- > 0;) { /* oldest first */
        size_t at = (uint64_t)(slots->newest - i) % slots->capacity;
        put(b, &slots->points[at], sizeof(uint16_t));
        put(b, &slots->average[at], sizeof(float));
        if (!slots->extremes) continue;
        put(b, &slots->minimum[at], sizeof(float));
        put(b, &slots->maximum[at], sizeof(float));
    }
}

static void put_series(buffer *b, const si__series *s) {
    put_u32(b, (uint32_t)s->kind);
    put_u32(b, (uint32_t)strlen(s->name));
    put(b, s->name, strlen(s->name));
    put_i64(b, s->raw_lost_ms);
    put_i64(b, s->last_ms);
    put_double(b, s->last);
    put_u32(b, s->raw_count);
    for (uint32_t i = 0; i < s->raw_count; i++) {
        put_i64(b, si__series_raw(s, i)->time_ms);
        put_double(b, si__series_raw(s, i)->value);
    }
    put_slots(b, &s->minute);
    put_slots(b, &s->ten);
}

int si__history_encode(const si__history *history, uint8_t **out, size_t *length) {
    buffer b = {0};
    put(&b, magic, sizeof magic);
    put_u32(&b, (uint32_t)si__history_count(history));
    for (int kind = 0; kind < SI__SERIES_KINDS; kind++)
        for (const si__series *s = si__history_oldest(history, (si__series_kind)kind); s; s = s->newer)
            put_series(&b, s);
    if (!b.failed) put_u32(&b, crc32c(b.data, b.length));
    if (b.failed) {
        free(b.data);
        return SI_ENOMEM;
    }
    *out = b.data;
    *length = b.length;
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t length) {
    while (length) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return SI_EIO;
        data += n;
        length -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : SI_EIO;
}

static void sync_directory(const char *path) {
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash ? snprintf(directory, sizeof directory, "%.*s", (int)(slash - path + 1), path)
                  : snprintf(directory, sizeof directory, ".");
    if (n < 0 || (size_t)n >= sizeof directory) return;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

int si__history_write(const char *path, const uint8_t *data, size_t length) {
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof temporary) return SI_EIO;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return SI_EIO;
    int status = write_all(fd, data, length);
    if (close(fd) != 0) status = SI_EIO;
    if (!status && rename(temporary, path) != 0) status = SI_EIO;
    if (status)
        unlink(temporary);
    else
        sync_directory(path);
    return status;
}

int si__history_save(const si__history *history, const char *path) {
    uint8_t *data;
    size_t length;
    int status = si__history_encode(history, &data, &length);
    if (status) return status;
    status = si__history_write(path, data, length);
    free(data);
    return status;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

typedef struct reader {
    const uint8_t *at;
    size_t left;
    int bad;
} reader;

static void take(reader *r, void *out, size_t n) {
    if (r->left < n) {
        r->bad = 1;
        memset(out, 0, n);
        return;
    }
    memcpy(out, r->at, n);
    r->at += n;
    r->left -= n;
}

static uint32_t take_u32(reader *r) {
    uint32_t v;
    take(r, &v, sizeof v);
    return v;
}

static int64_t take_i64(reader *r) {
    int64_t v;
    take(r, &v, sizeof v);
    return v;
}

static double take_double(reader *r) {
    double v;
    take(r, &v, sizeof v);
    if (isinf(v)) r->bad = 1;
    return v;
}

/* Within 140,000 years: sums and products with it stay far from overflow. */
static int plausible_ms(int64_t ms) {
    return ms > -((int64_t)1 << 52) && ms < (int64_t)1 << 52;
}

static int take_slots(reader *r, si__slots *slots, int64_t last_ms) {
    uint32_t count = take_u32(r);
    int64_t newest = take_i64(r);
    double open_sum = take_double(r);
    if (r->bad || count > slots->max) return SI_EFORMAT;
    if (!count) return 0;
    int64_t expected = si__slot_of(last_ms, slots->step_ms); /* off by one after a clock was set back */
    if (newest < expected - 2 || newest > expected + 2) return SI_EFORMAT;
    int status = si__slots_reserve(slots, count);
    if (status) return status;
    slots->newest = newest;
    slots->open_sum = open_sum;
    slots->count = count;
    for (uint32_t i = count; i-- > 0;) {
        size_t at = (uint64_t)(newest - i) % slots->capacity;
        take(r, &slots->points[at], sizeof(uint16_t));
        take(r, &slots->average[at], sizeof(float));
        if (slots->extremes) {
            take(r, &slots->minimum[at], sizeof(float));
            take(r, &slots->maximum[at], sizeof(float));
        }
        if (!isfinite(slots->average[at])) r->bad = 1;
    }
    return r->bad ? SI_EFORMAT : 0;
}

static int take_raw(reader *r, si__series *s) {
    uint32_t count = take_u32(r);
    if (r->bad || count > SI__RAW_POINTS) return SI_EFORMAT;
    uint32_t capacity = 8;
    while (capacity < count) capacity *= 2;
    s->raw = calloc(capacity, sizeof *s->raw);
    if (!s->raw) return SI_ENOMEM;
    s->raw_capacity = capacity;
    s->raw_count = count;
    int64_t before = INT64_MIN;
    for (uint32_t i = 0; i < count; i++) {
        s->raw[i].time_ms = take_i64(r);
        s->raw[i].value = take_double(r);
        if (s->raw[i].time_ms < before || s->raw[i].time_ms > s->last_ms || !isfinite(s->raw[i].value)) r->bad = 1;
        before = s->raw[i].time_ms;
    }
    return r->bad ? SI_EFORMAT : 0;
}

static int take_series(reader *r, si__series **out) {
    char name[SI__SERIES_NAME_BYTES];
    uint32_t kind = take_u32(r), length = take_u32(r);
    *out = NULL;
    if (r->bad || kind >= SI__SERIES_KINDS || length == 0 || length >= sizeof name) return SI_EFORMAT;
    take(r, name, length);
    if (r->bad || memchr(name, '\0', length)) return SI_EFORMAT;
    si__series *s = si__series_new((si__series_kind)kind, name, length, 0);
    if (!s) return SI_ENOMEM;
    *out = s;
    s->raw_lost_ms = take_i64(r);
    s->last_ms = take_i64(r);
    s->last = take_double(r);
    if (!plausible_ms(s->last_ms) || (s->raw_lost_ms != INT64_MIN && !plausible_ms(s->raw_lost_ms))) return SI_EFORMAT;
    int status = take_raw(r, s);
    if (!status) status = take_slots(r, &s->minute, s->last_ms);
    if (!status) status = take_slots(r, &s->ten, s->last_ms);
    return status;
}

int si__history_decode(si__history *history, const uint8_t *data, size_t length) {
    uint32_t crc;
    if (length < sizeof magic + 8 || memcmp(data, magic, sizeof magic) != 0) return SI_EFORMAT;
    memcpy(&crc, data + length - 4, sizeof crc);
    if (crc != crc32c(data, length - 4)) return SI_EFORMAT;
    reader r = {data + sizeof magic, length - sizeof magic - 4, 0};
    uint32_t count = take_u32(&r), n = 0;
    if (count > r.left / 32) return SI_EFORMAT;
    si__series **all = calloc(count ? count : 1, sizeof *all);
    int status = all ? 0 : SI_ENOMEM;
    while (!status && n < count) status = take_series(&r, &all[n++]);
    if (!status && r.left) status = SI_EFORMAT;
    for (uint32_t i = 0; i < n; i++) {
        if (status)
            si__series_free(all[i]);
        else
            si__history_take(history, all[i]);
    }
    free(all);
    return status;
}

int si__history_load(si__history *history, const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? SI_ENOTFOUND : SI_EIO;
    struct stat st;
    int status = SI_EFORMAT;
    uint8_t *data = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= (off_t)FILE_LIMIT) {
        size_t size = (size_t)st.st_size, have = 0;
        data = malloc(size);
        status = data ? SI_EIO : SI_ENOMEM;
        while (data && have < size) {
            ssize_t n = read(fd, data + have, size - have);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            have += (size_t)n;
        }
        if (data && have == size) status = si__history_decode(history, data, size);
    }
    free(data);
    close(fd);
    return status;
}
