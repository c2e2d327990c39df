/*
 * Calls into a client library, measured from the outside: what the functions in front of libcurl, SQLite and the others
 * have in common.
 *
 * Host threads; no allocation, no lock, errno kept. Threads without a slot (ours, or too many) measure nothing.
 */
#ifndef SI_NATIVE_CALL_H
#define SI_NATIVE_CALL_H

#include <stddef.h>
#include <stdint.h>

#include "hook.h"
#include "region.h"

/* ---- One call of one thread ---- */

typedef struct si__call_scope {
    uint64_t start_ns;
    uintptr_t *guard; /* NULL: not measured */
} si__call_scope;

/* Begins a call. 1: it is measured, and si__call_leave must follow. 0: it is not: no region, a thread of ours, or
   within another call of this kind on this thread, which counts it already. */
int si__call_enter(si__call_scope *scope, si__instrument_kind kind);

/* Ends it. Returns its nanoseconds, at least 1. */
uint64_t si__call_leave(si__call_scope *scope);

/* ---- What is known of it ---- */

/* The instrument of that name; "[other]" when a program makes up too many names. NULL: none. */
si__instrument *si__call_instrument(si__instrument_kind kind, const char *name);

/* Counts one call, and writes an event with the caller's stack when a sample point lies in it. `caller`: see
   si__record. `leaf`: a frame to show below the caller, or 0. */
void si__call_count(si__instrument *instrument, uint64_t duration_ns, int failed, const void *caller, uint64_t leaf);

/* The event alone: for what is counted elsewhere (si_handler_stop). */
void si__call_sample(const si__instrument *instrument, uint64_t duration_ns, const void *caller, uint64_t leaf);

/* ---- Functions in front of a library's: two copies of the library, see si__hook_copy ---- */

#define SI__COPIES 2
#define SI__OPEN(...) __VA_ARGS__
#define SI__PARAMETERS(list) SI__OPEN list

/* The list of a library is X(result, name, (parameters), (arguments)). For each, on_NAME is written by hand: it gets
   the copy's functions and the address in the host that NAME was called from, before the parameters. */
#define SI__CALL_POINTER(result, name, parameters, arguments) result(*name) parameters;
#define SI__CALL_FRONT(result, name, parameters, arguments)                                                            \
    static result name##_first parameters {                                                                            \
        return on_##name(&copies[0], __builtin_return_address(0), SI__OPEN arguments);                                 \
    }                                                                                                                  \
    static result name##_second parameters {                                                                           \
        return on_##name(&copies[1], __builtin_return_address(0), SI__OPEN arguments);                                 \
    }
#define SI__CALL_HOOK_FIRST(result, name, parameters, arguments)                                                       \
    {#name, (uintptr_t)name##_first, (uintptr_t *)(void *)&copies[0].name},
#define SI__CALL_HOOK_SECOND(result, name, parameters, arguments)                                                      \
    {#name, (uintptr_t)name##_second, (uintptr_t *)(void *)&copies[1].name},
/* Functions that are called only: X(result, name, (parameters), ()) */
#define SI__CALL_FIND_FIRST(result, name, parameters, arguments) {#name, 0, (uintptr_t *)(void *)&copies[0].name},
#define SI__CALL_FIND_SECOND(result, name, parameters, arguments) {#name, 0, (uintptr_t *)(void *)&copies[1].name},

/* The two tables of a library: `fronts` and `finds` are lists as above; the first of `fronts` must be in every version.
 */
#define SI__CALL_TABLES(tables, fronts, finds)                                                                         \
    static const si__hook first_hooks[] = {fronts(SI__CALL_HOOK_FIRST) finds(SI__CALL_FIND_FIRST)};                    \
    static const si__hook second_hooks[] = {fronts(SI__CALL_HOOK_SECOND) finds(SI__CALL_FIND_SECOND)};                 \
    static si__hook_copy hook_copies[SI__COPIES];                                                                      \
    const si__hook_table tables[SI__COPIES] = {                                                                        \
        {first_hooks, sizeof first_hooks / sizeof *first_hooks, 0, &hook_copies[0]},                                   \
        {second_hooks, sizeof second_hooks / sizeof *second_hooks, 0, &hook_copies[1]},                                \
    }

#endif
