/*
 * Route: one function with everything that calls it and everything that it calls. A function that calls itself is
 * counted where it is entered first: its time is told once. Workers' threads.
 */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "functions.h"
#include "handlers.h"
#include "selection.h"
#include "tree_view.h"

#define NODES 5000 /* in each half; more are hidden */

/* A tree of functions that grows by paths: (parent, function) -> node. */
typedef struct half {
    si__branch *nodes; /* frame: the function's number; node 0: the function itself */
    size_t count, capacity;
    uint32_t *table; /* hash table of nodes; 0: free */
    size_t table_count;
    int failed;
} half;

static size_t place_of(const half *h, uint32_t parent, uint32_t number) {
    uint64_t hash = ((uint64_t)parent << 32 | number) * 0x9E3779B97F4A7C15u;
    return (size_t)(hash >> 20) & (h->table_count - 1);
}

static int grow(half *h) {
    size_t capacity = h->capacity ? h->capacity * 2 : 256;
    si__branch *nodes = realloc(h->nodes, capacity * sizeof *nodes);
    if (nodes) h->nodes = nodes;
    uint32_t *table = calloc(capacity * 2, sizeof *table);
    if (!nodes || !table) {
        free(table);
        return SI_ENOMEM;
    }
    free(h->table);
    h->table = table;
    h->table_count = capacity * 2;
    h->capacity = capacity;
    for (uint32_t i = 1; i < h->count; i++) {
        size_t at = place_of(h, h->nodes[i].parent, h->nodes[i].frame);
        while (table[at]) at = (at + 1) & (h->table_count - 1);
        table[at] = i;
    }
    return SI_OK;
}

static uint32_t child(half *h, uint32_t parent, uint32_t number) {
    if (h->failed || (h->count == h->capacity && grow(h))) {
        h->failed = 1;
        return 0;
    }
    size_t at = place_of(h, parent, number);
    for (; h->table[at]; at = (at + 1) & (h->table_count - 1)) {
        const si__branch *node = &h->nodes[h->table[at]];
        if (node->parent == parent && node->frame == number) return h->table[at];
    }
    h->nodes[h->count] = (si__branch){.parent = parent, .frame = number};
    h->table[at] = (uint32_t)h->count;
    return (uint32_t)h->count++;
}

static void half_begin(half *h, uint32_t number) {
    h->failed = grow(h) != SI_OK;
    if (h->failed) return;
    h->nodes[0] = (si__branch){.frame = number};
    h->count = 1;
}

static void add_self(half *h, uint32_t node, int64_t value, uint64_t count) {
    if (h->failed) return;
    h->nodes[node].self = si__wrap_add(h->nodes[node].self, value);
    h->nodes[node].self_count += count;
}

static void half_end(half *h) { /* totals; callers come first in the array */
    for (size_t i = 0; i < h->count; i++) {
        h->nodes[i].total = h->nodes[i].self;
        h->nodes[i].total_count = h->nodes[i].self_count;
    }
    for (size_t i = h->count; i-- > 1;) {
        si__branch *parent = &h->nodes[h->nodes[i].parent];
        parent->total = si__wrap_add(parent->total, h->nodes[i].total);
        parent->total_count += h->nodes[i].total_count;
    }
}

static void half_free(half *h) {
    free(h->nodes);
    free(h->table);
}

/* ---- From the call tree ---- */

typedef struct sandwich {
    si__functions *functions;
    const si__tree *tree;
    uint32_t *numbers, wanted;
    half callers, callees;
    int64_t self;
    uint64_t found; /* branches of the function */
} sandwich;

/* Every function of that name counts, in whatever file; shown is the first. */
static int is_wanted(const sandwich *s, uint32_t number, const char *function, const char *module) {
    const si__function *f = si__functions_at(s->functions, number);
    return number && !strcmp(f->function, function) && (!*module || !strcmp(f->module, module));
}

static void add_callers(sandwich *s, size_t branch) {
    uint32_t node = 0;
    for (size_t at = s->tree->branches[branch].parent; at; at = s->tree->branches[at].parent)
        node = child(&s->callers, node, s->numbers[at]);
    add_self(&s->callers, node, s->tree->branches[branch].total, s->tree->branches[branch].total_count);
}

/* `mark` of each branch: UINT32_MAX outside of the function, else its node among the callees. */
static int walk(sandwich *s, const char *function, const char *module) {
    uint32_t *mark = malloc((s->tree->count + 1) * sizeof *mark);
    if (!mark) return SI_ENOMEM;
    mark[0] = UINT32_MAX;
    for (size_t i = 1; i < s->tree->count; i++) {
        const si__branch *branch = &s->tree->branches[i];
        int wanted = is_wanted(s, s->numbers[i], function, module);
        if (wanted) s->self = si__wrap_add(s->self, branch->self);
        mark[i] = mark[branch->parent];
        if (mark[i] != UINT32_MAX) {
            mark[i] = child(&s->callees, mark[i], s->numbers[i]);
        } else if (wanted) {
            if (!s->found++) {
                s->wanted = s->numbers[i];
                half_begin(&s->callers, s->wanted);
                half_begin(&s->callees, s->wanted);
            }
            mark[i] = 0;
            add_callers(s, i);
        }
        if (mark[i] != UINT32_MAX) add_self(&s->callees, mark[i], branch->self, branch->self_count);
    }
    free(mark);
    half_end(&s->callers);
    half_end(&s->callees);
    return s->callers.failed || s->callees.failed ? SI_ENOMEM : SI_OK;
}

static void name_function(void *arg, uint32_t number, si__frame_row *row) {
    const si__function *f = si__functions_at(arg, number);
    *row = (si__frame_row){f->function, f->file, f->module, 0};
}

static void put_half(si__json_writer *json, const char *key, const sandwich *s, const half *h) {
    si__tree_view view = {.branches = h->nodes,
                          .count = h->count,
                          .limit = NODES,
                          .without_ids = 1,
                          .name = name_function,
                          .name_arg = s->functions};
    si__json_object_begin(json, key);
    si__tree_view_write(json, &view);
    si__json_object_end(json);
    free(view.place);
}

static void answer_sandwich(si__request *request, const si__selection *selection, const sandwich *s) {
    const si__function *f = si__functions_at(s->functions, s->wanted);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "type", si__selection_type(selection));
    si__json_put_string(&json, "unit",
                        si__type_unit(request->reader, selection->range.app, si__selection_type(selection)));
    si__merge_write(&json, &s->tree->merge);
    si__json_put_string(&json, "function", f->function);
    si__json_put_string(&json, "module", f->module);
    si__json_put_string(&json, "file", f->file);
    si__json_put_int(&json, "self", s->self);
    si__json_put_int(&json, "function_total", s->callees.nodes[0].total);
    si__json_put_uint(&json, "function_samples", s->callees.nodes[0].total_count);
    put_half(&json, "callers", s, &s->callers);
    put_half(&json, "callees", s, &s->callees);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

void si__handle_sandwich(si__request *request) {
    si__selection selection;
    si__tree tree = {0};
    const char *function = si__request_argument(request, "function", "");
    if (si__selection_of(request, &selection)) return;
    if (!*function) {
        si__answer_error(request, 400, "invalid", "A sandwich is of a function.", "function");
        return;
    }
    if (si__selection_tree(request, &selection, &tree)) return;
    sandwich s = {.functions = si__functions_new(request->reader), .tree = &tree};
    if (s.functions) s.numbers = si__functions_of_tree(s.functions, tree.branches, tree.count);
    int failed = s.numbers ? walk(&s, function, si__request_argument(request, "module", "")) : SI_ENOMEM;
    if (failed)
        si__answer_failure(request, failed);
    else if (!s.found)
        si__answer_error(request, 404, "not_found", "This function is not in what is selected.", "function");
    else
        answer_sandwich(request, &selection, &s);
    half_free(&s.callers);
    half_free(&s.callees);
    free(s.numbers);
    si__functions_free(s.functions);
    si__tree_clear(&tree);
}
