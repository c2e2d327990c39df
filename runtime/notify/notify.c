/*
 * The outbox: a queue per channel, one delivery at a time in each, with back-off until accepted.
 *
 * Loop thread, like everything here. Messages are rendered when they are queued, so that nothing of the caller's is
 * kept; a channel is looked up at each attempt, so that a corrected channels file helps what is waiting. With a
 * directory (kept.h) each message is a file until it is accepted.
 */
#include "notify.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <time.h>

#include "../report/transfers.h"
#include "channel.h"
#include "kept.h"
#include "message.h"
#include "request.h"

#define CHANNEL_MOST 500 /* messages that wait for one channel */
#define WAITING_BYTES ((size_t)32 << 20)
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS (5 * 60 * 1000)
#define REFUSALS_MOST 5 /* of one message, until it steps aside */
#define ASIDE_MS (3600 * 1000)
#define PARTIAL_AFTER 2 /* refusals of a mail, until one bad address does not keep it from the others */
#define ALIAS_MOST 50   /* as channel.c allows */

typedef struct delivery { /* one message to one channel */
    TAILQ_ENTRY(delivery) link;
    uint64_t id, number; /* number: of its file */
    char *body;          /* rendered */
    size_t length;
    char key[SI__DELIVERY_BYTES];
    int attempts, refusals;
    uint64_t not_before_ms; /* loop time; 0: with its channel */
} delivery;

TAILQ_HEAD(deliveries, delivery);

typedef struct outbox {         /* of one channel */
    const si__channel *channel; /* NULL: no channels were loaded yet */
    char *name;
    si__notify *notify;
    struct deliveries queue;
    size_t count;
    delivery *running; /* in flight, and in the queue; NULL: none */
    si__request request;
    unsigned failures_in_row;
    uint64_t not_before_ms; /* loop time */
    STAILQ_ENTRY(outbox) link;
} outbox;

STAILQ_HEAD(outboxes, outbox);

struct si__notify {
    uv_loop_t *loop;
    uv_timer_t timer;
    si__transfers *transfers;
    char *ca_file, *proxy_url, *link_base;
    void (*log)(void *arg, int level, const char *message);
    void *log_arg;
    void (*on_event)(void *arg, const si__notify_event *event);
    void *event_arg;
    si__channel *channels;
    size_t channel_count;
    struct outboxes outboxes; /* one per channel ever used and not empty, or still in the file */
    size_t pending, pending_bytes;
    uint32_t timeout_ms;
    si__kept *kept; /* NULL: nothing is kept on disk */
    uint64_t next_id, next_number, random;
    int closing, open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t next_random(si__notify *n) { /* xorshift64*: spreads retries and names deliveries, guards nothing */
    n->random ^= n->random >> 12;
    n->random ^= n->random << 25;
    n->random ^= n->random >> 27;
    return n->random * 2685821657736338717ull;
}

static void tell(si__notify *n, const outbox *box, const delivery *d, const char *state, const char *error) {
    const si__notify_event event = {d->id, box->name, state, error, d->attempts, unix_ms()};
    if (n->on_event) n->on_event(n->event_arg, &event);
}

static void log_line(si__notify *n, int level, const outbox *box, const char *what, const char *error) {
    char line[320];
    snprintf(line, sizeof line, "notification to %s %s: %s", box->name, what, error);
    if (n->log) n->log(n->log_arg, level, line);
}

/* Takes a delivery out of its queue and forgets it, on disk only when it is over for good. */
static void drop(outbox *box, delivery *d, int for_good) {
    si__notify *n = box->notify;
    TAILQ_REMOVE(&box->queue, d, link);
    box->count--;
    n->pending--;
    n->pending_bytes -= d->length;
    if (n->kept && for_good) si__kept_remove(n->kept, d->number, d->key);
    free(d->body);
    free(d);
}

static void finish(outbox *box, delivery *d, const char *state, const char *error) {
    tell(box->notify, box, d, state, error);
    drop(box, d, 1);
}

static void give_up(outbox *box, delivery *d, const char *error) {
    log_line(box->notify, SI_LOG_ERROR, box, "was given up", error);
    finish(box, d, "failed", error);
}

/* ---- Attempts ---- */

static void pump(si__notify *n);

static uint64_t back_off_ms(si__notify *n, const outbox *box, uint64_t retry_after_ms) {
    uint64_t most = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < box->failures_in_row && most < BACKOFF_MOST_MS; i++) most *= 2;
    if (most > BACKOFF_MOST_MS) most = BACKOFF_MOST_MS;
    uint64_t delay = BACKOFF_FIRST_MS + next_random(n) % (most - BACKOFF_FIRST_MS + 1);
    return retry_after_ms > delay ? retry_after_ms : delay;
}

/* What the receivers ask for: Slack one message a second for each of its addresses, PagerDuty 120 events a minute. */
static uint64_t gap_ms(const outbox *box) {
    if (!box->channel) return 0;
    return box->channel->kind == SI__CHANNEL_SLACK ? 1000 : box->channel->kind == SI__CHANNEL_PAGERDUTY ? 500 : 0;
}

static void accepted(outbox *box, delivery *d, const si__request_result *result) {
    si__notify *n = box->notify;
    if (result->partial) log_line(n, SI_LOG_WARN, box, "went through", "but not every address took it");
    if (box->failures_in_row) log_line(n, SI_LOG_NOTICE, box, "went through again", "accepted");
    box->failures_in_row = 0;
    box->not_before_ms = uv_now(n->loop) + gap_ms(box);
    finish(box, d, "sent", NULL);
}

/* The others are not kept waiting by one that the receiver will not have. It is tried again all the same. */
static void step_aside(outbox *box, delivery *d, const char *error) {
    char why[240];
    if (d->refusals == REFUSALS_MOST)
        log_line(box->notify, SI_LOG_ERROR, box, "is refused every time and goes on every hour", error);
    snprintf(why, sizeof why, "%s (refused %d times, tried again every hour)", error, d->refusals);
    d->not_before_ms = uv_now(box->notify->loop) + ASIDE_MS;
    TAILQ_REMOVE(&box->queue, d, link);
    TAILQ_INSERT_TAIL(&box->queue, d, link);
    tell(box->notify, box, d, "retry", why);
}

static void apply_result(outbox *box, delivery *d, const si__request_result *result) {
    si__notify *n = box->notify;
    if (result->accepted) {
        accepted(box, d, result);
        return;
    }
    if (!box->failures_in_row) log_line(n, SI_LOG_WARN, box, "failed and will be tried again", result->error);
    box->failures_in_row++;
    d->refusals += result->permanent;
    int aside = result->permanent && d->refusals >= REFUSALS_MOST;
    if (aside) box->failures_in_row = 1; /* the next one may fare better */
    box->not_before_ms = uv_now(n->loop) + back_off_ms(n, box, result->retry_after_ms);
    if (aside)
        step_aside(box, d, result->error);
    else
        tell(n, box, d, "retry", result->error);
}

static void on_done(void *arg, CURLcode code) {
    outbox *box = arg;
    si__notify *n = box->notify;
    delivery *d = box->running;
    si__request_result result;
    si__request_read(&box->request, code, box->channel, &result);
    si__request_clear(&box->request);
    result.partial = result.accepted && box->channel->kind == SI__CHANNEL_EMAIL && d->refusals >= PARTIAL_AFTER;
    box->running = NULL;
    apply_result(box, d, &result);
    pump(n);
}

static void attempt(outbox *box, delivery *d) {
    si__notify *n = box->notify;
    si__request_result failed = {.error = "out of memory"};
    const si__request_options options = {.delivery = d->key,
                                         .body = d->body,
                                         .length = d->length,
                                         .now_s = unix_ms() / 1000,
                                         .proxy_url = n->proxy_url,
                                         .ca_file = n->ca_file,
                                         .timeout_ms = n->timeout_ms,
                                         .any_address = d->refusals >= PARTIAL_AFTER};
    d->attempts++;
    int status = si__request_prepare(&box->request, box->channel, &options);
    if (!status && (status = si__transfers_start(n->transfers, box->request.easy, on_done, box)))
        si__request_clear(&box->request);
    if (status)
        apply_result(box, d, &failed);
    else
        box->running = d;
}

static void outbox_free(outbox *box) {
    STAILQ_REMOVE(&box->notify->outboxes, box, outbox, link);
    free(box->name);
    free(box);
}

static void on_timer(uv_timer_t *timer) {
    pump(timer->data);
}

/* The first that may go now, or NULL with the time when one may. */
static delivery *due(const outbox *box, uint64_t now, uint64_t *next) {
    delivery *d;
    uint64_t soonest = UINT64_MAX;
    TAILQ_FOREACH(d, &box->queue, link) {
        if (d->not_before_ms <= now) {
            soonest = now;
            break;
        }
        if (d->not_before_ms < soonest) soonest = d->not_before_ms;
    }
    if (d && box->not_before_ms <= now) return d;
    if (soonest < box->not_before_ms) soonest = box->not_before_ms;
    if (soonest < *next) *next = soonest;
    return NULL;
}

/* Starts what is due and sets the timer for what is not yet. */
static void pump(si__notify *n) {
    uint64_t now = uv_now(n->loop), next = UINT64_MAX;
    if (n->closing) return;
    outbox *box;
    STAILQ_FOREACH(box, &n->outboxes, link) {
        if (box->running || !box->channel || TAILQ_EMPTY(&box->queue)) continue;
        delivery *d = due(box, now, &next);
        if (d) attempt(box, d);
        if (d && !box->running && !TAILQ_EMPTY(&box->queue)) due(box, now, &next); /* it could not even be started */
    }
    if (next == UINT64_MAX)
        uv_timer_stop(&n->timer);
    else
        uv_timer_start(&n->timer, on_timer, next > now ? next - now : 1, 0);
}

/* ---- Channels ---- */

static outbox *find_outbox(si__notify *n, const char *name) {
    outbox *box;
    STAILQ_FOREACH(box, &n->outboxes, link)
    if (!strcmp(box->name, name)) return box;
    return NULL;
}

static const si__channel *find_channel(const si__channel *channels, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(channels[i].name, name)) return &channels[i];
    return NULL;
}

static outbox *outbox_new(si__notify *n, const char *name) {
    outbox *box = calloc(1, sizeof *box);
    if (!box || !(box->name = strdup(name))) {
        free(box);
        return NULL;
    }
    box->channel = find_channel(n->channels, n->channel_count, name);
    box->notify = n;
    TAILQ_INIT(&box->queue);
    STAILQ_INSERT_TAIL(&n->outboxes, box, link);
    return box;
}

static void stop_attempt(outbox *box) {
    if (!box->running) return;
    si__transfers_cancel(box->notify->transfers, box->request.easy);
    si__request_clear(&box->request);
    box->running = NULL;
}

int si__notify_channels_load(si__notify *n, const char *json, size_t length, char *error, size_t error_bytes) {
    si__channel *channels;
    size_t count;
    if (error_bytes) error[0] = '\0';
    int status = si__channels_parse(json, length, &channels, &count, error, error_bytes);
    if (status) return status;
    outbox *box, *following;
    for (box = STAILQ_FIRST(&n->outboxes); box; box = following) {
        following = STAILQ_NEXT(box, link);
        delivery *d = box->running;
        if (d) { /* it was sent by the old settings: what became of it is unknown, so it is sent again */
            stop_attempt(box);
            tell(n, box, d, "retry", "the channels were changed meanwhile");
        }
        box->channel = find_channel(channels, count, box->name);
        if (box->failures_in_row) box->not_before_ms = uv_now(n->loop);
        TAILQ_FOREACH(d, &box->queue, link) d->not_before_ms = 0;
        if (box->channel) continue;
        while ((d = TAILQ_FIRST(&box->queue))) give_up(box, d, "the channel was removed");
        outbox_free(box);
    }
    si__channels_free(n->channels, n->channel_count);
    n->channels = channels;
    n->channel_count = count;
    pump(n);
    return SI_OK;
}

/* ---- Sending ---- */

static void name_delivery(si__notify *n, char key[SI__DELIVERY_BYTES]) {
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes)
        for (int i = 0; i < 16; i++) bytes[i] = (uint8_t)(next_random(n) >> 56);
    for (int i = 0; i < 16; i++) snprintf(key + 2 * i, 3, "%02x", bytes[i]);
}

static delivery *delivery_new(si__notify *n, const si__channel *channel, uint64_t id, const si__alert *alerts,
                              size_t count) {
    delivery *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->id = id;
    d->number = n->next_number++;
    name_delivery(n, d->key);
    si__message message = {.alerts = alerts, .count = count, .link_base = n->link_base, .time_ms = unix_ms()};
    memcpy(message.delivery, d->key, sizeof d->key);
    d->body = channel->kind == SI__CHANNEL_EMAIL ? si__message_mail(&message, channel, &d->length)
                                                 : si__message_json(&message, channel, &d->length);
    if (d->body) return d;
    free(d);
    return NULL;
}

static uint64_t refuse(char *error, size_t error_bytes, const char *what, const char *destination) {
    if (error_bytes) snprintf(error, error_bytes, "%s %s", what, destination);
    return 0;
}

/* PagerDuty knows incidents one by one; the others take a group as one message. */
static size_t parts_of(const si__channel *channel, size_t count) {
    return channel->kind == SI__CHANNEL_PAGERDUTY ? count : 1;
}

/* What is over the bounds goes, the oldest of the longest queue first, and not silently. */
static void make_room(outbox *box) {
    si__notify *n = box->notify;
    while (box->count >= CHANNEL_MOST || n->pending_bytes > WAITING_BYTES) {
        outbox *longest = box, *other;
        STAILQ_FOREACH(other, &n->outboxes, link) {
            if (box->count < CHANNEL_MOST && other->count > longest->count) longest = other;
        }
        delivery *oldest = TAILQ_FIRST(&longest->queue);
        if (oldest && oldest == longest->running) oldest = TAILQ_NEXT(oldest, link);
        if (!oldest) return;
        give_up(longest, oldest, "too much was waiting: the oldest gave way");
    }
}

static void enqueue(outbox *box, delivery *d) {
    make_room(box);
    TAILQ_INSERT_TAIL(&box->queue, d, link);
    box->count++;
    box->notify->pending++;
    box->notify->pending_bytes += d->length;
    tell(box->notify, box, d, "queued", NULL);
}

static int queue(si__notify *n, const si__channel *channel, uint64_t id, const si__alert *alerts, size_t count) {
    outbox *box = find_outbox(n, channel->name);
    if (!box && !(box = outbox_new(n, channel->name))) return SI_ENOMEM;
    size_t parts = parts_of(channel, count), each = count / parts;
    for (size_t i = 0; i < parts; i++) {
        delivery *d = delivery_new(n, channel, id, alerts + i * each, each);
        if (!d) return SI_ENOMEM;
        si__kept_message file = {d->number, box->name, "", unix_ms(), d->body, d->length};
        memcpy(file.key, d->key, sizeof file.key);
        if (n->kept) si__kept_put(n->kept, &file);
        enqueue(box, d);
    }
    return SI_OK;
}

static size_t targets_of(const si__notify *n, const char *destination, const si__channel *targets[ALIAS_MOST]) {
    const si__channel *named = find_channel(n->channels, n->channel_count, destination);
    size_t count = 0;
    if (named && named->kind != SI__CHANNEL_ALIAS) targets[count++] = named;
    for (size_t i = 0; named && named->kind == SI__CHANNEL_ALIAS && i < named->to_count && count < ALIAS_MOST; i++)
        targets[count++] = find_channel(n->channels, n->channel_count, named->to[i]);
    return count;
}

size_t si__notify_channels(const si__notify *n, const char *destination, const char **names, size_t most) {
    const si__channel *targets[ALIAS_MOST];
    size_t count = targets_of(n, destination, targets);
    for (size_t i = 0; i < count && i < most; i++) names[i] = targets[i]->name;
    return count;
}

uint64_t si__notify_send(si__notify *n, const char *destination, const si__alert *alerts, size_t count, char *error,
                         size_t error_bytes) {
    const si__channel *targets[ALIAS_MOST];
    if (error_bytes) error[0] = '\0';
    if (n->closing || !count) return refuse(error, error_bytes, "nothing can be sent to", destination);
    size_t target_count = targets_of(n, destination, targets);
    if (!target_count) return refuse(error, error_bytes, "no channel is named", destination);
    uint64_t id = n->next_id++;
    int status = SI_OK;
    for (size_t i = 0; i < target_count; i++) {
        if (alerts->acked && targets[i]->kind != SI__CHANNEL_PAGERDUTY) continue;
        int queued = queue(n, targets[i], id, alerts, count);
        if (!status) status = queued;
    }
    pump(n);
    return status ? refuse(error, error_bytes, "out of memory for", destination) : id;
}

size_t si__notify_pending(const si__notify *n) {
    return n->pending;
}

/* ---- On disk ---- */

static void take_kept(void *arg, const si__kept_message *m) {
    si__notify *n = arg;
    outbox *box = find_outbox(n, m->channel);
    if (!box && !(box = outbox_new(n, m->channel))) return;
    delivery *d = calloc(1, sizeof *d);
    if (!d || !(d->body = malloc(m->length + 1))) {
        free(d);
        return;
    }
    memcpy(d->body, m->body, m->length);
    d->body[m->length] = '\0';
    d->length = m->length;
    memcpy(d->key, m->key, sizeof d->key);
    d->id = n->next_id++;
    d->number = m->number;
    if (m->number >= n->next_number) n->next_number = m->number + 1;
    enqueue(box, d);
}

int si__notify_keep(si__notify *n, si__worker *worker, const char *dir) {
    char line[128];
    n->kept = si__kept_open(worker, dir);
    if (!n->kept) return SI_ENOMEM;
    size_t bad = si__kept_each(n->kept, take_kept, n);
    if (bad && n->log) {
        snprintf(line, sizeof line, "%zu messages in the outbox were damaged and are set aside", bad);
        n->log(n->log_arg, SI_LOG_ERROR, line);
    }
    if (n->pending && n->log) {
        snprintf(line, sizeof line, "%zu notifications of an earlier run are still to be delivered", n->pending);
        n->log(n->log_arg, SI_LOG_NOTICE, line);
    }
    pump(n);
    return SI_OK;
}

const char *si__notify_keep_error(const si__notify *n) {
    return n->kept ? si__kept_error(n->kept) : "";
}

/* ---- Life ---- */

static char *copy(const char *text, int *failed) {
    char *to = text && *text ? strdup(text) : NULL;
    if (text && *text && !to) *failed = 1;
    return to;
}

static void free_parts(si__notify *n) {
    si__channels_free(n->channels, n->channel_count);
    si__kept_close(n->kept);
    free(n->ca_file);
    free(n->proxy_url);
    free(n->link_base);
    free(n);
}

si__notify *si__notify_new(uv_loop_t *loop, const si__notify_options *options) {
    si__notify *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    int failed = 0;
    n->loop = loop;
    n->log = options->log;
    n->log_arg = options->log_arg;
    n->on_event = options->on_event;
    n->event_arg = options->event_arg;
    n->ca_file = copy(options->ca_file, &failed);
    n->proxy_url = copy(options->proxy_url, &failed);
    n->link_base = copy(options->link_base, &failed);
    n->timeout_ms = options->timeout_ms;
    n->next_id = n->next_number = 1;
    if (getrandom(&n->random, sizeof n->random, GRND_NONBLOCK) != (ssize_t)sizeof n->random)
        n->random = (uint64_t)unix_ms() ^ (uintptr_t)n;
    n->random |= 1;
    STAILQ_INIT(&n->outboxes);
    if (failed || !(n->transfers = si__transfers_new(loop))) {
        free_parts(n);
        return NULL;
    }
    uv_timer_init(loop, &n->timer);
    n->timer.data = n;
    n->open_handles = 2;
    return n;
}

static void on_part_closed(void *arg) {
    si__notify *n = arg;
    if (--n->open_handles) return;
    void (*closed)(void *) = n->closed;
    void *closed_arg = n->closed_arg;
    free_parts(n);
    if (closed) closed(closed_arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

void si__notify_close(si__notify *n, void (*closed)(void *arg), void *arg) {
    outbox *box;
    n->closing = 1;
    n->closed = closed;
    n->closed_arg = arg;
    while ((box = STAILQ_FIRST(&n->outboxes))) {
        stop_attempt(box);
        for (delivery *d; (d = TAILQ_FIRST(&box->queue));)
            if (n->kept)
                drop(box, d, 0);
            else
                give_up(box, d, "the program ended before it was accepted");
        outbox_free(box);
    }
    uv_close((uv_handle_t *)&n->timer, on_timer_closed);
    si__transfers_close(n->transfers, on_part_closed, n);
}
