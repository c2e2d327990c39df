/*
 * Makes a name of what is too long for one: see statement_fit.c.
 */
#ifndef SI_NATIVE_STATEMENT_FIT_H
#define SI_NATIVE_STATEMENT_FIT_H

#include <stddef.h>

enum { SI__STATEMENT_BYTES = 4096 };

/* `text`: `length` bytes of a normalized statement, below SI__STATEMENT_BYTES; is changed. `out`: SI__NAME_BYTES; ends
   with a NUL, and with "..." when something was cut off. */
void si__statement_fit(char *text, size_t length, char *out);

/* Copies at most SI__NAME_BYTES - 1 bytes and ends them with a NUL: no character is split, what is no UTF-8 or not
   printable becomes '_'. */
void si__statement_copy(char *out, const char *text, size_t length);

#endif
