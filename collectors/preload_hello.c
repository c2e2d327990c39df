/*
 * Talks to the agent over its socket: see native/hello.h. The constructor's and destructor's thread, or the signal
 * handler of a forked child's first tick. Never longer than it was told to, and never a descriptor left behind.
 */
#include "preload_hello.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "native/probe.h"

static struct sockaddr_un agent;

int si__hello_to(const char *path) {
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof agent.sun_path) return -1;
    agent.sun_family = AF_UNIX;
    memcpy(agent.sun_path, path, length + 1);
    return 0;
}

/* Out of the way of the host's low numbers while we talk. */
static int open_socket(void) {
    int low = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (low < 0) return -1;
    int high = fcntl(low, F_DUPFD_CLOEXEC, 256);
    if (high < 0) return low;
    close(low);
    return high;
}

static int left_ms(uint64_t deadline_ns) {
    uint64_t now = si__now_ns();
    return now >= deadline_ns ? 0 : (int)((deadline_ns - now) / 1000000u) + 1;
}

/* A full backlog answers EAGAIN: the agent is busy, and gets until the deadline. */
static int connect_until(int fd, uint64_t deadline_ns) {
    while (connect(fd, (const struct sockaddr *)&agent, sizeof agent) != 0) {
        if (errno != EAGAIN && errno != EINTR) return -1;
        if (left_ms(deadline_ns) == 0) return -1;
        poll(NULL, 0, 1);
    }
    return 0;
}

static int send_message(int socket, const si__hello *hello, int fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {(void *)(uintptr_t)hello, sizeof *hello};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)sizeof *hello ? 0 : -1;
}

static int wait_for_answer(int socket, uint64_t deadline_ns) {
    char answer;
    for (int left; (left = left_ms(deadline_ns)) > 0;) {
        struct pollfd poll_fd = {socket, POLLIN, 0};
        int ready = poll(&poll_fd, 1, left);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return -1;
        return recv(socket, &answer, 1, MSG_DONTWAIT) == 1 ? 0 : -1;
    }
    return -1;
}

int si__hello_say(si__hello_kind kind, unsigned flags, int fd, const char *reason, int wait_ms) {
    int saved = errno, rc = -1;
    uint64_t deadline_ns = si__now_ns() + (uint64_t)wait_ms * 1000000u;
    si__hello hello;
    memset(&hello, 0, sizeof hello);
    hello.magic = SI__HELLO_MAGIC;
    hello.version = SI__HELLO_VERSION;
    hello.kind = (uint8_t)kind;
    hello.flags = (uint8_t)flags;
    hello.pid = (int32_t)getpid();
    hello.status = reason != NULL;
    if (reason) strncpy(hello.reason, reason, sizeof hello.reason - 1);
    int socket = open_socket();
    if (socket >= 0) {
        if (connect_until(socket, deadline_ns) == 0 && send_message(socket, &hello, fd) == 0)
            rc = wait_ms > 0 && wait_for_answer(socket, deadline_ns) != 0 ? 1 : 0;
        close(socket);
    }
    errno = saved;
    return rc;
}
