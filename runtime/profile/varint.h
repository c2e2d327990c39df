/*
 * Variable-length unsigned integers: seven bits a byte, lowest first, the top bit says that more follow.
 *
 * The form used by the sketch's compact encoding and by Protocol Buffers (pprof). Pure functions; any thread.
 */
#ifndef SI_PROFILE_VARINT_H
#define SI_PROFILE_VARINT_H

#include <stddef.h>
#include <stdint.h>

enum { SI__VARINT_MAX = 10 };

/* Writes value to out (room for SI__VARINT_MAX bytes); returns the bytes written. */
static inline size_t si__varint_put(uint8_t *out, uint64_t value) {
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) out[n++] = (uint8_t)(value | 0x80);
    out[n++] = (uint8_t)value;
    return n;
}

/* Reads a value; returns the bytes read, or 0: cut off, longer than 64 bits, or padded with a useless last byte. */
static inline size_t si__varint_get(const uint8_t *data, size_t length, uint64_t *value) {
    uint64_t result = 0;
    if (length && data[0] < 0x80) { /* almost always */
        *value = data[0];
        return 1;
    }
    for (size_t i = 0; i < length && i < SI__VARINT_MAX; i++) {
        uint8_t byte = data[i];
        if (i == SI__VARINT_MAX - 1 && byte > 1) return 0;
        result |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80) continue;
        if (byte == 0 && i > 0) return 0;
        *value = result;
        return i + 1;
    }
    return 0;
}

#endif
