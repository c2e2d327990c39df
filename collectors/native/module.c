/*
 * Reads /proc/PID/maps: which ELF files a process has mapped as code, and where a stack ends. Called by the runtime's
 * worker thread; file names in there are chosen by whoever named the files, so nothing is assumed about them.
 */
#include "module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "si/si.h"

enum { MAPS_BYTES_MAX = 64 * 1024 * 1024, FIRST_READ = 64 * 1024 };

/* One line: "start-end perms offset major:minor inode   path". */
typedef struct mapping {
    uint64_t start, end, offset, major, minor, inode;
    char perms[4];
    const char *path;
    size_t path_length;
} mapping;

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 16;
}

/* A number in base 10 or 16 that must be there and must be followed by `after` ('\0': by anything). */
static int number(const char **at, const char *end, int base, char after, uint64_t *out) {
    uint64_t v = 0;
    const char *p = *at;
    for (; p < end && digit(*p) < base; p++)
        if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)digit(*p), &v))
            return 0;
    if (p == *at || (after && (p == end || *p != after))) return 0;
    *at = after ? p + 1 : p;
    *out = v;
    return 1;
}

static int parse_line(const char *at, const char *end, mapping *m) {
    if (!number(&at, end, 16, '-', &m->start) || !number(&at, end, 16, ' ', &m->end) || m->end <= m->start) return 0;
    if (end - at < 5 || at[4] != ' ') return 0;
    memcpy(m->perms, at, 4);
    at += 5;
    if (!number(&at, end, 16, ' ', &m->offset) || !number(&at, end, 16, ':', &m->major) ||
        !number(&at, end, 16, ' ', &m->minor) || !number(&at, end, 10, '\0', &m->inode))
        return 0;
    while (at < end && *at == ' ') at++;
    m->path = at;
    m->path_length = (size_t)(end - at);
    return 1;
}

/* The next line of the text, or 0 at its end. */
static int next_line(const char **at, const char *text_end, const char **line, const char **line_end) {
    if (*at == text_end) return 0;
    *line = *at;
    const char *newline = memchr(*at, '\n', (size_t)(text_end - *at));
    *line_end = newline ? newline : text_end;
    *at = newline ? newline + 1 : text_end;
    return 1;
}

/* The kernel writes a newline in a name as \012, and nothing else that way. */
static char *unescape(const char *path, size_t length) {
    char *out = malloc(length + 1), *to = out;
    if (!out) return NULL;
    for (size_t i = 0; i < length; i++) {
        if (length - i >= 4 && !memcmp(path + i, "\\012", 4)) {
            *to++ = '\n';
            i += 3;
        } else {
            *to++ = path[i];
        }
    }
    *to = 0;
    return out;
}

static int fill_module(si__module *out, const mapping *m) {
    static const char gone[] = " (deleted)";
    size_t length = m->path_length, tail = sizeof(gone) - 1;
    out->start = m->start;
    out->end = m->end;
    out->file_offset = m->offset;
    out->device = m->major << 20 | m->minor;
    out->inode = m->inode;
    out->deleted = m->inode && length > tail && !memcmp(m->path + length - tail, gone, tail);
    if (out->deleted) length -= tail;
    out->path = unescape(m->path, length);
    return out->path ? 0 : SI_ENOMEM;
}

static int by_start(const void *a, const void *b) {
    const si__module *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

int si__module_list_parse(const char *text, size_t length, si__module_list *out) {
    const char *at = text, *end = text + length, *line, *line_end;
    size_t capacity = 0;
    int rc = 0;
    *out = (si__module_list){0};
    while (!rc && next_line(&at, end, &line, &line_end)) {
        mapping m;
        if (line == line_end) continue;
        if (!parse_line(line, line_end, &m)) {
            rc = SI_EFORMAT;
        } else if (m.perms[2] == 'x') {
            if (out->count == capacity) {
                capacity = capacity ? capacity * 2 : 64;
                si__module *items = realloc(out->items, capacity * sizeof(*items));
                if (!items) {
                    rc = SI_ENOMEM;
                    break;
                }
                out->items = items;
            }
            rc = fill_module(&out->items[out->count], &m);
            if (!rc) out->count++;
        }
    }
    if (rc)
        si__module_list_free(out);
    else if (out->count)
        qsort(out->items, out->count, sizeof(*out->items), by_start);
    return rc;
}

void si__module_list_free(si__module_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->items[i].path);
    free(list->items);
    *list = (si__module_list){0};
}

/* Reads a whole /proc file, whose size nobody tells. */
static int read_all(const char *path, char **text, size_t *length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    if (fd < 0) return errno == ENOENT ? SI_ENOTFOUND : SI_EIO;
    size_t capacity = FIRST_READ;
    *text = malloc(capacity);
    *length = 0;
    if (!*text) rc = SI_ENOMEM;
    while (!rc) {
        ssize_t n = read(fd, *text + *length, capacity - *length);
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            rc = errno == ESRCH ? SI_ENOTFOUND : SI_EIO;
        } else if ((*length += (size_t)n) == capacity) {
            char *more = capacity < MAPS_BYTES_MAX ? realloc(*text, capacity * 2) : NULL;
            if (!more)
                rc = capacity < MAPS_BYTES_MAX ? SI_ENOMEM : SI_ELIMIT;
            else
                *text = more, capacity *= 2;
        }
    }
    close(fd);
    if (!rc) return 0;
    free(*text);
    *text = NULL;
    return rc;
}

int si__module_list_read(pid_t pid, si__module_list *out) {
    char path[64], *text;
    size_t length;
    *out = (si__module_list){0};
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    int rc = read_all(path, &text, &length);
    if (rc) return rc;
    rc = si__module_list_parse(text, length, out);
    free(text);
    return rc;
}

const si__module *si__module_find(const si__module_list *list, uint64_t pc) {
    size_t lo = 0, hi = list->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (list->items[mid].end <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < list->count && list->items[lo].start <= pc ? &list->items[lo] : NULL;
}

int si__stack_bounds_parse(const char *text, size_t length, uint64_t sp, uint64_t *lo, uint64_t *hi) {
    const char *at = text, *end = text + length, *line, *line_end;
    while (next_line(&at, end, &line, &line_end)) {
        mapping m;
        if (!parse_line(line, line_end, &m) || sp < m.start || sp >= m.end) continue;
        if (m.perms[0] != 'r' || m.perms[1] != 'w') return SI_ENOTFOUND;
        *lo = m.start;
        *hi = m.end;
        return 0;
    }
    return SI_ENOTFOUND;
}
