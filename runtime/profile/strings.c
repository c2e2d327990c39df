/* Interned strings in an arena of chunks, and the cleaning of hostile names. Called by the owner's thread only. */
#include "strings.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"

enum { CHUNK_BYTES = 16 * 1024 };

typedef struct chunk {
    struct chunk *next;
    size_t used, size;
    char text[];
} chunk;

struct si__strings {
    const char **items;
    size_t count, capacity;
    si__index index;
    chunk *chunks; /* the first has room */
    size_t bytes;
};

static uint32_t text_hash(const char *text) {
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) hash = (hash ^ *p) * 0x100000001b3ull;
    return si__hash64(hash);
}

static uint32_t item_hash(const void *owner, uint32_t item) {
    const si__strings *strings = owner;
    return text_hash(strings->items[item]);
}

si__strings *si__strings_new(void) {
    si__strings *strings = calloc(1, sizeof *strings);
    if (strings) strings->bytes = sizeof *strings;
    return strings;
}

void si__strings_free(si__strings *strings) {
    if (!strings) return;
    for (chunk *c = strings->chunks; c;) {
        chunk *next = c->next;
        free(c);
        c = next;
    }
    si__index_free(&strings->index);
    free(strings->items);
    free(strings);
}

/* The first chunk is small, so that a small tree stays small. */
static char *arena_take(si__strings *strings, size_t bytes) {
    chunk *c = strings->chunks;
    if (!c || c->size - c->used < bytes) {
        size_t size = c ? (size_t)CHUNK_BYTES : 1024;
        if (size < bytes) size = bytes;
        c = malloc(sizeof *c + size);
        if (!c) return NULL;
        *c = (chunk){.next = strings->chunks, .size = size};
        strings->chunks = c;
        strings->bytes += sizeof *c + size;
    }
    char *text = c->text + c->used;
    c->used += bytes;
    return text;
}

const char *si__strings_intern(si__strings *strings, const char *text) {
    char clean[SI__STRING_MAX + 1];
    size_t length = si__text_clean(clean, sizeof clean, text);
    uint32_t hash = text_hash(clean), position = hash, item;
    while ((item = si__index_next(&strings->index, &position)) != SI__INDEX_NONE)
        if (strcmp(strings->items[item], clean) == 0) return strings->items[item];

    if (si__index_reserve(&strings->index, item_hash, strings)) return NULL;
    if (strings->count == strings->capacity) {
        size_t capacity = strings->capacity ? strings->capacity * 2 : 16;
        const char **items = realloc(strings->items, capacity * sizeof *items);
        if (!items) return NULL;
        strings->items = items;
        strings->capacity = capacity;
    }
    char *copy = arena_take(strings, length + 1);
    if (!copy) return NULL;
    memcpy(copy, clean, length + 1);
    strings->items[strings->count] = copy;
    si__index_put(&strings->index, hash, (uint32_t)strings->count++);
    return copy;
}

size_t si__strings_bytes(const si__strings *strings) {
    size_t slots = strings->index.slots ? (size_t)strings->index.mask + 1 : 0;
    return strings->bytes + strings->capacity * sizeof *strings->items + slots * sizeof *strings->index.slots;
}

/* Length of the printable UTF-8 sequence at p, or 0. Stops before the terminating NUL by construction: a NUL is no
   continuation byte. */
static size_t sequence(const unsigned char *p) {
    if (p[0] < 0x80) return p[0] >= 0x20 && p[0] != 0x7f;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    uint32_t code = p[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    if (length == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) return 0;
    if (length == 4 && (code < 0x10000 || code > 0x10ffff)) return 0;
    return code < 0xa0 ? 0 : length; /* C1 control codes */
}

size_t si__text_clean(char *out, size_t out_bytes, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0;
    while (*p && at + 1 < out_bytes) {
        size_t length = sequence(p);
        if (at + length >= out_bytes) break;
        if (length) {
            memcpy(out + at, p, length);
        } else {
            out[at] = '?';
            length = 1;
        }
        at += length;
        p += length;
    }
    out[at] = 0;
    return at;
}
