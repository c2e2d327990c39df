/*
 * Waits that end otherwise than by their end (cancellation, a signal's longjmp, interruption, a fork), and waits that
 * do not end: what is seen of them from outside, and that nothing of them stays behind.
 */
#include "wait_events.h"

#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t semaphore;

/* ---- Threads that leave a wait otherwise than by its end ---- */

static _Atomic int32_t waiting_tid;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static sem_t nothing;

static void unlock(void *arg) {
    pthread_mutex_unlock(arg);
}

static void *wait_for_condition(void *arg) {
    pthread_mutex_lock(&mutex);
    pthread_cleanup_push(unlock, &mutex);
    waiting_tid = (int32_t)syscall(SYS_gettid);
    while (1) pthread_cond_wait(&never, &mutex);
    pthread_cleanup_pop(1);
    return arg;
}

static void *wait_for_semaphore(void *arg) {
    waiting_tid = (int32_t)syscall(SYS_gettid);
    sem_wait(&nothing);
    return arg;
}

static void *read_pipe(void *arg) {
    char byte;
    waiting_tid = (int32_t)syscall(SYS_gettid);
    if (read(*(int *)arg, &byte, 1) != 1) return NULL;
    return arg;
}

/* A cancellation point even when it need not wait. */
static sem_t go;
static void *cancelled_before(void *arg) {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    while (sem_trywait(&go) != 0) pause_ns(MS / 10);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    sem_wait(&semaphore);
    return arg;
}

static void cancel(void *(*start)(void *), void *arg, si__wait_call call) {
    pthread_t thread;
    void *value;
    si__waiting now;
    waiting_tid = 0;
    assert_int_equal(pthread_create(&thread, NULL, start, arg), 0);
    while (!waiting_tid) pause_ns(MS / 10);
    assert_true(seen_waiting(waiting_tid, call, &now));
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, &value), 0);
    assert_ptr_equal(value, PTHREAD_CANCELED);
    assert_true(nobody_waits());
}

static void cancelled_threads_end(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* frames that a cancellation unwinds stay poisoned in its books */
#endif
    int ends[2];
    pthread_t thread;
    void *value;
    sem_init(&nothing, 0, 0);
    sem_init(&go, 0, 0);
    sem_init(&semaphore, 0, 1);
    assert_int_equal(pipe(ends), 0);
    cancel(wait_for_condition, NULL, SI__CALL_pthread_cond_wait);
    assert_int_equal(pthread_mutex_trylock(&mutex), 0); /* the cleanup handler ran */
    pthread_mutex_unlock(&mutex);
    cancel(wait_for_semaphore, NULL, SI__CALL_sem_wait);
    cancel(read_pipe, &ends[0], SI__CALL_read);
    assert_int_equal(pthread_create(&thread, NULL, cancelled_before, NULL), 0);
    pthread_cancel(thread);
    sem_post(&go);
    pthread_join(thread, &value);
    assert_ptr_equal(value, PTHREAD_CANCELED);
    assert_int_equal(sem_trywait(&semaphore), 0); /* and nobody took it */
    close(ends[0]);
    close(ends[1]);
}

static sigjmp_buf away;
static volatile sig_atomic_t interrupts;
static void jump(int number) {
    (void)number;
    siglongjmp(away, 1);
}
static void interrupt(int number) {
    (void)number;
    interrupts++;
}

static void *send_signals(void *arg) {
    si__waiting now;
    pthread_t target = *(pthread_t *)arg;
    if (seen_waiting(getpid(), SI__CALL_sem_wait, &now)) pthread_kill(target, SIGUSR1);
    return NULL;
}

static void signals_are_the_hosts_own(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = interrupt}, old;
    pthread_t sender, self = pthread_self();
    sem_init(&nothing, 0, 0);
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    pthread_create(&sender, NULL, send_signals, &self);
    assert_int_equal(sem_wait(&nothing), -1);
    assert_int_equal(errno, EINTR);
    assert_int_equal(interrupts, 1);
    pthread_join(sender, NULL);
    action.sa_handler = jump;
    sigaction(SIGUSR1, &action, NULL);
    pthread_create(&sender, NULL, send_signals, &self);
    if (sigsetjmp(away, 1) == 0) {
        sem_wait(&nothing);
        fail();
    }
    pthread_join(sender, NULL); /* the next wait takes the place of the one that was left */
    assert_true(nobody_waits());
    sigaction(SIGUSR1, &old, NULL);
}

/* ---- What is seen from outside ---- */

static void *stuck(void *arg) {
    waiting_tid = (int32_t)syscall(SYS_gettid);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return arg;
}

static void a_hang_is_seen_while_it_lasts(void **state) {
    (void)state;
    pthread_t thread;
    si__waiting now, later;
    waited got;
    collect(&got);
    pthread_mutex_lock(&mutex);
    waiting_tid = 0;
    uint64_t start = clock_ns();
    assert_int_equal(pthread_create(&thread, NULL, stuck, NULL), 0);
    while (!waiting_tid) pause_ns(MS / 10);
    assert_true(seen_waiting(waiting_tid, SI__CALL_pthread_mutex_lock, &now));
    assert_string_equal(now.name, "pthread_mutex_lock");
    assert_int_equal(now.category, SI__WAIT_LOCK);
    assert_int_equal(now.object, (uintptr_t)&mutex);
    assert_true(now.since_ns + MS / 100 >= start && now.since_ns <= clock_ns());
    assert_true(now.caller_pc > (uintptr_t)stuck && now.caller_pc < (uintptr_t)stuck + 256);
    pause_ns(20 * MS);
    assert_true(seen_waiting(waiting_tid, SI__CALL_pthread_mutex_lock, &later));
    assert_int_equal(later.sequence, now.sequence);
    assert_true(later.since_ns + MS / 100 >= now.since_ns && later.since_ns <= now.since_ns + MS / 100);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
    assert_true(nobody_waits());
    collect(&got);
    assert_int_equal(got.sequence[SI__CALL_pthread_mutex_lock], now.sequence); /* the event says which wait it was */
    assert_int_equal(got.caller[SI__CALL_pthread_mutex_lock], now.caller_pc);
}

static void forked_children_leave_the_parent_alone(void **state) {
    (void)state;
    int status;
    waited got;
    collect(&got);
    uint64_t before = tally(SI__TALLY_LOCK), system = tally(SI__TALLY_SYSTEM);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
        usleep(20000);
        _exit(7);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_int_equal(tally(SI__TALLY_LOCK), before);
    assert_int_equal(tally(SI__TALLY_SYSTEM), system + 1); /* our waitpid */
    child = vfork();
    if (child == 0) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
        usleep(20000);
        _exit(8);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 8);
    collect(&got);
    assert_int_equal(got.events[SI__CALL_usleep], 0);
    assert_true(nobody_waits());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(cancelled_threads_end),
        TEST(signals_are_the_hosts_own),
        TEST(a_hang_is_seen_while_it_lasts),
        TEST(forked_children_leave_the_parent_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
