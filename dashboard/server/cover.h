/* Which rollups, and which reported rows, make up a range of time. Readers' threads. */
#ifndef SI_SERVER_COVER_H
#define SI_SERVER_COVER_H

#include "store.h"

/* Called for stretches that together are exactly from..to, each at one level: -1 as reported, 0.. rollups of
 * si__rollup_steps_ms. Of what was reported, only what came after (profiles with a larger id than) `after`: a finest
 * period that is due is told twice, as its rollup and as what came since. */
typedef int (*si__cover_each)(void *arg, int level, int64_t from_ms, int64_t to_ms, int64_t after);

/* `type` as in rollup_due ("" for segments); top_level -1: as reported only. Inside one snapshot. 0, SI_E*, or what
 * each returned. */
int si__cover(si__reader *reader, int64_t app, const char *type, int64_t from_ms, int64_t to_ms, int top_level,
              si__cover_each each, void *arg);

#endif
