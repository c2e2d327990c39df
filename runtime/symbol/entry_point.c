/* Entry point and main of a stripped program. Called by the symbolizer once a batch. Hostile files: bounded reads only.
 */
#include "entry_point.h"

#include <gelf.h>
#include <string.h>

enum { CODE_BYTES = 64 };

/* The code at an address, out of the section that holds it; 0 when there is less than `length`. */
static int code_at(const si__object *object, uint64_t address, uint8_t *out, size_t length) {
    uint64_t start;
    const Elf_Data *text = si__elf_section(object->elf, ".text", &start);
    if (!text || !text->d_buf || address < start || address - start > text->d_size) return 0;
    if (text->d_size - (address - start) < length) return 0;
    memcpy(out, (const uint8_t *)text->d_buf + (address - start), length);
    return 1;
}

/*
 * The x86-64 ABI's start code loads main's address into rdi, the first argument of __libc_start_main:
 * lea main(%rip),%rdi (48 8d 3d rel32) in position-independent programs, mov $main,%rdi (48 c7 c7 imm32) in others.
 */
static uint64_t main_address(const si__object *object, uint64_t entry) {
    uint8_t code[CODE_BYTES];
    if (!code_at(object, entry, code, sizeof code)) return 0;
    for (size_t i = 0; i + 7 <= sizeof code; i++) {
        int32_t operand;
        memcpy(&operand, code + i + 3, sizeof operand);
        if (code[i] == 0x48 && code[i + 1] == 0x8d && code[i + 2] == 0x3d)
            return entry + i + 7 + (uint64_t)(int64_t)operand;
        if (code[i] == 0x48 && code[i + 1] == 0xc7 && code[i + 2] == 0xc7) return (uint32_t)operand;
    }
    return 0;
}

static void name_function(si__query *queries, size_t count, uint64_t start, const char *name) {
    for (size_t i = start ? si__query_lower(queries, count, start) : count; i < count; i++) {
        si__query *q = &queries[i];
        if (q->fde_start > start) return;
        if (q->fde_start == start && q->fde_end > start && !q->symbol) q->symbol = name;
    }
}

void si__entry_point_symbols(const si__object *object, si__query *queries, size_t count) {
    GElf_Ehdr header;
    if (!gelf_getehdr(object->elf, &header) || header.e_machine != EM_X86_64 || !header.e_entry) return;
    name_function(queries, count, header.e_entry, "_start");
    name_function(queries, count, main_address(object, header.e_entry), "main");
}
