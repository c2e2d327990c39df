/*
 * The publisher's view of one region's arena: which parts are free, which are in use by the published root, and which
 * wait until no walk can still be looking at them. The book-keeping is private memory: what the observed program writes
 * into the arena cannot mislead it. Runtime's worker thread.
 */
#ifndef SI_NATIVE_UNWIND_ARENA_H
#define SI_NATIVE_UNWIND_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "region.h"
#include "unwind.h"
#include "unwind_table.h"

typedef struct si__extent {
    uint32_t start, count; /* units of SI__ARENA_UNIT bytes */
} si__extent;

typedef struct si__retired {
    si__extent extent;
    uint32_t generation; /* the last one that used it */
} si__retired;

typedef struct si__arena_book {
    si__region *region;
    si__unwind_arena *arena;
    si__slot *slots;
    uint64_t owner;
    uint32_t generation; /* of the published root */
    si__extent root;     /* count 0: none published */
    si__extent *free;    /* sorted, never adjacent */
    size_t free_count, free_capacity;
    si__retired *retired;
    size_t retired_count, retired_capacity;
} si__arena_book;

/* Takes the arena over: whatever is published in it is withdrawn. 0 or SI_ENOMEM. */
int si__arena_open(si__arena_book *book, si__region *region);
void si__arena_close(si__arena_book *book); /* frees the book; the arena stays as it is */

/* Is the arena still the one that this book describes? */
int si__arena_is_ours(const si__arena_book *book, const si__region *region);

/* Units for `bytes`; start 0: no room. */
si__extent si__arena_take(si__arena_book *book, size_t bytes);
static inline void *si__arena_at(const si__arena_book *book, si__extent extent) {
    return (char *)book->arena + (size_t)extent.start * SI__ARENA_UNIT;
}

/* Gives an extent back that no root ever named. */
void si__arena_give(si__arena_book *book, si__extent extent);
/* Room to retire `count` extents and publish after it: those two cannot fail then. 0 or SI_ENOMEM. */
int si__arena_reserve(si__arena_book *book, size_t count);
/* Gives an extent back that the published root names; to be followed by si__arena_publish without it. */
void si__arena_retire(si__arena_book *book, si__extent extent);
/* Publishes a root (count 0: none), retires the former one, and reclaims what no walk can see. */
void si__arena_publish(si__arena_book *book, si__extent root);

/* Reclaims what was retired, waiting at most `wait_ms` for walks that are under way. */
void si__arena_reclaim(si__arena_book *book, unsigned wait_ms);

/* Largest total that tables may have together, in units. */
uint32_t si__arena_capacity(void);

#endif
