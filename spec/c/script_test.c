/* The Lua host from outside: directories, reloads, callbacks, storms of errors, state over a restart, description. */
#include <math.h>
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

#include "../../runtime/history/history.h"
#include "../../runtime/history/series.h"
#include "../../runtime/profile/sketch.h"
#include "../../runtime/report/report.h"
#include "../../runtime/script/script.h"
#include "si/si.h"

#define T0 ((int64_t)1700000000000)

typedef struct fixture {
    char dir[64];
    si__history *history;
    si__script *script;
    int64_t now_ms;
    char log[16384], error[8192];
    unsigned log_lines, cadences, notified, profiles;
    si__cadence cadence;
    char states[4096]; /* "rule:state " per change */
    char notes[4096];  /* "destination=rule:state,... " per message */
    si__profile_request request;
} fixture;

static void append(char *to, size_t bytes, const char *text) {
    size_t n = strlen(to);
    snprintf(to + n, bytes - n, "%s", text);
}

static void on_log(void *arg, int level, const char *message) {
    fixture *f = arg;
    if (level == SI_LOG_DEBUG) return;
    f->log_lines++;
    append(f->log, sizeof f->log, message);
    append(f->log, sizeof f->log, "\n");
}

static void on_cadence(void *arg, const si__cadence *cadence) {
    fixture *f = arg;
    f->cadences++;
    f->cadence = *cadence;
}

static void on_alert(void *arg, const si__alert *alert) {
    fixture *f = arg;
    char text[256];
    snprintf(text, sizeof text, "%s:%s ", alert->rule, si__alert_state_name(alert->state));
    append(f->states, sizeof f->states, text);
}

static void on_notify(void *arg, const char *destination, const si__alert *alerts, size_t count) {
    fixture *f = arg;
    char text[256];
    f->notified++;
    append(f->notes, sizeof f->notes, destination);
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%c%s:%s", i ? ',' : '=', alerts[i].rule, si__alert_state_name(alerts[i].state));
        append(f->notes, sizeof f->notes, text);
    }
    append(f->notes, sizeof f->notes, " ");
}

static void on_profile(void *arg, const si__profile_request *request) {
    fixture *f = arg;
    f->profiles++;
    f->request = *request;
}

static void open_script(fixture *f) {
    si__script_env env = {.history = f->history,
                          .app = "shop",
                          .environment = "test",
                          .host = "h1",
                          .cpu_quota = 4,
                          .arg = f,
                          .log = on_log,
                          .on_cadence = on_cadence,
                          .on_alert = on_alert,
                          .on_notify = on_notify,
                          .on_profile = on_profile};
    f->script = si__script_new(&env);
    assert_non_null(f->script);
}

static int make(void **state) {
    fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/si-script-XXXXXX");
    if (!mkdtemp(f->dir)) return -1;
    f->history = si__history_new();
    f->now_ms = T0;
    open_script(f);
    *state = f;
    return 0;
}

static const char *const file_names[] = {"health.lua",  "routing.lua", "mine.lua",    "other.lua",
                                         ".hidden.lua", "mine.lua~",   "cadence.lua", "segments.lua"};

static void remove_file(fixture *f, const char *name) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    unlink(path);
}

static int drop(void **state) {
    fixture *f = *state;
    si__script_free(f->script);
    si__history_free(f->history);
    for (size_t i = 0; i < sizeof file_names / sizeof *file_names; i++) remove_file(f, file_names[i]);
    int status = rmdir(f->dir);
    free(f);
    return status;
}

static void write_file(fixture *f, const char *name, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void load_ok(fixture *f) {
    int status = si__script_load(f->script, f->dir, f->error, sizeof f->error);
    if (status) print_error("%s\n", f->error);
    assert_int_equal(status, 0);
}

static void tick_for(fixture *f, int seconds) {
    for (int i = 0; i < seconds; i++) si__script_tick(f->script, f->now_ms += 1000);
}

static void feed(fixture *f, const char *name, double value) {
    assert_int_equal(si__history_add(f->history, SI__SERIES_METRIC, name, f->now_ms, value), 0);
}

static void expect_part(const char *text, const char *part) {
    if (strstr(text, part)) return;
    print_error("expected \"%s\" in:\n%s\n", part, text);
    fail();
}

#define HOT                                                                                                            \
    "rule 'hot' { severity = 'critical', watch = metric 'load', when = function(s) return s:last() > 5 end, keep = "   \
    "'10s' }\n"
#define ROUTES "route { to = 'slack:all', wait = '5s', interval = '10s', resend = '1h' }\n"

static void defaults_load_and_agree_with_check(void **state) {
    fixture *f = *state;
    assert_int_equal(si__script_load(f->script, NULL, f->error, sizeof f->error), 0);
    assert_string_equal(f->log, ""); /* not even a warning */
    assert_int_equal(f->cadences, 1);
    assert_int_equal(f->cadence.metrics_ms, 60000);
    assert_int_equal(f->cadence.report_ms, 120000);
    assert_true(f->cadence.cpu_hz == 100 && f->cadence.cpu_background_hz == 10);
    assert_true(f->cadence.cpu_every_ms == 8000 && f->cadence.cpu_span_ms == 2000);
    assert_true(f->cadence.overhead_cpu == 0.01);
    assert_int_equal(f->cadence.heap_bytes, 524288);
    assert_int_equal(f->cadence.wait_mean_ns, 10000000);
    assert_int_equal(f->cadence.wait_background_ns, 100000000);
    assert_int_equal(f->cadence.wait_every_ms, 16000);
    assert_int_equal(f->cadence.wait_span_ms, 16000);
    assert_int_equal(strlen(si__script_hash(f->script)), 32);
    tick_for(f, 30);
    assert_int_equal(f->notified, 0);
    assert_string_equal(f->log, "");
}

static void files_replace_defaults_of_the_same_name(void **state) {
    fixture *f = *state;
    write_file(f, "health.lua", HOT);
    write_file(f, "cadence.lua", "cadence { metrics = '5s', cpu = { hz = 50 } }");
    write_file(f, ".hidden.lua", "this is not Lua");
    write_file(f, "mine.lua~", "nor is this");
    load_ok(f);
    assert_int_equal(f->cadence.metrics_ms, 5000);
    assert_true(f->cadence.cpu_hz == 50);
    assert_int_equal(f->cadence.report_ms, 120000); /* what is not said is as usual */
    si__report *report = si__report_new();
    assert_int_equal(si__script_describe(f->script, report), 0);
    int hot = 0, cpu_high = 0, hotspot = 0;
    for (size_t i = 0; i < report->rule_count; i++) {
        hot += strcmp(report->rules[i].name, "hot") == 0;
        cpu_high += strcmp(report->rules[i].name, "cpu_high") == 0;
        hotspot += strcmp(report->rules[i].name, "hotspot") == 0;
        if (strcmp(report->rules[i].name, "hotspot") == 0)
            assert_string_equal(report->rules[i].file, "rules/hotspots.lua");
    }
    assert_int_equal(hot, 1);
    assert_int_equal(cpu_high, 0);
    assert_int_equal(hotspot, 1);
    si__report_free(report);
}

static void a_broken_file_keeps_the_old_set(void **state) {
    fixture *f = *state;
    char hash[33], place[160];
    write_file(f, "mine.lua", HOT);
    load_ok(f);
    snprintf(hash, sizeof hash, "%s", si__script_hash(f->script));
    const char *broken[] = {"\n\nrule 'hot' { whn = 1 }", "\n\nx = = 1", "\n\nwhile true do end", "\n\nerror 'boom'",
                            "\n\nlocal t = {} for i = 1, 1e9 do t[i] = {} end"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        write_file(f, "mine.lua", broken[i]);
        assert_int_equal(si__script_load(f->script, f->dir, f->error, sizeof f->error), SI_ERULES);
        snprintf(place, sizeof place, "%s/mine.lua:%s", f->dir, i == 4 ? "" : "3:");
        expect_part(f->error, place);
        assert_string_equal(si__script_hash(f->script), hash);
    }
    feed(f, "load", 9);
    tick_for(f, 2);
    expect_part(f->states, "hot:firing"); /* the old set is still at work */
    assert_int_equal(si__script_load(f->script, "/nonexistent/rules", f->error, sizeof f->error), SI_ERULES);
    expect_part(f->error, "/nonexistent/rules: No such file");
    assert_string_equal(si__script_hash(f->script), hash);
    write_file(f, "mine.lua", HOT "-- better");
    load_ok(f);
    assert_string_not_equal(si__script_hash(f->script), hash);
}

static void one_bad_file_spoils_the_set(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua", HOT);
    write_file(f, "other.lua", "rule 'a' { watch = metric 'x', when = 3 }\nrule 'a' {}\nroute { to = 'no:where' }");
    assert_int_equal(si__script_load(f->script, f->dir, f->error, sizeof f->error), SI_ERULES);
    expect_part(f->error, "other.lua:1: rule \"a\": field \"when\": expected a function");
    expect_part(f->error, "other.lua:2: rule \"a\": declared twice");
    expect_part(f->error, "other.lua:3: route: destination \"no:where\"");
    assert_string_equal(si__script_hash(f->script), "");
}

static void alerts_survive_a_reload(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua", HOT);
    write_file(f, "routing.lua", ROUTES);
    load_ok(f);
    feed(f, "load", 9);
    tick_for(f, 20);
    assert_string_equal(f->states, "hot:firing ");
    assert_string_equal(f->notes, "slack:all=hot:firing ");
    write_file(f, "mine.lua",
               HOT "\nrule 'cold' { watch = metric 'load', when = function(s) return s:last() < 0 end }");
    load_ok(f);
    tick_for(f, 30);
    assert_string_equal(f->states, "hot:firing "); /* neither forgotten nor repeated */
    assert_string_equal(f->notes, "slack:all=hot:firing ");
    feed(f, "load", 1);
    tick_for(f, 40);
    assert_string_equal(f->states, "hot:firing hot:resolved ");
    assert_string_equal(f->notes, "slack:all=hot:firing slack:all=hot:resolved ");
}

static void a_removed_rule_resolves_its_alert(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua", HOT);
    write_file(f, "routing.lua", ROUTES);
    load_ok(f);
    feed(f, "load", 9);
    tick_for(f, 20);
    remove_file(f, "mine.lua");
    load_ok(f);
    tick_for(f, 20);
    assert_string_equal(f->states, "hot:firing hot:resolved ");
    assert_string_equal(f->notes, "slack:all=hot:firing slack:all=hot:resolved ");
}

static void alerts_survive_a_restart(void **state) {
    fixture *f = *state;
    char *text;
    size_t length;
    write_file(f, "mine.lua",
               HOT "rule 'slow' { watch = metric 'load', when = function(s) return s:last() > 5 end, hold = '1m' }");
    write_file(f, "routing.lua", ROUTES);
    load_ok(f);
    feed(f, "load", 9);
    tick_for(f, 40);
    assert_string_equal(f->states, "hot:firing slow:pending ");
    assert_int_equal(si__script_state_save(f->script, &text, &length), 0);
    si__script_free(f->script);
    open_script(f);
    load_ok(f);
    assert_int_equal(si__script_state_load(f->script, text, length, f->now_ms), 0);
    tick_for(f, 20);
    assert_string_equal(f->states, "hot:firing slow:pending "); /* still pending: 59 s */
    feed(f, "load", 9);
    tick_for(f, 20);
    assert_string_equal(f->states, "hot:firing slow:pending slow:firing ");
    expect_part(f->notes, "slack:all=hot:firing slack:all=slow:firing ");
    assert_null(strstr(f->notes, "hot:firing slack:all=hot:firing")); /* told once */

    const char *garbage[] = {
        "", "{", "[]", "{\"version\":9,\"alerts\":[]}", "{\"version\":1,\"alerts\":3}", "{\"version\":1}"};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++)
        assert_int_not_equal(si__script_state_load(f->script, garbage[i], strlen(garbage[i]), f->now_ms), 0);
    const char *odd =
        "{\"version\":1,\"alerts\":[3,null,{},{\"rule\":\"gone\",\"state\":\"firing\"},{\"rule\":\"hot\",\"state\":"
        "\"exploded\"},"
        "{\"rule\":\"hot\",\"subject\":\"x\",\"state\":\"firing\",\"fired_ms\":-5,\"told_ms\":9223372036854775807}]}";
    assert_int_equal(si__script_state_load(f->script, odd, strlen(odd), f->now_ms), 0);
    tick_for(f, 5);
    free(text);
}

static void an_error_storm_is_one_line_a_second(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua",
               "rule 'bad' { over = metrics 'm.*', every = '1s', when = function(s) error 'boom' end }\n"
               "rule 'good' { watch = metric 'm1', when = function(s) return true end }\n");
    load_ok(f);
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "m%d", i);
        feed(f, name, 1);
    }
    tick_for(f, 3);
    assert_in_range(f->log_lines, 1, 3); /* 60 errors */
    expect_part(f->log, "mine.lua:1: boom");
    expect_part(f->log, "and 19 more errors");
    tick_for(f, 60);
    expect_part(f->log, "rule \"bad\" is disabled after too many errors in a row");
    assert_in_range(f->log_lines, 2, 8);
    expect_part(f->states, "good:firing"); /* its neighbour is not touched */
    si__report *report = si__report_new();
    assert_int_equal(si__script_describe(f->script, report), 0);
    for (size_t i = 0; i < report->rule_count; i++) {
        if (strcmp(report->rules[i].name, "bad") != 0) continue;
        assert_string_equal(report->rules[i].state, "disabled");
        expect_part(report->rules[i].error, "boom");
        assert_int_equal(report->rules[i].evaluations, 100);
    }
    si__report_free(report);
    load_ok(f); /* saved again: another chance */
    unsigned before = f->log_lines;
    tick_for(f, 2);
    assert_true(f->log_lines > before);
}

static void a_rule_without_end_is_disabled(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua",
               "rule 'endless' { over = metrics 'm.*', every = '1s', when = function() while true do pcall(function() "
               "while true do end end) end end }\n"
               "rule 'good' { watch = metric 'm1', when = function(s) return true end }\n");
    load_ok(f);
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "m%d", i);
        feed(f, name, 1);
    }
    tick_for(f, 12);
    expect_part(f->log, "ms of CPU time");
    expect_part(f->log, "rule \"endless\" is disabled");
    expect_part(f->states, "good:firing");
}

static void a_kept_series_is_refused(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua",
               "local kept\nrule 'keeps' { watch = metric 'm', every = '1s', when = function(s)\n"
               "  if kept then return kept:last() > 0 end\n  kept = s return false end }\n"
               "local other\nrule 'fails' { watch = metric 'm', every = '1s', when = function(s)\n"
               "  if other then return other:last() > 0 end\n  other = s error 'first' end }\n");
    load_ok(f);
    feed(f, "m", 1);
    tick_for(f, 3);
    expect_part(f->log, "mine.lua:3: this series was kept from an earlier call");
    expect_part(f->log, "mine.lua:7: this series was kept from an earlier call");
}

static void effects_are_data(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua",
               "rule 'hot' { watch = metric 'm', when = function(s) return s:last() > 1 end,\n"
               "  on_fire = function() return profile { type = 'cpu', hz = 99, span = '5s', before = '1m' } end }\n"
               "rule 'wrong' { watch = metric 'm', when = function(s) return s:last() > 1 end,\n"
               "  on_fire = function() return { hz = 5 } end }\n"
               "rule 'worse' { watch = metric 'm', when = function(s) return s:last() > 1 end,\n"
               "  on_fire = function() return profile { hz = 1e9 } end }\n");
    load_ok(f);
    feed(f, "m", 2);
    tick_for(f, 2);
    assert_int_equal(f->profiles, 1);
    assert_string_equal(f->request.type, "cpu");
    assert_string_equal(f->request.rule, "hot");
    assert_true(f->request.hz == 99 && f->request.span_ms == 5000 && f->request.before_ms == 60000);
    expect_part(f->log, "on_fire must return profile");
    expect_part(f->log, "mine.lua:5: profile: field \"hz\": at most 1000");
    expect_part(f->states, "wrong:firing"); /* the alert itself is not lost */
    expect_part(f->states, "worse:firing");
}

static void segments_are_renamed_and_cached(void **state) {
    fixture *f = *state;
    char name[96];
    double p[8];
    write_file(f, "mine.lua",
               "calls = 0\nsegment 'job .*' { name = function(n) calls = calls + 1 if calls > 1 then error 'asked "
               "twice' end return (n:gsub('%d+', 'N')) end, percentiles = { 50, 90 } }\n"
               "segment 'bad .*' { name = function(n) return 5 > nil end }\nsegment 'fixed.*' { name = 'one name' }\n");
    load_ok(f);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(si__script_segment_name(f->script, "job 17", name, sizeof name), 1);
        assert_string_equal(name, "job N");
    }
    assert_int_equal(si__script_segment_name(f->script, "http /orders/12/lines/7", name, sizeof name), 1);
    assert_string_equal(name, "http /orders/:id/lines/:id"); /* the default */
    assert_int_equal(si__script_segment_name(f->script, "fixed 1", name, sizeof name), 1);
    assert_string_equal(name, "one name");
    assert_int_equal(si__script_segment_name(f->script, "plain", name, sizeof name), 0);
    assert_string_equal(name, "plain");
    assert_int_equal(si__script_segment_name(f->script, "bad x", name, sizeof name), 0);
    assert_string_equal(name, "bad x");
    expect_part(f->log, "mine.lua:3:");
    assert_int_equal(si__script_segment_percentiles(f->script, "job 17", p, 8), 2);
    assert_true(p[0] == 50 && p[1] == 90);
    assert_int_equal(si__script_segment_percentiles(f->script, "plain", p, 8), 3);
    for (int i = 0; i < 10000; i++) { /* names without end stay bounded */
        char raw[32];
        snprintf(raw, sizeof raw, "http /x/%d/y%d", i, i);
        si__script_segment_name(f->script, raw, name, sizeof name);
    }
    load_ok(f); /* forgets the cache */
    assert_int_equal(si__script_segment_name(f->script, "job 17", name, sizeof name), 1);
}

static void routes_can_be_asked(void **state) {
    fixture *f = *state;
    char out[128];
    si__alert alert = {
        .rule = "hot", .subject = "", .severity = "critical", .app = "shop", .environment = "test", .host = "h1"};
    assert_int_equal(si__script_route(f->script, &alert, out, sizeof out), SI_ESTATE);
    write_file(f, "mine.lua", HOT);
    write_file(f, "routing.lua",
               "route { to = 'slack:all', { match = { severity = 'critical', app = 'sh*' }, to = { 'pagerduty:core', "
               "'email:ops' } } }");
    load_ok(f);
    assert_int_equal(si__script_route(f->script, &alert, out, sizeof out), 0);
    assert_string_equal(out, "pagerduty:core,email:ops");
    alert.severity = "warning";
    assert_int_equal(si__script_route(f->script, &alert, out, sizeof out), 0);
    assert_string_equal(out, "slack:all");
    assert_int_equal(si__script_route(f->script, &alert, out, 5), SI_ELIMIT);
}

static void clocks_that_jump_break_nothing(void **state) {
    fixture *f = *state;
    write_file(f, "mine.lua", HOT);
    write_file(f, "routing.lua", ROUTES);
    load_ok(f);
    feed(f, "load", 1);
    tick_for(f, 5);
    f->now_ms -= 86400000; /* a day back */
    tick_for(f, 1);
    feed(f, "load", 9);
    tick_for(f, 20);
    assert_string_equal(f->states, "hot:firing ");
    assert_string_equal(f->notes, "slack:all=hot:firing ");
    f->now_ms += 30 * (int64_t)86400000;
    feed(f, "load", 9);
    tick_for(f, 5);
    assert_string_equal(f->states, "hot:firing ");
}

static void count_line(void *arg, const char *line) {
    append(arg, 4096, line);
    append(arg, 4096, "\n");
}

static void check_finds_what_loading_cannot(void **state) {
    fixture *f = *state;
    char lines[4096] = "";
    write_file(
        f, "mine.lua",
        "rule 'a' { watch = metric 'load',\n  when = function(s)\n    return s:averag('5m') > 1 end }\n"
        "rule 'b' { watch = metric 'proces.cpu.utilization', when = function(s) return s:avg('5 minutes') > 1 end }\n");
    assert_int_equal(si__script_check(f->dir, count_line, lines), 2);
    expect_part(lines, "/mine.lua:3: a series has no method 'averag'. Did you mean 'avg'?");
    expect_part(lines, "/mine.lua:4: bad argument #1 to 'avg' (expected a window in quotes, such as \"5m\")");
    expect_part(lines, "/mine.lua:4: warning: metric: unknown metric \"proces.cpu.utilization\". Did you mean "
                       "\"process.cpu.utilization\"?");
    remove_file(f, "mine.lua");
    lines[0] = '\0';
    assert_int_equal(si__script_check(f->dir, count_line, lines), 0);
    assert_string_equal(lines, "");
    assert_int_equal(si__script_check("/nonexistent", count_line, lines), 1);
    expect_part(lines, "/nonexistent: No such file or directory");
}

static double newest(fixture *f, const char *name) {
    const si__series *series = si__history_find(f->history, SI__SERIES_SEGMENT, name);
    return series ? si__series_last(series) : NAN;
}

static void segments_become_series_under_their_new_names(void **state) {
    fixture *f = *state;
    char name[96];
    double percentiles[8];
    write_file(
        f, "mine.lua",
        "segment 'http .*' { name = function(n) return (n:gsub('/%d+', '/:id')) end, percentiles = { 90, 99 } }\n"
        "segment 'fixed' { name = 'other', percentiles = { 50 } }\n"
        "slo 'quick' { segment = 'http /x/:id', good = { below = '250ms' }, target = 0.99 }");
    write_file(f, "segments.lua", "");
    load_ok(f);
    assert_int_equal(si__script_segment_name(f->script, "http /x/17", name, sizeof name), 1);
    assert_string_equal(name, "http /x/:id");
    si__sketch *sketch = si__sketch_new();
    for (uint64_t i = 1; i <= 100; i++) assert_int_equal(si__sketch_add(sketch, i * 5 * 1000000, 2), 0); /* 5..500 ms */
    si__script_segment_observe(f->script, name, sketch, 200, 7, 120 * (uint64_t)1000000000, T0);
    si__sketch_free(sketch);
    assert_int_equal(si__script_segment_percentiles(f->script, name, percentiles, 8), 2);
    assert_true(percentiles[0] == 90 && percentiles[1] == 99);
    assert_true(fabs(newest(f, "http /x/:id|p90") - 450) < 20);
    assert_true(fabs(newest(f, "http /x/:id|p95") - 475) < 20); /* always there */
    assert_true(isnan(newest(f, "http /x/:id|p50")));
    assert_true(newest(f, "http /x/:id|count") == 100); /* per minute */
    assert_true(newest(f, "http /x/:id|errors") == 3.5);
    assert_true(newest(f, "http /x/:id|total") == 200);
    assert_true(newest(f, "http /x/:id|failed") == 7);
    assert_true(fabs(newest(f, "http /x/:id|below250") - 100) < 8); /* within the sketch's accuracy */
    assert_int_equal(si__script_segment_name(f->script, "fixed", name, sizeof name), 1);
    assert_int_equal(si__script_segment_percentiles(f->script, "other", percentiles, 8), 1);
    assert_int_equal(si__script_segment_percentiles(f->script, "unknown", percentiles, 8), 3);
}

int main(void) {
#define WITH(test) cmocka_unit_test_setup_teardown(test, make, drop)
    const struct CMUnitTest tests[] = {
        WITH(defaults_load_and_agree_with_check),
        WITH(files_replace_defaults_of_the_same_name),
        WITH(a_broken_file_keeps_the_old_set),
        WITH(one_bad_file_spoils_the_set),
        WITH(alerts_survive_a_reload),
        WITH(a_removed_rule_resolves_its_alert),
        WITH(alerts_survive_a_restart),
        WITH(an_error_storm_is_one_line_a_second),
        WITH(a_rule_without_end_is_disabled),
        WITH(a_kept_series_is_refused),
        WITH(effects_are_data),
        WITH(segments_are_renamed_and_cached),
        WITH(segments_become_series_under_their_new_names),
        WITH(routes_can_be_asked),
        WITH(clocks_that_jump_break_nothing),
        WITH(check_finds_what_loading_cannot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
