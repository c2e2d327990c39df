/*
 * CPU time: where the program's threads spend it. A timer on each thread's CPU clock raises our signal in that thread;
 * the handler walks the stack and writes one event to the thread's ring.
 *
 * Everything below `tick` runs in the signal handler of a host thread: no allocation, no lock, nothing but loads,
 * stores and (at the edges of a thread's life) system calls.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "collector.h"
#include "native/alternate_stack.h"
#include "native/hook.h"
#include "native/interpreter.h"
#include "native/probe.h"
#include "native/sandbox.h"
#include "native/signal.h"
#include "native/thread.h"
#include "native/timer.h"
#include "native/unwind.h"
#include "si/si.h"

enum {
    HELD_TICKS = 8,       /* ticks kept back at the start of a process, until the first unwind tables are there */
    NAME_EVERY_TICKS = 64 /* threads are renamed now and then */
};

/* Whether the walk may read [sp, hi). Clamped to the thread's descriptor, which lies above every frame on its stack. */
static uint64_t stack_end(si__slot *slot, uint64_t sp, uint64_t *lo) {
    uint64_t hi;
    *lo = si__thread_stack(slot, &hi);
    if (hi == 0 || sp < *lo || sp >= hi) {
        atomic_store_explicit(&slot->sp_seen, sp, memory_order_relaxed);
        return 0;
    }
    uint64_t descriptor = (uint64_t)(uintptr_t)__builtin_thread_pointer();
    return descriptor > sp && descriptor < hi ? descriptor : hi;
}

static void record(si__region *region, si__slot *slot, uint64_t ticks, uint64_t period_ns, const void *ucontext) {
    si__event *event = si__ring_reserve(slot, SI__FRAMES_MAX, 0);
    if (!event) return;
    si__regs regs;
    unsigned flags = 0, frames = 1;
    uint64_t lo = 0, *pcs = si__event_pcs(event);
    si__regs_from_ucontext(&regs, ucontext);
    uint64_t hi = stack_end(slot, regs.sp, &lo);
    if (hi) {
        frames = si__unwind(region, slot, &regs, lo, hi, pcs, SI__FRAMES_MAX, &flags);
    } else {
        pcs[0] = regs.pc;
        flags = SI__STACK_OFF;
    }
    event->time_ns = si__now_ns();
    event->value = (int64_t)(ticks * period_ns);
    event->count = (uint32_t)ticks;
    event->flags = (uint16_t)flags;
    event->frame_count = (uint16_t)frames;
    if (si__interpreter_take) {
        const si__interpreted sample = {region, slot, event, SI__EVENT_CPU, &regs, hi, NULL, 0, 1};
        if (si__interpreter_take(&sample)) {
            si__ring_cancel(slot, event, SI__FRAMES_MAX, 0);
            return;
        }
    }
    si__ring_trim(slot, event, SI__FRAMES_MAX, 0);
    si__ring_commit(event, SI__EVENT_CPU);
}

/* The thread that this tick is for, if it is this one. Discovery made the record of a thread that ran already: its
   first tick tells the thread of it. If the thread had made one itself at the same moment, the other goes away. */
static si__thread *thread_of_tick(const siginfo_t *info) {
    si__thread *thread = info->si_value.sival_ptr, *self = si__thread_self();
    if (self == thread) return self;
    if (si__sandboxed() || !si__thread_is_mine(thread)) return NULL;
    if (!self) {
        si__thread_adopt(thread);
        return thread;
    }
    si__timer_stop(thread);
    uint32_t live = SI__SLOT_LIVE;
    atomic_compare_exchange_strong(&thread->slot->state, &live, SI__SLOT_CLOSED);
    return NULL;
}

static uint64_t ticks_in(const siginfo_t *info) {
    return 1 + (uint64_t)(info->si_overrun > 0 ? info->si_overrun : 0);
}

/* Counts a tick. Returns how many the sample to be taken now stands for; 0: none now. */
static uint64_t account(si__region *region, si__thread *thread, const siginfo_t *info, uint64_t *period_ns) {
    uint64_t ticks = ticks_in(info), held;
    if (atomic_exchange_explicit(&thread->arming, 1, memory_order_acquire)) return 0; /* its rate changes right now */
    *period_ns = thread->period_ns;
    if (*period_ns == 0) { /* off: the slow tick only looks for a new rate */
        atomic_store_explicit(&thread->arming, 0, memory_order_release);
        return 0;
    }
    thread->ticks += ticks;
    held = thread->held + ticks;
    int keep = held <= HELD_TICKS && atomic_load_explicit(&region->modules_seen, memory_order_relaxed) == 0 &&
               !atomic_load_explicit(&region->inherits, memory_order_relaxed);
    thread->held = keep ? held : 0;
    int look = thread->ticks % NAME_EVERY_TICKS < ticks;
    atomic_store_explicit(&thread->arming, 0, memory_order_release);
    if (look && !si__sandboxed()) prctl(PR_GET_NAME, thread->slot->name);
    return keep ? 0 : held;
}

static void note_held(si__thread *thread, const void *ucontext) {
    si__regs regs;
    if (!thread->held) return;
    si__regs_from_ucontext(&regs, ucontext);
    thread->held_pc = regs.pc;
}

static void tick(int signal, siginfo_t *info, void *ucontext) {
    int saved = errno;
    if (!si__signal_is_tick(info)) {
        si__signal_pass_on(signal, info, ucontext);
        errno = saved;
        return;
    }
    si__thread *thread = thread_of_tick(info);
    si__region *region = thread ? si__probe_region_needed() : NULL;
    if (region && thread->slot) {
        uint64_t period_ns = 0, ticks = account(region, thread, info, &period_ns);
        if (ticks)
            record(region, thread->slot, ticks, period_ns, ucontext);
        else
            note_held(thread, ucontext);
        if (!si__sandboxed()) si__timer_follow(region, thread);
    }
    errno = saved;
}

/* A host's sigwait took the tick: its CPU time goes to the thread's next sample. */
static void stray_tick(const siginfo_t *info) {
    si__thread *self = si__thread_self();
    if (!self || info->si_value.sival_ptr != self) return;
    if (atomic_exchange_explicit(&self->arming, 1, memory_order_acquire)) return;
    if (self->period_ns) {
        self->ticks += ticks_in(info);
        self->held += ticks_in(info);
    }
    atomic_store_explicit(&self->arming, 0, memory_order_release);
}

static void thread_started(si__thread *thread, int self) {
    if (self) si__alternate_stack_give((uint32_t)(thread - si__thread_at(0)));
    si__timer_start(thread);
}

static void thread_ended(si__thread *thread, int self) {
    if (self && si__interpreter_take) si__interpreter_take(NULL);
    if (si__sandboxed()) return; /* the timer of a thread that is gone does not run */
    si__timer_stop(thread);
    if (self) {
        si__timer_settle(thread);
        si__alternate_stack_take();
    }
}

static const si__thread_watcher watcher = {thread_started, thread_ended};

/* ---- Start and stop: the opener's thread ---- */

static int first_timer(char *reason, size_t reason_bytes) {
    si__region *region = si__probe_region();
    si__slot *slot = si__thread_slot();
    if (!region || !slot) {
        snprintf(reason, reason_bytes, "no slot for the first thread");
        return SI_EUNAVAILABLE;
    }
    if (atomic_load(&slot->timer_id) >= 0) return 0;
    int rc = si__timer_start(si__thread_of(region, slot));
    if (rc == 0) return 0;
    snprintf(reason, reason_bytes, "timer_create on a thread's CPU clock failed: %s", strerrordesc_np(-rc));
    return SI_EUNAVAILABLE;
}

/* Threads that kept their slots while the probe was closed. */
static void restart_timers(void) {
    si__region *region = si__probe_region();
    uint32_t used = region ? atomic_load_explicit(&region->slots_used, memory_order_acquire) : 0;
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(region, i);
        if (atomic_load(&slot->state) == SI__SLOT_LIVE && atomic_load(&slot->timer_id) < 0 &&
            !si__thread_at(i)->unsampled)
            si__timer_start(si__thread_at(i));
    }
}

static void retune(void) {
    si__region *region = si__probe_region();
    if (!region) return;
    int saved = errno;
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(region, i);
        if (atomic_load(&slot->state) == SI__SLOT_LIVE) si__timer_follow(region, si__thread_at(i));
    }
    errno = saved;
}

static int start(char *reason, size_t reason_bytes) {
    int rc = si__signal_install(tick, reason, reason_bytes);
    if (rc < 0) return rc;
    si__signal_stray_tick = stray_tick;
    si__alternate_stack_setup(); /* without address space for them, threads keep what they have */
    if (si__threads_watch(&watcher) != 0) {
        snprintf(reason, reason_bytes, "no thread-specific key left");
        return SI_EUNAVAILABLE;
    }
    if (!si__probe_region()) return 0; /* put off: the first thread has its timer, others do not exist */
    rc = first_timer(reason, reason_bytes);
    if (rc != 0) {
        si__threads_watch(NULL);
        return rc;
    }
    restart_timers();
    if (!si__probe_is_preloaded()) si__hook_install(&si__libc_hooks);
    si__threads_discover();
    retune();
    return 0;
}

static void stop(void) {
    si__hook_remove(&si__libc_hooks);
    si__threads_watch(NULL);
    /* Only records that were used once: in the others, the number of a timer is that of somebody else's first one. */
    const si__region *region = si__probe_region_made();
    uint32_t used = region ? atomic_load_explicit(&region->slots_used, memory_order_acquire) : 0;
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) si__timer_stop(si__thread_at(i));
}

const si__collector si__collector_cpu = {
    .name = "cpu", .title = "CPU time", .start = start, .stop = stop, .retune = retune};
