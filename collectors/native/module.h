/*
 * Modules: the ELF files mapped into a process, as /proc/PID/maps lists them.
 *
 * Parsed by the runtime (worker thread) or a test, never in a signal handler. Shared by the unwind
 * publisher, the symbolizer and the stack-bounds finder.
 */
#ifndef SI_NATIVE_MODULE_H
#define SI_NATIVE_MODULE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct si__module {
    uint64_t start, end;    /* one executable mapping [start, end) */
    uint64_t file_offset;   /* of `start` in the file: file offset of a pc = pc - start + file_offset */
    uint64_t device, inode; /* identity of the file, with path */
    char *path;             /* owned; as in maps, " (deleted)" removed; "[vdso]" for the vdso */
    int deleted;            /* 1: the file is gone from that path */
} si__module;

typedef struct si__module_list {
    si__module *items; /* executable mappings, sorted by start */
    size_t count;
} si__module_list;

/* Parses the text of a maps file. 0, SI_ENOMEM or SI_EFORMAT; *out is empty on error. */
int si__module_list_parse(const char *text, size_t length, si__module_list *out);

/* Reads and parses /proc/PID/maps. 0 or a negative SI_E*. */
int si__module_list_read(pid_t pid, si__module_list *out);
void si__module_list_free(si__module_list *list);

/* The module that holds pc, or NULL. Binary search. */
const si__module *si__module_find(const si__module_list *list, uint64_t pc);

/* Finds the readable and writable mapping that holds `sp` in the text of a maps file: the bounds of a stack
   for threads that were running before us. 0 or SI_ENOTFOUND. */
int si__stack_bounds_parse(const char *text, size_t length, uint64_t sp, uint64_t *lo, uint64_t *hi);

#endif
