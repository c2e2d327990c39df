/*
 * What each thread allocates and releases: counted by the thread itself in a cell of its own, private to this process,
 * at a handful of instructions a call. Now and then (a "visit") the numbers are handed in to the region's tallies.
 *
 * Cells belong to slots, and go on counting with the slot's next owner. A thread without a slot (one of ours, one too
 * many, a process that is not observed) counts into its own thread-local cell, and nobody asks for that. A forked
 * child's cells are wiped by the kernel, so its first call visits, and finds its own place.
 */
#ifndef SI_NATIVE_HEAP_THREAD_H
#define SI_NATIVE_HEAP_THREAD_H

#include "poisson.h"
#include "region.h"

enum {
    SI__HEAP_VISIT_MIN = 64 * 1024,         /* bytes allocated between two visits of a thread, at most: so many, */
    SI__HEAP_VISIT_MAX = 128 * 1024 * 1024, /* and up to this when they would come more often than every */
    SI__HEAP_VISIT_NS = 5000000,
    SI__HEAP_VISIT_FREES_MIN = 1024, /* releases, likewise */
    SI__HEAP_VISIT_FREES_MAX = 256 * 1024
};

/* What a call changes counts down, so that it is compared and stored as it is: bytes asked for are bytes_until -
   bytes_left, releases frees_until - frees_left, and a visit is due when a call would use up what is left. Both only
   grow. Written by the owner; read by whoever hands in, with si__heap_cell_read. */
typedef struct si__heap_cell {
    _Atomic uint64_t bytes_left, mallocs, frees_left;
    _Atomic uint64_t bytes_until, frees_until;
    _Atomic uint32_t version; /* odd while a visit moves a limit: the sums are not to be had */
    uint32_t pad[5];
} __attribute__((aligned(64))) si__heap_cell;

typedef struct si__heap_thread {
    si__heap_cell *cell;  /* never NULL: a new thread's first call finds a visit due */
    uint64_t seen;        /* bytes of the cell at the last visit */
    uint64_t seen_ns;     /* when that was */
    uint64_t window;      /* bytes to the next one, at most */
    uint64_t free_window; /* releases, likewise */
    si__poisson poisson;
    uint32_t busy;  /* in a visit: calls of our own go straight through */
    uint32_t ended; /* the thread has given its slot back */
    si__heap_cell own;
} si__heap_thread;

extern __thread si__heap_thread si__heap_self __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Adds 1 to what this thread alone writes. A signal handler of it may count in between: on x86-64 one instruction. */
static inline void si__heap_increment(_Atomic uint64_t *count) {
#if defined(__x86_64__)
    __asm__ volatile("incq %0" : "+m"(*count) : : "cc");
#else
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
#endif
}

/* A release now would be counted without a visit. */
static inline int si__heap_counts_frees(const si__heap_cell *cell) {
    return (int64_t)atomic_load_explicit(&cell->frees_left, memory_order_relaxed) > 0;
}

/*
 * 1: the call is counted, and no visit is due. On x86-64 one instruction takes from what is left, and its flags tell
 * whether there was enough (of bytes, more than enough). If not, it is put back, and was less than nothing meanwhile.
 */
static inline int si__heap_count(si__heap_cell *cell, uint64_t size) {
#if defined(__x86_64__)
    int due;
    if (__builtin_expect(size > INT32_MAX, 0)) return 0; /* more than ever is left */
    __asm__ volatile("subq %2, %0" : "+m"(cell->bytes_left), "=@ccle"(due) : "er"(size));
    if (__builtin_expect(due, 0)) {
        __asm__ volatile("addq %1, %0" : "+m"(cell->bytes_left) : "er"(size) : "cc");
        return 0;
    }
#else
    uint64_t left = atomic_load_explicit(&cell->bytes_left, memory_order_relaxed);
    if (__builtin_expect((int64_t)left <= 0 || left <= size, 0)) return 0;
    atomic_store_explicit(&cell->bytes_left, left - size, memory_order_relaxed);
#endif
    si__heap_increment(&cell->mallocs);
    return 1;
}
static inline int si__heap_count_free(si__heap_cell *cell) {
#if defined(__x86_64__)
    int due;
    __asm__ volatile("subq $1, %0" : "+m"(cell->frees_left), "=@ccl"(due));
    if (__builtin_expect(due, 0)) {
        __asm__ volatile("addq $1, %0" : "+m"(cell->frees_left) : : "cc");
        return 0;
    }
#else
    if (__builtin_expect(!si__heap_counts_frees(cell), 0)) return 0;
    uint64_t left = atomic_load_explicit(&cell->frees_left, memory_order_relaxed);
    atomic_store_explicit(&cell->frees_left, left - 1, memory_order_relaxed);
#endif
    return 1;
}

/* The owner's own sums. */
static inline uint64_t si__heap_bytes(const si__heap_cell *cell) {
    return atomic_load_explicit(&cell->bytes_until, memory_order_relaxed) -
           atomic_load_explicit(&cell->bytes_left, memory_order_relaxed);
}
static inline uint64_t si__heap_frees(const si__heap_cell *cell) {
    return atomic_load_explicit(&cell->frees_until, memory_order_relaxed) -
           atomic_load_explicit(&cell->frees_left, memory_order_relaxed);
}

/* The owner sets the sums anew, with so much left until the next visit. */
void si__heap_set_bytes(si__heap_cell *cell, uint64_t bytes, uint64_t left);
void si__heap_set_frees(si__heap_cell *cell, uint64_t frees, uint64_t left);

/* A visit: the calling thread's cell, which may be another one than before, after handing in. Host thread. */
si__heap_cell *si__heap_visit(si__heap_thread *self);

/* Hands in what every thread of this process has counted. Any thread. */
void si__heap_hand_in(si__region *region);

/* Once, when the sampler starts: forked children get wiped cells; threads that end hand in. 0 or -1. */
int si__heap_threads_setup(void);

#endif
