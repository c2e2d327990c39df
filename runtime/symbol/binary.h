/*
 * Binaries: the ELF files that code was sampled in, each known once, with what is needed to find it again later.
 *
 * A binary outlives the mapping and the process it was seen in: it is counted, and what holds a sample of it holds a
 * reference. Its fields never change after it was made, so any thread may read them.
 */
#ifndef SI_SYMBOL_BINARY_H
#define SI_SYMBOL_BINARY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "../../collectors/native/module.h"

enum { SI__BUILD_ID_HEX = 2 * 32 + 1 }; /* longer ids are cut */

typedef struct si__binary {
    _Atomic uint32_t references; /* private */
    uint64_t serial;             /* unique in this process, never used again: a key for caches */
    uint64_t device, inode;      /* as maps says */
    uint64_t map_start, map_end; /* the first mapping it was seen at */
    uint64_t map_offset;         /* file offset of map_start */
    uint64_t sigreturn_offset;   /* file offset of the trampoline that signal handlers return to; UINT64_MAX: none */
    char *path;                  /* as in maps; "[vdso]" for the vdso */
    const char *name;            /* base name, in path */
    char *root;                  /* "" for our own process, "/proc/PID/root" for another */
    char build_id[SI__BUILD_ID_HEX]; /* hex, "" when it has none or could not be read */
    int deleted;                     /* 1: gone from its path already when it was first seen */
    struct {                         /* the file that was found behind it when it was first seen; inode 0: none */
        uint64_t device, inode, bytes;
        int64_t modified_ns;
    } file;
} si__binary;

void si__binary_retain(si__binary *binary);
void si__binary_release(si__binary *binary); /* NULL is allowed. Any thread */

/*
 * Opens the file for reading: by its path under root, by the mapping or the executable link of the process when it was
 * deleted, or by its path alone when the process is gone. Only the very file that was seen first is opened (device,
 * inode, size and time of change), never one that has replaced it. Returns a descriptor (close-on-exec), SI_ENOTFOUND,
 * or SI_EIO when it may work later (too many open files). Blocks; the vdso is SI_ENOTFOUND, see si__vdso_image.
 */
int si__binary_open(const si__binary *binary);

/* The vdso of this process, which is every process's. Returns its bytes, or NULL when there is none. */
const void *si__vdso_image(size_t *length);

/* The table of binaries that are in use: equal (device, inode, path, root) are one binary. Any thread; it has a lock.
 */
typedef struct si__binaries si__binaries;

si__binaries *si__binaries_new(void); /* NULL: out of memory */
void si__binaries_free(si__binaries *binaries);

/* The binary of a module, with a reference for the caller. Reads the file when it is new: blocks, so call it on
   the worker thread. NULL: not a file (anonymous memory), out of memory, or over the cap of binaries in use (8192). */
si__binary *si__binaries_intern(si__binaries *binaries, const si__module *module, const char *root);

/* Forgets the binaries that nobody holds. Done by intern too when there are many. */
void si__binaries_trim(si__binaries *binaries);
size_t si__binaries_count(si__binaries *binaries);

#endif
