/*
 * Names of frames that have no address: see record.h. Any host thread, lock-free, no allocation.
 *
 * Open addressing by a 64-bit hash, which claims the entry in one exchange: equal hashes are taken for equal names
 * (8,192 names in 2^64).
 */
#include <string.h>

#include "fork.h"
#include "record.h"

enum { PROBES_MAX = 64, OTHER = SI__NAME_COUNT - 1 };

static uint64_t hash_bytes(uint64_t hash, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3ull; /* FNV-1a */
    return (hash ^ length) * 0x100000001b3ull;
}

static void write_name(si__name *name, const char *function, size_t function_bytes, const char *file, size_t file_bytes,
                       uint32_t line) {
    memcpy(name->function, function, function_bytes); /* the rest is zero already */
    memcpy(name->file, file, file_bytes);
    name->line = line;
    atomic_store_explicit(&name->state, 2, memory_order_release);
}

static uint64_t other(si__region *region) {
    si__name *name = si__region_name(region, OTHER);
    uint64_t free_hash = 0;
    if (atomic_compare_exchange_strong_explicit(&name->hash, &free_hash, 1, memory_order_relaxed, memory_order_relaxed))
        write_name(name, "[other]", 7, "", 0, 0);
    atomic_fetch_add_explicit(&region->names_refused, 1, memory_order_relaxed);
    return si__name_pc(OTHER);
}

uint64_t si__name_get(const char *function, const char *file, uint32_t line) {
    si__region *region = si__owner_region();
    if (!region) return 0;
    size_t function_bytes = strnlen(function, sizeof((si__name *)0)->function - 1);
    size_t file_bytes = strnlen(file, sizeof((si__name *)0)->file - 1);
    uint64_t hash = hash_bytes(0xcbf29ce484222325ull + line, function, function_bytes);
    hash = hash_bytes(hash, file, file_bytes);
    hash = hash > 1 ? hash : hash + 2;
    for (uint32_t step = 0; step < PROBES_MAX; step++) {
        uint32_t index = (uint32_t)(hash >> 20) + step;
        index %= OTHER;
        si__name *name = si__region_name(region, index);
        uint64_t there = atomic_load_explicit(&name->hash, memory_order_relaxed);
        if (there == 0 && atomic_compare_exchange_strong_explicit(&name->hash, &there, hash, memory_order_relaxed,
                                                                  memory_order_relaxed)) {
            write_name(name, function, function_bytes, file, file_bytes, line);
            return si__name_pc(index);
        }
        if (there == hash) return si__name_pc(index);
    }
    return other(region);
}
