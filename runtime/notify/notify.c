/*
 * The outbox: a queue per channel, one delivery at a time in each, with back-off until accepted or given up.
 *
 * Loop thread, like everything here. Messages are rendered when they are queued, so that nothing of the caller's is
 * kept; a channel is looked up at each attempt, so that a corrected channels file helps what is waiting.
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
#include "message.h"
#include "request.h"

#define QUEUE_MOST 1000
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS (5 * 60 * 1000)
#define GIVE_UP_MS ((uint64_t)24 * 3600 * 1000)
#define REFUSALS_MOST 5 /* of one message */
#define SLACK_GAP_MS 1000
#define ALIAS_MOST 50 /* as channel.c allows */

typedef struct delivery { /* one message to one channel */
    STAILQ_ENTRY(delivery) link;
    uint64_t id;
    char *body; /* rendered */
    size_t length;
    char key[SI__DELIVERY_BYTES];
    int attempts, refusals;
    uint64_t queued_at_ms; /* loop time */
} delivery;

STAILQ_HEAD(deliveries, delivery);

typedef struct outbox {         /* of one channel */
    const si__channel *channel; /* NULL: it is gone from the file */
    char *name;
    si__notify *notify;
    struct deliveries queue; /* the first is in flight when `running` */
    int running;
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
    size_t pending;
    uint64_t next_id, random;
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

/* Takes the first delivery off the queue, for good. */
static void finish(outbox *box, const char *state, const char *error) {
    delivery *d = STAILQ_FIRST(&box->queue);
    STAILQ_REMOVE_HEAD(&box->queue, link);
    box->notify->pending--;
    tell(box->notify, box, d, state, error);
    free(d->body);
    free(d);
}

static void give_up(outbox *box, const char *error) {
    log_line(box->notify, SI_LOG_ERROR, box, "was given up", error);
    finish(box, "failed", error);
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

static void apply_result(outbox *box, const si__request_result *result) {
    si__notify *n = box->notify;
    delivery *d = STAILQ_FIRST(&box->queue);
    uint64_t now = uv_now(n->loop);
    if (result->accepted) {
        if (box->failures_in_row) log_line(n, SI_LOG_NOTICE, box, "went through again", "accepted");
        box->failures_in_row = 0;
        box->not_before_ms = box->channel && box->channel->kind == SI__CHANNEL_SLACK ? now + SLACK_GAP_MS : now;
        finish(box, "sent", NULL);
        return;
    }
    if (!box->failures_in_row) log_line(n, SI_LOG_WARN, box, "failed and will be tried again", result->error);
    box->failures_in_row++;
    box->not_before_ms = now + back_off_ms(n, box, result->retry_after_ms);
    d->refusals += result->permanent;
    if (d->refusals >= REFUSALS_MOST || now - d->queued_at_ms > GIVE_UP_MS)
        give_up(box, result->error);
    else
        tell(n, box, d, "retry", result->error);
}

static void on_done(void *arg, CURLcode code) {
    outbox *box = arg;
    si__notify *n = box->notify;
    si__request_result result;
    si__request_read(&box->request, code, box->channel, &result);
    si__request_clear(&box->request);
    box->running = 0;
    apply_result(box, &result);
    pump(n);
}

static void attempt(outbox *box) {
    si__notify *n = box->notify;
    delivery *d = STAILQ_FIRST(&box->queue);
    si__request_result failed = {.error = "out of memory"};
    d->attempts++;
    int status = si__request_prepare(&box->request, box->channel, d->key, d->body, d->length, unix_ms() / 1000,
                                     n->proxy_url, n->ca_file);
    if (!status && (status = si__transfers_start(n->transfers, box->request.easy, on_done, box)))
        si__request_clear(&box->request);
    box->running = !status;
    if (status) apply_result(box, &failed);
}

static void outbox_free(outbox *box) {
    STAILQ_REMOVE(&box->notify->outboxes, box, outbox, link);
    free(box->name);
    free(box);
}

static void on_timer(uv_timer_t *timer) {
    pump(timer->data);
}

/* Starts what is due and sets the timer for what is not yet. */
static void pump(si__notify *n) {
    uint64_t now = uv_now(n->loop), next = UINT64_MAX;
    if (n->closing) return;
    outbox *box, *following;
    for (box = STAILQ_FIRST(&n->outboxes); box; box = following) {
        following = STAILQ_NEXT(box, link);
        if (box->running || STAILQ_EMPTY(&box->queue)) continue;
        if (box->not_before_ms <= now) attempt(box);
        if (!box->running && !STAILQ_EMPTY(&box->queue) && box->not_before_ms < next) next = box->not_before_ms;
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

static outbox *outbox_new(si__notify *n, const si__channel *channel) {
    outbox *box = calloc(1, sizeof *box);
    if (!box || !(box->name = strdup(channel->name))) {
        free(box);
        return NULL;
    }
    box->channel = channel;
    box->notify = n;
    STAILQ_INIT(&box->queue);
    STAILQ_INSERT_TAIL(&n->outboxes, box, link);
    return box;
}

static void stop_attempt(outbox *box) {
    if (!box->running) return;
    si__transfers_cancel(box->notify->transfers, box->request.easy);
    si__request_clear(&box->request);
    box->running = 0;
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
        if (box->running) { /* it was sent by the old settings: what became of it is unknown, so it is sent again */
            stop_attempt(box);
            tell(n, box, STAILQ_FIRST(&box->queue), "retry", "the channels were changed meanwhile");
        }
        box->channel = find_channel(channels, count, box->name);
        box->not_before_ms = uv_now(n->loop);
        if (box->channel) continue;
        while (!STAILQ_EMPTY(&box->queue)) give_up(box, "the channel was removed");
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
    d->queued_at_ms = uv_now(n->loop);
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

static int queue(si__notify *n, const si__channel *channel, uint64_t id, const si__alert *alerts, size_t count) {
    outbox *box = find_outbox(n, channel->name);
    if (!box && !(box = outbox_new(n, channel))) return SI_ENOMEM;
    size_t parts = parts_of(channel, count), each = count / parts;
    for (size_t i = 0; i < parts; i++) {
        delivery *d = delivery_new(n, channel, id, alerts + i * each, each);
        if (!d) return SI_ENOMEM;
        STAILQ_INSERT_TAIL(&box->queue, d, link);
        n->pending++;
        tell(n, box, d, "queued", NULL);
    }
    return SI_OK;
}

uint64_t si__notify_send(si__notify *n, const char *destination, const si__alert *alerts, size_t count, char *error,
                         size_t error_bytes) {
    const si__channel *named = find_channel(n->channels, n->channel_count, destination);
    if (error_bytes) error[0] = '\0';
    if (n->closing || !count) return refuse(error, error_bytes, "nothing can be sent to", destination);
    if (!named) return refuse(error, error_bytes, "no channel is named", destination);
    const si__channel *targets[ALIAS_MOST] = {named};
    size_t target_count = 1, parts = 0;
    if (named->kind == SI__CHANNEL_ALIAS)
        for (target_count = 0; target_count < named->to_count && target_count < ALIAS_MOST; target_count++)
            targets[target_count] = find_channel(n->channels, n->channel_count, named->to[target_count]);
    for (size_t i = 0; i < target_count; i++) parts += parts_of(targets[i], count);
    if (n->pending + parts > QUEUE_MOST)
        return refuse(error, error_bytes, "too much is waiting; not queued for", destination);
    uint64_t id = n->next_id++;
    int status = SI_OK;
    for (size_t i = 0; i < target_count; i++) {
        int queued = queue(n, targets[i], id, alerts, count);
        if (!status) status = queued;
    }
    pump(n);
    return status ? refuse(error, error_bytes, "out of memory for", destination) : id;
}

size_t si__notify_pending(const si__notify *n) {
    return n->pending;
}

/* ---- Life ---- */

static char *copy(const char *text, int *failed) {
    char *to = text && *text ? strdup(text) : NULL;
    if (text && *text && !to) *failed = 1;
    return to;
}

static void free_parts(si__notify *n) {
    si__channels_free(n->channels, n->channel_count);
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
    n->next_id = 1;
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
        while (!STAILQ_EMPTY(&box->queue)) give_up(box, "the program ended before it was accepted");
        outbox_free(box);
    }
    uv_close((uv_handle_t *)&n->timer, on_timer_closed);
    si__transfers_close(n->transfers, on_part_closed, n);
}
