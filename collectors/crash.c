/*
 * Crashes. si_guard runs a function and survives its crash; the preloaded probe records the crash that kills a program.
 * Both walk the stack in the signal handler of the crashing thread and write one event to its ring.
 */
#include "crash.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "native/alternate_stack.h"
#include "native/crash_note.h"
#include "native/exception.h"
#include "native/hook.h"
#include "native/probe.h"
#include "native/signal.h"
#include "native/thread.h"
#include "native/unwind.h"
#include "si/si.h"

enum {
    ALTERNATE_STACK_BYTES = 32 * 1024,
    TEXT_BYTES = 240,
    TABLES_MS = 80, /* a crash that ends the process waits so long for unwind tables; one that a handler deals with: */
    TABLES_HANDLED_MS = 20,
    HANDLED_MAX = 3,
    GUARDS_MAX = 32
};

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { CRASH_SIGNALS = sizeof crash_signals / sizeof crash_signals[0] };

/* One si_guard that is running on a thread. */
typedef struct guarded {
    sigjmp_buf back;
    uintptr_t frame; /* of the si_guard */
    int recorded;
} guarded;

/* What a thread that has called si_guard keeps until it ends: its guards, the innermost last, and an alternate stack,
   which a handler needs after a stack overflow. Not in si_guard's frame, because a frame may be left by an exception or
   longjmp. */
typedef struct guard_record {
    int depth;
    guarded guards[GUARDS_MAX];
    char alternate[ALTERNATE_STACK_BYTES];
} guard_record;

static __thread guard_record *record_now __attribute__((tls_model("initial-exec")));

/* ---- Recording: in the handler ---- */

static const char *name_of(int signal) {
    switch (signal) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGFPE:
        return "SIGFPE";
    case SIGILL:
        return "SIGILL";
    default:
        return "SIGABRT";
    }
}

/* What glibc says before it aborts: a failed assert, a heap that is damaged, a stack that was smashed. */
typedef struct abort_message {
    unsigned bytes;
    char text[];
} abort_message;
static abort_message *const *abort_says; /* glibc's variable; NULL: not found */

/* "SIGABRT: double free or corruption (!prev)": one line. 0: nothing was said. */
static uint32_t describe_abort(char *out) {
    static const char title[] = "SIGABRT: ";
    const abort_message *said = abort_says ? *abort_says : NULL;
    if (!said) return 0;
    uint32_t length = sizeof title - 1, bytes = (uint32_t)strnlen(said->text, TEXT_BYTES - sizeof title);
    memcpy(out, title, length);
    for (uint32_t i = 0; i < bytes; i++) out[length++] = said->text[i] == '\n' ? ' ' : said->text[i];
    while (out[length - 1] == ' ') length--;
    out[length] = '\0';
    return length;
}

/* "SIGSEGV at 0x10", or what an uncaught exception or glibc said; without stdio. */
static uint32_t describe(char *out, int signal, const siginfo_t *info) {
    uint32_t length = signal == SIGABRT ? si__exception_describe(out, TEXT_BYTES - 1) : 0;
    if (!length && signal == SIGABRT) length = describe_abort(out);
    if (length) return length;
    char *at = stpcpy(out, name_of(signal));
    if (info->si_code > 0 && signal != SIGABRT) {
        uintptr_t address = (uintptr_t)info->si_addr;
        at = stpcpy(at, " at 0x");
        int shift = 60;
        while (shift > 0 && (address >> shift & 15) == 0) shift -= 4;
        for (; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[address >> shift & 15];
    } else if (info->si_code <= 0 && info->si_pid != getpid()) {
        at = stpcpy(at, " sent by another process");
    }
    *at = '\0';
    return (uint32_t)(at - out);
}

/* Asks the kernel, which answers EFAULT instead of faulting: an impossible `how` changes no mask. */
static int readable(uint64_t address) {
    return syscall(SYS_rt_sigprocmask, -1, (void *)(uintptr_t)(address & ~7ull), NULL, 8) != 0 && errno != EFAULT;
}

/*
 * Whether the stack from sp up may be walked. A stack that overflowed has its pointer in the guard page below; the walk
 * then loads what the functions on it have stored, which lies above.
 */
static int walkable(uint64_t sp, uint64_t lo, uint64_t hi) {
    if (hi == 0 || sp >= hi) return 0;
    if (sp >= lo) return 1;
    uint64_t below = lo - sp; /* what a thread takes for its lowest address is up to two pages too high */
    return below <= (1u << 20) && (below <= 16384 || !readable(sp)) && readable(lo);
}

/* Not in a vfork child, which runs on its parent's memory. */
static si__slot *own_slot(void) {
    si__region *region = si__probe_region_needed();
    si__thread *self = si__thread_self();
    if (!region) return NULL;
    if (self ? self->tid != (int32_t)syscall(SYS_gettid) : atomic_load(&region->pid) != (int32_t)getpid()) return NULL;
    return si__thread_slot();
}

/* A call of an address that holds no code faults there, and nothing is known of that place but who called it. */
static int is_wild_call(int signal, const siginfo_t *info, const si__regs *regs, uint64_t lo, uint64_t hi) {
#if defined(__x86_64__)
    return signal == SIGSEGV && info->si_code > 0 && (uintptr_t)info->si_addr == regs->pc && regs->sp >= lo &&
           hi - regs->sp >= 8;
#else
    (void)signal, (void)info, (void)regs, (void)lo, (void)hi;
    return 0;
#endif
}

__attribute__((no_sanitize("address", "thread"))) static void step_to_caller(si__regs *regs) {
    regs->pc = *(const volatile uint64_t *)(uintptr_t)regs->sp;
    regs->sp += 8;
}

/* Writes the event, and for a crash that may be the end the note beside it. */
static void record(int signal, const siginfo_t *info, const void *ucontext, unsigned flags) {
    si__slot *slot = own_slot();
    char text[TEXT_BYTES];
    uint32_t text_bytes = describe(text, signal, info);
    si__event *event = slot ? si__ring_reserve(slot, SI__FRAMES_MAX, text_bytes) : NULL;
    if (!event) return;
    si__regs regs;
    si__regs_from_ucontext(&regs, ucontext);
    unsigned stack_flags = SI__STACK_OFF, frames = 1;
    uint64_t hi, lo = si__thread_stack(slot, &hi), *pcs = si__event_pcs(event);
    pcs[0] = regs.pc;
    if (walkable(regs.sp, lo, hi)) {
        stack_flags = 0;
        if (regs.sp < lo) lo = regs.sp;
        unsigned wild = (unsigned)is_wild_call(signal, info, &regs, lo, hi);
        if (wild) step_to_caller(&regs);
        frames =
            wild + si__unwind(si__probe_region(), slot, &regs, lo, hi, pcs + wild, SI__FRAMES_MAX - wild, &stack_flags);
    }
    event->time_ns = si__now_ns();
    event->value = signal;
    event->count = 1;
    event->flags = (uint16_t)(stack_flags | flags);
    event->frame_count = (uint16_t)frames;
    memcpy(si__event_text(event), text, text_bytes);
    if (flags == 0) si__crash_note_write(signal, text, text_bytes, pcs, frames, stack_flags);
    si__ring_trim(slot, event, SI__FRAMES_MAX, text_bytes);
    si__ring_commit(event, SI__EVENT_CRASH);
}

/* ---- Fatal crashes (preload) ---- */

/* A program that dies in its first moments is ahead of the agent, which still compiles its unwind tables. */
static void wait_for_tables(int at_most_ms) {
    const si__region *region = si__probe_region_needed();
    const struct timespec moment = {0, 1000000};
    for (int i = 0; region && i < at_most_ms; i++) {
        if (atomic_load_explicit(&region->modules_seen, memory_order_acquire) ==
            atomic_load_explicit(&region->modules_wanted, memory_order_relaxed))
            return;
        nanosleep(&moment, NULL);
    }
}

/* The default action ends the process: by the fault itself, which happens again on return, so that a core shows it; or,
   for a signal that was sent, by sending it again. */
static void die_of(int signal, siginfo_t *info, void *ucontext, int is_on_record) {
    static _Atomic int32_t recording; /* tid of the first thread to crash; -1: its stack is recorded */
    int32_t tid = (int32_t)syscall(SYS_gettid), none = 0;
    if (atomic_compare_exchange_strong(&recording, &none, tid)) {
        wait_for_tables(TABLES_MS);
        if (!is_on_record) record(signal, info, ucontext, 0);
        atomic_store(&recording, -1);
    }
    const struct timespec moment = {0, 1000000};
    for (int i = 0; i < 100 && atomic_load(&recording) != -1 && atomic_load(&recording) != tid; i++)
        nanosleep(&moment, NULL); /* another thread's crash is on record first; ours would end the process */
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    si__libc_real.sigaction(signal, &action, NULL);
    if (info->si_code <= 0) syscall(SYS_tgkill, getpid(), tid, signal);
}

static void call_host(const struct sigaction *action, int signal, siginfo_t *info, void *ucontext) {
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(signal, info, ucontext);
    else
        action->sa_handler(signal);
}

/* The host's handler that this thread is in. One that was left by siglongjmp still stands here. */
static __thread struct handling {
    int signal; /* 0: in none */
    int may_nest, recorded;
    uintptr_t frame, alternate_lo, alternate_hi; /* where ours is; the alternate stack that it is on, or 0 */
} handling __attribute__((tls_model("initial-exec")));

static _Atomic int handled[_NSIG]; /* crashes that a handler has dealt with */

/* Whether code whose frame is this one was called from within that handler. */
static int is_inside_handler(uintptr_t frame) {
    if (handling.alternate_hi && (frame < handling.alternate_lo || frame >= handling.alternate_hi)) return 0;
    return frame < handling.frame;
}

/* What was recorded is taken back. The stack is known: it is that of the crash before. */
static void take_back(void) {
    int signal = handling.signal;
    handling.signal = 0;
    if (!handling.recorded) return;
    atomic_fetch_add_explicit(&handled[signal], 1, memory_order_relaxed);
    si__slot *slot = own_slot();
    si__event *event = slot ? si__ring_reserve(slot, 0, 0) : NULL;
    if (event) {
        event->time_ns = si__now_ns();
        event->value = signal;
        event->count = 1;
        event->flags = SI__EVENT_HANDLED;
        event->frame_count = 0;
        si__ring_commit(event, SI__EVENT_CRASH);
    }
    si__crash_note_take_back();
}

static void enter_handler(int signal, const struct sigaction *host, const ucontext_t *context, uintptr_t frame) {
    uintptr_t lo = (uintptr_t)context->uc_stack.ss_sp, hi = lo + context->uc_stack.ss_size;
    int alternate = !(context->uc_stack.ss_flags & SS_DISABLE) && frame >= lo && frame < hi;
    handling.signal = signal;
    handling.may_nest = (host->sa_flags & SA_NODEFER) != 0;
    handling.recorded = atomic_load_explicit(&handled[signal], memory_order_relaxed) < HANDLED_MAX;
    handling.frame = frame;
    handling.alternate_lo = alternate ? lo : 0;
    handling.alternate_hi = alternate ? hi : 0;
}

/*
 * The host has a handler. Whether this is a crash is known only afterwards: a handler that comes back, or that was left
 * by siglongjmp, has dealt with it, and what was recorded is taken back. A program that does so again and again uses
 * the signal for its own purposes (a garbage collector's barriers): from then on its faults are its own affair.
 */
static void on_fatal(int signal, siginfo_t *info, void *ucontext) {
    struct sigaction host;
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    int saved = errno, is_same = handling.signal == signal;
    if (si__signal_keep_pending(signal, info, ucontext)) {
        errno = saved;
        return;
    }
    si__signal_behind(signal, &host);
    /* A signal is blocked while its handler runs: a fault in there would have been the end. */
    if (handling.signal && (!is_inside_handler(frame) || (is_same && !handling.may_nest && info->si_code > 0)))
        take_back();
    int raised_again = handling.signal == signal && info->si_code <= 0 && handling.recorded;
    if ((!(host.sa_flags & SA_SIGINFO) && host.sa_handler == SIG_DFL) || si__signal_is_blocked(signal)) {
        die_of(signal, info, ucontext, raised_again);
        return;
    }
    struct handling around = handling;
    enter_handler(signal, &host, ucontext, frame);
    if (raised_again) handling.recorded = 0;
    if (handling.recorded) {
        wait_for_tables(TABLES_HANDLED_MS);
        record(signal, info, ucontext, 0);
    }
    errno = saved;
    call_host(&host, signal, info, ucontext);
    saved = errno;
    take_back();
    handling = around;
    errno = saved;
}

void si__crash_survived(void) {
    if (handling.signal && !is_inside_handler((uintptr_t)__builtin_frame_address(0))) take_back();
}

static void find_abort_message(void) {
#if defined(__GLIBC__)
    abort_says = dlvsym(RTLD_DEFAULT, "__abort_msg", "GLIBC_PRIVATE");
#endif
}

void si__crash_forget_fatal(void) {
    for (int i = 0; i < CRASH_SIGNALS; i++) si__signal_unfront(crash_signals[i]);
}

void si__crash_record_fatal(void) {
    si__exception_find();
    find_abort_message();
    si__thread *self = si__thread_self(); /* the opener's; later threads get theirs when they begin */
    if (si__alternate_stack_setup() == 0 && self) si__alternate_stack_give((uint32_t)(self - si__thread_at(0)));
    for (int i = 0; i < CRASH_SIGNALS; i++) si__signal_front(crash_signals[i], on_fatal);
}

/* ---- si_guard ---- */

static struct sigaction host_actions[CRASH_SIGNALS]; /* what was there before the first guard */
static atomic_flag actions_lock = ATOMIC_FLAG_INIT;
static int guards_active; /* under actions_lock */

/* A crash outside every guard: the host's own handler, or death as without us. */
static void pass_on(int index, siginfo_t *info, void *ucontext) {
    int signal = crash_signals[index];
    struct sigaction action = host_actions[index];
    if (!(action.sa_flags & SA_SIGINFO) && (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)) {
        if (action.sa_handler == SIG_IGN && info->si_code <= 0) return;
        si__libc_real.sigaction(signal, &action, NULL);
        if (info->si_code <= 0) syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), signal);
        return;
    }
    sigset_t before;
    si__libc_real.pthread_sigmask(SIG_BLOCK, &action.sa_mask, &before);
    call_host(&action, signal, info, ucontext);
    si__libc_real.pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Whether the guard's frame is gone: an exception or a longjmp went through it, and nobody may go back there. The stack
   grows down, so code at `sp` cannot be called from a frame below it on the same stack. */
static int is_left(const guarded *guard, uint64_t sp) {
    si__thread *self = si__thread_self();
    uint64_t lo = 0, hi = UINT64_MAX; /* not observed: then there is one stack, for all we know */
    if (self && self->slot) lo = si__thread_stack(self->slot, &hi);
    return sp >= lo && sp < hi && guard->frame >= lo && guard->frame <= sp;
}

static void on_crash(int signal, siginfo_t *info, void *ucontext) {
    guard_record *all = record_now;
    guarded *guard = all && all->depth > 0 ? &all->guards[all->depth - 1] : NULL;
    si__regs regs;
    si__regs_from_ucontext(&regs, ucontext);
    /* A signal that another process sent is no crash of the guarded function. */
    int own = info->si_code > 0 || info->si_pid == getpid();
    if (guard && own && !is_left(guard, regs.sp)) {
        if (guard->recorded) record(signal, info, ucontext, SI__EVENT_GUARDED);
        siglongjmp(guard->back, 1);
    }
    int saved = errno;
    for (int i = 0; i < CRASH_SIGNALS; i++)
        if (crash_signals[i] == signal) pass_on(i, info, ucontext);
    errno = saved;
}

static void lock_actions(void) {
    while (atomic_flag_test_and_set_explicit(&actions_lock, memory_order_acquire)) syscall(SYS_sched_yield);
}

static void enter_guards(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    lock_actions();
    if (guards_active++ == 0)
        for (int i = 0; i < CRASH_SIGNALS; i++) si__libc_real.sigaction(crash_signals[i], &action, &host_actions[i]);
    atomic_flag_clear_explicit(&actions_lock, memory_order_release);
}

/* The last one out puts the host's actions back, unless the host has set others meanwhile. */
static void leave_guards(void) {
    lock_actions();
    if (--guards_active == 0) {
        for (int i = 0; i < CRASH_SIGNALS; i++) {
            struct sigaction now;
            if (si__libc_real.sigaction(crash_signals[i], NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
                now.sa_sigaction == on_crash)
                si__libc_real.sigaction(crash_signals[i], &host_actions[i], NULL);
        }
    }
    atomic_flag_clear_explicit(&actions_lock, memory_order_release);
}

/* ---- A thread's record ---- */

static pthread_key_t record_key;
static _Atomic int record_key_made;

static void free_record(void *at) {
    guard_record *all = at;
    stack_t now, none = {.ss_flags = SS_DISABLE};
    while (all->depth-- > 0) leave_guards(); /* the thread ended inside */
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == all->alternate) sigaltstack(&none, NULL);
    record_now = NULL;
    munmap(all, sizeof *all);
}

static void make_record_key(void) {
    if (pthread_key_create(&record_key, free_record) == 0) atomic_store(&record_key_made, 1);
}

static guard_record *own_record(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (record_now) return record_now;
    pthread_once(&once, make_record_key);
    if (!atomic_load(&record_key_made)) return NULL;
    void *at = mmap(NULL, sizeof(guard_record), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return NULL;
    if (pthread_setspecific(record_key, at) != 0) {
        munmap(at, sizeof(guard_record));
        return NULL;
    }
    return record_now = at;
}

/* For the rest of the thread's life, unless the host has given it one. */
static void set_alternate(guard_record *all) {
    stack_t now, ours = {.ss_sp = all->alternate, .ss_size = sizeof all->alternate};
    if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE)) sigaltstack(&ours, NULL);
}

int si_guard(si_runtime *runtime, int (*fn)(void *), void *arg) {
    if (!fn) return SI_EINVAL;
    int saved = errno;
    guard_record *all = own_record();
    if (!all) {
        errno = saved;
        return SI_ENOMEM;
    }
    uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
    for (; all->depth > 0 && is_left(&all->guards[all->depth - 1], frame); all->depth--) leave_guards();
    if (all->depth == GUARDS_MAX) return fn(arg); /* the one around it catches */
    set_alternate(all);
    enter_guards();
    const int depth = all->depth;
    guarded *here = &all->guards[depth];
    here->frame = frame;
    here->recorded = runtime != NULL;
    volatile int result = SI_ECRASHED;
    errno = saved;
    if (sigsetjmp(here->back, 1) == 0) {
        all->depth = depth + 1;
        result = fn(arg);
    }
    saved = errno;
    for (all = record_now; all->depth > depth; all->depth--) leave_guards();
    errno = saved;
    return result;
}
