/*
 * Notify: delivers alert messages to people, with retry until accepted. Loop thread only; libcurl multi (HTTP and SMTP).
 *
 * Destinations are "kind:name" (slack:perf, email:leads, webhook:ops); their addresses and secrets come from a
 * channels file (JSON, documented in docs/rules.md) or the dashboard's settings, never from a rule.
 * One outbox entry per (message, destination), kept until a 2xx (or SMTP 250). Rate limits and Retry-After obeyed; Slack: one a second.
 */
#ifndef SI_NOTIFY_NOTIFY_H
#define SI_NOTIFY_NOTIFY_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../report/alert.h"

typedef struct si__notify si__notify;

typedef struct si__notify_event { /* one line of the delivery log */
    uint64_t id; const char *destination; const char *state; /* "queued", "sent", "retry", "failed" */
    const char *error; int attempts; int64_t time_ms;
} si__notify_event;

typedef struct si__notify_options {
    const char *ca_file, *proxy_url;
    const char *link_base; /* URL prefix for links into the dashboard, or NULL */
    void (*log)(void *arg, int level, const char *message); void *log_arg;
    void (*on_event)(void *arg, const si__notify_event *event); void *event_arg; /* may be NULL */
} si__notify_options;

si__notify *si__notify_new(uv_loop_t *loop, const si__notify_options *options);

/* Replaces the channels by those of a JSON text. 0 or SI_EFORMAT with "channel slack:perf: field url: ..." in error; then the old ones stay. */
int si__notify_channels_load(si__notify *notify, const char *json, size_t length, char *error, size_t error_bytes);

/* Queues one message about `alerts` (grouped) to a destination. Returns its id, or 0 with error set (unknown destination, queue full). */
uint64_t si__notify_send(si__notify *notify, const char *destination, const si__alert *alerts, size_t count, char *error, size_t error_bytes);
size_t si__notify_pending(const si__notify *notify);
void si__notify_close(si__notify *notify, void (*closed)(void *arg), void *arg);

#endif
