/*
 * Messages that wait for somebody's word before they go, and those that an earlier process left on disk. Loop thread.
 */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outbox.h"

static void take_kept(void *arg, const si__kept_message *m) {
    si__notify *n = arg;
    si__outbox *box = si__outbox_find(n, m->channel);
    if (!box && !(box = si__outbox_new(n, m->channel))) return;
    si__delivery *d = calloc(1, sizeof *d);
    if (!d || !(d->body = malloc(m->length + 1))) {
        free(d);
        return;
    }
    memcpy(d->body, m->body, m->length);
    d->body[m->length] = '\0';
    d->length = m->length;
    memcpy(d->key, m->key, sizeof d->key);
    snprintf(d->tag, sizeof d->tag, "%s", m->tag);
    d->id = n->next_id++;
    d->number = m->number;
    if (m->number >= n->next_number) n->next_number = m->number + 1;
    si__outbox_add(box, d);
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
    si__notify_pump(n);
    return SI_OK;
}

const char *si__notify_keep_error(const si__notify *n) {
    return n->kept ? si__kept_error(n->kept) : "";
}

/* Calls `each` for every held delivery; it may drop the one that it is given. */
static void each_held(si__notify *n, void (*each)(void *arg, si__outbox *box, si__delivery *delivery), void *arg) {
    si__outbox *box;
    STAILQ_FOREACH(box, &n->outboxes, link) {
        si__delivery *d, *next;
        for (d = TAILQ_FIRST(&box->queue); d; d = next) {
            next = TAILQ_NEXT(d, link);
            if (*d->tag) each(arg, box, d);
        }
    }
}

static void release_one(void *arg, si__outbox *box, si__delivery *d) {
    (void)box;
    if (d->id == *(const uint64_t *)arg) d->tag[0] = '\0';
}

static void withdraw_one(void *arg, si__outbox *box, si__delivery *d) {
    if (d->id == *(const uint64_t *)arg) si__outbox_finish(box, d, "withdrawn", NULL);
}

void si__notify_release(si__notify *n, uint64_t id) {
    each_held(n, release_one, &id);
    si__notify_pump(n);
}

void si__notify_withdraw(si__notify *n, uint64_t id) {
    each_held(n, withdraw_one, &id);
}

typedef struct listing {
    void (*each)(void *arg, uint64_t id, const char *tag);
    void *arg;
} listing;

static void list_one(void *arg, si__outbox *box, si__delivery *d) {
    const listing *l = arg;
    (void)box;
    l->each(l->arg, d->id, d->tag);
}

void si__notify_held(si__notify *n, void (*each)(void *arg, uint64_t id, const char *tag), void *arg) {
    listing l = {each, arg};
    each_held(n, list_one, &l);
}
