/* The agent's parts, shared by agent.c (assembly and beat), agent_state.c (what is said of it and what it keeps) and
 * agent_stop.c. */
#ifndef SI_AGENT_PARTS_H
#define SI_AGENT_PARTS_H

#include "agent.h"
#include "context.h"
#include "death.h"
#include "deliver.h"
#include "meter.h"
#include "reporter.h"
#include "rules_state.h"
#include "rules_watch.h"
#include "sampler.h"
#include "target.h"

enum { SI__AGENT_STATUSES = 32 };

typedef struct si__agent_line {
    char name[32], state[16], reason[256];
} si__agent_line;

typedef struct si__probe_state { /* of a collector's probe side, as its process said last */
    uint32_t status;
    char reason[SI__REASON_BYTES + 1];
} si__probe_state;

struct si__agent {
    const si__settings *settings;
    const si__collector *const *collectors;
    /* parts, each owned */
    si__worker *worker;
    si__unwind_cache *cache;
    si__binaries *binaries;
    si__symbolizer *symbolizer;
    si__history *history;
    si__recorder *recorder;
    si__sampler *sampler;
    si__meter *meter;
    si__notify *notify;
    si__script *script;
    si__spool *spool;
    si__upload *upload; /* NULL: no dashboard */
    si__deliver *deliver;
    si__reporter *reporter;
    si__rules_watch *watch;
    si__rules_state *rules_state; /* NULL: no state_dir, nobody could look */
    char rules_error[1024];       /* why the rule files as they are now are not in force; "" */
    /* processes */
    si__target **targets;
    size_t target_count, targets_ending;
    /* identity */
    uint8_t uuid[16], boot[16];
    si__identity identity;
    int identified;
    /* time: what is due is decided by a monotonic clock, so that a clock that is set moves nothing */
    uv_timer_t beat;
    si__cadence cadence;
    int64_t unix_ms, started_unix_ms; /* for what is written down */
    int64_t started_ms;
    int told; /* notifications were made: which alerts they told of is to be saved */
    int news; /* an alert began or ended: the dashboard, which tells people, must not wait for the cadence */
    int64_t now_ms, last_second_ms, last_metrics_ms, last_read_ms, last_report_ms, last_govern_ms, last_save_ms;
    int64_t focus_end_ms[SI__PROFILE_TYPES]; /* 0: none */
    int64_t drain_ms, drain_max_ms;
    /* governor */
    uint64_t governed_ns, own_cpu_ns, governed_events;
    double overhead;
    /* statuses */
    si__agent_line lines[SI__AGENT_STATUSES];
    size_t line_count;
    si__probe_state probes[SI__COLLECTOR_STATES];
    int probes_known;
    /* the end */
    si__death death;
    int died; /* 1: death is known, and not recorded yet */
    int stopping, stop_step, open_handles;
    uv_timer_t deadline;
    int deadline_open;
    void (*stopped)(void *arg, int rc);
    void *stopped_arg;
    void (*freed)(void *arg);
    void *freed_arg;
};

/* agent_state.c */
void si__agent_describe(void *agent, si__report *report);               /* statuses and losses into a report */
void si__agent_learn(si__agent *agent, const si__target *target);       /* what a process tells of itself */
int si__agent_has_probe(const si__agent *agent, const char *collector); /* its probe side works in the first process */
void si__agent_save_state(si__agent *agent);
void si__agent_save_alerts(si__agent *agent); /* the alert states alone */
void si__agent_load_state(si__agent *agent);
void si__agent_tell_rules(si__agent *agent); /* how the rules are, for `si rules list` */
int si__read_file(const char *path, char **text,
                  size_t *length); /* whole, at most 16 MiB, terminated; 0 or SI_E*, errno set */

/* agent.c: one reading of every metric, the program's own among them, into history and the next report */
void si__agent_read_metrics(si__agent *agent);
void si__agent_enable_types(si__agent *agent);   /* reports have what is sampled, and works, by now */
void si__agent_look_at_clocks(si__agent *agent); /* sets unix_ms and now_ms */

/* agent_stop.c: a target or a step has ended; goes on with stopping if that waits for it. */
void si__agent_continue(si__agent *agent);

#endif
