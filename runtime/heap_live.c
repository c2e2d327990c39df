/* The live heap of one process: see heap_live.h. */
#include "heap_live.h"

#include <stdlib.h>
#include <string.h>

#include "../collectors/native/live.h"

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

typedef struct taking {
    const si__heap_live *live;
    si__profile *into;
    uint64_t rest_q16; /* fractions of objects are carried on, so that the total is right */
    size_t samples;
} taking;

static void take_entry(void *arg, const si__live_entry *entry) {
    taking *t = arg;
    uint32_t i = entry->index;
    if (entry->bytes < 0 || entry->bytes > INT64_MAX / 2 || entry->objects_q16 > UINT64_MAX / 2) return; /* nonsense */
    t->rest_q16 += entry->objects_q16;
    uint32_t node = t->live->serials[i] == entry->serial ? t->live->nodes[i] : 0;
    si__profile_add(t->into, node, entry->bytes, t->rest_q16 >> 16);
    t->rest_q16 &= 0xffff;
    t->samples++;
}

size_t si__heap_live_take(si__heap_live *live, si__profile *into) {
    taking t = {.live = live, .into = into};
    si__live_each(live->region, take_entry, &t);
    return t.samples;
}

si__node_list si__heap_live_nodes(si__heap_live *live) {
    for (uint32_t i = 0; i < live->used; i++) {
        si__live_entry entry;
        if (live->nodes[i] && !si__live_at(live->region, i, live->serials[i], &entry)) live->nodes[i] = 0;
    }
    return (si__node_list){live->nodes, live->used};
}
