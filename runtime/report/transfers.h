/*
 * Transfers: libcurl's multi interface driven by a uv loop. Shared by uploads and notifications.
 *
 * Loop thread only. Nothing blocks: names are resolved on libcurl's own threads, which inherit the caller's signal
 * mask.
 */
#ifndef SI_REPORT_TRANSFERS_H
#define SI_REPORT_TRANSFERS_H

#include <curl/curl.h>
#include <stddef.h>
#include <uv.h>

#define SI__TRANSFER_BODY_BYTES 4096 /* of an answer; a longer one fails the transfer */

typedef struct si__transfers si__transfers;

/* An answer's body, kept for the caller. Zero-initialise; must stay put while the transfer runs. */
typedef struct si__transfer_body {
    char text[SI__TRANSFER_BODY_BYTES + 1];
    size_t length, head_bytes;
} si__transfer_body;

si__transfers *si__transfers_new(uv_loop_t *loop); /* NULL: out of memory or no libcurl */

/* An easy handle with what all our transfers have in common: only the protocols named ("http,https"), no redirects,
   verified TLS, no signals, time limits, a bounded answer into body, close-on-exec sockets. Strings may be NULL. NULL:
   out of memory. */
CURL *si__transfer_handle(const char *url, const char *protocols, const char *proxy_url, const char *ca_file,
                          si__transfer_body *body);

/* Starts; `done` is called once, on the loop and never from within this call, when it is over (the handle is then the
   caller's again). 0 or SI_ENOMEM. Uses CURLOPT_PRIVATE. */
int si__transfers_start(si__transfers *transfers, CURL *easy, void (*done)(void *arg, CURLcode code), void *arg);

/* Ends a transfer without calling done. Does nothing for a handle that is not running. */
void si__transfers_cancel(si__transfers *transfers, CURL *easy);

/* All transfers must be over or cancelled. Asynchronous; frees itself, then calls closed. */
void si__transfers_close(si__transfers *transfers, void (*closed)(void *arg), void *arg);

#endif
