/*
 * What is not delivered yet, on disk: one file per message in a directory of its own, so that a restart neither forgets
 * a message nor gives it a new identity. Used by notify.c; loop thread. Files are written and removed by the worker, in
 * the order of the calls; only si__kept_each, at start, reads on the caller's thread.
 *
 * A file is there before nobody else knows of the message, and goes after it was accepted: a crash in between delivers
 * it twice, with the same delivery id.
 */
#ifndef SI_NOTIFY_KEPT_H
#define SI_NOTIFY_KEPT_H

#include <stddef.h>
#include <stdint.h>

#include "../worker.h"
#include "message.h"

typedef struct si__kept si__kept;

typedef struct si__kept_message {
    uint64_t number; /* the order of messages; unique in a directory */
    const char *channel;
    char key[SI__DELIVERY_BYTES];
    int64_t queued_ms; /* Unix */
    const char *tag;   /* "": not held */
    const char *body;
    size_t length;
} si__kept_message;

/* `worker` is borrowed and must be closed after si__kept_close. Makes the directory (0700). NULL: out of memory. */
si__kept *si__kept_open(si__worker *worker, const char *dir);

/* Every message that is there, oldest first; borrowed for the call. Files that are damaged, or larger than any message,
   get the suffix ".bad". Returns how many those were. */
size_t si__kept_each(si__kept *kept, void (*each)(void *arg, const si__kept_message *message), void *arg);

void si__kept_put(si__kept *kept, const si__kept_message *message); /* copies */
void si__kept_remove(si__kept *kept, uint64_t number, const char *key);
const char *si__kept_error(const si__kept *kept); /* why the last file could not be written; "" */
void si__kept_close(si__kept *kept);              /* what was asked for is still done */

#endif
