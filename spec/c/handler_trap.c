/*
 * A preload for tests: stands behind libsi-probe.so, sees the handlers that it installs, and counts calls of functions
 * that are not async-signal-safe while one of them runs. The host asks for the counts at its end.
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef void (*handler)(int, siginfo_t *, void *);

static __thread int inside __attribute__((tls_model("initial-exec")));
static _Atomic unsigned long runs, unsafe;
static _Atomic(const char *) first;
static handler wrapped[128];

unsigned long handler_trap_runs(void);
unsigned long handler_trap_unsafe(void);
const char *handler_trap_first(void);

unsigned long handler_trap_runs(void) {
    return atomic_load(&runs);
}
unsigned long handler_trap_unsafe(void) {
    return atomic_load(&unsafe);
}
const char *handler_trap_first(void) {
    const char *name = atomic_load(&first);
    return name ? name : "";
}

static void check(const char *name) {
    if (!inside) return;
    const char *none = NULL;
    atomic_fetch_add(&unsafe, 1);
    atomic_compare_exchange_strong(&first, &none, name);
}

static void in_handler(int signal, siginfo_t *info, void *context) {
    inside++;
    atomic_fetch_add(&runs, 1);
    wrapped[signal](signal, info, context);
    inside--;
}

/* Real-time signals with SA_SIGINFO are the probe's timer. */
int sigaction(int signal, const struct sigaction *action, struct sigaction *old) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    if (!real) real = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
    struct sigaction ours;
    if (action && signal >= SIGRTMIN && signal < 128 && (action->sa_flags & SA_SIGINFO)) {
        ours = *action;
        wrapped[signal] = action->sa_sigaction;
        ours.sa_sigaction = in_handler;
        action = &ours;
    }
    return real(signal, action, old);
}

extern void *__libc_malloc(size_t);
extern void __libc_free(void *);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

void *malloc(size_t bytes) {
    check("malloc");
    return __libc_malloc(bytes);
}
void free(void *at) {
    check("free");
    __libc_free(at);
}
void *calloc(size_t count, size_t bytes) {
    check("calloc");
    return __libc_calloc(count, bytes);
}
void *realloc(void *at, size_t bytes) {
    check("realloc");
    return __libc_realloc(at, bytes);
}

#define TRAP(result, name, parameters, arguments)                                                                      \
    result name parameters {                                                                                           \
        static result(*real) parameters;                                                                               \
        check(#name);                                                                                                  \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                               \
        return real arguments;                                                                                         \
    }
TRAP(int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
TRAP(int, pthread_mutex_unlock, (pthread_mutex_t * mutex), (mutex))
TRAP(int, pthread_rwlock_rdlock, (pthread_rwlock_t * lock), (lock))
TRAP(int, pthread_rwlock_wrlock, (pthread_rwlock_t * lock), (lock))
TRAP(int, pthread_once, (pthread_once_t * once, void (*fn)(void)), (once, fn))
TRAP(int, dl_iterate_phdr, (int (*fn)(struct dl_phdr_info *, size_t, void *), void *arg), (fn, arg))
