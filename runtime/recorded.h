/* What the recorder keeps between two cuts besides profiles: errors per group and timings per name. Loop thread only.
 */
#ifndef SI_RECORDED_H
#define SI_RECORDED_H

#include "profile/profile.h"
#include "profile/sketch.h"
#include "ring/drain.h"

typedef struct si__recorded_error {
    char group[SI__NAME_BYTES + 32];
    char message[256]; /* the last one */
    uint64_t count;
    si__profile *profile; /* stacks; value and count: errors */
    int taken_back;       /* 1: its last crash was none; the stack of it stays in the profile */
} si__recorded_error;

typedef struct si__recorded_errors {
    si__recorded_error *items;
    size_t count;
} si__recorded_errors;

typedef struct si__recorded_segment {
    char *name;
    si__instrument_kind kind;
    uint64_t count, errors, sum_ns, max_ns;
    si__sketch *sketch;
    si__profile *profile; /* stacks that it was called from, in ns; NULL: none were sampled */
} si__recorded_segment;

typedef struct si__recorded_segments {
    si__recorded_segment *items;
    size_t count;
    size_t buckets; /* of the sketches of call paths */
} si__recorded_segments;

/* Finds or adds; NULL: out of memory or too many groups. Borrowed until the next call. */
si__recorded_error *si__recorded_error_get(si__recorded_errors *errors, const char *group);
/* Forgets groups without a count: crashes that were none, and stacks whose count was in an earlier report. */
void si__recorded_errors_drop_uncounted(si__recorded_errors *errors);
void si__recorded_errors_clear(si__recorded_errors *errors);

void si__recorded_segment_add(si__recorded_segments *segments, const char *name, const si__drained_instrument *gained);
/* Between two reports the sketches of all call paths together have at most so many buckets: 1 MiB. Samples after that
   are in the trees and in no percentile. */
#define SI__PATH_BUCKETS ((size_t)65536)

/* A sampled stack of the named call: value_ns and count are what it stands for, duration_ns (0: not known) is its own.
   Kept only until the next clear, also without any count. */
void si__recorded_segment_stack(si__recorded_segments *segments, const char *name, si__instrument_kind kind,
                                uint32_t node, int64_t value_ns, uint64_t count, uint64_t duration_ns);
/* Forgets names that have stacks and no count: positions are those of the report from here on. */
void si__recorded_segments_drop_uncounted(si__recorded_segments *segments);
void si__recorded_segments_clear(si__recorded_segments *segments);

/* The name that reports use: "segment", "http_handler", "http_client", "sql", "cache", "document", "call". Static. */
const char *si__instrument_kind_name(si__instrument_kind kind);

#endif
