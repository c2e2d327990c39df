/*
 * Every route with everybody who may come: people of each role, agent keys, reading keys, other pages. The table here
 * is the contract; a route that is missing in it fails the test, and so does one that the API's description lacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../dashboard/server/route.h"
#include "dashboard.h"

typedef struct row {
    const char *method, *path;
    si__role role;
    int reading_key; /* takes one */
} row;

#define PUBLIC SI__ROLE_PUBLIC
#define VIEWER SI__ROLE_VIEWER
#define EDITOR SI__ROLE_EDITOR
#define ADMIN SI__ROLE_ADMIN
#define AGENT SI__ROLE_AGENT
#define DEPLOYER SI__ROLE_DEPLOYER

static const row table[] = {
    {"POST", "/api/v1/reports", AGENT, 0},
    {"GET", "/api/v1/session", PUBLIC, 0},
    {"POST", "/api/v1/setup", PUBLIC, 0},
    {"POST", "/api/v1/sign-in", PUBLIC, 0},
    {"POST", "/api/v1/sign-in-link", PUBLIC, 0},
    {"POST", "/api/v1/sign-out", PUBLIC, 0},
    {"POST", "/api/v1/invite", PUBLIC, 0},
    {"POST", "/api/v1/password", VIEWER, 0},
    {"GET", "/api/v1/sessions", VIEWER, 0},
    {"DELETE", "/api/v1/sessions/:id", VIEWER, 0},
    {"GET", "/api/v1/invitations", ADMIN, 0},
    {"DELETE", "/api/v1/invitations/:id", ADMIN, 0},
    {"GET", "/api/v1/users", ADMIN, 0},
    {"POST", "/api/v1/users", ADMIN, 0},
    {"POST", "/api/v1/users/:id", ADMIN, 0},
    {"GET", "/api/v1/keys", ADMIN, 0},
    {"POST", "/api/v1/keys", ADMIN, 0},
    {"DELETE", "/api/v1/keys/:id", ADMIN, 0},
    {"GET", "/api/v1/audit", ADMIN, 0},
    {"GET", "/api/v1/apps", VIEWER, 0},
    {"DELETE", "/api/v1/apps", ADMIN, 0},
    {"GET", "/api/v1/sources", VIEWER, 1},
    {"GET", "/api/v1/overview", VIEWER, 1},
    {"GET", "/api/v1/profiles", VIEWER, 1},
    {"GET", "/api/v1/profiles/tree", VIEWER, 1},
    {"GET", "/api/v1/profiles/trend", VIEWER, 1},
    {"GET", "/api/v1/profiles/top", VIEWER, 1},
    {"GET", "/api/v1/profiles/sandwich", VIEWER, 1},
    {"GET", "/api/v1/profiles/source", VIEWER, 0}, /* sources are for people */
    {"GET", "/api/v1/profiles/export", VIEWER, 1},
    {"POST", "/api/v1/profiles/import", DEPLOYER, 0},
    {"GET", "/api/v1/source-files", VIEWER, 0},
    {"POST", "/api/v1/source-files", DEPLOYER, 0},
    {"DELETE", "/api/v1/source-files/:id", EDITOR, 0},
    {"GET", "/api/v1/segments", VIEWER, 1},
    {"GET", "/api/v1/errors", VIEWER, 1},
    {"GET", "/api/v1/errors/tree", VIEWER, 1},
    {"GET", "/api/v1/health", VIEWER, 1},
    {"GET", "/api/v1/versions", VIEWER, 1},
    {"GET", "/api/v1/collectors", VIEWER, 1},
    {"GET", "/api/v1/search", VIEWER, 0},
    {"GET", "/api/v1/movers", VIEWER, 1},
    {"GET", "/api/v1/bottlenecks", VIEWER, 1},
    {"GET", "/api/v1/bottlenecks/tree", VIEWER, 1},
    {"GET", "/api/v1/charts", VIEWER, 1},
    {"GET", "/api/v1/prometheus", VIEWER, 1},
    {"GET", "/api/v1/snapshots", VIEWER, 0},
    {"POST", "/api/v1/snapshots", EDITOR, 0},
    {"GET", "/api/v1/snapshots/:id", VIEWER, 0},
    {"DELETE", "/api/v1/snapshots/:id", EDITOR, 0},
    {"GET", "/api/v1/alerts", VIEWER, 0},
    {"GET", "/api/v1/alerts/:id", VIEWER, 0},
    {"POST", "/api/v1/alerts/:id/ack", EDITOR, 0},
    {"DELETE", "/api/v1/alerts/:id/ack", EDITOR, 0},
    {"GET", "/api/v1/deliveries", VIEWER, 0},
    {"GET", "/api/v1/channels", VIEWER, 0},
    {"POST", "/api/v1/channels/test", ADMIN, 0},
    {"GET", "/api/v1/silences", VIEWER, 0},
    {"POST", "/api/v1/silences", EDITOR, 0},
    {"DELETE", "/api/v1/silences/:id", EDITOR, 0},
    {"GET", "/api/v1/rules", VIEWER, 1},
    {"GET", "/api/v1/history", VIEWER, 1},
    {"GET", "/api/v1/annotations", VIEWER, 1},
    {"POST", "/api/v1/annotations", DEPLOYER, 0},
    {"DELETE", "/api/v1/annotations/:id", EDITOR, 0},
    {"GET", "/api/v1/first-report", VIEWER, 0},
    {"GET", "/api/v1/settings/retention", VIEWER, 0},
    {"POST", "/api/v1/settings/retention", ADMIN, 0},
    {"GET", "/api/v1/self", VIEWER, 0},
    {"GET", "/api/v1/self/history", VIEWER, 0},
    {"GET", "/api/v1/openapi.json", PUBLIC, 0},
    {"GET", "/metrics", SI__ROLE_SCRAPER, 0},
};
#define ROWS (sizeof table / sizeof table[0])

typedef struct world {
    dashboard d;
    person admin, editor, viewer, nobody;
    char agent_key[128], other_key[128], reading_key[128];
} world;

static void make_reading_key(world *w) {
    const char *arguments[] = {"key", "--data", w->d.dir, "--app", "shop", "--env", "test", "--read", NULL};
    assert_int_equal(dashboard_run(arguments, w->reading_key, sizeof w->reading_key), 0);
    w->reading_key[strcspn(w->reading_key, "\n")] = '\0';
}

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    dashboard_make(&w->d);
    dashboard_start(&w->d, NULL);
    dashboard_key(&w->d, "shop", "test", w->agent_key);
    dashboard_key(&w->d, "billing", "test", w->other_key);
    person_sign_in(&w->admin, &w->d);
    person_join(&w->admin, &w->editor, "editor@example.org", "editor");
    person_join(&w->admin, &w->viewer, "viewer@example.org", "viewer");
    person_visit(&w->nobody, &w->d);
    make_reading_key(w);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    dashboard_remove(&w->d);
    free(w);
    return 0;
}

/* ---- The table is whole ---- */

static const row *row_of(const char *method, const char *path) {
    for (size_t i = 0; i < ROWS; i++)
        if (!strcmp(table[i].method, method) && !strcmp(table[i].path, path)) return &table[i];
    return NULL;
}

static void every_route_is_in_the_table(void **state) {
    size_t count = 0;
    (void)state;
    for (; si__route_at(count); count++) {
        const si__route *route = si__route_at(count);
        const row *known = row_of(route->method, route->path);
        if (!known) fail_msg("%s %s is not in the table of this test", route->method, route->path);
        assert_int_equal(known->role, route->role);
        assert_int_equal(known->reading_key, route->of_app);
    }
    assert_int_equal(count, ROWS); /* and no other */
}

/* Path below /api/v1 with an id and an application in it. */
static void path_of(const row *r, char *out, size_t bytes) {
    const char *path = r->path + 7, *id = strstr(path, ":id");
    snprintf(out, bytes, "%.*s%s%s?app=shop&env=test", id ? (int)(id - path) : (int)strlen(path), path,
             id ? "999999" : "", id ? id + 3 : "");
}

static int is_change(const row *r) {
    return strcmp(r->method, "GET") != 0;
}

static int has_body(const row *r) {
    return !strcmp(r->method, "POST");
}

/* ---- People ---- */

static void every_route_asks_for_its_role(void **state) {
    world *w = *state;
    person *people[] = {&w->nobody, &w->viewer, &w->editor, &w->admin};
    int checked = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const row *r = &table[i];
        int least = r->role == DEPLOYER ? EDITOR : (int)r->role;
        if (least < VIEWER || least > ADMIN) continue;
        for (int who = 0; who < 4; who++) {
            char path[200];
            path_of(r, path, sizeof path);
            reply got = person_ask(people[who], r->method, path, has_body(r) ? "{}" : NULL);
            int refused = strstr(got.body, "\"code\":\"role\"") != NULL;
            if (who == 0      ? got.status != 401
                : who < least ? got.status != 403 || !refused
                              : got.status == 401 || got.status == 403)
                fail_msg("%s %s as %d: %ld %s", r->method, path, who, got.status, got.body);
            reply_free(&got);
            checked++;
        }
    }
    assert_true(checked >= 4 * 55);
}

static void every_change_asks_for_token_and_origin(void **state) {
    world *w = *state;
    char own[120], csrf[120], foreign[120];
    snprintf(own, sizeof own, "Origin: %s", w->d.url);
    snprintf(csrf, sizeof csrf, "X-CSRF-Token: %s", w->admin.csrf);
    snprintf(foreign, sizeof foreign, "X-CSRF-Token: %s", w->viewer.csrf);
    const char *wrong[][4] = {{w->admin.cookie, own, NULL},
                              {w->admin.cookie, own, foreign, NULL},
                              {w->admin.cookie, csrf, NULL},
                              {w->admin.cookie, csrf, "Origin: https://evil.example", NULL},
                              {w->admin.cookie, csrf, "Origin: null", NULL}};
    int checked = 0;
    for (size_t i = 0; i < ROWS; i++) {
        if (!is_change(&table[i]) || table[i].role == AGENT) continue;
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
            char path[200], url[300];
            path_of(&table[i], path, sizeof path);
            snprintf(url, sizeof url, "%s/api/v1%s", w->d.url, path);
            reply r =
                http(table[i].method, url, wrong[k], has_body(&table[i]) ? "{}" : NULL, has_body(&table[i]) ? 2 : 0);
            if (r.status != 403) fail_msg("%s %s, case %zu: %ld %s", table[i].method, path, k, r.status, r.body);
            reply_free(&r);
            checked++;
        }
    }
    assert_true(checked >= 5 * 25);
    assert_int_equal(person_status(&w->admin, "GET", "/users", NULL), 200); /* nobody was signed out */
}

/* ---- Keys ---- */

static void check_key(world *w, const row *r, const char *key, const char *app, int wanted_min, int wanted_not) {
    char path[200];
    path_of(r, path, sizeof path);
    char *at = strstr(path, "app=shop");
    if (at && strcmp(app, "shop") != 0) snprintf(at, sizeof path - (size_t)(at - path), "app=%s&env=test", app);
    reply got = key_ask(&w->d, key, r->method, path, has_body(r) ? "{}" : NULL, has_body(r) ? 2 : 0);
    int ok = wanted_min ? got.status == wanted_min : got.status != 401 && got.status != wanted_not;
    if (!ok) fail_msg("%s %s with a key: %ld %s", r->method, path, got.status, got.body);
    reply_free(&got);
}

static void keys_open_what_they_are_for_and_nothing_else(void **state) {
    world *w = *state;
    int deploying = 0, reading = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const row *r = &table[i];
        if (strncmp(r->path, "/api/v1", 7) != 0 || r->role == PUBLIC || r->role == AGENT) continue;
        if (r->role == DEPLOYER) {
            deploying++;
            check_key(w, r, w->agent_key, "shop", 0, 403);
            check_key(w, r, w->other_key, "shop", strstr(r->path, "annotations") ? 400 : 403, 0);
            check_key(w, r, w->reading_key, "shop", 401, 0);
        } else if (r->reading_key) {
            reading++;
            check_key(w, r, w->reading_key, "shop", 0, 403);
            check_key(w, r, w->reading_key, "billing", 403, 0);
            check_key(w, r, w->agent_key, "shop", 401, 0);
        } else {
            check_key(w, r, w->reading_key, "shop", 401, 0);
            check_key(w, r, w->agent_key, "shop", 401, 0);
        }
    }
    assert_int_equal(deploying, 3);
    assert_true(reading >= 18);
    static const char elsewhere[] = "{\"text\":\"x\",\"app\":\"shop\",\"env\":\"test\"}";
    reply mark = key_ask(&w->d, w->other_key, "POST", "/annotations", elsewhere, strlen(elsewhere));
    assert_int_equal(mark.status, 403); /* of another application */
    reply_free(&mark);
}

static void guessed_keys_open_nothing(void **state) {
    world *w = *state;
    char key[128];
    const char *guesses[] = {"", "si_", "si_0000000000000000_", "' OR 1=1--", "Bearer", key};
    for (size_t i = 0; i < sizeof guesses / sizeof guesses[0]; i++) {
        for (size_t at = 0; at < (guesses[i] == key ? strlen(w->agent_key) : 1); at += 7) {
            snprintf(key, sizeof key, "%s", w->agent_key);
            key[at] = key[at] == '0' ? '1' : '0'; /* one character off */
            reply r = key_ask(&w->d, guesses[i], "POST", "/annotations", "{\"text\":\"x\"}", 12);
            assert_int_equal(r.status, 401);
            reply_free(&r);
            r = key_ask(&w->d, guesses[i], "POST", "/reports", "x", 1);
            assert_int_equal(r.status, 401);
            reply_free(&r);
        }
    }
}

static void two_keys_are_live_while_one_replaces_the_other(void **state) {
    world *w = *state;
    static const char body[] = "{\"app\":\"rotated\",\"environment\":\"test\",\"label\":\"web\"}";
    char first[40], path[80];
    reply r = person_ask(&w->admin, "POST", "/keys", body);
    assert_int_equal(r.status, 201);
    si__json *json = reply_json(&r);
    snprintf(first, sizeof first, "%s", si__json_get_string(json, "id", ""));
    si__json_free(json);
    reply_free(&r);
    assert_int_equal(person_status(&w->admin, "POST", "/keys", body), 201);
    r = person_ask(&w->admin, "POST", "/keys", body);
    assert_int_equal(r.status, 409);
    assert_non_null(strstr(r.body, "two_live"));
    reply_free(&r);
    snprintf(path, sizeof path, "/keys/%s", first);
    assert_int_equal(person_status(&w->admin, "DELETE", path, NULL), 204);
    assert_int_equal(person_status(&w->admin, "POST", "/keys", body), 201);
}

/* ---- The description ---- */

static void check_references(const si__json *root, const si__json *value) {
    if (value->type == SI__JSON_STRING && value->key && !strcmp(value->key, "$ref")) {
        char part[200];
        const si__json *at = root;
        assert_int_equal(strncmp(value->text, "#/", 2), 0);
        for (const char *path = value->text + 1; *path && at;) {
            size_t length = strcspn(++path, "/");
            snprintf(part, sizeof part, "%.*s", (int)length, path);
            at = si__json_get(at, part);
            path += length;
        }
        if (!at) fail_msg("%s leads nowhere", value->text);
    }
    for (const si__json *child = value->first; child; child = child->next) check_references(root, child);
}

static const char *role_word(si__role role) {
    return role == DEPLOYER           ? "deployer"
           : role == AGENT            ? "agent"
           : role == SI__ROLE_SCRAPER ? "scraper"
           : role == PUBLIC           ? "public"
                                      : si__role_name(role);
}

static const si__json *described(const si__json *paths, const row *r) {
    char path[200], method[8];
    const char *id = strstr(r->path, ":id");
    snprintf(path, sizeof path, "%.*s%s%s", id ? (int)(id - r->path) : (int)strlen(r->path), r->path, id ? "{id}" : "",
             id ? id + 3 : "");
    snprintf(method, sizeof method, "%s", r->method);
    for (char *c = method; *c; c++) *c = (char)(*c + 32);
    return si__json_get(si__json_get(paths, path), method);
}

static void the_description_covers_every_route(void **state) {
    world *w = *state;
    reply r = person_ask(&w->nobody, "GET", "/openapi.json", NULL);
    assert_int_equal(r.status, 200);
    si__json *json = reply_json(&r);
    const si__json *paths = si__json_get(json, "paths");
    size_t operations = 0;
    assert_string_equal(si__json_get_string(json, "openapi", ""), "3.0.3");
    for (const si__json *path = paths->first; path; path = path->next) operations += path->count;
    assert_int_equal(operations, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        const si__json *operation = described(paths, &table[i]);
        if (!operation) fail_msg("%s %s is not described", table[i].method, table[i].path);
        assert_string_equal(si__json_get_string(operation, "x-role", ""), role_word(table[i].role));
        assert_true(*si__json_get_string(operation, "summary", "") != '\0');
        assert_non_null(si__json_get(si__json_get(operation, "responses"), "default"));
        const si__json *security = si__json_get(operation, "security");
        int reads = 0;
        for (const si__json *way = security->first; way; way = way->next)
            reads |= si__json_get(way, "readingKey") != NULL;
        if (table[i].role != SI__ROLE_SCRAPER) assert_int_equal(reads, table[i].reading_key);
    }
    check_references(json, json);
    si__json_free(json);
    reply_free(&r);
}

/* ---- SQL, in every parameter that the description names ---- */

static const char *const payloads[] = {"%27%20OR%201%3D1--",
                                       "%22%3B%20DROP%20TABLE%20profile%3B--",
                                       "1%20UNION%20SELECT%20*%20FROM%20user",
                                       "%FF%FE",
                                       "-1",
                                       "99999999999999999999",
                                       "%25"};

static void try_parameter(world *w, const char *path, const char *name) {
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        char url[300];
        snprintf(url, sizeof url, "%s?%s%s%s=%s", path, strcmp(name, "app") ? "app=shop&" : "",
                 strcmp(name, "env") ? "env=test&" : "", name, payloads[i]);
        long status = person_status(&w->admin, "GET", url, NULL);
        if (status != 200 && status != 400 && status != 404) fail_msg("%s: %ld", url, status);
    }
}

static void sql_in_any_parameter_is_text(void **state) {
    world *w = *state;
    si__json *json = person_get(&w->admin, "/openapi.json");
    const si__json *all = si__json_get(si__json_get(json, "components"), "parameters");
    int tried = 0;
    for (const si__json *path = si__json_get(json, "paths")->first; path; path = path->next) {
        const si__json *parameters = si__json_get(si__json_get(path, "get"), "parameters");
        if (!parameters || strchr(path->key, '{') || strncmp(path->key, "/api/v1", 7) != 0) continue;
        for (const si__json *p = parameters->first; p; p = p->next) {
            const si__json *parameter = si__json_get(all, strrchr(si__json_get_string(p, "$ref", "/"), '/') + 1);
            try_parameter(w, path->key + 7, si__json_get_string(parameter, "name", ""));
            tried++;
        }
    }
    si__json_free(json);
    assert_true(tried > 150);
    for (size_t i = 0; i < ROWS; i++) { /* and in every id */
        const char *id = strstr(table[i].path, ":id");
        char path[200];
        if (!id || !strncmp(table[i].method, "POST", 4)) continue;
        snprintf(path, sizeof path, "%.*s%s%s", (int)(id - table[i].path) - 7, table[i].path + 7, "%27%20OR%201%3D1--",
                 id + 3);
        assert_int_equal(person_status(&w->admin, table[i].method, path, NULL), 404);
    }
    json = person_get(&w->admin, "/users");
    assert_int_equal(si__json_get(json, "users")->count, 3); /* nothing was dropped */
    si__json_free(json);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_is_in_the_table),
        cmocka_unit_test(every_route_asks_for_its_role),
        cmocka_unit_test(every_change_asks_for_token_and_origin),
        cmocka_unit_test(keys_open_what_they_are_for_and_nothing_else),
        cmocka_unit_test(guessed_keys_open_nothing),
        cmocka_unit_test(two_keys_are_live_while_one_replaces_the_other),
        cmocka_unit_test(the_description_covers_every_route),
        cmocka_unit_test(sql_in_any_parameter_is_text),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
