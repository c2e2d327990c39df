/*
 * The libc functions that libsi-probe.so exports and so takes the place of, by symbol interposition. Host threads.
 *
 * Each does what the real one does; see native/signal.c and native/thread.c. dlopen is not here on purpose: glibc looks
 * at its caller's address to find $ORIGIN, RUNPATH and the namespace, so a frame of ours in between would change what
 * is loaded. New modules are noticed when a sample has a pc in none (si__unwind then asks for tables). dlclose has no
 * such caller and is taken: what follows at the same addresses must not be walked with the old module's rows.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash.h"

#include "native/hook.h"
#include "native/probe.h"
#include "native/sandbox.h"
#include "native/thread.h"

#define EXPORT __attribute__((visibility("default")))

static atomic_uint resolved;
static int (*real_dlclose)(void *);
static int (*real_prctl)(int, ...);
static int (*real_chroot)(const char *);
static int (*real_unshare)(int);

/* Another library's constructor may call these before ours has run. */
static void resolve(void) {
    if (atomic_load_explicit(&resolved, memory_order_acquire)) return;
    void *next = dlsym(RTLD_NEXT, "dlclose");
    memcpy(&real_dlclose, &next, sizeof next);
    next = dlsym(RTLD_NEXT, "chroot");
    memcpy(&real_chroot, &next, sizeof next);
    next = dlsym(RTLD_NEXT, "unshare");
    memcpy(&real_unshare, &next, sizeof next);
    next = dlsym(RTLD_NEXT, "prctl");
    memcpy(&real_prctl, &next, sizeof next);
    si__hook_resolve(&si__libc_hooks);
    atomic_store_explicit(&resolved, 1, memory_order_release);
}

void si__preload_resolve(void);
void si__preload_resolve(void) {
    resolve();
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *argument) {
    resolve();
    return si__wrap_pthread_create(thread, attr, start, argument);
}

EXPORT int sigaction(int signal, const struct sigaction *act, struct sigaction *old) {
    resolve();
    return si__wrap_sigaction(signal, act, old);
}

EXPORT si__signal_fn signal(int number, si__signal_fn handler) {
    resolve();
    return si__wrap_signal(number, handler);
}

EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old) {
    resolve();
    return si__wrap_sigprocmask(how, set, old);
}

EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    resolve();
    return si__wrap_pthread_sigmask(how, set, old);
}

EXPORT int sigpending(sigset_t *set) {
    resolve();
    return si__wrap_sigpending(set);
}

EXPORT int sigwait(const sigset_t *set, int *number) {
    resolve();
    return si__wrap_sigwait(set, number);
}

EXPORT int sigwaitinfo(const sigset_t *set, siginfo_t *info) {
    resolve();
    return si__wrap_sigwaitinfo(set, info);
}

EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout) {
    resolve();
    return si__wrap_sigtimedwait(set, info, timeout);
}

EXPORT int sigaltstack(const stack_t *now, stack_t *old) {
    resolve();
    return si__wrap_sigaltstack(now, old);
}

EXPORT int signalfd(int fd, const sigset_t *mask, int flags) {
    resolve();
    return si__wrap_signalfd(fd, mask, flags);
}

EXPORT int dlclose(void *handle) {
    resolve();
    int rc = real_dlclose(handle);
    si__hook_notice();
    si__region *region = si__probe_region();
    if (region) atomic_fetch_add_explicit(&region->modules_wanted, 1, memory_order_release);
    return rc;
}

/* ---- Worlds that the agent's socket is not in: a server's worker speaks to the agent before it goes there ---- */

static void introduce_first(void) {
    const si__thread *self = si__thread_self();
    resolve();
    if (self && self->tid == (int32_t)syscall(SYS_gettid)) si__probe_region_needed(); /* not a vfork child */
}

EXPORT int chroot(const char *path) {
    introduce_first();
    return real_chroot(path);
}

EXPORT int unshare(int flags) {
    introduce_first();
    return real_unshare(flags);
}

/* ---- The two ways into a seccomp sandbox ---- */

static int enter_sandbox(const struct sock_fprog *filter) {
    int before = si__sandbox_enter(filter);
    if (!before && si__sandboxed()) si__crash_forget_fatal();
    return before;
}

EXPORT int prctl(int option, ...) {
    unsigned long argument[4];
    va_list list;
    va_start(list, option);
    for (int i = 0; i < 4; i++) argument[i] = va_arg(list, unsigned long);
    va_end(list);
    resolve();
    int strict = argument[0] == SECCOMP_MODE_STRICT, judged = option == PR_SET_SECCOMP && (strict || argument[1]);
#if defined(__x86_64__)
    if (option == PR_SET_TSC && argument[0] == PR_TSC_SIGSEGV)
        strict = judged = 1; /* no clock can be read there either */
#endif
    int before = judged ? enter_sandbox(strict ? NULL : (const struct sock_fprog *)argument[1]) : 0;
    int rc = real_prctl(option, argument[0], argument[1], argument[2], argument[3]);
    if (judged && rc != 0) si__sandbox_undo(before);
    return rc;
}

#if defined(__x86_64__)
/* The kernel's answer: no library function is called in a sandbox that might not allow it. */
static long raw_seccomp(unsigned long operation, unsigned long flags, const void *argument) {
    long rc = SYS_seccomp;
    __asm__ volatile("syscall" : "+a"(rc) : "D"(operation), "S"(flags), "d"(argument) : "rcx", "r11", "memory");
    return rc;
}

long si__interpose_seccomp(long number, unsigned long operation, unsigned long flags, const void *argument);

__attribute__((visibility("hidden"))) long si__interpose_seccomp(long number, unsigned long operation,
                                                                 unsigned long flags, const void *argument) {
    (void)number;
    int strict = operation == SECCOMP_SET_MODE_STRICT;
    int judged = strict || (operation == SECCOMP_SET_MODE_FILTER && argument);
    int before = judged ? enter_sandbox(strict ? NULL : argument) : 0;
    long rc = raw_seccomp(operation, flags, argument);
    if (rc >= 0) return rc;
    if (judged) si__sandbox_undo(before);
    errno = (int)-rc;
    return -1;
}

/* libseccomp and browsers come this way. In assembly, so that a call that returns twice, or on another stack, finds no
   frame of ours. */
__asm__(".pushsection .text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n"
        ".cfi_startproc\n"
        "cmpq $317, %rdi\n" /* SYS_seccomp */
        "je si__interpose_seccomp\n"
        "cmpq $202, %rdi\n" /* SYS_futex: see wait_futex.c */
        "je si__wrap_futex\n"
        "movq %rdi, %rax\n"
        "movq %rsi, %rdi\n"
        "movq %rdx, %rsi\n"
        "movq %rcx, %rdx\n"
        "movq %r8, %r10\n"
        "movq %r9, %r8\n"
        "movq 8(%rsp), %r9\n"
        "syscall\n"
        "cmpq $-4095, %rax\n"
        "jae 1f\n"
        "ret\n"
        "1: negq %rax\n"
        "pushq %rax\n"
        ".cfi_adjust_cfa_offset 8\n"
        "call __errno_location@PLT\n"
        "popq %rcx\n"
        ".cfi_adjust_cfa_offset -8\n"
        "movl %ecx, (%rax)\n"
        "movq $-1, %rax\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size syscall, . - syscall\n"
        ".popsection\n");
#endif
