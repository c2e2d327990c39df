/* The kinds of profile: what they are called, in which unit their values are, and how other formats name them. */
#ifndef SI_PROFILE_PROFILE_TYPE_H
#define SI_PROFILE_PROFILE_TYPE_H

#include <stdint.h>

typedef enum si__profile_type {
    SI__PROFILE_CPU,   /* CPU time */
    SI__PROFILE_HEAP,  /* bytes allocated and not released, at one moment */
    SI__PROFILE_ALLOC, /* bytes allocated over a time */
    SI__PROFILE_LOCK,  /* time waited, in the order of si__wait_category */
    SI__PROFILE_NETWORK,
    SI__PROFILE_SYSTEM,
    SI__PROFILE_CHANNEL,
    SI__PROFILE_TYPES
} si__profile_type;

typedef struct si__profile_kind {
    const char *name;       /* "cpu"; in reports, rules, file names */
    const char *title;      /* "CPU", for messages */
    const char *collector;  /* the registry's name of the collector that feeds it */
    const char *unit;       /* of values: "ns" or "bytes" */
    int is_level;           /* 1: a state at one moment; profiles of several times cannot be added up */
    int64_t folded_divisor; /* folded files have microseconds, or bytes */
    const char *pprof_type, *pprof_unit, *pprof_count;
} si__profile_kind;

const si__profile_kind *si__profile_kind_of(si__profile_type type);

/* By name; -1: no such type. */
int si__profile_type_named(const char *name);

#endif
