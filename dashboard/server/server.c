/*
 * The HTTP server; see server.h. Functions named on_* run on libmicrohttpd's threads, handle_* on the workers'.
 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "clock.h"
#include "connections.h"
#include "key.h"
#include "page.h"
#include "route.h"
#include "session.h"
#include "slow.h"

#define CONNECTIONS 4000
#define HTTP_THREADS 2
#define PEOPLE_THREADS 3
#define AGENT_THREADS 2
#define AGENT_NICE 5                       /* reports can wait a moment: pages go first */
#define BODIES_LIMIT ((uint64_t)256 << 20) /* all bodies in memory together */
#define DRAIN_LIMIT ((size_t)64 << 20)     /* of a refused body, before the connection is cut */
#define GZIP_ABOVE ((size_t)8 << 10)

/* ---- Sending ---- */

static enum MHD_Result send_answer(si__request *request) {
    int took = request->out != NULL;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(took ? request->out_length : 0, took ? request->out : (void *)"",
                                        took ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    request->out = NULL;
    char number[16];
    si__page_harden(response);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (request->content_type) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, request->content_type);
    if (request->cookie[0]) MHD_add_response_header(response, MHD_HTTP_HEADER_SET_COOKIE, request->cookie);
    if (request->disposition[0])
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_DISPOSITION, request->disposition);
    if (request->gzipped) MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    if (request->retry_after_s) {
        snprintf(number, sizeof number, "%d", request->retry_after_s);
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, number);
    }
    if (request->status == 401) MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    si__connections_phase(request->server->connections, request->connection, SI__PHASE_SENDING);
    enum MHD_Result queued = MHD_queue_response(request->connection, (unsigned)request->status, response);
    MHD_destroy_response(response);
    return queued;
}

void si__server_finish(si__request *request) {
    if (!request->status) si__answer_failure(request, SI_ENOMEM);
    MHD_resume_connection(request->connection); /* the HTTP thread calls on_request again, which sends */
}

static void gzip_answer(si__request *request) {
    const char *accepts = si__request_header(request, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    if (request->out_length < GZIP_ABOVE || !accepts || !strstr(accepts, "gzip")) return;
    z_stream stream = {0};
    if (deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return;
    size_t bound = deflateBound(&stream, request->out_length);
    unsigned char *packed = malloc(bound);
    stream.next_in = (unsigned char *)request->out;
    stream.avail_in = (unsigned)request->out_length;
    stream.next_out = packed;
    stream.avail_out = (unsigned)bound;
    if (packed && deflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out < request->out_length) {
        free(request->out);
        request->out = (char *)packed;
        request->out_length = stream.total_out;
        request->gzipped = 1;
    } else {
        free(packed);
    }
    deflateEnd(&stream);
}

/* ---- Handling, on workers ---- */

typedef struct key_touch {
    si__write write;
    char id[17];
} key_touch;

static int key_touch_apply(si__tx *tx, void *arg) {
    return si__key_used(tx, ((key_touch *)arg)->id);
}

static void key_touch_done(void *arg, int result) {
    (void)result; /* the next use is noted */
    free(arg);
}

/* Notes that a key was used, some time soon. */
static void touch_key(si__request *request, const char id[17]) {
    key_touch *touch = calloc(1, sizeof *touch);
    if (!touch) return;
    memcpy(touch->id, id, sizeof touch->id);
    touch->write = (si__write){.apply = key_touch_apply, .done = key_touch_done, .arg = touch};
    if (si__writer_submit(si__store_writer(request->server->store), &touch->write)) free(touch);
}

/* A key instead of a session: 1 when it came and is good for the purpose. Its application is the only one that it may
 * ask for or change. */
static int take_key(si__request *request, si__key_purpose purpose) {
    int64_t app;
    char name[128], environment[128], id[17];
    const char *header = si__request_header(request, "Authorization");
    if (!header || strncmp(header, "Bearer ", 7) != 0 ||
        si__key_check_for(request->reader, header + 7, purpose, &app, name, environment, sizeof name, id))
        return 0;
    touch_key(request, id);
    request->key_app = app;
    request->user = (si__user){0}; /* a session beside it counts for nothing */
    snprintf(request->user.email, sizeof request->user.email, "key %s", id);
    return 1;
}

static int may_scrape(si__request *request) {
    if (request->user.id) return 1;
    if (!request->server->options->behind_tls_proxy && si__options_is_loopback(request->address)) return 1;
    return take_key(request, SI__KEY_REPORTS) || take_key(request, SI__KEY_READS);
}

static int is_allowed(si__request *request) {
    const si__route *route = request->route;
    switch (route->role) {
    case SI__ROLE_SCRAPER:
        return may_scrape(request);
    case SI__ROLE_DEPLOYER:
        return request->user.role >= SI__ROLE_EDITOR || take_key(request, SI__KEY_REPORTS);
    default:
        return request->user.role >= route->role || (route->of_app && take_key(request, SI__KEY_READS));
    }
}

/* 1: go on; 0: answered. */
static int check_access(si__request *request) {
    const si__route *route = request->route;
    int allowed = is_allowed(request);
    if (!allowed && !request->user.id)
        si__answer_error(request, 401, "sign_in", "Sign in first.", NULL);
    else if (!allowed) {
        char message[80];
        si__role needed = route->role == SI__ROLE_DEPLOYER ? SI__ROLE_EDITOR : route->role;
        snprintf(message, sizeof message, "This needs the role %s.", si__role_name(needed));
        si__answer_error(request, 403, "role", message, NULL);
    }
    /* A key is in no browser: nobody can be made to send it. */
    return allowed && (!strcmp(route->method, "GET") || request->key_app || si__session_check_origin(request));
}

static void handle_person(si__request *request) {
    if (atomic_load(&request->server->stopping))
        si__answer_failure(request, SI_ESTATE);
    else if (si__reader_begin(request->reader))
        si__answer_failure(request, SI_EIO);
    else {
        uint64_t failures = request->reader->db.failures;
        si__session_read(request);
        if (check_access(request)) request->route->handler(request);
        si__reader_end(request->reader);
        if (request->reader->db.failures != failures) si__answer_failure(request, SI_EIO); /* never half an answer */
    }
    gzip_answer(request);
    si__slow_note(request->route->path, si__clock_monotonic_ns() - request->started_ns);
    si__server_finish(request);
}

/* An agents' route finishes its request itself: often it is the writer that does, later. */
static void handle_agent(si__request *request) {
    if (!atomic_load(&request->server->stopping)) {
        request->route->handler(request);
        return; /* the request may be gone by now */
    }
    si__answer_failure(request, SI_ESTATE);
    si__server_finish(request);
}

/* ---- Receiving, on HTTP threads ---- */

static void find_address(si__request *request) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, request->address,
                  sizeof request->address);
    if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, request->address,
                  sizeof request->address);
    if (!request->server->options->behind_tls_proxy) return;
    const char *forwarded = si__request_header(request, "X-Forwarded-For"); /* the last one is what our proxy saw */
    const char *last = forwarded ? strrchr(forwarded, ',') : NULL;
    last = last ? last + 1 : forwarded;
    while (last && *last == ' ') last++;
    if (last && *last && strspn(last, "0123456789abcdefABCDEF.:") == strlen(last) &&
        strlen(last) < sizeof request->address)
        snprintf(request->address, sizeof request->address, "%s", last);
}

static void refuse(si__request *request, int status) {
    request->refused_status = status;
}

static si__request *begin(si__server *server, struct MHD_Connection *connection, const char *url, const char *method) {
    si__request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    int other_method = 0;
    request->server = server;
    request->connection = connection;
    request->started_ns = si__clock_monotonic_ns();
    request->path = strdup(url);
    atomic_fetch_add(&server->requests, 1);
    if (!request->path) {
        free(request);
        return NULL;
    }
    find_address(request);
    request->route = si__route_find(method, url, request->parameter, sizeof request->parameter, &other_method);
    int reads = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    if (!request->route && (other_method || (!reads && strncmp(url, "/api/", 5) != 0)))
        refuse(request, 405);
    else if (!request->route && !strncmp(url, "/api/", 5))
        refuse(request, 404);
    else if (atomic_load(&server->stopping))
        refuse(request, 503);
    else if (request->route && atomic_load(&server->body_bytes) > BODIES_LIMIT)
        refuse(request, 503);
    const char *length = si__request_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (request->route && length && strtoull(length, NULL, 10) > request->route->body_limit) refuse(request, 413);
    return request;
}

static void free_request(si__request *request) {
    atomic_fetch_sub(&request->server->body_bytes, request->body_capacity);
    free(request->path);
    free(request->body);
    free(request->out);
    free(request);
}

/* 0, or the connection is to be cut. */
static int take_body(si__request *request, const char *data, size_t length) {
    if (!request->refused_status && request->body_length + length > (request->route ? request->route->body_limit : 0))
        refuse(request, 413);
    if (request->refused_status) { /* read on, so that the answer arrives */
        request->body_length += length;
        return request->body_length > DRAIN_LIMIT ? -1 : 0;
    }
    if (request->body_length + length + 1 > request->body_capacity) {
        size_t capacity = request->body_capacity ? request->body_capacity * 2 : 4096;
        while (capacity < request->body_length + length + 1) capacity *= 2;
        char *more = realloc(request->body, capacity);
        if (!more) return -1;
        atomic_fetch_add(&request->server->body_bytes, capacity - request->body_capacity);
        request->body = more;
        request->body_capacity = capacity;
    }
    memcpy(request->body + request->body_length, data, length);
    request->body_length += length;
    request->body[request->body_length] = '\0';
    return 0;
}

static enum MHD_Result answer_refused(si__request *request) {
    int status = request->refused_status;
    if (status == 413)
        si__answer_error(request, 413, "too_large", "The body is larger than this route takes.", NULL);
    else if (status == 405)
        si__answer_error(request, 405, "method", "This path does not take that method.", NULL);
    else if (status == 404)
        si__answer_error(request, 404, "not_found", "There is no such path in the API.", NULL);
    else {
        request->retry_after_s = 2;
        si__answer_error(request, 503, "busy", "The server is busy or stopping; try again.", NULL);
    }
    return send_answer(request);
}

static enum MHD_Result dispatch(si__request *request) {
    request->dispatched = 1;
    int agent = request->route->role == SI__ROLE_AGENT;
    si__connections_phase(request->server->connections, request->connection, SI__PHASE_WORKING);
    MHD_suspend_connection(request->connection);
    if (!si__pool_submit(agent ? request->server->agents : request->server->people, request)) return MHD_YES;
    MHD_resume_connection(request->connection);
    request->retry_after_s = 2;
    si__answer_error(request, 503, "busy", "Too many requests are waiting; try again.", NULL);
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *length, void **context) {
    si__server *server = arg;
    si__request *request = *context;
    (void)version;
    if (!request) {
        si__connections_phase(server->connections, connection, SI__PHASE_BODY);
        *context = begin(server, connection, url, method);
        return *context ? MHD_YES : MHD_NO;
    }
    if (*length) {
        int cut = take_body(request, data, *length);
        *length = 0;
        return cut ? MHD_NO : MHD_YES;
    }
    if (request->status) return send_answer(request);
    if (request->refused_status) return answer_refused(request);
    if (request->route) return request->dispatched ? MHD_YES : dispatch(request);
    si__connections_phase(server->connections, connection, SI__PHASE_SENDING);
    return si__page_send(server->assets, connection, request->path);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code) {
    si__server *server = arg;
    (void)code;
    if (*context) free_request(*context);
    *context = NULL;
    si__connections_phase(server->connections, connection, SI__PHASE_IDLE);
}

/* ---- Start and stop ---- */

static int listen_on(si__server *server, char *error, size_t error_bytes) {
    const si__options *options = server->options;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(options->listen_port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(options->listen_port)};
    int is_four = inet_pton(AF_INET, options->listen_host, &four.sin_addr) == 1, yes = 1;
    if (!is_four) inet_pton(AF_INET6, options->listen_host, &six.sin6_addr);
    const struct sockaddr *address = is_four ? (const struct sockaddr *)&four : (const struct sockaddr *)&six;
    socklen_t bytes = is_four ? sizeof four : sizeof six;
    int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, address, bytes) != 0 || listen(fd, 1024) != 0) {
        snprintf(error, error_bytes, "cannot listen on %s port %d: %s", options->listen_host, options->listen_port,
                 strerror(errno));
        if (fd >= 0) close(fd);
        return -1;
    }
    getsockname(fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six, &bytes); /* the port that it got */
    server->port = ntohs(is_four ? four.sin_port : six.sin6_port);
    snprintf(server->listen_host, sizeof server->listen_host, is_four ? "%s" : "[%s]", options->listen_host);
    return fd;
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    rlim_t wanted = CONNECTIONS + 256;
    if (limit.rlim_cur >= wanted) return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int si__server_start(si__server *server, char *error, size_t error_bytes) {
    raise_descriptor_limit();
    int fd = listen_on(server, error, error_bytes);
    if (fd < 0) return SI_EIO;
    snprintf(error, error_bytes, "out of memory, or no thread could be started");
    server->started_ms = si__clock_unix_ms();
    server->assets = si__page_load();
    server->throttle = si__throttle_new();
    server->connections = si__connections_new();
    server->people = si__pool_new(server->store, "si-people", 0, PEOPLE_THREADS, 256, handle_person);
    server->agents = si__pool_new(server->store, "si-agents", AGENT_NICE, AGENT_THREADS, 1024, handle_agent);
    if (server->assets && server->throttle && server->connections && server->people && server->agents)
        server->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, server,
            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)HTTP_THREADS,
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, 30u,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(32 << 10), MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
            MHD_OPTION_NOTIFY_CONNECTION, si__connections_notify, server->connections, MHD_OPTION_END);
    if (server->daemon) return SI_OK;
    close(fd);
    si__server_stop(server);
    return SI_ENOMEM;
}

static int nothing_apply(si__tx *tx, void *arg) {
    (void)tx;
    (void)arg;
    return SI_OK;
}

void si__server_stop(si__server *server) {
    atomic_store(&server->stopping, 1);
    MHD_socket fd = server->daemon ? MHD_quiesce_daemon(server->daemon) : MHD_INVALID_SOCKET;
    si__pool_stop(server->people);
    si__pool_stop(server->agents);
    /* What the workers handed to the writer must be answered before the daemon may go: it would wait for suspended
     * connections. */
    if (server->daemon) si__writer_call(si__store_writer(server->store), nothing_apply, NULL);
    if (server->daemon) MHD_stop_daemon(server->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
    server->daemon = NULL;
    si__pool_free(server->people);
    si__pool_free(server->agents);
    server->people = server->agents = NULL;
    si__connections_free(server->connections);
    si__throttle_free(server->throttle);
    si__page_free(server->assets);
    server->connections = NULL;
    server->throttle = NULL;
    server->assets = NULL;
}
