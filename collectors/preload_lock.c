/*
 * The lock functions that libsi-probe.so exports and so takes the place of, by symbol interposition: see lock.c. Host
 * threads.
 *
 * Each is a jump into its wrapper. The exported name is given to the assembler alone, so that the C names of libc's
 * headers and ours do not meet.
 */
#include <dlfcn.h>
#include <stdatomic.h>

#include "wait_hooks.h"

static atomic_uint resolved; /* 1: has begun on some thread; 2: done */

/* Conditions were laid out anew in glibc 2.3.2, and the old functions are still there. */
static void resolve_condition(const char *name, void *real) {
    void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
    if (found) *(void **)real = found;
}

/*
 * Another library's constructor may call before ours has run. dlsym may allocate when it finds nothing, and the
 * program's malloc may lock: such a call comes in here again, after what it calls was found, because the locks are
 * looked for first.
 */
static void resolve(void) {
    if (atomic_exchange_explicit(&resolved, 1, memory_order_acquire) == 1) return;
    si__lock_resolve();
    resolve_condition("pthread_cond_wait", &si__wait_real.pthread_cond_wait);
    resolve_condition("pthread_cond_timedwait", &si__wait_real.pthread_cond_timedwait);
    atomic_store_explicit(&resolved, 2, memory_order_release);
}

void si__preload_lock_resolve(void);
void si__preload_lock_resolve(void) {
    if (atomic_load_explicit(&resolved, memory_order_acquire) != 2) resolve();
}

#define EXPORT(result, name, parameters, arguments)                                                                    \
    __attribute__((visibility("default"))) result si__export_##name parameters __asm__(#name);                         \
    result si__export_##name parameters {                                                                              \
        if (__builtin_expect(atomic_load_explicit(&resolved, memory_order_acquire) != 2, 0)) resolve();                \
        return si__wrap_##name arguments;                                                                              \
    }

#define X(name, try, busy, usable, object, parameters, arguments) EXPORT(int, name, parameters, arguments)
SI__TRIED_CALLS(X)
#undef X
#define X(name, usable, parameters, arguments) EXPORT(int, name, parameters, arguments)
SI__SEMAPHORE_CALLS(X)
#undef X
#define X(name, call, object, result, parameters, arguments) EXPORT(result, name, parameters, arguments)
SI__JOINING_CALLS(X)
#undef X
