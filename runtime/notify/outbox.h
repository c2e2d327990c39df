/*
 * What notify.c, outbox.c and hold.c share: a queue per channel, and what is done to it. Loop thread.
 */
#ifndef SI_NOTIFY_OUTBOX_H
#define SI_NOTIFY_OUTBOX_H

#include <sys/queue.h>

#include "../report/transfers.h"
#include "channel.h"
#include "kept.h"
#include "message.h"
#include "notify.h"
#include "request.h"

typedef struct si__delivery { /* one message to one channel */
    TAILQ_ENTRY(si__delivery) link;
    uint64_t id, number; /* number: of its file */
    char *body;          /* rendered */
    size_t length;
    char key[SI__DELIVERY_BYTES];
    int attempts, refusals;
    uint64_t not_before_ms;   /* loop time; 0: with its channel */
    char tag[SI__NOTIFY_TAG]; /* whose it is while it is held; "": it goes as soon as it can */
} si__delivery;

TAILQ_HEAD(si__deliveries, si__delivery);

typedef struct si__outbox {     /* of one channel */
    const si__channel *channel; /* NULL: no channels were loaded yet */
    char *name;
    si__notify *notify;
    struct si__deliveries queue;
    size_t count;
    si__delivery *running; /* in flight, and in the queue; NULL: none */
    si__request request;
    unsigned failures_in_row;
    uint64_t not_before_ms;  /* loop time */
    int64_t paused_until_ms; /* Unix: the receiver asked for it; 0: it did not */
    char error[160];         /* why the last attempt failed; "": it did not */
    unsigned attempts;       /* of the message that is tried */
    STAILQ_ENTRY(si__outbox) link;
} si__outbox;

STAILQ_HEAD(si__outboxes, si__outbox);

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
    uint32_t channels_sum;        /* of the text that they were read from */
    struct si__outboxes outboxes; /* one per channel ever used and not empty, or still in the file */
    size_t pending, pending_bytes;
    uint32_t timeout_ms;
    si__kept *kept;    /* NULL: nothing is kept on disk */
    char *pauses_path; /* NULL: they are forgotten */
    si__worker *pauses_worker;
    uint64_t next_id, next_number, random;
    int closing, open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

int64_t si__outbox_unix_ms(void);
const si__channel *si__outbox_channel(const si__channel *channels, size_t count, const char *name); /* NULL: none */
si__outbox *si__outbox_find(si__notify *notify, const char *channel);
si__outbox *si__outbox_new(si__notify *notify, const char *channel); /* NULL: out of memory */
void si__outbox_free(si__outbox *box);                               /* of an empty one */

/* At the end of the queue; what is over the bounds gives way to it. Owns the delivery from now on. */
void si__outbox_add(si__outbox *box, si__delivery *delivery);
void si__outbox_drop(si__outbox *box, si__delivery *delivery, int for_good); /* not for good: its file stays */
void si__outbox_finish(si__outbox *box, si__delivery *delivery, const char *state, const char *error);
void si__outbox_give_up(si__outbox *box, si__delivery *delivery, const char *error);

void si__outbox_tell(si__notify *notify, const si__outbox *box, const si__delivery *delivery, const char *state,
                     const char *error);
void si__outbox_log(si__notify *notify, int level, const si__outbox *box, const char *what, const char *error);

/* pause.c: the receiver wants to be left alone for so long; it does not any more. */
void si__pause_set(si__outbox *box, uint64_t ms);
void si__pause_end(si__outbox *box);

/* notify.c: starts what may go now. */
void si__notify_pump(si__notify *notify);

#endif
