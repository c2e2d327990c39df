/*
 * Snapshots: a merged profile kept under a random id until somebody deletes it. Retention does not touch it, nor the
 * calls that it names; it goes with its application only.
 *
 * A snapshot has a main part and, when two things were compared, a base. Its parts are read as merges, so that whatever
 * shows or exports a merge shows a snapshot too.
 */
#ifndef SI_SERVER_SNAPSHOT_H
#define SI_SERVER_SNAPSHOT_H

#include "store.h"

#define SI__SNAPSHOT_ID 23 /* 128 random bits as base64url, and the NUL */
#define SI__SNAPSHOT_PARTS 2

typedef enum si__snapshot_part { SI__SNAPSHOT_MAIN, SI__SNAPSHOT_BASE } si__snapshot_part;

typedef struct si__new_snapshot {
    int64_t app;
    const char *type, *unit; /* as of the profiles */
    const char *title;       /* "" when none was given; cut to 200 bytes */
    const char *author;      /* who made it */
    const char *context; /* JSON of at most 64 KiB: whatever the page needs to show it again (range, tags, address) */
    int64_t from_ms, to_ms;                     /* what was looked at */
    const si__merge *parts[SI__SNAPSHOT_PARTS]; /* borrowed; the base may be NULL */
    char id[SI__SNAPSHOT_ID];                   /* out */
} si__new_snapshot;

/* A writer's `apply`; its argument is an si__new_snapshot. 0, SI_EINVAL (no main part, or a context that is too long),
   SI_ELIMIT (10,000 of an application) or SI_E*. */
int si__snapshot_make_apply(si__tx *tx, void *new_snapshot);

typedef struct si__snapshot_key {
    int64_t app;
    const char *id;
} si__snapshot_key;

/* A writer's `apply`; its argument is an si__snapshot_key. 0, SI_ENOTFOUND or SI_E*. */
int si__snapshot_delete_apply(si__tx *tx, void *snapshot_key);

typedef struct si__snapshot_row { /* texts are borrowed until the next row */
    const char *id, *type, *unit, *title, *author, *context;
    int64_t app, created_ms, from_ms, to_ms;
    uint64_t bytes; /* what it takes in the store */
    int has_base;
} si__snapshot_row;

typedef int (*si__snapshot_each)(void *arg, const si__snapshot_row *row); /* not 0: stop */

/* Readers, inside one snapshot of the store. Newest first, at most `limit`; or the one, whose application the caller
   checks (SI_ENOTFOUND). 0, what `each` returned, or SI_E*. */
int si__read_snapshots(si__reader *reader, int64_t app, int64_t limit, si__snapshot_each each, void *arg);
int si__read_snapshot(si__reader *reader, const char *id, si__snapshot_each each, void *arg);

/* Adds a part to a merge. 0, SI_ENOTFOUND or SI_E*. */
int si__read_snapshot_merge(si__reader *reader, const char *id, si__snapshot_part part, si__merge *merge);

#endif
