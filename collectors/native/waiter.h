/*
 * The probe's side of waiting: what every wrapper of lock.c and wait*.c does around the real call. Host threads.
 *
 * A call is counted (si__tallies), and before one that may block it is published what the thread waits in
 * (si__wait_now). After it, its duration, in cycles of the clock, goes through the thread's Poisson sampler of the
 * category; a sample point in it becomes an event with the caller's stack. Nothing here allocates, takes a lock, uses a
 * signal or changes errno, and nothing has to be undone when a call does not return: a cancelled thread, a longjmp and
 * an exception leave a published wait behind that the next one overwrites, and that the reader drops when the thread is
 * gone.
 */
#ifndef SI_NATIVE_WAITER_H
#define SI_NATIVE_WAITER_H

#include "cycle_clock.h"
#include "descriptor_kind.h"
#include "fork.h"
#include "hook.h"
#include "poisson.h"
#include "probe.h"
#include "wait_call.h"

/* What a thread knows of itself, so that a call that does not wait costs a few loads. */
typedef struct si__waiter {
    si__region *region; /* that the next three are in; NULL: none of them is there */
    si__slot *slot;
    si__tallies *tallies;
    si__wait_now *now;
    uint64_t owner; /* of the slot while it is this thread's: see si__waiter_owner */
    int32_t tid;
    uint32_t calls; /* by descriptor: now and then the remembered kind is checked */
    uintptr_t
        resolver; /* frame of a call that makes hooked calls itself (getaddrinfo): those are part of it; 0: none */
    const void *caller;                       /* of a lock's wrapper, on its way to the slow half */
    const si__region *ended;                  /* the thread ends: it has no place in this region any more */
    si__cycle_moment before;                  /* all waits that have not ended yet: see cycle_clock.h */
    si__poisson poisson[SI__WAIT_CATEGORIES]; /* in cycles */
} si__waiter;

extern __thread si__waiter si__waiter_self __attribute__((tls_model("initial-exec")));

/* Before the first wrapper runs: what the two collectors share. Opener's thread; idempotent. */
void si__waiter_prepare(void);

/* Embedded: puts `table` in front of the program's calls, or takes it away, as the control words now say. Preloaded,
   that is for good. *installed is 1 while it is in front; the caller keeps it. Opener's thread, then the runtime's. */
void si__waiter_retune(const si__hook_table *table, int *installed);
/* Takes it away. */
void si__waiter_stop(const si__hook_table *table, int *installed);

/* Looks whether this thread is observed, and where its place is. NULL: the real call is all there is to do. */
si__waiter *si__waiter_find(si__region *region);

/* Whose a slot is and in which state, in one load. */
static inline uint64_t si__waiter_owner(const si__slot *slot) {
    uint64_t owner;
    _Static_assert(offsetof(si__slot, tid) == offsetof(si__slot, state) + 4 && offsetof(si__slot, state) % 8 == 0,
                   "state and tid lie together");
    __atomic_load((const uint64_t *)(const void *)&slot->state, &owner, __ATOMIC_RELAXED);
    return owner;
}

/* This thread's waiter; NULL: waits are off, the thread is not observed or ends, or this is a forked child. */
static inline si__waiter *si__waiter_get(void) {
    si__waiter *self = &si__waiter_self;
    si__region *region = si__owner_region();
    if (!region || atomic_load_explicit(&region->control.wait_ns, memory_order_relaxed) == 0) return NULL;
    if (__builtin_expect(self->region != region, 0)) return si__waiter_find(region);
    /* A thread's slot may have been closed by its own end, and belong to another thread by now. */
    if (__builtin_expect(si__waiter_owner(self->slot) != self->owner, 0)) return si__waiter_find(region);
    return self;
}

/* One call. A signal handler of this thread may count in between: on x86-64 the addition is one instruction. */
static inline void si__waiter_count(si__waiter *self, unsigned category) {
    _Atomic uint64_t *tally = &self->tallies->of[SI__TALLY_LOCK + category];
#if defined(__x86_64__)
    __asm__ volatile("incq %0" : "+m"(*tally) : : "cc");
#else
    atomic_store_explicit(tally, atomic_load_explicit(tally, memory_order_relaxed) + 1, memory_order_relaxed);
#endif
}

/* ---- A call that is timed ---- */

typedef struct si__wait {
    si__waiter *waiter; /* NULL: not observed (yet) */
    uint64_t start;     /* si__cycles; 0: the wait is not timed */
    uint64_t object;
    const void *caller;
    uint32_t call;
} si__wait;

static inline void si__waiter_publish(si__waiter *self, uint32_t call, uint64_t start, uint64_t object,
                                      const void *caller) {
    si__wait_now *now = self->now;
    uint32_t sequence = atomic_load_explicit(&now->sequence, memory_order_relaxed);
    atomic_store_explicit(&now->call, SI__CALL_NONE, memory_order_relaxed); /* a wait that never returned */
    atomic_store_explicit(&now->sequence, sequence + 1, memory_order_relaxed);
    /* Release: whoever sees one of these sees the sequence that it belongs to. On x86-64 a plain store. */
    atomic_store_explicit(&now->since, start, memory_order_release);
    atomic_store_explicit(&now->caller_pc, (uint64_t)(uintptr_t)caller, memory_order_release);
    atomic_store_explicit(&now->object, object, memory_order_release);
    atomic_store_explicit(&now->call, call, memory_order_release);
}

/* After the real call: 0 when the world has changed in it (a fork in a signal handler, whose child is here now). */
static inline int si__waiter_unpublish(si__waiter *self) {
    if (__builtin_expect(si__owner_region() != self->region, 0)) return 0;
    atomic_store_explicit(&self->now->call, SI__CALL_NONE, memory_order_release);
    return 1;
}

/* Counts a wait of so many cycles. 1: si__waiter_sample is to see to it. 0, mostly: no sample point lies in it. */
static inline int si__waiter_hit(si__waiter *self, unsigned category, uint64_t cycles) {
    si__poisson *poisson = &self->poisson[category];
    if (__builtin_expect(cycles >= (uint64_t)poisson->left, 0)) return 1; /* also a clock that went back */
    poisson->left -= (int64_t)cycles;
    return 0;
}

/* Samples a wait from wait->start to `end`, which a sample point of `sampled` lies in: it is shown in `category`, which
   is mostly the same. Keeps errno. */
void si__waiter_sample(const si__wait *wait, unsigned sampled, unsigned category, uint64_t end);

/* The kind of a descriptor, for counting. */
static inline unsigned si__waiter_kind(si__waiter *self, int fd) {
    enum { CHECK_EVERY = 1024 };
    if (__builtin_expect((++self->calls & (CHECK_EVERY - 1)) == 0, 0)) return (unsigned)si__descriptor_kind_ask(fd);
    return (unsigned)si__descriptor_kind(fd);
}

/* Calls that are made in order to wait: timed exactly. Also without a waiter, for a process that gets a region
   only because it waits. The caller has counted the call, if there is a waiter. */
void si__wait_begin(si__wait *wait, si__wait_call call, uint64_t object, const void *caller);
/* The duration that si__wait_begin started. Keeps errno. */
void si__wait_end(si__wait *wait, unsigned category);

#endif
