/*
 * A real HTTP server for tests (libmicrohttpd, on a free port of 127.0.0.1, threads of its own) that answers as it is
 * told, request by request, and keeps what it was sent.
 */
#ifndef SPEC_HTTP_SERVER_H
#define SPEC_HTTP_SERVER_H

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVER_REQUESTS = 64, SERVER_HEADERS = 2048 };

typedef enum server_trick { ANSWER, CUT, ENDLESS, HANG } server_trick;

typedef struct server_answer {
    server_trick trick;
    unsigned status;
    const char *body;
    const char *header, *value; /* one more header, or NULL */
} server_answer;

typedef struct server_request {
    char method[16], path[256], headers[SERVER_HEADERS]; /* "name: value\n" */
    char *body;
    size_t length;
} server_request;

typedef struct http_server {
    struct MHD_Daemon *daemon;
    unsigned port;
    pthread_mutex_t lock;                   /* of all below */
    server_answer answers[SERVER_REQUESTS]; /* the last one is repeated */
    unsigned answer_count, request_count;
    server_request requests[SERVER_REQUESTS];
} http_server;

typedef struct server_body { /* of a request that is still coming in */
    char *data;
    size_t length;
} server_body;

static inline enum MHD_Result server_keep_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                                 const char *value) {
    char *headers = arg;
    size_t used = strlen(headers);
    (void)kind;
    snprintf(headers + used, SERVER_HEADERS - used, "%s: %s\n", name, value ? value : "");
    return MHD_YES;
}

static inline ssize_t server_endless(void *arg, uint64_t at, char *out, size_t most) {
    (void)arg, (void)at;
    memset(out, 'x', most);
    return (ssize_t)most;
}

static inline ssize_t server_hang(void *arg, uint64_t at, char *out, size_t most) {
    (void)arg, (void)at, (void)out, (void)most;
    struct timespec nap = {0, 20000000};
    nanosleep(&nap, NULL);
    return 0; /* nothing yet: asked again */
}

static inline enum MHD_Result server_reply(struct MHD_Connection *connection, const server_answer *a) {
    struct MHD_Response *response;
    if (a->trick == CUT) return MHD_NO;
    if (a->trick == ENDLESS || a->trick == HANG)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096,
                                                     a->trick == HANG ? server_hang : server_endless, NULL, NULL);
    else
        response = MHD_create_response_from_buffer(strlen(a->body), (void *)a->body, MHD_RESPMEM_PERSISTENT);
    if (a->header) MHD_add_response_header(response, a->header, a->value);
    enum MHD_Result result = MHD_queue_response(connection, a->status, response);
    MHD_destroy_response(response);
    return result;
}

static inline enum MHD_Result server_handle(void *arg, struct MHD_Connection *connection, const char *url,
                                            const char *method, const char *version, const char *data, size_t *size,
                                            void **kept) {
    http_server *server = arg;
    server_body *body = *kept;
    (void)version;
    if (!body) {
        *kept = calloc(1, sizeof(server_body));
        return MHD_YES;
    }
    if (*size) {
        body->data = realloc(body->data, body->length + *size + 1);
        memcpy(body->data + body->length, data, *size);
        body->length += *size;
        body->data[body->length] = '\0';
        *size = 0;
        return MHD_YES;
    }
    pthread_mutex_lock(&server->lock);
    unsigned n = server->request_count < SERVER_REQUESTS ? server->request_count++ : SERVER_REQUESTS - 1;
    server_request *r = &server->requests[n];
    free(r->body);
    memset(r, 0, sizeof *r);
    snprintf(r->method, sizeof r->method, "%s", method);
    snprintf(r->path, sizeof r->path, "%s", url);
    MHD_get_connection_values(connection, MHD_HEADER_KIND, server_keep_header, r->headers);
    r->body = body->data;
    r->length = body->length;
    body->data = NULL;
    server_answer answer = server->answers[n < server->answer_count ? n : server->answer_count - 1];
    pthread_mutex_unlock(&server->lock);
    return server_reply(connection, &answer);
}

static inline void server_over(void *arg, struct MHD_Connection *connection, void **kept,
                               enum MHD_RequestTerminationCode why) {
    server_body *body = *kept;
    (void)arg, (void)connection, (void)why;
    if (body) free(body->data);
    free(body);
}

/* With cert and key (PEM texts): HTTPS. */
static inline http_server *https_server_start(const server_answer *answers, unsigned count, const char *cert,
                                              const char *key) {
    http_server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    pthread_mutex_init(&server->lock, NULL);
    memcpy(server->answers, answers, count * sizeof *answers);
    server->answer_count = count;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)cert},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
                                   {MHD_OPTION_END, 0, NULL}};
    if (!cert) tls[0].option = MHD_OPTION_END;
    server->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | (cert ? MHD_USE_TLS : 0), 0, NULL, NULL, server_handle,
                         server, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_NOTIFY_COMPLETED,
                         server_over, NULL, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (!server->daemon) abort();
    server->port = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    return server;
}

static inline http_server *http_server_start(const server_answer *answers, unsigned count) {
    return https_server_start(answers, count, NULL, NULL);
}

static inline unsigned http_server_requests(http_server *server) {
    pthread_mutex_lock(&server->lock);
    unsigned n = server->request_count;
    pthread_mutex_unlock(&server->lock);
    return n;
}

/* The nth request (from 0), which must have come; not changed any more. */
static inline const server_request *http_server_request(http_server *server, unsigned n) {
    pthread_mutex_lock(&server->lock);
    const server_request *request = &server->requests[n];
    if (n >= server->request_count) abort();
    pthread_mutex_unlock(&server->lock);
    return request;
}

static inline void http_server_stop(http_server *server) {
    MHD_stop_daemon(server->daemon);
    for (unsigned i = 0; i < SERVER_REQUESTS; i++) free(server->requests[i].body);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

#endif
