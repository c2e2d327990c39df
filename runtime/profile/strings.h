/*
 * Interned strings: each distinct text is kept once, at an address that stays until all are freed.
 *
 * Used for the names in a call tree: equal names are equal pointers. Not thread-safe; one owner.
 */
#ifndef SI_PROFILE_STRINGS_H
#define SI_PROFILE_STRINGS_H

#include <stddef.h>

#define SI__STRING_MAX 4096 /* bytes kept of one string */

typedef struct si__strings si__strings;

si__strings *si__strings_new(void); /* NULL: out of memory */
void si__strings_free(si__strings *strings);

/* The one copy of `text`: at most SI__STRING_MAX bytes, invalid UTF-8 and control bytes replaced by '?'.
   NULL: out of memory. Owned by `strings`. */
const char *si__strings_intern(si__strings *strings, const char *text);

/* Bytes of memory in use. */
size_t si__strings_bytes(const si__strings *strings);

/* Copies `text` into out (out_bytes > 0, always terminated), replacing what is not printable UTF-8 by '?'. Returns
   the length. Never more bytes than the input has. */
size_t si__text_clean(char *out, size_t out_bytes, const char *text);

#endif
