/*
 * Preloaded, nobody tells when a library was loaded: dlopen is not ours to take (preload_interpose.c). But what was
 * loaded is looked up next: dlsym is taken, and what was loaded before it is hooked then. Host threads.
 *
 * dlsym looks at its caller's address for RTLD_NEXT and RTLD_DEFAULT, so the real one is jumped to with the stack as
 * the caller left it.
 */
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>

#include "native/dynamic.h"
#include "native/hook.h"

#if defined(__x86_64__)
static _Atomic uintptr_t real_dlsym;

static int find_dlsym(struct dl_phdr_info *info, size_t bytes, void *arg) {
    si__dynamic module;
    uintptr_t here = (uintptr_t)&find_dlsym, *found = arg;
    (void)bytes;
    if (si__dynamic_read(info, &module) != 0 || (here >= module.low && here < module.high)) return 0;
    *found = si__dynamic_function(&module, "dlsym");
    return *found != 0;
}

uintptr_t si__preload_before_dlsym(void);

/* What dlsym goes on with. */
__attribute__((visibility("hidden"))) uintptr_t si__preload_before_dlsym(void) {
    uintptr_t real = atomic_load_explicit(&real_dlsym, memory_order_relaxed);
    if (!real) {
        dl_iterate_phdr(find_dlsym, &real);
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
