/* Copies of a store: made while reports come, put back, checked; and a store of version 1 brought forward. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <si/si.h>
#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../dashboard/server/schema.h"
#include "dashboard.h"
#include "made_report.h"

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t ask_file(const char *path, const char *question) {
    sqlite3 *sql = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t value = -1;
    assert_int_equal(sqlite3_open_v2(path, &sql, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(sql, 10000);
    if (sqlite3_prepare_v2(sql, question, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s", sqlite3_errmsg(sql));
    if (sqlite3_step(statement) == SQLITE_ROW) value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(sql);
    return value;
}

static int64_t ask(const dashboard *d, const char *question) {
    char path[100];
    snprintf(path, sizeof path, "%s/si.db", d->dir);
    return ask_file(path, question);
}

static void send_one(dashboard *d, const char *key, uint64_t sequence) {
    char status[32];
    size_t length;
    int64_t t = unix_ms() - 60000;
    made m = {.agent = 1, .sequence = sequence, .start_ms = t, .end_ms = t + 2000};
    si__report *report = made_report(&m);
    made_profile(report, "cpu", t, 20, 300, sequence);
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(d, key, bytes, length, status), 200);
    free(bytes);
}

/* Runs a subcommand on a store; what it says in out. */
static int run(const char *command, const char *file, const dashboard *d, char out[4096]) {
    const char *with[] = {command, file, "--data", d->dir, NULL}, *without[] = {command, "--data", d->dir, NULL};
    return dashboard_run(file ? with : without, out, 4096);
}

typedef struct sender {
    dashboard *d;
    const char *key;
    atomic_int stop;
    uint64_t sent;
} sender;

static void *keep_sending(void *arg) {
    sender *s = arg;
    while (!atomic_load(&s->stop)) send_one(s->d, s->key, 1000 + ++s->sent);
    return NULL;
}

static void a_copy_is_whole_while_reports_come_and_can_be_put_back(void **state) {
    dashboard d, other;
    char key[128], out[4096], file[120], again[120];
    (void)state;
    dashboard_make(&d);
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    dashboard_key(&d, "shop", "test", key);
    for (uint64_t i = 1; i <= 20; i++) send_one(&d, key, i);
    snprintf(file, sizeof file, "%s/copy.db", d.dir);
    snprintf(again, sizeof again, "%s/none/copy.db", d.dir);
    sender s = {.d = &d, .key = key};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, keep_sending, &s), 0);
    int failed = run("backup", file, &d, out);
    atomic_store(&s.stop, 1);
    pthread_join(thread, NULL);
    if (failed) fail_msg("%s", out);
    int64_t copied = ask_file(file, "SELECT count(*) FROM profile");
    assert_true(copied >= 20 && copied <= 20 + (int64_t)s.sent);
    assert_int_equal(ask_file(file, "SELECT count(*) FROM ledger"), copied); /* of one moment */
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(run("backup", file, &d, out), 1); /* takes nobody's place */
    assert_non_null(strstr(out, "is there already"));
    assert_int_equal(run("backup", again, &d, out), 1);
    assert_int_equal(run("check", NULL, &d, out), 0); /* beside the running server */
    assert_non_null(strstr(out, "all is well"));
    assert_int_equal(run("restore", file, &d, out), 1); /* not beside it */
    assert_non_null(strstr(out, "stop it first"));

    dashboard_make(&other); /* the copy elsewhere */
    assert_int_equal(run("restore", file, &other, out), 0);
    assert_int_equal(run("check", NULL, &other, out), 0);
    assert_int_equal(ask(&other, "SELECT count(*) FROM profile"), copied);
    dashboard_start(&other, (const char *const[]){"--no-self", NULL});
    send_one(&other, key, 5); /* the ledger came along: stored before */
    assert_int_equal(ask(&other, "SELECT count(*) FROM profile"), copied);
    send_one(&other, key, 900000);
    assert_int_equal(ask(&other, "SELECT count(*) FROM profile"), copied + 1);
    dashboard_stop(&other, SIGTERM);
    assert_int_equal(run("restore", file, &other, out), 0); /* over another one, which is kept */
    assert_int_equal(ask(&other, "SELECT count(*) FROM profile"), copied);
    snprintf(again, sizeof again, "%s/si.db.before-restore", other.dir);
    assert_int_equal(ask_file(again, "SELECT count(*) FROM profile"), copied + 1);
    dashboard_remove(&other);
    dashboard_remove(&d);
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void change(const dashboard *d, const char *statement) {
    char path[100], *error = NULL;
    sqlite3 *sql;
    snprintf(path, sizeof path, "%s/si.db", d->dir);
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    if (sqlite3_exec(sql, statement, NULL, NULL, &error) != SQLITE_OK) fail_msg("%s: %s", statement, error);
    sqlite3_close(sql);
}

static void what_is_no_sound_store_is_not_put_back(void **state) {
    dashboard d;
    char key[128], out[4096], file[120];
    (void)state;
    dashboard_make(&d);
    dashboard_start(&d, (const char *const[]){"--no-self", NULL});
    dashboard_key(&d, "shop", "test", key);
    send_one(&d, key, 1);
    dashboard_stop(&d, SIGTERM);
    snprintf(file, sizeof file, "%s/strange", d.dir);
    write_file(file,
               "this is no database, and long enough to look at: it has more than a hundred bytes, hasn't it? Yes.");
    assert_int_equal(run("restore", file, &d, out), 1);
    unlink(file);
    assert_int_equal(run("restore", file, &d, out), 1); /* not there */
    sqlite3 *sql;
    assert_int_equal(sqlite3_open(file, &sql), SQLITE_OK);
    sqlite3_exec(sql, "CREATE TABLE recipe(name); PRAGMA user_version=2", NULL, NULL, NULL);
    sqlite3_close(sql);
    assert_int_equal(run("restore", file, &d, out), 1);
    assert_non_null(strstr(out, "not a store"));
    unlink(file);
    assert_int_equal(run("backup", file, &d, out), 0);
    assert_int_equal(sqlite3_open(file, &sql), SQLITE_OK);
    sqlite3_exec(sql, "PRAGMA user_version=9999", NULL, NULL, NULL);
    sqlite3_close(sql);
    assert_int_equal(run("restore", file, &d, out), 1);
    assert_non_null(strstr(out, "newer"));
    assert_int_equal(ask(&d, "SELECT count(*) FROM profile"), 1); /* nothing was changed */
    dashboard_remove(&d);
}

static void a_check_finds_what_is_wrong(void **state) {
    static const struct {
        const char *damage, *said;
    } damages[] = {
        {"UPDATE profile SET total=total+1 WHERE id=2", "does not add up to its total, profile: 2"},
        {"UPDATE profile_body SET body=x'0102' WHERE id=3", "cannot be read or names calls that are gone, profile: 3"},
        {"DELETE FROM profile_body WHERE id=4", "profile: 4"},
        {"DELETE FROM frame WHERE id=(SELECT min(frame) FROM node)", "a call without its frame"},
        {"DELETE FROM node WHERE id=1", "a call without its caller"},
        {"INSERT INTO profile_body VALUES(77777,x'02')", "bodies without a profile: 1"},
        {"UPDATE ledger SET id=x'01'", "damaged ids in the ledger: 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        dashboard d;
        char key[128], out[4096];
        dashboard_make(&d);
        dashboard_start(&d, (const char *const[]){"--no-self", NULL});
        dashboard_key(&d, "shop", "test", key);
        for (uint64_t n = 1; n <= (i == 6 ? 1 : 5); n++) send_one(&d, key, n);
        dashboard_stop(&d, SIGTERM);
        assert_int_equal(run("check", NULL, &d, out), 0);
        change(&d, damages[i].damage);
        assert_int_equal(run("check", NULL, &d, out), 1);
        if (!strstr(out, damages[i].said)) fail_msg("%s: %s", damages[i].damage, out);
        dashboard_remove(&d);
    }
}

/* ---- Version 1 ---- */

static char *read_whole(const char *path) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *text = calloc((size_t)length + 1, 1);
    assert_int_equal(fread(text, 1, (size_t)length, file), length);
    fclose(file);
    return text;
}

static double tree_total(person *admin, const char *type, int64_t from, int64_t to) {
    char path[200];
    snprintf(path, sizeof path, "/profiles/tree?app=shop&env=test&type=%s&from=%lld&to=%lld", type, (long long)from,
             (long long)to);
    si__json *tree = person_get(admin, path);
    double total = si__json_get_number(tree, "total", -1), nodes = 0;
    for (const si__json *n = si__json_get(tree, "nodes")->first; n; n = n->next)
        nodes += (double)n->first->next->next->integer;
    assert_true(nodes == total);
    si__json_free(tree);
    return total;
}

static void a_store_of_version_1_is_brought_forward(void **state) {
    const int64_t from = 1790000400000, to = from + 7200000; /* what is in it */
    dashboard d;
    person admin;
    char out[4096], kept[120], *sql = read_whole(SI_SOURCE_DIR "/spec/server/store_v1.sql");
    (void)state;
    dashboard_make(&d);
    mkdir(d.dir, 0700);
    change(&d, sql);
    free(sql);
    assert_int_equal(ask(&d, "PRAGMA user_version"), 1);
    assert_int_equal(run("sign-in-link", NULL, &d, out), 1); /* an old server may be running on it */
    assert_non_null(strstr(out, "of version 1"));
    assert_int_equal(ask(&d, "PRAGMA user_version"), 1);
    dashboard_start(&d, (const char *const[]){"--no-self", "--retention-days", "3650", "--rollup-after", "1", NULL});
    assert_int_equal(ask(&d, "PRAGMA user_version"), si__schema_version());
    snprintf(kept, sizeof kept, "%s/si.db.version-1", d.dir);
    assert_int_equal(ask_file(kept, "PRAGMA user_version"), 1);
    assert_int_equal(ask_file(kept, "SELECT count(*) FROM profile"), 49);
    person_sign_in(&admin, &d);
    for (int round = 0; round < 2; round++) { /* at once, and when all is rolled up again */
        assert_true(tree_total(&admin, "cpu", from, to) == 2030000000);
        assert_true(tree_total(&admin, "cpu", from - 86400000, to + 86400000) == 2030000000);
        double heap = tree_total(&admin, "heap", from, to); /* 12 profiles of two sources each: an average */
        assert_true(heap > 65833333 - 10 && heap < 65833333 + 10);
        int64_t deadline = unix_ms() + 30000;
        while (ask(&d, "SELECT count(*) FROM rollup_due") > 0 && unix_ms() < deadline)
            nanosleep(&(struct timespec){0, 20000000}, NULL);
        assert_int_equal(ask(&d, "SELECT count(*) FROM rollup_due"), 0);
    }
    si__json *points = person_get(&admin, "/profiles?app=shop&env=test&from=1790000400000&to=1790007600000");
    assert_int_equal(si__json_get_integer(points, "profiles", 0), 25);
    si__json_free(points);
    si__json *apps = person_get(&admin, "/apps");
    assert_non_null(apps);
    si__json_free(apps);
    assert_int_equal(run("check", NULL, &d, out), 0);
    assert_int_equal(dashboard_stop(&d, SIGTERM), 0);
    dashboard_start(
        &d, (const char *const[]){"--no-self", "--retention-days", "3650", NULL}); /* and again: nothing to do */
    dashboard_remove(&d);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_is_whole_while_reports_come_and_can_be_put_back),
        cmocka_unit_test(what_is_no_sound_store_is_not_put_back),
        cmocka_unit_test(a_check_finds_what_is_wrong),
        cmocka_unit_test(a_store_of_version_1_is_brought_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
