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
    const char *body; /* borrowed */
    size_t length, sent;
} si__request;

typedef struct si__request_result {
    int accepted;
    int permanent;           /* refused: coming again will hardly help */
    uint64_t retry_after_ms; /* 0: not said; at most 24 h */
    char error[160];         /* without any URL: those can be secrets */
} si__request_result;

/* 0 or SI_ENOMEM (then nothing is left to clean). now_s: Unix time, for the signature. */
int si__request_prepare(si__request *request, const si__channel *channel, const char *delivery, const char *body,
                        size_t length, int64_t now_s, const char *proxy_url, const char *ca_file);
void si__request_read(si__request *request, CURLcode code, const si__channel *channel, si__request_result *out);
void si__request_clear(si__request *request);

#endif
