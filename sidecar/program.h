/* Looks at a program file before it is started: can a probe be preloaded into it? */
#ifndef SI_SIDECAR_PROGRAM_H
#define SI_SIDECAR_PROGRAM_H

#include <stddef.h>

/*
 * Finds `name` as execvp would, follows "#!" lines, and says why preloading would not work.
 * Returns 1 when it would work or cannot be judged, 0 with a sentence in reason when it would not.
 */
int si__program_can_preload(const char *name, char *reason, size_t reason_bytes);

#endif
