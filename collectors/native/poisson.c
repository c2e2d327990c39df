/* Poisson sampling: see poisson.h. Host threads. */
#include "poisson.h"

#include <string.h>
#include <time.h>

#define MEAN_MAX (1ull << 40)

uint64_t si__poisson_random(si__poisson *p) {
    if (p->state == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        p->state = ((uint64_t)(uintptr_t)p << 20) ^ (uint64_t)now.tv_nsec ^ ((uint64_t)now.tv_sec << 32);
    }
    /* SplitMix64 (Steele, Lea, Flood 2014): the state is a counter, every output a hash of it. */
    uint64_t z = p->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* ln x for normal x > 0, to about 1e-13: exponent, and 2 atanh((m - 1) / (m + 1)) for the mantissa around 1. */
static double natural_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffull) | 0x3ff0000000000000ull;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m /= 2;
        exponent++;
    }
    double t = (m - 1) / (m + 1), square = t * t, sum = 0;
    for (int k = 17; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
    return exponent * 0.6931471805599453 + 2 * t * sum;
}

/* 1 - exp(-x) for x >= 0, to about 1e-13: a Taylor series on x / 2^n, then 1-exp(-2y) = (1-exp(-y)) (1+exp(-y)). */
static double hit_probability(double x) {
    if (x > 40) return 1;
    int halvings = 0;
    for (; x > 0.25; halvings++) x /= 2;
    double p = 0;
    for (int k = 11; k >= 1; k--) p = x / k * (1 - p); /* x - x^2/2 + x^3/6 - ... by Horner's rule */
    for (; halvings > 0; halvings--) p *= 2 - p;
    return p;
}

void si__poisson_draw(si__poisson *p, uint64_t mean) {
    if (mean > MEAN_MAX) mean = MEAN_MAX;
    double u = (double)((si__poisson_random(p) >> 11) + 1) * 0x1p-53; /* (0, 1] */
    double gap = -natural_log(u) * (double)mean;
    p->left = (int64_t)gap;
    p->mean = mean;
}

int si__poisson_weight(si__poisson *p, uint64_t size, uint64_t mean, si__weight *out) {
    if (p->mean == 0) { /* the first call ever: it has a fair chance, too */
        si__poisson_draw(p, mean);
        p->left -= (int64_t)size;
        if (p->left >= 0) return 0;
    }
    double probability = hit_probability((double)size / (double)p->mean);
    double calls = probability > 0 ? 1 / probability : 1;
    double whole = (double)(uint32_t)calls;
    double chance = (double)(si__poisson_random(p) >> 11) * 0x1p-53;
    out->quantity = (int64_t)((double)size * calls + 0.5);
    out->calls_q16 = (uint64_t)(calls * 65536 + 0.5);
    out->calls = (uint32_t)whole + (chance < calls - whole);
    si__poisson_draw(p, mean); /* gaps have no memory: the rest of this call needs no second point */
    return 1;
}
