/*
 * Space in a region's arena: first-fit extents, and their reclamation by epochs. Called by unwind_publish.c on the
 * worker thread, while walks run in the observed program's signal handlers.
 */
#include "unwind_arena.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "si/si.h"

enum { PUNCH_BYTES = 64 * 1024, TAKEOVER_WAIT_MS = 20 };
enum { ARENA_UNITS = SI__UNWIND_ARENA_BYTES / SI__ARENA_UNIT, FIRST_UNIT = sizeof(si__unwind_arena) / SI__ARENA_UNIT };
_Static_assert(sizeof(si__unwind_arena) % SI__ARENA_UNIT == 0, "what follows the header is aligned");

uint32_t si__arena_capacity(void) {
    return ARENA_UNITS - FIRST_UNIT;
}

/* ---- Free extents ---- */

static int reserve_free(si__arena_book *b, size_t wanted) {
    if (wanted <= b->free_capacity) return 0;
    size_t capacity = b->free_capacity ? b->free_capacity * 2 : 64;
    if (capacity < wanted) capacity = wanted;
    si__extent *items = realloc(b->free, capacity * sizeof(*items));
    if (!items) return SI_ENOMEM;
    b->free = items;
    b->free_capacity = capacity;
    return 0;
}

si__extent si__arena_take(si__arena_book *b, size_t bytes) {
    if (bytes > SI__UNWIND_ARENA_BYTES) return (si__extent){0, 0};
    uint32_t count = (uint32_t)((bytes + SI__ARENA_UNIT - 1) / SI__ARENA_UNIT);
    for (size_t i = 0; i < b->free_count; i++) {
        si__extent *f = &b->free[i];
        if (f->count < count) continue;
        si__extent out = {f->start, count};
        f->start += count;
        f->count -= count;
        if (!f->count) memmove(f, f + 1, (--b->free_count - i) * sizeof(*f));
        return out;
    }
    return (si__extent){0, 0};
}

/* Lets the kernel have the pages back; harmless where the memory is of another kind. */
static void punch(const si__arena_book *b, si__extent e) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)si__arena_at(b, e) + page - 1) & ~(page - 1);
    uintptr_t to = ((uintptr_t)si__arena_at(b, e) + (size_t)e.count * SI__ARENA_UNIT) & ~(page - 1);
    if (to > from && to - from >= PUNCH_BYTES) (void)madvise((void *)from, to - from, MADV_REMOVE);
}

/* Every take leaves at most one extent more than there was, so that room for giving back was reserved by
 * si__arena_retire and open. */
void si__arena_give(si__arena_book *b, si__extent e) {
    if (!e.count) return;
    punch(b, e);
    size_t i = 0;
    while (i < b->free_count && b->free[i].start < e.start) i++;
    int joins_last = i > 0 && b->free[i - 1].start + b->free[i - 1].count == e.start;
    int joins_next = i < b->free_count && e.start + e.count == b->free[i].start;
    if (joins_last && joins_next) {
        b->free[i - 1].count += e.count + b->free[i].count;
        memmove(&b->free[i], &b->free[i + 1], (--b->free_count - i) * sizeof(*b->free));
    } else if (joins_last) {
        b->free[i - 1].count += e.count;
    } else if (joins_next) {
        b->free[i].start = e.start;
        b->free[i].count += e.count;
    } else if (!reserve_free(b, b->free_count + 1)) { /* else: lost until the region closes */
        memmove(&b->free[i + 1], &b->free[i], (b->free_count++ - i) * sizeof(*b->free));
        b->free[i] = e;
    }
}

/* ---- Epochs ---- */

/* Can a walk still be looking at what generation `tag` was the last to use? */
static int still_pinned(const si__arena_book *b, uint32_t tag) {
    if (atomic_load(&b->arena->anonymous)) return 1;
    uint32_t used = atomic_load(&b->region->slots_used);
    if (used > SI__SLOT_COUNT) used = SI__SLOT_COUNT;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t epoch = atomic_load(&b->slots[i].unwind_epoch);
        if (epoch && (int32_t)(epoch - tag) <= 0) return 1;
    }
    return 0;
}

static void reclaim_once(si__arena_book *b) {
    size_t kept = 0;
    int pinned = 0; /* retired in rising order of generations: the first that is pinned holds the rest */
    for (size_t i = 0; i < b->retired_count; i++) {
        si__retired r = b->retired[i];
        if (!pinned && (i == 0 || r.generation != b->retired[i - 1].generation)) pinned = still_pinned(b, r.generation);
        if (pinned)
            b->retired[kept++] = r;
        else
            si__arena_give(b, r.extent);
    }
    b->retired_count = kept;
}

void si__arena_reclaim(si__arena_book *b, unsigned wait_ms) {
    reclaim_once(b);
    for (unsigned i = 0; i < wait_ms && b->retired_count; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        reclaim_once(b);
    }
}

int si__arena_reserve(si__arena_book *b, size_t count) {
    size_t wanted = b->retired_count + count + 1; /* and the root */
    if (wanted <= b->retired_capacity) return 0;
    si__retired *items = realloc(b->retired, wanted * 2 * sizeof(*items));
    if (!items) return SI_ENOMEM;
    b->retired = items;
    b->retired_capacity = wanted * 2;
    return 0;
}

void si__arena_retire(si__arena_book *b, si__extent e) {
    if (!e.count || b->retired_count == b->retired_capacity) return;
    b->retired[b->retired_count++] = (si__retired){.extent = e, .generation = b->generation};
}

void si__arena_publish(si__arena_book *b, si__extent root) {
    si__arena_retire(b, b->root);
    b->generation = b->generation + 1 ? b->generation + 1 : 1;
    b->root = root;
    atomic_store(&b->arena->root, (uint64_t)b->generation << 32 | root.start);
    si__arena_reclaim(b, 0);
}

/* ---- Taking over ---- */

static uint64_t new_owner(void) {
    uint64_t v = 0;
    if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v)) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        v = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    return v | 1;
}

int si__arena_open(si__arena_book *b, si__region *region) {
    memset(b, 0, sizeof(*b));
    b->region = region;
    b->arena = (si__unwind_arena *)(void *)((char *)region + region->unwind_off);
    b->slots = si__region_slot(region, 0);
    if (reserve_free(b, 64)) return SI_ENOMEM;
    b->owner = new_owner();
    b->generation = (uint32_t)(atomic_load(&b->arena->root) >> 32);
    atomic_store(&b->arena->root, 0);
    for (unsigned i = 0; i < TAKEOVER_WAIT_MS && still_pinned(b, b->generation); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    b->arena->magic = SI__ARENA_MAGIC;
    b->arena->owner = b->owner;
    b->free[b->free_count++] = (si__extent){FIRST_UNIT, ARENA_UNITS - FIRST_UNIT};
    return 0;
}

void si__arena_close(si__arena_book *b) {
    free(b->free);
    free(b->retired);
    memset(b, 0, sizeof(*b));
}

int si__arena_is_ours(const si__arena_book *b, const si__region *region) {
    return b->region == region && b->arena->magic == SI__ARENA_MAGIC && b->arena->owner == b->owner;
}
