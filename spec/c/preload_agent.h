/* A small agent for tests: takes the regions of preloaded probes over a socket, answers them, and adds up their
 * samples. */
#ifndef SI_SPEC_PRELOAD_AGENT_H
#define SI_SPEC_PRELOAD_AGENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../../runtime/ring/drain.h"

typedef struct preload_agent preload_agent;

typedef struct preload_sums {
    unsigned processes; /* that handed over a region */
    unsigned quiet;     /* of these, without waiting for an answer */
    unsigned exits;     /* that said they were about to exit */
    unsigned failed;    /* that said they could not start */
    uint64_t value_ns;  /* CPU time sampled */
    uint64_t late_ns;   /* of this, accounted at the end of a thread */
    uint64_t events, frames, truncated, off_stack, crashes, guarded;
    int64_t crash_signal; /* of the last crash */
    char crash_text[128];
    unsigned crash_frames;
    char reason[128];
} preload_sums;

/* Listens at a fresh path; `publish` 1: answers with unwind tables in place; `mute` 1: never answers at all. */
preload_agent *preload_agent_new(int publish, int mute);
const char *preload_agent_path(const preload_agent *agent);
/* Takes what is left in all regions and adds everything up. */
void preload_agent_sum(preload_agent *agent, preload_sums *out);
/* What the instruments of all regions counted, since they were handed over. */
void preload_agent_instruments(preload_agent *agent, si__drain_instrument_fn fn, void *arg);
/* The last 256 events of calls, with their texts (frames are counted, not kept). */
void preload_agent_calls(preload_agent *agent, si__drain_event_fn fn, void *arg);
/* The region of every process so far, also of those that are gone. */
void preload_agent_regions(preload_agent *agent, void (*fn)(void *arg, si__region *region, pid_t pid), void *arg);
void preload_agent_free(preload_agent *agent);

#endif
