/*
 * Handles: what a rule's functions get as `s` (or `p`): a series, with its statistics as methods.
 *
 * A handle is full userdata that knows which call it was made for: it works during that call and raises afterwards, so
 * a rule that keeps it cannot reach a series that is gone, whether the call ended well or not. Loop thread only.
 */
#ifndef SI_SCRIPT_HANDLE_H
#define SI_SCRIPT_HANDLE_H

#include <lua.h>
#include <stdint.h>

#include "../history/history.h"

typedef struct si__handle {
    si__history *history;
    si__series *series;   /* NULL: no data; every statistic is NaN */
    const char *name;     /* borrowed for the call */
    si__series_kind kind; /* PROFILE: top_growth; SEGMENT: p, calls, errors */
    int64_t now_ms;
    uint64_t serial; /* of the call it was made for; set by push */
} si__handle;

void si__handles_open(lua_State *L); /* registers the metatable. [-0, +0, m] */
/* Pushes a handle that is valid until the rule set's serial changes. [-0, +1, m] */
void si__handle_push(lua_State *L, const si__handle *from);

#endif
