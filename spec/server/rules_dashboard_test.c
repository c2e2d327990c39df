/* `si rules replay` and `explain` against a real dashboard with a reading key: what it stored of two sources, and clear
   words for everything that stands in the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "dashboard.h"
#include "made_report.h"

typedef struct world {
    dashboard d;
    person admin;
    char agent_key[128], reading_key[128], rules[100];
    char out[32768];
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

/* A minute of a source: its queue, its calls (a hundred, `first_ns` to a hundred times that) and its heap. */
static void send_minute(world *w, unsigned agent, int64_t minute, double depth, uint64_t first_ns, int64_t cache) {
    char status[32];
    size_t length;
    made m = {.agent = agent,
              .host = agent == 1 ? "host-1" : "host-2",
              .sequence = (uint64_t)minute / 60000,
              .start_ms = minute,
              .end_ms = minute + 60000};
    si__report *report = made_report(&m);
    made_point(report, "queue.depth", minute + 30000, depth);
    made_segment(report, "checkout", minute + 1000, first_ns, 100);
    made_error(report, "payment", "refused", minute, 3);
    si__report_profile *heap = made_profile(report, "heap", minute, 1, 1, 1);
    uint32_t frame = si__calltree_frame(heap->tree, "fill_cache", "cache.c", 7, "shop");
    si__calltree_add(heap->tree, si__calltree_child(heap->tree, 0, frame), cache, 10);
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->agent_key, bytes, length, status), 200);
    free(bytes);
}

#define HOUR_MS 3600000ll

/* Two hours, and a stretch of two days ago: source 1 is quiet, the queue of source 2 is long for the last half hour. */
static void send_past(world *w) {
    int64_t now = unix_ms() / 60000 * 60000;
    for (int64_t minute = now - 50 * HOUR_MS; minute < now - 49 * HOUR_MS; minute += 60000)
        send_minute(w, 1, minute, 500, 1000000, 1 << 20);
    for (int64_t minute = now - 2 * HOUR_MS; minute < now - 120000; minute += 60000) {
        int late = minute >= now - HOUR_MS / 2;
        send_minute(w, 1, minute, 10, 1000000, 4 << 20);
        send_minute(w, 2, minute, late ? 90 : 10, late ? 20000000 : 1000000,
                    (8 << 20) + (minute - now + 2 * HOUR_MS) * 20000);
    }
}

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    *state = w;
    dashboard_make(&w->d);
    snprintf(w->rules, sizeof w->rules, "%s/rules.d", w->d.dir);
    assert_int_equal(mkdir(w->rules, 0700), 0);
    put_file(w->rules, "routing.lua", "route { to = \"slack:shop\", wait = \"1m\" }\n");
    put_file(w->rules, "mine.lua",
             "rule \"deep\" { watch = metric \"queue.depth\", severity = \"critical\", hold = \"2m\", keep = \"2m\",\n"
             "  summary = function(s) return (\"%.0f waiting\"):format(s:avg(\"5m\")) end,\n"
             "  when = function(s) return s:avg(\"5m\") > 40 end }\n"
             "rule \"deepest\" { watch = metric \"queue.depth\", when = function(s) return s:avg(\"5m\") > 80 end }\n"
             "rule \"grows\" { over = callsites { profile = \"heap\", min = \"8MiB\" }, no_data_after = \"1h\",\n"
             "  when = function(s) return s:theil_sen(\"1h\").slope_per_hour > 2^20 end }\n"
             "rule \"failing\" { over = errors \"payment\", when = function(s) return s:avg(\"5m\") > 5 end }\n"
             "slo \"fast\" { segment = \"checkout\", good = { below = \"250ms\" }, target = 0.99,\n"
             "  burn = { { 6, \"30m\", \"5m\", \"critical\" } } }\n");
    dashboard_start(&w->d, NULL);
    w->admin.d = &w->d;
    dashboard_key(&w->d, "shop", "test", w->agent_key);
    person_sign_in(&w->admin, &w->d);
    const char *make[] = {"key", "--data", w->d.dir, "--app", "shop", "--env", "test", "--read", NULL};
    assert_int_equal(dashboard_run(make, w->out, sizeof w->out), 0);
    const char *key = strstr(w->out, "si_");
    assert_non_null(key);
    snprintf(w->reading_key, sizeof w->reading_key, "%.*s", (int)strcspn(key, " \n"), key);
    assert_true(*w->reading_key != '\0');
    put_file(w->d.dir, "reading.key", w->reading_key);
    send_past(w);
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    dashboard_remove(&w->d);
    free(w);
    return 0;
}

/* Runs si rules in the test's directory. */
static int rules(world *w, const char *arguments) {
    char command[2048];
    snprintf(command, sizeof command,
             "cd %s && unset SI_RULES_DIR SI_STATE_DIR SI_READING_KEY SI_APP_NAME SI_APP_ENVIRONMENT && TZ=UTC0 '%s' "
             "rules %s 2>&1",
             w->d.dir, SI_BINARY_DIR "/bin/si", arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(w->out, 1, sizeof w->out - 1, pipe);
    w->out[got] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(world *w, int code, const char *arguments, const char *part) {
    int got = rules(w, arguments);
    if (got == code && strstr(w->out, part)) return;
    print_error("si rules %s\nexit code %d, not %d, or no \"%s\" in:\n%s", arguments, got, code, part, w->out);
    fail();
}

static void has(world *w, const char *part) {
    if (strstr(w->out, part)) return;
    print_error("no \"%s\" in:\n%s", part, w->out);
    fail();
}

#define ASK "--rules rules.d --key-file reading.key --dashboard "

static void replays_what_all_sources_reported(void **state) {
    world *w = *state;
    char arguments[400];
    snprintf(arguments, sizeof arguments, "replay " ASK "%s --last 7d", w->d.url);
    expect(w, 0, arguments, "at the end  critical  deep");
    has(w, " 50 waiting");       /* the average of 10 and 90 */
    has(w, "500 waiting");       /* and what was before the last day */
    has(w, "fill_cache (shop)"); /* call sites */
    has(w, "fast.burn.30m");     /* objectives: calls below 250 ms were counted */
    has(w, "failing");           /* errors of both together: 6 a minute */
    has(w, "slack:shop would have got");
    has(w, "# firing");
    has(w, "series, averages of all sources");
    char *deepest = strstr(w->out, "deepest");
    assert_non_null(deepest); /* of two days ago alone */
    assert_null(strstr(deepest + 1, "at the end  warning   deepest"));
}

static void replays_one_source(void **state) {
    world *w = *state;
    char arguments[400];
    si__json *json = person_get(&w->admin, "/sources?app=shop&env=test");
    for (const si__json *s = si__json_get(json, "sources")->first; s; s = s->next) {
        int second = !strcmp(si__json_get_string(s, "host", ""), "host-2");
        snprintf(arguments, sizeof arguments, "replay " ASK "%s --source %lld --last 2h --rule deepest", w->d.url,
                 (long long)si__json_get_integer(s, "id", 0));
        expect(w, 0, arguments, second ? "at the end  warning   deepest" : "Nothing would have fired");
    }
    si__json_free(json);
    snprintf(arguments, sizeof arguments, "explain deep " ASK "%s", w->d.url);
    expect(w, 0, arguments, "s:avg(\"5m\") = 50");
}

static void says_what_stands_in_the_way(void **state) {
    world *w = *state;
    char arguments[600];
    snprintf(arguments, sizeof arguments, "replay --dashboard %s", w->d.url);
    expect(w, 2, arguments, "give --key-file FILE, or SI_READING_KEY");
    snprintf(arguments, sizeof arguments, "replay --dashboard %s --key-file none.key", w->d.url);
    expect(w, 2, arguments, "none.key: ");
    expect(w, 1, "replay --key-file reading.key --dashboard http://127.0.0.1:1", "cannot be asked: ");
    has(w, "http://127.0.0.1:1");
    expect(w, 1, "replay --key-file reading.key --dashboard file:///etc", "cannot be asked: ");
    put_file(w->d.dir, "wrong.key", "si_0123456789abcdef_nonsense");
    snprintf(arguments, sizeof arguments, "replay --key-file wrong.key --dashboard %s", w->d.url);
    expect(w, 1, arguments, "(HTTP 401)");
    has(w, "must be a reading key");
    put_file(w->d.dir, "agent.key", w->agent_key);
    snprintf(arguments, sizeof arguments, "replay --key-file agent.key --dashboard %s", w->d.url);
    expect(w, 1, arguments, "must be a reading key");
    snprintf(arguments, sizeof arguments, "replay " ASK "%s --app unknown --env test", w->d.url);
    expect(w, 1, arguments, "(HTTP 40");
    assert_true(strstr(w->out, "leave out --app") || strstr(w->out, "unknown"));
    snprintf(arguments, sizeof arguments, "replay " ASK "%s --source x", w->d.url);
    expect(w, 1, arguments, "A source is the number");
    snprintf(arguments, sizeof arguments, "replay " ASK "%s --source 99999", w->d.url);
    expect(w, 1, arguments, "nothing was reported in this time by this source");
    snprintf(arguments, sizeof arguments, "SI_READING_KEY=%s '%s' rules replay --dashboard %s/ --rules %s --last 2h",
             w->reading_key, SI_BINARY_DIR "/bin/si", w->d.url, w->rules);
    FILE *pipe = popen(arguments, "r");
    assert_non_null(pipe);
    size_t got = fread(w->out, 1, sizeof w->out - 1, pipe);
    w->out[got] = '\0';
    assert_int_equal(pclose(pipe), 0);
    has(w, "deep");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(replays_what_all_sources_reported),
                                       cmocka_unit_test(replays_one_source),
                                       cmocka_unit_test(says_what_stands_in_the_way)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
