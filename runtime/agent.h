/*
 * The agent: the runtime's parts assembled on one libuv loop. Embedded (runtime.c) and in the `si` command.
 *
 * Observes processes (through a region of shared memory, or by metrics alone), runs the rules, makes reports and
 * delivers them. Loop thread only; the loop is the caller's.
 */
#ifndef SI_AGENT_H
#define SI_AGENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "../collectors/native/region.h"
#include "profile/profile.h"
#include "settings.h"

typedef struct si__agent si__agent;

typedef struct si__agent_options {
    const si__settings *settings; /* borrowed; must outlive the agent */
    double force_cpu_hz;          /* sample CPU at this rate from the first moment; 0: as the rules say */
    int keep_whole_run;           /* keep profiles of the whole run, for si__agent_whole_run */
} si__agent_options;

/* 0 or a negative SI_E* with a message in error. Broken rules are logged and do not fail it. */
int si__agent_new(uv_loop_t *loop, const si__agent_options *options, si__agent **out, char *error, size_t error_bytes);

/*
 * Starts to observe a process. `region` NULL: metrics alone. The agent does not own an own process's region (own = 1);
 * it unmaps another's. `ready` (may be NULL) is called on the loop when the first unwind tables are published. 0 or
 * SI_E*.
 */
int si__agent_observe(si__agent *agent, pid_t pid, si__region *region, int own, void (*ready)(void *arg), void *arg);

/* The tables of a process are wanted again soon (it is about to exit); `ready` as above. */
void si__agent_refresh(si__agent *agent, pid_t pid, void (*ready)(void *arg), void *arg);

/* A process has ended: what it left in its region is drained, then it is forgotten. */
void si__agent_process_ended(si__agent *agent, pid_t pid);

/* A state line for reports: ("probe", "unavailable", "static program: ..."). */
void si__agent_status(si__agent *agent, const char *name, const char *state, const char *reason);

int si__agent_manual_profile(si__agent *agent, int on, const char *workload); /* 0 or SI_ESTATE */

/* Makes a report now; `done` once it was acknowledged, or is in the spool. */
void si__agent_flush(si__agent *agent, void (*done)(void *arg), void *arg);

/* Stops sampling, drains, makes the last report, tries one upload within timeout_ms; then calls stopped(arg, 0 or
   SI_ETIMEDOUT). The agent is still there for si__agent_whole_run and must be released with si__agent_free
   (asynchronous; `freed` on the loop). */
void si__agent_stop(si__agent *agent, uint32_t timeout_ms, void (*stopped)(void *arg, int rc), void *arg);
void si__agent_free(si__agent *agent, void (*freed)(void *arg), void *arg);

/* What was recorded: writers for files. Blocking; after si__agent_stop only. 0 or SI_E*. */
int si__agent_write_folded(si__agent *agent, const char *type, int fd);
int si__agent_write_pprof(si__agent *agent, const char *type, int fd);

#endif
