/*
 * The world that tests of notifications share: a loop, a notifier, a log of what it said, and alerts to tell.
 */
#ifndef SPEC_NOTIFY_WORLD_H
#define SPEC_NOTIFY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <si/si.h>

#include "../../runtime/notify/notify.h"
#include "../../runtime/report/json.h"
#include "http_server.h"
#include "loop_until.h"

typedef struct world {
    uv_loop_t loop;
    si__notify *notify;
    char events[8192], log[4096];
    int sent, retries, failed, closed;
} world;

static inline void on_event(void *arg, const si__notify_event *e) {
    world *w = arg;
    size_t used = strlen(w->events);
    snprintf(w->events + used, sizeof w->events - used, "%llu %s %s %d %s\n", (unsigned long long)e->id, e->destination,
             e->state, e->attempts, e->error ? e->error : "");
    w->sent += !strcmp(e->state, "sent");
    w->retries += !strcmp(e->state, "retry");
    w->failed += !strcmp(e->state, "failed");
}

static inline void on_log(void *arg, int level, const char *message) {
    world *w = arg;
    size_t used = strlen(w->log);
    snprintf(w->log + used, sizeof w->log - used, "%d %s\n", level, message);
}

static inline void on_closed(void *arg) {
    world *w = arg;
    w->closed = 1;
}

static inline void begin_as(world *w, const char *ca_file, uint32_t timeout_ms) {
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    const si__notify_options options = {.link_base = "https://si.example.org/",
                                        .log = on_log,
                                        .log_arg = w,
                                        .on_event = on_event,
                                        .event_arg = w,
                                        .ca_file = ca_file,
                                        .timeout_ms = timeout_ms};
    w->notify = si__notify_new(&w->loop, &options);
    assert_non_null(w->notify);
}

static inline void begin_with_ca(world *w, const char *ca_file) {
    begin_as(w, ca_file, 0);
}

static inline void begin(world *w) {
    begin_as(w, NULL, 0);
}

static inline void end(world *w) {
    si__notify_close(w->notify, on_closed, w);
    LOOP_UNTIL(&w->loop, w->closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

__attribute__((format(printf, 2, 3))) static inline void load(world *w, const char *format, ...) {
    char json[4096], error[200];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(json, sizeof json, format, arguments);
    va_end(arguments);
    if (si__notify_channels_load(w->notify, json, (size_t)n, error, sizeof error)) fail_msg("%s", error);
}

static inline si__alert alert_of(const char *rule, const char *summary, si__alert_state state) {
    return (si__alert){.fingerprint = "00112233445566778899aabbccddeeff",
                       .rule = (char *)rule,
                       .subject = "process.cpu.utilization",
                       .severity = "critical",
                       .summary = (char *)summary,
                       .runbook = "https://runbooks.example.org/cpu",
                       .detail = "main\n  work",
                       .app = "shop",
                       .environment = "production",
                       .host = "web-17",
                       .state = state,
                       .value = 0.93,
                       .started_ms = 1700000000000,
                       .fired_ms = 1700000060000,
                       .resolved_ms = state == SI__ALERT_RESOLVED ? 1700000120000 : 0};
}

static inline uint64_t send_alerts(world *w, const char *to, const si__alert *alerts, size_t count) {
    char error[200];
    uint64_t id = si__notify_send(w->notify, to, alerts, count, error, sizeof error);
    if (!id) fail_msg("not queued: %s", error);
    return id;
}

static inline si__json *json_body(const server_request *r) {
    si__json *root;
    char error[100];
    if (si__json_parse(r->body, r->length, &root, error, sizeof error)) fail_msg("the body is no JSON: %s", error);
    return root;
}

static inline void header_of(const server_request *r, const char *name, char *out, size_t bytes) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s: ", name);
    const char *at = strstr(r->headers, wanted);
    out[0] = '\0';
    if (at) snprintf(out, bytes, "%.*s", (int)strcspn(at + strlen(wanted), "\n"), at + strlen(wanted));
}

#endif
