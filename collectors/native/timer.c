/* CPU timers of observed threads: see timer.h. */
#include "timer.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "signal.h"

enum { MHZ_MAX = 10 * 1000 * 1000 }; /* 10 kHz */
#define SECOND_NS 1000000000ull

static uint32_t default_mhz;
static int keep_slow_tick;
static _Atomic uint64_t random_state;

void si__timer_defaults(uint32_t cpu_mhz, int slow_tick) {
    default_mhz = cpu_mhz;
    keep_slow_tick = slow_tick;
}

/* Uniform enough for a phase (splitmix64, S. Vigna). */
static uint64_t random_number(void) {
    uint64_t z = atomic_fetch_add_explicit(&random_state, 0x9e3779b97f4a7c15ull, memory_order_relaxed);
    z += si__now_ns() ^ (uint64_t)getpid() << 40;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* The CPU clock of any thread of this process, as the kernel encodes it. */
static clockid_t clock_of(int32_t tid) {
    return (clockid_t)((~(uint32_t)tid << 3) | 6u);
}

static uint64_t cpu_time(int32_t tid) {
    struct timespec now;
    if (syscall(SYS_clock_gettime, clock_of(tid), &now) != 0) return 0;
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static struct timespec time_of(uint64_t ns) {
    return (struct timespec){(time_t)(ns / SECOND_NS), (long)(ns % SECOND_NS)};
}

static int make(si__thread *thread) {
    struct sigevent event = {0};
    int id = -1;
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = si__signal_number();
    event.sigev_value.sival_ptr = thread;
    event._sigev_un._tid = thread->tid;
    if (event.sigev_signo == 0) return -ENOSYS;
    if (syscall(SYS_timer_create, clock_of(thread->tid), &event, &id) != 0) return -errno;
    return id;
}

/*
 * Thread CPU time of the first tick at a new rate. A thread that had a rate goes on with its phase: what is left of the
 * old period, in parts of the new one; a new phase right after a tick would count too much. `starting`: a process
 * begins, and what it took to get here (fork, exec, the dynamic linker) counts.
 */
static uint64_t first_due(const si__thread *thread, uint64_t now, uint64_t period, int starting) {
    uint64_t before = thread->period_ns;
    if (before == 0) return (starting && now < period ? 0 : now) + 1 + random_number() % period;
    uint64_t next = thread->due_ns + thread->ticks * before;
    if (next <= now) return now + 1;
    return now + 1 + (uint64_t)((double)(next - now) / (double)before * (double)(period - 1));
}

static void arm(int id, si__thread *thread, uint32_t mhz, int starting) {
    struct itimerspec spec = {{0, 0}, {0, 0}};
    uint64_t period = 0;
    if (mhz > MHZ_MAX) mhz = MHZ_MAX;
    if (mhz)
        period = 1000 * SECOND_NS / mhz;
    else if (keep_slow_tick)
        period = SECOND_NS;
    if (mhz && period == thread->period_ns) return;
    if (period) {
        uint64_t now = cpu_time(thread->tid), due = first_due(thread, now, period, starting);
        thread->due_ns = due;
        if (due <= now) due += period; /* the first tick lies before: si__timer_settle records it */
        spec.it_interval = time_of(period);
        spec.it_value = time_of(due - now);
    }
    thread->period_ns = mhz ? period : 0;
    thread->ticks = 0;
    syscall(SYS_timer_settime, id, 0, &spec, NULL);
}

int si__timer_start(si__thread *thread) {
    si__region *region = si__probe_region();
    if (!region || !thread->slot) return -ESRCH;
    int id = make(thread);
    if (id < 0) {
        atomic_fetch_add_explicit(&region->threads_refused, 1, memory_order_relaxed);
        return id;
    }
    atomic_store_explicit(&thread->arming, 1, memory_order_relaxed);
    thread->period_ns = 0; /* a timer that was never armed */
    uint32_t generation = atomic_load_explicit(&region->control.generation, memory_order_acquire);
    arm(id, thread, atomic_load_explicit(&region->control.cpu_mhz, memory_order_relaxed),
        keep_slow_tick && thread->tid == (int32_t)getpid());
    atomic_store_explicit(&thread->slot->cpu_generation, generation, memory_order_relaxed);
    atomic_store_explicit(&thread->slot->timer_id, id, memory_order_release);
    atomic_store_explicit(&thread->arming, 0, memory_order_release);
    if (!si__probe_region()) si__timer_stop(thread); /* closed meanwhile: whoever stopped all timers missed this one */
    return 0;
}

void si__timer_stop(si__thread *thread) {
    int id = -1;
    if (thread->slot) id = atomic_exchange(&thread->slot->timer_id, -1);
    if (id < 0) id = atomic_exchange(&thread->pending_timer, -1);
    if (id >= 0) syscall(SYS_timer_delete, id);
}

void si__timer_follow(si__region *region, si__thread *thread) {
    for (;;) {
        uint32_t generation = atomic_load_explicit(&region->control.generation, memory_order_acquire);
        if (atomic_load_explicit(&thread->slot->cpu_generation, memory_order_relaxed) == generation) return;
        if (atomic_exchange_explicit(&thread->arming, 1, memory_order_acquire)) return;
        int id = atomic_load_explicit(&thread->slot->timer_id, memory_order_acquire);
        if (id >= 0) arm(id, thread, atomic_load_explicit(&region->control.cpu_mhz, memory_order_relaxed), 0);
        atomic_store_explicit(&thread->slot->cpu_generation, generation, memory_order_relaxed);
        atomic_store_explicit(&thread->arming, 0, memory_order_release);
    }
}

void si__timer_start_pending(void) {
    si__thread *thread = si__thread_self();
    if (!thread || !si__signal_number()) return;
    int id = make(thread);
    if (id < 0) return;
    atomic_store_explicit(&thread->pending_timer, id, memory_order_relaxed);
    thread->period_ns = 0;
    arm(id, thread, default_mhz, 1);
}

/* The function that the thread was started with, or the program's entry. */
static uint64_t start_of(const si__thread *thread) {
    return thread->start ? (uint64_t)(uintptr_t)thread->start : (uint64_t)getauxval(AT_ENTRY);
}

/* One frame, which is all that is known. */
static void record_late(si__thread *thread, uint64_t ticks, uint64_t period_ns, uint64_t pc, unsigned flags) {
    si__event *event = si__ring_reserve(thread->slot, 1, 0);
    if (!event) return;
    event->time_ns = si__now_ns();
    event->value = (int64_t)(ticks * period_ns);
    event->count = (uint32_t)ticks;
    event->flags = (uint16_t)flags;
    si__event_pcs(event)[0] = pc;
    si__ring_commit(event, SI__EVENT_CPU);
}

void si__timer_settle(si__thread *thread) {
    /* The timer is gone or about to be; if its rate is being changed this very moment, a tick is lost at most. */
    if (atomic_exchange_explicit(&thread->arming, 1, memory_order_acquire)) return;
    uint64_t period = thread->period_ns, owed = 0, held = 0;
    if (period) {
        uint64_t now = cpu_time(thread->tid);
        if (now >= thread->due_ns) owed = (now - thread->due_ns) / period + 1;
        owed = owed > thread->ticks ? owed - thread->ticks : 0;
        thread->ticks += owed;
        held = thread->held;
        thread->held = 0;
    }
    atomic_store_explicit(&thread->arming, 0, memory_order_release);
    if (!(owed || held) || !si__probe_region_needed() || !thread->slot) return;
    if (owed) record_late(thread, owed, period, start_of(thread), SI__EVENT_LATE);
    if (held && thread->held_pc)
        record_late(thread, held, period, thread->held_pc, SI__EVENT_LATE | SI__STACK_TRUNCATED);
    else if (held)
        record_late(thread, held, period, start_of(thread), SI__EVENT_LATE);
}

void si__timer_leave(si__thread *thread) {
    uint64_t period = thread->period_ns;
    if (period && cpu_time(thread->tid) >= period) si__timer_settle(thread);
}
