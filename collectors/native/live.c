/*
 * The live set: see live.h. Open addressing without tombstones: an address has an order of places where its entry may
 * be, and a lookup follows it as far as any entry ever was, which is a few steps as long as the table is far from full.
 * The first places are in a small part of the table, the next ones in a larger part, so that few entries touch few
 * pages, here and in the readers.
 *
 * An entry's address is written last and cleared first. Of two entries for one address, the older is a leftover whose
 * release nobody saw.
 */
#include "live.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "fork.h"
#include "heap_thread.h"

enum { BEING_WRITTEN = 1, CHUNK = 128 }; /* CHUNK: entries in a page */
enum {
    SMALL = 2048, /* entries of the parts, and how many places in a row an address has in each */
    MIDDLE = 8192,
    LARGE = SI__LIVE_COUNT - MIDDLE - SMALL,
    SMALL_PLACES = 4,
    MIDDLE_PLACES = 8,
    LARGE_PLACES = 64,
    PLACES = SMALL_PLACES + MIDDLE_PLACES + LARGE_PLACES
};
#define TAKEN (1ull << 63) /* of an address: in somebody's hands; lookups pass by, readers still count it */
#define OBJECTS_MAX_Q16 (1ull << 62)

si__live_private si__live_here;

_Static_assert(SI__LIVE_COUNT / CHUNK == SI__LIVE_CHUNKS, "one bit for every page of entries");

void si__live_setup(void) {
    int saved = errno;
    /* Without it (Linux before 4.14) the child's filter sends some releases to look into an empty table. */
    madvise(&si__live_here, sizeof si__live_here, MADV_WIPEONFORK);
    errno = saved;
}

static uint32_t hash_of(uint64_t address) {
    return (uint32_t)((address >> 4) * 0x9e3779b97f4a7c15ull >> 32);
}

/* Where an entry may be: step 0 first, below PLACES. */
static uint32_t place_of(uint32_t hash, uint32_t step) {
    if (step < SMALL_PLACES) return (hash + step) % SMALL;
    step -= SMALL_PLACES;
    if (step < MIDDLE_PLACES) return SMALL + (hash + step) % MIDDLE;
    return SMALL + MIDDLE + (hash + step - MIDDLE_PLACES) % LARGE;
}

/* ---- The filter: counts that stay at 255 once they got there ---- */

static void filter_add(uint64_t address) {
    _Atomic uint8_t *cell = &si__live_here.filter[si__live_cell(address)];
    uint8_t now = atomic_load_explicit(cell, memory_order_relaxed);
    while (now != 255 && !atomic_compare_exchange_weak_explicit(cell, &now, (uint8_t)(now + 1), memory_order_relaxed,
                                                                memory_order_relaxed)) {}
}

static void filter_remove(uint64_t address) {
    _Atomic uint8_t *cell = &si__live_here.filter[si__live_cell(address)];
    uint8_t now = atomic_load_explicit(cell, memory_order_relaxed);
    while (now != 255 && now != 0 &&
           !atomic_compare_exchange_weak_explicit(cell, &now, (uint8_t)(now - 1), memory_order_relaxed,
                                                  memory_order_relaxed)) {}
}

void si__live_mark(const void *address) {
    uint32_t cell = si__live_cell((uint64_t)(uintptr_t)address);
    atomic_store_explicit(&si__live_here.filter[cell], 255, memory_order_relaxed);
}

uint32_t si__live_count(void) {
    return atomic_load_explicit(&si__live_here.count, memory_order_relaxed);
}

/* ---- Entries ---- */

static void reach_at_least(uint32_t step) {
    uint32_t reach = atomic_load_explicit(&si__live_here.reach, memory_order_relaxed);
    while (reach < step && !atomic_compare_exchange_weak_explicit(&si__live_here.reach, &reach, step,
                                                                  memory_order_relaxed, memory_order_relaxed)) {}
}

static void note_chunk(si__region *region, uint32_t index) {
    _Atomic uint64_t *word = &region->live_chunks[index / CHUNK / 64];
    uint64_t bit = 1ull << (index / CHUNK % 64);
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
        atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

uint32_t si__live_add(si__region *region, const void *where, int64_t bytes, uint64_t objects_q16, uint64_t *serial) {
    uint64_t address = (uint64_t)(uintptr_t)where;
    uint32_t hash = hash_of(address);
    if (si__live_maybe(where)) {
        uint32_t leftover = si__live_take(region, where);
        if (leftover != SI__LIVE_NONE) si__live_drop(region, leftover, where);
    }
    for (uint32_t step = 0; step < PLACES; step++) {
        uint32_t index = place_of(hash, step);
        si__live *entry = si__region_live(region, index);
        uint64_t empty = 0;
        if (atomic_load_explicit(&entry->address, memory_order_relaxed) != 0 ||
            !atomic_compare_exchange_strong_explicit(&entry->address, &empty, BEING_WRITTEN, memory_order_acquire,
                                                     memory_order_relaxed))
            continue;
        atomic_thread_fence(memory_order_release); /* who sees what follows sees that it is being written, too */
        *serial = atomic_fetch_add_explicit(&si__live_here.serial, 1, memory_order_relaxed) + 1;
        note_chunk(region, index);
        reach_at_least(step);
        filter_add(address);
        atomic_fetch_add_explicit(&si__live_here.count, 1, memory_order_relaxed);
        atomic_store_explicit(&entry->bytes, bytes, memory_order_relaxed);
        atomic_store_explicit(&entry->objects_q16, objects_q16, memory_order_relaxed);
        atomic_store_explicit(&entry->serial, *serial, memory_order_relaxed);
        atomic_store_explicit(&entry->address, address, memory_order_release);
        return index;
    }
    atomic_fetch_add_explicit(&region->live_refused, 1, memory_order_relaxed);
    *serial = 0;
    return SI__LIVE_NONE;
}

uint32_t si__live_take(si__region *region, const void *where) {
    uint64_t address = (uint64_t)(uintptr_t)where;
    uint32_t hash = hash_of(address), reach = atomic_load_explicit(&si__live_here.reach, memory_order_relaxed);
    for (uint32_t step = 0; step <= reach; step++) {
        uint32_t index = place_of(hash, step);
        _Atomic uint64_t *there = &si__region_live(region, index)->address;
        uint64_t expected = address;
        if (atomic_load_explicit(there, memory_order_relaxed) == address &&
            atomic_compare_exchange_strong_explicit(there, &expected, address | TAKEN, memory_order_acquire,
                                                    memory_order_relaxed))
            return index;
    }
    return SI__LIVE_NONE;
}

void si__live_drop(si__region *region, uint32_t index, const void *where) {
    filter_remove((uint64_t)(uintptr_t)where);
    atomic_fetch_sub_explicit(&si__live_here.count, 1, memory_order_relaxed);
    atomic_store_explicit(&si__region_live(region, index)->address, 0, memory_order_release);
}

void si__live_put_back(si__region *region, uint32_t index, const void *where) {
    atomic_store_explicit(&si__region_live(region, index)->address, (uint64_t)(uintptr_t)where, memory_order_release);
}

/* ---- Readers: the region may be another process's, which may write anything at any time ---- */

/* The pages of entries that were ever written. */
static uint64_t chunk_bits(const si__region *region, uint32_t word) {
    return atomic_load_explicit(&region->live_chunks[word], memory_order_relaxed);
}

static int read_entry(const si__region *region, uint32_t index, si__live_entry *out) {
    si__live *entry = si__region_live((si__region *)(uintptr_t)region, index);
    uint64_t address = atomic_load_explicit(&entry->address, memory_order_acquire);
    if (address <= BEING_WRITTEN) return 0;
    out->serial = atomic_load_explicit(&entry->serial, memory_order_relaxed);
    out->bytes = atomic_load_explicit(&entry->bytes, memory_order_relaxed);
    out->objects_q16 = atomic_load_explicit(&entry->objects_q16, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    uint64_t again = atomic_load_explicit(&entry->address, memory_order_acquire);
    if ((again & ~TAKEN) != (address & ~TAKEN) ||
        atomic_load_explicit(&entry->serial, memory_order_relaxed) != out->serial)
        return 0; /* replaced meanwhile */
    out->index = index;
    out->address = address & ~TAKEN;
    return out->bytes >= 0 && out->objects_q16 <= OBJECTS_MAX_Q16;
}

void si__live_each(const si__region *region, void (*fn)(void *arg, const si__live_entry *entry), void *arg) {
    for (uint32_t chunk = 0; chunk < SI__LIVE_CHUNKS; chunk++) {
        if (!(chunk_bits(region, chunk / 64) >> (chunk % 64) & 1)) continue;
        for (uint32_t i = 0; i < CHUNK; i++) {
            si__live_entry entry;
            if (read_entry(region, chunk * CHUNK + i, &entry)) fn(arg, &entry);
        }
    }
}

int si__live_at(const si__region *region, uint32_t index, uint64_t serial, si__live_entry *out) {
    if (index >= SI__LIVE_COUNT) return 0;
    uint32_t chunk = index / CHUNK;
    if (!(chunk_bits(region, chunk / 64) >> (chunk % 64) & 1)) return 0;
    return read_entry(region, index, out) && out->serial == serial;
}

/* The probe's own, at start: a release that runs right now may take an entry first. */
void si__live_clear(si__region *region) {
    for (uint32_t chunk = 0; chunk < SI__LIVE_CHUNKS; chunk++) {
        if (!(chunk_bits(region, chunk / 64) >> (chunk % 64) & 1)) continue;
        for (uint32_t i = 0; i < CHUNK; i++) {
            uint32_t index = chunk * CHUNK + i;
            uint64_t address = atomic_load_explicit(&si__region_live(region, index)->address, memory_order_relaxed);
            const void *where = (const void *)(uintptr_t)address;
            if (address > BEING_WRITTEN && !(address & TAKEN) && si__live_take(region, where) == index)
                si__live_drop(region, index, where);
        }
    }
}

static void add_entry(void *arg, const si__live_entry *entry) {
    si__heap_sums *sums = arg;
    sums->live_bytes += (double)entry->bytes;
    sums->live_objects += (double)entry->objects_q16 / 65536;
    sums->entries++;
}

void si__heap_sums_read(si__region *region, si__heap_sums *out) {
    memset(out, 0, sizeof *out);
    if (region == si__owner_region()) si__heap_hand_in(region);
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__tallies *tallies = si__region_tallies(region, i);
        out->mallocs += atomic_load_explicit(&tallies->of[SI__TALLY_MALLOC], memory_order_relaxed);
        out->frees += atomic_load_explicit(&tallies->of[SI__TALLY_FREE], memory_order_relaxed);
        out->bytes += atomic_load_explicit(&tallies->of[SI__TALLY_MALLOC_BYTES], memory_order_relaxed);
    }
    out->refused = atomic_load_explicit(&region->live_refused, memory_order_relaxed);
    si__live_each(region, add_entry, out);
}
