/*
 * The one thread that writes to the store while the server runs, with group commit: what is queued goes into one
 * transaction, and each writer is told its result after that transaction is on disk.
 */
#ifndef SI_SERVER_WRITER_H
#define SI_SERVER_WRITER_H

#include "body.h"
#include "db.h"
#include "intern.h"
#include "memo.h"

typedef struct si__writer si__writer;

#define SI__CHANGED_ALERTS 1u /* the outbox has something new */

typedef struct si__tx { /* what a write gets; valid during apply only */
    si__db *db;
    si__intern *intern;
    si__body_codec *codec;
    si__memo *memo;
    int64_t now_ms;   /* Unix time */
    unsigned changed; /* SI__CHANGED_* of this transaction */
} si__tx;

typedef struct si__write {               /* the caller's; must live until done was called */
    int (*apply)(si__tx *tx, void *arg); /* writer thread. Not 0: what it did is undone, alone */
    void (*done)(void *arg,
                 int result); /* writer thread, after the commit: 0, apply's error, or SI_EIO / SI_ELIMIT (disk full) */
    void *arg;
    struct si__write *next;
    int result;
} si__write;

typedef struct si__writer_options {
    int (*idle)(si__tx *tx, void *arg); /* one small step of upkeep in a transaction of its own; 1: there is more */
    void (*committed)(void *arg, unsigned changed); /* after each commit that changed something. Writer thread */
    void (*log)(void *arg, int level, const char *message);
    void *arg;
} si__writer_options;

typedef struct si__writer_counts {
    uint64_t commits, writes, failures;
    size_t queued;
    double last_commit_ms;
} si__writer_counts;

/* Takes over an open connection in WRITE mode (closed by stop, or at once on failure). NULL: out of memory or no
 * thread. */
si__writer *si__writer_start(const si__db *db, const si__writer_options *options);

/* Any thread. 0; SI_ELIMIT when the queue is full, SI_ESTATE when stopping: then done is not called. */
int si__writer_submit(si__writer *writer, si__write *write);

/* Any thread but the writer's: submits and waits. Returns the result. */
int si__writer_call(si__writer *writer, int (*apply)(si__tx *tx, void *arg), void *arg);

void si__writer_counts_get(si__writer *writer, si__writer_counts *out); /* any thread */
void si__writer_stop(si__writer *writer);                               /* commits what is queued, ends the thread */

#endif
