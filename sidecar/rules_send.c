/*
 * `si rules send-test DEST`: one message of one made-up alert, to see that it arrives. Called by the si command, on its
 * only thread. It is tried once: what stands in the way is said instead of being waited out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "../runtime/agent_parts.h"
#include "../runtime/notify/notify.h"
#include "rules_input.h"

#define PATIENCE_MS 60000

typedef struct sending {
    uv_loop_t loop;
    uv_timer_t patience;
    si__notify *notify;
    int sent, failed, wanted, ended;
} sending;

static void on_closed(void *arg) {
    (void)arg;
}

static void end(sending *s) {
    if (s->ended) return;
    s->ended = 1;
    uv_close((uv_handle_t *)&s->patience, NULL);
}

static void on_event(void *arg, const si__notify_event *event) {
    sending *s = arg;
    if (s->ended || strcmp(event->state, "queued") == 0) return;
    if (strcmp(event->state, "sent") == 0) {
        printf("%s: accepted\n", event->destination);
        s->sent++;
    } else {
        fprintf(stderr, "si rules send-test: %s: %s\n", event->destination, event->error ? event->error : event->state);
        s->failed++;
    }
    if (s->sent + s->failed >= s->wanted) end(s);
}

static void on_patience(uv_timer_t *timer) {
    sending *s = timer->data;
    fprintf(stderr, "si rules send-test: no answer within %d s\n", PATIENCE_MS / 1000);
    s->failed++;
    end(s);
}

static int load_channels(sending *s, const char *path) {
    char error[512] = "", *text = NULL;
    size_t length = 0;
    int status = si__read_file(path, &text, &length);
    if (!status) status = si__notify_channels_load(s->notify, text, length, error, sizeof error);
    free(text);
    if (!status) return 0;
    fprintf(stderr, "si rules send-test: %s: %s\n", path, *error ? error : si_strerror(status));
    return 2;
}

/* 0 or an exit code. A name for several channels is a message to each of them. */
static int queue_alert(sending *s, const si__rules_input *in) {
    char error[512];
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    char rule[] = "test", subject[] = "", severity[] = "info", none[] = "",
         summary[] = "A test, sent by hand with 'si rules send-test'. Nothing is wrong.",
         *app = strdup(in->options.app_name ? in->options.app_name : ""),
         *environment = strdup(in->options.app_environment ? in->options.app_environment : ""),
         *host = strdup(in->options.host_name ? in->options.host_name : "");
    si__alert alert = {.rule = rule,
                       .subject = subject,
                       .severity = severity,
                       .summary = summary,
                       .runbook = none,
                       .detail = none,
                       .app = app,
                       .environment = environment,
                       .host = host,
                       .state = SI__ALERT_FIRING,
                       .value = 1,
                       .started_ms = now_ms,
                       .fired_ms = now_ms};
    snprintf(alert.fingerprint, sizeof alert.fingerprint, "%016llx%016llx", 0ull, (unsigned long long)now_ms);
    uint64_t id = app && environment && host ? si__notify_send(s->notify, in->words[0], &alert, 1, error, sizeof error)
                                             : (snprintf(error, sizeof error, "out of memory"), 0);
    free(app);
    free(environment);
    free(host);
    s->wanted = (int)si__notify_pending(s->notify);
    if (id) return 0;
    fprintf(stderr, "si rules send-test: %s: %s\n", in->words[0], error);
    return 1;
}

int si__rules_send_test(si__rules_input *in) {
    sending s = {0};
    if (!in->options.channels_file) {
        fprintf(stderr, "si rules send-test: where is %s? Give --channels FILE (or SI_CHANNELS_FILE)\n", in->words[0]);
        return 2;
    }
    if (uv_loop_init(&s.loop) != 0) return 1;
    const si__notify_options options = {
        .ca_file = in->options.ca_file, .proxy_url = in->options.proxy_url, .on_event = on_event, .event_arg = &s};
    s.notify = si__notify_new(&s.loop, &options);
    int status = s.notify ? load_channels(&s, in->options.channels_file) : 1;
    s.patience.data = &s;
    uv_timer_init(&s.loop, &s.patience);
    uv_timer_start(&s.patience, on_patience, PATIENCE_MS, 0);
    if (!status) status = queue_alert(&s, in);
    while (!status && !s.ended) uv_run(&s.loop, UV_RUN_ONCE);
    end(&s);
    if (s.notify) si__notify_close(s.notify, on_closed, NULL);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    return status ? status : s.failed != 0;
}
