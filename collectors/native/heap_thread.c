/* Counting allocations: see heap_thread.h. Host threads, within their calls of malloc and free; never a signal handler
   of ours. */
#include "heap_thread.h"

#include <errno.h>
#include <sys/mman.h>

#include "fork.h"
#include "probe.h"
#include "thread.h"

enum { HAND_IN_NS = 1000000000 };

/* Of threads before their first visit: says that one is due, which a few bytes more or less, by threads that take from
   it at the same moment, do not change. */
#define NOTHING_LEFT ((uint64_t)1 << 63 | (uint64_t)1 << 62)
static si__heap_cell nobody = {.bytes_left = NOTHING_LEFT, .frees_left = NOTHING_LEFT};
__thread si__heap_thread si__heap_self = {.cell = &nobody};

static struct cells { si__heap_cell of[SI__SLOT_COUNT]; } __attribute__((aligned(4096))) cells;

static _Atomic uint64_t handed_in_ns; /* when a thread last did it for all */

/* Several threads may hand in the same cell: a number never goes back. */
static void raise_to(_Atomic uint64_t *to, uint64_t now) {
    uint64_t old = atomic_load_explicit(to, memory_order_relaxed);
    while (old < now &&
           !atomic_compare_exchange_weak_explicit(to, &old, now, memory_order_relaxed, memory_order_relaxed)) {}
}

/* A limit and what is left of it change together. */
static void set(si__heap_cell *cell, _Atomic uint64_t *until, _Atomic uint64_t *left_there, uint64_t sum,
                uint64_t left) {
    uint32_t version = atomic_load_explicit(&cell->version, memory_order_relaxed);
    atomic_store_explicit(&cell->version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(until, sum + left, memory_order_relaxed);
    atomic_store_explicit(left_there, left, memory_order_relaxed);
    atomic_store_explicit(&cell->version, version + 2, memory_order_release);
}

void si__heap_set_bytes(si__heap_cell *cell, uint64_t bytes, uint64_t left) {
    set(cell, &cell->bytes_until, &cell->bytes_left, bytes, left);
}

void si__heap_set_frees(si__heap_cell *cell, uint64_t frees, uint64_t left) {
    set(cell, &cell->frees_until, &cell->frees_left, frees, left);
}

/* Sums of a cell that its owner may be changing. 0: a visit is under way, and hands in itself. */
static int read_sums(const si__heap_cell *cell, uint64_t *bytes, uint64_t *frees) {
    for (int tries = 0; tries < 8; tries++) {
        uint32_t version = atomic_load_explicit(&cell->version, memory_order_acquire);
        uint64_t bytes_left = atomic_load_explicit(&cell->bytes_left, memory_order_relaxed);
        uint64_t frees_left = atomic_load_explicit(&cell->frees_left, memory_order_relaxed);
        *bytes = atomic_load_explicit(&cell->bytes_until, memory_order_relaxed) - bytes_left;
        *frees = atomic_load_explicit(&cell->frees_until, memory_order_relaxed) - frees_left;
        atomic_thread_fence(memory_order_acquire);
        if ((int64_t)bytes_left < 0 || (int64_t)frees_left < 0) return 0;
        if (version % 2 == 0 && atomic_load_explicit(&cell->version, memory_order_relaxed) == version) return 1;
    }
    return 0;
}

static void hand_in(si__region *region, uint32_t index) {
    si__tallies *tallies = si__region_tallies(region, index);
    const si__heap_cell *cell = &cells.of[index];
    uint64_t bytes, frees;
    if (!read_sums(cell, &bytes, &frees)) return;
    raise_to(&tallies->of[SI__TALLY_MALLOC], atomic_load_explicit(&cell->mallocs, memory_order_relaxed));
    raise_to(&tallies->of[SI__TALLY_FREE], frees);
    raise_to(&tallies->of[SI__TALLY_MALLOC_BYTES], bytes);
}

void si__heap_hand_in(si__region *region) {
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) hand_in(region, i);
}

/* What the thread counted before it had a slot comes along; its time with another slot is that slot's. Nothing is left
   of the limits of the cell that it leaves. */
static void move_to(si__heap_thread *self, si__heap_cell *cell) {
    uint64_t unseen = 0;
    if (self->cell == &self->own) {
        si__heap_cell *own = &self->own;
        uint64_t mallocs = atomic_load_explicit(&cell->mallocs, memory_order_relaxed) +
                           atomic_load_explicit(&own->mallocs, memory_order_relaxed);
        unseen = si__heap_bytes(own) - self->seen;
        atomic_store_explicit(&cell->mallocs, mallocs, memory_order_relaxed);
        si__heap_set_bytes(cell, si__heap_bytes(cell) + si__heap_bytes(own), 0);
        si__heap_set_frees(cell, si__heap_frees(cell) + si__heap_frees(own), 0);
        atomic_store_explicit(&own->mallocs, 0, memory_order_relaxed);
        si__heap_set_bytes(own, 0, 0);
        si__heap_set_frees(own, 0, 0);
    }
    self->seen = si__heap_bytes(cell) - unseen;
    self->cell = cell;
}

static uint64_t next_window(uint64_t window, int soon, uint64_t min, uint64_t max) {
    window = soon ? window * 2 : window / 2;
    return window < min ? min : window < max ? window : max;
}

si__heap_cell *si__heap_visit(si__heap_thread *self) {
    si__region *region = self->ended ? NULL : si__owner_region();
    si__slot *slot = region ? si__thread_slot() : NULL;
    uint32_t index = slot ? (uint32_t)(slot - si__region_slot(region, 0)) : 0;
    si__heap_cell *cell = slot ? &cells.of[index] : &self->own;
    if (cell != self->cell) move_to(self, cell);
    if (si__heap_bytes(cell) < self->seen) self->seen = 0; /* wiped by a fork */
    if (!slot) {
        si__heap_set_frees(cell, si__heap_frees(cell), SI__HEAP_VISIT_FREES_MIN);
        return cell;
    }
    uint64_t now = si__now_ns();
    int soon = now - self->seen_ns < SI__HEAP_VISIT_NS;
    self->window = next_window(self->window, soon, SI__HEAP_VISIT_MIN, SI__HEAP_VISIT_MAX);
    self->free_window = next_window(self->free_window, soon, SI__HEAP_VISIT_FREES_MIN, SI__HEAP_VISIT_FREES_MAX);
    self->seen_ns = now;
    si__heap_set_frees(cell, si__heap_frees(cell), self->free_window);
    hand_in(region, index);
    uint64_t last = atomic_load_explicit(&handed_in_ns, memory_order_relaxed);
    if (now - last > HAND_IN_NS &&
        atomic_compare_exchange_strong_explicit(&handed_in_ns, &last, now, memory_order_relaxed, memory_order_relaxed))
        si__heap_hand_in(region);
    return cell;
}

/* The slot's next owner will count in its cell: nothing that this thread still does may touch it. */
static void ending(void) {
    si__heap_thread *self = &si__heap_self;
    self->busy = 1;
    if (self->cell != &nobody) si__heap_visit(self);
    self->ended = 1;
    si__heap_visit(self);
    self->busy = 0;
}

int si__heap_threads_setup(void) {
    int saved = errno;
    madvise(&cells, sizeof cells, MADV_WIPEONFORK); /* without it, the child's counts start at the parent's */
    errno = saved;
    return si__threads_at_end(ending);
}
