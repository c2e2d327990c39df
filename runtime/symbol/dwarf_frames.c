/*
 * Reads DWARF through libdw for a batch of sorted addresses. Called by the symbolizer on the worker thread.
 *
 * A compilation unit is looked at once: its functions are collected into a sorted array, and an address then costs a
 * binary search and a walk down the inlined calls of one function. Depth and number of entries visited are bounded: the
 * file may be hostile.
 */
#include "dwarf_frames.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 48, CHAIN_MAX = 64, RANGES_MAX = 4096 };
#define VISITS_MAX 20000000ull

typedef struct range {
    uint64_t lo, hi;
    Dwarf_Off die; /* of the function, or of the unit */
} range;

typedef struct ranges {
    range *items;
    size_t count, capacity;
} ranges;

struct si__dwarf_frames {
    Dwarf *dwarf;
    Dwarf_Die unit; /* the unit looked at last */
    Dwarf_Off unit_offset;
    int has_unit;
    Dwarf_Files *files; /* of the unit; NULL: none */
    ranges functions;   /* of the unit, sorted by lo */
    int deep;           /* 1: functions inside functions are among them */
    ranges units;       /* made when .debug_aranges does not help; sorted by lo */
    int units_made;
    uint64_t visits;
    unsigned units_entered;
};

si__dwarf_frames *si__dwarf_frames_new(Dwarf *dwarf) {
    si__dwarf_frames *f = calloc(1, sizeof *f);
    if (f) f->dwarf = dwarf;
    return f;
}

void si__dwarf_frames_free(si__dwarf_frames *f) {
    if (!f) return;
    free(f->functions.items);
    free(f->units.items);
    free(f);
}

unsigned si__dwarf_frames_units(const si__dwarf_frames *f) {
    return f->units_entered;
}

/* ---- Ranges ---- */

static int by_start(const void *a, const void *b) {
    const range *x = a, *y = b;
    if (x->lo != y->lo) return x->lo < y->lo ? -1 : 1;
    return x->hi > y->hi ? -1 : x->hi < y->hi; /* the wider first, so that the last match is the innermost */
}

static int add_range(ranges *r, uint64_t lo, uint64_t hi, Dwarf_Off die) {
    if (hi <= lo || lo == 0) return 1; /* 0: code that the linker has dropped */
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? r->capacity * 2 : 64;
        range *items = realloc(r->items, capacity * sizeof *items);
        if (!items) return 0;
        r->items = items;
        r->capacity = capacity;
    }
    r->items[r->count++] = (range){lo, hi, die};
    return 1;
}

/* All address ranges of an entry. */
static int add_die_ranges(ranges *r, Dwarf_Die *die, Dwarf_Off offset) {
    Dwarf_Addr base, lo, hi;
    ptrdiff_t at = 0;
    for (unsigned i = 0; i < RANGES_MAX && (at = dwarf_ranges(die, at, &base, &lo, &hi)) > 0; i++)
        if (!add_range(r, lo, hi, offset)) return 0;
    return 1;
}

/* The innermost range that holds an address, or NULL. Ranges hardly ever overlap: a few steps back are enough. */
static const range *find_range(const ranges *r, uint64_t address) {
    size_t lo = 0, hi = r->count;
    while (lo < hi) {
        size_t middle = (lo + hi) / 2;
        if (r->items[middle].lo <= address)
            lo = middle + 1;
        else
            hi = middle;
    }
    for (size_t i = lo, steps = 0; i-- > 0 && steps < 64; steps++)
        if (address < r->items[i].hi) return &r->items[i];
    return NULL;
}

/* ---- Units and their functions ---- */

/* Where functions are found. `deep`: also inside functions, where those of lambdas and local classes are; that is to
   walk through every entry of the unit, so it is done only when an address is in no other function. */
static int holds_functions(int tag, int deep) {
    if (tag == DW_TAG_namespace || tag == DW_TAG_module) return 1;
    if (tag == DW_TAG_class_type || tag == DW_TAG_structure_type || tag == DW_TAG_union_type) return 1;
    return deep && (tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block);
}

static int collect_functions(si__dwarf_frames *f, Dwarf_Die *parent, unsigned depth) {
    Dwarf_Die die;
    if (depth > DEPTH_MAX || dwarf_child(parent, &die) != 0) return 1;
    do {
        if (++f->visits > VISITS_MAX) return 0;
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram && !add_die_ranges(&f->functions, &die, dwarf_dieoffset(&die))) return 0;
        if (holds_functions(tag, f->deep) && !collect_functions(f, &die, depth + 1)) return 0;
    } while (dwarf_siblingof(&die, &die) == 0);
    return 1;
}

static void find_functions(si__dwarf_frames *f, int deep) {
    f->functions.count = 0;
    f->deep = deep;
    (void)collect_functions(f, &f->unit, 0); /* what was found counts, whatever stopped it */
    if (f->functions.count) qsort(f->functions.items, f->functions.count, sizeof(range), by_start);
}

/* libdw does not check every allocation of its own: without some room it is better not called at all. */
static int has_headroom(void) {
    void *volatile room = malloc(1 << 20);
    free(room);
    return room != NULL;
}

static void enter_unit(si__dwarf_frames *f, Dwarf_Die *unit) {
    Dwarf_Off offset = dwarf_dieoffset(unit);
    if (f->has_unit && f->unit_offset == offset) return;
    f->unit = *unit;
    f->unit_offset = offset;
    f->has_unit = 1;
    f->units_entered++;
    size_t count;
    if (dwarf_getsrcfiles(unit, &f->files, &count) != 0) f->files = NULL;
    find_functions(f, 0);
}

/* Every unit's ranges: for files without .debug_aranges (clang writes none). */
static void make_units(si__dwarf_frames *f) {
    Dwarf_CU *unit = NULL;
    Dwarf_Die die, split;
    Dwarf_Half version;
    uint8_t type;
    f->units_made = 1;
    while (dwarf_get_units(f->dwarf, unit, &unit, &version, &type, &die, &split) == 0) {
        if (++f->visits > VISITS_MAX) break;
        if (type == DW_UT_compile && !add_die_ranges(&f->units, &die, dwarf_dieoffset(&die))) break;
    }
    if (f->units.count) qsort(f->units.items, f->units.count, sizeof(range), by_start);
}

/* Is the address in the unit that was looked at last? */
static int knows(const si__dwarf_frames *f, uint64_t address) {
    return f->has_unit && find_range(&f->functions, address);
}

static int find_unit(si__dwarf_frames *f, uint64_t address) {
    Dwarf_Die unit;
    if (knows(f, address)) return 1;
    if (!f->units_made && dwarf_addrdie(f->dwarf, address, &unit)) {
        enter_unit(f, &unit);
        return 1;
    }
    if (!f->units_made) make_units(f);
    const range *r = find_range(&f->units, address);
    if (!r || !dwarf_offdie(f->dwarf, r->die, &unit)) return 0;
    enter_unit(f, &unit);
    return 1;
}

/* ---- One address ---- */

static const char *name_of(Dwarf_Die *die) {
    Dwarf_Attribute attribute;
    static const unsigned names[] = {DW_AT_linkage_name, DW_AT_MIPS_linkage_name, DW_AT_name};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = dwarf_formstring(dwarf_attr_integrate(die, names[i], &attribute));
        if (name && *name) return name;
    }
    return NULL;
}

static uint32_t number_of(Dwarf_Die *die, unsigned name) {
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    if (dwarf_formudata(dwarf_attr(die, name, &attribute), &value) || value > UINT32_MAX) return 0;
    return (uint32_t)value;
}

/* Appends the inlined calls below `die` that hold the address, outermost first. */
static size_t collect_inlined(si__dwarf_frames *f, Dwarf_Die *die, uint64_t address, Dwarf_Die *chain, size_t used) {
    Dwarf_Die child, parent = *die;
    for (unsigned depth = 0; depth < DEPTH_MAX && used < CHAIN_MAX; depth++) {
        if (dwarf_child(&parent, &child) != 0) return used;
        int found = 0;
        do {
            if (++f->visits > VISITS_MAX) return used;
            int tag = dwarf_tag(&child);
            if (tag != DW_TAG_lexical_block && tag != DW_TAG_inlined_subroutine) continue;
            found = dwarf_haspc(&child, address) == 1;
        } while (!found && dwarf_siblingof(&child, &child) == 0);
        if (!found) return used;
        if (dwarf_tag(&child) == DW_TAG_inlined_subroutine) chain[used++] = child;
        parent = child;
    }
    return used;
}

static void line_at(si__dwarf_frames *f, uint64_t address, si__dwarf_frame *out) {
    Dwarf_Line *line = dwarf_getsrc_die(&f->unit, address);
    bool end = false;
    int number = 0;
    if (!line || dwarf_lineendsequence(line, &end) || end) return;
    out->file = dwarf_linesrc(line, NULL, NULL);
    if (dwarf_lineno(line, &number) == 0 && number > 0) out->line = (uint32_t)number;
}

size_t si__dwarf_frames_at(si__dwarf_frames *f, uint64_t address, si__dwarf_frame *out, size_t cap) {
    Dwarf_Die chain[CHAIN_MAX];
    size_t used = 0, count = 0;
    if (f->visits > VISITS_MAX || (!knows(f, address) && !has_headroom()) || !find_unit(f, address)) return 0;
    const range *function = find_range(&f->functions, address);
    if (!function && !f->deep) {
        find_functions(f, 1);
        function = find_range(&f->functions, address);
    }
    if (function && dwarf_offdie(f->dwarf, function->die, &chain[0]))
        used = collect_inlined(f, &chain[0], address, chain, 1);

    si__dwarf_frame next = {0}; /* where execution is in the frame to be written */
    line_at(f, address, &next);
    for (size_t i = used; i-- > 0 && count < cap;) {
        out[count] = next;
        out[count++].name = name_of(&chain[i]);
        next = (si__dwarf_frame){.line = number_of(&chain[i], DW_AT_call_line)};
        uint32_t file = number_of(&chain[i], DW_AT_call_file);
        next.file = f->files ? dwarf_filesrc(f->files, file, NULL, NULL) : NULL;
    }
    if (used == 0 && (next.file || next.line)) out[count++] = next; /* assembly: a line, but no function */
    return count;
}
