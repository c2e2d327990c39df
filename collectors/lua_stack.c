/*
 * Lua frames between C frames. Runs on a host thread: in Lua's hook, in calls of ours, or in the tick's handler while
 * a C function that Lua called runs; then nothing of Lua is half done (lua_shape.quiet), and lua_getstack and
 * lua_getinfo("nSlu") only read.
 *
 * One activation of the interpreter's loop on the C stack runs a row of Lua functions that called one another; a C
 * function, a metamethod or an iterator begins another activation. A coroutine that goes on after a yield runs all of
 * its frames in one. So rows and activations are matched from the leaf, coroutine by coroutine, and what is left over
 * at the root of a coroutine belongs to its last activation.
 */
#include <string.h>

#include "lua_vm.h"
#include "native/record.h"

/* ---- What the C stack shows ---- */

/* Index 0 is where the thread was, or a return address less one (record.c). */
static int is_boundary(const lua_library *library, const uint64_t *pcs, unsigned i) {
    return si__lua_is_site(library, pcs[i] + (i == 0));
}

lua_shape si__lua_shape(const lua_library *library, const uint64_t *pcs, unsigned count) {
    lua_shape shape = {0, 0, 0, 0};
    int core = 0;
    lua_code step = {library->step.from, library->step.to};
    for (unsigned i = 0; i < count; i++) {
        uint64_t pc = pcs[i] - (i > 0);
        if (shape.loops == 0 && !core && is_boundary(library, pcs, i)) shape.quiet = 1;
        core |= lua_in(library->core, pc);
        shape.loops += lua_in(library->vm, pc);
        shape.resumes += lua_in(library->resume, pc);
        shape.collecting |= lua_in(step, pc) || lua_in(library->collect, pc);
    }
    return shape;
}

/* ---- Names ---- */

static uint64_t hash_of(const char *text, uint64_t hash) {
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
    return hash;
}

/* By hand: a signal handler has no stack to spare for snprintf. */
static void append(lua_known_name *known, size_t *at, const char *text) {
    while (*text && *at < sizeof known->name - 1) known->name[(*at)++] = *text++;
    known->name[*at] = '\0';
}

/* The end of a long path says more than its beginning. */
static void append_place(lua_known_name *known, size_t *at, const lua_Debug *ar) {
    enum { PLACE_BYTES = 32 };
    char digits[16];
    size_t length = strlen(ar->short_src), place = sizeof digits;
    unsigned line = ar->linedefined > 0 ? (unsigned)ar->linedefined : 0;
    digits[--place] = '\0';
    do digits[--place] = (char)('0' + line % 10);
    while (line /= 10);
    append(known, at, ar->short_src + (length > PLACE_BYTES ? length - PLACE_BYTES : 0));
    append(known, at, ":");
    append(known, at, digits + place);
}

/* A function has many names or none, by how it was called; the first that was seen is kept, so that stacks of the same
   function are equal. Where it was defined stands for a name until there is one. */
static const char *function_name(lua_thread *t, const lua_Debug *ar) {
    /* Functions of one line are told apart by what they take. */
    uint64_t shape = (uint64_t)(uint32_t)ar->linedefined << 32 | (uint64_t)(ar->lastlinedefined & 0xffff) << 16 |
                     (uint64_t)ar->nups << 8 | ar->nparams;
    uint64_t key = hash_of(ar->short_src, 0xcbf29ce484222325ull + shape * 31) ^
                   (uint64_t)(uintptr_t)ar->source * 0x9e3779b97f4a7c15ull;
    lua_known_name *known = &t->names[(key >> 24) % LUA_KNOWN_NAMES];
    int named = ar->name && ar->namewhat[0] && ar->namewhat[0] != 'f'; /* not "for iterator" */
    key = (key | 1) - !named;                                          /* even: where it was defined */
    if (known->key == key || known->key == (key | 1)) return known->name;
    known->key = key;
    size_t at = 0;
    if (ar->what[0] == 'm') {
        append(known, &at, "main chunk");
    } else if (named) {
        append(known, &at, ar->name);
    } else {
        append(known, &at, "function <");
        append_place(known, &at, ar);
        append(known, &at, ">");
    }
    return known->name;
}

static uint64_t name_of(lua_thread *t, const lua_Debug *ar) {
    if (ar->what[0] == 'C') return ar->name ? si__name_get(ar->name, "[C]", 0) : 0;
    uint32_t line = ar->currentline > 0 ? (uint32_t)ar->currentline : 0;
    return si__name_get(function_name(t, ar), ar->short_src, line);
}

/* ---- Collecting ---- */

static void list_coroutine(lua_thread *t, const lua_library *library, lua_State *L, uint16_t segment) {
    lua_Debug ar;
    for (int level = 0; t->item_count < LUA_ITEMS && library->lua_getstack(L, level, &ar); level++) {
        if (!library->lua_getinfo(L, "nSlu", &ar)) continue;
        lua_item *item = &t->items[t->item_count++];
        item->name = name_of(t, &ar);
        item->segment = segment;
        item->loop = -1;
        item->is_c = ar.what[0] == 'C';
        item->fresh = ar.namewhat[0] == 'm' ? strcmp(ar.namewhat, "metamethod") == 0
                                            : ar.namewhat[0] == 'f' && strcmp(ar.namewhat, "for iterator") == 0;
    }
}

/* Activations per coroutine, from the leaf. */
static void count_loops(const lua_library *library, const uint64_t *pcs, unsigned count, uint16_t *loops,
                        unsigned cap) {
    unsigned segment = 0;
    memset(loops, 0, cap * sizeof *loops);
    for (unsigned i = 0; i < count && segment < cap; i++) {
        uint64_t pc = pcs[i] - (i > 0);
        if (lua_in(library->vm, pc)) loops[segment]++;
        if (lua_in(library->resume, pc)) segment++;
    }
}

static void match(lua_thread *t, const uint16_t *loops, unsigned cap) {
    int base = 0, row = -1, loop = -1;
    uint16_t segment = 0;
    int in_row = 0;
    for (uint32_t i = 0; i < t->item_count; i++) {
        lua_item *item = &t->items[i];
        for (; segment < item->segment; segment++) {
            if (segment < cap) base += loops[segment];
            row = loop = -1;
            in_row = 0;
        }
        if (item->is_c || segment >= cap || loops[segment] == 0) {
            in_row = 0;
            continue;
        }
        if (!in_row) row++;
        int mine = base + (row < loops[segment] ? row : loops[segment] - 1);
        /* C functions that the loop has already been left and entered over again are not on the C stack. */
        for (uint32_t back = i; !in_row && mine == loop && back-- > 0 && t->items[back].is_c;)
            t->items[back].loop = (int16_t)mine;
        item->loop = (int16_t)mine;
        loop = mine;
        in_row = !item->fresh;
    }
}

/*
 * Functions of the standard library have no symbols in a stripped interpreter, and Lua's programmers know them by
 * Lua's names. Learnt where the C functions on both stacks can be paired off.
 */
static lua_known_c *known_c(lua_thread *t, const lua_library *library, uint64_t pc, uint64_t *from) {
    *from = si__lua_function_at(library, pc).from;
    return &t->functions[(*from >> 4) % LUA_KNOWN_NAMES];
}

static void learn_names(lua_thread *t, const lua_library *library, const uint64_t *pcs, unsigned count) {
    unsigned boundaries = 0, functions = 0;
    uint64_t from;
    for (unsigned i = 0; i < count; i++) boundaries += (unsigned)is_boundary(library, pcs, i);
    for (uint32_t i = 0; i < t->item_count; i++) functions += t->items[i].is_c;
    if (boundaries != functions) return; /* a coroutine that has been resumed, or a stack that was cut */
    uint32_t item = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!is_boundary(library, pcs, i)) continue;
        while (item < t->item_count && !t->items[item].is_c) item++;
        if (item == t->item_count) return;
        uint64_t name = t->items[item++].name;
        if (!name || i == 0) continue;
        lua_known_c *known = known_c(t, library, pcs[i - 1] - (i > 1), &from);
        if (from && known->from != from) *known = (lua_known_c){from, name};
    }
}

void si__lua_collect(lua_thread *t, const lua_attached *s, const uint64_t *structure, unsigned count) {
    uint16_t segment = 0;
    t->item_count = 0;
    for (uint32_t i = atomic_load_explicit(&s->depth, memory_order_relaxed) + 1; i-- > 0;)
        list_coroutine(t, s->library, s->running[i], segment++);
    count_loops(s->library, structure, count, t->loops, LUA_DEPTH + 1);
    match(t, t->loops, LUA_DEPTH + 1);
    learn_names(t, s->library, structure, count);
}

/* ---- Merging ---- */

typedef struct merging {
    lua_thread *t; /* whose `merged` it is put into */
    unsigned count;
    int cut;       /* 1: the root did not fit */
    uint32_t next; /* item */
} merging;

static void put(merging *m, uint64_t pc) {
    if (pc == 0) return; /* a C function without a name */
    if (m->count < SI__FRAMES_MAX)
        m->t->merged[m->count++] = pc;
    else
        m->cut = 1;
}

/* The ways of the coroutine library from one coroutine to the next say nothing. */
static int is_followed(uint64_t pc) {
    return pc > (uintptr_t)__start_si_lua_followed && pc <= (uintptr_t)__stop_si_lua_followed;
}

/* The C function that is called at boundary i. */
static void put_name(lua_thread *t, merging *m, const lua_library *library, const uint64_t *pcs, unsigned i) {
    uint64_t from, pc = i > 0 ? pcs[i - 1] - (i > 1) : 0;
    if (i == 0 || is_followed(pc)) return;
    const lua_known_c *known = known_c(t, library, pc, &from);
    if (from && known->from == from) put(m, known->name);
}

/* The frames that activation `loop` runs, those of inner ones having been put already. 0: none. */
static int put_row(const lua_thread *t, merging *m, int loop) {
    uint32_t i = m->next;
    while (i < t->item_count && t->items[i].loop < loop) i++;
    if (i == t->item_count || t->items[i].loop != loop) return 0;
    for (; i < t->item_count && t->items[i].loop == loop; i++) put(m, t->items[i].name);
    m->next = i;
    return 1;
}

/*
 * Frames of Lua's core say how calls are made, not what was called: they go, but for those at the leaf, where the time
 * was spent.
 */
unsigned si__lua_merge(lua_thread *t, const lua_library *library, uint64_t *pcs, unsigned count, int skip,
                       unsigned *flags) {
    merging m = {t, 0, 0, 0};
    int loop = skip, inside = 0;
    unsigned row_end = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t pc = pcs[i] - (i > 0);
        if (lua_in(library->vm, pc)) {
            inside = 1;
            if (loop < 0 || !put_row(t, &m, loop)) put(&m, pcs[i]);
            loop++;
            row_end = m.count;
            continue;
        }
        if (is_boundary(library, pcs, i)) {
            if (row_end && is_followed(pcs[i - 1])) m.count = row_end;
            inside = 1;
            put_name(t, &m, library, pcs, i);
        }
        if (!inside || !lua_in(library->core, pc)) put(&m, pcs[i]);
    }
    if (inside && (*flags & SI__STACK_TRUNCATED)) /* of what C has called there, Lua knows the rest */
        for (; m.next < t->item_count; m.next++) put(&m, t->items[m.next].name);
    if (m.cut) *flags |= SI__STACK_TRUNCATED;
    if (m.count < count)
        memset(pcs + m.count, 0, (count - m.count) * sizeof *pcs); /* the ring wants what is given back empty */
    memcpy(pcs, t->merged, m.count * sizeof *pcs);
    return m.count;
}
