/* Functions of a call tree; see functions.h. Workers' threads. */
#include "functions.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

typedef struct slot { /* frame -> number; frame 0: free */
    uint32_t frame, number;
} slot;

struct si__functions {
    si__reader *reader;
    slot *slots; /* hash table, a power of two */
    size_t slot_count, used;
    si__function *items; /* 0: the root */
    size_t count, capacity;
    uint32_t *by_name; /* hash table of numbers; 0: free */
    size_t name_count;
};

si__functions *si__functions_new(si__reader *reader) {
    si__functions *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    *f = (si__functions){.reader = reader, .slot_count = 1024, .name_count = 1024, .count = 1, .capacity = 256};
    f->slots = calloc(f->slot_count, sizeof *f->slots);
    f->by_name = calloc(f->name_count, sizeof *f->by_name);
    f->items = calloc(f->capacity, sizeof *f->items);
    if (f->slots && f->by_name && f->items) {
        f->items[0] = (si__function){"", "", ""};
        return f;
    }
    si__functions_free(f);
    return NULL;
}

void si__functions_free(si__functions *functions) {
    if (!functions) return;
    for (size_t i = 1; functions->items && i < functions->count; i++) free((char *)functions->items[i].function);
    free(functions->items);
    free(functions->slots);
    free(functions->by_name);
    free(functions);
}

static size_t hash_text(size_t hash, const char *text) {
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return (hash ^ 0xff) * 1099511628211u;
}

static size_t hash_row(const char *function, const char *file, const char *module) {
    size_t hash = hash_text(hash_text(hash_text(14695981039346656037u, function), file), module);
    return hash ^ hash >> 29;
}

static int grow_names(si__functions *f) {
    size_t wider = f->name_count * 2;
    uint32_t *table = calloc(wider, sizeof *table);
    if (!table) return SI_ENOMEM;
    for (uint32_t i = 1; i < f->count; i++) {
        size_t at = hash_row(f->items[i].function, f->items[i].file, f->items[i].module) & (wider - 1);
        while (table[at]) at = (at + 1) & (wider - 1);
        table[at] = i;
    }
    free(f->by_name);
    f->by_name = table;
    f->name_count = wider;
    return SI_OK;
}

/* One block for the three strings of an item. */
static int add_item(si__functions *f, const si__frame_row *row) {
    if (f->count == f->capacity) {
        si__function *more = realloc(f->items, f->capacity * 2 * sizeof *more);
        if (!more) return SI_ENOMEM;
        f->items = more;
        f->capacity *= 2;
    }
    size_t a = strlen(row->function) + 1, b = strlen(row->file) + 1, c = strlen(row->module) + 1;
    char *text = malloc(a + b + c);
    if (!text) return SI_ENOMEM;
    memcpy(text, row->function, a);
    memcpy(text + a, row->file, b);
    memcpy(text + a + b, row->module, c);
    f->items[f->count++] = (si__function){text, text + a, text + a + b};
    return SI_OK;
}

static uint32_t number_of(si__functions *f, const si__frame_row *row) {
    if (f->count * 2 > f->name_count && grow_names(f)) return UINT32_MAX;
    size_t at = hash_row(row->function, row->file, row->module) & (f->name_count - 1);
    for (; f->by_name[at]; at = (at + 1) & (f->name_count - 1)) {
        const si__function *item = &f->items[f->by_name[at]];
        if (!strcmp(item->function, row->function) && !strcmp(item->file, row->file) &&
            !strcmp(item->module, row->module))
            return f->by_name[at];
    }
    if (add_item(f, row)) return UINT32_MAX;
    return f->by_name[at] = (uint32_t)(f->count - 1);
}

static int grow_slots(si__functions *f) {
    size_t wider = f->slot_count * 2;
    slot *table = calloc(wider, sizeof *table);
    if (!table) return SI_ENOMEM;
    for (size_t i = 0; i < f->slot_count; i++) {
        if (!f->slots[i].frame) continue;
        size_t at = f->slots[i].frame * (size_t)2654435761u & (wider - 1);
        while (table[at].frame) at = (at + 1) & (wider - 1);
        table[at] = f->slots[i];
    }
    free(f->slots);
    f->slots = table;
    f->slot_count = wider;
    return SI_OK;
}

uint32_t si__functions_of(si__functions *f, uint32_t frame) {
    if (!frame) return 0;
    if (f->used * 2 > f->slot_count && grow_slots(f)) return UINT32_MAX;
    size_t at = frame * (size_t)2654435761u & (f->slot_count - 1);
    for (; f->slots[at].frame; at = (at + 1) & (f->slot_count - 1))
        if (f->slots[at].frame == frame) return f->slots[at].number;
    si__frame_row row;
    if (si__read_frame(f->reader, frame, &row)) row = (si__frame_row){"?", "", "", 0};
    uint32_t number = number_of(f, &row);
    if (number == UINT32_MAX) return UINT32_MAX;
    f->slots[at] = (slot){frame, number};
    f->used++;
    return number;
}

size_t si__functions_count(const si__functions *functions) {
    return functions->count;
}

const si__function *si__functions_at(const si__functions *functions, uint32_t number) {
    return &functions->items[number];
}

uint32_t *si__functions_of_tree(si__functions *functions, const si__branch *branches, size_t count) {
    uint32_t *numbers = malloc((count + 1) * sizeof *numbers);
    for (size_t i = 0; numbers && i < count; i++) {
        numbers[i] = si__functions_of(functions, branches[i].frame);
        if (numbers[i] != UINT32_MAX) continue;
        free(numbers);
        return NULL;
    }
    return numbers;
}
