/*
 * Rewrites the global offset tables of loaded modules (embedded use): see hook.h. Runs on the opener's or the runtime's
 * thread, inside dl_iterate_phdr, whose lock keeps every module mapped meanwhile.
 *
 * Host calls go on all the time: an entry is one aligned word, so a caller sees the old function or the new one. What
 * the dynamic linker made read-only after relocation is made writable for the moment of the change.
 */
#include "hook.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

si__libc si__libc_real = {
#define X(name, result, parameters) .name = name,
    SI__HOOKED(X)
#undef X
};

static unsigned long long loads_seen, unloads_seen;

void si__libc_resolve(void) {
#define X(name, result, parameters)                                                                                    \
    {                                                                                                                  \
        void *next = dlsym(RTLD_NEXT, #name);                                                                          \
        if (next) memcpy(&si__libc_real.name, &next, sizeof next);                                                     \
    }
    SI__HOOKED(X)
#undef X
}

typedef struct hooked {
    const char *name;
    uintptr_t real, ours;
} hooked;

enum {
#define X(name, result, parameters) HOOK_##name,
    SI__HOOKED(X)
#undef X
        HOOK_COUNT
};

static void list_hooked(hooked list[HOOK_COUNT]) {
#define X(name, result, parameters)                                                                                    \
    list[HOOK_##name] = (hooked){#name, (uintptr_t)si__libc_real.name, (uintptr_t)si__wrap_##name};
    SI__HOOKED(X)
#undef X
}

typedef struct hook_pass {
    hooked list[HOOK_COUNT];
    int install; /* 0: put the real functions back */
    int first;   /* 1: the next module is the program itself */
    unsigned long long loads, unloads;
} hook_pass;

/* What a module's dynamic section says about its relocations. */
typedef struct relocations {
    const Elf64_Sym *symbols;
    const char *strings;
    uintptr_t jump, plain;
    size_t jump_bytes, plain_bytes;
    uintptr_t relro_start, relro_end;
} relocations;

#if defined(__x86_64__)
enum { JUMP_SLOT = R_X86_64_JUMP_SLOT, GLOB_DAT = R_X86_64_GLOB_DAT };
#elif defined(__aarch64__)
enum { JUMP_SLOT = R_AARCH64_JUMP_SLOT, GLOB_DAT = R_AARCH64_GLOB_DAT };
#endif

/* The dynamic linker relocates these addresses in place for ordinary modules, not for the vdso. */
static uintptr_t address_in(const struct dl_phdr_info *info, Elf64_Addr value) {
    return value < info->dlpi_addr ? info->dlpi_addr + value : value;
}

static int read_dynamic(const struct dl_phdr_info *info, relocations *out) {
    const Elf64_Dyn *dynamic = NULL;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_DYNAMIC) dynamic = (const void *)(info->dlpi_addr + header->p_vaddr);
        if (header->p_type == PT_GNU_RELRO) {
            out->relro_start = info->dlpi_addr + header->p_vaddr;
            out->relro_end = out->relro_start + header->p_memsz;
        }
    }
    int rela = 1;
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t at = address_in(info, dynamic->d_un.d_ptr);
        switch (dynamic->d_tag) {
        case DT_SYMTAB:
            out->symbols = (const void *)at;
            break;
        case DT_STRTAB:
            out->strings = (const void *)at;
            break;
        case DT_JMPREL:
            out->jump = at;
            break;
        case DT_PLTRELSZ:
            out->jump_bytes = dynamic->d_un.d_val;
            break;
        case DT_RELA:
            out->plain = at;
            break;
        case DT_RELASZ:
            out->plain_bytes = dynamic->d_un.d_val;
            break;
        case DT_PLTREL:
            rela = dynamic->d_un.d_val == DT_RELA;
            break;
        default:
            break;
        }
    }
    return out->symbols && out->strings && rela;
}

static void store(uintptr_t entry, uintptr_t value, const relocations *from) {
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE), page = entry & ~(page_bytes - 1);
    /* The linker protects whole pages inside the range, rounded down at its end. */
    int protected = entry >= (from->relro_start & ~(page_bytes - 1)) && entry < (from->relro_end & ~(page_bytes - 1));
    if (protected && mprotect((void *)page, page_bytes, PROT_READ | PROT_WRITE) != 0) return;
    atomic_store_explicit((_Atomic uintptr_t *)entry, value, memory_order_release);
    if (protected) mprotect((void *)page, page_bytes, PROT_READ);
}

static const hooked *find_hooked(const hook_pass *pass, const char *name) {
    if (name[0] != 'p' && name[0] != 's') return NULL;
    for (int i = 0; i < HOOK_COUNT; i++)
        if (strcmp(pass->list[i].name, name) == 0) return &pass->list[i];
    return NULL;
}

static void rewrite(const struct dl_phdr_info *info, const relocations *from, uintptr_t table, size_t bytes,
                    const hook_pass *pass) {
    const Elf64_Rela *relocation = (const void *)table;
    for (size_t i = 0; i < bytes / sizeof *relocation; i++) {
        uint64_t type = ELF64_R_TYPE(relocation[i].r_info);
        if (type != JUMP_SLOT && type != GLOB_DAT) continue;
        const Elf64_Sym *symbol = &from->symbols[ELF64_R_SYM(relocation[i].r_info)];
        const hooked *hook = find_hooked(pass, from->strings + symbol->st_name);
        if (!hook || !hook->real) continue;
        uintptr_t entry = info->dlpi_addr + relocation[i].r_offset;
        uintptr_t now = atomic_load_explicit((_Atomic uintptr_t *)entry, memory_order_relaxed);
        if (pass->install && now != hook->ours && now != 0) store(entry, hook->ours, from);
        if (!pass->install && now == hook->ours) store(entry, hook->real, from);
    }
}

static int is_own_library(const struct dl_phdr_info *info) {
    uintptr_t here = (uintptr_t)&si__hook_install;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const Elf64_Phdr *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && here >= start && here < start + header->p_memsz) return 1;
    }
    return 0;
}

static int visit(struct dl_phdr_info *info, size_t bytes, void *arg) {
    hook_pass *pass = arg;
    (void)bytes;
    pass->loads = info->dlpi_adds;
    pass->unloads = info->dlpi_subs;
    int is_program = pass->first;
    pass->first = 0;
    if (!is_program && is_own_library(info)) return 0; /* linked into the program, it is the host's calls that count */
    if (strstr(info->dlpi_name, "linux-vdso") || strstr(info->dlpi_name, "/ld-linux") ||
        strstr(info->dlpi_name, "/libc.so."))
        return 0;
    relocations from;
    if (!read_dynamic(info, &from)) return 0;
    if (from.jump) rewrite(info, &from, from.jump, from.jump_bytes, pass);
    if (from.plain) rewrite(info, &from, from.plain, from.plain_bytes, pass);
    return 0;
}

static void walk(int install) {
    hook_pass pass;
    int saved = errno;
    list_hooked(pass.list);
    pass.install = install;
    pass.first = 1;
    pass.loads = pass.unloads = 0;
    dl_iterate_phdr(visit, &pass);
    loads_seen = pass.loads;
    unloads_seen = pass.unloads;
    errno = saved;
}

static int count_visit(struct dl_phdr_info *info, size_t bytes, void *arg) {
    unsigned long long *counts = arg;
    (void)bytes;
    counts[0] = info->dlpi_adds;
    counts[1] = info->dlpi_subs;
    return 1;
}

static int installed;

void si__hook_install(void) {
    walk(1);
    installed = 1;
}

int si__hook_refresh(void) {
    unsigned long long counts[2] = {0, 0};
    dl_iterate_phdr(count_visit, counts);
    if (counts[0] == loads_seen && counts[1] == unloads_seen) return 0;
    loads_seen = counts[0];
    unloads_seen = counts[1];
    if (installed) walk(1);
    return 1;
}

void si__hook_remove(void) {
    if (installed) walk(0);
    installed = 0;
}
