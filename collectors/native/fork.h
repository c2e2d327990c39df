/*
 * Who owns the probe's state: this process, or a parent that we were forked from.
 *
 * The region is shared memory, so a forked child that went on writing would write into its parent. The pointer to it
 * therefore lives in a page that the kernel wipes in every child (MADV_WIPEONFORK): fork, _Fork and raw clone alike, at
 * no cost when nobody forks. A vfork child shares this memory with its parent, but has no timers and runs no code of
 * the host's that would call us.
 */
#ifndef SI_NATIVE_FORK_H
#define SI_NATIVE_FORK_H

#include "region.h"

typedef struct si__owner {
    _Atomic(si__region *) region; /* NULL: inert */
    _Atomic(si__region *) made;   /* the region that this process made, open or closed */
    _Atomic uint32_t alive;       /* 1: the process that set the state up; 0: a child that has not */
} si__owner;

/* Never NULL: before si__owner_setup it points at an owner of nothing. */
extern _Atomic(si__owner *) si__owner_now;

static inline si__owner *si__owner_get(void) {
    return atomic_load_explicit(&si__owner_now, memory_order_acquire);
}

/* The same as si__probe_region, for the paths where a call would be most of the cost. */
static inline si__region *si__owner_region(void) {
    return atomic_load_explicit(&si__owner_get()->region, memory_order_relaxed);
}

/* Makes the page, and marks this process as its owner. 0 or -1 (no memory). Idempotent; not in a signal handler. */
int si__owner_setup(void);

/* Claims the wiped page for this process again. Async-signal-safe. */
void si__owner_renew(void);

/* What the parts do around fork. `child` may only make system calls. Any may be NULL. */
typedef struct si__fork_steps {
    void (*prepare)(void); /* in the parent, before */
    void (*parent)(void);  /* in the parent, after */
    void (*child)(void);   /* in the child, after */
} si__fork_steps;

/* Registers the steps once per process; later calls replace them. */
void si__fork_watch(const si__fork_steps *steps);

#endif
