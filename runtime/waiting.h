/*
 * Waits that have not ended yet, of one observed process. A wait is an event when it ends; one that lasts for minutes
 * would stay unseen until then, and a hang for ever. So at every report the part that has passed is recorded, and the
 * event at the end is told how much of it was.
 *
 * Loop thread only.
 */
#ifndef SI_WAITING_H
#define SI_WAITING_H

#include <stdint.h>
#include <sys/types.h>

#include "../collectors/native/region.h"
#include "ring/drain.h"

typedef struct si__waiting_threads si__waiting_threads;

si__waiting_threads *si__waiting_new(si__region *region, pid_t pid); /* borrowed; NULL: out of memory */
void si__waiting_free(si__waiting_threads *waiting);

/* Hands over what has passed of every wait that lasts for a second or more, as a WAIT event with `reported` filled in
   and in_progress as given: 1: more will come, 0: the process has ended. The stack is the caller's frame alone. */
void si__waiting_report(si__waiting_threads *waiting, int in_progress, si__drain_event_fn fn, void *arg);

/* A WAIT event that came: sets event->reported to what was handed over of it already. */
void si__waiting_ended(si__waiting_threads *waiting, si__drained_event *event);

/* The longest waits of now in calls that are not made to wait for work (a mutex, a connect, an fsync; not a condition
   or a poll), in seconds by si__wait_category; 0: none. `words`: about the longest for a lock, "" when there is none.
 */
typedef struct si__stuck {
    double seconds[SI__WAIT_CATEGORIES];
    char words[160];
} si__stuck;
void si__waiting_stuck(si__waiting_threads *waiting, si__stuck *out);

#endif
