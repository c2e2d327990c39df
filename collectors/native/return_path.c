/* Chooses how wrappers of system calls return: see return_path.h. Opener's thread; the path itself: host threads. */
#include "return_path.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CET__)
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GET_SHADOW_STACK 0x5005 /* ARCH_SHSTK_STATUS, younger than many headers */

/* 1: by a jump. */
__attribute__((visibility("hidden"))) unsigned char si__return_by_jump;

/* The compiler puts a jump here in place of the return of a function that asks for it. No register that a result is in
   is touched, and the return address stays where unwinders look for it. */
__asm__(".pushsection .text\n"
        ".globl __x86_return_thunk\n"
        ".hidden __x86_return_thunk\n"
        ".type __x86_return_thunk, @function\n"
        "__x86_return_thunk:\n"
        ".cfi_startproc\n"
        "cmpb $0, si__return_by_jump(%rip)\n"
        "je 1f\n"
        "movq (%rsp), %rcx\n"
        "addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "jmp *%rcx\n"
        ".cfi_adjust_cfa_offset 8\n"
        "1: ret\n"
        ".cfi_endproc\n"
        ".size __x86_return_thunk, . - __x86_return_thunk\n"
        ".popsection\n");

static int kernel_returns_safely(void) {
    char text[128];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow",
                          O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    long got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    text[got > 0 ? got : 0] = '\0';
    return strcasestr(text, "safe ret") != NULL;
}

void si__return_path_choose(void) {
    static int chosen;
    int saved = errno;
    uint64_t shadow = 0;
    if (!chosen && kernel_returns_safely() &&
        (syscall(SYS_arch_prctl, GET_SHADOW_STACK, &shadow) != 0 || (shadow & 1) == 0))
        si__return_by_jump = 1;
    chosen = 1;
    errno = saved;
}

int si__return_path_use(int jump) {
    int before = si__return_by_jump;
    si__return_by_jump = (unsigned char)jump;
    return before;
}
#else
void si__return_path_choose(void) {}
int si__return_path_use(int jump) {
    (void)jump;
    return 0;
}
#endif
