/*
 * The probe of this process: makes the region, starts and stops the collectors' probe sides, follows forks.
 *
 * Opened and closed by the runtime's opener (embedded) or by libsi-probe.so's constructor (preloaded); the rest is
 * asked by host threads and signal handlers, which only ever read one pointer.
 */
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../collector.h"
#include "../crash.h"
#include "crash_note.h"
#include "fork.h"
#include "hook.h"
#include "sandbox.h"
#include "si/si.h"
#include "signal.h"
#include "thread.h"
#include "timer.h"
#include "unwind.h"

static si__probe_options options_now;
static _Atomic int descriptor = -1;
static char why[SI__REASON_BYTES];

/* What the collectors said when they were started: copied into a region that is made later. */
static struct {
    uint32_t status;
    char reason[SI__REASON_BYTES];
} states[SI__COLLECTOR_STATES];

static _Atomic uint32_t put_off; /* 1: the region is to be made when it is needed */
static si__region *mapped;       /* the last region made here or, in a forked child, by the parent */
static int observing;            /* between open and close; inherited by a forked child */

si__region *si__probe_region(void) {
    return atomic_load_explicit(&si__owner_get()->region, memory_order_relaxed);
}
const char *si__probe_reason(void) {
    return why;
}
int si__probe_is_preloaded(void) {
    return options_now.preloaded;
}

/* A host may close descriptors that it does not know: then the number may be somebody else's file by now. */
static int is_ours(int fd) {
    char path[40], target[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof target) > 0 && memcmp(target, "/memfd:si-region", 16) == 0;
}

int si__probe_fd(void) {
    int saved = errno, fd = atomic_load(&descriptor);
    if (fd >= 0 && (!si__probe_region() || !is_ours(fd))) fd = -1;
    errno = saved;
    return fd;
}

static void copy_states(si__region *region) {
    for (int i = 0; i < SI__COLLECTOR_STATES; i++) {
        memcpy(region->collectors[i].reason, states[i].reason, SI__REASON_BYTES);
        atomic_store_explicit(&region->collectors[i].status, states[i].status, memory_order_release);
    }
}

static void start_collectors(si__region *region) {
    for (int i = 0; i < SI__COLLECTOR_STATES && si__collectors[i]; i++) {
        const si__collector *collector = si__collectors[i];
        states[i].reason[0] = '\0';
        states[i].status = SI__COLLECTOR_OFF;
        if (!collector->start) continue;
        int rc = collector->start(states[i].reason, sizeof states[i].reason);
        states[i].status = rc == 0 ? SI__COLLECTOR_ON : SI__COLLECTOR_UNAVAILABLE;
    }
    if (region) copy_states(region);
}

/* ---- Fork ---- */

static void before_fork(void) {
    si__thread *self = si__thread_self();
    if (self)
        self->fork_blocked = si__signal_block(1); /* a tick would make the kernel start a long fork again and again */
}

static void after_fork(void) {
    si__thread *self = si__thread_self();
    if (self && !self->fork_blocked) si__signal_block(0);
}

static void in_child(void) {
    int saved = errno;
    if (!observing || !options_now.preloaded || si__sandboxed()) {
        observing = 0;
        atomic_store(&descriptor, -1); /* stays open, close-on-exec, until the child opens a probe of its own */
        si__threads_forked(0);
    } else {
        si__threads_forked(1);
        si__owner_renew();
        atomic_store(&put_off, 1);
        si__timer_start_pending();
    }
    errno = saved;
}

static const si__fork_steps fork_steps = {before_fork, after_fork, in_child};

/* ---- Open ---- */

static si__region *make_region(int *fd, int *error) {
    si__region *region = si__region_create(fd, error);
    if (!region) return NULL;
    if (mapped && options_now.preloaded)
        si__unwind_inherit(mapped, region); /* the parent's: nothing else points there */
    mapped = region;
    atomic_store_explicit(&region->control.cpu_mhz, options_now.cpu_mhz, memory_order_relaxed);
    atomic_store_explicit(&region->control.heap_bytes, options_now.heap_bytes, memory_order_relaxed);
    atomic_store_explicit(&region->control.wait_ns, options_now.wait_ns, memory_order_relaxed);
    atomic_store_explicit(&region->control.call_ns, options_now.call_ns, memory_order_relaxed);
    region->cycle_first = si__cycle_first;
    atomic_store_explicit(&region->cycle_source, (uint32_t)si__cycle_source_now, memory_order_release);
    copy_states(region);
    atomic_store(&si__owner_get()->made, region);
    return region;
}

/* Nobody has seen it yet. */
static void give_up(si__region *region, int fd) {
    atomic_store(&si__owner_get()->made, NULL);
    mapped = NULL;
    si__region_unmap(region);
    close(fd);
}

static void publish(si__region *region) {
    atomic_store_explicit(&region->inert, 0, memory_order_relaxed);
    atomic_store_explicit(&si__owner_get()->region, region, memory_order_release);
}

static int prepare(const si__probe_options *options) {
    static const si__probe_options defaults;
    why[0] = '\0';
    if (si__probe_region()) return SI_EEXIST;
    if (si__owner_setup() != 0) {
        snprintf(why, sizeof why, "no memory");
        return SI_ENOMEM;
    }
    options_now = options ? *options : defaults;
    si__cycle_clock_choose();
    si__timer_defaults(options_now.cpu_mhz, options_now.preloaded);
    si__fork_watch(&fork_steps);
    return 0;
}

int si__probe_open(const si__probe_options *options) {
    int saved = errno;
    int rc = prepare(options);
    if (rc != 0) return rc;
    int fd = atomic_load(&descriptor), error = 0;
    si__region *region = atomic_load(&si__owner_get()->made);
    if (!region && (region = make_region(&fd, &error)) == NULL) {
        snprintf(why, sizeof why, "no shared memory for samples (memfd): %s", strerrordesc_np(error));
        errno = saved;
        return SI_EUNAVAILABLE;
    }
    if (options_now.adopt && options_now.adopt(region, fd, options_now.adopt_arg) < 0) {
        give_up(region, fd);
        snprintf(why, sizeof why, "nobody takes the samples");
        errno = saved;
        return SI_EUNAVAILABLE;
    }
    if (options_now.adopt) {
        close(fd);
        fd = -1;
    }
    atomic_store(&descriptor, fd);
    publish(region);
    observing = 1;
    start_collectors(region);
    if (options_now.crashes) {
        si__crash_note_in(options_now.crash_dir);
        si__crash_record_fatal();
    }
    errno = saved;
    return 0;
}

int si__probe_open_later(const si__probe_options *options) {
    int saved = errno;
    int rc = prepare(options);
    if (rc != 0) return rc;
    observing = 1;
    si__threads_forked(1);
    start_collectors(NULL);
    atomic_store(&put_off, 1);
    si__timer_start_pending();
    if (options_now.crashes) si__crash_record_fatal();
    errno = saved;
    return 0;
}

/* Only the one thread of the process may do it: then nobody else looks. */
si__region *si__probe_region_needed(void) {
    si__region *region = si__probe_region();
    if (region || !atomic_load_explicit(&put_off, memory_order_relaxed)) return region;
    if (!atomic_load_explicit(&si__owner_get()->alive, memory_order_relaxed)) return NULL;
    if (si__sandboxed() || si__thread_self() != si__thread_at(0) || !atomic_exchange(&put_off, 0)) return NULL;
    int fd = -1, error = 0;
    region = make_region(&fd, &error);
    if (!region) return NULL;
    if (options_now.adopt_quietly && options_now.adopt_quietly(region, fd) < 0) {
        give_up(region, fd);
        si__timer_stop(si__thread_at(0));
        return NULL;
    }
    close(fd);
    publish(region);
    si__thread_enter(region);
    return region;
}

/* NULL also in a child of vfork, whose memory says that it is its parent. */
static si__thread *accountable(void) {
    si__thread *self = si__thread_self();
    if (!self || si__sandboxed() || !atomic_load_explicit(&si__owner_get()->alive, memory_order_relaxed)) return NULL;
    return self->tid == (int32_t)syscall(SYS_gettid) ? self : NULL;
}

void si__probe_settle(void) {
    int saved = errno;
    si__thread *self = accountable();
    if (self) si__timer_settle(self);
    errno = saved;
}

void si__probe_leave(void) {
    int saved = errno;
    si__thread *self = accountable();
    if (self) si__timer_leave(self);
    errno = saved;
}

si__region *si__probe_region_made(void) {
    return atomic_load(&si__owner_get()->made);
}

void si__probe_close(void) {
    si__region *region = si__probe_region();
    if (!region) return;
    int saved = errno, count = 0;
    if (options_now.crashes) si__crash_forget_fatal();
    observing = 0;
    atomic_store_explicit(&si__owner_get()->region, NULL, memory_order_release);
    atomic_store_explicit(&region->inert, 1, memory_order_release);
    while (count < SI__COLLECTOR_STATES && si__collectors[count]) count++;
    while (count-- > 0)
        if (si__collectors[count]->stop && states[count].status == SI__COLLECTOR_ON) si__collectors[count]->stop();
    errno = saved;
}

void si__probe_retune(void) {
    if (!si__probe_region()) return;
    for (int i = 0; i < SI__COLLECTOR_STATES && si__collectors[i]; i++)
        if (si__collectors[i]->retune && states[i].status == SI__COLLECTOR_ON) si__collectors[i]->retune();
}

void si__probe_refresh(void) {
    si__region *region = si__probe_region();
    if (!region) return;
    if (si__hook_refresh()) atomic_fetch_add_explicit(&region->modules_wanted, 1, memory_order_release);
    si__threads_discover();
}
