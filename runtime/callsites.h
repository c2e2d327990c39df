/* Totals per function of a call tree: what history keeps as call-site series, so that rules can look back on them. */
#ifndef SI_CALLSITES_H
#define SI_CALLSITES_H

#include <stddef.h>
#include <stdint.h>

#include "profile/calltree.h"

typedef struct si__callsite {
    char name[160]; /* "function (module)" */
    int64_t total;  /* value of everything below it, recursion counted once */
} si__callsite;

/* The `cap` functions with the highest totals, highest first, into out. Returns how many. Any thread; allocates. */
size_t si__callsites_top(const si__calltree *tree, si__callsite *out, size_t cap);

#endif
