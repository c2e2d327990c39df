/* Lists of free blocks; see blocks.h. */
#include "blocks.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)16384)
#define HEADER_BYTES 16 /* the link of chunks, and the alignment of what follows */

static size_t class_of(size_t bytes) {
    return (bytes - 1) / SI__BLOCK_STEP;
}

static int add_chunk(si__blocks *blocks) {
    char *chunk = malloc(CHUNK_BYTES);
    if (!chunk) return 0;
    memcpy(chunk, &blocks->chunks, sizeof blocks->chunks);
    blocks->chunks = chunk;
    blocks->next = chunk + HEADER_BYTES;
    blocks->end = chunk + CHUNK_BYTES;
    return 1;
}

void *si__blocks_take(si__blocks *blocks, size_t bytes) {
    size_t class = class_of(bytes), size = (class + 1) * SI__BLOCK_STEP;
    void *block = blocks->free[class];
    if (block) {
        memcpy(&blocks->free[class], block, sizeof blocks->free[class]);
        return block;
    }
    if ((size_t)(blocks->end - blocks->next) < size && !add_chunk(blocks)) return NULL; /* the rest is left unused */
    block = blocks->next;
    blocks->next += size;
    return block;
}

void si__blocks_give(si__blocks *blocks, void *block, size_t bytes) {
    size_t class = class_of(bytes);
    memcpy(block, &blocks->free[class], sizeof blocks->free[class]);
    blocks->free[class] = block;
}

void si__blocks_free(si__blocks *blocks) {
    for (void *chunk = blocks->chunks, *before; chunk; chunk = before) {
        memcpy(&before, chunk, sizeof before);
        free(chunk);
    }
    *blocks = (si__blocks){.chunks = NULL};
}
