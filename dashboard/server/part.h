/*
 * The parts that make up a range of time: rollups where whole periods are inside it, profiles as reported elsewhere.
 * What merges and trends are made of. Readers' threads, inside one snapshot.
 */
#ifndef SI_SERVER_PART_H
#define SI_SERVER_PART_H

#include "store.h"

typedef struct si__part {
    const si__entry *entries; /* borrowed until each returns */
    size_t count;
    int64_t start_ms, end_ms, source; /* source 0: of all */
    int64_t total;
    uint64_t profiles, samples, duration_ns;
    double core_ns, cores;
    int level; /* -1: as reported; else of si__rollup_steps_ms */
} si__part;

typedef int (*si__part_each)(void *arg, const si__part *part); /* not 0: stop */

typedef struct si__parts {
    si__reader *reader;
    const si__range *range;
    const char *type, *version; /* version NULL: any */
    int top_level;              /* the coarsest rollups that may be used; -1: none */
    int heads_only;             /* entries are not wanted */
} si__parts;

/* In no order. A part is inside the range and at one level. 0, what `each` returned, or SI_E*. */
int si__parts_each(const si__parts *parts, si__part_each each, void *arg);

/* The coarsest level whose rollups can answer: they are of all versions and, for flows, of all sources. */
int si__parts_top(const si__range *range, const char *type, const char *version);

/* How many profiles each source has, for levels: an average needs to know. Zero-initialised, then counted, then freed.
 */
typedef struct si__shares {
    struct si__share {
        int64_t source;
        uint64_t profiles;
    } * items;
    size_t count, capacity;
} si__shares;
int si__shares_count(si__shares *shares, const si__parts *parts); /* 0 or SI_E* */
uint64_t si__shares_of(const si__shares *shares, int64_t source); /* at least 1 */
void si__shares_free(si__shares *shares);

#endif
