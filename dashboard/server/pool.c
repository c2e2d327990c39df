/* Worker threads; see pool.h. `handle` runs on them and must end each request in si__server_finish. */
#include "pool.h"

#include <pthread.h>
#include <si/si.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define THREADS_LIMIT 16

struct si__pool {
    const char *name; /* of its threads; a literal of at most 15 bytes */
    int nice;
    void (*handle)(si__request *request);
    pthread_t threads[THREADS_LIMIT];
    si__reader *readers[THREADS_LIMIT];
    int thread_count, reader_next;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    si__request *first, **last;
    size_t queued, queue_limit;
    int stopping;
};

static si__request *take(si__pool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (!pool->first && !pool->stopping) pthread_cond_wait(&pool->wake, &pool->lock);
    si__request *request = pool->first;
    if (request) {
        pool->first = request->next;
        if (!pool->first) pool->last = &pool->first;
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    return request;
}

static void *worker_main(void *arg) {
    si__pool *pool = arg;
    pthread_setname_np(pthread_self(), pool->name);
    if (pool->nice) setpriority(PRIO_PROCESS, (id_t)gettid(), pool->nice); /* of this thread alone */
    pthread_mutex_lock(&pool->lock);
    si__reader *reader = pool->readers[pool->reader_next++];
    pthread_mutex_unlock(&pool->lock);
    si__request *request;
    while ((request = take(pool)) != NULL) {
        request->reader = reader;
        pool->handle(request);
    }
    return NULL;
}

si__pool *si__pool_new(si__store *store, const char *name, int nice, int threads, size_t queue_limit,
                       void (*handle)(si__request *request)) {
    si__pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->name = name;
    pool->nice = nice;
    pool->handle = handle;
    pool->queue_limit = queue_limit;
    pool->last = &pool->first;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    int failed = 0;
    for (int i = 0; i < threads && i < THREADS_LIMIT && !failed; i++) {
        pool->readers[i] = si__reader_new(store);
        failed = !pool->readers[i] || pthread_create(&pool->threads[i], NULL, worker_main, pool);
        if (!failed) pool->thread_count++;
    }
    if (!failed) return pool;
    si__pool_free(pool);
    return NULL;
}

int si__pool_submit(si__pool *pool, si__request *request) {
    pthread_mutex_lock(&pool->lock);
    int refused = pool->stopping || pool->queued >= pool->queue_limit;
    if (!refused) {
        request->next = NULL;
        *pool->last = request;
        pool->last = &request->next;
        pool->queued++;
        pthread_cond_signal(&pool->wake);
    }
    pthread_mutex_unlock(&pool->lock);
    return refused ? SI_ELIMIT : SI_OK;
}

size_t si__pool_queued(si__pool *pool) {
    pthread_mutex_lock(&pool->lock);
    size_t queued = pool->queued;
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

void si__pool_stop(si__pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->thread_count; i++) pthread_join(pool->threads[i], NULL);
    pool->thread_count = 0;
}

void si__pool_free(si__pool *pool) {
    if (!pool) return;
    si__pool_stop(pool);
    for (int i = 0; i < THREADS_LIMIT; i++) si__reader_free(pool->readers[i]);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    free(pool);
}
