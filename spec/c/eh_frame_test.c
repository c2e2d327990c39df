/* The .eh_frame compiler: hand-made sections with each kind of instruction, real files, and files that were damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../collectors/native/eh_frame.h"
#include "../../collectors/native/module.h"
#include "../../collectors/native/unwind_table.h"
#include "si/si.h"

/* ---- A section made by hand. Code is linked at TEXT, and at offset TEXT_OFFSET of the file. ---- */

enum { TEXT = 0x401000, TEXT_OFFSET = 0x1000, TEXT_BYTES = 0x10000, SECTION = 0x500000 };

typedef struct section {
    unsigned char bytes[4096];
    size_t size;
    size_t cie;
} section;

static void put(section *s, const void *bytes, size_t n) {
    assert_true(s->size + n <= sizeof(s->bytes));
    memcpy(s->bytes + s->size, bytes, n);
    s->size += n;
}
static void put32(section *s, uint32_t v) {
    put(s, &v, 4);
}

static void finish_record(section *s, size_t start) {
    while (s->size % 4) put(s, "\0", 1);
    uint32_t length = (uint32_t)(s->size - start - 4);
    memcpy(s->bytes + start, &length, 4);
}

/* pcrel sdata4 addresses, code alignment 1 (4 on aarch64), data alignment -8. */
static void put_cie(section *s, const char *letters, unsigned ra, unsigned code_align, const char *code, size_t n) {
    s->cie = s->size;
    put32(s, 0);
    put32(s, 0);
    put(s, "\1", 1);
    put(s, letters, strlen(letters) + 1);
    put(s, (unsigned char[]){(unsigned char)code_align, 0x78, (unsigned char)ra}, 3);
    if (letters[0] == 'z') put(s, "\1\x1b", 2);
    put(s, code, n);
    finish_record(s, s->cie);
}
#define CODE(text) text, sizeof(text) - 1

static void put_x86_cie(section *s) {
    put_cie(s, "zR", 16, 1, CODE("\x0c\x07\x08\x90\x01")); /* CFA = rsp + 8, return address at CFA - 8 */
}

static void put_fde(section *s, uint32_t pc, uint32_t size, const char *code, size_t n) {
    size_t start = s->size;
    put32(s, 0);
    put32(s, (uint32_t)(s->size - s->cie));
    put32(s, pc - (SECTION + (uint32_t)s->size));
    put32(s, size);
    put(s, "\0", 1);
    put(s, code, n);
    finish_record(s, start);
}

typedef struct compiled {
    si__unwind_table *table;
    si__table_view view;
    int rc;
} compiled;

static compiled compile(const section *s, unsigned machine) {
    compiled c = {.table = NULL};
    si__text_range text = {TEXT, TEXT_OFFSET, TEXT_BYTES};
    unsigned char *exact =
        malloc(s->size ? s->size : 1); /* ends where it ends: a sanitizer sees a byte read too many */
    memcpy(exact, s->bytes, s->size);
    si__eh_frame frames = {exact, s->size, SECTION, machine, &text, 1};
    si__table_builder *b = si__table_builder_new(machine);
    assert_non_null(b);
    c.rc = si__eh_frame_compile(&frames, b);
    if (!c.rc) c.table = si__table_finish(b, &c.rc);
    if (c.table) assert_true(si__table_view_init(&c.view, c.table, c.table->bytes));
    si__table_builder_free(b);
    free(exact);
    return c;
}

static uint32_t rule_at(const compiled *c, uint32_t address) {
    return c->table ? si__table_lookup(&c->view, address - TEXT + TEXT_OFFSET) : SI__ROW_GAP;
}

static si__operand operand(const compiled *c, uint32_t rule, unsigned which) {
    si__operand o;
    assert_int_equal(si__rule_kind(rule), SI__ROW_RULE);
    memcpy(&o, &c->view.rules[si__rule_word(rule) + which], sizeof(o));
    return o;
}

static void assert_simple(uint32_t rule, unsigned kind, unsigned cfa, unsigned fp) {
    assert_int_equal(si__rule_kind(rule), kind);
    assert_int_equal(si__rule_cfa(rule), cfa);
    assert_int_equal(si__rule_fp(rule), fp);
}

/* ---- Instructions ---- */

static void follows_a_prologue(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    /* push rbp; mov rsp, rbp; push rbx; ...; leave; ret */
    put_fde(&s, TEXT, 0x40, CODE("\x41\x0e\x10\x86\x02\x43\x0d\x06\x41\x83\x03\x60\x0c\x07\x08"));
    put(&s, "\0\0\0\0", 4);
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_int_equal(c.rc, 0);
    assert_simple(rule_at(&c, TEXT), SI__ROW_SP, 8, 0);
    assert_simple(rule_at(&c, TEXT + 1), SI__ROW_SP, 16, 16);
    assert_simple(rule_at(&c, TEXT + 4), SI__ROW_FP, 16, 16);
    uint32_t rule = rule_at(&c, TEXT + 5);
    assert_simple(rule, SI__ROW_FP, 16, 16);
    assert_int_equal(c.view.saves[si__rule_saves(rule)], 3); /* rbx at CFA - 24 */
    assert_simple(rule_at(&c, TEXT + 0x3f), SI__ROW_SP, 8, 16);
    assert_int_equal(rule_at(&c, TEXT + 0x40), SI__ROW_GAP);
    assert_int_equal(rule_at(&c, TEXT - 1), SI__ROW_GAP);
    free(c.table);
}

static void remembers_and_restores(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT, 0x30, CODE("\x41\x0e\x10\x86\x02\x48\x0a\x0e\x08\xc6\x41\x0b\x42\x0e\x20\x42\xd0\x06\x06"));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_int_equal(c.rc, 0);
    assert_simple(rule_at(&c, TEXT + 1), SI__ROW_SP, 16, 16);
    assert_simple(rule_at(&c, TEXT + 9), SI__ROW_SP, 8, 0);
    assert_simple(rule_at(&c, TEXT + 10), SI__ROW_SP, 16, 16);
    assert_simple(rule_at(&c, TEXT + 12), SI__ROW_SP, 32, 16);
    assert_simple(rule_at(&c, TEXT + 14), SI__ROW_SP, 32, 0);
    free(c.table);
}

static void an_unbalanced_restore_ends_the_rows(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT, 0x40, CODE("\x44\x0b\x44\x0e\x20"));
    put_fde(&s, TEXT + 0x40, 0x40, CODE("\x44\x0e\x20"));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_simple(rule_at(&c, TEXT), SI__ROW_SP, 8, 0);
    assert_int_equal(rule_at(&c, TEXT + 4), SI__ROW_GAP);
    assert_int_equal(rule_at(&c, TEXT + 0x20), SI__ROW_GAP);
    assert_simple(rule_at(&c, TEXT + 0x44), SI__ROW_SP, 32, 0); /* the next function is unharmed */
    free(c.table);
}

static void knows_the_end_of_the_stack(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT, 0x40, CODE("\x07\x10"));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_int_equal(rule_at(&c, TEXT), SI__ROW_END);
    free(c.table);
}

static void understands_a_linkers_stubs(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    /* CFA = rsp + 8 + ((rip & 15) >= 11) << 3 */
    put_fde(&s, TEXT, 0x100, CODE("\x0e\x10\x46\x0e\x18\x4a\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22"));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_simple(rule_at(&c, TEXT), SI__ROW_SP, 16, 0);
    assert_simple(rule_at(&c, TEXT + 6), SI__ROW_SP, 24, 0);
    si__operand cfa = operand(&c, rule_at(&c, TEXT + 0x10), SI__RULE_CFA);
    assert_int_equal(cfa.op, SI__OP_PLT);
    assert_int_equal(cfa.base, SI__X86_RSP);
    assert_int_equal(cfa.off, 8);
    assert_int_equal(cfa.add, 11);
    free(c.table);
}

static void understands_realigned_frames(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    /* def_cfa r10; rbp at [rbp + 0]; CFA = *(rbp - 8); r12 at [rbp - 16]; rbx at ((CFA - 8) & -64) - 24; CFA = *(rsp +
     * 40) + 8 */
    put_fde(&s, TEXT, 0x60,
            CODE("\x44\x0c\x0a\x00\x44\x10\x06\x02\x76\x00\x44\x0f\x03\x76\x78\x06\x44\x10\x0c\x02\x76\x70"
                 "\x44\x10\x03\x08\x38\x1c\x09\xc0\x1a\x09\xe8\x22\x44\x0f\x05\x77\x28\x06\x23\x08"));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    si__operand o = operand(&c, rule_at(&c, TEXT + 4), SI__RULE_CFA);
    assert_int_equal(o.op, SI__OP_REG);
    assert_int_equal(o.base, SI__X86_R10);
    o = operand(&c, rule_at(&c, TEXT + 8), SI__RULE_FP);
    assert_int_equal(o.op, SI__OP_AT_REG);
    assert_int_equal(o.base, SI__X86_RBP);
    o = operand(&c, rule_at(&c, TEXT + 12), SI__RULE_CFA);
    assert_int_equal(o.op, SI__OP_AT_REG);
    assert_int_equal(o.off, -8);
    uint32_t rule = rule_at(&c, TEXT + 20);
    o = operand(&c, rule, SI__RULE_OTHERS);
    assert_int_equal(o.op, SI__OP_AT_ALIGNED);
    assert_int_equal(o.target, SI__X86_RBX);
    assert_int_equal(o.base, 8);
    assert_int_equal(o.add, -64);
    assert_int_equal(o.off, -24);
    o = operand(&c, rule_at(&c, TEXT + 24), SI__RULE_CFA);
    assert_int_equal(o.op, SI__OP_AT_REG);
    assert_int_equal(o.base, SI__X86_RSP);
    assert_int_equal(o.off, 40);
    assert_int_equal(o.add, 8);
    free(c.table);
}

static void marks_signal_frames(void **state) {
    (void)state;
    section s = {.size = 0};
    put_cie(&s, "zRS", 16, 1, CODE("\x0c\x07\x08\x90\x01"));
    put_fde(&s, TEXT, 0x10, CODE("\x0f\x04\x77\xa0\x01\x06\x10\x10\x03\x77\xa8\x01\x10\x00\x03\x77\x90\x01"));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    uint32_t rule = rule_at(&c, TEXT + 1);
    assert_int_equal(si__rule_kind(rule), SI__ROW_RULE);
    si__rule_head head;
    memcpy(&head, &c.view.rules[si__rule_word(rule)], sizeof(head));
    assert_int_equal(head.flags, SI__RULE_SIGNAL);
    assert_int_equal(head.count, 1); /* rax: an interrupted frame may hang on it */
    si__operand ra = operand(&c, rule, SI__RULE_RA);
    assert_int_equal(ra.op, SI__OP_AT_REG);
    assert_int_equal(ra.off, 168);
    free(c.table);
}

static void what_it_cannot_express_has_no_row(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT, 0x40,
            CODE("\x0f\x04\x77\x08\x12\x1e\x48\x0c\x07\x10")); /* rsp + 8, squared; then understood again */
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_int_equal(rule_at(&c, TEXT), SI__ROW_GAP);
    assert_simple(rule_at(&c, TEXT + 8), SI__ROW_SP, 16, 0);
    free(c.table);
}

static void reads_the_machine_with_a_link_register(void **state) {
    (void)state;
    section s = {.size = 0};
    put_cie(&s, "zR", 30, 4, CODE("\x0c\x1f\x00"));
    /* stp x29, x30, [sp, -48]!; mov x29, sp; ... ldp; and the signing of return addresses */
    put_fde(&s, TEXT, 0x40, CODE("\x2d\x41\x0e\x30\x9d\x06\x9e\x05\x41\x0d\x1d\x48\x0c\x1f\x00\xdd\xde"));
    put_fde(&s, TEXT + 0x40, 0x20, CODE("\x41\x0e\x10\x9e\x02")); /* str x30, [sp, -16]! */
    compiled c = compile(&s, SI__MACHINE_AARCH64);
    assert_int_equal(c.rc, 0);
    assert_simple(rule_at(&c, TEXT), SI__ROW_SP_LINK, 0, 0);
    assert_simple(rule_at(&c, TEXT + 4), SI__ROW_SP, 48, 48);
    assert_simple(rule_at(&c, TEXT + 8), SI__ROW_FP, 48, 48);
    assert_simple(rule_at(&c, TEXT + 0x28), SI__ROW_SP_LINK, 0, 0);
    si__operand ra = operand(&c, rule_at(&c, TEXT + 0x44), SI__RULE_RA);
    assert_int_equal(ra.op, SI__OP_AT_CFA);
    assert_int_equal(ra.off, -16);
    free(c.table);
}

/* ---- Records ---- */

static void sorts_functions_and_takes_the_first_of_two(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT + 0x200, 0x20, CODE("\x0e\x20"));
    put_fde(&s, TEXT + 0x100, 0x20, CODE("\x0e\x10"));
    put_fde(&s, TEXT + 0x100, 0x20, CODE("\x0e\x18"));
    put_fde(&s, 0x10, 0x20, CODE("\x0e\x18")); /* not code of this file: thrown away by the linker */
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_simple(rule_at(&c, TEXT + 0x100), SI__ROW_SP, 24, 0); /* the later one was not empty after clipping */
    assert_int_equal(rule_at(&c, TEXT + 0x120), SI__ROW_GAP);
    assert_simple(rule_at(&c, TEXT + 0x200), SI__ROW_SP, 32, 0);
    assert_int_equal(rule_at(&c, TEXT + 0x220), SI__ROW_GAP);
    free(c.table);
}

static void bridges_alignment_but_not_holes(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT, 0x1c, CODE(""));
    put_fde(&s, TEXT + 0x20, 0x10, CODE(""));
    put_fde(&s, TEXT + 0x60, 0x10, CODE(""));
    compiled c = compile(&s, SI__MACHINE_X86_64);
    assert_simple(rule_at(&c, TEXT + 0x1e), SI__ROW_SP, 8, 0);
    assert_int_equal(rule_at(&c, TEXT + 0x30), SI__ROW_GAP);
    assert_int_equal(rule_at(&c, TEXT + 0x5f), SI__ROW_GAP);
    assert_simple(rule_at(&c, TEXT + 0x60), SI__ROW_SP, 8, 0);
    assert_int_equal(c.table->row_count, 4 + SI__ROWS_PADDING); /* equal rows were merged */
    free(c.table);
}

static void decodes_every_pointer_encoding(void **state) {
    (void)state;
    static const unsigned char bytes[] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const struct {
        unsigned encoding;
        uint64_t value;
        size_t used;
    } cases[] = {{0x00, ~1ull, 8}, {0x02, 0xfffe, 2}, {0x03, 0xfffffffe, 4}, {0x04, ~1ull, 8}, {0x0a, ~1ull, 2},
                 {0x0b, ~1ull, 4}, {0x0c, ~1ull, 8},  {0x1b, 0xffe, 4},      {0x3b, 0xffe, 4}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t value;
        size_t pos = 0;
        assert_true(si__eh_pointer(bytes, sizeof(bytes), &pos, cases[i].encoding, 0x1000, &value));
        assert_int_equal(value, cases[i].value);
        assert_int_equal(pos, cases[i].used);
    }
    uint64_t value;
    size_t pos = 0;
    assert_true(si__eh_pointer((const unsigned char *)"\xe5\x8e\x26", 3, &pos, 0x01, 0, &value));
    assert_int_equal(value, 624485);
    static const unsigned refused[] = {0xff, 0x9b, 0x2b, 0x4b, 0x50, 0x05};
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        pos = 0;
        assert_false(si__eh_pointer(bytes, sizeof(bytes), &pos, refused[i], 0, &value));
    }
    pos = 5;
    assert_false(si__eh_pointer(bytes, sizeof(bytes), &pos, 0x03, 0, &value)); /* three bytes are left */
}

static void every_truncation_is_survived(void **state) {
    (void)state;
    section s = {.size = 0};
    put_x86_cie(&s);
    put_fde(&s, TEXT, 0x40,
            CODE("\x41\x0e\x10\x86\x02\x0f\x0b\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22\x10\x0c\x02\x76\x70"));
    for (size_t size = s.size; size-- > 0;) {
        section cut = s;
        cut.size = size;
        compiled c = compile(&cut, SI__MACHINE_X86_64);
        assert_int_equal(c.rc, SI_EFORMAT);
        assert_null(c.table);
    }
}

/* ---- Real files ---- */

static unsigned char *read_library(const char *symbol_of, size_t *size) {
    Dl_info info;
    struct stat st;
    assert_true(dladdr(dlsym(RTLD_DEFAULT, symbol_of), &info) != 0);
    int fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    unsigned char *image = malloc((size_t)st.st_size);
    assert_int_equal(read(fd, image, (size_t)st.st_size), st.st_size);
    close(fd);
    *size = (size_t)st.st_size;
    return image;
}

static void section_and_segment_agree(void **state) {
    (void)state;
    size_t size;
    unsigned char *image = read_library("cmocka_set_message_output", &size);
    si__unwind_table *by_section, *by_segment;
    assert_int_equal(si__unwind_compile_memory(image, size, &by_section), 0);
    Elf64_Ehdr *h = (Elf64_Ehdr *)(void *)image;
    h->e_shoff = h->e_shnum = h->e_shstrndx = 0; /* as after a thorough strip */
    assert_int_equal(si__unwind_compile_memory(image, size, &by_segment), 0);
    assert_true(by_section->row_count > 500);
    assert_int_equal(by_section->bytes, by_segment->bytes);
    assert_memory_equal(by_section, by_segment, by_section->bytes);
    free(by_section);
    free(by_segment);
    free(image);
}

static void a_mapped_file_compiles_to_the_same(void **state) {
    (void)state;
    Dl_info info;
    si__unwind_table *from_file, *from_memory;
    assert_true(dladdr(dlsym(RTLD_DEFAULT, "cmocka_set_message_output"), &info) != 0);
    int fd = open(info.dli_fname, O_RDONLY | O_CLOEXEC), mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && mem >= 0);
    assert_int_equal(si__unwind_compile_fd(fd, &from_file), 0);
    assert_int_equal(si__unwind_compile_mapped(mem, (uint64_t)(uintptr_t)info.dli_fbase, &from_memory), 0);
    assert_int_equal(from_file->bytes, from_memory->bytes);
    assert_memory_equal(from_file, from_memory, from_file->bytes);
    free(from_memory);
    assert_int_equal(si__unwind_compile_mapped(mem, 0x1000, &from_memory), SI_EIO);
    assert_null(from_memory);
    free(from_file);
    close(fd);
    close(mem);
}

/* Uses a table as a walk does, at every block. */
static unsigned look_everywhere(const si__unwind_table *t) {
    si__table_view v;
    unsigned found = 0;
    assert_true(si__table_view_init(&v, t, t->bytes));
    for (uint64_t at = t->pc_lo; at < t->pc_hi; at += 1 + (1ull << t->shift) / 3) {
        uint32_t rule = si__table_lookup(&v, at);
        if (rule != SI__ROW_GAP) found++;
        if (si__rule_kind(rule) == SI__ROW_RULE) assert_true(si__rule_word(rule) + SI__RULE_OTHERS <= v.rule_words);
        assert_true(si__rule_kind(rule) == SI__ROW_RULE || si__rule_saves(rule) < v.save_count);
    }
    return found;
}

static uint64_t random_state = 42;
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static void damaged_files_are_survived(void **state) {
    (void)state;
    size_t size;
    unsigned char *image = read_library("cmocka_set_message_output", &size), *copy = malloc(size);
    si__unwind_table *table;
    assert_int_equal(si__unwind_compile_memory(image, size, &table), 0);
    assert_true(look_everywhere(table) > 100);
    free(table);
    unsigned compiled_anyway = 0;
    for (unsigned round = 0; round < 600; round++) {
        memcpy(copy, image, size);
        size_t from = 0, span = size;
        if (round % 3 == 1) span = 0x400; /* headers */
        for (unsigned i = 0; i < 1 + round % 300; i++) copy[from + next_random() % span] = (unsigned char)next_random();
        size_t cut = round % 5 == 0 ? next_random() % size : size;
        unsigned char *exact = malloc(cut ? cut : 1);
        memcpy(exact, copy, cut);
        if (si__unwind_compile_memory(exact, cut, &table) == 0) {
            compiled_anyway++;
            look_everywhere(table);
        }
        free(table);
        free(exact);
    }
    assert_true(compiled_anyway > 20);
    free(copy);
    free(image);
}

static void other_files_are_refused(void **state) {
    (void)state;
    si__unwind_table *table;
    char text[256] = "#!/bin/sh\n";
    assert_int_equal(si__unwind_compile_memory(text, sizeof(text), &table), SI_EFORMAT);
    assert_null(table);
    assert_int_equal(si__unwind_compile_memory(text, 0, &table), SI_EFORMAT);
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(si__unwind_compile_fd(fd, &table), SI_EFORMAT);
    close(fd);
    assert_int_equal(si__unwind_compile_fd(-1, &table), SI_EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_a_prologue),
        cmocka_unit_test(remembers_and_restores),
        cmocka_unit_test(an_unbalanced_restore_ends_the_rows),
        cmocka_unit_test(knows_the_end_of_the_stack),
        cmocka_unit_test(understands_a_linkers_stubs),
        cmocka_unit_test(understands_realigned_frames),
        cmocka_unit_test(marks_signal_frames),
        cmocka_unit_test(what_it_cannot_express_has_no_row),
        cmocka_unit_test(reads_the_machine_with_a_link_register),
        cmocka_unit_test(sorts_functions_and_takes_the_first_of_two),
        cmocka_unit_test(bridges_alignment_but_not_holes),
        cmocka_unit_test(decodes_every_pointer_encoding),
        cmocka_unit_test(every_truncation_is_survived),
        cmocka_unit_test(section_and_segment_agree),
        cmocka_unit_test(a_mapped_file_compiles_to_the_same),
        cmocka_unit_test(damaged_files_are_survived),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
