/*
 * An open-addressing hash index: finds items of a caller's array by hash.
 *
 * It stores item numbers only; the caller keeps the items, computes hashes and compares. Linear probing, grows at
 * 3/4 load. Items cannot be removed one by one. Used by the tables of this folder; not thread-safe, one owner.
 */
#ifndef SI_PROFILE_INDEX_H
#define SI_PROFILE_INDEX_H

#include <stddef.h>
#include <stdint.h>

typedef struct si__index {
    uint32_t *slots; /* item + 1; 0: empty */
    uint32_t mask;   /* number of slots - 1; a power of two minus one */
    uint32_t used;
} si__index; /* all zero: empty */

#define SI__INDEX_NONE UINT32_MAX

/* Makes room for one more item. `hash_of` gives the hash an item was put in with. 0 or SI_ENOMEM. */
int si__index_reserve(si__index *index, uint32_t (*hash_of)(const void *owner, uint32_t item), const void *owner);

/* Empties the index and frees its memory. */
void si__index_free(si__index *index);

/* Walks the items that may have this hash: position is set by begin, and next returns the item or SI__INDEX_NONE. */
static inline uint32_t si__index_next(const si__index *index, uint32_t *position) {
    if (!index->slots) return SI__INDEX_NONE;
    uint32_t item = index->slots[*position & index->mask];
    (*position)++;
    return item - 1; /* 0 - 1: SI__INDEX_NONE */
}

/* Puts an item in; room must have been reserved, and the item must not be there yet. */
void si__index_put(si__index *index, uint32_t hash, uint32_t item);

/* Mixes 64 bits into a hash whose low bits can be used. */
static inline uint32_t si__hash64(uint64_t value) {
    value *= 0x9e3779b97f4a7c15ull;
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ull;
    return (uint32_t)(value >> 32);
}

#endif
