/*
 * A profile being taken: value and count per stack of the stack table, for one type ("cpu", "heap", ...).
 *
 * Small and quick: a hash from node to sums. Belongs to the stack table's owner (loop thread).
 */
#ifndef SI_PROFILE_PROFILE_H
#define SI_PROFILE_PROFILE_H

#include <stddef.h>
#include <stdint.h>

#include "spread.h"
#include "stack.h"

typedef struct si__profile_entry {
    int64_t value; /* in the profile's unit */
    uint64_t count;
    uint32_t node; /* in the stack table */
} si__profile_entry;

si__profile *si__profile_new(void); /* NULL: out of memory */
void si__profile_free(si__profile *profile);

/* Adds to a node. Out of memory: added to the root instead, so that the total stays true. */
void si__profile_add(si__profile *profile, uint32_t node, int64_t value, uint64_t count);

/* Notes how long one sampled call took, at a node that si__profile_add was called with. Returns the buckets that this
   took (0 or 1), or SI_ENOMEM: not noted. */
int si__profile_spread(si__profile *profile, uint32_t node, uint64_t duration_ns, uint64_t calls);
const si__spread *si__profile_spread_at(const si__profile *profile, size_t index); /* of an entry; NULL: none */

/* Adds every entry of `from`; not how long calls took: named calls alone have that, and their profiles are not merged.
 */
void si__profile_merge(si__profile *into, const si__profile *from);
void si__profile_clear(si__profile *profile); /* keeps a modest amount of memory for reuse */

size_t si__profile_count(const si__profile *profile);                              /* entries */
const si__profile_entry *si__profile_at(const si__profile *profile, size_t index); /* borrowed until the next change */
int64_t si__profile_total_value(const si__profile *profile);
uint64_t si__profile_total_count(const si__profile *profile);
size_t si__profile_bytes(const si__profile *profile);

/* For the stack table: node n is now map[n], for n < count; others go to the root. */
void si__profile_renumber(si__profile *profile, const uint32_t *map, size_t count);

#endif
