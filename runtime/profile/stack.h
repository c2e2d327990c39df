/*
 * The stack table: every distinct stack once, as a path in a tree of (parent, location).
 *
 * On the drain path: interning 30 frames takes well under a microsecond once seen. Memory is bounded: a full table
 * answers every new stack with one "[stack table full]" node; its owner then lets it keep only what live profiles
 * use (si__stacks_collect). Loop thread only; what other threads need is exported as a raw profile.
 */
#ifndef SI_PROFILE_STACK_H
#define SI_PROFILE_STACK_H

#include <stddef.h>
#include <stdint.h>

#include "../symbol/binary.h"
#include "frame_name.h"
#include "space.h"

enum {                        /* si__location.flags */
       SI__LOCATION_EXACT = 1 /* offset is the instruction itself; else the one after a call: look up offset - 1 */
};

typedef enum si__special {                        /* si__location.offset where there is no binary */
                           SI__SPECIAL_ANONYMOUS, /* code that is in no file: just-in-time compiled, trampolines */
                           SI__SPECIAL_KERNEL,
                           SI__SPECIAL_TRUNCATED, /* outermost frame of a stack whose walk ended early */
                           SI__SPECIAL_FULL,      /* the table had no room */
                           SI__SPECIALS           /* from here on: names of frames, see si__stacks_name */
} si__special;

/* "[anonymous]", "[kernel]", "[truncated]", "[stack table full]". Static string. */
const char *si__special_name(uint64_t special);

typedef struct si__location {
    uint64_t offset; /* file offset; or an si__special, or SI__SPECIALS + the number of a name */
    uint32_t binary; /* index of a binary; 0: none, see offset */
    uint32_t flags;
} si__location;

typedef struct si__stack_node {
    uint32_t parent; /* smaller than the node's own number; 0 is the root */
    uint32_t location;
} si__stack_node;

typedef struct si__node_list { /* nodes that are kept outside of profiles; borrowed */
    uint32_t *nodes;
    size_t count;
} si__node_list;

typedef struct si__stacks si__stacks;
typedef struct si__profile si__profile;

/* node_cap: 0 for the default (262,144 nodes, at most 7 MiB in all). NULL: out of memory. */
si__stacks *si__stacks_new(size_t node_cap);
void si__stacks_free(si__stacks *stacks);

/*
 * Interns a stack as it comes from a ring: leaf first, pcs[0] exact, the others return addresses as found; the
 * frame that a signal interrupted is recognized and exact. `event_flags`: SI__STACK_* of region.h. Frames in no file
 * become "[anonymous]", neighbours of that kind one frame. Returns the leaf's node; 0 when count is 0. Never fails: see
 * "[stack table full]".
 */
uint32_t si__stacks_intern(si__stacks *stacks, const si__space *space, const uint64_t *pcs, size_t count,
                           unsigned event_flags);

/* How full it is, 0 to 1. From 0.75 on it is time to collect. */
double si__stacks_fill(const si__stacks *stacks);
uint64_t si__stacks_refused(const si__stacks *stacks); /* stacks that found no room so far */

/*
 * Keeps only the nodes that the given profiles and lists use, and renumbers them there. Node numbers kept elsewhere
 * are void. 0 or SI_ENOMEM; then nothing has changed.
 */
int si__stacks_collect(si__stacks *stacks, si__profile *const *profiles, size_t count, const si__node_list *lists,
                       size_t list_count);

size_t si__stacks_node_count(const si__stacks *stacks);                             /* root included */
const si__stack_node *si__stacks_node(const si__stacks *stacks, uint32_t node);     /* borrowed until the next change */
const si__location *si__stacks_location(const si__stacks *stacks, uint32_t number); /* likewise */
si__binary *si__stacks_binary(const si__stacks *stacks, uint32_t number);           /* borrowed; NULL for 0 */
/* The name that a location without a binary has: number is offset - SI__SPECIALS. Borrowed; NULL: none. */
si__frame_name *si__stacks_name(const si__stacks *stacks, uint64_t number);
size_t si__stacks_name_count(const si__stacks *stacks);
size_t si__stacks_location_count(const si__stacks *stacks);
size_t si__stacks_binary_count(const si__stacks *stacks); /* number 0, "none", included */
size_t si__stacks_bytes(const si__stacks *stacks);        /* memory in use */

#endif
