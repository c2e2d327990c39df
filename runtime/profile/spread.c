/* Durations by call path; see spread.h. The loop thread notes, the worker moves them on, the dashboard adds them up. */
#include "spread.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "varint.h"

static si__spread *find_or_make(si__spreads *spreads, uint32_t place) {
    if (place >= spreads->count) {
        size_t wanted = spreads->count + spreads->count / 2 + 8;
        if (wanted <= place) wanted = (size_t)place + 1;
        si__spread *grown = realloc(spreads->items, wanted * sizeof *grown);
        if (!grown) return NULL;
        memset(grown + spreads->count, 0, (wanted - spreads->count) * sizeof *grown);
        spreads->items = grown;
        spreads->count = wanted;
    }
    si__spread *spread = &spreads->items[place];
    if (!spread->sketch) spread->sketch = si__sketch_new();
    return spread->sketch ? spread : NULL;
}

int si__spreads_note(si__spreads *spreads, uint32_t place, uint64_t duration_ns, uint64_t calls) {
    si__spread *spread = find_or_make(spreads, place);
    if (!spread) return SI_ENOMEM;
    size_t before = si__sketch_buckets(spread->sketch);
    if (si__sketch_add(spread->sketch, duration_ns, calls)) return SI_ENOMEM;
    spread->samples++;
    return (int)(si__sketch_buckets(spread->sketch) - before);
}

int si__spreads_add(si__spreads *spreads, uint32_t place, const si__sketch *sketch, uint64_t samples) {
    si__spread *spread = find_or_make(spreads, place);
    if (!spread || si__sketch_merge(spread->sketch, sketch)) return SI_ENOMEM;
    spread->samples += samples; /* of a hostile report they may wrap around */
    return SI_OK;
}

int si__spreads_add_encoded(si__spreads *spreads, uint32_t place, const uint8_t *sketch, size_t bytes,
                            uint64_t samples) {
    si__spread *spread = find_or_make(spreads, place);
    int failed = spread ? si__sketch_merge_encoded(spread->sketch, sketch, bytes) : SI_ENOMEM;
    if (!failed) spread->samples += samples;
    return failed;
}

void si__spreads_drop(si__spreads *spreads, size_t place) {
    if (place >= spreads->count) return;
    si__sketch_free(spreads->items[place].sketch);
    spreads->items[place] = (si__spread){0};
}

const si__spread *si__spreads_at(const si__spreads *spreads, size_t place) {
    return place < spreads->count && spreads->items[place].samples ? &spreads->items[place] : NULL;
}

void si__spreads_clear(si__spreads *spreads) {
    for (size_t i = 0; i < spreads->count; i++) si__sketch_free(spreads->items[i].sketch);
    free(spreads->items);
    *spreads = (si__spreads){0};
}

/* ---- Written ---- */

/* Room for so many more bytes; NULL: out of memory. */
static uint8_t *room(si__spread_writer *writer, size_t bytes) {
    if (writer->failed) return NULL;
    if (writer->capacity - writer->length < bytes) {
        size_t wanted = writer->capacity * 2 + bytes + 256;
        uint8_t *grown = realloc(writer->data, wanted);
        if (!grown) {
            writer->failed = 1;
            return NULL;
        }
        writer->data = grown;
        writer->capacity = wanted;
    }
    return writer->data + writer->length;
}

static void put_head(si__spread_writer *writer, uint8_t *out, uint32_t place, uint64_t samples, size_t sketch_bytes) {
    size_t n = si__varint_put(out, place - writer->place);
    n += si__varint_put(out + n, samples);
    n += si__varint_put(out + n, sketch_bytes);
    writer->place = place;
    writer->length += n;
}

void si__spread_write_encoded(si__spread_writer *writer, uint32_t place, uint64_t samples, const uint8_t *sketch,
                              size_t sketch_bytes) {
    uint8_t *out = room(writer, 3 * SI__VARINT_MAX + sketch_bytes);
    if (!out) return;
    put_head(writer, out, place, samples, sketch_bytes);
    if (sketch_bytes) memcpy(writer->data + writer->length, sketch, sketch_bytes);
    writer->length += sketch_bytes;
}

void si__spread_write(si__spread_writer *writer, uint32_t place, const si__spread *spread) {
    size_t bytes = si__sketch_encode(spread->sketch, NULL, 0);
    uint8_t *out = room(writer, 3 * SI__VARINT_MAX + bytes);
    if (!out) return;
    put_head(writer, out, place, spread->samples, bytes);
    si__sketch_encode(spread->sketch, writer->data + writer->length, bytes);
    writer->length += bytes;
}

int si__spread_next(si__spread_reader *reader, si__spread_view *out) {
    uint64_t head[3]; /* gap, samples, bytes */
    if (reader->at == reader->end) return 0;
    for (int i = 0; i < 3; i++) {
        size_t n = si__varint_get(reader->at, (size_t)(reader->end - reader->at), &head[i]);
        if (!n) return SI_EFORMAT;
        reader->at += n;
    }
    if (head[0] > UINT32_MAX - reader->place || head[2] > (size_t)(reader->end - reader->at)) return SI_EFORMAT;
    reader->place += head[0];
    *out = (si__spread_view){(uint32_t)reader->place, head[1], reader->at, (size_t)head[2]};
    reader->at += head[2];
    return 1;
}
