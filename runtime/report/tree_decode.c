/*
 * Decoding of what reports have in columns: string and frame tables, call trees.
 *
 * Called by decode.c. Indexes are checked when they are read; a tree's parents come from climbing, so that a parent is
 * always a node that was there before.
 */
#include "tree_decode.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "utf8.h"

#define NODE_BYTES 96   /* a node with its place in the tree's index, while growing */
#define FRAME_BYTES 160 /* a frame likewise */
#define TEXT_BYTES 32   /* malloc's own part of a small string */

int si__decode_spend(si__msgpack_reader *r, si__decode_tables *t, size_t count, size_t each) {
    if (r->status) return 0;
    if (count > t->budget_bytes / each) {
        si__msgpack_fail(r, SI_ELIMIT, "would take more than 128 MiB");
        return 0;
    }
    t->budget_bytes -= count * each;
    return 1;
}

void si__decode_tables_free(si__decode_tables *t) {
    free(t->strings);
    free(t->frames);
}

void si__decode_strings(si__msgpack_reader *r, si__decode_tables *t) {
    uint32_t count = si__msgpack_read_array(r);
    if (!si__decode_spend(r, t, count, sizeof *t->strings)) return;
    if (!(t->strings = malloc((count + (size_t)1) * sizeof *t->strings))) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < count && !r->status; i++) {
        t->strings[i] = si__msgpack_read_str(r);
        if (t->strings[i].length > SI__REPORT_MAX_STRING) si__msgpack_fail(r, SI_ELIMIT, "string longer than 16 KiB");
    }
    t->string_count = count;
}

char *si__decode_text(si__msgpack_reader *r, si__decode_tables *t) {
    uint64_t index = si__msgpack_read_uint(r);
    if (!r->status && index >= t->string_count) si__msgpack_fail(r, SI_EFORMAT, "refers to no string");
    if (r->status) return NULL;
    const si__msgpack_view *view = &t->strings[index];
    if (!si__decode_spend(r, t, view->length + TEXT_BYTES, 1)) return NULL;
    char *copy = si__utf8_repaired(view->data, view->length);
    if (!copy) si__msgpack_fail(r, SI_ENOMEM, "out of memory");
    return copy;
}

uint32_t si__decode_columns(si__msgpack_reader *r, si__msgpack_reader *columns, size_t n) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t length = si__msgpack_read_array(r);
        if (i == 0) count = length;
        if (!r->status && length != count) si__msgpack_fail(r, SI_EFORMAT, "columns of unequal length");
        columns[i] = *r;
        si__msgpack_skip(r, count);
    }
    return r->status ? 0 : count;
}

/* The next value of a delta-coded column, kept within 32 bits. */
static uint32_t step(si__msgpack_reader *r, uint32_t before, uint64_t limit) {
    int64_t delta = si__msgpack_read_int(r);
    if (r->status) return 0;
    if (delta > (int64_t)UINT32_MAX || delta < -(int64_t)UINT32_MAX || (int64_t)before + delta < 0 ||
        (uint64_t)((int64_t)before + delta) >= limit) {
        si__msgpack_fail(r, SI_EFORMAT, "out of range");
        return 0;
    }
    return (uint32_t)((int64_t)before + delta);
}

void si__decode_frames(si__msgpack_reader *r, si__decode_tables *t) {
    enum { FUNCTION, FILE_NAME, LINE, MODULE, COLUMNS };
    si__msgpack_reader columns[COLUMNS];
    uint32_t fields = si__msgpack_read_array(r);
    if (!r->status && fields < COLUMNS) si__msgpack_fail(r, SI_EFORMAT, "too few columns");
    uint32_t count = si__decode_columns(r, columns, COLUMNS);
    if (!si__decode_spend(r, t, count, sizeof *t->frames)) return;
    if (!(t->frames = calloc(count + (size_t)1, sizeof *t->frames))) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return;
    }
    si__decode_frame now = {0};
    for (uint32_t i = 0; i < count && !r->status; i++) {
        now.function = step(&columns[FUNCTION], now.function, t->string_count);
        now.file = step(&columns[FILE_NAME], now.file, t->string_count);
        now.line = step(&columns[LINE], now.line, (uint64_t)UINT32_MAX + 1);
        now.module = step(&columns[MODULE], now.module, t->string_count);
        t->frames[i] = now;
        for (int c = 0; c < COLUMNS; c++)
            if (columns[c].status) r->status = columns[c].status;
    }
    t->frame_count = count;
}

/* The tree's own index of a frame of the report; interned at most once per tree. */
static uint32_t tree_frame(si__msgpack_reader *r, si__decode_tables *t, si__calltree *tree, si__decode_frame *frame) {
    if (frame->tree == t->trees) return frame->id;
    const si__msgpack_view *views[] = {&t->strings[frame->function], &t->strings[frame->file],
                                       &t->strings[frame->module]};
    char *texts[3] = {NULL, NULL, NULL};
    size_t bytes = FRAME_BYTES;
    for (int i = 0; i < 3; i++) bytes += views[i]->length;
    if (!si__decode_spend(r, t, bytes, 1)) return UINT32_MAX;
    uint32_t id = UINT32_MAX;
    for (int i = 0; i < 3; i++) texts[i] = si__utf8_repaired(views[i]->data, views[i]->length);
    if (texts[0] && texts[1] && texts[2]) id = si__calltree_frame(tree, texts[0], texts[1], frame->line, texts[2]);
    for (int i = 0; i < 3; i++) free(texts[i]);
    if (id == UINT32_MAX) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return id;
    }
    frame->tree = t->trees;
    frame->id = id;
    return id;
}

typedef struct walker { /* where the depth-first walk is */
    si__calltree *tree;
    uint32_t node;       /* the one before */
    uint32_t introduced; /* frames of the report seen so far */
} walker;

static int walk_step(si__msgpack_reader *r, si__decode_tables *t, walker *w, uint64_t climb, uint64_t back) {
    for (; climb > 0 && w->node; climb--) w->node = si__calltree_node_at(w->tree, w->node)->parent;
    if (climb > 0) return si__msgpack_fail(r, SI_EFORMAT, "climbs above the root");
    if (back > w->introduced) return si__msgpack_fail(r, SI_EFORMAT, "refers to no frame");
    uint32_t index = back ? w->introduced - (uint32_t)back : w->introduced++;
    if (index >= t->frame_count) return si__msgpack_fail(r, SI_EFORMAT, "refers to no frame");
    uint32_t frame = tree_frame(r, t, w->tree, &t->frames[index]);
    if (r->status) return r->status;
    w->node = si__calltree_child(w->tree, w->node, frame);
    if (w->node == UINT32_MAX) return si__msgpack_fail(r, SI_ENOMEM, "out of memory or too many nodes");
    return 0;
}

static void tree_nodes(si__msgpack_reader *r, si__decode_tables *t, walker *w, uint64_t per) {
    enum { CLIMB, FRAME, COUNT, REST, COLUMNS };
    si__msgpack_reader columns[COLUMNS];
    uint32_t nodes = si__decode_columns(r, columns, COLUMNS);
    if (!si__decode_spend(r, t, nodes, NODE_BYTES)) return;
    for (uint32_t i = 0; i < nodes && !r->status; i++) {
        uint64_t climb = si__msgpack_read_uint(&columns[CLIMB]), back = si__msgpack_read_uint(&columns[FRAME]);
        uint64_t count = si__msgpack_read_uint(&columns[COUNT]);
        uint64_t rest = (uint64_t)si__msgpack_read_int(&columns[REST]);
        for (int c = 0; c < COLUMNS; c++)
            if (columns[c].status) r->status = columns[c].status;
        if (r->status || walk_step(r, t, w, climb, back)) return;
        si__calltree_add(w->tree, w->node, (int64_t)(count * per + rest), count);
    }
}

si__calltree *si__decode_tree(si__msgpack_reader *r, si__decode_tables *t) {
    if (si__msgpack_read_nil(r)) return NULL;
    uint32_t fields = si__msgpack_read_array(r);
    if (!r->status && fields < 8) si__msgpack_fail(r, SI_EFORMAT, "tree with too few fields");
    uint64_t introduced = si__msgpack_read_uint(r);
    uint64_t per = (uint64_t)si__msgpack_read_int(r);
    int64_t root_value = si__msgpack_read_int(r);
    uint64_t root_count = si__msgpack_read_uint(r);
    if (!r->status && introduced > t->frame_count) si__msgpack_fail(r, SI_EFORMAT, "refers to no frame");
    if (!si__decode_spend(r, t, 1, 4096)) return NULL; /* an empty tree's tables */
    walker w = {si__calltree_new(), 0, (uint32_t)introduced};
    if (!w.tree) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return NULL;
    }
    t->trees++;
    si__calltree_add(w.tree, 0, root_value, root_count);
    tree_nodes(r, t, &w, per);
    if (!r->status) si__msgpack_skip(r, fields - 8);
    if (!r->status) return w.tree;
    si__calltree_free(w.tree);
    return NULL;
}
