/* Names of frames without an address: see frame_name.h. */
#include "frame_name.h"

#include <stdlib.h>
#include <string.h>

#include "../../collectors/native/wait_call.h"
#include "index.h"

static uint32_t hash_of(const si__frame_name *name) {
    uint64_t hash = 0xcbf29ce484222325ull + name->line; /* FNV-1a */
    for (const char *c = name->function; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3ull;
    for (const char *c = name->file; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3ull;
    return si__hash64(hash);
}

si__frame_name *si__frame_name_copy(si__region *region, uint32_t index) {
    if (index > SI__NAME_COUNT && index < SI__NAME_COUNT + SI__WAIT_CALL_COUNT) {
        si__frame_name *call = calloc(1, sizeof *call);
        if (!call) return NULL;
        atomic_init(&call->references, 1);
        strncpy(call->function, si__wait_call_name(index - SI__NAME_COUNT), sizeof call->function - 1);
        call->hash = hash_of(call);
        return call;
    }
    if (!region || index >= SI__NAME_COUNT) return NULL;
    const si__name *from = si__region_name(region, index);
    if (atomic_load_explicit(&from->state, memory_order_acquire) != 2) return NULL;
    si__frame_name *name = calloc(1, sizeof *name);
    if (!name) return NULL;
    atomic_init(&name->references, 1);
    name->line = from->line;
    memcpy(name->function, from->function, sizeof name->function - 1);
    if (!name->function[0]) memcpy(name->function, "[unnamed]", 10);
    memcpy(name->file, from->file, sizeof name->file - 1);
    name->hash = hash_of(name);
    return name;
}

si__frame_name *si__frame_name_retain(si__frame_name *name) {
    atomic_fetch_add_explicit(&name->references, 1, memory_order_relaxed);
    return name;
}

void si__frame_name_release(si__frame_name *name) {
    if (name && atomic_fetch_sub_explicit(&name->references, 1, memory_order_acq_rel) == 1) free(name);
}

int si__frame_name_equal(const si__frame_name *a, const si__frame_name *b) {
    return a->hash == b->hash && a->line == b->line && strcmp(a->function, b->function) == 0 &&
           strcmp(a->file, b->file) == 0;
}
