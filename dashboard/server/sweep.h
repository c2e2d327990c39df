/*
 * Deletes calls, frames, contexts and names that nothing stored refers to any more, after retention took what did. A
 * sweep goes over everything that refers, a little each step, while reports keep coming: what they use is spared.
 * Writer thread only.
 */
#ifndef SI_SERVER_SWEEP_H
#define SI_SERVER_SWEEP_H

#include "places.h"
#include "writer.h"

typedef struct si__sweep si__sweep;

si__sweep *si__sweep_new(si__tx *tx, si__places *places);  /* begins; NULL: out of memory */
int si__sweep_step(si__tx *tx, si__sweep *sweep);          /* 1: there is more to do; 0: done; or SI_E* */
void si__sweep_free(si__sweep *sweep, si__intern *intern); /* intern NULL: it is gone */

#endif
