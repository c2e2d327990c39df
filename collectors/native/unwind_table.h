/*
 * Compiled unwind information of one ELF file, and how it is laid out in a region's arena.
 *
 * A table is one relocatable block of bytes: a header, a coarse index, rows, and two pools that rows refer to. All
 * positions are file offsets, so that one table serves every process and every address the file is mapped at.
 * Built by the runtime's worker thread (unwind_table.c), read in signal handlers (unwind.c). Nothing in here holds a
 * pointer.
 *
 * A row is a 64-bit word: file offset of the first instruction it holds for in the upper half, its rule in the lower
 * half. It holds up to the next row's offset. Rows are sorted, so that comparing words compares offsets.
 */
#ifndef SI_NATIVE_UNWIND_TABLE_H
#define SI_NATIVE_UNWIND_TABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Rules ----
   bits 0..2 kind; for the kinds that are frames: bits 3..14 (CFA - register) / 8, bits 15..22 slot of the caller's
   frame pointer (0: unchanged, n: at CFA - 8n), bits 23..31 saved set (0: nothing else is saved). For SI__ROW_RULE:
   bits 3..31 index of a word in the rule pool. */
enum {
    SI__ROW_GAP = 0,     /* no information */
    SI__ROW_END = 1,     /* outermost frame: there is no caller */
    SI__ROW_SP = 2,      /* CFA from the stack pointer; return address where the machine's calls put it */
    SI__ROW_FP = 3,      /* CFA from the frame pointer; ditto */
    SI__ROW_SP_LINK = 4, /* CFA from the stack pointer; return address still in the link register (aarch64) */
    SI__ROW_FP_LINK = 5,
    SI__ROW_RULE = 6 /* anything else: operands in the rule pool */
};
enum { SI__ROWS_PADDING = 4 }; /* rows after the last, beyond every offset, so that a look-up may read past its block */
enum { SI__ROW_CFA_MAX = 0xfff, SI__ROW_FP_MAX = 0xff, SI__ROW_SAVES_MAX = 0x1ff };

static inline unsigned si__rule_kind(uint32_t rule) {
    return rule & 7u;
}
static inline uint32_t si__rule_cfa(uint32_t rule) {
    return (rule >> 3 & 0xfffu) * 8;
}
static inline uint32_t si__rule_fp(uint32_t rule) {
    return (rule >> 15 & 0xffu) * 8;
}
static inline uint32_t si__rule_saves(uint32_t rule) {
    return rule >> 23;
}
static inline uint32_t si__rule_word(uint32_t rule) {
    return rule >> 3;
}

/* ---- Operands: how one value of the caller is found. Registers carry their DWARF numbers of the machine. ---- */
enum {
    SI__OP_SAME = 0,   /* the register keeps its value */
    SI__OP_UNDEFINED,  /* lost; as return address: end of the stack */
    SI__OP_AT_CFA,     /* memory at CFA + off */
    SI__OP_CFA,        /* CFA + off */
    SI__OP_AT_REG,     /* memory at register + off (+ 8 * index register), then + add */
    SI__OP_REG,        /* register + off */
    SI__OP_AT_ALIGNED, /* memory at ((CFA - base) & add) + off: saved in a realigned frame */
    SI__OP_PLT,        /* register + off, + 8 when the low four bits of pc are >= add: a stub that pushes one word */
    SI__OP_UNKNOWN     /* only while compiling: an expression we cannot do */
};
enum { SI__NO_INDEX = 0xff };

typedef struct si__operand {
    uint8_t op;
    uint8_t base;   /* register */
    uint8_t target; /* the register it restores; of a CFA: index register or SI__NO_INDEX */
    int8_t add;
    int32_t off;
} si__operand;
_Static_assert(sizeof(si__operand) == 8, "an operand is one word of the rule pool");

/* In the rule pool: one head word, then operands: CFA, return address, frame pointer, and `count` others. */
enum { SI__RULE_SIGNAL = 1 }; /* flags: the frame below was interrupted, not called: its pc is exact */
typedef struct si__rule_head {
    uint32_t count;
    uint32_t flags;
} si__rule_head;
enum { SI__RULE_CFA = 1, SI__RULE_RA = 2, SI__RULE_FP = 3, SI__RULE_OTHERS = 4, SI__RULE_OTHERS_MAX = 32 };

/* A saved set: byte i tells in words below CFA where the i-th of these was stored; 0: not stored. x86-64 only: on
   aarch64 no compiler derives a CFA from any other register than sp and x29. */
enum { SI__SAVED_COUNT = 5 };
extern const uint8_t si__saved_registers[SI__SAVED_COUNT]; /* rbx r12 r13 r14 r15 */

/* DWARF register numbers that the two machines use. */
enum {
    SI__X86_RBX = 3,
    SI__X86_RBP = 6,
    SI__X86_RSP = 7,
    SI__X86_R10 = 10,
    SI__X86_R12 = 12,
    SI__X86_RA = 16,
    SI__ARM_FP = 29,
    SI__ARM_LR = 30,
    SI__ARM_SP = 31,
    SI__REGISTER_COUNT = 33
};
enum { SI__MACHINE_X86_64 = 62, SI__MACHINE_AARCH64 = 183 }; /* as e_machine */

#define SI__TABLE_MAGIC 0x74777573u
/* index[b] is the last row at or before the start of block b; blocks are 1 << shift bytes of text, so a look-up touches
   one line of the index and one or two of the rows. */
typedef struct si__unwind_table {
    uint32_t magic, machine;
    uint32_t bytes; /* of the whole table, a multiple of 64 */
    uint32_t pc_lo, pc_hi;
    uint32_t shift;
    uint32_t index_count; /* blocks + 1 */
    uint32_t row_count;   /* with padding */
    uint32_t save_count;  /* 8-byte sets */
    uint32_t rule_words;
    uint32_t index_off, rows_off, saves_off, rules_off; /* bytes from the header */
    uint32_t reserved[2];
} si__unwind_table;
_Static_assert(sizeof(si__unwind_table) == 64, "tables are made of cache lines");

/* ---- The arena ---- */

#define SI__ARENA_MAGIC 0x61777573u
enum { SI__ARENA_UNIT = 64 }; /* everything in the arena starts at a multiple of this */

struct si__unwind_arena {
    uint32_t magic;
    uint32_t reserved;
    uint64_t owner;             /* the publisher that laid this arena out */
    _Atomic uint64_t root;      /* generation << 32 | offset of the si__unwind_root in units; 0: nothing published */
    _Atomic uint32_t anonymous; /* walks under way without a slot: nothing is reclaimed meanwhile */
    uint32_t pad[9];
};

/* Followed by uint64_t starts[count], then si__unwind_entry[count]: apart, so that a search touches few lines; and by
   the memory of walks: return addresses come again and again, and this finds the rule of one in a single line. Written
   by walks, begun empty with every root. */
typedef struct si__unwind_root {
    uint32_t count;
    uint32_t memory_off; /* bytes from here to uint64_t [SI__MEMORY_COUNT] */
} si__unwind_root;

/* One word of it: the address >> SI__MEMORY_SHIFT over the low 23 bits of a rule that needs no saved set. The place
   holds the other bits of the address, so that nothing is ever mistaken for something else. */
enum {
    SI__MEMORY_SHIFT = 13,
    SI__MEMORY_COUNT = 1 << SI__MEMORY_SHIFT,
    SI__MEMORY_RULE_BITS = 23,
    SI__MEMORY_ADDRESS_BITS = 54
};
static inline uint64_t si__memory_place(uint64_t address) {
    return (address ^ address >> SI__MEMORY_SHIFT) & (SI__MEMORY_COUNT - 1);
}

typedef struct si__unwind_entry {
    uint64_t end;
    uint64_t file_offset; /* of the mapping's start */
    uint32_t table;       /* offset in units; 0: a known mapping without rows */
    uint32_t reserved;
} si__unwind_entry;

/* ---- Building ---- */

typedef struct si__table_builder si__table_builder;

/* `machine`: e_machine. NULL: out of memory. */
si__table_builder *si__table_builder_new(unsigned machine);
void si__table_builder_free(si__table_builder *builder);

/* What holds at one pc: the CFA and every register's rule, in DWARF numbers. `ra`: the return address column. */
typedef struct si__frame_state {
    si__operand cfa;
    si__operand regs[SI__REGISTER_COUNT];
} si__frame_state;

/* Adds a row from file offset `pc` on; rows must come in ascending order. 0, SI_ENOMEM or SI_ELIMIT. */
int si__table_add(si__table_builder *builder, uint32_t pc, const si__frame_state *state, unsigned ra, int signal_frame);
/* Ends the rows so far at `pc`. */
int si__table_add_gap(si__table_builder *builder, uint32_t pc);

/* Makes the table; the caller frees it with free(). NULL and *error: SI_ENOMEM, SI_ELIMIT, or SI_ENOTFOUND (no rows).
 */
si__unwind_table *si__table_finish(si__table_builder *builder, int *error);

/* ---- Compiling ---- */

/* Compiles the unwind information of an ELF64 little-endian file, x86-64 or aarch64; every byte of it may be hostile.
   The caller frees *out with free(). 0, SI_ENOTFOUND (no .eh_frame), SI_EFORMAT, SI_ELIMIT, SI_EIO, SI_ENOMEM. Any
   thread. */
int si__unwind_compile_fd(int fd, si__unwind_table **out);
int si__unwind_compile_memory(const void *image, size_t size, si__unwind_table **out);
/* Ditto from an address space (a descriptor of /proc/PID/mem): for files that are gone from disk. `base`: where the ELF
 * header is mapped. */
int si__unwind_compile_mapped(int mem_fd, uint64_t base, si__unwind_table **out);

/* ---- Reading ---- */

/* A table whose extents have been checked; all indices into it are checked against these copies. */
typedef struct si__table_view {
    const uint32_t *index;
    const uint64_t *rows;
    const uint64_t *saves;
    const uint64_t *rules;
    uint32_t machine, pc_lo, pc_hi, shift, index_count, row_count, save_count, rule_words;
} si__table_view;

#define SI__LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED) /* read once: what was checked is what is used */

static inline int si__table_extent(uint32_t bytes, uint32_t off, uint32_t count, uint32_t size) {
    return !(off & (size - 1)) && off <= bytes && count <= (bytes - off) / size;
}

/* Checks a table of which `room` bytes may be read. Returns 0 when it cannot be trusted. Async-signal-safe. */
static inline int si__table_view_init(si__table_view *v, const si__unwind_table *t, uint64_t room) {
    if (room < sizeof(*t) || SI__LOAD(&t->magic) != SI__TABLE_MAGIC) return 0;
    uint32_t bytes = SI__LOAD(&t->bytes);
    uint32_t index_off = SI__LOAD(&t->index_off), rows_off = SI__LOAD(&t->rows_off);
    uint32_t saves_off = SI__LOAD(&t->saves_off), rules_off = SI__LOAD(&t->rules_off);
    v->machine = SI__LOAD(&t->machine);
    v->pc_lo = SI__LOAD(&t->pc_lo);
    v->pc_hi = SI__LOAD(&t->pc_hi);
    v->shift = SI__LOAD(&t->shift);
    v->index_count = SI__LOAD(&t->index_count);
    v->row_count = SI__LOAD(&t->row_count);
    v->save_count = SI__LOAD(&t->save_count);
    v->rule_words = SI__LOAD(&t->rule_words);
    if (bytes > room || v->shift > 31 || v->row_count <= SI__ROWS_PADDING || v->index_count < 2) return 0;
    if (!si__table_extent(bytes, index_off, v->index_count, 4) || !si__table_extent(bytes, rows_off, v->row_count, 8) ||
        !si__table_extent(bytes, saves_off, v->save_count, 8) || !si__table_extent(bytes, rules_off, v->rule_words, 8))
        return 0;
    const char *base = (const char *)t;
    v->index = (const uint32_t *)(const void *)(base + index_off);
    v->rows = (const uint64_t *)(const void *)(base + rows_off);
    v->saves = (const uint64_t *)(const void *)(base + saves_off);
    v->rules = (const uint64_t *)(const void *)(base + rules_off);
    return 1;
}

/* The rule at a file offset; SI__ROW_GAP where there is none. Async-signal-safe. */
static inline uint32_t si__table_lookup(const si__table_view *v, uint64_t offset) {
    if (offset < v->pc_lo || offset >= v->pc_hi) return SI__ROW_GAP;
    uint32_t block = (uint32_t)(offset - v->pc_lo) >> v->shift;
    if (block + 1 >= v->index_count) return SI__ROW_GAP;
    uint32_t lo = SI__LOAD(&v->index[block]), hi = SI__LOAD(&v->index[block + 1]);
    if (lo > hi || hi >= v->row_count - SI__ROWS_PADDING) return SI__ROW_GAP;
    uint64_t key = offset << 32 | 0xffffffffu;
    while (hi - lo > SI__ROWS_PADDING) { /* a crowded block */
        uint32_t mid = lo + (hi - lo) / 2;
        int before = SI__LOAD(&v->rows[mid]) <= key;
        lo = before ? mid : lo;
        hi = before ? hi : mid;
    }
    /* Four comparisons at once are faster than two that wait for each other. Rows are sorted: those of the next block
     * count nothing. */
    const uint64_t *base = v->rows + lo;
    base += (SI__LOAD(&base[1]) <= key) + (SI__LOAD(&base[2]) <= key) + (SI__LOAD(&base[3]) <= key) +
            (SI__LOAD(&base[4]) <= key);
    return (uint32_t)SI__LOAD(base);
}

#endif
