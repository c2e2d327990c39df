/* The reading end of a region: see drain.h. Runs on the runtime's thread. */
#include "drain.h"

#include <stdlib.h>
#include <string.h>

#include "../../collectors/native/module.h"

enum { EVENT_BYTES_MAX = SI__RING_BYTES / 2 };
#define MASK ((uint64_t)SI__RING_BYTES - 1)

typedef struct instrument_seen {
    uint64_t count, sum_ns, errors, value_bits;
    uint32_t *buckets; /* NULL until durations were seen */
} instrument_seen;

struct si__drain {
    si__region *region;
    si__drain_counts counts;
    uint64_t dropped_seen[SI__SLOT_COUNT];
    uint64_t threads_refused_seen, instruments_refused_seen;
    instrument_seen instruments[SI__INSTRUMENT_COUNT];
    uint32_t difference[SI__BUCKET_COUNT];
    char copy[EVENT_BYTES_MAX + 1];
    uint64_t pcs[SI__FRAMES_MAX];
};

static int has_durations(uint32_t kind) {
    return kind >= SI__INSTRUMENT_SEGMENT && kind <= SI__INSTRUMENT_CALL_OTHER;
}

static int remember_buckets(si__drain *drain, uint32_t index) {
    instrument_seen *seen = &drain->instruments[index];
    if (seen->buckets) return 1;
    seen->buckets = calloc(SI__BUCKET_COUNT, sizeof *seen->buckets);
    return seen->buckets != NULL;
}

/* A look into a page of shared memory that nobody wrote to would make it take memory, in every process observed. */
static int has_instruments(const si__region *region, uint32_t index) {
    uint64_t pages = atomic_load_explicit(&region->instrument_pages, memory_order_acquire);
    return (int)(pages >> index / SI__INSTRUMENTS_PER_PAGE & 1);
}

static uint32_t slots_used(const si__region *region) {
    uint32_t used = atomic_load_explicit(&region->slots_used, memory_order_acquire);
    return used < SI__SLOT_COUNT ? used : SI__SLOT_COUNT;
}

static int take_baseline(si__drain *drain, uint32_t index) {
    si__instrument *at = si__region_instrument(drain->region, index);
    instrument_seen *seen = &drain->instruments[index];
    if (atomic_load_explicit(&at->state, memory_order_acquire) != 2) return 1;
    seen->count = atomic_load_explicit(&at->count, memory_order_acquire);
    seen->sum_ns = atomic_load_explicit(&at->sum_ns, memory_order_relaxed);
    seen->errors = atomic_load_explicit(&at->errors, memory_order_relaxed);
    seen->value_bits = atomic_load_explicit(&at->value_bits, memory_order_relaxed);
    if (seen->count == 0 || !has_durations(at->kind)) return 1;
    if (!remember_buckets(drain, index)) return 0;
    _Atomic uint32_t *buckets = si__region_buckets(drain->region, index);
    for (uint32_t i = 0; i < SI__BUCKET_COUNT; i++)
        seen->buckets[i] = atomic_load_explicit(&buckets[i], memory_order_relaxed);
    return 1;
}

si__drain *si__drain_new(si__region *region) {
    si__drain *drain = calloc(1, sizeof *drain);
    if (!drain) return NULL;
    drain->region = region;
    for (uint32_t i = 0; i < SI__INSTRUMENT_COUNT; i++) {
        if (has_instruments(region, i) && !take_baseline(drain, i)) {
            si__drain_free(drain);
            return NULL;
        }
    }
    for (uint32_t i = 0; i < slots_used(region); i++)
        drain->dropped_seen[i] = atomic_load_explicit(&si__region_slot(region, i)->dropped, memory_order_relaxed);
    drain->threads_refused_seen = atomic_load_explicit(&region->threads_refused, memory_order_relaxed);
    drain->instruments_refused_seen = atomic_load_explicit(&region->instruments_refused, memory_order_relaxed);
    return drain;
}

void si__drain_from_zero(si__drain *drain) {
    for (uint32_t i = 0; i < SI__INSTRUMENT_COUNT; i++) free(drain->instruments[i].buckets);
    memset(drain->instruments, 0, sizeof drain->instruments);
    memset(drain->dropped_seen, 0, sizeof drain->dropped_seen);
    drain->threads_refused_seen = drain->instruments_refused_seen = 0;
}

void si__drain_free(si__drain *drain) {
    if (!drain) return;
    for (uint32_t i = 0; i < SI__INSTRUMENT_COUNT; i++) free(drain->instruments[i].buckets);
    free(drain);
}

/* ---- Events ---- */

static _Atomic uint64_t *head_at(char *ring, uint64_t position) {
    return (_Atomic uint64_t *)(void *)(ring + (position & MASK));
}

/* Copies one event out, then looks at the copy: the ring may change under our eyes. 0: it is nonsense. */
static int copy_event(si__drain *drain, const char *at, uint64_t bytes, si__drained_event *out) {
    if (bytes < sizeof(si__event) || bytes > EVENT_BYTES_MAX) return 0;
    si__event event;
    memcpy(drain->copy, at, bytes);
    memcpy(&event, drain->copy, sizeof event);
    uint64_t pcs_bytes = (uint64_t)event.frame_count * 8;
    if (event.frame_count > SI__FRAMES_MAX || sizeof event + pcs_bytes + event.text_bytes > bytes) return 0;
    memcpy(drain->pcs, drain->copy + sizeof event, pcs_bytes);
    char *text = drain->copy + sizeof event + pcs_bytes;
    text[event.text_bytes] = '\0';
    out->time_ns = event.time_ns;
    out->value = event.value;
    out->count = event.count;
    out->detail = event.detail;
    out->flags = event.flags;
    out->frame_count = event.frame_count;
    out->pcs = drain->pcs;
    out->text = text;
    out->text_bytes = event.text_bytes;
    return 1;
}

/* Nothing in this ring can be trusted any more: start it again, empty. */
static void give_up_ring(si__drain *drain, si__slot *slot, char *ring) {
    uint64_t end = atomic_load_explicit(&slot->reserve_pos, memory_order_acquire);
    memset(ring, 0, SI__RING_BYTES);
    atomic_store_explicit(&slot->read_pos, end, memory_order_release);
    drain->counts.malformed++;
}

static size_t drain_ring(si__drain *drain, uint32_t index, si__drain_event_fn fn, void *arg) {
    si__slot *slot = si__region_slot(drain->region, index);
    char *ring = si__region_ring(drain->region, index), name[sizeof slot->name];
    uint64_t read = atomic_load_explicit(&slot->read_pos, memory_order_relaxed);
    uint64_t end = atomic_load_explicit(&slot->reserve_pos, memory_order_acquire);
    size_t count = 0;
    si__drained_event event = {.slot = index, .tid = atomic_load_explicit(&slot->tid, memory_order_relaxed)};
    if (read == end) return 0;
    memcpy(name, slot->name, sizeof name);
    name[sizeof name - 1] = '\0';
    event.thread_name = name;
    if (end - read > SI__RING_BYTES || (read & 7) || (end & 7)) {
        give_up_ring(drain, slot, ring);
        return 0;
    }
    while (read != end) {
        uint64_t head = atomic_load_explicit(head_at(ring, read), memory_order_acquire);
        uint64_t bytes = head & 0xffffffffu, room = SI__RING_BYTES - (read & MASK);
        uint32_t type = (uint32_t)(head >> 32);
        if (head == 0) break; /* reserved, not committed yet */
        /* Looked at again behind the head: the writer gives back what it reserved too much, so an older value may point
           into the middle of this very event. */
        end = atomic_load_explicit(&slot->reserve_pos, memory_order_acquire);
        int good = bytes >= 8 && !(bytes & 7) && bytes <= room && end - read <= SI__RING_BYTES && bytes <= end - read;
        char *at = ring + (read & MASK);
        if (good && type != SI__EVENT_PAD) good = copy_event(drain, at, bytes, &event);
        if (!good) {
            give_up_ring(drain, slot, ring);
            return count;
        }
        memset(at, 0, bytes); /* the writer counts on it: a head of 0 means not committed */
        read += bytes;
        atomic_store_explicit(&slot->read_pos, read, memory_order_release);
        if (type == SI__EVENT_PAD) continue;
        event.type = (si__event_type)type;
        count++;
        if (type >= SI__EVENT_CPU && type <= SI__EVENT_LAST) fn(arg, &event);
    }
    return count;
}

static void note_dropped(si__drain *drain, uint32_t index) {
    uint64_t now = atomic_load_explicit(&si__region_slot(drain->region, index)->dropped, memory_order_relaxed);
    if (now > drain->dropped_seen[index]) drain->counts.dropped += now - drain->dropped_seen[index];
    drain->dropped_seen[index] = now;
}

/* The thread has ended and its ring is drained: the slot is ours until we free it. An event that was begun and never
   committed (the thread was killed in the middle) goes with it. */
static void recycle(si__drain *drain, uint32_t index) {
    si__slot *slot = si__region_slot(drain->region, index);
    uint64_t read = atomic_load_explicit(&slot->read_pos, memory_order_relaxed);
    if (read != atomic_load_explicit(&slot->reserve_pos, memory_order_acquire))
        memset(si__region_ring(drain->region, index), 0, SI__RING_BYTES);
    atomic_store_explicit(&slot->reserve_pos, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->read_pos, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->dropped, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->samples, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->tid, 0, memory_order_relaxed);
    drain->dropped_seen[index] = 0;
    atomic_store_explicit(&slot->state, SI__SLOT_FREE, memory_order_release);
}

size_t si__drain_events(si__drain *drain, si__drain_event_fn fn, void *arg) {
    uint32_t used = atomic_load_explicit(&drain->region->slots_used, memory_order_acquire);
    size_t count = 0;
    if (used > SI__SLOT_COUNT) used = SI__SLOT_COUNT;
    drain->counts.threads = 0;
    for (uint32_t i = 0; i < used; i++) {
        uint32_t state = atomic_load_explicit(&si__region_slot(drain->region, i)->state, memory_order_acquire);
        if (state != SI__SLOT_LIVE && state != SI__SLOT_CLOSED) continue;
        count += drain_ring(drain, i, fn, arg);
        note_dropped(drain, i);
        if (state == SI__SLOT_CLOSED)
            recycle(drain, i);
        else
            drain->counts.threads++;
    }
    drain->counts.events += count;
    return count;
}

/* ---- Instruments ---- */

static double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The buckets gained. Bucket counts are 32 bits wide and may wrap: the difference is right all the same. */
static const uint32_t *bucket_difference(si__drain *drain, uint32_t index) {
    if (!remember_buckets(drain, index)) return NULL;
    _Atomic uint32_t *buckets = si__region_buckets(drain->region, index);
    uint32_t *seen = drain->instruments[index].buckets;
    for (uint32_t i = 0; i < SI__BUCKET_COUNT; i++) {
        uint32_t now = atomic_load_explicit(&buckets[i], memory_order_relaxed);
        drain->difference[i] = now - seen[i];
        seen[i] = now;
    }
    return drain->difference;
}

static int read_instrument(si__drain *drain, uint32_t index, char *name, si__drained_instrument *out) {
    si__instrument *at = si__region_instrument(drain->region, index);
    instrument_seen *seen = &drain->instruments[index];
    if (atomic_load_explicit(&at->state, memory_order_acquire) != 2) return 0;
    uint64_t count = atomic_load_explicit(&at->count, memory_order_acquire);
    if (count <= seen->count) return 0;
    uint32_t kind = at->kind;
    if (kind < SI__INSTRUMENT_SEGMENT || kind > SI__INSTRUMENT_COUNTER) return 0;
    memset(out, 0, sizeof *out);
    if (has_durations(kind) && (out->buckets = bucket_difference(drain, index)) == NULL) return 0;
    memcpy(name, at->name, SI__NAME_BYTES);
    name[SI__NAME_BYTES - 1] = '\0';
    uint64_t sum_ns = atomic_load_explicit(&at->sum_ns, memory_order_relaxed);
    uint64_t errors = atomic_load_explicit(&at->errors, memory_order_relaxed);
    uint64_t bits = atomic_load_explicit(&at->value_bits, memory_order_relaxed);
    out->kind = (si__instrument_kind)kind;
    out->name = name;
    out->count = count - seen->count;
    out->sum_ns = sum_ns > seen->sum_ns ? sum_ns - seen->sum_ns : 0;
    out->errors = errors > seen->errors ? errors - seen->errors : 0;
    out->max_ns = atomic_exchange_explicit(&at->max_ns, 0, memory_order_relaxed);
    out->value = double_of(bits);
    if (kind == SI__INSTRUMENT_COUNTER) out->value -= double_of(seen->value_bits);
    if (!__builtin_isfinite(out->value)) out->value = 0;
    seen->count = count;
    seen->sum_ns = sum_ns;
    seen->errors = errors;
    seen->value_bits = bits;
    return 1;
}

size_t si__drain_instruments(si__drain *drain, si__drain_instrument_fn fn, void *arg) {
    size_t count = 0;
    for (uint32_t i = 0; i < SI__INSTRUMENT_COUNT; i++) {
        if (!has_instruments(drain->region, i)) continue;
        si__drained_instrument instrument;
        char name[SI__NAME_BYTES];
        if (!read_instrument(drain, i, name, &instrument)) continue;
        count++;
        fn(arg, &instrument);
    }
    return count;
}

/* ---- Losses, and threads ---- */

static uint64_t gained(uint64_t now, uint64_t seen) {
    return now > seen ? now - seen : 0;
}

void si__drain_counts_get(si__drain *drain, si__drain_counts *out) {
    si__region *region = drain->region;
    *out = drain->counts;
    out->threads_refused =
        gained(atomic_load_explicit(&region->threads_refused, memory_order_relaxed), drain->threads_refused_seen);
    out->instruments_refused = gained(atomic_load_explicit(&region->instruments_refused, memory_order_relaxed),
                                      drain->instruments_refused_seen);
}

int si__drain_stacks_wanted(si__drain *drain) {
    uint32_t used = atomic_load_explicit(&drain->region->slots_used, memory_order_acquire);
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(drain->region, i);
        if (atomic_load_explicit(&slot->sp_seen, memory_order_relaxed) != 0 &&
            atomic_load_explicit(&slot->state, memory_order_relaxed) == SI__SLOT_LIVE)
            return 1;
    }
    return 0;
}

/*
 * Bounds that the thread gave itself stay, except that a stack may turn out to reach lower than was thought. Others are
 * replaced: the thread may have been met on a signal stack the first time. The order of the stores is what
 * si__thread_stack relies on.
 */
static int answer(si__slot *slot, uint64_t lo, uint64_t hi) {
    uint64_t known_hi = atomic_load_explicit(&slot->stack_hi, memory_order_relaxed);
    if (atomic_load_explicit(&slot->flags, memory_order_relaxed) & SI__SLOT_STACK_SURE) {
        if (known_hi <= lo || known_hi > hi) return 0;
        hi = known_hi;
    }
    atomic_store_explicit(&slot->stack_hi, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->stack_lo, lo, memory_order_release);
    atomic_store_explicit(&slot->stack_hi, hi, memory_order_release);
    return 1;
}

size_t si__drain_answer_stacks(si__drain *drain, const char *maps, size_t length) {
    uint32_t used = atomic_load_explicit(&drain->region->slots_used, memory_order_acquire);
    size_t count = 0;
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        si__slot *slot = si__region_slot(drain->region, i);
        uint64_t lo, hi;
        if (atomic_load_explicit(&slot->state, memory_order_relaxed) != SI__SLOT_LIVE) continue;
        uint64_t sp = atomic_exchange_explicit(&slot->sp_seen, 0, memory_order_relaxed);
        if (sp == 0 || si__stack_bounds_parse(maps, length, sp, &lo, &hi) != 0) continue;
        count += (size_t)answer(slot, lo, hi);
    }
    return count;
}
