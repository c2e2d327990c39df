/*
 * libcurl asks for sockets to be watched and for one timer; libuv does both; what is finished is handed to its owner.
 *
 * Called by upload.c and notify on the loop's thread.
 */
#include "transfers.h"

#include <fcntl.h>
#include <pthread.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "curl_pair.h"

#define SOCKET_LOWEST 200 /* out of the way of programs that count on low numbers */
#define HEAD_BYTES ((size_t)64 << 10)

typedef struct transfer {
    TAILQ_ENTRY(transfer) link;
    CURL *easy;
    void (*done)(void *arg, CURLcode code);
    void *arg;
} transfer;

TAILQ_HEAD(transfers, transfer);

struct si__transfers {
    CURLM *multi;
    uv_loop_t *loop;
    uv_timer_t timer;
    struct transfers running;
    size_t open_handles; /* polls and the timer, until libuv has let go of them */
    int dead;            /* closing */
    void (*closed)(void *arg);
    void *closed_arg;
};

typedef struct watch { /* one socket */
    uv_poll_t poll;
    si__transfers *transfers;
    curl_socket_t socket;
} watch;

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_status;

/* Never undone: the host may use libcurl too, and its clean-up counts calls. */
static void init_curl(void) {
    curl_status = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void maybe_free(si__transfers *t) {
    if (!t->dead || t->open_handles) return;
    void (*closed)(void *) = t->closed;
    void *arg = t->closed_arg;
    free(t);
    if (closed) closed(arg);
}

static void collect_finished(si__transfers *t) {
    CURLMsg *message;
    int left;
    while (t->multi && (message = curl_multi_info_read(t->multi, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;
        transfer *found = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&found);
        curl_multi_remove_handle(t->multi, easy);
        TAILQ_REMOVE(&t->running, found, link);
        transfer over = *found;
        free(found);
        over.done(over.arg, code); /* may start another, or close everything */
        if (t->dead) return;
    }
}

static void on_timer(uv_timer_t *timer) {
    si__transfers *t = timer->data;
    int running;
    curl_multi_socket_action(t->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect_finished(t);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg) {
    (void)multi;
    si__transfers *t = arg;
    if (t->dead) return 0;
    if (timeout_ms < 0)
        uv_timer_stop(&t->timer);
    else
        uv_timer_start(&t->timer, on_timer, (uint64_t)timeout_ms, 0); /* 0: from the loop, never from inside curl */
    return 0;
}

static void on_socket_ready(uv_poll_t *poll, int status, int events) {
    watch *w = poll->data;
    si__transfers *t = w->transfers;
    int running, flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
    curl_multi_socket_action(t->multi, w->socket, flags, &running); /* may close this watch */
    collect_finished(t);
}

static void on_watch_closed(uv_handle_t *handle) {
    watch *w = handle->data;
    si__transfers *t = w->transfers;
    free(w);
    t->open_handles--;
    maybe_free(t);
}

static watch *watch_new(si__transfers *t, curl_socket_t socket) {
    watch *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->transfers = t;
    w->socket = socket;
    w->poll.data = w;
    if (uv_poll_init_socket(t->loop, &w->poll, socket)) {
        free(w);
        return NULL;
    }
    t->open_handles++;
    curl_multi_assign(t->multi, socket, w);
    return w;
}

static int on_curl_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg) {
    (void)easy;
    si__transfers *t = arg;
    watch *w = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (!w) return 0;
        curl_multi_assign(t->multi, socket, NULL);
        uv_poll_stop(&w->poll); /* at once: the socket is closed right after */
        uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        return 0;
    }
    if (!w && !(w = watch_new(t, socket))) return -1;
    int events = (what != CURL_POLL_OUT ? UV_READABLE : 0) | (what != CURL_POLL_IN ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_socket_ready) ? -1 : 0;
}

si__transfers *si__transfers_new(uv_loop_t *loop) {
    pthread_once(&curl_once, init_curl);
    if (curl_status) return NULL;
    si__transfers *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->loop = loop;
    TAILQ_INIT(&t->running);
    t->multi = si__curl_multi_init();
    if (!t->multi) {
        free(t);
        return NULL;
    }
    uv_timer_init(loop, &t->timer);
    t->timer.data = t;
    t->open_handles = 1;
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
    curl_multi_setopt(t->multi, CURLMOPT_MAXCONNECTS, 4L);
    return t;
}

/* ---- One transfer ---- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)arg, (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, SOCKET_LOWEST);
    if (high < 0) return fd;
    close(fd);
    return high;
}

static size_t keep_body(char *data, size_t size, size_t count, void *arg) {
    si__transfer_body *body = arg;
    size_t length = size * count;
    if (length > SI__TRANSFER_BODY_BYTES - body->length) return 0; /* ends the transfer */
    memcpy(body->text + body->length, data, length);
    body->length += length;
    body->text[body->length] = '\0';
    return length;
}

static size_t count_head(char *data, size_t size, size_t count, void *arg) {
    (void)data;
    si__transfer_body *body = arg;
    body->head_bytes += size * count;
    return body->head_bytes > HEAD_BYTES ? 0 : size * count;
}

CURL *si__transfer_handle(const char *url, const char *protocols, const char *proxy_url, const char *ca_file,
                          si__transfer_body *body) {
    CURL *easy = curl_easy_init();
    if (!easy) return NULL;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_DEFAULT_PROTOCOL, "https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 30000L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 10L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, 15L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, count_head);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, body);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_URL, url);
    if (!code) code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, protocols);
    if (!code) code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "si/" SI_VERSION);
    if (!code && proxy_url && *proxy_url) code = curl_easy_setopt(easy, CURLOPT_PROXY, proxy_url);
    if (!code && ca_file && *ca_file) code = curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    if (!code) return easy;
    curl_easy_cleanup(easy);
    return NULL;
}

int si__transfers_start(si__transfers *t, CURL *easy, void (*done)(void *arg, CURLcode code), void *arg) {
    transfer *started = malloc(sizeof *started);
    if (!started) return SI_ENOMEM;
    *started = (transfer){.easy = easy, .done = done, .arg = arg};
    curl_easy_setopt(easy, CURLOPT_PRIVATE, started);
    TAILQ_INSERT_TAIL(&t->running, started, link);
    if (!curl_multi_add_handle(t->multi, easy)) return SI_OK; /* it asks for the timer; all happens from there */
    TAILQ_REMOVE(&t->running, started, link);
    free(started);
    return SI_ENOMEM;
}

void si__transfers_cancel(si__transfers *t, CURL *easy) {
    transfer *running;
    TAILQ_FOREACH(running, &t->running, link) {
        if (running->easy != easy) continue;
        TAILQ_REMOVE(&t->running, running, link);
        curl_multi_remove_handle(t->multi, easy);
        free(running);
        return;
    }
}

static void on_timer_closed(uv_handle_t *handle) {
    si__transfers *t = handle->data;
    t->open_handles--;
    maybe_free(t);
}

void si__transfers_close(si__transfers *t, void (*closed)(void *arg), void *arg) {
    t->closed = closed;
    t->closed_arg = arg;
    t->dead = 1;
    curl_multi_cleanup(t->multi); /* closes idle connections, through on_curl_socket */
    t->multi = NULL;
    uv_timer_stop(&t->timer);
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}
