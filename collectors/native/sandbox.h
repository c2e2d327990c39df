/*
 * Programs that forbid themselves system calls (seccomp), as the workers of servers and browsers do.
 *
 * A filter may end the process at a call that it does not list, and it cannot list ours. So the probe looks at each
 * filter before it is set: it asks it about every call that sampling makes. If one of them would be fatal, the probe
 * makes none from then on; if even the return from a signal handler would be, all ticks stop first.
 */
#ifndef SI_NATIVE_SANDBOX_H
#define SI_NATIVE_SANDBOX_H

#include <linux/filter.h>
#include <stdatomic.h>

#include "probe.h"

extern _Atomic int si__sandbox_now;

/* 1: the process may make no system call for us any more. Async-signal-safe; one load. */
static inline int si__sandboxed(void) {
    return atomic_load_explicit(&si__sandbox_now, memory_order_relaxed);
}

typedef enum si__sandbox_verdict {
    SI__SANDBOX_HARMLESS,  /* every call of ours is allowed, or fails */
    SI__SANDBOX_NO_CALLS,  /* one of them ends the process, or raises a signal */
    SI__SANDBOX_NO_SIGNALS /* so does the return from a signal handler */
} si__sandbox_verdict;

/* What `filter` does to the probe. Pure; a damaged filter is judged NO_SIGNALS. */
si__sandbox_verdict si__sandbox_judge(const struct sock_fprog *filter);

/* The program is about to set `filter` (NULL: strict mode) on this thread: makes the region of a forked child while
   that is possible, and becomes as quiet as it must. Host thread. Returns what si__sandbox_undo needs. */
int si__sandbox_enter(const struct sock_fprog *filter);

/* The kernel has refused the filter. */
void si__sandbox_undo(int before);

#endif
