/*
 * libcurl against libmicrohttpd, both the real libraries in one program, embedded and preloaded: requests are counted
 * once on either side, by name, with their status and time.
 */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>

#include "call_host.h"
#include "si/si.h"

static const char *self_path;

static void must(int ok) {
    if (!ok) abort();
}

static void nap_ms(long ms) {
    struct timespec duration = {0, ms * 1000000};
    nanosleep(&duration, NULL);
}

/* ---- The server ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t handler_ns[TIMES_MAX]; /* of /slow/: by the handler's own clock */
static unsigned handler_count;

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(2, (void *)(uintptr_t) "ok", MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *bytes, void **kept) {
    uint64_t since_ns = host_ns();
    (void)version, (void)data;
    must(strcmp(arg, "the host's") == 0);
    if (!*kept && strcmp(method, "POST") == 0) {
        *kept = connection;
        return MHD_YES;
    }
    if (*bytes) {
        *bytes = 0;
        return MHD_YES;
    }
    if (strncmp(url, "/broken", 7) == 0) return answer(connection, 503);
    if (strncmp(url, "/cut", 4) == 0) return MHD_NO;
    if (strncmp(url, "/slow/", 6) == 0) nap_ms(12 + (atoi(url + 6) % 3));
    enum MHD_Result result = answer(connection, 200);
    if (strncmp(url, "/slow/", 6) == 0) {
        pthread_mutex_lock(&lock);
        if (handler_count < TIMES_MAX) handler_ns[handler_count++] = host_ns() - since_ns;
        pthread_mutex_unlock(&lock);
    }
    return result;
}

/* ---- The client ---- */

static char body[16];

static size_t take(char *data, size_t size, size_t count, void *arg) {
    (void)arg;
    snprintf(body, sizeof body, "%.*s", (int)(size * count), data);
    return size * count;
}

static CURL *handle_for(const char *url) {
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    return curl;
}

static void both(unsigned port, const char *method, const char *path, int client_failed, int server_failed) {
    char name[SI__NAME_BYTES];
    snprintf(name, sizeof name, "%s 127.0.0.1:%u%s", method, port, path);
    did(SI__INSTRUMENT_CALL_HTTP, name, client_failed, 0);
    snprintf(name, sizeof name, "%s %s", method, path);
    did(SI__INSTRUMENT_HANDLER, name, server_failed, 0);
}

static void easy(unsigned port) {
    char url[200], name[SI__NAME_BYTES];
    CURL *curl = handle_for("");
    snprintf(name, sizeof name, "GET 127.0.0.1:%u/slow/:id", port);
    for (int i = 0; i < 20; i++) {
        snprintf(url, sizeof url, "http://bob:hunter2@127.0.0.1:%u/slow/%d?token=hunter2#hunter2", port, 1000 + i);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        TIMED(SI__INSTRUMENT_CALL_HTTP, name, 0, must(curl_easy_perform(curl) == CURLE_OK));
        must(strcmp(body, "ok") == 0);
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%u/broken", port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    for (int i = 0; i < 3; i++) {
        must(curl_easy_perform(curl) == CURLE_OK);
        both(port, "GET", "/broken", 1, 1);
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%u/cut", port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    must(curl_easy_perform(curl) != CURLE_OK);
    both(port, "GET", "/cut", 1, 1);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/orders", port);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "secret=hunter2");
    for (int i = 0; i < 4; i++) {
        must(curl_easy_perform(curl) == CURLE_OK);
        both(port, "POST", "/orders", 0, 0);
    }
    curl_easy_cleanup(curl);
}

static void multi(unsigned port) {
    enum { TRANSFERS = 5 };
    CURLM *many = curl_multi_init();
    CURL *handles[TRANSFERS], *given_up = handle_for("http://127.0.0.1:1/never");
    char url[100];
    int running = 1, left, finished = 0;
    for (int i = 0; i < TRANSFERS; i++) {
        snprintf(url, sizeof url, "http://127.0.0.1:%u/multi/%d", port, 7000 + i);
        handles[i] = handle_for(url);
        must(curl_multi_add_handle(many, handles[i]) == CURLM_OK);
    }
    must(curl_multi_add_handle(many, given_up) == CURLM_OK);
    must(curl_multi_remove_handle(many, given_up) == CURLM_OK);
    while (running) {
        must(curl_multi_perform(many, &running) == CURLM_OK);
        if (running) curl_multi_poll(many, NULL, 0, 1000, NULL);
    }
    for (CURLMsg *message; (message = curl_multi_info_read(many, &left)) != NULL;) {
        must(message->msg == CURLMSG_DONE && message->data.result == CURLE_OK);
        both(port, "GET", "/multi/:id", 0, 0);
        finished++;
    }
    must(finished == TRANSFERS);
    for (int i = 0; i < TRANSFERS; i++) {
        curl_multi_remove_handle(many, handles[i]);
        curl_easy_cleanup(handles[i]);
    }
    curl_easy_cleanup(given_up);
    curl_multi_cleanup(many);
}

static void workload(const char *argument) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)argument;
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    handler_count = 0;
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, (void *)(uintptr_t) "the host's", MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)&address, MHD_OPTION_CONNECTION_TIMEOUT, 30U, MHD_OPTION_END);
    must(daemon != NULL);
    unsigned port = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    easy(port);
    multi(port);
    MHD_stop_daemon(daemon);
    for (unsigned i = 0; i < handler_count; i++) did(SI__INSTRUMENT_HANDLER, "GET /slow/:id", 0, handler_ns[i]);
    curl_global_cleanup();
}

static void embedded(void **state) {
    (void)state;
    play_embedded(workload, NULL);
}

static void preloaded(void **state) {
    (void)state;
    play_preloaded(self_path, "http", "");
}

/* What the program marks itself, and what it does below. */
static void marked(const char *argument) {
    (void)argument;
    for (int i = 0; i < 20; i++) {
        si_call handler, call;
        si_handler_start(&handler, "GET /own/:id");
        uint64_t since_ns = host_ns();
        si_call_start(&call, SI_CALL_OTHER, "a queue");
        nap_ms(4);
        si_call_stop(&call);
        did(SI__INSTRUMENT_CALL_OTHER, "a queue", 0, host_ns() - since_ns);
        si_handler_stop(&handler, i % 5 ? 200 : 500);
        did(SI__INSTRUMENT_HANDLER, "GET /own/:id", i % 5 == 0, host_ns() - since_ns);
    }
}

static void what_is_marked_has_stacks(void **state) {
    (void)state;
    play_embedded(marked, NULL);
}

int main(int argc, char **argv) {
    if (argc > 2) return play(workload, argv[2]);
    self_path = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embedded),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(preloaded),
#endif
        cmocka_unit_test(what_is_marked_has_stacks),
    };
    (void)preloaded;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
