/*
 * How long the calls of one call path took: a sketch of their durations, and how many samples it was made of.
 *
 * Samples stand for several calls where short ones are sampled rarely, so the sketch's count is one of calls. Kept by
 * number of whatever has them (entries of a profile, nodes of a tree), sparse; and written one behind the other, for
 * reports and the store. One owner at a time.
 */
#ifndef SI_PROFILE_SPREAD_H
#define SI_PROFILE_SPREAD_H

#include <stddef.h>
#include <stdint.h>

#include "sketch.h"

typedef struct si__spread {
    si__sketch *sketch; /* NULL: none */
    uint64_t samples;
} si__spread;

typedef struct si__spreads { /* all zero: none */
    si__spread *items;
    size_t count;
} si__spreads;

/* Notes one sample of `duration_ns` that stands for so many calls. Returns the buckets that this added (0 or 1), or
   SI_ENOMEM: nothing was noted. */
int si__spreads_note(si__spreads *spreads, uint32_t place, uint64_t duration_ns, uint64_t calls);

/* Adds a whole one. 0 or SI_ENOMEM: nothing was added. */
int si__spreads_add(si__spreads *spreads, uint32_t place, const si__sketch *sketch, uint64_t samples);

/* The same for one that is encoded. SI_EFORMAT too. */
int si__spreads_add_encoded(si__spreads *spreads, uint32_t place, const uint8_t *sketch, size_t bytes,
                            uint64_t samples);
void si__spreads_drop(si__spreads *spreads, size_t place);

const si__spread *si__spreads_at(const si__spreads *spreads, size_t place); /* borrowed; NULL: none */
void si__spreads_clear(si__spreads *spreads);

/* ---- Written: for each, as varints, the place as the difference to the one before, samples, the sketch's bytes ----
 */

typedef struct si__spread_writer { /* zero-initialise; `data` is the caller's to free */
    uint8_t *data;
    size_t length, capacity;
    uint32_t place;
    int failed; /* out of memory */
} si__spread_writer;

/* Places must not go down. */
void si__spread_write(si__spread_writer *writer, uint32_t place, const si__spread *spread);
void si__spread_write_encoded(si__spread_writer *writer, uint32_t place, uint64_t samples, const uint8_t *sketch,
                              size_t sketch_bytes);

typedef struct si__spread_view {
    uint32_t place;
    uint64_t samples;
    const uint8_t *sketch; /* encoded, in the input; si__sketch_valid has not seen it */
    size_t sketch_bytes;
} si__spread_view;

typedef struct si__spread_reader { /* zero but for these two */
    const uint8_t *at, *end;
    uint64_t place;
} si__spread_reader;

/* 1: *out is the next one; a place may come again, then both count. 0: that was all. SI_EFORMAT: hostile input. */
int si__spread_next(si__spread_reader *reader, si__spread_view *out);

#endif
