/*
 * An object: one ELF file opened for a batch of queries, with its separate debug file if there is one.
 *
 * Internal to this folder; worker thread. Everything is freed by close.
 */
#ifndef SI_SYMBOL_OBJECT_H
#define SI_SYMBOL_OBJECT_H

#include <elfutils/libdw.h>
#include <libelf.h>

#include "binary.h"

typedef struct si__object {
    int fd, debug_fd; /* -1: none */
    Elf *elf;         /* the file that was mapped */
    Elf *debug_elf;   /* the separate debug file, or NULL */
    Dwarf *dwarf;     /* of either, or NULL */
} si__object;

/* Opens a binary. 0, SI_ENOTFOUND (gone, replaced, not an ELF file we read) or SI_EIO (may work later). */
int si__object_open(si__object *object, const si__binary *binary);
void si__object_close(si__object *object);

/* The address that a file offset is loaded at, as in the file's own program headers. 1: found. */
int si__object_address(const si__object *object, uint64_t offset, uint64_t *address);

/* A section of the mapped file with contents, by name. NULL: none. */
Elf_Data *si__object_section(const si__object *object, const char *name, uint64_t *address);

#endif
