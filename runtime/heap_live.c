/* The live heap of one process: see heap_live.h. */
#include "heap_live.h"

#include <stdlib.h>
#include <string.h>

struct si__heap_live {
    si__region *region;
    uint64_t *serials; /* of the event that `nodes` is from; sparse, as the table is */
    uint32_t *nodes;
    uint32_t used; /* entries from here on were never noted */
};

si__heap_live *si__heap_live_new(si__region *region) {
    si__heap_live *live = calloc(1, sizeof *live);
    if (!live) return NULL;
    live->region = region;
    live->serials = calloc(SI__LIVE_COUNT, sizeof *live->serials); /* untouched pages cost nothing */
    live->nodes = calloc(SI__LIVE_COUNT, sizeof *live->nodes);
    if (live->serials && live->nodes) return live;
    si__heap_live_free(live);
    return NULL;
}

void si__heap_live_free(si__heap_live *live) {
    if (!live) return;
    free(live->serials);
    free(live->nodes);
    free(live);
}

void si__heap_live_note(si__heap_live *live, const si__drained_event *event, uint32_t node) {
    uint64_t serial;
    if (event->detail >= SI__LIVE_COUNT || event->text_bytes != sizeof serial) return;
    memcpy(&serial, event->text, sizeof serial);
    live->serials[event->detail] = serial;
    live->nodes[event->detail] = node;
    if (event->detail >= live->used) live->used = event->detail + 1;
}

/* A consistent copy of an entry; 0: it is free, or changing right now. */
static int read_entry(si__region *region, uint32_t index, uint64_t *serial, int64_t *bytes, uint64_t *objects_q16) {
    si__live *entry = si__region_live(region, index);
    uint64_t address = atomic_load_explicit(&entry->address, memory_order_acquire);
    if (address < 2) return 0;
    *serial = atomic_load_explicit(&entry->serial, memory_order_relaxed);
    *bytes = atomic_load_explicit(&entry->bytes, memory_order_relaxed);
    *objects_q16 = atomic_load_explicit(&entry->objects_q16, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&entry->address, memory_order_relaxed) == address &&
           atomic_load_explicit(&entry->serial, memory_order_relaxed) == *serial;
}

size_t si__heap_live_take(si__heap_live *live, si__profile *into) {
    size_t samples = 0;
    uint64_t rest_q16 = 0; /* fractions of objects are carried on, so that the total is right */
    for (uint32_t i = 0; i < SI__LIVE_COUNT; i++) {
        uint64_t serial, objects_q16;
        int64_t bytes;
        if (!read_entry(live->region, i, &serial, &bytes, &objects_q16)) continue;
        if (bytes < 0 || bytes > INT64_MAX / 2 || objects_q16 > UINT64_MAX / 2) continue; /* nonsense */
        rest_q16 += objects_q16;
        si__profile_add(into, live->serials[i] == serial ? live->nodes[i] : 0, bytes, rest_q16 >> 16);
        rest_q16 &= 0xffff;
        samples++;
    }
    return samples;
}

si__node_list si__heap_live_nodes(si__heap_live *live) {
    for (uint32_t i = 0; i < live->used; i++) {
        uint64_t serial, objects_q16;
        int64_t bytes;
        if (live->nodes[i] &&
            (!read_entry(live->region, i, &serial, &bytes, &objects_q16) || serial != live->serials[i]))
            live->nodes[i] = 0;
    }
    return (si__node_list){live->nodes, live->used};
}
