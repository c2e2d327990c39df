/* Address spaces: made on the worker thread, searched by the stack table on the loop thread. */
#include "space.h"

#include <stdatomic.h>
#include <stdlib.h>

si__space *si__space_new(si__binaries *binaries, const si__module_list *modules, const char *root) {
    static _Atomic uint64_t serials;
    si__space *space = calloc(1, sizeof *space);
    if (!space) return NULL;
    space->serial = atomic_fetch_add_explicit(&serials, 1, memory_order_relaxed) + 1;
    space->mappings = calloc(modules->count + 1, sizeof *space->mappings);
    if (!space->mappings) {
        free(space);
        return NULL;
    }
    for (size_t i = 0; i < modules->count; i++) {
        const si__module *m = &modules->items[i];
        space->mappings[i] = (si__mapping){m->start, m->end, m->file_offset, si__binaries_intern(binaries, m, root)};
    }
    space->count = modules->count;
    return space;
}

void si__space_free(si__space *space) {
    if (!space) return;
    for (size_t i = 0; i < space->count; i++) si__binary_release(space->mappings[i].binary);
    free(space->mappings);
    free(space);
}

const si__mapping *si__space_find(const si__space *space, uint64_t pc) {
    size_t lo = 0, hi = space->count;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (space->mappings[middle].end <= pc)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo < space->count && space->mappings[lo].start <= pc ? &space->mappings[lo] : NULL;
}
