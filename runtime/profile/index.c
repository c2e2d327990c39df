/* The hash index of index.h. Called by the tables of this folder, on their owner's thread. */
#include "index.h"

#include <stdlib.h>

#include "si/si.h"

void si__index_put(si__index *index, uint32_t hash, uint32_t item) {
    uint32_t position = hash & index->mask;
    while (index->slots[position]) position = (position + 1) & index->mask;
    index->slots[position] = item + 1;
    index->used++;
}

int si__index_reserve(si__index *index, uint32_t (*hash_of)(const void *owner, uint32_t item), const void *owner) {
    if (index->slots && (uint64_t)(index->used + 1) * 4 <= ((uint64_t)index->mask + 1) * 3) return 0;
    uint64_t slots = index->slots ? ((uint64_t)index->mask + 1) * 2 : 16;
    if (slots > UINT32_MAX / 2) return SI_ENOMEM;
    si__index grown = {calloc(slots, sizeof *grown.slots), (uint32_t)(slots - 1), 0};
    if (!grown.slots) return SI_ENOMEM;
    for (uint32_t i = 0; index->slots && i <= index->mask; i++) {
        uint32_t item = index->slots[i];
        if (item) si__index_put(&grown, hash_of(owner, item - 1), item - 1);
    }
    free(index->slots);
    *index = grown;
    return 0;
}

void si__index_free(si__index *index) {
    free(index->slots);
    *index = (si__index){0};
}
