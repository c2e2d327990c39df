/*
 * Functions of a call tree: frames that differ in their line only are one function. What the top table, the sandwich
 * and the source view count by. One request, one thread.
 */
#ifndef SI_SERVER_FUNCTIONS_H
#define SI_SERVER_FUNCTIONS_H

#include "store.h"

typedef struct si__function { /* owned by the set */
    const char *function, *file, *module;
} si__function;

typedef struct si__functions si__functions;

si__functions *si__functions_new(si__reader *reader); /* borrowed; NULL: out of memory */
void si__functions_free(si__functions *functions);

/* The function of a frame of the store, numbered from 1 as they come; 0 for frame 0 (the root). UINT32_MAX: out of
 * memory. */
uint32_t si__functions_of(si__functions *functions, uint32_t frame);
size_t si__functions_count(const si__functions *functions); /* numbers are below; 0 counts */
const si__function *si__functions_at(const si__functions *functions, uint32_t number);

/* The function of every branch, malloc'ed; NULL: out of memory. */
uint32_t *si__functions_of_tree(si__functions *functions, const si__branch *branches, size_t count);

#endif
