/*
 * A bounded MessagePack reader: walks hostile bytes in place, allocates nothing, never trusts a length.
 *
 * The first failure sticks: status and error are kept, later calls do nothing and return 0. A container that announces
 * more elements than bytes are left is refused before anybody allocates for it. One owner; any thread.
 */
#ifndef SI_REPORT_MSGPACK_READER_H
#define SI_REPORT_MSGPACK_READER_H

#include <stddef.h>
#include <stdint.h>

#define SI__MSGPACK_MAX_DEPTH 16

typedef struct si__msgpack_view { /* borrowed bytes of the input; not NUL-terminated */
    const char *data;
    size_t length;
} si__msgpack_view;

typedef struct si__msgpack_reader {
    const uint8_t *at, *end;
    const char *field; /* what is being read, for the message; the caller sets it */
    int status;        /* 0, SI_EFORMAT or SI_ELIMIT or SI_ENOMEM */
    char *error;       /* may be NULL when error_bytes is 0 */
    size_t error_bytes;
} si__msgpack_reader;

/* Keeps the first status with "field: what". Returns the status in force. */
int si__msgpack_fail(si__msgpack_reader *reader, int status, const char *what);

uint32_t si__msgpack_read_map(si__msgpack_reader *reader);   /* number of pairs */
uint32_t si__msgpack_read_array(si__msgpack_reader *reader); /* number of elements */
uint64_t si__msgpack_read_uint(si__msgpack_reader *reader);  /* 0 .. 2^64-1 */
int64_t si__msgpack_read_int(si__msgpack_reader *reader);    /* -2^63 .. 2^63-1 */
double si__msgpack_read_double(si__msgpack_reader *reader);  /* float, integer, or nil as NaN */
si__msgpack_view si__msgpack_read_str(si__msgpack_reader *reader);
si__msgpack_view si__msgpack_read_bin(si__msgpack_reader *reader);
int si__msgpack_read_nil(
    si__msgpack_reader *reader); /* 1 and consumed when the next element is nil; else 0, nothing consumed */
int si__msgpack_is_str(const si__msgpack_reader *reader);             /* 1 when the next element is a string */
void si__msgpack_skip(si__msgpack_reader *reader, uint64_t elements); /* whole elements, with all they contain */

#endif
