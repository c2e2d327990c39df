/*
 * Whole numbers as few bits: Rice codes whose parameter follows what came before. For columns of small numbers without
 * patterns, such as gaps between sorted ids. Pure; one owner each.
 *
 * A number is its upper part in unary (so many zeros, then a one) and its `k` lower bits as they are; k follows the
 * mean of the numbers before. What would take more than 20 zeros is written as 20 zeros, a one, and 64 bits. Bits fill
 * bytes from the lowest.
 */
#ifndef SI_SERVER_RICE_H
#define SI_SERVER_RICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SI__RICE_MOST_BYTES 11 /* of one number, at most */
#define SI__RICE_PADDING 16    /* readable bytes after the input */

typedef struct si__rice { /* a column's state; zero-initialise */
    uint64_t sum;
    uint32_t count, k;
} si__rice;

typedef struct si__bits {
    uint8_t *at;      /* writing: where the next byte goes; has room */
    uint64_t waiting; /* bits that are not written yet */
    unsigned count;
} si__bits;

typedef struct si__bit_reader {
    const uint8_t *data; /* padded */
    uint64_t at, end;    /* in bits */
} si__bit_reader;

static inline void si__rice_learn(si__rice *column, uint64_t value) {
    column->sum += value < (1ull << 40) ? value : 1ull << 40;
    if (++column->count == 32) {
        column->sum >>= 1;
        column->count = 16;
    }
    while (((uint64_t)column->count << column->k) < column->sum && column->k < 32) column->k++;
    while (column->k && ((uint64_t)column->count << (column->k - 1)) >= column->sum) column->k--;
}

static inline void si__bits_put(si__bits *bits, uint64_t value, unsigned count) { /* count <= 32, value < 2^count */
    bits->waiting |= value << bits->count;
    bits->count += count;
    if (bits->count < 32) return;
    uint32_t word = (uint32_t)bits->waiting;
    memcpy(bits->at, &word, sizeof word);
    bits->at += sizeof word;
    bits->waiting >>= 32;
    bits->count -= 32;
}

static inline uint8_t *si__bits_end(si__bits *bits) {
    for (; bits->count; bits->count = bits->count > 8 ? bits->count - 8 : 0) {
        *bits->at++ = (uint8_t)bits->waiting;
        bits->waiting >>= 8;
    }
    return bits->at;
}

static inline void si__rice_put(si__bits *bits, si__rice *column, uint64_t value) {
    uint64_t upper = value >> column->k;
    if (upper < 20) {
        si__bits_put(bits, 1ull << upper, (unsigned)upper + 1);
        si__bits_put(bits, value & ((1ull << column->k) - 1), column->k);
    } else {
        si__bits_put(bits, 1ull << 20, 21);
        si__bits_put(bits, (uint32_t)value, 32);
        si__bits_put(bits, value >> 32, 32);
    }
    si__rice_learn(column, value);
}

static inline uint64_t si__bits_peek(const si__bit_reader *reader) { /* at least 57 bits */
    uint64_t word;
    memcpy(&word, reader->data + (reader->at >> 3), sizeof word);
    return word >> (reader->at & 7);
}

/* 1, or 0 when the bits end before the number does. */
static inline int si__rice_get(si__bit_reader *reader, si__rice *column, uint64_t *value) {
    if (reader->at >= reader->end) return 0;
    uint64_t word = si__bits_peek(reader);
    unsigned zeros = (unsigned)__builtin_ctzll(word | 1ull << 21); /* damaged bits may have no one */
    if (zeros > 20) return 0;
    if (zeros < 20) {
        uint64_t lower = word >> (zeros + 1);
        reader->at += zeros + 1 + column->k;
        *value = (uint64_t)zeros << column->k | (lower & ((1ull << column->k) - 1));
    } else {
        reader->at += 21;
        if (reader->end - reader->at < 64 || reader->at > reader->end) return 0;
        uint64_t low = si__bits_peek(reader) & 0xffffffff;
        reader->at += 32;
        *value = si__bits_peek(reader) << 32 | low;
        reader->at += 32;
    }
    si__rice_learn(column, *value);
    return reader->at <= reader->end;
}

#endif
