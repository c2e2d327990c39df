/*
 * Segments, handlers and calls: wall time of what the program marked. Host threads; lock-free, no allocation. Of
 * handlers and calls the stacks are sampled too, where they stop.
 *
 * Without an open runtime a start is one load and a stop is one compare.
 */
#include "collector.h"
#include "native/call.h"
#include "native/fork.h"
#include "native/probe.h"
#include "si/si.h"

static void begin(uint64_t *start_ns, void **slot, si__instrument_kind kind, const char *name) {
    *slot = si__owner_region() ? si__instrument_get(kind, name) : NULL;
    *start_ns = *slot ? si__now_ns() : 0;
}

/* The instrument of a measurement that was started before a fork or a close is not ours any more. */
static si__instrument *end(uint64_t start_ns, void **slot, uint64_t *duration_ns) {
    si__instrument *instrument = *slot;
    *slot = NULL;
    if (!instrument || !si__instrument_valid(instrument)) return NULL;
    uint64_t now = si__now_ns();
    *duration_ns = now > start_ns ? now - start_ns : 0;
    return instrument;
}

void si_segment_start(si_segment *segment, const char *name) {
    begin(&segment->start_ns, &segment->slot, SI__INSTRUMENT_SEGMENT, name);
}

void si_segment_stop(si_segment *segment) {
    uint64_t duration_ns;
    if (!segment->slot) return;
    si__instrument *instrument = end(segment->start_ns, &segment->slot, &duration_ns);
    if (instrument) si__instrument_time(instrument, duration_ns);
}

void si_handler_start(si_call *call, const char *pattern) {
    begin(&call->start_ns, &call->slot, SI__INSTRUMENT_HANDLER, pattern);
}

void si_handler_stop(si_call *call, int status) {
    uint64_t duration_ns;
    if (!call->slot) return;
    si__instrument *instrument = end(call->start_ns, &call->slot, &duration_ns);
    if (!instrument) return;
    if (status >= 500 && status < 600) atomic_fetch_add_explicit(&instrument->errors, 1, memory_order_relaxed);
    si__instrument_time(instrument, duration_ns);
    si__call_sample(instrument, duration_ns, __builtin_return_address(0), 0);
}

static si__instrument_kind instrument_kind(si_call_kind kind) {
    switch (kind) {
    case SI_CALL_HTTP:
        return SI__INSTRUMENT_CALL_HTTP;
    case SI_CALL_SQL:
        return SI__INSTRUMENT_CALL_SQL;
    case SI_CALL_CACHE:
        return SI__INSTRUMENT_CALL_CACHE;
    case SI_CALL_DOCUMENT:
        return SI__INSTRUMENT_CALL_DOCUMENT;
    case SI_CALL_OTHER:
        return SI__INSTRUMENT_CALL_OTHER;
    }
    return SI__INSTRUMENT_CALL_OTHER;
}

void si_call_start(si_call *call, si_call_kind kind, const char *what) {
    begin(&call->start_ns, &call->slot, instrument_kind(kind), what);
}

void si_call_stop(si_call *call) {
    uint64_t duration_ns;
    if (!call->slot) return;
    si__instrument *instrument = end(call->start_ns, &call->slot, &duration_ns);
    if (!instrument) return;
    si__instrument_time(instrument, duration_ns);
    si__call_sample(instrument, duration_ns, __builtin_return_address(0), 0);
}

/* Nothing to set up: the calls above look for the region themselves. */
static int start(char *reason, size_t reason_bytes) {
    (void)reason;
    (void)reason_bytes;
    return 0;
}

const si__collector si__collector_segment = {.name = "segment", .title = "Segments", .start = start};
