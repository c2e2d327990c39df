/*
 * A rule set: everything that a group of rule files declares, checked, with the Lua states that hold its functions.
 *
 * Made whole or not at all by ruleset.c; run by engine.c, routing.c, cadence.c and segments.c. Loop thread only.
 */
#ifndef SI_SCRIPT_RULESET_H
#define SI_SCRIPT_RULESET_H

#include <lua.h>
#include <stdint.h>

#include "../history/history.h"
#include "sandbox.h"
#include "script.h"
#include "source.h"
#include "unit.h"

#define SI__ERROR_BYTES 1024
#define SI__LABELS 6 /* app, environment, host, rule, severity, subject: in this order */

typedef enum si__no_data { SI__NO_DATA_KEEP, SI__NO_DATA_FIRE, SI__NO_DATA_RESOLVE } si__no_data;
typedef enum si__over {
    SI__OVER_METRIC,
    SI__OVER_METRICS,
    SI__OVER_PROFILES,
    SI__OVER_CALLSITES,
    SI__OVER_SEGMENTS,
    SI__OVER_ERRORS
} si__over;

typedef struct si__text_list {
    char **items;
    size_t count;
} si__text_list;

typedef struct si__subject { /* what a rule is about: one series */
    char *name;              /* "": the one that a rule with watch has */
    si__series *series;      /* NULL: there is none (yet) */
    uint64_t key;            /* of its alert */
} si__subject;

typedef struct si__subjects {
    uint64_t generation; /* of the history that it was made of */
    si__subject *all;
    size_t known, capacity;
    const si__subject **chosen; /* of these, for this round */
    size_t count;
    const char *error; /* static text; NULL: none */
} si__subjects;

typedef struct si__rule {
    char *name, *path; /* path: of the file, as shown to people */
    int line;
    size_t unit, place;                                            /* whose functions these are; of its file */
    char *severity, *runbook, *summary;                            /* summary NULL: summary_ref */
    int when_ref, clear_ref, summary_ref, on_fire_ref, attach_ref; /* LUA_NOREF: none */
    int64_t hold_ms, keep_ms, every_ms, no_data_after_ms, grace_ms;
    si__no_data no_data;
    int at_dashboard, enabled;
    int quiet;             /* raises no alert: when is a segment's profile_when, at most every keep_ms */
    size_t segment;        /* then: turn of that segment within its unit */
    int64_t quiet_last_ms; /* then: when it last asked for a profile */
    /* whom it is about */
    si__over over;
    char *target;        /* metric name or pattern; profile for call sites */
    si__text_list types; /* profiles */
    size_t top;
    double min;
    si__subjects *subjects; /* as of the last round; subjects.c */
    /* how it has been going */
    int64_t next_ms, last_log_ms;
    unsigned errors_in_row, unlogged;
    unsigned heavy_errors; /* ran out of time or memory: within an hour of each other */
    int64_t heavy_ms;      /* the last one */
    int disabled;
    char error[256];
    uint64_t evaluations, cost_ns;
    uint64_t calls, grown_bytes; /* by how much its calls made the memory of its file grow, garbage included */
} si__rule;

typedef struct si__matcher {
    si__text_list labels[SI__LABELS];
} si__matcher; /* an empty list matches everything */

typedef struct si__escalation {
    int64_t after_ms;
    int unless_acked;
    si__text_list to;
} si__escalation;

typedef struct si__route {
    si__matcher match;
    unsigned group_by; /* bit per label */
    int64_t wait_ms, interval_ms, resend_ms;
    int next_too; /* continue = true */
    si__text_list to;
    si__escalation *escalations;
    size_t escalation_count;
    struct si__route *children;
    size_t child_count;
    size_t place, turn; /* of its file among the files; among the routes of a unit */
} si__route;

typedef struct si__inhibit {
    si__matcher source, target;
    unsigned equal; /* bit per label */
} si__inhibit;      /* their order is of no account */

typedef struct si__segment_rule {
    char *pattern, *name; /* name NULL: name_ref, or unchanged */
    int name_ref;
    size_t unit, place, turn;
    double percentiles[8];
    size_t percentile_count;
} si__segment_rule;

typedef struct si__threshold { /* calls of the segment below this are counted as good */
    char *segment;
    double below_ms;
} si__threshold;

typedef struct si__problem {
    int warning, line;
    char *path, *text; /* "path:line: message" */
} si__problem;

typedef struct si__ruleset {
    si__unit **units;
    size_t unit_count;
    si__pool pool; /* the memory of all units */
    si__source_list sources;
    si__rule *rules;
    size_t rule_count;
    si__route *routes;
    size_t route_count;
    si__inhibit *inhibits;
    size_t inhibit_count;
    si__segment_rule *segments;
    size_t segment_count;
    si__threshold *thresholds;
    size_t threshold_count;
    si__cadence cadence;
    int cadence_ref; /* function(now, host) or LUA_NOREF */
    size_t cadence_unit;
    char *cadence_file; /* NULL: none declares one */
    int cadence_line;
    /* what the cross-checks of a unit need to know of the others */
    struct {
        char *name, *file;
        int line;
    } * names; /* of rules */
    size_t name_count;
    struct {
        char *file;
        int line;
    } * catch_alls; /* top-level routes that take every alert */
    size_t catch_all_count;
    si__problem *problems;
    size_t problem_count, error_count;
    uint64_t serial; /* of calls into rules; a handle is valid during its own */
    int loaded;      /* declarations are over: problems raise errors from now on */
    int partial;     /* made of a few files, for tests */
    char hash[33];
    void (*print)(void *arg, const char *text); /* where print goes; set by the script */
    void *print_arg;
} si__ruleset;

/* Loads the sources (taken over). NULL: out of memory. Otherwise look at error_count: a set with errors must not be
 * run. */
si__ruleset *si__ruleset_new(si__source_list *sources, int partial);
void si__ruleset_free(si__ruleset *set);
/* Rewrites "health.lua:3: x" to the file's path. Returns whether the message did name a file of the set. */
int si__ruleset_show_path(const si__ruleset *set, const char *message, char *out, size_t out_bytes);
/* Records "path:line: message". */
void si__ruleset_problem(si__ruleset *set, int warning, const char *file, int line, const char *message);

/* A Lua error as a problem of its file. The message is cut after its first line. */
void si__ruleset_lua_problem(si__ruleset *set, const si__source *source, char *message);

/* read_set.c; steps for si__unit_step, whose argument is the unit. [-1, +0, e] */
int si__ruleset_collect(lua_State *L);                            /* what others' cross-checks need */
int si__ruleset_finish(lua_State *L);                             /* cross-checks; without errors, fills the C side */
int si__ruleset_find_functions(lua_State *L);                     /* after a restart: the functions of what is known */
void si__ruleset_forget_functions(si__ruleset *set, size_t unit); /* its state ends, or has ended */
void si__ruleset_order(si__ruleset *set);                         /* everything in the order of files and lines */
void si__ruleset_clear_read(si__ruleset *set);
void si__subjects_free(si__subjects *subjects);        /* subjects.c. NULL is allowed */
void si__cadence_read(lua_State *L, si__cadence *out); /* from the flat cadence table at the top. [-0, +0, e] */

/* core.c: puts the table "si.core" (what lua/si/ calls) on the stack. [-0, +1, m] */
void si__core_push(lua_State *L);

/* 128-bit hash as 32 hex digits and a NUL; `hash` has been begun with si__hash_begin. */
typedef struct si__hash {
    uint64_t a, b;
} si__hash;
void si__hash_begin(si__hash *hash);
void si__hash_add(si__hash *hash, const void *data, size_t length);
void si__hash_hex(const si__hash *hash, char out[33]);

#endif
