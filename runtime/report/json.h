/*
 * JSON: a small bounded parser for text from outside (channels files, request bodies, a dashboard's answers), and a
 * writer whose output is safe inside HTML and HTTP.
 *
 * Values are immutable after parsing and may be read by any thread; a writer has one owner.
 */
#ifndef SI_REPORT_JSON_H
#define SI_REPORT_JSON_H

#include <stddef.h>
#include <stdint.h>

#define SI__JSON_MAX_BYTES ((size_t)1 << 20)
#define SI__JSON_MAX_DEPTH 32
#define SI__JSON_MAX_VALUES 65536

typedef enum si__json_type {
    SI__JSON_NULL,
    SI__JSON_BOOL,
    SI__JSON_NUMBER,
    SI__JSON_STRING,
    SI__JSON_ARRAY,
    SI__JSON_OBJECT
} si__json_type;

typedef struct si__json { /* read its fields; never change them */
    si__json_type type;
    int boolean;                   /* BOOL: 0 or 1 */
    int is_integer;                /* NUMBER: 1 when written without fraction or exponent and within int64_t */
    int64_t integer;               /* NUMBER: the value when is_integer */
    double number;                 /* NUMBER: always finite */
    const char *text;              /* STRING: valid UTF-8, NUL-terminated, holds no other NUL; else "" */
    size_t length;                 /* STRING: bytes */
    const char *key;               /* the name, for a member of an object; else NULL */
    struct si__json *first, *next; /* ARRAY, OBJECT: children in order; next sibling */
    size_t count;                  /* ARRAY, OBJECT: number of children */
} si__json;

/*
 * Parses one JSON text (RFC 8259) of length bytes. 0 and *out, to be freed with si__json_free; or SI_EFORMAT,
 * SI_ELIMIT, SI_ENOMEM with "line 3: ..." in error (may be NULL when error_bytes is 0) and *out NULL. Invalid UTF-8 and
 * lone surrogates become U+FFFD; NUL inside strings and numbers beyond double are refused.
 */
int si__json_parse(const char *text, size_t length, si__json **out, char *error, size_t error_bytes);

/* Frees a parsed root with all that hangs on it. NULL is allowed. Only the root. */
void si__json_free(si__json *root);

/* The member `key` of an object (the last one, when repeated), or NULL: also when value is NULL or not an object. */
const si__json *si__json_get(const si__json *value, const char *key);

/* A member's value when it has that type, else the fallback. Strings are borrowed from the root. */
const char *si__json_get_string(const si__json *object, const char *key, const char *fallback);
int64_t si__json_get_integer(const si__json *object, const char *key, int64_t fallback);
double si__json_get_number(const si__json *object, const char *key, double fallback);
int si__json_get_bool(const si__json *object, const char *key, int fallback);

/*
 * The writer. Commas are placed for you; `key` is the name inside an object and NULL inside an array or at the top.
 * Strings: control characters, quotes and '<' are escaped, invalid UTF-8 becomes U+FFFD, NULL becomes null. NaN and
 * infinities become null. Out of memory is kept and told by si__json_take.
 */
typedef struct si__json_writer { /* zero-initialised: ready. Fields are private */
    char *text;
    size_t length, capacity;
    int failed, comma;
} si__json_writer;

void si__json_object_begin(si__json_writer *writer, const char *key);
void si__json_object_end(si__json_writer *writer);
void si__json_array_begin(si__json_writer *writer, const char *key);
void si__json_array_end(si__json_writer *writer);
void si__json_put_string(si__json_writer *writer, const char *key, const char *text);
void si__json_put_text(si__json_writer *writer, const char *key, const char *text,
                       size_t length); /* need not end in NUL */
void si__json_put_int(si__json_writer *writer, const char *key, int64_t value);
void si__json_put_uint(si__json_writer *writer, const char *key, uint64_t value);
void si__json_put_number(si__json_writer *writer, const char *key,
                         double value); /* shortest form that reads back equal */
void si__json_put_bool(si__json_writer *writer, const char *key, int value);
void si__json_put_null(si__json_writer *writer, const char *key);
void si__json_put_raw(si__json_writer *writer, const char *key, const char *json,
                      size_t length); /* trusted JSON, as it is */

/* A finite number as JSON writes it, the same in every locale. Returns its length; out is terminated. */
size_t si__json_number(double value, char out[40]);

/* Hands over the malloc'ed, NUL-terminated text and resets the writer. 0, or SI_ENOMEM with *out NULL. length may be
 * NULL. */
int si__json_take(si__json_writer *writer, char **out, size_t *length);
void si__json_discard(si__json_writer *writer); /* frees what was written */

#endif
