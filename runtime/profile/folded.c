/* Folded stacks out. Called on the worker thread (si run --folded) with a finished call tree. */
#include "folded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "atomic_file.h"
#include "si/si.h"

enum { DEPTH_MAX = 100000 };

/* The same tree with frames that differ in file, line or module only made one. NULL: out of memory. */
static si__calltree *by_function(const si__calltree *tree) {
    size_t count = si__calltree_node_count(tree);
    uint32_t *map = calloc(count, sizeof *map);
    si__calltree *plain = si__calltree_new();
    int whole = map && plain;
    for (size_t i = 0; whole && i < count; i++) {
        const si__node *n = si__calltree_node_at(tree, i);
        if (i > 0) {
            const si__frame *f = si__calltree_frame_at(tree, n->frame);
            map[i] = si__calltree_child(plain, map[n->parent], si__calltree_frame(plain, f->function, "", 0, ""));
            whole = map[i] != UINT32_MAX;
        }
        if (whole) si__calltree_add(plain, map[i], n->self_value, n->self_count);
    }
    free(map);
    if (whole) return plain;
    si__calltree_free(plain);
    return NULL;
}

/* Names are clean of control bytes already (see calltree.h); only the separator is left. */
static void write_name(const char *name, FILE *out) {
    for (const char *p = name; *p; p++) putc(*p == ';' ? ',' : *p, out);
}

static void write_line(const si__calltree *tree, uint32_t node, uint32_t *path, int64_t count, FILE *out) {
    size_t depth = 0;
    for (uint32_t n = node; n != 0 && depth < DEPTH_MAX; n = si__calltree_node_at(tree, n)->parent) path[depth++] = n;
    if (depth == 0) fputs("[unknown]", out); /* a value of the root: its stack could not be kept */
    for (size_t i = depth; i-- > 0;) {
        write_name(si__calltree_frame_at(tree, si__calltree_node_at(tree, path[i])->frame)->function, out);
        if (i > 0) putc(';', out);
    }
    fprintf(out, " %lld\n", (long long)count);
}

int si__folded_write(const si__calltree *tree, int64_t divisor, FILE *out) {
    if (divisor < 1) return SI_EINVAL;
    si__calltree *plain = by_function(tree);
    uint32_t *path = malloc(DEPTH_MAX * sizeof *path);
    int result = plain && path ? 0 : SI_ENOMEM;
    int64_t left = divisor / 2; /* half a unit at the start: the total is rounded, not cut */
    size_t count = plain ? si__calltree_node_count(plain) : 0;
    for (size_t i = 0; result == 0 && i < count; i++) {
        int64_t value = si__calltree_node_at(plain, i)->self_value;
        if (value == 0) continue;
        int64_t whole = value / divisor, rest = value % divisor + left;
        if (rest >= divisor || rest < 0) {
            int64_t step = rest < 0 ? -1 : 1;
            whole += step;
            rest -= step * divisor;
        }
        left = rest;
        if (whole != 0) write_line(plain, (uint32_t)i, path, whole, out);
        if (ferror(out)) result = SI_EIO;
    }
    if (result == 0 && fflush(out) != 0) result = SI_EIO;
    free(path);
    si__calltree_free(plain);
    return result;
}

typedef struct job {
    const si__calltree *tree;
    int64_t divisor;
} job;

static int write_job(void *arg, FILE *out) {
    job *j = arg;
    return si__folded_write(j->tree, j->divisor, out);
}

int si__folded_save(const si__calltree *tree, int64_t divisor, const char *path) {
    job j = {tree, divisor};
    return si__atomic_file(path, write_job, &j);
}
