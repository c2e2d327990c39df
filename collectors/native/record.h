/*
 * Events that host threads write about themselves, outside of signals: errors, allocations, waits, calls. Each carries
 * the stack of the host's call. No allocation, no lock; errno is kept.
 */
#ifndef SI_NATIVE_RECORD_H
#define SI_NATIVE_RECORD_H

#include <stdint.h>

#include "region.h"

typedef struct si__record {
    si__event_type type;
    uint32_t detail, count;
    int64_t value;
    uint64_t leaf; /* a name (si__name_get) to show below the caller, such as "pthread_mutex_lock"; 0: none */
    const void
        *caller;      /* __builtin_return_address(0) of our outermost function: frames of ours below it are left out */
    const void *text; /* text_bytes of it; NULL: none */
    uint32_t text_bytes;
} si__record;

/* Writes the event to the calling thread's ring. 0: written; -1: no slot, or no room (counted). Also within a host's
   own signal handler. */
int si__record_here(const si__record *record);

/* The "address" of a frame that has none, made at first use. `function` is cut to 79 bytes, `file` to 95; line 0: not
   known. Lock-free, no allocation. Never fails: without room, the name "[other]". 0 when inert. */
uint64_t si__name_get(const char *function, const char *file, uint32_t line);

#endif
