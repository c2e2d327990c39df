/*
 * Several people with one dashboard: sessions, invitations, passwords; what one does and another sees; channels with a
 * test message to a real receiver; deploy marks; the audit log of it all.
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
#include <time.h>

#include "../c/http_server.h"
#include "dashboard.h"
#include "made_report.h"

typedef struct world {
    dashboard d;
    person admin, editor, viewer;
    char key[128], channels[100];
    http_server *receiver;
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int set_up(void **state) {
    static const server_answer answers[] = {{.status = 200, .body = ""}};
    world *w = calloc(1, sizeof *w);
    char status[32];
    size_t length;
    dashboard_make(&w->d);
    w->receiver = http_server_start(answers, 1);
    snprintf(w->channels, sizeof w->channels, "%s/channels.json", w->d.dir);
    FILE *file = fopen(w->channels, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/hidden-token\"},"
            "\"email:lead\":{\"smtp\":\"smtp://127.0.0.1:9\",\"from\":\"a@b.example\",\"to\":[\"c@d.example\"],"
            "\"tls\":\"none\"},\"default\":[\"webhook:ops\"]}}",
            w->receiver->port);
    assert_int_equal(fclose(file), 0);
    dashboard_start(&w->d, (const char *const[]){"--channels", w->channels, NULL});
    dashboard_key(&w->d, "shop", "test", w->key);
    person_sign_in(&w->admin, &w->d);
    person_join(&w->admin, &w->editor, "editor@example.org", "editor");
    person_join(&w->admin, &w->viewer, "viewer@example.org", "viewer");
    made m = {.agent = 1, .sequence = 1, .start_ms = unix_ms() - 120000, .end_ms = unix_ms() - 60000};
    si__report *report = made_report(&m);
    made_alert(report, "queue_full", SI__ALERT_FIRING, unix_ms() - 600000);
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    dashboard_remove(&w->d);
    http_server_stop(w->receiver);
    free(w);
    return 0;
}

static const si__json *named(const si__json *array, const char *key, const char *name) {
    for (const si__json *item = array->first; item; item = item->next)
        if (!strcmp(si__json_get_string(item, key, ""), name)) return item;
    return NULL;
}

static int audited(world *w, const char *action, const char *user) {
    char path[200];
    snprintf(path, sizeof path, "/audit?action=%s&user=%s", action, user);
    si__json *json = person_get(&w->admin, path);
    int count = (int)json->count;
    si__json_free(json);
    return count;
}

/* ---- Sessions ---- */

static void sessions_can_be_seen_and_ended(void **state) {
    world *w = *state;
    char id[40] = "", path[80];
    person phone;
    person_visit(&phone, &w->d);
    assert_int_equal(person_status(&phone, "POST", "/sign-in",
                                   "{\"email\":\"viewer@example.org\",\"password\":\"" PERSON_PASSWORD "\"}"),
                     200);
    si__json *json = person_get(&w->viewer, "/sessions?all=1"); /* "all" is for admins */
    const si__json *sessions = si__json_get(json, "sessions");
    assert_int_equal(sessions->count, 2);
    int current = 0;
    for (const si__json *s = sessions->first; s; s = s->next) {
        assert_string_equal(si__json_get_string(s, "email", ""), "viewer@example.org");
        if (si__json_get_bool(s, "current", 0))
            current++;
        else
            snprintf(id, sizeof id, "%s", si__json_get_string(s, "id", ""));
    }
    assert_int_equal(current, 1);
    si__json_free(json);
    snprintf(path, sizeof path, "/sessions/%s", id);
    assert_int_equal(person_status(&w->editor, "DELETE", path, NULL), 404); /* not the editor's */
    assert_int_equal(person_status(&phone, "GET", "/apps", NULL), 200);
    assert_int_equal(person_status(&w->viewer, "DELETE", path, NULL), 204);
    assert_int_equal(person_status(&phone, "GET", "/apps", NULL), 401);
    assert_int_equal(person_status(&w->viewer, "GET", "/apps", NULL), 200);
    json = person_get(&w->admin, "/sessions?all=1");
    assert_true(si__json_get(json, "sessions")->count >= 3);
    si__json_free(json);
    assert_int_equal(audited(w, "session%20ended", "viewer@example.org"), 1);
}

static void a_new_password_ends_the_other_sessions(void **state) {
    world *w = *state;
    person one, two;
    person_join(&w->admin, &one, "careful@example.org", "viewer");
    person_visit(&two, &w->d);
    assert_int_equal(person_status(&two, "POST", "/sign-in",
                                   "{\"email\":\"careful@example.org\",\"password\":\"" PERSON_PASSWORD "\"}"),
                     200);
    assert_int_equal(
        person_status(&one, "POST", "/password", "{\"current\":\"wrong wrong\",\"password\":\"brand new words\"}"),
        400);
    assert_int_equal(
        person_status(&one, "POST", "/password", "{\"current\":\"" PERSON_PASSWORD "\",\"password\":\"short\"}"), 400);
    assert_int_equal(person_status(&two, "GET", "/apps", NULL), 200);
    assert_int_equal(person_status(&one, "POST", "/password",
                                   "{\"current\":\"" PERSON_PASSWORD "\",\"password\":\"brand new words\"}"),
                     204);
    assert_int_equal(person_status(&one, "GET", "/apps", NULL), 200);
    assert_int_equal(person_status(&two, "GET", "/apps", NULL), 401);
    person_visit(&two, &w->d);
    assert_int_equal(person_status(&two, "POST", "/sign-in",
                                   "{\"email\":\"careful@example.org\",\"password\":\"" PERSON_PASSWORD "\"}"),
                     401);
    assert_int_equal(
        person_status(&two, "POST", "/sign-in", "{\"email\":\"careful@example.org\",\"password\":\"brand new words\"}"),
        200);
    long status = 400;
    for (int i = 0; i < 12 && status == 400; i++)
        status = person_status(&one, "POST", "/password", "{\"current\":\"guess\",\"password\":\"brand new words\"}");
    assert_int_equal(status, 429); /* guessing it with somebody's open browser is slowed down too */
}

static void an_invitation_can_be_withdrawn(void **state) {
    world *w = *state;
    char token[80], body[200], path[80];
    reply r = person_ask(&w->admin, "POST", "/users", "{\"email\":\"late@example.org\",\"role\":\"editor\"}");
    assert_int_equal(r.status, 201);
    snprintf(token, sizeof token, "%.64s", strstr(r.body, "token=") + 6);
    reply_free(&r);
    si__json *json = person_get(&w->admin, "/invitations");
    const si__json *invitation = named(si__json_get(json, "invitations"), "email", "late@example.org");
    assert_non_null(invitation);
    assert_string_equal(si__json_get_string(invitation, "role", ""), "editor");
    snprintf(path, sizeof path, "/invitations/%s", si__json_get_string(invitation, "id", ""));
    assert_null(strstr(path, token));
    si__json_free(json);
    assert_int_equal(person_status(&w->admin, "DELETE", path, NULL), 204);
    assert_int_equal(person_status(&w->admin, "DELETE", path, NULL), 404);
    person late;
    person_visit(&late, &w->d);
    snprintf(body, sizeof body, "{\"token\":\"%s\",\"name\":\"Late\",\"password\":\"" PERSON_PASSWORD "\"}", token);
    assert_int_equal(person_status(&late, "POST", "/invite", body), 403);
}

/* ---- What one does, another sees ---- */

static int64_t alert_id(person *p) {
    si__json *json = person_get(p, "/alerts?app=shop&env=test");
    const si__json *alert = named(si__json_get(json, "alerts"), "rule", "queue_full");
    assert_non_null(alert);
    int64_t id = si__json_get_integer(alert, "id", 0);
    si__json_free(json);
    return id;
}

static void what_one_shares_another_sees(void **state) {
    world *w = *state;
    char path[100], text[300];
    int64_t id = alert_id(&w->editor);
    snprintf(path, sizeof path, "/alerts/%lld/ack", (long long)id);
    assert_int_equal(person_status(&w->viewer, "POST", path, "{}"), 403);
    assert_int_equal(person_status(&w->editor, "POST", path, "{\"comment\":\"<script>mine</script>\"}"), 200);
    snprintf(path, sizeof path, "/alerts/%lld", (long long)id);
    si__json *json = person_get(&w->viewer, path);
    assert_string_equal(si__json_get_string(si__json_get(json, "alert"), "acked_by", ""), "editor@example.org");
    assert_string_equal(si__json_get_string(si__json_get(json, "alert"), "ack_comment", ""), "<script>mine</script>");
    si__json_free(json);
    reply r = person_ask(&w->viewer, "GET", path, NULL);
    assert_null(strstr(r.body, "<script>")); /* escaped on the wire */
    reply_free(&r);
    snprintf(path, sizeof path, "/alerts/%lld/ack", (long long)id);
    assert_int_equal(person_status(&w->editor, "DELETE", path, NULL), 200);
    snprintf(text, sizeof text, "{\"match\":{\"rule\":\"queue_full\"},\"until_ms\":%lld,\"comment\":\"maintenance\"}",
             (long long)unix_ms() + 3600000);
    r = person_ask(&w->editor, "POST", "/silences", text);
    assert_int_equal(r.status, 201);
    json = reply_json(&r);
    int64_t silence = si__json_get_integer(si__json_get(json, "silences")->first, "id", 0);
    si__json_free(json);
    reply_free(&r);
    json = person_get(&w->viewer, "/silences");
    const si__json *seen = si__json_get(json, "silences")->first;
    assert_string_equal(si__json_get_string(seen, "created_by", ""), "editor@example.org");
    assert_string_equal(si__json_get_string(seen, "comment", ""), "maintenance");
    si__json_free(json);
    snprintf(path, sizeof path, "/silences/%lld", (long long)silence);
    assert_int_equal(person_status(&w->editor, "DELETE", path, NULL), 204);
    json = person_get(&w->viewer, "/silences");
    assert_int_equal(si__json_get(json, "silences")->count, 0);
    si__json_free(json);
    json = person_get(&w->viewer, "/silences?all=1"); /* it is not forgotten */
    assert_int_equal(si__json_get_bool(si__json_get(json, "silences")->first, "active", 1), 0);
    si__json_free(json);
    assert_int_equal(audited(w, "silence%20ended", "editor@example.org"), 1);
}

static void deploys_are_marked_by_keys_and_people(void **state) {
    world *w = *state;
    char path[60];
    static const char mark[] = "{\"text\":\"v2 is out\",\"link\":\"https://ci.example/42\"}";
    reply r = key_ask(&w->d, w->key, "POST", "/annotations", mark, strlen(mark));
    assert_int_equal(r.status, 201);
    reply_free(&r);
    static const char script[] = "{\"text\":\"x\",\"link\":\"javascript:alert(1)\"}";
    r = key_ask(&w->d, w->key, "POST", "/annotations", script, strlen(script));
    assert_int_equal(r.status, 400);
    reply_free(&r);
    si__json *json = person_get(&w->viewer, "/annotations?app=shop&env=test");
    const si__json *seen = named(si__json_get(json, "annotations"), "text", "v2 is out");
    assert_non_null(seen);
    assert_string_equal(si__json_get_string(seen, "kind", ""), "deploy");
    assert_string_equal(si__json_get_string(seen, "link", ""), "https://ci.example/42");
    assert_int_equal(strncmp(si__json_get_string(seen, "author", ""), "key ", 4), 0);
    snprintf(path, sizeof path, "/annotations/%lld", (long long)si__json_get_integer(seen, "id", 0));
    si__json_free(json);
    assert_int_equal(person_status(&w->editor, "DELETE", path, NULL), 204);
    json = person_get(&w->viewer, "/annotations?app=shop&env=test");
    assert_null(named(si__json_get(json, "annotations"), "text", "v2 is out"));
    si__json_free(json);
}

/* ---- Channels ---- */

/* Waits until the test of a channel ended in a state. */
static void wait_test(world *w, const char *name, const char *state) {
    int64_t deadline = unix_ms() + 30000;
    for (;;) {
        si__json *json = person_get(&w->viewer, "/channels");
        const si__json *channel = named(si__json_get(json, "channels"), "name", name);
        assert_non_null(channel);
        int reached = !strcmp(si__json_get_string(si__json_get(channel, "test"), "state", ""), state);
        si__json_free(json);
        if (reached) return;
        assert_true(unix_ms() < deadline);
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
}

static int receiver_got(world *w, const char *text) {
    for (unsigned i = 0; i < http_server_requests(w->receiver); i++) {
        const server_request *r = http_server_request(w->receiver, i);
        if (r->body && strstr(r->body, text)) return 1;
    }
    return 0;
}

static void channels_are_shown_and_tried(void **state) {
    world *w = *state;
    reply r = person_ask(&w->viewer, "GET", "/channels", NULL);
    assert_int_equal(r.status, 200);
    assert_null(strstr(r.body, "hidden-token")); /* the path of a webhook is its secret */
    si__json *json = reply_json(&r);
    const si__json *ops = named(si__json_get(json, "channels"), "name", "webhook:ops");
    assert_non_null(ops);
    assert_int_equal(strncmp(si__json_get_string(ops, "target", ""), "http://127.0.0.1:", 17), 0);
    si__json_free(json);
    reply_free(&r);
    assert_int_equal(person_status(&w->editor, "POST", "/channels/test", "{\"name\":\"webhook:ops\"}"), 403);
    assert_int_equal(person_status(&w->admin, "POST", "/channels/test", "{\"name\":\"webhook:none\"}"), 404);
    assert_int_equal(person_status(&w->admin, "POST", "/channels/test", "{\"name\":\"webhook:ops\"}"), 202);
    wait_test(w, "webhook:ops", "sent");
    assert_true(receiver_got(w, "This is a test that"));
    assert_int_equal(person_status(&w->admin, "POST", "/channels/test", "{\"name\":\"email:lead\"}"), 202);
    wait_test(w, "email:lead", "retry"); /* nobody listens there: said, not hidden */
    json = person_get(&w->viewer, "/channels");
    const si__json *lead = named(si__json_get(json, "channels"), "name", "email:lead");
    assert_string_equal(si__json_get_string(lead, "state", ""), "failing");
    assert_true(*si__json_get_string(lead, "last_error", "") != '\0');
    si__json_free(json);
    assert_int_equal(audited(w, "channel%20tested", "admin@localhost"), 2);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_can_be_seen_and_ended),
        cmocka_unit_test(an_invitation_can_be_withdrawn),
        cmocka_unit_test(what_one_shares_another_sees),
        cmocka_unit_test(deploys_are_marked_by_keys_and_people),
        cmocka_unit_test(channels_are_shown_and_tried),
        cmocka_unit_test(a_new_password_ends_the_other_sessions), /* last: it makes this address wait */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
