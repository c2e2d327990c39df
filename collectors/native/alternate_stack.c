/* Alternate signal stacks: see alternate_stack.h. Host threads. */
#include "alternate_stack.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hook.h"
#include "region.h"
#include "thread.h"

enum { STACK_BYTES = 64 * 1024, GUARD_BYTES = 4096, STRIDE = STACK_BYTES + GUARD_BYTES };

static _Atomic(char *) stacks;

/* The system call: sigaltstack may be our own wrapper, and the real one is not known in a handler. */
static int set(const stack_t *now, stack_t *old) {
    return (int)syscall(SYS_sigaltstack, now, old);
}

static int is_ours(const void *at) {
    const char *first = atomic_load_explicit(&stacks, memory_order_acquire);
    return first && (const char *)at >= first && (const char *)at < first + (size_t)STRIDE * SI__SLOT_COUNT;
}

int si__alternate_stack_setup(void) {
    if (atomic_load(&stacks)) return 0;
    int saved = errno;
    void *at =
        mmap(NULL, (size_t)STRIDE * SI__SLOT_COUNT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    if (at == MAP_FAILED) return -1;
    atomic_store_explicit(&stacks, at, memory_order_release);
    return 0;
}

/* 0: the thread has ours now. */
static int give(uint32_t index) {
    char *first = atomic_load_explicit(&stacks, memory_order_acquire);
    if (!first || index >= SI__SLOT_COUNT) return -1;
    char *own = first + (size_t)STRIDE * index + GUARD_BYTES; /* what lies below stays out of bounds */
    const stack_t ours = {.ss_sp = own, .ss_size = STACK_BYTES};
    return mprotect(own, STACK_BYTES, PROT_READ | PROT_WRITE) == 0 ? set(&ours, NULL) : -1;
}

void si__alternate_stack_give(uint32_t index) {
    stack_t now;
    int saved = errno;
    if (set(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE)) give(index);
    errno = saved;
}

void si__alternate_stack_take(void) {
    stack_t now;
    const stack_t none = {.ss_flags = SS_DISABLE};
    int saved = errno;
    if (set(NULL, &now) == 0 && is_ours(now.ss_sp)) set(&none, NULL);
    errno = saved;
}

/* Below this, a signal frame (up to 3.5 KiB with AVX-512) and our handler do not fit beside the host's own. */
enum { SMALL_BYTES = 16 * 1024 };

/* The host's stack that ours stands for; ss_size 0: none. */
static __thread stack_t host_stack __attribute__((tls_model("initial-exec")));

static void report(stack_t *old) {
    int flags = old->ss_flags & SS_ONSTACK;
    if (!is_ours(old->ss_sp)) return;
    if (host_stack.ss_size) {
        *old = host_stack;
        old->ss_flags |= flags;
    } else if (!flags) {
        memset(old, 0, sizeof *old);
        old->ss_flags = SS_DISABLE;
    }
}

int si__wrap_sigaltstack(const stack_t *now, stack_t *old) {
    const stack_t wanted = now ? *now : (stack_t){0}; /* may be the same memory as *old */
    const si__thread *self = si__thread_self();
    int rc = si__libc_real.sigaltstack(now, old);
    if (rc != 0) return rc;
    if (old) report(old);
    if (!now) return 0;
    memset(&host_stack, 0, sizeof host_stack);
    int none = wanted.ss_flags & SS_DISABLE;
    if (!self || (!none && wanted.ss_size >= SMALL_BYTES)) return 0;
    int saved = errno;
    if (give((uint32_t)(self - si__thread_at(0))) == 0 && !none) host_stack = wanted;
    errno = saved;
    return 0;
}
