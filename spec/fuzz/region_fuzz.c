/*
 * Fuzzes what the runtime reads out of a region whose process is hostile: rings, instruments, names, the live heap,
 * waits that last. The input is a list of writes to the region and of readings; everything that is read goes through
 * the recorder into a report, which must encode and decode again.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../collectors/native/probe.h"
#include "../../runtime/profile/resolve.h"
#include "../../runtime/recorder.h"
#include "../../runtime/region_metrics.h"
#include "../../runtime/waiting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 4, ENTRIES = 8 }; /* few, so that writes meet */

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

typedef struct run {
    si__region *region;
    si__drain *drain;
    si__recorder *recorder;
    si__source *source;
    si__waiting_threads *waits;
    si__space space;
    si__region_counts counts;
} run;

/* The next `bytes` of the input; zeros behind its end. */
static void take(input *in, void *out, size_t bytes) {
    size_t n = bytes < in->left ? bytes : in->left;
    memset(out, 0, bytes);
    if (n) memcpy(out, in->at, n);
    in->at += n;
    in->left -= n;
}

static uint8_t byte(input *in) {
    uint8_t b;
    take(in, &b, 1);
    return b;
}

/* Small numbers, numbers at a limit, and any number. */
static uint64_t number(input *in) {
    uint64_t n;
    uint8_t kind = byte(in);
    switch (kind % 4) {
    case 0:
        return byte(in);
    case 1:
        return (uint64_t)INT64_MAX + (uint64_t)(int64_t)(int8_t)byte(in);
    case 2:
        return si__now_ns() - (uint64_t)byte(in) * 1000000000; /* a time */
    default:
        take(in, &n, sizeof n);
        return n;
    }
}

/* ---- Writes, as a probe would make them, but with any content ---- */

static void write_event(input *in, si__region *region) {
    uint32_t index = byte(in) % SLOTS;
    si__slot *slot = si__region_slot(region, index);
    char *ring = si__region_ring(region, index);
    uint64_t position = slot->reserve_pos, frames = byte(in) % 8, text = byte(in) % 64;
    uint64_t bytes = (sizeof(si__event) + frames * 8 + text + 7) / 8 * 8, offset = position % SI__RING_BYTES;
    if (position % 8 || offset + bytes > SI__RING_BYTES || position - slot->read_pos + bytes > SI__RING_BYTES) return;
    si__event *event = (si__event *)(void *)(ring + offset);
    event->time_ns = number(in);
    event->value = (int64_t)number(in);
    event->count = (uint32_t)number(in);
    event->flags = byte(in);
    event->frame_count = (uint16_t)(frames + (byte(in) == 255));
    event->text_bytes = (uint32_t)(text + (byte(in) == 255) * 1000);
    event->detail = byte(in) % 16 == 15 ? (uint32_t)number(in) : byte(in) % ENTRIES;
    uint64_t *pcs = (uint64_t *)(void *)(event + 1);
    for (uint64_t i = 0; i < frames; i++) {
        uint8_t kind = byte(in);
        pcs[i] = kind % 2 ? number(in) : si__name_pc(kind < 128 ? kind % ENTRIES : SI__NAME_COUNT + kind);
    }
    take(in, pcs + frames, text);
    event->head = (uint64_t)(byte(in) % (SI__EVENT_LAST + 2)) << 32 | bytes;
    slot->reserve_pos = position + bytes;
    slot->state = SI__SLOT_LIVE;
    if (region->slots_used <= index) region->slots_used = index + 1;
}

static void write_slot(input *in, si__region *region) {
    uint32_t index = byte(in) % SLOTS;
    si__slot *slot = si__region_slot(region, index);
    slot->state = byte(in) % 8;
    slot->tid = (int32_t)number(in);
    slot->reserve_pos = number(in);
    slot->read_pos = number(in);
    slot->dropped = number(in);
    slot->sp_seen = number(in);
    take(in, slot->name, sizeof slot->name);
    take(in, si__region_ring(region, index) + byte(in) * 8, byte(in));
    region->slots_used = (uint32_t)number(in);
}

static void write_instrument(input *in, si__region *region) {
    uint32_t index = byte(in) % ENTRIES;
    si__instrument *instrument = si__region_instrument(region, index);
    instrument->kind = byte(in) % 12;
    take(in, instrument->name, byte(in) % sizeof instrument->name);
    instrument->count += byte(in);
    instrument->sum_ns = number(in);
    instrument->errors = number(in);
    instrument->value_bits = number(in);
    instrument->max_ns = number(in);
    instrument->state = byte(in) % 8 ? 2 : 0;
    region->instrument_pages |= 1ull << index / SI__INSTRUMENTS_PER_PAGE;
    si__region_buckets(region, index)[number(in) % SI__BUCKET_COUNT] += (uint32_t)number(in);
}

static void write_wait(input *in, si__region *region) {
    uint32_t index = byte(in) % SLOTS;
    si__wait_now *wait = si__region_wait(region, index);
    wait->sequence = byte(in) % 4;
    wait->call = byte(in) == 255 ? (uint32_t)number(in) : byte(in);
    wait->since = number(in);
    wait->caller_pc = number(in);
    wait->object = number(in);
    wait->tid = (int32_t)number(in);
    si__region_slot(region, index)->tid = wait->tid;
}

static void write_live(input *in, si__region *region) {
    si__live *live = si__region_live(region, byte(in) % ENTRIES);
    live->address = number(in);
    live->serial = number(in);
    live->bytes = (int64_t)number(in);
    live->objects_q16 = number(in);
    region->live_chunks[0] |= number(in);
    for (int i = 0; i < SI__TALLIES; i++) si__region_tallies(region, byte(in) % SLOTS)->of[i] = number(in);
}

static void write_name(input *in, si__region *region) {
    si__name *name = si__region_name(region, byte(in) % ENTRIES);
    name->state = byte(in) % 8 ? 2 : 0;
    name->line = (uint32_t)number(in);
    take(in, name->function, byte(in) % (sizeof name->function + 1));
    take(in, name->file, byte(in) % (sizeof name->file + 1));
}

/* ---- Readings, as runtime/target.c and runtime/agent.c do them ---- */

static void on_event(void *arg, const si__drained_event *event) {
    run *r = arg;
    si__drained_event copy = *event;
    if (copy.type == SI__EVENT_WAIT && copy.frame_count) si__waiting_ended(r->waits, &copy);
    si__recorder_event(r->recorder, r->source, &r->space, &copy);
}

static void on_waiting(void *arg, const si__drained_event *event) {
    run *r = arg;
    si__recorder_event(r->recorder, r->source, &r->space, event);
}

static void on_instrument(void *arg, const si__drained_instrument *gained) {
    run *r = arg;
    si__recorder_tally(r->recorder, gained);
}

static void on_metric(void *arg, const char *name, double value) {
    (void)arg;
    if (!isfinite(value) || strlen(name) >= SI__NAME_BYTES) abort();
}

static void on_region_metric(void *arg, const char *name, const char *unit, double value) {
    (void)arg;
    if (!isfinite(value) || !*name || !*unit) abort();
}

static void measure(run *r) {
    si__region_gains gains = {0};
    si__stuck stuck;
    const si__metric_sink sink = {.put = on_region_metric};
    si__region_metrics_add(r->region, getpid(), &r->counts, &gains);
    si__region_metrics_put(&gains, 1, &sink);
    si__recorder_metrics(r->recorder, on_metric, NULL);
    si__waiting_stuck(r->waits, &stuck);
    for (int c = 0; c < SI__WAIT_CATEGORIES; c++)
        if (!isfinite(stuck.seconds[c]) || stuck.seconds[c] < 0) abort();
    if (!memchr(stuck.words, '\0', sizeof stuck.words)) abort();
}

static void cut(run *r) {
    si__unresolved_list list;
    uint8_t *bytes = NULL;
    size_t length;
    si__report *report = si__report_new(), *again = NULL;
    si__symbolizer *symbolizer = si__symbolizer_new(0);
    if (!report || !symbolizer || si__recorder_cut(r->recorder, 1700000000000, 2, report, &list) != 0) abort();
    for (size_t i = 0; i < list.count; i++) {
        *list.items[i].tree = si__resolve(list.items[i].raw, symbolizer);
        si__rawprofile_free(list.items[i].raw);
    }
    free(list.items);
    if (si__report_encode(report, &bytes, &length) != 0) abort();
    if (si__report_decode(bytes, length, &again, NULL, 0) != 0) abort(); /* what we write we must read */
    free(bytes);
    si__report_free(again);
    si__report_free(report);
    si__symbolizer_free(symbolizer);
}

static void step(run *r, input *in) {
    static void (*const writes[])(input *, si__region *) = {write_event, write_slot, write_instrument,
                                                            write_wait,  write_live, write_name};
    uint8_t what = byte(in) % 12;
    if (what < 6)
        writes[what](in, r->region);
    else if (what == 6)
        si__drain_instruments(r->drain, on_instrument, r);
    else if (what == 7)
        si__waiting_report(r->waits, 1, on_waiting, r);
    else if (what == 8)
        measure(r);
    else if (what == 9)
        si__recorder_focus(r->recorder, (si__profile_type)(byte(in) % SI__PROFILE_TYPES), "rule", "w", 60000);
    else if (what == 10)
        cut(r);
    else
        si__drain_events(r->drain, on_event, r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd, error;
    input in = {data, size};
    run r = {.region = si__region_create(&fd, &error), .recorder = si__recorder_new(1)};
    if (!r.region || !r.recorder) abort();
    r.space = (si__space){.serial = 7, .names = r.region};
    r.drain = si__drain_new(r.region);
    r.source = si__recorder_source_new(r.recorder, r.region);
    r.waits = si__waiting_new(r.region, getpid());
    si__recorder_enable(r.recorder, (1u << SI__PROFILE_TYPES) - 1);
    while (in.left) step(&r, &in);
    si__drain_events(r.drain, on_event, &r);
    si__drain_instruments(r.drain, on_instrument, &r);
    si__waiting_report(r.waits, 0, on_waiting, &r);
    measure(&r);
    si__recorder_source_end(r.recorder, r.source);
    cut(&r);
    si__waiting_free(r.waits);
    si__drain_free(r.drain);
    si__recorder_free(r.recorder);
    si__region_unmap(r.region);
    close(fd);
    return 0;
}
