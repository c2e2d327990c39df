/*
 * The probes' socket (collectors/native/hello.h): takes hellos, maps regions, watches processes end. Loop thread only.
 *
 * What a probe says is hostile input: the region is checked when it is mapped, and who speaks is the kernel's word.
 */
#include "probe_server.h"

#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "../collectors/native/hello.h"

enum { MAX_CONNECTIONS = 256, BACKLOG = 128, MAX_ANCESTORS = 64 };

typedef struct connection {
    uv_poll_t poll;
    struct si__probe_server *server;
    struct connection *next;
    int fd, answering; /* answering: an answer is due once tables are published */
    int gone;          /* closed while an answer was due: freed when that is called */
} connection;

typedef struct process {
    uv_poll_t poll; /* of its pidfd: readable once it has ended */
    struct si__probe_server *server;
    struct process *next;
    pid_t pid;
    int pidfd;
} process;

struct si__probe_server {
    uv_poll_t listener;
    si__agent *agent;
    int fd, closing;
    char dir[64], path[108];
    char refusal[SI__REASON_BYTES];
    connection *connections;
    process *processes;
    size_t connection_count, seen, open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* ---- Closing ---- */

static void one_closed(si__probe_server *s) {
    if (--s->open_handles != 0 || !s->closing) return;
    void (*closed)(void *arg) = s->closed;
    void *arg = s->closed_arg;
    free(s);
    if (closed) closed(arg);
}

static void on_connection_closed(uv_handle_t *handle) {
    connection *c = handle->data;
    si__probe_server *s = c->server;
    close(c->fd);
    if (c->answering)
        c->gone = 1;
    else
        free(c);
    one_closed(s);
}

static void connection_close(connection *c) {
    if (uv_is_closing((uv_handle_t *)&c->poll)) return;
    connection **at = &c->server->connections;
    while (*at && *at != c) at = &(*at)->next;
    if (*at) *at = c->next;
    c->server->connection_count--;
    uv_close((uv_handle_t *)&c->poll, on_connection_closed);
}

static void on_process_closed(uv_handle_t *handle) {
    process *p = handle->data;
    si__probe_server *s = p->server;
    close(p->pidfd);
    free(p);
    one_closed(s);
}

static void process_close(process *p) {
    process **at = &p->server->processes;
    while (*at && *at != p) at = &(*at)->next;
    if (*at) *at = p->next;
    uv_close((uv_handle_t *)&p->poll, on_process_closed);
}

/* ---- Processes ---- */

static void on_process_end(uv_poll_t *poll, int status, int events) {
    process *p = poll->data;
    (void)status;
    (void)events;
    si__agent_process_ended(p->server->agent, p->pid);
    process_close(p);
}

/* An exec gives the same process a new region: the old one ends here. */
static void end_earlier(si__probe_server *s, pid_t pid) {
    for (process *p = s->processes; p; p = p->next) {
        if (p->pid != pid) continue;
        si__agent_process_ended(s->agent, pid);
        process_close(p);
        return;
    }
}

static void watch_end(si__probe_server *s, pid_t pid) {
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int gone = pidfd < 0 && errno == ESRCH;
    process *p = pidfd >= 0 ? calloc(1, sizeof *p) : NULL;
    if (!p || uv_poll_init(uv_handle_get_loop((uv_handle_t *)&s->listener), &p->poll, pidfd) != 0) {
        if (pidfd >= 0) close(pidfd);
        free(p);
        if (gone) si__agent_process_ended(s->agent, pid); /* takes what it left; else the end of the run does */
        return;
    }
    p->poll.data = p;
    p->server = s;
    p->pid = pid;
    p->pidfd = pidfd;
    p->next = s->processes;
    s->processes = p;
    s->open_handles++;
    uv_poll_start(&p->poll, UV_READABLE, on_process_end);
}

/* ---- Hellos ---- */

static void on_tables_ready(void *arg) {
    connection *c = arg;
    c->answering = 0;
    if (c->gone) {
        free(c);
        return;
    }
    ssize_t ignored = send(c->fd, "+", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
    connection_close(c);
}

static int parent_of(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC), parent = 0;
    ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    if (length <= 0) return 0;
    text[length] = '\0';
    const char *name_end = strrchr(text, ')');
    return name_end && sscanf(name_end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/* Ours: a process of the same user, or one below us that has changed its user (a server's worker). */
static int is_ours(int fd, pid_t *pid) {
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 || peer.pid <= 0) return 0;
    *pid = peer.pid;
    if (peer.uid == geteuid() || peer.uid == 0) return 1;
    pid_t up = peer.pid;
    for (int i = 0; i < MAX_ANCESTORS && up > 1; i++) {
        if (up == getpid()) return 1;
        up = parent_of(up);
    }
    return 0;
}

static int receive(int fd, si__hello *hello, int *region_fd) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    struct iovec part = {hello, sizeof *hello};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    *region_fd = -1;
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(c) + i * sizeof(int), sizeof passed);
            if (*region_fd < 0)
                *region_fd = passed;
            else
                close(passed);
        }
    }
    hello->reason[sizeof hello->reason - 1] = '\0';
    int fine = got == (ssize_t)sizeof *hello && hello->magic == SI__HELLO_MAGIC && hello->version == SI__HELLO_VERSION;
    return fine ? 1 : -1;
}

static void start_observing(connection *c, const si__hello *hello, int region_fd, pid_t pid) {
    si__probe_server *s = c->server;
    int error = 0;
    if (hello->status != 0) {
        snprintf(s->refusal, sizeof s->refusal, "%.*s", (int)sizeof s->refusal - 1, hello->reason);
        si__agent_status(s->agent, "probe", "unavailable", s->refusal);
        connection_close(c);
        return;
    }
    si__region *region = region_fd >= 0 ? si__region_map(region_fd, &error) : NULL;
    if (!region) {
        snprintf(s->refusal, sizeof s->refusal, "its region could not be mapped: %s", strerror(error));
        connection_close(c);
        return;
    }
    end_earlier(s, pid);
    s->seen++;
    c->answering = !(hello->flags & SI__HELLO_QUIET);
    if (si__agent_observe(s->agent, pid, region, 0, c->answering ? on_tables_ready : NULL, c) != 0) {
        si__region_unmap(region);
        c->answering = 0;
        connection_close(c);
        return;
    }
    watch_end(s, pid);
    if (!c->answering) connection_close(c);
}

static void on_message(uv_poll_t *poll, int status, int events) {
    connection *c = poll->data;
    si__hello hello;
    int region_fd = -1;
    pid_t pid = 0;
    (void)events;
    int got = status == 0 ? receive(c->fd, &hello, &region_fd) : -1;
    if (got == 0) return;
    uv_poll_stop(poll);
    if (got < 0 || !is_ours(c->fd, &pid)) {
        connection_close(c);
    } else if (hello.kind == SI__HELLO_EXIT) {
        c->answering = 1;
        si__agent_refresh(c->server->agent, pid, on_tables_ready, c);
    } else {
        start_observing(c, &hello, region_fd, pid);
    }
    if (region_fd >= 0) close(region_fd);
}

static void on_connect(uv_poll_t *poll, int status, int events) {
    si__probe_server *s = poll->data;
    (void)events;
    if (status != 0) return;
    int fd;
    while (s->connection_count < MAX_CONNECTIONS &&
           (fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        connection *c = calloc(1, sizeof *c);
        if (!c || uv_poll_init(uv_handle_get_loop((uv_handle_t *)poll), &c->poll, fd) != 0) {
            close(fd);
            free(c);
            continue;
        }
        *c = (connection){.poll = c->poll, .server = s, .next = s->connections, .fd = fd};
        c->poll.data = c;
        s->connections = c;
        s->connection_count++;
        s->open_handles++;
        uv_poll_start(&c->poll, UV_READABLE, on_message);
    }
}

/* ---- Life ---- */

static int make_dir(si__probe_server *s) {
    const char *const bases[] = {geteuid() == 0 ? NULL : getenv("XDG_RUNTIME_DIR"), "/tmp", "/dev/shm", "/run"};
    int error = ENOENT;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        if (!bases[i] || bases[i][0] != '/' || strlen(bases[i]) > 24) continue;
        snprintf(s->dir, sizeof s->dir, "%s/si-XXXXXX", bases[i]);
        if (mkdtemp(s->dir)) return 0;
        error = errno;
    }
    *s->dir = '\0';
    return -error;
}

/* Others may enter the directory only when we are root: a server's workers that have become another user connect too.
 */
static int make_socket(si__probe_server *s) {
    int rc = make_dir(s);
    if (rc != 0) return rc;
    snprintf(s->path, sizeof s->path, "%s/probe", s->dir);
    if (geteuid() == 0 && chmod(s->dir, 0711) != 0) return -errno;
    s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0) return -errno;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, s->path, sizeof address.sun_path);
    if (bind(s->fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(s->fd, BACKLOG) != 0) return -errno;
    if (geteuid() == 0 && chmod(s->path, 0666) != 0) return -errno;
    return 0;
}

static void remove_socket(si__probe_server *s) {
    if (s->fd >= 0) close(s->fd);
    if (*s->path) unlink(s->path);
    if (*s->dir) rmdir(s->dir);
}

int si__probe_server_new(uv_loop_t *loop, si__agent *agent, si__probe_server **out, char *error, size_t error_bytes) {
    *out = NULL;
    si__probe_server *s = calloc(1, sizeof *s);
    if (!s) return -ENOMEM;
    s->agent = agent;
    s->fd = -1;
    int rc = make_socket(s);
    if (rc == 0) rc = uv_poll_init(loop, &s->listener, s->fd);
    if (rc != 0) {
        snprintf(error, error_bytes, "no socket for probes%s%s: %s", *s->dir ? " in " : "", s->dir, strerror(-rc));
        remove_socket(s);
        free(s);
        return rc;
    }
    s->listener.data = s;
    s->open_handles = 1;
    uv_poll_start(&s->listener, UV_READABLE, on_connect);
    *out = s;
    return 0;
}

const char *si__probe_server_path(const si__probe_server *s) {
    return s->path;
}

size_t si__probe_server_seen(const si__probe_server *s) {
    return s->seen;
}

const char *si__probe_server_refusal(const si__probe_server *s) {
    return s->refusal;
}

static void on_listener_closed(uv_handle_t *handle) {
    si__probe_server *s = handle->data;
    remove_socket(s);
    one_closed(s);
}

void si__probe_server_close(si__probe_server *s, void (*closed)(void *arg), void *arg) {
    s->closing = 1;
    s->closed = closed;
    s->closed_arg = arg;
    while (s->connections) connection_close(s->connections);
    while (s->processes) process_close(s->processes);
    uv_close((uv_handle_t *)&s->listener, on_listener_closed);
}
