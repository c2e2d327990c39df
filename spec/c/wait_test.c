/*
 * Network, system and channel waits: what they add up to, by each of the clocks that they may be timed with; answers,
 * errno and signals are the real calls'; calls are counted exactly.
 */
#include "wait_events.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../../collectors/native/return_path.h"

static int pipe_ends[2], sockets[2];
static char path[64];
static char buffer[64];

/* ---- How much: short waits by the thousand, and long ones of other threads, come out right on average ---- */

static void short_sleeps_add_up(void **state) {
    (void)state;
    enum { ROUNDS = 1500 };
    const struct timespec time = {0, 150000};
    uint64_t truth = 0, before = tally(SI__TALLY_SYSTEM);
    waited got;
    collect(&got);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = clock_ns();
        nanosleep(&time, NULL);
        truth += clock_ns() - start;
        if (i % 50 == 49) collect_more(&got); /* before the ring is full */
    }
    assert_int_equal(tally(SI__TALLY_SYSTEM) - before, ROUNDS);
    uint64_t measured = got.ns[SI__CALL_nanosleep];
    print_message("%.1f ms of %.1f, %lu sleeps of %d, from %lu samples\n", (double)measured / MS, (double)truth / MS,
                  got.count[SI__CALL_nanosleep], ROUNDS, got.events[SI__CALL_nanosleep]);
    /* Each is sampled with p about 0.2: sigma is sqrt((1 - p) / p / ROUNDS), 5 %. */
    assert_true(measured >= truth * 75 / 100 && measured <= truth * 125 / 100);
    assert_true(got.count[SI__CALL_nanosleep] >= ROUNDS * 3 / 4 && got.count[SI__CALL_nanosleep] <= ROUNDS * 5 / 4);
}

/* One that answers each byte after the microseconds that were asked for. */
static _Atomic long answer_after_us;
static void *answer(void *arg) {
    (void)arg;
    char byte;
    while (syscall(SYS_read, sockets[1], &byte, 1) == 1 && byte != 'q') {
        pause_ns(answer_after_us * 1000);
        syscall(SYS_write, sockets[1], "a", 1);
    }
    return NULL;
}

/* Between waits the thread computes for a while or not at all, so that the kernel's ticks stand anywhere, and its CPU
   sleeps while it waits, when nobody else wants it. What was waited never comes out as more than it was. Every long
   wait is as good as sure to be sampled: chance has no part in it. */
static void answers_add_up(si__cycle_source source) {
    enum { ROUNDS = 200 };
    pthread_t thread;
    waited got;
    uint64_t truth = 0;
    si__cycle_clock_use(source);
    sample_every(10000);
    collect(&got);
    assert_int_equal(pthread_create(&thread, NULL, answer, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        answer_after_us = 400 + i * 29 % 43 * 100;
        assert_int_equal(send(sockets[0], "a", 1, 0), 1);
        uint64_t start = clock_ns();
        assert_int_equal(recv(sockets[0], buffer, 1, 0), 1);
        truth += clock_ns() - start;
        for (uint64_t until = clock_ns() + (uint64_t)(i * 37 % 41) * 100000; clock_ns() < until;) {}
        if (i % 50 == 49) collect_more(&got);
    }
    send(sockets[0], "q", 1, 0);
    pthread_join(thread, NULL);
    collect_more(&got);
    uint64_t measured = got.by_category_ns[SI__CALL_recv][SI__WAIT_NETWORK];
    print_message("%.2f ms of %.2f\n", (double)measured / MS, (double)truth / MS);
    assert_true(got.events[SI__CALL_recv] <= ROUNDS); /* some may find their answer there */
    /* The truth has the time in it, too, that was needed to write the sample down. */
    assert_true(measured <= truth + truth / 200 && measured >= truth * 80 / 100);
}

static void answers_over_a_socket_add_up(void **state) {
    (void)state;
    int chosen = si__cycle_source_now;
    if (chosen == SI__CYCLES_COUNTER) answers_add_up(SI__CYCLES_COUNTER);
    answers_add_up(SI__CYCLES_CLOCK);
    si__cycle_clock_use((si__cycle_source)chosen);
}

/* Without any exact clock that is cheap: by the kernel's ticks, so a wait is known to one of them. */
static void long_waits_are_known_to_a_tick(void **state) {
    (void)state;
    int chosen = si__cycle_source_now;
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    uint64_t tick_ns = (uint64_t)tick.tv_nsec;
    waited got;
    si__cycle_clock_use(SI__CYCLES_COARSE);
    collect(&got);
    uint64_t start = clock_ns();
    nanosleep(&(struct timespec){0, 100 * MS}, NULL);
    uint64_t truth = clock_ns() - start;
    collect_more(&got);
    si__cycle_clock_use((si__cycle_source)chosen);
    assert_true(got.ns[SI__CALL_nanosleep] <= truth + 2 * tick_ns);
    assert_true(got.ns[SI__CALL_nanosleep] + 2 * tick_ns >= 100 * MS);
}

/* Who may read no clock is timed no more, and not seen waiting either. */
static void without_a_clock_calls_are_only_counted(void **state) {
    (void)state;
    int chosen = si__cycle_source_now;
    waited got;
    sample_every(10000);
    collect(&got);
    uint64_t before = tally(SI__TALLY_SYSTEM);
    si__cycle_clock_use(SI__CYCLES_NONE);
    nanosleep(&(struct timespec){0, 20 * MS}, NULL);
    assert_int_equal(poll(NULL, 0, 20), 0);
    si__cycle_clock_use((si__cycle_source)chosen);
    collect_more(&got);
    assert_int_equal(got.all, 0);
    assert_int_equal(tally(SI__TALLY_SYSTEM) - before, 2);
}

/* ---- Answers ---- */

static void refusals_are_the_same(void **state) {
    (void)state;
    void *volatile nowhere = (void *)16;
    int chosen = si__return_path_use(0);
    for (int hooked = 0; hooked < 3; hooked++) {
        sample_every(hooked ? MEAN_NS : 0);
        si__return_path_use(hooked == 2);
        errno = 0;
        assert_int_equal(read(-1, buffer, 1), -1);
        assert_int_equal(errno, EBADF);
        assert_int_equal(write(1 << 20, buffer, 1), -1);
        assert_int_equal(errno, EBADF);
        assert_int_equal(read(sockets[0], nowhere, 0), 0);
        assert_int_equal(poll(nowhere, 1, 0), -1);
        assert_int_equal(errno, EFAULT);
        assert_int_equal(select(1, nowhere, NULL, NULL, NULL), -1);
        assert_int_equal(errno, EFAULT);
        assert_int_equal(epoll_wait(0, NULL, 0, 0), -1);
        assert_int_equal(errno, EINVAL);
        assert_int_equal(open("/nonexistent/file", O_RDONLY), -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(fcntl(-1, F_GETFD), -1);
        assert_int_equal(errno, EBADF);
        assert_int_equal(recv(pipe_ends[0], buffer, 1, 0), -1);
        assert_int_equal(errno, ENOTSOCK);
        assert_int_equal(waitpid(-1, NULL, 0), -1);
        assert_int_equal(errno, ECHILD);
        assert_int_equal(nanosleep(&(struct timespec){0, -1}, NULL), -1);
        assert_int_equal(errno, EINVAL);
        assert_int_equal(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, -1}, NULL), EINVAL);
        assert_int_equal(fsync(pipe_ends[0]), -1);
        assert_int_equal(errno, EINVAL);
        int fd = open(path, O_RDWR | O_CREAT, 0640);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_SETFD, FD_CLOEXEC), 0);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        assert_int_equal(write(fd, "abc", 3), 3);
        assert_int_equal(pread(fd, buffer, 3, 1), 2);
        assert_memory_equal(buffer, "bc", 2);
        assert_int_equal(fsync(fd), 0);
        assert_int_equal(close(fd), 0);
        struct addrinfo *found = NULL;
        assert_int_equal(getaddrinfo("127.0.0.1", "80", NULL, &found), 0);
        freeaddrinfo(found);
    }
    si__return_path_use(chosen);
}

static volatile sig_atomic_t interrupts;
static void interrupt(int number) {
    (void)number;
    interrupts++;
    if (write(pipe_ends[1], "i", 1) != 1) abort(); /* a handler may call us, too */
}

static void *send_signal(void *arg) {
    si__waiting now;
    if (seen_waiting(getpid(), SI__CALL_nanosleep, &now)) pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void the_hosts_signals_interrupt_as_ever(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = interrupt}, old;
    struct timespec left = {0, 0}, time = {20, 0};
    pthread_t sender, self = pthread_self();
    sigaction(SIGUSR1, &action, &old);
    pthread_create(&sender, NULL, send_signal, &self);
    assert_int_equal(nanosleep(&time, &left), -1);
    assert_int_equal(errno, EINTR);
    assert_true(left.tv_sec > 0);
    assert_int_equal(interrupts, 1);
    pthread_join(sender, NULL);
    assert_int_equal(read(pipe_ends[0], buffer, 1), 1);
    sigaction(SIGUSR1, &old, NULL);
}

/* ---- Counts ---- */

static void calls_are_counted_by_what_they_are_about(void **state) {
    (void)state;
    uint64_t network = tally(SI__TALLY_NETWORK), system = tally(SI__TALLY_SYSTEM), channel = tally(SI__TALLY_CHANNEL);
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC); /* the first of the system's */
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(write(pipe_ends[1], "x", 1), 1);
        assert_int_equal(read(pipe_ends[0], buffer, 1), 1);
        assert_int_equal(write(sockets[1], "x", 1), 1);
        assert_int_equal(recv(sockets[0], buffer, 1, 0), 1);
        assert_int_equal(read(zero, buffer, 1), 1);
    }
    assert_int_equal(tally(SI__TALLY_CHANNEL) - channel, 6000);
    assert_int_equal(tally(SI__TALLY_NETWORK) - network, 6000);
    assert_int_equal(tally(SI__TALLY_SYSTEM) - system, 3001);
    close(zero);
    int again = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); /* the same number, something else */
    assert_int_equal(again, zero);
    network = tally(SI__TALLY_NETWORK);
    assert_int_equal(read(again, buffer, 1), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(tally(SI__TALLY_NETWORK) - network, 1);
    close(again);
}

static int open_all(void **state) {
    (void)state;
    snprintf(path, sizeof path, "/tmp/si_wait_test_%d", (int)getpid());
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || pipe2(pipe_ends, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)) return -1;
    return close(file);
}

static int close_all(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(short_sleeps_add_up),
        TEST(answers_over_a_socket_add_up),
        TEST(long_waits_are_known_to_a_tick),
        TEST(without_a_clock_calls_are_only_counted),
        TEST(refusals_are_the_same),
        TEST(the_hosts_signals_interrupt_as_ever),
        TEST(calls_are_counted_by_what_they_are_about),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
