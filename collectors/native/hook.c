/*
 * Rewrites the global offset tables of loaded modules: see hook.h. Runs inside dl_iterate_phdr, whose lock keeps every
 * module mapped meanwhile: embedded on the opener's or the runtime's thread, preloaded in the constructor and then on
 * host threads that load or unload modules (preload_calls.c).
 *
 * Host calls go on all the time: an entry is one aligned word, so a caller sees the old function or the new one. What
 * the dynamic linker made read-only after relocation is made writable for the moment of the change. A module that
 * another thread is still loading is left for the next walk.
 */
#include "hook.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "dynamic.h"
#include "probe.h"
#include "sandbox.h"
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
const si__hook_table si__libc_hooks = {core_hooks, sizeof core_hooks / sizeof *core_hooks, 0, NULL};

enum { TABLES_MAX = 48, SLOTS = 2048, FOUND_MAX = 256 }; /* slots: a power of two, well above the number of hooks */
/* Walks over all modules may cost host threads a fiftieth of their time, and this much at once. */
enum { WALK_SHARE = 50, WALK_BURST_NS = 50000000 };

static _Atomic int holder; /* the process whose thread is at what follows; a forked child takes it over */
static const si__hook_table *tables[TABLES_MAX];
static size_t table_count;
static unsigned long long loads_seen, unloads_seen;
static size_t modules_done; /* the first ones of the list need no further look until a module is unloaded */
static int again;           /* the rest of them does: they may not have been relocated yet at the last walk */
static uint64_t first_walk_ns, walked_ns; /* when the first one was, and what they took */

/* What was looked for in modules, and where it was found. */
static struct {
    const si__hook *hook;
    uintptr_t base;
    int seen;
} found[FOUND_MAX];
static size_t found_count;

static int try_lock(void) {
    int self = (int)getpid(), none = 0;
    if (atomic_compare_exchange_strong(&holder, &none, self)) return 1;
    return none != self && atomic_compare_exchange_strong(&holder, &none, self);
}

static void lock(void) {
    while (!try_lock()) sched_yield();
}

static void unlock(void) {
    atomic_store_explicit(&holder, 0, memory_order_release);
}

void si__hook_resolve(const si__hook_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        void *next = dlsym(RTLD_NEXT, table->hooks[i].name);
        if (next) *table->hooks[i].real = (uintptr_t)next;
    }
}

static uintptr_t real_of(const si__hook *hook) {
    return __atomic_load_n(hook->real, __ATOMIC_ACQUIRE);
}

static void set_real(const si__hook *hook, uintptr_t address) {
    __atomic_store_n(hook->real, address, __ATOMIC_RELEASE);
}

/* ---- One walk over all modules ---- */

typedef struct slot {
    const si__hook *hook;
    const si__hook_table *table;
} slot;

typedef struct hook_pass {
    slot slots[SLOTS]; /* by hash of the name; copies of a library share their names */
    int install;       /* 0: put the real functions back */
    size_t from, at;   /* the first module to look at, and the one that is looked at */
    int claimed;       /* a library or a function was found that was not known before */
    int unfinished;    /* a module was not ready yet */
    unsigned long long loads, unloads;
} hook_pass;

#if defined(__x86_64__)
enum { JUMP_SLOT = R_X86_64_JUMP_SLOT, GLOB_DAT = R_X86_64_GLOB_DAT, WORD = R_X86_64_64 };
#elif defined(__aarch64__)
enum { JUMP_SLOT = R_AARCH64_JUMP_SLOT, GLOB_DAT = R_AARCH64_GLOB_DAT, WORD = R_AARCH64_ABS64 };
#endif

static uint32_t hash_of(const char *name) {
    uint32_t hash = 2166136261u;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 16777619u; /* FNV-1a */
    return hash;
}

static void fill_slots(hook_pass *pass, const si__hook_table *table) {
    for (size_t i = 0; i < table->count; i++) {
        uint32_t at = hash_of(table->hooks[i].name) % SLOTS;
        while (pass->slots[at].hook) at = (at + 1) % SLOTS;
        pass->slots[at] = (slot){&table->hooks[i], table};
    }
}

static int is_own_library(const si__dynamic *module) {
    uintptr_t here = (uintptr_t)&si__hook_install;
    return here >= module->low && here < module->high;
}

/* Whether this walk has to do with the module, and what it says of itself. */
static int begin_visit(const struct dl_phdr_info *info, hook_pass *pass, si__dynamic *out) {
    size_t at = pass->at++;
    pass->loads = info->dlpi_adds;
    pass->unloads = info->dlpi_subs;
    if (at < pass->from || strstr(info->dlpi_name, "linux-vdso") || strstr(info->dlpi_name, "/ld-linux")) return 0;
    if (si__dynamic_read(info, out) != 0) return 0;
    return at == 0 || !is_own_library(out); /* linked into the program, it is the host's calls that count */
}

/* ---- First: which module defines what we hook ---- */

static void fill_copy(const si__hook_table *table, const si__dynamic *module) {
    for (size_t i = 0; i < table->count; i++) {
        uintptr_t address = module ? si__dynamic_function(module, table->hooks[i].name) : 0;
        if (address || table->hooks[i].ours || !module) set_real(&table->hooks[i], address);
    }
    table->copy->base = module ? module->base : 0;
}

static int same_library(const si__hook_table *a, const si__hook_table *b) {
    return b->copy && strcmp(a->hooks[0].name, b->hooks[0].name) == 0;
}

/* The table of this copy, or a free one for it. */
static const si__hook_table *table_for(const si__hook_table *first, uintptr_t base) {
    const si__hook_table *free_one = NULL;
    for (size_t i = 0; i < table_count; i++) {
        if (!same_library(first, tables[i])) continue;
        if (tables[i]->copy->base == base) return tables[i];
        if (!tables[i]->copy->base && !free_one) free_one = tables[i];
    }
    return free_one;
}

static void claim_copy(hook_pass *pass, size_t index, const si__dynamic *module) {
    const si__hook_table *first = tables[index];
    for (size_t i = 0; i < index; i++)
        if (same_library(first, tables[i])) return; /* was seen to with that one */
    if (!si__dynamic_function(module, first->hooks[0].name)) {
        if (first->copy->rival && si__dynamic_function(module, first->copy->rival)) first->copy->more = 1;
        return;
    }
    const si__hook_table *table = table_for(first, module->base);
    if (!table) {
        first->copy->more = 1;
        return;
    }
    if (table->copy->base != module->base) pass->claimed = 1;
    table->copy->seen = 1;
    fill_copy(table, module);
}

/* Functions that belong to no copy of a library: the first module that defines one gives it. */
static void find_single(hook_pass *pass, const si__hook_table *table, const si__dynamic *module) {
    for (size_t i = 0; i < table->count; i++) {
        const si__hook *hook = &table->hooks[i];
        if (real_of(hook) || (table->copy && (hook->ours || !table->copy->base)) || found_count == FOUND_MAX) continue;
        uintptr_t address = si__dynamic_function(module, hook->name);
        if (!address) continue;
        found[found_count].hook = hook;
        found[found_count].base = module->base;
        found[found_count++].seen = 1;
        set_real(hook, address);
        pass->claimed = 1;
    }
}

static int claim_visit(struct dl_phdr_info *info, size_t bytes, void *arg) {
    hook_pass *pass = arg;
    si__dynamic module;
    (void)bytes;
    if (!begin_visit(info, pass, &module)) return 0;
    for (size_t i = 0; i < found_count; i++)
        if (found[i].base == module.base) found[i].seen = 1;
    for (size_t i = 0; i < table_count; i++)
        if (tables[i]->copy) claim_copy(pass, i, &module);
    return 0;
}

static int find_visit(struct dl_phdr_info *info, size_t bytes, void *arg) {
    hook_pass *pass = arg;
    si__dynamic module;
    (void)bytes;
    if (!begin_visit(info, pass, &module)) return 0;
    for (size_t i = 0; i < table_count; i++) find_single(pass, tables[i], &module);
    return 0;
}

/* What was found in modules that are gone is not there any more. */
static void forget_gone(void) {
    for (size_t i = 0; i < table_count; i++)
        if (tables[i]->copy && tables[i]->copy->base && !tables[i]->copy->seen) fill_copy(tables[i], NULL);
    for (size_t i = 0; i < found_count;) {
        if (!found[i].seen) {
            set_real(found[i].hook, 0);
            found[i] = found[--found_count];
        } else {
            i++;
        }
    }
}

static void claim_libraries(hook_pass *pass) {
    if (pass->from == 0) {
        for (size_t i = 0; i < table_count; i++)
            if (tables[i]->copy) tables[i]->copy->seen = tables[i]->copy->more = 0;
        for (size_t i = 0; i < found_count; i++) found[i].seen = 0;
    }
    dl_iterate_phdr(claim_visit, pass);
    if (pass->from == 0) forget_gone();
    pass->at = 0;
    dl_iterate_phdr(find_visit, pass);
}

/* ---- Then: who imports it ---- */

/* Whether the dynamic linker is not through with the module: then it has not protected it yet. Kernels before 5.14 do
   not say. */
static int is_being_loaded(uintptr_t page, uintptr_t page_bytes) {
#if defined(MADV_POPULATE_WRITE)
    return madvise((void *)page, page_bytes, MADV_POPULATE_WRITE) == 0;
#else
    return madvise((void *)page, page_bytes, 23) == 0;
#endif
}

static void store(uintptr_t entry, uintptr_t value, const si__dynamic *from, hook_pass *pass) {
    uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE), page = entry & ~(page_bytes - 1);
    /* The linker protects whole pages inside the range, rounded down at its end. */
    int protected = entry >= (from->relro_start & ~(page_bytes - 1)) && entry < (from->relro_end & ~(page_bytes - 1));
    if (protected && is_being_loaded(page, page_bytes)) {
        pass->unfinished = 1;
        return;
    }
    if (protected && mprotect((void *)page, page_bytes, PROT_READ | PROT_WRITE) != 0) return;
    atomic_store_explicit((_Atomic uintptr_t *)entry, value, memory_order_release);
    if (protected) mprotect((void *)page, page_bytes, PROT_READ);
}

static const slot *next_slot(const hook_pass *pass, const char *name, uint32_t *at) {
    for (; pass->slots[*at].hook; *at = (*at + 1) % SLOTS)
        if (strcmp(pass->slots[*at].hook->name, name) == 0) return &pass->slots[*at];
    return NULL;
}

/* Whether an entry that holds `now` leads to the function that the hook stands for, and not to another one of its name
   (RTLD_DEEPBIND, a function that the module defines itself, another version). */
static int leads_to(const si__dynamic *module, const si__hook *hook, const char *name, uintptr_t now) {
    if (now == hook->ours || now == real_of(hook)) return 1;
    if (now < module->low || now >= module->high) return 0;
    /* Not bound yet: the entry still leads to the module's own stub. It may come to lead to the module's own function,
       and so is left alone; but those of C++'s runtime library are there to be replaced. */
    uintptr_t own = si__dynamic_function(module, name);
    return !own || (own != now && si__dynamic_function(module, "__cxa_throw"));
}

/* What stands, or is to stand, in front of `name` in an entry of the module that holds `now`; NULL: nothing. */
static const si__hook *choose(const hook_pass *pass, const si__dynamic *module, const char *name, uintptr_t now,
                              int is_libc) {
    const si__hook *only = NULL;
    unsigned candidates = 0;
    uint32_t at = hash_of(name) % SLOTS;
    const slot *s;
    for (; (s = next_slot(pass, name, &at)) != NULL; at = (at + 1) % SLOTS) {
        const si__hook_copy *copy = s->table->copy;
        if (!s->hook->ours || !real_of(s->hook)) continue;
        if (!copy) return (is_libc && !s->table->in_libc) || !leads_to(module, s->hook, name, now) ? NULL : s->hook;
        if (copy->base == module->base) return NULL;
        if (now == s->hook->ours || now == real_of(s->hook)) return s->hook;
        only = s->hook;
        candidates += 1u + (copy->more != 0);
    }
    /* Not bound yet, the entry still leads to the module's own stub: only the linker knows which of several it will be.
     */
    int unbound = now >= module->low && now < module->high && !si__dynamic_function(module, name);
    return unbound && candidates == 1 ? only : NULL;
}

static void rewrite(const si__dynamic *module, uintptr_t table, size_t bytes, hook_pass *pass, int is_libc) {
    const Elf64_Rela *relocation = (const void *)table;
    int own = is_own_library(module); /* whose variables hold the real functions */
    for (size_t i = 0; i < bytes / sizeof *relocation; i++) {
        uint64_t type = ELF64_R_TYPE(relocation[i].r_info);
        if (type != JUMP_SLOT && type != GLOB_DAT && type != WORD) continue;
        const char *name = module->strings + module->symbols[ELF64_R_SYM(relocation[i].r_info)].st_name;
        uint32_t at = hash_of(name) % SLOTS;
        if (!next_slot(pass, name, &at)) continue;
        uintptr_t entry = module->base + relocation[i].r_offset;
        uintptr_t now = atomic_load_explicit((_Atomic uintptr_t *)entry, memory_order_relaxed);
        const si__hook *hook = choose(pass, module, name, now, is_libc);
        if (!hook) continue;
        /* A variable that was initialized with the function (`{.release = free}`): the host's to change, so only what
           it still holds is replaced. */
        if (entry == (uintptr_t)hook->real) continue; /* our own note of it, linked into the program */
        if (type == WORD && (own || relocation[i].r_addend != 0 || (now != real_of(hook) && now != hook->ours)))
            continue;
        if (pass->install && now != hook->ours && now != 0) store(entry, hook->ours, module, pass);
        if (!pass->install && now == hook->ours) store(entry, real_of(hook), module, pass);
    }
}

static int rewrite_visit(struct dl_phdr_info *info, size_t bytes, void *arg) {
    hook_pass *pass = arg;
    si__dynamic module;
    (void)bytes;
    if (!begin_visit(info, pass, &module)) return 0;
    int is_libc = strstr(info->dlpi_name, "/libc.so.") != NULL;
    if (module.jump) rewrite(&module, module.jump, module.jump_bytes, pass, is_libc);
    if (module.plain) rewrite(&module, module.plain, module.plain_bytes, pass, is_libc);
    return 0;
}

/* With the lock. `only` NULL: every installed table. The modules before `from` are known. */
static void walk(int install, const si__hook_table *only, size_t from) {
    static hook_pass pass; /* large; the lock is held */
    int saved = errno;
    uint64_t began_ns = si__now_ns();
    memset(&pass, 0, sizeof pass);
    for (size_t i = 0; i < table_count; i++)
        if (!only || tables[i] == only) fill_slots(&pass, tables[i]);
    pass.install = install;
    pass.from = from;
    if (install) claim_libraries(&pass);
    if (pass.claimed) pass.from = 0;
    pass.at = 0;
    dl_iterate_phdr(rewrite_visit, &pass);
    /* What is there at the first walk was loaded before us; what came since may be half way. */
    int changed = loads_seen && (loads_seen != pass.loads || unloads_seen != pass.unloads);
    modules_done = changed || only ? from : pass.at;
    again = changed || pass.unfinished;
    loads_seen = pass.loads;
    unloads_seen = pass.unloads;
    if (!first_walk_ns) first_walk_ns = began_ns;
    if (pass.from == 0) walked_ns += si__now_ns() - began_ns;
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
    return si__hook_install_all(&table, 1);
}

int si__hook_install_all(const si__hook_table *const *new_tables, size_t count) {
    int rc = 0;
    lock();
    for (size_t n = 0; n < count && rc == 0; n++) {
        size_t i = 0;
        while (i < table_count && tables[i] != new_tables[n]) i++;
        if (i == TABLES_MAX) rc = SI_ELIMIT;
        if (rc == 0) tables[i] = new_tables[n];
        if (i == table_count) table_count += rc == 0;
    }
    walk(1, NULL, 0);
    unlock();
    return rc;
}

int si__hook_refresh(void) {
    unsigned long long counts[2] = {0, 0};
    dl_iterate_phdr(count_visit, counts);
    lock();
    int changed = counts[0] != loads_seen || counts[1] != unloads_seen;
    if ((changed || again) && table_count) walk(1, NULL, counts[1] == unloads_seen ? modules_done : 0);
    loads_seen = counts[0];
    unloads_seen = counts[1];
    unlock();
    return changed;
}

void si__hook_notice(void) {
    static _Atomic unsigned long long loads, unloads; /* when there was nothing left to do */
    /* Another preload's dl_iterate_phdr may look its real one up, which leads here again. */
    static __thread int busy __attribute__((tls_model("initial-exec")));
    unsigned long long counts[2] = {0, 0};
    if (busy || si__sandboxed()) return;
    busy = 1;
    dl_iterate_phdr(count_visit, counts);
    busy = 0;
    if (counts[0] == atomic_load_explicit(&loads, memory_order_relaxed) &&
        counts[1] == atomic_load_explicit(&unloads, memory_order_relaxed))
        return;
    int saved = errno;
    if (try_lock()) {
        int whole = counts[1] != unloads_seen || modules_done == 0;
        int changed = counts[0] != loads_seen || counts[1] != unloads_seen;
        int dear = whole && walked_ns > WALK_BURST_NS + (si__now_ns() - first_walk_ns) / WALK_SHARE;
        if (table_count && (changed || again) && !dear) walk(1, NULL, whole ? 0 : modules_done);
        if (counts[0] == loads_seen && counts[1] == unloads_seen && !again) {
            atomic_store_explicit(&loads, counts[0], memory_order_relaxed);
            atomic_store_explicit(&unloads, counts[1], memory_order_relaxed);
        }
        unlock();
    }
    errno = saved;
}

void si__hook_remove(const si__hook_table *table) {
    lock();
    for (size_t i = 0; i < table_count; i++) {
        if (tables[i] != table) continue;
        walk(0, table, 0);
        tables[i] = tables[--table_count];
        break;
    }
    unlock();
}
