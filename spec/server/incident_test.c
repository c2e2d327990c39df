/* Alerts at a real server: one row an incident whatever order reports come in, told to a real receiver that fails,
   silenced, kept over restarts; and the rule about agents that fall silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../c/http_server.h"
#include "dashboard.h"
#include "made_report.h"

#define DEADLINE_MS 30000

typedef struct world {
    dashboard d;
    person admin;
    char key[128], rules[100], channels[100];
    http_server *receiver;
    int64_t started_ms; /* of the alerts */
    uint64_t sequence;
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void put_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void start(world *w) {
    const char *options[] = {"--rules", w->rules, "--channels", w->channels, NULL};
    dashboard_start(&w->d, options);
}

static void make(world *w, const server_answer *answers, unsigned count) {
    char path[200], text[300];
    *w = (world){.started_ms = unix_ms() - 600000};
    dashboard_make(&w->d);
    w->receiver = http_server_start(answers, count);
    snprintf(w->rules, sizeof w->rules, "%s/rules", w->d.dir);
    snprintf(w->channels, sizeof w->channels, "%s/channels.json", w->d.dir);
    assert_int_equal(mkdir(w->rules, 0700), 0);
    snprintf(path, sizeof path, "%s/routing.lua", w->rules);
    put_file(path, "route { to = \"webhook:ops\", wait = \"1s\", interval = \"1s\", { match = { rule = \"quiet_*\" }, "
                   "to = {} } }\n");
    snprintf(path, sizeof path, "%s/agent_down.lua", w->rules);
    put_file(path, "rule \"agent_down\" { at = \"dashboard\", severity = \"critical\", every = \"1s\", keep = \"1s\", "
                   "grace = \"0s\",\n"
                   "  summary = function(s) return \"silent: \" .. s:name() end,\n"
                   "  over = metrics \"agent%.silence/.*\",\n"
                   "  when = function(s) return s:last() > 8 end, clear = function(s) return s:last() < 8 end }\n");
    snprintf(text, sizeof text, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/hook\"}}}",
             w->receiver->port);
    put_file(w->channels, text);
    start(w);
    dashboard_key(&w->d, "shop", "test", w->key);
    person_sign_in(&w->admin, &w->d);
}

static void clear(world *w) {
    dashboard_remove(&w->d);
    http_server_stop(w->receiver);
}

/* A report whose end is `age_ms` ago, about one rule in a state (-1: none). */
static void send_state(world *w, const char *rule, int state, int64_t started_ms, int64_t age_ms) {
    char status[32];
    size_t length;
    made m = {
        .agent = 1, .sequence = ++w->sequence, .start_ms = unix_ms() - age_ms - 1000, .end_ms = unix_ms() - age_ms};
    si__report *report = made_report(&m);
    if (state >= 0) made_alert(report, rule, (si__alert_state)state, started_ms);
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
}

/* The alert of a rule, newest first; to be freed by the root in *root. NULL: none. */
static const si__json *find_alert(world *w, const char *rule, si__json **root) {
    *root = person_get(&w->admin, "/alerts?app=shop&env=test");
    for (const si__json *a = si__json_get(*root, "alerts")->first; a; a = a->next)
        if (!strcmp(si__json_get_string(a, "rule", ""), rule)) return a;
    return NULL;
}

static void state_is(world *w, const char *rule, const char *state) {
    si__json *root;
    const si__json *alert = find_alert(w, rule, &root);
    assert_non_null(alert);
    assert_string_equal(si__json_get_string(alert, "state", ""), state);
    si__json_free(root);
}

static int count_alerts(world *w, const char *rule) {
    int count = 0;
    si__json *root = person_get(&w->admin, "/alerts?app=shop&env=test");
    for (const si__json *a = si__json_get(root, "alerts")->first; a; a = a->next)
        count += !strcmp(si__json_get_string(a, "rule", ""), rule);
    si__json_free(root);
    return count;
}

static void sleep_ms(int ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000l}, NULL);
}

/* How many requests the receiver got that say both texts. */
static int told(world *w, const char *one, const char *two) {
    int count = 0;
    for (unsigned i = 0; i < http_server_requests(w->receiver); i++) {
        const server_request *r = http_server_request(w->receiver, i);
        count += r->body && strstr(r->body, one) && strstr(r->body, two);
    }
    return count;
}

static void wait_told(world *w, const char *one, const char *two, int times) {
    int64_t deadline = unix_ms() + DEADLINE_MS;
    while (told(w, one, two) < times) {
        assert_true(unix_ms() < deadline);
        sleep_ms(20);
    }
}

/* Waits until the newest delivery of a rule's alert is in a state. */
static void wait_delivery(world *w, const char *rule, const char *state) {
    int64_t deadline = unix_ms() + DEADLINE_MS;
    for (;;) {
        si__json *root;
        const si__json *alert = find_alert(w, rule, &root);
        const si__json *deliveries = alert ? si__json_get(alert, "deliveries") : NULL;
        int reached =
            deliveries && deliveries->first && !strcmp(si__json_get_string(deliveries->first, "state", ""), state);
        si__json_free(root);
        if (reached) return;
        assert_true(unix_ms() < deadline);
        sleep_ms(20);
    }
}

static void an_incident_is_one_row_whatever_order_reports_come_in(void **state) {
    world w;
    (void)state;
    make(&w, &(server_answer){ANSWER, 200, "ok", NULL, NULL}, 1);
    send_state(&w, "quiet_one", SI__ALERT_PENDING, w.started_ms, 5000);
    state_is(&w, "quiet_one", "pending");
    send_state(&w, "quiet_one", SI__ALERT_FIRING, w.started_ms, 4000);
    send_state(&w, "quiet_one", SI__ALERT_FIRING, w.started_ms, 3000); /* agents repeat what fires */
    state_is(&w, "quiet_one", "firing");
    send_state(&w, "quiet_one", SI__ALERT_RESOLVED, w.started_ms, 2000);
    send_state(&w, "quiet_one", SI__ALERT_FIRING, w.started_ms, 3500); /* an older report, late */
    send_state(&w, "quiet_one", SI__ALERT_PENDING, w.started_ms, 4500);
    state_is(&w, "quiet_one", "resolved");
    assert_int_equal(count_alerts(&w, "quiet_one"), 1);
    send_state(&w, "quiet_one", SI__ALERT_FIRING, w.started_ms + 300000, 1000); /* the next one */
    assert_int_equal(count_alerts(&w, "quiet_one"), 2);
    send_state(&w, "quiet_one", SI__ALERT_FIRING, w.started_ms - 300000,
               6000); /* an incident before, whose end was never told */
    si__json *root = person_get(&w.admin, "/alerts?state=firing&app=shop");
    assert_int_equal(si__json_get(root, "alerts")->count, 1);
    si__json_free(root);
    send_state(&w, "quiet_two", SI__ALERT_PENDING, w.started_ms, 3000);
    send_state(&w, "quiet_two", SI__ALERT_INACTIVE, w.started_ms, 1000);
    assert_int_equal(count_alerts(&w, "quiet_two"), 0); /* it never fired */
    assert_int_equal(http_server_requests(w.receiver), 0);
    clear(&w);
}

static void firing_and_resolving_are_told_until_somebody_listens(void **state) {
    static const server_answer answers[] = {
        {ANSWER, 500, "no", NULL, NULL}, {CUT, 0, "", NULL, NULL}, {ANSWER, 200, "ok", NULL, NULL}};
    world w;
    (void)state;
    make(&w, answers, 3);
    send_state(&w, "cpu_high", SI__ALERT_FIRING, w.started_ms, 1000);
    wait_told(&w, "cpu_high", "\"state\":\"firing\"", 3); /* refused, cut, taken */
    wait_delivery(&w, "cpu_high", "sent");
    si__json *root;
    const si__json *delivery = si__json_get(find_alert(&w, "cpu_high", &root), "deliveries")->first;
    assert_string_equal(si__json_get_string(delivery, "destination", ""), "webhook:ops");
    assert_true(si__json_get_integer(delivery, "attempts", 0) >= 2); /* libcurl itself repeats one that was cut */
    si__json_free(root);
    send_state(&w, "cpu_high", SI__ALERT_RESOLVED, w.started_ms, 500);
    wait_told(&w, "cpu_high", "\"state\":\"resolved\"", 1);
    wait_delivery(&w, "cpu_high", "sent");
    clear(&w);
}

static void what_was_not_delivered_is_sent_after_a_restart(void **state) {
    static const server_answer answers[] = {{ANSWER, 503, "later", "Retry-After", "4"},
                                            {ANSWER, 200, "ok", NULL, NULL}};
    world w;
    (void)state;
    make(&w, answers, 2);
    send_state(&w, "cpu_high", SI__ALERT_FIRING, w.started_ms, 1000);
    wait_delivery(&w, "cpu_high", "retry"); /* and would be tried again in four seconds */
    dashboard_stop(&w.d, SIGKILL);
    start(&w);
    wait_told(&w, "cpu_high", "\"state\":\"firing\"", 2);
    w.admin.d = &w.d;
    wait_delivery(&w, "cpu_high", "sent");
    clear(&w);
}

static void silence_holds_and_its_end_tells(void **state) {
    world w;
    char body[300];
    (void)state;
    make(&w, &(server_answer){ANSWER, 200, "ok", NULL, NULL}, 1);
    snprintf(body, sizeof body,
             "{\"match\":{\"rule\":\"cpu_high\",\"app\":\"shop\"},\"until_ms\":%lld,\"comment\":\"deploying\"}",
             (long long)unix_ms() + 3600000);
    reply r = person_ask(&w.admin, "POST", "/silences", body);
    assert_int_equal(r.status, 201);
    reply_free(&r);
    send_state(&w, "cpu_high", SI__ALERT_FIRING, w.started_ms, 3000);
    send_state(&w, "other", SI__ALERT_FIRING, w.started_ms, 2000);
    wait_told(&w, "other", "firing", 1); /* this one is not silenced, and was made later */
    assert_int_equal(told(&w, "cpu_high", ""), 0);
    si__json *root, *silences = person_get(&w.admin, "/silences");
    assert_true(si__json_get_bool(find_alert(&w, "cpu_high", &root), "silenced", 0));
    si__json_free(root);
    char path[64];
    snprintf(path, sizeof path, "/silences/%lld",
             (long long)si__json_get_integer(si__json_get(silences, "silences")->first, "id", 0));
    si__json_free(silences);
    r = person_ask(&w.admin, "DELETE", path, NULL);
    assert_int_equal(r.status, 204);
    reply_free(&r);
    wait_told(&w, "cpu_high", "firing", 1); /* it still fires: said now */
    r = person_ask(&w.admin, "POST", "/alerts/1/ack", "{\"comment\":\"seen\"}");
    assert_int_equal(r.status, 200);
    si__json *acked = reply_json(&r);
    assert_string_equal(si__json_get_string(si__json_get(acked, "alert"), "acked_by", ""), "admin@localhost");
    si__json_free(acked);
    reply_free(&r);
    clear(&w);
}

static void a_silent_agent_is_told_and_one_that_comes_back_resolves(void **state) {
    world w;
    (void)state;
    make(&w, &(server_answer){ANSWER, 200, "ok", NULL, NULL}, 1);
    send_state(&w, "", -1, 0, 0);
    wait_told(&w, "agent_down", "\"state\":\"firing\"", 1);
    assert_true(told(&w, "agent.silence/host-1/", "firing") >= 1);
    state_is(&w, "agent_down", "firing");
    dashboard_stop(&w.d, SIGTERM); /* a restart forgets nothing and repeats nothing */
    start(&w);
    int64_t deadline = unix_ms() + DEADLINE_MS;
    for (;;) {
        si__json *root;
        send_state(&w, "", -1, 0, 0);
        const si__json *alert = find_alert(&w, "agent_down", &root);
        int resolved = !strcmp(si__json_get_string(alert, "state", ""), "resolved");
        si__json_free(root);
        if (resolved) break;
        assert_true(unix_ms() < deadline);
        sleep_ms(300);
    }
    wait_told(&w, "agent_down", "\"state\":\"resolved\"", 1);
    assert_int_equal(count_alerts(&w, "agent_down"), 1);
    assert_int_equal(told(&w, "agent_down", "\"state\":\"firing\""), 1);
    clear(&w);
}

static void mistakes_in_files_are_said_with_their_place(void **state) {
    char dir[64], path[200], said[2000];
    dashboard d;
    (void)state;
    dashboard_make(&d);
    snprintf(dir, sizeof dir, "%s", d.dir);
    snprintf(path, sizeof path, "%s/broken.lua", dir);
    put_file(path, "rule \"x\" {\n  when = 5 5\n");
    const char *rules[] = {"--listen", "127.0.0.1:0", "--data", dir, "--no-self", "--rules", dir, NULL};
    assert_int_equal(dashboard_run(rules, said, sizeof said), 1);
    assert_non_null(strstr(said, "--rules"));
    assert_non_null(strstr(said, "broken.lua:2"));
    snprintf(path, sizeof path, "%s/channels.json", dir);
    put_file(path, "{\"channels\":{\"webhook:ops\":{\"url\":5}}}");
    const char *channels[] = {"--listen", "127.0.0.1:0", "--data", dir, "--no-self", "--channels", path, NULL};
    assert_int_equal(dashboard_run(channels, said, sizeof said), 1);
    assert_non_null(strstr(said, "--channels"));
    assert_non_null(strstr(said, "webhook:ops"));
    dashboard_remove(&d);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_incident_is_one_row_whatever_order_reports_come_in),
        cmocka_unit_test(firing_and_resolving_are_told_until_somebody_listens),
        cmocka_unit_test(what_was_not_delivered_is_sent_after_a_restart),
        cmocka_unit_test(silence_holds_and_its_end_tells),
        cmocka_unit_test(a_silent_agent_is_told_and_one_that_comes_back_resolves),
        cmocka_unit_test(mistakes_in_files_are_said_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
