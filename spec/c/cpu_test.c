/*
 * The CPU sampler, embedded: its samples add up to the CPU time that threads used, on the functions that used it, and
 * the program around it notices nothing. All expectations are in CPU time, so a busy machine does not matter.
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
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../collectors/native/signal.h"
#include "../../collectors/native/unwind.h"
#include "../../runtime/ring/drain.h"

static uint64_t cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Two workloads in sections of their own, so that a pc says which one ran. */
extern const char __start_work_a[], __stop_work_a[], __start_work_b[], __stop_work_b[];

__attribute__((noinline, section("work_a"))) static uint64_t spin_a(uint64_t n) {
    uint64_t x = n;
    for (uint64_t i = 0; i < n; i++) x = x * 6364136223846793005u + i;
    return x;
}

__attribute__((noinline, section("work_b"))) static uint64_t spin_b(uint64_t n) {
    uint64_t x = n;
    for (uint64_t i = 0; i < n; i++) x = (x ^ i) * 1442695040888963407u;
    return x;
}

static _Thread_local volatile uint64_t sink;

/* ThreadSanitizer delays signals and works on the threads' accounts before and after the measured part. */
#if defined(__SANITIZE_THREAD__)
static const double tolerance = 0.1;
enum { OWN_SIGNAL_BOOKS = 1 };
#else
static const double tolerance = 0.01;
enum { OWN_SIGNAL_BOOKS = 0 }; /* 1: signals are pending and masked in the sanitizer's books, not the kernel's */
#endif

static void burn(uint64_t ns) {
    for (uint64_t end = cpu_ns() + ns; cpu_ns() < end;) sink += spin_a(20000);
}

/* ---- What arrived ---- */

typedef struct tally {
    uint64_t value_ns, ticks, events, late, truncated, off_stack;
    uint64_t in_a_ns, in_b_ns;
    double squares;   /* of ticks: a sample that stands for many counts for less than as many samples */
    int32_t only_tid; /* 0: all */
} tally;

static void add(void *arg, const si__drained_event *event) {
    tally *t = arg;
    if (event->type != SI__EVENT_CPU || (t->only_tid && event->tid != t->only_tid)) return;
    t->events++;
    t->value_ns += (uint64_t)event->value;
    t->ticks += event->count;
    t->squares += (double)event->count * event->count;
    t->late += (event->flags & SI__EVENT_LATE) != 0;
    t->truncated += (event->flags & SI__STACK_TRUNCATED) != 0;
    t->off_stack += (event->flags & SI__STACK_OFF) != 0;
    uint64_t pc = event->pcs[0];
    if (pc >= (uintptr_t)__start_work_a && pc < (uintptr_t)__stop_work_a) t->in_a_ns += (uint64_t)event->value;
    if (pc >= (uintptr_t)__start_work_b && pc < (uintptr_t)__stop_work_b) t->in_b_ns += (uint64_t)event->value;
}

static si__region *region;
static si__drain *drain;
static si__unwind_cache *cache;

static void publish(void) {
    si__module_list modules;
    size_t unavailable;
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    uint32_t wanted = atomic_load(&region->modules_wanted);
    si__unwind_publish(cache, region, modules.items, modules.count, "", &unavailable);
    si__module_list_free(&modules);
    atomic_store(&region->modules_seen, wanted);
}

static int set_up(void **state) {
    (void)state;
    if (si__probe_open(NULL) != 0) return -1;
    region = si__probe_region();
    drain = si__drain_new(region);
    cache = si__unwind_cache_new();
    publish();
    return drain && cache && region->collectors[0].status == SI__COLLECTOR_ON ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__region_set_cpu_mhz(region, 0);
    si__threads_rearm();
    si__probe_close();
    tally rest = {0};
    si__drain_events(drain, add, &rest);
    si__drain_free(drain);
    si__unwind_cache_free(cache);
    return 0;
}

static void sample_at(uint32_t hz) {
    si__region_set_cpu_mhz(region, hz * 1000);
    si__threads_rearm();
}

static void pause_ms(long ms) {
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* ---- Totals ---- */

typedef struct worker {
    pthread_t thread;
    uint64_t burn_ns, used_ns;
    int32_t tid;
} worker;

static _Atomic int running;

static void *work(void *arg) {
    worker *w = arg;
    uint64_t begin = cpu_ns();
    w->tid = (int32_t)syscall(SYS_gettid);
    burn(w->burn_ns);
    w->used_ns = cpu_ns() - begin;
    running--;
    return NULL;
}

static void totals(int threads, uint64_t burn_ns, uint32_t hz) {
    static worker workers[64];
    tally got = {0};
    uint64_t used = 0;
    sample_at(hz);
    running = threads;
    for (int i = 0; i < threads; i++) {
        workers[i].burn_ns = burn_ns;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    while (running > 0) {
        pause_ms(20);
        si__drain_events(drain, add, &got);
    }
    for (int i = 0; i < threads; i++) pthread_join(workers[i].thread, NULL);
    si__drain_events(drain, add, &got);
    for (int i = 0; i < threads; i++) used += workers[i].used_ns;
    double ratio = (double)got.value_ns / (double)used;
    print_message("%d threads: %.3f s used, ratio %.4f, %lu events, %lu late, %lu truncated, %lu off\n", threads,
                  (double)used / 1e9, ratio, got.events, got.late, got.truncated, got.off_stack);
    assert_true(fabs(ratio - 1) <= tolerance);
    assert_int_equal(got.value_ns, got.ticks * (1000000000u / hz));
    assert_true((double)got.truncated <= 2 * tolerance * (double)got.events);
    assert_int_equal(got.off_stack, 0);
    si__drain_counts counts;
    si__drain_counts_get(drain, &counts);
    assert_int_equal(counts.threads_refused, 0);
    assert_int_equal(counts.dropped, 0);
}

static void samples_add_up_for_1_thread(void **state) {
    (void)state;
    totals(1, 1500000000u, 500);
}

static void samples_add_up_for_4_threads(void **state) {
    (void)state;
    totals(4, 400000000u, 500);
}

static void samples_add_up_for_32_threads(void **state) {
    (void)state;
    totals(32, 80000000u, 1000);
}

static void short_threads_are_not_undercounted(void **state) {
    (void)state;
    uint64_t used = 0;
    tally got = {0};
    sample_at(100);
    for (int i = 0; i < 600; i++) { /* each far shorter than a period, and than the kernel's own tick */
        worker w = {.burn_ns = 2000000};
        running = 1;
        assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
        pthread_join(w.thread, NULL);
        used += w.used_ns;
        if (i % 50 == 0) si__drain_events(drain, add, &got);
    }
    si__drain_events(drain, add, &got);
    /* About 120 ticks expected, each thread drawing 0 or 1: sigma is sqrt(600 * 0.2 * 0.8) = 9.8. */
    double expected = (double)used / 1e7;
    print_message("%lu ticks, %.1f expected, %lu of them late\n", got.ticks, expected, got.late);
    assert_true(fabs((double)got.ticks - expected) <= 4.5 * sqrt(expected));
    assert_true(got.late > 0);
}

/* With 19 to 1, one over the square root of n is 4.6 standard deviations. */
static void shares_are_within_one_over_sqrt_n(void **state) {
    (void)state;
    tally got = {.only_tid = (int32_t)syscall(SYS_gettid)};
    uint64_t a_ns = 0, b_ns = 0;
    sample_at(1000);
    while (a_ns + b_ns < 1500000000u) {
        uint64_t t0 = cpu_ns();
        sink += spin_a(570000);
        uint64_t t1 = cpu_ns();
        sink += spin_b(30000);
        b_ns += cpu_ns() - t1;
        a_ns += t1 - t0;
        si__drain_events(drain, add, &got);
    }
    sample_at(0);
    double truth = (double)a_ns / (double)(a_ns + b_ns), n = (double)got.ticks * (double)got.ticks / got.squares;
    double share = (double)got.in_a_ns / (double)(got.in_a_ns + got.in_b_ns);
    print_message("share %.3f, true %.3f, n %.0f\n", share, truth, n);
    assert_true(n > 100);
    assert_true(fabs(share - truth) <= 1.0 / sqrt(n));
    assert_true(got.in_b_ns > 0);
    assert_true((double)(got.in_a_ns + got.in_b_ns) >= 0.8 * (double)got.value_ns);
}

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

/* ---- Rates ---- */

static void rates_change_while_threads_run(void **state) {
    (void)state;
    tally got = {0};
    sample_at(0);
    burn(100000000);
    si__drain_events(drain, add, &got);
    assert_int_equal(got.events, 0);
    sample_at(1000);
    burn(100000000);
    si__drain_events(drain, add, &got);
    assert_in_range(got.ticks, 80, 120);
    assert_int_equal(got.value_ns, got.ticks * 1000000);
    tally slow = {0};
    si__region_set_cpu_mhz(region, 50000); /* nobody tells the thread: its next tick does */
    burn(400000000);
    si__drain_events(drain, add, &slow);
    assert_in_range(slow.ticks, 17, 30);
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
    assert_in_range(later.ticks, 90, 110);
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
        si__threads_rearm();
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

static void closed_means_no_ticks(void **state) {
    (void)state;
    sample_at(1000);
    burn(20000000);
    uint64_t samples = si__thread_slot()->samples;
    si__slot *slot = si__thread_slot();
    si__probe_close();
    samples = slot->samples;
    burn(50000000);
    assert_int_equal(slot->samples, samples);
    assert_int_equal(si__probe_open(NULL), 0);
    assert_int_equal(si__probe_open(NULL), -3 /* SI_EEXIST */);
    sample_at(1000);
    burn(50000000);
    assert_true(slot->samples > samples);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(samples_add_up_for_1_thread),
        TEST(samples_add_up_for_4_threads),
        TEST(samples_add_up_for_32_threads),
        TEST(short_threads_are_not_undercounted),
        TEST(shares_are_within_one_over_sqrt_n),
        TEST(threads_that_ran_before_are_found),
        TEST(a_thousand_threads_at_once),
        TEST(slots_are_used_again),
        TEST(threads_that_exit_or_are_cancelled_close_their_slots),
        TEST(threads_beyond_the_slots_run_unobserved),
        TEST(rates_change_while_threads_run),
        TEST(a_fork_leaves_child_inert_and_parent_intact),
        TEST(a_raw_clone_is_inert_too),
        TEST(a_forked_child_may_open_its_own),
        TEST(the_hosts_own_profiler_goes_on),
        TEST(a_host_may_do_anything_with_our_signal),
        TEST(a_signal_with_our_number_kills_as_without_us),
        TEST(closed_means_no_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
