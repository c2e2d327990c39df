/*
 * The outbox on disk: what a process that ended, or was killed, had still to deliver is delivered by the next one,
 * once, under its old delivery id; damage costs what is damaged; no secret gets there.
 */
#include "notify_world.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "temporary_dir.h"

static const char dead_end[] = "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:1/\"},\"pagerduty:core\":{"
                               "\"routing_key\":\"R0UT1NGKEY\",\"url\":\"http://127.0.0.1:1/\"}}}";
static const char alive[] = "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"},\"pagerduty:core\":{"
                            "\"routing_key\":\"NEWKEY\",\"url\":\"http://127.0.0.1:%u/\"}}}";

typedef struct lasting { /* a world with a worker and an outbox */
    world w;
    si__worker *worker;
    char outbox[100];
} lasting;

static void open_outbox(lasting *l, const char *dir) {
    begin(&l->w);
    snprintf(l->outbox, sizeof l->outbox, "%s/outbox", dir);
    l->worker = si__worker_new(&l->w.loop);
    assert_non_null(l->worker);
    assert_int_equal(si__notify_keep(l->w.notify, l->worker, l->outbox), 0);
}

static void close_outbox(lasting *l) {
    si__notify_close(l->w.notify, on_closed, &l->w);
    LOOP_UNTIL(&l->w.loop, l->w.closed);
    l->w.closed = 0;
    si__worker_close(l->worker, on_closed, &l->w);
    LOOP_UNTIL(&l->w.loop, l->w.closed);
    assert_int_equal(uv_loop_close(&l->w.loop), 0);
}

/* Files in the outbox that end so; the path of the last one into out (may be NULL). */
static int files(const char *outbox, const char *suffix, char out[400]) {
    int count = 0;
    DIR *dir = opendir(outbox);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name), end = strlen(suffix);
        if (length < end || strcmp(entry->d_name + length - end, suffix) != 0) continue;
        if (out) snprintf(out, 400, "%s/%s", outbox, entry->d_name);
        count++;
    }
    if (dir) closedir(dir);
    return count;
}

static void test_a_restart_neither_forgets_nor_repeats(void **state) {
    (void)state;
    char dir[64], path[400], text[8192], first[64], name[40];
    lasting l;
    struct stat st;
    temporary_dir_make(dir);
    open_outbox(&l, dir);
    load(&l.w, dead_end);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING), b = alert_of("second", "y", SI__ALERT_FIRING);
    send_alerts(&l.w, "webhook:ops", &a, 1);
    send_alerts(&l.w, "webhook:ops", &b, 1);
    send_alerts(&l.w, "pagerduty:core", &a, 1);
    LOOP_UNTIL(&l.w.loop, files(l.outbox, ".msg", path) == 3 && l.w.retries >= 2);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(l.outbox, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    DIR *entries = opendir(l.outbox);
    for (const struct dirent *entry; (entry = readdir(entries));) {
        snprintf(path, sizeof path, "%s/%.200s", l.outbox, entry->d_name);
        FILE *file = fopen(path, "r");
        if (!file || entry->d_name[0] == '.') {
            if (file) fclose(file);
            continue;
        }
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
        assert_null(strstr(text, "R0UT1NGKEY"));
        assert_null(strstr(text, "127.0.0.1"));
    }
    closedir(entries);
    close_outbox(&l);
    assert_int_equal(l.w.failed, 0); /* not given up: kept */
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    open_outbox(&l, dir);
    assert_int_equal(si__notify_pending(l.w.notify), 3); /* and wait for their channels */
    load(&l.w, alive, server->port, server->port);
    send_alerts(&l.w, "webhook:ops", &a, 1); /* a new one goes after the old ones */
    LOOP_UNTIL(&l.w.loop, l.w.sent == 4 && files(l.outbox, ".msg", NULL) == 0);
    int seen = 0;
    for (unsigned i = 0; i < 4; i++) {
        const server_request *r = http_server_request(server, i);
        if (strstr(r->body, "routing_key")) {
            assert_non_null(strstr(r->body, "\"routing_key\":\"NEWKEY\",\"event_action\":\"trigger\""));
            si__json_free(json_body(r));
            continue;
        }
        header_of(r, "X-Si-Delivery", first, sizeof first);
        assert_int_equal(strlen(first), 32);
        assert_int_equal(strstr(r->body, "second") != NULL, seen == 1);
        seen++;
        snprintf(name, sizeof name, "\"delivery\":\"%.20s", first); /* the id in the body is the one in the header */
        assert_non_null(strstr(r->body, name));
    }
    close_outbox(&l);
    open_outbox(&l, dir);
    assert_int_equal(si__notify_pending(l.w.notify), 0);
    close_outbox(&l);
    http_server_stop(server);
    temporary_dir_remove(dir);
}

static void send_and_wait_to_be_killed(const char *dir) {
    lasting l;
    char summary[32];
    open_outbox(&l, dir);
    load(&l.w, dead_end);
    for (int i = 0; i < 20; i++) {
        snprintf(summary, sizeof summary, "number %d.", i);
        const si__alert a = alert_of("r", summary, SI__ALERT_FIRING);
        send_alerts(&l.w, "webhook:ops", &a, 1);
    }
    uv_run(&l.w.loop, UV_RUN_DEFAULT); /* the back-off never ends */
}

static void test_killed_with_twenty_to_deliver(void **state) {
    (void)state;
    char dir[64], outbox[100], number[32];
    lasting l;
    temporary_dir_make(dir);
    snprintf(outbox, sizeof outbox, "%s/outbox", dir);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(30);
        send_and_wait_to_be_killed(dir);
        _exit(1);
    }
    for (int i = 0; i < 2000 && files(outbox, ".msg", NULL) < 20; i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(files(outbox, ".msg", NULL), 20);
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    open_outbox(&l, dir);
    load(&l.w, alive, server->port, server->port);
    LOOP_UNTIL(&l.w.loop, l.w.sent == 20 && files(outbox, ".msg", NULL) == 0);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(number, sizeof number, "number %u.", i);
        assert_non_null(strstr(http_server_request(server, i)->body, number)); /* in order */
    }
    assert_int_equal(http_server_requests(server), 20);
    close_outbox(&l);
    http_server_stop(server);
    temporary_dir_remove(dir);
}

static void put(const char *outbox, const char *name, const char *text) {
    char path[400];
    snprintf(path, sizeof path, "%s/%s", outbox, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_damage_costs_what_is_damaged(void **state) {
    (void)state;
    char dir[64], path[400];
    lasting l;
    temporary_dir_make(dir);
    open_outbox(&l, dir);
    load(&l.w, dead_end);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&l.w, "webhook:ops", &a, 1);
    send_alerts(&l.w, "webhook:ops", &a, 1);
    LOOP_UNTIL(&l.w.loop, files(l.outbox, ".msg", path) == 2);
    close_outbox(&l);
    FILE *file = fopen(path, "r+");
    fseek(file, -3, SEEK_END);
    fputc('#', file);
    fclose(file);
    put(l.outbox, "00000000000000ff-0123456789abcdef0123456789abcdef.msg", "{}\n");
    put(l.outbox, "0000000000000100-0123456789abcdef0123456789abcdef.msg", "no line");
    put(l.outbox, "0000000000000101-0123456789abcdef0123456789abcdef.msg.new", "half");
    put(l.outbox, "notes.txt", "not ours");
    open_outbox(&l, dir);
    assert_int_equal(si__notify_pending(l.w.notify), 1);
    assert_non_null(strstr(l.w.log, "3 messages in the outbox were damaged"));
    assert_int_equal(files(l.outbox, ".bad", NULL), 3);
    assert_int_equal(files(l.outbox, ".new", NULL), 0);
    assert_int_equal(files(l.outbox, "notes.txt", NULL), 1);
    close_outbox(&l);
    temporary_dir_remove(dir);
}

static void test_a_disk_that_takes_nothing_stops_no_delivery(void **state) {
    (void)state;
    lasting l;
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    open_outbox(&l, "/proc/no/such/place");
    load(&l.w, alive, server->port, server->port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&l.w, "webhook:ops", &a, 1);
    LOOP_UNTIL(&l.w.loop, l.w.sent == 1);
    assert_non_null(strstr(si__notify_keep_error(l.w.notify), "outbox"));
    close_outbox(&l);
    http_server_stop(server);
}

static void note_state(void *arg, const si__notify_state *state) {
    if (!strcmp(state->channel, "webhook:ops")) *(si__notify_state *)arg = *state;
}

/* A receiver that wants to be left alone for an hour is left alone by the next process, too; a channels file that was
   changed meanwhile is somebody who knows better. */
static void test_a_restart_does_not_forget_that_a_receiver_wants_a_pause(void **state) {
    (void)state;
    char dir[64], pauses[100], changed[sizeof alive + 8];
    lasting l;
    static const server_answer later[] = {{ANSWER, 503, "", "Retry-After", "3600"}, {ANSWER, 200, "ok", NULL, NULL}};
    static const server_answer fine = {ANSWER, 200, "ok", NULL, NULL};
    http_server *ops = http_server_start(later, 2), *pager = http_server_start(&fine, 1);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    temporary_dir_make(dir);
    snprintf(pauses, sizeof pauses, "%s/pauses", dir);
    for (int run = 0; run < 2; run++) {
        si__notify_state ops_state = {0};
        open_outbox(&l, dir);
        assert_int_equal(si__notify_keep_pauses(l.w.notify, run ? l.worker : NULL, pauses), 0);
        load(&l.w, alive, ops->port, pager->port);
        send_alerts(&l.w, "webhook:ops", &a, 1);
        if (!run) LOOP_UNTIL(&l.w.loop, l.w.retries == 1);
        send_alerts(&l.w, "pagerduty:core", &a, 1);
        LOOP_UNTIL(&l.w.loop, l.w.sent == 1);
        assert_int_equal(http_server_requests(ops), 1);
        si__notify_states(l.w.notify, note_state, &ops_state);
        assert_int_equal(ops_state.waiting, 1 + run);
        assert_true(ops_state.paused_until_ms > 0);
        if (!run) assert_non_null(strstr(ops_state.error, "503"));
        close_outbox(&l);
    }
    open_outbox(&l, dir);
    assert_int_equal(si__notify_keep_pauses(l.w.notify, NULL, pauses), 0);
    load(&l.w, alive, ops->port, pager->port);
    load(&l.w, alive, ops->port, pager->port); /* looked at once more: that changes nothing */
    assert_int_equal(l.w.sent, 0);
    snprintf(changed, sizeof changed, "%s\n", alive);
    load(&l.w, changed, ops->port, pager->port);
    LOOP_UNTIL(&l.w.loop, l.w.sent == 2);
    assert_int_equal(http_server_requests(ops), 3);
    close_outbox(&l);
    open_outbox(&l, dir); /* and that it is over is not forgotten either */
    assert_int_equal(si__notify_keep_pauses(l.w.notify, NULL, pauses), 0);
    load(&l.w, alive, ops->port, pager->port);
    send_alerts(&l.w, "webhook:ops", &a, 1);
    LOOP_UNTIL(&l.w.loop, l.w.sent == 1);
    close_outbox(&l);
    http_server_stop(ops);
    http_server_stop(pager);
    temporary_dir_remove(dir);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_restart_neither_forgets_nor_repeats),
        cmocka_unit_test(test_a_restart_does_not_forget_that_a_receiver_wants_a_pause),
        cmocka_unit_test(test_killed_with_twenty_to_deliver),
        cmocka_unit_test(test_damage_costs_what_is_damaged),
        cmocka_unit_test(test_a_disk_that_takes_nothing_stops_no_delivery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
