/*
 * Waits for input and output: files, sockets, pipes, event counters. Host threads, signal handlers too.
 *
 * Most of these calls do not wait at all, and servers make hundreds of thousands a second. So they are timed by the
 * kernel's coarse clock, whose ticks say often enough, and right on average, how long a call took; only when it ticked
 * is anything more done. What a descriptor is, is asked then, too.
 */
#include "native/waiter.h"
#include "wait_hooks.h"

/* A call in which the clock ticked. Not inline: the common path stays short. */
__attribute__((noinline)) static void ticked(si__waiter *self, si__wait_call call, int category, int fd,
                                             const void *caller, uint64_t ns) {
    const si__wait wait = {.waiter = self, .caller = caller, .call = call};
    if (category == SI__WAIT_BY_DESCRIPTOR) category = si__descriptor_kind_ask(fd);
    si__waiter_sample(&wait, (unsigned)category, ns);
}

static inline void finish(si__waiter *self, si__wait_call call, int category, int fd, const void *caller,
                          uint64_t start_ns) {
    if (!si__waiter_unpublish(self)) return;
    uint64_t end_ns = si__coarse_ns();
    si__waiter_count(self, category == SI__WAIT_BY_DESCRIPTOR ? si__waiter_kind(self, fd) : (unsigned)category);
    if (__builtin_expect(end_ns != start_ns, 0)) ticked(self, call, category, fd, caller, end_ns - start_ns);
}

#define X(name, call, fd, result, parameters, arguments)                                                               \
    result si__wrap_##name parameters {                                                                                \
        si__waiter *self = si__waiter_get();                                                                           \
        if (!self) return si__wait_real.name arguments;                                                                \
        const void *caller = __builtin_return_address(0);                                                              \
        uint64_t start_ns = si__coarse_ns();                                                                           \
        si__waiter_publish(self, SI__CALL_##call, start_ns, (uint64_t)(fd), caller);                                   \
        result rc = si__wait_real.name arguments;                                                                      \
        finish(self, SI__CALL_##call, SI__CATEGORY_OF_##call, fd, caller, start_ns);                                   \
        return rc;                                                                                                     \
    }
SI__STREAM_CALLS(X)
SI__SOCKET_CALLS(X)
#undef X

/* Does not wait (mostly), but its number will stand for something else. */
int si__wrap_close(int fd) {
    si__descriptor_forget(fd);
    return si__wait_real.close(fd);
}
