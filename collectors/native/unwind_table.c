/*
 * Builds an unwind table: takes the state of every register at rising file offsets, encodes each as a 32-bit rule,
 * merges what is equal, and lays the result out for the walker. Called by the .eh_frame compiler on the runtime's
 * worker thread.
 */
#include "unwind_table.h"

#include <stdlib.h>
#include <string.h>

#include "region.h"
#include "si/si.h"

enum {
    ROWS_MAX = 6 * 1024 * 1024, /* 48 MiB: more would not fit the arena anyway */
    WORDS_MAX = 1024 * 1024,    /* of the rule pool */
    PADDING_MAX = 16,           /* shorter holes between functions are alignment: nothing runs there */
    ROWS_PER_BLOCK = 4
};

const uint8_t si__saved_registers[SI__SAVED_COUNT] = {SI__X86_RBX, SI__X86_R12, 13, 14, 15};

/* Open addressing: a place in a pool by its content. */
typedef struct pool_index {
    uint32_t *places; /* place + 1; 0: free */
    uint32_t capacity, used;
} pool_index;

struct si__table_builder {
    unsigned machine, sp, fp;
    uint64_t *rows;
    size_t row_count, row_capacity;
    uint64_t saves[SI__ROW_SAVES_MAX + 1]; /* [0]: nothing saved */
    uint32_t save_count;
    uint64_t *words;
    uint32_t word_count, word_capacity;
    pool_index rules;
};

si__table_builder *si__table_builder_new(unsigned machine) {
    si__table_builder *b = calloc(1, sizeof(*b));
    if (!b) return NULL;
    b->machine = machine;
    b->sp = machine == SI__MACHINE_X86_64 ? SI__X86_RSP : SI__ARM_SP;
    b->fp = machine == SI__MACHINE_X86_64 ? SI__X86_RBP : SI__ARM_FP;
    b->save_count = 1;
    return b;
}

void si__table_builder_free(si__table_builder *b) {
    if (!b) return;
    free(b->rows);
    free(b->words);
    free(b->rules.places);
    free(b);
}

/* ---- The rule pool ---- */

static uint32_t words_hash(const uint64_t *words, uint32_t count) {
    uint64_t h = 0x9e3779b97f4a7c15ull;
    for (uint32_t i = 0; i < count; i++) h = (h ^ words[i]) * 0xff51afd7ed558ccdull, h ^= h >> 32;
    return (uint32_t)h;
}

static uint32_t rule_length(const uint64_t *words) {
    si__rule_head head;
    memcpy(&head, words, sizeof(head));
    return SI__RULE_OTHERS + head.count;
}

static void pool_insert(si__table_builder *b, uint32_t place) {
    uint32_t mask = b->rules.capacity - 1;
    uint32_t at = words_hash(b->words + place, rule_length(b->words + place)) & mask;
    while (b->rules.places[at]) at = (at + 1) & mask;
    b->rules.places[at] = place + 1;
    b->rules.used++;
}

static int pool_grow(si__table_builder *b) {
    pool_index old = b->rules;
    uint32_t capacity = old.capacity ? old.capacity * 2 : 64;
    uint32_t *places = calloc(capacity, sizeof(*places));
    if (!places) return SI_ENOMEM;
    b->rules = (pool_index){.places = places, .capacity = capacity};
    for (uint32_t i = 0; i < old.capacity; i++)
        if (old.places[i]) pool_insert(b, old.places[i] - 1);
    free(old.places);
    return 0;
}

/* Finds or appends a rule of `count` words. */
static int pool_get(si__table_builder *b, const uint64_t *rule, uint32_t count, uint32_t *place_out) {
    if (b->rules.used * 2 >= b->rules.capacity) {
        int rc = pool_grow(b);
        if (rc) return rc;
    }
    uint32_t mask = b->rules.capacity - 1;
    for (uint32_t at = words_hash(rule, count) & mask; b->rules.places[at]; at = (at + 1) & mask) {
        uint32_t place = b->rules.places[at] - 1;
        if (rule_length(b->words + place) == count && !memcmp(b->words + place, rule, count * 8ul)) {
            *place_out = place;
            return 0;
        }
    }
    if (b->word_count + count > WORDS_MAX) return SI_ELIMIT;
    if (b->word_count + count > b->word_capacity) {
        uint32_t capacity = b->word_capacity ? b->word_capacity * 2 : 256;
        uint64_t *words = realloc(b->words, capacity * sizeof(*words));
        if (!words) return SI_ENOMEM;
        b->words = words;
        b->word_capacity = capacity;
    }
    memcpy(b->words + b->word_count, rule, count * 8ul);
    *place_out = b->word_count;
    b->word_count += count;
    pool_insert(b, *place_out);
    return 0;
}

/* ---- Encoding ---- */

/* The slot n of "at CFA - 8n", 0 when unchanged, -1 when neither. */
static int slot_of(const si__operand *o, int max) {
    if (o->op == SI__OP_SAME) return 0;
    if (o->op != SI__OP_AT_CFA || o->off >= 0 || o->off % 8 || o->off < -8 * max) return -1;
    return -o->off / 8;
}

static int saves_get(si__table_builder *b, uint64_t set) {
    for (uint32_t i = 0; i < b->save_count; i++)
        if (b->saves[i] == set) return (int)i;
    if (b->save_count > SI__ROW_SAVES_MAX) return -1;
    b->saves[b->save_count] = set;
    return (int)b->save_count++;
}

/* The one-word form, or SI__ROW_GAP when the state does not fit it. */
static uint32_t encode_compact(si__table_builder *b, const si__frame_state *s, const si__operand *ra) {
    const si__operand *cfa = &s->cfa;
    if (cfa->op != SI__OP_REG || (cfa->base != b->sp && cfa->base != b->fp) || s->regs[b->sp].op != SI__OP_SAME)
        return SI__ROW_GAP;
    if (cfa->off < 0 || cfa->off % 8 || cfa->off / 8 > SI__ROW_CFA_MAX) return SI__ROW_GAP;
    int fp = slot_of(&s->regs[b->fp], SI__ROW_FP_MAX);
    if (fp < 0) return SI__ROW_GAP;
    unsigned kind = cfa->base == b->sp ? SI__ROW_SP : SI__ROW_FP;
    int saves = 0;
    if (b->machine == SI__MACHINE_X86_64) {
        if (ra->op != SI__OP_AT_CFA || ra->off != -8) return SI__ROW_GAP;
        uint64_t set = 0;
        for (unsigned i = 0; i < SI__SAVED_COUNT; i++) {
            int slot = slot_of(&s->regs[si__saved_registers[i]], 0xff);
            if (slot < 0) return SI__ROW_GAP;
            set |= (uint64_t)slot << (8 * i);
        }
        saves = saves_get(b, set);
        if (saves < 0) return SI__ROW_GAP;
    } else if (ra->op == SI__OP_SAME) {
        kind += SI__ROW_SP_LINK - SI__ROW_SP;
    } else if (fp == 0 || ra->op != SI__OP_AT_CFA || ra->off != 8 - 8 * fp) {
        return SI__ROW_GAP;
    }
    return kind | (uint32_t)(cfa->off / 8) << 3 | (uint32_t)fp << 15 | (uint32_t)saves << 23;
}

static int worth_keeping(const si__table_builder *b, unsigned reg, int signal_frame) {
    if (reg == b->fp) return 0; /* has its own place */
    if (signal_frame || reg == b->sp) return 1;
    for (unsigned i = 0; i < SI__SAVED_COUNT; i++)
        if (b->machine == SI__MACHINE_X86_64 && reg == si__saved_registers[i]) return 1;
    return 0;
}

/* The pool form. */
static int encode_full(si__table_builder *b, const si__frame_state *s, unsigned ra, int signal_frame, uint32_t *rule) {
    uint64_t words[SI__RULE_OTHERS + SI__RULE_OTHERS_MAX];
    si__operand cfa = s->cfa, fp = s->regs[b->fp];
    if (fp.op == SI__OP_UNKNOWN) fp.op = SI__OP_UNDEFINED;
    si__rule_head head = {.flags = signal_frame ? SI__RULE_SIGNAL : 0};
    for (unsigned reg = 0; reg < SI__REGISTER_COUNT && head.count < SI__RULE_OTHERS_MAX; reg++) {
        si__operand o = s->regs[reg];
        if (o.op == SI__OP_SAME || reg == ra || !worth_keeping(b, reg, signal_frame)) continue;
        if (o.op == SI__OP_UNKNOWN) o.op = SI__OP_UNDEFINED;
        o.target = (uint8_t)reg;
        memcpy(&words[SI__RULE_OTHERS + head.count++], &o, 8);
    }
    memcpy(&words[0], &head, 8);
    memcpy(&words[SI__RULE_CFA], &cfa, 8);
    memcpy(&words[SI__RULE_RA], &s->regs[ra], 8);
    memcpy(&words[SI__RULE_FP], &fp, 8);
    uint32_t place;
    int rc = pool_get(b, words, SI__RULE_OTHERS + head.count, &place);
    if (rc) return rc;
    *rule = SI__ROW_RULE | place << 3;
    return 0;
}

static int encode(si__table_builder *b, const si__frame_state *s, unsigned ra, int signal_frame, uint32_t *rule) {
    const si__operand *r = &s->regs[ra];
    *rule = SI__ROW_GAP;
    if (r->op == SI__OP_UNDEFINED) {
        *rule = SI__ROW_END;
        return 0;
    }
    if (s->cfa.op == SI__OP_UNKNOWN || s->cfa.op == SI__OP_UNDEFINED || r->op == SI__OP_UNKNOWN) return 0;
    if (b->machine == SI__MACHINE_X86_64 && r->op == SI__OP_SAME) return 0;
    if (!signal_frame) *rule = encode_compact(b, s, r);
    return *rule == SI__ROW_GAP ? encode_full(b, s, ra, signal_frame, rule) : 0;
}

/* ---- Rows ---- */

static int append(si__table_builder *b, uint32_t pc, uint32_t rule) {
    while (b->row_count) {
        uint64_t last = b->rows[b->row_count - 1];
        int padding = (uint32_t)last == SI__ROW_GAP && b->row_count > 1 && pc - (uint32_t)(last >> 32) < PADDING_MAX;
        if (last >> 32 != pc && !(padding && rule != SI__ROW_GAP)) break;
        b->row_count--; /* an empty row, or alignment between two functions */
    }
    if (b->row_count && (uint32_t)b->rows[b->row_count - 1] == rule) return 0;
    if (b->row_count >= ROWS_MAX) return SI_ELIMIT;
    if (b->row_count == b->row_capacity) {
        size_t capacity = b->row_capacity ? b->row_capacity * 2 : 1024;
        uint64_t *rows = realloc(b->rows, capacity * sizeof(*rows));
        if (!rows) return SI_ENOMEM;
        b->rows = rows;
        b->row_capacity = capacity;
    }
    b->rows[b->row_count++] = (uint64_t)pc << 32 | rule;
    return 0;
}

int si__table_add(si__table_builder *b, uint32_t pc, const si__frame_state *state, unsigned ra, int signal_frame) {
    uint32_t rule;
    int rc = encode(b, state, ra, signal_frame, &rule);
    return rc ? rc : append(b, pc, rule);
}

int si__table_add_gap(si__table_builder *b, uint32_t pc) {
    return b->row_count ? append(b, pc, SI__ROW_GAP) : 0;
}

/* ---- Layout ---- */

static void fill_index(const si__table_builder *b, const si__unwind_table *t, uint32_t *index) {
    size_t row = 0;
    for (uint32_t block = 0; block < t->index_count; block++) {
        uint64_t start = t->pc_lo + ((uint64_t)block << t->shift);
        while (row + 1 < b->row_count && b->rows[row + 1] >> 32 <= start) row++;
        index[block] = (uint32_t)row;
    }
}

si__unwind_table *si__table_finish(si__table_builder *b, int *error) {
    *error = SI_ENOTFOUND;
    if (b->row_count < 2) return NULL;
    si__unwind_table head = {.magic = SI__TABLE_MAGIC, .machine = b->machine};
    head.pc_lo = (uint32_t)(b->rows[0] >> 32);
    head.pc_hi = (uint32_t)(b->rows[b->row_count - 1] >> 32); /* always a gap */
    head.row_count = (uint32_t)b->row_count + SI__ROWS_PADDING;
    uint32_t span = head.pc_hi - head.pc_lo;
    while (span >> head.shift > head.row_count / ROWS_PER_BLOCK + 16) head.shift++;
    head.index_count = (span >> head.shift) + 2;
    head.save_count = b->save_count;
    head.rule_words = b->word_count;
    uint64_t bytes = sizeof(head);
    head.rows_off = (uint32_t)bytes;
    bytes += head.row_count * 8ul;
    head.saves_off = (uint32_t)bytes;
    bytes += b->save_count * 8ul;
    head.rules_off = (uint32_t)bytes;
    bytes += b->word_count * 8ul;
    head.index_off = (uint32_t)bytes;
    bytes += head.index_count * 4ul;
    bytes = (bytes + SI__ARENA_UNIT - 1) & ~(uint64_t)(SI__ARENA_UNIT - 1);
    *error = SI_ELIMIT;
    if (bytes > SI__UNWIND_ARENA_BYTES) return NULL;
    head.bytes = (uint32_t)bytes;
    *error = SI_ENOMEM;
    char *out = calloc(1, bytes);
    if (!out) return NULL;
    memcpy(out, &head, sizeof(head));
    memcpy(out + head.rows_off, b->rows, b->row_count * 8);
    memset(out + head.rows_off + b->row_count * 8, 0xff, SI__ROWS_PADDING * 8ul);
    memcpy(out + head.saves_off, b->saves, b->save_count * 8ul);
    if (b->word_count) memcpy(out + head.rules_off, b->words, b->word_count * 8ul);
    fill_index(b, &head, (uint32_t *)(void *)(out + head.index_off));
    *error = 0;
    return (si__unwind_table *)(void *)out;
}
