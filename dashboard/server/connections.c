/*
 * Open connections and their deadlines; see connections.h. HTTP threads note phases; one thread of its own shuts down
 * sockets.
 *
 * libmicrohttpd's timeout only sees silence; a client that sends a byte now and then is seen here.
 */
#include "connections.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "clock.h"

typedef struct place {
    struct place *next, **at;
    int fd;
    si__phase phase;
    int64_t since_ns;
} place;

struct si__connections {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    place *first;
    size_t count;
    int stopping;
};

static const int64_t limits_s[] = {60, 60, 0, 300};

static void sweep(si__connections *connections) { /* lock held */
    int64_t now = si__clock_monotonic_ns();
    for (place *p = connections->first; p; p = p->next)
        if (limits_s[p->phase] && now - p->since_ns > limits_s[p->phase] * 1000000000) shutdown(p->fd, SHUT_RDWR);
}

static void *sweeper(void *arg) {
    si__connections *connections = arg;
    pthread_setname_np(pthread_self(), "si-connections");
    pthread_mutex_lock(&connections->lock);
    while (!connections->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += 5;
        pthread_cond_timedwait(&connections->wake, &connections->lock, &until);
        sweep(connections);
    }
    pthread_mutex_unlock(&connections->lock);
    return NULL;
}

si__connections *si__connections_new(void) {
    si__connections *connections = calloc(1, sizeof *connections);
    if (!connections) return NULL;
    pthread_mutex_init(&connections->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&connections->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&connections->thread, NULL, sweeper, connections);
    if (!failed) return connections;
    free(connections);
    return NULL;
}

void si__connections_free(si__connections *connections) {
    if (!connections) return;
    pthread_mutex_lock(&connections->lock);
    connections->stopping = 1;
    pthread_cond_signal(&connections->wake);
    pthread_mutex_unlock(&connections->lock);
    pthread_join(connections->thread, NULL);
    for (place *p = connections->first, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    pthread_mutex_destroy(&connections->lock);
    pthread_cond_destroy(&connections->wake);
    free(connections);
}

void si__connections_notify(void *arg, struct MHD_Connection *connection, void **context,
                            enum MHD_ConnectionNotificationCode code) {
    si__connections *connections = arg;
    pthread_mutex_lock(&connections->lock);
    place *p = *context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        p = *context = info ? calloc(1, sizeof *p) : NULL;
        if (p) {
            *p = (place){connections->first, &connections->first, info->connect_fd, SI__PHASE_IDLE,
                         si__clock_monotonic_ns()};
            if (p->next) p->next->at = &p->next;
            connections->first = p;
            connections->count++;
        }
    } else if (p) {
        *p->at = p->next;
        if (p->next) p->next->at = p->at;
        connections->count--;
        free(p);
        *context = NULL;
    }
    pthread_mutex_unlock(&connections->lock);
}

void si__connections_phase(si__connections *connections, struct MHD_Connection *connection, si__phase phase) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    place *p = info ? info->socket_context : NULL;
    if (!p) return;
    pthread_mutex_lock(&connections->lock);
    p->phase = phase;
    p->since_ns = si__clock_monotonic_ns();
    pthread_mutex_unlock(&connections->lock);
}

size_t si__connections_count(si__connections *connections) {
    pthread_mutex_lock(&connections->lock);
    size_t count = connections->count;
    pthread_mutex_unlock(&connections->lock);
    return count;
}
