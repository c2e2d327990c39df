/*
 * The heaviest calls of each period, for trends of many calls at once. A rollup names its heaviest calls with their
 * totals; for periods that are due, all calls are worked out from what there is.
 */
#ifndef SI_SERVER_HOT_H
#define SI_SERVER_HOT_H

#include "store.h"

typedef struct si__hot_period {
    int64_t t;
    si__entry *entries; /* by node; 0 is the whole; values are totals */
    size_t count;
    int exact; /* all calls are there, not only the heaviest */
} si__hot_period;

struct si__hot { /* of one range, kept by a reader until the end of its snapshot */
    int64_t app, source, from_ms, to_ms;
    char type[64];
    si__hot_period *periods; /* by time */
    size_t count, capacity;
};

int si__hot_level(int64_t span_ms); /* which rollups a trend over that long is made of */

/* Readers, inside one snapshot; *out is borrowed until the next call or the snapshot's end. 0 or SI_E*. */
int si__hot_get(si__reader *reader, const si__range *range, const char *type, const si__hot **out);
const si__entry *si__hot_find(const si__hot_period *period, uint32_t node); /* NULL: not among the heaviest */
void si__hot_free(si__hot *hot);

/* The heaviest calls of a sum as a body; *out is malloc'ed. 0 or SI_E*. */
int si__hot_encode(si__places *places, si__db *db, si__body_codec *codec, const si__sum *sum, uint8_t **out,
                   size_t *length);

#endif
