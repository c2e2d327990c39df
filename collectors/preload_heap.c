/*
 * The allocation functions that libsi-probe.so exports and so takes the place of: see heap.c. Host threads, from before
 * our constructor until after our destructor.
 */
#include <errno.h>

#include "heap.h"
#include "native/fork.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT void *malloc(size_t bytes) {
    return si__heap_malloc(bytes);
}

EXPORT void *calloc(size_t count, size_t bytes) {
    return si__heap_calloc(count, bytes);
}

EXPORT void *realloc(void *old, size_t bytes) {
    return si__heap_realloc(old, bytes, SI__HEAP_CALLER);
}

EXPORT void free(void *old) {
    si__heap_free(old);
}

EXPORT void *reallocarray(void *old, size_t count, size_t bytes) {
    return si__heap_reallocarray(old, count, bytes, SI__HEAP_CALLER);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes) {
    return si__heap_posix_memalign(out, alignment, bytes, SI__HEAP_CALLER);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes) {
    return si__heap_made(si__heap_real.aligned_alloc(alignment, bytes), bytes, SI__HEAP_CALLER);
}

EXPORT void *memalign(size_t alignment, size_t bytes) {
    return si__heap_made(si__heap_real.memalign(alignment, bytes), bytes, SI__HEAP_CALLER);
}

EXPORT void *valloc(size_t bytes) {
    return si__heap_made(si__heap_real.valloc(bytes), bytes, SI__HEAP_CALLER);
}

EXPORT void *pvalloc(size_t bytes) {
    return si__heap_made(si__heap_real.pvalloc(bytes), bytes, SI__HEAP_CALLER);
}

/* What threads have counted since their last visits. */
__attribute__((destructor)) static void hand_in(void) {
    si__region *region = si__owner_region();
    if (region) si__heap_hand_in(region);
}
