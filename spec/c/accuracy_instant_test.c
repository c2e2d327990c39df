/*
 * Calls that cannot wait are counted without being timed; as soon as they can wait, they are timed: descriptors that
 * lose O_NONBLOCK, and numbers that stand for another file by now.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/descriptor_kind.h"
#include "../../collectors/native/probe.h"
#include "../../runtime/ring/drain.h"

enum { MANY = 100, WAIT_MS = 120 };

static si__region *region;
static si__drain *drain;
static int sockets[2];
static double waited_ms[SI__WAIT_CATEGORIES];

static void on_event(void *arg, const si__drained_event *event) {
    (void)arg;
    if (event->type == SI__EVENT_WAIT && event->detail < SI__WAIT_CATEGORIES)
        waited_ms[event->detail] += (double)event->value / 1e6;
}

static double take_waited_ms(unsigned category) {
    si__drain_events(drain, on_event, NULL);
    double ms = waited_ms[category];
    for (int i = 0; i < SI__WAIT_CATEGORIES; i++) waited_ms[i] = 0;
    return ms;
}

static uint64_t network_calls(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < region->slots_used; i++)
        sum += atomic_load(&si__region_tallies(region, i)->of[SI__TALLY_NETWORK]);
    return sum;
}

static void *send_later(void *arg) {
    const struct timespec t = {0, WAIT_MS * 1000000};
    nanosleep(&t, NULL);
    if (syscall(SYS_write, *(int *)arg, "x", 1) != 1) return NULL; /* not hooked: this thread waits for nothing else */
    return arg;
}

static void receive_nothing(void) {
    char byte;
    for (int i = 0; i < MANY; i++) {
        errno = 0;
        assert_int_equal(recv(sockets[0], &byte, 1, 0), -1);
        assert_int_equal(errno, EAGAIN);
    }
}

/* Reads a byte that comes after a while. */
static void wait_for_byte(int from, int to) {
    pthread_t thread;
    char byte;
    assert_int_equal(pthread_create(&thread, NULL, send_later, &to), 0);
    assert_int_equal(read(from, &byte, 1), 1);
    pthread_join(thread, NULL);
}

static void counted_though_not_timed(void **state) {
    (void)state;
    uint64_t before = network_calls();
    receive_nothing();
    assert_true(network_calls() - before >= MANY);
    assert_true(si__descriptor_is_instant(sockets[0]));
    struct epoll_event event;
    int set = epoll_create1(EPOLL_CLOEXEC);
    before = network_calls();
    for (int i = 0; i < MANY; i++) assert_int_equal(epoll_wait(set, &event, 1, 0), 0);
    assert_true(network_calls() - before >= MANY);
    close(set);
}

static void a_socket_that_may_wait_again_is_timed(void **state) {
    (void)state;
    receive_nothing();
    assert_int_equal(fcntl(sockets[0], F_SETFL, 0), 0);
    take_waited_ms(SI__WAIT_NETWORK);
    wait_for_byte(sockets[0], sockets[1]);
    double ms = take_waited_ms(SI__WAIT_NETWORK);
    assert_true(ms > WAIT_MS * 0.8 && ms < WAIT_MS * 100);
    assert_int_equal(fcntl(sockets[0], F_SETFL, O_NONBLOCK), 0);
}

/* The flag is of the open file: another number for it changes it, too. It is looked at again after a while. */
static void a_flag_changed_elsewhere_is_noticed(void **state) {
    (void)state;
    receive_nothing();
    int other = dup(sockets[0]);
    char byte;
    assert_int_equal(fcntl(other, F_SETFL, 0), 0);
    for (int i = 0; i < 300; i++) assert_int_equal(recv(sockets[0], &byte, 1, MSG_DONTWAIT), -1);
    assert_false(si__descriptor_is_instant(sockets[0]));
    assert_int_equal(fcntl(other, F_SETFL, O_NONBLOCK), 0);
    close(other);
}

/* As libraries do that close by system call: what is opened or accepted next has the number. */
static void a_number_taken_again_is_another_file(void **state) {
    (void)state;
    int pair[2], fd;
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    for (int i = 0; i < MANY; i++) assert_int_equal(recv(pair[0], &byte, 1, 0), -1);
    assert_true(si__descriptor_is_instant(pair[0]));
    assert_int_equal(syscall(SYS_close, pair[0]), 0);
    fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(fd, pair[0]);
    assert_false(si__descriptor_is_instant(fd));
    close(fd);
    close(pair[1]);
}

static int set_up(void **state) {
    (void)state;
    const si__probe_options options = {.wait_ns = 1000000};
    if (si__probe_open(&options) != 0) return -1;
    region = si__probe_region();
    drain = si__drain_new(region);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sockets);
}
static int tear_down(void **state) {
    (void)state;
    si__probe_close();
    si__drain_free(drain);
    return close(sockets[0]) | close(sockets[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_though_not_timed),
        cmocka_unit_test(a_socket_that_may_wait_again_is_timed),
        cmocka_unit_test(a_flag_changed_elsewhere_is_noticed),
        cmocka_unit_test(a_number_taken_again_is_another_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
