/*
 * Waits for input and output: files, sockets, pipes, event counters. Host threads, signal handlers too.
 *
 * Most of these calls do not wait at all, and servers make hundreds of thousands a second. So their time is only taken
 * off what is left until the next sample point, and nothing more is done until that lies in a call; what its descriptor
 * is, is asked then, too. Sockets and pipes with O_NONBLOCK, which servers have, cannot wait: their calls are counted
 * and no more.
 */
#include "native/return_path.h"
#include "native/waiter.h"
#include "wait_hooks.h"

/* A call that a sample point lies in. Not inline: the common path stays short. */
__attribute__((noinline)) static void sample(si__waiter *self, si__wait_call call, unsigned sampled, int fd,
                                             const void *caller, uint64_t start, uint64_t end) {
    const si__wait wait = {.waiter = self, .start = start, .caller = caller, .call = call};
    int category = si__wait_call_category(call);
    if (category == SI__WAIT_BY_DESCRIPTOR) category = si__descriptor_kind_ask(fd);
    si__waiter_sample(&wait, sampled, (unsigned)category, end);
}

static inline void finish(si__waiter *self, si__wait_call call, int category, int fd, const void *caller,
                          uint64_t start) {
    if (!si__waiter_unpublish(self)) return;
    uint64_t end = si__cycles();
    unsigned kind = category == SI__WAIT_BY_DESCRIPTOR ? si__waiter_kind(self, fd) : (unsigned)category;
    si__waiter_count(self, kind);
    if (si__waiter_hit(self, kind, end - start)) sample(self, call, kind, fd, caller, start, end);
}

/* Calls that return at once when their descriptor is said to. Not those that open, wait for many, or read from a file
   what they send. */
static inline int obeys_flag(si__wait_call call) {
    switch (call) {
    case SI__CALL_read:
    case SI__CALL_write:
    case SI__CALL_readv:
    case SI__CALL_writev:
    case SI__CALL_send:
    case SI__CALL_recv:
    case SI__CALL_sendto:
    case SI__CALL_recvfrom:
    case SI__CALL_sendmsg:
    case SI__CALL_recvmsg:
    case SI__CALL_sendmmsg:
    case SI__CALL_recvmmsg:
    case SI__CALL_accept:
    case SI__CALL_accept4:
        return 1;
    default:
        return 0;
    }
}
static inline int makes_descriptor(si__wait_call call) {
    return call == SI__CALL_accept || call == SI__CALL_accept4 || call == SI__CALL_open || call == SI__CALL_openat;
}

/* Now and then the flag is looked at again: it may be changed by another name of the file, or in another process, and
   a number may be closed and taken again where we do not see it. */
static inline int is_instant(si__waiter *self, int fd) {
    enum { LOOK_EVERY = 256 };
    if (!si__descriptor_is_instant(fd)) return 0;
    if (__builtin_expect((++self->calls & (LOOK_EVERY - 1)) != 0, 1)) return 1;
    si__descriptor_kind_ask(fd);
    return si__descriptor_is_instant(fd);
}

#define X(name, call, fd, result, parameters, arguments)                                                               \
    SI__RETURNS_BY_PATH result si__wrap_##name parameters {                                                            \
        si__waiter *self = si__waiter_get();                                                                           \
        if (!self) return si__wait_real.name arguments;                                                                \
        if (obeys_flag(SI__CALL_##call) && is_instant(self, fd)) {                                                     \
            si__waiter_count(self, (int)SI__CATEGORY_OF_##call == (int)SI__WAIT_BY_DESCRIPTOR                          \
                                       ? (unsigned)si__descriptor_kind(fd)                                             \
                                       : (unsigned)SI__CATEGORY_OF_##call);                                            \
            result rc = si__wait_real.name arguments;                                                                  \
            if (makes_descriptor(SI__CALL_##call) && rc >= 0) si__descriptor_forget((int)rc);                          \
            return rc;                                                                                                 \
        }                                                                                                              \
        const void *caller = __builtin_return_address(0);                                                              \
        uint64_t start = si__cycles();                                                                                 \
        si__waiter_publish(self, SI__CALL_##call, start, (uint64_t)(fd), caller);                                      \
        result rc = si__wait_real.name arguments;                                                                      \
        finish(self, SI__CALL_##call, SI__CATEGORY_OF_##call, fd, caller, start);                                      \
        if (makes_descriptor(SI__CALL_##call) && rc >= 0) si__descriptor_forget((int)rc);                              \
        if (obeys_flag(SI__CALL_##call)) si__descriptor_seen(fd);                                                      \
        return rc;                                                                                                     \
    }
SI__STREAM_CALLS(X)
SI__SOCKET_CALLS(X)
#undef X

/* With no time to wait, there is no wait. A time behind a pointer is the kernel's to read. */
#define INSTANT_epoll_wait (time_ms == 0)
#define INSTANT_epoll_pwait (time_ms == 0)
#define INSTANT_epoll_pwait2 0
#define X(name, call, fd, result, parameters, arguments)                                                               \
    SI__RETURNS_BY_PATH result si__wrap_##name parameters {                                                            \
        si__waiter *self = si__waiter_get();                                                                           \
        if (!self) return si__wait_real.name arguments;                                                                \
        if (INSTANT_##name) {                                                                                          \
            si__waiter_count(self, SI__CATEGORY_OF_##call);                                                            \
            return si__wait_real.name arguments;                                                                       \
        }                                                                                                              \
        const void *caller = __builtin_return_address(0);                                                              \
        uint64_t start = si__cycles();                                                                                 \
        si__waiter_publish(self, SI__CALL_##call, start, (uint64_t)(fd), caller);                                      \
        result rc = si__wait_real.name arguments;                                                                      \
        finish(self, SI__CALL_##call, SI__CATEGORY_OF_##call, fd, caller, start);                                      \
        return rc;                                                                                                     \
    }
SI__EPOLL_CALLS(X)
#undef X

/* Does not wait (mostly), but its number will stand for something else. */
int si__wrap_close(int fd) {
    si__descriptor_forget(fd);
    return si__wait_real.close(fd);
}
