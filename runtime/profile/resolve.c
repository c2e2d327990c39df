/* Symbolizing a raw profile, binary by binary. Called on the worker thread when a report or a file is made. */
#include "resolve.h"

#include <stdlib.h>

#include "si/si.h"

/* ---- Locations ---- */

/* A batch: the locations of one binary. */
typedef struct batch {
    void (*put)(void *arg, size_t location, const si__symbol *frames, size_t frame_count);
    void *arg;
    uint64_t *offsets;
    uint32_t *locations; /* number of the location at each offset */
} batch;

static void put_location(void *arg, size_t index, const si__symbol *frames, size_t frame_count) {
    batch *b = arg;
    b->put(b->arg, b->locations[index], frames, frame_count);
}

static void put_special(batch *b, const si__rawprofile *raw, size_t location, uint64_t special) {
    if (special >= SI__SPECIALS && special - SI__SPECIALS < raw->name_count) {
        const si__frame_name *n = raw->names[special - SI__SPECIALS];
        si__symbol named = {.function = n->function, .system_name = n->function, .file = n->file, .line = n->line};
        b->put(b->arg, location, &named, 1);
        return;
    }
    const char *name = si__special_name(special);
    si__symbol frame = {.function = name, .system_name = name, .file = ""};
    b->put(b->arg, location, &frame, 1);
}

int si__resolve_locations(const si__rawprofile *raw, si__symbolizer *symbolizer,
                          void (*put)(void *arg, size_t location, const si__symbol *frames, size_t frame_count),
                          void *arg) {
    batch b = {.put = put, .arg = arg};
    int result = SI_ENOMEM;
    size_t *starts = calloc(raw->binary_count + 1, sizeof *starts); /* where each binary's locations begin */
    b.offsets = calloc(raw->location_count + 1, sizeof *b.offsets);
    b.locations = calloc(raw->location_count + 1, sizeof *b.locations);
    if (!starts || !b.offsets || !b.locations) goto done;

    /* A counting sort by binary: each is opened once. */
    for (size_t i = 0; i < raw->location_count; i++) starts[raw->locations[i].binary + 1]++;
    for (size_t i = 0; i < raw->binary_count; i++) starts[i + 1] += starts[i];
    for (size_t i = 0; i < raw->location_count; i++) {
        const si__location *l = &raw->locations[i];
        size_t at = starts[l->binary]++;
        b.offsets[at] = l->offset - (l->binary && !(l->flags & SI__LOCATION_EXACT) ? 1 : 0);
        b.locations[at] = (uint32_t)i;
    }
    size_t at = 0; /* starts[i] is now where binary i's locations end */
    for (; at < starts[0]; at++) put_special(&b, raw, b.locations[at], b.offsets[at]);
    uint64_t *offsets = b.offsets;
    uint32_t *locations = b.locations;
    result = 0;
    for (size_t i = 1; result == 0 && i < raw->binary_count; i++) {
        b.offsets = offsets + at;
        b.locations = locations + at;
        result = si__symbolizer_resolve(symbolizer, raw->binaries[i], b.offsets, starts[i] - at, put_location, &b);
        at = starts[i];
    }
    b.offsets = offsets;
    b.locations = locations;
done:
    free(starts);
    free(b.offsets);
    free(b.locations);
    return result;
}

/* ---- The tree ---- */

typedef struct span {
    uint32_t start, count; /* in frames */
} span;

typedef struct builder {
    const si__rawprofile *raw;
    si__calltree *tree;
    span *spans;      /* of each location: frames innermost first */
    uint32_t *frames; /* numbers in tree */
    size_t frame_count, frame_capacity;
    int failed;
} builder;

static void put_frames(void *arg, size_t location, const si__symbol *symbols, size_t count) {
    builder *b = arg;
    uint32_t binary = b->raw->locations[location].binary;
    const char *module = binary ? b->raw->binaries[binary]->name : "";
    if (b->frame_count + count > b->frame_capacity) {
        size_t capacity = b->frame_capacity * 2 + count + 64;
        uint32_t *frames = realloc(b->frames, capacity * sizeof *frames);
        if (!frames) {
            b->failed = 1;
            return;
        }
        b->frames = frames;
        b->frame_capacity = capacity;
    }
    b->spans[location] = (span){(uint32_t)b->frame_count, (uint32_t)count};
    for (size_t i = 0; i < count; i++) {
        uint32_t frame = si__calltree_frame(b->tree, symbols[i].function, symbols[i].file, symbols[i].line, module);
        if (frame == UINT32_MAX) b->failed = 1;
        b->frames[b->frame_count++] = frame;
    }
}

/* The tree node of a raw node: its location's frames below the parent's node, outermost first. */
static uint32_t add_path(builder *b, uint32_t parent, uint32_t location) {
    const span *s = &b->spans[location];
    for (uint32_t i = s->count; i-- > 0;) {
        uint32_t child = si__calltree_child(b->tree, parent, b->frames[s->start + i]);
        if (child == UINT32_MAX) return parent; /* no room: the value stays with the caller, so that totals are true */
        parent = child;
    }
    return parent;
}

static int build(builder *b) {
    const si__rawprofile *raw = b->raw;
    uint32_t *nodes = calloc(raw->node_count, sizeof *nodes);
    if (!nodes) return SI_ENOMEM;
    for (size_t i = 0; i < raw->node_count; i++) {
        const si__raw_node *n = &raw->nodes[i];
        if (i > 0) nodes[i] = add_path(b, nodes[n->parent], n->location);
        if (n->self_value || n->self_count) si__calltree_add(b->tree, nodes[i], n->self_value, n->self_count);
        const si__spread *spread = si__spreads_at(&raw->spreads, i);
        if (spread) (void)si__calltree_spread_add(b->tree, nodes[i], spread->sketch, spread->samples);
    }
    free(nodes);
    return 0;
}

si__calltree *si__resolve(const si__rawprofile *raw, si__symbolizer *symbolizer) {
    builder b = {.raw = raw, .tree = si__calltree_new()};
    b.spans = calloc(raw->location_count + 1, sizeof *b.spans);
    int failed = !b.tree || !b.spans || si__resolve_locations(raw, symbolizer, put_frames, &b) || b.failed || build(&b);
    free(b.spans);
    free(b.frames);
    if (!failed) return b.tree;
    si__calltree_free(b.tree);
    return NULL;
}
