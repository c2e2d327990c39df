/*
 * A raw profile: stacks of file offsets with values, and the binaries they lie in. Self-contained.
 *
 * Exported from a profile and the stack table on the loop thread (a copy of what is used, quick), then symbolized
 * (resolve.h) or written as pprof (pprof.h) on the worker thread while the table goes on changing.
 */
#ifndef SI_PROFILE_RAWPROFILE_H
#define SI_PROFILE_RAWPROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "../symbol/binary.h"
#include "profile.h"
#include "stack.h"

typedef struct si__raw_node {
    uint32_t parent; /* smaller than the node's own number; node 0 is the root, without location */
    uint32_t location;
    int64_t self_value;
    uint64_t self_count;
} si__raw_node;

typedef struct si__rawprofile {
    si__raw_node *nodes;
    size_t node_count; /* root included */
    si__location *locations;
    size_t location_count;
    si__binary **binaries; /* [0] is NULL; each a reference */
    size_t binary_count;
    si__frame_name **names; /* of locations without a binary from SI__SPECIALS on; each a reference */
    size_t name_count;
    si__spreads spreads; /* by node: how long calls took; empty but for named calls */
    int64_t total_value;
    uint64_t total_count;
} si__rawprofile;

si__rawprofile *si__rawprofile_new(const si__stacks *stacks, const si__profile *profile); /* NULL: out of memory */
void si__rawprofile_free(si__rawprofile *raw);                                            /* any thread */

#endif
