/* The cache of symbolized addresses: two chained hash tables, one of entries with a list by age, one of shared texts.
 */
#include "symbol_cache.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096 };

typedef struct text {
    struct text *next;
    uint32_t hash, references;
    size_t length;
    char bytes[];
} text;

typedef struct entry {
    struct entry *next;          /* in its bucket */
    struct entry *newer, *older; /* by last use */
    uint64_t serial, offset;
    size_t count;
    si__symbol frames[]; /* their strings are in texts */
} entry;

struct si__symbol_cache {
    entry *entries[BUCKETS];
    text *texts[BUCKETS];
    entry *newest, *oldest;
    size_t entry_count, bytes, bytes_max;
};

si__symbol_cache *si__symbol_cache_new(size_t bytes) {
    si__symbol_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return NULL;
    cache->bytes = sizeof *cache;
    cache->bytes_max = bytes > 2 * sizeof *cache ? bytes : 2 * sizeof *cache;
    return cache;
}

/* ---- Texts ---- */

static uint32_t text_hash(const char *bytes, size_t length) {
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3ull;
    return (uint32_t)(hash ^ hash >> 32);
}

static const char *text_hold(si__symbol_cache *cache, const char *bytes) {
    size_t length = strlen(bytes);
    uint32_t hash = text_hash(bytes, length);
    for (text *t = cache->texts[hash % BUCKETS]; t; t = t->next) {
        if (t->hash != hash || t->length != length || memcmp(t->bytes, bytes, length) != 0) continue;
        t->references++;
        return t->bytes;
    }
    text *t = malloc(sizeof *t + length + 1);
    if (!t) return NULL;
    *t = (text){.next = cache->texts[hash % BUCKETS], .hash = hash, .references = 1, .length = length};
    memcpy(t->bytes, bytes, length + 1);
    cache->texts[hash % BUCKETS] = t;
    cache->bytes += sizeof *t + length + 1;
    return t->bytes;
}

static void text_drop(si__symbol_cache *cache, const char *bytes) {
    if (!bytes) return;
    text *t = (text *)(uintptr_t)(bytes - offsetof(text, bytes));
    if (--t->references) return;
    text **link = &cache->texts[t->hash % BUCKETS];
    while (*link != t) link = &(*link)->next;
    *link = t->next;
    cache->bytes -= sizeof *t + t->length + 1;
    free(t);
}

/* ---- Entries ---- */

static entry **bucket_of(si__symbol_cache *cache, uint64_t serial, uint64_t offset) {
    uint64_t hash = (offset ^ serial << 40) * 0x9e3779b97f4a7c15ull;
    return &cache->entries[(hash >> 40) % BUCKETS];
}

static void unlink_age(si__symbol_cache *cache, entry *e) {
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
}

static void link_newest(si__symbol_cache *cache, entry *e) {
    e->newer = NULL;
    e->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = e;
    cache->newest = e;
}

static void entry_free(si__symbol_cache *cache, entry *e) {
    for (size_t i = 0; i < e->count; i++) {
        text_drop(cache, e->frames[i].function);
        text_drop(cache, e->frames[i].system_name);
        text_drop(cache, e->frames[i].file);
    }
    cache->bytes -= sizeof *e + e->count * sizeof *e->frames;
    free(e);
}

static void evict(si__symbol_cache *cache, entry *e) {
    entry **link = bucket_of(cache, e->serial, e->offset);
    while (*link != e) link = &(*link)->next;
    *link = e->next;
    unlink_age(cache, e);
    cache->entry_count--;
    entry_free(cache, e);
}

void si__symbol_cache_free(si__symbol_cache *cache) {
    if (!cache) return;
    while (cache->oldest) evict(cache, cache->oldest);
    free(cache);
}

const si__symbol *si__symbol_cache_get(si__symbol_cache *cache, uint64_t serial, uint64_t offset, size_t *count) {
    for (entry *e = *bucket_of(cache, serial, offset); e; e = e->next) {
        if (e->serial != serial || e->offset != offset) continue;
        unlink_age(cache, e);
        link_newest(cache, e);
        *count = e->count;
        return e->frames;
    }
    return NULL;
}

void si__symbol_cache_put(si__symbol_cache *cache, uint64_t serial, uint64_t offset, const si__symbol *frames,
                          size_t count) {
    size_t known;
    if (si__symbol_cache_get(cache, serial, offset, &known)) return;
    entry *e = calloc(1, sizeof *e + count * sizeof *e->frames);
    if (!e) return;
    e->serial = serial;
    e->offset = offset;
    e->count = count;
    cache->bytes += sizeof *e + count * sizeof *e->frames;
    for (size_t i = 0; i < count; i++) {
        e->frames[i] = (si__symbol){.line = frames[i].line, .inlined = frames[i].inlined};
        e->frames[i].function = text_hold(cache, frames[i].function);
        e->frames[i].system_name = text_hold(cache, frames[i].system_name);
        e->frames[i].file = text_hold(cache, frames[i].file);
        if (e->frames[i].function && e->frames[i].system_name && e->frames[i].file) continue;
        entry_free(cache, e);
        return;
    }
    entry **bucket = bucket_of(cache, serial, offset);
    e->next = *bucket;
    *bucket = e;
    link_newest(cache, e);
    cache->entry_count++;
    while (cache->bytes > cache->bytes_max && cache->oldest != e) evict(cache, cache->oldest);
}

size_t si__symbol_cache_entries(const si__symbol_cache *cache) {
    return cache->entry_count;
}
size_t si__symbol_cache_bytes(const si__symbol_cache *cache) {
    return cache->bytes;
}
