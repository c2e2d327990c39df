/*
 * libmicrohttpd around a route function: a pool of threads on 127.0.0.1, each handling one request at a time.
 */
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

enum { POST_BYTES = 1024 };

/* A request while its body arrives. */
typedef struct exchange {
    char posted[POST_BYTES];
    size_t length;
} exchange;

static enum MHD_Result send_answer(struct MHD_Connection *connection, shop_request *request) {
    static char empty[] = "";
    struct MHD_Response *response =
        request->body ? MHD_create_response_from_buffer(request->body_bytes, request->body, MHD_RESPMEM_MUST_FREE)
                      : MHD_create_response_from_buffer(0, empty, MHD_RESPMEM_PERSISTENT);
    if (!response) {
        free(request->body);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "application/json");
    enum MHD_Result result = MHD_queue_response(connection, (unsigned)request->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *upload_bytes, void **state) {
    (void)version;
    exchange *current = *state;
    if (!current) {
        *state = calloc(1, sizeof *current);
        return *state ? MHD_YES : MHD_NO;
    }
    if (*upload_bytes) {
        size_t room = sizeof current->posted - 1 - current->length;
        size_t taken = *upload_bytes < room ? *upload_bytes : room;
        memcpy(current->posted + current->length, upload, taken);
        current->length += taken;
        *upload_bytes = 0;
        return MHD_YES;
    }
    const char *query = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "q");
    const char *last = strrchr(path, '/');
    shop_request request = {
        .path = path,
        .query = query ? query : "",
        .posted = current->posted,
        .id = last ? (int)strtol(last + 1, NULL, 10) : 0,
        .status = 500,
    };
    shop_route_fn route = *(shop_route_fn *)arg;
    route(method, &request);
    return send_answer(connection, &request);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how) {
    (void)arg, (void)connection, (void)how;
    free(*state);
}

struct MHD_Daemon *shop_server_start(uint16_t port, unsigned threads, shop_route_fn route) {
    static shop_route_fn served; /* one server per process */
    served = route;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL, port, NULL, NULL, on_request, &served,
                            MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_THREAD_POOL_SIZE, threads,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_TIMEOUT, 30u,
                            MHD_OPTION_END);
}

uint16_t shop_server_port(struct MHD_Daemon *server) {
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT);
    return info ? info->port : 0;
}

void shop_server_stop(struct MHD_Daemon *server) {
    MHD_stop_daemon(server);
}
