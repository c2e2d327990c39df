/*
 * UTF-8, checked: for text that comes from outside (reports, JSON, rule names) and must be valid when it goes out
 * again.
 *
 * Pure functions; any thread.
 */
#ifndef SI_REPORT_UTF8_H
#define SI_REPORT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length in bytes (1 to 4) of the valid sequence at text, its code point in *code; 0 when it is not valid there
   (stray or missing continuation, overlong, surrogate, above U+10FFFF). length must be > 0. */
size_t si__utf8_decode(const char *text, size_t length, uint32_t *code);

/* Writes the code point; returns 1 to 4. out has room for 4 bytes. Not a scalar value: U+FFFD is written. */
size_t si__utf8_encode(uint32_t code, char *out);

/* A malloc'ed, NUL-terminated copy with each invalid byte, and each NUL, replaced by '?'. NULL: out of memory. */
char *si__utf8_repaired(const char *text, size_t length);

#endif
