/* Functions, lines and inlined calls from DWARF. Worker thread. */
#ifndef SI_SYMBOL_DWARF_FRAMES_H
#define SI_SYMBOL_DWARF_FRAMES_H

#include <elfutils/libdw.h>
#include <stddef.h>
#include <stdint.h>

typedef struct si__dwarf_frame {
    const char *name; /* linkage name if there is one, else the plain name; NULL: unknown. Lives as long as the Dwarf */
    const char *file; /* or NULL; likewise */
    uint32_t line;    /* 0: unknown */
} si__dwarf_frame;

typedef struct si__dwarf_frames si__dwarf_frames; /* what is remembered between addresses of one batch */

si__dwarf_frames *si__dwarf_frames_new(Dwarf *dwarf); /* dwarf is borrowed. NULL: out of memory */
void si__dwarf_frames_free(si__dwarf_frames *frames);

/* How many compilation units were looked at: what libdw keeps in memory of each stays until the Dwarf is closed. */
unsigned si__dwarf_frames_units(const si__dwarf_frames *frames);

/* Frames at an address, innermost first, into out (cap > 0). Returns their number, 0: nothing known. Cheapest when
   addresses come sorted. */
size_t si__dwarf_frames_at(si__dwarf_frames *frames, uint64_t address, si__dwarf_frame *out, size_t cap);

#endif
