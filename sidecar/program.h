/* Looks at a program file before it is started: can a probe be preloaded into it? */
#ifndef SI_SIDECAR_PROGRAM_H
#define SI_SIDECAR_PROGRAM_H

#include <stddef.h>

typedef enum si__preload {
    SI__PRELOAD_NO,       /* it would not work, or do harm */
    SI__PRELOAD_CHILDREN, /* the program takes none, but those that it starts may */
    SI__PRELOAD_YES       /* it works, or cannot be judged */
} si__preload;

/* Finds `name` as execvp would, follows "#!" lines, and says in reason why preloading would not work, unless YES. */
si__preload si__program_can_preload(const char *name, char *reason, size_t reason_bytes);

#endif
