/*
 * The .eh_frame compiler: call frame information in DWARF form to rows of an unwind table.
 *
 * Called by unwind_elf.c (and a fuzzer) on bytes that may be hostile: lengths, offsets and depths are all checked, and
 * the work is linear in the size of the section. No state between calls; any thread.
 */
#ifndef SI_NATIVE_EH_FRAME_H
#define SI_NATIVE_EH_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "unwind_table.h"

/* Where executable code of the file lies: addresses [vaddr, vaddr + size) are file offsets [offset, ...). */
typedef struct si__text_range {
    uint64_t vaddr, offset, size;
} si__text_range;

typedef struct si__eh_frame {
    const unsigned char *bytes; /* the section */
    size_t size;
    uint64_t vaddr; /* its address as linked */
    unsigned machine;
    const si__text_range *text; /* functions elsewhere are skipped */
    size_t text_count;
} si__eh_frame;

/* Adds the section's rows to the builder. 0, SI_EFORMAT (nothing usable before the first flaw), SI_ENOMEM or SI_ELIMIT.
 */
int si__eh_frame_compile(const si__eh_frame *section, si__table_builder *builder);

/* Decodes one pointer in a DW_EH_PE encoding at *pos of bytes[size], advancing *pos. `vaddr`: address of bytes[0].
   Returns 0 when it does not fit or the encoding asks for something that a file does not hold (indirection, text or
   function base). */
int si__eh_pointer(const unsigned char *bytes, size_t size, size_t *pos, unsigned encoding, uint64_t vaddr,
                   uint64_t *out);

/* A bounded reader over the bytes of one record. `failed` sticks: check once, at the end. */
typedef struct si__eh_reader {
    const unsigned char *at, *end;
    int failed;
} si__eh_reader;

uint64_t si__eh_fixed(si__eh_reader *r, unsigned bytes); /* little-endian, 1, 2, 4 or 8 bytes; 0 after the end */
uint64_t si__eh_uleb(si__eh_reader *r);
int64_t si__eh_sleb(si__eh_reader *r);

/* ---- eh_expression.c ---- */

/* Turns a DWARF expression into an operand. `address`: the expression yields the address where the value is stored, not
   the value. `with_cfa`: the CFA is on the expression's stack at its start. SI__OP_UNKNOWN for what operands cannot
   say. */
si__operand si__eh_expression(const unsigned char *code, size_t size, int address, int with_cfa, unsigned machine);

#endif
