/* Order statistics: quickselect with the median of three as pivot. Pure; called by window.c and baseline.c. */
#include "select.h"

#include <math.h>

static void swap(double *a, double *b) {
    double t = *a;
    *a = *b;
    *b = t;
}

double si__select_nth(double *values, size_t n, size_t rank) {
    size_t low = 0, high = n - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (values[middle] < values[low]) swap(&values[middle], &values[low]);
        if (values[high] < values[low]) swap(&values[high], &values[low]);
        if (values[high] < values[middle]) swap(&values[high], &values[middle]);
        double pivot = values[middle];
        size_t i = low, j = high;
        while (i <= j) { /* equal values stop both sides, so that constant series split evenly */
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i > j) break;
            swap(&values[i], &values[j]);
            i++;
            if (j == 0) break;
            j--;
        }
        if (rank <= j)
            high = j;
        else if (rank >= i)
            low = i;
        else
            return values[rank];
    }
    return values[rank];
}

double si__select_median(double *values, size_t n) {
    double upper = si__select_nth(values, n, n / 2);
    if (n % 2) return upper;
    double lower = values[0]; /* the largest below the middle: selection left it on the left side */
    for (size_t i = 1; i < n / 2; i++)
        if (values[i] > lower) lower = values[i];
    return (lower + upper) / 2;
}

double si__select_percentile(double *values, size_t n, double percent) {
    double rank = ceil(percent / 100.0 * (double)n);
    size_t index = rank < 1 ? 0 : (size_t)rank - 1;
    return si__select_nth(values, n, index < n ? index : n - 1);
}
