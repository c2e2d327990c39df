/* What is known about channels; see channels.h. */
#include "channels.h"

#include <math.h>
#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/notify/channel.h"
#include "../../runtime/report/report.h"

#define TO_MOST 50

typedef struct outcome {
    char state[16], error[256];
    int64_t time_ms; /* 0: nothing yet */
} outcome;

typedef struct entry {
    char name[SI__CHANNEL_NAME], target[256];
    si__channel_kind kind;
    char **to;
    size_t to_count;
    uint64_t sent, failed;
    int64_t last_sent_ms, last_error_ms;
    char last_error[256];
    int failing; /* the last message did not go through at once */
    outcome test;
    int test_asked;
    char test_author[256];
    uint64_t test_id; /* of the notifier */
} entry;

struct si__channels {
    pthread_mutex_t lock;
    entry *entries;
    size_t count;
    int configured;
    char error[512];
};

si__channels *si__channels_new(void) {
    si__channels *channels = calloc(1, sizeof *channels);
    if (channels) pthread_mutex_init(&channels->lock, NULL);
    return channels;
}

static void clear_entry(entry *e) {
    for (size_t i = 0; i < e->to_count; i++) free(e->to[i]);
    free(e->to);
}

static void free_entries(entry *entries, size_t count) {
    for (size_t i = 0; i < count; i++) clear_entry(&entries[i]);
    free(entries);
}

void si__channels_delete(si__channels *channels) {
    if (!channels) return;
    free_entries(channels->entries, channels->count);
    pthread_mutex_destroy(&channels->lock);
    free(channels);
}

static entry *find(si__channels *channels, const char *name) {
    for (size_t i = 0; i < channels->count; i++)
        if (!strncmp(channels->entries[i].name, name, SI__CHANNEL_NAME - 1)) return &channels->entries[i];
    return NULL;
}

/* ---- Loading ---- */

/* Scheme and host of a URL: the path of a webhook is its secret. */
static void name_target(const char *url, char *out, size_t bytes) {
    const char *start = url ? strstr(url, "://") : NULL;
    out[0] = '\0';
    if (!start) return;
    const char *host = start + 3, *end = host + strcspn(host, "/?#"), *at = NULL;
    for (const char *c = host; c < end; c++)
        if (*c == '@') at = c;
    if (at) host = at + 1;
    snprintf(out, bytes, "%.*s://%.*s", (int)(start - url), url, (int)(end - host), host);
}

static int fill(entry *e, const si__channel *from) {
    snprintf(e->name, sizeof e->name, "%s", from->name);
    e->kind = from->kind;
    name_target(from->url, e->target, sizeof e->target);
    e->to = calloc(from->to_count + 1, sizeof *e->to);
    if (!e->to) return SI_ENOMEM;
    for (size_t i = 0; i < from->to_count && i < TO_MOST; i++)
        if (!(e->to[e->to_count] = strdup(from->to[i])) || !++e->to_count) return SI_ENOMEM;
    return SI_OK;
}

/* What was learned about a name stays with it. */
static void keep_history(entry *e, const entry *known) {
    entry fresh = *e;
    *e = *known;
    memcpy(e->target, fresh.target, sizeof e->target);
    e->kind = fresh.kind;
    e->to = fresh.to;
    e->to_count = fresh.to_count;
}

void si__channels_loaded(si__channels *channels, const char *text, size_t length) {
    si__channel *parsed = NULL;
    size_t count = 0;
    char error[512];
    if (si__channels_parse(text, length, &parsed, &count, error, sizeof error)) {
        si__channels_refused(channels, error);
        return;
    }
    entry *entries = calloc(count + 1, sizeof *entries);
    int failed = entries == NULL;
    for (size_t i = 0; i < count && !failed; i++) failed = fill(&entries[i], &parsed[i]) != SI_OK;
    si__channels_free(parsed, count);
    pthread_mutex_lock(&channels->lock);
    for (size_t i = 0; i < count && !failed; i++) {
        const entry *known = find(channels, entries[i].name);
        if (known) keep_history(&entries[i], known);
    }
    if (!failed) {
        entry *before = channels->entries;
        size_t before_count = channels->count;
        channels->entries = entries;
        channels->count = count;
        channels->configured = 1;
        channels->error[0] = '\0';
        entries = before;
        count = before_count;
    }
    pthread_mutex_unlock(&channels->lock);
    if (entries) free_entries(entries, count);
}

void si__channels_refused(si__channels *channels, const char *error) {
    pthread_mutex_lock(&channels->lock);
    channels->configured = 1;
    snprintf(channels->error, sizeof channels->error, "%s", error);
    pthread_mutex_unlock(&channels->lock);
}

/* ---- What becomes of messages ---- */

static void note(outcome *o, const char *state, const char *error, int64_t time_ms) {
    snprintf(o->state, sizeof o->state, "%s", state);
    snprintf(o->error, sizeof o->error, "%s", error ? error : "");
    o->time_ms = time_ms;
}

/* A test of an alias is as good as the worst of its channels. */
static void note_test(entry *e, const si__notify_event *event) {
    int was_failure = !strcmp(e->test.state, "failed") || !strcmp(e->test.state, "retry");
    if (was_failure && strcmp(event->state, "failed") != 0 && e->kind == SI__CHANNEL_ALIAS) return;
    note(&e->test, event->state, event->error, event->time_ms);
}

void si__channels_event(si__channels *channels, const si__notify_event *event) {
    pthread_mutex_lock(&channels->lock);
    entry *e = find(channels, event->destination);
    if (e && !strcmp(event->state, "sent")) {
        e->sent++;
        e->last_sent_ms = event->time_ms;
        e->failing = 0;
    } else if (e && (!strcmp(event->state, "retry") || !strcmp(event->state, "failed"))) {
        e->failed += !strcmp(event->state, "failed");
        e->failing = 1;
        e->last_error_ms = event->time_ms;
        snprintf(e->last_error, sizeof e->last_error, "%s", event->error ? event->error : "");
    }
    for (size_t i = 0; i < channels->count; i++)
        if (channels->entries[i].test_id && channels->entries[i].test_id == event->id)
            note_test(&channels->entries[i], event);
    pthread_mutex_unlock(&channels->lock);
}

/* ---- Tests ---- */

int si__channels_ask_test(si__channels *channels, const char *name, const char *author, int64_t now_ms) {
    pthread_mutex_lock(&channels->lock);
    entry *e = find(channels, name);
    int result = !e ? SI_ENOTFOUND : e->test_asked ? SI_EEXIST : SI_OK;
    if (!result) {
        e->test_asked = 1;
        e->test_id = 0;
        snprintf(e->test_author, sizeof e->test_author, "%s", author);
        note(&e->test, "queued", "", now_ms);
    }
    pthread_mutex_unlock(&channels->lock);
    return result;
}

static int make_test_alert(si__alert *alert, const char *author, int64_t now_ms) {
    char summary[400];
    *alert = (si__alert){.state = SI__ALERT_FIRING, .value = NAN, .started_ms = now_ms, .fired_ms = now_ms};
    snprintf(alert->fingerprint, sizeof alert->fingerprint, "%032d", 0);
    snprintf(summary, sizeof summary, "This is a test that %s sent from si-dashboard. Nothing is wrong.", author);
    alert->rule = si__report_strdup("test");
    alert->subject = si__report_strdup("");
    alert->severity = si__report_strdup("info");
    alert->summary = si__report_strdup(summary);
    alert->runbook = si__report_strdup("");
    alert->detail = si__report_strdup("");
    alert->app = si__report_strdup("si-dashboard");
    alert->environment = si__report_strdup("test");
    alert->host = si__report_strdup("");
    return alert->rule && alert->subject && alert->severity && alert->summary && alert->runbook && alert->detail &&
                   alert->app && alert->environment && alert->host
               ? SI_OK
               : SI_ENOMEM;
}

/* The name of a test that waits. 1: there is one. */
static int take_test(si__channels *channels, char name[SI__CHANNEL_NAME], char author[256], si__channel_kind *kind) {
    int found = 0;
    pthread_mutex_lock(&channels->lock);
    for (size_t i = 0; i < channels->count && !found; i++) {
        entry *e = &channels->entries[i];
        if (!e->test_asked) continue;
        e->test_asked = 0;
        found = 1;
        *kind = e->kind;
        memcpy(name, e->name, SI__CHANNEL_NAME);
        memcpy(author, e->test_author, sizeof e->test_author);
    }
    pthread_mutex_unlock(&channels->lock);
    return found;
}

static void send_test(si__channels *channels, si__notify *notify, const char *name, const char *author,
                      si__channel_kind kind, int64_t now_ms) {
    char error[256] = "out of memory";
    si__alert alert;
    uint64_t id = 0;
    if (!make_test_alert(&alert, author, now_ms)) id = si__notify_send(notify, name, &alert, 1, error, sizeof error);
    if (id && kind == SI__CHANNEL_PAGERDUTY) { /* an incident that nobody has to close by hand */
        char ignored[256];
        alert.state = SI__ALERT_RESOLVED;
        alert.resolved_ms = now_ms;
        si__notify_send(notify, name, &alert, 1, ignored, sizeof ignored);
    }
    si__alert_clear(&alert);
    pthread_mutex_lock(&channels->lock);
    entry *e = find(channels, name);
    if (e) e->test_id = id;
    if (e && !id) note(&e->test, "failed", error, now_ms);
    pthread_mutex_unlock(&channels->lock);
}

void si__channels_send_tests(si__channels *channels, si__notify *notify, int64_t now_ms) {
    char name[SI__CHANNEL_NAME], author[256];
    si__channel_kind kind;
    while (take_test(channels, name, author, &kind)) send_test(channels, notify, name, author, kind, now_ms);
}

/* ---- For people ---- */

static void put_time(si__json_writer *json, const char *key, int64_t time_ms) {
    if (time_ms)
        si__json_put_int(json, key, time_ms);
    else
        si__json_put_null(json, key);
}

/* Of an alias: of the channels that it stands for. */
static const char *state_of(si__channels *channels, const entry *e) {
    int failing = e->failing, sent = e->last_sent_ms != 0;
    for (size_t i = 0; e->kind == SI__CHANNEL_ALIAS && i < e->to_count; i++) {
        const entry *to = find(channels, e->to[i]);
        failing |= to && to->failing;
        sent |= to && to->last_sent_ms;
    }
    return failing ? "failing" : sent ? "ready" : "untested";
}

static void put_entry(si__json_writer *json, si__channels *channels, const entry *e) {
    static const char *const kinds[] = {"webhook", "slack", "email", "pagerduty", "alias"};
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "name", e->name);
    si__json_put_string(json, "kind", kinds[e->kind]);
    si__json_put_string(json, "target", e->target);
    si__json_array_begin(json, "to");
    for (size_t i = 0; i < e->to_count; i++) si__json_put_string(json, NULL, e->to[i]);
    si__json_array_end(json);
    si__json_put_string(json, "state", state_of(channels, e));
    si__json_put_uint(json, "sent", e->sent);
    si__json_put_uint(json, "failed", e->failed);
    put_time(json, "last_sent_ms", e->last_sent_ms);
    si__json_put_string(json, "last_error", e->last_error);
    put_time(json, "last_error_ms", e->last_error_ms);
    if (e->test.time_ms) {
        si__json_object_begin(json, "test");
        si__json_put_string(json, "state", e->test.state);
        si__json_put_string(json, "error", e->test.error);
        si__json_put_int(json, "time_ms", e->test.time_ms);
        si__json_object_end(json);
    } else {
        si__json_put_null(json, "test");
    }
    si__json_object_end(json);
}

void si__channels_write(si__channels *channels, si__json_writer *json) {
    pthread_mutex_lock(&channels->lock);
    si__json_array_begin(json, "channels");
    for (size_t i = 0; i < channels->count; i++) put_entry(json, channels, &channels->entries[i]);
    si__json_array_end(json);
    si__json_put_bool(json, "configured", channels->configured);
    si__json_put_string(json, "error", channels->error);
    pthread_mutex_unlock(&channels->lock);
}
