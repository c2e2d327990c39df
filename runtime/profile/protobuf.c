/* Protocol Buffers out, by hand: four kinds of fields are all that pprof needs. Called by pprof.c. */
#include "protobuf.h"

#include <stdlib.h>
#include <string.h>

#include "varint.h"

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

void si__protobuf_free(si__protobuf *buffer) {
    free(buffer->bytes);
    *buffer = (si__protobuf){0};
}

static int reserve(si__protobuf *buffer, size_t more) {
    if (buffer->failed) return 0;
    if (more <= buffer->capacity - buffer->length) return 1;
    size_t capacity = buffer->capacity * 2 + more + 256;
    uint8_t *bytes = realloc(buffer->bytes, capacity);
    if (!bytes) {
        buffer->failed = 1;
        return 0;
    }
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return 1;
}

static void put_varint(si__protobuf *buffer, uint64_t value) {
    if (reserve(buffer, SI__VARINT_MAX)) buffer->length += si__varint_put(buffer->bytes + buffer->length, value);
}

static void put_key(si__protobuf *buffer, uint32_t field, unsigned wire) {
    put_varint(buffer, (uint64_t)field << 3 | wire);
}

void si__protobuf_number(si__protobuf *buffer, uint32_t field, uint64_t value) {
    if (value == 0) return;
    put_key(buffer, field, WIRE_VARINT);
    put_varint(buffer, value);
}

void si__protobuf_bytes(si__protobuf *buffer, uint32_t field, const void *bytes, size_t length) {
    put_key(buffer, field, WIRE_BYTES);
    put_varint(buffer, length);
    if (length == 0 || !reserve(buffer, length)) return;
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

void si__protobuf_packed(si__protobuf *buffer, uint32_t field, const uint64_t *values, size_t count) {
    uint8_t unused[SI__VARINT_MAX];
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += si__varint_put(unused, values[i]);
    put_key(buffer, field, WIRE_BYTES);
    put_varint(buffer, length);
    for (size_t i = 0; i < count; i++) put_varint(buffer, values[i]);
}

void si__protobuf_message(si__protobuf *buffer, uint32_t field, si__protobuf *message) {
    si__protobuf_bytes(buffer, field, message->bytes, message->length);
    buffer->failed |= message->failed;
    message->length = 0;
}
