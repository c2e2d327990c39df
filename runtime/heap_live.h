/*
 * The live heap of one process as the recorder knows it: which stack allocated each entry of the region's live table.
 *
 * The table itself says what is live, so nothing is wrong for long when an event is lost: an allocation whose event
 * never came counts for the root. Loop thread only.
 */
#ifndef SI_HEAP_LIVE_H
#define SI_HEAP_LIVE_H

#include <stdint.h>

#include "../collectors/native/region.h"
#include "profile/profile.h"
#include "ring/drain.h"

typedef struct si__heap_live si__heap_live;

si__heap_live *si__heap_live_new(si__region *region); /* borrowed; NULL: out of memory */
void si__heap_live_free(si__heap_live *live);

/* An ALLOC event: its entry, if it is still the same one, was allocated at `node`. Hostile input, checked. */
void si__heap_live_note(si__heap_live *live, const si__drained_event *event, uint32_t node);

/* Adds everything that is live now to `into`: bytes and objects per node. Returns the number of samples. */
size_t si__heap_live_take(si__heap_live *live, si__profile *into);

/* The nodes that are kept, for si__stacks_collect; entries that are gone are forgotten first. */
si__node_list si__heap_live_nodes(si__heap_live *live);

#endif
