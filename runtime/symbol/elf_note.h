/* What is read from an ELF file without any library: its build id, and where its signal trampoline is. Any thread. */
#ifndef SI_SYMBOL_ELF_NOTE_H
#define SI_SYMBOL_ELF_NOTE_H

#include <stddef.h>
#include <stdint.h>

/* A file, or an image in memory: reads `length` bytes at `offset` into out. Returns 1 when it got all of them. */
typedef struct si__elf_source {
    int fd; /* used when image is NULL */
    const uint8_t *image;
    size_t image_bytes;
} si__elf_source;

int si__elf_source_read(const si__elf_source *source, uint64_t offset, void *out, size_t length);

/* The build id from the program's notes as hex into out (out_bytes > 0); "" when there is none. Returns its length. */
size_t si__elf_build_id(const si__elf_source *source, char *out, size_t out_bytes);

/* File offset of __restore_rt, to which signal handlers return, or UINT64_MAX. Looks into executable segments of
   files up to 64 MiB for its instructions. */
uint64_t si__elf_sigreturn(const si__elf_source *source);

#endif
