/*
 * The image of an ELF file in memory of its own, opened for libelf, with the compressed debug sections that we need
 * expanded.
 *
 * libelf by itself would expand them with malloc, and what the host's allocator once got it hardly gives back. Here all
 * goes with one munmap. Internal to this folder; worker thread.
 */
#ifndef SI_SYMBOL_IMAGE_H
#define SI_SYMBOL_IMAGE_H

#include <libelf.h>
#include <stddef.h>

typedef struct si__image {
    void *base; /* NULL: not open */
    size_t bytes;
    Elf *elf;
} si__image;

/* Opens a 64-bit ELF file of our byte order. Small files are read, so that one that is cut short under our hands cannot
   raise SIGBUS in the host; large ones are mapped, because a copy would weigh on it. The descriptor can be closed
   afterwards. 0, SI_ENOTFOUND (no such file, or damaged) or SI_ENOMEM. */
int si__image_open(si__image *image, int fd);
void si__image_close(si__image *image);

#endif
