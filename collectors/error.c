/*
 * Errors that the program reports, with the stack of the caller. Host threads; no allocation, no lock.
 *
 * The count is an instrument and never loses one; the stack and the message travel through the thread's ring, which may
 * be full.
 */
#include <errno.h>
#include <string.h>

#include "collector.h"
#include "native/fork.h"
#include "native/probe.h"
#include "native/thread.h"
#include "native/unwind.h"
#include "si/si.h"

enum { MESSAGE_BYTES = 256 };

/* Where the stack of this thread may be read, seen from `sp`; 0: not known. */
static uint64_t stack_end(si__slot *slot, uint64_t sp, uint64_t *lo) {
    uint64_t hi;
    *lo = si__thread_stack(slot, &hi);
    if (hi != 0 && sp >= *lo && sp < hi) return hi;
    atomic_store_explicit(&slot->sp_seen, sp, memory_order_relaxed);
    return 0;
}

/* The stack of si_error_record's caller: the walk starts in si_error_record itself, whose frame is left out. */
static unsigned walk(si__region *region, si__slot *slot, const si__regs *regs, uint64_t *pcs, unsigned *flags) {
    uint64_t lo, hi = stack_end(slot, regs->sp, &lo);
    unsigned frames = 1;
    if (hi) frames = si__unwind(region, slot, regs, lo, hi, pcs, SI__FRAMES_MAX, flags);
    if (!hi || frames < 2) {
        pcs[0] = regs->pc;
        *flags |= hi ? SI__STACK_TRUNCATED : SI__STACK_OFF;
        return 1;
    }
    memmove(pcs, pcs + 1, (frames - 1) * sizeof *pcs);
    pcs[frames - 1] = 0; /* is given back, and the ring wants that empty */
    pcs[0] -= 1;         /* a leaf is an exact pc: into the call, not after it */
    return frames - 1;
}

static void record(si__region *region, si__slot *slot, const si__regs *regs, const char *group, const char *message) {
    uint32_t group_bytes = (uint32_t)strnlen(group, SI__NAME_BYTES - 1);
    uint32_t message_bytes = (uint32_t)strnlen(message, MESSAGE_BYTES - 1);
    uint32_t text_bytes = group_bytes + 1 + message_bytes;
    si__event *event = si__ring_reserve(slot, SI__FRAMES_MAX, text_bytes);
    if (!event) return;
    unsigned flags = 0;
    unsigned frames = walk(region, slot, regs, si__event_pcs(event), &flags);
    event->frame_count = (uint16_t)frames;
    event->time_ns = si__now_ns();
    event->count = 1;
    event->flags = (uint16_t)flags;
    char *text = si__event_text(event);
    memcpy(text, group, group_bytes);
    text[group_bytes] = '\0';
    memcpy(text + group_bytes + 1, message, message_bytes);
    si__ring_trim(slot, event, SI__FRAMES_MAX, text_bytes);
    si__ring_commit(event, SI__EVENT_ERROR);
}

void si_error_record(const char *group, const char *message) {
    si__region *region = si__owner_region();
    if (!region) return;
    int saved = errno;
    if (!group) group = "";
    if (!message) message = "";
    si__instrument *count = si__instrument_get(SI__INSTRUMENT_ERROR, group);
    if (count) atomic_fetch_add_explicit(&count->count, 1, memory_order_relaxed);
    si__slot *slot = si__thread_slot();
    if (slot) {
        si__regs regs;
        si__regs_here(&regs);
        record(region, slot, &regs, group, message);
    }
    errno = saved;
}

static int start(char *reason, size_t reason_bytes) {
    (void)reason;
    (void)reason_bytes;
    return 0;
}

const si__collector si__collector_error = {.name = "error", .title = "Errors", .start = start};
