/*
 * What of the command stays in memory. Its work comes in bursts (a start, a batch of symbols, a report), and between
 * them little of what they touched is needed. Only in a process that is ours alone: a host's allocator and mappings are
 * the host's. Loop thread.
 */
#ifndef SI_SIDECAR_RESIDENT_H
#define SI_SIDECAR_RESIDENT_H

#include <uv.h>

#include "../runtime/agent.h"

typedef struct si__resident {
    uv_timer_t timer;
    si__agent *agent;
    long rest_pages; /* resident after the last time that something was given back */
} si__resident;

/* Once, before threads: an allocator that gives back what is freed. */
void si__resident_setup(void);

/* After two seconds, and then every five in which enough was touched, gives back free memory, code that was read from
   files, and the agent's view of regions. Does not keep the loop alive. `agent` is borrowed until si__resident_end. */
void si__resident_start(si__resident *resident, uv_loop_t *loop, si__agent *agent);

/* Closes the timer. Not after the loop has ended, nor when it was not started. */
void si__resident_end(si__resident *resident);

#endif
