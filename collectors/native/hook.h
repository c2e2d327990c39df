/*
 * Functions of libc and of other libraries that we stand in front of.
 *
 * Preloaded, libsi-probe.so exports libc functions by these names, and the dynamic linker does the rest. Embedded, and
 * for other libraries than libc, the entries of the loaded modules' global offset tables are rewritten, and put back on
 * stop. Each collector that hooks brings a table of its own; a name stands in one table only.
 *
 * The first table, below, is the core's: thread creation, and the few functions through which a program could see or
 * disturb our one signal.
 */
#ifndef SI_NATIVE_HOOK_H
#define SI_NATIVE_HOOK_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* ---- Tables ---- */

typedef struct si__hook {
    const char *name; /* of the function, as modules import it */
    uintptr_t ours;   /* 0: nothing of ours stands in front of it, it is only looked for */
    uintptr_t *real;  /* where the real function is kept. *real 0: looked for in the loaded modules at every walk, and
                         left alone until one of them defines it */
} si__hook;

/* One loaded copy of a library whose functions are hooked. A process may hold several (two builds of libcurl, a private
   libsqlite3), whose handles must not meet: each copy has a table, with functions of ours and real ones of its own. */
typedef struct si__hook_copy {
    uintptr_t base; /* where the module is; 0: not loaded. The rest but `rival` is the walker's */
    int seen, more; /* more: a copy that there is no table for is loaded as well, or a rival */
    /* A function that libraries define which are none of these copies, but have functions of the same names (other
       versions): with one loaded, entries that are not bound yet are left alone. NULL: there are no such libraries. */
    const char *rival;
} si__hook_copy;

typedef struct si__hook_table {
    const si__hook *hooks;
    size_t count;
    int in_libc; /* 1: calls that libc makes to itself through its own table are hooked too */
    /* NULL: the functions are hooked wherever they are imported. Else this table takes the next loaded module that
       defines its first function, and hooks who is bound to that one; calls of the module to itself stay as they are.
       Tables with the same first function stand for copies of one library: same hooks in the same order. */
    si__hook_copy *copy;
} si__hook_table;

/*
 * Hooks every loaded module but our own library, and those loaded later when si__hook_refresh sees them. The table is
 * static. 0 or SI_ELIMIT (too many tables). Any thread of the host that may wait for the dynamic linker's lock, or the
 * runtime's; not in a signal handler.
 */
int si__hook_install(const si__hook_table *table);

/* The same for several tables, in one walk. */
int si__hook_install_all(const si__hook_table *const *tables, size_t count);

/* Puts the real functions back. A call that is in one of ours right now ends there. */
void si__hook_remove(const si__hook_table *table);

/* Hooks modules loaded since. Returns 1 when modules were loaded or unloaded since the last call. */
int si__hook_refresh(void);

/* Preloaded: the same as si__hook_refresh, cheap when nothing was loaded or unloaded, and without ever waiting for
   another thread. Host threads, where dl_iterate_phdr may be called; not in a signal handler. Keeps errno. */
void si__hook_notice(void);

/* Preloaded: finds the real functions behind the names that we export (RTLD_NEXT); leaves *real of those that do not
   exist. Before any wrapper runs; not in a signal handler. dlsym may allocate. */
void si__hook_resolve(const si__hook_table *table);

/* ---- The core's table ---- */

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
    X(signalfd, int, (int, const sigset_t *, int))                                                                     \
    X(sigaltstack, int, (const stack_t *, stack_t *))

/* The real functions. Everything of ours calls them here, never by name. */
typedef struct si__libc {
#define X(name, result, parameters) result(*name) parameters;
    SI__HOOKED(X)
#undef X
} si__libc;
extern si__libc si__libc_real;
extern const si__hook_table si__libc_hooks;

/* What stands in front of them: defined in thread.c, signal.c and alternate_stack.c. Any host thread; each behaves as
 * the real one. */
#define X(name, result, parameters) result si__wrap_##name parameters;
SI__HOOKED(X)
#undef X

#endif
