/*
 * The writing end of a thread's ring: reserve, fill, trim, commit. Runs on the host thread that owns the slot, also in
 * its signal handlers, which may interrupt a writer at any instruction and write an event of their own.
 *
 * The reader takes an event only once its head is stored, and leaves everything it consumed zeroed, so a place that is
 * reserved and not committed yet always shows a head of 0. Hence nothing may be left behind in bytes given back.
 */
#include <string.h>
#include <time.h>

#include "probe.h"

#define MASK ((uint64_t)SI__RING_BYTES - 1)

uint64_t si__now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t event_bytes(uint32_t frame_count, uint32_t text_bytes) {
    return (sizeof(si__event) + (uint64_t)frame_count * 8 + text_bytes + 7) & ~(uint64_t)7;
}

static char *ring_of(si__region *region, const si__slot *slot) {
    return si__region_ring(region, (uint32_t)(slot - si__region_slot(region, 0)));
}

static void store_head(char *at, si__event_type type, uint64_t bytes) {
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, (uint64_t)type << 32 | bytes, memory_order_release);
}

si__event *si__ring_reserve(si__slot *slot, uint32_t frame_count, uint32_t text_bytes) {
    si__region *region = si__probe_region();
    if (!region || !slot || frame_count > SI__FRAMES_MAX || text_bytes > SI__RING_BYTES / 4) return NULL;
    uint64_t bytes = event_bytes(frame_count, text_bytes);
    char *ring = ring_of(region, slot);
    uint64_t position = atomic_load_explicit(&slot->reserve_pos, memory_order_relaxed);
    uint64_t offset, pad;
    do {
        uint64_t read = atomic_load_explicit(&slot->read_pos, memory_order_acquire);
        offset = position & MASK;
        pad = SI__RING_BYTES - offset < bytes ? SI__RING_BYTES - offset : 0;
        if (position + pad + bytes - read > SI__RING_BYTES) {
            atomic_fetch_add_explicit(&slot->dropped, 1, memory_order_relaxed);
            return NULL;
        }
        /* Only a handler of this same thread can come in between; the exchange fails then, and we look again. */
    } while (!atomic_compare_exchange_weak_explicit(&slot->reserve_pos, &position, position + pad + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    if (pad) {
        store_head(ring + offset, SI__EVENT_PAD, pad);
        offset = 0;
    }
    si__event *event = (si__event *)(void *)(ring + offset);
    event->time_ns = 0;
    event->value = 0;
    event->count = 0;
    event->flags = 0;
    event->frame_count = (uint16_t)frame_count;
    event->text_bytes = text_bytes;
    event->detail = 0;
    return event;
}

void si__ring_trim(si__slot *slot, si__event *event, uint32_t reserved_frames, uint32_t reserved_text) {
    si__region *region = si__probe_region();
    uint64_t reserved = event_bytes(reserved_frames, reserved_text);
    uint64_t used = event_bytes(event->frame_count, event->text_bytes);
    if (!region || used >= reserved) return;
    char *rest = (char *)event + used;
    memset(rest, 0, reserved - used < 64 ? reserved - used : 64); /* what a walk may have tried before it gave up */
    char *ring = ring_of(region, slot);
    uint64_t end = atomic_load_explicit(&slot->reserve_pos, memory_order_relaxed);
    uint64_t own_end = (uint64_t)((char *)event - ring) + reserved; /* offset in the ring; may be its very end */
    if ((end & MASK) == (own_end & MASK) &&
        atomic_compare_exchange_strong_explicit(&slot->reserve_pos, &end, end - (reserved - used), memory_order_relaxed,
                                                memory_order_relaxed))
        return;
    store_head(rest, SI__EVENT_PAD, reserved - used); /* a handler's event follows: the gap stays */
}

void si__ring_commit(si__event *event, si__event_type type) {
    si__region *region = si__probe_region();
    if (region) {
        uint64_t index = (uint64_t)((char *)event - si__region_ring(region, 0)) / SI__RING_BYTES;
        atomic_fetch_add_explicit(&si__region_slot(region, (uint32_t)index)->samples, 1, memory_order_relaxed);
    }
    store_head((char *)event, type, event_bytes(event->frame_count, event->text_bytes));
}

void si__ring_cancel(si__slot *slot, si__event *event, uint32_t reserved_frames, uint32_t reserved_text) {
    memset(si__event_pcs(event), 0, (size_t)event->frame_count * 8);
    event->frame_count = 0;
    event->text_bytes = 0;
    si__ring_trim(slot, event, reserved_frames, reserved_text);
    store_head((char *)event, SI__EVENT_PAD, event_bytes(0, 0)); /* a handler's event may follow: the head stays */
}
