/*
 * Alerts that others raised, given to the engine: grouped, sent again, escalated, inhibited, silenced and resolved as
 * its own, over a restart too. The clock is the test's.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../runtime/script/engine.h"
#include "si/si.h"

#define T0 ((int64_t)1700000000000)

static const char rules[] =
    "route { to = 'slack:all', group_by = { 'app', 'rule' }, wait = '30s', interval = '5m', resend = '4h',\n"
    "  { match = { severity = 'info' }, to = {} },\n"
    "  { match = { severity = 'critical' }, to = 'pagerduty:core',\n"
    "    escalate = { { after = '15m', unless = 'acked', to = 'email:leads' } } } }\n"
    "inhibit { source = { rule = 'agent_down' }, target = { severity = 'warning' }, equal = { 'app', 'host' } }\n";

typedef struct world {
    si__history *history;
    si__script *script;
    int64_t now_ms;
    char notes[8192]; /* "destination=rule@host:state,... " per message */
    char detail[2600];
} world;

static void on_notify(void *arg, const char *destination, const si__alert *alerts, size_t count) {
    world *w = arg;
    size_t n = strlen(w->notes);
    if (n + count * 64 > sizeof w->notes) count = 1; /* the test of the bound */
    n += (size_t)snprintf(w->notes + n, sizeof w->notes - n, "%s", destination);
    for (size_t i = 0; i < count; i++) {
        n += (size_t)snprintf(w->notes + n, sizeof w->notes - n, "%c%s@%s:%s", i ? ',' : '=', alerts[i].rule,
                              alerts[i].host, si__alert_state_name(alerts[i].state));
        snprintf(w->detail, sizeof w->detail, "%s", alerts[i].detail);
    }
    snprintf(w->notes + n, sizeof w->notes - n, " ");
}

static void open_script(world *w) {
    char error[2048];
    si__source_list sources = {0};
    si__script_env env = {.history = w->history, .at_dashboard = 1};
    w->script = si__script_new(&env);
    assert_non_null(w->script);
    si__script_on_notify(w->script, on_notify, w);
    assert_int_equal(si__sources_add(&sources, "routing.lua", "routing.lua", rules, sizeof rules - 1), 0);
    int status = si__script_load_sources(w->script, &sources, 1, error, sizeof error);
    if (status) print_error("%s\n", error);
    assert_int_equal(status, 0);
}

static int make(void **state) {
    world *w = calloc(1, sizeof *w);
    w->history = si__history_new();
    w->now_ms = T0;
    open_script(w);
    si__script_tick(w->script, w->now_ms);
    *state = w;
    return 0;
}

static int drop(void **state) {
    world *w = *state;
    si__script_free(w->script);
    si__history_free(w->history);
    free(w);
    return 0;
}

static void name_alert(const char *rule, const char *host, char fingerprint[33]) {
    si__hash hash;
    si__hash_begin(&hash);
    si__hash_add(&hash, rule, strlen(rule));
    si__hash_add(&hash, host, strlen(host));
    si__hash_hex(&hash, fingerprint);
}

static int tell(world *w, const char *rule, const char *severity, const char *host, si__alert_state state,
                int64_t fired_ms) {
    si__alert alert = {.rule = (char *)rule,
                       .subject = (char *)"",
                       .severity = (char *)severity,
                       .summary = (char *)"it is so",
                       .runbook = (char *)"",
                       .detail = (char *)"a detail",
                       .app = (char *)"shop",
                       .environment = (char *)"test",
                       .host = (char *)host,
                       .state = state,
                       .value = 1,
                       .started_ms = fired_ms,
                       .fired_ms = fired_ms,
                       .resolved_ms = state == SI__ALERT_RESOLVED ? w->now_ms : 0};
    name_alert(rule, host, alert.fingerprint);
    return si__script_external_alert(w->script, &alert);
}

static void tick_for(world *w, int seconds) {
    for (int i = 0; i < seconds; i++) si__script_tick(w->script, w->now_ms += 1000);
}

static void expect(world *w, const char *notes) {
    assert_string_equal(w->notes, notes);
    w->notes[0] = '\0';
}

static void many_travel_in_one_message(void **state) {
    world *w = *state;
    assert_int_equal(tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0), 1);
    assert_int_equal(tell(w, "slow", "warning", "h2", SI__ALERT_FIRING, T0), 1);
    assert_int_equal(tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0), 1); /* agents repeat */
    assert_int_equal(tell(w, "idle", "info", "h1", SI__ALERT_FIRING, T0), 0);    /* nobody wants to know */
    tick_for(w, 29);
    expect(w, "");
    tick_for(w, 2);
    expect(w, "slack:all=slow@h2:firing,slow@h1:firing ");
    tell(w, "slow", "warning", "h3", SI__ALERT_FIRING, w->now_ms);
    tick_for(w, 200);
    expect(w, ""); /* the interval */
    tick_for(w, 100);
    expect(w, "slack:all=slow@h3:firing,slow@h2:firing,slow@h1:firing ");
}

static void resolving_is_told_and_reminders_are_sent(void **state) {
    world *w = *state;
    tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0);
    tick_for(w, 60);
    expect(w, "slack:all=slow@h1:firing ");
    tick_for(w, 4 * 3600);
    expect(w, "slack:all=slow@h1:firing ");
    tick_for(w, 301);
    assert_int_equal(tell(w, "slow", "warning", "h1", SI__ALERT_RESOLVED, T0), 1);
    tick_for(w, 2);
    expect(w, "slack:all=slow@h1:resolved ");
    tell(w, "quick", "warning", "h1", SI__ALERT_FIRING, w->now_ms);
    tick_for(w, 5);
    assert_int_equal(tell(w, "quick", "warning", "h1", SI__ALERT_RESOLVED, w->now_ms), 0); /* over before it was told */
    tick_for(w, 100);
    expect(w, "");
    assert_int_equal(tell(w, "unknown", "warning", "h1", SI__ALERT_RESOLVED, T0), 0);
}

static void escalation_waits_for_somebody_to_say_seen(void **state) {
    world *w = *state;
    tell(w, "down", "critical", "h1", SI__ALERT_FIRING, T0);
    tell(w, "dead", "critical", "h1", SI__ALERT_FIRING, T0);
    tick_for(w, 60);
    assert_non_null(strstr(w->notes, "pagerduty:core=down@h1:firing"));
    assert_non_null(strstr(w->notes, "pagerduty:core=dead@h1:firing"));
    w->notes[0] = '\0';
    char fingerprint[33];
    name_alert("down", "h1", fingerprint);
    assert_int_equal(si__script_ack(w->script, fingerprint, 1), 0);
    tick_for(w, 900);
    expect(w, "email:leads=dead@h1:firing ");
    tick_for(w, 4 * 3600);
    assert_non_null(strstr(w->notes, "pagerduty:core=dead@h1:firing")); /* reminded of */
    assert_null(strstr(w->notes, "down"));                              /* and not of what somebody looks after */
}

static void causes_inhibit_and_what_remains_is_told_later(void **state) {
    world *w = *state;
    tell(w, "agent_down", "critical", "h1", SI__ALERT_FIRING, T0);
    tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0);
    tell(w, "slow", "warning", "h2", SI__ALERT_FIRING, T0);
    tick_for(w, 400);
    assert_null(strstr(w->notes, "slow@h1"));
    assert_non_null(strstr(w->notes, "slow@h2:firing"));
    w->notes[0] = '\0';
    tell(w, "agent_down", "critical", "h1", SI__ALERT_RESOLVED, T0);
    tick_for(w, 400);
    assert_non_null(strstr(w->notes, "slow@h1:firing"));
}

static void a_silence_holds_and_its_end_says_why(void **state) {
    world *w = *state;
    const si__silence silences[] = {
        {.rule = "sl*", .host = "h1", .until_ms = T0 + 600000, .author = "ann", .comment = "deploying"}};
    assert_int_equal(si__script_silences(w->script, silences, 1), 0);
    tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0);
    tell(w, "slow", "warning", "h2", SI__ALERT_FIRING, T0);
    tick_for(w, 595);
    expect(w, "slack:all=slow@h2:firing ");
    tick_for(w, 10); /* it expires */
    assert_non_null(strstr(w->notes, "slow@h1:firing"));
    tell(w, "slower", "warning", "h1", SI__ALERT_FIRING, w->now_ms);
    w->notes[0] = '\0';
    tick_for(w, 40);
    expect(w, "slack:all=slower@h1:firing ");
    const si__silence again[] = {
        {.rule = "slower", .until_ms = T0 + 86400000, .author = "ann", .comment = "deploying"}};
    assert_int_equal(si__script_silences(w->script, again, 1), 0);
    tick_for(w, 310);
    expect(w, "");
    assert_int_equal(si__script_silences(w->script, NULL, 0), 0); /* ended by hand; it had been told before */
    tick_for(w, 5);
    expect(w, "slack:all=slower@h1:firing ");
    assert_non_null(strstr(w->detail, "The silence by ann (\"deploying\") has ended, and it still fires."));
    assert_non_null(strstr(w->detail, "a detail"));
}

static void restart(world *w) {
    char *text;
    size_t length;
    assert_int_equal(si__script_state_save(w->script, &text, &length), 0);
    si__script_free(w->script);
    open_script(w);
    assert_int_equal(si__script_state_load(w->script, text, length, w->now_ms), 0);
    free(text);
    si__script_tick(w->script, w->now_ms);
}

static void a_restart_forgets_nothing_and_repeats_nothing(void **state) {
    world *w = *state;
    tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0);
    tick_for(w, 60);
    expect(w, "slack:all=slow@h1:firing ");
    restart(w);
    tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0);
    tick_for(w, 3600);
    expect(w, "");
    restart(w);
    tell(w, "slow", "warning", "h1", SI__ALERT_FIRING, T0);
    tick_for(w, 3 * 3600);
    expect(w, "slack:all=slow@h1:firing "); /* four hours after the first */
    restart(w);
    tick_for(w, 400);
    assert_int_equal(tell(w, "slow", "warning", "h1", SI__ALERT_RESOLVED, T0), 1); /* heard of only now */
    tick_for(w, 5);
    expect(w, "slack:all=slow@h1:resolved ");
}

static void flapping_is_counted_over_restarts(void **state) {
    world *w = *state;
    for (int i = 0; i < 4; i++) {
        tell(w, "flip", "warning", "h1", SI__ALERT_FIRING, w->now_ms);
        tick_for(w, 400);
        tell(w, "flip", "warning", "h1", SI__ALERT_RESOLVED, w->now_ms);
        tick_for(w, 320);
        restart(w);
    }
    w->notes[0] = '\0';
    tell(w, "flip", "warning", "h1", SI__ALERT_FIRING, w->now_ms);
    tick_for(w, 400);
    expect(w, ""); /* said once; quiet until it is quiet */
}

static void there_is_a_bound(void **state) {
    world *w = *state;
    int limited = 0;
    for (int i = 0; i < SI__EXTERNALS + 100; i++) {
        si__alert alert = {.rule = (char *)"many",
                           .severity = (char *)"warning",
                           .app = (char *)"shop",
                           .state = SI__ALERT_FIRING,
                           .fired_ms = T0,
                           .value = NAN};
        snprintf(alert.fingerprint, sizeof alert.fingerprint, "%032x", (unsigned)i);
        limited += si__script_external_alert(w->script, &alert) == SI_ELIMIT;
    }
    assert_int_equal(limited, 100);
    tick_for(w, 40);
    assert_non_null(strstr(w->notes, "many@:firing"));
    restart(w);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, make, drop)
    const struct CMUnitTest tests[] = {
        WITH(many_travel_in_one_message),
        WITH(resolving_is_told_and_reminders_are_sent),
        WITH(escalation_waits_for_somebody_to_say_seen),
        WITH(causes_inhibit_and_what_remains_is_told_later),
        WITH(a_silence_holds_and_its_end_says_why),
        WITH(a_restart_forgets_nothing_and_repeats_nothing),
        WITH(flapping_is_counted_over_restarts),
        WITH(there_is_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
