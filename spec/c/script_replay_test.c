/* Replay over recorded history, explaining a rule, and the list of rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../runtime/history/series.h"
#include "../../runtime/script/script.h"
#include "si/si.h"

#define MINUTE ((int64_t)60000)
#define T0 ((int64_t)1700000000000 / 600000 * 600000)
#define DAYS 5

typedef struct world {
    char dir[64], path[96];
    si__history *history;
    char seen[4096]; /* "rule:state@minute " of each alert, minutes since T0 */
    char lines[8192];
    unsigned notified;
} world;

static int make(void **state) {
    world *w = calloc(1, sizeof *w);
    strcpy(w->dir, "/tmp/si-replay-XXXXXX");
    if (!mkdtemp(w->dir)) return -1;
    snprintf(w->path, sizeof w->path, "%s/mine.lua", w->dir);
    FILE *file = fopen(w->path, "w");
    fputs("rule 'busy' { watch = metric 'load', severity = 'critical', hold = '5m', keep = '5m',\n"
          "  when = function(s) return s:avg('5m') > 5 end, clear = function(s) return s:avg('5m') < 3 end }\n"
          "rule 'odd' { watch = metric 'load', enabled = false, when = function(s)\n"
          "  local usual = s:baseline('24h', { min_points = 60, floor = 1 })\n"
          "  return usual:z(s:median_last(3)) > 4 end }\n"
          "segment 'x' { profile_when = function(s) return s:p(95) > 250 end }\n"
          "route { to = 'slack:all', wait = '1m' }\n",
          file);
    fclose(file);
    char routing[96]; /* the default's routes would take every alert */
    snprintf(routing, sizeof routing, "%s/routing.lua", w->dir);
    file = fopen(routing, "w");
    fclose(file);
    w->history = si__history_new();
    for (int64_t m = 0; m < DAYS * 1440;
         m++) { /* busy for half an hour: on the third day, and an hour before the end */
        int busy = (m >= 3000 && m < 3030) || (m >= DAYS * 1440 - 60 && m < DAYS * 1440 - 30);
        si__history_add(w->history, SI__SERIES_METRIC, "load", T0 + m * MINUTE, busy ? 9 : 1);
    }
    *state = w;
    return 0;
}

static int drop(void **state) {
    world *w = *state;
    char path[96];
    static const char *const files[] = {"mine.lua", "routing.lua"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", w->dir, files[i]);
        unlink(path);
    }
    rmdir(w->dir);
    si__history_free(w->history);
    free(w);
    return 0;
}

static void on_log(void *arg, int level, const char *message) {
    (void)arg;
    if (level >= SI_LOG_WARN) print_error("%s\n", message); /* none is expected: it says why when a test fails */
}

static void on_alert(void *arg, int64_t at_ms, const si__alert *alert) {
    world *w = arg;
    size_t n = strlen(w->seen);
    snprintf(w->seen + n, sizeof w->seen - n, "%s:%s@%lld ", alert->rule, si__alert_state_name(alert->state),
             (long long)((at_ms - T0) / MINUTE));
}

static void on_notify(void *arg, int64_t at_ms, const char *destination, const si__alert *alerts, size_t count) {
    (void)at_ms;
    (void)alerts;
    (void)count;
    ((world *)arg)->notified += strcmp(destination, "slack:all") == 0;
}

static int64_t minute_of(const world *w, const char *what, int nth) {
    const char *at = w->seen;
    while (at && nth-- >= 0) {
        at = strstr(at, what);
        if (at) at += strlen(what);
    }
    return at ? strtoll(at, NULL, 10) : -1;
}

static void near(int64_t got, int64_t wanted, int64_t tolerance) {
    if (got < wanted - tolerance || got > wanted + tolerance) {
        print_error("minute %lld, not about %lld\n", (long long)got, (long long)wanted);
        fail();
    }
}

static void recorded_days_are_judged_again(void **state) {
    world *w = *state;
    char error[2048];
    si__replay replay = {.dir = w->dir,
                         .recorded = w->history,
                         .from_ms = T0 + 60 * MINUTE,
                         .to_ms = T0 + DAYS * 1440 * MINUTE,
                         .arg = w,
                         .log = on_log,
                         .on_alert = on_alert,
                         .on_notify = on_notify};
    uint64_t generation = si__history_generation(w->history);
    int status = si__script_replay(&replay, error, sizeof error);
    if (status) print_error("%s\n", error);
    assert_int_equal(status, 0);
    near(minute_of(w, "busy:firing@", 0), 3000 + 3 + 5, 5); /* ten minutes are what is known of that day */
    near(minute_of(w, "busy:resolved@", 0), 3030 + 4 + 5, 5);
    near(minute_of(w, "busy:firing@", 1), DAYS * 1440 - 60 + 3 + 5, 2);
    near(minute_of(w, "busy:resolved@", 1), DAYS * 1440 - 30 + 4 + 5, 2);
    assert_int_equal(minute_of(w, "busy:firing@", 2), -1);
    assert_int_equal(w->notified, 4);
    assert_int_equal(si__history_generation(w->history), generation);
    replay.from_ms = replay.to_ms + 1;
    assert_int_equal(si__script_replay(&replay, error, sizeof error), SI_EINVAL);
}

static void broken_rules_are_said(void **state) {
    world *w = *state;
    char error[2048];
    FILE *file = fopen(w->path, "w");
    fputs("rule 'x' {", file);
    fclose(file);
    si__replay replay = {.dir = w->dir, .recorded = w->history, .from_ms = T0, .to_ms = T0 + MINUTE};
    assert_int_equal(si__script_replay(&replay, error, sizeof error), SI_ERULES);
    assert_non_null(strstr(error, "mine.lua:1"));
}

static void on_line(void *arg, const char *line) {
    world *w = arg;
    size_t n = strlen(w->lines);
    snprintf(w->lines + n, sizeof w->lines - n, "%s\n", line);
}

static void expect_line(const world *w, const char *part) {
    if (strstr(w->lines, part)) return;
    print_error("expected \"%s\" in:\n%s", part, w->lines);
    fail();
}

static void a_rule_says_what_it_sees(void **state) {
    world *w = *state;
    char error[2048];
    int64_t now = T0 + (DAYS * 1440 - 40) * MINUTE; /* in the midst of it */
    si__history *until = si__history_new();
    for (int64_t m = DAYS * 1440 - 1500; m < DAYS * 1440 - 40; m++)
        si__history_add(until, SI__SERIES_METRIC, "load", T0 + m * MINUTE, m >= DAYS * 1440 - 60 ? 9 : 1);
    si__script_env env = {.history = until, .cpu_quota = 1};
    si__script *script = si__script_new(&env);
    assert_int_equal(si__script_load(script, w->dir, error, sizeof error), 0);
    assert_int_equal(si__script_explain(script, "busy", now, on_line, w), 0);
    expect_line(w, "mine.lua:1), critical, hold 5 min, keep 5 min");
    expect_line(w, "load: last 9, 1 min ago; inactive");
    expect_line(w, "s:avg(\"5m\") = 9\n      -> true");
    expect_line(w, "    clear\n      s:avg(\"5m\") = 9\n      -> false");
    assert_int_equal(si__script_explain(script, "odd", now, on_line, w), 0);
    expect_line(w, "s:baseline(\"24h\", { ... }) = median 1, mad 0, p98 1, n 14");
    expect_line(w, "s:median_last(3) = 9\n      -> true");
    assert_int_equal(si__script_explain(script, "none", now, on_line, w), SI_ENOTFOUND);
    si__script_tick(script, now); /* tracing has changed nothing */
    si__rule_info info;
    int busy = 0, odd = 0, quiet = 0;
    size_t n = 0;
    for (; si__script_rule(script, n, &info) == 0; n++) {
        assert_string_equal(info.error, "");
        if (strcmp(info.name, "busy") == 0) {
            busy++;
            assert_string_equal(info.state, "pending");
            assert_int_equal(info.line, 1);
            assert_int_equal(info.alerts, 1);
            assert_int_equal(info.evaluations, 1);
            assert_true(info.cost_ns > 0);
        }
        if (strcmp(info.name, "odd") == 0) odd += strcmp(info.state, "disabled") == 0 && !info.enabled;
        quiet += !info.raises_alerts;
    }
    assert_true(n > 5 && busy == 1 && odd == 1 && quiet == 1);
    si__script_free(script);
    si__history_free(until);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, make, drop)
    const struct CMUnitTest tests[] = {
        WITH(recorded_days_are_judged_again),
        WITH(broken_rules_are_said),
        WITH(a_rule_says_what_it_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
