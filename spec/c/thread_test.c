/*
 * The sampler and the program around it: threads in every number and manner of ending, forks, and a host that does what
 * it likes with signals. The program notices nothing, and no thread is forgotten.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/signal.h"
#include "sampled.h"

/* ---- Threads ---- */

static _Atomic int stop_early;
static _Atomic int32_t early_tid;
static void *early(void *arg) {
    (void)arg;
    early_tid = (int32_t)syscall(SYS_gettid);
    while (!stop_early) burn(1000000);
    return NULL;
}

/* Waits, in CPU time of the others, until `done` or 20 s. */
static int until(int (*done)(tally *), tally *t) {
    for (int i = 0; i < 2000; i++) {
        si__drain_events(drain, add, t);
        if (done(t)) return 1;
        pause_ms(10);
    }
    return 0;
}

static int has_20_ticks(tally *t) {
    return t->ticks >= 20;
}

static char maps[1 << 20];
static void answer_stacks(void) {
    FILE *file = fopen("/proc/self/maps", "r");
    size_t length = fread(maps, 1, sizeof maps, file);
    fclose(file);
    si__drain_answer_stacks(drain, maps, length);
}

static void threads_that_ran_before_are_found(void **state) {
    (void)state;
    pthread_t thread;
    si__probe_close();
    stop_early = 0;
    early_tid = 0;
    assert_int_equal(pthread_create(&thread, NULL, early, NULL), 0);
    while (!early_tid) pause_ms(1);
    assert_int_equal(si__probe_open(NULL), 0);
    sample_at(500);
    tally got = {.only_tid = early_tid};
    assert_true(until(has_20_ticks, &got));
    assert_int_equal(got.off_stack, got.events); /* its stack is not known yet */
    assert_true(si__drain_stacks_wanted(drain));
    answer_stacks();
    tally later = {.only_tid = early_tid};
    assert_true(until(has_20_ticks, &later));
    assert_true(later.off_stack <= 1);
    stop_early = 1;
    pthread_join(thread, NULL);
    si__probe_refresh(); /* nobody saw it end */
    si__drain_events(drain, add, &later);
    for (uint32_t i = 0; i < SI__SLOT_COUNT; i++) assert_int_not_equal(si__region_slot(region, i)->tid, early_tid);
}

static uint32_t threads_now(void) {
    tally rest = {0};
    si__drain_counts counts;
    si__drain_events(drain, add, &rest);
    si__drain_counts_get(drain, &counts);
    return counts.threads;
}

static pthread_barrier_t all_there;
static void *wait_for_all(void *arg) {
    (void)arg;
    pthread_barrier_wait(&all_there);
    return NULL;
}

static void a_thousand_threads_at_once(void **state) {
    (void)state;
    enum { N = 1000 };
    static pthread_t threads[N];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_barrier_init(&all_there, NULL, N + 1);
    sample_at(100);
    uint32_t before = threads_now();
    for (int i = 0; i < N; i++) assert_int_equal(pthread_create(&threads[i], &small, wait_for_all, NULL), 0);
    tally got = {0};
    si__drain_counts counts;
    si__drain_events(drain, add, &got);
    si__probe_refresh(); /* finds nobody twice */
    pthread_barrier_wait(&all_there);
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.threads_refused, 0);
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    si__drain_events(drain, add, &got);
    assert_int_equal(threads_now(), before);
    pthread_barrier_destroy(&all_there);
    pthread_attr_destroy(&small);
}

static void *nothing(void *arg) {
    return arg;
}

static void slots_are_used_again(void **state) {
    (void)state;
    tally got = {0};
    si__drain_counts counts;
    sample_at(100);
    uint32_t used_before = region->slots_used;
    for (int i = 0; i < 5000; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, nothing, NULL), 0);
        pthread_join(thread, NULL);
        if (i % 500 == 0) si__drain_events(drain, add, &got);
    }
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.threads_refused, 0);
    assert_true(region->slots_used <= used_before + 600);
    si__drain_events(drain, add, &got);
}

static void *exit_sideways(void *arg) {
    pthread_exit(arg);
    return NULL;
}

static void *waits_for_ever(void *arg) {
    pthread_barrier_wait(&all_there);
    for (;;) pause();
    return arg;
}

static void threads_that_exit_or_are_cancelled_close_their_slots(void **state) {
    (void)state;
    pthread_t thread;
    void *result;
    uint32_t before = threads_now();
    sample_at(100);
    assert_int_equal(pthread_create(&thread, NULL, exit_sideways, &result), 0);
    pthread_join(thread, &result);
    assert_ptr_equal(result, &result);
    pthread_barrier_init(&all_there, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, waits_for_ever, NULL), 0);
    pthread_barrier_wait(&all_there);
    assert_int_equal(threads_now(), before + 1);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    threads_now();
    assert_int_equal(threads_now(), before);
    pthread_barrier_destroy(&all_there);
}

static void threads_beyond_the_slots_run_unobserved(void **state) {
    (void)state;
    /* All free slots but one are taken away, as if that many threads were there. */
    uint32_t taken[SI__SLOT_COUNT], count = 0;
    for (uint32_t i = 0; i < SI__SLOT_COUNT; i++)
        if (atomic_load(&si__region_slot(region, i)->state) == SI__SLOT_FREE) {
            atomic_store(&si__region_slot(region, i)->state, SI__SLOT_CLAIMED);
            taken[count++] = i;
        }
    pthread_t thread;
    void *result;
    errno = 77;
    assert_int_equal(pthread_create(&thread, NULL, nothing, &result), 0);
    assert_int_equal(errno, 77);
    pthread_join(thread, &result);
    assert_ptr_equal(result, &result);
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.threads_refused, 1);
    while (count > 0) atomic_store(&si__region_slot(region, taken[--count])->state, SI__SLOT_FREE);
}

/* ---- Fork ---- */

static void a_fork_leaves_child_inert_and_parent_intact(void **state) {
    (void)state;
    sample_at(1000);
    burn(20000000);
    tally before = {0}, after = {0};
    si__drain_events(drain, add, &before);
    uint64_t samples = si__thread_slot()->samples, positions = si__thread_slot()->reserve_pos;
    pid_t child = fork();
    if (child == 0) {
        sigset_t blocked;
        burn(200000000);
        pthread_t thread;
        pthread_create(&thread, NULL, nothing, NULL);
        pthread_join(thread, NULL);
        pthread_sigmask(SIG_BLOCK, NULL, &blocked);
        _exit(si__probe_region() == NULL && si__thread_slot() == NULL && sigismember(&blocked, si__signal_number()) == 0
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    si__drain_events(drain, add, &after);
    assert_in_range(after.ticks, 0, 100); /* the fork itself, not the child's 200 */
    assert_true(si__thread_slot()->samples - samples <= 100);
    assert_true(si__thread_slot()->reserve_pos >= positions);
    tally later = {0};
    burn(100000000);
    si__drain_events(drain, add, &later);
    assert_in_range(later.ticks, 70, 130); /* on a busy machine the last ones come late */
}

static void a_raw_clone_is_inert_too(void **state) {
    (void)state;
    sample_at(1000);
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(si__probe_region() == NULL && si__thread_slot() == NULL ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_forked_child_may_open_its_own(void **state) {
    (void)state;
    sample_at(1000);
    uint64_t samples = si__thread_slot()->samples;
    pid_t child = fork();
    if (child == 0) {
        int rc = si__probe_open(NULL);
        si__region *own = si__probe_region();
        if (rc != 0 || !own || own == region || own->pid != getpid()) _exit(1);
        si__region_set_cpu_mhz(own, 1000000);
        si__probe_retune();
        own->modules_seen = 1;
        burn(100000000);
        si__drain *mine = si__drain_new(own);
        tally got = {0};
        si__drain_events(mine, add, &got);
        _exit(got.ticks > 80 && got.ticks < 120 ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(si__thread_slot()->samples - samples <= 50);
}

/* ---- The host's signals ---- */

static _Atomic int prof_ticks;
static void on_prof(int signal) {
    (void)signal;
    prof_ticks++;
}

static void the_hosts_own_profiler_goes_on(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_prof, .sa_flags = SA_RESTART};
    struct itimerval every = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
    tally got = {.only_tid = (int32_t)syscall(SYS_gettid)};
    prof_ticks = 0;
    sigaction(SIGPROF, &action, NULL);
    sample_at(100);
    setitimer(ITIMER_PROF, &every, NULL);
    uint64_t begin = cpu_ns();
    burn(1000000000);
    uint64_t used = cpu_ns() - begin;
    setitimer(ITIMER_PROF, &never, NULL);
    signal(SIGPROF, SIG_IGN);
    si__drain_events(drain, add, &got);
    assert_in_range(prof_ticks, 50, 400); /* of the whole process */
    assert_true(fabs((double)got.value_ns / (double)used - 1) <= 2 * tolerance);
}

static _Atomic int host_signals;
static void on_host_signal(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    if (info->si_code == SI_QUEUE && info->si_value.sival_int == 42) host_signals++;
}

static void a_host_may_do_anything_with_our_signal(void **state) {
    (void)state;
    if (OWN_SIGNAL_BOOKS) skip();
    int ours = si__signal_number();
    tally got = {.only_tid = (int32_t)syscall(SYS_gettid)};
    struct sigaction action, old;
    sigset_t all, seen;
    sample_at(1000);
    /* Every signal to its default, and every signal blocked: a tick must neither kill nor be lost. */
    for (int signal = 1; signal < NSIG; signal++) {
        if (signal != ours) continue; /* cmocka keeps handlers of its own for others */
        memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        assert_int_equal(sigaction(signal, &action, &old), 0);
        assert_ptr_equal(old.sa_handler, SIG_DFL);
    }
    sigfillset(&all);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, NULL), 0);
    pthread_sigmask(SIG_BLOCK, NULL, &seen);
    assert_int_equal(sigismember(&seen, ours), 1);
    burn(100000000);
    si__drain_events(drain, add, &got);
    assert_in_range(got.ticks, 90, 110);
    /* A signal of the host's own with that number stays pending while blocked, is waited for, is handled. */
    assert_int_equal(sigqueue(getpid(), ours, (union sigval){.sival_int = 42}), 0);
    burn(20000000);
    assert_int_equal(sigpending(&seen), 0);
    assert_int_equal(sigismember(&seen, ours), 1);
    siginfo_t info;
    assert_int_equal(sigwaitinfo(&all, &info), ours);
    assert_int_equal(info.si_value.sival_int, 42);
    struct timespec soon = {0, 20000000};
    assert_int_equal(sigtimedwait(&all, &info, &soon), -1);
    assert_int_equal(errno, EAGAIN);
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_host_signal;
    action.sa_flags = SA_SIGINFO;
    host_signals = 0;
    assert_int_equal(sigaction(ours, &action, NULL), 0);
    assert_int_equal(sigqueue(getpid(), ours, (union sigval){.sival_int = 42}), 0);
    assert_int_equal(host_signals, 0);
    sigemptyset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &seen);
    assert_int_equal(sigismember(&seen, ours), 1);
    assert_int_equal(host_signals, 1);
    assert_int_equal(sigaction(ours, NULL, &old), 0);
    assert_ptr_equal(old.sa_sigaction, on_host_signal);
    tally after = {.only_tid = got.only_tid};
    burn(50000000);
    assert_ptr_equal((void *)signal(ours, SIG_IGN), (void *)on_host_signal);
    assert_int_equal(raise(ours), 0);
    assert_ptr_equal(signal(ours, SIG_DFL), SIG_IGN);
    si__drain_events(drain, add, &after);
    assert_true(after.ticks >= 40);
}

static void a_signal_with_our_number_kills_as_without_us(void **state) {
    (void)state;
    if (OWN_SIGNAL_BOOKS) skip();
    pid_t child = fork();
    if (child == 0) {
        if (si__probe_open(NULL) != 0) _exit(1);
        raise(si__signal_number());
        _exit(2);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), si__signal_number());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(threads_that_ran_before_are_found),
        TEST(a_thousand_threads_at_once),
        TEST(slots_are_used_again),
        TEST(threads_that_exit_or_are_cancelled_close_their_slots),
        TEST(threads_beyond_the_slots_run_unobserved),
        TEST(a_fork_leaves_child_inert_and_parent_intact),
        TEST(a_raw_clone_is_inert_too),
        TEST(a_forked_child_may_open_its_own),
        TEST(the_hosts_own_profiler_goes_on),
        TEST(a_host_may_do_anything_with_our_signal),
        TEST(a_signal_with_our_number_kills_as_without_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
