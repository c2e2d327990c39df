/*
 * Who tells people: the dashboard while it can be reached, and the agent itself once it cannot. Real HTTP servers are
 * the dashboard and the webhook; time is told to the deliverer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <si/si.h>

#include "../../runtime/deliver.h"
#include "http_server.h"
#include "loop_until.h"
#include "temporary_dir.h"

enum { MINUTE_MS = 60000 };
static const server_answer accepted = {ANSWER, 200, "{}", NULL, NULL};
static const server_answer broken = {ANSWER, 503, "", NULL, NULL};

static const char *state_dir; /* of the notifier's outbox; NULL: in memory */

typedef struct world {
    uv_loop_t loop;
    si__settings *settings;
    si__worker *worker;
    si__spool *spool;
    si__upload *upload;
    si__notify *notify;
    si__deliver *deliver;
    http_server *webhook;
    int closed;
} world;

static void silent(void *data, si_log_level level, const char *message) {
    (void)data, (void)level, (void)message;
}

static void one_closed(void *arg) {
    world *w = arg;
    w->closed++;
}

/* dashboard: NULL for none. */
static void begin(world *w, const http_server *dashboard) {
    char text[256], error[256] = "";
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    si_options options;
    si_options_init(&options);
    options.log = silent;
    assert_int_equal(si__settings_new(&w->settings, &options, error, sizeof error), 0);
    w->worker = si__worker_new(&w->loop);
    assert_int_equal(si__spool_open(NULL, NULL, &w->spool, error, sizeof error), 0);
    w->notify = si__notify_new(&w->loop, &(si__notify_options){0});
    char outbox[100];
    snprintf(outbox, sizeof outbox, "%s/outbox", state_dir ? state_dir : "");
    if (state_dir) assert_int_equal(si__notify_keep(w->notify, w->worker, outbox), 0);
    w->webhook = http_server_start(&accepted, 1);
    int length = snprintf(text, sizeof text, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"}}}",
                          w->webhook->port);
    assert_int_equal(si__notify_channels_load(w->notify, text, (size_t)length, error, sizeof error), 0);
    snprintf(text, sizeof text, "http://127.0.0.1:%u", dashboard ? dashboard->port : 1);
    const si__upload_options upload = {.dashboard_url = text, .agent_key = "key"};
    if (dashboard) w->upload = si__upload_new(&w->loop, w->worker, w->spool, &upload);
    w->deliver = si__deliver_new(w->settings, w->notify, w->upload);
    assert_non_null(w->deliver);
}

static void end(world *w) {
    si__notify_close(w->notify, one_closed, w);
    if (w->upload)
        si__upload_close(w->upload, one_closed, w);
    else
        w->closed++;
    LOOP_UNTIL(&w->loop, w->closed == 2);
    si__worker_close(w->worker, one_closed, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(w->closed, 3);
    si__deliver_free(w->deliver);
    si__spool_close(w->spool);
    si__settings_free(w->settings);
    http_server_stop(w->webhook);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void tell(world *w, const char *summary, uint64_t sequence, int64_t now_ms) {
    si__alert alert = {.fingerprint = "0123456789abcdef0123456789abcdef",
                       .rule = "r",
                       .subject = "",
                       .severity = "warning",
                       .summary = (char *)summary,
                       .runbook = "",
                       .detail = "",
                       .app = "a",
                       .environment = "e",
                       .host = "h",
                       .state = SI__ALERT_FIRING};
    const si__report_id report = {.boot = {7}, .sequence = sequence};
    si__deliver_send(w->deliver, "webhook:ops", &alert, 1, &report, now_ms);
}

static void stored(world *w, uint64_t sequence) {
    const si__report_id report = {.boot = {7}, .sequence = sequence};
    si__deliver_stored(w->deliver, &report, 1);
}

static void try_a_report(world *w) {
    const si__report_id id = {.sequence = 1};
    si__upload_state before, now;
    si__upload_state_get(w->upload, &before);
    si__spool_put(w->spool, &id, SI__SPOOL_ALERTS, (const uint8_t *)"x", 1, 1);
    si__upload_kick(w->upload);
    LOOP_UNTIL(&w->loop,
               (si__upload_state_get(w->upload, &now), now.sent + now.failures > before.sent + before.failures));
}

static int body_has(const world *w, unsigned n, const char *text) {
    const server_request *r = http_server_request(w->webhook, n);
    return memmem(r->body, r->length, text, strlen(text)) != NULL;
}

static void without_a_dashboard_people_are_told_at_once(void **state) {
    (void)state;
    world w;
    begin(&w, NULL);
    tell(&w, "first", 1, 0);
    LOOP_UNTIL(&w.loop, http_server_requests(w.webhook) == 1);
    assert_true(body_has(&w, 0, "first"));
    assert_int_equal(si__deliver_held(w.deliver), 0);
    end(&w);
}

static void what_the_dashboard_has_it_delivers(void **state) {
    (void)state;
    world w;
    http_server *dashboard = http_server_start(&accepted, 1);
    begin(&w, dashboard);
    try_a_report(&w);
    tell(&w, "in the third report", 3, 0);
    tell(&w, "in the fourth", 4, 0);
    stored(&w, 2); /* another report */
    assert_int_equal(si__deliver_held(w.deliver), 2);
    stored(&w, 3);
    assert_int_equal(si__deliver_held(w.deliver), 1);
    si__deliver_tick(w.deliver, 100 * MINUTE_MS); /* it is in reach: nothing to do */
    stored(&w, 5);
    assert_int_equal(si__deliver_held(w.deliver), 0);
    assert_int_equal(http_server_requests(w.webhook), 0);
    end(&w);
    http_server_stop(dashboard);
}

static void a_dashboard_that_is_away_for_two_minutes_is_not_waited_for(void **state) {
    (void)state;
    world w;
    http_server *dashboard = http_server_start(&broken, 1);
    begin(&w, dashboard);
    try_a_report(&w);
    tell(&w, "fires", 2, 10 * MINUTE_MS);
    tell(&w, "is resolved", 2, 11 * MINUTE_MS);
    si__deliver_tick(w.deliver, 12 * MINUTE_MS - 1);
    assert_int_equal(si__deliver_held(w.deliver), 2);
    si__deliver_tick(w.deliver, 12 * MINUTE_MS);
    assert_int_equal(si__deliver_held(w.deliver), 0);
    tell(&w, "later", 3, 13 * MINUTE_MS); /* still away: at once */
    assert_int_equal(si__deliver_held(w.deliver), 0);
    LOOP_UNTIL(&w.loop, http_server_requests(w.webhook) == 3);
    assert_true(body_has(&w, 0, "fires")); /* in the order in which things happened */
    assert_true(body_has(&w, 1, "is resolved"));
    assert_true(body_has(&w, 2, "later"));
    end(&w);
    http_server_stop(dashboard);
}

static void too_many_to_hold_are_sent_not_dropped(void **state) {
    (void)state;
    world w;
    http_server *dashboard = http_server_start(&accepted, 1);
    begin(&w, dashboard);
    try_a_report(&w);
    char summary[32];
    for (int i = 0; i < 258; i++) {
        snprintf(summary, sizeof summary, "number %d.", i);
        tell(&w, summary, 9, 0);
    }
    assert_int_equal(si__deliver_held(w.deliver), 256);
    LOOP_UNTIL(&w.loop, http_server_requests(w.webhook) == 2);
    assert_true(body_has(&w, 0, "number 0."));
    assert_true(body_has(&w, 1, "number 1."));
    end(&w);
    http_server_stop(dashboard);
}

static void what_is_held_outlives_the_process(void **state) {
    (void)state;
    world w;
    char dir[64];
    temporary_dir_make(dir);
    state_dir = dir;
    http_server *dashboard = http_server_start(&broken, 1);
    begin(&w, dashboard);
    try_a_report(&w);
    tell(&w, "before the restart", 2, 10 * MINUTE_MS);
    tell(&w, "in the next report", 3, 10 * MINUTE_MS);
    end(&w);
    begin(&w, dashboard); /* still away */
    assert_int_equal(si__deliver_held(w.deliver), 2);
    const si__report_id late = {.boot = {7}, .sequence = 2};
    si__deliver_stored(w.deliver, &late, 0); /* an old report got through before it went away again */
    assert_int_equal(si__deliver_held(w.deliver), 1);
    try_a_report(&w);
    si__deliver_tick(w.deliver, 20 * MINUTE_MS);
    si__deliver_tick(w.deliver, 22 * MINUTE_MS);
    LOOP_UNTIL(&w.loop, http_server_requests(w.webhook) == 1 && si__notify_pending(w.notify) == 0);
    assert_true(body_has(&w, 0, "in the next report"));
    tell(&w, "later", 4, 22 * MINUTE_MS);
    LOOP_UNTIL(&w.loop, http_server_requests(w.webhook) == 2 && si__notify_pending(w.notify) == 0);
    end(&w);
    begin(&w, dashboard); /* all of it was delivered or withdrawn */
    assert_int_equal(si__deliver_held(w.deliver), 0);
    assert_int_equal(si__notify_pending(w.notify), 0);
    tell(&w, "held again", 5, 30 * MINUTE_MS);
    end(&w);
    begin(&w, NULL); /* there is no dashboard any more: up to us */
    LOOP_UNTIL(&w.loop, http_server_requests(w.webhook) == 1);
    assert_true(body_has(&w, 0, "held again"));
    end(&w);
    http_server_stop(dashboard);
    temporary_dir_remove(dir);
    state_dir = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_dashboard_people_are_told_at_once),
        cmocka_unit_test(what_the_dashboard_has_it_delivers),
        cmocka_unit_test(a_dashboard_that_is_away_for_two_minutes_is_not_waited_for),
        cmocka_unit_test(too_many_to_hold_are_sent_not_dropped),
        cmocka_unit_test(what_is_held_outlives_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
