/*
 * Reads a dashboard's answer. Nothing counts as stored but our own JSON in a 200: a proxy's login page is a 200 too.
 *
 * Called by upload.c on the loop's thread. The answer is hostile input; of its text only a printable excerpt gets out.
 */
#include "upload_answer.h"

#include <si/si.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

#define RETRY_AFTER_MOST_S (24 * 3600)

static void set(si__answer *out, si__answer_kind kind, const char *what) {
    out->kind = kind;
    snprintf(out->what, sizeof out->what, "%s", what);
}

/* What the dashboard says is wrong, for the log: printable ASCII, one line, short. */
static void excerpt(const si__json *root, char *out, size_t bytes) {
    const char *message = si__json_get_string(si__json_get(root, "error"), "message", "");
    size_t n = 0;
    for (; *message && n + 1 < bytes; message++) out[n++] = *message >= ' ' && *message <= '~' ? *message : '?';
    out[n] = '\0';
}

static void read_ok(const si__json *root, si__answer *out) {
    const char *status = si__json_get_string(root, "status", "");
    if (!strcmp(status, "stored"))
        out->kind = SI__ANSWER_STORED;
    else if (!strcmp(status, "duplicate"))
        out->kind = SI__ANSWER_DUPLICATE;
    else
        set(out, SI__ANSWER_FOREIGN, "the answer is no dashboard's: is the URL right, or is a proxy in between?");
}

/* 404, 405 and 421 without our JSON come from something else at that address: reports are kept. */
static void read_refusal(long http, const si__json *root, si__answer *out) {
    char said[120];
    excerpt(root, said, sizeof said);
    int ours = si__json_get(root, "error") != NULL;
    if (http == 401 || http == 403) {
        out->kind = SI__ANSWER_KEY;
        snprintf(out->what, sizeof out->what,
                 "the agent key is refused (HTTP %ld%s%s): set SI_AGENT_KEY to a live key of this app", http,
                 *said ? ", " : "", said);
    } else if (ours && http == 410) {
        out->kind = SI__ANSWER_GONE;
        snprintf(out->what, sizeof out->what,
                 "this application was deleted there (HTTP 410%s%s); its reports are dropped until it has a new key",
                 *said ? ", " : "", said);
    } else if (!ours && (http == 404 || http == 405 || http == 421)) {
        out->kind = SI__ANSWER_FOREIGN;
        snprintf(out->what, sizeof out->what, "HTTP %ld: no dashboard answers at this URL", http);
    } else {
        out->kind = SI__ANSWER_REJECTED;
        snprintf(out->what, sizeof out->what, "the dashboard refused a report for good (HTTP %ld%s%s); it is set aside",
                 http, *said ? ", " : "", said);
    }
}

static void read_http(CURL *easy, long http, const si__json *root, si__answer *out) {
    curl_off_t after_s = 0;
    if (http == 200) {
        read_ok(root, out);
    } else if (http == 408 || http == 429 || http >= 500) {
        out->kind = SI__ANSWER_SERVER;
        out->may_be_the_report = http == 500;
        snprintf(out->what, sizeof out->what, "HTTP %ld: it asks to come back later", http);
        curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &after_s);
        if (after_s > RETRY_AFTER_MOST_S) after_s = RETRY_AFTER_MOST_S;
        if (after_s > 0) out->retry_after_ms = (uint64_t)after_s * 1000;
    } else if (http >= 400) {
        read_refusal(http, root, out);
    } else if (http >= 300) {
        out->kind = SI__ANSWER_FOREIGN;
        snprintf(out->what, sizeof out->what,
                 "HTTP %ld: redirects are not followed; set SI_DASHBOARD_URL to where the dashboard is", http);
    } else {
        out->kind = SI__ANSWER_FOREIGN;
        snprintf(out->what, sizeof out->what, "HTTP %ld: no dashboard answers like this", http);
    }
}

void si__answer_read(CURL *easy, CURLcode code, const si__transfer_body *body, si__answer *out) {
    long http = 0;
    *out = (si__answer){.kind = SI__ANSWER_NETWORK};
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &http);
    if (code == CURLE_WRITE_ERROR) {
        set(out, SI__ANSWER_FOREIGN, "the answer is too long for a dashboard's");
    } else if (code) {
        snprintf(out->what, sizeof out->what, "%s", curl_easy_strerror(code));
    } else {
        si__json *root = NULL;
        if (body->length) si__json_parse(body->text, body->length, &root, NULL, 0);
        read_http(easy, http, root, out);
        si__json_free(root);
    }
}
