/*
 * Compiled tables by file, shared by all regions that one runtime serves. Runtime's worker thread; not locked.
 */
#ifndef SI_NATIVE_UNWIND_CACHE_H
#define SI_NATIVE_UNWIND_CACHE_H

#include <stdint.h>

#include "module.h"
#include "unwind.h"
#include "unwind_arena.h"
#include "unwind_table.h"

/* What makes two mappings the same file with the same contents. */
typedef struct si__file_id {
    uint64_t device, inode, size, modified_ns;
    uint64_t kind; /* si__file_kind */
} si__file_id;

typedef enum si__file_kind {
    SI__FILE_NONE = 0, /* generated code, the vsyscall page: nothing to compile, nothing to miss */
    SI__FILE_PATH,     /* read it from its path */
    SI__FILE_GONE,     /* deleted or replaced: read the process's memory, if we may */
    SI__FILE_VDSO
} si__file_kind;

static inline int si__file_id_equal(const si__file_id *a, const si__file_id *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns &&
           a->kind == b->kind;
}

void si__file_identify(const si__module *module, const char *root, si__file_id *out);

/* The table of a file, compiled now if it was not before; borrowed until si__unwind_cache_trim. NULL: it has none. */
const si__unwind_table *si__unwind_cache_table(si__unwind_cache *cache, const si__file_id *id, const si__module *module,
                                               const char *root);

/* Frees what was not used lately, down to 32 MiB; si__unwind_cache_age frees the rest in time. */
void si__unwind_cache_trim(si__unwind_cache *cache);

/* ---- What the publisher remembers per region ---- */

typedef struct si__published_table {
    si__file_id id;
    si__extent extent; /* count 0: the file has no rows, or they found no room */
    int wanted;        /* scratch of one publication */
} si__published_table;

typedef struct si__publication {
    struct si__publication *next;
    si__arena_book book;
    si__published_table *tables;
    size_t table_count;
} si__publication;

/* Head of the list of publications. */
si__publication **si__unwind_cache_publications(si__unwind_cache *cache);

#endif
