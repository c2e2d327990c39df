/* The agent's end of collectors/native/hello.h, as small as a test needs it. One thread. */
#include "preload_agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../collectors/native/hello.h"
#include "../../collectors/native/unwind.h"

enum { REGIONS_MAX = 512, CALLS_MAX = 256 };

typedef struct kept_call {
    si__drained_event event;
    char text[SI__NAME_BYTES + 16];
} kept_call;

struct preload_agent {
    char directory[64], path[80];
    int listener, stop[2], publish, mute;
    pthread_t thread;
    pthread_mutex_t lock;
    si__unwind_cache *cache;
    si__region *regions[REGIONS_MAX];
    si__drain *drains[REGIONS_MAX];
    pid_t pids[REGIONS_MAX];
    unsigned count;
    preload_sums sums;
    kept_call calls[CALLS_MAX];
    unsigned call_count;
};

static void publish_tables(preload_agent *agent, si__region *region, pid_t pid) {
    si__module_list modules;
    size_t unavailable;
    uint32_t wanted = atomic_load(&region->modules_wanted);
    if (si__module_list_read(pid, &modules) == 0) {
        si__unwind_publish(agent->cache, region, modules.items, modules.count, "", &unavailable);
        si__module_list_free(&modules);
    }
    atomic_store(&region->modules_seen, wanted);
}

static void take_region(preload_agent *agent, int fd, pid_t pid) {
    int error;
    si__region *region = agent->count < REGIONS_MAX ? si__region_map(fd, &error) : NULL;
    if (!region) return;
    agent->drains[agent->count] = si__drain_new(region); /* first: what it counts from here on is seen */
    if (agent->publish)
        publish_tables(agent, region, pid);
    else
        atomic_store(&region->modules_seen, 1);
    agent->regions[agent->count] = region;
    agent->pids[agent->count++] = pid;
    agent->sums.processes++;
}

static void leave(preload_agent *agent, pid_t pid) {
    agent->sums.exits++;
    for (unsigned i = 0; i < agent->count; i++)
        if (agent->pids[i] == pid && agent->publish) publish_tables(agent, agent->regions[i], pid);
}

static void converse(preload_agent *agent, int socket) {
    si__hello hello;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&hello, sizeof hello};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct ucred peer;
    socklen_t length = sizeof peer;
    int fd = -1;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof hello || hello.magic != SI__HELLO_MAGIC) return;
    getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    if (hello.flags & SI__HELLO_QUIET) agent->sums.quiet++;
    if (hello.status) {
        agent->sums.failed++;
        snprintf(agent->sums.reason, sizeof agent->sums.reason, "%s", hello.reason);
    } else if (hello.kind == SI__HELLO_START && fd >= 0) {
        take_region(agent, fd, peer.pid);
    } else if (hello.kind == SI__HELLO_EXIT) {
        leave(agent, peer.pid);
    }
    if (fd >= 0) close(fd);
    send(socket, "1", 1, MSG_NOSIGNAL);
}

static void keep_call(preload_agent *agent, const si__drained_event *event) {
    kept_call *call = &agent->calls[agent->call_count++ % CALLS_MAX];
    call->event = *event;
    if (call->event.text_bytes >= sizeof call->text) call->event.text_bytes = sizeof call->text - 1;
    memcpy(call->text, event->text, call->event.text_bytes);
    call->text[call->event.text_bytes] = '\0';
    call->event.pcs = NULL;
    call->event.text = call->text;
}

static void add(void *arg, const si__drained_event *event) {
    preload_agent *agent = arg;
    preload_sums *sums = &agent->sums;
    if (event->type == SI__EVENT_CALL) keep_call(agent, event);
    if (event->type == SI__EVENT_CPU) {
        sums->events++;
        sums->value_ns += (uint64_t)event->value;
        if (event->flags & SI__EVENT_LATE) sums->late_ns += (uint64_t)event->value;
        sums->frames += event->frame_count;
        sums->truncated += (event->flags & SI__STACK_TRUNCATED) != 0;
        sums->off_stack += (event->flags & SI__STACK_OFF) != 0;
    } else if (event->type == SI__EVENT_CRASH) {
        sums->crashes++;
        sums->guarded += (event->flags & SI__EVENT_GUARDED) != 0;
        sums->crash_signal = event->value;
        sums->crash_frames = event->frame_count;
        snprintf(sums->crash_text, sizeof sums->crash_text, "%s", event->text);
    }
}

static void drain_all(preload_agent *agent) {
    for (unsigned i = 0; i < agent->count; i++) {
        si__drain_events(agent->drains[i], add, agent);
        if (agent->publish &&
            atomic_load(&agent->regions[i]->modules_wanted) != atomic_load(&agent->regions[i]->modules_seen))
            publish_tables(agent, agent->regions[i], agent->pids[i]);
    }
}

static void *serve(void *arg) {
    preload_agent *agent = arg;
    for (;;) {
        struct pollfd polled[2] = {{agent->stop[0], POLLIN, 0}, {agent->listener, POLLIN, 0}};
        if (poll(polled, agent->mute ? 1 : 2, 50) < 0 && errno != EINTR) return NULL;
        if (polled[0].revents) return NULL;
        pthread_mutex_lock(&agent->lock);
        if (!agent->mute && polled[1].revents) {
            int socket = accept4(agent->listener, NULL, NULL, SOCK_CLOEXEC);
            if (socket >= 0) {
                converse(agent, socket);
                close(socket);
            }
        }
        drain_all(agent);
        pthread_mutex_unlock(&agent->lock);
    }
}

preload_agent *preload_agent_new(int publish, int mute) {
    preload_agent *agent = calloc(1, sizeof *agent);
    if (!agent) return NULL;
    strcpy(agent->directory, "/tmp/si-preload-XXXXXX");
    if (!mkdtemp(agent->directory)) abort();
    snprintf(agent->path, sizeof agent->path, "%s/agent", agent->directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, agent->path);
    agent->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(agent->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(agent->listener, 64) != 0)
        abort();
    if (pipe2(agent->stop, O_CLOEXEC) != 0) abort();
    agent->publish = publish;
    agent->mute = mute;
    agent->cache = si__unwind_cache_new();
    pthread_mutex_init(&agent->lock, NULL);
    if (pthread_create(&agent->thread, NULL, serve, agent) != 0) abort();
    return agent;
}

const char *preload_agent_path(const preload_agent *agent) {
    return agent->path;
}

void preload_agent_sum(preload_agent *agent, preload_sums *out) {
    /* Hellos that nobody waited for may still be queued. */
    struct pollfd queued = {agent->listener, POLLIN, 0};
    while (!agent->mute && poll(&queued, 1, 0) == 1) usleep(1000);
    pthread_mutex_lock(&agent->lock);
    drain_all(agent);
    *out = agent->sums;
    pthread_mutex_unlock(&agent->lock);
}

void preload_agent_regions(preload_agent *agent, void (*fn)(void *arg, si__region *region, pid_t pid), void *arg) {
    pthread_mutex_lock(&agent->lock);
    for (unsigned i = 0; i < agent->count; i++) fn(arg, agent->regions[i], agent->pids[i]);
    pthread_mutex_unlock(&agent->lock);
}

void preload_agent_free(preload_agent *agent) {
    if (write(agent->stop[1], "x", 1) != 1) abort();
    pthread_join(agent->thread, NULL);
    for (unsigned i = 0; i < agent->count; i++) {
        si__drain_free(agent->drains[i]);
        si__region_unmap(agent->regions[i]);
    }
    si__unwind_cache_free(agent->cache);
    close(agent->listener);
    close(agent->stop[0]);
    close(agent->stop[1]);
    unlink(agent->path);
    rmdir(agent->directory);
    free(agent);
}

void preload_agent_instruments(preload_agent *agent, si__drain_instrument_fn fn, void *arg) {
    pthread_mutex_lock(&agent->lock);
    for (unsigned i = 0; i < agent->count; i++) si__drain_instruments(agent->drains[i], fn, arg);
    pthread_mutex_unlock(&agent->lock);
}

void preload_agent_calls(preload_agent *agent, si__drain_event_fn fn, void *arg) {
    pthread_mutex_lock(&agent->lock);
    for (unsigned i = 0; i < agent->call_count && i < CALLS_MAX; i++) fn(arg, &agent->calls[i].event);
    pthread_mutex_unlock(&agent->lock);
}
