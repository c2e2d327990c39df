/* Profiles being taken. Called by the runtime on the loop thread for every sample drained. */
#include "profile.h"

#include <stdlib.h>

#include "index.h"
#include "si/si.h"

enum { KEPT_CAPACITY = 4096 };

struct si__profile {
    si__profile_entry *entries;
    size_t count, capacity;
    si__index index;
    si__spreads spreads;    /* by entry */
    si__profile_entry lost; /* added when memory was out: belongs to the root */
    int64_t total_value;
    uint64_t total_count;
};

static uint32_t entry_hash(const void *owner, uint32_t item) {
    const si__profile *profile = owner;
    return si__hash64(profile->entries[item].node);
}

si__profile *si__profile_new(void) {
    return calloc(1, sizeof(si__profile));
}

static void release(si__profile *profile) {
    free(profile->entries);
    profile->entries = NULL;
    profile->capacity = 0;
    si__index_free(&profile->index);
    si__spreads_clear(&profile->spreads);
}

void si__profile_free(si__profile *profile) {
    if (!profile) return;
    release(profile);
    free(profile);
}

static int64_t add_value(int64_t a, int64_t b) {
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return b < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

static si__profile_entry *find_or_make(si__profile *profile, uint32_t node) {
    uint32_t hash = si__hash64(node), position = hash, item;
    while ((item = si__index_next(&profile->index, &position)) != SI__INDEX_NONE)
        if (profile->entries[item].node == node) return &profile->entries[item];

    if (profile->count == profile->capacity) {
        size_t capacity = profile->capacity ? profile->capacity + profile->capacity / 2 : 16;
        if (capacity >= UINT32_MAX) return NULL;
        si__profile_entry *entries = realloc(profile->entries, capacity * sizeof *entries);
        if (!entries) return NULL;
        profile->entries = entries;
        profile->capacity = capacity;
    }
    if (si__index_reserve(&profile->index, entry_hash, profile)) return NULL;
    profile->entries[profile->count] = (si__profile_entry){.node = node};
    si__index_put(&profile->index, hash, (uint32_t)profile->count);
    return &profile->entries[profile->count++];
}

void si__profile_add(si__profile *profile, uint32_t node, int64_t value, uint64_t count) {
    si__profile_entry *entry = find_or_make(profile, node);
    if (!entry) entry = &profile->lost;
    entry->value = add_value(entry->value, value);
    entry->count += count;
    profile->total_value = add_value(profile->total_value, value);
    profile->total_count += count;
}

int si__profile_spread(si__profile *profile, uint32_t node, uint64_t duration_ns, uint64_t calls) {
    si__profile_entry *entry = find_or_make(profile, node);
    if (!entry) return SI_ENOMEM;
    return si__spreads_note(&profile->spreads, (uint32_t)(entry - profile->entries), duration_ns, calls);
}

const si__spread *si__profile_spread_at(const si__profile *profile, size_t index) {
    return si__spreads_at(&profile->spreads, index);
}

void si__profile_merge(si__profile *into, const si__profile *from) {
    for (size_t i = 0; i < from->count; i++) {
        const si__profile_entry *e = &from->entries[i];
        si__profile_add(into, e->node, e->value, e->count);
    }
    if (from->lost.count || from->lost.value) si__profile_add(into, 0, from->lost.value, from->lost.count);
}

void si__profile_clear(si__profile *profile) {
    if (profile->capacity > KEPT_CAPACITY) release(profile);
    si__spreads_clear(&profile->spreads);
    for (uint32_t i = 0; profile->index.slots && i <= profile->index.mask; i++) profile->index.slots[i] = 0;
    profile->index.used = 0;
    profile->count = 0;
    profile->lost = (si__profile_entry){0};
    profile->total_value = 0;
    profile->total_count = 0;
}

size_t si__profile_count(const si__profile *profile) {
    return profile->count + (profile->lost.count || profile->lost.value);
}

const si__profile_entry *si__profile_at(const si__profile *profile, size_t index) {
    if (index < profile->count) return &profile->entries[index];
    return index < si__profile_count(profile) ? &profile->lost : NULL;
}

int64_t si__profile_total_value(const si__profile *profile) {
    return profile->total_value;
}
uint64_t si__profile_total_count(const si__profile *profile) {
    return profile->total_count;
}

size_t si__profile_bytes(const si__profile *profile) {
    size_t slots = profile->index.slots ? (size_t)profile->index.mask + 1 : 0;
    return sizeof *profile + profile->capacity * sizeof *profile->entries + slots * sizeof *profile->index.slots;
}

void si__profile_renumber(si__profile *profile, const uint32_t *map, size_t count) {
    for (uint32_t i = 0; profile->index.slots && i <= profile->index.mask; i++) profile->index.slots[i] = 0;
    profile->index.used = 0;
    for (size_t i = 0; i < profile->count; i++) {
        uint32_t node = profile->entries[i].node;
        profile->entries[i].node = node < count ? map[node] : 0;
        si__index_put(&profile->index, si__hash64(profile->entries[i].node), (uint32_t)i);
    }
}
