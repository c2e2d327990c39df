/*
 * The name of a frame that has no address, such as a Lua function: copied out of a region once, then shared by the
 * stack table (loop thread) and raw profiles (worker thread). Never changes; counted references, any thread.
 */
#ifndef SI_PROFILE_FRAME_NAME_H
#define SI_PROFILE_FRAME_NAME_H

#include <stdatomic.h>
#include <stdint.h>

#include "../../collectors/native/region.h"

typedef struct si__frame_name {
    atomic_uint references;
    uint32_t line; /* 0: not known */
    uint32_t hash;
    char function[sizeof((si__name *)0)->function], file[sizeof((si__name *)0)->file];
} si__frame_name;

/* The number of a name that no region has: a call that can wait (native/wait_call.h). */
static inline uint32_t si__frame_name_of_call(uint32_t call) {
    return SI__NAME_COUNT + call;
}

/* Copies entry `index` of a region's names, or makes that of a call; hostile input, checked. NULL: no such name, or out
   of memory. */
si__frame_name *si__frame_name_copy(si__region *region, uint32_t index);

si__frame_name *si__frame_name_retain(si__frame_name *name);
void si__frame_name_release(si__frame_name *name); /* NULL is fine */
int si__frame_name_equal(const si__frame_name *a, const si__frame_name *b);

#endif
