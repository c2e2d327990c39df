/*
 * poll and select in their forms: they wait for what their descriptors are, or, without any, for time to pass. Host
 * threads, signal handlers too.
 *
 * The host's arrays are looked at only after the kernel has read them without complaint.
 */
#include <errno.h>

#include "native/return_path.h"
#include "native/waiter.h"
#include "wait_hooks.h"

enum { LOOKED_AT = 16 }; /* descriptors of a call: enough to say what it is about */

/* Network, if a socket is among them; else what the first is. */
static unsigned kind_of_polled(const struct pollfd *fds, nfds_t count, int rc) {
    if (count == 0) return SI__WAIT_SYSTEM;
    if (rc < 0) return SI__WAIT_NETWORK;
    int first = -1;
    for (nfds_t i = 0; i < count && i < LOOKED_AT; i++) {
        if (fds[i].fd < 0) continue;
        int kind = si__descriptor_kind(fds[i].fd);
        if (kind == SI__WAIT_NETWORK) return SI__WAIT_NETWORK;
        if (first < 0) first = kind;
    }
    return (unsigned)(first < 0 ? SI__WAIT_SYSTEM : first);
}

static int first_in(const fd_set *set, int count) {
    if (!set) return -1;
    for (int fd = 0; fd < count && fd < FD_SETSIZE; fd++)
        if (FD_ISSET(fd, set)) return fd;
    return -1;
}

/* What is left in the sets after the call is ready; nothing is after a timeout, and then it cannot be told any more. */
static unsigned kind_of_selected(int count, const fd_set *readable, const fd_set *writable, const fd_set *special,
                                 int rc) {
    if (count <= 0 || (!readable && !writable && !special)) return SI__WAIT_SYSTEM;
    if (rc <= 0) return SI__WAIT_NETWORK;
    int fd = first_in(readable, count);
    if (fd < 0) fd = first_in(writable, count);
    if (fd < 0) fd = first_in(special, count);
    return fd < 0 ? SI__WAIT_NETWORK : (unsigned)si__descriptor_kind(fd);
}

/* errno is as the call left it all the while: nothing here fails or keeps it not. */
static inline void finish(si__waiter *self, si__wait_call call, unsigned category, const void *caller, uint64_t start,
                          uint64_t end) {
    si__waiter_count(self, category);
    if (!si__waiter_hit(self, category, end - start)) return;
    const si__wait wait = {.waiter = self, .start = start, .caller = caller, .call = call};
    si__waiter_sample(&wait, category, category, end);
}

/* With no time to wait there is no wait. A time behind a pointer is the kernel's to read. */
#define WRAP(name, call, result, parameters, arguments, instant, none, category)                                       \
    SI__RETURNS_BY_PATH result si__wrap_##name parameters {                                                            \
        si__waiter *self = si__waiter_get();                                                                           \
        if (!self) return si__wait_real.name arguments;                                                                \
        if (instant) {                                                                                                 \
            result done = si__wait_real.name arguments;                                                                \
            si__waiter_count(self, category(done));                                                                    \
            return done;                                                                                               \
        }                                                                                                              \
        const void *caller = __builtin_return_address(0);                                                              \
        uint64_t start = si__cycles();                                                                                 \
        si__waiter_publish(self, SI__CALL_##call, start, (none) ? SI__NO_DESCRIPTOR : SI__MANY_DESCRIPTORS, caller);   \
        result rc = si__wait_real.name arguments;                                                                      \
        if (!si__waiter_unpublish(self)) return rc;                                                                    \
        uint64_t end = si__cycles();                                                                                   \
        finish(self, SI__CALL_##call, category(rc), caller, start, end);                                               \
        return rc;                                                                                                     \
    }

#define INSTANT_poll (time_ms == 0)
#define INSTANT___poll_chk (time_ms == 0)
#define INSTANT_ppoll 0
#define INSTANT___ppoll_chk 0
#define POLLED(rc) kind_of_polled(fds, count, rc)
#define X(name, call, object, result, parameters, arguments)                                                           \
    WRAP(name, call, result, parameters, arguments, INSTANT_##name, count == 0, POLLED)
SI__POLL_CALLS(X)
#undef X
#define SELECTED(rc) kind_of_selected(count, readable, writable, special, rc)
#define X(name, call, object, result, parameters, arguments)                                                           \
    WRAP(name, call, result, parameters, arguments, 0, count <= 0 || (!readable && !writable && !special), SELECTED)
SI__SELECT_CALLS(X)
#undef X
