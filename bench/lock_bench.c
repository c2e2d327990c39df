/*
 * What lock waits cost when nobody waits: added ns per uncontended lock and unlock. `./dev bench lock`.
 *
 * Aim: at most 3 ns.
 */
#include <pthread.h>
#include <semaphore.h>

#include "wait_paired.h"

enum { CALLS = 20000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t recursive = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t semaphore;

static void lock_mutex(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
}

static void lock_recursive(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        pthread_mutex_lock(&recursive);
        pthread_mutex_unlock(&recursive);
    }
}

static void lock_shared(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
    }
}

static void lock_exclusive(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        pthread_rwlock_wrlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
    }
}

static void take_semaphore(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        sem_post(&semaphore);
        sem_wait(&semaphore);
    }
}

int main(void) {
    static const paired_work works[] = {
        {"mutex, lock and unlock", lock_mutex, CALLS, SI__TALLY_LOCK, 1},
        {"recursive mutex, lock and unlock", lock_recursive, CALLS, SI__TALLY_LOCK, 1},
        {"rwlock, shared, lock and unlock", lock_shared, CALLS, SI__TALLY_LOCK, 1},
        {"rwlock, exclusive, lock and unlock", lock_exclusive, CALLS, SI__TALLY_LOCK, 1},
        {"semaphore, post and wait", take_semaphore, CALLS, SI__TALLY_CHANNEL, 1},
    };
    sem_init(&semaphore, 0, 0);
    return paired_bench(works, sizeof works / sizeof *works);
}
