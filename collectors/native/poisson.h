/*
 * Poisson sampling of a quantity that calls add up (bytes allocated, nanoseconds waited): sample points lie on the
 * running sum at exponentially distributed gaps of mean R, so a call of size S is hit with probability 1 - exp(-S/R).
 * A hit stands for S / (1 - exp(-S/R)) of the quantity and for 1 / (1 - exp(-S/R)) calls: unbiased whatever the sizes
 * (the Horvitz-Thompson estimator). The weight is fixed with the R in force at that moment.
 *
 * One state per thread; no allocation, no lock, no libm.
 */
#ifndef SI_NATIVE_POISSON_H
#define SI_NATIVE_POISSON_H

#include <stdint.h>

typedef struct si__poisson {
    int64_t left;   /* of the quantity until the next sample point */
    uint64_t mean;  /* R that `left` was drawn with; 0: nothing drawn yet */
    uint64_t state; /* of the random numbers; 0: not seeded */
} si__poisson;

typedef struct si__weight {
    int64_t quantity;   /* S / (1 - exp(-S/R)), rounded to nearest */
    uint64_t calls_q16; /* 1 / (1 - exp(-S/R)) in 1/65536 */
    uint32_t calls;     /* the same, rounded up or down at random so that its mean is right */
} si__weight;

/* Draws the next gap, in place of what is left. `mean` > 0; it is capped at 2^40. */
void si__poisson_draw(si__poisson *poisson, uint64_t mean);

/* The fast path: counts a call of `size`. 1: a sample point lies in it (ask si__poisson_weight, which draws anew). A
   state that was never drawn says 1 too. */
static inline int si__poisson_hit(si__poisson *poisson, uint64_t size) {
    poisson->left -= (int64_t)size;
    return (int)__builtin_expect(poisson->left < 0, 0);
}

/* After a hit: what a call of `size` stands for, and the next gap, drawn with `mean`. 0: it was no sample after all
   (the state had not been drawn yet, and the first gap goes beyond this call). */
int si__poisson_weight(si__poisson *poisson, uint64_t size, uint64_t mean, si__weight *out);

/* A random number. Seeds itself at first use from the thread's address and the clock. */
uint64_t si__poisson_random(si__poisson *poisson);

#endif
