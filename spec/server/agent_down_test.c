/* An agent and its program are killed as a machine that loses its power kills them: the dashboard says so, once, and
   says when it is back. Real processes: `si run`, a program, a dashboard, a receiver. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../c/http_server.h"
#include "dashboard.h"

#define DEADLINE_MS 60000

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
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

/* `si run` with a program that does nothing for a minute; the program's number goes into DIR/pid. */
static pid_t observe(const dashboard *d) {
    char key[200], state[200], rules[200], program[700], pid_file[200];
    snprintf(key, sizeof key, "%s/key", d->dir);
    snprintf(state, sizeof state, "%s/agent", d->dir);
    snprintf(rules, sizeof rules, "%s/rules.d", d->dir);
    snprintf(pid_file, sizeof pid_file, "%s/pid", d->dir);
    snprintf(program, sizeof program, "echo $$ > %s.new && mv %s.new %s && exec sleep 60", pid_file, pid_file,
             pid_file);
    unlink(pid_file);
    pid_t pid = fork();
    if (pid == 0) {
        int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(nothing, 1);
        dup2(nothing, 2);
        execl(SI_BINARY_DIR "/bin/si", "si", "run", "--dashboard", d->url, "--key-file", key, "--env", "test",
              "--state", state, "--rules", rules, "--", "/bin/sh", "-c", program, (char *)NULL);
        _exit(127);
    }
    for (int64_t deadline = now_ms() + DEADLINE_MS; access(pid_file, R_OK) != 0;) {
        assert_true(now_ms() < deadline);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    return pid;
}

static void cut_the_power(const dashboard *d, pid_t agent) {
    char path[200];
    int program = 0;
    snprintf(path, sizeof path, "%s/pid", d->dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &program), 1);
    fclose(file);
    kill(agent, SIGKILL);
    kill(program, SIGKILL);
    assert_int_equal(waitpid(agent, NULL, 0), agent);
}

static int told(http_server *receiver, const char *state) {
    int count = 0;
    for (unsigned i = 0; i < http_server_requests(receiver); i++) {
        const char *body = http_server_request(receiver, i)->body;
        count += body && strstr(body, "\"rule\":\"agent_down\"") && strstr(body, state);
    }
    return count;
}

static void wait_told(http_server *receiver, const char *state) {
    for (int64_t deadline = now_ms() + DEADLINE_MS; !told(receiver, state);) {
        if (now_ms() > deadline) fail_msg("nobody was told: %s", state);
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
}

static void wait_source(person *p) {
    for (int64_t deadline = now_ms() + DEADLINE_MS;;) {
        reply r = person_ask(p, "GET", "/sources?app=sh&env=test", NULL);
        int found = r.status == 200 && strstr(r.body, "\"ended\":false") != NULL;
        reply_free(&r);
        if (found) return;
        assert_true(now_ms() < deadline);
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
}

static void an_agent_that_is_killed_is_down_until_it_is_back(void **state) {
    static const server_answer fine = {ANSWER, 200, "ok", NULL, NULL};
    dashboard d;
    person admin;
    char key[128], text[200], rules[200], channels[200];
    (void)state;
    http_server *receiver = http_server_start(&fine, 1);
    dashboard_make(&d);
    snprintf(rules, sizeof rules, "%s/rules.d", d.dir);
    snprintf(channels, sizeof channels, "%s/channels.json", d.dir);
    assert_int_equal(mkdir(rules, 0700), 0);
    put_file(rules, "cadence.lua", "cadence { report = \"5s\", metrics = \"1s\" }\n");
    put_file(rules, "routing.lua", "route { to = \"webhook:ops\", wait = \"1s\", interval = \"1s\" }\n");
    put_file(rules, "agent_down.lua",
             "rule \"agent_down\" { at = \"dashboard\", severity = \"critical\", every = \"1s\", keep = \"1s\", "
             "grace = \"0s\",\n  over = metrics \"agent%.silence/.*\",\n"
             "  when = function(s) return s:last() > 8 end, clear = function(s) return s:last() < 8 end }\n");
    snprintf(text, sizeof text, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"}}}", receiver->port);
    put_file(d.dir, "channels.json", text);
    dashboard_start(&d, (const char *const[]){"--no-self", "--rules", rules, "--channels", channels, NULL});
    dashboard_key(&d, "sh", "test", key);
    put_file(d.dir, "key", key);
    person_sign_in(&admin, &d);
    pid_t agent = observe(&d);
    wait_source(&admin);
    cut_the_power(&d, agent);
    wait_told(receiver, "\"state\":\"firing\"");
    assert_int_equal(told(receiver, "\"state\":\"resolved\""), 0);
    agent = observe(&d);
    wait_told(receiver, "\"state\":\"resolved\"");
    assert_int_equal(told(receiver, "\"state\":\"firing\""), 1);
    cut_the_power(&d, agent);
    dashboard_remove(&d);
    http_server_stop(receiver);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_agent_that_is_killed_is_down_until_it_is_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
