/* The context of a report: who is speaking. Made once per agent, completed when the first process is observed. Loop
 * thread only. */
#ifndef SI_CONTEXT_H
#define SI_CONTEXT_H

#include "profile/space.h"
#include "report/report.h"
#include "settings.h"

typedef struct si__identity {
    char runtime_type[16]; /* "C", "C++", "Lua" */
    char runtime_version[64], build_id[SI__BUILD_ID_HEX], run_id[33], os[160];
    int64_t pid;
} si__identity;

void si__identity_init(si__identity *identity, const uint8_t boot[16]);

/* Learns from the mappings of an observed process: its language, libc and main program. */
void si__identity_learn(si__identity *identity, const si__space *space, pid_t pid);

/* Fills the report's context. */
void si__context_fill(si__context *context, const si__settings *settings, const si__identity *identity);

/* CPU cores that this process may use: online ones, the affinity mask and cgroup quotas taken into account. */
double si__own_cores(void);

#endif
