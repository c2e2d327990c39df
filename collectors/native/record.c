/* Events of host threads about themselves: see record.h. */
#include "record.h"

#include <errno.h>
#include <string.h>

#include "fork.h"
#include "interpreter.h"
#include "probe.h"
#include "thread.h"
#include "unwind.h"

/* Where the stack of this thread may be read, seen from `sp`; 0: not known. */
static uint64_t stack_end(si__slot *slot, uint64_t sp, uint64_t *lo) {
    uint64_t hi;
    *lo = si__thread_stack(slot, &hi);
    if (hi != 0 && sp >= *lo && sp < hi) return hi;
    atomic_store_explicit(&slot->sp_seen, sp, memory_order_relaxed);
    return 0;
}

/* Our own frames go; `caller` is the first that stays. Returns the frames left, 0 when the caller was not met. */
static unsigned drop_own(uint64_t *pcs, unsigned frames, uint64_t caller) {
    unsigned own = 0;
    while (own < frames && pcs[own] != caller) own++;
    if (own == frames) return 0;
    memmove(pcs, pcs + own, (frames - own) * sizeof *pcs);
    memset(pcs + frames - own, 0, own * sizeof *pcs); /* is given back, and the ring wants that empty */
    return frames - own;
}

static unsigned walk(si__region *region, si__slot *slot, const si__regs *regs, uint64_t caller, uint64_t *pcs,
                     unsigned cap, unsigned *flags) {
    uint64_t lo, hi = stack_end(slot, regs->sp, &lo);
    unsigned frames = hi ? si__unwind(region, slot, regs, lo, hi, pcs, cap, flags) : 0;
    unsigned left = drop_own(pcs, frames, caller);
    if (left) return left;
    memset(pcs, 0, frames * sizeof *pcs);
    pcs[0] = caller;
    *flags |= hi ? SI__STACK_TRUNCATED : SI__STACK_OFF;
    return 1;
}

/* 1: an interpreter has taken the event over. */
static int hand_over(si__region *region, si__slot *slot, si__event *event, const si__record *record,
                     const si__regs *regs) {
    uint64_t hi;
    if (!si__interpreter_take) return 0;
    si__thread_stack(slot, &hi);
    const si__interpreted sample = {region, slot, event, record->type, regs, hi, record->text, record->text_bytes, 0};
    if (!si__interpreter_take(&sample)) return 0;
    si__ring_cancel(slot, event, SI__FRAMES_MAX, record->text_bytes);
    return 1;
}

static void write_event(si__region *region, si__slot *slot, si__event *event, const si__record *record,
                        const si__regs *regs) {
    uint64_t *pcs = si__event_pcs(event);
    unsigned flags = 0, leaf = record->leaf != 0;
    unsigned frames =
        walk(region, slot, regs, (uint64_t)(uintptr_t)record->caller, pcs + leaf, SI__FRAMES_MAX - leaf, &flags);
    if (leaf)
        pcs[0] = record->leaf;
    else
        pcs[0] -= 1; /* a leaf is an exact pc: into the call, not after it */
    event->frame_count = (uint16_t)(frames + leaf);
    event->time_ns = si__now_ns();
    event->value = record->value;
    event->count = record->count;
    event->detail = record->detail;
    event->flags = (uint16_t)flags;
    if (hand_over(region, slot, event, record, regs)) return;
    if (record->text_bytes) memcpy(si__event_text(event), record->text, record->text_bytes);
    si__ring_trim(slot, event, SI__FRAMES_MAX, record->text_bytes);
    si__ring_commit(event, record->type);
}

int si__record_here(const si__record *record) {
    si__region *region = si__owner_region();
    si__slot *slot = region ? si__thread_slot() : NULL;
    if (!slot) return -1;
    int saved = errno;
    si__event *event = si__ring_reserve(slot, SI__FRAMES_MAX, record->text_bytes);
    if (event) {
        si__regs regs;
        si__regs_here(&regs);
        write_event(region, slot, event, record, &regs);
    }
    errno = saved;
    return event ? 0 : -1;
}
