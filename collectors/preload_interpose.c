/*
 * The libc functions that libsi-probe.so exports and so takes the place of, by symbol interposition. Host threads.
 *
 * Each does what the real one does; see native/signal.c and native/thread.c. dlopen is not here on purpose: glibc looks
 * at its caller's address to find $ORIGIN, RUNPATH and the namespace, so a frame of ours in between would change what
 * is loaded. New modules are noticed when a sample has a pc in none (si__unwind then asks for tables). dlclose has no
 * such caller and is taken: what follows at the same addresses must not be walked with the old module's rows.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/signalfd.h>

#include "native/hook.h"
#include "native/probe.h"

#define EXPORT __attribute__((visibility("default")))

static atomic_uint resolved;
static int (*real_dlclose)(void *);

/* Another library's constructor may call these before ours has run. */
static void resolve(void) {
    if (atomic_load_explicit(&resolved, memory_order_acquire)) return;
    void *next = dlsym(RTLD_NEXT, "dlclose");
    memcpy(&real_dlclose, &next, sizeof next);
    si__libc_resolve();
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

EXPORT int signalfd(int fd, const sigset_t *mask, int flags) {
    resolve();
    return si__wrap_signalfd(fd, mask, flags);
}

EXPORT int dlclose(void *handle) {
    resolve();
    int rc = real_dlclose(handle);
    si__region *region = si__probe_region();
    if (region) atomic_fetch_add_explicit(&region->modules_wanted, 1, memory_order_release);
    return rc;
}
