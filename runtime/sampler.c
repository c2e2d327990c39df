/* The sampler: cadence, requests and the overhead governor in; one CPU sampling rate out. Loop thread only. */
#include "sampler.h"

#include <si/si.h>
#include <stdlib.h>

enum { MANUAL_HZ = 100, MANUAL_MS = 60 * 1000, TICK_MS = 1000 };
static const double min_throttle = 1.0 / 16;
static const double max_hz = 1000;

struct si__sampler {
    void (*apply)(void *arg, double hz);
    void *arg;
    si__cadence cadence;
    int have_cadence, automatic;
    double forced_hz, request_hz, throttle, hz;
    int64_t request_until_ms, manual_until_ms, started_ms;
};

si__sampler *si__sampler_new(void (*apply)(void *arg, double hz), void *arg) {
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

void si__sampler_force(si__sampler *s, double hz) {
    s->forced_hz = hz;
}

int si__sampler_manual(si__sampler *s, int on, int64_t now_ms) {
    int active = si__sampler_manual_active(s);
    if (on == active) return SI_ESTATE;
    s->manual_until_ms = on ? now_ms + MANUAL_MS : 0;
    return 0;
}

int si__sampler_manual_active(const si__sampler *s) {
    return s->manual_until_ms != 0;
}

void si__sampler_request(si__sampler *s, double hz, int64_t until_ms) {
    if (hz > s->request_hz) s->request_hz = hz;
    if (until_ms > s->request_until_ms) s->request_until_ms = until_ms;
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

double si__sampler_hz(const si__sampler *s) {
    return s->hz;
}

/* The cadence's rate at `now`, and in *wait_ms how long it stays. Spans are placed at the start of each period. */
static double cadence_hz(const si__sampler *s, int64_t now_ms, int64_t *wait_ms) {
    const si__cadence *c = &s->cadence;
    if (!s->automatic || !s->have_cadence) return 0;
    if (c->cpu_span_ms >= c->cpu_every_ms) return c->cpu_hz;
    int64_t phase = (now_ms - s->started_ms) % c->cpu_every_ms;
    int in_span = phase < c->cpu_span_ms;
    int64_t left = (in_span ? c->cpu_span_ms : c->cpu_every_ms) - phase;
    if (left < *wait_ms) *wait_ms = left;
    return in_span ? c->cpu_hz : c->cpu_background_hz;
}

int64_t si__sampler_tick(si__sampler *s, int64_t now_ms) {
    if (s->started_ms < 0) s->started_ms = now_ms;
    int64_t wait_ms = TICK_MS;
    double hz = cadence_hz(s, now_ms, &wait_ms);
    if (s->manual_until_ms) {
        if (now_ms >= s->manual_until_ms)
            s->manual_until_ms = 0;
        else if (hz < MANUAL_HZ)
            hz = MANUAL_HZ;
    }
    if (s->request_until_ms > now_ms) {
        if (hz < s->request_hz) hz = s->request_hz;
        if (s->request_until_ms - now_ms < wait_ms) wait_ms = s->request_until_ms - now_ms;
    } else {
        s->request_hz = 0;
    }
    hz *= s->throttle;
    if (hz < s->forced_hz) hz = s->forced_hz;
    if (hz > max_hz) hz = max_hz;
    if (hz < s->hz || hz > s->hz) {
        s->hz = hz;
        s->apply(s->arg, hz);
    }
    return wait_ms < 1 ? 1 : wait_ms;
}
