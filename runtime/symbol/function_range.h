/* Function ranges from .eh_frame: where a function starts and ends, even in a stripped file. Worker thread. */
#ifndef SI_SYMBOL_FUNCTION_RANGE_H
#define SI_SYMBOL_FUNCTION_RANGE_H

#include "query.h"

/* Fills fde_start and fde_end of every query (sorted by address) that lies in an entry of the section, whose bytes are
   `data` and which is loaded at `address`. Hostile bytes are expected. */
void si__function_ranges(const uint8_t *data, size_t length, uint64_t address, si__query *queries, size_t count);

#endif
