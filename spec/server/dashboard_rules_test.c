/* Rules that run at a real dashboard over all sources of an application: what they see, that it outlives the process,
   that a saved file counts at once, what the API says of them; and deliveries to several channels of one name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "../c/http_server.h"
#include "dashboard.h"
#include "made_report.h"

#define DEADLINE_MS 30000
#define RULE "rule \"%s\" { at = \"dashboard\", severity = \"warning\", every = \"1s\", keep = \"1s\", grace = \"0s\", "

typedef struct world {
    dashboard d;
    person admin;
    char key[128], rules[100], channels[100];
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void put_file(const char *dir, const char *name, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void start(world *w) {
    const char *options[] = {"--no-self", "--rules", w->rules, "--channels", w->channels, NULL};
    dashboard_start(&w->d, options);
    w->admin.d = &w->d;
}

static void make(world *w, const char *routing, const char *channels) {
    *w = (world){0};
    dashboard_make(&w->d);
    snprintf(w->rules, sizeof w->rules, "%s/rules.d", w->d.dir);
    snprintf(w->channels, sizeof w->channels, "%s/channels.json", w->d.dir);
    assert_int_equal(mkdir(w->rules, 0700), 0);
    put_file(w->rules, "routing.lua", routing);
    put_file(w->d.dir, "channels.json", channels);
    start(w);
    dashboard_key(&w->d, "shop", "test", w->key);
    person_sign_in(&w->admin, &w->d);
}

static void send_report(world *w, si__report *report) {
    char status[32];
    size_t length;
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
}

/* Two sources whose queues are 40 and 100 long, with calls, errors and a profile, in a minute that is over. */
static void send_sources(world *w) {
    int64_t minute = (unix_ms() - 120000) / 60000 * 60000;
    for (unsigned agent = 1; agent <= 2; agent++) {
        made m = {.agent = agent,
                  .host = agent == 1 ? "host-1" : "host-2",
                  .sequence = 1,
                  .start_ms = minute,
                  .end_ms = unix_ms() - 1000};
        si__report *report = made_report(&m);
        made_point(report, "queue.depth", minute + 30000, agent == 1 ? 40 : 100);
        made_point(report, "agent.silence/forged/9", minute + 30000, 1e9);
        made_segment(report, "checkout", minute + 1000, 10000000, 100); /* 10 ms to 1 s */
        made_error(report, "payment", "refused", minute, 7);
        made_profile(report, "cpu", minute + 5000, 50, 100, 3);
        send_report(w, report);
    }
}

/* Asks until the answer has the text. */
static void wait_answer(world *w, const char *path, const char *needle) {
    int64_t deadline = unix_ms() + DEADLINE_MS;
    for (;;) {
        reply r = person_ask(&w->admin, "GET", path, NULL);
        int has = r.status == 200 && strstr(r.body, needle) != NULL;
        if (!has && unix_ms() > deadline) fail_msg("no %s in %s", needle, r.body);
        reply_free(&r);
        if (has) return;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
}

static const si__json *find_rule(const si__json *root, const char *name) {
    const si__json *rules = si__json_get(si__json_get(root, "dashboard"), "rules");
    for (const si__json *r = rules ? rules->first : NULL; r; r = r->next)
        if (!strcmp(si__json_get_string(r, "name", ""), name)) return r;
    return NULL;
}

static void no_telemetry_left(world *w) {
    char path[200];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/si.db", w->d.dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "DELETE FROM point; DELETE FROM profile; DELETE FROM segment; DELETE FROM error", 0, 0, 0),
        SQLITE_OK);
    sqlite3_close(db);
}

#define RULES_PATH "/rules?app=shop&env=test"
#define ALERTS_PATH "/alerts?app=shop&env=test&state=firing"

static void rules_see_all_sources_and_remember(void **state) {
    world w;
    char text[2000];
    (void)state;
    make(&w, "route { to = {} }\n", "{\"channels\":{}}");
    snprintf(text, sizeof text,
             RULE "watch = metric \"queue.depth\", when = function(s) return s:last() == 70 end }\n" RULE
                  "watch = metric \"queue.depth/sum\", when = function(s) return s:last() == 140 end }\n" RULE
                  "over = metrics \"queue%%.depth/.*/%%d+\", when = function(s) return s:last() > 90 end }\n" RULE
                  "over = segments \"checkout\", when = function(s) return s:p(95) > 800 end }\n" RULE
                  "over = errors \"payment\", when = function(s) return s:max(\"10m\") == 14 end }\n" RULE
                  "over = profiles { \"cpu\" }, when = function(s) return s:last() > 1 end }\n" RULE
                  "over = metrics \"agent%%.silence/forged/.*\", when = function(s) return true end }\n",
             "average", "total", "one", "slow", "failing", "busy", "forged");
    put_file(w.rules, "fleet.lua", text);
    send_sources(&w);
    static const char *const fired[] = {"average", "total", "one", "slow", "failing", "busy"};
    for (size_t i = 0; i < sizeof fired / sizeof *fired; i++) {
        snprintf(text, sizeof text, "\"rule\":\"%s\"", fired[i]);
        wait_answer(&w, ALERTS_PATH, text);
    }
    wait_answer(&w, ALERTS_PATH, "\"subject\":\"queue.depth/host-2/");
    reply r = person_ask(&w.admin, "GET", ALERTS_PATH, NULL);
    assert_null(strstr(r.body, "queue.depth/host-1/"));
    assert_null(strstr(r.body, "forged"));
    reply_free(&r);
    wait_answer(&w, RULES_PATH, "\"alerts\":1");
    si__json *before = person_get(&w.admin, RULES_PATH), *after;
    const si__json *slow = find_rule(before, "slow");
    assert_string_equal(si__json_get_string(slow, "state", ""), "firing");
    assert_true(si__json_get_integer(slow, "line", 0) == 4 && si__json_get_integer(slow, "evaluations", 0) > 0);
    assert_true(*si__json_get_string(si__json_get(before, "dashboard"), "hash", "") != '\0');
    dashboard_stop(&w.d, SIGTERM);
    no_telemetry_left(&w);        /* so that what is known now comes from the history's file */
    put_file(w.rules, "more.lua", /* and new rules find a past */
             "rule \"past\" { at = \"dashboard\", severity = \"warning\", every = \"1s\", grace = \"0s\",\n"
             "  watch = metric \"queue.depth\", when = function(s) return s:max(\"1h\") == 70 end }\n");
    start(&w);
    wait_answer(&w, ALERTS_PATH, "\"rule\":\"past\"");
    after = person_get(&w.admin, RULES_PATH);
    int64_t series = si__json_get_integer(si__json_get(before, "dashboard"), "series", 0);
    assert_true(series > 10);
    assert_true(si__json_get_integer(si__json_get(after, "dashboard"), "series", 0) >= series);
    si__json_free(before);
    si__json_free(after);
    dashboard_remove(&w.d);
}

static void a_saved_file_counts_at_once_and_a_broken_one_not_at_all(void **state) {
    world w;
    (void)state;
    make(&w, "route { to = {} }\n", "{\"channels\":{}}");
    send_sources(&w);
    dashboard_stop(&w.d, SIGTERM);
    start(&w);
    wait_answer(&w, RULES_PATH, "\"agent_down\"");
    int64_t saved_ms = unix_ms();
    put_file(w.rules, "mine.lua",
             "rule \"mine\" { at = \"dashboard\", severity = \"info\", watch = metric \"m\",\n"
             "  when = function(s) return s:last() > 1 end }\n");
    wait_answer(&w, RULES_PATH, "\"name\":\"mine\"");
    print_message("in force after %lld ms\n", (long long)(unix_ms() - saved_ms));
    si__json *good = person_get(&w.admin, RULES_PATH);
    put_file(w.rules, "mine.lua", "rule \"mine\" { when = 5 5\n");
    wait_answer(&w, RULES_PATH, "mine.lua:1:");
    si__json *broken = person_get(&w.admin, RULES_PATH);
    assert_non_null(find_rule(broken, "mine")); /* the set before stays */
    assert_string_equal(si__json_get_string(si__json_get(good, "dashboard"), "hash", "a"),
                        si__json_get_string(si__json_get(broken, "dashboard"), "hash", "b"));
    si__json_free(good);
    si__json_free(broken);
    dashboard_remove(&w.d);
}

/* ---- Call sites ---- */

/* A heap profile of two minutes in which "fill_cache" holds `cache` bytes, by way of an allocator, and "steady" 32 MiB.
 */
static void add_heap(si__report *report, int64_t start_ms, int64_t cache) {
    si__report_profile *heap = made_profile(report, "heap", start_ms, 1, 1, 1);
    heap->duration_ns = 120000000000;
    si__calltree *tree = heap->tree;
    uint32_t at = si__calltree_child(tree, 0, si__calltree_frame(tree, "serve", "serve.c", 3, "shop"));
    uint32_t fill = si__calltree_child(tree, at, si__calltree_frame(tree, "fill_cache", "cache.c", 7, "shop"));
    uint32_t leaf = si__calltree_child(tree, fill, si__calltree_frame(tree, "operator new", "", 0, "libstdc++.so.6"));
    uint32_t steady = si__calltree_child(tree, at, si__calltree_frame(tree, "steady", "serve.c", 9, "shop"));
    si__calltree_add(tree, leaf, cache, 10);
    si__calltree_add(tree, steady, 32 << 20, 10);
}

/* Twenty minutes of two sources: one whose cache stays at 8 MiB, one whose grows by 10 MiB every two minutes. */
static void send_growth(world *w) {
    int64_t begin = (unix_ms() - 1500000) / 60000 * 60000;
    for (unsigned i = 0; i < 11; i++)
        for (unsigned agent = 1; agent <= 2; agent++) {
            made m = {.agent = agent,
                      .host = agent == 1 ? "host-1" : "host-2",
                      .sequence = i + 1,
                      .start_ms = begin + i * 120000,
                      .end_ms = begin + (i + 1) * 120000};
            si__report *report = made_report(&m);
            add_heap(report, m.start_ms, agent == 1 ? 8 << 20 : (int64_t)(10 << 20) * (i + 1));
            send_report(w, report);
        }
}

static void call_sites_of_all_sources_are_watched(void **state) {
    world w;
    char text[2000];
    (void)state;
    make(&w, "route { to = {} }\n", "{\"channels\":{}}");
    send_growth(&w);
    snprintf(text, sizeof text, /* a rule that comes later finds what was before */
             RULE "over = callsites { profile = \"heap\", min = \"1MiB\" }, no_data_after = \"1h\",\n"
                  "  when = function(s) return s:theil_sen(\"1h\").slope_per_hour > 100 * 2^20, s:last() end,\n"
                  "  summary = function(s) return (\"%%.0f MiB\"):format(s:max(\"1h\") / 2^20) end }\n" RULE
                  "over = profiles { \"heap\" }, no_data_after = \"1h\",\n"
                  "  when = function(p) return #p:top_growth(3) > 0 end,\n"
                  "  attach = function(p) return p:top_growth(3) end }\n",
             "leaks", "grown");
    put_file(w.rules, "growth.lua", text);
    wait_answer(&w, ALERTS_PATH, "\"rule\":\"leaks\",\"subject\":\"fill_cache (shop)\"");
    wait_answer(&w, ALERTS_PATH, "\"rule\":\"grown\"");
    wait_answer(&w, ALERTS_PATH, "fill_cache (shop): ");
    reply r = person_ask(&w.admin, "GET", ALERTS_PATH, NULL);
    assert_non_null(strstr(r.body, "\"summary\":\"59 MiB\"")); /* of 8 and 110: the average */
    assert_null(strstr(r.body, "steady"));
    assert_null(strstr(r.body, "operator new")); /* allocates for others */
    reply_free(&r);
    dashboard_remove(&w.d);
}

/* ---- Channels ---- */

static void wait_requests(http_server *server, unsigned count) {
    int64_t deadline = unix_ms() + DEADLINE_MS;
    while (http_server_requests(server) < count) {
        if (unix_ms() > deadline) fail_msg("%u requests of %u", http_server_requests(server), count);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
}

static void send_alert(world *w, uint64_t sequence, si__alert_state state, int64_t started_ms) {
    made m = {.agent = 1, .sequence = sequence, .start_ms = unix_ms() - 2000, .end_ms = unix_ms() - 100};
    si__report *report = made_report(&m);
    made_alert(report, "cpu_high", state, started_ms);
    send_report(w, report);
}

static void each_channel_of_a_name_is_told_once_over_a_restart(void **state) {
    static const server_answer later[] = {{ANSWER, 503, "", "Retry-After", "3600"}, {ANSWER, 202, "{}", NULL, NULL}};
    static const server_answer fine = {ANSWER, 200, "ok", NULL, NULL};
    world w;
    char channels[400];
    (void)state;
    http_server *hook = http_server_start(&fine, 1), *pager = http_server_start(later, 2);
    snprintf(channels, sizeof channels,
             "{\"channels\":{\"team\":[\"webhook:ops\",\"pagerduty:core\"],\"webhook:ops\":{\"url\":\"http://127.0.0.1:"
             "%u/\"},\"pagerduty:core\":{\"routing_key\":\"R0UT1NG\",\"url\":\"http://127.0.0.1:%u/\"}}}",
             hook->port, pager->port);
    make(&w, "route { to = \"team\", wait = \"1s\", interval = \"1s\" }\n", channels);
    int64_t started_ms = unix_ms() - 600000;
    send_alert(&w, 1, SI__ALERT_FIRING, started_ms);
    wait_requests(hook, 1);
    wait_requests(pager, 1);
    wait_answer(&w, ALERTS_PATH, "\"destination\":\"pagerduty:core\",\"state\":\"retry\"");
    wait_answer(&w, ALERTS_PATH, "\"destination\":\"webhook:ops\",\"state\":\"sent\"");
    dashboard_stop(&w.d, SIGTERM); /* in order: that is no reason to give anything up */
    start(&w);
    person_sign_in(&w.admin, &w.d);
    wait_answer(&w, ALERTS_PATH, "\"destination\":\"pagerduty:core\",\"state\":\"queued\"");
    assert_int_equal(http_server_requests(pager), 1); /* it asked for an hour: the next process knows */
    /* until somebody changes the channels, who knows better */
    snprintf(channels + strlen(channels), sizeof channels - strlen(channels), "\n");
    put_file(w.d.dir, "channels.json", channels);
    wait_requests(pager, 2);
    wait_answer(&w, ALERTS_PATH, "\"destination\":\"pagerduty:core\",\"state\":\"sent\"");
    reply r = person_ask(&w.admin, "POST", "/alerts/1/ack", "{\"comment\":\"seen\"}");
    assert_int_equal(r.status, 200);
    reply_free(&r);
    wait_requests(pager, 3);
    send_alert(&w, 2, SI__ALERT_RESOLVED, started_ms);
    wait_requests(pager, 4);
    wait_requests(hook, 2);
    static const char *const actions[] = {"trigger", "trigger", "acknowledge", "resolve"};
    char dedup[64] = "";
    for (unsigned i = 0; i < 4; i++) {
        si__json *event;
        const server_request *q = http_server_request(pager, i);
        assert_int_equal(si__json_parse(q->body, q->length, &event, NULL, 0), 0);
        assert_string_equal(si__json_get_string(event, "event_action", ""), actions[i]);
        if (!i) snprintf(dedup, sizeof dedup, "%s", si__json_get_string(event, "dedup_key", ""));
        assert_string_equal(si__json_get_string(event, "dedup_key", ""), dedup);
        si__json_free(event);
    }
    assert_int_equal(http_server_requests(hook),
                     2); /* once firing, once resolved; PagerDuty's troubles repeat nothing */
    dashboard_remove(&w.d);
    http_server_stop(hook);
    http_server_stop(pager);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_see_all_sources_and_remember),
        cmocka_unit_test(a_saved_file_counts_at_once_and_a_broken_one_not_at_all),
        cmocka_unit_test(call_sites_of_all_sources_are_watched),
        cmocka_unit_test(each_channel_of_a_name_is_told_once_over_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
