/*
 * Notify: delivers alert messages to people, with retry until accepted. Loop thread only; libcurl multi (HTTP and
 * SMTP).
 *
 * Destinations are "kind:name" (slack:perf, email:leads, webhook:ops, pagerduty:core), or other names for such
 * ("default"); their addresses and secrets come from a channels file (JSON, docs/channels.md) or the dashboard's
 * settings, never from a rule. One outbox entry per (message, channel), kept until a 2xx (or SMTP 250), in memory and,
 * once si__notify_keep was called, on disk; per channel in order, one at a time. Full jitter from 1 s to 5 min,
 * Retry-After obeyed, Slack one a second, PagerDuty two. Tried without end: what was refused (3xx, 4xx, SMTP 5xx) five
 * times steps aside for an hour at a time, so that the others can go. Given up ("failed", logged as an error) only when
 * its channel goes, when more than 500 messages or 32 MiB wait (the oldest gives way), and, with nothing on disk, at
 * close.
 */
#ifndef SI_NOTIFY_NOTIFY_H
#define SI_NOTIFY_NOTIFY_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "../report/alert.h"
#include "../worker.h"

typedef struct si__notify si__notify;

typedef struct si__notify_event { /* one line of the delivery log; borrowed for the call */
    uint64_t id; /* what si__notify_send returned; shared by all entries of that call (PagerDuty has one per alert) */
    const char *destination;
    const char *state; /* "queued", "sent", "retry", "failed", "withdrawn" */
    const char *error; /* never holds a URL or a secret; NULL when queued or sent */
    int attempts;
    int64_t time_ms; /* Unix */
} si__notify_event;

typedef struct si__notify_options {
    const char *ca_file, *proxy_url; /* copied; the proxy is for HTTP */
    const char *link_base; /* copied; URL prefix for links into the dashboard (/alerts?fingerprint=HEX), or NULL */
    void (*log)(void *arg, int level, const char *message);
    void *log_arg;
    void (*on_event)(void *arg, const si__notify_event *event); /* may be NULL; must not load channels or close */
    void *event_arg;
    uint32_t timeout_ms; /* for one attempt; 0: 30 s */
} si__notify_options;

/* No channels yet. NULL: out of memory. */
si__notify *si__notify_new(uv_loop_t *loop, const si__notify_options *options);

/* Replaces the channels by those of a JSON text. 0; SI_EFORMAT or SI_ELIMIT with "channel slack:perf: field url: ..."
   in error, then the old ones stay; SI_ENOMEM. What waits is tried at once with the new settings. Reads the files of
   "file:" secrets (small, blocking). */
int si__notify_channels_load(si__notify *notify, const char *json, size_t length, char *error, size_t error_bytes);

/* From now on what waits is kept in `dir` (made, 0700) by the worker, which must be closed after the notifier; and what
   an earlier process left there is sent again, with its old delivery id. Nobody else may use the directory. Call it
   once, before anything is sent. 0 or SI_ENOMEM. Reads the directory (small, blocking). */
int si__notify_keep(si__notify *notify, si__worker *worker, const char *dir);
/* From now on a receiver's Retry-After outlives the process, in the file `path`, and what an earlier one left there is
   obeyed. The worker (NULL: this thread) writes it; it must be closed after the notifier. Once. 0 or SI_ENOMEM. */
int si__notify_keep_pauses(si__notify *notify, si__worker *worker, const char *path);

typedef struct si__notify_state { /* how a channel is; borrowed for the call */
    const char *channel, *error;  /* error: why the last attempt failed, "": it did not */
    unsigned attempts;            /* of the message that is tried */
    size_t waiting;               /* messages */
    int64_t paused_until_ms;      /* Unix: its receiver asked to be left alone; 0: no */
} si__notify_state;
/* Every channel that a message went to, or waits for. */
void si__notify_states(const si__notify *notify, void (*each)(void *arg, const si__notify_state *state), void *arg);

/* Why the outbox could not be written the last time; "" when all is well, or nothing is kept. */
const char *si__notify_keep_error(const si__notify *notify);

/* The channels that a destination stands for: itself, or those of another name. Borrowed until channels are loaded.
   Returns how many (at most `most` are given); 0: there is none of that name. */
size_t si__notify_channels(const si__notify *notify, const char *destination, const char **names, size_t most);

/* Queues one message about `alerts` (grouped, borrowed for the call) to a destination. Returns its id, or 0 with error
   set (unknown destination, out of memory). Alerts that are `acked` go to PagerDuty alone. */
uint64_t si__notify_send(si__notify *notify, const char *destination, const si__alert *alerts, size_t count,
                         char *error, size_t error_bytes);

#define SI__NOTIFY_TAG 64

/* The same, but the message waits (on disk too) until it is released. `tag`: what the caller knows it by after a
   restart, not empty. */
uint64_t si__notify_hold(si__notify *notify, const char *destination, const si__alert *alerts, size_t count,
                         const char *tag, char *error, size_t error_bytes);
void si__notify_release(si__notify *notify, uint64_t id);  /* it goes as soon as it can */
void si__notify_withdraw(si__notify *notify, uint64_t id); /* it has become needless; an event "withdrawn" */
/* Every part of a message that is held, those of an earlier process among them; borrowed for the call. */
void si__notify_held(si__notify *notify, void (*each)(void *arg, uint64_t id, const char *tag), void *arg);

size_t si__notify_pending(const si__notify *notify);
/* Stops at once; what is waiting and is not on disk fails. Asynchronous; frees itself, then calls closed. */
void si__notify_close(si__notify *notify, void (*closed)(void *arg), void *arg);

#endif
