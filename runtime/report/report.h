/*
 * The report: everything an agent tells a dashboard about one stretch of time. docs/report-format.md is its wire form.
 *
 * The model owns what hangs on it. Built by the runtime, encoded and decoded here; the dashboard decodes
 * with the same code. Hostile bytes are expected: decode checks everything and never trusts a length.
 */
#ifndef SI_REPORT_REPORT_H
#define SI_REPORT_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "../profile/calltree.h"
#include "../profile/sketch.h"
#include "alert.h"
#include "wire_tree.h"

#define SI__REPORT_VERSION 1 /* major; see limits.h for the minor version and for what a report may hold */

typedef struct si__report_id { /* fixed when the report is made */
    uint8_t agent[16];         /* uuid of this agent; kept in state_dir */
    uint8_t boot[16];          /* random, per runtime start (the run id) */
    uint64_t sequence;         /* from 1 */
} si__report_id;

typedef struct si__context { /* who is speaking; owned strings, "" when unknown */
    char *app, *environment, *app_version, *host;
    char *runtime_type;    /* "C", "C++", "Lua", ... as far as known */
    char *runtime_version; /* "glibc 2.36" */
    char *build_id;        /* hex, of the main executable */
    char *run_id;          /* hex of report_id.boot */
    char *agent_version;
    char *os; /* "Linux 6.1.0 x86_64" */
    int64_t pid;
    char **tags; /* "key=value" */
    size_t tag_count;
} si__context;

typedef struct si__point {
    char *name;
    char *unit;
    int64_t time_ms;
    double value;
} si__point;

typedef struct si__report_profile {
    char *type;           /* "cpu", "heap", ... */
    char *unit;           /* of node values: "ns", "bytes" */
    char *trigger;        /* "cadence", "manual", "background", or a rule's name */
    char *workload;       /* "" */
    int64_t start_ms;     /* Unix time */
    uint64_t duration_ns; /* wall time sampled */
    double cores;         /* cores available, to turn CPU ns into a share */
    uint64_t samples;     /* number of samples */
    uint64_t dropped;     /* samples lost */
    si__calltree *tree;   /* owned */
    si__wire_tree *wire;  /* owned; instead of tree, by si__report_decode_wire */
} si__report_profile;

typedef struct si__report_segment {
    char *name;
    char *kind; /* "segment", "http_handler", "http_client", "sql", "cache", "document", "call" */
    int64_t start_ms;
    uint64_t duration_ns; /* the window, usually 60 s */
    uint64_t count, errors, sum_ns, max_ns;
    si__sketch *sketch;  /* owned */
    si__calltree *tree;  /* where its time went, in ns. Owned; NULL: not known */
    si__wire_tree *wire; /* owned; instead of tree, by si__report_decode_wire */
} si__report_segment;

typedef struct si__report_error {
    char *group;
    char *message; /* the last one */
    int64_t start_ms;
    uint64_t duration_ns;
    uint64_t count;
    si__calltree *tree;  /* self_count: errors with that stack. Owned; may be NULL */
    si__wire_tree *wire; /* owned; instead of tree, by si__report_decode_wire */
} si__report_error;

typedef struct si__report_rule {       /* a rule as loaded */
    char *name, *file, *state, *error; /* state: alert state name or "disabled"; error "" when fine */
    uint64_t evaluations;
    uint64_t cost_ns;
} si__report_rule;

typedef struct si__report_status { /* one line per collector or part of the agent */
    char *name;                    /* "cpu", "spool", "rules" */
    char *state;                   /* "on", "off", "unavailable", "degraded" */
    char *reason;
} si__report_status;

typedef struct si__report_loss {
    char *name;
    uint64_t made, stored, pending, dropped;
    char *reason;
} si__report_loss;

typedef struct si__report {
    si__report_id id;
    int64_t start_ms, end_ms; /* Unix time covered */
    si__context context;
    si__point *points;
    size_t point_count;
    si__report_profile *profiles;
    size_t profile_count;
    si__report_segment *segments;
    size_t segment_count;
    si__report_error *errors;
    size_t error_count;
    si__alert *alerts;
    size_t alert_count;
    si__report_rule *rules;
    size_t rule_count;
    si__report_status *statuses;
    size_t status_count;
    si__report_loss *losses;
    size_t loss_count;
    char *rules_hash;      /* hex of the rule set in force; "" */
    si__wire_names *names; /* of what is in `wire`; owned; NULL: there is none */
} si__report;

si__report *si__report_new(void);
void si__report_free(si__report *report);

/* Appenders: return the new zeroed element, or NULL when out of memory. Strings in elements must come from
 * si__report_strdup. */
si__point *si__report_add_point(si__report *report);
si__report_profile *si__report_add_profile(si__report *report);
si__report_segment *si__report_add_segment(si__report *report);
si__report_error *si__report_add_error(si__report *report);
si__alert *si__report_add_alert(si__report *report);
si__report_rule *si__report_add_rule(si__report *report);
si__report_status *si__report_add_status(si__report *report);
si__report_loss *si__report_add_loss(si__report *report);
char *si__report_strdup(const char *text); /* NULL counts as "" */

/* MessagePack. *out is malloc'ed. 0 or SI_ENOMEM. Strings are cut to 16 KiB; points that are not finite are left out.
 */
int si__report_encode(const si__report *report, uint8_t **out, size_t *length);

/* Decodes hostile bytes with a bounded reader. 0, SI_EFORMAT (error says which field), SI_ELIMIT or SI_ENOMEM.
   In a decoded report no string is NULL, every profile has a tree and every segment a sketch; strings are valid UTF-8.
 */
int si__report_decode(const uint8_t *data, size_t length, si__report **out, char *error, size_t error_bytes);

/* The same with every tree in `wire` (profiles have one always) and no `tree`: several times faster. Takes over `data`,
   which is malloc'ed, also when it fails. */
int si__report_decode_wire(uint8_t *data, size_t length, si__report **out, char *error, size_t error_bytes);

/* zstd with a checksum. 0 or SI_ENOMEM. Decompress takes one frame of at most limit_bytes of output (and at most 256
   times its input, where that is above 1 MiB): SI_EFORMAT for anything else, SI_ELIMIT, SI_ENOMEM. */
int si__report_compress(const uint8_t *data, size_t length, uint8_t **out, size_t *out_length);
int si__report_decompress(const uint8_t *data, size_t length, size_t limit_bytes, uint8_t **out, size_t *out_length);
struct ZSTD_DCtx_s; /* with one that is used again and again; one thread at a time */
int si__report_decompress_with(struct ZSTD_DCtx_s *context, const uint8_t *data, size_t length, size_t limit_bytes,
                               uint8_t **out, size_t *out_length);

#endif
