/*
 * HTTP and SMTP requests for the four kinds of channel, signed where a secret is given.
 *
 * Called by notify.c on the loop's thread. Answers are read for their status alone.
 */
#include "request.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../report/json.h"
#include "sha256.h"

#define RETRY_AFTER_MOST_S (24 * 3600)

static int add_line(si__request *r, const char *line) {
    struct curl_slist *longer = curl_slist_append(r->list, line);
    if (!longer) return SI_ENOMEM;
    r->list = longer;
    return 0;
}

/* sha256=HMAC(secret, "<timestamp>.<body>"): the receiver can tell who sent it, and when. */
static int add_signature(si__request *r, const char *secret, int64_t now_s) {
    char line[160], stamp[32], digest_hex[2 * SI__SHA256_BYTES + 1];
    uint8_t digest[SI__SHA256_BYTES];
    si__hmac_sha256 mac;
    int n = snprintf(stamp, sizeof stamp, "%lld", (long long)now_s);
    snprintf(line, sizeof line, "X-Si-Timestamp: %s", stamp);
    int status = add_line(r, line);
    if (status || !secret) return status;
    si__hmac_sha256_begin(&mac, secret, strlen(secret));
    si__hmac_sha256_add(&mac, stamp, (size_t)n);
    si__hmac_sha256_add(&mac, ".", 1);
    si__hmac_sha256_add(&mac, r->body, r->length);
    si__hmac_sha256_end(&mac, digest);
    si__sha256_hex(digest, digest_hex);
    snprintf(line, sizeof line, "X-Si-Signature: sha256=%s", digest_hex);
    return add_line(r, line);
}

static int prepare_http(si__request *r, const si__channel *c, const char *delivery, int64_t now_s) {
    char line[96];
    snprintf(line, sizeof line, "X-Si-Delivery: %s", delivery);
    int status = add_line(r, "Content-Type: application/json");
    if (!status) status = add_line(r, "Expect:");
    if (!status && c->kind == SI__CHANNEL_WEBHOOK) status = add_line(r, line);
    if (!status && c->kind == SI__CHANNEL_WEBHOOK) status = add_signature(r, c->secret, now_s);
    if (status) return status;
    curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->body);
    curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->length);
    curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->list);
    return 0;
}

static size_t give_mail(char *out, size_t size, size_t count, void *arg) {
    si__request *r = arg;
    size_t n = size * count, left = r->length - r->sent;
    if (n > left) n = left;
    memcpy(out, r->body + r->sent, n);
    r->sent += n;
    return n;
}

static int prepare_mail(si__request *r, const si__channel *c) {
    static const long levels[] = {
        [SI__TLS_REQUIRED] = CURLUSESSL_ALL, [SI__TLS_TRY] = CURLUSESSL_TRY, [SI__TLS_NONE] = CURLUSESSL_NONE};
    for (size_t i = 0; i < c->to_count; i++) {
        char address[260];
        snprintf(address, sizeof address, "<%s>", c->to[i]);
        if (add_line(r, address)) return SI_ENOMEM;
    }
    char from[260];
    snprintf(from, sizeof from, "<%s>", c->from);
    CURLcode code = curl_easy_setopt(r->easy, CURLOPT_MAIL_FROM, from);
    if (!code && c->user) code = curl_easy_setopt(r->easy, CURLOPT_USERNAME, c->user);
    if (!code && c->user) code = curl_easy_setopt(r->easy, CURLOPT_PASSWORD, c->password);
    if (code) return SI_ENOMEM;
    curl_easy_setopt(r->easy, CURLOPT_MAIL_RCPT, r->list);
    curl_easy_setopt(r->easy, CURLOPT_USE_SSL, levels[c->tls]);
    curl_easy_setopt(r->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(r->easy, CURLOPT_READFUNCTION, give_mail);
    curl_easy_setopt(r->easy, CURLOPT_READDATA, r);
    curl_easy_setopt(r->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->length);
    return 0;
}

/* The routing key goes in now: it is neither in memory nor on disk while a message waits, and a corrected one counts.
 */
static int add_routing_key(si__request *r, const char *key) {
    si__json_writer w = {0};
    char *head;
    size_t length;
    si__json_object_begin(&w, NULL);
    si__json_put_string(&w, "routing_key", key);
    si__json_object_end(&w);
    if (si__json_take(&w, &head, &length)) return SI_ENOMEM;
    r->own = malloc(length + r->length + 1);
    if (r->own) { /* {"routing_key":"...", then what the body has after its brace */
        memcpy(r->own, head, length - 1);
        r->own[length - 1] = ',';
        memcpy(r->own + length, r->body + 1, r->length - 1);
        r->body = r->own;
        r->length = length + r->length - 1;
    }
    free(head);
    return r->own ? SI_OK : SI_ENOMEM;
}

int si__request_prepare(si__request *r, const si__channel *c, const si__request_options *o) {
    int mail = c->kind == SI__CHANNEL_EMAIL;
    memset(r, 0, sizeof *r);
    r->body = o->body;
    r->length = o->length;
    r->easy = si__transfer_handle(c->url, mail ? "smtp,smtps" : "http,https", mail ? NULL : o->proxy_url, o->ca_file,
                                  &r->answer);
    int status = r->easy ? SI_OK : SI_ENOMEM;
    if (!status && c->kind == SI__CHANNEL_PAGERDUTY && r->length > 1) status = add_routing_key(r, c->secret);
    if (!status) status = mail ? prepare_mail(r, c) : prepare_http(r, c, o->delivery, o->now_s);
    if (!status && o->timeout_ms) curl_easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)o->timeout_ms);
    if (!status && mail && o->any_address) curl_easy_setopt(r->easy, CURLOPT_MAIL_RCPT_ALLLOWFAILS, 1L);
    if (status) si__request_clear(r);
    return status;
}

/* Any 2xx is an acceptance; what the body says is not asked. */
static void read_http(si__request *r, long status, si__request_result *out) {
    curl_off_t after_s = 0;
    out->accepted = status >= 200 && status < 300;
    if (out->accepted) return;
    snprintf(out->error, sizeof out->error, "HTTP %ld", status);
    out->permanent = status >= 300 && status < 500 && status != 408 && status != 425 && status != 429;
    curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after_s);
    if (after_s > RETRY_AFTER_MOST_S) after_s = RETRY_AFTER_MOST_S;
    if (after_s > 0) out->retry_after_ms = (uint64_t)after_s * 1000;
}

void si__request_read(si__request *r, CURLcode code, const si__channel *c, si__request_result *out) {
    long status = 0;
    *out = (si__request_result){0};
    curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (c->kind != SI__CHANNEL_EMAIL && status >= 200) {
        read_http(r, status, out); /* an answer that is too long, too slow or cut short is an answer */
    } else if (!code) {
        out->accepted = 1;
    } else if (c->kind == SI__CHANNEL_EMAIL && status >= 400 && status < 600) {
        snprintf(out->error, sizeof out->error, "SMTP %ld: %s", status, curl_easy_strerror(code));
        out->permanent = status >= 500;
    } else {
        snprintf(out->error, sizeof out->error, "%s", curl_easy_strerror(code));
    }
}

void si__request_clear(si__request *r) {
    if (r->easy) curl_easy_cleanup(r->easy);
    free(r->own);
    curl_slist_free_all(r->list);
    memset(r, 0, sizeof *r);
}
