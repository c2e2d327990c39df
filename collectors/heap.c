/*
 * Heap: what is allocated and not released yet, by call site, and how much is allocated at all.
 *
 * Every thread's allocations, added up in bytes, are sampled at exponentially distributed distances (native/poisson.h).
 * A sample writes an event with the stack of the call and an entry into the live set (native/live.h), which leaves it
 * when the memory is released, before the allocator hears of it: after that the address may be somebody else's.
 *
 * Runs on host threads within their calls, which may hold the allocator's callers' locks, or be in a signal handler or
 * a vfork child (whose heap is its parent's, so it is counted as the parent). Hence: no lock, no allocation, errno
 * kept.
 */
#include "heap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector.h"
#include "native/fork.h"
#include "native/probe.h"
#include "native/record.h"
#include "native/sandbox.h"
#include "native/thread.h"
#include "si/si.h"

enum {
    SAMPLES_PER_S = 100,
    MEAN_BEFORE_REGION = 512 * 1024, /* until the region says another one */
    LIVE_EASY = SI__LIVE_COUNT / 2,  /* entries from which on samples become rarer */
    LIVE_STEP = SI__LIVE_COUNT / 16,
    RING_EASY = SI__RING_BYTES / 2, /* likewise, bytes that wait in the thread's ring */
    RING_STEP = SI__RING_BYTES / 16,
    UNSAMPLED_BYTES = 16 * 1024,
    EARLY_VISITS = 10000
};

static _Atomic int watching; /* 1: started; before, a preloaded probe's functions run already */

/* ---- R: the mean distance of samples ---- */

static _Atomic uint64_t raised_mean;   /* what the rate of samples has brought R to; 0: nothing */
static _Atomic uint64_t rate_since_ns; /* samples are counted since */
static _Atomic uint32_t rate_samples;

/* How often R doubles so that the ring of this thread has room for what comes until it is drained. A sample that found
   none would be live without a stack. */
static unsigned doublings_for_ring(void) {
    const si__slot *slot = si__thread_slot();
    if (!slot) return 0;
    uint64_t waiting = atomic_load_explicit(&slot->reserve_pos, memory_order_relaxed) -
                       atomic_load_explicit(&slot->read_pos, memory_order_relaxed);
    if (waiting <= RING_EASY || waiting > SI__RING_BYTES) return 0;
    return (unsigned)(1 + (waiting - RING_EASY) / RING_STEP);
}

/* The R now in force. 0: off. */
static uint64_t mean_now(const si__region *region) {
    uint64_t asked = atomic_load_explicit(&region->control.heap_bytes, memory_order_relaxed);
    if (asked == 0) return 0;
    uint64_t raised = atomic_load_explicit(&raised_mean, memory_order_relaxed);
    uint64_t mean = (raised > asked ? raised : asked) << doublings_for_ring();
    uint32_t live = si__live_count();
    return live <= LIVE_EASY ? mean : mean << (1 + (live - LIVE_EASY) / LIVE_STEP);
}

static void set_raised(uint64_t mean, uint64_t asked) {
    if (mean > 1ull << 40) mean = 1ull << 40;
    atomic_store_explicit(&raised_mean, mean > asked ? mean : 0, memory_order_relaxed);
}

/* A sample was taken: R follows their rate. Racing threads may adapt it once too often, which the next second mends. */
static void follow_rate(const si__region *region) {
    uint64_t asked = atomic_load_explicit(&region->control.heap_bytes, memory_order_relaxed);
    uint64_t raised = atomic_load_explicit(&raised_mean, memory_order_relaxed), now = si__now_ns();
    uint64_t mean = raised > asked ? raised : asked;
    uint64_t since = atomic_load_explicit(&rate_since_ns, memory_order_relaxed), elapsed_ns = now - since;
    uint32_t samples = atomic_fetch_add_explicit(&rate_samples, 1, memory_order_relaxed) + 1;
    if (elapsed_ns < 1000000000u) { /* a storm is not waited out */
        if (samples % SAMPLES_PER_S == 0) set_raised(mean * 2, asked);
        return;
    }
    if (!atomic_compare_exchange_strong_explicit(&rate_since_ns, &since, now, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    atomic_store_explicit(&rate_samples, 0, memory_order_relaxed);
    for (uint64_t limit = samples; raised > asked && limit * 2000000000u < SAMPLES_PER_S * elapsed_ns; limit *= 2)
        set_raised(raised = raised / 2, asked);
}

/* ---- Samples ---- */

static void take_sample(si__region *region, const void *made, const si__weight *weight, const void *caller) {
    uint64_t serial;
    uint32_t index = si__live_add(region, made, weight->quantity, weight->calls_q16, &serial);
    si__record_here(&(si__record){.type = SI__EVENT_ALLOC,
                                  .detail = index,
                                  .count = weight->calls,
                                  .value = weight->quantity,
                                  .caller = caller,
                                  .text = &serial,
                                  .text_bytes = sizeof serial});
    follow_rate(region);
}

/* Preloaded, the region may have been put off: who allocates enough to be sampled gets one, if it can be had. */
static si__region *region_for_sample(void) {
    si__region *region = si__owner_region();
    if (region || !si__probe_is_preloaded() || si__sandboxed()) return region;
    const si__thread *self = si__thread_self();
    if (!self || self->tid != (int32_t)syscall(SYS_gettid)) return NULL; /* not in a vfork child */
    return si__probe_region_needed();
}

/* Brings the thread's distance to the next sample up to date: `bytes` more were just allocated at `made`. */
static void advance(si__heap_thread *self, const void *made, size_t bytes, const void *caller) {
    si__region *region = si__owner_region();
    int early =
        !region && si__probe_is_preloaded() && atomic_load_explicit(&si__owner_get()->alive, memory_order_relaxed);
    uint64_t mean = region && !self->ended && self->cell != &self->own ? mean_now(region)
                    : early                                            ? MEAN_BEFORE_REGION
                                                                       : 0;
    si__poisson *poisson = &self->poisson;
    si__weight weight;
    if (mean == 0) {
        poisson->mean = 0; /* whoever turns it on begins anew */
        return;
    }
    if ((!si__poisson_hit(poisson, bytes) && poisson->mean) || !si__poisson_weight(poisson, bytes, mean, &weight)) {
        if (poisson->mean != mean) si__poisson_draw(poisson, mean); /* distances have no memory: any time is right */
        return;
    }
    region = region_for_sample();
    mean = region ? mean_now(region) : 0;
    if (mean) take_sample(region, made, &weight, caller);
    if (mean && early) si__poisson_draw(poisson, mean);
}

/* How far a thread may go without a visit. Where nothing is sampled, not so far that a beginning would be missed. */
static uint64_t window_of(const si__heap_thread *self) {
    if (self->cell != &self->own) return self->window;
    static _Atomic uint32_t
        early; /* enough for what runs before us; then it is likely that we are not to start at all */
    int soon = !watching && atomic_fetch_add_explicit(&early, 1, memory_order_relaxed) < EARLY_VISITS;
    return soon ? 1 : UNSAMPLED_BYTES;
}

/* The slow half of a count: the thread's bytes since its last visit are known now, and how far it may go to the next.
 */
static void visit_allocated(si__heap_thread *self, const void *made, size_t bytes, const void *caller) {
    si__heap_cell *cell = si__heap_visit(self);
    uint64_t now = si__heap_bytes(cell), since = now - self->seen;
    si__poisson *poisson = &self->poisson;
    if (poisson->mean) poisson->left = since < (uint64_t)poisson->left ? poisson->left - (int64_t)since : 0;
    si__heap_increment(&cell->mallocs);
    si__heap_set_bytes(cell, now + bytes, 0);
    advance(self, made, bytes, caller);
    uint64_t window = window_of(self);
    if (poisson->mean && (uint64_t)poisson->left < window) window = (uint64_t)poisson->left + 1;
    self->seen = now + bytes;
    si__heap_set_bytes(cell, now + bytes, window);
}

void si__heap_allocated(void *made, size_t bytes, const void *caller) {
    si__heap_thread *self = &si__heap_self;
    if (self->busy || bytes > PTRDIFF_MAX || si__heap_count(self->cell, bytes)) return;
    int saved = errno;
    self->busy = 1;
    visit_allocated(self, made, bytes, caller);
    self->busy = 0;
    errno = saved;
}

void si__heap_forget(const void *old) {
    if (!si__live_maybe(old)) return;
    si__region *region = si__owner_region();
    uint32_t index = region ? si__live_take(region, old) : SI__LIVE_NONE;
    if (index != SI__LIVE_NONE) si__live_drop(region, index, old);
}

void si__heap_released(void) {
    si__heap_thread *self = &si__heap_self;
    if (si__heap_count_free(self->cell) || self->busy) return;
    int saved = errno;
    self->busy = 1;
    si__heap_cell *cell = si__heap_visit(self);
    si__heap_count_free(cell);
    self->busy = 0;
    errno = saved;
}

/* ---- The unusual cases of the hooked functions ---- */

void *si__heap_malloc_visit(size_t bytes, const void *caller) {
    return si__heap_made(si__heap_real.malloc(bytes), bytes, caller);
}

void *si__heap_calloc_visit(size_t count, size_t bytes, const void *caller) {
    return si__heap_made(si__heap_real.calloc(count, bytes), count * bytes, caller);
}

void si__heap_free_visit(void *old) {
    si__heap_forget(old);
    si__heap_released();
    si__heap_real.free(old);
}

/* A failure leaves the old block as it is, so its entry is only held until we know. Held, because the address may be
   another thread's new block by the time the real function returns. */
void *si__heap_realloc_visit(void *old, size_t bytes, const void *caller) {
    if (!old) return si__heap_made(si__heap_real.realloc(NULL, bytes), bytes, caller);
    si__region *region = si__owner_region();
    uint32_t index = region && si__live_maybe(old) ? si__live_take(region, old) : SI__LIVE_NONE;
    void *made = si__heap_real.realloc(old, bytes);
    int released = made || bytes == 0;
    if (index != SI__LIVE_NONE) {
        if (released)
            si__live_drop(region, index, old);
        else
            si__live_put_back(region, index, old);
    }
    if (released) si__heap_released();
    return si__heap_made(made, bytes, caller);
}

/* libc's is this and no more, and calls realloc the way we hook. */
void *si__heap_reallocarray(void *old, size_t count, size_t bytes, const void *caller) {
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return si__heap_realloc(old, all, caller);
}

/* ---- Embedded: what the modules' tables point to ---- */

static void *wrap_malloc(size_t bytes) {
    return si__heap_malloc(bytes);
}
static void *wrap_calloc(size_t count, size_t bytes) {
    return si__heap_calloc(count, bytes);
}
static void *wrap_realloc(void *old, size_t bytes) {
    return si__heap_realloc(old, bytes, SI__HEAP_CALLER);
}
static void wrap_free(void *old) {
    si__heap_free(old);
}
static void *wrap_reallocarray(void *old, size_t count, size_t bytes) {
    return si__heap_reallocarray(old, count, bytes, SI__HEAP_CALLER);
}
static int wrap_posix_memalign(void **out, size_t alignment, size_t bytes) {
    return si__heap_posix_memalign(out, alignment, bytes, SI__HEAP_CALLER);
}
static void *wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return si__heap_made(si__heap_real.aligned_alloc(alignment, bytes), bytes, SI__HEAP_CALLER);
}
static void *wrap_memalign(size_t alignment, size_t bytes) {
    return si__heap_made(si__heap_real.memalign(alignment, bytes), bytes, SI__HEAP_CALLER);
}
static void *wrap_valloc(size_t bytes) {
    return si__heap_made(si__heap_real.valloc(bytes), bytes, SI__HEAP_CALLER);
}
static void *wrap_pvalloc(size_t bytes) {
    return si__heap_made(si__heap_real.pvalloc(bytes), bytes, SI__HEAP_CALLER);
}

static const si__hook hooks[] = {
#define X(name, result, parameters, arguments)                                                                         \
    {#name, (uintptr_t)wrap_##name, (uintptr_t *)(void *)&si__heap_real.name},
    SI__HEAP_HOOKED(X)
#undef X
};
#if defined(__SANITIZE_THREAD__) /* libc allocates for a new thread before its sanitizer is ready for our code */
enum { WITHIN_LIBC = 0 };
#else
enum { WITHIN_LIBC = 1 };
#endif
static const si__hook_table table = {.hooks = hooks, .count = sizeof hooks / sizeof *hooks, .in_libc = WITHIN_LIBC};

/* ---- Start and stop: the opener's or the runtime's thread ---- */

static int watch(si__region *region, char *reason, size_t reason_bytes) {
    if (watching) return 0;
    int rc = si__heap_find_real(si__probe_is_preloaded(), reason, reason_bytes);
    if (rc != 0) return SI_EUNAVAILABLE;
    if (si__heap_threads_setup() != 0) {
        snprintf(reason, reason_bytes, "no room to notice threads that end");
        return SI_EUNAVAILABLE;
    }
    si__live_setup();
    atomic_store_explicit(&raised_mean, 0, memory_order_relaxed);
    atomic_store_explicit(&rate_samples, 0, memory_order_relaxed);
    if (region) si__live_clear(region);
    if (!si__probe_is_preloaded()) rc = si__hook_install(&table);
    if (rc == 0 && si__heap_operators_bypass()) {
        si__heap_find_operators();
        rc = si__hook_install(&si__heap_operator_hooks);
    }
    if (rc != 0) {
        snprintf(reason, reason_bytes, "no room for its hooks");
        return SI_EUNAVAILABLE;
    }
    watching = 1;
    return 0;
}

static void unwatch(si__region *region) {
    if (!watching) return;
    si__hook_remove(&si__heap_operator_hooks);
    if (!si__probe_is_preloaded()) si__hook_remove(&table);
    watching = 0;
    if (!region) return;
    si__heap_hand_in(region);
    si__live_clear(region);
}

static void retune(void) {
    si__region *region = si__probe_region();
    char reason[SI__REASON_BYTES];
    if (!region) return;
    if (atomic_load_explicit(&region->control.heap_bytes, memory_order_relaxed))
        watch(region, reason, sizeof reason); /* what could fail has been tried at start */
    else
        unwatch(region);
}

/* Preloaded, it stays in place while off: what it finds when turned on again was all seen. */
static int start(char *reason, size_t reason_bytes) {
    si__region *region = si__probe_region();
    if (!si__probe_is_preloaded() && region &&
        atomic_load_explicit(&region->control.heap_bytes, memory_order_relaxed) == 0)
        return si__heap_find_real(0, reason, reason_bytes) == 0 ? 0 : SI_EUNAVAILABLE;
    return watch(region, reason, reason_bytes);
}

static void stop(void) {
    unwatch(si__probe_region_made());
}

const si__collector si__collector_heap = {
    .name = "heap", .title = "Heap", .start = start, .stop = stop, .retune = retune};
