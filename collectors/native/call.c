/* Measured calls: see call.h. */
#include "call.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fork.h"
#include "poisson.h"
#include "probe.h"
#include "record.h"
#include "thread.h"

enum {
    NAMES_MAX = 640, /* of the SI__INSTRUMENT_COUNT: the rest is for what the program names itself */
    NAME_SLOTS = 2048,
    KINDS = SI__INSTRUMENT_COUNTER + 1
};
#define STACK_REACH (1u << 20) /* a call within another one is at most this far down its stack */

static __thread uintptr_t inside[KINDS] __attribute__((tls_model("initial-exec"))); /* frame of the outermost call */
static __thread si__poisson sampling __attribute__((tls_model("initial-exec")));

/* ---- One call ---- */

/* Preloaded, a process makes its region when it is needed; a vfork child may not. */
static si__region *region_for_calls(void) {
    si__region *region = si__owner_region();
    if (region || !si__probe_is_preloaded()) return region;
    const si__thread *self = si__thread_self();
    int saved = errno;
    if (self && self->tid == (int32_t)syscall(SYS_gettid)) region = si__probe_region_needed();
    errno = saved;
    return region;
}

int si__call_enter(si__call_scope *scope, si__instrument_kind kind) {
    uintptr_t here = (uintptr_t)scope;
    scope->guard = NULL;
    if (!region_for_calls() || !si__thread_slot()) return 0;
    /* A frame that is not above us was left by an exception or longjmp. */
    if (inside[kind] > here && inside[kind] - here < STACK_REACH) return 0;
    scope->guard = &inside[kind];
    inside[kind] = here;
    scope->start_ns = si__now_ns();
    return 1;
}

uint64_t si__call_leave(si__call_scope *scope) {
    uint64_t now_ns = si__now_ns();
    *scope->guard = 0;
    return now_ns > scope->start_ns ? now_ns - scope->start_ns : 1;
}

/* ---- Names ---- */

/* The names that hooked calls have made up so far, by hash. */
static _Atomic uint64_t names[NAME_SLOTS];
static _Atomic uint32_t name_count;
static _Atomic(si__region *) names_of;

static void forget_names(si__region *region) {
    si__region *before = atomic_load_explicit(&names_of, memory_order_relaxed);
    if (before == region || !atomic_compare_exchange_strong(&names_of, &before, region)) return;
    for (int i = 0; i < NAME_SLOTS; i++) atomic_store_explicit(&names[i], 0, memory_order_relaxed);
    atomic_store_explicit(&name_count, 0, memory_order_relaxed);
}

static uint64_t hash_of(si__instrument_kind kind, const char *name) {
    uint64_t hash = 14695981039346656037ull ^ (uint64_t)kind;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211ull; /* FNV-1a */
    return hash ? hash : 1;
}

static int has_room(si__instrument_kind kind, const char *name) {
    uint64_t hash = hash_of(kind, name);
    for (uint32_t step = 0; step < NAME_SLOTS; step++) {
        _Atomic uint64_t *at = &names[((uint32_t)hash + step) % NAME_SLOTS];
        uint64_t there = atomic_load_explicit(at, memory_order_relaxed);
        if (there == hash) return 1;
        if (there) continue;
        if (atomic_load_explicit(&name_count, memory_order_relaxed) >= NAMES_MAX) return 0;
        if (atomic_compare_exchange_strong_explicit(at, &there, hash, memory_order_relaxed, memory_order_relaxed)) {
            atomic_fetch_add_explicit(&name_count, 1, memory_order_relaxed);
            return 1;
        }
        if (there == hash) return 1;
    }
    return 0;
}

si__instrument *si__call_instrument(si__instrument_kind kind, const char *name) {
    si__region *region = si__owner_region();
    if (!region) return NULL;
    forget_names(region);
    return si__instrument_get(kind, has_room(kind, name) ? name : "[other]");
}

/* ---- Counting ---- */

void si__call_sample(const si__instrument *instrument, uint64_t duration_ns, const void *caller, uint64_t leaf) {
    si__region *region = si__owner_region();
    uint64_t mean = region ? atomic_load_explicit(&region->control.call_ns, memory_order_relaxed) : 0;
    si__weight weight;
    if (mean == 0 || atomic_load_explicit(&instrument->state, memory_order_acquire) != 2) return;
    if (sampling.mean != mean)
        si__poisson_draw(&sampling, mean); /* gaps have no memory: a new one may begin anywhere */
    if (!si__poisson_hit(&sampling, duration_ns) || !si__poisson_weight(&sampling, duration_ns, mean, &weight)) return;
    char text[SI__NAME_BYTES + 8];
    size_t length = strnlen(instrument->name, SI__NAME_BYTES - 1);
    memcpy(text, instrument->name, length);
    text[length] = '\0';
    memcpy(text + length + 1, &duration_ns, 8);
    si__record record = {.type = SI__EVENT_CALL,
                         .detail = instrument->kind,
                         .count = weight.calls,
                         .value = weight.quantity,
                         .leaf = leaf,
                         .caller = caller,
                         .text = text,
                         .text_bytes = (uint32_t)length + 9};
    si__record_here(&record);
}

void si__call_count(si__instrument *instrument, uint64_t duration_ns, int failed, const void *caller, uint64_t leaf) {
    if (!si__instrument_valid(instrument)) return;
    int saved = errno;
    if (failed) atomic_fetch_add_explicit(&instrument->errors, 1, memory_order_relaxed);
    si__instrument_time(instrument, duration_ns);
    si__call_sample(instrument, duration_ns, caller, leaf);
    errno = saved;
}
