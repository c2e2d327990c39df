/* Counting allocations: see heap_thread.h. Host threads, within their calls of malloc and free; never a signal handler
   of ours. */
#include "heap_thread.h"

#include <errno.h>
#include <sys/mman.h>

#include "fork.h"
#include "probe.h"
#include "thread.h"

enum { HAND_IN_NS = 1000000000 };

static si__heap_cell nobody; /* of threads before their first visit: says that one is due; never written */
__thread si__heap_thread si__heap_self = {.cell = &nobody};

static struct cells { si__heap_cell of[SI__SLOT_COUNT]; } __attribute__((aligned(4096))) cells;

static _Atomic uint64_t handed_in_ns; /* when a thread last did it for all */

/* Several threads may hand in the same cell: a number never goes back. */
static void raise_to(_Atomic uint64_t *to, _Atomic uint64_t *from) {
    uint64_t now = atomic_load_explicit(from, memory_order_relaxed);
    uint64_t old = atomic_load_explicit(to, memory_order_relaxed);
    while (old < now &&
           !atomic_compare_exchange_weak_explicit(to, &old, now, memory_order_relaxed, memory_order_relaxed)) {}
}

static void hand_in(si__region *region, uint32_t index) {
    si__tallies *tallies = si__region_tallies(region, index);
    si__heap_cell *cell = &cells.of[index];
    raise_to(&tallies->of[SI__TALLY_MALLOC], &cell->mallocs);
    raise_to(&tallies->of[SI__TALLY_FREE], &cell->frees);
    raise_to(&tallies->of[SI__TALLY_MALLOC_BYTES], &cell->bytes);
}

void si__heap_hand_in(si__region *region) {
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) hand_in(region, i);
}

static void add(_Atomic uint64_t *to, _Atomic uint64_t *from) {
    atomic_fetch_add_explicit(to, atomic_exchange_explicit(from, 0, memory_order_relaxed), memory_order_relaxed);
}

/* What the thread counted before it had a slot comes along; its time with another slot is that slot's. */
static void move_to(si__heap_thread *self, si__heap_cell *cell) {
    uint64_t unseen = 0;
    if (self->cell == &self->own) {
        unseen = atomic_load_explicit(&self->own.bytes, memory_order_relaxed) - self->seen;
        add(&cell->bytes, &self->own.bytes);
        add(&cell->mallocs, &self->own.mallocs);
        add(&cell->frees, &self->own.frees);
        atomic_store_explicit(&self->own.bytes_until, 0, memory_order_relaxed);
        atomic_store_explicit(&self->own.frees_until, 0, memory_order_relaxed);
    }
    self->seen = atomic_load_explicit(&cell->bytes, memory_order_relaxed) - unseen;
    self->cell = cell;
}

si__heap_cell *si__heap_visit(si__heap_thread *self) {
    si__region *region = self->ended ? NULL : si__owner_region();
    si__slot *slot = region ? si__thread_slot() : NULL;
    uint32_t index = slot ? (uint32_t)(slot - si__region_slot(region, 0)) : 0;
    si__heap_cell *cell = slot ? &cells.of[index] : &self->own;
    if (cell != self->cell) move_to(self, cell);
    if (atomic_load_explicit(&cell->bytes, memory_order_relaxed) < self->seen) self->seen = 0; /* wiped by a fork */
    atomic_store_explicit(&cell->frees_until,
                          atomic_load_explicit(&cell->frees, memory_order_relaxed) + SI__HEAP_VISIT_FREES,
                          memory_order_relaxed);
    if (!slot) return cell;
    hand_in(region, index);
    uint64_t now = si__now_ns();
    uint64_t window = now - self->seen_ns < SI__HEAP_VISIT_NS ? self->window * 2 : self->window / 2;
    self->window = window < SI__HEAP_VISIT_MIN   ? SI__HEAP_VISIT_MIN
                   : window < SI__HEAP_VISIT_MAX ? window
                                                 : SI__HEAP_VISIT_MAX;
    self->seen_ns = now;
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
