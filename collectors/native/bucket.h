/*
 * Logarithmic buckets for durations: the quantile sketch's index, cheap enough for a hot path.
 *
 * Each power of two is split into 64 equal parts, so a bucket is at most 1/64 wide relative to its value and its
 * midpoint is at most 1/128 = 0.78 % away from any value in it. Values below 64 have a bucket each (exact).
 * Sketches merge by adding counts. Same idea as HdrHistogram (G. Tene): sub-bucket precision by mantissa bits.
 */
#ifndef SI_NATIVE_BUCKET_H
#define SI_NATIVE_BUCKET_H

#include <stdint.h>

enum { SI__BUCKET_BITS = 6, SI__BUCKET_OCTAVES = 38 };
/* 64 exact values, then 64 per octave from 2^6 to 2^44 ns (4.9 hours); what is longer falls into the last. */
#define SI__BUCKET_COUNT (64u * (SI__BUCKET_OCTAVES + 1))

static inline uint32_t si__bucket_index(uint64_t value) {
    if (value < 64) return (uint32_t)value;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value); /* >= 6 */
    uint32_t index = ((exponent - SI__BUCKET_BITS + 1) << SI__BUCKET_BITS) +
                     (uint32_t)((value >> (exponent - SI__BUCKET_BITS)) & 63u);
    return index < SI__BUCKET_COUNT ? index : SI__BUCKET_COUNT - 1;
}

/* The lowest value of a bucket, in the unit of the values put in. */
static inline uint64_t si__bucket_low(uint32_t index) {
    if (index < 64) return index;
    uint32_t exponent = (index >> SI__BUCKET_BITS) + SI__BUCKET_BITS - 1;
    return (uint64_t)(64u + (index & 63u)) << (exponent - SI__BUCKET_BITS);
}

/* The value that stands for a bucket: its midpoint. */
static inline double si__bucket_mid(uint32_t index) {
    if (index < 64) return (double)index;
    uint64_t low = si__bucket_low(index);
    uint32_t exponent = (index >> SI__BUCKET_BITS) + SI__BUCKET_BITS - 1;
    return (double)low + (double)(1ull << (exponent - SI__BUCKET_BITS)) / 2.0;
}

#endif
