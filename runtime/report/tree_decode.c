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

#include "../profile/strings.h"
#include "limits.h"
#include "utf8.h"

#define NODE_BYTES 96   /* a node with its place in the tree's index, while growing */
#define FRAME_BYTES 160 /* a frame likewise */
#define TEXT_BYTES 32   /* malloc's own part of a small string */
#define NODES_MOST 1000000

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
    uint32_t *nodes; /* in the order of the walk, the root first: what spreads refer to */
    uint32_t node_count;
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
    if (!(w->nodes = calloc(nodes + (size_t)1, sizeof *w->nodes))) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return;
    }
    w->node_count = 1;
    for (uint32_t i = 0; i < nodes && !r->status; i++) {
        uint64_t climb = si__msgpack_read_uint(&columns[CLIMB]), back = si__msgpack_read_uint(&columns[FRAME]);
        uint64_t count = si__msgpack_read_uint(&columns[COUNT]);
        uint64_t rest = (uint64_t)si__msgpack_read_int(&columns[REST]);
        for (int c = 0; c < COLUMNS; c++)
            if (columns[c].status) r->status = columns[c].status;
        if (r->status || walk_step(r, t, w, climb, back)) return;
        si__calltree_add(w->tree, w->node, (int64_t)(count * per + rest), count);
        w->nodes[w->node_count++] = w->node;
    }
}

/* The field after the columns, since 1.2: as it is written, checked. Empty where nil was written. */
static si__msgpack_view spreads_of(si__msgpack_reader *r, si__decode_tables *t, uint32_t nodes) {
    si__msgpack_view none = {0};
    if (si__msgpack_read_nil(r)) return none;
    si__msgpack_view written = si__msgpack_read_bin(r);
    if (!si__decode_spend(r, t, written.length, 8)) return none; /* two bytes or more become 16 */
    si__spread_reader reader = {.at = (const uint8_t *)written.data,
                                .end = (const uint8_t *)written.data + written.length};
    si__spread_view spread;
    int next, known = 1;
    while ((next = si__spread_next(&reader, &spread)) == 1)
        known &= spread.place < nodes && si__sketch_valid(spread.sketch, spread.sketch_bytes);
    if (next < 0 || !known) si__msgpack_fail(r, SI_EFORMAT, "malformed durations of calls");
    return r->status ? none : written;
}

static void tree_spreads(si__msgpack_reader *r, si__decode_tables *t, walker *w) {
    if (!w->nodes) return; /* the reader has failed */
    si__msgpack_view written = spreads_of(r, t, w->node_count);
    si__spread_reader reader = {.at = (const uint8_t *)written.data,
                                .end = (const uint8_t *)written.data + written.length};
    si__spread_view spread;
    while (!r->status && written.length && si__spread_next(&reader, &spread) == 1) {
        if (!si__decode_spend(r, t, 1, sizeof(si__spread) + TEXT_BYTES)) return;
        si__sketch *sketch = si__sketch_decode(spread.sketch, spread.sketch_bytes);
        if (!sketch || si__calltree_spread_add(w->tree, w->nodes[spread.place], sketch, spread.samples))
            si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        si__sketch_free(sketch);
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
    walker w = {.tree = si__calltree_new(), .introduced = (uint32_t)introduced};
    if (!w.tree) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return NULL;
    }
    t->trees++;
    si__calltree_add(w.tree, 0, root_value, root_count);
    tree_nodes(r, t, &w, per);
    if (!r->status && fields > 8) tree_spreads(r, t, &w);
    if (!r->status) si__msgpack_skip(r, fields > 8 ? fields - 9 : 0);
    free(w.nodes);
    if (!r->status) return w.tree;
    si__calltree_free(w.tree);
    return NULL;
}

/* ---- Trees as they come ---- */

si__wire_tree *si__decode_wire_empty(void) {
    si__wire_tree *tree = calloc(1, sizeof *tree);
    if (!tree) return NULL;
    tree->parents = calloc(2, sizeof *tree->parents);
    if (!tree->parents) {
        free(tree);
        return NULL;
    }
    tree->frames = tree->parents + 1;
    tree->node_count = 1;
    return tree;
}

static int64_t saturated(int64_t a, int64_t b) { /* as si__calltree adds */
    int64_t sum;
    return !__builtin_add_overflow(a, b, &sum) ? sum : b < 0 ? INT64_MIN : INT64_MAX;
}

static int note_value(si__msgpack_reader *r, si__wire_tree *tree, size_t *room, uint32_t node, uint64_t count,
                      int64_t value) {
    uint64_t counts;
    if (!count && !value) return SI_OK;
    if (tree->value_count == *room) {
        size_t wanted = *room ? *room * 2 : 64;
        void *more = realloc(tree->values, wanted * sizeof *tree->values);
        if (!more) return si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        tree->values = more;
        *room = wanted;
    }
    tree->values[tree->value_count++] = (si__wire_value){node, count, value};
    tree->total_value = saturated(tree->total_value, value);
    tree->total_count = __builtin_add_overflow(tree->total_count, count, &counts) ? UINT64_MAX : counts;
    return SI_OK;
}

static void wire_nodes(si__msgpack_reader *r, si__decode_tables *t, si__wire_tree *tree, uint32_t introduced,
                       uint64_t per, size_t *room) {
    enum { CLIMB, FRAME, COUNT, REST, COLUMNS };
    si__msgpack_reader columns[COLUMNS];
    uint32_t nodes = si__decode_columns(r, columns, COLUMNS), node = 0;
    if (!si__decode_spend(r, t, nodes, NODE_BYTES)) return;
    if (!nodes) return;
    if (nodes >= NODES_MOST) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory or too many nodes"); /* as si__calltree_child */
        return;
    }
    uint32_t *more = realloc(tree->parents, 2 * (nodes + (size_t)1) * sizeof *more);
    if (!more) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return;
    }
    tree->parents = more;
    tree->frames = more + nodes + 1;
    tree->frames[0] = 0;
    for (uint32_t i = 1; i <= nodes; i++) {
        uint64_t climb = si__msgpack_read_uint(&columns[CLIMB]), back = si__msgpack_read_uint(&columns[FRAME]);
        uint64_t count = si__msgpack_read_uint(&columns[COUNT]);
        uint64_t rest = (uint64_t)si__msgpack_read_int(&columns[REST]);
        for (; climb > 0 && node; climb--) node = tree->parents[node];
        if (climb > 0) si__msgpack_fail(r, SI_EFORMAT, "climbs above the root");
        if (back > introduced) si__msgpack_fail(r, SI_EFORMAT, "refers to no frame");
        uint32_t frame = back ? introduced - (uint32_t)back : introduced++;
        if (frame >= t->frame_count) si__msgpack_fail(r, SI_EFORMAT, "refers to no frame");
        for (int c = 0; c < COLUMNS; c++)
            if (columns[c].status) r->status = columns[c].status;
        if (r->status || note_value(r, tree, room, i, count, (int64_t)(count * per + rest))) return;
        tree->parents[i] = node;
        tree->frames[i] = frame;
        tree->node_count = i + 1;
        node = i;
    }
}

si__wire_tree *si__decode_wire_tree(si__msgpack_reader *r, si__decode_tables *t) {
    if (si__msgpack_read_nil(r)) return NULL;
    uint32_t fields = si__msgpack_read_array(r);
    if (!r->status && fields < 8) si__msgpack_fail(r, SI_EFORMAT, "tree with too few fields");
    uint64_t introduced = si__msgpack_read_uint(r);
    uint64_t per = (uint64_t)si__msgpack_read_int(r);
    int64_t root_value = si__msgpack_read_int(r);
    uint64_t root_count = si__msgpack_read_uint(r);
    size_t room = 0;
    if (!r->status && introduced > t->frame_count) si__msgpack_fail(r, SI_EFORMAT, "refers to no frame");
    if (!si__decode_spend(r, t, 1, 4096)) return NULL;
    si__wire_tree *tree = si__decode_wire_empty();
    if (!tree) {
        si__msgpack_fail(r, SI_ENOMEM, "out of memory");
        return NULL;
    }
    if (!note_value(r, tree, &room, 0, root_count, root_value))
        wire_nodes(r, t, tree, (uint32_t)introduced, per, &room);
    if (!r->status && fields > 8) {
        si__msgpack_view spreads = spreads_of(r, t, tree->node_count);
        tree->spreads = (const uint8_t *)spreads.data;
        tree->spread_bytes = spreads.length;
    }
    if (!r->status) si__msgpack_skip(r, fields > 8 ? fields - 9 : 0);
    if (!r->status) return tree;
    si__wire_tree_free(tree);
    return NULL;
}

/* Printable ASCII of a sane length is what it should be as it is. */
static int is_plain(const char *data, size_t length) {
    if (length >= SI__STRING_MAX) return 0;
    unsigned odd = 0;
    for (size_t i = 0; i < length; i++) odd |= (unsigned char)(data[i] - 0x20) >= 0x5f;
    return !odd;
}

static int repair(si__wire_names *names, size_t *room, si__msgpack_view *text) {
    if (names->repaired_count == *room) {
        size_t wanted = *room ? *room * 2 : 16;
        char **more = realloc(names->repaired, wanted * sizeof *more);
        if (!more) return SI_ENOMEM;
        names->repaired = more;
        *room = wanted;
    }
    char clean[SI__STRING_MAX + 1], *whole = si__utf8_repaired(text->data, text->length);
    if (!whole) return SI_ENOMEM;
    text->length = si__text_clean(clean, sizeof clean, whole);
    memcpy(whole, clean, text->length + 1); /* never longer than what it was made of */
    names->repaired[names->repaired_count++] = whole;
    text->data = whole;
    return SI_OK;
}

si__wire_names *si__decode_wire_names(si__msgpack_reader *r, si__decode_tables *t) {
    si__wire_names *names = calloc(1, sizeof *names);
    size_t room = 0, bytes = 0;
    if (!names) goto fail;
    names->texts = malloc((t->string_count + (size_t)1) * sizeof *names->texts);
    names->frames = malloc((t->frame_count + (size_t)1) * sizeof *names->frames);
    if (!names->texts || !names->frames) goto fail;
    for (uint32_t i = 0; i < t->string_count; i++) {
        si__msgpack_view text = t->strings[i];
        if (!is_plain(text.data, text.length)) {
            bytes += text.length + TEXT_BYTES; /* at most the body's 8 MiB, and malloc's part */
            if (repair(names, &room, &text)) goto fail;
        }
        names->texts[i] = (si__wire_text){text.data, text.length};
    }
    names->text_count = t->string_count;
    for (uint32_t i = 0; i < t->frame_count; i++)
        names->frames[i] =
            (si__wire_frame){t->frames[i].function, t->frames[i].file, t->frames[i].module, t->frames[i].line};
    names->frame_count = t->frame_count;
    si__decode_spend(r, t, bytes, 1);
    return names;
fail:
    si__wire_names_free(names);
    si__msgpack_fail(r, SI_ENOMEM, "out of memory");
    return NULL;
}
