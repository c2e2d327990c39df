/* A few worker threads with a bounded queue of requests; each worker has a reader of the store. */
#ifndef SI_SERVER_POOL_H
#define SI_SERVER_POOL_H

#include "request.h"

typedef struct si__pool si__pool;

/* name: of its threads, a literal of at most 15 bytes; nice: how far they stand back for the process's other threads
 * where processors are short, 0 to 19. NULL: out of memory, no thread, or the store could not be
 * opened. */
si__pool *si__pool_new(si__store *store, const char *name, int nice, int threads, size_t queue_limit,
                       void (*handle)(si__request *request));
int si__pool_submit(si__pool *pool, si__request *request); /* 0, or SI_ELIMIT when the queue is full or stopping */
size_t si__pool_queued(si__pool *pool);
void si__pool_stop(si__pool *pool); /* handles what is queued, refuses the rest */
void si__pool_free(si__pool *pool); /* stops first; nobody may submit any more */

#endif
