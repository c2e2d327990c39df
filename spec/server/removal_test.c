/*
 * An application is deleted: at once for everybody who asks, row by row in the store, also when the server is killed
 * amid it; nobody else loses anything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../dashboard/server/check.h"
#include "../../dashboard/server/db.h"
#include "dashboard.h"
#include "made_report.h"

#define DEADLINE_MS 60000

typedef struct world {
    dashboard d;
    person admin;
    char shop[128], billing[128];
    uint64_t sequence;
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void start(world *w) {
    dashboard_start(&w->d, (const char *const[]){"--no-self", NULL});
    person_sign_in(&w->admin, &w->d);
}

static void make(world *w) {
    *w = (world){.sequence = 1};
    dashboard_make(&w->d);
    start(w);
    dashboard_key(&w->d, "shop", "test", w->shop);
    dashboard_key(&w->d, "billing", "test", w->billing);
}

static int64_t ask(world *w, const char *question) { /* beside the server */
    si__db db;
    char error[300];
    if (si__db_open(&db, w->d.dir, SI__DB_READ, error, sizeof error)) fail_msg("%s", error);
    int64_t value = si__db_int(&db, si__db_prepare(&db, question), -1);
    si__db_close(&db);
    return value;
}

static void wait_until(world *w, const char *question, int64_t wanted) {
    int64_t deadline = unix_ms() + DEADLINE_MS;
    while (ask(w, question) != wanted) {
        if (unix_ms() > deadline) fail_msg("%s: %lld", question, (long long)ask(w, question));
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
}

/* A report with something of everything. */
static long send_some(world *w, const char *app, const char *key, unsigned profiles, char status[32]) {
    char name[40];
    size_t length;
    int64_t t = unix_ms() - 3600000 + (int64_t)w->sequence * 1000;
    made m = {.app = app,
              .agent = 1 + (unsigned)(w->sequence % 3),
              .sequence = w->sequence,
              .start_ms = t,
              .end_ms = t + 900};
    si__report *report = made_report(&m);
    for (unsigned i = 0; i < profiles; i++)
        made_profile(report, i % 2 ? "cpu" : "heap", t, 40, 4000, w->sequence * 100 + i);
    made_segment(report, app, t, 1000000, 10);
    made_error(report, app, "it broke", t, 3);
    made_alert(report, app, SI__ALERT_FIRING, t);
    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "%s.metric.%u", app, i);
        made_point(report, name, t, i);
    }
    w->sequence++;
    uint8_t *bytes = made_bytes(report, &length);
    long code = agent_send(&w->d, key, bytes, length, status);
    free(bytes);
    return code;
}

static void fill(world *w, unsigned reports, unsigned profiles) {
    char status[32];
    for (unsigned i = 0; i < reports; i++) {
        assert_int_equal(send_some(w, "shop", w->shop, profiles, status), 200);
        assert_int_equal(send_some(w, "billing", w->billing, i % 4 ? 0 : 2, status), 200);
    }
    assert_int_equal(send_some(w, "shop", w->shop, 1, status), 200); /* the newest of all profiles goes too */
}

static const char *const rows_of_billing[] = {
    "SELECT count(*) FROM profile WHERE app=(SELECT id FROM app WHERE name='billing')",
    "SELECT sum(total) FROM profile WHERE app=(SELECT id FROM app WHERE name='billing')",
    "SELECT count(*) FROM segment WHERE app=(SELECT id FROM app WHERE name='billing') AND resolution_ms=0",
    "SELECT count(*) FROM error WHERE app=(SELECT id FROM app WHERE name='billing')",
    "SELECT count(*) FROM ledger WHERE app=(SELECT id FROM app WHERE name='billing')",
    "SELECT count(*) FROM alert WHERE app=(SELECT id FROM app WHERE name='billing')",
    "SELECT count(*) FROM point JOIN series ON series.id=series WHERE name LIKE 'billing.%' AND resolution_ms=0",
    "SELECT count(*) FROM node WHERE app=(SELECT id FROM app WHERE name='billing')",
};
enum { KEPT = sizeof rows_of_billing / sizeof rows_of_billing[0] };

/* Whatever names an application names one that is there. */
static void check_nothing_left(world *w) {
    static const char *const left[] = {
        "SELECT count(*) FROM profile WHERE app>0 AND app NOT IN (SELECT id FROM app)",
        "SELECT max(0,count(*)-1) FROM profile WHERE app=0", /* one may keep the number of the newest */
        "SELECT count(*) FROM profile_body WHERE id NOT IN (SELECT id FROM profile)",
        "SELECT count(*) FROM rollup WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM rollup_due WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM segment WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM segment_name WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM error WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM error_group WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM series WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM point WHERE series NOT IN (SELECT id FROM series)",
        "SELECT count(*) FROM alert WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM outbox WHERE alert NOT IN (SELECT id FROM alert)",
        "SELECT count(*) FROM delivery WHERE alert NOT IN (SELECT id FROM alert)",
        "SELECT count(*) FROM source WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM context WHERE source NOT IN (SELECT id FROM source)",
        "SELECT count(*) FROM snapshot WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM snapshot_part WHERE id NOT IN (SELECT id FROM snapshot)",
        "SELECT count(*) FROM annotation WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM source_file WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM app_version WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM profile_type WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM ledger WHERE app NOT IN (SELECT id FROM app)",
        "SELECT count(*) FROM meta WHERE key GLOB 'rules_*:[0-9]*' AND"
        " CAST(substr(key,instr(key,':')+1) AS INTEGER) NOT IN (SELECT id FROM app)",
        /* the sweep leaves the newest, so that its number is not given again: a stack of at most 24 calls */
        "SELECT max(0,count(*)-24) FROM node WHERE app NOT IN (SELECT id FROM app)",
    };
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        if (ask(w, left[i]) != 0) fail_msg("%s: %lld", left[i], (long long)ask(w, left[i]));
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    int findings = si__check(w->d.dir, out);
    fclose(out);
    if (findings) fail_msg("%s", text);
    free(text);
}

static int has_history(world *w, int64_t app) {
    char path[200], start_of[32];
    int found = 0;
    snprintf(path, sizeof path, "%s/rules", w->d.dir);
    snprintf(start_of, sizeof start_of, "%lld-", (long long)app);
    DIR *dir = opendir(path);
    for (struct dirent *file; dir && (file = readdir(dir)) != NULL;)
        found |= !strncmp(file->d_name, start_of, strlen(start_of));
    if (dir) closedir(dir);
    return found;
}

static void expect(world *w, const char *method, const char *path, const char *body, long wanted) {
    reply r = person_ask(&w->admin, method, path, body);
    if (r.status != wanted) fail_msg("%s %s: %ld %s", method, path, r.status, r.body);
    reply_free(&r);
}

static void a_deleted_application_is_gone_at_once_and_its_rows_follow(void **state) {
    world w;
    char status[32], link[100] = "/snapshots/", reading[128];
    int64_t kept[KEPT];
    (void)state;
    make(&w);
    fill(&w, 40, 4);
    static const char file[] = "int main(void) { return 0; }";
    reply r = key_ask(&w.d, w.shop, "POST", "/source-files?version=1.0&path=main.c", file, strlen(file));
    assert_true(r.status == 200 || r.status == 201);
    reply_free(&r);
    expect(&w, "POST", "/annotations", "{\"text\":\"a mark\",\"app\":\"shop\",\"env\":\"test\"}", 201);
    r = person_ask(&w.admin, "POST", "/snapshots?app=shop&env=test&type=cpu&from=0", "{\"title\":\"t\",\"path\":\"\"}");
    assert_int_equal(r.status, 201);
    si__json *json = reply_json(&r);
    strncat(link, si__json_get_string(json, "id", ""), sizeof link - strlen(link) - 1);
    si__json_free(json);
    reply_free(&r);
    expect(&w, "GET", link, NULL, 200);
    const char *arguments[] = {"key", "--data", w.d.dir, "--app", "shop", "--env", "test", "--read", NULL};
    assert_int_equal(dashboard_run(arguments, reading, sizeof reading), 0);
    reading[strcspn(reading, "\n")] = '\0';
    for (int i = 0; i < KEPT; i++) kept[i] = ask(&w, rows_of_billing[i]);
    int64_t shop = ask(&w, "SELECT id FROM app WHERE name='shop'"), newest = ask(&w, "SELECT max(id) FROM profile");
    wait_until(&w, "SELECT count(*) FROM meta WHERE key LIKE 'rules_loaded:%'", 2);

    expect(&w, "DELETE", "/apps?app=shop&env=test", NULL, 400); /* unless the name is given again */
    expect(&w, "DELETE", "/apps?app=shop&env=test&confirm=Shop", NULL, 400);
    expect(&w, "DELETE", "/apps?app=shop&env=prod&confirm=shop", NULL, 404);
    expect(&w, "GET", link, NULL, 200);
    expect(&w, "DELETE", "/apps?app=shop&env=test&confirm=shop", NULL, 204);
    expect(&w, "DELETE", "/apps?app=shop&env=test&confirm=shop", NULL, 404);
    expect(&w, "GET", link, NULL, 404);
    expect(&w, "GET", "/overview?app=shop&env=test", NULL, 404);
    assert_int_equal(send_some(&w, "shop", w.shop, 1, status), 410);
    assert_string_equal(status, "app_deleted");
    r = key_ask(&w.d, reading, "GET", "/overview", NULL, 0);
    assert_int_equal(r.status, 401);
    reply_free(&r);
    assert_int_equal(send_some(&w, "billing", w.billing, 0, status), 200); /* others go on */
    assert_int_equal(ask(&w, "SELECT count(*) FROM audit WHERE action='application deleted' AND target='shop/test'"),
                     1);

    wait_until(&w, "SELECT count(*) FROM app_gone WHERE swept_ms IS NOT NULL", 1);
    check_nothing_left(&w);
    static const int64_t more[KEPT] = {0, 0, 1, 1, 1, 1, 30, 0}; /* by the one that was sent since */
    for (int i = 0; i < KEPT; i++)
        if (ask(&w, rows_of_billing[i]) != kept[i] + more[i])
            fail_msg("%s: %lld, was %lld", rows_of_billing[i], (long long)ask(&w, rows_of_billing[i]),
                     (long long)kept[i]);

    dashboard_key(&w.d, "shop", "test", w.shop); /* the name is free; nothing of the old one comes back */
    assert_int_equal(send_some(&w, "shop", w.shop, 1, status), 200);
    assert_true(ask(&w, "SELECT id FROM app WHERE name='shop'") > shop);
    assert_true(ask(&w, "SELECT max(id) FROM profile") > newest);
    assert_int_equal(ask(&w, "SELECT count(*) FROM profile WHERE app=(SELECT id FROM app WHERE name='shop')"), 1);
    assert_int_equal(dashboard_stop(&w.d, SIGTERM), 0); /* now histories are written */
    assert_false(has_history(&w, shop));
    check_nothing_left(&w);
    dashboard_remove(&w.d);
}

static void a_server_that_is_killed_amid_it_goes_on(void **state) {
    world w;
    int64_t kept[KEPT];
    char path[200];
    (void)state;
    make(&w);
    fill(&w, 60, 8);
    for (int i = 0; i < KEPT; i++) kept[i] = ask(&w, rows_of_billing[i]);
    int64_t shop = ask(&w, "SELECT id FROM app WHERE name='shop'");
    snprintf(path, sizeof path, "%s/rules", w.d.dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/rules/%lld-01234567.history", w.d.dir, (long long)shop);
    FILE *file = fopen(path, "w"); /* as one that was written just before the end */
    assert_non_null(file);
    fclose(file);
    expect(&w, "DELETE", "/apps?app=shop&env=test&confirm=shop", NULL, 204);
    for (int kills = 0; kills < 4; kills++) {
        dashboard_stop(&w.d, SIGKILL);
        start(&w);
        nanosleep(&(struct timespec){0, kills * 15000000}, NULL); /* other moments; whichever, it is whole in the end */
    }
    wait_until(&w, "SELECT count(*) FROM app_gone WHERE swept_ms IS NOT NULL", 1);
    check_nothing_left(&w);
    for (int i = 0; i < KEPT; i++) assert_int_equal(ask(&w, rows_of_billing[i]), kept[i]);
    int64_t deadline = unix_ms() + DEADLINE_MS;
    while (has_history(&w, shop) && unix_ms() < deadline) nanosleep(&(struct timespec){0, 20000000}, NULL);
    assert_false(has_history(&w, shop));
    dashboard_remove(&w.d);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deleted_application_is_gone_at_once_and_its_rows_follow),
        cmocka_unit_test(a_server_that_is_killed_amid_it_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
