/*
 * Removing an application (one name in one environment) with all that is stored of it. For everybody who asks it is
 * gone at once: its keys are refused, its pages and the links to its snapshots are not found. Its rows go afterwards, a
 * few each step of upkeep, and go on going after a restart; then a sweep takes the names that nobody else uses.
 */
#ifndef SI_SERVER_REMOVAL_H
#define SI_SERVER_REMOVAL_H

#include "writer.h"

typedef struct si__removal {
    const char *app, *environment;
    const char *author, *address; /* for the audit log */
} si__removal;

/* The writer's `apply`; its argument is an si__removal. 0, SI_ENOTFOUND (there is no such application) or SI_E*. */
int si__removal_apply(si__tx *tx, void *removal);

/* Deletes some of what removed applications left. 1: there may be more; 0: nothing is left; or SI_E*. *unswept: names
 * are left to be swept out. Not while a sweep is under way: numbers of rows may be given again. Writer thread. */
int si__removal_step(si__tx *tx, int *unswept);
int si__removal_swept(si__tx *tx); /* a sweep has ended. 0 or SI_E* */

/* Applications that are being removed. Any thread, with its own db. */
int64_t si__removal_count(si__db *db);

#endif
