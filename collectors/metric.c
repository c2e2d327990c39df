/* Metrics that the program sets itself: gauges and counters. Host threads; lock-free, no allocation. */
#include <string.h>

#include "native/fork.h"
#include "native/probe.h"
#include "si/si.h"

static double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

void si_gauge_set(const char *name, double value) {
    if (!si__owner_region()) return;
    si__instrument *gauge = si__instrument_get(SI__INSTRUMENT_GAUGE, name);
    if (!gauge) return;
    atomic_store_explicit(&gauge->value_bits, bits_of(value), memory_order_relaxed);
    atomic_fetch_add_explicit(&gauge->count, 1, memory_order_release);
}

void si_counter_add(const char *name, double value) {
    if (!si__owner_region() || !(value >= 0)) return;
    si__instrument *counter = si__instrument_get(SI__INSTRUMENT_COUNTER, name);
    if (!counter) return;
    uint64_t bits = atomic_load_explicit(&counter->value_bits, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&counter->value_bits, &bits, bits_of(double_of(bits) + value),
                                                  memory_order_relaxed, memory_order_relaxed)) {}
    atomic_fetch_add_explicit(&counter->count, 1, memory_order_release);
}
