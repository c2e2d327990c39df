/* The last minutes of background samples. Filled at every drain and asked when a rule fires, on the loop thread. */
#include "profile_ring.h"

#include <stdlib.h>

typedef struct slice {
    uint64_t number; /* time / slice_ns, plus 1; 0: never used */
    si__profile *profile;
} slice;

struct si__profile_ring {
    uint64_t slice_ns;
    uint64_t newest;   /* highest slice number seen */
    uint64_t first_ns; /* time of the first sample; 0: none yet */
    uint64_t last_ns;
    size_t count;
    slice slices[];
};

si__profile_ring *si__profile_ring_new(uint64_t slice_ns, size_t slices) {
    if (slice_ns == 0 || slices == 0 || slices > 4096) return NULL;
    si__profile_ring *ring = calloc(1, sizeof *ring + slices * sizeof(slice));
    if (!ring) return NULL;
    ring->slice_ns = slice_ns;
    ring->count = slices;
    return ring;
}

void si__profile_ring_free(si__profile_ring *ring) {
    if (!ring) return;
    for (size_t i = 0; i < ring->count; i++) si__profile_free(ring->slices[i].profile);
    free(ring);
}

void si__profile_ring_add(si__profile_ring *ring, uint64_t time_ns, uint32_t node, int64_t value, uint64_t count) {
    uint64_t number = time_ns / ring->slice_ns + 1;
    if (number > ring->newest) ring->newest = number;
    if (number + ring->count <= ring->newest) return; /* threads drain late, but not that late */
    slice *s = &ring->slices[number % ring->count];
    if (s->number != number) {
        if (s->profile) si__profile_clear(s->profile);
        s->number = number;
    }
    if (!s->profile) s->profile = si__profile_new();
    if (!s->profile) return;
    if (ring->first_ns == 0 || time_ns < ring->first_ns) ring->first_ns = time_ns;
    if (time_ns > ring->last_ns) ring->last_ns = time_ns;
    si__profile_add(s->profile, node, value, count);
}

uint64_t si__profile_ring_take(const si__profile_ring *ring, uint64_t from_ns, uint64_t to_ns, si__profile *into) {
    if (ring->newest == 0 || to_ns <= from_ns) return 0;
    uint64_t lo = from_ns / ring->slice_ns, hi = (to_ns - 1) / ring->slice_ns; /* slices lo..hi, without the plus 1 */
    if (ring->newest > ring->count && lo < ring->newest - ring->count) lo = ring->newest - ring->count;
    for (size_t i = 0; i < ring->count; i++) {
        const slice *s = &ring->slices[i];
        if (s->number > lo && s->number <= hi + 1 && s->profile) si__profile_merge(into, s->profile);
    }
    uint64_t start = lo * ring->slice_ns, end = (hi + 1) * ring->slice_ns;
    if (start < ring->first_ns) start = ring->first_ns;
    uint64_t now = to_ns > ring->last_ns ? to_ns : ring->last_ns;
    if (end > now) end = now;
    return end > start ? end - start : 0;
}

void si__profile_ring_clear(si__profile_ring *ring) {
    for (size_t i = 0; i < ring->count; i++) {
        si__profile_free(ring->slices[i].profile);
        ring->slices[i] = (slice){0};
    }
    ring->first_ns = ring->last_ns = ring->newest = 0;
}

size_t si__profile_ring_profiles(si__profile_ring *ring, si__profile **out, size_t cap) {
    size_t found = 0;
    for (size_t i = 0; i < ring->count; i++) {
        if (!ring->slices[i].profile) continue;
        if (found < cap) out[found] = ring->slices[i].profile;
        found++;
    }
    return found;
}
