/* Reports at a real server: stored once, replays told, everything wrong refused with a reason and without harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "dashboard.h"
#include "made_report.h"

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

typedef struct world {
    dashboard d;
    char key[128];
} world;

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    dashboard_make(&w->d);
    dashboard_start(&w->d, NULL);
    dashboard_key(&w->d, "shop", "test", w->key);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    dashboard_remove(&w->d);
    free(w);
    return 0;
}

static uint8_t *report_bytes(unsigned agent, uint64_t sequence, size_t *length) {
    int64_t now = unix_ms();
    made m = {.agent = agent, .sequence = sequence, .start_ms = now - 60000, .end_ms = now};
    si__report *report = made_report(&m);
    made_profile(report, "cpu", now - 30000, 40, 400, agent * 1000 + sequence);
    made_segment(report, "checkout", now - 60000, 1000000, 10);
    made_error(report, "payment", "declined", now - 60000, 3);
    made_point(report, "process.cpu.utilization", now, 0.5);
    return made_bytes(report, length);
}

static long send_one(world *w, unsigned agent, uint64_t sequence, char status[32]) {
    size_t length;
    uint8_t *bytes = report_bytes(agent, sequence, &length);
    long code = agent_send(&w->d, w->key, bytes, length, status);
    free(bytes);
    return code;
}

/* Asks the file itself: what is really there. */
static int64_t ask_store(dashboard *d, const char *sql) {
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof path, "%s/si.db", d->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

static void a_report_is_stored_and_a_replay_is_told(void **state) {
    world *w = *state;
    char status[32];
    size_t length;
    uint8_t *bytes = report_bytes(1, 1, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    assert_string_equal(status, "stored");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
        assert_string_equal(status, "duplicate");
    }
    free(bytes);
    assert_int_equal(send_one(w, 1, 2, status), 200);
    assert_string_equal(status, "stored");
    assert_int_equal(ask_store(&w->d, "SELECT count(*) FROM ledger"), 2);
    assert_int_equal(ask_store(&w->d, "SELECT count(*) FROM profile"), 2);
    assert_int_equal(ask_store(&w->d, "SELECT sum(count) FROM segment WHERE resolution_ms=0"), 20);
    assert_int_equal(ask_store(&w->d, "SELECT sum(count) FROM error"), 6);
    assert_int_equal(ask_store(&w->d, "SELECT count(*) FROM annotation WHERE kind='deploy'"), 1);
}

static void wrong_keys_are_refused(void **state) {
    world *w = *state;
    char status[32], other[128], url[128];
    size_t length;
    uint8_t *bytes = report_bytes(2, 1, &length);
    int64_t before = ask_store(&w->d, "SELECT count(*) FROM ledger");
    assert_int_equal(agent_send(&w->d, "si_0123456789abcdef_nothing", bytes, length, status), 401);
    assert_int_equal(agent_send(&w->d, "", bytes, length, status), 401);
    snprintf(other, sizeof other, "%s", w->key);
    other[strlen(other) - 1] = other[strlen(other) - 1] == '0' ? '1' : '0'; /* right id, wrong secret */
    assert_int_equal(agent_send(&w->d, other, bytes, length, status), 401);
    dashboard_key(&w->d, "another", "test", other);
    assert_int_equal(agent_send(&w->d, other, bytes, length, status), 403);
    assert_string_equal(status, "wrong_app");
    dashboard_key(&w->d, "shop", "production", other);
    assert_int_equal(agent_send(&w->d, other, bytes, length, status), 403);
    free(bytes);
    snprintf(url, sizeof url, "%s/api/v1/reports", w->d.url);
    reply r = http("POST", url, NULL, "x", 1);
    assert_int_equal(r.status, 401);
    reply_free(&r);
    assert_int_equal(ask_store(&w->d, "SELECT count(*) FROM ledger"), before);
}

static void a_revoked_key_stops_at_once_and_another_goes_on(void **state) {
    world *w = *state;
    char second[128], id[32], path[64], status[32];
    person admin;
    size_t length;
    dashboard_key(&w->d, "shop", "test", second);
    snprintf(id, sizeof id, "%.16s", second + 3);
    snprintf(path, sizeof path, "/keys/%s", id);
    person_sign_in(&admin, &w->d);
    reply r = person_ask(&admin, "DELETE", path, NULL);
    assert_int_equal(r.status, 204);
    reply_free(&r);
    uint8_t *bytes = report_bytes(3, 1, &length);
    assert_int_equal(agent_send(&w->d, second, bytes, length, status), 403);
    assert_string_equal(status, "revoked");
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
}

static void damaged_reports_are_refused_and_nothing_of_them_stays(void **state) {
    world *w = *state;
    char status[32];
    size_t length;
    int64_t before = ask_store(&w->d, "SELECT count(*) FROM ledger");
    uint8_t *bytes = report_bytes(4, 1, &length), *copy = malloc(length + 1);
    for (size_t cut = 0; cut < length; cut += 1 + length / 40) {
        long code = agent_send(&w->d, w->key, bytes, cut, status);
        assert_true(code == 400 || code == 413);
    }
    uint64_t seed = 7;
    for (int i = 0; i < 60; i++) {
        memcpy(copy, bytes, length);
        copy[made_random(&seed) % length] ^= (uint8_t)(1u << made_random(&seed) % 8);
        long code = agent_send(&w->d, w->key, copy, length, status);
        assert_true(code == 400 || code == 413 || code == 200); /* a bit of the frame's header may mean nothing */
    }
    free(copy);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    assert_int_equal(ask_store(&w->d, "SELECT count(*) FROM ledger"),
                     before + 1); /* what came through was this very one */
    free(bytes);
}

static void hostile_bytes_are_refused_quickly(void **state) {
    world *w = *state;
    char status[32], url[128], authorization[200];
    static const uint8_t gigantic[] = {0xDD, 0xFF, 0xFF, 0xFF, 0xFF}; /* an array of four billion, says MessagePack */
    snprintf(url, sizeof url, "%s/api/v1/reports", w->d.url);
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", w->key);
    const char *plain[] = {authorization, NULL}, *gzip[] = {authorization, "Content-Encoding: gzip", NULL};
    reply r = http("POST", url, plain, gigantic, sizeof gigantic);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    r = http("POST", url, gzip, "xx", 2);
    assert_int_equal(r.status, 415);
    reply_free(&r);
    uint8_t *zeros = calloc(1, 16 << 20), *packed = NULL;
    size_t packed_length = 0;
    assert_int_equal(si__report_compress(zeros, 16 << 20, &packed, &packed_length),
                     0); /* small outside, large inside */
    long code = agent_send(&w->d, w->key, packed, packed_length, status);
    assert_true(code == 413 || code == 400);
    free(packed);
    r = http("POST", url, plain, zeros, 9 << 20); /* larger than a body may be: the answer still arrives */
    assert_int_equal(r.status, 413);
    reply_free(&r);
    free(zeros);
}

static void names_from_agents_come_back_as_they_were(void **state) {
    world *w = *state;
    static const char evil[] = "<script>alert(1)</script>'; DROP TABLE profile;--\"\\ \xF0\x9F\x98\x80";
    char status[32];
    person admin;
    size_t length;
    int64_t now = unix_ms();
    made m = {.agent = 5, .sequence = 1, .host = evil, .version = evil, .start_ms = now - 1000, .end_ms = now};
    si__report *report = made_report(&m);
    made_segment(report, evil, now - 60000, 1000, 5);
    made_error(report, evil, evil, now - 60000, 2);
    made_point(report, evil, now, 1);
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
    person_sign_in(&admin, &w->d);
    si__json *json = person_get(&admin, "/segments?app=shop&env=test");
    int found = 0;
    for (const si__json *s = si__json_get(json, "segments")->first; s; s = s->next)
        found += !strcmp(si__json_get_string(s, "name", ""), evil);
    assert_int_equal(found, 1);
    si__json_free(json);
    reply r = person_ask(&admin, "GET", "/errors?app=shop&env=test", NULL);
    assert_null(strstr(r.body, "<script")); /* not even inside JSON */
    reply_free(&r);
}

/* A clock that is ahead is put right; one that is behind is a spool that comes late. */
static void clocks_that_are_ahead_are_put_right(void **state) {
    world *w = *state;
    char status[32];
    size_t length;
    int64_t now = unix_ms(), ahead = now + 86400000 * 400ll;
    made m = {.agent = 6, .sequence = 1, .start_ms = ahead - 60000, .end_ms = ahead};
    si__report *report = made_report(&m);
    made_profile(report, "ahead", ahead - 30000, 5, 50, 1);
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
    int64_t start = ask_store(&w->d, "SELECT start_ms FROM profile WHERE type='ahead'");
    assert_true(start > now - 60000 && start <= unix_ms());
    assert_true(ask_store(&w->d, "SELECT max(clock_ahead_ms) FROM source") > 86400000 * 399ll);
}

/*
 * Kills the server at random moments while two agents send, each repeating a report until it is acknowledged. Whatever
 * was acknowledged is there, once.
 */
static void kill_minus_9_loses_nothing_acknowledged(void **state) {
    world w = {0};
    char status[32];
    uint64_t seed = 0x51;
    unsigned acknowledged = 0;
    (void)state;
    dashboard_make(&w.d);
    dashboard_start(&w.d, NULL);
    dashboard_key(&w.d, "shop", "test", w.key);
    for (unsigned kills = 0; kills < 12; kills++) {
        pid_t killer = fork();
        if (killer == 0) {
            struct timespec wait = {0, (long)(made_random(&seed) % 120) * 1000000 + 1000000};
            nanosleep(&wait, NULL);
            kill(w.d.pid, SIGKILL);
            _exit(0);
        }
        made_random(&seed);
        while (send_one(&w, 9, acknowledged + 1, status) == 200) acknowledged++;
        int end = 0;
        waitpid(killer, &end, 0);
        dashboard_stop(&w.d, SIGKILL);
        dashboard_start(&w.d, NULL);
        assert_true(ask_store(&w.d, "SELECT count(*) FROM ledger") >= acknowledged);
        assert_int_equal(send_one(&w, 9, acknowledged + 1, status),
                         200); /* the one that was cut: stored or duplicate */
        acknowledged++;
    }
    assert_int_equal(ask_store(&w.d, "SELECT count(*) FROM ledger"), acknowledged);
    assert_int_equal(ask_store(&w.d, "SELECT count(*) FROM profile"), acknowledged);
    assert_int_equal(ask_store(&w.d, "SELECT count(*) FROM profile_body"), acknowledged);
    assert_int_equal(ask_store(&w.d, "SELECT sum(n) FROM point WHERE resolution_ms=3600000"), acknowledged);
    assert_int_equal(ask_store(&w.d, "SELECT sum(count) FROM error"), 3 * acknowledged);
    dashboard_remove(&w.d);
}

/* No file may grow: the disk is full, as far as the server can see. Then there is room again. */
static void a_full_disk_is_said_and_survived(void **state) {
    world w = {0};
    char status[32];
    uint64_t sequence = 1;
    person admin;
    (void)state;
    dashboard_make(&w.d);
    w.d.file_limit_bytes = 1 << 20;
    dashboard_start(&w.d, NULL);
    dashboard_key(&w.d, "shop", "test", w.key);
    while (send_one(&w, 7, sequence, status) == 200) sequence++;
    assert_true(sequence > 3);
    assert_int_equal(send_one(&w, 7, sequence, status), 503);
    int64_t stored = ask_store(&w.d, "SELECT count(*) FROM ledger");
    assert_int_equal(stored, sequence - 1); /* what was acknowledged, and nothing else */
    person_visit(&admin, &w.d);             /* people are still answered */
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    assert_int_equal(prlimit(w.d.pid, RLIMIT_FSIZE, &limit, NULL), 0);
    assert_int_equal(send_one(&w, 7, sequence, status), 200);
    assert_string_equal(status, "stored");
    int ended = dashboard_stop(&w.d, SIGTERM);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    w.d.file_limit_bytes = 0;
    dashboard_start(&w.d, NULL); /* checks the file */
    assert_int_equal(ask_store(&w.d, "SELECT count(*) FROM profile"), sequence);
    dashboard_remove(&w.d);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_is_stored_and_a_replay_is_told),
        cmocka_unit_test(wrong_keys_are_refused),
        cmocka_unit_test(a_revoked_key_stops_at_once_and_another_goes_on),
        cmocka_unit_test(damaged_reports_are_refused_and_nothing_of_them_stays),
        cmocka_unit_test(hostile_bytes_are_refused_quickly),
        cmocka_unit_test(names_from_agents_come_back_as_they_were),
        cmocka_unit_test(clocks_that_are_ahead_are_put_right),
        cmocka_unit_test(kill_minus_9_loses_nothing_acknowledged),
        cmocka_unit_test(a_full_disk_is_said_and_survived),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
