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

#include "../collectors/collector.h"
#include "../collectors/native/region.h"
#include "profile/profile_type.h"
#include "settings.h"

typedef struct si__agent si__agent;

typedef struct si__agent_options {
    const si__settings *settings;           /* borrowed; must outlive the agent */
    const si__collector *const *collectors; /* the registry's array */
    double force_cpu_hz; /* sample CPU at least at this rate from the first moment; 0: as the rules say */
    int keep_whole_run;  /* keep a profile of the whole run, for si__agent_save_* */
} si__agent_options;

/* 0 or a negative SI_E* with a message in error; what is in *out then (if anything) is still the caller's to free.
   Broken rules are logged and do not fail it. */
int si__agent_new(uv_loop_t *loop, const si__agent_options *options, si__agent **out, char *error, size_t error_bytes);

/*
 * Starts to observe a process. `region` NULL: metrics alone. own = 1: the region is this process's own; another's is
 * unmapped by the agent. `ready` (may be NULL) is called on the loop when the first unwind tables are published. 0 or
 * SI_E*.
 */
int si__agent_observe(si__agent *agent, pid_t pid, si__region *region, int own, void (*ready)(void *arg), void *arg);

/* The tables of a process are wanted again soon (it is about to exit); `ready` as above. */
void si__agent_refresh(si__agent *agent, pid_t pid, void (*ready)(void *arg), void *arg);

/* A process has ended: what it left in its region is drained, then it is forgotten. */
void si__agent_process_ended(si__agent *agent, pid_t pid);

/* The program that was started has ended, as waitpid tells: what it died of goes into the last report and into
   errors.txt. After si__agent_process_ended of its processes, before si__agent_stop. */
void si__agent_program_ended(si__agent *agent, int wait_status);

/* A state line for reports: ("probe", "unavailable", "the program is statically linked"). Replaces one of that name. */
void si__agent_status(si__agent *agent, const char *name, const char *state, const char *reason);

/* Why a collector's probe side does not work in the first process; NULL: it does, or nothing is known. Borrowed. */
const char *si__agent_why_not(const si__agent *agent, const char *collector);

/* Starts or stops a profile by hand. `type`: "cpu", "heap", ... 0, SI_ESTATE (it is that way already), or
   SI_EUNAVAILABLE (no such type, or its collector does not work here). */
int si__agent_manual_profile(si__agent *agent, int on, const char *type, const char *workload);

/* Makes a report now; `done` once it has been offered to the dashboard, or is in the spool. */
void si__agent_flush(si__agent *agent, void (*done)(void *arg), void *arg);

/* Once. Stops sampling, drains, makes the last report, tries one upload within timeout_ms; then calls stopped(arg, 0 or
 * SI_ETIMEDOUT). */
void si__agent_stop(si__agent *agent, uint32_t timeout_ms, void (*stopped)(void *arg, int rc), void *arg);

/* Regions of other processes are read again from their files when they are needed, instead of staying resident here. */
void si__agent_let_go(si__agent *agent);

/* Releases everything, also an agent that was not stopped. Asynchronous: `freed` on the loop, with no handle left. */
void si__agent_free(si__agent *agent, void (*freed)(void *arg), void *arg);

/* Writes the whole run: folded stacks, or pprof. Blocking; after si__agent_stop only. 0 or SI_E* (SI_EIO: errno is
 * set). */
int si__agent_save_folded(si__agent *agent, si__profile_type type, const char *path);
int si__agent_save_pprof(si__agent *agent, si__profile_type type, const char *path);

/* Writes what went wrong, if anything did (see death.h). Blocking; after si__agent_program_ended and si__agent_stop. */
int si__agent_save_errors(si__agent *agent, const char *path);

/* In a forked child, whose copy of the agent nobody runs: gives up what the parent must be able to release. System
 * calls only. */
void si__agent_after_fork(si__agent *agent);

/* Samples of the whole run so far, over all processes; 0 too when the whole run is not kept. */
uint64_t si__agent_samples(const si__agent *agent, si__profile_type type);

#endif
