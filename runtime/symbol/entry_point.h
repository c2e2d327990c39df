/*
 * The two functions that every program has, in programs whose symbols were stripped: where the file's entry point is,
 * "_start", and what it hands to __libc_start_main, "main".
 *
 * Internal to this folder; worker thread.
 */
#ifndef SI_SYMBOL_ENTRY_POINT_H
#define SI_SYMBOL_ENTRY_POINT_H

#include "object.h"
#include "query.h"

/* Names the queries that lie in one of the two and have no symbol yet. After the function ranges are known. */
void si__entry_point_symbols(const si__object *object, si__query *queries, size_t count);

#endif
