/*
 * Names for what is asked of a database: an SQL statement without its literals, a Redis command with the pattern of its
 * key. Statements that differ in their literals only have one name, and no secret is in it.
 *
 * Pure; no allocation. Host threads, within a hooked call.
 */
#ifndef SI_NATIVE_STATEMENT_H
#define SI_NATIVE_STATEMENT_H

#include <stddef.h>

#include "region.h"

typedef enum si__dialect { SI__SQL_POSTGRES, SI__SQL_MYSQL, SI__SQL_SQLITE } si__dialect;

/*
 * `out`: SI__NAME_BYTES; always a terminated string of UTF-8. Literals and parameters become ?, lists of them one ?,
 * comments go, white space is one blank. Too long: columns give way first. What cannot be parsed, or sets a password,
 * is the verb alone. `text` need not end with a NUL; NULL is "SQL". Only its first 8 KiB are looked at.
 */
void si__statement_name(si__dialect dialect, const char *text, size_t length, char *out);

#endif
