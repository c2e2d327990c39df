/* How the rules in force are, as a file for people; see rules_state.c. Loop thread only. */
#ifndef SI_RULES_STATE_H
#define SI_RULES_STATE_H

#include <stdint.h>

#include "report/json.h"
#include "script/script.h"
#include "worker.h"

#define SI__RULES_STATE_FILE "rules.json"
#define SI__RULES_STATE_FRESH_S 30 /* an older file is of nobody who is alive */

typedef struct si__rules_state si__rules_state;

typedef struct si__rules_told { /* all borrowed for the call */
    const si__script *script;
    const char *error;                                    /* why the files as they are now are not in force; "" */
    const char *app, *rules_dir;                          /* rules_dir NULL: the built-in rules */
    int64_t pid;                                          /* of the observed process */
    size_t series;                                        /* in the history */
    void (*deliveries)(void *arg, si__json_writer *json); /* puts objects into an array; NULL: none */
    void *deliveries_arg;
} si__rules_told;

si__rules_state *si__rules_state_new(si__worker *worker, const char *state_dir); /* NULL: out of memory */
void si__rules_state_free(si__rules_state *state);                               /* after the worker is closed */
void si__rules_state_tick(si__rules_state *state, const si__rules_told *told, int64_t now_ms); /* once a second */
void si__rules_state_end(si__rules_state *state); /* the file goes; no tick after this */

#endif
