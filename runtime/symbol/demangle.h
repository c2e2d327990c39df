/*
 * Names of functions as people know them: C++ demangled, compiler's clones under the name of their function.
 *
 * Uses libiberty's demangler (static; libstdc++'s would pull C++ into a C program), fenced in: names come from files
 * that nobody vouches for. Any thread; allocates.
 */
#ifndef SI_SYMBOL_DEMANGLE_H
#define SI_SYMBOL_DEMANGLE_H

#include <stddef.h>

enum { SI__NAME_MAX = 4096 }; /* bytes of a name kept, with its NUL */

/* Writes the readable form of a symbol (out has SI__NAME_MAX bytes): "@@VERSION" and suffixes such as ".constprop.0",
   ".isra.0", ".part.0", ".cold" are cut off, C++ names demangled with parameters. What cannot be demangled within its
   limits stays as it is; what is longer than out is cut. Returns the length. */
size_t si__demangle(const char *symbol, char *out);

/* Length of the symbol without version and clone suffixes. */
size_t si__symbol_stem(const char *symbol);

#endif
