/* Reports made for tests: the same every time, with values that a test can add up by itself. */
#ifndef SPEC_MADE_REPORT_H
#define SPEC_MADE_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "../../runtime/report/report.h"

typedef struct made {
    const char *app, *environment, *host, *version; /* NULL: "shop", "test", "host-1", "1.0" */
    unsigned agent;                                 /* its uuid is made from it */
    uint64_t sequence;
    int64_t start_ms, end_ms;
} made;

si__report *made_report(const made *m); /* the context and nothing else */

/* A CPU profile with `stacks` stacks out of `universe`, by Zipf's law, 10 ms a sample; the same for the same seed. */
si__report_profile *made_profile(si__report *report, const char *type, int64_t start_ms, unsigned stacks,
                                 unsigned universe, uint64_t seed);
/* Names of the frame of a call at a depth of stack number `stack`; what made_profile uses. */
unsigned made_depth(unsigned stack);
unsigned made_function(unsigned stack, unsigned depth);

void made_segment(si__report *report, const char *name, int64_t start_ms, uint64_t first_ns,
                  unsigned count); /* first, 2 first, ... */
void made_error(si__report *report, const char *group, const char *message, int64_t start_ms, unsigned count);
void made_point(si__report *report, const char *name, int64_t time_ms, double value);
void made_alert(si__report *report, const char *rule, si__alert_state state, int64_t started_ms);

/* Encoded and compressed, malloc'ed; frees the report. */
uint8_t *made_bytes(si__report *report, size_t *length);

uint64_t made_random(uint64_t *state);

#endif
