/* Alternate signal stacks: see alternate_stack.h. Host threads. */
#include "alternate_stack.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "region.h"

enum { STACK_BYTES = 64 * 1024, GUARD_BYTES = 4096, STRIDE = STACK_BYTES + GUARD_BYTES };

static _Atomic(char *) stacks;

/* The system call: sigaltstack may be our own wrapper. */
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

void si__alternate_stack_give(uint32_t index) {
    char *first = atomic_load_explicit(&stacks, memory_order_acquire);
    stack_t now;
    if (!first || index >= SI__SLOT_COUNT) return;
    int saved = errno;
    char *own = first + (size_t)STRIDE * index + GUARD_BYTES; /* what lies below stays out of bounds */
    if (set(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) &&
        mprotect(own, STACK_BYTES, PROT_READ | PROT_WRITE) == 0) {
        const stack_t ours = {.ss_sp = own, .ss_size = STACK_BYTES};
        set(&ours, NULL);
    }
    errno = saved;
}

void si__alternate_stack_take(void) {
    stack_t now;
    const stack_t none = {.ss_flags = SS_DISABLE};
    int saved = errno;
    if (set(NULL, &now) == 0 && is_ours(now.ss_sp)) set(&none, NULL);
    errno = saved;
}

int si__wrap_sigaltstack(const stack_t *now, stack_t *old) {
    int rc = set(now, old);
    if (rc == 0 && old && is_ours(old->ss_sp) && !(old->ss_flags & SS_ONSTACK)) {
        memset(old, 0, sizeof *old);
        old->ss_flags = SS_DISABLE;
    }
    return rc;
}
