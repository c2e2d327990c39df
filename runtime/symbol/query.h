/*
 * A query: one address that the symbolizer was asked for, and what its sources have found so far.
 *
 * Internal to this folder: a batch is an array of these, sorted by address, that each source walks once.
 */
#ifndef SI_SYMBOL_QUERY_H
#define SI_SYMBOL_QUERY_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__query {
    uint64_t address;            /* as in the ELF file's own addresses */
    uint64_t offset;             /* file offset */
    size_t index;                /* the caller's */
    uint64_t fde_start, fde_end; /* of the function's .eh_frame entry; equal: none */
    const char *symbol;          /* best symbol; NULL: none. Lives as long as the file is open */
    uint64_t symbol_start;
    uint32_t symbol_rank; /* see elf_symbols.c; higher is better */
    int is_plt;           /* symbol is what the PLT entry calls */
} si__query;

/* The first query at or above address. Returns count when there is none. */
static inline size_t si__query_lower(const si__query *queries, size_t count, uint64_t address) {
    size_t lo = 0, hi = count;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (queries[middle].address < address)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

#endif
