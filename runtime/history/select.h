/* Order statistics by selection. The array is reordered. Used by the window statistics only. */
#ifndef SI_HISTORY_SELECT_H
#define SI_HISTORY_SELECT_H

#include <stddef.h>

double si__select_nth(double *values, size_t n, size_t rank);           /* rank from 0; n >= 1 */
double si__select_median(double *values, size_t n);                     /* mean of the middle two when n is even */
double si__select_percentile(double *values, size_t n, double percent); /* nearest rank: ceil(percent / 100 * n) */

#endif
