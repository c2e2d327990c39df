/*
 * The symbolizer: (binary, file offset) -> functions, files and lines, with inlined calls expanded.
 *
 * Opens a binary, resolves a batch, closes it: no debug information stays in memory, only a bounded cache of
 * answers. Sources, best first: DWARF of the file or of its separate debug file (build id under /usr/lib/debug,
 * .gnu_debuglink), .symtab, .dynsym, PLT relocations ("name@plt"), function ranges of .eh_frame
 * ("[libfoo.so.1+0x1234]", the ELF address where the function starts), the offset alone. Blocks on files: worker thread
 * only, one at a time.
 */
#ifndef SI_SYMBOL_SYMBOLIZER_H
#define SI_SYMBOL_SYMBOLIZER_H

#include <stddef.h>
#include <stdint.h>

#include "binary.h"

enum { SI__INLINE_MAX = 32 }; /* frames of one address at most */

typedef struct si__symbol {
    const char *function;    /* demangled; "[module+0x1234]" when unknown. Never NULL or empty */
    const char *system_name; /* as in the symbol table, mangled; same as function when there is none */
    const char *file;        /* "" when unknown */
    uint32_t line;           /* 0 when unknown */
    int inlined;             /* 1: inlined into the next frame of the list */
} si__symbol;

typedef struct si__symbolizer si__symbolizer;

typedef struct si__symbolizer_counts {
    uint64_t asked, cached;      /* addresses */
    uint64_t opened, unreadable; /* binaries: batches that opened one, and that could not */
    size_t cache_entries, cache_bytes;
} si__symbolizer_counts;

/* cache_bytes: 0 for the default (2 MiB). NULL: out of memory. */
si__symbolizer *si__symbolizer_new(size_t cache_bytes);
void si__symbolizer_free(si__symbolizer *symbolizer);

/*
 * Resolves file offsets of one binary. An offset is that of the instruction itself: for a return address pass it
 * minus one. `put` is called once for each index, in any order, with frames innermost first (at least one); they are
 * borrowed for the call. 0, or SI_ENOMEM: then put was not called for some.
 */
int si__symbolizer_resolve(si__symbolizer *symbolizer, const si__binary *binary, const uint64_t *offsets, size_t count,
                           void (*put)(void *arg, size_t index, const si__symbol *frames, size_t frame_count),
                           void *arg);

void si__symbolizer_counts_get(const si__symbolizer *symbolizer, si__symbolizer_counts *out);

#endif
