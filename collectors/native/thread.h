/*
 * Observed threads: each has a slot in the region, and beside it a private record in this process.
 *
 * Threads get both when they are created (the pthread_create wrapper), when discovery finds them, or at their first
 * event. A thread closes its own slot when it ends; the runtime frees the slot after it has drained it.
 */
#ifndef SI_NATIVE_THREAD_H
#define SI_NATIVE_THREAD_H

#include "probe.h"

/* Private to this process; its index is the slot's. Written by the thread itself unless said otherwise. */
typedef struct si__thread {
    si__slot *slot;         /* NULL: a thread that was refused, or one of a child not registered yet */
    int32_t tid;            /* 0: created, not running yet */
    int32_t masked;         /* 1: the host believes that it blocks our signal */
    uint32_t masked_faults; /* by signal number: faults that it believes to block (signal.c) */
    void *(*start)(void *); /* what the host asked to run */
    void *argument;
    int32_t unsampled;           /* 1: found with our signal blocked; it never gets a timer */
    int32_t fork_blocked;        /* our signal was blocked when fork began */
    uint64_t stack_lo, stack_hi; /* of a stack that the host provided, or that a forked child goes on with; else 0 */
    uint64_t stack_bytes;        /* size of a stack that libc provides; 0: not known */
    /* The sampler's part (cpu.c). `arming` is a try-lock between the thread's own tick and the runtime thread. */
    _Atomic uint32_t arming;
    _Atomic int32_t pending_timer; /* timer of a process whose region is not made yet; else -1 */
    /* The next four are touched under `arming`. */
    uint64_t due_ns;    /* thread CPU time of the first tick since armed */
    uint64_t period_ns; /* 0: not armed */
    uint64_t ticks;     /* accounted since armed */
    uint64_t held;      /* ticks waiting for unwind tables, added to the next sample */
    uint64_t held_pc;   /* where the last of them was: all that is said of them if that sample never comes */
} si__thread;

/* Told about threads: one watcher (the sampler). `self`: called on the thread itself. */
typedef struct si__thread_watcher {
    void (*started)(si__thread *thread, int self);
    void (*ended)(si__thread *thread, int self); /* our signal is blocked when self */
} si__thread_watcher;

/* Sets the watcher, makes what is needed to see threads end. Host thread at open. NULL: nobody watches any more. */
int si__threads_watch(const si__thread_watcher *watcher);

/* `ending` is called on every observed thread that ends, while it still has its slot and with our signal blocked. For
   good: there is no way to take it back. 0, also when it is there already, or -1: no room. Opener's thread. */
int si__threads_at_end(void (*ending)(void));

/* This thread's record, or NULL. Async-signal-safe; one load. */
si__thread *si__thread_self(void);

/* Whether a record is a live one of the calling thread. Async-signal-safe. */
int si__thread_is_mine(const si__thread *thread);

/* In the first tick of a thread that was discovered: the record that its timer carries becomes its own. */
void si__thread_adopt(si__thread *thread);

si__thread *si__thread_of(si__region *region, const si__slot *slot);
si__thread *si__thread_at(uint32_t index);

/* The stack bounds of a slot, consistent while the runtime changes them; 0 and *hi = 0 when not known. */
uint64_t si__thread_stack(const si__slot *slot, uint64_t *hi);

/* In a forked child, or before the region is made: this thread is the only one and has no slot. `observed`: it keeps a
   record (the first one) for the timer it will get; else our signal is left as the host has it. System calls only. */
void si__threads_forked(int observed);

/* Puts the only thread of a process into `region`, which was just made. Async-signal-safe. */
void si__thread_enter(si__region *region);

#endif
