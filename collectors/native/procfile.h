/*
 * Files of /proc and /sys: read whole, and taken apart by bounded parsers.
 *
 * Reading and parsing are apart, so that parsers can be fed anything. Used by the process and host readers on the
 * runtime's thread, never inside a signal handler.
 */
#ifndef SI_PROCFILE_H
#define SI_PROCFILE_H

#include <stddef.h>
#include <stdint.h>

/* A buffer that a reader keeps between readings. All zero: empty. */
typedef struct si__procfile {
    char *text; /* NUL-terminated */
    size_t length, capacity;
} si__procfile;

/* Reads the file at root + path (path is made like printf). At most 1 MiB; what is beyond is left out at a line's end.
   0 or a negative errno. */
int si__procfile_read(si__procfile *file, const char *root, const char *path, ...)
    __attribute__((format(printf, 3, 4)));
void si__procfile_free(si__procfile *file);

/* ---- Parsing. `at` moves within [at, end); nothing is read at or beyond end ---- */

/* The next line: stores its bounds and moves *at behind it. 0: no more. */
int si__text_line(const char **at, const char *end, const char **line, const char **line_end);

/* Does the line start with `word`? Then moves *at behind it. */
int si__text_word(const char **at, const char *end, const char *word);

/* A decimal number after any blanks; moves *at behind it. 0: none, or it does not fit. */
int si__text_number(const char **at, const char *end, uint64_t *value);

/* A decimal number with an optional fraction after any blanks. */
int si__text_decimal(const char **at, const char *end, double *value);

/* Skips one blank-separated field. 0: none left. */
int si__text_skip(const char **at, const char *end);

/* Appends ": why" items to a reason text, separated by "; ". Cut when there is no room. */
void si__reason_add(char *reason, size_t reason_bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
