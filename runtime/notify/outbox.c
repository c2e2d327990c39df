/*
 * A queue per channel: what comes in, what goes out, and the bounds. Used by notify.c and hold.c on the loop's thread.
 */
#include "outbox.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHANNEL_MOST 500 /* messages that wait for one channel */
#define WAITING_BYTES ((size_t)32 << 20)

int64_t si__outbox_unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void si__outbox_tell(si__notify *n, const si__outbox *box, const si__delivery *d, const char *state,
                     const char *error) {
    const si__notify_event event = {d->id, box->name, state, error, d->attempts, si__outbox_unix_ms()};
    if (n->on_event) n->on_event(n->event_arg, &event);
}

void si__outbox_log(si__notify *n, int level, const si__outbox *box, const char *what, const char *error) {
    char line[320];
    snprintf(line, sizeof line, "notification to %s %s: %s", box->name, what, error);
    if (n->log) n->log(n->log_arg, level, line);
}

/* Takes a delivery out of its queue and forgets it, on disk only when it is over for good. */
void si__outbox_drop(si__outbox *box, si__delivery *d, int for_good) {
    si__notify *n = box->notify;
    TAILQ_REMOVE(&box->queue, d, link);
    box->count--;
    n->pending--;
    n->pending_bytes -= d->length;
    if (n->kept && for_good) si__kept_remove(n->kept, d->number, d->key);
    free(d->body);
    free(d);
}

void si__outbox_finish(si__outbox *box, si__delivery *d, const char *state, const char *error) {
    si__outbox_tell(box->notify, box, d, state, error);
    si__outbox_drop(box, d, 1);
}

void si__outbox_give_up(si__outbox *box, si__delivery *d, const char *error) {
    si__outbox_log(box->notify, SI_LOG_ERROR, box, "was given up", error);
    si__outbox_finish(box, d, "failed", error);
}

const si__channel *si__outbox_channel(const si__channel *channels, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (!strcmp(channels[i].name, name)) return &channels[i];
    return NULL;
}

si__outbox *si__outbox_find(si__notify *n, const char *name) {
    si__outbox *box;
    STAILQ_FOREACH(box, &n->outboxes, link)
    if (!strcmp(box->name, name)) return box;
    return NULL;
}

si__outbox *si__outbox_new(si__notify *n, const char *name) {
    si__outbox *box = calloc(1, sizeof *box);
    if (!box || !(box->name = strdup(name))) {
        free(box);
        return NULL;
    }
    box->channel = si__outbox_channel(n->channels, n->channel_count, name);
    box->notify = n;
    TAILQ_INIT(&box->queue);
    STAILQ_INSERT_TAIL(&n->outboxes, box, link);
    return box;
}

void si__outbox_free(si__outbox *box) {
    STAILQ_REMOVE(&box->notify->outboxes, box, si__outbox, link);
    free(box->name);
    free(box);
}

/* What is over the bounds goes, the oldest of the longest queue first, and not silently. */
static void make_room(si__outbox *box) {
    si__notify *n = box->notify;
    while (box->count >= CHANNEL_MOST || n->pending_bytes > WAITING_BYTES) {
        si__outbox *longest = box, *other;
        STAILQ_FOREACH(other, &n->outboxes, link) {
            if (box->count < CHANNEL_MOST && other->count > longest->count) longest = other;
        }
        si__delivery *oldest = TAILQ_FIRST(&longest->queue);
        if (oldest && oldest == longest->running) oldest = TAILQ_NEXT(oldest, link);
        if (!oldest) return;
        si__outbox_give_up(longest, oldest, "too much was waiting: the oldest gave way");
    }
}

void si__outbox_add(si__outbox *box, si__delivery *d) {
    make_room(box);
    TAILQ_INSERT_TAIL(&box->queue, d, link);
    box->count++;
    box->notify->pending++;
    box->notify->pending_bytes += d->length;
    si__outbox_tell(box->notify, box, d, "queued", NULL);
}
