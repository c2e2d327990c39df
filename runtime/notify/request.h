/* One attempt to deliver: what is asked of libcurl for a channel, and what its end means. Used by notify.c; loop
 * thread. */
#ifndef SI_NOTIFY_REQUEST_H
#define SI_NOTIFY_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "../report/transfers.h"
#include "channel.h"
#include "message.h"

typedef struct si__request { /* must stay put while it runs */
    CURL *easy;
    struct curl_slist *list; /* headers, or recipients */
    si__transfer_body answer;
    const char *body; /* borrowed, or own */
    size_t length, sent;
    char *own; /* a body with its key */
} si__request;

typedef struct si__request_result {
    int accepted;
    int partial;             /* accepted, but perhaps not for every address */
    int permanent;           /* refused: coming again will hardly help */
    uint64_t retry_after_ms; /* 0: not said; at most 24 h */
    char error[160];         /* without any URL: those can be secrets */
} si__request_result;

typedef struct si__request_options {
    const char *delivery, *body; /* the delivery's id; the rendered message */
    size_t length;
    int64_t now_s; /* Unix time, for the signature */
    const char *proxy_url, *ca_file;
    uint32_t timeout_ms; /* 0: 30 s */
    int any_address;     /* e-mail: what one address refuses, the others get all the same */
} si__request_options;

/* 0 or SI_ENOMEM (then nothing is left to clean). The body must stay until the request is cleared. */
int si__request_prepare(si__request *request, const si__channel *channel, const si__request_options *options);
void si__request_read(si__request *request, CURLcode code, const si__channel *channel, si__request_result *out);
void si__request_clear(si__request *request);

#endif
