/*
 * ELF files and .eh_frame sections of any content: compiled, then used as a walk uses a table. The first byte chooses
 * whether the rest is a whole file, or the contents of a section in an otherwise sound file, so that mutations reach
 * the call frame instructions soon.
 */
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../collectors/native/eh_frame.h"
#include "../../collectors/native/unwind_table.h"

enum { LOOKUPS = 4096 };

static void use(const si__unwind_table *table) {
    si__table_view view;
    if (!si__table_view_init(&view, table, table->bytes)) abort(); /* what we compile, we accept */
    uint64_t span = (uint64_t)table->pc_hi - table->pc_lo, step = span / LOOKUPS + 1;
    for (uint64_t at = table->pc_lo; at < table->pc_hi; at += step) {
        uint32_t rule = si__table_lookup(&view, at);
        if (si__rule_kind(rule) > SI__ROW_RULE) abort();
        if (si__rule_kind(rule) == SI__ROW_RULE) {
            if (si__rule_word(rule) + SI__RULE_OTHERS > view.rule_words) abort();
        } else if (si__rule_saves(rule) >= view.save_count) {
            abort();
        }
    }
}

static void compile_section(const uint8_t *data, size_t size, unsigned machine) {
    si__text_range text = {0x1000, 0x1000, 0x100000};
    si__eh_frame section = {data, size, 0x200000, machine, &text, 1};
    si__table_builder *builder = si__table_builder_new(machine);
    si__unwind_table *table = NULL;
    int error = 0;
    if (builder && si__eh_frame_compile(&section, builder) == 0) table = si__table_finish(builder, &error);
    if (table) use(table);
    free(table);
    si__table_builder_free(builder);
}

/* A damaged table in the arena: bounds must hold whatever it says. */
static void use_damaged(const uint8_t *data, size_t size) {
    si__unwind_table *table = malloc(size + sizeof(*table));
    if (!table) return;
    memset(table, 0, sizeof(*table));
    memcpy(table, data, size);
    table->magic = SI__TABLE_MAGIC;
    si__table_view view;
    if (si__table_view_init(&view, table, size)) {
        uint64_t span = (uint64_t)view.pc_hi - view.pc_lo;
        for (unsigned i = 0; i < 64; i++) (void)si__table_lookup(&view, view.pc_lo + span * i / 64);
    }
    free(table);
}

/* Makes the first checks of a file pass, so that mutations get beyond them. */
static void plausible(uint8_t *file, size_t size) {
    Elf64_Ehdr h;
    if (size < sizeof(h)) return;
    memcpy(&h, file, sizeof(h));
    memcpy(h.e_ident, ELFMAG "\2\1\1", 7);
    if (h.e_machine != SI__MACHINE_AARCH64) h.e_machine = SI__MACHINE_X86_64;
    h.e_phentsize = sizeof(Elf64_Phdr);
    h.e_shentsize = sizeof(Elf64_Shdr);
    h.e_phnum = 1 + h.e_phnum % 8;
    if (h.e_phoff >= size) h.e_phoff %= size;
    if (h.e_shoff >= size) h.e_shoff %= size;
    memcpy(file, &h, sizeof(h));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    unsigned mode = data[0] & 3;
    uint8_t *copy = malloc(size > 1 ? size - 1 : 1); /* ends where the input ends */
    if (!copy) return 0;
    memcpy(copy, data + 1, size - 1);
    size--;
    if (data[0] & 4) plausible(copy, size);
    si__unwind_table *table = NULL;
    if (mode == 0 && si__unwind_compile_memory(copy, size, &table) == 0) use(table);
    free(table);
    if (mode == 1) compile_section(copy, size, SI__MACHINE_X86_64);
    if (mode == 2) compile_section(copy, size, SI__MACHINE_AARCH64);
    if (mode == 3) use_damaged(copy, size);
    free(copy);
    return 0;
}
