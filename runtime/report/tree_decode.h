/*
 * The tables that a report's parts refer to while it is decoded (strings, frames), and call trees out of their columns.
 * Used by decode.c alone. One owner; any thread.
 */
#ifndef SI_REPORT_TREE_DECODE_H
#define SI_REPORT_TREE_DECODE_H

#include <stddef.h>
#include <stdint.h>

#include "../profile/calltree.h"
#include "msgpack_reader.h"
#include "wire_tree.h"

typedef struct si__decode_frame {
    uint32_t function, file, module, line; /* strings by index, checked */
    uint32_t tree;                         /* the tree for which `id` holds; 0: none yet */
    uint32_t id;                           /* the frame's index in that tree */
} si__decode_frame;

typedef struct si__decode_tables { /* zero-initialise, then set budget_bytes */
    si__msgpack_view *strings;     /* into the input */
    uint32_t string_count;
    si__decode_frame *frames;
    uint32_t frame_count;
    uint32_t trees;      /* decoded so far */
    size_t budget_bytes; /* what may still be allocated */
} si__decode_tables;

void si__decode_strings(si__msgpack_reader *reader, si__decode_tables *tables);
void si__decode_frames(si__msgpack_reader *reader, si__decode_tables *tables);
void si__decode_tables_free(si__decode_tables *tables);

/* Takes count * each bytes from the budget; 0 and a failed reader (SI_ELIMIT) when that is too much. */
int si__decode_spend(si__msgpack_reader *reader, si__decode_tables *tables, size_t count, size_t each);

/* Reads a string index; a malloc'ed repaired copy, or NULL and a failed reader. */
char *si__decode_text(si__msgpack_reader *reader, si__decode_tables *tables);

/* Reads n columns (arrays of equal length) into readers of their own, and steps over them. Returns their length. */
uint32_t si__decode_columns(si__msgpack_reader *reader, si__msgpack_reader *columns, size_t n);

/* A tree, or NULL: nil was written, or the reader has failed. */
si__calltree *si__decode_tree(si__msgpack_reader *reader, si__decode_tables *tables);

/* The same without making more of it than is written. */
si__wire_tree *si__decode_wire_tree(si__msgpack_reader *reader, si__decode_tables *tables);
si__wire_tree *si__decode_wire_empty(void); /* NULL: out of memory */

/* The tables as what wire trees refer to, each text made printable once. NULL and a failed reader when out of memory.
 */
si__wire_names *si__decode_wire_names(si__msgpack_reader *reader, si__decode_tables *tables);

#endif
