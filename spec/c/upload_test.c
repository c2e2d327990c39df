/*
 * Uploads against a real HTTP server that fails in every way: what was not stored is kept, what was stored is sent
 * once, what is refused for good is set aside, and no answer but a dashboard's counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <si/si.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/report/upload.h"
#include "http_server.h"
#include "loop_until.h"
#include "temporary_dir.h"

#define STORED "{\"status\":\"stored\"}"
#define KEY "si_k1_topsecret"

typedef struct world {
    uv_loop_t loop;
    si__worker *worker;
    si__spool *spool;
    si__upload *upload;
    http_server *server;
    char log[4096];
    int log_lines, worst_level, tried, closed;
} world;

static void on_log(void *arg, int level, const char *message) {
    world *w = arg;
    size_t used = strlen(w->log);
    snprintf(w->log + used, sizeof w->log - used, "%s\n", message);
    w->log_lines++;
    if (level > w->worst_level) w->worst_level = level;
}

static void on_tried(void *arg) {
    world *w = arg;
    w->tried++;
}

static void on_closed(void *arg) {
    world *w = arg;
    w->closed++;
}

static void put(world *w, uint64_t sequence) {
    si__report_id id = {.sequence = sequence};
    char payload[64];
    memset(id.agent, 0xaa, 16);
    memset(id.boot, 0x0b, 16);
    int length = snprintf(payload, sizeof payload, "report %llu", (unsigned long long)sequence);
    si__spool_put(w->spool, &id, SI__SPOOL_METRICS, (const uint8_t *)payload, (size_t)length, 1);
}

static void open_upload(world *w, const char *url, const char *key) {
    const si__upload_options options = {.dashboard_url = url, .agent_key = key, .log = on_log, .log_arg = w};
    w->upload = si__upload_new(&w->loop, w->worker, w->spool, &options);
    assert_non_null(w->upload);
}

/* A world with `reports` in the spool and a server that answers so. */
static void begin(world *w, const server_answer *answers, unsigned count, uint64_t reports) {
    char url[100], error[100];
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    w->worker = si__worker_new(&w->loop);
    assert_int_equal(si__spool_open(NULL, NULL, &w->spool, error, sizeof error), 0);
    for (uint64_t i = 1; i <= reports; i++) put(w, i);
    w->server = http_server_start(answers, count);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", w->server->port);
    open_upload(w, url, KEY);
}

static void end(world *w) {
    si__upload_close(w->upload, on_closed, w);
    LOOP_UNTIL(&w->loop, w->closed == 1);
    si__worker_close(w->worker, on_closed, w);
    LOOP_UNTIL(&w->loop, w->closed == 2);
    si__spool_close(w->spool);
    http_server_stop(w->server);
    assert_int_equal(uv_loop_close(&w->loop), 0); /* no handle is left */
    assert_null(strstr(w->log, "topsecret"));
}

static si__spool_counts counts_of(world *w) {
    si__spool_counts c;
    si__spool_counts_get(w->spool, &c);
    return c;
}

static si__upload_state state_of(world *w) {
    si__upload_state s;
    si__upload_state_get(w->upload, &s);
    return s;
}

static void try_now(world *w) {
    int before = w->tried;
    si__upload_try_now(w->upload, on_tried, w);
    LOOP_UNTIL(&w->loop, w->tried == before + 1);
}

static void test_reports_arrive_as_they_were_put(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL},
                                     {ANSWER, 200, "{\"status\":\"duplicate\"}", NULL, NULL}};
    begin(&w, answers, 2, 2);
    LOOP_UNTIL(&w.loop, counts_of(&w).acked == 2);
    const server_request *r = http_server_request(w.server, 0);
    assert_string_equal(r->method, "POST");
    assert_string_equal(r->path, "/api/v1/reports");
    assert_non_null(strstr(r->headers, "Authorization: Bearer " KEY "\n"));
    assert_non_null(strstr(r->headers, "Content-Type: application/msgpack\n"));
    assert_non_null(strstr(r->headers, "Content-Encoding: zstd\n"));
    assert_non_null(
        strstr(r->headers, "X-Si-Report-Id: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b-1\n"));
    assert_null(strstr(r->headers, "Expect"));
    assert_string_equal(r->body, "report 1");
    assert_string_equal(http_server_request(w.server, 1)->body, "report 2");
    assert_int_equal(state_of(&w).sent, 2);
    assert_int_equal(state_of(&w).duplicates, 1);
    assert_int_equal(state_of(&w).reachable, 1);
    assert_int_equal(w.log_lines, 0);
    put(&w, 3);
    si__upload_kick(w.upload);
    LOOP_UNTIL(&w.loop, counts_of(&w).acked == 3);
    end(&w);
}

/* Whatever these answer, the report stays; the first attempt fails, and a later one stores it. */
static void failing_answer(const server_answer *wrong, const char *expected_in_log) {
    world w;
    const server_answer answers[] = {*wrong, {ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 2, 1);
    LOOP_UNTIL(&w.loop, state_of(&w).failures == 1);
    si__upload_state s = state_of(&w);
    assert_int_equal(s.sent, 0);
    assert_int_equal(s.reachable, 0);
    assert_true(s.unreachable_since_ms > 1600000000000);
    if (!strstr(s.last_error, expected_in_log)) fail_msg("\"%s\" is not in \"%s\"", expected_in_log, s.last_error);
    if (!strstr(w.log, expected_in_log)) fail_msg("\"%s\" is not in \"%s\"", expected_in_log, w.log);
    assert_int_equal(counts_of(&w).pending, 1);
    try_now(&w);
    assert_int_equal(counts_of(&w).acked, 1);
    assert_int_equal(state_of(&w).reachable, 1);
    assert_int_equal(http_server_requests(w.server), 2);
    assert_non_null(strstr(w.log, "reach the dashboard again"));
    assert_int_equal(w.log_lines, 2);
    end(&w);
}

static void test_no_wrong_answer_counts_as_stored(void **state) {
    (void)state;
    static const struct {
        server_answer answer;
        const char *log;
    } wrong[] = {
        {{ANSWER, 500, "oops", NULL, NULL}, "HTTP 500"},
        {{ANSWER, 502, "", NULL, NULL}, "HTTP 502"},
        {{ANSWER, 408, "", NULL, NULL}, "HTTP 408"},
        {{ANSWER, 200, "<html>Welcome to our guest network</html>", NULL, NULL}, "no dashboard's"},
        {{ANSWER, 200, "", NULL, NULL}, "no dashboard's"},
        {{ANSWER, 200, "{\"status\":\"great\"}", NULL, NULL}, "no dashboard's"},
        {{ANSWER, 200, "{\"status\":\"stored\"", NULL, NULL}, "no dashboard's"},
        {{ANSWER, 200, "[\"stored\"]", NULL, NULL}, "no dashboard's"},
        {{ANSWER, 204, "", NULL, NULL}, "HTTP 204"},
        {{ANSWER, 201, STORED, NULL, NULL}, "HTTP 201"},
        {{ANSWER, 302, STORED, "Location", "http://127.0.0.1:1/"}, "redirects are not followed"},
        {{ANSWER, 404, "<html>nginx</html>", NULL, NULL}, "no dashboard answers at this URL"},
        {{CUT, 0, NULL, NULL, NULL}, "Server returned nothing"},
        {{ENDLESS, 200, NULL, NULL, NULL}, "too long"},
        {{ENDLESS, 500, NULL, NULL, NULL}, "too long"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) failing_answer(&wrong[i].answer, wrong[i].log);
}

static void test_a_refused_key_keeps_reports_and_is_said_once(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {
        {ANSWER, 401, "{\"error\":{\"code\":\"unauthorized\",\"message\":\"unknown key\\u0007\"}}", NULL, NULL}};
    begin(&w, answers, 1, 2);
    LOOP_UNTIL(&w.loop, state_of(&w).failures == 1);
    for (int i = 0; i < 3; i++) try_now(&w);
    assert_int_equal(counts_of(&w).pending, 2);
    assert_int_equal(counts_of(&w).dropped_rejected, 0);
    assert_int_equal(w.log_lines, 1);
    assert_int_equal(w.worst_level, SI_LOG_ERROR);
    assert_non_null(strstr(w.log, "agent key is refused (HTTP 401, unknown key?)"));
    end(&w);
}

static void test_what_is_refused_for_good_is_set_aside(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {
        {ANSWER, 400, "{\"error\":{\"code\":\"malformed\",\"message\":\"strings: ends too early\"}}", NULL, NULL},
        {ANSWER, 413, "<html>nginx</html>", NULL, NULL},
        {ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 3, 3);
    LOOP_UNTIL(&w.loop, counts_of(&w).acked == 1);
    assert_int_equal(counts_of(&w).dropped_rejected, 2);
    assert_int_equal(counts_of(&w).pending, 0);
    assert_int_equal(state_of(&w).rejected, 2);
    assert_non_null(strstr(w.log, "strings: ends too early"));
    assert_int_equal(http_server_requests(w.server), 3);
    end(&w);
}

static void test_reports_of_a_deleted_application_are_dropped_and_not_kept(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {
        {ANSWER, 410, "{\"error\":{\"code\":\"app_deleted\",\"message\":\"It was deleted.\"}}", NULL, NULL}};
    begin(&w, answers, 1, 20);
    LOOP_UNTIL(&w.loop, counts_of(&w).dropped_rejected == 20);
    assert_int_equal(http_server_requests(w.server), 1); /* the others are not even sent */
    assert_int_equal(counts_of(&w).pending, 0);
    assert_int_equal(state_of(&w).rejected, 20);
    assert_int_equal(state_of(&w).reachable, 0);
    for (unsigned i = 100; i < 105; i++) { /* nor what is made afterwards */
        put(&w, i);
        try_now(&w);
    }
    LOOP_UNTIL(&w.loop, counts_of(&w).pending == 0);
    assert_int_equal(counts_of(&w).dropped_rejected, 25);
    assert_int_equal(http_server_requests(w.server), 1);
    assert_int_equal(w.log_lines, 1);
    assert_int_equal(w.worst_level, SI_LOG_ERROR);
    assert_non_null(strstr(w.log, "this application was deleted there (HTTP 410, It was deleted.)"));
    end(&w);
}

static void test_retry_comes_by_itself(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 503, "", NULL, NULL}, {ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 2, 3);
    LOOP_UNTIL(&w.loop, counts_of(&w).acked == 3);
    assert_int_equal(http_server_requests(w.server), 4);
    assert_string_equal(http_server_request(w.server, 1)->body, "report 1");
    end(&w);
}

static void test_retry_after_is_obeyed(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 429, "", "Retry-After", "3600"}, {ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 2, 1);
    LOOP_UNTIL(&w.loop, state_of(&w).failures == 1);
    put(&w, 2);
    si__upload_kick(w.upload);                    /* news are no reason to come back earlier */
    uint64_t until = uv_hrtime() + 3000000000ull; /* longer than the longest first back-off */
    LOOP_UNTIL(&w.loop, uv_hrtime() > until);
    assert_int_equal(http_server_requests(w.server), 1);
    try_now(&w); /* but an end of the program is */
    assert_int_equal(counts_of(&w).acked, 2);
    end(&w);
}

static void test_one_poisonous_report_does_not_stop_the_others(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 500, "", NULL, NULL},
                                     {ANSWER, 500, "", NULL, NULL},
                                     {ANSWER, 500, "", NULL, NULL},
                                     {ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 4, 4);
    LOOP_UNTIL(&w.loop, state_of(&w).failures == 1);
    try_now(&w);
    try_now(&w);
    try_now(&w);
    assert_int_equal(counts_of(&w).acked, 3);
    assert_int_equal(counts_of(&w).pending, 1); /* still there */
    assert_string_equal(http_server_request(w.server, 3)->body, "report 2");
    end(&w);
}

static void test_an_unreachable_dashboard(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 1, 0);
    si__upload_close(w.upload, on_closed, &w);
    LOOP_UNTIL(&w.loop, w.closed == 1);
    w.closed = 0;
    char url[100];
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* a port where nobody listens, and nobody else can begin to */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    put(&w, 1);
    open_upload(&w, url, KEY);
    try_now(&w);
    assert_int_equal(state_of(&w).reachable, 0);
    assert_non_null(strstr(w.log, "Couldn't connect"));
    assert_int_equal(counts_of(&w).pending, 1);
    close(fd);
    end(&w);
}

static void test_other_protocols_are_not_spoken(void **state) {
    (void)state;
    static const char *const urls[] = {"file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/",
                                       "not a url at all", "http://"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        world w;
        const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL}};
        begin(&w, answers, 1, 0);
        si__upload_close(w.upload, on_closed, &w);
        LOOP_UNTIL(&w.loop, w.closed == 1);
        w.closed = 0;
        put(&w, 1);
        open_upload(&w, urls[i], KEY);
        try_now(&w);
        assert_int_equal(counts_of(&w).pending, 1);
        assert_int_equal(state_of(&w).failures > 0, 1);
        end(&w);
    }
}

static char *text_of(const char *path) {
    char *text = calloc(1, 8192);
    FILE *file = fopen(path, "r");
    assert_true(fread(text, 1, 8191, file) > 0);
    fclose(file);
    return text;
}

static void test_a_dashboard_that_cannot_prove_itself_gets_nothing(void **state) {
    (void)state;
    char dir[64], cert[100], key[100], url[100];
    temporary_dir_make(dir);
    if (!temporary_certificate(dir, cert, key)) {
        temporary_dir_remove(dir);
        print_message("no openssl: TLS is left out\n");
        skip();
    }
    char *cert_text = text_of(cert), *key_text = text_of(key);
    const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL}};
    world w;
    begin(&w, answers, 1, 0);
    http_server *secure = https_server_start(answers, 1, cert_text, key_text);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", secure->port);
    for (int trusted = 0; trusted < 2; trusted++) {
        si__upload_close(w.upload, on_closed, &w);
        LOOP_UNTIL(&w.loop, w.closed == 1);
        w.closed = 0;
        if (!trusted) put(&w, 1);
        const si__upload_options options = {
            .dashboard_url = url, .agent_key = KEY, .ca_file = trusted ? cert : NULL, .log = on_log, .log_arg = &w};
        w.upload = si__upload_new(&w.loop, w.worker, w.spool, &options);
        try_now(&w);
        assert_int_equal(http_server_requests(secure), trusted);
        assert_int_equal(counts_of(&w).acked, trusted);
    }
    assert_non_null(strstr(w.log, "SSL"));
    end(&w);
    http_server_stop(secure);
    free(cert_text);
    free(key_text);
    temporary_dir_remove(dir);
}

static void test_without_a_fitting_key_nothing_is_sent(void **state) {
    (void)state;
    static const char *const keys[] = {NULL, "", "two words", "line\r\nX-Evil: 1"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        world w;
        const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL}};
        begin(&w, answers, 1, 0);
        si__upload_close(w.upload, on_closed, &w);
        LOOP_UNTIL(&w.loop, w.closed == 1);
        w.closed = 0;
        char url[100];
        snprintf(url, sizeof url, "http://127.0.0.1:%u", w.server->port);
        put(&w, 1);
        open_upload(&w, url, keys[i]);
        try_now(&w);
        assert_int_equal(http_server_requests(w.server), 0);
        assert_int_equal(counts_of(&w).pending, 1);
        assert_non_null(strstr(state_of(&w).last_error, "key"));
        assert_int_equal(w.worst_level, SI_LOG_ERROR);
        end(&w);
    }
}

static void test_closing_does_not_wait_for_a_server_that_hangs(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{HANG, 200, NULL, NULL, NULL}};
    begin(&w, answers, 1, 1);
    LOOP_UNTIL(&w.loop, http_server_requests(w.server) == 1);
    si__upload_try_now(w.upload, on_tried, &w);
    end(&w); /* its own deadline is shorter than the transfer's */
    assert_int_equal(w.tried, 1);
}

static void test_closing_at_any_moment(void **state) {
    (void)state;
    const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL}};
    for (int turns = 0; turns < 30; turns++) {
        world w;
        begin(&w, answers, 1, 5);
        for (int i = 0; i < turns; i++) uv_run(&w.loop, UV_RUN_NOWAIT);
        end(&w);
    }
}

static void test_many_reports_while_more_come(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, STORED, NULL, NULL}};
    begin(&w, answers, 1, 20);
    for (uint64_t i = 21; i <= 60; i++) {
        put(&w, i);
        si__upload_kick(w.upload);
        uv_run(&w.loop, UV_RUN_NOWAIT);
    }
    try_now(&w);
    assert_int_equal(counts_of(&w).acked, 60);
    assert_int_equal(http_server_requests(w.server), 60); /* each once */
    end(&w);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reports_arrive_as_they_were_put),
        cmocka_unit_test(test_no_wrong_answer_counts_as_stored),
        cmocka_unit_test(test_a_refused_key_keeps_reports_and_is_said_once),
        cmocka_unit_test(test_what_is_refused_for_good_is_set_aside),
        cmocka_unit_test(test_reports_of_a_deleted_application_are_dropped_and_not_kept),
        cmocka_unit_test(test_retry_comes_by_itself),
        cmocka_unit_test(test_retry_after_is_obeyed),
        cmocka_unit_test(test_one_poisonous_report_does_not_stop_the_others),
        cmocka_unit_test(test_an_unreachable_dashboard),
        cmocka_unit_test(test_other_protocols_are_not_spoken),
        cmocka_unit_test(test_a_dashboard_that_cannot_prove_itself_gets_nothing),
        cmocka_unit_test(test_without_a_fitting_key_nothing_is_sent),
        cmocka_unit_test(test_closing_does_not_wait_for_a_server_that_hangs),
        cmocka_unit_test(test_closing_at_any_moment),
        cmocka_unit_test(test_many_reports_while_more_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
