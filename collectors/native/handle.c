/* The table of handles: see handle.h. Sets of eight by hash of the address. */
#include "handle.h"

#include <stddef.h>

enum { SETS = 512, WAYS = 8 };

static si__handle handles[SETS][WAYS];
static _Atomic uint64_t clock_now;

static uint64_t key_of(const void *pointer, uint64_t what) {
    uint64_t key = ((uint64_t)(uintptr_t)pointer ^ what << 48) * 0x9e3779b97f4a7c15ull;
    key ^= key >> 29;
    return key ? key : 1;
}

si__handle *si__open_handle_find(const void *pointer, uint64_t what) {
    uint64_t key = key_of(pointer, what);
    si__handle *set = handles[key % SETS];
    for (int i = 0; i < WAYS; i++)
        if (atomic_load_explicit(&set[i].key, memory_order_acquire) == key) return &set[i];
    return NULL;
}

static void clear(si__handle *handle) {
    atomic_store_explicit(&handle->instrument, NULL, memory_order_relaxed);
    atomic_store_explicit(&handle->spent_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->since_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->state, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->head, 0, memory_order_relaxed);
    atomic_store_explicit(&handle->queued, 0, memory_order_relaxed);
    handle->name[0] = '\0';
}

/* A free entry, or the one made first; claimed by its key, so that nobody else takes it too. */
si__handle *si__open_handle_make(const void *pointer, uint64_t what) {
    uint64_t key = key_of(pointer, what);
    si__handle *set = handles[key % SETS];
    for (;;) {
        si__handle *oldest = &set[0], *there = si__open_handle_find(pointer, what);
        if (there) return there;
        uint64_t first = UINT64_MAX;
        for (int i = 0; i < WAYS; i++) {
            uint64_t made = atomic_load_explicit(&set[i].key, memory_order_relaxed)
                                ? atomic_load_explicit(&set[i].made, memory_order_relaxed)
                                : 0;
            if (made < first) {
                first = made;
                oldest = &set[i];
            }
        }
        uint64_t taken = atomic_load_explicit(&oldest->key, memory_order_relaxed);
        if (!atomic_compare_exchange_strong(&oldest->key, &taken, key)) continue;
        atomic_store_explicit(&oldest->made, 1 + atomic_fetch_add(&clock_now, 1), memory_order_relaxed);
        clear(oldest);
        return oldest;
    }
}

void si__open_handle_drop(si__handle *handle) {
    if (handle) atomic_store_explicit(&handle->key, 0, memory_order_release);
}

void si__open_handle_queue(si__handle *handle, si__instrument *instrument, uint64_t now_ns) {
    uint32_t head = atomic_load_explicit(&handle->head, memory_order_relaxed);
    uint32_t queued = atomic_load_explicit(&handle->queued, memory_order_relaxed);
    if (queued == SI__HANDLE_QUEUE) {
        head++;
        queued--;
    }
    uint32_t at = (head + queued) % SI__HANDLE_QUEUE;
    atomic_store_explicit(&handle->queue[at], instrument, memory_order_relaxed);
    atomic_store_explicit(&handle->queue_ns[at], now_ns, memory_order_relaxed);
    atomic_store_explicit(&handle->head, head, memory_order_relaxed);
    atomic_store_explicit(&handle->queued, queued + 1, memory_order_relaxed);
}

si__instrument *si__open_handle_pop(si__handle *handle, uint64_t *since_ns) {
    uint32_t head = atomic_load_explicit(&handle->head, memory_order_relaxed);
    uint32_t queued = atomic_load_explicit(&handle->queued, memory_order_relaxed);
    if (queued == 0) return NULL;
    uint32_t at = head % SI__HANDLE_QUEUE;
    *since_ns = atomic_load_explicit(&handle->queue_ns[at], memory_order_relaxed);
    atomic_store_explicit(&handle->head, head + 1, memory_order_relaxed);
    atomic_store_explicit(&handle->queued, queued - 1, memory_order_relaxed);
    return atomic_load_explicit(&handle->queue[at], memory_order_relaxed);
}
