/*
 * Our signal, and what the host sees of it: see signal.h. The wrappers run on host threads, si__signal_pass_on in the
 * handler. Cost for a host: one gettid a call, to tell a vfork child (which shares our memory, not our signals) from
 * us.
 */
#include "signal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hook.h"
#include "sandbox.h"
#include "si/si.h"
#include "thread.h"

static _Atomic int number;
static si__signal_handler tick_handler;

void (*si__signal_stray_tick)(const siginfo_t *info);

/* The host's own action for our signal: written with our signal blocked, read in the handler of any thread. */
static struct sigaction host_action;
static _Atomic uint32_t host_version; /* odd while host_action is being written */

/* Handlers of ours that stand before the host's, by signal, and the host's action behind each. */
typedef struct front {
    _Atomic(si__signal_handler) ours;
    _Atomic uint32_t version; /* odd while `behind` is being written */
    struct sigaction behind;
} front;
static front fronts[_NSIG];

int si__signal_number(void) {
    return atomic_load_explicit(&number, memory_order_acquire);
}

static void ours_only(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, si__signal_number());
}

int si__signal_block(int block) {
    sigset_t set, old;
    if (si__signal_number() == 0) return 0;
    ours_only(&set);
    if (si__libc_real.pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, &old) != 0) return 0;
    return sigismember(&old, si__signal_number());
}

/* From the top, where hosts that count up from SIGRTMIN come last; the very last ones belong to debuggers. */
static int choose(void) {
    for (int candidate = SIGRTMAX - 3; candidate > SIGRTMIN; candidate--) {
        struct sigaction action;
        if (si__libc_real.sigaction(candidate, NULL, &action) == 0 && action.sa_handler == SIG_DFL) return candidate;
    }
    return 0;
}

int si__signal_install(si__signal_handler handler, char *reason, size_t reason_bytes) {
    int chosen = si__signal_number();
    if (chosen == 0) chosen = choose();
    if (chosen == 0) {
        snprintf(reason, reason_bytes, "every real-time signal is in use by the program");
        return SI_EUNAVAILABLE;
    }
    tick_handler = handler;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    if (si__libc_real.sigaction(chosen, &action, NULL) != 0) {
        snprintf(reason, reason_bytes, "sigaction failed: errno %d", errno);
        return SI_EUNAVAILABLE;
    }
    atomic_store_explicit(&number, chosen, memory_order_release);
    return chosen;
}

int si__signal_is_tick(const siginfo_t *info) {
    if (info->si_code != SI_TIMER) return 0;
    uintptr_t value = (uintptr_t)info->si_value.sival_ptr, first = (uintptr_t)si__thread_at(0);
    return value >= first && value < (uintptr_t)si__thread_at(SI__SLOT_COUNT) &&
           (value - first) % sizeof(si__thread) == 0;
}

void si__signal_die(int signal) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    si__libc_real.sigaction(signal, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), signal);
    si__libc_real.pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- The host's action ---- */

static void host_action_get(struct sigaction *out) {
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint32_t before = atomic_load_explicit(&host_version, memory_order_acquire);
        if (before & 1u) continue;
        memcpy(out, (const void *)&host_action, sizeof *out);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&host_version, memory_order_relaxed) == before) return;
    }
    memset(out, 0, sizeof *out);
    out->sa_handler = SIG_IGN; /* its writer was stopped in the middle: a lost signal is better than a dead host */
}

static void host_action_set(const struct sigaction *action) {
    int was_blocked = si__signal_block(1); /* the handler must not find it half written by its own thread */
    uint32_t version = atomic_load_explicit(&host_version, memory_order_relaxed) & ~1u;
    while (!atomic_compare_exchange_weak_explicit(&host_version, &version, version + 1, memory_order_acquire,
                                                  memory_order_relaxed))
        version &= ~1u;
    atomic_thread_fence(memory_order_release);
    memcpy((void *)&host_action, action, sizeof host_action);
    atomic_store_explicit(&host_version, version + 2, memory_order_release);
    if (!was_blocked) si__signal_block(0);
}

/* The host blocks this signal: it must stay pending, so it is blocked really and queued again. The next change of the
   host's mask unblocks it, and it comes here again. */
static void queue_again(int signal, siginfo_t *info, void *ucontext) {
    sigset_t *mask = &((ucontext_t *)ucontext)->uc_sigmask;
    sigaddset(mask, signal);
    if (info->si_code == SI_TKILL)
        syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)syscall(SYS_gettid), signal, info);
    else
        syscall(SYS_rt_sigqueueinfo, getpid(), signal, info);
}

void si__signal_pass_on(int signal, siginfo_t *info, void *ucontext) {
    si__thread *self = si__thread_self();
    if (self && self->masked) {
        queue_again(signal, info, ucontext);
        return;
    }
    struct sigaction action;
    host_action_get(&action);
    if (action.sa_handler == SIG_IGN) return;
    if (action.sa_handler == SIG_DFL) {
        /* A timer of ours that was deleted while its signal was under way looks like this, and must not kill anybody.
         */
        if (info->si_code != SI_TIMER) si__signal_die(signal);
        return;
    }
    sigset_t before;
    si__libc_real.pthread_sigmask(SIG_BLOCK, &action.sa_mask, &before);
    if (action.sa_flags & (int)SA_RESETHAND) {
        struct sigaction reset = action;
        reset.sa_handler = SIG_DFL;
        host_action_set(&reset);
    }
    if (action.sa_flags & SA_SIGINFO)
        action.sa_sigaction(signal, info, ucontext);
    else
        action.sa_handler(signal);
    si__libc_real.pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- Fronts ---- */

static void behind_set(front *f, const struct sigaction *action) {
    atomic_fetch_add_explicit(&f->version, 1, memory_order_acquire);
    f->behind = *action;
    atomic_fetch_add_explicit(&f->version, 1, memory_order_release);
}

void si__signal_behind(int signal, struct sigaction *out) {
    front *f = &fronts[signal];
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint32_t before = atomic_load_explicit(&f->version, memory_order_acquire);
        if (before & 1u) continue;
        memcpy(out, (const void *)&f->behind, sizeof *out);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&f->version, memory_order_relaxed) == before) return;
    }
    memset(out, 0, sizeof *out);
    out->sa_handler = SIG_DFL; /* its writer was stopped in the middle by this very signal */
}

static int is_ignored(const struct sigaction *action) {
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_IGN;
}

static int is_default(const struct sigaction *action) {
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_DFL;
}

/* What is installed for a host's action: that itself, or ours with all that the host's asks the kernel for. */
static struct sigaction in_front(const struct sigaction *host, si__signal_handler ours) {
    struct sigaction action = *host;
    if (is_ignored(host)) return action;
    if (is_default(host)) {
        memset(&action, 0, sizeof action);
        action.sa_flags = (host->sa_flags & SA_NODEFER) | SA_ONSTACK;
    }
    action.sa_sigaction = ours;
    action.sa_flags |= SA_SIGINFO;
    return action;
}

int si__signal_front(int signal, si__signal_handler handler) {
    struct sigaction host, action;
    if (si__libc_real.sigaction(signal, NULL, &host) != 0) return -1;
    if ((host.sa_flags & SA_SIGINFO) && host.sa_sigaction == handler) return 0;
    behind_set(&fronts[signal], &host);
    atomic_store_explicit(&fronts[signal].ours, handler, memory_order_release);
    action = in_front(&host, handler);
    return si__libc_real.sigaction(signal, &action, NULL);
}

void si__signal_unfront(int signal) {
    struct sigaction now, host;
    si__signal_handler ours = atomic_exchange(&fronts[signal].ours, NULL);
    if (!ours || si__libc_real.sigaction(signal, NULL, &now) != 0) return;
    if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != ours) return;
    si__signal_behind(signal, &host);
    si__libc_real.sigaction(signal, &host, NULL);
}

/* ---- Faults that the host blocks ---- */

/*
 * The kernel ends a process by a fault that its thread blocks, and asks no handler: the crash would go unseen, as of
 * the many servers whose workers block all signals. So a front's fault is not blocked really, as long as the host has
 * no handler of its own for it; what was sent is queued again, which makes it pending as the host wants it.
 */
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { FAULTS = sizeof faults / sizeof faults[0] };

static uint32_t bit_of(int signal) {
    return signal > 0 && signal < 32 ? 1u << signal : 0;
}

int si__signal_is_blocked(int signal) {
    const si__thread *self = si__thread_self();
    return self && (self->masked_faults & bit_of(signal)) != 0;
}

int si__signal_keep_pending(int signal, siginfo_t *info, void *ucontext) {
    if (info->si_code > 0 || !si__signal_is_blocked(signal)) return 0;
    queue_again(signal, info, ucontext);
    return 1;
}

static int is_kept(int signal, uint32_t masked) {
    struct sigaction host;
    if (!atomic_load_explicit(&fronts[signal].ours, memory_order_acquire)) return 0;
    if (masked & bit_of(signal)) return 1;
    si__signal_behind(signal, &host);
    return is_default(&host);
}

/* Takes the faults that are kept out of *set; returns what the host then believes to block. */
static uint32_t keep_faults(int how, sigset_t *set, uint32_t masked) {
    uint32_t now = masked;
    for (int i = 0; i < FAULTS; i++) {
        uint32_t bit = bit_of(faults[i]);
        int named = sigismember(set, faults[i]) == 1;
        if (how == SIG_SETMASK || (named && how == SIG_UNBLOCK)) now &= ~bit;
        if (how == SIG_UNBLOCK || !named || !is_kept(faults[i], masked)) continue;
        now |= bit;
        sigdelset(set, faults[i]);
    }
    return now;
}

/* ---- Wrappers ---- */

/* This thread's record, unless a vfork child runs on its memory. */
static si__thread *own_thread(void) {
    si__thread *self = si__thread_self();
    if (!self || !self->tid) return NULL;
    if (!si__sandboxed() && self->tid != (int32_t)syscall(SYS_gettid)) return NULL;
    return self;
}

/* The kernel's answer comes first: what it refuses changes nothing. */
static int wrap_front(int signal, si__signal_handler ours, const struct sigaction *act, struct sigaction *old) {
    struct sigaction host, action, before, current;
    if (!own_thread()) return si__libc_real.sigaction(signal, act, old); /* a vfork child's actions are its own */
    si__signal_behind(signal, &host);
    before = host;
    if (act) {
        host = *act;
        action = in_front(&host, ours);
    }
    int rc = si__libc_real.sigaction(signal, act ? &action : NULL, &current);
    if (rc != 0) return rc;
    int was_ours = (current.sa_flags & SA_SIGINFO) && current.sa_sigaction == ours;
    if (act) behind_set(&fronts[signal], &host);
    if (old) *old = was_ours ? before : current; /* not ours: SA_RESETHAND has reset it */
    return rc;
}

int si__wrap_sigaction(int signal, const struct sigaction *act, struct sigaction *old) {
    if (signal <= 0 || signal >= _NSIG) return si__libc_real.sigaction(signal, act, old);
    si__signal_handler ours = atomic_load_explicit(&fronts[signal].ours, memory_order_acquire);
    if (ours) return wrap_front(signal, ours, act, old);
    if (signal != si__signal_number()) return si__libc_real.sigaction(signal, act, old);
    if (!own_thread() && si__thread_self()) return si__libc_real.sigaction(signal, act, NULL); /* vfork child */
    struct sigaction before;
    host_action_get(&before);
    if (act) host_action_set(act);
    if (old) *old = before;
    return 0;
}

si__signal_fn si__wrap_signal(int signal, si__signal_fn handler) {
    int special = signal > 0 && signal < _NSIG &&
                  (signal == si__signal_number() || atomic_load_explicit(&fronts[signal].ours, memory_order_acquire));
    if (!special) return si__libc_real.signal(signal, handler);
    struct sigaction act, old;
    memset(&act, 0, sizeof act);
    memset(&old, 0, sizeof old);
    act.sa_handler = handler;
    act.sa_flags = SA_RESTART;
    sigaddset(&act.sa_mask, signal);
    return si__wrap_sigaction(signal, &act, &old) == 0 ? old.sa_handler : SIG_ERR;
}

/* Both mask functions: our bit, and those of faults, are taken out of what is really blocked, and put into what is
   reported. */
static int change_mask(int (*real)(int, const sigset_t *, sigset_t *), int how, const sigset_t *set, sigset_t *old) {
    int ours = si__signal_number();
    si__thread *self = ours ? own_thread() : NULL;
    if (!self) return real(how, set, old);
    int was = self->masked;
    uint32_t faults_were = self->masked_faults;
    sigset_t changed;
    if (set) {
        int named = sigismember(set, ours) == 1;
        changed = *set;
        if (how == SIG_SETMASK)
            self->masked = named;
        else if (named)
            self->masked = how == SIG_BLOCK;
        if (how != SIG_UNBLOCK) sigdelset(&changed, ours);
        self->masked_faults = keep_faults(how, &changed, faults_were);
        set = &changed;
    }
    int rc = real(how, set, old);
    if (rc != 0) {
        self->masked = was;
        self->masked_faults = faults_were;
        return rc;
    }
    for (int i = 0; old && i < FAULTS; i++)
        if (faults_were & bit_of(faults[i])) sigaddset(old, faults[i]);
    if (old && was) sigaddset(old, ours);
    if (old && !was) sigdelset(old, ours);
    return 0;
}

int si__wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old) {
    return change_mask(si__libc_real.sigprocmask, how, set, old);
}

int si__wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    return change_mask(si__libc_real.pthread_sigmask, how, set, old);
}

int si__wrap_sigpending(sigset_t *set) {
    int rc = si__libc_real.sigpending(set);
    si__thread *self = si__thread_self();
    if (rc == 0 && si__signal_number() && self && !self->masked) sigdelset(set, si__signal_number());
    return rc;
}

/* One wait that skips our ticks. *left shrinks by the time that the skipped waits took. */
static int wait_for(const sigset_t *set, siginfo_t *info, const struct timespec *timeout) {
    siginfo_t local;
    struct timespec left = {0, 0};
    uint64_t deadline = 0;
    if (!info) info = &local;
    if (timeout) {
        left = *timeout;
        deadline = si__now_ns() + (uint64_t)left.tv_sec * 1000000000u + (uint64_t)left.tv_nsec;
    }
    for (;;) {
        int got = timeout ? si__libc_real.sigtimedwait(set, info, &left) : si__libc_real.sigwaitinfo(set, info);
        if (got <= 0 || got != si__signal_number() || !si__signal_is_tick(info)) return got;
        if (si__signal_stray_tick) si__signal_stray_tick(info);
        uint64_t now = si__now_ns();
        uint64_t rest = deadline > now ? deadline - now : 0;
        left = (struct timespec){(time_t)(rest / 1000000000u), (long)(rest % 1000000000u)};
    }
}

static int names_ours(const sigset_t *set) {
    return si__signal_number() && set && sigismember(set, si__signal_number()) == 1;
}

int si__wrap_sigwait(const sigset_t *set, int *signal) {
    if (!names_ours(set)) return si__libc_real.sigwait(set, signal);
    int saved = errno, got;
    do got = wait_for(set, NULL, NULL);
    while (got < 0 && errno == EINTR);
    int failed = errno;
    errno = saved;
    if (got < 0) return failed;
    *signal = got;
    return 0;
}

int si__wrap_sigwaitinfo(const sigset_t *set, siginfo_t *info) {
    if (!names_ours(set)) return si__libc_real.sigwaitinfo(set, info);
    return wait_for(set, info, NULL);
}

int si__wrap_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout) {
    if (!names_ours(set)) return si__libc_real.sigtimedwait(set, info, timeout);
    return wait_for(set, info, timeout);
}

/* A descriptor cannot skip our ticks, so it does not watch for them: a host that waits for exactly this one real-time
   signal through a signalfd does not get it. */
int si__wrap_signalfd(int fd, const sigset_t *mask, int flags) {
    if (!names_ours(mask)) return si__libc_real.signalfd(fd, mask, flags);
    sigset_t without = *mask;
    sigdelset(&without, si__signal_number());
    return si__libc_real.signalfd(fd, &without, flags);
}
