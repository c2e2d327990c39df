/*
 * The walker: from a set of registers outwards, by the rows that the publisher put into the region's arena.
 *
 * Runs in signal handlers of the observed program, on any thread: no lock, no allocation, no call, no read outside
 * the thread's stack and the arena. The arena may be rewritten meanwhile, by another process, or be damaged: tables are
 * pinned by the slot's epoch while we look at them, and every offset found in the arena is checked before it is
 * followed.
 */
#include "unwind.h"

#include <string.h>

#include "unwind_table.h"

#if defined(__x86_64__)
#define MACHINE 62    /* SI__MACHINE_X86_64 */
#define CALL_PUSHES 1 /* a call leaves the return address below the CFA */
#define LOAD_INSTRUCTION "movq (%1), %0"
enum { REG_SP = SI__X86_RSP, REG_FP = SI__X86_RBP, RED_ZONE = 128 };
#elif defined(__aarch64__)
#define MACHINE 183   /* SI__MACHINE_AARCH64 */
#define CALL_PUSHES 0 /* it leaves it in x30 */
#define LOAD_INSTRUCTION "ldr %0, [%1]"
enum { REG_SP = SI__ARM_SP, REG_FP = SI__ARM_FP, RED_ZONE = 0 };
#else
#error "the unwinder knows x86-64 and aarch64"
#endif

enum { MEMO = 4 };

#define INLINE static inline __attribute__((always_inline))

/* Addresses below this are not code: a call through a null pointer ends here. */
enum { NULL_PAGE = 65536 };

typedef enum step_result { STEP_FRAME, STEP_END, STEP_LOST, STEP_NEEDS_REGISTERS } step_result;

/* Every register, for the rare CFA that hangs on another than sp or fp; see walk_full. */
typedef struct register_file {
    uint64_t value[SI__REGISTER_COUNT];
    uint64_t known;
} register_file;

/* A module that this walk came by: its mapping, and its table once checked. */
typedef struct module_memo {
    uint64_t start, end, offset;
    si__table_view view;
    int has_view;
} module_memo;

typedef struct walk {
    char *arena;
    const uint64_t *starts;
    const si__unwind_entry *entries;
    uint64_t *memory; /* of the root; NULL: none */
    uint32_t module_count;
    uint32_t next;             /* of the memo, to be overwritten */
    module_memo memo[MEMO];    /* stacks go to and fro between few modules */
    const module_memo *module; /* of the last pc; start == end: none */
    uint64_t lo, hi;           /* readable stack */
    uint64_t stack_lo;
    uint64_t pc, sp, fp;  /* of the frame at hand */
    const si__regs *leaf; /* what the walk started from, while that frame is at hand */
    register_file *file;  /* NULL: not followed */
    int exact;            /* pc was interrupted, not returned to */
    int jumped;           /* sp went down once, from an alternate stack */
    int wanted;           /* a pc had no module */
} walk;

/* A load that no sanitizer looks at: the words between the variables of other functions are what we are after. */
INLINE uint64_t load(uint64_t address) {
    uint64_t value;
    __asm__ volatile(LOAD_INSTRUCTION : "=r"(value) : "r"(address));
    return value;
}

INLINE int readable(const walk *w, uint64_t address) {
    return address >= w->lo && address <= w->hi - 8;
}

/* Pointer authentication keeps a signature in the bits above the address. */
INLINE uint64_t code_address(uint64_t v) {
    return CALL_PUSHES ? v : v & 0x0000ffffffffffffull;
}

/* ---- Modules ---- */

INLINE void open_view(const walk *w, module_memo *m, uint32_t table) {
    uint64_t at = (uint64_t)table * SI__ARENA_UNIT;
    m->has_view = 0;
    if (!table || at >= SI__UNWIND_ARENA_BYTES) return;
    const si__unwind_table *t = (const si__unwind_table *)(const void *)(w->arena + at);
    m->has_view = si__table_view_init(&m->view, t, SI__UNWIND_ARENA_BYTES - at) && m->view.machine == MACHINE;
}

INLINE int holds(const module_memo *m, uint64_t pc) {
    return pc - m->start < m->end - m->start;
}

/* Makes the module of pc, which is not the one at hand, the one at hand. */
static __attribute__((noinline)) int find_module(walk *w, uint64_t pc) {
    for (unsigned i = 0; i < MEMO; i++) {
        if (!holds(&w->memo[i], pc)) continue;
        w->module = &w->memo[i];
        return 1;
    }
    uint32_t n = w->module_count;
    const uint64_t *base = w->starts;
    if (!n) return 0;
    while (n > 1) {
        uint32_t half = n / 2;
        base = SI__LOAD(&base[half]) <= pc ? base + half : base;
        n -= half;
    }
    const si__unwind_entry *entry = &w->entries[base - w->starts];
    uint64_t start = SI__LOAD(base), end = SI__LOAD(&entry->end);
    if (pc < start || pc >= end) return 0;
    module_memo *m = &w->memo[w->next++ % MEMO];
    m->start = start;
    m->end = end;
    m->offset = SI__LOAD(&entry->file_offset);
    open_view(w, m, SI__LOAD(&entry->table));
    w->module = m;
    return 1;
}

/* Returns 0 when pc lies in no module. */
INLINE int select_module(walk *w, uint64_t pc) {
    return holds(w->module, pc) || find_module(w, pc);
}

INLINE uint32_t look_up(const module_memo *m, uint64_t pc) {
    return m->has_view ? si__table_lookup(&m->view, pc - m->start + m->offset) : SI__ROW_GAP;
}

INLINE void open_root(walk *w, uint64_t root) {
    uint64_t at = (root & 0xffffffffu) * SI__ARENA_UNIT;
    w->module_count = 0;
    w->memory = NULL;
    if (!root || at < sizeof(si__unwind_arena) || at > SI__UNWIND_ARENA_BYTES - sizeof(si__unwind_root)) return;
    const si__unwind_root *r = (const si__unwind_root *)(const void *)(w->arena + at);
    uint64_t count = SI__LOAD(&r->count), room = SI__UNWIND_ARENA_BYTES - at - sizeof(*r);
    if (count > room / (sizeof(uint64_t) + sizeof(si__unwind_entry))) return;
    uint64_t memory = SI__LOAD(&r->memory_off);
    if (memory <= room && room - memory >= SI__MEMORY_COUNT * sizeof(uint64_t) && !(memory & 7))
        w->memory = (uint64_t *)(void *)(w->arena + at + memory);
    w->module_count = (uint32_t)count;
    w->starts = (const uint64_t *)(const void *)(r + 1);
    w->entries = (const si__unwind_entry *)(const void *)(w->starts + count);
}

/* ---- Registers ---- */

#if defined(__x86_64__)
INLINE int leaf_register(const si__regs *r, unsigned reg, uint64_t *out) {
#define AT(name) (uint8_t) offsetof(si__regs, name)
    static const uint8_t places[16] = {AT(rax), AT(rdx), AT(rcx), AT(rbx), AT(rsi), AT(rdi), AT(fp),  AT(sp),
                                       AT(r8),  AT(r9),  AT(r10), AT(r11), AT(r12), AT(r13), AT(r14), AT(r15)};
#undef AT
    if (reg >= sizeof(places)) return 0;
    *out = *(const uint64_t *)(const void *)((const char *)r + places[reg]);
    return 1;
}
#else
INLINE int leaf_register(const si__regs *r, unsigned reg, uint64_t *out) {
    *out = r->lr;
    return reg == SI__ARM_LR;
}
#endif

INLINE step_result get_register(const walk *w, unsigned reg, uint64_t *out) {
    *out = 0;
    if (reg == REG_SP || reg == REG_FP) {
        *out = reg == REG_SP ? w->sp : w->fp;
        return STEP_FRAME;
    }
    if (w->leaf) return leaf_register(w->leaf, reg, out) ? STEP_FRAME : STEP_LOST;
    if (!w->file) return STEP_NEEDS_REGISTERS;
    if (reg >= SI__REGISTER_COUNT || !(w->file->known >> reg & 1)) return STEP_LOST;
    *out = w->file->value[reg];
    return STEP_FRAME;
}

/* ---- Rules from the pool ---- */

INLINE si__operand operand_at(const walk *w, uint32_t word) {
    union {
        uint64_t word;
        si__operand operand;
    } u = {.word = SI__LOAD(&w->module->view.rules[word])};
    return u.operand;
}

/* The value that an operand stands for. `same`: what the register holds now. */
INLINE step_result evaluate(const walk *w, si__operand o, uint64_t cfa, uint64_t same, uint64_t *out) {
    uint64_t base = 0, address, index;
    step_result rc = STEP_FRAME;
    *out = same;
    switch (o.op) {
    case SI__OP_SAME:
        return STEP_FRAME;
    case SI__OP_UNDEFINED:
        *out = 0;
        return STEP_FRAME;
    case SI__OP_CFA:
        *out = cfa + (uint64_t)(int64_t)o.off;
        return STEP_FRAME;
    case SI__OP_AT_CFA:
        address = cfa + (uint64_t)(int64_t)o.off;
        break;
    case SI__OP_AT_ALIGNED:
        address = ((cfa - o.base) & (uint64_t)(int64_t)o.add) + (uint64_t)(int64_t)o.off;
        break;
    case SI__OP_REG:
    case SI__OP_PLT:
        rc = get_register(w, o.base, &base);
        *out = base + (uint64_t)(int64_t)o.off;
        if (o.op == SI__OP_PLT && (w->pc & 15) >= (uint64_t)(int64_t)o.add) *out += 8;
        return rc;
    case SI__OP_AT_REG:
        rc = get_register(w, o.base, &base);
        address = base + (uint64_t)(int64_t)o.off;
        break;
    default:
        return STEP_LOST;
    }
    if (o.op == SI__OP_AT_REG && o.target != SI__NO_INDEX && rc == STEP_FRAME && cfa == 0) { /* of a CFA only */
        rc = get_register(w, o.target, &index);
        address += 8 * index;
    }
    if (rc != STEP_FRAME) return rc;
    if (!readable(w, address)) return STEP_LOST;
    *out = load(address);
    if (o.op == SI__OP_AT_REG) *out += (uint64_t)(int64_t)o.add;
    return STEP_FRAME;
}

/* Restores what a pool rule says of the registers beyond sp and fp; also sp, when it has a rule of its own. */
INLINE void restore_others(walk *w, uint32_t word, uint32_t count, uint64_t cfa, uint64_t *sp) {
    register_file fresh;
    if (w->file) fresh = *w->file;
    for (uint32_t i = 0; i < count; i++) {
        si__operand o = operand_at(w, word + SI__RULE_OTHERS + i);
        uint64_t value;
        if (o.target == REG_SP) {
            if (evaluate(w, o, cfa, w->sp, &value) == STEP_FRAME) *sp = value;
        } else if (w->file && o.target < SI__REGISTER_COUNT) {
            int known = o.op != SI__OP_UNDEFINED && evaluate(w, o, cfa, w->file->value[o.target], &value) == STEP_FRAME;
            fresh.known &= ~(1ull << o.target);
            if (!known) continue;
            fresh.known |= 1ull << o.target;
            fresh.value[o.target] = value;
        }
    }
    if (w->file) *w->file = fresh;
}

/* A stack pointer must grow; only a signal handler's frame on an alternate stack may lie above what it interrupted,
 * once. */
INLINE int accept_sp(walk *w, uint64_t sp, int signal_frame) {
    if ((sp & 7) || sp > w->hi) return 0;
    if (sp > w->sp) return 1;
    if (!CALL_PUSHES && sp == w->sp && w->exact) return 1; /* a leaf without a frame */
    if (!signal_frame || w->jumped || sp < w->stack_lo) return 0;
    w->jumped = 1;
    if (sp < w->lo) w->lo = sp;
    return 1;
}

static step_result step_rule(walk *w, uint32_t rule) {
    uint32_t word = si__rule_word(rule);
    if (word > w->module->view.rule_words || w->module->view.rule_words - word < SI__RULE_OTHERS) return STEP_LOST;
    uint64_t head = SI__LOAD(&w->module->view.rules[word]), cfa, ra, fp, sp;
    uint32_t count = (uint32_t)head, signal_frame = (uint32_t)(head >> 32) & SI__RULE_SIGNAL;
    if (count > w->module->view.rule_words - word - SI__RULE_OTHERS || count > SI__RULE_OTHERS_MAX) return STEP_LOST;
    step_result rc = evaluate(w, operand_at(w, word + SI__RULE_CFA), 0, 0, &cfa);
    if (rc != STEP_FRAME) return rc;
    if (!cfa) return STEP_LOST;
    si__operand return_address = operand_at(w, word + SI__RULE_RA);
    if (return_address.op == SI__OP_UNDEFINED) return STEP_END;
    if (return_address.op == SI__OP_SAME) /* still in the link register */
        return_address = (si__operand){.op = SI__OP_REG, .base = SI__ARM_LR};
    rc = evaluate(w, return_address, cfa, 0, &ra);
    if (rc != STEP_FRAME) return rc;
    if (evaluate(w, operand_at(w, word + SI__RULE_FP), cfa, w->fp, &fp) != STEP_FRAME) fp = w->fp;
    sp = cfa;
    if (count) restore_others(w, word, count, cfa, &sp);
    if (!accept_sp(w, sp, (int)signal_frame)) return STEP_LOST;
    w->pc = code_address(ra);
    w->sp = sp;
    w->fp = fp;
    w->exact = signal_frame != 0;
    return STEP_FRAME;
}

/* ---- The common case ---- */

INLINE void restore_saves(walk *w, uint32_t set, uint64_t cfa) {
    if (!set || set >= w->module->view.save_count) return;
    uint64_t slots = SI__LOAD(&w->module->view.saves[set]);
    for (unsigned i = 0; i < SI__SAVED_COUNT; i++) {
        uint64_t slot = slots >> (8 * i) & 0xff;
        if (!slot || !readable(w, cfa - 8 * slot)) continue;
        w->file->value[si__saved_registers[i]] = load(cfa - 8 * slot);
        w->file->known |= 1ull << si__saved_registers[i];
    }
}

INLINE step_result step_compact(walk *w, uint32_t rule, unsigned kind) {
    uint64_t base = kind == SI__ROW_SP || kind == SI__ROW_SP_LINK ? w->sp : w->fp;
    uint64_t cfa = base + si__rule_cfa(rule), slot = si__rule_fp(rule), ra;
    if (CALL_PUSHES) {
        if (cfa <= w->sp || cfa > w->hi || (cfa & 7) || cfa - 8 < w->lo) return STEP_LOST;
        ra = load(cfa - 8);
        if (w->file) restore_saves(w, si__rule_saves(rule), cfa);
    } else {
        if (!accept_sp(w, cfa, 0)) return STEP_LOST;
        if (kind == SI__ROW_SP_LINK || kind == SI__ROW_FP_LINK) {
            step_result rc = get_register(w, SI__ARM_LR, &ra);
            if (rc != STEP_FRAME) return rc;
        } else {
            if (!readable(w, cfa - slot + 8)) return STEP_LOST;
            ra = load(cfa - slot + 8);
        }
    }
    if (slot && readable(w, cfa - slot)) w->fp = load(cfa - slot);
    w->pc = code_address(ra);
    w->sp = cfa;
    w->exact = 0;
    return STEP_FRAME;
}

/* ---- Without a row ---- */

/* Follows the frame pointer, if what it points to looks like a frame. `in_module`: pc lies in a known mapping; then its
   caller must, too. Generated code may be called from more of its kind that is not known yet. */
static step_result step_frame_pointer(walk *w, int in_module) {
    uint64_t pc, sp, fp = w->fp;
    if (CALL_PUSHES && w->leaf && w->pc < NULL_PAGE &&
        readable(w, w->sp)) { /* called nothing: only the call happened */
        pc = load(w->sp);
        sp = w->sp + 8;
    } else if (!CALL_PUSHES && w->leaf && (in_module || w->pc < NULL_PAGE)) { /* ditto, or a linker's stub */
        pc = code_address(w->leaf->lr);
        sp = w->sp;
    } else {
        if (fp < w->sp || (fp & 7) || fp > w->hi - 16) return STEP_LOST;
        pc = code_address(load(fp + 8));
        sp = fp + 16;
        fp = load(fp);
        if (fp && fp < sp) return STEP_LOST;
    }
    if (!pc) return STEP_END;
    if (!select_module(w, pc) && (in_module || pc < NULL_PAGE)) return STEP_LOST;
    w->pc = pc;
    w->sp = sp;
    w->fp = fp;
    w->exact = 0;
    return STEP_FRAME;
}

INLINE step_result step(walk *w) {
    uint64_t at = w->pc - !w->exact; /* a call can be a function's last instruction */
    int in_module = select_module(w, at);
    uint32_t rule = in_module ? look_up(w->module, at) : SI__ROW_GAP;
    step_result rc;
    switch (si__rule_kind(rule)) {
    case SI__ROW_END:
        return STEP_END;
    case SI__ROW_SP:
    case SI__ROW_FP:
    case SI__ROW_SP_LINK:
    case SI__ROW_FP_LINK:
        rc = step_compact(w, rule, si__rule_kind(rule));
        break;
    case SI__ROW_RULE:
        rc = step_rule(w, rule);
        break;
    default:
        if (!in_module) w->wanted = 1;
        rc = step_frame_pointer(w, in_module);
    }
    w->leaf = NULL;
    if (rc == STEP_FRAME && w->pc < NULL_PAGE) rc = w->pc ? STEP_LOST : STEP_END; /* threads may end in a zero */
    return rc;
}

INLINE step_result walk_on(walk *w, uint64_t *pcs, unsigned cap, unsigned *count) {
    for (;;) {
        step_result rc = step(w);
        if (rc != STEP_FRAME) return rc;
        if (*count == cap) return STEP_LOST;
        pcs[(*count)++] = w->pc;
    }
}

/* The rule of a return address, which is remembered if it is of the compact kind. */
INLINE uint32_t recall(walk *w, uint64_t at) {
    uint64_t *place = w->memory + si__memory_place(at), word = SI__LOAD(place);
    if (__builtin_expect(word >> SI__MEMORY_RULE_BITS == at >> SI__MEMORY_SHIFT, 1)) return (uint32_t)word & 0x7fffffu;
    uint32_t rule = select_module(w, at) ? look_up(w->module, at) : SI__ROW_GAP;
    if (((rule & 6) == SI__ROW_SP || rule == SI__ROW_END) && !(at >> SI__MEMORY_ADDRESS_BITS))
        __atomic_store_n(place, at >> SI__MEMORY_SHIFT << SI__MEMORY_RULE_BITS | (rule & 0x7fffffu), __ATOMIC_RELAXED);
    return rule;
}

#if CALL_PUSHES
static __attribute__((noinline)) step_result step_any(walk *w) {
    return step(w);
}

/* The same as walk_on with step_compact, with the frame at hand kept in registers: nearly all frames are of this kind.
 */
static step_result walk_fast(walk *w, uint64_t *pcs, unsigned cap, unsigned *count) {
    uint64_t pc = w->pc, sp = w->sp, fp = w->fp;
    unsigned n = *count, called = 0; /* 1: pc was returned to */
    w->file = NULL;
    for (;;) {
        uint64_t at = pc - called;
        uint32_t rule;
        if (called && w->memory)
            rule = recall(w, at);
        else
            rule = select_module(w, at) ? look_up(w->module, at) : SI__ROW_GAP;
        if (__builtin_expect((rule & 6) == SI__ROW_SP, 1)) { /* or SI__ROW_FP */
            uint64_t cfa = (rule & 1 ? fp : sp) + si__rule_cfa(rule), slot = si__rule_fp(rule);
            uint64_t fp_at = cfa - (slot ? slot : 8); /* one load more, but no branch */
            if (cfa <= sp || cfa > w->hi || (cfa & 7) || cfa - 8 < w->lo) return STEP_LOST;
            pc = load(cfa - 8);
            if (fp_at >= w->lo) fp = slot ? load(fp_at) : fp;
            sp = cfa;
            called = 1;
            if (pc < NULL_PAGE) return pc ? STEP_LOST : STEP_END;
        } else if (rule == SI__ROW_END) {
            return STEP_END;
        } else {
            w->pc = pc;
            w->sp = sp;
            w->fp = fp;
            w->exact = !called;
            step_result rc = step_any(w);
            if (rc != STEP_FRAME) return rc;
            pc = w->pc;
            sp = w->sp;
            fp = w->fp;
            called = !w->exact;
        }
        w->leaf = NULL;
        if (n == cap) return STEP_LOST;
        pcs[n++] = pc;
        *count = n;
    }
}
#else
static step_result walk_fast(walk *w, uint64_t *pcs, unsigned cap, unsigned *count) {
    w->file = NULL;
    return walk_on(w, pcs, cap, count);
}
#endif

/* Starts over, following every register that callers keep. */
static __attribute__((noinline)) step_result walk_full(walk *w, const si__regs *regs, uint64_t *pcs, unsigned cap,
                                                       unsigned *count) {
    register_file file;
    file.known = 0;
    for (unsigned reg = 0; reg < SI__REGISTER_COUNT; reg++)
        if (leaf_register(regs, reg, &file.value[reg])) file.known |= 1ull << reg;
    w->file = &file;
    return walk_on(w, pcs, cap, count);
}

static void walk_begin(walk *w, const si__regs *regs) {
    w->pc = regs->pc;
    w->sp = regs->sp;
    w->fp = regs->fp;
    w->leaf = regs;
    w->exact = 1;
    w->jumped = 0;
    w->wanted = 0;
}

/* ---- Pinning ----
   Sequentially consistent on purpose: either the publisher sees our pin, or we see the root that it published before it
   looked. */

static uint64_t pin(si__unwind_arena *arena, si__slot *slot, int *pinned) {
    uint64_t root = atomic_load_explicit(&arena->root, memory_order_relaxed);
    *pinned = 0;
    if (!root) return 0;
    if (!slot) {
        atomic_fetch_add(&arena->anonymous, 1);
        *pinned = 1;
    } else if (atomic_load_explicit(&slot->unwind_epoch, memory_order_relaxed) == 0) {
        atomic_exchange(&slot->unwind_epoch, (uint32_t)(root >> 32));
        *pinned = 1;
    } /* else: we interrupted a walk of this thread, whose older pin covers us */
    return atomic_load(&arena->root);
}

static void unpin(si__unwind_arena *arena, si__slot *slot, int pinned) {
    if (!pinned) return;
    if (slot)
        atomic_store_explicit(&slot->unwind_epoch, 0, memory_order_release);
    else
        atomic_fetch_sub_explicit(&arena->anonymous, 1, memory_order_release);
}

/* ---- Tables of the process that we were forked from ----
   They are the publisher's and the parent's: a child only reads them, and remembers in a place of its own. */

static struct {
    si__unwind_arena *arena; /* NULL: nothing is inherited */
    uint64_t root;           /* as it was; what another one names may lie where this one's tables were */
} inherited;
static uint64_t inherited_memory[SI__MEMORY_COUNT];

static int still_inherited(void) {
    return inherited.arena && atomic_load(&inherited.arena->root) == inherited.root;
}

void si__unwind_inherit(si__region *parent, si__region *region) {
    si__unwind_arena *of_parent = (si__unwind_arena *)(void *)((char *)parent + parent->unwind_off);
    uint64_t root = atomic_load(&of_parent->root);
    if (root) {
        if (inherited.arena) {
            si__region_unmap_tables(inherited.arena);
            memset(inherited_memory, 0, sizeof inherited_memory);
        }
        inherited.arena = si__region_unmap_but_tables(parent);
        inherited.root = root;
    } else {
        if (!atomic_load(&parent->inherits)) inherited.root = 0; /* it had given them up, for a reason */
        si__region_unmap(parent);
    }
    atomic_store(&region->inherits, still_inherited() && inherited.root);
}

static void give_up_inherited(si__region *region) {
    if (!atomic_exchange(&region->inherits, 0)) return;
    atomic_fetch_add(&region->modules_wanted, 1);
}

unsigned si__unwind(si__region *region, si__slot *slot, const si__regs *regs, uint64_t stack_lo, uint64_t stack_hi,
                    uint64_t *pcs, unsigned cap, unsigned *flags) {
    if (!cap) return 0;
    pcs[0] = regs->pc;
    stack_hi &= ~7ull;
    if (stack_hi < 16 || regs->sp < stack_lo || regs->sp > stack_hi - 8) {
        *flags |= SI__STACK_OFF;
        return 1;
    }
    walk w;
    for (unsigned i = 0; i < MEMO; i++) w.memo[i].start = w.memo[i].end = 0;
    w.module = &w.memo[0];
    w.next = 0;
    w.lo = regs->sp - stack_lo > RED_ZONE ? regs->sp - RED_ZONE : stack_lo;
    w.stack_lo = stack_lo;
    w.hi = stack_hi;
    si__unwind_arena *arena = (si__unwind_arena *)(void *)((char *)region + region->unwind_off);
    int pinned;
    uint64_t root = pin(arena, slot, &pinned);
    int inherits = !root && atomic_load_explicit(&region->inherits, memory_order_relaxed);
    w.arena = inherits ? (char *)inherited.arena : (char *)arena;
    open_root(&w, inherits ? inherited.root : root);
    if (inherits) w.memory = inherited_memory;
    unsigned count = 1;
    walk_begin(&w, regs);
    step_result rc = walk_fast(&w, pcs, cap, &count);
    if (rc == STEP_NEEDS_REGISTERS) {
        count = 1;
        walk_begin(&w, regs);
        rc = walk_full(&w, regs, pcs, cap, &count);
    }
    unpin(arena, slot, pinned);
    if (inherits && !still_inherited()) {
        memset(pcs + 1, 0, (count - 1) * sizeof *pcs); /* may be given back, and the ring wants that empty */
        count = 1;
        rc = STEP_LOST;
        give_up_inherited(region);
    }
    if (rc != STEP_END) *flags |= SI__STACK_TRUNCATED;
    if (w.wanted) { /* once per publication: it is the publisher who answers */
        uint32_t seen = atomic_load_explicit(&region->modules_seen, memory_order_relaxed);
        atomic_compare_exchange_strong_explicit(&region->modules_wanted, &seen, seen + 1, memory_order_relaxed,
                                                memory_order_relaxed);
    }
    return count;
}
