/*
 * What a loaded module says about itself to the dynamic linker: its symbols, relocations and needs. Read in place.
 *
 * For the hook walker (hook.c), within dl_iterate_phdr, whose lock keeps the module mapped.
 */
#ifndef SI_NATIVE_DYNAMIC_H
#define SI_NATIVE_DYNAMIC_H

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

typedef struct si__dynamic {
    const Elf64_Sym *symbols;
    const char *strings;
    const uint32_t *gnu_hash, *sysv_hash;
    const uint16_t *versions;
    const Elf64_Dyn *entries;
    uintptr_t jump, plain; /* relocation tables */
    size_t jump_bytes, plain_bytes;
    uintptr_t relro_start, relro_end;
    uintptr_t base, low, high; /* what its addresses are relative to; where it lies */
} si__dynamic;

/* 0, or -1: it has none that we could use. */
int si__dynamic_read(const struct dl_phdr_info *info, si__dynamic *out);

/* The address of the function that the module defines and exports under `name`; 0: none. Of several versions the
   default one. */
uintptr_t si__dynamic_function(const si__dynamic *module, const char *name);

/* The name that others need it by; NULL: none. */
const char *si__dynamic_soname(const si__dynamic *module);

#endif
