/*
 * pprof: the gzip-compressed Protocol Buffers format (profile.proto) that `go tool pprof` and most viewers read.
 *
 * Written from a raw profile, so that addresses, mappings and build ids are kept beside names and lines. Worker thread.
 */
#ifndef SI_PROFILE_PPROF_H
#define SI_PROFILE_PPROF_H

#include <stddef.h>
#include <stdint.h>

#include "../symbol/symbolizer.h"
#include "rawprofile.h"

typedef struct si__pprof_options {
    const char *count_type;                /* of the counts: "samples", "inuse_objects"; NULL: "samples" */
    const char *type, *unit;               /* of the values: "cpu", "nanoseconds" */
    const char *period_type, *period_unit; /* "cpu", "nanoseconds"; NULL: as type and unit */
    int64_t period;                        /* between samples, in period_unit; 0: unknown */
    int64_t start_unix_ns;                 /* wall clock */
    int64_t duration_ns;
    const char *comment; /* NULL: none */
} si__pprof_options;

/* The profile as gzip bytes: *out is malloc'ed. 0 or SI_ENOMEM. */
int si__pprof_encode(const si__rawprofile *raw, si__symbolizer *symbolizer, const si__pprof_options *options,
                     uint8_t **out, size_t *length);

/* The same into a file, made whole under a temporary name and then renamed. 0, SI_ENOMEM or SI_EIO (errno is set). */
int si__pprof_save(const si__rawprofile *raw, si__symbolizer *symbolizer, const si__pprof_options *options,
                   const char *path);

#endif
