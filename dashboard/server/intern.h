/*
 * Frames and nodes get numbers once and keep them: a stack in the store is a node id.
 *
 * Writer thread only. A cache in memory answers for what was seen; forget it whenever a transaction was rolled back.
 */
#ifndef SI_SERVER_INTERN_H
#define SI_SERVER_INTERN_H

#include "../../runtime/profile/calltree.h"
#include "../../runtime/report/wire_tree.h"
#include "callpath.h"
#include "db.h"

typedef struct si__intern si__intern;

si__intern *si__intern_new(si__db *db); /* NULL: out of memory, or SQLite failed */
void si__intern_free(si__intern *intern);

/* ids[i] becomes the store's node for the tree's node i; ids[0] = 0, the root. Over the caps, a node counts for its
   nearest kept caller, and unresolved addresses for their module. 0 or SI_E*. */
int si__intern_tree(si__intern *intern, int64_t app, const si__calltree *tree, uint32_t *ids);

/* The same for a tree as it came over the wire. frame_ids: one for each of the report's frames, zero at first, filled
   as they are met: for all trees of the report, inside one transaction. */
int si__intern_wire(si__intern *intern, int64_t app, const si__wire_names *texts, const si__wire_tree *tree,
                    uint32_t *frame_ids, uint32_t *ids);
/* The same for the calls that have values, by the keys of the ways to them (one a value): ids[i] is of value i. Quick
   for stacks that were seen. */
int si__intern_values(si__intern *intern, int64_t app, const si__wire_names *texts, const si__wire_tree *tree,
                      const si__callpath *keys, uint32_t *frame_ids, uint32_t *ids);
void si__intern_forget(si__intern *intern);
/* As forget, but for what it counted: while rows are deleted bit by bit. */
void si__intern_forget_numbers(si__intern *intern);
/* From now on, sets the bit of each node and frame below the limits that reports use. NULL: no longer. */
void si__intern_watch(si__intern *intern, uint8_t *nodes, int64_t node_limit, uint8_t *frames, int64_t frame_limit);

#endif
