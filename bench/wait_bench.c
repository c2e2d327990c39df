/*
 * What network, system and channel waits cost when nobody waits: added ns per small read or write. `./dev bench wait`.
 *
 * Aim: at most 10 ns.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wait_paired.h"

enum { CALLS = 2000, BYTES = 16 };

static int zero, null, file, pipe_ends[2], quick_ends[2], sockets[2], quick[2], events;
static char buffer[BYTES];
static volatile ssize_t sink;

static void read_device(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) sink = read(zero, buffer, BYTES);
}

static void write_device(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) sink = write(null, buffer, BYTES);
}

static void read_file(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) sink = pread(file, buffer, BYTES, 0);
}

static void through_pipe(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        sink = write(pipe_ends[1], buffer, BYTES);
        sink = read(pipe_ends[0], buffer, BYTES);
    }
}

static void through_socket(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        sink = send(sockets[1], buffer, BYTES, 0);
        sink = recv(sockets[0], buffer, BYTES, 0);
    }
}

/* As servers have them: with O_NONBLOCK. */
static void through_quick_pipe(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) {
        sink = write(quick_ends[1], buffer, BYTES);
        sink = read(quick_ends[0], buffer, BYTES);
    }
}

static void receive_nothing(unsigned calls) {
    for (unsigned i = 0; i < calls; i++) sink = recv(quick[0], buffer, BYTES, 0);
}

static void look_at_events(unsigned calls) {
    struct epoll_event event;
    for (unsigned i = 0; i < calls; i++) sink = epoll_wait(events, &event, 1, 0);
}

static void look_at_poll(unsigned calls) {
    struct pollfd fds[] = {{sockets[0], POLLIN, 0}, {pipe_ends[0], POLLIN, 0}};
    for (unsigned i = 0; i < calls; i++) sink = poll(fds, 2, 0);
}

int main(void) {
    static const paired_work works[] = {
        {"read of /dev/zero", read_device, CALLS, SI__TALLY_SYSTEM, 1},
        {"write to /dev/null", write_device, CALLS, SI__TALLY_SYSTEM, 1},
        {"pread of a file in memory", read_file, CALLS, SI__TALLY_SYSTEM, 1},
        {"pipe, write and read (two calls)", through_pipe, CALLS, SI__TALLY_CHANNEL, 2},
        {"socket pair, send and recv (two calls)", through_socket, CALLS, SI__TALLY_NETWORK, 2},
        {"the same pipe with O_NONBLOCK", through_quick_pipe, CALLS, SI__TALLY_CHANNEL, 2},
        {"recv with O_NONBLOCK, nothing there", receive_nothing, CALLS, SI__TALLY_NETWORK, 1},
        {"epoll_wait, nothing there", look_at_events, CALLS, SI__TALLY_NETWORK, 1},
        {"poll of two, nothing there", look_at_poll, CALLS, SI__TALLY_NETWORK, 1},
    };
    zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    file = memfd_create("wait_bench", MFD_CLOEXEC);
    events = epoll_create1(EPOLL_CLOEXEC);
    if (zero < 0 || null < 0 || file < 0 || write(file, buffer, BYTES) != BYTES || events < 0 ||
        pipe2(pipe_ends, O_CLOEXEC) || pipe2(quick_ends, O_CLOEXEC | O_NONBLOCK) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, quick)) {
        perror("wait_bench");
        return 1;
    }
    return paired_bench(works, sizeof works / sizeof *works);
}
