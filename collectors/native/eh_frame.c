/*
 * Compiles .eh_frame into unwind table rows: finds the records, sorts the functions by file offset, and runs each one's
 * call frame instructions. Called on the runtime's worker thread; the input is hostile.
 */
#include "eh_frame.h"

#include <stdlib.h>
#include <string.h>

#include "si/si.h"

enum {
    STATES_MAX = 16,            /* remember_state inside remember_state */
    FDES_MAX = 4 * 1024 * 1024, /* 96 MiB of working memory */
    CIES_MAX = 64 * 1024        /* 20 MiB; a linker leaves a handful */
};
enum {
    PE_ABS = 0,
    PE_ULEB = 1,
    PE_U2 = 2,
    PE_U4 = 3,
    PE_U8 = 4,
    PE_SLEB = 9,
    PE_S2 = 10,
    PE_S4 = 11,
    PE_S8 = 12,
    PE_OMIT = 0xff
};

/* ---- Reading ---- */

uint64_t si__eh_fixed(si__eh_reader *r, unsigned bytes) {
    if ((size_t)(r->end - r->at) < bytes) {
        r->failed = 1;
        r->at = r->end;
        return 0;
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) v |= (uint64_t)r->at[i] << (8 * i);
    r->at += bytes;
    return v;
}

uint64_t si__eh_uleb(si__eh_reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint64_t byte = si__eh_fixed(r, 1);
        if (shift < 64) v |= (byte & 0x7f) << shift;
        if (!(byte & 0x80) || r->failed) return v;
    }
}

int64_t si__eh_sleb(si__eh_reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0;;) {
        uint64_t byte = si__eh_fixed(r, 1);
        if (shift < 64) v |= (byte & 0x7f) << shift;
        shift += 7;
        if (byte & 0x80 && !r->failed) continue;
        if (shift < 64 && byte & 0x40) v |= ~0ull << shift;
        return (int64_t)v;
    }
}

int si__eh_pointer(const unsigned char *bytes, size_t size, size_t *pos, unsigned encoding, uint64_t vaddr,
                   uint64_t *out) {
    if (*pos > size || encoding & 0x80) return 0;
    si__eh_reader r = {.at = bytes + *pos, .end = bytes + size};
    uint64_t v = 0, here = vaddr + *pos;
    switch (encoding & 0xf) {
    case PE_ABS:
    case PE_U8:
    case PE_S8:
        v = si__eh_fixed(&r, 8);
        break;
    case PE_ULEB:
        v = si__eh_uleb(&r);
        break;
    case PE_SLEB:
        v = (uint64_t)si__eh_sleb(&r);
        break;
    case PE_U2:
        v = si__eh_fixed(&r, 2);
        break;
    case PE_U4:
        v = si__eh_fixed(&r, 4);
        break;
    case PE_S2:
        v = (uint64_t)(int64_t)(int16_t)si__eh_fixed(&r, 2);
        break;
    case PE_S4:
        v = (uint64_t)(int64_t)(int32_t)si__eh_fixed(&r, 4);
        break;
    default:
        return 0;
    }
    if ((encoding & 0x70) == 0x10)
        v += here;
    else if ((encoding & 0x70) == 0x30)
        v += vaddr; /* from the start of the data: of .eh_frame_hdr, the only place that uses it */
    else if (encoding & 0x70)
        return 0;
    *pos = (size_t)(r.at - bytes);
    *out = v;
    return !r.failed;
}

/* ---- Records ---- */

typedef struct cie {
    size_t offset; /* of the record in the section */
    uint64_t code_align;
    int64_t data_align;
    unsigned ra;
    uint8_t pointer_encoding, has_length, signal_frame, usable;
    si__frame_state initial;
} cie;

typedef struct fde {
    uint32_t pc, size; /* file offset and bytes of the function */
    uint32_t cie;      /* index */
    uint32_t code_size;
    const unsigned char *code;
} fde;

typedef struct compiler {
    const si__eh_frame *section;
    si__table_builder *builder;
    cie *cies;
    size_t cie_count, cie_capacity;
    fde *fdes;
    size_t fde_count, fde_capacity;
    si__frame_state remembered[STATES_MAX];
} compiler;

/* What an FDE's instructions run on. */
typedef struct program {
    si__frame_state state;
    const si__frame_state *initial;
    const cie *cie;
    unsigned depth;
    uint64_t pc, end;
    int emit;
    int failed;
} program;

/* ---- Call frame instructions ---- */

static void set_rule(program *p, uint64_t reg, uint8_t op, unsigned base, int64_t off) {
    if (reg >= SI__REGISTER_COUNT) return; /* vector registers and such: not needed to walk */
    si__operand o = {.op = op, .base = (uint8_t)base, .target = SI__NO_INDEX, .off = (int32_t)off};
    if (off > INT32_MAX || off < INT32_MIN) o.op = SI__OP_UNKNOWN;
    p->state.regs[reg] = o;
}

static void set_cfa(program *p, uint64_t reg, int64_t off) {
    si__operand o = {.op = SI__OP_REG, .base = (uint8_t)reg, .target = SI__NO_INDEX, .off = (int32_t)off};
    if (reg >= SI__REGISTER_COUNT || off > INT32_MAX || off < INT32_MIN) o.op = SI__OP_UNKNOWN;
    p->state.cfa = o;
}

static int64_t factored(const program *p, int64_t v) {
    int64_t out;
    return __builtin_mul_overflow(v, p->cie->data_align, &out) ? INT64_MAX : out;
}

static void restore(program *p, uint64_t reg) {
    if (reg < SI__REGISTER_COUNT && p->initial) p->state.regs[reg] = p->initial->regs[reg];
}

static void set_expression(compiler *c, program *p, si__eh_reader *r, unsigned op) {
    uint64_t reg = op == 0x0f ? 0 : si__eh_uleb(r);
    uint64_t size = si__eh_uleb(r);
    if (r->failed || size > (uint64_t)(r->end - r->at)) {
        p->failed = 1;
        return;
    }
    si__operand o = si__eh_expression(r->at, (size_t)size, op == 0x10, op != 0x0f, c->section->machine);
    r->at += size;
    if (op == 0x0f) {
        p->state.cfa = o;
    } else if (reg < SI__REGISTER_COUNT) {
        if (o.target != SI__NO_INDEX || o.op == SI__OP_PLT)
            o.op = SI__OP_UNKNOWN; /* the walker does these for a CFA only */
        p->state.regs[reg] = o;
    }
}

/* Rows so far hold for [pc, pc + delta). */
static int advance(compiler *c, program *p, uint64_t delta) {
    if (!p->emit) return 0;
    if (__builtin_mul_overflow(delta, p->cie->code_align, &delta) || delta > p->end - p->pc) delta = p->end - p->pc;
    if (!delta) return 0;
    int rc = si__table_add(c->builder, (uint32_t)p->pc, &p->state, p->cie->ra, p->cie->signal_frame);
    p->pc += delta;
    return rc;
}

static void remember(compiler *c, program *p) {
    if (p->depth == STATES_MAX)
        p->failed = 1;
    else
        c->remembered[p->depth++] = p->state;
}

static void recall(compiler *c, program *p) {
    if (!p->depth)
        p->failed = 1;
    else
        p->state = c->remembered[--p->depth];
}

/* Instructions whose opcode takes the whole byte, but for those that move pc. */
static void run_extended(compiler *c, program *p, si__eh_reader *r, unsigned op) {
    uint64_t reg;
    switch (op) {
    case 0x00:
        break; /* nop */
    case 0x05:
        reg = si__eh_uleb(r), set_rule(p, reg, SI__OP_AT_CFA, 0, factored(p, (int64_t)si__eh_uleb(r)));
        break;
    case 0x06:
        restore(p, si__eh_uleb(r));
        break; /* restore_extended */
    case 0x07:
        set_rule(p, si__eh_uleb(r), SI__OP_UNDEFINED, 0, 0);
        break; /* undefined */
    case 0x08:
        set_rule(p, si__eh_uleb(r), SI__OP_SAME, 0, 0);
        break;   /* same_value */
    case 0x09: { /* register */
        reg = si__eh_uleb(r);
        uint64_t other = si__eh_uleb(r);
        set_rule(p, reg, other < SI__REGISTER_COUNT ? SI__OP_REG : SI__OP_UNKNOWN, (unsigned)other, 0);
        break;
    }
    case 0x0a:
        remember(c, p);
        break;
    case 0x0b:
        recall(c, p);
        break;
    case 0x0c:
        reg = si__eh_uleb(r), set_cfa(p, reg, (int64_t)si__eh_uleb(r));
        break; /* def_cfa */
    case 0x0d: /* def_cfa_register */
        reg = si__eh_uleb(r);
        if (p->state.cfa.op == SI__OP_REG)
            set_cfa(p, reg, p->state.cfa.off);
        else
            p->state.cfa.op = SI__OP_UNKNOWN;
        break;
    case 0x0f: /* def_cfa_expression */
    case 0x10: /* expression */
    case 0x16: /* val_expression */
        set_expression(c, p, r, op);
        break;
    case 0x11:
        reg = si__eh_uleb(r), set_rule(p, reg, SI__OP_AT_CFA, 0, factored(p, si__eh_sleb(r)));
        break; /* offset_extended_sf */
    case 0x12:
        reg = si__eh_uleb(r), set_cfa(p, reg, factored(p, si__eh_sleb(r)));
        break; /* def_cfa_sf */
    case 0x14:
        reg = si__eh_uleb(r), set_rule(p, reg, SI__OP_CFA, 0, factored(p, (int64_t)si__eh_uleb(r)));
        break; /* val_offset */
    case 0x15:
        reg = si__eh_uleb(r), set_rule(p, reg, SI__OP_CFA, 0, factored(p, si__eh_sleb(r)));
        break;
    case 0x2d:
        break; /* AARCH64_negate_ra_state: the walker strips signatures always */
    case 0x2e:
        si__eh_uleb(r);
        break;   /* GNU_args_size: matters to landing pads only */
    case 0x2f: { /* GNU_negative_offset_extended */
        reg = si__eh_uleb(r);
        int64_t off = factored(p, (int64_t)si__eh_uleb(r));
        set_rule(p, reg, SI__OP_AT_CFA, 0, off == INT64_MIN ? INT64_MAX : -off);
        break;
    }
    default:
        p->failed = 1;
    }
}

static int run(compiler *c, program *p, const unsigned char *code, size_t size) {
    si__eh_reader r = {.at = code, .end = code + size};
    int rc = 0;
    while (r.at < r.end && !rc && !p->failed && !(p->emit && p->pc == p->end)) {
        unsigned op = (unsigned)si__eh_fixed(&r, 1), low = op & 0x3f;
        if (op >> 6 == 1) {
            rc = advance(c, p, low);
        } else if (op >> 6 == 2) {
            set_rule(p, low, SI__OP_AT_CFA, 0, factored(p, (int64_t)si__eh_uleb(&r)));
        } else if (op >> 6 == 3) {
            restore(p, low);
        } else if (op >= 0x02 && op <= 0x04) {
            uint64_t delta = si__eh_fixed(&r, 1u << (op - 2));
            rc = advance(c, p, delta);
        } else if (op == 0x0e || op == 0x13) { /* def_cfa_offset, _sf */
            int64_t off = op == 0x0e ? (int64_t)si__eh_uleb(&r) : factored(p, si__eh_sleb(&r));
            if (p->state.cfa.op == SI__OP_REG) set_cfa(p, p->state.cfa.base, off);
        } else {
            run_extended(c, p, &r, op); /* set_loc (0x01) among the refused: no file has it */
        }
        if (r.failed) p->failed = 1;
    }
    return rc;
}

/* ---- Finding the records ---- */

static void *grow(void *items, size_t *capacity, size_t size) {
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *out = realloc(items, wanted * size);
    if (out) *capacity = wanted;
    return out;
}

/* Reads what the augmentation string announces. Returns 0 for what we do not know. */
static int parse_augmentation(cie *e, const char *letters, si__eh_reader *r) {
    e->pointer_encoding = PE_ABS;
    if (!*letters) return 1;
    if (*letters != 'z') return 0; /* the ancient "eh" among others */
    e->has_length = 1;
    uint64_t size = si__eh_uleb(r);
    if (r->failed || size > (uint64_t)(r->end - r->at)) return 0;
    const unsigned char *after = r->at + size;
    si__eh_reader data = {.at = r->at, .end = after};
    for (letters++; *letters; letters++) {
        if (*letters == 'R') {
            e->pointer_encoding = (uint8_t)si__eh_fixed(&data, 1);
        } else if (*letters == 'L') {
            si__eh_fixed(&data, 1);
        } else if (*letters == 'P') {
            unsigned encoding = (unsigned)si__eh_fixed(&data, 1) & 0x7f; /* its value is not wanted, only its size */
            uint64_t unused;
            size_t pos = 0;
            if ((encoding & 0x70) == 0x50 ||
                !si__eh_pointer(data.at, (size_t)(data.end - data.at), &pos, encoding & 0xf, 0, &unused))
                return 0;
            data.at += pos;
        } else if (*letters == 'S') {
            e->signal_frame = 1;
        } else if (*letters != 'B' && *letters != 'G') {
            break; /* unknown: what follows cannot be read, but its length is known */
        }
    }
    r->at = after;
    return !data.failed;
}

static int add_cie(compiler *c, size_t offset, si__eh_reader r) {
    if (c->cie_count == CIES_MAX) return 0;
    if (c->cie_count == c->cie_capacity) {
        cie *items = grow(c->cies, &c->cie_capacity, sizeof(*items));
        if (!items) return SI_ENOMEM;
        c->cies = items;
    }
    cie *e = &c->cies[c->cie_count++];
    memset(e, 0, sizeof(*e));
    e->offset = offset;
    unsigned version = (unsigned)si__eh_fixed(&r, 1);
    const char *letters = (const char *)r.at;
    const unsigned char *end = memchr(r.at, 0, (size_t)(r.end - r.at));
    if (!end || (version != 1 && version != 3 && version != 4)) return 0;
    r.at = end + 1;
    if (version == 4 && si__eh_fixed(&r, 2) != 8) return 0; /* address size 8, no segments */
    e->code_align = si__eh_uleb(&r);
    e->data_align = si__eh_sleb(&r);
    e->ra = (unsigned)(version == 1 ? si__eh_fixed(&r, 1) : si__eh_uleb(&r));
    if (e->ra >= SI__REGISTER_COUNT || !parse_augmentation(e, letters, &r) || r.failed) return 0;
    program p = {.cie = e, .state.cfa.op = SI__OP_UNKNOWN};
    int rc = run(c, &p, r.at, (size_t)(r.end - r.at));
    e->initial = p.state;
    e->usable = !p.failed;
    return rc;
}

static const cie *find_cie(const compiler *c, size_t offset) {
    size_t lo = 0, hi = c->cie_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->cies[mid].offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->cie_count && c->cies[lo].offset == offset && c->cies[lo].usable ? &c->cies[lo] : NULL;
}

/* File offset of code at an address as linked, and how many bytes of code follow there. */
static int text_offset(const si__eh_frame *s, uint64_t vaddr, uint32_t *offset, uint64_t *room) {
    for (size_t i = 0; i < s->text_count; i++) {
        const si__text_range *t = &s->text[i];
        if (vaddr - t->vaddr >= t->size) continue;
        uint64_t at = t->offset + (vaddr - t->vaddr);
        *room = t->size - (vaddr - t->vaddr);
        if (at >= UINT32_MAX - 1) return 0;
        if (*room > UINT32_MAX - 1 - at) *room = UINT32_MAX - 1 - at;
        *offset = (uint32_t)at;
        return 1;
    }
    return 0;
}

static int add_fde(compiler *c, size_t cie_offset, si__eh_reader r) {
    const cie *e = find_cie(c, cie_offset);
    if (!e) return 0;
    const si__eh_frame *s = c->section;
    size_t pos = (size_t)(r.at - s->bytes), end = (size_t)(r.end - s->bytes);
    uint64_t vaddr, size, room;
    uint32_t offset;
    if (!si__eh_pointer(s->bytes, end, &pos, e->pointer_encoding, s->vaddr, &vaddr) ||
        !si__eh_pointer(s->bytes, end, &pos, e->pointer_encoding & 0xf, s->vaddr, &size))
        return 0;
    if (!size || !text_offset(s, vaddr, &offset, &room)) return 0; /* discarded by the linker */
    r.at = s->bytes + pos;
    if (e->has_length) {
        uint64_t skip = si__eh_uleb(&r);
        if (r.failed || skip > (uint64_t)(r.end - r.at)) return 0;
        r.at += skip;
    }
    if (c->fde_count == FDES_MAX) return SI_ELIMIT;
    if (c->fde_count == c->fde_capacity) {
        fde *items = grow(c->fdes, &c->fde_capacity, sizeof(*items));
        if (!items) return SI_ENOMEM;
        c->fdes = items;
    }
    c->fdes[c->fde_count++] = (fde){.pc = offset,
                                    .size = (uint32_t)(size < room ? size : room),
                                    .cie = (uint32_t)(e - c->cies),
                                    .code_size = (uint32_t)(r.end - r.at),
                                    .code = r.at};
    return 0;
}

/* Walks the section record by record; stops at its terminator or at the first length that does not fit. */
static int scan(compiler *c) {
    const si__eh_frame *s = c->section;
    size_t pos = 0;
    int rc = 0;
    while (!rc && s->size - pos >= 4) {
        size_t start = pos;
        si__eh_reader r = {.at = s->bytes + pos, .end = s->bytes + s->size};
        uint64_t length = si__eh_fixed(&r, 4);
        if (length == 0xffffffff) length = si__eh_fixed(&r, 8);
        if (length < 4 || r.failed || length > (uint64_t)(r.end - r.at) || length > UINT32_MAX) break;
        r.end = r.at + length;
        pos = (size_t)(r.end - s->bytes);
        size_t id_at = (size_t)(r.at - s->bytes);
        uint64_t id = si__eh_fixed(&r, 4); /* four bytes even after an eight-byte length, as libgcc reads it */
        if (id == 0)
            rc = add_cie(c, start, r);
        else if (id <= id_at)
            rc = add_fde(c, id_at - id, r);
    }
    return rc;
}

static int by_pc(const void *a, const void *b) {
    const fde *x = a, *y = b;
    if (x->pc != y->pc) return x->pc < y->pc ? -1 : 1;
    return x->code < y->code ? -1 : x->code > y->code;
}

static int compile_fde(compiler *c, const fde *f, uint64_t end) {
    const cie *e = &c->cies[f->cie];
    program p = {.state = e->initial, .initial = &e->initial, .cie = e, .pc = f->pc, .end = end, .emit = 1};
    int rc = run(c, &p, f->code, f->code_size);
    if (!rc && !p.failed && p.pc < end)
        rc = si__table_add(c->builder, (uint32_t)p.pc, &p.state, e->ra, e->signal_frame);
    if (!rc && p.failed) rc = si__table_add_gap(c->builder, (uint32_t)p.pc); /* what we did not understand has no row */
    return rc ? rc : si__table_add_gap(c->builder, (uint32_t)end);
}

static int compile_all(compiler *c) {
    if (c->fde_count) qsort(c->fdes, c->fde_count, sizeof(*c->fdes), by_pc);
    uint64_t covered = 0;
    int rc = 0;
    for (size_t i = 0; i < c->fde_count && !rc; i++) {
        const fde *f = &c->fdes[i];
        uint64_t end = (uint64_t)f->pc + f->size;
        if (i + 1 < c->fde_count && end > c->fdes[i + 1].pc) end = c->fdes[i + 1].pc;
        if (f->pc < covered || end <= f->pc) continue; /* said twice */
        rc = compile_fde(c, f, end);
        covered = end;
    }
    return rc;
}

int si__eh_frame_compile(const si__eh_frame *section, si__table_builder *builder) {
    compiler *c = calloc(1, sizeof(*c));
    if (!c) return SI_ENOMEM;
    c->section = section;
    c->builder = builder;
    int rc = scan(c);
    if (!rc && !c->fde_count) rc = SI_EFORMAT;
    if (!rc) rc = compile_all(c);
    free(c->cies);
    free(c->fdes);
    free(c);
    return rc;
}
