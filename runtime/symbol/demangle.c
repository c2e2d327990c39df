/*
 * Demangling, bounded. Called by the symbolizer on the worker thread.
 *
 * A C++ name of a hundred bytes can stand for a text of 2^30: types are mentioned again by number, so the parsed
 * name is a graph, and libiberty walks it as a tree. We parse with libiberty, measure how large that tree would be
 * (each node of the graph once), and print only what is small. What is printed too long all the same is left by
 * longjmp: the printer holds nothing but its stack.
 */
#include "demangle.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <libiberty/demangle.h>

enum {
    MANGLED_MAX = 4096,       /* libiberty recurses once per byte at worst */
    DEPTH_MAX = 4096,         /* of our own walk */
    COST_MAX = 100000,        /* nodes of the tree */
    SCOPE_PRODUCT_MAX = 8192, /* the printer's stack arrays grow with this */
    UNPARSED_MAX = 1024,      /* libiberty's own limit where it uses the stack only */
    AGAIN_MAX = 32,           /* 2^16 steps at worst, two mentions doubling a type */
    OPTIONS = DMGL_PARAMS | DMGL_ANSI
};

/* ---- Suffixes ---- */

static int is_number(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (text[i] < '0' || text[i] > '9') return 0;
    return length > 0;
}

/* Is symbol[at..end) a dot and one of the words that compilers append, or a number after such a word? */
static int is_clone_word(const char *word, size_t length) {
    static const char *const words[] = {"constprop", "isra",   "part", "cold",     "lto_priv",  "localalias",
                                        "clone",     "llvm",   "hot",  "unlikely", "simdclone", "specialized",
                                        "str",       "__uniq", "warm", "split",    "startup",   "exit"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == length && memcmp(words[i], word, length) == 0) return 1;
    return 0;
}

size_t si__symbol_stem(const char *symbol) {
    size_t end = strcspn(symbol, "@");
    if (end == 0) return strlen(symbol);
    for (size_t stem = end;;) { /* cuts one ".word" or ".word.number" after the other */
        size_t dot = stem, number = 0;
        while (dot > 0 && symbol[dot - 1] != '.') dot--;
        if (dot <= 1) return end;
        if (is_number(symbol + dot, stem - dot)) {
            number = dot - 1; /* ".123": what counts is the word before it */
            size_t word = number;
            while (word > 0 && symbol[word - 1] != '.') word--;
            if (word <= 1 || !is_clone_word(symbol + word, number - word)) return end;
            end = stem = word - 1;
        } else {
            if (!is_clone_word(symbol + dot, stem - dot)) return end;
            end = stem = dot - 1;
        }
    }
}

/* ---- The size of a parsed name ---- */

typedef struct demangle_component node;

enum { SEEN_SLOTS = 16384 }; /* a power of two above twice MANGLED_MAX nodes */

typedef struct measure {
    struct {
        const node *key;
        uint32_t cost;
    } seen[SEEN_SLOTS];
    unsigned seen_count;
    uint64_t templates, scopes;
    int too_much;
} measure;

/* The parts of a node that hold other nodes; the rest of its union is text and numbers. */
static void parts(const node *n, const node **left, const node **right) {
    *left = *right = NULL;
    switch (n->type) {
    case DEMANGLE_COMPONENT_NAME:
    case DEMANGLE_COMPONENT_TEMPLATE_PARAM:
    case DEMANGLE_COMPONENT_FUNCTION_PARAM:
    case DEMANGLE_COMPONENT_SUB_STD:
    case DEMANGLE_COMPONENT_BUILTIN_TYPE:
    case DEMANGLE_COMPONENT_EXTENDED_BUILTIN_TYPE:
    case DEMANGLE_COMPONENT_OPERATOR:
    case DEMANGLE_COMPONENT_CHARACTER:
    case DEMANGLE_COMPONENT_NUMBER:
    case DEMANGLE_COMPONENT_UNNAMED_TYPE:
        return;
    case DEMANGLE_COMPONENT_EXTENDED_OPERATOR:
        *left = n->u.s_extended_operator.name;
        return;
    case DEMANGLE_COMPONENT_CTOR:
        *left = n->u.s_ctor.name;
        return;
    case DEMANGLE_COMPONENT_DTOR:
        *left = n->u.s_dtor.name;
        return;
    case DEMANGLE_COMPONENT_FIXED_TYPE:
        *left = n->u.s_fixed.length;
        return;
    case DEMANGLE_COMPONENT_LAMBDA:
    case DEMANGLE_COMPONENT_DEFAULT_ARG:
        *left = n->u.s_unary_num.sub;
        return;
    default:
        *left = n->u.s_binary.left;
        *right = n->u.s_binary.right;
    }
}

static uint32_t cost_of(measure *m, const node *n, unsigned depth) {
    if (!n || m->too_much) return 0;
    size_t slot = ((uintptr_t)n >> 4) * 0x9e3779b1u % SEEN_SLOTS;
    while (m->seen[slot].key && m->seen[slot].key != n) slot = (slot + 1) % SEEN_SLOTS;
    if (m->seen[slot].key) return m->seen[slot].cost;
    if (depth > DEPTH_MAX || ++m->seen_count > SEEN_SLOTS / 2) {
        m->too_much = 1;
        return 0;
    }
    m->seen[slot].key = n; /* a cycle would count nothing: the printer has a guard of its own against that */

    const node *left, *right;
    parts(n, &left, &right);
    if (n->type == DEMANGLE_COMPONENT_TEMPLATE) m->templates++;
    if ((n->type == DEMANGLE_COMPONENT_REFERENCE || n->type == DEMANGLE_COMPONENT_RVALUE_REFERENCE) && left &&
        left->type == DEMANGLE_COMPONENT_TEMPLATE_PARAM)
        m->scopes++;
    uint64_t cost = 1 + (uint64_t)cost_of(m, left, depth + 1) + cost_of(m, right, depth + 1);
    if (cost > COST_MAX) m->too_much = 1;
    m->seen[slot].cost = (uint32_t)(cost > COST_MAX ? COST_MAX : cost);
    return m->seen[slot].cost;
}

static int is_small(const node *root) {
    measure *m = calloc(1, sizeof *m);
    if (!m) return 0;
    cost_of(m, root, 0);
    int small = !m->too_much && m->templates * m->scopes <= SCOPE_PRODUCT_MAX;
    free(m);
    return small;
}

/* ---- Printing ---- */

typedef struct printer {
    char *out;
    size_t length;
    jmp_buf full;
} printer;

static void print_part(const char *text, size_t length, void *arg) {
    printer *p = arg;
    size_t room = SI__NAME_MAX - 1 - p->length;
    memcpy(p->out + p->length, text, length < room ? length : room);
    p->length += length < room ? length : room;
    if (length > room) longjmp(p->full, 1);
}

/* Prints a parsed name, or when root is NULL a mangled one. 1: printed, cut perhaps. */
static int print(node *root, const char *mangled, char *out, size_t *length) {
    printer p = {.out = out};
    if (setjmp(p.full) == 0) {
        int whole = root ? cplus_demangle_print_callback(OPTIONS, root, print_part, &p)
                         : cplus_demangle_v3_callback(mangled, OPTIONS, print_part, &p);
        *length = p.length;
        return whole && p.length > 0;
    }
    *length = SI__NAME_MAX - 1; /* print_part has filled it */
    return 1;
}

/* libiberty parses some names (unresolved ones in templates, older manglings) only when it prints them at once. Then
   the text must do as a measure: what explodes without printing anything are types that are mentioned again inside a
   pack. */
static int looks_small(const char *mangled, size_t length) {
    unsigned again = 0;
    if (length > UNPARSED_MAX) return 0;
    if (!strstr(mangled, "Dp") && !strstr(mangled, "sp") && !strstr(mangled, "sZ")) return 1;
    for (const char *p = mangled; (p = strchr(p, 'S')) != NULL; p++)
        again += p[1] == '_' || (p[1] >= '0' && p[1] <= '9') || (p[1] >= 'A' && p[1] <= 'Z');
    return again <= AGAIN_MAX;
}

size_t si__demangle(const char *symbol, char *out) {
    size_t stem = si__symbol_stem(symbol), length = stem < SI__NAME_MAX - 1 ? stem : SI__NAME_MAX - 1;
    memcpy(out, symbol, length);
    out[length] = 0;
    if (symbol[0] != '_' || symbol[1] != 'Z' || stem > MANGLED_MAX - 1) return length;

    char mangled[MANGLED_MAX];
    void *memory = NULL;
    memcpy(mangled, symbol, stem);
    mangled[stem] = 0;
    node *root = cplus_demangle_v3_components(mangled, OPTIONS, &memory);
    if (root ? is_small(root) : looks_small(mangled, stem)) {
        size_t printed;
        if (print(root, mangled, out, &printed))
            length = printed;
        else
            memcpy(out, mangled, length);
        out[length] = 0;
    }
    free(memory);
    return length;
}
