/*
 * Small blocks for one Lua state: what a rule makes and drops at every evaluation is taken from lists of free blocks
 * and put back there. Loop thread only. Memory goes back to the system when the state ends.
 */
#ifndef SI_SCRIPT_BLOCKS_H
#define SI_SCRIPT_BLOCKS_H

#include <stddef.h>

#define SI__BLOCK_BYTES 128 /* the largest; everything else is malloc's */
#define SI__BLOCK_STEP 16

typedef struct si__blocks {
    void *free[SI__BLOCK_BYTES / SI__BLOCK_STEP];
    void *chunks;     /* all, linked */
    char *next, *end; /* what is left of the newest */
} si__blocks;

void *si__blocks_take(si__blocks *blocks, size_t bytes); /* 1 to SI__BLOCK_BYTES. NULL: out of memory */
void si__blocks_give(si__blocks *blocks, void *block, size_t bytes);
void si__blocks_free(si__blocks *blocks); /* all of them at once */

#endif
