/*
 * Upload: one report at a time out of the spool and to the dashboard, until there is none or one could not be
 * delivered.
 *
 * Loop thread. Everything that touches the spool's disk is a job on the worker, one job at a time; its result comes
 * back to on_job_done. What an HTTP answer means is in upload_answer.c.
 */
#include "upload.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>

#include "transfers.h"
#include "upload_answer.h"

#define TICK_MS 5000
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS (5 * 60 * 1000)
#define LOG_EVERY_MS ((uint64_t)10 * 60 * 1000)
#define PARK_AFTER 3 /* server errors in a row on one report */
#define PARK_MS ((uint64_t)10 * 60 * 1000)
#define PARKED_MAX 16
#define GONE_MS ((uint64_t)60 * 60 * 1000) /* a deleted application is asked for again so often */

typedef enum verb { SETTLE_ACK, SETTLE_RETURN, SETTLE_REJECT, SETTLE_DROP } verb;

typedef struct settle { /* what a record has come to; carried out by the next job */
    uint64_t handle;
    verb verb;
} settle;

enum { SETTLES = PARKED_MAX + 1 };

typedef struct job { /* what the worker is asked for, and what it brings */
    settle settles[SETTLES];
    size_t settle_count;
    int tick, take;
    int64_t now_ms;
    int taken_status;
    si__spool_record record;
} job;

typedef struct waiter {
    STAILQ_ENTRY(waiter) link;
    void (*done)(void *arg);
    void *arg;
} waiter;

STAILQ_HEAD(waiters, waiter);

struct si__upload {
    si__worker *worker;
    si__spool *spool;
    si__transfers *transfers;
    uv_timer_t tick, retry;
    char *url, *proxy_url, *ca_file;
    struct curl_slist *headers; /* those that every request has */
    si__log_fn log;
    void (*on_stored)(void *log_arg, const si__report_id *id);
    void *log_arg;
    int enabled;

    /* for the next job */
    settle settles[SETTLES];
    size_t settle_count;
    int tick_due, write_due;
    job job; /* the worker's while busy */
    int busy;

    /* the transfer */
    si__spool_record record; /* payload NULL: none */
    CURL *easy;
    struct curl_slist *record_headers;
    si__transfer_body body;

    /* retrying */
    int waiting; /* back-off: `retry` runs */
    unsigned failures_in_row;
    uint64_t failed_handle;
    unsigned failed_times;
    uint64_t parked[PARKED_MAX];
    size_t parked_count;
    uint64_t unpark_at_ms;  /* loop time */
    uint64_t gone_until_ms; /* loop time: until then reports are dropped unsent, the application was deleted */
    uint64_t random;
    struct waiters waiters; /* of si__upload_try_now */

    si__upload_state state;
    uint64_t logged_at_ms; /* loop time of the last complaint; 0: none */
    si__answer_kind logged_kind;

    int closing, open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pump(si__upload *u);

/* ---- State and log ---- */

static void note_success(si__upload *u) {
    u->gone_until_ms = 0;
    if (u->logged_at_ms && u->log) u->log(u->log_arg, SI_LOG_NOTICE, "reports reach the dashboard again");
    u->logged_at_ms = 0;
    u->failures_in_row = 0;
    u->failed_times = 0;
    u->state.reachable = 1;
    u->state.unreachable_since_ms = 0;
    u->state.last_error[0] = '\0';
}

/* One line when it begins or changes its nature, then one every ten minutes. The key is never part of it. */
static void complain(si__upload *u, si__answer_kind kind, const char *what) {
    uint64_t now = uv_now(u->tick.loop) + 1;
    if (u->logged_at_ms && u->logged_kind == kind && now - u->logged_at_ms < LOG_EVERY_MS) return;
    u->logged_at_ms = now;
    u->logged_kind = kind;
    if (u->log)
        u->log(u->log_arg, kind == SI__ANSWER_KEY || kind == SI__ANSWER_GONE ? SI_LOG_ERROR : SI_LOG_WARN, what);
}

static void note_failure(si__upload *u, const si__answer *answer) {
    char line[sizeof answer->what + 64];
    u->state.failures++;
    u->failures_in_row++;
    u->state.reachable = 0;
    if (!u->state.unreachable_since_ms) u->state.unreachable_since_ms = unix_ms();
    snprintf(u->state.last_error, sizeof u->state.last_error, "%.*s", (int)sizeof u->state.last_error - 1,
             answer->what);
    snprintf(line, sizeof line, "reports do not reach the dashboard: %s", answer->what);
    complain(u, answer->kind, line);
}

static void finish_waiters(si__upload *u) {
    struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
    STAILQ_CONCAT(&ready, &u->waiters);
    waiter *w;
    while ((w = STAILQ_FIRST(&ready))) {
        STAILQ_REMOVE_HEAD(&ready, link);
        w->done(w->arg);
        free(w);
    }
}

/* ---- Back-off ---- */

static uint64_t next_random(si__upload *u) { /* xorshift64*: spreads agents, guards nothing */
    u->random ^= u->random >> 12;
    u->random ^= u->random << 25;
    u->random ^= u->random >> 27;
    return u->random * 2685821657736338717ull;
}

static void on_retry(uv_timer_t *timer) {
    si__upload *u = timer->data;
    u->waiting = 0;
    pump(u);
}

static void back_off(si__upload *u, uint64_t retry_after_ms) {
    uint64_t most = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < u->failures_in_row && most < BACKOFF_MOST_MS; i++) most *= 2;
    if (most > BACKOFF_MOST_MS) most = BACKOFF_MOST_MS;
    uint64_t delay = BACKOFF_FIRST_MS + next_random(u) % (most - BACKOFF_FIRST_MS + 1);
    if (retry_after_ms) delay = retry_after_ms + next_random(u) % BACKOFF_FIRST_MS;
    u->waiting = 1;
    uv_timer_start(&u->retry, on_retry, delay, 0);
}

/* ---- Settling ---- */

static void settle_record(si__upload *u, uint64_t handle, verb v) {
    if (u->settle_count < sizeof u->settles / sizeof *u->settles) u->settles[u->settle_count++] = (settle){handle, v};
}

/* A report that the server fails on every time must not stop the others: it is held for a while. */
static int park(si__upload *u, uint64_t handle) {
    u->failed_times = u->failed_handle == handle ? u->failed_times + 1 : 1;
    u->failed_handle = handle;
    if (u->failed_times < PARK_AFTER || u->parked_count == PARKED_MAX) return 0;
    if (!u->parked_count) u->unpark_at_ms = uv_now(u->tick.loop) + PARK_MS;
    u->parked[u->parked_count++] = handle;
    u->failed_times = 0;
    return 1;
}

static void unpark_due(si__upload *u) {
    if (!u->parked_count || u->settle_count || uv_now(u->tick.loop) < u->unpark_at_ms) return;
    while (u->parked_count) settle_record(u, u->parked[--u->parked_count], SETTLE_RETURN);
}

static void apply_answer(si__upload *u, const si__answer *answer, uint64_t handle) {
    switch (answer->kind) {
    case SI__ANSWER_STORED:
    case SI__ANSWER_DUPLICATE:
        u->state.sent++;
        if (answer->kind == SI__ANSWER_DUPLICATE) u->state.duplicates++;
        note_success(u);
        settle_record(u, handle, SETTLE_ACK);
        if (u->on_stored) u->on_stored(u->log_arg, &u->record.id);
        return;
    case SI__ANSWER_REJECTED:
        u->state.rejected++;
        note_success(u);
        snprintf(u->state.last_error, sizeof u->state.last_error, "%.*s", (int)sizeof u->state.last_error - 1,
                 answer->what);
        complain(u, answer->kind, answer->what);
        settle_record(u, handle, SETTLE_REJECT);
        return;
    case SI__ANSWER_GONE: /* no waiting: the spool is to be emptied */
        u->state.rejected++;
        note_failure(u, answer);
        u->gone_until_ms = uv_now(u->tick.loop) + GONE_MS;
        settle_record(u, handle, SETTLE_DROP);
        return;
    case SI__ANSWER_KEY:
    case SI__ANSWER_SERVER:
    case SI__ANSWER_NETWORK:
    case SI__ANSWER_FOREIGN:
        break;
    }
    note_failure(u, answer);
    if (!answer->may_be_the_report || !park(u, handle)) settle_record(u, handle, SETTLE_RETURN);
    back_off(u, answer->retry_after_ms);
    finish_waiters(u); /* that was their attempt */
}

/* ---- Sending ---- */

static void drop_transfer(si__upload *u) {
    if (u->easy) curl_easy_cleanup(u->easy);
    curl_slist_free_all(u->record_headers);
    free(u->record.payload);
    u->easy = NULL;
    u->record_headers = NULL;
    u->record.payload = NULL;
}

static void on_sent(void *arg, CURLcode code) {
    si__upload *u = arg;
    si__answer answer;
    uint64_t handle = u->record.handle;
    si__answer_read(u->easy, code, &u->body, &answer);
    drop_transfer(u);
    apply_answer(u, &answer, handle);
    pump(u);
}

static size_t hex(const uint8_t *bytes, char *out) {
    for (size_t i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return 32;
}

/* Every request has its own list: the common headers are copied, with the report's id. */
static struct curl_slist *request_headers(const si__upload *u, const si__report_id *id) {
    char line[160] = "X-Si-Report-Id: ";
    size_t at = strlen(line);
    at += hex(id->agent, line + at);
    line[at++] = '-';
    at += hex(id->boot, line + at);
    snprintf(line + at, sizeof line - at, "-%llu", (unsigned long long)id->sequence);
    struct curl_slist *list = curl_slist_append(NULL, line);
    for (const struct curl_slist *h = u->headers; h && list; h = h->next) {
        struct curl_slist *longer = curl_slist_append(list, h->data);
        if (!longer) curl_slist_free_all(list);
        list = longer;
    }
    return list;
}

static int start_transfer(si__upload *u) {
    u->body.length = u->body.head_bytes = 0;
    u->body.text[0] = '\0';
    u->easy = si__transfer_handle(u->url, "http,https", u->proxy_url, u->ca_file, &u->body);
    u->record_headers = request_headers(u, &u->record.id);
    if (!u->easy || !u->record_headers) return SI_ENOMEM;
    curl_easy_setopt(u->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(u->easy, CURLOPT_POSTFIELDS, (const char *)u->record.payload);
    curl_easy_setopt(u->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)u->record.length);
    curl_easy_setopt(u->easy, CURLOPT_HTTPHEADER, u->record_headers);
    return si__transfers_start(u->transfers, u->easy, on_sent, u);
}

static void send_record(si__upload *u) {
    if (!start_transfer(u)) return;
    si__answer none = {.kind = SI__ANSWER_NETWORK, .what = "out of memory"};
    uint64_t handle = u->record.handle;
    drop_transfer(u);
    apply_answer(u, &none, handle);
}

static void drop_record(si__upload *u) {
    u->state.rejected++;
    settle_record(u, u->record.handle, SETTLE_DROP);
    drop_transfer(u);
}

/* ---- The job on the worker ---- */

static void job_work(void *arg) {
    si__upload *u = arg;
    job *j = &u->job;
    for (size_t i = 0; i < j->settle_count; i++) {
        uint64_t handle = j->settles[i].handle;
        if (j->settles[i].verb == SETTLE_ACK)
            si__spool_ack(u->spool, handle);
        else if (j->settles[i].verb == SETTLE_REJECT)
            si__spool_reject(u->spool, handle);
        else if (j->settles[i].verb == SETTLE_DROP)
            si__spool_drop(u->spool, handle);
        else
            si__spool_return(u->spool, handle);
    }
    if (j->tick)
        si__spool_tick(u->spool, j->now_ms);
    else
        si__spool_write_pending(u->spool);
    j->taken_status = j->take ? si__spool_take(u->spool, &j->record) : SI_ESTATE;
}

static void maybe_free(si__upload *u);

static void on_job_done(void *arg) {
    si__upload *u = arg;
    u->busy = 0;
    if (u->closing) {
        maybe_free(u);
        return;
    }
    if (u->job.taken_status == SI_OK) {
        u->record = u->job.record;
        u->job.record.payload = NULL;
        if (u->gone_until_ms > uv_now(u->tick.loop))
            drop_record(u);
        else
            send_record(u);
    }
    if (u->write_due || u->settle_count)
        pump(u);
    else if (u->job.taken_status == SI_ENOTFOUND || !u->enabled)
        finish_waiters(u); /* nothing was asked for since the job began, and it found nothing more */
}

/* Sees to it that a job is under way if there is anything to do. */
static void pump(si__upload *u) {
    if (u->busy || u->closing) return;
    unpark_due(u);
    int take = u->enabled && !u->waiting && !u->easy;
    if (!take && !u->settle_count && !u->tick_due && !u->write_due) return;
    u->job = (job){.tick = u->tick_due, .take = take, .now_ms = unix_ms(), .settle_count = u->settle_count};
    memcpy(u->job.settles, u->settles, sizeof u->settles);
    if (si__worker_submit(u->worker, job_work, on_job_done, u)) return; /* the next tick tries again */
    u->busy = 1;
    u->settle_count = 0;
    u->tick_due = u->write_due = 0;
}

static void on_tick(uv_timer_t *timer) {
    si__upload *u = timer->data;
    u->tick_due = 1;
    pump(u);
}

/* ---- Public ---- */

/* A header value: visible ASCII only, so that a key from a file cannot bring a header of its own. */
static int is_header_safe(const char *text) {
    for (; *text; text++)
        if (*text <= ' ' || *text > '~') return 0;
    return 1;
}

static int add_header(si__upload *u, const char *line) {
    struct curl_slist *longer = curl_slist_append(u->headers, line);
    if (longer) u->headers = longer;
    return longer ? 0 : SI_ENOMEM;
}

static int make_request_parts(si__upload *u, const si__upload_options *o) {
    char *line;
    size_t length = strlen(o->dashboard_url);
    while (length && o->dashboard_url[length - 1] == '/') length--;
    if (asprintf(&u->url, "%.*s/api/v1/reports", (int)length, o->dashboard_url) < 0) {
        u->url = NULL;
        return SI_ENOMEM;
    }
    if (asprintf(&line, "Authorization: Bearer %s", o->agent_key) < 0) return SI_ENOMEM;
    int status = add_header(u, line);
    free(line);
    if (!status) status = add_header(u, "Content-Type: application/msgpack");
    if (!status) status = add_header(u, "Content-Encoding: zstd");
    return status ? status : add_header(u, "Expect:"); /* no waiting for a 100 Continue */
}

static int configure(si__upload *u, const si__upload_options *o) {
    const char *missing = !o->dashboard_url || !*o->dashboard_url ? "no dashboard is configured"
                          : !o->agent_key || !*o->agent_key       ? "no agent key is configured"
                          : !is_header_safe(o->agent_key)         ? "the agent key has characters that no key has"
                                                                  : NULL;
    if (o->proxy_url && !(u->proxy_url = strdup(o->proxy_url))) return SI_ENOMEM;
    if (o->ca_file && !(u->ca_file = strdup(o->ca_file))) return SI_ENOMEM;
    if (!missing) {
        u->enabled = 1;
        return make_request_parts(u, o);
    }
    u->state.unreachable_since_ms = unix_ms();
    snprintf(u->state.last_error, sizeof u->state.last_error, "%s", missing);
    if (o->dashboard_url && *o->dashboard_url && u->log) u->log(u->log_arg, SI_LOG_ERROR, missing);
    return SI_OK;
}

static void free_parts(si__upload *u) {
    curl_slist_free_all(u->headers);
    free(u->url);
    free(u->proxy_url);
    free(u->ca_file);
    free(u);
}

si__upload *si__upload_new(uv_loop_t *loop, si__worker *worker, si__spool *spool, const si__upload_options *options) {
    si__upload *u = calloc(1, sizeof *u);
    if (!u) return NULL;
    u->worker = worker;
    u->spool = spool;
    u->log = options->log;
    u->on_stored = options->on_stored;
    u->log_arg = options->log_arg;
    STAILQ_INIT(&u->waiters);
    if (getrandom(&u->random, sizeof u->random, GRND_NONBLOCK) != (ssize_t)sizeof u->random)
        u->random = (uint64_t)unix_ms() ^ (uintptr_t)u;
    u->random |= 1;
    if (configure(u, options) || !(u->transfers = si__transfers_new(loop))) {
        free_parts(u);
        return NULL;
    }
    uv_timer_init(loop, &u->tick);
    uv_timer_init(loop, &u->retry);
    u->tick.data = u->retry.data = u;
    u->open_handles = 3;
    uv_timer_start(&u->tick, on_tick, TICK_MS, TICK_MS);
    pump(u); /* what a former run has left */
    return u;
}

void si__upload_kick(si__upload *u) {
    u->write_due = 1;
    pump(u);
}

void si__upload_try_now(si__upload *u, void (*done)(void *arg), void *arg) {
    waiter *w = malloc(sizeof *w);
    if (!w) { /* no way to remember the caller: it must not wait for ever */
        done(arg);
        return;
    }
    *w = (waiter){.done = done, .arg = arg};
    STAILQ_INSERT_TAIL(&u->waiters, w, link);
    u->waiting = 0;
    uv_timer_stop(&u->retry);
    u->write_due = 1;
    pump(u);
}

void si__upload_state_get(const si__upload *u, si__upload_state *out) {
    *out = u->state;
}

/* ---- Closing ---- */

static void maybe_free(si__upload *u) {
    if (u->open_handles || u->busy) return;
    free(u->job.record.payload); /* taken by a job that ended after the close */
    void (*closed)(void *) = u->closed;
    void *arg = u->closed_arg;
    free_parts(u);
    if (closed) closed(arg);
}

static void on_part_closed(void *arg) {
    si__upload *u = arg;
    u->open_handles--;
    maybe_free(u);
}

static void on_timer_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

void si__upload_close(si__upload *u, void (*closed)(void *arg), void *arg) {
    u->closing = 1;
    u->closed = closed;
    u->closed_arg = arg;
    if (u->easy) {
        si__transfers_cancel(u->transfers, u->easy);
        drop_transfer(u);
    }
    finish_waiters(u);
    uv_close((uv_handle_t *)&u->tick, on_timer_closed);
    uv_close((uv_handle_t *)&u->retry, on_timer_closed);
    si__transfers_close(u->transfers, on_part_closed, u);
}
