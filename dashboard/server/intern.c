/*
 * Numbers for frames and nodes; see intern.h. Writer thread only.
 *
 * Frames are found by a keyed 128-bit hash of their four parts, so that names from agents cannot be made to collide.
 */
#include "intern.h"

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "places.h"

#define FIRST_SLOTS ((size_t)1 << 12) /* tables grow with what is there: small ones stay in the processor's caches */
#define NODE_SLOTS_MOST ((size_t)1 << 21) /* 16 bytes each; a full table starts again */
#define FRAME_SLOTS_MOST ((size_t)1 << 18)
#define STACK_SLOTS_MOST ((size_t)1 << 20)
#define ROOT_OF_APP 0x80000000u /* node numbers stay below: marks keys of an application's outermost calls */
#define NODES_PER_APP 2000000
#define UNRESOLVED_FRAMES 100000

typedef struct node_slot {
    uint64_t key; /* caller << 32 | frame; a caller belongs to one application, and for the root it stands itself */
    uint32_t id;
} node_slot;

typedef struct frame_slot {
    uint64_t hash[2];
    uint32_t id;
} frame_slot;

typedef struct stack_slot {
    uint64_t key;
    uint32_t check; /* more of the key */
    uint32_t id;    /* 0: empty */
} stack_slot;

typedef struct app_nodes {
    int64_t app, count;
} app_nodes;

struct si__intern {
    si__db *db;
    uint8_t key[16];
    uint64_t secret[6];
    node_slot *nodes;
    frame_slot *frames;
    stack_slot *stacks;
    size_t node_slots, frame_slots, stack_slots, node_used, frame_used, stack_used;
    int64_t unresolved;  /* -1: not counted yet */
    int64_t newest_node; /* -1: not asked yet */
    app_nodes apps[64];  /* counted lazily; a full table starts again */
    size_t app_count;
    uint8_t *used_nodes, *used_frames; /* see si__intern_watch */
    int64_t node_limit, frame_limit;
};

si__intern *si__intern_new(si__db *db) {
    si__intern *intern = calloc(1, sizeof *intern);
    if (!intern) return NULL;
    intern->db = db;
    randombytes_buf(intern->secret, sizeof intern->secret);
    intern->unresolved = intern->newest_node = -1;
    intern->node_slots = intern->frame_slots = intern->stack_slots = FIRST_SLOTS;
    intern->stacks = calloc(FIRST_SLOTS, sizeof *intern->stacks);
    intern->nodes = calloc(FIRST_SLOTS, sizeof *intern->nodes);
    intern->frames = calloc(FIRST_SLOTS, sizeof *intern->frames);
    sqlite3_stmt *read = si__db_prepare(db, "SELECT value FROM meta WHERE key='hash_key'");
    int found = intern->nodes && intern->frames && intern->stacks && si__db_step(db, read) == 1 &&
                sqlite3_column_bytes(read, 0) == 16;
    if (found) memcpy(intern->key, sqlite3_column_blob(read, 0), 16);
    if (read) sqlite3_reset(read);
    if (found) return intern;
    si__intern_free(intern);
    return NULL;
}

void si__intern_free(si__intern *intern) {
    if (!intern) return;
    free(intern->nodes);
    free(intern->frames);
    free(intern->stacks);
    free(intern);
}

void si__intern_watch(si__intern *intern, uint8_t *nodes, int64_t node_limit, uint8_t *frames, int64_t frame_limit) {
    intern->used_nodes = nodes;
    intern->used_frames = frames;
    intern->node_limit = node_limit;
    intern->frame_limit = frame_limit;
}

static void note_use(uint8_t *bits, int64_t limit, uint32_t number) {
    if (bits && number < limit) bits[number / 8] |= (uint8_t)(1u << (number % 8));
}

void si__intern_forget_numbers(si__intern *intern) {
    memset(intern->nodes, 0, intern->node_slots * sizeof *intern->nodes);
    memset(intern->frames, 0, intern->frame_slots * sizeof *intern->frames);
    memset(intern->stacks, 0, intern->stack_slots * sizeof *intern->stacks);
    intern->node_used = intern->frame_used = intern->stack_used = 0;
}

void si__intern_forget(si__intern *intern) {
    si__intern_forget_numbers(intern);
    intern->app_count = 0;
    intern->unresolved = intern->newest_node = -1;
}

/* ---- Frames ---- */

typedef struct names { /* a frame's, with their lengths */
    si__wire_text function, file, module;
    uint32_t line;
} names;

static uint64_t fold(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static void mix(const si__intern *intern, si__wire_text text, uint64_t hash[2]) {
    uint64_t first, second;
    size_t left = text.length;
    const char *at = text.data;
    for (; left > 16; at += 16, left -= 16) {
        memcpy(&first, at, 8);
        memcpy(&second, at + 8, 8);
        hash[0] = fold(hash[0] ^ first, intern->secret[0] ^ second);
        hash[1] = fold(hash[1] ^ second, intern->secret[1] ^ first);
    }
    uint64_t last[2] = {0, 0};
    memcpy(last, at, left);
    hash[0] = fold(hash[0] ^ last[0], intern->secret[2] ^ last[1]);
    hash[1] = fold(hash[1] ^ last[1] ^ text.length, intern->secret[3] ^ last[0]);
}

/* Finds a frame in the cache. Quick, and keyed anew by every process: nobody outside can make two frames meet. */
static void quick_hash(const si__intern *intern, const names *frame, uint64_t hash[2]) {
    hash[0] = intern->secret[4] ^ frame->line;
    hash[1] = intern->secret[5] ^ frame->line;
    mix(intern, frame->function, hash);
    mix(intern, frame->file, hash);
    mix(intern, frame->module, hash);
}

/* Finds a frame in the store, for ever. */
static void hash_frame(const si__intern *intern, const names *frame, uint8_t out[16]) {
    char text[4096 * 3 + 64]; /* each part is at most 4096 bytes; longer ones were cut */
    size_t used = 0;
    const si__wire_text *parts[] = {&frame->function, &frame->file, &frame->module};
    for (size_t i = 0; i < 3; i++) {
        size_t length = parts[i]->length > 4096 ? 4096 : parts[i]->length;
        memcpy(text + used, parts[i]->data, length);
        used += length;
        text[used++] = '\0';
    }
    memcpy(text + used, &frame->line, sizeof frame->line);
    crypto_shorthash_siphashx24(out, (const unsigned char *)text, used + sizeof frame->line, intern->key);
}

static int is_unresolved(si__wire_text function) {
    return function.length && function.data[0] == '[' && memmem(function.data, function.length, "+0x", 3) != NULL;
}

static int64_t unresolved_count(si__intern *intern) {
    if (intern->unresolved < 0)
        intern->unresolved = si__db_int(
            intern->db, si__db_prepare(intern->db, "SELECT count(*) FROM frame WHERE function GLOB '[[]*+0x*'"), 0);
    return intern->unresolved;
}

static int64_t find_frame(si__intern *intern, const uint8_t hash[16]) {
    sqlite3_stmt *find = si__db_prepare(intern->db, "SELECT id FROM frame WHERE hash=?");
    return si__db_int(intern->db, si__db_bind(find, "b", hash, (size_t)16), 0);
}

static int insert_frame(si__intern *intern, const names *frame, const uint8_t hash[16], uint32_t *id) {
    sqlite3_stmt *insert =
        si__db_prepare(intern->db, "INSERT INTO frame(hash,function,file,line,module) VALUES(?,?,?,?,?)");
    si__db_bind(insert, "bttut", hash, (size_t)16, frame->function.data, frame->function.length, frame->file.data,
                frame->file.length, frame->line, frame->module.data, frame->module.length);
    int failed = si__db_run(intern->db, insert);
    if (failed) return failed;
    int64_t row = sqlite3_last_insert_rowid(intern->db->sql);
    if (row >= UINT32_MAX) return SI_ELIMIT;
    *id = (uint32_t)row;
    return SI_OK;
}

static size_t frame_at(const si__intern *intern, const uint64_t hash[2]) {
    size_t at = hash[0] & (intern->frame_slots - 1);
    while (intern->frames[at].id && (intern->frames[at].hash[0] != hash[0] || intern->frames[at].hash[1] != hash[1]))
        at = (at + 1) & (intern->frame_slots - 1);
    return at;
}

/* Makes room for one more. Without memory for a larger table, the table there is starts again. */
static void make_frame_room(si__intern *intern) {
    if (intern->frame_used * 10 <= intern->frame_slots * 6) return;
    frame_slot *old = intern->frames, *more = NULL;
    size_t slots = intern->frame_slots;
    if (slots < FRAME_SLOTS_MOST) more = calloc(slots * 2, sizeof *more);
    if (!more) {
        memset(old, 0, slots * sizeof *old);
        intern->frame_used = 0;
        return;
    }
    intern->frames = more;
    intern->frame_slots = slots * 2;
    for (size_t i = 0; i < slots; i++)
        if (old[i].id) more[frame_at(intern, old[i].hash)] = old[i];
    free(old);
}

static void remember_frame(si__intern *intern, const uint64_t hash[2], uint32_t id) {
    make_frame_room(intern);
    frame_slot *slot = &intern->frames[frame_at(intern, hash)];
    slot->hash[0] = hash[0];
    slot->hash[1] = hash[1];
    slot->id = id;
    intern->frame_used++;
}

static int frame_id(si__intern *intern, const names *frame, uint32_t *id);

/* The frame's number in the store, made when it is new. */
static int stored_frame(si__intern *intern, const names *frame, uint32_t *id) {
    uint8_t hash[16];
    hash_frame(intern, frame, hash);
    int64_t found = find_frame(intern, hash);
    *id = (uint32_t)found;
    if (found) return SI_OK;
    int unresolved = is_unresolved(frame->function);
    if (unresolved && unresolved_count(intern) >= UNRESOLVED_FRAMES) {
        char name[4200];
        int length = frame->module.length > 4096 ? 4096 : (int)frame->module.length;
        length = length ? snprintf(name, sizeof name, "[%.*s]", length, frame->module.data)
                        : snprintf(name, sizeof name, "[unknown]");
        names module = {{name, (size_t)length}, {"", 0}, frame->module, 0};
        return frame_id(intern, &module, id); /* no "+0x": comes back at most once */
    }
    int failed = insert_frame(intern, frame, hash, id);
    intern->unresolved += !failed && unresolved && intern->unresolved >= 0;
    return failed;
}

static int frame_id(si__intern *intern, const names *frame, uint32_t *id) {
    uint64_t hash[2];
    quick_hash(intern, frame, hash);
    int failed = SI_OK;
    if ((*id = intern->frames[frame_at(intern, hash)].id) == 0) {
        failed = stored_frame(intern, frame, id);
        if (!failed) remember_frame(intern, hash, *id);
    }
    note_use(intern->used_frames, intern->frame_limit, *id);
    return failed;
}

/* ---- Nodes ---- */

static size_t node_at(const si__intern *intern, uint64_t key) {
    size_t at = (size_t)(((key ^ (key >> 29)) * 0x9E3779B97F4A7C15ull) >> 32) & (intern->node_slots - 1);
    while (intern->nodes[at].id && intern->nodes[at].key != key) at = (at + 1) & (intern->node_slots - 1);
    return at;
}

static void make_node_room(si__intern *intern) { /* as make_frame_room */
    if (intern->node_used * 10 <= intern->node_slots * 6) return;
    node_slot *old = intern->nodes, *more = NULL;
    size_t slots = intern->node_slots;
    if (slots < NODE_SLOTS_MOST) more = calloc(slots * 2, sizeof *more);
    if (!more) {
        memset(old, 0, slots * sizeof *old);
        intern->node_used = 0;
        return;
    }
    intern->nodes = more;
    intern->node_slots = slots * 2;
    for (size_t i = 0; i < slots; i++)
        if (old[i].id) more[node_at(intern, old[i].key)] = old[i];
    free(old);
}

static void remember_node(si__intern *intern, uint64_t key, uint32_t id) {
    make_node_room(intern);
    intern->nodes[node_at(intern, key)] = (node_slot){key, id};
    intern->node_used++;
}

static app_nodes *nodes_of(si__intern *intern, int64_t app) {
    for (size_t i = 0; i < intern->app_count; i++)
        if (intern->apps[i].app == app) return &intern->apps[i];
    if (intern->app_count == sizeof intern->apps / sizeof intern->apps[0]) intern->app_count = 0;
    app_nodes *nodes = &intern->apps[intern->app_count++];
    nodes->app = app;
    sqlite3_stmt *count = si__db_prepare(intern->db, "SELECT count(*) FROM node WHERE app=?");
    nodes->count = si__db_int(intern->db, si__db_bind(count, "i", app), 0);
    return nodes;
}

static int64_t newest_node(si__intern *intern) {
    if (intern->newest_node < 0)
        intern->newest_node = si__db_int(intern->db, si__db_prepare(intern->db, "SELECT max(id) FROM node"), 0);
    return intern->newest_node;
}

static int node_id(si__intern *intern, int64_t app, uint32_t parent, uint32_t frame, uint32_t *id) {
    uint64_t key = (uint64_t)(parent ? parent : ROOT_OF_APP | (uint32_t)app) << 32 | frame;
    if ((*id = intern->nodes[node_at(intern, key)].id) != 0) {
        note_use(intern->used_nodes, intern->node_limit, *id);
        return SI_OK;
    }
    sqlite3_stmt *find = si__db_prepare(intern->db, "SELECT id FROM node WHERE app=? AND parent=? AND frame=?");
    int64_t found = si__db_int(intern->db, si__db_bind(find, "iuu", app, parent, frame), 0);
    if (!found) {
        app_nodes *nodes = nodes_of(intern, app);
        if (nodes->count >= NODES_PER_APP || newest_node(intern) >= SI__PLACES_LIMIT - 1) {
            *id = parent;
            return SI_OK;
        }
        sqlite3_stmt *insert = si__db_prepare(intern->db, "INSERT INTO node(app,parent,frame) VALUES(?,?,?)");
        int failed = si__db_run(intern->db, si__db_bind(insert, "iuu", app, parent, frame));
        if (failed) return failed;
        nodes->count++;
        found = intern->newest_node = sqlite3_last_insert_rowid(intern->db->sql);
    }
    *id = (uint32_t)found;
    note_use(intern->used_nodes, intern->node_limit, *id);
    remember_node(intern, key, *id);
    return SI_OK;
}

static int tree_frame_id(si__intern *intern, const si__frame *frame, uint32_t *id) {
    names n = {{frame->function, strlen(frame->function)},
               {frame->file, strlen(frame->file)},
               {frame->module, strlen(frame->module)},
               frame->line};
    return frame_id(intern, &n, id);
}

int si__intern_tree(si__intern *intern, int64_t app, const si__calltree *tree, uint32_t *ids) {
    size_t frame_count = si__calltree_frame_count(tree), node_count = si__calltree_node_count(tree);
    uint32_t *frames = calloc(frame_count ? frame_count : 1, sizeof *frames);
    if (!frames) return SI_ENOMEM;
    int failed = SI_OK;
    for (size_t i = 0; i < frame_count && !failed; i++)
        failed = tree_frame_id(intern, si__calltree_frame_at(tree, i), &frames[i]);
    if (node_count) ids[0] = 0;
    for (size_t i = 1; i < node_count && !failed; i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        failed = node->parent < i && node->frame < frame_count
                     ? node_id(intern, app, ids[node->parent], frames[node->frame], &ids[i])
                     : SI_EFORMAT;
    }
    free(frames);
    return failed;
}

static int wire_frame_id(si__intern *intern, const si__wire_names *texts, const si__wire_frame *frame, uint32_t *id) {
    names n = {texts->texts[frame->function], texts->texts[frame->file], texts->texts[frame->module], frame->line};
    if (n.function.length == 0) n.function = (si__wire_text){"[unknown]", 9};
    return frame_id(intern, &n, id);
}

int si__intern_wire(si__intern *intern, int64_t app, const si__wire_names *texts, const si__wire_tree *tree,
                    uint32_t *frame_ids, uint32_t *ids) {
    int failed = SI_OK;
    ids[0] = 0;
    for (uint32_t i = 1; i < tree->node_count && !failed; i++) {
        uint32_t frame = tree->frames[i];
        if (!frame_ids[frame]) failed = wire_frame_id(intern, texts, &texts->frames[frame], &frame_ids[frame]);
        if (!failed) failed = node_id(intern, app, ids[tree->parents[i]], frame_ids[frame], &ids[i]);
    }
    return failed;
}

/* ---- Whole stacks ---- */

static size_t stack_at(const si__intern *intern, const si__callpath *key) {
    size_t at = (size_t)key->a & (intern->stack_slots - 1);
    while (intern->stacks[at].id && (intern->stacks[at].key != key->a || intern->stacks[at].check != (uint32_t)key->b))
        at = (at + 1) & (intern->stack_slots - 1);
    return at;
}

static void make_stack_room(si__intern *intern) { /* as make_frame_room */
    if (intern->stack_used * 10 <= intern->stack_slots * 6) return;
    stack_slot *old = intern->stacks, *more = NULL;
    size_t slots = intern->stack_slots;
    if (slots < STACK_SLOTS_MOST) more = calloc(slots * 2, sizeof *more);
    if (!more) {
        memset(old, 0, slots * sizeof *old);
        intern->stack_used = 0;
        return;
    }
    intern->stacks = more;
    intern->stack_slots = slots * 2;
    for (size_t i = 0; i < slots; i++)
        if (old[i].id) more[stack_at(intern, &(si__callpath){old[i].key, old[i].check})] = old[i];
    free(old);
}

static void remember_stack(si__intern *intern, const si__callpath *key, uint32_t id) {
    if (!id) return; /* over the cap: it is the root's */
    make_stack_room(intern);
    intern->stacks[stack_at(intern, key)] = (stack_slot){key->a, (uint32_t)key->b, id};
    intern->stack_used++;
}

typedef struct climb { /* the calls of one tree that had to be looked for one by one */
    uint32_t *ids;     /* UNKNOWN: not looked for yet; ids[0] = 0 */
    uint32_t *way;     /* room for the longest */
} climb;

#define UNKNOWN UINT32_MAX

static int climb_begin(climb *c, const si__wire_tree *tree) {
    c->ids = malloc(2 * (size_t)tree->node_count * sizeof *c->ids);
    if (!c->ids) return SI_ENOMEM;
    c->way = c->ids + tree->node_count;
    memset(c->ids, 0xff, tree->node_count * sizeof *c->ids);
    c->ids[0] = 0;
    return SI_OK;
}

/* Up to a caller that is known, and down again: each call is looked for once a tree. */
static int climb_to(si__intern *intern, int64_t app, const si__wire_names *texts, const si__wire_tree *tree,
                    uint32_t *frame_ids, climb *c, uint32_t node) {
    size_t depth = 0;
    int failed = SI_OK;
    for (; c->ids[node] == UNKNOWN; node = tree->parents[node]) c->way[depth++] = node;
    while (depth && !failed) {
        uint32_t i = c->way[--depth], frame = tree->frames[i];
        if (!frame_ids[frame]) failed = wire_frame_id(intern, texts, &texts->frames[frame], &frame_ids[frame]);
        if (!failed) failed = node_id(intern, app, c->ids[tree->parents[i]], frame_ids[frame], &c->ids[i]);
    }
    return failed;
}

int si__intern_values(si__intern *intern, int64_t app, const si__wire_names *texts, const si__wire_tree *tree,
                      const si__callpath *keys, uint32_t *frame_ids, uint32_t *ids) {
    climb c = {NULL, NULL};
    int failed = SI_OK;
    for (size_t i = 0; i < tree->value_count; i++)
        __builtin_prefetch(&intern->stacks[keys[i].a & (intern->stack_slots - 1)]);
    for (size_t i = 0; i < tree->value_count && !failed; i++) {
        uint32_t node = tree->values[i].node;
        /* a sweep is to know of every caller and frame that is in use */
        ids[i] = intern->used_nodes ? 0 : intern->stacks[stack_at(intern, &keys[i])].id;
        if (ids[i] || node == 0) continue;
        if (!c.ids) failed = climb_begin(&c, tree);
        if (!failed) failed = climb_to(intern, app, texts, tree, frame_ids, &c, node);
        if (failed) break;
        ids[i] = c.ids[node];
        if (!intern->used_nodes) remember_stack(intern, &keys[i], ids[i]);
    }
    free(c.ids);
    return failed;
}
