/*
 * The Lua host: loads rules/, decides cadence, evaluates rules, routes alerts, renames segments.
 *
 * Loop thread only. Opinions are in Lua, effects are data: after the protected call has returned, C applies them
 * through the callbacks. A rule set is loaded whole or not at all: on any error the old set stays in force.
 */
#ifndef SI_SCRIPT_SCRIPT_H
#define SI_SCRIPT_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#include "../history/history.h"
#include "../report/alert.h"
#include "../report/report.h"

struct si__sketch;

typedef struct si__script si__script;

typedef struct si__cadence { /* what the rules' cadence { } says, checked and with defaults filled in */
    int64_t metrics_ms, report_ms;
    double cpu_hz, cpu_background_hz;
    int64_t cpu_every_ms, cpu_span_ms;   /* span >= every: always on */
    double overhead_cpu;                 /* share of one core that we may use, 0.01 = 1 % */
    int64_t heap_bytes;                  /* mean bytes allocated between two heap samples; 0: off */
    int64_t wait_mean_ns;                /* mean waited time between two wait samples inside a span; 0: off */
    int64_t wait_background_ns;          /* the same between spans; 0: off there */
    int64_t wait_every_ms, wait_span_ms; /* span >= every: always on */
} si__cadence;

typedef struct si__profile_request {
    char type[16];
    char rule[64];
    double hz;
    int64_t span_ms, before_ms;
} si__profile_request;

typedef struct si__script_env {
    si__history *history;                 /* borrowed; must outlive the script */
    const char *app, *environment, *host; /* copied */
    double cpu_quota;                     /* cores available, for cadence's host argument */
    int at_dashboard;                     /* 1: run rules with at = "dashboard"; 0: the others */
    void *arg;
    void (*log)(void *arg, int level, const char *message);
    void (*on_cadence)(void *arg, const si__cadence *cadence);
    void (*on_alert)(void *arg, const si__alert *alert); /* a change of state (pending, firing, resolved; inactive:
                                                            pending and over); borrowed */
    void (*on_notify)(void *arg, const char *destination, const si__alert *alerts,
                      size_t count); /* routed and grouped, due now. destination: "kind:name", or a name that the
                                        channels file defines */
    void (*on_profile)(void *arg, const si__profile_request *request);
} si__script_env;

si__script *si__script_new(const si__script_env *env); /* NULL: out of memory. Nothing is loaded yet */
void si__script_free(si__script *script);

/* Loads every *.lua of dir (NULL: the embedded defaults; a file in dir replaces the default of the same name, others
   are added). 0, or SI_ERULES with "file:line: message" in error; then the old set stays. */
int si__script_load(si__script *script, const char *dir, char *error, size_t error_bytes);

/* Evaluates what is due at now_ms; calls the callbacks. Call at least every second. */
void si__script_tick(si__script *script, int64_t now_ms);

/* Applies the segment rules to a raw name. Writes into out (always terminated). Returns 1 when it changed. Cached. */
int si__script_segment_name(si__script *script, const char *raw, char *out, size_t out_bytes);

/* Appends every rule as loaded with state, error and cost, and every alert that is not inactive. */
int si__script_describe(si__script *script, si__report *report);
const char *si__script_hash(const si__script *script); /* hex of the set in force */

/* The percentiles (0..100) to keep for a segment of this name, the one that si__script_segment_name gave it: what its
   segment rule says, else 50, 95, 99. Writes at most cap; returns how many. */
size_t si__script_segment_percentiles(si__script *script, const char *name, double *out, size_t cap);
/* The durations (ms) below which a call of this segment is good, as objectives (slo) have it. */
size_t si__script_segment_thresholds(const si__script *script, const char *name, double *out_ms, size_t cap);
/*
 * Puts what was measured of a segment into the history under the names that rules ask for: its percentiles, "|count"
 * and
 * "|errors" per minute, "|total" and "|failed" calls, and "|below250" for each objective's threshold. `name` as
 * renamed; `sketch` borrowed; `duration_ns`: what the calls were counted over. Loop thread.
 */
void si__script_segment_observe(si__script *script, const char *name, const struct si__sketch *sketch, uint64_t count,
                                uint64_t errors, uint64_t duration_ns, int64_t time_ms);

/* Somebody saw the alert: no escalation that says unless = "acked". 0 or SI_ENOTFOUND. Forgotten when it fires anew. */
int si__script_ack(si__script *script, const char *fingerprint, int acked);

/* Where an alert would go (inhibits not looked at): comma-separated destinations into out. 0, SI_ESTATE (nothing
 * loaded) or SI_ELIMIT. */
int si__script_route(si__script *script, const si__alert *alert, char *out, size_t out_bytes);

/*
 * An alert that somebody else raised: an agent's, at the dashboard. Grouped, sent, sent again, escalated, inhibited,
 * silenced and resolved as the engine's own; only its state comes from outside. Known by its fingerprint; copied. Call
 * it after si__script_load and si__script_state_load, as often as you like: what is known already changes nothing. 1:
 * something about it will be told; 0: nothing (known, not routed, or over before anybody was told). SI_ENOMEM,
 * SI_ESTATE (no rules loaded), SI_ELIMIT (too many).
 */
int si__script_external_alert(si__script *script, const si__alert *alert);

typedef struct si__silence {                                /* nobody is told of alerts that match all of it */
    const char *rule, *app, *environment, *host, *severity; /* NULL: any; * stands for any text */
    int64_t until_ms;
    const char *author, *comment;
} si__silence;

/* The silences in force, in place of the ones before; copied. When one ends, or has gone, and the alert still fires,
   that is told with the reason. 0 or SI_ENOMEM (then nothing has changed). */
int si__script_silences(si__script *script, const si__silence *silences, size_t count);

/* Who is given the messages, in place of env.on_notify and its argument. */
void si__script_on_notify(si__script *script,
                          void (*on_notify)(void *arg, const char *destination, const si__alert *alerts, size_t count),
                          void *arg);

/* From now on rules are not evaluated: alerts come from outside, and the set only says who is told, and when. */
void si__script_route_only(si__script *script);

/* Alert states that must survive a restart. JSON text, malloc'ed by save. Load after si__script_load: alerts of rules
   that are not in force are dropped. 0, SI_ENOMEM, SI_EFORMAT or SI_ELIMIT (then nothing has changed). */
int si__script_state_save(const si__script *script, char **out, size_t *length);
int si__script_state_load(si__script *script, const char *text, size_t length, int64_t now_ms);

typedef struct si__rule_info {                          /* texts borrowed until the next load */
    const char *name, *file, *severity, *state, *error; /* state: inactive, pending, firing or disabled */
    int line, enabled, at_dashboard;
    int raises_alerts; /* 0: a segment's profile_when */
    int64_t every_ms, hold_ms, keep_ms;
    uint64_t evaluations, cost_ns; /* cost: all of them together */
    size_t alerts;                 /* that are pending or firing */
} si__rule_info;

/* The rules in force, in the order of files and lines. 0, or SI_ENOTFOUND: there is no rule of this number. */
int si__script_rule(const si__script *script, size_t number, si__rule_info *out);

/* Whether a rule that is evaluated here asks for the call sites of this type of profile; grown: or may, as what grew.
 */
int si__script_wants_callsites(const si__script *script, const char *type, int grown);
/* Durations (ms) below which calls of every segment are counted as good, beside those that objectives name. At most 8.
 */
void si__script_count_below(si__script *script, const double *below_ms, size_t count);
/* All durations that objectives name, each once. */
size_t si__script_thresholds(const si__script *script, double *out_ms, size_t cap);

/* `si rules explain NAME`: what the rule sees now, line by line: each series it is about (at most 20), what every
 * method call in `when` and `clear` gave, and what follows. Changes nothing. 0, SI_ENOTFOUND or SI_ESTATE. */
int si__script_explain(si__script *script, const char *rule, int64_t now_ms, void (*print)(void *arg, const char *line),
                       void *arg);

typedef struct si__replay { /* `si rules replay`: a rule set over recorded history, with a clock that runs ahead */
    const char *dir;        /* as for si__script_load */
    si__history *recorded;  /* borrowed; not changed */
    int64_t from_ms, to_ms; /* Unix; what was before is known as history, without being judged */
    int64_t step_ms;        /* between two ticks; 0: 10 s, and a minute beyond a day */
    const char *app, *environment, *host; /* may be NULL */
    int at_dashboard;
    void *arg;
    void (*log)(void *arg, int level, const char *message); /* these may be NULL */
    void (*on_alert)(void *arg, int64_t at_ms, const si__alert *alert);
    void (*on_notify)(void *arg, int64_t at_ms, const char *destination, const si__alert *alerts, size_t count);
} si__replay;

/* 0, SI_EINVAL (from_ms > to_ms, no history), SI_ENOMEM, or SI_ERULES with the problems in error. */
int si__script_replay(const si__replay *replay, char *error, size_t error_bytes);

/* `si rules check DIR`: prints every problem as file:line: message through log; returns the number of problems. */
int si__script_check(const char *dir, void (*print)(void *arg, const char *line), void *arg);

#endif
