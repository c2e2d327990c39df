/*
 * Writes a call tree as pprof; see pprof_out.h. Field numbers are those of pprof's profile.proto.
 *
 * A location is a frame of ours (function, file and line), a sample is a node with something of its own.
 */
#include "pprof_out.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct message { /* grows; a failure is kept */
    uint8_t *data;
    size_t length, capacity;
    int failed;
} message;

enum { /* of Profile */
       SAMPLE_TYPE = 1,
       SAMPLE = 2,
       MAPPING = 3,
       LOCATION = 4,
       FUNCTION = 5,
       STRING_TABLE = 6,
       TIME_NANOS = 9,
       DURATION_NANOS = 10
};

static void put_bytes(message *out, const void *data, size_t length) {
    if (out->failed || !length) return;
    if (out->length + length > out->capacity) {
        size_t capacity = out->capacity ? out->capacity * 2 : 1024;
        while (capacity < out->length + length) capacity *= 2;
        uint8_t *more = realloc(out->data, capacity);
        if (!more) {
            out->failed = 1;
            return;
        }
        out->data = more;
        out->capacity = capacity;
    }
    memcpy(out->data + out->length, data, length);
    out->length += length;
}

static void put_varint(message *out, uint64_t value) {
    uint8_t bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    put_bytes(out, bytes, n);
}

static void put_number(message *out, unsigned field, uint64_t value) {
    if (!value) return;
    put_varint(out, field << 3);
    put_varint(out, value);
}

static void put_delimited(message *out, unsigned field, const void *data, size_t length) {
    put_varint(out, field << 3 | 2);
    put_varint(out, length);
    put_bytes(out, data, length);
}

/* Puts `part` into out as a field and empties it for the next one. */
static void put_message(message *out, unsigned field, message *part) {
    out->failed |= part->failed;
    put_delimited(out, field, part->data, part->length);
    part->length = 0;
}

/* Strings are written as they come: frame i has the three numbers 5 + 3 i, 6 + 3 i, 7 + 3 i. */
enum { STRING_NONE, STRING_TYPE, STRING_UNIT, STRING_SAMPLES, STRING_COUNT, STRING_FRAMES };

static void put_strings(message *out, const si__calltree *tree, const si__pprof_about *about) {
    const char *unit = !strcmp(about->unit, "ns") ? "nanoseconds" : about->unit;
    const char *first[] = {"", about->type, unit, "samples", "count"};
    for (size_t i = 0; i < STRING_FRAMES; i++) put_delimited(out, STRING_TABLE, first[i], strlen(first[i]));
    for (size_t i = 0; i < si__calltree_frame_count(tree); i++) {
        const si__frame *frame = si__calltree_frame_at(tree, i);
        put_delimited(out, STRING_TABLE, frame->function, strlen(frame->function));
        put_delimited(out, STRING_TABLE, frame->file, strlen(frame->file));
        put_delimited(out, STRING_TABLE, frame->module, strlen(frame->module));
    }
}

static void put_frames(message *out, const si__calltree *tree) {
    message part = {0}, line = {0};
    for (size_t i = 0; i < si__calltree_frame_count(tree); i++) {
        uint64_t text = STRING_FRAMES + 3 * i;
        put_number(&part, 1, i + 1); /* id */
        put_number(&part, 2, text);  /* name */
        put_number(&part, 3, text);  /* system name */
        put_number(&part, 4, text + 1);
        put_message(out, FUNCTION, &part);
        put_number(&line, 1, i + 1);
        put_number(&line, 2, si__calltree_frame_at(tree, i)->line);
        put_number(&part, 1, i + 1); /* id */
        put_number(&part, 2, i + 1); /* mapping */
        put_message(&part, 4, &line);
        put_message(out, LOCATION, &part);
        put_number(&part, 1, i + 1);
        put_number(&part, 5, text + 2);
        put_message(out, MAPPING, &part);
    }
    out->failed |= part.failed | line.failed;
    free(part.data);
    free(line.data);
}

static void put_samples(message *out, const si__calltree *tree) {
    message part = {0}, list = {0};
    for (size_t i = 1; i < si__calltree_node_count(tree); i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        if (!node->self_value && !node->self_count) continue;
        for (size_t at = i; at; at = si__calltree_node_at(tree, at)->parent)
            put_varint(&list, si__calltree_node_at(tree, at)->frame + 1); /* leaf first */
        put_message(&part, 1, &list);
        put_varint(&list, node->self_count);
        put_varint(&list, (uint64_t)node->self_value);
        put_message(&part, 2, &list);
        put_message(out, SAMPLE, &part);
    }
    out->failed |= part.failed | list.failed;
    free(part.data);
    free(list.data);
}

static int compress_message(const message *whole, char **out, size_t *length) {
    z_stream stream = {0};
    if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return SI_ENOMEM;
    size_t bound = deflateBound(&stream, whole->length) + 64;
    *out = malloc(bound);
    stream.next_in = whole->data;
    stream.avail_in = (unsigned)whole->length;
    stream.next_out = (unsigned char *)*out;
    stream.avail_out = (unsigned)bound;
    int done = *out && deflate(&stream, Z_FINISH) == Z_STREAM_END;
    *length = stream.total_out;
    deflateEnd(&stream);
    if (done) return SI_OK;
    free(*out);
    *out = NULL;
    return SI_ENOMEM;
}

int si__pprof_out(const si__calltree *tree, const si__pprof_about *about, char **out, size_t *length) {
    message whole = {0}, part = {0};
    put_number(&part, 1, STRING_SAMPLES);
    put_number(&part, 2, STRING_COUNT);
    put_message(&whole, SAMPLE_TYPE, &part);
    put_number(&part, 1, STRING_TYPE);
    put_number(&part, 2, STRING_UNIT);
    put_message(&whole, SAMPLE_TYPE, &part);
    put_samples(&whole, tree);
    put_frames(&whole, tree);
    put_strings(&whole, tree, about);
    put_number(&whole, TIME_NANOS, (uint64_t)about->start_ms * 1000000);
    put_number(&whole, DURATION_NANOS, about->duration_ns);
    int failed = whole.failed || part.failed ? SI_ENOMEM : compress_message(&whole, out, length);
    free(whole.data);
    free(part.data);
    return failed;
}
