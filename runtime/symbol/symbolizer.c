/*
 * The symbolizer: takes a batch of offsets of one binary, asks the cache, and puts the sources together for the rest.
 * Called by profile/resolve.c and profile/pprof.c on the worker thread.
 */
#include "symbolizer.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demangle.h"
#include "dwarf_frames.h"
#include "elf_symbols.h"
#include "entry_point.h"
#include "function_range.h"
#include "object.h"
#include "query.h"
#include "si/si.h"
#include "symbol_cache.h"

enum {
    CACHE_BYTES = 2 * 1024 * 1024,
    UNITS_MAX = 24 /* compilation units that libdw may hold at once: each takes 50 KiB to some MiB */
};

/* Texts of the answer being put together; frames point into it. */
typedef struct answer {
    si__symbol frames[SI__INLINE_MAX];
    size_t count;
    char names[SI__INLINE_MAX][SI__NAME_MAX];
} answer;

struct si__symbolizer {
    si__symbol_cache *cache;
    si__symbolizer_counts counts;
    answer answer;
};

/* One call of si__symbolizer_resolve. */
typedef struct batch {
    si__symbolizer *symbolizer;
    const si__binary *binary;
    void (*put)(void *arg, size_t index, const si__symbol *frames, size_t frame_count);
    void *arg;
    si__query *queries; /* what the cache did not know */
    size_t count;
} batch;

si__symbolizer *si__symbolizer_new(size_t cache_bytes) {
    si__symbolizer *symbolizer = calloc(1, sizeof *symbolizer);
    if (!symbolizer) return NULL;
    symbolizer->cache = si__symbol_cache_new(cache_bytes ? cache_bytes : (size_t)CACHE_BYTES);
    if (symbolizer->cache) return symbolizer;
    free(symbolizer);
    return NULL;
}

void si__symbolizer_free(si__symbolizer *symbolizer) {
    if (!symbolizer) return;
    si__symbol_cache_free(symbolizer->cache);
    free(symbolizer);
}

void si__symbolizer_counts_get(const si__symbolizer *symbolizer, si__symbolizer_counts *out) {
    *out = symbolizer->counts;
    out->cache_entries = si__symbol_cache_entries(symbolizer->cache);
    out->cache_bytes = si__symbol_cache_bytes(symbolizer->cache);
}

/* ---- One answer ---- */

static void add_frame(answer *a, const char *symbol, const char *file, uint32_t line) {
    char *name = a->names[a->count];
    si__demangle(symbol, name);
    a->frames[a->count++] = (si__symbol){
        .function = name[0] ? name : "[unknown]",
        .system_name = strncmp(symbol, "_Z", 2) == 0 && strlen(symbol) < SI__NAME_MAX ? symbol : name,
        .file = file ? file : "",
        .line = line,
    };
}

/* A name made from what little is known: the file and a place in it. */
static void add_placeholder(answer *a, const si__binary *binary, uint64_t place, const char *what) {
    char *name = a->names[a->count];
    snprintf(name, SI__NAME_MAX, "[%.200s%s%s+0x%llx]", binary->name, what[0] ? " " : "", what,
             (unsigned long long)place);
    a->frames[a->count++] = (si__symbol){.function = name, .system_name = name, .file = ""};
}

static void answer_query(batch *b, si__dwarf_frames *dwarf, const si__query *q) {
    si__dwarf_frame frames[SI__INLINE_MAX];
    answer *a = &b->symbolizer->answer;
    a->count = 0;
    size_t count = dwarf ? si__dwarf_frames_at(dwarf, q->address, frames, SI__INLINE_MAX) : 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = frames[i].name;
        int outermost = i + 1 == count;
        /* The symbol table knows the public name of an alias: malloc, where DWARF says __libc_malloc. */
        if (outermost && q->symbol && (!name || si__symbol_rank_is_sized(q->symbol_rank))) name = q->symbol;
        if (name) {
            add_frame(a, name, frames[i].file, frames[i].line);
        } else {
            add_placeholder(a, b->binary, q->fde_start != q->fde_end ? q->fde_start : q->address, "");
            a->frames[a->count - 1].file = frames[i].file ? frames[i].file : "";
            a->frames[a->count - 1].line = frames[i].line;
        }
        a->frames[a->count - 1].inlined = !outermost;
    }
    if (count == 0 && q->is_plt) {
        char *name = a->names[0];
        size_t length = si__demangle(q->symbol, name);
        snprintf(name + (length < SI__NAME_MAX - 5 ? length : SI__NAME_MAX - 5), 5, "@plt");
        a->frames[a->count++] = (si__symbol){.function = name, .system_name = name, .file = ""};
    } else if (count == 0 && q->symbol) {
        add_frame(a, q->symbol, NULL, 0);
    } else if (count == 0) {
        add_placeholder(a, b->binary, q->fde_start != q->fde_end ? q->fde_start : q->address, "");
    }
}

static void deliver(batch *b, const si__query *q, int keep) {
    const answer *a = &b->symbolizer->answer;
    if (keep) si__symbol_cache_put(b->symbolizer->cache, b->binary->serial, q->offset, a->frames, a->count);
    b->put(b->arg, q->index, a->frames, a->count);
}

/* ---- The batch ---- */

static int by_address(const void *a, const void *b) {
    const si__query *x = a, *y = b;
    return x->address < y->address ? -1 : x->address > y->address;
}

/* libdw's answer to lack of memory is to end the process, unless its handler does not come back. */
static _Thread_local jmp_buf *out_of_memory;
static __attribute__((noreturn)) void leave_libdw(void) {
    longjmp(*out_of_memory, 1);
}

/* Queries from `first` on, until all are answered or libdw has looked at so much that it is opened anew. Returns the
   next one. */
static size_t answer_some(batch *b, const si__object *object, size_t first) {
    si__dwarf_frames *const dwarf = object->dwarf ? si__dwarf_frames_new(object->dwarf) : NULL;
    jmp_buf here;
    volatile size_t next = first;
    volatile int with_dwarf = dwarf != NULL;
    out_of_memory = &here;
    if (object->dwarf) dwarf_new_oom_handler(object->dwarf, leave_libdw);
    if (object->alt_dwarf) dwarf_new_oom_handler(object->alt_dwarf, leave_libdw);
    if (setjmp(here)) with_dwarf = 0; /* the rest gets names without lines */
    for (; next < b->count; next++) {
        if (with_dwarf && si__dwarf_frames_units(dwarf) >= UNITS_MAX) break;
        answer_query(b, with_dwarf ? dwarf : NULL, &b->queries[next]);
        deliver(b, &b->queries[next], object->dwarf == NULL || with_dwarf);
    }
    si__dwarf_frames_free(dwarf);
    return next;
}

static void resolve_opened(batch *b, si__object *object) {
    for (size_t i = 0; i < b->count; i++) {
        si__query *q = &b->queries[i];
        if (!si__object_address(object, q->offset, &q->address)) q->address = q->offset;
    }
    qsort(b->queries, b->count, sizeof *b->queries, by_address);
    uint64_t section = 0;
    Elf_Data *data = si__elf_section(object->elf, ".eh_frame", &section);
    if (data) si__function_ranges(data->d_buf, data->d_size, section, b->queries, b->count);
    si__elf_symbols(object->elf, b->queries, b->count);
    if (object->debug.elf) si__elf_symbols(object->debug.elf, b->queries, b->count);
    si__elf_plt(object->elf, b->queries, b->count);
    si__entry_point_symbols(object, b->queries, b->count);
    for (size_t next = 0; (next = answer_some(b, object, next)) < b->count;) si__object_renew(object);
}

static void resolve_unopened(batch *b, int keep) {
    int is_gone = b->binary->deleted || b->binary->file.inode != 0; /* it was there once */
    for (size_t i = 0; i < b->count; i++) {
        b->symbolizer->answer.count = 0;
        add_placeholder(&b->symbolizer->answer, b->binary, b->queries[i].offset, is_gone ? "(deleted)" : "");
        deliver(b, &b->queries[i], keep);
    }
}

int si__symbolizer_resolve(si__symbolizer *symbolizer, const si__binary *binary, const uint64_t *offsets, size_t count,
                           void (*put)(void *arg, size_t index, const si__symbol *frames, size_t frame_count),
                           void *arg) {
    batch b = {symbolizer, binary, put, arg, NULL, 0};
    if (count == 0) return 0;
    b.queries = calloc(count, sizeof *b.queries);
    if (!b.queries) return SI_ENOMEM;
    symbolizer->counts.asked += count;
    for (size_t i = 0; i < count; i++) {
        size_t known;
        const si__symbol *frames = si__symbol_cache_get(symbolizer->cache, binary->serial, offsets[i], &known);
        if (frames)
            put(arg, i, frames, known);
        else
            b.queries[b.count++] = (si__query){.offset = offsets[i], .index = i};
    }
    symbolizer->counts.cached += count - b.count;
    if (b.count > 0) {
        si__object object;
        int result = si__object_open(&object, binary);
        symbolizer->counts.opened += result == 0;
        symbolizer->counts.unreadable += result != 0;
        if (result == 0) {
            resolve_opened(&b, &object);
            si__object_close(&object);
        } else {
            resolve_unopened(&b, result == SI_ENOTFOUND);
        }
    }
    free(b.queries);
    return 0;
}
