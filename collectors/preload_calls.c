/*
 * Preloaded, nobody tells when a library was loaded: dlopen is not ours to take (preload_interpose.c). But what was
 * loaded is looked up next: dlsym is taken, and what was loaded before it is hooked then. Host threads.
 *
 * dlsym looks at its caller's address for RTLD_NEXT and RTLD_DEFAULT, so the real one is jumped to with the stack as
 * the caller left it.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>

#include "native/hook.h"

#if defined(__x86_64__)
static _Atomic uintptr_t real_dlsym;

uintptr_t si__preload_before_dlsym(void);

/* What dlsym goes on with. */
__attribute__((visibility("hidden"))) uintptr_t si__preload_before_dlsym(void) {
    uintptr_t real = atomic_load_explicit(&real_dlsym, memory_order_relaxed);
    if (!real) {
        /* dlvsym is nobody's but the linker's: no way leads back here. */
        void *found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
        if (!found) found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
        real = (uintptr_t)found;
        atomic_store_explicit(&real_dlsym, real, memory_order_relaxed);
    }
    si__hook_notice();
    return real;
}

__asm__(".pushsection .text\n"
        ".globl dlsym\n"
        ".type dlsym, @function\n"
        "dlsym:\n"
        ".cfi_startproc\n"
        "pushq %rdi\n"
        ".cfi_adjust_cfa_offset 8\n"
        "pushq %rsi\n"
        ".cfi_adjust_cfa_offset 8\n"
        "subq $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "call si__preload_before_dlsym\n"
        "addq $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "popq %rsi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "popq %rdi\n"
        ".cfi_adjust_cfa_offset -8\n"
        "jmpq *%rax\n"
        ".cfi_endproc\n"
        ".size dlsym, . - dlsym\n"
        ".popsection\n");
#else
typedef int si__preload_calls_empty; /* what is loaded later is hooked when something is unloaded */
#endif
