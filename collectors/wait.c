/*
 * Network, system and channel waits: the collector, and the calls that are made in order to wait (sleeps, children,
 * fsync, file locks, message queues, names of hosts), which are timed exactly. What mostly does not wait is in
 * wait_io.c and wait_poll.c. Host threads, signal handlers too.
 */
#include <stdio.h>

#include "collector.h"
#include "native/hook.h"
#include "native/waiter.h"
#include "wait_hooks.h"

si__wait_libc si__wait_real = {
#define R(name) .name = name,
#define X(name, try, busy, usable, object, parameters, arguments) R(name)
    SI__TRIED_CALLS(X)
#undef X
#define X(name, usable, parameters, arguments) R(name)
        SI__SEMAPHORE_CALLS(X)
#undef X
#define X(name, call, object, result, parameters, arguments) R(name)
            SI__JOINING_CALLS(X) SI__WAIT_HOOKED(X)
#undef X
                SI__TRY_CALLS(R)
#undef R
};

#define CALLER __builtin_return_address(0)

#define X(name, call, object, result, parameters, arguments)                                                           \
    result si__wrap_##name parameters {                                                                                \
        si__wait wait = {.waiter = si__waiter_get()};                                                                  \
        if (wait.waiter) si__waiter_count(wait.waiter, SI__CATEGORY_OF_##call);                                        \
        si__wait_begin(&wait, SI__CALL_##call, (uint64_t)(object), CALLER);                                            \
        result rc = si__wait_real.name arguments;                                                                      \
        si__wait_end(&wait, SI__CATEGORY_OF_##call);                                                                   \
        return rc;                                                                                                     \
    }
SI__WAITING_CALLS(X)
#undef X

/* Of its many commands, two wait. */
#define X(name, call, object, result, parameters, arguments)                                                           \
    result si__wrap_##name parameters {                                                                                \
        if (command != F_SETLKW && command != F_OFD_SETLKW) {                                                          \
            int done = si__wait_real.name arguments;                                                                   \
            if (command == F_SETFL) si__descriptor_forget(fd); /* it may wait now, or no more */                       \
            if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) si__descriptor_forget(done);                         \
            return done;                                                                                               \
        }                                                                                                              \
        si__wait wait = {.waiter = si__waiter_get()};                                                                  \
        if (wait.waiter) si__waiter_count(wait.waiter, SI__WAIT_SYSTEM);                                               \
        si__wait_begin(&wait, SI__CALL_##call, (uint64_t)fd, CALLER);                                                  \
        result rc = si__wait_real.name arguments;                                                                      \
        si__wait_end(&wait, SI__WAIT_SYSTEM);                                                                          \
        return rc;                                                                                                     \
    }
SI__LOCKING_CALLS(X)
#undef X

/* Modules of the name service call poll and recv themselves: that is part of this wait, not another one. */
int si__wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    si__waiter *self = si__waiter_get();
    si__wait wait = {.waiter = self};
    si__wait_begin(&wait, SI__CALL_getaddrinfo, 0, CALLER);
    if (self) {
        si__waiter_count(self, SI__WAIT_NETWORK);
        self->resolver = (uintptr_t)__builtin_frame_address(0);
    }
    int rc = si__wait_real.getaddrinfo(host, service, hints, out);
    si__waiter_self.resolver = 0;
    si__wait_end(&wait, SI__WAIT_NETWORK);
    return rc;
}

/* ---- The collector ---- */

static const si__hook hooks[] = {
#define X(name, call, object, result, parameters, arguments)                                                           \
    {#name, (uintptr_t)si__wrap_##name, (uintptr_t *)(void *)&si__wait_real.name},
    SI__WAIT_HOOKED(X)
#undef X
};
static const si__hook_table table = {.hooks = hooks, .count = sizeof hooks / sizeof *hooks};

void si__wait_resolve(void) {
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

const si__collector si__collector_wait = {
    .name = "wait", .title = "Network, system and channel waits", .start = start, .stop = stop, .retune = retune};
