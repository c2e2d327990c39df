/*
 * A mergeable quantile sketch over the buckets of collectors/native/bucket.h: relative error <= 0.78 %.
 *
 * Sparse in memory and on the wire. Values are nanoseconds by convention. Not thread-safe; one owner.
 */
#ifndef SI_PROFILE_SKETCH_H
#define SI_PROFILE_SKETCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__sketch si__sketch;

si__sketch *si__sketch_new(void);
void si__sketch_free(si__sketch *sketch);
int si__sketch_add(si__sketch *sketch, uint64_t value_ns, uint64_t count); /* 0 or SI_ENOMEM */
int si__sketch_add_bucket(si__sketch *sketch, uint32_t bucket, uint64_t count);
int si__sketch_merge(si__sketch *into, const si__sketch *from);
uint64_t si__sketch_count(const si__sketch *sketch);
size_t si__sketch_buckets(const si__sketch *sketch); /* in use: what it takes in memory is 16 bytes each */
/* The q-quantile (0..1) in nanoseconds, 0 when empty. Nearest rank: the value at rank ceil(q * count). */
double si__sketch_quantile(const si__sketch *sketch, double q);

/* Compact form: delta varints of (bucket, count). encode returns the bytes needed; writes at most cap. */
size_t si__sketch_encode(const si__sketch *sketch, uint8_t *out, size_t cap);
si__sketch *si__sketch_decode(const uint8_t *data,
                              size_t length);             /* NULL: malformed (hostile input) or out of memory */
int si__sketch_valid(const uint8_t *data, size_t length); /* 1: decode would take it */
/* Adds an encoded one. 0; SI_EFORMAT or SI_ENOMEM: nothing was added. */
int si__sketch_merge_encoded(si__sketch *into, const uint8_t *data, size_t length);

#endif
