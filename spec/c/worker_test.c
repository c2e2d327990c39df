/* The worker: jobs in order, off the loop's thread, with every signal blocked; closing runs what is queued. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <si/si.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "../../runtime/worker.h"
#include "loop_until.h"

enum { JOBS = 200 };

typedef struct world {
    uv_loop_t loop;
    si__worker *worker;
    pthread_t loop_thread;
    int order[JOBS], worked, came_back, wrong_thread, closed; /* worked: worker's; the others: loop's */
    char name[16];
    sigset_t mask;
    size_t stack_bytes;
    int chain, chain_status;
} world;

typedef struct numbered {
    world *w;
    int n;
} numbered;

static void begin(world *w) {
    memset(w, 0, sizeof *w);
    w->loop_thread = pthread_self();
    uv_loop_init(&w->loop);
    w->worker = si__worker_new(&w->loop);
    assert_non_null(w->worker);
}

static void on_closed(void *arg) {
    world *w = arg;
    w->closed = 1;
}

static void end(world *w) {
    si__worker_close(w->worker, on_closed, w);
    LOOP_UNTIL(&w->loop, w->closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void note_order(void *arg) {
    numbered *job = arg;
    world *w = job->w;
    if (pthread_equal(pthread_self(), w->loop_thread)) w->wrong_thread = 1;
    w->order[w->worked++] = job->n;
}

static void note_back(void *arg) {
    numbered *job = arg;
    if (!pthread_equal(pthread_self(), job->w->loop_thread)) job->w->wrong_thread = 1;
    if (job->n == job->w->came_back) job->w->came_back++;
}

static void test_jobs_run_in_order_and_come_back(void **state) {
    (void)state;
    world w;
    numbered jobs[JOBS];
    begin(&w);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (numbered){&w, i};
        assert_int_equal(si__worker_submit(w.worker, note_order, note_back, &jobs[i]), SI_OK);
    }
    LOOP_UNTIL(&w.loop, w.came_back == JOBS);
    for (int i = 0; i < JOBS; i++) assert_int_equal(w.order[i], i);
    assert_int_equal(w.wrong_thread, 0);
    end(&w);
}

static void look_around(void *arg) {
    world *w = arg;
    pthread_attr_t attr;
    pthread_getname_np(pthread_self(), w->name, sizeof w->name);
    pthread_sigmask(SIG_SETMASK, NULL, &w->mask);
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &w->stack_bytes);
    pthread_attr_destroy(&attr);
}

static void count_back(void *arg) {
    world *w = arg;
    w->came_back++;
}

static void test_the_thread_is_named_blocks_all_signals_and_has_room_for_dwarf(void **state) {
    (void)state;
    world w;
    begin(&w);
    si__worker_submit(w.worker, look_around, count_back, &w);
    LOOP_UNTIL(&w.loop, w.came_back == 1);
    assert_string_equal(w.name, "si-worker");
    static const int signals[] = {SIGTERM, SIGINT, SIGPROF, SIGUSR1, SIGCHLD, SIGPIPE, SIGXFSZ, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) assert_int_equal(sigismember(&w.mask, signals[i]), 1);
    assert_true(w.stack_bytes >= (size_t)1 << 20);
    sigset_t own;
    pthread_sigmask(SIG_SETMASK, NULL, &own);
    assert_int_equal(sigismember(&own, SIGTERM), 0); /* the caller's mask is as it was */
    end(&w);
}

static void nap(void *arg) {
    (void)arg;
    struct timespec t = {0, 20000000};
    nanosleep(&t, NULL);
}

static void test_closing_runs_what_is_queued(void **state) {
    (void)state;
    world w;
    begin(&w);
    si__worker_submit(w.worker, nap, NULL, &w);
    for (int i = 0; i < 10; i++) si__worker_submit(w.worker, NULL, count_back, &w);
    end(&w);
    assert_int_equal(w.came_back, 10);
}

static void chain(void *arg) {
    world *w = arg;
    if (++w->chain < 5) w->chain_status = si__worker_submit(w->worker, nap, chain, w);
}

static void test_jobs_may_submit_jobs_until_the_end(void **state) {
    (void)state;
    world w;
    begin(&w);
    si__worker_submit(w.worker, NULL, chain, &w);
    LOOP_UNTIL(&w.loop, w.chain == 5);
    w.chain = 0;
    si__worker_submit(w.worker, nap, chain, &w);
    end(&w); /* while it closes: taken, or refused; never lost without a word */
    assert_true(w.chain == 5 || w.chain_status == SI_ESTATE);
}

static void test_opening_and_closing_many_times(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        world w;
        begin(&w);
        end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_run_in_order_and_come_back),
        cmocka_unit_test(test_the_thread_is_named_blocks_all_signals_and_has_room_for_dwarf),
        cmocka_unit_test(test_closing_runs_what_is_queued),
        cmocka_unit_test(test_jobs_may_submit_jobs_until_the_end),
        cmocka_unit_test(test_opening_and_closing_many_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
