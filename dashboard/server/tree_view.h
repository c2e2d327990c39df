/*
 * A call tree as the page gets it: frames, nodes with callers first, and how much was left out. For profiles, errors,
 * bottlenecks, and for both halves of a sandwich. Workers' threads.
 */
#ifndef SI_SERVER_TREE_VIEW_H
#define SI_SERVER_TREE_VIEW_H

#include "call_path.h"
#include "request.h"

#define SI__TREE_VIEW_NODES 20000 /* more are hidden, the smallest first */

typedef struct si__tree_view {
    const si__branch *branches; /* callers first; index 0 is the root */
    size_t count;
    const si__entry *base; /* sorted by node; NULL: none */
    size_t base_count;
    double base_factor; /* a base weighs as much as the rest after this factor, so that what vanished is not the first
                           to be hidden; 0: the base decides nothing */
    const si__call_figures *figures; /* one a branch; NULL: none */
    size_t limit;                    /* nodes that are shown */
    int without_ids;                 /* the nodes are none of the store's */
    /* Names a frame of the branches; row has the strings of an unknown one. Borrowed until its next call. */
    void (*name)(void *arg, uint32_t frame, si__frame_row *row);
    void *name_arg;
    uint32_t *place; /* out, to be freed: branch -> index in the answer; UINT32_MAX: hidden */
} si__tree_view;

/* Writes "frames", "nodes", "ids", with figures "percentiles", and "hidden" into the object at hand. Out of memory is
 * kept by the writer. */
void si__tree_view_write(si__json_writer *json, si__tree_view *view);

/* name for frames of the store; arg is the reader. */
void si__tree_view_stored(void *reader, uint32_t frame, si__frame_row *row);

/* How much a branch matters: its total, or its count where values are zero. */
int64_t si__branch_weight(const si__branch *branch);

#endif
