/* The sampler: cadence, requests and the overhead governor in; sampling rates out. Loop thread only. */
#include "sampler.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

enum { MANUAL_HZ = 100, MANUAL_MS = 60 * 1000, TICK_MS = 1000, FINER = 10 };
static const double min_throttle = 1.0 / 16;
static const double max_hz = 1000;
static const uint64_t usual_heap_bytes = 512 * 1024, usual_wait_ns = 10 * 1000 * 1000;

struct si__sampler {
    void (*apply)(void *arg, const si__rates *rates);
    void *arg;
    si__cadence cadence;
    int have_cadence, automatic;
    double forced_hz, request_hz, throttle;
    int64_t request_until_ms[SI__PROFILE_TYPES], manual_until_ms[SI__PROFILE_TYPES], started_ms;
    si__rates rates;
};

si__sampler *si__sampler_new(void (*apply)(void *arg, const si__rates *rates), void *arg) {
    si__sampler *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->apply = apply;
    s->arg = arg;
    s->automatic = 1;
    s->throttle = 1;
    s->started_ms = -1;
    return s;
}

void si__sampler_free(si__sampler *s) {
    free(s);
}

void si__sampler_cadence(si__sampler *s, const si__cadence *cadence) {
    s->cadence = *cadence;
    s->have_cadence = 1;
}

void si__sampler_auto(si__sampler *s, int on) {
    s->automatic = on;
}

void si__sampler_force(si__sampler *s, double cpu_hz) {
    s->forced_hz = cpu_hz;
}

int si__sampler_manual(si__sampler *s, si__profile_type type, int on, int64_t now_ms) {
    int active = si__sampler_manual_active(s, type);
    if (on == active) return SI_ESTATE;
    s->manual_until_ms[type] = on ? now_ms + MANUAL_MS : 0;
    return 0;
}

int si__sampler_manual_active(const si__sampler *s, si__profile_type type) {
    return s->manual_until_ms[type] != 0;
}

void si__sampler_request(si__sampler *s, si__profile_type type, double hz, int64_t until_ms) {
    if (type == SI__PROFILE_CPU && hz > s->request_hz) s->request_hz = hz;
    if (until_ms > s->request_until_ms[type]) s->request_until_ms[type] = until_ms;
}

/* Halve when over the budget, and come back one step when far below it, so that the rate does not swing. */
void si__sampler_overhead(si__sampler *s, double share) {
    double budget = s->have_cadence && s->cadence.overhead_cpu > 0 ? s->cadence.overhead_cpu : 0.01;
    if (share > budget && s->throttle > min_throttle)
        s->throttle /= 2;
    else if (share < budget / 4 && s->throttle < 1)
        s->throttle *= 2;
}

double si__sampler_throttle(const si__sampler *s) {
    return s->throttle;
}

si__rates si__sampler_rates(const si__sampler *s) {
    return s->rates;
}

int si__sampler_samples(const si__sampler *s, si__profile_type type) {
    switch (type) {
    case SI__PROFILE_CPU:
        return s->rates.cpu_hz > 0;
    case SI__PROFILE_HEAP:
    case SI__PROFILE_ALLOC:
        return s->rates.heap_bytes > 0;
    default:
        return s->rates.wait_ns > 0;
    }
}

/* Whether `now` lies in a span, and in *wait_ms how long that stays so. Spans are placed at the start of each period.
 */
static int in_span(const si__sampler *s, int64_t every_ms, int64_t span_ms, int64_t now_ms, int64_t *wait_ms) {
    if (every_ms <= 0 || span_ms >= every_ms) return 1;
    int64_t phase = (now_ms - s->started_ms) % every_ms;
    int in = phase < span_ms;
    int64_t left = (in ? span_ms : every_ms) - phase;
    if (left < *wait_ms) *wait_ms = left;
    return in;
}

/* What the cadence wants at `now`. */
static si__rates cadence_rates(const si__sampler *s, int64_t now_ms, int64_t *wait_ms) {
    const si__cadence *c = &s->cadence;
    si__rates rates = {0};
    if (!s->automatic || !s->have_cadence) return rates;
    int cpu_span = in_span(s, c->cpu_every_ms, c->cpu_span_ms, now_ms, wait_ms);
    rates.cpu_hz = cpu_span ? c->cpu_hz : c->cpu_background_hz;
    rates.heap_bytes = (uint64_t)c->heap_bytes;
    int wait_span = in_span(s, c->wait_every_ms, c->wait_span_ms, now_ms, wait_ms);
    rates.wait_ns = (uint64_t)(wait_span ? c->wait_mean_ns : c->wait_background_ns);
    rates.call_ns = c->wait_mean_ns ? (uint64_t)c->wait_mean_ns : 0;
    return rates;
}

/* The mean in force: the finer of two; 0 is off. */
static uint64_t finer(uint64_t a, uint64_t b) {
    if (a == 0 || b == 0) return a + b;
    return a < b ? a : b;
}

/* Turns a type up to what a closer look needs. */
static void turn_up(const si__sampler *s, si__rates *rates, si__profile_type type, double hz, uint64_t divisor) {
    uint64_t heap = s->cadence.heap_bytes > 0 ? (uint64_t)s->cadence.heap_bytes : usual_heap_bytes;
    uint64_t wait = s->cadence.wait_mean_ns > 0 ? (uint64_t)s->cadence.wait_mean_ns : usual_wait_ns;
    if (type == SI__PROFILE_CPU) {
        if (rates->cpu_hz < hz) rates->cpu_hz = hz;
    } else if (type == SI__PROFILE_HEAP || type == SI__PROFILE_ALLOC) {
        rates->heap_bytes = finer(rates->heap_bytes, heap / divisor + 1);
    } else {
        rates->wait_ns = finer(rates->wait_ns, wait / divisor + 1);
    }
}

static void add_wishes(si__sampler *s, si__rates *rates, int64_t now_ms, int64_t *wait_ms) {
    for (int type = 0; type < SI__PROFILE_TYPES; type++) {
        if (s->manual_until_ms[type] && now_ms >= s->manual_until_ms[type]) s->manual_until_ms[type] = 0;
        if (s->manual_until_ms[type]) turn_up(s, rates, (si__profile_type)type, MANUAL_HZ, 1);
        int64_t left_ms = s->request_until_ms[type] - now_ms;
        if (left_ms > 0) {
            turn_up(s, rates, (si__profile_type)type, s->request_hz, FINER);
            if (left_ms < *wait_ms) *wait_ms = left_ms;
        } else if (type == SI__PROFILE_CPU) {
            s->request_hz = 0;
        }
    }
}

/* Slower by the governor's factor, then at least what is forced. */
static void limit(const si__sampler *s, si__rates *rates) {
    uint64_t slower = (uint64_t)(1 / s->throttle + 0.5);
    rates->cpu_hz *= s->throttle;
    rates->heap_bytes *= slower;
    rates->wait_ns *= slower;
    rates->call_ns *= slower;
    if (s->forced_hz > 0) {
        if (rates->cpu_hz < s->forced_hz) rates->cpu_hz = s->forced_hz;
        rates->heap_bytes = finer(rates->heap_bytes, SI__FORCED_HEAP_BYTES);
        rates->wait_ns = finer(rates->wait_ns, SI__FORCED_WAIT_NS);
        rates->call_ns = finer(rates->call_ns, SI__FORCED_WAIT_NS);
    }
    if (rates->cpu_hz > max_hz) rates->cpu_hz = max_hz;
}

static int differ(const si__rates *a, const si__rates *b) {
    return a->cpu_hz < b->cpu_hz || a->cpu_hz > b->cpu_hz || a->heap_bytes != b->heap_bytes ||
           a->wait_ns != b->wait_ns || a->call_ns != b->call_ns;
}

int64_t si__sampler_tick(si__sampler *s, int64_t now_ms) {
    if (s->started_ms < 0) s->started_ms = now_ms;
    int64_t wait_ms = TICK_MS;
    si__rates rates = cadence_rates(s, now_ms, &wait_ms);
    add_wishes(s, &rates, now_ms, &wait_ms);
    limit(s, &rates);
    if (differ(&rates, &s->rates)) {
        s->rates = rates;
        s->apply(s->arg, &rates);
    }
    return wait_ms < 1 ? 1 : wait_ms;
}
