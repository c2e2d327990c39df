/*
 * Lock waits: mutexes, readers-writer locks, conditions, joins, barriers, C11's of the same, and semaphores (which
 * count as channels). What waits by futex(2) itself is in wait_futex.c. Host threads.
 *
 * A lock is tried first. Only "busy" means that somebody holds it: any other answer, such as EOWNERDEAD (which means
 * acquired) or an error, is the answer that the real call would have given, and no clock was read. When it is busy,
 * the real call decides, whatever the type of the mutex, and is timed.
 */
#include <errno.h>
#include <stdio.h>

#include "collector.h"
#include "native/hook.h"
#include "native/waiter.h"
#include "wait_hooks.h"

/* The timed forms look at their time before they look at the lock: with one that is wrong, the real call answers. */
static inline int is_time(const struct timespec *until) {
    return until && until->tv_nsec >= 0 && until->tv_nsec < 1000000000;
}
static inline int is_clock(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
}

#define CALLER __builtin_return_address(0)
#define OBJECT(expression) ((uint64_t)(uintptr_t)(expression))

/* Who called a wrapper that goes on in its slow half: kept in the thread, so that the fast half saves no registers. */
#define X(name, try, busy, usable, object, parameters, arguments)                                                      \
    __attribute__((noinline)) static int slow_##name parameters {                                                      \
        si__wait wait = {.waiter = si__waiter_get()};                                                                  \
        si__wait_begin(&wait, SI__CALL_##name, OBJECT(object), si__waiter_self.caller);                                \
        int rc = si__wait_real.name arguments;                                                                         \
        si__wait_end(&wait, SI__WAIT_LOCK);                                                                            \
        return rc;                                                                                                     \
    }                                                                                                                  \
    int si__wrap_##name parameters {                                                                                   \
        si__waiter *self = si__waiter_get();                                                                           \
        if (!self) return si__wait_real.name arguments;                                                                \
        si__waiter_count(self, SI__WAIT_LOCK);                                                                         \
        if (usable) {                                                                                                  \
            int tried = si__wait_real.try(object);                                                                     \
            if (__builtin_expect(tried != (busy), 1)) return tried;                                                    \
        }                                                                                                              \
        si__waiter_self.caller = CALLER;                                                                               \
        return slow_##name arguments;                                                                                  \
    }
SI__TRIED_CALLS(X)
#undef X

#define X(name, usable, parameters, arguments)                                                                         \
    int si__wrap_##name parameters {                                                                                   \
        si__wait wait = {.waiter = si__waiter_get()};                                                                  \
        if (wait.waiter) si__waiter_count(wait.waiter, SI__WAIT_CHANNEL);                                              \
        if (wait.waiter && (usable)) {                                                                                 \
            int saved = errno;                                                                                         \
            pthread_testcancel();                                                                                      \
            if (si__wait_real.sem_trywait(semaphore) == 0) return 0;                                                   \
            errno = saved;                                                                                             \
        }                                                                                                              \
        si__wait_begin(&wait, SI__CALL_##name, OBJECT(semaphore), CALLER);                                             \
        int rc = si__wait_real.name arguments;                                                                         \
        si__wait_end(&wait, SI__WAIT_CHANNEL);                                                                         \
        return rc;                                                                                                     \
    }
SI__SEMAPHORE_CALLS(X)
#undef X

#define X(name, call, object, result, parameters, arguments)                                                           \
    result si__wrap_##name parameters {                                                                                \
        si__wait wait = {.waiter = si__waiter_get()};                                                                  \
        if (wait.waiter) si__waiter_count(wait.waiter, SI__WAIT_LOCK);                                                 \
        si__wait_begin(&wait, SI__CALL_##call, OBJECT(object), CALLER);                                                \
        result rc = si__wait_real.name arguments;                                                                      \
        si__wait_end(&wait, SI__WAIT_LOCK);                                                                            \
        return rc;                                                                                                     \
    }
SI__JOINING_CALLS(X)
#undef X

/* ---- The collector ---- */

static const si__hook hooks[] = {
#define HOOK(name) {#name, (uintptr_t)si__wrap_##name, (uintptr_t *)(void *)&si__wait_real.name},
#define X(name, try, busy, usable, object, parameters, arguments) HOOK(name)
    SI__TRIED_CALLS(X)
#undef X
#define X(name, usable, parameters, arguments) HOOK(name)
        SI__SEMAPHORE_CALLS(X)
#undef X
#define X(name, call, object, result, parameters, arguments) HOOK(name)
            SI__JOINING_CALLS(X)
#undef X
#undef HOOK
#if defined(__x86_64__)
                {"syscall", (uintptr_t)si__wrap_syscall, (uintptr_t *)(void *)&si__wait_syscall},
#endif
};
static const si__hook_table table = {.hooks = hooks, .count = sizeof hooks / sizeof *hooks};

/* What the wrappers call besides: resolved with the rest, hooked by nobody. */
static const si__hook tries[] = {
#define X(name) {#name, 0, (uintptr_t *)(void *)&si__wait_real.name},
    SI__TRY_CALLS(X)
#undef X
};
static const si__hook_table try_table = {.hooks = tries, .count = sizeof tries / sizeof *tries};

void si__lock_resolve(void) {
    si__hook_resolve(&try_table);
    si__hook_resolve(&table);
}

static int installed; /* the opener's thread, then the runtime's */

static void retune(void) {
    si__waiter_retune(&table, &installed);
}

static void stop(void) {
    si__waiter_stop(&table, &installed);
}

static int start(char *reason, size_t reason_bytes) {
    (void)reason;
    (void)reason_bytes;
    si__waiter_prepare();
    retune();
    return 0;
}

const si__collector si__collector_lock = {
    .name = "lock", .title = "Lock waits", .start = start, .stop = stop, .retune = retune};
