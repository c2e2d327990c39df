/*
 * The worker thread and its two queues: jobs in, finished jobs back to the loop by uv_async.
 *
 * Submitted from the loop's thread. A job is one allocation, made at submit and freed after `after` has run.
 */
#include "worker.h"

#include <pthread.h>
#include <si/si.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "../collectors/native/probe.h"

#define STACK_BYTES ((size_t)2 << 20) /* libdw recurses over DWARF; glibc takes TLS from this too */

typedef struct job {
    struct job *next;
    void (*work)(void *arg);
    void (*after)(void *arg);
    void *arg;
} job;

typedef struct queue {
    job *first, **end;
} queue;

struct si__worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    queue todo, done; /* under lock */
    int stopping;     /* under lock */
    int ended;        /* under lock: the thread will touch nothing any more but its own exit */
    uv_async_t async; /* loop thread, but for uv_async_send */
    void (*closed)(void *arg);
    void *closed_arg;
};

static void queue_init(queue *q) {
    q->first = NULL;
    q->end = &q->first;
}

static void queue_push(queue *q, job *j) {
    j->next = NULL;
    *q->end = j;
    q->end = &j->next;
}

static job *queue_pop(queue *q) {
    job *j = q->first;
    if (j && !(q->first = j->next)) q->end = &q->first;
    return j;
}

static void *worker_main(void *arg) {
    si__worker *worker = arg;
    pthread_setname_np(pthread_self(), "si-worker");
    si__thread_ignore_self();
    pthread_mutex_lock(&worker->lock);
    for (;;) {
        job *j = queue_pop(&worker->todo);
        if (!j) {
            if (worker->stopping) break;
            pthread_cond_wait(&worker->wake, &worker->lock);
            continue;
        }
        pthread_mutex_unlock(&worker->lock);
        if (j->work) j->work(j->arg);
        pthread_mutex_lock(&worker->lock);
        queue_push(&worker->done, j);
        uv_async_send(&worker->async); /* under the lock, so that the handle cannot be closed between */
    }
    worker->ended = 1;
    uv_async_send(&worker->async);
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

static void on_handle_closed(uv_handle_t *handle) {
    si__worker *worker = handle->data;
    void (*closed)(void *) = worker->closed;
    void *arg = worker->closed_arg;
    pthread_mutex_destroy(&worker->lock);
    pthread_cond_destroy(&worker->wake);
    free(worker);
    if (closed) closed(arg);
}

static void on_async(uv_async_t *async) {
    si__worker *worker = async->data;
    for (;;) {
        pthread_mutex_lock(&worker->lock);
        job *j = queue_pop(&worker->done);
        int stopping = worker->stopping, ended = worker->ended && !j && !worker->todo.first;
        pthread_mutex_unlock(&worker->lock);
        if (j) {
            if (j->after) j->after(j->arg); /* may submit more, or close the worker */
            free(j);
            continue;
        }
        if (stopping && ended && !uv_is_closing((uv_handle_t *)async)) {
            pthread_join(worker->thread, NULL);
            uv_close((uv_handle_t *)async, on_handle_closed);
        }
        return;
    }
}

static int start_thread(si__worker *worker) {
    pthread_attr_t attr;
    if (pthread_attr_init(&attr)) return -1;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited by the thread: the host's signals are never ours */
    int failed = pthread_create(&worker->thread, &attr, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return failed ? -1 : 0;
}

static void on_failed_closed(uv_handle_t *handle) {
    free(handle->data);
}

si__worker *si__worker_new(uv_loop_t *loop) {
    si__worker *worker = calloc(1, sizeof *worker);
    if (!worker) return NULL;
    queue_init(&worker->todo);
    queue_init(&worker->done);
    if (uv_async_init(loop, &worker->async, on_async)) {
        free(worker);
        return NULL;
    }
    worker->async.data = worker;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    if (!start_thread(worker)) return worker;
    pthread_mutex_destroy(&worker->lock);
    pthread_cond_destroy(&worker->wake);
    uv_close((uv_handle_t *)&worker->async, on_failed_closed); /* the loop frees it on its next turn */
    return NULL;
}

int si__worker_submit(si__worker *worker, void (*work)(void *arg), void (*after)(void *arg), void *arg) {
    job *j = malloc(sizeof *j);
    if (!j) return SI_ENOMEM;
    *j = (job){NULL, work, after, arg};
    pthread_mutex_lock(&worker->lock);
    if (worker->ended) { /* only an `after` that runs while closing can come here */
        pthread_mutex_unlock(&worker->lock);
        free(j);
        return SI_ESTATE;
    }
    queue_push(&worker->todo, j);
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
    return SI_OK;
}

uint64_t si__worker_cpu_ns(const si__worker *worker) {
    clockid_t clock;
    struct timespec t;
    if (pthread_getcpuclockid(worker->thread, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void si__worker_close(si__worker *worker, void (*closed)(void *arg), void *arg) {
    worker->closed = closed;
    worker->closed_arg = arg;
    pthread_mutex_lock(&worker->lock);
    worker->stopping = 1;
    pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
}
