/*
 * The waiting functions that libsi-probe.so exports and so takes the place of, by symbol interposition: see wait.c,
 * wait_io.c and wait_poll.c. Host threads, signal handlers too.
 *
 * Each is a jump into its wrapper; names as in preload_lock.c. open, openat and fcntl have three or four parameters
 * here: what a caller leaves out of a variable list is in a register all the same, and is passed on unlooked at.
 */
#include <stdatomic.h>

#include "wait_hooks.h"

static atomic_uint resolved;

void si__preload_lock_resolve(void); /* preload_lock.c */

/* Another library's constructor may call before ours has run. Locks first: dlsym may come by them. */
static void resolve(void) {
    si__preload_lock_resolve();
    si__wait_resolve();
    atomic_store_explicit(&resolved, 1, memory_order_release);
}

/* Before main, while there is one thread: from then on no call looks for anything. */
__attribute__((constructor(101))) static void resolve_early(void) {
    resolve();
}

#define X(name, call, object, result, parameters, arguments)                                                           \
    __attribute__((visibility("default"))) result si__export_##name parameters __asm__(#name);                         \
    result si__export_##name parameters {                                                                              \
        if (__builtin_expect(!atomic_load_explicit(&resolved, memory_order_acquire), 0)) resolve();                    \
        return si__wrap_##name arguments;                                                                              \
    }
SI__WAIT_HOOKED(X)
#undef X
