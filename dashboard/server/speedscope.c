/* Writes a call tree as a file of speedscope.app; see speedscope.h. */
#include "speedscope.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *unit_of(const char *unit) {
    return !strcmp(unit, "ns") ? "nanoseconds" : !strcmp(unit, "bytes") ? "bytes" : "none";
}

static void put_frames(si__json_writer *json, const si__calltree *tree) {
    si__json_array_begin(json, "frames");
    for (size_t i = 0; i < si__calltree_frame_count(tree); i++) {
        const si__frame *frame = si__calltree_frame_at(tree, i);
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "name", frame->function);
        if (*frame->file) si__json_put_string(json, "file", frame->file);
        if (frame->line) si__json_put_uint(json, "line", frame->line);
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

/* The stack of a node, the outermost call first. */
static void put_stack(si__json_writer *json, const si__calltree *tree, size_t node, uint32_t *scratch) {
    size_t depth = 0;
    for (size_t at = node; at; at = si__calltree_node_at(tree, at)->parent)
        scratch[depth++] = si__calltree_node_at(tree, at)->frame;
    si__json_array_begin(json, NULL);
    while (depth) si__json_put_uint(json, NULL, scratch[--depth]);
    si__json_array_end(json);
}

int si__speedscope_write(si__json_writer *json, const si__calltree *tree, const char *app, const char *type,
                         const char *unit) {
    size_t nodes = si__calltree_node_count(tree);
    uint32_t *scratch = malloc((nodes + 1) * sizeof *scratch);
    char name[300];
    int64_t total = 0;
    if (!scratch) return SI_ENOMEM;
    snprintf(name, sizeof name, "%.150s %.100s", app, type);
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "$schema", "https://www.speedscope.app/file-format-schema.json");
    si__json_put_string(json, "exporter", "si " SI_VERSION);
    si__json_put_string(json, "name", name);
    si__json_object_begin(json, "shared");
    put_frames(json, tree);
    si__json_object_end(json);
    si__json_array_begin(json, "profiles");
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "type", "sampled");
    si__json_put_string(json, "name", type);
    si__json_put_string(json, "unit", unit_of(unit));
    si__json_array_begin(json, "samples");
    for (size_t i = 1; i < nodes; i++)
        if (si__calltree_node_at(tree, i)->self_value > 0) put_stack(json, tree, i, scratch);
    si__json_array_end(json);
    si__json_array_begin(json, "weights");
    for (size_t i = 1; i < nodes; i++) {
        int64_t value = si__calltree_node_at(tree, i)->self_value;
        if (value <= 0) continue;
        si__json_put_int(json, NULL, value);
        total = value > INT64_MAX - total ? INT64_MAX : total + value;
    }
    si__json_array_end(json);
    si__json_put_int(json, "startValue", 0);
    si__json_put_int(json, "endValue", total);
    si__json_object_end(json);
    si__json_array_end(json);
    si__json_object_end(json);
    free(scratch);
    return json->failed ? SI_ENOMEM : SI_OK;
}
