/*
 * Where a walk starts: registers from a signal handler's context, or of a function that calls us. Async-signal-safe,
 * any thread.
 */
#include <stddef.h>
#include <ucontext.h>

#include "unwind.h"

#if defined(__x86_64__)

void si__regs_from_ucontext(si__regs *regs, const void *ucontext) {
    const greg_t *g = ((const ucontext_t *)ucontext)->uc_mcontext.gregs;
    *regs = (si__regs){.pc = (uint64_t)g[REG_RIP],
                       .sp = (uint64_t)g[REG_RSP],
                       .fp = (uint64_t)g[REG_RBP],
                       .rbx = (uint64_t)g[REG_RBX],
                       .r12 = (uint64_t)g[REG_R12],
                       .r13 = (uint64_t)g[REG_R13],
                       .r14 = (uint64_t)g[REG_R14],
                       .r15 = (uint64_t)g[REG_R15],
                       .r10 = (uint64_t)g[REG_R10],
                       .rax = (uint64_t)g[REG_RAX],
                       .rdx = (uint64_t)g[REG_RDX],
                       .rcx = (uint64_t)g[REG_RCX],
                       .rsi = (uint64_t)g[REG_RSI],
                       .rdi = (uint64_t)g[REG_RDI],
                       .r8 = (uint64_t)g[REG_R8],
                       .r9 = (uint64_t)g[REG_R9],
                       .r11 = (uint64_t)g[REG_R11]};
}

_Static_assert(offsetof(si__regs, sp) == 8 && offsetof(si__regs, fp) == 16 && offsetof(si__regs, rbx) == 24 &&
                   offsetof(si__regs, r12) == 32 && offsetof(si__regs, r15) == 56 && offsetof(si__regs, r10) == 64 &&
                   sizeof(si__regs) == 144,
               "si__regs_here writes at these offsets");

/* In assembly, because a compiled function would have saved and changed what we are to report. */
__asm__(".pushsection .text\n"
        ".globl si__regs_here\n"
        ".hidden si__regs_here\n"
        ".type si__regs_here, @function\n"
        "si__regs_here:\n"
        ".cfi_startproc\n"
        "movq (%rsp), %rax\n"
        "movq %rax, 0(%rdi)\n"
        "leaq 8(%rsp), %rax\n"
        "movq %rax, 8(%rdi)\n"
        "movq %rbp, 16(%rdi)\n"
        "movq %rbx, 24(%rdi)\n"
        "movq %r12, 32(%rdi)\n"
        "movq %r13, 40(%rdi)\n"
        "movq %r14, 48(%rdi)\n"
        "movq %r15, 56(%rdi)\n"
        "xorl %eax, %eax\n"
        "movq %rax, 64(%rdi)\n"
        "movq %rax, 72(%rdi)\n"
        "movq %rax, 80(%rdi)\n"
        "movq %rax, 88(%rdi)\n"
        "movq %rax, 96(%rdi)\n"
        "movq %rax, 104(%rdi)\n"
        "movq %rax, 112(%rdi)\n"
        "movq %rax, 120(%rdi)\n"
        "movq %rax, 128(%rdi)\n"
        "movq %rax, 136(%rdi)\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size si__regs_here, . - si__regs_here\n"
        ".popsection\n");

#elif defined(__aarch64__)

void si__regs_from_ucontext(si__regs *regs, const void *ucontext) {
    const mcontext_t *m = &((const ucontext_t *)ucontext)->uc_mcontext;
    *regs = (si__regs){.pc = m->pc, .sp = m->sp, .fp = m->regs[29], .lr = m->regs[30]};
}

_Static_assert(offsetof(si__regs, sp) == 8 && offsetof(si__regs, fp) == 16 && offsetof(si__regs, lr) == 72 &&
                   sizeof(si__regs) == 144,
               "si__regs_here writes at these offsets");

/* After the call has returned, x30 is clobbered: the caller's row no longer reads it, so pc is all we report of it. */
__asm__(".pushsection .text\n"
        ".globl si__regs_here\n"
        ".hidden si__regs_here\n"
        ".type si__regs_here, %function\n"
        "si__regs_here:\n"
        ".cfi_startproc\n"
        "mov x9, sp\n"
        "stp x30, x9, [x0]\n"
        "stp x29, xzr, [x0, #16]\n"
        "stp xzr, xzr, [x0, #32]\n"
        "stp xzr, xzr, [x0, #48]\n"
        "stp xzr, x30, [x0, #64]\n"
        "stp xzr, xzr, [x0, #80]\n"
        "stp xzr, xzr, [x0, #96]\n"
        "stp xzr, xzr, [x0, #112]\n"
        "stp xzr, xzr, [x0, #128]\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size si__regs_here, . - si__regs_here\n"
        ".popsection\n");

#endif
