/* Symbols of ELF symbol tables: the best name for each address. Worker thread. */
#ifndef SI_SYMBOL_ELF_SYMBOLS_H
#define SI_SYMBOL_ELF_SYMBOLS_H

#include <libelf.h>

#include "query.h"

/*
 * Walks .symtab and .dynsym of `elf` and improves symbol, symbol_start and symbol_rank of every query whose address is
 * inside a symbol's size; symbols without a size count within the query's function range only. Among aliases a public
 * name without leading underscores wins. The strings live as long as `elf`.
 */
void si__elf_symbols(Elf *elf, si__query *queries, size_t count);

/* Does a name of this rank come from a symbol with a size? (Then it is better than a guess.) */
int si__symbol_rank_is_sized(uint32_t rank);

/* Names queries in the .plt sections after the function that the entry jumps to. */
void si__elf_plt(Elf *elf, si__query *queries, size_t count);

#endif
