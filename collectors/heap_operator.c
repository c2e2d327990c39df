/*
 * C++'s operators new and delete, for programs whose allocator brings operators of its own (jemalloc, tcmalloc): these
 * do not call malloc and free. Those of libstdc++ do, and are left alone.
 *
 * Host threads. operator new may throw through its wrapper, which holds nothing. An operator that calls malloc or free
 * after all (in its slow path) has been counted there, and is not counted again.
 */
#include "heap.h"

typedef size_t alignment;
typedef const void *nothrow; /* a reference: only passed on */

/* name, parameters, arguments: all return void * and take the bytes first */
#define NEWS(X)                                                                                                        \
    X(_Znwm, (size_t n), (n))                                                                                          \
    X(_Znam, (size_t n), (n))                                                                                          \
    X(_ZnwmRKSt9nothrow_t, (size_t n, nothrow t), (n, t))                                                              \
    X(_ZnamRKSt9nothrow_t, (size_t n, nothrow t), (n, t))                                                              \
    X(_ZnwmSt11align_val_t, (size_t n, alignment a), (n, a))                                                           \
    X(_ZnamSt11align_val_t, (size_t n, alignment a), (n, a))                                                           \
    X(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t n, alignment a, nothrow t), (n, a, t))                               \
    X(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t n, alignment a, nothrow t), (n, a, t))

/* All take the memory first. The last two are C's, where an allocator has them. */
#define DELETES(X)                                                                                                     \
    X(_ZdlPv, (void *p), (p))                                                                                          \
    X(_ZdaPv, (void *p), (p))                                                                                          \
    X(_ZdlPvm, (void *p, size_t n), (p, n))                                                                            \
    X(_ZdaPvm, (void *p, size_t n), (p, n))                                                                            \
    X(_ZdlPvRKSt9nothrow_t, (void *p, nothrow t), (p, t))                                                              \
    X(_ZdaPvRKSt9nothrow_t, (void *p, nothrow t), (p, t))                                                              \
    X(_ZdlPvSt11align_val_t, (void *p, alignment a), (p, a))                                                           \
    X(_ZdaPvSt11align_val_t, (void *p, alignment a), (p, a))                                                           \
    X(_ZdlPvmSt11align_val_t, (void *p, size_t n, alignment a), (p, n, a))                                             \
    X(_ZdaPvmSt11align_val_t, (void *p, size_t n, alignment a), (p, n, a))                                             \
    X(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *p, alignment a, nothrow t), (p, a, t))                               \
    X(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *p, alignment a, nothrow t), (p, a, t))                               \
    X(free_sized, (void *p, size_t n), (p, n))                                                                         \
    X(free_aligned_sized, (void *p, size_t a, size_t n), (p, a, n))

static struct {
#define X(name, parameters, arguments) void *(*name)parameters;
    NEWS(X)
#undef X
#define X(name, parameters, arguments) void(*name) parameters;
    DELETES(X)
#undef X
} real;

static uint64_t mallocs(void) {
    return atomic_load_explicit(&si__heap_self.cell->mallocs, memory_order_relaxed);
}
static uint64_t frees(void) {
    return si__heap_frees(si__heap_self.cell);
}

#define X(name, parameters, arguments)                                                                                 \
    static void *wrap_##name parameters {                                                                              \
        uint64_t before = mallocs();                                                                                   \
        void *made = real.name arguments;                                                                              \
        return mallocs() == before ? si__heap_made(made, n, SI__HEAP_CALLER) : made;                                   \
    }
NEWS(X)
#undef X

#define X(name, parameters, arguments)                                                                                 \
    static void wrap_##name parameters {                                                                               \
        if (p) si__heap_forget(p);                                                                                     \
        uint64_t before = frees();                                                                                     \
        real.name arguments;                                                                                           \
        if (p && frees() == before) si__heap_released();                                                               \
    }
DELETES(X)
#undef X

static const si__hook hooks[] = {
#define X(name, parameters, arguments) {#name, (uintptr_t)wrap_##name, (uintptr_t *)(void *)&real.name},
    NEWS(X) DELETES(X)
#undef X
};
const si__hook_table si__heap_operator_hooks = {.hooks = hooks, .count = sizeof hooks / sizeof *hooks};

void si__heap_find_operators(void) {
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) *hooks[i].real = si__heap_first_of(hooks[i].name);
}
