/*
 * What is remembered of a library's handle (statement, connection, cursor) between two hooked calls.
 *
 * A fixed table, no allocation, no lock: when it is full, the entry of a set that was made first goes. A handle is used
 * by one thread at a time, as its library asks for; different handles by any thread.
 */
#ifndef SI_NATIVE_HANDLE_H
#define SI_NATIVE_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

#include "region.h"

enum { SI__HANDLE_QUEUE = 16 };

typedef struct si__handle {
    _Atomic uint64_t key; /* 0: free */
    _Atomic uint64_t made;
    _Atomic(si__instrument *) instrument; /* of what it runs; NULL: not known */
    _Atomic uint64_t spent_ns;            /* blocked in it so far */
    _Atomic uint64_t since_ns;            /* when it was begun; 0: it was not */
    _Atomic uint32_t state;               /* its user's */
    /* Commands that wait for their replies, in order. */
    _Atomic uint32_t head, queued;
    _Atomic(si__instrument *) queue[SI__HANDLE_QUEUE];
    _Atomic uint64_t queue_ns[SI__HANDLE_QUEUE];
    char name[SI__NAME_BYTES]; /* its user's; written by the thread that uses the handle */
} si__handle;

/* `what` tells apart uses of one address. NULL: it is not in the table. */
si__handle *si__open_handle_find(const void *pointer, uint64_t what);

/* Found, or made anew and empty. Never NULL. */
si__handle *si__open_handle_make(const void *pointer, uint64_t what);

/* Forgets it. NULL is allowed. */
void si__open_handle_drop(si__handle *handle);

/* Commands in order. A full queue forgets its oldest. */
void si__open_handle_queue(si__handle *handle, si__instrument *instrument, uint64_t now_ns);
/* NULL: none waits. *since_ns: when it was pushed. */
si__instrument *si__open_handle_pop(si__handle *handle, uint64_t *since_ns);

#endif
