/*
 * Instruments: counts and duration buckets that live in the region and never lose an event. Any host thread, lock-free,
 * no allocation.
 *
 * Open addressing by a 64-bit hash of kind and name. The hash itself claims an entry, in one exchange, so nobody ever
 * waits for somebody else's name to be written: equal hashes are taken for equal names (1,024 names in 2^64).
 */
#include <string.h>

#include "fork.h"
#include "probe.h"

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xe9846af9b1a615dull;
    h ^= h >> 32;
    h *= 0xe9846af9b1a615dull;
    h ^= h >> 28;
    return h;
}

/* Eight bytes a step; never 0, which means a free entry. */
static uint64_t hash_of(si__instrument_kind kind, const char *name, size_t length) {
    uint64_t h = mix((uint64_t)kind << 8 | length);
    uint64_t word;
    while (length >= 8) {
        memcpy(&word, name, 8);
        h = mix(h ^ word) * 0x9e3779b97f4a7c15ull;
        name += 8;
        length -= 8;
    }
    word = 0;
    memcpy(&word, name, length);
    h = mix(h ^ word);
    return h ? h : 1;
}

static void name_it(si__region *region, si__instrument *instrument, si__instrument_kind kind, const char *name,
                    size_t length) {
    uint32_t index = (uint32_t)(instrument - si__region_instrument(region, 0));
    memcpy(instrument->name, name, length); /* the rest is zero already */
    instrument->kind = (uint32_t)kind;
    atomic_store_explicit(&instrument->state, 2, memory_order_release);
    atomic_fetch_or_explicit(&region->instrument_pages, 1ull << index / SI__INSTRUMENTS_PER_PAGE, memory_order_release);
}

si__instrument *si__instrument_get(si__instrument_kind kind, const char *name) {
    si__region *region = si__owner_region();
    if (!region || !name) return NULL;
    size_t length = strnlen(name, SI__NAME_BYTES - 1);
    uint64_t hash = hash_of(kind, name, length);
    for (uint32_t step = 0; step < SI__INSTRUMENT_COUNT; step++) {
        si__instrument *at = si__region_instrument(region, ((uint32_t)hash + step) % SI__INSTRUMENT_COUNT);
        uint64_t there = atomic_load_explicit(&at->hash, memory_order_relaxed);
        if (there == 0 && atomic_compare_exchange_strong_explicit(&at->hash, &there, hash, memory_order_relaxed,
                                                                  memory_order_relaxed)) {
            name_it(region, at, kind, name, length);
            return at;
        }
        if (there == hash) return at;
    }
    atomic_fetch_add_explicit(&region->instruments_refused, 1, memory_order_relaxed);
    return NULL;
}

int si__instrument_valid(const si__instrument *instrument) {
    si__region *region = si__owner_region();
    if (!region || !instrument) return 0;
    uintptr_t first = (uintptr_t)si__region_instrument(region, 0), at = (uintptr_t)instrument;
    return at >= first && at < first + SI__INSTRUMENT_COUNT * sizeof(si__instrument);
}

void si__instrument_time(si__instrument *instrument, uint64_t duration_ns) {
    if (!si__instrument_valid(instrument)) return;
    si__region *region = si__owner_region();
    if (!region) return; /* closed between the two looks */
    uint32_t index = (uint32_t)(instrument - si__region_instrument(region, 0));
    atomic_fetch_add_explicit(&si__region_buckets(region, index)[si__bucket_index(duration_ns)], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&instrument->sum_ns, duration_ns, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&instrument->max_ns, memory_order_relaxed);
    while (duration_ns > max && !atomic_compare_exchange_weak_explicit(&instrument->max_ns, &max, duration_ns,
                                                                       memory_order_relaxed, memory_order_relaxed)) {}
    atomic_fetch_add_explicit(&instrument->count, 1, memory_order_relaxed);
}
