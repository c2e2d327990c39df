/*
 * Lua patterns with a step budget: the standard library's matcher cannot be interrupted, this one stops.
 *
 * Same pattern language as Lua 5.4 (classes, sets, ranges, * + - ?, captures, %b, %f, anchors). Pure; any thread.
 */
#ifndef SI_SCRIPT_PATTERN_H
#define SI_SCRIPT_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define SI__PATTERN_CAPTURES 32
#define SI__CAPTURE_OPEN (-1)
#define SI__CAPTURE_POSITION (-2)

typedef struct si__pattern_match {
    const char *subject, *subject_end, *pattern_end;
    uint64_t steps, max_steps; /* steps is added to by every attempt */
    int depth;
    int level; /* captures so far */
    struct {
        const char *start;
        ptrdiff_t length; /* or SI__CAPTURE_* */
    } capture[SI__PATTERN_CAPTURES];
    const char *error; /* static text once something was wrong; NULL: fine */
} si__pattern_match;

void si__pattern_begin(si__pattern_match *match, const char *subject, size_t subject_length, uint64_t max_steps);

/* Tries at exactly `at`; `pattern` without its leading ^. The end of the match, or NULL: no match, or match->error is
 * set. */
const char *si__pattern_at(si__pattern_match *match, const char *at, const char *pattern, size_t pattern_length);

/* 1: `text` as a whole matches. 0: no. -1: malformed or too expensive pattern; *error says why (static text). */
int si__pattern_whole(const char *pattern, const char *text, const char **error);

#endif
