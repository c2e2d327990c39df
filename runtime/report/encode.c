/*
 * Encodes a report as MessagePack (docs/report-format.md), with msgpack-c's packer into one buffer.
 *
 * Called on the worker or the loop thread with a report that nobody changes meanwhile. The body is packed first, while
 * strings and frames are numbered in the order of first use; then both tables are put in front of it.
 */
#include <math.h>
#include <msgpack/pack.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"
#include "report.h"
#include "utf8.h"

#define NONE UINT32_MAX

typedef struct buffer {
    char *data;
    size_t length, capacity;
    int failed;
} buffer;

typedef struct text {
    const char *data; /* borrowed from the report */
    size_t length;
} text;

typedef struct frame {
    uint32_t function, file, module, line; /* strings by index */
} frame;

typedef struct table { /* open addressing over indexes into an array of items */
    uint32_t *slots;   /* index + 1; 0: free */
    size_t slot_count;
    size_t count, capacity; /* of the items */
} table;

typedef struct encoder {
    buffer body;
    msgpack_packer pk;
    table text_table, frame_table;
    text *texts;
    frame *frames;
    int failed;
} encoder;

static int buffer_write(void *to, const char *bytes, size_t length) {
    buffer *b = to;
    if (b->failed) return -1;
    if (b->capacity - b->length < length) {
        size_t capacity = b->capacity ? b->capacity : 4096;
        while (capacity - b->length < length) capacity *= 2;
        char *moved = realloc(b->data, capacity);
        if (!moved) {
            b->failed = 1;
            return -1;
        }
        b->data = moved;
        b->capacity = capacity;
    }
    memcpy(b->data + b->length, bytes, length);
    b->length += length;
    return 0;
}

/* ---- Numbering of strings and frames ---- */

static uint64_t hash_bytes(const void *bytes, size_t length) {
    const unsigned char *s = bytes; /* FNV-1a; the input is our own report, not a stranger's */
    uint64_t h = 1469598103934665603ull;
    for (size_t i = 0; i < length; i++) h = (h ^ s[i]) * 1099511628211ull;
    return h ^ h >> 32;
}

static int table_room(table *t, void **items, size_t size) {
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 64;
        void *moved = realloc(*items, capacity * size);
        if (!moved) return -1;
        *items = moved;
        t->capacity = capacity;
    }
    return 0;
}

static uint64_t hash_item(const encoder *e, const table *t, size_t index) {
    if (t == &e->frame_table) return hash_bytes(&e->frames[index], sizeof(frame));
    return hash_bytes(e->texts[index].data, e->texts[index].length);
}

static int table_rehash(encoder *e, table *t) {
    if ((t->count + 1) * 2 <= t->slot_count) return 0;
    size_t slot_count = t->slot_count ? t->slot_count * 2 : 256;
    uint32_t *slots = calloc(slot_count, sizeof *slots);
    if (!slots) return -1;
    free(t->slots);
    t->slots = slots;
    t->slot_count = slot_count;
    for (size_t i = 0; i < t->count; i++) {
        size_t at = (size_t)hash_item(e, t, i) & (slot_count - 1);
        while (slots[at]) at = (at + 1) & (slot_count - 1);
        slots[at] = (uint32_t)i + 1;
    }
    return 0;
}

static uint32_t number_text(encoder *e, const char *string) {
    table *t = &e->text_table;
    size_t length = string ? strnlen(string, SI__REPORT_MAX_STRING + 1) : 0;
    if (length > SI__REPORT_MAX_STRING) {
        length = SI__REPORT_MAX_STRING;
        while (length > 0 && ((unsigned char)string[length] & 0xc0) == 0x80) length--; /* not inside a character */
    }
    text item = {string ? string : "", length};
    void *items = e->texts;
    if (table_rehash(e, t) || table_room(t, &items, sizeof item)) {
        e->failed = 1;
        return 0;
    }
    e->texts = items;
    size_t at = (size_t)hash_bytes(item.data, length) & (t->slot_count - 1);
    for (; t->slots[at]; at = (at + 1) & (t->slot_count - 1)) {
        const text *other = &e->texts[t->slots[at] - 1];
        if (other->length == length && !memcmp(other->data, item.data, length)) return t->slots[at] - 1;
    }
    e->texts[t->count] = item;
    t->slots[at] = (uint32_t)++t->count;
    return (uint32_t)t->count - 1;
}

static uint32_t number_frame(encoder *e, const si__frame *from) {
    table *t = &e->frame_table;
    frame item = {number_text(e, from->function), number_text(e, from->file), number_text(e, from->module), from->line};
    void *items = e->frames;
    if (e->failed || table_rehash(e, t) || table_room(t, &items, sizeof item)) {
        e->failed = 1;
        return 0;
    }
    e->frames = items;
    size_t at = (size_t)hash_bytes(&item, sizeof item) & (t->slot_count - 1);
    for (; t->slots[at]; at = (at + 1) & (t->slot_count - 1))
        if (!memcmp(&e->frames[t->slots[at] - 1], &item, sizeof item)) return t->slots[at] - 1;
    e->frames[t->count] = item;
    t->slots[at] = (uint32_t)++t->count;
    return (uint32_t)t->count - 1;
}

/* ---- Elements ---- */

static void pack_key(msgpack_packer *pk, const char *key) {
    msgpack_pack_str_with_body(pk, key, strlen(key));
}

static void pack_text(encoder *e, const char *string) {
    msgpack_pack_uint32(&e->pk, number_text(e, string));
}

/* Integers and what a float holds exactly take fewer bytes; the reader takes any number. */
static void pack_real(encoder *e, double value) {
    if (!isfinite(value))
        msgpack_pack_nil(&e->pk);
    else if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value)
        msgpack_pack_int64(&e->pk, (int64_t)value);
    else if (fabs(value) < 3e38 && value == (double)(float)value)
        msgpack_pack_float(&e->pk, (float)value);
    else
        msgpack_pack_double(&e->pk, value);
}

/* Nodes in depth-first order: order[i] is the tree's node, climb[i] how many levels to go up from the node before. */
static size_t walk(const si__calltree *tree, size_t count, uint32_t *order, uint32_t *climb) {
    uint32_t *first = order + count, *sibling = first + count;
    memset(first, 0, count * sizeof *first);
    for (size_t i = count - 1; i > 0; i--) {
        uint32_t parent = si__calltree_node_at(tree, i)->parent;
        sibling[i] = first[parent];
        first[parent] = (uint32_t)i;
    }
    size_t n = 0;
    uint32_t at = 0, up = 0;
    for (;;) {
        if (first[at]) {
            at = first[at];
        } else {
            while (at && !sibling[at]) {
                at = si__calltree_node_at(tree, at)->parent;
                up++;
            }
            if (!at) return n;
            at = sibling[at];
            up++;
        }
        order[n] = at;
        climb[n++] = up;
        up = 0;
    }
}

/* What one sample is worth, so that most values follow from their counts: taken from the node with most samples. */
static int64_t value_per_count(const si__calltree *tree, size_t count) {
    const si__node *best = si__calltree_node_at(tree, 0);
    for (size_t i = 1; i < count; i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        if (node->self_count > best->self_count) best = node;
    }
    if (best->self_count == 0 || best->self_count > INT64_MAX) return 0;
    return best->self_value / (int64_t)best->self_count;
}

/* The last field: how long the calls of each node itself took. Nodes are told by their place in the walk, from 1. */
static void pack_spreads(encoder *e, const si__calltree *tree, const uint32_t *order, size_t n) {
    si__spread_writer writer = {0};
    for (size_t i = 0; i <= n; i++) {
        const si__spread *spread = si__calltree_spread_at(tree, i ? order[i - 1] : 0);
        if (spread) si__spread_write(&writer, (uint32_t)i, spread);
    }
    if (writer.failed) e->failed = 1;
    msgpack_pack_bin_with_body(&e->pk, writer.data ? (const void *)writer.data : "", writer.length);
    free(writer.data);
}

static int has_spreads(const si__calltree *tree, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (si__calltree_spread_at(tree, i)) return 1;
    return 0;
}

static void pack_tree(encoder *e, const si__calltree *tree) {
    size_t count = tree ? si__calltree_node_count(tree) : 0;
    uint32_t *order = count ? malloc(count * 4 * sizeof *order) : NULL;
    if (!count) {
        msgpack_pack_nil(&e->pk);
        return;
    }
    if (!order) {
        e->failed = 1;
        return;
    }
    uint32_t *climb = order + 3 * count;
    size_t n = walk(tree, count, order, climb);
    const si__node *root = si__calltree_node_at(tree, 0);
    int64_t per = value_per_count(tree, count);
    msgpack_packer *pk = &e->pk;
    int spreads = has_spreads(tree, count);
    msgpack_pack_array(pk, spreads ? 9 : 8);
    msgpack_pack_uint64(pk, e->frame_table.count);
    msgpack_pack_int64(pk, per);
    msgpack_pack_int64(pk, root->self_value);
    msgpack_pack_uint64(pk, root->self_count);
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++) msgpack_pack_uint32(pk, climb[i]);
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t introduced = (uint32_t)e->frame_table.count;
        uint32_t id = number_frame(e, si__calltree_frame_at(tree, si__calltree_node_at(tree, order[i])->frame));
        msgpack_pack_uint32(pk, id == introduced ? 0 : introduced - id);
    }
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++) msgpack_pack_uint64(pk, si__calltree_node_at(tree, order[i])->self_count);
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++) { /* modulo 2^64, so that no value is out of range */
        const si__node *node = si__calltree_node_at(tree, order[i]);
        msgpack_pack_int64(pk, (int64_t)((uint64_t)node->self_value - node->self_count * (uint64_t)per));
    }
    if (spreads) pack_spreads(e, tree, order, n);
    free(order);
}

/* ---- Sections ---- */

static void pack_context(encoder *e, const si__context *c) {
    const struct {
        const char *key, *value;
    } texts[] = {{"app", c->app},
                 {"env", c->environment},
                 {"app_version", c->app_version},
                 {"host", c->host},
                 {"runtime", c->runtime_type},
                 {"runtime_version", c->runtime_version},
                 {"build_id", c->build_id},
                 {"run_id", c->run_id},
                 {"agent_version", c->agent_version},
                 {"os", c->os}};
    size_t n = sizeof texts / sizeof *texts;
    pack_key(&e->pk, "context");
    msgpack_pack_map(&e->pk, n + 2);
    for (size_t i = 0; i < n; i++) {
        pack_key(&e->pk, texts[i].key);
        pack_text(e, texts[i].value);
    }
    pack_key(&e->pk, "pid");
    msgpack_pack_int64(&e->pk, c->pid);
    pack_key(&e->pk, "tags");
    msgpack_pack_array(&e->pk, c->tag_count);
    for (size_t i = 0; i < c->tag_count; i++) pack_text(e, c->tags[i]);
}

/* Four columns. Points without a value say nothing and are left out. */
static void pack_points(encoder *e, const si__report *report) {
    msgpack_packer *pk = &e->pk;
    size_t count = 0;
    for (size_t i = 0; i < report->point_count; i++) count += isfinite(report->points[i].value) != 0;
#define EACH_POINT                                                                                                     \
    msgpack_pack_array(pk, count);                                                                                     \
    for (size_t i = 0; i < report->point_count; i++)                                                                   \
        if (isfinite(report->points[i].value))
    pack_key(pk, "points");
    msgpack_pack_array(pk, 4);
    EACH_POINT {
        pack_text(e, report->points[i].name);
    }
    EACH_POINT {
        pack_text(e, report->points[i].unit);
    }
    int64_t before = report->start_ms;
    EACH_POINT {
        int64_t time_ms = report->points[i].time_ms;
        msgpack_pack_int64(pk, (int64_t)((uint64_t)time_ms - (uint64_t)before));
        before = time_ms;
    }
    EACH_POINT {
        pack_real(e, report->points[i].value);
    }
#undef EACH_POINT
}

static void pack_profiles(encoder *e, const si__report *report) {
    msgpack_packer *pk = &e->pk;
    pack_key(pk, "profiles");
    msgpack_pack_array(pk, report->profile_count);
    for (size_t i = 0; i < report->profile_count; i++) {
        const si__report_profile *p = &report->profiles[i];
        msgpack_pack_array(pk, 10);
        pack_text(e, p->type);
        pack_text(e, p->unit);
        pack_text(e, p->trigger);
        pack_text(e, p->workload);
        msgpack_pack_int64(pk, p->start_ms);
        msgpack_pack_uint64(pk, p->duration_ns);
        pack_real(e, p->cores);
        msgpack_pack_uint64(pk, p->samples);
        msgpack_pack_uint64(pk, p->dropped);
        pack_tree(e, p->tree);
    }
}

static void pack_sketch(encoder *e, const si__sketch *sketch) {
    size_t length = sketch ? si__sketch_encode(sketch, NULL, 0) : 0;
    uint8_t *bytes = malloc(length + 1);
    if (!bytes) {
        e->failed = 1;
        return;
    }
    if (length) si__sketch_encode(sketch, bytes, length);
    msgpack_pack_bin_with_body(&e->pk, bytes, length);
    free(bytes);
}

static void pack_segments(encoder *e, const si__report *report) {
    msgpack_packer *pk = &e->pk;
    pack_key(pk, "segments");
    msgpack_pack_array(pk, report->segment_count);
    for (size_t i = 0; i < report->segment_count; i++) {
        const si__report_segment *s = &report->segments[i];
        msgpack_pack_array(pk, 10);
        pack_text(e, s->name);
        pack_text(e, s->kind);
        msgpack_pack_int64(pk, s->start_ms);
        msgpack_pack_uint64(pk, s->duration_ns);
        msgpack_pack_uint64(pk, s->count);
        msgpack_pack_uint64(pk, s->errors);
        msgpack_pack_uint64(pk, s->sum_ns);
        msgpack_pack_uint64(pk, s->max_ns);
        pack_sketch(e, s->sketch);
        pack_tree(e, s->tree);
    }
}

static void pack_errors(encoder *e, const si__report *report) {
    msgpack_packer *pk = &e->pk;
    pack_key(pk, "errors");
    msgpack_pack_array(pk, report->error_count);
    for (size_t i = 0; i < report->error_count; i++) {
        const si__report_error *r = &report->errors[i];
        msgpack_pack_array(pk, 6);
        pack_text(e, r->group);
        pack_text(e, r->message);
        msgpack_pack_int64(pk, r->start_ms);
        msgpack_pack_uint64(pk, r->duration_ns);
        msgpack_pack_uint64(pk, r->count);
        pack_tree(e, r->tree);
    }
}

static void pack_alerts(encoder *e, const si__report *report) {
    msgpack_packer *pk = &e->pk;
    pack_key(pk, "alerts");
    msgpack_pack_array(pk, report->alert_count);
    for (size_t i = 0; i < report->alert_count; i++) {
        const si__alert *a = &report->alerts[i];
        const char *texts[] = {a->fingerprint, a->rule,   a->subject, a->severity,    a->summary,
                               a->runbook,     a->detail, a->app,     a->environment, a->host};
        msgpack_pack_array(pk, 15);
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) pack_text(e, texts[t]);
        msgpack_pack_uint32(pk, (uint32_t)a->state);
        pack_real(e, a->value);
        msgpack_pack_int64(pk, a->started_ms);
        msgpack_pack_int64(pk, a->fired_ms);
        msgpack_pack_int64(pk, a->resolved_ms);
    }
}

static void pack_self(encoder *e, const si__report *report) {
    msgpack_packer *pk = &e->pk;
    pack_key(pk, "rules");
    msgpack_pack_array(pk, report->rule_count);
    for (size_t i = 0; i < report->rule_count; i++) {
        const si__report_rule *r = &report->rules[i];
        msgpack_pack_array(pk, 6);
        pack_text(e, r->name);
        pack_text(e, r->file);
        pack_text(e, r->state);
        pack_text(e, r->error);
        msgpack_pack_uint64(pk, r->evaluations);
        msgpack_pack_uint64(pk, r->cost_ns);
    }
    pack_key(pk, "statuses");
    msgpack_pack_array(pk, report->status_count);
    for (size_t i = 0; i < report->status_count; i++) {
        const si__report_status *s = &report->statuses[i];
        msgpack_pack_array(pk, 3);
        pack_text(e, s->name);
        pack_text(e, s->state);
        pack_text(e, s->reason);
    }
    pack_key(pk, "losses");
    msgpack_pack_array(pk, report->loss_count);
    for (size_t i = 0; i < report->loss_count; i++) {
        const si__report_loss *l = &report->losses[i];
        msgpack_pack_array(pk, 6);
        pack_text(e, l->name);
        msgpack_pack_uint64(pk, l->made);
        msgpack_pack_uint64(pk, l->stored);
        msgpack_pack_uint64(pk, l->pending);
        msgpack_pack_uint64(pk, l->dropped);
        pack_text(e, l->reason);
    }
    pack_key(pk, "rules_hash");
    pack_text(e, report->rules_hash);
}

static void pack_strings(encoder *e, buffer *out, msgpack_packer *pk) {
    pack_key(pk, "strings");
    msgpack_pack_array(pk, e->text_table.count);
    for (size_t i = 0; i < e->text_table.count; i++) {
        char *repaired = si__utf8_repaired(e->texts[i].data, e->texts[i].length);
        if (!repaired) {
            out->failed = 1;
            return;
        }
        msgpack_pack_str_with_body(pk, repaired, e->texts[i].length);
        free(repaired);
    }
}

static void pack_frames(encoder *e, msgpack_packer *pk) {
    size_t n = e->frame_table.count;
    int64_t before = 0;
#define FRAME_COLUMN(field)                                                                                            \
    msgpack_pack_array(pk, n);                                                                                         \
    before = 0;                                                                                                        \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        msgpack_pack_int64(pk, (int64_t)e->frames[i].field - before);                                                  \
        before = e->frames[i].field;                                                                                   \
    }
    pack_key(pk, "frames");
    msgpack_pack_array(pk, 4);
    FRAME_COLUMN(function)
    FRAME_COLUMN(file)
    FRAME_COLUMN(line)
    FRAME_COLUMN(module)
#undef FRAME_COLUMN
}

static void pack_head(const si__report *report, msgpack_packer *pk) {
    msgpack_pack_map(pk, 15);
    pack_key(pk, "version");
    msgpack_pack_array(pk, 2);
    msgpack_pack_uint32(pk, SI__REPORT_VERSION);
    msgpack_pack_uint32(pk, SI__REPORT_VERSION_MINOR);
    pack_key(pk, "id");
    msgpack_pack_array(pk, 3);
    msgpack_pack_bin_with_body(pk, report->id.agent, sizeof report->id.agent);
    msgpack_pack_bin_with_body(pk, report->id.boot, sizeof report->id.boot);
    msgpack_pack_uint64(pk, report->id.sequence);
    pack_key(pk, "time");
    msgpack_pack_array(pk, 2);
    msgpack_pack_int64(pk, report->start_ms);
    msgpack_pack_int64(pk, report->end_ms);
}

int si__report_encode(const si__report *report, uint8_t **out, size_t *length) {
    encoder e = {0};
    buffer whole = {0};
    msgpack_packer head;
    *out = NULL;
    *length = 0;
    msgpack_packer_init(&e.pk, &e.body, buffer_write);
    msgpack_packer_init(&head, &whole, buffer_write);
    pack_context(&e, &report->context);
    pack_points(&e, report);
    pack_profiles(&e, report);
    pack_segments(&e, report);
    pack_errors(&e, report);
    pack_alerts(&e, report);
    pack_self(&e, report);
    if (!e.failed && !e.body.failed) {
        pack_head(report, &head);
        pack_strings(&e, &whole, &head);
        pack_frames(&e, &head);
        buffer_write(&whole, e.body.data, e.body.length);
    }
    int failed = e.failed || e.body.failed || whole.failed;
    free(e.body.data);
    free(e.text_table.slots);
    free(e.frame_table.slots);
    free(e.texts);
    free(e.frames);
    if (failed) {
        free(whole.data);
        return SI_ENOMEM;
    }
    *out = (uint8_t *)whole.data;
    *length = whole.length;
    return SI_OK;
}
