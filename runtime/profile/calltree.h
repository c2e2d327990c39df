/*
 * A call tree with symbols: what a report carries, a dashboard stores, and folded output prints.
 *
 * Frames are interned by (function, file, line, module); nodes by (parent, frame). Node 0 is the root and has no frame.
 * Values are self values: a node's total is the sum over its subtree. Not thread-safe; one owner.
 */
#ifndef SI_PROFILE_CALLTREE_H
#define SI_PROFILE_CALLTREE_H

#include <stddef.h>
#include <stdint.h>

#include "spread.h"

typedef struct si__frame {
    const char *function; /* demangled; "[module+0x1234]" when unknown. Owned by the tree. Never NULL */
    const char *file;     /* "" when unknown */
    const char *module;   /* base name of the ELF file, "" when unknown */
    uint32_t line;        /* 0 when unknown */
} si__frame;

typedef struct si__node {
    uint32_t parent; /* always smaller than the node's own index */
    uint32_t frame;
    int64_t self_value;  /* in the profile's unit */
    uint64_t self_count; /* samples or executions */
} si__node;

typedef struct si__calltree si__calltree;

si__calltree *si__calltree_new(void); /* NULL: out of memory */
void si__calltree_free(si__calltree *tree);

/* Interns a frame; strings are copied (capped at 4096 bytes each, invalid UTF-8 and control bytes replaced by '?').
   Returns its index or UINT32_MAX when out of memory or over the cap (1,000,000). An empty function is named
   "[unknown]". */
uint32_t si__calltree_frame(si__calltree *tree, const char *function, const char *file, uint32_t line,
                            const char *module);

/* The child of `parent` with `frame`, made if missing. UINT32_MAX: out of memory or over the node cap (1,000,000). */
uint32_t si__calltree_child(si__calltree *tree, uint32_t parent, uint32_t frame);
void si__calltree_add(si__calltree *tree, uint32_t node, int64_t value, uint64_t count);

/* How long the calls of a node itself took. 0 or SI_ENOMEM: they are not known, then. */
int si__calltree_spread_add(si__calltree *tree, uint32_t node, const si__sketch *sketch, uint64_t samples);
const si__spread *si__calltree_spread_at(const si__calltree *tree, size_t node); /* borrowed; NULL: not known */

size_t si__calltree_frame_count(const si__calltree *tree);
size_t si__calltree_node_count(const si__calltree *tree);                       /* root included */
const si__frame *si__calltree_frame_at(const si__calltree *tree, size_t index); /* borrowed */
const si__node *si__calltree_node_at(const si__calltree *tree, size_t index);   /* borrowed until the next change */

int64_t si__calltree_total_value(const si__calltree *tree);
uint64_t si__calltree_total_count(const si__calltree *tree);

/* Bytes of memory in use. */
size_t si__calltree_bytes(const si__calltree *tree);

/* Adds every node of `from` to `into`. 0 or SI_ENOMEM; then no value was changed. A node over the cap is counted
   at its parent. Spreads that find no memory are left out. */
int si__calltree_merge(si__calltree *into, const si__calltree *from);

#endif
