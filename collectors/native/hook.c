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

#include "si/si.h"

si__libc si__libc_real = {
#define X(name, result, parameters) .name = name,
    SI__HOOKED(X)
#undef X
};

static const si__hook core_hooks[] = {
#define X(name, result, parameters) {#name, (uintptr_t)si__wrap_##name, (uintptr_t *)(void *)&si__libc_real.name},
    SI__HOOKED(X)
#undef X
};
const si__hook_table si__libc_hooks = {core_hooks, sizeof core_hooks / sizeof *core_hooks, 0};

enum { TABLES_MAX = 16, SLOTS = 1024 }; /* slots: a power of two, well above the number of hooks */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* openers and the runtime's thread; no host call waits */
static const si__hook_table *tables[TABLES_MAX];
static size_t table_count;
static unsigned long long loads_seen, unloads_seen;

void si__hook_resolve(const si__hook_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        void *next = dlsym(RTLD_NEXT, table->hooks[i].name);
        if (next) *table->hooks[i].real = (uintptr_t)next;
    }
}

/* ---- One walk over all modules ---- */

typedef struct slot {
    const si__hook *hook;
    int in_libc;
} slot;

typedef struct hook_pass {
    slot slots[SLOTS]; /* by hash of the name */
    int install;       /* 0: put the real functions back */
    int first;         /* 1: the next module is the program itself */
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

static uint32_t hash_of(const char *name) {
    uint32_t hash = 2166136261u;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u; /* FNV-1a */
    return hash;
}

static void fill_slots(hook_pass *pass, const si__hook_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        uint32_t at = hash_of(table->hooks[i].name) % SLOTS;
        while (pass->slots[at].hook) at = (at + 1) % SLOTS;
        pass->slots[at] = (slot){&table->hooks[i], table->in_libc};
    }
}

static const slot *find_hooked(const hook_pass *pass, const char *name) {
    uint32_t at = hash_of(name) % SLOTS;
    for (; pass->slots[at].hook; at = (at + 1) % SLOTS)
        if (strcmp(pass->slots[at].hook->name, name) == 0) return &pass->slots[at];
    return NULL;
}

static void rewrite(const struct dl_phdr_info *info, const relocations *from, uintptr_t table, size_t bytes,
                    const hook_pass *pass, int is_libc) {
    const Elf64_Rela *relocation = (const void *)table;
    for (size_t i = 0; i < bytes / sizeof *relocation; i++) {
        uint64_t type = ELF64_R_TYPE(relocation[i].r_info);
        if (type != JUMP_SLOT && type != GLOB_DAT) continue;
        const Elf64_Sym *symbol = &from->symbols[ELF64_R_SYM(relocation[i].r_info)];
        const slot *found = find_hooked(pass, from->strings + symbol->st_name);
        if (!found || !*found->hook->real || (is_libc && !found->in_libc)) continue;
        const si__hook *hook = found->hook;
        uintptr_t entry = info->dlpi_addr + relocation[i].r_offset;
        uintptr_t now = atomic_load_explicit((_Atomic uintptr_t *)entry, memory_order_relaxed);
        if (pass->install && now != hook->ours && now != 0) store(entry, hook->ours, from);
        if (!pass->install && now == hook->ours) store(entry, *hook->real, from);
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
    if (strstr(info->dlpi_name, "linux-vdso") || strstr(info->dlpi_name, "/ld-linux")) return 0;
    int is_libc = strstr(info->dlpi_name, "/libc.so.") != NULL;
    relocations from;
    if (!read_dynamic(info, &from)) return 0;
    if (from.jump) rewrite(info, &from, from.jump, from.jump_bytes, pass, is_libc);
    if (from.plain) rewrite(info, &from, from.plain, from.plain_bytes, pass, is_libc);
    return 0;
}

/* Under the mutex. NULL: every installed table. */
static void walk(int install, const si__hook_table *only) {
    static hook_pass pass; /* large; the mutex is held */
    int saved = errno;
    memset(&pass, 0, sizeof pass);
    for (size_t i = 0; i < table_count; i++)
        if (!only || tables[i] == only) fill_slots(&pass, tables[i]);
    pass.install = install;
    pass.first = 1;
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

int si__hook_install(const si__hook_table *table) {
    pthread_mutex_lock(&mutex);
    size_t i = 0;
    while (i < table_count && tables[i] != table) i++;
    int rc = i == TABLES_MAX ? SI_ELIMIT : 0;
    if (rc == 0) {
        tables[i] = table;
        if (i == table_count) table_count++;
        walk(1, table);
    }
    pthread_mutex_unlock(&mutex);
    return rc;
}

int si__hook_refresh(void) {
    unsigned long long counts[2] = {0, 0};
    dl_iterate_phdr(count_visit, counts);
    pthread_mutex_lock(&mutex);
    int changed = counts[0] != loads_seen || counts[1] != unloads_seen;
    if (changed && table_count) walk(1, NULL);
    loads_seen = counts[0];
    unloads_seen = counts[1];
    pthread_mutex_unlock(&mutex);
    return changed;
}

void si__hook_remove(const si__hook_table *table) {
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < table_count; i++) {
        if (tables[i] != table) continue;
        walk(0, table);
        tables[i] = tables[--table_count];
        break;
    }
    pthread_mutex_unlock(&mutex);
}
