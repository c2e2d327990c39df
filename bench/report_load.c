/* Reports in great number; see report_load.h. */
#include "report_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../spec/server/made_report.h"

enum { CONNECTIONS_MOST = 512 };

const report_shape report_shape_agent = {
    .profiles = 8, .stacks = 70, .universe = 2000, .points = 12, .segments = 3, .sources = 100};
const report_shape report_shape_large = {
    .profiles = 1, .stacks = 490, .universe = 20000, .points = 0, .segments = 0, .sources = 10};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static si__report *make_one(const report_shape *shape, const char *environment, int64_t t, unsigned source,
                            uint64_t sequence) {
    static const char *const types[] = {"cpu", "heap", "alloc", "lock", "network", "system", "channel", "http_handler"};
    char host[32], name[64];
    snprintf(host, sizeof host, "host-%u", source);
    made m = {.environment = environment,
              .agent = source + 1,
              .sequence = sequence,
              .host = host,
              .start_ms = t,
              .end_ms = t + 60000};
    si__report *report = made_report(&m);
    for (unsigned i = 0; i < shape->profiles; i++)
        made_profile(report, types[i % 8], t + 1000, shape->stacks, shape->universe, sequence * 8 + i + 1);
    for (unsigned i = 0; i < shape->points; i++) {
        snprintf(name, sizeof name, "process.metric.%u", i);
        made_point(report, name, t + 60000, (double)sequence);
    }
    for (unsigned i = 0; i < shape->segments; i++) {
        snprintf(name, sizeof name, "segment-%u", i);
        made_segment(report, name, t, 1000000, 40);
    }
    return report;
}

void report_load_make(report_load *load, const report_shape *shape, size_t count, const char *environment,
                      const char *key, int64_t end_ms, uint64_t first) {
    *load = (report_load){.requests = calloc(count, sizeof *load->requests),
                          .lengths = calloc(count, sizeof *load->lengths),
                          .count = count,
                          .profiles_each = shape->profiles};
    int64_t minutes = (int64_t)(count / shape->sources);
    for (size_t i = 0; i < count; i++) {
        size_t length;
        char head[512];
        unsigned source = (unsigned)(i % shape->sources);
        int64_t t = end_ms - (minutes - (int64_t)(i / shape->sources) + 1) * 60000 + source * 37 % 60000;
        si__report *report = make_one(shape, environment, t, source, first + i);
        for (size_t p = 0; p < report->profile_count; p++)
            load->nodes += si__calltree_node_count(report->profiles[p].tree);
        uint8_t *body = made_bytes(report, &length);
        int used =
            snprintf(head, sizeof head,
                     "POST /api/v1/reports HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
                     "Content-Type: application/msgpack\r\nContent-Encoding: zstd\r\nContent-Length: %zu\r\n\r\n",
                     key, length);
        load->requests[i] = malloc((size_t)used + length);
        memcpy(load->requests[i], head, (size_t)used);
        memcpy(load->requests[i] + used, body, length);
        load->lengths[i] = (size_t)used + length;
        load->wire_bytes += length;
        free(body);
    }
}

void report_load_free(report_load *load) {
    for (size_t i = 0; i < load->count; i++) free(load->requests[i]);
    free(load->requests);
    free(load->lengths);
    *load = (report_load){0};
}

/* ---- Sending ---- */

typedef struct connection {
    int fd, busy;
    size_t report, sent, got;
    double since;
    char answer[2048];
} connection;

typedef struct sending {
    const report_load *load;
    connection *connections;
    unsigned count;
    int epoll, port;
    size_t next;
    double *times;
    report_load_result result;
} sending;

static int dial(int port) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void push(sending *s, connection *c) {
    while (c->sent < s->load->lengths[c->report]) {
        ssize_t n = send(c->fd, s->load->requests[c->report] + c->sent, s->load->lengths[c->report] - c->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) break;
        c->sent += (size_t)n;
    }
    int rest = c->sent < s->load->lengths[c->report];
    struct epoll_event event = {.events = EPOLLIN | (rest ? (uint32_t)EPOLLOUT : 0u),
                                .data.u32 = (uint32_t)(c - s->connections)};
    epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void start(sending *s, connection *c, const atomic_int *stop) {
    c->busy = s->next < s->load->count && !(stop && atomic_load(stop));
    if (!c->busy) return;
    c->report = s->next++;
    c->sent = c->got = 0;
    c->since = seconds();
    push(s, c);
}

/* 1: the answer is there. It is small and has a length; refusals are counted, not sent again. */
static int pull(sending *s, connection *c) {
    ssize_t n = recv(c->fd, c->answer + c->got, sizeof c->answer - 1 - c->got, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
        fprintf(stderr, "the dashboard closed a connection\n");
        exit(1);
    }
    c->got += (size_t)n;
    c->answer[c->got] = '\0';
    char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\nContent-Length:");
    if (!end || !length || c->got < (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10)) return 0;
    if (strstr(c->answer, "HTTP/1.1 200") == c->answer && strstr(end, "\"stored\""))
        s->times[s->result.acknowledged++] = seconds() - c->since;
    else
        s->result.refused++;
    return 1;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

report_load_result report_load_send(const report_load *load, int port, unsigned connections, const atomic_int *stop) {
    if (connections > CONNECTIONS_MOST) connections = CONNECTIONS_MOST;
    sending s = {.load = load, .count = connections, .epoll = epoll_create1(EPOLL_CLOEXEC), .port = port};
    s.connections = calloc(connections, sizeof *s.connections);
    s.times = calloc(load->count + 1, sizeof *s.times);
    unsigned busy = 0;
    for (unsigned i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        s.connections[i].fd = dial(port);
        epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.connections[i].fd, &event);
    }
    double begin = seconds();
    for (unsigned i = 0; i < connections; i++) {
        start(&s, &s.connections[i], stop);
        busy += (unsigned)s.connections[i].busy;
    }
    while (busy) {
        struct epoll_event events[64];
        int n = epoll_wait(s.epoll, events, 64, 30000);
        if (n == 0) {
            fprintf(stderr, "no answer for 30 s\n");
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            connection *c = &s.connections[events[i].data.u32];
            if (events[i].events & EPOLLOUT) push(&s, c);
            if (!(events[i].events & (EPOLLIN | EPOLLHUP)) || !c->busy || !pull(&s, c)) continue;
            start(&s, c, stop);
            busy -= (unsigned)!c->busy;
        }
    }
    s.result.seconds = seconds() - begin;
    qsort(s.times, s.result.acknowledged, sizeof *s.times, by_value);
    if (s.result.acknowledged) {
        s.result.p50_ms = s.times[s.result.acknowledged / 2] * 1e3;
        s.result.p99_ms = s.times[s.result.acknowledged * 99 / 100] * 1e3;
    }
    for (unsigned i = 0; i < connections; i++) close(s.connections[i].fd);
    close(s.epoll);
    free(s.connections);
    free(s.times);
    return s.result;
}
