/*
 * An object: one ELF file opened for a batch of queries, with its separate debug files if there are any.
 *
 * Internal to this folder; worker thread. Everything is freed by close.
 */
#ifndef SI_SYMBOL_OBJECT_H
#define SI_SYMBOL_OBJECT_H

#include <elfutils/libdw.h>
#include <libelf.h>

#include "binary.h"
#include "image.h"

typedef struct si__object {
    si__image image; /* the file that was mapped */
    si__image debug; /* the separate debug file; elf is NULL without */
    si__image alt;   /* what several debug files share (dwz); likewise */
    Elf *elf;        /* of the mapped file: of image, or of the vdso */
    Dwarf *dwarf;    /* of image or debug; NULL: none */
    Dwarf *alt_dwarf;
} si__object;

/* Opens a binary. 0, SI_ENOTFOUND (gone, replaced, not an ELF file we read) or SI_EIO, SI_ENOMEM (may work later). */
int si__object_open(si__object *object, const si__binary *binary);
void si__object_close(si__object *object);

/* Opens the debug information anew: libdw keeps all that it ever looked at until it is closed. */
void si__object_renew(si__object *object);

/* The address that a file offset is loaded at, as in the file's own program headers. 1: found. */
int si__object_address(const si__object *object, uint64_t offset, uint64_t *address);

/* A section with contents of an ELF file, by name. NULL: none. */
Elf_Data *si__elf_section(Elf *elf, const char *name, uint64_t *address);

#endif
