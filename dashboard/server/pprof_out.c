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

#include "../../runtime/profile/protobuf.h"

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

/* Strings are numbered as they come: frame i has the three from STRING_FRAMES + 3 i. */
enum { STRING_NONE, STRING_TYPE, STRING_UNIT, STRING_SAMPLES, STRING_COUNT, STRING_FRAMES };

static void put_text(si__protobuf *out, const char *text) {
    si__protobuf_bytes(out, STRING_TABLE, text, strlen(text));
}

static void put_strings(si__protobuf *out, const si__calltree *tree, const si__pprof_about *about) {
    put_text(out, "");
    put_text(out, about->type);
    put_text(out, !strcmp(about->unit, "ns") ? "nanoseconds" : about->unit);
    put_text(out, "samples");
    put_text(out, "count");
    for (size_t i = 0; i < si__calltree_frame_count(tree); i++) {
        const si__frame *frame = si__calltree_frame_at(tree, i);
        put_text(out, frame->function);
        put_text(out, frame->file);
        put_text(out, frame->module);
    }
}

static void put_frames(si__protobuf *out, const si__calltree *tree) {
    si__protobuf part = {0}, line = {0};
    for (size_t i = 0; i < si__calltree_frame_count(tree); i++) {
        uint64_t text = STRING_FRAMES + 3 * i;
        si__protobuf_number(&part, 1, i + 1); /* id */
        si__protobuf_number(&part, 2, text);  /* name */
        si__protobuf_number(&part, 3, text);  /* system name */
        si__protobuf_number(&part, 4, text + 1);
        si__protobuf_message(out, FUNCTION, &part);
        si__protobuf_number(&line, 1, i + 1);
        si__protobuf_number(&line, 2, si__calltree_frame_at(tree, i)->line);
        si__protobuf_number(&part, 1, i + 1); /* id */
        si__protobuf_number(&part, 2, i + 1); /* mapping */
        si__protobuf_message(&part, 4, &line);
        si__protobuf_message(out, LOCATION, &part);
        si__protobuf_number(&part, 1, i + 1);
        si__protobuf_number(&part, 5, text + 2);
        si__protobuf_message(out, MAPPING, &part);
    }
    out->failed |= part.failed | line.failed;
    si__protobuf_free(&part);
    si__protobuf_free(&line);
}

static int put_samples(si__protobuf *out, const si__calltree *tree) {
    size_t nodes = si__calltree_node_count(tree);
    si__protobuf part = {0};
    uint64_t *stack = malloc((nodes + 1) * sizeof *stack); /* a node's callers are other nodes */
    for (size_t i = 1; stack && i < nodes; i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        size_t depth = 0;
        if (!node->self_value && !node->self_count) continue;
        for (size_t at = i; at; at = si__calltree_node_at(tree, at)->parent)
            stack[depth++] = si__calltree_node_at(tree, at)->frame + 1; /* leaf first */
        uint64_t values[] = {node->self_count, (uint64_t)node->self_value};
        si__protobuf_packed(&part, 1, stack, depth);
        si__protobuf_packed(&part, 2, values, 2);
        si__protobuf_message(out, SAMPLE, &part);
    }
    int failed = !stack || part.failed;
    si__protobuf_free(&part);
    free(stack);
    return failed;
}

static void put_type(si__protobuf *out, uint64_t type, uint64_t unit) {
    si__protobuf part = {0};
    si__protobuf_number(&part, 1, type);
    si__protobuf_number(&part, 2, unit);
    si__protobuf_message(out, SAMPLE_TYPE, &part);
    si__protobuf_free(&part);
}

static int compress_message(const si__protobuf *whole, char **out, size_t *length) {
    z_stream stream = {0};
    if (deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return SI_ENOMEM;
    size_t bound = deflateBound(&stream, whole->length) + 64;
    *out = malloc(bound);
    stream.next_in = whole->bytes;
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
    si__protobuf whole = {0};
    put_type(&whole, STRING_SAMPLES, STRING_COUNT);
    put_type(&whole, STRING_TYPE, STRING_UNIT);
    int failed = put_samples(&whole, tree) ? SI_ENOMEM : SI_OK;
    put_frames(&whole, tree);
    put_strings(&whole, tree, about);
    si__protobuf_number(&whole, TIME_NANOS, (uint64_t)about->start_ms * 1000000);
    si__protobuf_number(&whole, DURATION_NANOS, about->duration_ns);
    if (!failed) failed = whole.failed ? SI_ENOMEM : compress_message(&whole, out, length);
    si__protobuf_free(&whole);
    return failed;
}
