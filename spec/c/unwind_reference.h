/*
 * The reference that the unwinder is held against: libgcc's own unwinder, over the same stack at the same moment. Used
 * by unwind_test and by the benchmark. Only libgcc is asked, never the code under test.
 */
#ifndef SPEC_UNWIND_REFERENCE_H
#define SPEC_UNWIND_REFERENCE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include "../../collectors/native/unwind.h"
#include "si/si.h"

enum { REFERENCE_MAX = 256 };

typedef struct reference {
    uint64_t pcs[REFERENCE_MAX];
    unsigned count;
    unsigned
        leaf; /* index of the first frame that was interrupted rather than called: below it are the handler's own */
    int has_leaf;
} reference;

static inline _Unwind_Reason_Code reference_frame(struct _Unwind_Context *context, void *arg) {
    reference *r = arg;
    int interrupted = 0;
    uint64_t pc = _Unwind_GetIPInfo(context, &interrupted);
    if (r->count == REFERENCE_MAX) return _URC_END_OF_STACK;
    if (interrupted && !r->has_leaf) {
        r->has_leaf = 1;
        r->leaf = r->count;
    }
    r->pcs[r->count++] = pc;
    return _URC_NO_REASON;
}

/* Call frame information as libgcc finds it: whether it has any for a pc. */
struct dwarf_eh_bases {
    void *tbase, *dbase, *func;
};
extern const void *_Unwind_Find_FDE(void *pc, struct dwarf_eh_bases *bases);
static inline int reference_knows(uint64_t pc) {
    struct dwarf_eh_bases bases;
    return _Unwind_Find_FDE((void *)(uintptr_t)pc, &bases) != NULL;
}

/* Bounds of the main thread's stack. */
static inline void main_stack_bounds(uint64_t *lo, uint64_t *hi) {
    static char text[512 * 1024];
    FILE *f = fopen("/proc/self/maps", "r");
    size_t n = f ? fread(text, 1, sizeof(text), f) : 0;
    if (f) fclose(f);
    if (si__stack_bounds_parse(text, n, (uint64_t)(uintptr_t)&n, lo, hi)) abort();
    *lo = *hi - 8 * 1024 * 1024; /* it may grow down to its limit */
}

/* Publishes tables for everything that is mapped now. */
static inline void publish_self(si__unwind_cache *cache, si__region *region, int *with_rows, size_t *unavailable) {
    si__module_list list;
    if (si__module_list_read(getpid(), &list)) abort();
    *with_rows = si__unwind_publish(cache, region, list.items, list.count, "", unavailable);
    si__module_list_free(&list);
    atomic_store(&region->modules_seen, atomic_load(&region->modules_wanted));
}

#endif
