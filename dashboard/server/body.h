/*
 * The body of a stored profile: which nodes of the application's call tree have how much, as one blob of bits.
 *
 * Layout: version 2 (with 0x80 when the third number is there), varint n, varint unit, then for each node, in Rice
 * codes (rice.h): the gap to the node before, its count less one, and zigzag(value - count * unit) unless that is zero
 * for all. Bodies of version 1, zstd frames (which begin with 0x28), are read too. Also the hash table in which bodies
 * are added up. One owner, one thread.
 */
#ifndef SI_SERVER_BODY_H
#define SI_SERVER_BODY_H

#include <stddef.h>
#include <stdint.h>

#define SI__NODE_LIMIT ((uint32_t)1 << 28) /* node numbers stay below */

typedef struct si__entry {
    uint32_t node;
    uint64_t count; /* samples, executions or errors */
    int64_t value;  /* in the profile's unit */
} si__entry;

/* Sums of numbers from agents wrap around: nonsense in, nonsense out, but nothing undefined. */
static inline int64_t si__wrap_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

typedef struct si__body_codec si__body_codec; /* zstd contexts and scratch memory */
si__body_codec *si__body_codec_new(void);
void si__body_codec_free(si__body_codec *codec);
struct ZSTD_DCtx_s *si__body_codec_zstd(si__body_codec *codec); /* the context in it, for its owner's other frames */

/* Sorts entries by node (equal nodes are added up) and encodes. *out is borrowed from the codec until its next use. 0
 * or SI_ENOMEM. */
int si__body_encode(si__body_codec *codec, si__entry *entries, size_t count, const uint8_t **out, size_t *length);

/* The entries of a body, in the order of their nodes; borrowed from the codec until its next use. 0, SI_EFORMAT,
 * SI_ENOMEM. */
int si__body_decode(si__body_codec *codec, const uint8_t *data, size_t length, const si__entry **out, size_t *count);

/* A sum over bodies: node -> count, value. */
typedef struct si__sum si__sum;
si__sum *si__sum_new(void);
void si__sum_free(si__sum *sum);
int si__sum_add(si__sum *sum, uint32_t node, uint64_t count, int64_t value); /* 0 or SI_ENOMEM */
int si__sum_add_body(si__sum *sum, si__body_codec *codec, const uint8_t *data,
                     size_t length); /* 0, SI_EFORMAT, SI_ENOMEM */
size_t si__sum_count(const si__sum *sum);
/* Divides all by 65536, rounding: for sums of shares, see si__sum_add_share. */
void si__sum_round(si__sum *sum);
/* Adds 65536 / `parts` of each entry. 0 or SI_ENOMEM. */
int si__sum_add_share(si__sum *sum, const si__entry *entries, size_t count, uint64_t parts);
/* Writes all entries, in the order of their nodes, to out, which has room for si__sum_count. */
void si__sum_entries(const si__sum *sum, si__entry *out);

#endif
