/*
 * Rollups: every profile of 10 minutes, an hour, a day added up in one body, so that merging a day reads a few dozen
 * blobs.
 *
 * They repeat the profiles and may be missing: a period that is marked as due is read from what is finer. Made by the
 * writer when the period is over and has been quiet for a while; late reports mark it again.
 */
#ifndef SI_SERVER_ROLLUP_H
#define SI_SERVER_ROLLUP_H

#include "places.h"
#include "writer.h"

/* Profiles that add up. Others (by hand, or a rule's closer look) are of time that one of these covers too: adding
   them would count it twice. SQL, after IN. */
#define SI__CONTINUOUS_TRIGGERS "('cadence','background','')"

#define SI__ROLLUP_LEVELS 3
extern const int64_t si__rollup_steps_ms[SI__ROLLUP_LEVELS]; /* finest first; each divides the next */

/* Makes the most urgent due rollup. 1: one was made, there may be more; 0: none is due; or SI_E*. */
int si__rollup_step(si__tx *tx, si__places *places, int64_t grace_ms);

#endif
