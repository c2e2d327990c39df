/* Totals per function of a call tree: what history keeps as call-site series, so that rules can look back on them. */
#ifndef SI_CALLSITES_H
#define SI_CALLSITES_H

#include <stddef.h>
#include <stdint.h>

#include "profile/calltree.h"

typedef struct si__callsite {
    char name[160]; /* "function (module)" */
    int64_t total;
} si__callsite;

typedef enum si__callsite_rule {
    SI__CALLSITE_INCLUSIVE, /* a function's total: everything below it, recursion counted once */
    SI__CALLSITE_ORIGIN /* a value belongs to the innermost function that is not part of a library for allocating (the
                           C++ library's containers and operators, strdup, ...): one leak is one call site */
} si__callsite_rule;

/* The `cap` functions with the highest totals, highest first, into out. Returns how many. Any thread; allocates. */
size_t si__callsites_top(const si__calltree *tree, si__callsite_rule rule, si__callsite *out, size_t cap);

#endif
