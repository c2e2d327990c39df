/*
 * A unit: the rule files that share a Lua state. A file that people wrote has one of its own, so that whatever it does
 * to its memory, its globals or its metatables stays with it; the files that come with the library share one.
 *
 * Made, restarted and ended by ruleset.c and engine.c on the loop thread.
 */
#ifndef SI_SCRIPT_UNIT_H
#define SI_SCRIPT_UNIT_H

#include <stddef.h>

#include "sandbox.h"

struct si__ruleset;

#define SI__UNIT_MEMORY_BYTES (4u << 20) /* one file; all together have SI__SANDBOX_MEMORY_BYTES */
#define SI__UNIT_RESTARTS 3

typedef struct si__unit {
    struct si__ruleset *set; /* borrowed */
    size_t number;
    si__sandbox *sandbox;                       /* NULL: ended; its functions must not be called */
    void (*trace)(void *arg, const char *text); /* told of every method call and its result; NULL: nobody listens */
    void *trace_arg;
    int handle_ref, traced_ref; /* metatables of handles, in the registry */
    struct {
        char text[8];
        int64_t ms;
    } windows[4]; /* as they were parsed last: rules ask for the same ones over and over */
    unsigned restarts;
    size_t language_bytes; /* what the language takes; not counted against the files */
    char error[256];       /* why it ended; "": nobody needs it */
} si__unit;

/* An empty unit with the language in it. NULL: out of memory; problems of the language go to the set. */
si__unit *si__unit_new(struct si__ruleset *set, size_t number);
void si__unit_free(si__unit *unit);
/* Runs the files that belong to it; problems go to the set. */
void si__unit_load(si__unit *unit);
/* Runs a C function in the budget of the language itself. `arg` becomes its one argument. 0 or a Lua status, reported
 * as a problem of the set while it is being loaded. */
int si__unit_step(si__unit *unit, lua_CFunction step, void *arg);
/* Everything afresh in a new state: the functions of the set are found again by name. 0, or SI_ERULES: it has ended. */
int si__unit_restart(si__unit *unit);
/* Frees the state for good; `why` is for people. */
void si__unit_end(si__unit *unit, const char *why);
si__unit *si__unit_of(lua_State *L);

#endif
