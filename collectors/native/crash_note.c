/* A crash on file: see crash_note.h. In the handler of a crashing thread. */
#include "crash_note.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "region.h"

enum { DIR_BYTES = 3500, BUFFER_BYTES = 512 };

static char directory[DIR_BYTES];

void si__crash_note_in(const char *dir) {
    directory[0] = '\0';
    if (dir && strlen(dir) < sizeof directory) strcpy(directory, dir);
}

/* ---- Numbers and text into a file, without stdio ---- */

typedef struct note {
    int fd;
    size_t used;
    char buffer[BUFFER_BYTES];
} note;

static void flush(note *n) {
    size_t done = 0;
    while (done < n->used) {
        ssize_t wrote = write(n->fd, n->buffer + done, n->used - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        done += (size_t)wrote;
    }
    n->used = 0;
}

static void put(note *n, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (n->used == sizeof n->buffer) flush(n);
        n->buffer[n->used++] = text[i];
    }
}

static void put_text(note *n, const char *text) {
    put(n, text, strlen(text));
}

static size_t digits(uint64_t value, unsigned base, char *out) {
    char backwards[24];
    size_t length = 0, count = 0;
    do {
        backwards[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (count > 0) out[length++] = backwards[--count];
    return length;
}

static void put_number(note *n, uint64_t value, unsigned base) {
    char out[24];
    put(n, out, digits(value, base, out));
}

static void put_maps(note *n) {
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    ssize_t got;
    flush(n);
    while (maps >= 0 && ((got = read(maps, n->buffer, sizeof n->buffer)) > 0 || (got < 0 && errno == EINTR))) {
        n->used = got > 0 ? (size_t)got : 0;
        flush(n);
    }
    if (maps >= 0) close(maps);
}

static void path_of(char *out) {
    char *at = stpcpy(stpcpy(out, directory), "/" SI__CRASH_NOTE_PREFIX);
    at += digits((uint64_t)getpid(), 10, at);
    *at = '\0';
}

void si__crash_note_write(int signal, const char *text, size_t text_bytes, const uint64_t *pcs, unsigned count,
                          unsigned flags) {
    char path[DIR_BYTES + 64];
    note n = {.fd = -1};
    struct timespec now;
    if (!directory[0]) return;
    path_of(path);
    n.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (n.fd < 0) return;
    clock_gettime(CLOCK_REALTIME, &now);
    put_text(&n, "si crash 1\nsignal ");
    put_number(&n, (uint64_t)signal, 10);
    put_text(&n, "\ntime ");
    put_number(&n, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, 10);
    put_text(&n, "\nflags ");
    put_number(&n, flags, 10);
    put_text(&n, "\ntext ");
    for (size_t i = 0; i < text_bytes; i++) put(&n, text[i] == '\n' ? " " : &text[i], 1);
    put_text(&n, "\npcs");
    for (unsigned i = 0; i < count; i++) {
        if (si__pc_is_name(pcs[i])) continue; /* its name dies with the region */
        put_text(&n, " ");
        put_number(&n, pcs[i], 16);
    }
    put_text(&n, "\nmaps\n");
    put_maps(&n);
    close(n.fd);
}

void si__crash_note_take_back(void) {
    char path[DIR_BYTES + 64];
    if (!directory[0]) return;
    path_of(path);
    unlink(path);
}
