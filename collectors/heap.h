/*
 * The allocation functions as heap.c stands in front of them: shared by the embedded hooks (heap.c), the C++ operators
 * (heap_operator.c) and the preloaded probe's exports (preload_heap.c). Host threads; each behaves as the real one.
 */
#ifndef SI_HEAP_H
#define SI_HEAP_H

#include <stddef.h>
#include <stdint.h>

#include "native/heap_thread.h"
#include "native/hook.h"
#include "native/live.h"

/* name, result, parameters, arguments */
#define SI__HEAP_HOOKED(X)                                                                                             \
    X(malloc, void *, (size_t bytes), (bytes))                                                                         \
    X(calloc, void *, (size_t count, size_t bytes), (count, bytes))                                                    \
    X(realloc, void *, (void *old, size_t bytes), (old, bytes))                                                        \
    X(free, void, (void *old), (old))                                                                                  \
    X(reallocarray, void *, (void *old, size_t count, size_t bytes), (old, count, bytes))                              \
    X(posix_memalign, int, (void **out, size_t alignment, size_t bytes), (out, alignment, bytes))                      \
    X(aligned_alloc, void *, (size_t alignment, size_t bytes), (alignment, bytes))                                     \
    X(memalign, void *, (size_t alignment, size_t bytes), (alignment, bytes))                                          \
    X(valloc, void *, (size_t bytes), (bytes))                                                                         \
    X(pvalloc, void *, (size_t bytes), (bytes))

/* The real functions; before they are known, functions that find them (heap_real.c). */
typedef struct si__heap_functions {
#define X(name, result, parameters, arguments) result(*name) parameters;
    SI__HEAP_HOOKED(X)
#undef X
} si__heap_functions;
extern si__heap_functions si__heap_real __attribute__((visibility("hidden")));

/* Embedded: of the modules now loaded, the functions that come first. Preloaded: those that come after ours. 0, or -1
   with why not. Opener's thread; asks the dynamic linker. */
int si__heap_find_real(int preloaded, char *reason, size_t reason_bytes);

/* The function that the program's modules find first under `name`; 0: none. */
uintptr_t si__heap_first_of(const char *name);

/* Whether calls of C++'s operators new and delete go to the allocator itself, past malloc and free. */
int si__heap_operators_bypass(void);

/* What stands in front of them when they do. */
extern const si__hook_table si__heap_operator_hooks;
void si__heap_find_operators(void);

/* Counts an allocation that was made, and takes a sample when one is due. `caller`: of our outermost function. */
void si__heap_allocated(void *made, size_t bytes, const void *caller);
/* Before a release: takes `old` out of the live set, if it is there. */
void si__heap_forget(const void *old);
/* Counts a release. */
void si__heap_released(void);

/* The rest of each call when it is not the usual case. */
#define SI__HEAP_RARE __attribute__((noinline, cold))
SI__HEAP_RARE void *si__heap_malloc_visit(size_t bytes, const void *caller);
SI__HEAP_RARE void *si__heap_calloc_visit(size_t count, size_t bytes, const void *caller);
SI__HEAP_RARE void *si__heap_realloc_visit(void *old, size_t bytes, const void *caller);
SI__HEAP_RARE void si__heap_free_visit(void *old);
void *si__heap_reallocarray(void *old, size_t count, size_t bytes, const void *caller);

#define SI__HEAP_CALLER __builtin_return_address(0)

/* ---- The usual cases: no visit due, nothing sampled released. A jump to the real function ends them. ---- */

/* These two are in line in the hooked functions, whose caller they look up when it is wanted and not at every call. */
static inline __attribute__((always_inline)) void *si__heap_malloc(size_t bytes) {
    if (!si__heap_count(si__heap_self.cell, bytes)) return si__heap_malloc_visit(bytes, SI__HEAP_CALLER);
    return si__heap_real.malloc(bytes);
}

static inline __attribute__((always_inline)) void *si__heap_calloc(size_t count, size_t bytes) {
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) return si__heap_real.calloc(count, bytes);
    if (!si__heap_count(si__heap_self.cell, all)) return si__heap_calloc_visit(count, bytes, SI__HEAP_CALLER);
    return si__heap_real.calloc(count, bytes);
}

static inline void *si__heap_realloc(void *old, size_t bytes, const void *caller) {
    si__heap_cell *cell = si__heap_self.cell;
    if (!old || bytes == 0 || si__live_maybe(old) || !si__heap_counts_frees(cell) || !si__heap_count(cell, bytes))
        return si__heap_realloc_visit(old, bytes, caller);
    si__heap_count_free(cell);
    return si__heap_real.realloc(old, bytes);
}

static inline void si__heap_free(void *old) {
    if (!old) return;
    if (si__live_maybe(old) || !si__heap_count_free(si__heap_self.cell))
        si__heap_free_visit(old);
    else
        si__heap_real.free(old);
}

static inline int si__heap_posix_memalign(void **out, size_t alignment, size_t bytes, const void *caller) {
    int rc = si__heap_real.posix_memalign(out, alignment, bytes);
    if (rc == 0) si__heap_allocated(*out, bytes, caller);
    return rc;
}

static inline void *si__heap_made(void *made, size_t bytes, const void *caller) {
    if (made) si__heap_allocated(made, bytes, caller);
    return made;
}

#endif
