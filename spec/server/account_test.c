/* Accounts, links, guessing, requests from other pages, paths, secrets, the command line. Who may do what on which
 * route is in route_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dashboard.h"

typedef struct world {
    dashboard d;
    person admin, editor, viewer, nobody;
} world;

static const char password[] = "correct horse battery";

/* A POST or DELETE or GET; the status alone. */
static long ask(person *p, const char *method, const char *path, const char *body) {
    reply r = person_ask(p, method, path, body);
    long status = r.status;
    reply_free(&r);
    return status;
}

/* Invites somebody with a role, who accepts. */
static void invite(world *w, person *p, const char *email, const char *role) {
    char body[400], url[256];
    snprintf(body, sizeof body, "{\"email\":\"%s\",\"role\":\"%s\"}", email, role);
    reply r = person_ask(&w->admin, "POST", "/users", body);
    assert_int_equal(r.status, 201);
    si__json *json = reply_json(&r);
    snprintf(url, sizeof url, "%s", si__json_get_string(json, "invite_url", ""));
    si__json_free(json);
    reply_free(&r);
    assert_int_equal(strncmp(url, "/invite?token=", 14), 0);
    person_visit(p, &w->d);
    snprintf(body, sizeof body, "{\"token\":\"%s\",\"name\":\"%s\",\"password\":\"%s\"}", url + 14, role, password);
    assert_int_equal(ask(p, "POST", "/invite", body), 200);
    person second;
    person_visit(&second, &w->d);
    assert_int_equal(ask(&second, "POST", "/invite", body), 403); /* once */
}

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    char token[65], body[400], key[128];
    dashboard_make(&w->d);
    dashboard_start(&w->d, NULL);
    dashboard_key(&w->d, "shop", "test", key);
    dashboard_said(&w->d, "/setup?token=", token, sizeof token);
    person_visit(&w->admin, &w->d);
    snprintf(body, sizeof body,
             "{\"token\":\"%s\",\"email\":\"root@example.org\",\"name\":\"Root\",\"password\":\"%s\"}", token,
             password);
    assert_int_equal(ask(&w->admin, "POST", "/setup", body), 200);
    invite(w, &w->editor, "editor@example.org", "editor");
    invite(w, &w->viewer, "viewer@example.org", "viewer");
    person_visit(&w->nobody, &w->d);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    dashboard_remove(&w->d);
    free(w);
    return 0;
}

/* ---- Roles ---- */

static void roles_change_at_once_and_one_admin_remains(void **state) {
    world *w = *state;
    person other;
    invite(w, &other, "other@example.org", "admin");
    si__json *users = person_get(&w->admin, "/users");
    int64_t other_id = 0, root_id = 0;
    for (const si__json *u = si__json_get(users, "users")->first; u; u = u->next) {
        if (!strcmp(si__json_get_string(u, "email", ""), "other@example.org"))
            other_id = si__json_get_integer(u, "id", 0);
        if (!strcmp(si__json_get_string(u, "email", ""), "root@example.org"))
            root_id = si__json_get_integer(u, "id", 0);
    }
    si__json_free(users);
    char path[64];
    snprintf(path, sizeof path, "/users/%lld", (long long)other_id);
    assert_int_equal(ask(&other, "GET", "/audit", NULL), 200);
    assert_int_equal(ask(&w->admin, "POST", path, "{\"role\":\"viewer\"}"), 200);
    assert_int_equal(ask(&other, "GET", "/audit", NULL), 403);
    assert_int_equal(ask(&w->admin, "POST", path, "{\"disabled\":true}"), 200);
    assert_int_equal(ask(&other, "GET", "/apps", NULL), 401); /* the session has ended */
    char body[200];
    snprintf(body, sizeof body, "{\"email\":\"other@example.org\",\"password\":\"%s\"}", password);
    person_visit(&other, &w->d);
    assert_int_equal(ask(&other, "POST", "/sign-in", body), 401);
    snprintf(path, sizeof path, "/users/%lld", (long long)root_id);
    assert_int_equal(ask(&w->admin, "POST", path, "{\"role\":\"viewer\"}"), 409);
    assert_int_equal(ask(&w->admin, "POST", path, "{\"role\":\"emperor\"}"), 400);
    assert_int_equal(ask(&w->admin, "GET", "/users", NULL), 200);
}

/* ---- Sessions ---- */

static void a_session_is_new_at_each_sign_in_and_ends_at_sign_out(void **state) {
    world *w = *state;
    person p;
    char body[200], planted[256], first[256];
    snprintf(body, sizeof body, "{\"email\":\"VIEWER@example.org\",\"password\":\"%s\"}", password);
    person_visit(&p, &w->d);
    snprintf(p.cookie, sizeof p.cookie, "Cookie: si_session=%064d", 7); /* somebody planted it */
    snprintf(planted, sizeof planted, "%s", p.cookie);
    assert_int_equal(ask(&p, "POST", "/sign-in", body), 200);
    assert_string_not_equal(p.cookie, planted);
    snprintf(first, sizeof first, "%s", p.cookie);
    assert_int_equal(ask(&p, "POST", "/sign-in", body), 200); /* again, in the same browser */
    assert_string_not_equal(p.cookie, first);
    person thief = p;
    snprintf(thief.cookie, sizeof thief.cookie, "%s", first);
    assert_int_equal(ask(&thief, "GET", "/apps", NULL), 401);
    thief = p;
    assert_int_equal(ask(&p, "GET", "/apps", NULL), 200);
    assert_int_equal(ask(&p, "POST", "/sign-out", "{}"), 204);
    assert_int_equal(ask(&thief, "GET", "/apps", NULL), 401);
    reply r = person_ask(&w->viewer, "GET", "/session", NULL);
    assert_null(strstr(r.body, "password"));
    reply_free(&r);
}

static void cookies_cannot_be_read_by_scripts(void **state) {
    world *w = *state;
    person p;
    char body[200], cookie[300];
    person_visit(&p, &w->d);
    snprintf(body, sizeof body, "{\"email\":\"viewer@example.org\",\"password\":\"%s\"}", password);
    reply r = person_ask(&p, "POST", "/sign-in", body);
    reply_header(&r, "Set-Cookie", cookie, sizeof cookie);
    assert_non_null(strstr(cookie, "HttpOnly"));
    assert_non_null(strstr(cookie, "SameSite=Lax"));
    reply_free(&r);
}

static void requests_from_other_pages_are_refused(void **state) {
    world *w = *state;
    char url[128], csrf[120];
    snprintf(url, sizeof url, "%s/api/v1/keys", w->d.url);
    snprintf(csrf, sizeof csrf, "X-CSRF-Token: %s", w->admin.csrf);
    const char body[] = "{\"app\":\"a\",\"environment\":\"b\"}";
    char own[120];
    snprintf(own, sizeof own, "Origin: %s", w->d.url);
    const char *others[][5] = {
        {w->admin.cookie, csrf, NULL},                                 /* no Origin */
        {w->admin.cookie, csrf, "Origin: https://evil.example", NULL}, /* another page */
        {w->admin.cookie, csrf, "Origin: null", NULL},                 /* a sandboxed frame */
        {w->admin.cookie, own, NULL},                                  /* no token */
        {w->admin.cookie, own, "X-CSRF-Token: 0000", NULL},            /* a guessed one */
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        reply r = http("POST", url, others[i], body, strlen(body));
        assert_int_equal(r.status, 403);
        reply_free(&r);
    }
    char foreign[120];
    snprintf(foreign, sizeof foreign, "X-CSRF-Token: %s", w->viewer.csrf); /* of another session */
    const char *mixed[] = {w->admin.cookie, own, foreign, NULL};
    reply r = http("POST", url, mixed, body, strlen(body));
    assert_int_equal(r.status, 403);
    reply_free(&r);
    const char *right[] = {w->admin.cookie, own, csrf, NULL};
    r = http("POST", url, right, body, strlen(body));
    assert_int_equal(r.status, 201);
    assert_non_null(strstr(r.body, "\"key\":\"si_"));
    reply_free(&r);
    snprintf(url, sizeof url, "%s/api/v1/sign-in", w->d.url); /* signing somebody in from elsewhere is refused too */
    r = http("POST", url, (const char *[]){"Origin: https://evil.example", NULL}, "{}", 2);
    assert_int_equal(r.status, 403);
    reply_free(&r);
}

/* ---- Guessing ---- */

static void guessing_is_slowed_down_and_says_nothing(void **state) {
    world *w = *state;
    person p;
    person_visit(&p, &w->d);
    reply known =
        person_ask(&p, "POST", "/sign-in", "{\"email\":\"viewer@example.org\",\"password\":\"wrong password\"}");
    reply unknown =
        person_ask(&p, "POST", "/sign-in", "{\"email\":\"nobody@example.org\",\"password\":\"wrong password\"}");
    assert_int_equal(known.status, 401);
    assert_int_equal(unknown.status, 401);
    assert_string_equal(known.body, unknown.body);
    reply_free(&known);
    reply_free(&unknown);
    long status = 401;
    for (int i = 0; i < 12 && status == 401; i++)
        status = ask(&p, "POST", "/sign-in", "{\"email\":\"guessed@example.org\",\"password\":\"wrong password\"}");
    assert_int_equal(status, 429);
    reply r = person_ask(&p, "POST", "/sign-in", "{\"email\":\"guessed@example.org\",\"password\":\"wrong password\"}");
    char wait[16];
    assert_int_equal(r.status, 429);
    assert_true(atoi(reply_header(&r, "Retry-After", wait, sizeof wait)) >= 1);
    reply_free(&r);
    assert_int_equal(
        ask(&p, "POST", "/setup", "{\"token\":\"0\",\"email\":\"a@b.c\",\"name\":\"x\",\"password\":\"0123456789\"}"),
        403);
}

static void weak_input_is_named(void **state) {
    world *w = *state;
    static const char *const bodies[][2] = {
        {"{\"email\":\"no address\",\"role\":\"viewer\"}", "email"},
        {"{\"email\":\"a@b.c\",\"role\":\"god\"}", "role"},
        {"{\"email\":\"a@b.c", "line 1"},
        {"[]", "object"},
    };
    for (size_t i = 0; i < 4; i++) {
        reply r = person_ask(&w->admin, "POST", "/users", bodies[i][0]);
        assert_int_equal(r.status, 400);
        assert_non_null(strstr(r.body, bodies[i][1]));
        reply_free(&r);
    }
    assert_int_equal(ask(&w->admin, "POST", "/keys", "{\"app\":\"a/b\",\"environment\":\"x\"}"), 400);
    assert_int_equal(ask(&w->admin, "POST", "/users", "{\"email\":\"viewer@example.org\",\"role\":\"viewer\"}"), 409);
    assert_int_equal(ask(&w->viewer, "GET", "/profiles?app=shop&env=test&from=5&to=4", NULL), 400);
    assert_int_equal(ask(&w->viewer, "GET", "/profiles?app=shop&env=test&from=x", NULL), 400);
    assert_int_equal(ask(&w->viewer, "GET", "/profiles?app=nothing&env=test", NULL), 404);
}

/* ---- Parameters and paths ---- */

static void paths_lead_nowhere_but_to_the_page(void **state) {
    world *w = *state;
    static const char *const paths[] = {"/../../../../etc/passwd",
                                        "/assets/../../etc/passwd",
                                        "/assets/%2e%2e/%2e%2e/etc/passwd",
                                        "/a/shop/test/overview",
                                        "//etc/passwd",
                                        "/si.db",
                                        "/.%00/x"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char url[200], header[400];
        snprintf(url, sizeof url, "%s%s", w->d.url, paths[i]);
        reply r = http("GET", url, NULL, NULL, 0);
        assert_true(r.status == 200 || r.status == 404 || r.status == 400);
        assert_null(strstr(r.body, "root:"));
        assert_null(strstr(r.body, "SQLite format"));
        if (r.status != 400) {
            assert_non_null(strstr(r.body, "<!doctype html>"));
            assert_non_null(
                strstr(reply_header(&r, "Content-Security-Policy", header, sizeof header), "default-src 'none'"));
            assert_null(strstr(header, "unsafe"));
            assert_string_equal(reply_header(&r, "X-Content-Type-Options", header, sizeof header), "nosniff");
        }
        reply_free(&r);
    }
    char url[200], etag[64], condition[100];
    snprintf(url, sizeof url, "%s/", w->d.url);
    reply r = http("GET", url, NULL, NULL, 0);
    reply_header(&r, "ETag", etag, sizeof etag);
    reply_free(&r);
    snprintf(condition, sizeof condition, "If-None-Match: %s", etag);
    r = http("GET", url, (const char *[]){condition, NULL}, NULL, 0);
    assert_int_equal(r.status, 304);
    reply_free(&r);
    snprintf(url, sizeof url, "%s/api/v1/nothing", w->d.url);
    r = http("GET", url, NULL, NULL, 0);
    assert_int_equal(r.status, 404);
    assert_non_null(strstr(r.body, "not_found"));
    reply_free(&r);
    snprintf(url, sizeof url, "%s/api/v1/apps", w->d.url);
    r = http("PUT", url, NULL, "{}", 2);
    assert_int_equal(r.status, 405);
    reply_free(&r);
}

/* ---- Keys and the audit log ---- */

static void secrets_are_in_no_file_and_the_log_grows(void **state) {
    world *w = *state;
    char path[100];
    reply r =
        person_ask(&w->admin, "POST", "/keys", "{\"app\":\"billing\",\"environment\":\"live\",\"label\":\"first\"}");
    assert_int_equal(r.status, 201);
    si__json *json = reply_json(&r);
    const char *key = si__json_get_string(json, "key", ""), *secret = strrchr(key, '_') + 1;
    assert_int_equal(strlen(secret), 64);
    static const char *const files[] = {"si.db", "si.db-wal"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", w->d.dir, files[i]);
        struct stat info;
        FILE *file = fopen(path, "r");
        if (!file) continue;
        assert_int_equal(fstat(fileno(file), &info), 0);
        assert_int_equal(info.st_mode & 077, 0);
        char *all = malloc((size_t)info.st_size);
        assert_int_equal(fread(all, 1, (size_t)info.st_size, file), info.st_size);
        assert_null(memmem(all, (size_t)info.st_size, secret, 64));
        assert_null(memmem(all, (size_t)info.st_size, w->admin.cookie + 19, 64));
        assert_null(memmem(all, (size_t)info.st_size, password, sizeof password - 1));
        free(all);
        fclose(file);
    }
    si__json_free(json);
    reply_free(&r);
    r = person_ask(&w->admin, "GET", "/keys", NULL);
    assert_null(strstr(r.body, "\"key\":"));
    assert_non_null(strstr(r.body, "billing"));
    reply_free(&r);
    r = person_ask(&w->admin, "GET", "/audit", NULL);
    assert_non_null(strstr(r.body, "agent key made"));
    assert_non_null(strstr(r.body, "set-up"));
    assert_non_null(strstr(r.body, "root@example.org"));
    reply_free(&r);
}

static void own_health_is_for_scrapers_on_this_machine(void **state) {
    world *w = *state;
    char url[128];
    snprintf(url, sizeof url, "%s/metrics", w->d.url);
    reply r = http("GET", url, NULL, NULL, 0);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\nsi_dashboard_requests_total "));
    reply_free(&r);
}

/* ---- The command line ---- */

static void bad_options_are_named(void **state) {
    static const struct {
        const char *arguments[6];
        const char *named;
    } wrong[] = {
        {{"--listen", "127.0.0.1"}, "--listen"},
        {{"--listen", "example.org:80"}, "--listen"},
        {{"--listen", "0.0.0.0:0"}, "--behind-tls-proxy"},
        {{"--listen", "127.0.0.1:99999"}, "--listen"},
        {{"--listen"}, "--listen"},
        {{"--retention-days", "-3"}, "--retention-days"},
        {{"--retention-days", "99999"}, "--retention-days"},
        {{"--max-bytes", "10X"}, "--max-bytes"},
        {{"--public-url", "ftp://x"}, "--public-url"},
        {{"--wrong"}, "--wrong"},
        {{"wrong"}, "wrong"},
        {{"key", "--data", "/tmp"}, "--app"},
        {{"key", "--data", "/tmp", "--app", "a"}, "--env"},
        {{"key", "--listen", "127.0.0.1:0"}, "--listen"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char said[2000];
        assert_int_equal(dashboard_run(wrong[i].arguments, said, sizeof said), 2);
        assert_non_null(strstr(said, wrong[i].named));
    }
    char said[4000];
    assert_int_equal(dashboard_run((const char *[]){"--help", NULL}, said, sizeof said), 0);
    assert_non_null(strstr(said, "--retention-days"));
    assert_int_equal(dashboard_run((const char *[]){"--version", NULL}, said, sizeof said), 0);
    assert_non_null(strstr(said, "si-dashboard 0."));
}

static void a_directory_has_one_server_and_a_damaged_store_is_refused(void **state) {
    world *w = *state;
    char said[2000], path[100];
    const char *again[] = {"--listen", "127.0.0.1:0", "--data", w->d.dir, "--no-self", NULL};
    assert_int_equal(dashboard_run(again, said, sizeof said), 1);
    assert_non_null(strstr(said, "in use"));
    dashboard d;
    dashboard_make(&d);
    snprintf(path, sizeof path, "%s/si.db", d.dir);
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 3000; i++) fputs("not a store", file);
    fclose(file);
    const char *damaged[] = {"--listen", "127.0.0.1:0", "--data", d.dir, "--no-self", NULL};
    assert_int_equal(dashboard_run(damaged, said, sizeof said), 1);
    assert_non_null(strstr(said, "si.db"));
    dashboard_remove(&d);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_change_at_once_and_one_admin_remains),
        cmocka_unit_test(a_session_is_new_at_each_sign_in_and_ends_at_sign_out),
        cmocka_unit_test(cookies_cannot_be_read_by_scripts),
        cmocka_unit_test(requests_from_other_pages_are_refused),
        cmocka_unit_test(weak_input_is_named),
        cmocka_unit_test(paths_lead_nowhere_but_to_the_page),
        cmocka_unit_test(secrets_are_in_no_file_and_the_log_grows),
        cmocka_unit_test(own_health_is_for_scrapers_on_this_machine),
        cmocka_unit_test(guessing_is_slowed_down_and_says_nothing),
        cmocka_unit_test(bad_options_are_named),
        cmocka_unit_test(a_directory_has_one_server_and_a_damaged_store_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
