/*
 * A report's call trees as they come over the wire, for the dashboard, which numbers calls by its own tables anyway: no
 * index, no copy of a name per tree. Made by si__report_decode_wire, owned by the report. Immutable; any thread.
 */
#ifndef SI_REPORT_WIRE_TREE_H
#define SI_REPORT_WIRE_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "../profile/spread.h"

typedef struct si__wire_text { /* printable UTF-8 of at most 4,096 bytes; not NUL-terminated */
    const char *data;
    size_t length;
} si__wire_text;

typedef struct si__wire_frame { /* texts by index */
    uint32_t function, file, module, line;
} si__wire_frame;

typedef struct si__wire_names { /* of a whole report */
    si__wire_text *texts;
    si__wire_frame *frames;
    size_t text_count, frame_count;
    uint8_t *input; /* what texts point into */
    char **repaired;
    size_t repaired_count;
} si__wire_names;

typedef struct si__wire_value { /* of a call itself, without what it calls */
    uint32_t node;
    uint64_t count;
    int64_t value;
} si__wire_value;

typedef struct si__wire_tree {
    uint32_t *parents; /* callers come before what they call; node 0 is the root and its own parent */
    uint32_t *frames;  /* into the report's frames; of the root: 0, which means nothing */
    uint32_t node_count;
    si__wire_value *values; /* of the nodes that have any, in order */
    size_t value_count;
    const uint8_t *spreads; /* checked, to be read with si__spread_next: places are nodes. In the report's input */
    size_t spread_bytes;
    int64_t total_value;
    uint64_t total_count;
} si__wire_tree;

void si__wire_tree_free(si__wire_tree *tree);
void si__wire_names_free(si__wire_names *names);

#endif
