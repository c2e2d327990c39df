/*
 * The live set: sampled allocations that were not released yet. The entries are in the region; beside them, private to
 * this process, is a filter that tells at every release, with one load, that the address is none of them.
 *
 * The upper half is for the probe (host threads, in malloc and free): lock-free, no allocation, no system call. The
 * lower half is for readers, in this process or in another one.
 */
#ifndef SI_NATIVE_LIVE_H
#define SI_NATIVE_LIVE_H

#include "region.h"

enum { SI__LIVE_FILTER_CELLS = 1 << 19 };
#define SI__LIVE_NONE UINT32_MAX /* an ALLOC event's detail when the sample has no place in the live table */

/* ---- The probe's side ---- */

/* Counts of entries by a part of their address that keeps neighbours together. Wiped in a forked child, whose own live
   set starts empty. */
typedef struct si__live_private {
    _Atomic uint8_t filter[SI__LIVE_FILTER_CELLS];
    _Atomic uint32_t reach; /* the last of its places that an entry took so far */
    _Atomic uint32_t count; /* entries */
    _Atomic uint64_t serial;
} __attribute__((aligned(4096))) si__live_private;

extern si__live_private si__live_here __attribute__((visibility("hidden")));

/* A cell for 256 bytes, so that a cache line of the filter answers for 16 KiB of neighbours: what a program has in its
   cache leaves little room for ours. Of small blocks, the few that lie beside a sampled one are looked up in vain. */
static inline uint32_t si__live_cell(uint64_t address) {
    return (uint32_t)(address >> 8) & (SI__LIVE_FILTER_CELLS - 1);
}

/* 0: `address` is surely not in the live set. One load. */
static inline int si__live_maybe(const void *address) {
    uint32_t cell = si__live_cell((uint64_t)(uintptr_t)address);
    return atomic_load_explicit(&si__live_here.filter[cell], memory_order_relaxed) != 0;
}

/* Has the kernel wipe the private half in forked children. Once, not in a signal handler. */
void si__live_setup(void);

/* The address is marked for good: si__live_maybe says 1 from now on. */
void si__live_mark(const void *address);

/* Adds an allocation and gives its serial. Returns its index, or SI__LIVE_NONE (counted in live_refused). */
uint32_t si__live_add(si__region *region, const void *address, int64_t bytes, uint64_t objects_q16, uint64_t *serial);

/* Takes the entry of `address` out of everybody's reach, still counted as live. SI__LIVE_NONE: there is none. The one
   who took it either drops it (released) or puts it back (it was not released after all). */
uint32_t si__live_take(si__region *region, const void *address);
void si__live_drop(si__region *region, uint32_t index, const void *address);
void si__live_put_back(si__region *region, uint32_t index, const void *address);

/* Drops every entry: nothing was watching releases for a while. */
void si__live_clear(si__region *region);

/* Entries in the table now, roughly. */
uint32_t si__live_count(void);

/* ---- The reader's side: any process that maps the region ---- */

typedef struct si__live_entry {
    uint32_t index; /* with serial: what the ALLOC event that brought the stack has in its detail and text */
    uint64_t serial, address;
    int64_t bytes;        /* that the sample stands for */
    uint64_t objects_q16; /* likewise, in 1/65536 */
} si__live_entry;

/* Calls fn for every entry that is live, each consistent in itself. Touches only the pages that were ever used. The
   entry is valid during the call. */
void si__live_each(const si__region *region, void (*fn)(void *arg, const si__live_entry *entry), void *arg);

/* 1: the sample with this index and serial is live, and *out is filled. */
int si__live_at(const si__region *region, uint32_t index, uint64_t serial, si__live_entry *out);

typedef struct si__heap_sums {
    uint64_t mallocs, frees; /* calls that allocated and released; ever growing */
    uint64_t bytes;          /* asked for; ever growing */
    double live_bytes;       /* estimates, unbiased, from the samples */
    double live_objects;
    uint64_t entries; /* samples that the estimates rest on */
    uint64_t refused; /* samples that the live table had no room for: their bytes are not in the estimates */
} si__heap_sums;

/* Reads tallies and live table. Counts of this process are exact. Those of another one lag by up to a second, and by
   what a thread that rests since did after its last visit: allocations and releases of some milliseconds.
   Threads that have ended have handed in everything. */
void si__heap_sums_read(si__region *region, si__heap_sums *out);

#endif
