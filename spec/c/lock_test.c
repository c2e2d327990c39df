/*
 * Lock waits: how long is known, so what is measured must be that. A program cannot tell hooked locks from others by
 * any answer they give.
 */
#include "wait_events.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <threads.h>

#if defined(__SANITIZE_THREAD__)
enum { NO_CLOCKLOCK = 1 }; /* the sanitizer does not see it, and then reports an unlock without a lock */
#else
enum { NO_CLOCKLOCK = 0 };
#endif

static struct timespec in_ms(clockid_t clock, long ms) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += ms * MS;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

/* ---- A helper thread that holds things, and lets go when somebody waits for them ---- */

enum { HOLD_MS = 40 };

typedef struct holder {
    pthread_t thread;
    void (*take)(void);
    void (*release)(void);
    _Atomic int taken;
    si__wait_call call; /* in which the main thread will wait */
    long hold_ms;       /* from then on */
    uint64_t at_least_ns;
} holder;

static void *hold(void *arg) {
    holder *h = arg;
    si__waiting now;
    if (h->take) h->take();
    h->taken = 1;
    if (!seen_waiting(getpid(), h->call, &now)) return NULL;
    pause_ns(h->hold_ms * MS);
    h->at_least_ns = clock_ns() - now.since_ns;
    if (h->release) h->release();
    return NULL;
}

static void start_holder(holder *h, si__wait_call call, void (*take)(void), void (*release)(void), long hold_ms) {
    *h = (holder){.take = take, .release = release, .hold_ms = hold_ms, .call = call};
    assert_int_equal(pthread_create(&h->thread, NULL, hold, h), 0);
    while (!h->taken) pause_ns(MS / 10);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition;
static pthread_barrier_t barrier;
static mtx_t c11_mutex;
static cnd_t c11_condition;
static sem_t semaphore;
static _Atomic int ready; /* atomic for the sanitizer, which does not know C11 mutexes */

static void take_mutex(void) {
    pthread_mutex_lock(&mutex);
}
static void release_mutex(void) {
    pthread_mutex_unlock(&mutex);
}
static void take_rwlock(void) {
    pthread_rwlock_wrlock(&rwlock);
}
static void release_rwlock(void) {
    pthread_rwlock_unlock(&rwlock);
}
static void take_c11_mutex(void) {
    mtx_lock(&c11_mutex);
}
static void release_c11_mutex(void) {
    mtx_unlock(&c11_mutex);
}
static void set_condition(void) {
    pthread_mutex_lock(&mutex);
    ready = 1;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&mutex);
}
static void set_c11_condition(void) {
    mtx_lock(&c11_mutex);
    ready = 1;
    cnd_signal(&c11_condition);
    mtx_unlock(&c11_mutex);
}
static void reach_barrier(void) {
    pthread_barrier_wait(&barrier);
}
static void post_semaphore(void) {
    sem_post(&semaphore);
}

/* ---- Every function once ---- */

#define DEADLINE(clock) struct timespec until = in_ms(clock, 10000)

static int wait_mutex_lock(void) {
    int rc = pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return rc;
}
static int wait_mutex_timedlock(void) {
    DEADLINE(CLOCK_REALTIME);
    int rc = pthread_mutex_timedlock(&mutex, &until);
    pthread_mutex_unlock(&mutex);
    return rc;
}
static int wait_mutex_clocklock(void) {
    DEADLINE(CLOCK_MONOTONIC);
    int rc = pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &until);
    pthread_mutex_unlock(&mutex);
    return rc;
}
static int wait_rdlock(void) {
    int rc = pthread_rwlock_rdlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    return rc;
}
static int wait_timedrdlock(void) {
    DEADLINE(CLOCK_REALTIME);
    int rc = pthread_rwlock_timedrdlock(&rwlock, &until);
    pthread_rwlock_unlock(&rwlock);
    return rc;
}
static int wait_clockrdlock(void) {
    DEADLINE(CLOCK_MONOTONIC);
    int rc = pthread_rwlock_clockrdlock(&rwlock, CLOCK_MONOTONIC, &until);
    pthread_rwlock_unlock(&rwlock);
    return rc;
}
static int wait_wrlock(void) {
    int rc = pthread_rwlock_wrlock(&rwlock);
    pthread_rwlock_unlock(&rwlock);
    return rc;
}
static int wait_timedwrlock(void) {
    DEADLINE(CLOCK_REALTIME);
    int rc = pthread_rwlock_timedwrlock(&rwlock, &until);
    pthread_rwlock_unlock(&rwlock);
    return rc;
}
static int wait_clockwrlock(void) {
    DEADLINE(CLOCK_MONOTONIC);
    int rc = pthread_rwlock_clockwrlock(&rwlock, CLOCK_MONOTONIC, &until);
    pthread_rwlock_unlock(&rwlock);
    return rc;
}
static int wait_cond(void) {
    int rc = 0;
    pthread_mutex_lock(&mutex);
    while (!ready) rc |= pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    return rc;
}
static int wait_cond_timed(void) {
    DEADLINE(CLOCK_REALTIME);
    int rc = 0;
    pthread_mutex_lock(&mutex);
    while (!ready) rc |= pthread_cond_timedwait(&condition, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    return rc;
}
static int wait_cond_clock(void) {
    DEADLINE(CLOCK_MONOTONIC);
    int rc = 0;
    pthread_mutex_lock(&mutex);
    while (!ready) rc |= pthread_cond_clockwait(&condition, &mutex, CLOCK_MONOTONIC, &until);
    pthread_mutex_unlock(&mutex);
    return rc;
}
static int wait_barrier(void) {
    int rc = pthread_barrier_wait(&barrier);
    return rc == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : rc;
}
static int wait_mtx(void) {
    int rc = mtx_lock(&c11_mutex);
    mtx_unlock(&c11_mutex);
    return rc;
}
static int wait_mtx_timed(void) {
    DEADLINE(CLOCK_REALTIME);
    int rc = mtx_timedlock(&c11_mutex, &until);
    mtx_unlock(&c11_mutex);
    return rc;
}
static int wait_cnd(void) {
    int rc = 0;
    mtx_lock(&c11_mutex);
    while (!ready) rc |= cnd_wait(&c11_condition, &c11_mutex);
    mtx_unlock(&c11_mutex);
    return rc;
}
static int wait_cnd_timed(void) {
    DEADLINE(CLOCK_REALTIME);
    int rc = 0;
    mtx_lock(&c11_mutex);
    while (!ready) rc |= cnd_timedwait(&c11_condition, &c11_mutex, &until);
    mtx_unlock(&c11_mutex);
    return rc;
}
static int wait_sem(void) {
    return sem_wait(&semaphore);
}
static int wait_sem_timed(void) {
    DEADLINE(CLOCK_REALTIME);
    return sem_timedwait(&semaphore, &until);
}
static int wait_sem_clock(void) {
    DEADLINE(CLOCK_MONOTONIC);
    return sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until);
}

typedef struct one {
    si__wait_call call;
    void (*take)(void), (*release)(void);
    int (*wait)(void);
    si__wait_category category;
} one;

static const one ones[] = {
    {SI__CALL_pthread_mutex_lock, take_mutex, release_mutex, wait_mutex_lock, SI__WAIT_LOCK},
    {SI__CALL_pthread_mutex_timedlock, take_mutex, release_mutex, wait_mutex_timedlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_mutex_clocklock, take_mutex, release_mutex, wait_mutex_clocklock, SI__WAIT_LOCK},
    {SI__CALL_pthread_rwlock_rdlock, take_rwlock, release_rwlock, wait_rdlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_rwlock_timedrdlock, take_rwlock, release_rwlock, wait_timedrdlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_rwlock_clockrdlock, take_rwlock, release_rwlock, wait_clockrdlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_rwlock_wrlock, take_rwlock, release_rwlock, wait_wrlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_rwlock_timedwrlock, take_rwlock, release_rwlock, wait_timedwrlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_rwlock_clockwrlock, take_rwlock, release_rwlock, wait_clockwrlock, SI__WAIT_LOCK},
    {SI__CALL_pthread_cond_wait, NULL, set_condition, wait_cond, SI__WAIT_LOCK},
    {SI__CALL_pthread_cond_timedwait, NULL, set_condition, wait_cond_timed, SI__WAIT_LOCK},
    {SI__CALL_pthread_cond_clockwait, NULL, set_condition, wait_cond_clock, SI__WAIT_LOCK},
    {SI__CALL_pthread_barrier_wait, NULL, reach_barrier, wait_barrier, SI__WAIT_LOCK},
    {SI__CALL_mtx_lock, take_c11_mutex, release_c11_mutex, wait_mtx, SI__WAIT_LOCK},
    {SI__CALL_mtx_timedlock, take_c11_mutex, release_c11_mutex, wait_mtx_timed, SI__WAIT_LOCK},
    {SI__CALL_cnd_wait, NULL, set_c11_condition, wait_cnd, SI__WAIT_LOCK},
    {SI__CALL_cnd_timedwait, NULL, set_c11_condition, wait_cnd_timed, SI__WAIT_LOCK},
    {SI__CALL_sem_wait, NULL, post_semaphore, wait_sem, SI__WAIT_CHANNEL},
    {SI__CALL_sem_timedwait, NULL, post_semaphore, wait_sem_timed, SI__WAIT_CHANNEL},
    {SI__CALL_sem_clockwait, NULL, post_semaphore, wait_sem_clock, SI__WAIT_CHANNEL},
};

static void every_function_is_measured(void **state) {
    (void)state;
    only_tid = getpid(); /* the other side of a barrier waits a little, too */
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++) {
        const one *o = &ones[i];
        holder h;
        waited got;
        ready = 0;
        if (NO_CLOCKLOCK && o->call == SI__CALL_pthread_mutex_clocklock) continue;
        collect(&got);
        start_holder(&h, o->call, o->take, o->release, HOLD_MS);
        uint64_t start = clock_ns();
        errno = 1234;
        assert_int_equal(o->wait(), 0);
        assert_int_equal(errno, 1234);
        uint64_t took = clock_ns() - start;
        pthread_join(h.thread, NULL);
        collect(&got);
        uint64_t measured = got.by_category_ns[o->call][o->category];
        if (measured > took || measured < h.at_least_ns)
            print_message("%s: %lu ns, not %lu to %lu\n", si__wait_call_name(o->call), measured, h.at_least_ns, took);
        assert_true(h.at_least_ns >= HOLD_MS * MS && measured >= h.at_least_ns && measured <= took);
        assert_int_equal(measured, got.ns[o->call]);
    }
}

static void *join_me(void *arg) {
    hold(arg);
    return arg;
}

static int c11_join_me(void *arg) {
    hold(arg);
    return 5;
}

static void joins_are_measured(void **state) {
    (void)state;
    static const si__wait_call calls[] = {SI__CALL_pthread_join, SI__CALL_pthread_timedjoin_np,
                                          SI__CALL_pthread_clockjoin_np, SI__CALL_thrd_join};
    for (int i = 0; i < 4; i++) {
        holder h = {.call = calls[i], .hold_ms = HOLD_MS};
        pthread_t thread = 0;
        thrd_t c11;
        void *out = NULL;
        int rc = 0, c11_out = 0;
        waited got;
        struct timespec real = in_ms(CLOCK_REALTIME, 10000), mono = in_ms(CLOCK_MONOTONIC, 10000);
        if (i < 3)
            assert_int_equal(pthread_create(&thread, NULL, join_me, &h), 0);
        else
            assert_int_equal(thrd_create(&c11, c11_join_me, &h), thrd_success);
        collect(&got);
        uint64_t start = clock_ns();
        errno = 1234;
        if (i == 0) rc = pthread_join(thread, &out);
        if (i == 1) rc = pthread_timedjoin_np(thread, &out, &real);
        if (i == 2) rc = pthread_clockjoin_np(thread, &out, CLOCK_MONOTONIC, &mono);
        if (i == 3) rc = thrd_join(c11, &c11_out);
        assert_int_equal(errno, 1234);
        uint64_t took = clock_ns() - start;
        assert_int_equal(rc, 0);
        assert_true(i == 3 ? c11_out == 5 : out == &h);
        collect(&got);
        assert_true(got.by_category_ns[calls[i]][SI__WAIT_LOCK] <= took);
        assert_true(got.by_category_ns[calls[i]][SI__WAIT_LOCK] >= h.at_least_ns);
        assert_true(h.at_least_ns >= HOLD_MS * MS);
    }
}

/* ---- How much ---- */

/* The truth lies between what the holder and what the waiter saw: on an idle machine within 1 %. */
static void held_locks_add_up(void **state) {
    (void)state;
    enum { ROUNDS = 25 };
    uint64_t most = 0, least = 0;
    waited got;
    collect(&got);
    sample_every(100000);
    for (int i = 0; i < ROUNDS; i++) {
        holder h;
        start_holder(&h, SI__CALL_pthread_mutex_lock, take_mutex, release_mutex, 5 + i % 3 * 10);
        uint64_t start = clock_ns();
        pthread_mutex_lock(&mutex);
        most += clock_ns() - start;
        pthread_mutex_unlock(&mutex);
        pthread_join(h.thread, NULL);
        least += h.at_least_ns;
    }
    collect(&got);
    uint64_t measured = got.ns[SI__CALL_pthread_mutex_lock];
    print_message("%.3f ms measured of %.3f to %.3f\n", (double)measured / MS, (double)least / MS, (double)most / MS);
    assert_true(measured >= least && measured <= most);
    assert_int_equal(got.count[SI__CALL_pthread_mutex_lock], ROUNDS);
}

/* What nobody holds is counted exactly, and makes no event. */
static void free_locks_are_counted(void **state) {
    (void)state;
    waited got;
    collect(&got);
    uint64_t locks = tally(SI__TALLY_LOCK), channels = tally(SI__TALLY_CHANNEL);
    sem_init(&semaphore, 0, 500);
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
        pthread_rwlock_rdlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
        pthread_rwlock_wrlock(&rwlock);
        pthread_rwlock_unlock(&rwlock);
        if (i % 2) sem_wait(&semaphore);
    }
    assert_int_equal(tally(SI__TALLY_LOCK) - locks, 3000);
    assert_int_equal(tally(SI__TALLY_CHANNEL) - channels, 500);
    collect(&got);
    assert_int_equal(got.all, 0);
    sample_every(0); /* the hooks go out */
    locks = tally(SI__TALLY_LOCK);
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
    }
    assert_int_equal(tally(SI__TALLY_LOCK), locks);
}

enum { STORM_THREADS = 64, STORM_ROUNDS = 2000 };
static uint64_t storm_count;
static void *storm(void *arg) {
    (void)arg;
    for (int i = 0; i < STORM_ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        storm_count++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void a_storm_is_counted_exactly(void **state) {
    (void)state;
    pthread_t threads[STORM_THREADS];
    waited got;
    collect(&got);
    uint64_t before = tally(SI__TALLY_LOCK);
    storm_count = 0;
    for (int i = 0; i < STORM_THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, storm, NULL), 0);
    for (int i = 0; i < STORM_THREADS; i++) pthread_join(threads[i], NULL);
    assert_int_equal(storm_count, STORM_THREADS * STORM_ROUNDS);
    assert_int_equal(tally(SI__TALLY_LOCK) - before, STORM_THREADS * STORM_ROUNDS + STORM_THREADS);
    assert_true(nobody_waits());
}

/* ---- Answers ---- */

typedef struct answers {
    int of[128], count;
} answers;

static void note(answers *a, int answer) {
    assert_true(a->count < 126);
    a->of[a->count++] = answer;
    a->of[a->count++] = errno;
    errno = 1234;
}

static void *die_holding(void *arg) {
    pthread_mutex_lock(arg);
    return NULL;
}

static void ask_mutex(answers *a, int type, int robust, int protocol) {
    pthread_mutexattr_t attr;
    pthread_mutex_t m;
    pthread_t owner;
    const struct timespec past = {1, 0}, wrong = {1, 2000000000};
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, type);
    pthread_mutexattr_setrobust(&attr, robust);
    pthread_mutexattr_setprotocol(&attr, protocol);
    note(a, pthread_mutex_init(&m, &attr));
    note(a, pthread_mutex_timedlock(&m, &wrong)); /* free: the time is not looked at */
    note(a, pthread_mutex_timedlock(&m, &wrong)); /* own */
    note(a, pthread_mutex_timedlock(&m, &past));
    if (type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK)
        note(a, pthread_mutex_lock(&m)); /* again, or EDEADLK */
    while (pthread_mutex_unlock(&m) == 0 && type == PTHREAD_MUTEX_RECURSIVE) {}
    note(a, pthread_mutex_clocklock(&m, CLOCK_PROCESS_CPUTIME_ID, &past));
    if (robust == PTHREAD_MUTEX_ROBUST) {
        pthread_create(&owner, NULL, die_holding, &m);
        pthread_join(owner, NULL);
        note(a, pthread_mutex_lock(&m)); /* EOWNERDEAD: acquired */
        note(a, pthread_mutex_consistent(&m));
        note(a, pthread_mutex_unlock(&m));
        pthread_create(&owner, NULL, die_holding, &m);
        pthread_join(owner, NULL);
        note(a, pthread_mutex_lock(&m));
        note(a, pthread_mutex_unlock(&m)); /* not made consistent */
        note(a, pthread_mutex_lock(&m));   /* ENOTRECOVERABLE */
    }
    pthread_mutexattr_destroy(&attr);
}

static void ask_others(answers *a) {
    sem_t s;
    pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
    const struct timespec past = {1, 0}, wrong = {1, -1};
    sem_init(&s, 0, 1);
    note(a, sem_timedwait(&s, &wrong)); /* EINVAL, although it could be taken */
    note(a, sem_clockwait(&s, CLOCK_THREAD_CPUTIME_ID, &past));
    note(a, sem_timedwait(&s, &past));
    note(a, sem_timedwait(&s, &past)); /* ETIMEDOUT */
    note(a, pthread_rwlock_timedrdlock(&rw, &wrong));
    note(a, pthread_rwlock_clockwrlock(&rw, CLOCK_THREAD_CPUTIME_ID, &past));
    note(a, pthread_rwlock_timedwrlock(&rw, &past));
    note(a, pthread_rwlock_timedwrlock(&rw, &past)); /* own: EDEADLK or ETIMEDOUT */
    note(a, pthread_rwlock_rdlock(&rw));             /* EDEADLK */
    note(a, pthread_rwlock_wrlock(&rw));
    note(a, pthread_join(pthread_self(), NULL)); /* EDEADLK */
}

static void ask_all(answers *a) {
    static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                                PTHREAD_MUTEX_ADAPTIVE_NP};
    memset(a, 0, sizeof *a);
    errno = 1234;
    for (int i = 0; i < 4; i++) {
        ask_mutex(a, types[i], PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
        answers rest = {0};
        ask_mutex(&rest, types[i], PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
        ask_mutex(&rest, types[i], PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_INHERIT);
        for (int k = 0; k < rest.count; k++) a->of[120] = (int)((unsigned)a->of[120] * 31 + (unsigned)rest.of[k]);
        errno = 1234;
    }
    ask_others(a);
}

static void answers_are_the_same(void **state) {
    (void)state;
    static answers plain, hooked;
    if (NO_CLOCKLOCK) skip();
    sample_every(0);
    ask_all(&plain);
    sample_every(MEAN_NS);
    ask_all(&hooked);
    for (int i = 0; i < plain.count; i++)
        if (plain.of[i] != hooked.of[i]) print_message("answer %d: %d, not %d\n", i, hooked.of[i], plain.of[i]);
    assert_memory_equal(&plain, &hooked, sizeof plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_function_is_measured), TEST(joins_are_measured),         TEST(held_locks_add_up),
        TEST(free_locks_are_counted),     TEST(a_storm_is_counted_exactly), TEST(answers_are_the_same),
    };
    pthread_cond_init(&condition, NULL);
    pthread_barrier_init(&barrier, NULL, 2);
    mtx_init(&c11_mutex, mtx_timed);
    cnd_init(&c11_condition);
    sem_init(&semaphore, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
