/*
 * Answers of the symbolizer, kept within a bounded number of bytes; those not asked for longest go first.
 *
 * Texts are shared between entries and counted. Worker thread, like the symbolizer that owns it.
 */
#ifndef SI_SYMBOL_SYMBOL_CACHE_H
#define SI_SYMBOL_SYMBOL_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "symbolizer.h"

typedef struct si__symbol_cache si__symbol_cache;

si__symbol_cache *si__symbol_cache_new(size_t bytes); /* NULL: out of memory */
void si__symbol_cache_free(si__symbol_cache *cache);

/* The frames of (binary serial, offset), borrowed until the next put; NULL: not there. */
const si__symbol *si__symbol_cache_get(si__symbol_cache *cache, uint64_t serial, uint64_t offset, size_t *count);

/* Keeps a copy of the frames; forgets older ones. Does nothing when out of memory. */
void si__symbol_cache_put(si__symbol_cache *cache, uint64_t serial, uint64_t offset, const si__symbol *frames,
                          size_t count);

size_t si__symbol_cache_entries(const si__symbol_cache *cache);
size_t si__symbol_cache_bytes(const si__symbol_cache *cache);

#endif
