/*
 * The libc functions that we stand in front of: thread creation, and the few through which a program could see or
 * disturb our one signal.
 *
 * Preloaded, libsi-probe.so exports functions of these names, and the dynamic linker does the rest. Embedded, the
 * entries of the loaded modules' global offset tables are rewritten, and put back on stop.
 */
#ifndef SI_NATIVE_HOOK_H
#define SI_NATIVE_HOOK_H

#include <pthread.h>
#include <signal.h>
#include <time.h>

typedef void (*si__signal_fn)(int);

/* name, result, parameters */
#define SI__HOOKED(X)                                                                                                  \
    X(pthread_create, int, (pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))                           \
    X(sigaction, int, (int, const struct sigaction *, struct sigaction *))                                             \
    X(signal, si__signal_fn, (int, si__signal_fn))                                                                     \
    X(sigprocmask, int, (int, const sigset_t *, sigset_t *))                                                           \
    X(pthread_sigmask, int, (int, const sigset_t *, sigset_t *))                                                       \
    X(sigpending, int, (sigset_t *))                                                                                   \
    X(sigwait, int, (const sigset_t *, int *))                                                                         \
    X(sigwaitinfo, int, (const sigset_t *, siginfo_t *))                                                               \
    X(sigtimedwait, int, (const sigset_t *, siginfo_t *, const struct timespec *))                                     \
    X(signalfd, int, (int, const sigset_t *, int))

/* The real functions. Everything of ours calls them here, never by name. */
typedef struct si__libc {
#define X(name, result, parameters) result(*name) parameters;
    SI__HOOKED(X)
#undef X
} si__libc;
extern si__libc si__libc_real;

/* What stands in front of them: defined in thread.c and signal.c. Any host thread; each behaves as the real one. */
#define X(name, result, parameters) result si__wrap_##name parameters;
SI__HOOKED(X)
#undef X

/* Preloaded: finds the real functions behind ours. Before any wrapper runs; not in a signal handler. */
void si__libc_resolve(void);

/* Embedded: hooks every loaded module but our own library. Host thread at open. */
void si__hook_install(void);
/* Hooks modules loaded since. Returns 1 when modules were loaded or unloaded since the last call. */
int si__hook_refresh(void);
/* Puts the real functions back. */
void si__hook_remove(void);

#endif
