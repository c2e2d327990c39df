/* Delivery by the agent, with what is held for a dashboard that may come back. Loop thread only. */
#include "deliver.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HELD = 256, HOLD_MS = 2 * 60 * 1000, BOOT_TEXT = 33 };

typedef struct held {
    uint64_t id;          /* of the notifier; 0: it has no such channel, which is said when it would have gone */
    char destination[96]; /* for that */
    char error[160];
    char boot[BOOT_TEXT]; /* hex */
    uint64_t sequence;
} held;

struct si__deliver {
    const si__settings *settings;
    si__notify *notify;
    const si__upload *upload;
    int unreachable; /* as seen last */
    int64_t unreachable_since_ms;
    char nowhere[192];    /* what found no channel last */
    held items[MAX_HELD]; /* oldest first */
    size_t count;
};

static void boot_text(const si__report_id *report, char out[BOOT_TEXT]) {
    for (int i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", report->boot[i]);
}

static void lost(si__deliver *d, const char *destination, const char *error) {
    si__settings_log(d->settings, SI_LOG_NOTICE, "no notification to %s: %s", destination, error);
    if (strcmp(destination, "default") != 0)
        snprintf(d->nowhere, sizeof d->nowhere, "no notification to %.90s: %.80s", destination, error);
}

const char *si__deliver_nowhere(const si__deliver *d) {
    return d ? d->nowhere : "";
}

static void send_oldest(si__deliver *d) {
    const held *h = &d->items[0];
    if (h->id)
        si__notify_release(d->notify, h->id);
    else
        lost(d, h->destination, h->error);
    memmove(&d->items[0], &d->items[1], --d->count * sizeof *d->items);
}

static void hold(si__deliver *d, const held *h) {
    if (d->count == MAX_HELD) send_oldest(d); /* twice is better than never */
    d->items[d->count++] = *h;
}

/* "BOOT/SEQUENCE", as si__deliver_send wrote it. What has another form counts as told by no report. */
static void take_over(void *arg, uint64_t id, const char *tag) {
    held h = {.id = id};
    unsigned long long sequence = 0;
    if (sscanf(tag, "%32[0-9a-f]/%llu", h.boot, &sequence) != 2) sequence = 0;
    h.sequence = sequence;
    hold(arg, &h);
}

static void release_all(void *arg, uint64_t id, const char *tag) {
    (void)tag;
    si__notify_release(arg, id);
}

si__deliver *si__deliver_new(const si__settings *settings, si__notify *notify, const si__upload *upload) {
    si__deliver *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->settings = settings;
    d->notify = notify;
    d->upload = upload;
    if (upload)
        si__notify_held(notify, take_over, d);
    else /* there was a dashboard once: now it is up to us */
        si__notify_held(notify, release_all, notify);
    return d;
}

void si__deliver_free(si__deliver *d) {
    free(d);
}

size_t si__deliver_held(const si__deliver *d) {
    return d->count;
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

void si__deliver_send(si__deliver *d, const char *destination, const si__alert *alerts, size_t count,
                      const si__report_id *report, int64_t now_ms) {
    char tag[SI__NOTIFY_TAG], error[160] = "";
    held h = {.sequence = report->sequence};
    if (!d->upload || out_of_reach(d, now_ms)) {
        if (si__notify_send(d->notify, destination, alerts, count, error, sizeof error))
            d->nowhere[0] = '\0';
        else
            lost(d, destination, error);
        return;
    }
    boot_text(report, h.boot);
    snprintf(h.destination, sizeof h.destination, "%s", destination);
    snprintf(tag, sizeof tag, "%s/%llu", h.boot, (unsigned long long)h.sequence);
    h.id = si__notify_hold(d->notify, destination, alerts, count, tag, h.error, sizeof h.error);
    hold(d, &h);
}

void si__deliver_stored(si__deliver *d, const si__report_id *report, int own) {
    char boot[BOOT_TEXT];
    size_t kept = 0;
    boot_text(report, boot);
    for (size_t i = 0; i < d->count; i++) {
        const held *h = &d->items[i];
        int same = !strcmp(h->boot, boot), told = same ? h->sequence <= report->sequence : own;
        if (told && h->id) si__notify_withdraw(d->notify, h->id);
        if (!told) d->items[kept++] = d->items[i];
    }
    d->count = kept;
}

void si__deliver_tick(si__deliver *d, int64_t now_ms) {
    if (!d->upload || !out_of_reach(d, now_ms)) return;
    while (d->count) send_oldest(d);
}
