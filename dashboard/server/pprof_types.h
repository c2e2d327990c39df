/* What the value types of a pprof file are here: "samples" beside "cpu" is its number of samples, not a profile of its
 * own. Pure. */
#ifndef SI_SERVER_PPROF_TYPES_H
#define SI_SERVER_PPROF_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define SI__PPROF_TYPES 16

typedef struct si__pprof_type {
    char given[64], name[64], unit[32];
    int64_t factor;    /* a value of the file times this is in `unit` */
    size_t value_from; /* which value of a sample */
    int count_from;    /* which value is its number of executions; -1: each sample is one */
} si__pprof_type;

typedef struct si__pprof_types { /* zero-initialised */
    si__pprof_type items[SI__PPROF_TYPES];
    size_t count;
} si__pprof_types;

void si__pprof_types_add(si__pprof_types *types, const char *name, const char *unit); /* in the order of the file */
void si__pprof_types_pair(si__pprof_types *types); /* after the last: leaves the profiles */

#endif
