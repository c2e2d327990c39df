/* Delivery by the agent, with what is held for a dashboard that may come back. Loop thread only. */
#include "deliver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HELD = 256, HOLD_MS = 2 * 60 * 1000 };

typedef struct held {
    char destination[96];
    si__alert *alerts;
    size_t count;
    int64_t since_ms;
    uint64_t sent_before; /* reports acknowledged when it was held */
} held;

struct si__deliver {
    const si__settings *settings;
    si__notify *notify;
    const si__upload *upload;
    held items[MAX_HELD];
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

static void forget(si__deliver *d, size_t index) {
    held *h = &d->items[index];
    for (size_t i = 0; i < h->count; i++) si__alert_clear(&h->alerts[i]);
    free(h->alerts);
    d->items[index] = d->items[--d->count];
}

void si__deliver_free(si__deliver *d) {
    if (!d) return;
    while (d->count) forget(d, d->count - 1);
    free(d);
}

static void send_now(si__deliver *d, const char *destination, const si__alert *alerts, size_t count) {
    char error[256] = "";
    if (si__notify_send(d->notify, destination, alerts, count, error, sizeof error)) return;
    si__settings_log(d->settings, SI_LOG_NOTICE, "no notification to %s: %s", destination, error);
}

static void hold(si__deliver *d, const char *destination, const si__alert *alerts, size_t count, int64_t now_ms) {
    if (d->count == MAX_HELD) forget(d, 0);
    held *h = &d->items[d->count];
    *h = (held){.since_ms = now_ms, .alerts = calloc(count, sizeof *alerts)};
    if (!h->alerts) return;
    for (; h->count < count; h->count++)
        if (si__alert_copy(&h->alerts[h->count], &alerts[h->count]) != 0) break;
    snprintf(h->destination, sizeof h->destination, "%s", destination);
    si__upload_state state;
    si__upload_state_get(d->upload, &state);
    h->sent_before = state.sent;
    d->count++;
}

static int out_of_reach(const si__upload_state *state, int64_t now_ms) {
    return !state->reachable && state->unreachable_since_ms && now_ms - state->unreachable_since_ms >= HOLD_MS;
}

void si__deliver_send(si__deliver *d, const char *destination, const si__alert *alerts, size_t count, int64_t now_ms) {
    si__upload_state state = {0};
    if (d->upload) si__upload_state_get(d->upload, &state);
    if (!d->upload || out_of_reach(&state, now_ms))
        send_now(d, destination, alerts, count);
    else
        hold(d, destination, alerts, count, now_ms);
}

void si__deliver_tick(si__deliver *d, int64_t now_ms) {
    if (!d->upload || !d->count) return;
    si__upload_state state;
    si__upload_state_get(d->upload, &state);
    for (size_t i = d->count; i-- > 0;) {
        held *h = &d->items[i];
        if (out_of_reach(&state, now_ms))
            send_now(d, h->destination, h->alerts, h->count);
        else if (!state.reachable || state.sent == h->sent_before)
            continue;
        forget(d, i);
    }
}
