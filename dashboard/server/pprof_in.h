/*
 * Reads pprof (profile.proto, gzip or plain), as Go, Python and many tools write it, into call trees.
 *
 * The bytes are hostile: every length, number and reference is checked, memory is bounded by the limits below whatever
 * the file says. Any thread, one owner.
 */
#ifndef SI_SERVER_PPROF_IN_H
#define SI_SERVER_PPROF_IN_H

#include "../../runtime/profile/calltree.h"

#define SI__PPROF_MOST_BYTES ((size_t)64 << 20) /* unpacked */
#define SI__PPROF_MOST_TYPES 16
#define SI__PPROF_MOST_DEPTH 1000 /* of a stack; what calls it is cut */

typedef struct si__pprof_profile { /* one of the file's value types */
    char type[64], unit[32];       /* "cpu", "ns"; "heap", "bytes" */
    si__calltree *tree;
    uint64_t samples;
} si__pprof_profile;

typedef struct si__pprof_in {
    si__pprof_profile profiles[SI__PPROF_MOST_TYPES];
    size_t count;
    int64_t time_ms, duration_ns; /* 0: not said */
    uint64_t stacks;              /* samples in the file */
    uint64_t cut_stacks;          /* of them, deeper than the limit */
} si__pprof_in;

/* 0; SI_EFORMAT or SI_ELIMIT with a sentence's end in error ("sample 3 names location 7, which is not there");
 * SI_ENOMEM.
 */
int si__pprof_read(const uint8_t *data, size_t length, si__pprof_in *out, char *error, size_t error_bytes);
void si__pprof_in_clear(si__pprof_in *in);

#endif
