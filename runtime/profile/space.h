/*
 * An address space: the executable mappings of one process, each with its binary. What a pc means there.
 *
 * Made on the worker thread from a module list whenever that list was read (it reads build ids), then used
 * by the stack table on the loop thread. Never changes after it was made.
 */
#ifndef SI_PROFILE_SPACE_H
#define SI_PROFILE_SPACE_H

#include <stddef.h>
#include <stdint.h>

#include "../../collectors/native/module.h"
#include "../../collectors/native/region.h"
#include "../symbol/binary.h"

typedef struct si__mapping {
    uint64_t start, end;
    uint64_t file_offset; /* of start */
    si__binary *binary;   /* NULL: anonymous memory; else a reference */
} si__mapping;

typedef struct si__space {
    uint64_t serial; /* unique in this process, never used again */
    si__mapping *mappings;
    size_t count;
    si__region *names; /* whose names the space's pcs may be; NULL: none. Borrowed; set by the owner before use */
} si__space;

/* `modules` is sorted by start and only read here; `root` as for si__binaries_intern. NULL: out of memory. */
si__space *si__space_new(si__binaries *binaries, const si__module_list *modules, const char *root);
void si__space_free(si__space *space);

/* The mapping that holds pc, or NULL. Binary search. */
const si__mapping *si__space_find(const si__space *space, uint64_t pc);

#endif
