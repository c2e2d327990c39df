/*
 * Where nodes are in the call tree: node -> (caller, frame), from a cache that all threads share without a lock.
 *
 * Places never change once committed. The cache is filled from the asking thread's own connection, which sees committed
 * rows only.
 */
#ifndef SI_SERVER_PLACES_H
#define SI_SERVER_PLACES_H

#include "body.h"
#include "db.h"

#define SI__PLACES_LIMIT ((int64_t)SI__NODE_LIMIT)

typedef struct si__places si__places;
typedef struct si__place {
    uint32_t parent, frame;
} si__place; /* frame 0: the root, or unknown */

si__places *si__places_new(void);
void si__places_free(si__places *places);
si__place si__places_get(si__places *places, si__db *db, uint32_t node); /* any thread, with its own db */

/* A sum as a tree: the nodes with their callers up to the root, callers first, with totals over subtrees. */
typedef struct si__branch {
    uint32_t node, parent, frame; /* parent: index of the caller in the array; the root is index 0 with node 0 */
    int64_t self, total;
    uint64_t self_count, total_count;
} si__branch;

/* *out is malloc'ed. 0 or SI_ENOMEM. */
int si__places_tree(si__places *places, si__db *db, const si__sum *sum, si__branch **out, size_t *count);

#endif
