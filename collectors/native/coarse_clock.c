/* Finds clock_gettime in the vdso, past libc's own function in front of it: see coarse_clock.h. */
#include "coarse_clock.h"

#include <elf.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

int (*si__coarse_clock)(clockid_t, struct timespec *) = clock_gettime;

#if defined(__aarch64__)
#define CLOCK_SYMBOL "__kernel_clock_gettime"
#else
#define CLOCK_SYMBOL "__vdso_clock_gettime"
#endif

typedef struct vdso {
    uintptr_t bias;
    const Elf64_Sym *symbols;
    const char *strings;
    size_t symbol_count;
} vdso;

/* The vdso is not relocated: addresses in it are as linked. */
static int open_vdso(vdso *out) {
    const Elf64_Ehdr *header = (const void *)(uintptr_t)getauxval(AT_SYSINFO_EHDR);
    const Elf64_Dyn *dynamic = NULL;
    int loaded = 0;
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64) return 0;
    const Elf64_Phdr *part = (const void *)((const char *)header + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++, part++) {
        if (part->p_type == PT_LOAD && !loaded++) out->bias = (uintptr_t)header + part->p_offset - part->p_vaddr;
        if (part->p_type == PT_DYNAMIC) dynamic = (const void *)((const char *)header + part->p_offset);
    }
    for (; dynamic && loaded && dynamic->d_tag != DT_NULL; dynamic++) {
        const void *at = (const void *)(out->bias + dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_SYMTAB) out->symbols = at;
        if (dynamic->d_tag == DT_STRTAB) out->strings = at;
        if (dynamic->d_tag == DT_HASH) out->symbol_count = ((const uint32_t *)at)[1];
    }
    /* Without the old kind of hash table, the strings follow the symbols: so they do in every vdso. */
    if (out->symbols && out->symbol_count == 0 && (uintptr_t)out->strings > (uintptr_t)out->symbols)
        out->symbol_count = ((uintptr_t)out->strings - (uintptr_t)out->symbols) / sizeof *out->symbols;
    return out->symbols && out->strings;
}

void si__coarse_clock_find(void) {
    vdso in = {0};
    struct timespec now;
    if (si__coarse_clock != clock_gettime || !open_vdso(&in)) return;
    for (size_t i = 0; i < in.symbol_count && i < 256; i++) {
        const Elf64_Sym *symbol = &in.symbols[i];
        if (symbol->st_shndx == SHN_UNDEF || strcmp(in.strings + symbol->st_name, CLOCK_SYMBOL) != 0) continue;
        uintptr_t at = in.bias + symbol->st_value;
        int (*found)(clockid_t, struct timespec *);
        memcpy(&found, &at, sizeof found);
        if (found(CLOCK_MONOTONIC_COARSE, &now) == 0) si__coarse_clock = found;
        return;
    }
}
