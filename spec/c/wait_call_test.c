/*
 * Network, system and channel waits, call by call: each waits for a known time for a known thing, and is found under
 * its name, in its category, with that time.
 */
#include "wait_events.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>

enum { WAIT_MS = 30 };

ssize_t __read_chk(int, void *, size_t, size_t);
ssize_t __recv_chk(int, void *, size_t, size_t, int);
ssize_t __recvfrom_chk(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
int __poll_chk(struct pollfd *, nfds_t, int, size_t);

static int pipe_ends[2], sockets[2], listener, counter, queue_id, epoll_fd;
static mqd_t queue;
static struct sockaddr_in address;
static char path[64];
static char buffer[64];
static struct iovec vector = {buffer, 1};
static const struct timespec nap = {0, WAIT_MS *MS};

/* ---- What lets the main thread go on, once it is seen waiting ---- */

static void feed_pipe(void) {
    syscall(SYS_write, pipe_ends[1], "x", 1);
}
static void drain_pipe(void) {
    static char all[65536];
    syscall(SYS_read, pipe_ends[0], all, sizeof all);
}
static void feed_socket(void) {
    syscall(SYS_write, sockets[1], "x", 1);
}
static void feed_counter(void) {
    uint64_t one = 1;
    syscall(SYS_write, counter, &one, 8);
}
static _Atomic int client = -1;
static void knock(void) {
    client = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    syscall(SYS_connect, client, &address, sizeof address);
}
static void feed_queue(void) {
    syscall(SYS_mq_timedsend, queue, "x", 1, 0, NULL);
}
static void drain_queue(void) {
    syscall(SYS_mq_timedreceive, queue, buffer, sizeof buffer, NULL, NULL);
}
static void feed_message(void) {
    struct {
        long type;
        char text[4];
    } message = {1, "x"};
    syscall(SYS_msgsnd, queue_id, &message, 1, 0);
}
static int lock_holder = -1;
static void release_file(void) {
    syscall(SYS_close, lock_holder);
}
static pid_t child;
static void end_child(void) {
    syscall(SYS_kill, child, SIGKILL);
}

/* ---- The calls. Each returns 0 when the real answer came ---- */

static int do_read(void) {
    return read(pipe_ends[0], buffer, 1) != 1;
}
static int do_read_chk(void) {
    return __read_chk(pipe_ends[0], buffer, 1, sizeof buffer) != 1;
}
static int do_readv(void) {
    return readv(pipe_ends[0], &vector, 1) != 1;
}
static int do_preadv2(void) {
    return preadv2(pipe_ends[0], &vector, 1, -1, 0) != 1;
}
static int fill_pipe(void) {
    static char all[65536];
    return syscall(SYS_write, pipe_ends[1], all, sizeof all) != sizeof all;
}
static int do_write(void) {
    if (fill_pipe()) return 1;
    int rc = write(pipe_ends[1], "y", 1) != 1;
    drain_pipe();
    return rc;
}
static int do_writev(void) {
    if (fill_pipe()) return 1;
    int rc = writev(pipe_ends[1], &vector, 1) != 1;
    drain_pipe();
    return rc;
}
static int do_splice(void) {
    static int other[2];
    if (pipe(other)) return 1;
    int rc = splice(pipe_ends[0], NULL, other[1], NULL, 1, 0) != 1;
    close(other[0]);
    close(other[1]);
    return rc;
}
static int do_socket_read(void) {
    return read(sockets[0], buffer, 1) != 1;
}
static int do_recv(void) {
    return recv(sockets[0], buffer, 1, 0) != 1;
}
static int do_recv_chk(void) {
    return __recv_chk(sockets[0], buffer, 1, sizeof buffer, 0) != 1;
}
static int do_recvfrom(void) {
    return recvfrom(sockets[0], buffer, 1, 0, NULL, NULL) != 1;
}
static int do_recvfrom_chk(void) {
    return __recvfrom_chk(sockets[0], buffer, 1, sizeof buffer, 0, NULL, NULL) != 1;
}
static int do_recvmsg(void) {
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    return recvmsg(sockets[0], &message, 0) != 1;
}
static int do_recvmmsg(void) {
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
    return recvmmsg(sockets[0], &message, 1, 0, NULL) != 1;
}
static int take_in(int fd) {
    if (fd < 0) return 1;
    syscall(SYS_close, fd);
    syscall(SYS_close, client);
    return 0;
}
static int do_accept(void) {
    return take_in(accept(listener, NULL, NULL));
}
static int do_accept4(void) {
    return take_in(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}
static int polled(int fd, int rc) {
    return rc != 1 || syscall(SYS_read, fd, buffer, fd == counter ? 8 : 1) < 1;
}
static int do_poll_socket(void) {
    struct pollfd fds = {sockets[0], POLLIN, 0};
    return polled(sockets[0], poll(&fds, 1, 10000));
}
static int do_poll_pipe(void) {
    struct pollfd fds = {pipe_ends[0], POLLIN, 0};
    return polled(pipe_ends[0], __poll_chk(&fds, 1, 10000, sizeof fds));
}
static int do_poll_nothing(void) {
    return poll(NULL, 0, WAIT_MS) != 0;
}
static int do_ppoll(void) {
    struct pollfd fds[2] = {{counter, POLLIN, 0}, {sockets[0], POLLIN, 0}};
    return polled(sockets[0], ppoll(fds, 2, NULL, NULL));
}
static int do_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(pipe_ends[0], &set);
    return polled(pipe_ends[0], select(pipe_ends[0] + 1, &set, NULL, NULL, NULL));
}
static int do_select_nothing(void) {
    struct timeval time = {0, WAIT_MS * 1000};
    return select(0, NULL, NULL, NULL, &time) != 0;
}
static int do_pselect(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(sockets[0], &set);
    return polled(sockets[0], pselect(sockets[0] + 1, &set, NULL, NULL, NULL, NULL));
}
static int do_epoll_wait(void) {
    struct epoll_event event;
    return polled(sockets[0], epoll_wait(epoll_fd, &event, 1, -1));
}
static int do_epoll_pwait(void) {
    struct epoll_event event;
    return polled(sockets[0], epoll_pwait(epoll_fd, &event, 1, -1, NULL));
}
static int do_epoll_pwait2(void) {
    struct epoll_event event;
    return polled(sockets[0], epoll_pwait2(epoll_fd, &event, 1, NULL, NULL));
}
static int do_eventfd(void) {
    eventfd_t value;
    return eventfd_read(counter, &value) != 0 || value != 1;
}
static int do_counter_read(void) {
    uint64_t value;
    return read(counter, &value, 8) != 8 || value != 1;
}
static int do_mq_receive(void) {
    return mq_receive(queue, buffer, sizeof buffer, NULL) != 1;
}
static int do_mq_timedreceive(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    return mq_timedreceive(queue, buffer, sizeof buffer, NULL, &until) != 1;
}
static int do_mq_send(void) {
    syscall(SYS_mq_timedsend, queue, "x", 1, 0, NULL); /* holds one */
    int rc = mq_send(queue, "y", 1, 0);
    drain_queue();
    return rc;
}
static int do_msgrcv(void) {
    struct {
        long type;
        char text[4];
    } message;
    return msgrcv(queue_id, &message, sizeof message.text, 0, 0) != 1;
}
static int do_flock(void) {
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
    lock_holder = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
    syscall(SYS_flock, lock_holder, LOCK_EX);
    int rc = flock(fd, LOCK_EX);
    syscall(SYS_close, fd);
    return rc;
}
static int do_fcntl(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
    lock_holder = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
    syscall(SYS_fcntl, lock_holder, F_OFD_SETLK, &lock);
    int rc = fcntl(fd, F_OFD_SETLKW, &lock);
    syscall(SYS_close, fd);
    return rc;
}
static void make_child(void) {
    child = fork();
    if (child == 0)
        while (1) pause_ns(1000 * MS);
}
static int do_wait(void) {
    make_child();
    return wait(NULL) != child;
}
static int do_waitpid(void) {
    make_child();
    return waitpid(child, NULL, 0) != child;
}
static int do_waitid(void) {
    siginfo_t info;
    make_child();
    return waitid(P_PID, (id_t)child, &info, WEXITED) != 0;
}
static int do_wait3(void) {
    struct rusage usage;
    make_child();
    return wait3(NULL, 0, &usage) != child;
}
static int do_wait4(void) {
    struct rusage usage;
    make_child();
    return wait4(child, NULL, 0, &usage) != child;
}
static int do_nanosleep(void) {
    return nanosleep(&nap, NULL);
}
static int do_clock_nanosleep(void) {
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL);
}
static int do_usleep(void) {
    return usleep(WAIT_MS * 1000);
}
static int do_thrd_sleep(void) {
    return thrd_sleep(&nap, NULL);
}

static uint32_t word;
__attribute__((unused)) static int do_futex(void) {
    atomic_store((_Atomic uint32_t *)&word, 1);
    return (int)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
}
__attribute__((unused)) static int do_futex_bitset(void) {
    atomic_store((_Atomic uint32_t *)&word, 1);
    return (int)syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 1, NULL, NULL, FUTEX_BITSET_MATCH_ANY);
}
__attribute__((unused)) static void wake_futex(void) {
    atomic_store((_Atomic uint32_t *)&word, 0);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static pthread_t waiter_thread;
static void nudged(int number) {
    (void)number;
}
static void nudge(void) {
    pthread_kill(waiter_thread, SIGUSR1);
}
static int interrupted(int (*call)(void)) {
    struct sigaction action = {.sa_handler = nudged}, old;
    waiter_thread = pthread_self();
    sigaction(SIGUSR1, &action, &old);
    int rc = call();
    int as_ever = rc == -1 && errno == EINTR;
    sigaction(SIGUSR1, &old, NULL);
    errno = 1234;
    return !as_ever;
}
static int do_pause(void) {
    return interrupted(pause);
}
static int suspend(void) {
    sigset_t none;
    sigemptyset(&none);
    return sigsuspend(&none);
}
static int do_sigsuspend(void) {
    return interrupted(suspend);
}

typedef struct one {
    const char *title;
    int (*wait)(void);
    void (*release)(void); /* NULL: it ends by itself, after WAIT_MS */
    si__wait_call call;
    si__wait_category category;
} one;

#define ONE(call, wait, release, category)                                                                             \
    { #wait, wait, release, SI__CALL_##call, SI__WAIT_##category }
static const one ones[] = {
    ONE(read, do_read, feed_pipe, CHANNEL),
    ONE(read, do_read_chk, feed_pipe, CHANNEL),
    ONE(readv, do_readv, feed_pipe, CHANNEL),
    ONE(preadv2, do_preadv2, feed_pipe, CHANNEL),
    ONE(write, do_write, drain_pipe, CHANNEL),
    ONE(writev, do_writev, drain_pipe, CHANNEL),
    ONE(splice, do_splice, feed_pipe, CHANNEL),
    ONE(read, do_socket_read, feed_socket, NETWORK),
    ONE(recv, do_recv, feed_socket, NETWORK),
    ONE(recv, do_recv_chk, feed_socket, NETWORK),
    ONE(recvfrom, do_recvfrom, feed_socket, NETWORK),
    ONE(recvfrom, do_recvfrom_chk, feed_socket, NETWORK),
    ONE(recvmsg, do_recvmsg, feed_socket, NETWORK),
    ONE(recvmmsg, do_recvmmsg, feed_socket, NETWORK),
    ONE(accept, do_accept, knock, NETWORK),
    ONE(accept4, do_accept4, knock, NETWORK),
    ONE(poll, do_poll_socket, feed_socket, NETWORK),
    ONE(poll, do_poll_pipe, feed_pipe, CHANNEL),
    ONE(poll, do_poll_nothing, NULL, SYSTEM),
    ONE(ppoll, do_ppoll, feed_socket, NETWORK),
    ONE(select, do_select, feed_pipe, CHANNEL),
    ONE(select, do_select_nothing, NULL, SYSTEM),
    ONE(pselect, do_pselect, feed_socket, NETWORK),
    ONE(epoll_wait, do_epoll_wait, feed_socket, NETWORK),
    ONE(epoll_pwait, do_epoll_pwait, feed_socket, NETWORK),
    ONE(epoll_pwait2, do_epoll_pwait2, feed_socket, NETWORK),
    ONE(eventfd_read, do_eventfd, feed_counter, CHANNEL),
    ONE(read, do_counter_read, feed_counter, CHANNEL),
    ONE(mq_receive, do_mq_receive, feed_queue, CHANNEL),
    ONE(mq_timedreceive, do_mq_timedreceive, feed_queue, CHANNEL),
    ONE(mq_send, do_mq_send, drain_queue, CHANNEL),
    ONE(msgrcv, do_msgrcv, feed_message, CHANNEL),
    ONE(flock, do_flock, release_file, SYSTEM),
    ONE(fcntl, do_fcntl, release_file, SYSTEM),
#if defined(__x86_64__) /* elsewhere it is not seen */
    ONE(futex, do_futex, wake_futex, LOCK),
    ONE(futex, do_futex_bitset, wake_futex, LOCK),
#endif
    ONE(pause, do_pause, nudge, SYSTEM),
    ONE(sigsuspend, do_sigsuspend, nudge, SYSTEM),
    ONE(wait, do_wait, end_child, SYSTEM),
    ONE(waitpid, do_waitpid, end_child, SYSTEM),
    ONE(waitid, do_waitid, end_child, SYSTEM),
    ONE(wait3, do_wait3, end_child, SYSTEM),
    ONE(wait4, do_wait4, end_child, SYSTEM),
    ONE(nanosleep, do_nanosleep, NULL, SYSTEM),
    ONE(clock_nanosleep, do_clock_nanosleep, NULL, SYSTEM),
    ONE(usleep, do_usleep, NULL, SYSTEM),
    ONE(thrd_sleep, do_thrd_sleep, NULL, SYSTEM),
};

typedef struct feeder {
    const one *of;
    uint64_t at_least_ns;
    int kind; /* as a reader outside would call it */
} feeder;

static void *feed(void *arg) {
    feeder *f = arg;
    si__waiting now;
    if (!seen_waiting(getpid(), f->of->call, &now)) return NULL;
    f->kind =
        now.category == SI__WAIT_BY_DESCRIPTOR ? si__wait_descriptor_category("", getpid(), now.object) : now.category;
    pause_ns(WAIT_MS * MS);
    f->at_least_ns = clock_ns() - now.since_ns;
    if (f->of->release) f->of->release();
    return NULL;
}

/* Without a counter and with a slow clock, to the kernel's ticks; else exactly, also seen from outside. */
static uint64_t slack_ns(void) {
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    return si__cycle_source_now == SI__CYCLES_COARSE ? 2 * (uint64_t)tick.tv_nsec : MS / 50;
}

static void every_call_is_measured(void **state) {
    (void)state;
    only_tid = getpid();
    for (size_t i = 0; i < sizeof ones / sizeof *ones; i++) {
        const one *o = &ones[i];
        feeder f = {.of = o, .at_least_ns = WAIT_MS * MS};
        pthread_t thread;
        waited got;
        collect(&got);
        if (o->release) assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
        uint64_t start = clock_ns();
        errno = 1234;
        assert_int_equal(o->wait(), 0);
        assert_int_equal(errno, 1234);
        uint64_t took = clock_ns() - start;
        if (o->release) pthread_join(thread, NULL);
        collect(&got);
        uint64_t measured = got.by_category_ns[o->call][o->category];
        if (measured > took + slack_ns() || measured + slack_ns() < f.at_least_ns || measured != got.ns[o->call])
            print_message("%s: %lu ns (%lu in all), not %lu to %lu\n", o->title, measured, got.ns[o->call],
                          f.at_least_ns, took);
        assert_true(f.at_least_ns + slack_ns() >= WAIT_MS * MS && measured + slack_ns() >= f.at_least_ns);
        assert_true(measured <= took + slack_ns());
        assert_int_equal(measured, got.ns[o->call]);
        int many = o->call == SI__CALL_poll || o->call == SI__CALL_select;
        if (o->release && !many) assert_int_equal(f.kind, o->category);
        assert_true(nobody_waits());
    }
}

static int open_all(void **state) {
    (void)state;
    char name[32];
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = sizeof buffer};
    socklen_t length = sizeof address;
    snprintf(name, sizeof name, "/si_wait_call_test_%d", (int)getpid());
    snprintf(path, sizeof path, "/tmp/si_wait_call_test_%d", (int)getpid());
    queue = mq_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, &attr);
    mq_unlink(name);
    queue_id = msgget(IPC_PRIVATE, 0600);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    counter = eventfd(0, EFD_CLOEXEC);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (pipe2(pipe_ends, O_CLOEXEC) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || queue < 0 || queue_id < 0 ||
        counter < 0 || file < 0 || fcntl(pipe_ends[1], F_SETPIPE_SZ, 65536) != 65536 ||
        bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        return -1;
    close(file);
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, sockets[0], &event);
}

static int close_all(void **state) {
    (void)state;
    msgctl(queue_id, IPC_RMID, NULL);
    mq_close(queue);
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_call_is_measured)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
