/*
 * Waits for locks that are no functions of libc: futex(2), called by syscall(). So the locks of Rust's standard library
 * wait, std::atomic::wait, semaphores, latches and barriers of C++20, and futures. Host threads, signal handlers too.
 *
 * syscall() may be any call, also one that returns twice or on another stack: what stands in front of it is a few
 * instructions without a frame, and only futex goes on here. x86-64; elsewhere such waits are not seen.
 */
#include "wait_hooks.h"

#if defined(__x86_64__)
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "native/waiter.h"

long (*si__wait_syscall)(long number, ...) = syscall;

_Static_assert(SYS_futex == 202, "the number in the assembly below, and in preload_interpose.c");
__asm__(".pushsection .text\n"
        ".globl si__wrap_syscall\n"
        ".hidden si__wrap_syscall\n"
        ".type si__wrap_syscall, @function\n"
        "si__wrap_syscall:\n"
        ".cfi_startproc\n"
        "cmpq $202, %rdi\n"
        "je si__wrap_futex\n"
        "jmp *si__wait_syscall(%rip)\n"
        ".cfi_endproc\n"
        ".size si__wrap_syscall, . - si__wrap_syscall\n"
        ".popsection\n");

/* As syscall() does it. */
static inline long futex(const uint32_t *word, long operation, long value, long time, long second, long value3) {
    register long fourth __asm__("r10") = time;
    register long fifth __asm__("r8") = second;
    register long sixth __asm__("r9") = value3;
    long rc = SYS_futex;
    __asm__ volatile("syscall"
                     : "+a"(rc)
                     : "D"(word), "S"(operation), "d"(value), "r"(fourth), "r"(fifth), "r"(sixth)
                     : "rcx", "r11", "memory");
    if (rc >= 0 || rc < -4095) return rc;
    errno = (int)-rc;
    return -1;
}

static inline int waits(long operation) {
    switch (operation & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        return 1;
    default:
        return 0;
    }
}

long si__wrap_futex(long number, const uint32_t *word, long operation, long value, long time, long second,
                    long value3) {
    (void)number;
    if (!waits(operation)) return futex(word, operation, value, time, second, value3);
    si__wait wait = {.waiter = si__waiter_get()};
    if (wait.waiter) si__waiter_count(wait.waiter, SI__WAIT_LOCK);
    si__wait_begin(&wait, SI__CALL_futex, (uint64_t)(uintptr_t)word, __builtin_return_address(0));
    long rc = futex(word, operation, value, time, second, value3);
    si__wait_end(&wait, SI__WAIT_LOCK);
    return rc;
}
#endif
