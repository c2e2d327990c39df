/*
 * The real allocation functions, and how they are found.
 *
 * Preloaded, our malloc is called before anything of ours was initialized: by the dynamic linker, and by constructors
 * that run before ours. The pointers therefore start at functions that look for the real ones first. What the look-up
 * itself allocates comes from a small arena, for good: a release of it is recognized and does nothing.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

#include "heap.h"

enum { ARENA_BYTES = 16 * 1024, BLOCK_HEADER = 16 };

static char arena[ARENA_BYTES] __attribute__((aligned(16)));
static _Atomic size_t arena_used;
static __thread int searching __attribute__((tls_model("initial-exec")));

static void *first_malloc(size_t bytes);
static void *first_calloc(size_t count, size_t bytes);
static void *first_realloc(void *old, size_t bytes);
static void first_free(void *old);
static int first_posix_memalign(void **out, size_t alignment, size_t bytes);
static void *first_aligned_alloc(size_t alignment, size_t bytes);
static void *first_memalign(size_t alignment, size_t bytes);
static void *first_valloc(size_t bytes);
static void *first_pvalloc(size_t bytes);
static void *first_reallocarray(void *old, size_t count, size_t bytes);

si__heap_functions si__heap_real = {
#define X(name, result, parameters, arguments) .name = first_##name,
    SI__HEAP_HOOKED(X)
#undef X
};

/* ---- The arena ---- */

static int in_arena(const void *at) {
    uintptr_t address = (uintptr_t)at, start = (uintptr_t)arena;
    return address >= start && address < start + ARENA_BYTES;
}

/* Zeroed, with its size in front; NULL: full. */
static void *arena_take(size_t bytes) {
    if (bytes > ARENA_BYTES) return NULL;
    size_t need = BLOCK_HEADER + ((bytes + 15) & ~(size_t)15);
    size_t at = atomic_fetch_add_explicit(&arena_used, need, memory_order_relaxed);
    if (at > ARENA_BYTES || need > ARENA_BYTES - at) return NULL;
    memcpy(arena + at, &bytes, sizeof bytes);
    return arena + at + BLOCK_HEADER;
}

/* Once the arena has been used, releases pass through these two. */
static void (*free_behind)(void *);
static void *(*realloc_behind)(void *, size_t);

static void free_but_arena(void *old) {
    if (!in_arena(old)) free_behind(old);
}

static void *realloc_but_arena(void *old, size_t bytes) {
    if (!in_arena(old)) return realloc_behind(old, bytes);
    size_t had;
    memcpy(&had, (char *)old - BLOCK_HEADER, sizeof had);
    void *made = si__heap_real.malloc(bytes);
    if (made) memcpy(made, old, had < bytes ? had : bytes);
    return made;
}

/* ---- Preloaded: whose functions come after ours ---- */

#define STORE(name, address)                                                                                           \
    __atomic_store_n((uintptr_t *)(void *)&si__heap_real.name, (uintptr_t)(address), __ATOMIC_RELEASE)

static void find_next(void) {
    void *next_free = dlsym(RTLD_NEXT, "free"), *next_realloc = dlsym(RTLD_NEXT, "realloc"), *next;
    if ((next = dlsym(RTLD_NEXT, "malloc")) != NULL) STORE(malloc, next);
    if ((next = dlsym(RTLD_NEXT, "calloc")) != NULL) STORE(calloc, next);
    if (atomic_load(&arena_used)) {
        memcpy(&free_behind, &next_free, sizeof next_free);
        memcpy(&realloc_behind, &next_realloc, sizeof next_realloc);
        next_free = (void *)(uintptr_t)free_but_arena;
        next_realloc = (void *)(uintptr_t)realloc_but_arena;
    }
    STORE(realloc, next_realloc);
    STORE(free, next_free);
    if ((next = dlsym(RTLD_NEXT, "posix_memalign")) != NULL) STORE(posix_memalign, next);
    if ((next = dlsym(RTLD_NEXT, "aligned_alloc")) != NULL) STORE(aligned_alloc, next);
    if ((next = dlsym(RTLD_NEXT, "memalign")) != NULL) STORE(memalign, next);
    if ((next = dlsym(RTLD_NEXT, "valloc")) != NULL) STORE(valloc, next);
    if ((next = dlsym(RTLD_NEXT, "pvalloc")) != NULL) STORE(pvalloc, next);
}

/* 0: called by the look-up itself. */
static int search(void) {
    if (searching) return 0;
    int saved = errno;
    searching = 1;
    find_next();
    searching = 0;
    errno = saved;
    return 1;
}

static void *first_malloc(size_t bytes) {
    return search() ? si__heap_real.malloc(bytes) : arena_take(bytes);
}
static void *first_calloc(size_t count, size_t bytes) {
    size_t all;
    if (search()) return si__heap_real.calloc(count, bytes);
    return __builtin_mul_overflow(count, bytes, &all) ? NULL : arena_take(all);
}
static void *first_realloc(void *old, size_t bytes) {
    if (search()) return si__heap_real.realloc(old, bytes);
    return old ? NULL : arena_take(bytes);
}
static void first_free(void *old) {
    if (search()) si__heap_real.free(old);
}
static int first_posix_memalign(void **out, size_t alignment, size_t bytes) {
    return search() ? si__heap_real.posix_memalign(out, alignment, bytes) : ENOMEM;
}
static void *first_aligned_alloc(size_t alignment, size_t bytes) {
    return search() ? si__heap_real.aligned_alloc(alignment, bytes) : NULL;
}
static void *first_memalign(size_t alignment, size_t bytes) {
    return search() ? si__heap_real.memalign(alignment, bytes) : NULL;
}
static void *first_valloc(size_t bytes) {
    return search() ? si__heap_real.valloc(bytes) : NULL;
}
static void *first_pvalloc(size_t bytes) {
    return search() ? si__heap_real.pvalloc(bytes) : NULL;
}
static void *first_reallocarray(void *old, size_t count, size_t bytes) { /* never the real one: see heap.c */
    return si__heap_reallocarray(old, count, bytes, SI__HEAP_CALLER);
}

/* ---- Embedded: the first of the modules that defines each ---- */

/* A program that is not position independent may give a function of a library an address of its own, which jumps
   through the very table entry that we are about to change. */
static int is_stub(void *address) {
    Dl_info module;
    const Elf64_Sym *symbol = NULL;
    if (!dladdr1(address, &module, (void **)&symbol, RTLD_DL_SYMENT)) return 0;
    return symbol && symbol->st_shndx == SHN_UNDEF;
}

uintptr_t si__heap_first_of(const char *name) {
    void *address = dlsym(RTLD_DEFAULT, name);
    if (address && is_stub(address)) address = dlsym(RTLD_NEXT, name);
    return (uintptr_t)address;
}

static void find_first(void) {
#define X(name, result, parameters, arguments)                                                                         \
    if (strcmp(#name, "reallocarray") != 0) STORE(name, si__heap_first_of(#name));
    SI__HEAP_HOOKED(X)
#undef X
}

/* ---- What was found ---- */

/* The base of the module that an address lies in; 0: none. */
static uintptr_t module_of(const void *address, const char **file) {
    Dl_info module;
    if (!address || !dladdr(address, &module)) return 0;
    *file = module.dli_fname;
    return (uintptr_t)module.dli_fbase;
}

static int is_program(uintptr_t base) {
    const char *file;
    return module_of((const void *)getauxval(AT_ENTRY), &file) == base;
}

/* The name of a file without its folders. */
static const char *base_name(const char *file) {
    const char *slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

int si__heap_find_real(int preloaded, char *reason, size_t reason_bytes) {
    const char *file = "", *used_file = "", *own_file;
    if (preloaded)
        search();
    else
        find_first();
    uintptr_t base = module_of((const void *)(uintptr_t)si__heap_real.malloc, &file), used = base;
    if (preloaded) used = module_of(dlsym(RTLD_DEFAULT, "malloc"), &used_file);
    if (!base || !si__heap_real.free || !si__heap_real.realloc || !si__heap_real.calloc) {
        snprintf(reason, reason_bytes, "the program has no malloc of a library: nothing to hook");
        return -1;
    }
    if (is_program(used)) {
        snprintf(reason, reason_bytes, "the allocator is built into the program: its calls cannot be hooked");
        return -1;
    }
    if (preloaded && used != module_of((const void *)(uintptr_t)si__heap_find_real, &own_file)) {
        snprintf(reason, reason_bytes, "malloc of %s, preloaded before ours, is the one in use", base_name(used_file));
        return -1;
    }
    return 0;
}

int si__heap_operators_bypass(void) {
    const char *file;
    uintptr_t operators = module_of(dlsym(RTLD_DEFAULT, "_Znwm"), &file);
    return operators && operators == module_of((const void *)(uintptr_t)si__heap_real.malloc, &file);
}
