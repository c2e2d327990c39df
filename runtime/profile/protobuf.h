/*
 * Writing Protocol Buffers messages: fields appended to a growing buffer.
 *
 * Used by pprof.c only as far as its messages need. A buffer that could not grow stays "failed" and takes nothing
 * more, so that callers check once at the end. Any thread, one owner.
 */
#ifndef SI_PROFILE_PROTOBUF_H
#define SI_PROFILE_PROTOBUF_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__protobuf {
    uint8_t *bytes;
    size_t length, capacity;
    int failed; /* out of memory */
} si__protobuf; /* all zero: empty */

void si__protobuf_free(si__protobuf *buffer);

/* A varint field; zero, the default, is left out. */
void si__protobuf_number(si__protobuf *buffer, uint32_t field, uint64_t value);
void si__protobuf_bytes(si__protobuf *buffer, uint32_t field, const void *bytes, size_t length);
/* A packed repeated field of varints. */
void si__protobuf_packed(si__protobuf *buffer, uint32_t field, const uint64_t *values, size_t count);
/* Appends `message` as an embedded message and empties it for the next. */
void si__protobuf_message(si__protobuf *buffer, uint32_t field, si__protobuf *message);

#endif
