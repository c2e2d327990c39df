/* Named calls of a kind, added up over a range: what the bottlenecks page and its CSV are made of. Workers' threads. */
#ifndef SI_SERVER_BOTTLENECK_H
#define SI_SERVER_BOTTLENECK_H

#include "series.h"

typedef struct si__bottlenecks {
    si__segment_sums sums;
    const char *const *kinds; /* as in reports, NULL-ended; NULL: all */
} si__bottlenecks;

/* What a kind of the page is in reports; NULL: there is no such kind. */
const char *const *si__bottleneck_kinds(const char *kind);
void si__bottleneck_refuse(si__request *request); /* answers that there is no such kind */

/* The most time first, "other" last. kind "": all. Clear found->sums in any case. 0 or SI_E*. */
int si__bottlenecks_read(si__reader *reader, const si__range *range, const char *kind, si__bottlenecks *found);

#endif
