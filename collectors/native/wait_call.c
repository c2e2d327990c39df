/* Numbers, names and categories of waiting calls, and the reader of waits in progress: see wait_call.h. */
#include "wait_call.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptor_kind.h"

static const char *const names[SI__WAIT_CALL_COUNT] = {[SI__CALL_NONE] = "?",
#define X(name, category) [SI__CALL_##name] = #name,
                                                       SI__WAIT_CALLS(X)
#undef X
};

static const unsigned char categories[SI__WAIT_CALL_COUNT] = {
#define X(name, category) [SI__CALL_##name] = (category),
    SI__WAIT_CALLS(X)
#undef X
};

const char *si__wait_call_name(uint32_t call) {
    return names[call < SI__WAIT_CALL_COUNT ? call : SI__CALL_NONE];
}

int si__wait_call_category(uint32_t call) {
    return call < SI__WAIT_CALL_COUNT ? categories[call] : SI__WAIT_SYSTEM;
}

/* The observed program may write what it likes there. */
static uint64_t since_ns(const si__region *region, uint64_t since) {
    uint32_t source = atomic_load_explicit(&region->cycle_source, memory_order_acquire);
    if (source != SI__CYCLES_COUNTER && since) return since;
    const si__cycle_moment first = region->cycle_first, now = si__cycle_moment_now(SI__CYCLES_COUNTER);
    if (since == 0 || since >= now.cycles) return now.ns;
    double passed_ns = (double)(now.cycles - since) * si__cycle_length_ns(&first, &now);
    return passed_ns < (double)now.ns ? now.ns - (uint64_t)passed_ns : 0;
}

int si__wait_now_read(si__region *region, uint32_t index, si__waiting *out) {
    si__wait_now *now = si__region_wait(region, index);
    si__slot *slot = si__region_slot(region, index);
    out->sequence = atomic_load_explicit(&now->sequence, memory_order_acquire);
    out->call = atomic_load_explicit(&now->call, memory_order_acquire);
    if (out->call == SI__CALL_NONE || out->call >= SI__WAIT_CALL_COUNT) return 0;
    uint64_t since = atomic_load_explicit(&now->since, memory_order_acquire);
    out->caller_pc = atomic_load_explicit(&now->caller_pc, memory_order_acquire);
    out->object = atomic_load_explicit(&now->object, memory_order_acquire);
    out->tid = atomic_load_explicit(&now->tid, memory_order_acquire);
    if (atomic_load_explicit(&now->sequence, memory_order_relaxed) != out->sequence ||
        atomic_load_explicit(&now->call, memory_order_relaxed) != out->call)
        return 0;
    /* A thread that was cancelled, or that a longjmp took out of a wait and that ended, left its last one behind. */
    if (atomic_load_explicit(&slot->state, memory_order_acquire) != SI__SLOT_LIVE ||
        atomic_load_explicit(&slot->tid, memory_order_relaxed) != out->tid)
        return 0;
    out->since_ns = since_ns(region, since);
    out->name = names[out->call];
    out->category = categories[out->call];
    return 1;
}

int si__wait_descriptor_category(const char *root, int32_t pid, uint64_t fd) {
    char path[256], target[64];
    struct stat st;
    if (fd == SI__NO_DESCRIPTOR) return SI__WAIT_SYSTEM;
    if (fd == SI__MANY_DESCRIPTORS) return SI__WAIT_NETWORK;
    int length = snprintf(path, sizeof path, "%s/proc/%d/fd/%lu", root, (int)pid, (unsigned long)fd);
    if (length < 0 || (size_t)length >= sizeof path || stat(path, &st) != 0) return SI__WAIT_NETWORK;
    ssize_t got = readlink(path, target, sizeof target - 1);
    target[got > 0 ? got : 0] = '\0';
    return si__descriptor_kind_of(st.st_mode, target);
}
