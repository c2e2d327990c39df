/*
 * `si rules` as a user meets it, over a history that was saved as an agent saves it: list, explain, replay, route, and
 * a test message to a real receiver; and clear words for every mistake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/history/history.h"
#include "http_server.h"
#include "temporary_dir.h"

#define SI SI_BINARY_DIR "/bin/si"
#define MINUTE ((int64_t)60000)
#define T0 ((int64_t)1700000000000 / 600000 * 600000)
#define DAYS 3
#define MINUTES (DAYS * 1440)

static char dir[64], out[65536];

static void write_file(const char *name, const char *format, ...) {
    char path[128];
    va_list args;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    fclose(file);
}

/* Three days of a program: busy for half an hour on the third day, and again in its last half hour. */
static int set_up(void **state) {
    (void)state;
    char path[256];
    temporary_dir_make(dir);
    snprintf(path, sizeof path, "mkdir %s/rules %s/state %s/empty", dir, dir, dir);
    if (system(path) != 0) return -1;
    write_file(
        "rules/mine.lua",
        "rule 'busy' { watch = metric 'load', severity = 'critical', hold = '5m', keep = '5m',\n"
        "  summary = function(s) return ('load %%.0f'):format(s:avg('5m')) end,\n"
        "  when = function(s) return s:avg('5m') > 5 end, clear = function(s) return s:avg('5m') < 3 end }\n"
        "rule 'quiet' { watch = metric 'load', when = function(s) return s:avg('5m') > 50 end }\n"
        "rule 'broken' { watch = metric 'load', when = function(s) return s:last() > 8 and ({}).x + 1 > 2 end }\n");
    write_file("rules/routing.lua", "route { to = 'slack:all', wait = '1m', { match = { severity = 'critical' },"
                                    " to = { 'pagerduty:core', 'email:leads' } },"
                                    " { match = { severity = 'info' }, to = {} } }\n");
    si__history *history = si__history_new();
    for (int64_t m = 0; m < MINUTES; m++) {
        int busy = (m >= 3000 && m < 3030) || m >= MINUTES - 30;
        si__history_add(history, SI__SERIES_METRIC, "load", T0 + m * MINUTE, busy ? 9 : 1);
    }
    snprintf(path, sizeof path, "%s/state/history.bin", dir);
    int status = si__history_save(history, path);
    si__history_free(history);
    return status;
}

static int tear_down(void **state) {
    (void)state;
    temporary_dir_remove(dir);
    return 0;
}

/* Runs `si rules ...` in the test's directory; standard output and error into `out`. Returns the exit code. */
static int rules(const char *arguments) {
    char command[2048];
    snprintf(command, sizeof command,
             "cd %s && unset SI_RULES_DIR SI_STATE_DIR SI_CHANNELS_FILE && TZ=UTC0 '%s' rules %s 2>&1", dir, SI,
             arguments);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, sizeof out - 1, pipe);
    out[got] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(int code, const char *arguments, const char *part) {
    int got = rules(arguments);
    if (got == code && strstr(out, part)) return;
    print_error("si rules %s\nexit code %d, not %d, or no \"%s\" in:\n%s", arguments, got, code, part, out);
    fail();
}

static void has(const char *part) {
    if (strstr(out, part)) return;
    print_error("no \"%s\" in:\n%s", part, out);
    fail();
}

static void list_shows_the_set(void **state) {
    (void)state;
    expect(0, "list --rules rules --state state", "about 1 recorded series");
    char *busy = strstr(out, "\nbusy ");
    assert_non_null(busy);
    assert_memory_equal(busy + 1 + 28, "pending", 7);
    has("rules/mine.lua:1");
    char *broken = strstr(out, "\nbroken ");
    assert_non_null(broken);
    assert_non_null(strstr(broken, "last error: rules/mine.lua:5: attempt to perform arithmetic on a nil value"));
    assert_non_null(strstr(out, "\nagent_down "));
    assert_non_null(strstr(out, "elsewhere"));
    char hash[33];
    char *set = strstr(out, "set ");
    assert_non_null(set);
    assert_int_equal(sscanf(set, "set %32[0-9a-f], ", hash), 1);
    expect(0, "list", "nothing is recorded");
    assert_null(strstr(out, hash)); /* other rules, another hash */
    write_file("rules/more.lua", "rule 'x' {");
    expect(1, "list --rules rules", "rules/more.lua:1:");
    write_file("rules/more.lua", "-- nothing\n");
}

static void explain_says_what_a_rule_sees(void **state) {
    (void)state;
    expect(0, "explain busy --rules rules --state state", "s:avg(\"5m\") = 9");
    has("busy (rules/mine.lua:1), critical, hold 5 min, keep 5 min");
    has("-> true");
    expect(0, "explain quiet --rules rules --history state/history.bin", "-> false");
    expect(2, "explain bussy --rules rules --state state", "there is no rule 'bussy'. There are:");
    has(" busy");
    expect(2, "explain --state state", "which rule?");
    expect(2, "explain busy", "no history: give --state DIR");
    expect(2, "explain busy --state empty", "empty/history.bin: No such file or directory");
    expect(2, "explain busy --history rules/mine.lua", "is damaged, or no history");
}

static size_t column_of(const char *text, char mark) {
    const char *found = strchr(text, mark);
    assert_non_null(found);
    return (size_t)(found - text);
}

static void replay_shows_when(void **state) {
    (void)state;
    char expected[64];
    expect(0, "replay --rules rules --state state --last 7d --rule busy", "1 series");
    /* The alert of the third day: ten minutes are what is known of it, so within ten minutes of the truth. */
    char *first = strstr(out, "critical  busy");
    assert_non_null(first);
    char *second = strstr(first + 1, "critical  busy");
    assert_non_null(second);
    assert_null(strstr(second + 1, "critical  busy"));
    while (first > out && first[-1] != '\n') first--;
    time_t fired = (time_t)((T0 + 3008 * MINUTE) / 1000);
    strftime(expected, sizeof expected, "%Y-%m-%d %H:", gmtime(&fired));
    assert_memory_equal(first, expected, strlen(expected));
    assert_non_null(strstr(second, "busy                  load 9"));
    has("at the end");
    has("pagerduty:core would have got");
    has("email:leads would have got");
    /* The picture: 72 columns over three days, with the alert where it was. */
    char *line = strstr(out, "\nbusy  ");
    assert_non_null(line);
    line += strlen("\nbusy  ");
    assert_int_equal(strcspn(line, "\n"), 72);
    size_t at = column_of(line, '#');
    assert_in_range(at, 72 * 3000 / MINUTES - 1, 72 * 3040 / MINUTES + 1);
    assert_int_equal(line[71], '#');
    assert_int_equal(line[0], '.');
    expect(0, "replay --rules rules --state state --last 2h --rule quiet", "Nothing would have fired.");
    expect(2, "replay --rules rules --state state --rule bussy", "there is no rule 'bussy'");
    expect(2, "replay --state state --last 3x", "option --last: '3x' is not a time from 1m to 7d");
    expect(2, "replay --state state --last 8d", "option --last: '8d'");
    expect(2, "replay busy --state state", "one rule alone: --rule busy");
    expect(2, "replay --at moon --state state", "neither agent nor dashboard");
    expect(2, "replay --state state --lst 7d", "Try 'si rules --help'");
}

static void route_says_who(void **state) {
    (void)state;
    expect(0, "route busy --rules rules", "rule=busy severity=critical\nwould go to pagerduty:core, email:leads");
    expect(0, "route quiet --rules rules app=shop host=web-1", "app=shop host=web-1\nwould go to slack:all");
    expect(0, "route severity=info --rules rules", "would go to nobody; the dashboard shows it");
    expect(2, "route bussy --rules rules", "there is no rule 'bussy'");
    expect(2, "route busy colour=red --rules rules", "'colour=red': write label=value; labels are rule, severity");
    expect(2, "route", "of what?");
}

static void a_test_message_arrives(void **state) {
    (void)state;
    const server_answer fine = {.trick = ANSWER, .status = 200, .body = "ok"};
    const server_answer refusing = {.trick = ANSWER, .status = 403, .body = "no"};
    http_server *server = http_server_start(&fine, 1);
    http_server *wall = http_server_start(&refusing, 1);
    assert_true(server && wall);
    write_file("channels.json",
               "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/hook\"},"
               "\"webhook:wall\":{\"url\":\"http://127.0.0.1:%u/hook\"},\"all\":[\"webhook:ops\",\"webhook:wall\"]}}",
               server->port, wall->port);
    expect(0, "send-test webhook:ops --channels channels.json --app shop", "webhook:ops: accepted");
    assert_int_equal(http_server_requests(server), 1);
    const server_request *request = http_server_request(server, 0);
    assert_non_null(strstr(request->body, "A test, sent by hand"));
    assert_non_null(strstr(request->body, "\"app\":\"shop\""));
    expect(1, "send-test webhook:wall --channels channels.json", "webhook:wall: ");
    has("403");
    assert_int_equal(http_server_requests(wall), 1); /* tried once */
    expect(1, "send-test all --channels channels.json", "webhook:ops: accepted");
    has("403");
    expect(1, "send-test slack:perf --channels channels.json", "slack:perf");
    expect(2, "send-test webhook:ops --channels nowhere.json", "nowhere.json: ");
    expect(2, "send-test webhook:ops", "Give --channels FILE");
    expect(2, "send-test --channels channels.json", "to whom?");
    write_file("channels.json", "{\"channels\":{\"slack:perf\":{\"uri\":\"x\"}}}");
    expect(2, "send-test slack:perf --channels channels.json", "channel slack:perf: field ");
    http_server_stop(server);
    http_server_stop(wall);
}

static void mistakes_are_named(void **state) {
    (void)state;
    expect(2, "", "Usage: si rules check|list|explain|replay|route|send-test");
    expect(2, "chekc", "unknown subcommand 'chekc'");
    expect(0, "--help", "send-test DEST");
    expect(0, "check rules", "no problems");
    write_file("rules/more.lua", "-- fine\n-- caf\xE9\n");
    expect(1, "check rules", "rules/more.lua:2: not UTF-8 text (byte 0xE9); save the file as UTF-8");
    write_file("rules/more.lua", "\xEF\xBB\xBFrule 'bom' { watch = metric 'procss.cpu.utilization',\n"
                                 "  when = function(s) return s:last() > 1 end }\n");
    expect(0, "check rules", "no problems, 1 warning");
    has("rules/more.lua:1: warning: metric: unknown metric \"procss.cpu.utilization\". Did you mean");
    write_file("rules/more.lua", "-- so often that the language itself is what runs\nwhile true do metric 'm' end\n");
    expect(1, "check rules", "rules/more.lua:2: stopped: it used more than");
    write_file("rules/more.lua", "-- nothing\n");
    expect(2, "check nowhere", "si rules check: nowhere: No such file or directory");
    expect(2, "check", "which directory?");
}

/* Asks `si rules list` until it says so. */
static void wait_list(const char *part) {
    for (int i = 0; i < 600; i++) {
        rules("list --state live");
        if (strstr(out, part)) return;
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    print_error("no \"%s\" in:\n%s", part, out);
    fail();
}

/* With an agent that is alive list tells what is in force there, and not what the files would be. */
static void list_asks_a_live_agent(void **state) {
    (void)state;
    char path[128], pid[16], hash[33] = "", after[33] = "";
    int status;
    snprintf(path, sizeof path, "mkdir %s/liverules", dir);
    assert_int_equal(system(path), 0);
    write_file("liverules/mine.lua", "rule 'on' { watch = metric 'process.memory.usage', every = '1s', when = "
                                     "function(s) return s:last() > 0 end }\n"
                                     "rule 'bad' { watch = metric 'process.memory.usage', every = '1s',\n"
                                     "  when = function(s) return s:last() > 0 and ({}).x + 1 > 2 end }\n");
    write_file("liverules/routing.lua", "route { to = 'webhook:ops', wait = '1s' }\n");
    write_file("channels2.json", "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:1/\"}}}");
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    pid_t agent = fork();
    assert_true(agent >= 0);
    if (agent == 0) {
        if (chdir(dir) == 0)
            execl(SI, "si", "sidecar", "--pid", pid, "--rules", "liverules", "--state", "live", "--channels",
                  "channels2.json", (char *)NULL);
        _exit(127);
    }
    wait_list("in force now in process ");
    has(pid);
    wait_list("last error: liverules/mine.lua:3: attempt to perform arithmetic on a nil value");
    wait_list("webhook:ops: 1 waiting; "); /* a delivery that fails is seen here, too */
    assert_non_null(strstr(out, "\non "));
    assert_int_equal(sscanf(out, "set %32[0-9a-f]", hash), 1);
    write_file("liverules/mine.lua", "rule 'on' { watch = metric 'process.memory.usage' when = 5 }\n");
    wait_list("not in force, the set before stays:\nliverules/mine.lua:1:");
    assert_int_equal(sscanf(out, "set %32[0-9a-f]", after), 1);
    assert_string_equal(hash, after);
    write_file("liverules/mine.lua",
               "rule 'newer' { watch = metric 'm', when = function(s) return s:last() > 1 end }\n");
    wait_list("\nnewer ");
    assert_null(strstr(out, "not in force"));
    assert_int_equal(kill(agent, SIGTERM), 0);
    assert_int_equal(waitpid(agent, &status, 0), agent);
    expect(0, "list --state live", "no agent is alive in live");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_shows_the_set),     cmocka_unit_test(explain_says_what_a_rule_sees),
        cmocka_unit_test(replay_shows_when),      cmocka_unit_test(route_says_who),
        cmocka_unit_test(a_test_message_arrives), cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(list_asks_a_live_agent),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
