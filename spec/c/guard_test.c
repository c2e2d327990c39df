/* si_guard: what crashes inside is survived and recorded; what crashes outside goes where it would have gone. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/probe.h"
#include "../../collectors/native/unwind.h"
#include "../../runtime/ring/drain.h"
#include "si/si.h"

static si__drain *drain;
static si_runtime *const some_runtime = (si_runtime *)(void *)&drain; /* only compared with NULL */
static si__unwind_cache *cache;

static int set_up(void **state) {
    si__module_list modules;
    size_t unavailable;
    (void)state;
    if (si__probe_open(NULL) != 0) return -1;
    drain = si__drain_new(si__probe_region());
    cache = si__unwind_cache_new();
    if (si__module_list_read(getpid(), &modules) != 0) return -1;
    si__unwind_publish(cache, si__probe_region(), modules.items, modules.count, "", &unavailable);
    si__module_list_free(&modules);
    return drain ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__drain_free(drain);
    si__unwind_cache_free(cache);
    si__probe_close();
    return 0;
}

typedef struct crashes {
    int count, errors;
    int64_t signal;
    unsigned flags, frames;
    char text[512];
    uint64_t pcs[SI__FRAMES_MAX];
} crashes;

static void take(void *arg, const si__drained_event *event) {
    crashes *c = arg;
    if (event->type != SI__EVENT_CRASH && event->type != SI__EVENT_ERROR) return;
    if (event->type == SI__EVENT_CRASH)
        c->count++;
    else
        c->errors++;
    c->signal = event->value;
    c->flags = event->flags;
    c->frames = event->frame_count;
    memcpy(c->text, event->text, event->text_bytes + 1);
    memcpy(c->pcs, event->pcs, event->frame_count * sizeof *event->pcs);
}

static crashes drained(void) {
    crashes c = {0};
    si__drain_events(drain, take, &c);
    return c;
}

static volatile int zero;

static int returns(void *arg) {
    return *(int *)arg;
}
__attribute__((noinline, no_sanitize("undefined"), no_sanitize_address)) static int faults(void *arg) {
    char *volatile at = arg;
    *(volatile char *)at = 1;
    return 0;
}
static int aborts(void *arg) {
    (void)arg;
    abort();
}
__attribute__((no_sanitize("undefined"))) static int divides(void *arg) {
    (void)arg;
    return 5 / zero;
}
static int illegal(void *arg) {
    (void)arg;
    __builtin_trap();
}

static void what_does_not_crash_returns_its_value(void **state) {
    (void)state;
    int value = 17;
    errno = 55;
    assert_int_equal(si_guard(some_runtime, returns, &value), 17);
    assert_int_equal(errno, 55);
    assert_int_equal(si_guard(NULL, NULL, NULL), SI_EINVAL);
    assert_int_equal(drained().count, 0);
}

static void each_kind_of_crash_is_survived_and_recorded(void **state) {
    (void)state;
    static int (*const kinds[])(void *) = {faults, aborts, divides, illegal};
    static const int signals[] = {SIGSEGV, SIGABRT, SIGFPE, SIGILL};
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 4; i++) {
            assert_int_equal(si_guard(some_runtime, kinds[i], (void *)0x20), SI_ECRASHED);
            crashes c = drained();
            assert_int_equal(c.count, 1);
            assert_int_equal(c.signal, signals[i]);
            assert_true(c.flags & SI__EVENT_GUARDED);
            assert_true(c.frames >= 3);
            if (i == 0) assert_string_equal(c.text, "SIGSEGV at 0x20");
        }
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    for (int i = 0; i < 4; i++) assert_int_equal(sigismember(&blocked, signals[i]), 0);
}

static void the_stack_of_a_crash_starts_where_it_crashed(void **state) {
    (void)state;
    assert_int_equal(si_guard(some_runtime, faults, (void *)0x20), SI_ECRASHED);
    crashes c = drained();
    assert_in_range(c.pcs[0], (uintptr_t)faults, (uintptr_t)faults + 64);
    assert_in_range(c.pcs[1], (uintptr_t)si_guard, (uintptr_t)si_guard + 4096);
}

static void without_a_runtime_nothing_is_recorded(void **state) {
    (void)state;
    assert_int_equal(si_guard(NULL, faults, NULL), SI_ECRASHED);
    assert_int_equal(drained().count, 0);
}

static __attribute__((noinline)) int deep(int n) {
    volatile char space[1024];
    space[0] = (char)n;
    return n < 0 ? 0 : deep(n + 1) + space[0];
}
static int overflows(void *arg) {
    (void)arg;
    return deep(0);
}
static void *overflow_thread(void *arg) {
    for (int i = 0; i < 3; i++) *(int *)arg += si_guard(some_runtime, overflows, NULL) == SI_ECRASHED;
    return NULL;
}

static void an_endless_recursion_is_survived(void **state) {
    (void)state;
    pthread_t thread;
    int survived = 0;
    assert_int_equal(pthread_create(&thread, NULL, overflow_thread, &survived), 0);
    pthread_join(thread, NULL);
    assert_int_equal(survived, 3);
    crashes c = drained();
    assert_int_equal(c.count, 3);
    assert_int_equal(c.frames, SI__FRAMES_MAX);
    assert_true(c.flags & SI__STACK_TRUNCATED);
}

static int nested(void *arg) {
    int inner = si_guard(some_runtime, faults, NULL);
    if (inner != SI_ECRASHED) return 1;
    return faults(arg);
}

static void guards_nest(void **state) {
    (void)state;
    assert_int_equal(si_guard(some_runtime, nested, NULL), SI_ECRASHED);
    assert_int_equal(drained().count, 2);
}

/* ---- Handlers of the host ---- */

static sigjmp_buf host_back;
static _Atomic int host_calls;
static void on_segv(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    host_calls += info->si_addr == (void *)0x30;
    siglongjmp(host_back, 1);
}

static void the_hosts_handler_is_back_afterwards(void **state) {
    (void)state;
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER}, old, before;
    action.sa_sigaction = on_segv;
    host_calls = 0;
    sigaction(SIGSEGV, &action, &before);
    assert_int_equal(si_guard(some_runtime, faults, NULL), SI_ECRASHED);
    sigaction(SIGSEGV, NULL, &old);
    assert_ptr_equal(old.sa_sigaction, on_segv);
    assert_int_equal(old.sa_flags & SA_NODEFER, SA_NODEFER);
    if (sigsetjmp(host_back, 1) == 0) faults((void *)0x30);
    assert_int_equal(host_calls, 1);
    assert_int_equal(drained().count, 1);
    sigaction(SIGSEGV, &before, NULL);
}

static pthread_barrier_t inside, outside;
static int stays(void *arg) {
    (void)arg;
    pthread_barrier_wait(&inside);
    pthread_barrier_wait(&outside);
    return 0;
}
static void *guarded_thread(void *arg) {
    *(int *)arg = si_guard(some_runtime, stays, NULL);
    return NULL;
}

static void a_crash_outside_goes_to_the_host(void **state) {
    (void)state;
    struct sigaction action = {.sa_flags = SA_SIGINFO}, before;
    pthread_t thread;
    int result = 1;
    action.sa_sigaction = on_segv;
    host_calls = 0;
    sigaction(SIGSEGV, &action, &before);
    pthread_barrier_init(&inside, NULL, 2);
    pthread_barrier_init(&outside, NULL, 2);
    pthread_create(&thread, NULL, guarded_thread, &result);
    pthread_barrier_wait(&inside); /* another thread is guarded, this one is not */
    if (sigsetjmp(host_back, 1) == 0) faults((void *)0x30);
    assert_int_equal(host_calls, 1);
    pthread_barrier_wait(&outside);
    pthread_join(thread, NULL);
    assert_int_equal(result, 0);
    assert_int_equal(drained().count, 0);
    sigaction(SIGSEGV, &before, NULL);
    pthread_barrier_destroy(&inside);
    pthread_barrier_destroy(&outside);
}

static int dies_unguarded(void *arg) {
    pthread_t thread;
    pthread_create(&thread, NULL, (void *(*)(void *))(void *)faults, arg);
    pthread_join(thread, NULL);
    return 0;
}

static int status_of(int (*fn)(void *), void *arg, int then_raise) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        signal(SIGABRT, SIG_DFL);
        si_guard(NULL, fn, arg);
        if (then_raise) raise(then_raise);
        _exit(0);
    }
    waitpid(child, &status, 0);
    return status;
}

static void a_crash_outside_kills_as_without_us(void **state) {
    int value = 3, status;
    (void)state;
    assert_int_equal(status_of(returns, &value, 0), 0);
    status = status_of(dies_unguarded, NULL, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    status = status_of(returns, &value, SIGABRT);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static int throws(void *arg) {
    (void)arg;
    siglongjmp(host_back, 1);
}

static void a_guard_left_sideways_is_forgotten(void **state) {
    (void)state;
    struct sigaction before, now;
    sigaction(SIGILL, NULL, &before);
    if (sigsetjmp(host_back, 1) == 0) si_guard(some_runtime, throws, NULL);
    int value = 4;
    assert_int_equal(si_guard(some_runtime, returns, &value), 4);
    assert_int_equal(si_guard(some_runtime, faults, NULL), SI_ECRASHED);
    sigaction(SIGILL, NULL, &now);
    assert_ptr_equal(now.sa_handler, before.sa_handler); /* the last guard put it back */
    drained();
}

/* ---- si_error_record ---- */

static __attribute__((noinline)) void fails(const char *group, const char *message) {
    si_error_record(group, message);
    zero = 0;
}

static void an_error_has_the_stack_of_its_caller(void **state) {
    (void)state;
    errno = 66;
    fails("payment", "card refused");
    assert_int_equal(errno, 66);
    crashes c = drained();
    assert_int_equal(c.errors, 1);
    assert_string_equal(c.text, "payment");
    assert_string_equal(c.text + 8, "card refused");
    assert_in_range(c.pcs[0], (uintptr_t)fails, (uintptr_t)fails + 64);
    assert_true(c.frames >= 3);
    char longest[600];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    fails(longest, longest);
    c = drained();
    assert_int_equal(strlen(c.text), 95);
    assert_int_equal(strlen(c.text + 96), 255);
    fails(NULL, NULL);
    assert_int_equal(drained().errors, 1);
}

static void count_errors(void *arg, const si__drained_instrument *instrument) {
    if (instrument->kind == SI__INSTRUMENT_ERROR && strcmp(instrument->name, "storm") == 0)
        *(uint64_t *)arg += instrument->count;
}

static void a_storm_of_errors_is_counted_exactly(void **state) {
    (void)state;
    uint64_t count = 0;
    for (int i = 0; i < 10000; i++) fails("storm", "again");
    si__drain_instruments(drain, count_errors, &count);
    assert_int_equal(count, 10000);
    assert_in_range(drained().errors, 20, 9999); /* stacks of as many as the ring holds */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(what_does_not_crash_returns_its_value),
        TEST(each_kind_of_crash_is_survived_and_recorded),
        TEST(the_stack_of_a_crash_starts_where_it_crashed),
        TEST(without_a_runtime_nothing_is_recorded),
        TEST(an_endless_recursion_is_survived),
        TEST(guards_nest),
        TEST(the_hosts_handler_is_back_afterwards),
        TEST(a_crash_outside_goes_to_the_host),
        TEST(a_crash_outside_kills_as_without_us),
        TEST(a_guard_left_sideways_is_forgotten),
        TEST(an_error_has_the_stack_of_its_caller),
        TEST(a_storm_of_errors_is_counted_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
