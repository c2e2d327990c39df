/* Route: the functions of a selection as a table, by what they cost themselves. Workers' threads. */
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

#include "functions.h"
#include "handlers.h"
#include "selection.h"

#define LIMIT 500
#define LIMIT_MOST 5000

typedef struct cost {
    uint32_t number; /* of the function */
    int64_t self, total, base_self, base_total;
    uint64_t self_samples, samples;
} cost;

typedef struct table {
    si__functions *functions;
    cost *costs; /* by number */
    size_t count;
} table;

/* Room for every function known by now. */
static int widen(table *t) {
    size_t wanted = si__functions_count(t->functions);
    cost *more = realloc(t->costs, wanted * sizeof *more);
    if (!more) return SI_ENOMEM;
    for (size_t i = t->count; i < wanted; i++) more[i] = (cost){.number = (uint32_t)i};
    t->costs = more;
    t->count = wanted;
    return SI_OK;
}

/* Is the function of a branch among its callers too? Then its total is in theirs already. */
static int recurs(const si__tree *tree, const uint32_t *numbers, size_t branch) {
    for (size_t at = branch; at;) {
        at = tree->branches[at].parent;
        if (at && numbers[at] == numbers[branch]) return 1;
    }
    return 0;
}

static int add_tree(table *t, const si__tree *tree, int is_base) {
    uint32_t *numbers = si__functions_of_tree(t->functions, tree->branches, tree->count);
    int failed = numbers ? widen(t) : SI_ENOMEM;
    for (size_t i = 1; i < tree->count && !failed; i++) {
        const si__branch *branch = &tree->branches[i];
        cost *c = &t->costs[numbers[i]];
        int outermost = !recurs(tree, numbers, i);
        int64_t *self = is_base ? &c->base_self : &c->self, *total = is_base ? &c->base_total : &c->total;
        *self = si__wrap_add(*self, branch->self);
        if (outermost) *total = si__wrap_add(*total, branch->total);
        if (is_base) continue;
        c->self_samples += branch->self_count;
        if (outermost) c->samples += branch->total_count;
    }
    free(numbers);
    return failed;
}

static uint64_t magnitude(int64_t value) {
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

static int by_self(const void *a, const void *b, void *functions) {
    const cost *x = a, *y = b;
    const si__functions *f = functions;
    int other = !strcmp(si__functions_at(f, x->number)->function, "other") -
                !strcmp(si__functions_at(f, y->number)->function, "other");
    if (other) return other;
    uint64_t left[] = {magnitude(x->self), magnitude(x->total), x->samples, magnitude(x->base_self)};
    uint64_t right[] = {magnitude(y->self), magnitude(y->total), y->samples, magnitude(y->base_self)};
    for (int i = 0; i < 4; i++)
        if (left[i] != right[i]) return left[i] < right[i] ? 1 : -1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Leaves what holds the text, in order. Returns how many. */
static size_t choose(table *t, const char *text) {
    size_t kept = 0;
    for (size_t i = 1; i < t->count; i++) {
        const si__function *f = si__functions_at(t->functions, t->costs[i].number);
        if (!*text || strcasestr(f->function, text) || strcasestr(f->file, text) || strcasestr(f->module, text))
            t->costs[kept++] = t->costs[i];
    }
    qsort_r(t->costs, kept, sizeof *t->costs, by_self, t->functions);
    return kept;
}

static void put_cost(si__json_writer *json, const si__function *f, const cost *c, int has_base) {
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "function", f->function);
    si__json_put_string(json, "file", f->file);
    si__json_put_string(json, "module", f->module);
    si__json_put_int(json, "self", c->self);
    si__json_put_int(json, "total", c->total);
    si__json_put_uint(json, "self_samples", c->self_samples);
    si__json_put_uint(json, "samples", c->samples);
    if (has_base) {
        si__json_put_int(json, "base_self", c->base_self);
        si__json_put_int(json, "base_total", c->base_total);
    }
    si__json_object_end(json);
}

static void put_table(si__json_writer *json, table *t, const char *text, size_t limit, int64_t whole, int has_base) {
    size_t count = choose(t, text);
    int64_t hidden = 0;
    si__json_array_begin(json, "functions");
    for (size_t i = 0; i < count; i++)
        if (i < limit)
            put_cost(json, si__functions_at(t->functions, t->costs[i].number), &t->costs[i], has_base);
        else
            hidden = si__wrap_add(hidden, t->costs[i].self);
    si__json_array_end(json);
    si__json_put_uint(json, "count", count);
    si__json_object_begin(json, "hidden");
    si__json_put_uint(json, "functions", count > limit ? count - limit : 0);
    si__json_put_int(json, "value", hidden);
    si__json_put_number(json, "share", whole ? (double)magnitude(hidden) / (double)magnitude(whole) : 0);
    si__json_object_end(json);
}

static void answer_table(si__request *request, const si__selection *s, const si__tree *tree, const si__selection *base,
                         const si__tree *base_tree, table *t, size_t limit) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "type", si__selection_type(s));
    si__json_put_string(&json, "unit", si__type_unit(request->reader, s->range.app, si__selection_type(s)));
    si__merge_write(&json, &tree->merge);
    put_table(&json, t, si__request_argument(request, "q", ""), limit, tree->merge.total, base != NULL);
    if (base) {
        si__comparison comparison;
        si__json_object_begin(&json, "before");
        si__merge_write(&json, &base_tree->merge);
        si__json_object_end(&json);
        si__comparison_of(s, &tree->merge, base, &base_tree->merge, &comparison);
        si__comparison_write(&json, &comparison);
    }
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

void si__handle_top(si__request *request) {
    si__selection selection, base;
    si__tree tree = {0}, base_tree = {0};
    table t = {0};
    int has_base;
    size_t limit;
    if (si__selection_of(request, &selection) || si__selection_base(request, &selection, &base, &has_base) ||
        si__request_limit(request, LIMIT, LIMIT_MOST, &limit) || si__selection_tree(request, &selection, &tree))
        return;
    if (!has_base || !si__selection_base_tree(request, &base, &base_tree)) {
        t.functions = si__functions_new(request->reader);
        int failed = t.functions ? add_tree(&t, &tree, 0) : SI_ENOMEM;
        if (!failed && has_base) failed = add_tree(&t, &base_tree, 1);
        if (failed)
            si__answer_failure(request, failed);
        else
            answer_table(request, &selection, &tree, has_base ? &base : NULL, &base_tree, &t, limit);
    }
    free(t.costs);
    si__functions_free(t.functions);
    si__tree_clear(&tree);
    si__tree_clear(&base_tree);
}
