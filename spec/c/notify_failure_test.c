/*
 * Receivers that fail in every way: each is told in the end, with the same delivery id, without a repetition where one
 * had the message already, and without a word of its address in the log. Real sockets; every failure has a channel, and
 * all run at once.
 */
#include "notify_world.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "temporary_dir.h"

#define TIMEOUT_MS 700

typedef enum then { CLOSE, HOLD, DRIP } then; /* after the bytes; DRIP: one of them every 20 ms, again and again */

typedef struct failure {
    const char *name, *bytes; /* what the first connection gets */
    then after;
    const char *error; /* of the first attempt; NULL: that one counts as accepted */
} failure;

static const failure failures[] = {
    {"silent", "", HOLD, "Timeout"},
    {"gone", "", CLOSE, "nothing"},
    {"cut-head", "HTTP/1.", CLOSE, ""},
    {"drip", "HTTP/1.1 200 OK", DRIP, "Timeout"},
    {"no-http", "SSH-2.0-OpenSSH_9.2\r\n", HOLD, ""},
    {"500", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", CLOSE, "HTTP 500"},
    {"429", "HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", CLOSE, "HTTP 429"},
    {"redirect",
     "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", CLOSE,
     "HTTP 302"},
    {"500-hangs", "HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\nbody", HOLD, "HTTP 500"},
    {"cut-body", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", CLOSE, NULL},
    {"body-hangs", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", HOLD, NULL},
    {"body-drips", "HTTP/1.1 200 OK\r\n\r\n", DRIP, NULL},
};
#define FAILURES (sizeof failures / sizeof *failures)

typedef struct receiver {
    const failure *how;
    int listener;
    unsigned port;
    pthread_t thread;
    int requests;           /* whole ones */
    char deliveries[8][40]; /* their ids */
    pthread_mutex_t lock;
} receiver;

/* Reads a request with its body; the delivery id goes into out. 0: the other side went away. */
static int read_request(int fd, char out[40]) {
    char text[16384];
    size_t n = 0;
    for (;;) {
        ssize_t got = read(fd, text + n, sizeof text - 1 - n);
        if (got <= 0) return 0;
        n += (size_t)got;
        text[n] = '\0';
        const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
        if (!end || !length) continue;
        if (n < (size_t)(end + 4 - text) + strtoul(length + 16, NULL, 10)) continue;
        const char *id = strstr(text, "X-Si-Delivery: ");
        snprintf(out, 40, "%.32s", id ? id + 15 : "");
        return 1;
    }
}

static void say(int fd, const char *text) {
    while (*text) {
        ssize_t n = send(fd, text, strlen(text), MSG_NOSIGNAL);
        if (n <= 0) return;
        text += n;
    }
}

static void misbehave(int fd, const failure *how) {
    char ignored[256];
    if (how->after == DRIP) {
        const char *body = strstr(how->bytes, "\r\n\r\n");
        if (body) say(fd, how->bytes);
        for (const char *c = how->bytes;; c = c[1] ? c + 1 : how->bytes) {
            struct pollfd gone = {fd, POLLIN, 0};
            if (poll(&gone, 1, 20) || send(fd, body ? "x" : c, 1, MSG_NOSIGNAL) <= 0) return;
        }
    }
    say(fd, how->bytes);
    while (how->after == HOLD && read(fd, ignored, sizeof ignored) > 0) {}
}

static void *receive(void *arg) {
    receiver *r = arg;
    int fd;
    while ((fd = accept(r->listener, NULL, NULL)) >= 0) {
        char id[40];
        if (read_request(fd, id)) {
            pthread_mutex_lock(&r->lock);
            int first = r->requests == 0;
            if (r->requests < 8) snprintf(r->deliveries[r->requests], sizeof r->deliveries[0], "%s", id);
            r->requests++;
            pthread_mutex_unlock(&r->lock);
            if (first && r->how)
                misbehave(fd, r->how);
            else
                say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        close(fd);
    }
    return NULL;
}

/* Bound, but not listening: connections are refused. */
static void receiver_bind(receiver *r, const failure *how) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    *r = (receiver){.how = how};
    pthread_mutex_init(&r->lock, NULL);
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&address, &length), 0);
    r->port = ntohs(address.sin_port);
}

static void receiver_listen(receiver *r) {
    assert_int_equal(listen(r->listener, 8), 0);
    assert_int_equal(pthread_create(&r->thread, NULL, receive, r), 0);
}

static void receiver_stop(receiver *r) {
    shutdown(r->listener, SHUT_RDWR);
    pthread_join(r->thread, NULL);
    close(r->listener);
    pthread_mutex_destroy(&r->lock);
}

/* The log line of the first event "STATE" of a channel; fails when there is none. */
static void event_of(const world *w, const char *channel, const char *state, char out[300]) {
    char wanted[100];
    snprintf(wanted, sizeof wanted, " webhook:%s %s ", channel, state);
    const char *at = strstr(w->events, wanted);
    if (!at) fail_msg("no %s in\n%s", wanted, w->events);
    snprintf(out, 300, "%.*s", (int)strcspn(at, "\n"), at);
}

static void test_every_failure_ends_in_a_delivery(void **state) {
    (void)state;
    world w;
    receiver receivers[FAILURES];
    char json[4096] = "{\"channels\":{", line[300];
    for (size_t i = 0; i < FAILURES; i++) {
        size_t used = strlen(json);
        receiver_bind(&receivers[i], &failures[i]);
        receiver_listen(&receivers[i]);
        snprintf(json + used, sizeof json - used, "%s\"webhook:%s\":{\"url\":\"http://127.0.0.1:%u/s3cret\"}",
                 i ? "," : "", failures[i].name, receivers[i].port);
    }
    strcat(json, "}}");
    begin_as(&w, NULL, TIMEOUT_MS);
    load(&w, "%s", json);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    for (size_t i = 0; i < FAILURES; i++) {
        char name[64];
        snprintf(name, sizeof name, "webhook:%s", failures[i].name);
        send_alerts(&w, name, &a, 1);
    }
    LOOP_UNTIL(&w.loop, w.sent == (int)FAILURES);
    for (size_t i = 0; i < FAILURES; i++) {
        const failure *f = &failures[i];
        int once = receivers[i].requests == 1;
        if (once != !f->error) fail_msg("%s: %d requests\n%s", f->name, receivers[i].requests, w.events);
        if (once) continue;
        event_of(&w, f->name, "retry", line);
        if (!strstr(line, f->error)) fail_msg("%s: %s", f->name, line);
        assert_string_equal(receivers[i].deliveries[0], receivers[i].deliveries[1]);
        assert_int_equal(strlen(receivers[i].deliveries[0]), 32);
    }
    assert_null(strstr(w.log, "s3cret"));
    assert_null(strstr(w.events, "s3cret"));
    assert_null(strstr(w.log, "127.0.0.1"));
    end(&w);
    for (size_t i = 0; i < FAILURES; i++) receiver_stop(&receivers[i]);
}

static void test_one_that_refuses_connections_is_told_once_it_listens(void **state) {
    (void)state;
    world w;
    receiver r;
    char line[300];
    receiver_bind(&r, NULL);
    begin(&w);
    load(&w,
         "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"},\"webhook:nowhere\":{\"url\":"
         "\"http://receiver.invalid/s3cret\"}}}",
         r.port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:ops", &a, 1);
    send_alerts(&w, "webhook:nowhere", &a, 1);
    LOOP_UNTIL(&w.loop, strstr(w.events, "webhook:ops retry") && strstr(w.events, "webhook:nowhere retry"));
    event_of(&w, "ops", "retry", line);
    assert_non_null(strstr(line, "connect"));
    event_of(&w, "nowhere", "retry", line); /* a machine without a network may time out instead */
    assert_true(strstr(line, "resolve host") || strstr(line, "Timeout"));
    assert_null(strstr(w.log, "invalid"));
    receiver_listen(&r);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    end(&w);
    receiver_stop(&r);
}

static char *text_of(const char *path) {
    static char texts[2][8192];
    static int turn;
    char *text = texts[turn ^= 1];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof texts[0] - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void test_a_certificate_that_nobody_signed_gets_nothing(void **state) {
    (void)state;
    world w;
    char dir[64], cert[100], key[100], line[300];
    temporary_dir_make(dir);
    if (!temporary_certificate(dir, cert, key)) {
        temporary_dir_remove(dir);
        skip();
    }
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *good = https_server_start(answers, 1, text_of(cert), text_of(key));
    http_server *plain = http_server_start(answers, 1);
    static const char format[] = "{\"channels\":{\"webhook:tls\":{\"url\":\"https://127.0.0.1:%u/\"},"
                                 "\"webhook:name\":{\"url\":\"https://localhost:%u/\"},"
                                 "\"webhook:plain\":{\"url\":\"https://127.0.0.1:%u/\"}}}";
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    begin(&w); /* nobody vouches for it */
    load(&w, format, good->port, good->port, plain->port);
    send_alerts(&w, "webhook:tls", &a, 1);
    send_alerts(&w, "webhook:plain", &a, 1);
    LOOP_UNTIL(&w.loop, strstr(w.events, "webhook:tls retry") && strstr(w.events, "webhook:plain retry"));
    event_of(&w, "tls", "retry", line);
    assert_non_null(strstr(line, "SSL"));
    assert_int_equal(http_server_requests(good) + http_server_requests(plain), 0);
    end(&w);
    begin_with_ca(&w, cert); /* its own file does, for the name that is in it */
    load(&w, format, good->port, good->port, plain->port);
    send_alerts(&w, "webhook:tls", &a, 1);
    send_alerts(&w, "webhook:name", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1 && strstr(w.events, "webhook:name retry"));
    assert_non_null(strstr(w.events, "webhook:tls sent 1"));
    assert_int_equal(http_server_requests(good), 1);
    end(&w);
    http_server_stop(good);
    http_server_stop(plain);
    temporary_dir_remove(dir);
}

static void test_a_body_without_end_is_an_answer(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ENDLESS, 503, NULL, NULL, NULL}, {ENDLESS, 200, NULL, NULL, NULL}};
    http_server *server = http_server_start(answers, 2);
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"}}}", server->port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:ops", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_non_null(strstr(w.events, "retry 1 HTTP 503"));
    assert_int_equal(http_server_requests(server), 2);
    end(&w);
    http_server_stop(server);
}

static void test_what_is_refused_every_time_steps_aside_for_the_others(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 400, "no", NULL, NULL}, {ANSWER, 400, "no", NULL, NULL},
                                     {ANSWER, 400, "no", NULL, NULL}, {ANSWER, 400, "no", NULL, NULL},
                                     {ANSWER, 400, "no", NULL, NULL}, {ANSWER, 200, "ok", NULL, NULL}};
    static const char format[] = "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"}}}";
    http_server *server = http_server_start(answers, 6);
    begin(&w);
    load(&w, format, server->port);
    const si__alert a = alert_of("poison", "x", SI__ALERT_FIRING), b = alert_of("fine", "y", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:ops", &a, 1);
    send_alerts(&w, "webhook:ops", &b, 1);
    for (int i = 1; i <= 5; i++) { /* new settings are a new try: no waiting for the back-off here */
        LOOP_UNTIL(&w.loop, w.retries >= i);
        if (i < 5) load(&w, format, server->port);
    }
    assert_non_null(strstr(w.events, "tried again every hour"));
    assert_non_null(strstr(w.log, "refused every time"));
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_non_null(strstr(http_server_request(server, 5)->body, "fine"));
    assert_int_equal(si__notify_pending(w.notify), 1); /* not given up */
    assert_int_equal(w.failed, 0);
    load(&w, format, server->port); /* and a corrected file brings it back at once */
    LOOP_UNTIL(&w.loop, w.sent == 2);
    assert_non_null(strstr(http_server_request(server, 6)->body, "poison"));
    end(&w);
    http_server_stop(server);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_failure_ends_in_a_delivery),
        cmocka_unit_test(test_one_that_refuses_connections_is_told_once_it_listens),
        cmocka_unit_test(test_a_certificate_that_nobody_signed_gets_nothing),
        cmocka_unit_test(test_a_body_without_end_is_an_answer),
        cmocka_unit_test(test_what_is_refused_every_time_steps_aside_for_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
