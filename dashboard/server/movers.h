/* Movers: functions whose own share of the profile changed against another time. Workers' threads. */
#ifndef SI_SERVER_MOVERS_H
#define SI_SERVER_MOVERS_H

#include "request.h"

si__range si__movers_before(const si__range *range); /* the stretch of the same length before */

/* Writes "movers": of all the types together, the largest changes first, at most `limit`. */
void si__movers_write(si__request *request, si__json_writer *json, const si__range *range, const si__range *before,
                      const char *const *types, size_t count, size_t limit);

#endif
