/*
 * Slots, and who owns them: see thread.h. A slot is claimed with one exchange by whoever needs it: the creator of a
 * thread, the thread itself, or discovery on the runtime's thread.
 */
#include "thread.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "discover.h"
#include "fork.h"
#include "hook.h"
#include "sandbox.h"
#include "signal.h"

extern void *__libc_stack_end; /* the dynamic linker's: where the main thread's stack began */

enum { IGNORED_MAX = 64, ENDINGS_MAX = 4 };
#define MAIN_STACK_MAX (64ull << 20) /* the kernel keeps at least 128 MiB below the main stack free of mappings */

static si__thread threads[SI__SLOT_COUNT];
static si__thread refused; /* stands for "no slot for this thread", so that it does not search again and again */
static __thread si__thread *self_now __attribute__((tls_model("initial-exec")));

static _Atomic(const si__thread_watcher *) watcher;
static pthread_key_t end_key;
static _Atomic int end_key_made;
static _Atomic uint32_t claim_hint;
static _Atomic int32_t ignored[IGNORED_MAX];
static _Atomic(void (*)(void)) endings[ENDINGS_MAX];

static int32_t own_tid(void) {
    return (int32_t)syscall(SYS_gettid);
}

si__thread *si__thread_self(void) {
    return self_now == &refused ? NULL : self_now;
}
si__thread *si__thread_at(uint32_t index) {
    return threads + index;
}

si__thread *si__thread_of(si__region *region, const si__slot *slot) {
    return threads + (slot - si__region_slot(region, 0));
}

void si__thread_adopt(si__thread *thread) {
    if (!self_now) self_now = thread;
}

int si__thread_is_mine(const si__thread *thread) {
    si__region *region = si__probe_region();
    if (!region) return 0;
    si__slot *slot = si__region_slot(region, (uint32_t)(thread - threads));
    /* The state was stored last by whoever made the record: behind it, everything in it is there. */
    return atomic_load_explicit(&slot->state, memory_order_acquire) == SI__SLOT_LIVE &&
           atomic_load_explicit(&slot->tid, memory_order_relaxed) == own_tid();
}

static void tell_started(si__thread *thread, int self) {
    const si__thread_watcher *now = atomic_load_explicit(&watcher, memory_order_acquire);
    if (now && now->started) now->started(thread, self);
}

static void tell_ended(si__thread *thread, int self) {
    const si__thread_watcher *now = atomic_load_explicit(&watcher, memory_order_acquire);
    if (now && now->ended) now->ended(thread, self);
}

/* ---- Stack bounds ---- */

uint64_t si__thread_stack(const si__slot *slot, uint64_t *hi) {
    uint64_t high = atomic_load_explicit(&slot->stack_hi, memory_order_acquire);
    uint64_t low = atomic_load_explicit(&slot->stack_lo, memory_order_acquire);
    /* The runtime clears hi, stores lo, stores hi: an unchanged hi around lo means that they belong together. */
    if (atomic_load_explicit(&slot->stack_hi, memory_order_relaxed) != high) high = 0;
    *hi = high;
    return low;
}

static void set_bounds(si__slot *slot, uint64_t low, uint64_t high) {
    atomic_store_explicit(&slot->stack_lo, low, memory_order_relaxed);
    atomic_store_explicit(&slot->stack_hi, high, memory_order_release);
    atomic_fetch_or_explicit(&slot->flags, SI__SLOT_STACK_SURE, memory_order_relaxed);
}

static void set_main_bounds(si__slot *slot) {
    struct rlimit limit;
    uint64_t bytes = MAIN_STACK_MAX;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < bytes) bytes = limit.rlim_cur;
    uint64_t high = ((uint64_t)(uintptr_t)__libc_stack_end + 15) & ~15ull;
    set_bounds(slot, high - bytes, high);
}

/* A stack from libc has the thread's descriptor at its top; below it lie `stack_bytes` less a little. */
static void set_own_bounds(si__thread *thread) {
    uint64_t sp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    uint64_t top = (uint64_t)(uintptr_t)pthread_self();
    if (thread->stack_hi) {
        if (top > sp && top < thread->stack_hi) thread->stack_hi = top;
        set_bounds(thread->slot, thread->stack_lo, thread->stack_hi);
    } else if (top > sp && top - sp < thread->stack_bytes) {
        uint64_t low = ((top - thread->stack_bytes + 4095) & ~4095ull) + 4096;
        if (low <= sp) set_bounds(thread->slot, low, top);
    }
}

/* What the creator knows of the stack, without allocating. */
static void note_stack(si__thread *thread, const pthread_attr_t *attr) {
    void *at = NULL;
    size_t bytes = 0;
    thread->stack_lo = thread->stack_hi = thread->stack_bytes = 0;
    pthread_attr_t defaults;
    if (!attr) {
        if (pthread_attr_init(&defaults) != 0) return;
        if (pthread_attr_getstacksize(&defaults, &bytes) == 0) thread->stack_bytes = bytes;
        pthread_attr_destroy(&defaults);
        return;
    }
    if (pthread_attr_getstack(attr, &at, &bytes) == 0 && at) {
        /* Without a stack of the host's, libc reports the address 0 less the size. */
        if ((uint64_t)(uintptr_t)at + bytes != 0) {
            thread->stack_lo = (uint64_t)(uintptr_t)at;
            thread->stack_hi = thread->stack_lo + bytes;
            return;
        }
    }
    if (pthread_attr_getstacksize(attr, &bytes) == 0) thread->stack_bytes = bytes;
}

/* ---- Claiming and closing ---- */

static void use_more_slots(si__region *region, uint32_t index) {
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_relaxed);
    while (used <= index && !atomic_compare_exchange_weak_explicit(&region->slots_used, &used, index + 1,
                                                                   memory_order_release, memory_order_relaxed)) {}
}

static si__slot *try_claim(si__region *region, uint32_t index) {
    si__slot *slot = si__region_slot(region, index);
    uint32_t free_state = SI__SLOT_FREE;
    if (atomic_load_explicit(&slot->state, memory_order_relaxed) != SI__SLOT_FREE ||
        !atomic_compare_exchange_strong(&slot->state, &free_state, SI__SLOT_CLAIMED))
        return NULL;
    use_more_slots(region, index);
    return slot;
}

/* Slots used before come first: their rings have memory already. */
static si__thread *claim(si__region *region, int32_t tid) {
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_relaxed);
    uint32_t hint = atomic_load_explicit(&claim_hint, memory_order_relaxed);
    if (used > SI__SLOT_COUNT) used = SI__SLOT_COUNT;
    if (hint >= used) hint = 0;
    si__slot *slot = NULL;
    uint32_t index = 0;
    for (uint32_t step = 0; step < SI__SLOT_COUNT && !slot; step++) {
        index = step < used ? (hint + step) % used : step;
        slot = try_claim(region, index);
    }
    if (!slot) {
        atomic_fetch_add_explicit(&region->threads_refused, 1, memory_order_relaxed);
        return NULL;
    }
    atomic_store_explicit(&claim_hint, index + 1, memory_order_relaxed);
    si__thread *thread = threads + index;
    memset(thread, 0, sizeof *thread);
    thread->slot = slot;
    thread->tid = tid;
    atomic_store_explicit(&thread->pending_timer, -1, memory_order_relaxed);
    atomic_store_explicit(&slot->timer_id, -1, memory_order_relaxed);
    atomic_store_explicit(&slot->cpu_generation, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->flags, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->stack_hi, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->stack_lo, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->sp_seen, 0, memory_order_relaxed);
    atomic_store(&slot->tid, tid);
    return thread;
}

static void give_back(si__thread *thread) {
    si__slot *slot = thread->slot;
    thread->slot = NULL;
    atomic_store(&slot->tid, 0);
    atomic_store(&slot->state, SI__SLOT_FREE);
}

/* Another slot of the same thread, or NULL. */
static si__thread *find(si__region *region, int32_t tid, const si__thread *except) {
    uint32_t used = atomic_load(&region->slots_used);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(region, i);
        if (threads + i == except || atomic_load(&slot->tid) != tid) continue;
        uint32_t state = atomic_load(&slot->state);
        if (state == SI__SLOT_CLAIMED || state == SI__SLOT_LIVE) return threads + i;
    }
    return NULL;
}

/*
 * A slot for a thread that runs already. The thread itself and discovery may both try: each claims, publishes the tid,
 * then looks; at least one of them sees the other, and the one with the higher index gives way.
 */
static si__thread *claim_running(si__region *region, int32_t tid) {
    si__thread *mine = claim(region, tid);
    if (!mine) return NULL;
    si__thread *other = find(region, tid, mine);
    if (other && (atomic_load(&other->slot->state) == SI__SLOT_LIVE || other < mine)) {
        give_back(mine);
        return other;
    }
    return mine;
}

static void close_slot(si__thread *thread, int self) {
    tell_ended(thread, self);
    uint32_t live = SI__SLOT_LIVE;
    atomic_compare_exchange_strong(&thread->slot->state, &live, SI__SLOT_CLOSED);
}

int si__thread_is_ignored(int32_t tid) {
    for (uint32_t i = 0; i < IGNORED_MAX; i++)
        if (atomic_load_explicit(&ignored[i], memory_order_relaxed) == tid) return 1;
    return 0;
}

void si__thread_ignore_self(void) {
    int32_t tid = own_tid(), none = 0;
    for (uint32_t i = 0; i < IGNORED_MAX && !si__thread_is_ignored(tid); i++, none = 0)
        if (atomic_compare_exchange_strong(&ignored[i], &none, tid)) break;
    si__region *region = si__probe_region();
    si__thread *thread = region ? find(region, tid, NULL) : NULL;
    if (thread) {
        si__signal_block(1);
        close_slot(thread, 1);
    }
    self_now = &refused;
}

/* ---- The life of one thread ---- */

static void thread_ends(void *record) {
    si__thread *thread = record;
    if (!thread || self_now != thread || !atomic_load_explicit(&si__owner_get()->alive, memory_order_relaxed)) return;
    int saved = errno;
    si__signal_block(1); /* for good: a tick of a deleted timer may be pending */
    for (int i = 0; i < ENDINGS_MAX; i++) {
        void (*ending)(void) = atomic_load_explicit(&endings[i], memory_order_acquire);
        if (ending) ending();
    }
    close_slot(thread, 1);
    self_now = NULL;
    errno = saved;
}

static void begin(si__thread *thread) {
    si__slot *slot = thread->slot;
    thread->tid = own_tid();
    prctl(PR_GET_NAME, slot->name);
    atomic_store(&slot->tid, thread->tid);
    self_now = thread;
    if (atomic_load_explicit(&end_key_made, memory_order_relaxed)) pthread_setspecific(end_key, thread);
    if (si__signal_block(0)) thread->masked = 1;
    atomic_store(&slot->state, SI__SLOT_LIVE);
    tell_started(thread, 1);
}

static void *thread_main(void *record) {
    si__thread *thread = record;
    void *(*start)(void *) = thread->start;
    void *argument = thread->argument;
    int saved = errno;
    set_own_bounds(thread);
    begin(thread);
    errno = saved;
    return start(argument); /* in the optimized build a jump: no frame of ours stays on the host's stack */
}

int si__wrap_pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*start)(void *), void *argument) {
    int saved = errno;
    si__region *region = si__probe_region_needed();
    si__thread *thread = region && !si__sandboxed() ? claim(region, 0) : NULL;
    if (!thread) {
        errno = saved;
        return si__libc_real.pthread_create(out, attr, start, argument);
    }
    const si__thread *self = si__thread_self();
    thread->start = start;
    thread->argument = argument;
    thread->masked = self ? self->masked : 0;
    thread->masked_faults = self ? self->masked_faults : 0;
    note_stack(thread, attr);
    errno = saved;
    int rc = si__libc_real.pthread_create(out, attr, thread_main, thread);
    if (rc != 0) give_back(thread);
    return rc;
}

si__slot *si__thread_slot(void) {
    si__region *region = si__probe_region();
    if (!region || self_now == &refused) return NULL;
    if (self_now && self_now->slot) return self_now->slot;
    if (si__sandboxed()) return NULL;
    int saved = errno;
    int32_t tid = own_tid();
    si__thread *thread = si__thread_is_ignored(tid) ? NULL : find(region, tid, NULL);
    if (thread) {
        si__thread_adopt(thread);
    } else if (!si__thread_is_ignored(tid) && (thread = claim_running(region, tid)) != NULL) {
        if (tid == (int32_t)getpid()) set_main_bounds(thread->slot);
        if (atomic_load(&thread->slot->state) == SI__SLOT_CLAIMED)
            begin(thread);
        else
            si__thread_adopt(thread);
    }
    if (!thread) self_now = &refused;
    errno = saved;
    return thread ? thread->slot : NULL;
}

void si__thread_found(si__region *region, int32_t tid, const char *name, int sampled) {
    si__thread *thread = claim_running(region, tid);
    if (!thread || atomic_load(&thread->slot->state) != SI__SLOT_CLAIMED) return;
    strncpy(thread->slot->name, name, sizeof thread->slot->name - 1);
    if (tid == (int32_t)getpid()) set_main_bounds(thread->slot);
    atomic_store(&thread->slot->state, SI__SLOT_LIVE);
    thread->unsampled = !sampled;
    if (sampled)
        tell_started(thread, 0);
    else
        atomic_fetch_add_explicit(&region->threads_refused, 1, memory_order_relaxed);
}

void si__thread_gone(si__region *region, int32_t tid) {
    si__thread *thread = find(region, tid, NULL);
    if (thread && atomic_load(&thread->slot->state) == SI__SLOT_LIVE) close_slot(thread, 0);
}

void si__thread_enter(si__region *region) {
    si__thread *thread = self_now; /* record 0, made by si__threads_forked */
    si__slot *slot = try_claim(region, 0);
    if (!thread || thread != threads || !slot) return;
    thread->slot = slot;
    atomic_store_explicit(&slot->timer_id, atomic_exchange(&thread->pending_timer, -1), memory_order_relaxed);
    if (thread->stack_hi)
        set_bounds(slot, thread->stack_lo, thread->stack_hi);
    else
        set_main_bounds(slot);
    prctl(PR_GET_NAME, slot->name);
    atomic_store(&slot->tid, thread->tid);
    atomic_store(&slot->state, SI__SLOT_LIVE);
}

void si__threads_forked(int observed) {
    si__thread *parent = si__thread_self(), only;
    memset(&only, 0, sizeof only);
    only.tid = observed ? own_tid() : 0;
    atomic_store_explicit(&only.pending_timer, -1, memory_order_relaxed);
    if (parent) only.masked = parent->masked;
    if (parent) only.masked_faults = parent->masked_faults;
    if (parent && parent->slot) { /* a child of any thread goes on with that thread's stack */
        only.stack_lo = si__thread_stack(parent->slot, &only.stack_hi);
    } else if (parent) {
        only.stack_lo = parent->stack_lo;
        only.stack_hi = parent->stack_hi;
    }
    if (!only.masked || observed) si__signal_block(0);
    atomic_store_explicit(&claim_hint, 0, memory_order_relaxed);
    memcpy(threads, &only, sizeof only);
    self_now = observed ? threads : NULL;
}

int si__threads_at_end(void (*ending)(void)) {
    for (int i = 0; i < ENDINGS_MAX; i++) {
        void (*there)(void) = NULL;
        if (atomic_compare_exchange_strong(&endings[i], &there, ending) || there == ending) return 0;
    }
    return -1;
}

int si__threads_watch(const si__thread_watcher *now) {
    if (now && !atomic_load(&end_key_made)) {
        if (pthread_key_create(&end_key, thread_ends) != 0) return -1;
        atomic_store(&end_key_made, 1);
    }
    atomic_store_explicit(&watcher, now, memory_order_release);
    return 0;
}
