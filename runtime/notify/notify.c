/*
 * The outbox: a queue per channel, one delivery at a time in each, with back-off until accepted.
 *
 * Loop thread, like everything here. Messages are rendered when they are queued, so that nothing of the caller's is
 * kept; a channel is looked up at each attempt, so that a corrected channels file helps what is waiting. With a
 * directory (kept.h) each message is a file until it is accepted.
 */
#include "outbox.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../report/crc32c.h"

#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS (5 * 60 * 1000)
#define REFUSALS_MOST 5 /* of one message, until it steps aside */
#define ASIDE_MS (3600 * 1000)
#define PARTIAL_AFTER 2 /* refusals of a mail, until one bad address does not keep it from the others */
#define ALIAS_MOST 50   /* as channel.c allows */

static uint64_t next_random(si__notify *n) { /* xorshift64*: spreads retries and names deliveries, guards nothing */
    n->random ^= n->random >> 12;
    n->random ^= n->random << 25;
    n->random ^= n->random >> 27;
    return n->random * 2685821657736338717ull;
}

/* ---- Attempts ---- */

static uint64_t back_off_ms(si__notify *n, const si__outbox *box, uint64_t retry_after_ms) {
    uint64_t most = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < box->failures_in_row && most < BACKOFF_MOST_MS; i++) most *= 2;
    if (most > BACKOFF_MOST_MS) most = BACKOFF_MOST_MS;
    uint64_t delay = BACKOFF_FIRST_MS + next_random(n) % (most - BACKOFF_FIRST_MS + 1);
    return retry_after_ms > delay ? retry_after_ms : delay;
}

/* What the receivers ask for: Slack one message a second for each of its addresses, PagerDuty 120 events a minute. */
static uint64_t gap_ms(const si__outbox *box) {
    if (!box->channel) return 0;
    return box->channel->kind == SI__CHANNEL_SLACK ? 1000 : box->channel->kind == SI__CHANNEL_PAGERDUTY ? 500 : 0;
}

static void accepted(si__outbox *box, si__delivery *d, const si__request_result *result) {
    si__notify *n = box->notify;
    if (result->partial) si__outbox_log(n, SI_LOG_WARN, box, "went through", "but not every address took it");
    if (box->failures_in_row) si__outbox_log(n, SI_LOG_NOTICE, box, "went through again", "accepted");
    box->failures_in_row = 0;
    box->error[0] = '\0';
    box->attempts = 0;
    box->not_before_ms = uv_now(n->loop) + gap_ms(box);
    si__pause_end(box);
    si__outbox_finish(box, d, "sent", NULL);
}

/* The others are not kept waiting by one that the receiver will not have. It is tried again all the same. */
static void step_aside(si__outbox *box, si__delivery *d, const char *error) {
    char why[240];
    if (d->refusals == REFUSALS_MOST)
        si__outbox_log(box->notify, SI_LOG_ERROR, box, "is refused every time and goes on every hour", error);
    snprintf(why, sizeof why, "%s (refused %d times, tried again every hour)", error, d->refusals);
    d->not_before_ms = uv_now(box->notify->loop) + ASIDE_MS;
    TAILQ_REMOVE(&box->queue, d, link);
    TAILQ_INSERT_TAIL(&box->queue, d, link);
    si__outbox_tell(box->notify, box, d, "retry", why);
}

static void apply_result(si__outbox *box, si__delivery *d, const si__request_result *result) {
    si__notify *n = box->notify;
    if (result->accepted) {
        accepted(box, d, result);
        return;
    }
    if (!box->failures_in_row) si__outbox_log(n, SI_LOG_WARN, box, "failed and will be tried again", result->error);
    box->failures_in_row++;
    snprintf(box->error, sizeof box->error, "%s", result->error);
    box->attempts = (unsigned)d->attempts;
    d->refusals += result->permanent;
    int aside = result->permanent && d->refusals >= REFUSALS_MOST;
    if (aside) box->failures_in_row = 1; /* the next one may fare better */
    box->not_before_ms = uv_now(n->loop) + back_off_ms(n, box, result->retry_after_ms);
    if (result->retry_after_ms) si__pause_set(box, result->retry_after_ms);
    if (aside)
        step_aside(box, d, result->error);
    else
        si__outbox_tell(n, box, d, "retry", result->error);
}

static void on_done(void *arg, CURLcode code) {
    si__outbox *box = arg;
    si__notify *n = box->notify;
    si__delivery *d = box->running;
    si__request_result result;
    si__request_read(&box->request, code, box->channel, &result);
    si__request_clear(&box->request);
    result.partial = result.accepted && box->channel->kind == SI__CHANNEL_EMAIL && d->refusals >= PARTIAL_AFTER;
    box->running = NULL;
    apply_result(box, d, &result);
    si__notify_pump(n);
}

static void attempt(si__outbox *box, si__delivery *d) {
    si__notify *n = box->notify;
    si__request_result failed = {.error = "out of memory"};
    const si__request_options options = {.delivery = d->key,
                                         .body = d->body,
                                         .length = d->length,
                                         .now_s = si__outbox_unix_ms() / 1000,
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

static void on_timer(uv_timer_t *timer) {
    si__notify_pump(timer->data);
}

/* The first that may go now, or NULL with the time when one may. */
static si__delivery *due(const si__outbox *box, uint64_t now, uint64_t *next) {
    si__delivery *d;
    uint64_t soonest = UINT64_MAX;
    TAILQ_FOREACH(d, &box->queue, link) {
        if (*d->tag) continue; /* held */
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
void si__notify_pump(si__notify *n) {
    uint64_t now = uv_now(n->loop), next = UINT64_MAX;
    if (n->closing) return;
    si__outbox *box;
    STAILQ_FOREACH(box, &n->outboxes, link) {
        if (box->running || !box->channel || TAILQ_EMPTY(&box->queue)) continue;
        si__delivery *d = due(box, now, &next);
        if (d) attempt(box, d);
        if (d && !box->running && !TAILQ_EMPTY(&box->queue)) due(box, now, &next); /* it could not even be started */
    }
    if (next == UINT64_MAX)
        uv_timer_stop(&n->timer);
    else
        uv_timer_start(&n->timer, on_timer, next > now ? next - now : 1, 0);
}

/* ---- Channels ---- */

static void stop_attempt(si__outbox *box) {
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
    uint32_t sum = si__crc32c(0, json, length);
    int changed = n->channels && sum != n->channels_sum; /* somebody who knows better than a Retry-After */
    n->channels_sum = sum;
    si__outbox *box, *following;
    for (box = STAILQ_FIRST(&n->outboxes); box; box = following) {
        following = STAILQ_NEXT(box, link);
        si__delivery *d = box->running;
        if (d) { /* it was sent by the old settings: what became of it is unknown, so it is sent again */
            stop_attempt(box);
            si__outbox_tell(n, box, d, "retry", "the channels were changed meanwhile");
        }
        box->channel = si__outbox_channel(channels, count, box->name);
        if (changed || (box->failures_in_row && !box->paused_until_ms)) box->not_before_ms = uv_now(n->loop);
        if (changed) si__pause_end(box);
        TAILQ_FOREACH(d, &box->queue, link) d->not_before_ms = 0;
        if (box->channel) continue;
        while ((d = TAILQ_FIRST(&box->queue))) si__outbox_give_up(box, d, "the channel was removed");
        si__outbox_free(box);
    }
    si__channels_free(n->channels, n->channel_count);
    n->channels = channels;
    n->channel_count = count;
    si__notify_pump(n);
    return SI_OK;
}

/* ---- Sending ---- */

static void name_delivery(si__notify *n, char key[SI__DELIVERY_BYTES]) {
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes)
        for (int i = 0; i < 16; i++) bytes[i] = (uint8_t)(next_random(n) >> 56);
    for (int i = 0; i < 16; i++) snprintf(key + 2 * i, 3, "%02x", bytes[i]);
}

static si__delivery *delivery_new(si__notify *n, const si__channel *channel, uint64_t id, const si__alert *alerts,
                                  size_t count) {
    si__delivery *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->id = id;
    d->number = n->next_number++;
    name_delivery(n, d->key);
    si__message message = {
        .alerts = alerts, .count = count, .link_base = n->link_base, .time_ms = si__outbox_unix_ms()};
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

static int queue(si__notify *n, const si__channel *channel, uint64_t id, const si__alert *alerts, size_t count,
                 const char *tag) {
    si__outbox *box = si__outbox_find(n, channel->name);
    if (!box && !(box = si__outbox_new(n, channel->name))) return SI_ENOMEM;
    size_t parts = parts_of(channel, count), each = count / parts;
    for (size_t i = 0; i < parts; i++) {
        si__delivery *d = delivery_new(n, channel, id, alerts + i * each, each);
        if (!d) return SI_ENOMEM;
        si__kept_message file = {d->number, box->name, "", si__outbox_unix_ms(), tag, d->body, d->length};
        snprintf(d->tag, sizeof d->tag, "%s", tag);
        memcpy(file.key, d->key, sizeof file.key);
        if (n->kept) si__kept_put(n->kept, &file);
        si__outbox_add(box, d);
    }
    return SI_OK;
}

static size_t targets_of(const si__notify *n, const char *destination, const si__channel *targets[ALIAS_MOST]) {
    const si__channel *named = si__outbox_channel(n->channels, n->channel_count, destination);
    size_t count = 0;
    if (named && named->kind != SI__CHANNEL_ALIAS) targets[count++] = named;
    for (size_t i = 0; named && named->kind == SI__CHANNEL_ALIAS && i < named->to_count && count < ALIAS_MOST; i++)
        targets[count++] = si__outbox_channel(n->channels, n->channel_count, named->to[i]);
    return count;
}

size_t si__notify_channels(const si__notify *n, const char *destination, const char **names, size_t most) {
    const si__channel *targets[ALIAS_MOST];
    size_t count = targets_of(n, destination, targets);
    for (size_t i = 0; i < count && i < most; i++) names[i] = targets[i]->name;
    return count;
}

uint64_t si__notify_hold(si__notify *n, const char *destination, const si__alert *alerts, size_t count, const char *tag,
                         char *error, size_t error_bytes) {
    const si__channel *targets[ALIAS_MOST];
    if (error_bytes) error[0] = '\0';
    if (n->closing || !count) return refuse(error, error_bytes, "nothing can be sent to", destination);
    size_t target_count = targets_of(n, destination, targets);
    if (!target_count) return refuse(error, error_bytes, "no channel is named", destination);
    uint64_t id = n->next_id++;
    int status = SI_OK;
    for (size_t i = 0; i < target_count; i++) {
        if (alerts->acked && targets[i]->kind != SI__CHANNEL_PAGERDUTY) continue;
        int queued = queue(n, targets[i], id, alerts, count, tag);
        if (!status) status = queued;
    }
    si__notify_pump(n);
    return status ? refuse(error, error_bytes, "out of memory for", destination) : id;
}

uint64_t si__notify_send(si__notify *n, const char *destination, const si__alert *alerts, size_t count, char *error,
                         size_t error_bytes) {
    return si__notify_hold(n, destination, alerts, count, "", error, error_bytes);
}

void si__notify_states(const si__notify *n, void (*each)(void *arg, const si__notify_state *state), void *arg) {
    const si__outbox *box;
    STAILQ_FOREACH(box, &n->outboxes, link) {
        const si__notify_state state = {box->name, box->error, box->attempts, box->count, box->paused_until_ms};
        each(arg, &state);
    }
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
    si__kept_close(n->kept);
    free(n->pauses_path);
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
        n->random = (uint64_t)si__outbox_unix_ms() ^ (uintptr_t)n;
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
    si__outbox *box;
    n->closing = 1;
    n->closed = closed;
    n->closed_arg = arg;
    while ((box = STAILQ_FIRST(&n->outboxes))) {
        stop_attempt(box);
        for (si__delivery *d; (d = TAILQ_FIRST(&box->queue));)
            if (n->kept)
                si__outbox_drop(box, d, 0);
            else
                si__outbox_give_up(box, d, "the program ended before it was accepted");
        si__outbox_free(box);
    }
    uv_close((uv_handle_t *)&n->timer, on_timer_closed);
    si__transfers_close(n->transfers, on_part_closed, n);
}
