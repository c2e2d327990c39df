/* Delivery by the agent, with what is held for a dashboard that may come back. Loop thread only. */
#include "deliver.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HELD = 256, HOLD_MS = 2 * 60 * 1000 };

typedef struct held {
    char destination[96];
    si__alert *alerts;
    size_t count;
    uint64_t sequence;
} held;

struct si__deliver {
    const si__settings *settings;
    si__notify *notify;
    const si__upload *upload;
    int unreachable; /* as seen last */
    int64_t unreachable_since_ms;
    held items[MAX_HELD]; /* oldest first */
    size_t count;
};

si__deliver *si__deliver_new(const si__settings *settings, si__notify *notify, const si__upload *upload) {
    si__deliver *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->settings = settings;
    d->notify = notify;
    d->upload = upload;
    return d;
}

static void held_clear(held *h) {
    for (size_t i = 0; i < h->count; i++) si__alert_clear(&h->alerts[i]);
    free(h->alerts);
}

void si__deliver_free(si__deliver *d) {
    if (!d) return;
    for (size_t i = 0; i < d->count; i++) held_clear(&d->items[i]);
    free(d);
}

size_t si__deliver_held(const si__deliver *d) {
    return d->count;
}

static void send_now(si__deliver *d, const char *destination, const si__alert *alerts, size_t count) {
    char error[256] = "";
    if (si__notify_send(d->notify, destination, alerts, count, error, sizeof error)) return;
    si__settings_log(d->settings, SI_LOG_NOTICE, "no notification to %s: %s", destination, error);
}

static void send_oldest(si__deliver *d) {
    held *h = &d->items[0];
    send_now(d, h->destination, h->alerts, h->count);
    held_clear(h);
    memmove(&d->items[0], &d->items[1], --d->count * sizeof *d->items);
}

/* 0 or SI_ENOMEM. */
static int hold(si__deliver *d, const char *destination, const si__alert *alerts, size_t count, uint64_t sequence) {
    held h = {.sequence = sequence, .alerts = calloc(count, sizeof *alerts)};
    if (!h.alerts) return SI_ENOMEM;
    snprintf(h.destination, sizeof h.destination, "%s", destination);
    for (; h.count < count; h.count++) {
        if (si__alert_copy(&h.alerts[h.count], &alerts[h.count]) == 0) continue;
        held_clear(&h);
        return SI_ENOMEM;
    }
    if (d->count == MAX_HELD) send_oldest(d); /* twice is better than never */
    d->items[d->count++] = h;
    return 0;
}

/* An upload that has not tried yet is not out of reach. */
static int out_of_reach(si__deliver *d, int64_t now_ms) {
    si__upload_state state;
    si__upload_state_get(d->upload, &state);
    int unreachable = !state.reachable && state.unreachable_since_ms;
    if (unreachable && !d->unreachable) d->unreachable_since_ms = now_ms;
    d->unreachable = unreachable;
    return unreachable && now_ms - d->unreachable_since_ms >= HOLD_MS;
}

void si__deliver_send(si__deliver *d, const char *destination, const si__alert *alerts, size_t count, uint64_t sequence,
                      int64_t now_ms) {
    if (d->upload && count && !out_of_reach(d, now_ms) && hold(d, destination, alerts, count, sequence) == 0) return;
    send_now(d, destination, alerts, count);
}

void si__deliver_stored(si__deliver *d, uint64_t sequence) {
    size_t kept = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (d->items[i].sequence <= sequence)
            held_clear(&d->items[i]);
        else
            d->items[kept++] = d->items[i];
    }
    d->count = kept;
}

void si__deliver_tick(si__deliver *d, int64_t now_ms) {
    if (!d->upload || !out_of_reach(d, now_ms)) return;
    while (d->count) send_oldest(d);
}
