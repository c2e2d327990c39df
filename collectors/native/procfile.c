/* Reading and taking apart the files of /proc and /sys. Called by process.c, host.c and cgroup.c. */
#include "procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_BYTES = 8192, LAST_BYTES = 1024 * 1024 };

static int grow(si__procfile *file) {
    size_t capacity = file->capacity ? file->capacity * 2 : (size_t)FIRST_BYTES;
    char *text = realloc(file->text, capacity);
    if (!text) return -ENOMEM;
    file->text = text;
    file->capacity = capacity;
    return 0;
}

/* Up to LAST_BYTES of fd into file. */
static int fill(si__procfile *file, int fd) {
    for (;;) {
        if (file->length + 1 >= file->capacity) {
            if (file->capacity >= LAST_BYTES) break;
            if (grow(file)) return -ENOMEM;
        }
        ssize_t n = read(fd, file->text + file->length, file->capacity - file->length - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        if (n == 0) {
            file->text[file->length] = 0;
            return 0;
        }
        file->length += (size_t)n;
    }
    while (file->length > 0 && file->text[file->length - 1] != '\n') file->length--; /* no half lines */
    file->text[file->length] = 0;
    return 0;
}

int si__procfile_read(si__procfile *file, const char *root, const char *path, ...) {
    char whole[PATH_MAX];
    size_t used = strlen(root);
    if (used >= sizeof whole) return -ENAMETOOLONG;
    memcpy(whole, root, used);
    va_list arguments;
    va_start(arguments, path);
    int n = vsnprintf(whole + used, sizeof whole - used, path, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= sizeof whole - used) return -ENAMETOOLONG;

    file->length = 0;
    int fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return -errno;
    int result = fill(file, fd);
    close(fd);
    return result;
}

void si__procfile_free(si__procfile *file) {
    free(file->text);
    *file = (si__procfile){0};
}

/* ---- Parsing ---- */

int si__text_line(const char **at, const char *end, const char **line, const char **line_end) {
    if (*at >= end) return 0;
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at;
    *line_end = newline ? newline : end;
    *at = newline ? newline + 1 : end;
    return 1;
}

static void skip_blanks(const char **at, const char *end) {
    while (*at < end && (**at == ' ' || **at == '\t')) (*at)++;
}

int si__text_word(const char **at, const char *end, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(end - *at) < length || memcmp(*at, word, length) != 0) return 0;
    *at += length;
    return 1;
}

int si__text_number(const char **at, const char *end, uint64_t *value) {
    skip_blanks(at, end);
    const char *p = *at;
    uint64_t number = 0;
    while (p < end && *p >= '0' && *p <= '9') {
        uint64_t digit = (uint64_t)(*p - '0');
        if (number > (UINT64_MAX - digit) / 10) return 0;
        number = number * 10 + digit;
        p++;
    }
    if (p == *at) return 0;
    *at = p;
    *value = number;
    return 1;
}

int si__text_decimal(const char **at, const char *end, double *value) {
    uint64_t whole;
    if (!si__text_number(at, end, &whole)) return 0;
    double number = (double)whole;
    if (*at < end && **at == '.') {
        uint64_t digits = 0, scale = 1;
        for ((*at)++; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
            if (scale >= UINT64_C(1000000000000000000)) continue; /* more digits than a double holds */
            digits = digits * 10 + (uint64_t)(**at - '0');
            scale *= 10;
        }
        number += (double)digits / (double)scale;
    }
    *value = number;
    return 1;
}

int si__text_skip(const char **at, const char *end) {
    skip_blanks(at, end);
    const char *start = *at;
    while (*at < end && **at != ' ' && **at != '\t' && **at != '\n') (*at)++;
    return *at > start;
}

void si__reason_add(char *reason, size_t reason_bytes, const char *format, ...) {
    size_t used = strnlen(reason, reason_bytes);
    if (used + 3 >= reason_bytes) return;
    if (used) used += (size_t)snprintf(reason + used, reason_bytes - used, "; ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason + used, reason_bytes - used, format, arguments);
    va_end(arguments);
}
