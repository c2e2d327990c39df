/*
 * DWARF expressions of .eh_frame, done symbolically: the few shapes that compilers, linkers and hand-written assembly
 * use become one operand each, so that no interpreter runs in a signal handler. Called by the .eh_frame compiler.
 */
#include "eh_frame.h"

enum {
    OP_DEREF = 0x06,
    OP_CONST1U = 0x08,
    OP_CONST8S = 0x0f,
    OP_CONSTU = 0x10,
    OP_CONSTS = 0x11,
    OP_DUP = 0x12,
    OP_DROP = 0x13,
    OP_AND = 0x1a,
    OP_MINUS = 0x1c,
    OP_MUL = 0x1e,
    OP_PLUS = 0x22,
    OP_PLUS_UCONST = 0x23,
    OP_SHL = 0x24,
    OP_GE = 0x2a,
    OP_LIT0 = 0x30,
    OP_BREG0 = 0x70,
    OP_BREGX = 0x92,
    OP_NOP = 0x96,
    DEPTH_MAX = 8,
    NO_REGISTER = 0xff
};

/* What a stack entry stands for. */
typedef enum shape {
    CONSTANT,   /* off */
    LINEAR,     /* base + 8 * index + off */
    SCALED,     /* 8 * index */
    STORED,     /* memory at (base + 8 * index + off), + add */
    ALIGNED,    /* ((CFA - less) & mask) + off */
    PC_LOW,     /* pc & 15 */
    PC_REACHED, /* (pc & 15) >= less, as 0 or `add` */
    PLT         /* base + off + ((pc & 15) >= less ? add : 0) */
} shape;

typedef struct term {
    shape shape;
    unsigned base, index; /* registers; base NO_REGISTER: the CFA */
    int64_t off, add, mask, less;
} term;

typedef struct machine {
    term stack[DEPTH_MAX];
    unsigned depth;
    unsigned pc_register;
    int failed;
} machine;

static void push(machine *m, term t) {
    if (m->depth == DEPTH_MAX) {
        m->failed = 1;
        return;
    }
    m->stack[m->depth++] = t;
}

static term pop(machine *m) {
    if (m->depth) return m->stack[--m->depth];
    m->failed = 1;
    return (term){.shape = CONSTANT};
}

/* Offsets stay small, so that no sum of a few of them can overflow. */
static int64_t bounded(machine *m, int64_t v) {
    if (v > INT32_MAX || v < INT32_MIN) {
        m->failed = 1;
        return 0;
    }
    return v;
}

static void add_constant(machine *m, term t, int64_t c) {
    c = bounded(m, c);
    if (t.shape == STORED)
        t.add = bounded(m, t.add + c);
    else if (t.shape == CONSTANT || t.shape == LINEAR || t.shape == ALIGNED || t.shape == PLT)
        t.off = bounded(m, t.off + c);
    else
        m->failed = 1;
    push(m, t);
}

static void do_plus(machine *m) {
    term b = pop(m), a = pop(m);
    if (b.shape == CONSTANT) {
        add_constant(m, a, b.off);
    } else if (a.shape == CONSTANT) {
        add_constant(m, b, a.off);
    } else if (a.shape == LINEAR && b.shape == SCALED && a.index == NO_REGISTER) {
        a.index = b.index;
        push(m, a);
    } else if (a.shape == LINEAR && b.shape == PC_REACHED && a.index == NO_REGISTER) {
        a.shape = PLT;
        a.less = b.less;
        a.add = b.add;
        push(m, a);
    } else {
        m->failed = 1;
    }
}

static void do_and(machine *m) {
    term b = pop(m), a = pop(m);
    if (a.shape == LINEAR && b.shape == CONSTANT && a.base == m->pc_register && a.off == 0 && b.off == 15) {
        a.shape = PC_LOW;
    } else if (a.shape == LINEAR && b.shape == CONSTANT && a.base == NO_REGISTER && a.index == NO_REGISTER) {
        a.shape = ALIGNED;
        a.less = -a.off;
        a.mask = b.off;
        a.off = 0;
    } else {
        m->failed = 1;
    }
    push(m, a);
}

static void do_binary(machine *m, unsigned op) {
    term b = pop(m), a = pop(m);
    if (b.shape != CONSTANT) {
        m->failed = 1;
    } else if (op == OP_MINUS) {
        add_constant(m, a, -b.off);
    } else if (op == OP_GE && a.shape == PC_LOW) {
        a.shape = PC_REACHED;
        a.less = b.off;
        a.add = 1;
        push(m, a);
    } else if (op == OP_SHL && a.shape == PC_REACHED && b.off >= 0 && b.off < 8) {
        a.add = a.add * (1 << b.off) & 0xff;
        push(m, a);
    } else if (a.shape == LINEAR && a.off == 0 && a.index == NO_REGISTER && a.base != NO_REGISTER &&
               ((op == OP_SHL && b.off == 3) || (op == OP_MUL && b.off == 8))) {
        a.shape = SCALED;
        a.index = a.base;
        push(m, a);
    } else {
        m->failed = 1;
    }
}

static void do_deref(machine *m) {
    term t = pop(m);
    if (t.shape == LINEAR && t.base != NO_REGISTER)
        t.shape = STORED, t.add = 0;
    else
        m->failed = 1;
    push(m, t);
}

static int64_t constant(si__eh_reader *r, unsigned op) {
    unsigned bytes = 1u << ((op - OP_CONST1U) / 2);
    uint64_t v = si__eh_fixed(r, bytes);
    if ((op - OP_CONST1U) % 2 == 0 || bytes == 8) return (int64_t)v;
    unsigned unused = 64 - 8 * bytes;
    return (int64_t)(v << unused) >> unused;
}

static void step(machine *m, si__eh_reader *r) {
    unsigned op = (unsigned)si__eh_fixed(r, 1);
    if (op >= OP_LIT0 && op < OP_LIT0 + 32) {
        push(m, (term){.shape = CONSTANT, .off = op - OP_LIT0});
    } else if ((op >= OP_BREG0 && op < OP_BREG0 + 32) || op == OP_BREGX) {
        uint64_t reg = op == OP_BREGX ? si__eh_uleb(r) : op - OP_BREG0;
        if (reg >= SI__REGISTER_COUNT) m->failed = 1;
        push(m,
             (term){.shape = LINEAR, .base = (unsigned)reg, .index = NO_REGISTER, .off = bounded(m, si__eh_sleb(r))});
    } else if (op >= OP_CONST1U && op <= OP_CONST8S) {
        push(m, (term){.shape = CONSTANT, .off = bounded(m, constant(r, op))});
    } else if (op == OP_CONSTU || op == OP_CONSTS) {
        int64_t v = op == OP_CONSTU ? (int64_t)si__eh_uleb(r) : si__eh_sleb(r);
        push(m, (term){.shape = CONSTANT, .off = bounded(m, v)});
    } else if (op == OP_PLUS_UCONST) {
        add_constant(m, pop(m), bounded(m, (int64_t)si__eh_uleb(r)));
    } else if (op == OP_DUP) {
        term t = pop(m);
        push(m, t);
        push(m, t);
    } else if (op == OP_DROP) {
        pop(m);
    } else if (op == OP_DEREF) {
        do_deref(m);
    } else if (op == OP_PLUS) {
        do_plus(m);
    } else if (op == OP_AND) {
        do_and(m);
    } else if (op == OP_MINUS || op == OP_GE || op == OP_SHL || op == OP_MUL) {
        do_binary(m, op);
    } else if (op != OP_NOP) {
        m->failed = 1;
    }
}

static int fits_int8(int64_t v) {
    return v >= INT8_MIN && v <= INT8_MAX;
}

/* The operand for a term; `memory`: the term is the address of the value. */
static si__operand operand_of(const term *t, int memory) {
    const si__operand unknown = {.op = SI__OP_UNKNOWN};
    si__operand o = {.base = (uint8_t)t->base, .target = SI__NO_INDEX, .off = (int32_t)t->off};
    switch (t->shape) {
    case LINEAR:
        if (t->base == NO_REGISTER)
            o.op = memory ? SI__OP_AT_CFA : SI__OP_CFA;
        else
            o.op = memory ? SI__OP_AT_REG : SI__OP_REG;
        if (t->index != NO_REGISTER) return unknown;
        break;
    case STORED:
        if (memory || !fits_int8(t->add)) return unknown;
        o.op = SI__OP_AT_REG;
        o.add = (int8_t)t->add;
        break;
    case ALIGNED:
        if (!memory || !fits_int8(t->mask) || t->less < 0 || t->less > 0xff) return unknown;
        o.op = SI__OP_AT_ALIGNED;
        o.base = (uint8_t)t->less;
        o.add = (int8_t)t->mask;
        break;
    case PLT:
        if (memory || t->add != 8 || t->base == NO_REGISTER || t->less < 0 || t->less > 15) return unknown;
        o.op = SI__OP_PLT;
        o.add = (int8_t)t->less;
        break;
    default:
        return unknown;
    }
    o.target = (uint8_t)t->index;
    return o;
}

si__operand si__eh_expression(const unsigned char *code, size_t size, int address, int with_cfa, unsigned elf_machine) {
    machine m = {.pc_register = elf_machine == SI__MACHINE_X86_64 ? SI__X86_RA : 0xfe};
    si__eh_reader r = {.at = code, .end = code + size};
    if (with_cfa) push(&m, (term){.shape = LINEAR, .base = NO_REGISTER, .index = NO_REGISTER});
    while (r.at < r.end && !m.failed && !r.failed) step(&m, &r);
    term top = pop(&m);
    if (m.failed || r.failed) return (si__operand){.op = SI__OP_UNKNOWN};
    return operand_of(&top, address);
}
