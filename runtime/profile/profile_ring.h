/*
 * The last minutes: background samples kept per slice of time, so that the window before an anomaly can still be
 * had when the rule fires.
 *
 * A ring of profiles over the same stack table. Memory follows what was sampled; old slices are overwritten. Loop
 * thread only.
 */
#ifndef SI_PROFILE_PROFILE_RING_H
#define SI_PROFILE_PROFILE_RING_H

#include <stddef.h>
#include <stdint.h>

#include "profile.h"

typedef struct si__profile_ring si__profile_ring;

/* slice_ns: length of one slice (10 s is usual); slices: how many are kept (12 for two minutes). NULL: out of memory
   or a zero. */
si__profile_ring *si__profile_ring_new(uint64_t slice_ns, size_t slices);
void si__profile_ring_free(si__profile_ring *ring);

/* Adds a sample taken at time_ns (monotonic; not from the future: clamp what came through shared memory). A sample
 * older than what is kept is dropped. Out of memory: dropped. */
void si__profile_ring_add(si__profile_ring *ring, uint64_t time_ns, uint32_t node, int64_t value, uint64_t count);

/* Adds to `into` every slice that overlaps [from_ns, to_ns); to_ns is now, usually. Returns the time in ns that was
   observed in them: whole slices, idle ones too, but nothing before the first sample ever nor after to_ns. */
uint64_t si__profile_ring_take(const si__profile_ring *ring, uint64_t from_ns, uint64_t to_ns, si__profile *into);

/* Empties every slice: after the stack table was made anew. */
void si__profile_ring_clear(si__profile_ring *ring);

/* The slices' profiles, for si__stacks_collect: up to cap pointers into out. Returns how many there are. */
size_t si__profile_ring_profiles(si__profile_ring *ring, si__profile **out, size_t cap);

#endif
