/*
 * From stacks of offsets to a call tree with names: a raw profile is symbolized, inlined calls become frames of their
 * own.
 *
 * Blocks on symbol files: worker thread.
 */
#ifndef SI_PROFILE_RESOLVE_H
#define SI_PROFILE_RESOLVE_H

#include "../symbol/symbolizer.h"
#include "calltree.h"
#include "rawprofile.h"

/* The whole profile as a call tree with the same totals; owned by the caller. NULL: out of memory. */
si__calltree *si__resolve(const si__rawprofile *raw, si__symbolizer *symbolizer);

/* Symbolizes every location of a raw profile: put(arg, location number, frames innermost first, count), frames borrowed
   for the call. Locations in no file have one frame such as "[anonymous]". 0 or SI_ENOMEM. */
int si__resolve_locations(const si__rawprofile *raw, si__symbolizer *symbolizer,
                          void (*put)(void *arg, size_t location, const si__symbol *frames, size_t frame_count),
                          void *arg);

#endif
