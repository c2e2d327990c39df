/* What a C++ program that calls abort because of an exception was about. libstdc++ alone; nothing is linked to it. */
#ifndef SI_NATIVE_EXCEPTION_H
#define SI_NATIVE_EXCEPTION_H

#include <stddef.h>
#include <stdint.h>

/* Looks for libstdc++ among the loaded modules, and puts a terminate handler before its own that notes what it is
   about. Host thread at start; not in a signal handler. */
void si__exception_find(void);

/* "uncaught St13runtime_error: what() of it" for the exception that this thread has in hand; 0: it has none, or there
   is no libstdc++. In the handler of SIGABRT: std::terminate has called what() before us. Returns the length. */
uint32_t si__exception_describe(char *out, uint32_t out_bytes);

#endif
