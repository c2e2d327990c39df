/*
 * Messages: alerts as text and JSON for people and machines. Pure; any thread. Names in alerts are hostile text.
 */
#ifndef SI_NOTIFY_MESSAGE_H
#define SI_NOTIFY_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "../report/alert.h"
#include "channel.h"

#define SI__MESSAGE_ALERTS_MOST 20 /* told one by one; the others are counted */
#define SI__DELIVERY_BYTES 33

typedef struct si__message {
    const si__alert *alerts; /* borrowed; at least one */
    size_t count;
    const char *link_base;             /* or NULL */
    char delivery[SI__DELIVERY_BYTES]; /* hex; the same at every attempt */
    int64_t time_ms;                   /* Unix */
} si__message;

/* One line that says it all: "[FIRING] cpu_high: CPU above 85 % (shop/production)". Always terminated. */
void si__message_subject(const si__message *message, char *out, size_t bytes);

/* Plain text of several lines, UTF-8, '\n'. malloc'ed, or NULL. */
char *si__message_text(const si__message *message);

/* The body of an HTTP request, JSON. For PagerDuty it is about the first alert alone, and without the routing key.
 * malloc'ed, or NULL. */
char *si__message_json(const si__message *message, const si__channel *channel, size_t *length);

/* RFC 5322, with CRLF, complete with headers. malloc'ed, or NULL. */
char *si__message_mail(const si__message *message, const si__channel *channel, size_t *length);

#endif
