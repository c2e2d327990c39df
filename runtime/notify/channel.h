/*
 * Channels: where notifications can go, as a channels file says (docs/channels.md). Read-only once parsed.
 */
#ifndef SI_NOTIFY_CHANNEL_H
#define SI_NOTIFY_CHANNEL_H

#include <stddef.h>

typedef enum si__channel_kind {
    SI__CHANNEL_WEBHOOK,
    SI__CHANNEL_SLACK,
    SI__CHANNEL_EMAIL,
    SI__CHANNEL_PAGERDUTY,
    SI__CHANNEL_ALIAS /* another name for some of the others */
} si__channel_kind;

typedef enum si__channel_tls { SI__TLS_REQUIRED, SI__TLS_TRY, SI__TLS_NONE } si__channel_tls;

typedef struct si__channel { /* owned strings; NULL: not given */
    char *name;              /* "slack:perf" */
    si__channel_kind kind;
    char *url;             /* http(s), or smtp(s) for e-mail; may hold a secret: never logged */
    char *secret;          /* webhook: HMAC key; pagerduty: routing key */
    char *user, *password; /* e-mail */
    char *from;
    char **to; /* e-mail: addresses; alias: names of channels that exist and are no aliases */
    size_t to_count;
    si__channel_tls tls; /* e-mail over smtp:// */
} si__channel;

/* Parses the text of a channels file. 0; SI_EFORMAT or SI_ELIMIT with "channel slack:perf: field url: ..." in error;
   SI_ENOMEM. Secrets written as env:NAME or file:/path are fetched here (blocking, small). Any thread. */
int si__channels_parse(const char *json, size_t length, si__channel **out, size_t *count, char *error,
                       size_t error_bytes);
void si__channels_free(si__channel *channels, size_t count);

#endif
