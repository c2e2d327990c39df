/*
 * Notifications to real servers, HTTP and SMTP: delivered until accepted, signed, grouped, and proof against names that
 * try to be more than names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <poll.h>
#include <si/si.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../runtime/notify/notify.h"
#include "../../runtime/notify/sha256.h"
#include "../../runtime/report/json.h"
#include "http_server.h"
#include "loop_until.h"
#include "temporary_dir.h"

/* ---- A world: loop, notify, log of events ---- */

typedef struct world {
    uv_loop_t loop;
    si__notify *notify;
    char events[8192], log[4096];
    int sent, retries, failed, closed;
} world;

static void on_event(void *arg, const si__notify_event *e) {
    world *w = arg;
    size_t used = strlen(w->events);
    snprintf(w->events + used, sizeof w->events - used, "%llu %s %s %d %s\n", (unsigned long long)e->id, e->destination,
             e->state, e->attempts, e->error ? e->error : "");
    w->sent += !strcmp(e->state, "sent");
    w->retries += !strcmp(e->state, "retry");
    w->failed += !strcmp(e->state, "failed");
}

static void on_log(void *arg, int level, const char *message) {
    world *w = arg;
    size_t used = strlen(w->log);
    snprintf(w->log + used, sizeof w->log - used, "%d %s\n", level, message);
}

static void on_closed(void *arg) {
    world *w = arg;
    w->closed = 1;
}

static void begin_with_ca(world *w, const char *ca_file) {
    memset(w, 0, sizeof *w);
    uv_loop_init(&w->loop);
    const si__notify_options options = {.link_base = "https://si.example.org/",
                                        .log = on_log,
                                        .log_arg = w,
                                        .on_event = on_event,
                                        .event_arg = w,
                                        .ca_file = ca_file};
    w->notify = si__notify_new(&w->loop, &options);
    assert_non_null(w->notify);
}

static void begin(world *w) {
    begin_with_ca(w, NULL);
}

static void end(world *w) {
    si__notify_close(w->notify, on_closed, w);
    LOOP_UNTIL(&w->loop, w->closed);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static void load(world *w, const char *format, ...) {
    char json[4096], error[200];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(json, sizeof json, format, arguments);
    va_end(arguments);
    if (si__notify_channels_load(w->notify, json, (size_t)n, error, sizeof error)) fail_msg("%s", error);
}

static si__alert alert_of(const char *rule, const char *summary, si__alert_state state) {
    return (si__alert){.fingerprint = "00112233445566778899aabbccddeeff",
                       .rule = (char *)rule,
                       .subject = "process.cpu.utilization",
                       .severity = "critical",
                       .summary = (char *)summary,
                       .runbook = "https://runbooks.example.org/cpu",
                       .detail = "main\n  work",
                       .app = "shop",
                       .environment = "production",
                       .host = "web-17",
                       .state = state,
                       .value = 0.93,
                       .started_ms = 1700000000000,
                       .fired_ms = 1700000060000,
                       .resolved_ms = state == SI__ALERT_RESOLVED ? 1700000120000 : 0};
}

static uint64_t send_alerts(world *w, const char *to, const si__alert *alerts, size_t count) {
    char error[200];
    uint64_t id = si__notify_send(w->notify, to, alerts, count, error, sizeof error);
    if (!id) fail_msg("not queued: %s", error);
    return id;
}

static si__json *json_body(const server_request *r) {
    si__json *root;
    char error[100];
    if (si__json_parse(r->body, r->length, &root, error, sizeof error)) fail_msg("the body is no JSON: %s", error);
    return root;
}

static void header_of(const server_request *r, const char *name, char *out, size_t bytes) {
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%s: ", name);
    const char *at = strstr(r->headers, wanted);
    out[0] = '\0';
    if (at) snprintf(out, bytes, "%.*s", (int)strcspn(at + strlen(wanted), "\n"), at + strlen(wanted));
}

/* ---- SHA-256 ---- */

static void assert_sha256(const char *text, size_t times, const char *expected) {
    si__sha256 hash;
    uint8_t digest[32];
    char hex[65];
    si__sha256_begin(&hash);
    for (size_t i = 0; i < times; i++) si__sha256_add(&hash, text, strlen(text));
    si__sha256_end(&hash, digest);
    si__sha256_hex(digest, hex);
    assert_string_equal(hex, expected);
}

static void assert_hmac(const char *key, size_t key_length, const char *text, const char *expected) {
    si__hmac_sha256 mac;
    uint8_t digest[32];
    char hex[65];
    si__hmac_sha256_begin(&mac, key, key_length);
    si__hmac_sha256_add(&mac, text, strlen(text));
    si__hmac_sha256_end(&mac, digest);
    si__sha256_hex(digest, hex);
    assert_string_equal(hex, expected);
}

static void test_sha256_and_hmac_agree_with_the_published_vectors(void **state) {
    (void)state;
    assert_sha256("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_sha256("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_sha256("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    char key[131];
    memset(key, 0x0b, 20); /* RFC 4231, cases 1, 2 and 6 */
    assert_hmac(key, 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_hmac("Jefe", 4, "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, 131);
    assert_hmac(key, 131, "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* ---- HTTP ---- */

static void test_a_webhook_is_signed_and_complete(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 204, "", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/hook\",\"secret\":\"s3cret\"}}}",
         server->port);
    const si__alert alerts[] = {alert_of("cpu_high", "CPU above 85 %", SI__ALERT_FIRING),
                                alert_of("leak", "<b>\"\x01\xff", SI__ALERT_RESOLVED)};
    send_alerts(&w, "webhook:ops", alerts, 2);
    assert_int_equal(si__notify_pending(w.notify), 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_int_equal(si__notify_pending(w.notify), 0);
    const server_request *r = http_server_request(server, 0);
    si__json *root = json_body(r);
    const si__json *list = si__json_get(root, "alerts");
    assert_int_equal(list->count, 2);
    assert_string_equal(si__json_get_string(root, "state", ""), "firing");
    assert_string_equal(si__json_get_string(list->first, "rule", ""), "cpu_high");
    assert_true(si__json_get_number(list->first, "value", 0) == 0.93);
    assert_string_equal(si__json_get_string(list->first, "link", ""),
                        "https://si.example.org/alerts?fingerprint=00112233445566778899aabbccddeeff");
    assert_string_equal(si__json_get_string(list->first->next, "summary", ""), "<b>\"\x01\xef\xbf\xbd");
    assert_int_equal(si__json_get_integer(list->first->next, "resolved_ms", 0), 1700000120000);
    assert_null(strchr(r->body, '<')); /* safe inside a page */
    char stamp[64], signature[100], delivery[64], hex[65], expected[80];
    header_of(r, "X-Si-Timestamp", stamp, sizeof stamp);
    header_of(r, "X-Si-Signature", signature, sizeof signature);
    header_of(r, "X-Si-Delivery", delivery, sizeof delivery);
    assert_string_equal(si__json_get_string(root, "delivery", ""), delivery);
    si__hmac_sha256 mac;
    uint8_t digest[32];
    si__hmac_sha256_begin(&mac, "s3cret", 6);
    si__hmac_sha256_add(&mac, stamp, strlen(stamp));
    si__hmac_sha256_add(&mac, ".", 1);
    si__hmac_sha256_add(&mac, r->body, r->length);
    si__hmac_sha256_end(&mac, digest);
    si__sha256_hex(digest, hex);
    snprintf(expected, sizeof expected, "sha256=%s", hex);
    assert_string_equal(signature, expected);
    si__json_free(root);
    end(&w);
    http_server_stop(server);
}

static void test_it_is_tried_again_until_accepted(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {
        {CUT, 0, NULL, NULL, NULL}, {ANSWER, 503, "", NULL, NULL}, {ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 3);
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/secret-path\"}}}", server->port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING), b = alert_of("second", "y", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:ops", &a, 1);
    send_alerts(&w, "webhook:ops", &b, 1);
    LOOP_UNTIL(&w.loop, w.sent == 2);
    assert_int_equal(w.retries, 2);
    assert_int_equal(http_server_requests(server), 4);
    char first[64], again[64];
    header_of(http_server_request(server, 0), "X-Si-Delivery", first, sizeof first);
    header_of(http_server_request(server, 2), "X-Si-Delivery", again, sizeof again);
    assert_string_equal(first, again);                                       /* the receiver can tell a repetition */
    assert_non_null(strstr(http_server_request(server, 3)->body, "second")); /* in order */
    assert_non_null(strstr(w.events, "1 webhook:ops retry 2 HTTP 503"));
    assert_non_null(strstr(w.events, "1 webhook:ops sent 3"));
    assert_null(strstr(w.log, "secret-path"));
    assert_null(strstr(w.events, "secret-path"));
    end(&w);
    http_server_stop(server);
}

static void test_retry_after_is_obeyed(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 429, "", "Retry-After", "3600"}, {ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 2);
    begin(&w);
    load(&w, "{\"channels\":{\"slack:perf\":{\"url\":\"http://127.0.0.1:%u/\"}}}", server->port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "slack:perf", &a, 1);
    LOOP_UNTIL(&w.loop, w.retries == 1);
    uint64_t until = uv_hrtime() + 3000000000ull; /* longer than the longest first back-off */
    LOOP_UNTIL(&w.loop, uv_hrtime() > until);
    assert_int_equal(http_server_requests(server), 1);
    load(&w, "{\"channels\":{\"slack:perf\":{\"url\":\"http://127.0.0.1:%u/\"}}}",
         server->port); /* new settings: a new try */
    LOOP_UNTIL(&w.loop, w.sent == 1);
    end(&w);
    http_server_stop(server);
}

static void test_what_is_refused_every_time_fails_visibly(void **state) {
    (void)state;
    world w;
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:gone\":{\"url\":\"http://127.0.0.1:1/\"}}}");
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:gone", &a, 1);
    LOOP_UNTIL(&w.loop, w.retries == 1);
    load(&w, "{\"channels\":{}}");
    assert_int_equal(w.failed, 1);
    assert_int_equal(si__notify_pending(w.notify), 0);
    assert_non_null(strstr(w.events, "failed 1 the channel was removed"));
    assert_non_null(strstr(w.log, "was given up"));
    end(&w);
}

static void test_closing_with_a_delivery_under_way(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{HANG, 200, NULL, NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"}}}", server->port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:ops", &a, 1);
    send_alerts(&w, "webhook:ops", &a, 1);
    LOOP_UNTIL(&w.loop, http_server_requests(server) == 1);
    end(&w);
    assert_int_equal(w.failed, 2);
    http_server_stop(server);
}

static void test_slack_gets_text_not_markup_and_one_message_a_second(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    load(&w, "{\"channels\":{\"slack:perf\":{\"url\":\"http://127.0.0.1:%u/services/T0/B0/x\"}}}", server->port);
    const si__alert a = alert_of("<!channel> & co", "x", SI__ALERT_FIRING);
    send_alerts(&w, "slack:perf", &a, 1);
    send_alerts(&w, "slack:perf", &a, 1);
    uint64_t start = uv_hrtime();
    LOOP_UNTIL(&w.loop, w.sent == 2);
    assert_true(uv_hrtime() - start >= 990000000ull); /* a lower bound: Slack's limit */
    si__json *root = json_body(http_server_request(server, 0));
    assert_string_equal(si__json_get_string(root, "text", ""),
                        "[FIRING] &lt;!channel&gt; &amp; co: x (shop/production)");
    const si__json *attachment = si__json_get(root, "attachments")->first;
    assert_string_equal(si__json_get_string(attachment, "title", ""), "&lt;!channel&gt; &amp; co");
    assert_int_equal(si__json_get_integer(attachment, "ts", 0), 1700000060);
    si__json_free(root);
    end(&w);
    http_server_stop(server);
}

static void test_pagerduty_gets_one_event_per_alert(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 202, "{\"status\":\"success\"}", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    setenv("SI_SPEC_ROUTING", "R0UT1NG", 1);
    load(&w,
         "{\"channels\":{\"pagerduty:core\":{\"routing_key\":\"env:SI_SPEC_ROUTING\",\"url\":\"http://127.0.0.1:%u/v2/"
         "enqueue\"}}}",
         server->port);
    const si__alert alerts[] = {alert_of("cpu_high", "x", SI__ALERT_FIRING), alert_of("leak", "y", SI__ALERT_RESOLVED)};
    send_alerts(&w, "pagerduty:core", alerts, 2);
    LOOP_UNTIL(&w.loop, w.sent == 2);
    si__json *first = json_body(http_server_request(server, 0)), *second = json_body(http_server_request(server, 1));
    assert_string_equal(si__json_get_string(first, "routing_key", ""), "R0UT1NG");
    assert_string_equal(si__json_get_string(first, "event_action", ""), "trigger");
    assert_string_equal(si__json_get_string(second, "event_action", ""), "resolve");
    assert_string_equal(si__json_get_string(second, "dedup_key", ""), alerts[1].fingerprint);
    assert_string_equal(si__json_get_string(si__json_get(first, "payload"), "severity", ""), "critical");
    si__json_free(first);
    si__json_free(second);
    end(&w);
    http_server_stop(server);
}

static void test_a_long_group_is_cut_but_counted(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    load(&w, "{\"channels\":{\"slack:perf\":{\"url\":\"http://127.0.0.1:%u/\"}}}", server->port);
    si__alert alerts[60];
    for (int i = 0; i < 60; i++) alerts[i] = alert_of("cpu_high", "x", i ? SI__ALERT_FIRING : SI__ALERT_RESOLVED);
    send_alerts(&w, "slack:perf", alerts, 60);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    si__json *root = json_body(http_server_request(server, 0));
    assert_int_equal(si__json_get(root, "attachments")->count, 21);
    assert_string_equal(si__json_get_string(root, "text", ""),
                        "[FIRING 59, RESOLVED 1] cpu_high and 59 more (shop/production)");
    assert_non_null(strstr(http_server_request(server, 0)->body, "and 40 more"));
    si__json_free(root);
    end(&w);
    http_server_stop(server);
}

static void test_another_name_reaches_all_it_stands_for(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    load(&w,
         "{\"channels\":{\"default\":[\"slack:a\",\"webhook:b\"],\"slack:a\":{\"url\":\"http://127.0.0.1:%u/a\"},"
         "\"webhook:b\":{\"url\":\"http://127.0.0.1:%u/b\"}}}",
         server->port, server->port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "default", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 2);
    assert_non_null(strstr(w.events, "1 slack:a sent 1"));
    assert_non_null(strstr(w.events, "1 webhook:b sent 1"));
    end(&w);
    http_server_stop(server);
}

static void test_the_queue_is_bounded(void **state) {
    (void)state;
    world w;
    char error[200];
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:1/\"}}}");
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    assert_int_equal(si__notify_send(w.notify, "webhook:nope", &a, 1, error, sizeof error), 0);
    assert_string_equal(error, "no channel is named webhook:nope");
    for (int i = 0; i < 1000; i++) send_alerts(&w, "webhook:ops", &a, 1);
    assert_int_equal(si__notify_send(w.notify, "webhook:ops", &a, 1, error, sizeof error), 0);
    assert_non_null(strstr(error, "too much is waiting"));
    end(&w);
}

/* ---- Mail ---- */

typedef struct smtp_server {
    pid_t pid;
    int in, out; /* its standard input and output */
    unsigned port;
} smtp_server;

static void read_line(int fd, char *out, size_t bytes) {
    size_t n = 0;
    struct pollfd ready = {fd, POLLIN, 0};
    while (n + 1 < bytes && poll(&ready, 1, 20000) == 1 && read(fd, out + n, 1) == 1 && out[n] != '\n') n++;
    out[n] = '\0';
}

static smtp_server smtp_start(char *const arguments[]) {
    smtp_server s;
    int in[2], out[2];
    char *argv[12] = {"python3", SI_SOURCE_DIR "/spec/c/smtp_server.py"}, line[64];
    for (int i = 0; arguments[i]; i++) argv[2 + i] = arguments[i];
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
    s.pid = fork();
    if (s.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execv("/usr/bin/python3", argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    s.in = in[1];
    s.out = out[0];
    read_line(s.out, line, sizeof line);
    s.port = (unsigned)atoi(line);
    assert_true(s.port > 0);
    return s;
}

static void smtp_stop(smtp_server *s) {
    close(s->in);
    close(s->out);
    kill(s->pid, SIGTERM);
    waitpid(s->pid, NULL, 0);
}

static si__json *next_mail(smtp_server *s) {
    static char line[65536];
    si__json *root;
    read_line(s->out, line, sizeof line);
    if (si__json_parse(line, strlen(line), &root, NULL, 0)) fail_msg("no mail: %s", line);
    return root;
}

static void test_a_mail_is_proper_and_cannot_be_injected_into(void **state) {
    (void)state;
    world w;
    smtp_server s = smtp_start((char *[]){NULL});
    begin(&w);
    load(&w,
         "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://"
         "127.0.0.1:%u\",\"tls\":\"none\",\"from\":\"si@example.org\",\"to\":[\"a@example.org\",\"b@example.org\"]}}}",
         s.port);
    si__alert a =
        alert_of("evil\r\nBcc: victim@example.org\r\n\r\nbody", "CPU \xc3\xa9lev\xc3\xa9\xff", SI__ALERT_FIRING);
    a.detail = "line\r\n.\r\nMAIL FROM:<x@y>\n.\n=3D trailing "
               "\nlooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooong";
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    si__json *mail = next_mail(&s);
    const char *data = si__json_get_string(mail, "data", "");
    assert_string_equal(si__json_get_string(mail, "from", ""), "si@example.org");
    assert_int_equal(si__json_get(mail, "to")->count, 2);
    const char *body = strstr(data, "\r\n\r\n");
    assert_non_null(body);
    const char *names[] = {"From: <si@example.org>\r\n",
                           "To: <a@example.org>,\r\n <b@example.org>\r\n",
                           "MIME-Version: 1.0\r\n",
                           "Message-ID: <si-",
                           "\r\nDate: ",
                           "References: <si-alert-00112233445566778899aabbccddeeff@example.org>\r\n",
                           "Subject: =?UTF-8?Q?=5BFIRING=5D_evil"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *found = strstr(data, names[i]);
        if (!found || found > body) fail_msg("no %s in the head of %s", names[i], data);
    }
    const char *bcc = strstr(data, "\nBcc:");
    assert_true(!bcc || bcc > body);
    for (const char *line = data; *line;) { /* every line ends in CRLF and is short */
        size_t length = strcspn(line, "\r\n");
        assert_true(length <= 78);
        assert_memory_equal(line + length, "\r\n", 2);
        line += length + 2;
    }
    assert_non_null(strstr(body, "CPU =C3=A9lev=C3=A9?"));
    assert_non_null(strstr(body, "=3D3D trailing=20\r\n"));
    assert_non_null(strstr(body, "https://si.example.org/alerts"));
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
}

static void test_a_mail_refused_for_now_goes_later(void **state) {
    (void)state;
    world w;
    smtp_server s = smtp_start((char *[]){"--refuse", "1", "451", NULL});
    begin(&w);
    load(&w,
         "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://"
         "127.0.0.1:%u\",\"tls\":\"none\",\"from\":\"si@example.org\",\"to\":[\"a@example.org\"]}}}",
         s.port);
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_RESOLVED);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    assert_int_equal(w.retries, 1);
    assert_non_null(strstr(w.events, "retry 1 SMTP 451"));
    si__json *mail = next_mail(&s);
    assert_non_null(
        strstr(si__json_get_string(mail, "data", ""), "Subject: [RESOLVED] cpu_high: x (shop/production)\r\n"));
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
}

static void test_mail_over_tls_with_a_log_in(void **state) {
    (void)state;
    char dir[64], cert[100], key[100], password[100];
    temporary_dir_make(dir);
    if (!temporary_certificate(dir, cert, key)) {
        temporary_dir_remove(dir);
        print_message("no openssl: mail over TLS is left out\n");
        skip();
    }
    snprintf(password, sizeof password, "%s/password", dir);
    FILE *file = fopen(password, "w");
    fputs("pass word\n", file);
    fclose(file);
    smtp_server s = smtp_start((char *[]){"--tls", cert, key, NULL});
    static const char format[] = "{\"channels\":{\"email:leads\":{\"smtp\":\"smtp://"
                                 "127.0.0.1:%u\",\"user\":\"si\",\"password\":\"file:%s\",\"from\":\"si@example.org\","
                                 "\"to\":[\"a@example.org\"]}}}";
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    world w;
    begin(&w); /* without its certificate it is not trusted */
    load(&w, format, s.port, password);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.retries == 1);
    assert_non_null(strstr(w.events, "SSL"));
    end(&w);
    begin_with_ca(&w, cert);
    load(&w, format, s.port, password);
    send_alerts(&w, "email:leads", &a, 1);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    si__json *mail = next_mail(&s);
    assert_int_equal(si__json_get_bool(mail, "tls", 0), 1);
    assert_string_equal(si__json_get_string(mail, "user", ""), "si");
    si__json_free(mail);
    end(&w);
    smtp_stop(&s);
    temporary_dir_remove(dir);
}

/* ---- The channels file ---- */

static void test_a_wrong_channels_file_is_named_and_changes_nothing(void **state) {
    (void)state;
    static const struct {
        const char *json, *error;
    } wrong[] = {
        {"{\"channels\":", "line 1: ends too early"},
        {"[]", "expected {\"channels\": {...}} with at most 256"},
        {"{\"channels\":{\"fax:x\":{}}}",
         "channel fax:x: a name is webhook:, slack:, email: or pagerduty: and up to 50 letters"},
        {"{\"channels\":{\"slack:x\":{}}}", "channel slack:x: field url: is missing"},
        {"{\"channels\":{\"slack:x\":{\"url\":\"\"}}}", "channel slack:x: field url: must be a text"},
        {"{\"channels\":{\"slack:x\":{\"url\":\"ftp://x/\"}}}",
         "channel slack:x: field url: must begin with https:// or http://"},
        {"{\"channels\":{\"slack:x\":{\"url\":\"file:///\"}}}", "channel slack:x: field url: cannot read ///"},
        {"{\"channels\":{\"slack:x\":{\"url\":\"env:SI_SPEC_UNSET\"}}}",
         "channel slack:x: field url: the environment variable SI_SPEC_UNSET is not set"},
        {"{\"channels\":{\"slack:x\":{\"url\":\"https://a\",\"channel\":\"#b\"}}}",
         "channel slack:x: field channel: is not known for slack"},
        {"{\"channels\":{\"slack:x\":{\"url\":\"https://a\"},\"slack:x\":{\"url\":\"https://b\"}}}",
         "channel slack:x: given twice"},
        {"{\"channels\":{\"webhook:x\":{\"url\":\"https://a/\",\"secret\":\"a\\nb\"}}}",
         "channel webhook:x: field secret: has control characters"},
        {"{\"channels\":{\"email:x\":{\"smtp\":\"smtp://h\",\"from\":\"me\",\"to\":[\"a@b\"]}}}",
         "channel email:x: field from: must be a plain address, such as si@example.org"},
        {"{\"channels\":{\"email:x\":{\"smtp\":\"smtp://h\",\"from\":\"a@b\",\"to\":[]}}}",
         "channel email:x: field to: must be a list of 1 to 50 addresses"},
        {"{\"channels\":{\"email:x\":{\"smtp\":\"smtp://h\",\"from\":\"a@b\",\"to\":[\"a@b\\r\\nDATA\"]}}}",
         "channel email:x: field to: must hold plain addresses, such as lead@example.org"},
        {"{\"channels\":{\"email:x\":{\"smtp\":\"smtp://h\",\"user\":\"u\",\"from\":\"a@b\",\"to\":[\"a@b\"]}}}",
         "channel email:x: field password: is missing"},
        {"{\"channels\":{\"email:x\":{\"smtp\":\"smtp://h\",\"tls\":\"maybe\",\"from\":\"a@b\",\"to\":[\"a@b\"]}}}",
         "channel email:x: field tls: must be \"required\", \"try\" or \"none\""},
        {"{\"channels\":{\"default\":\"slack:x\"}}", "channel default: there is no channel slack:x"},
        {"{\"channels\":{\"default\":\"default\"}}", "channel default: there is no channel default"},
        {"{\"channels\":{\"default\":[7]}}",
         "channel default: must be an object, a channel's name, or a list of names"},
        {"{\"channels\":{\"pagerduty:x\":{}}}", "channel pagerduty:x: field routing_key: is missing"},
    };
    world w;
    char error[200];
    begin(&w);
    load(&w, "{\"channels\":{\"webhook:good\":{\"url\":\"http://127.0.0.1:1/\"}}}");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_true(si__notify_channels_load(w.notify, wrong[i].json, strlen(wrong[i].json), error, sizeof error) < 0);
        assert_string_equal(error, wrong[i].error);
    }
    const si__alert a = alert_of("cpu_high", "x", SI__ALERT_FIRING);
    send_alerts(&w, "webhook:good", &a, 1);
    end(&w);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    setlocale(LC_ALL, "de_DE.UTF-8"); /* a host may have any; where it is installed, decimals would have commas */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_and_hmac_agree_with_the_published_vectors),
        cmocka_unit_test(test_a_webhook_is_signed_and_complete),
        cmocka_unit_test(test_it_is_tried_again_until_accepted),
        cmocka_unit_test(test_retry_after_is_obeyed),
        cmocka_unit_test(test_what_is_refused_every_time_fails_visibly),
        cmocka_unit_test(test_closing_with_a_delivery_under_way),
        cmocka_unit_test(test_slack_gets_text_not_markup_and_one_message_a_second),
        cmocka_unit_test(test_pagerduty_gets_one_event_per_alert),
        cmocka_unit_test(test_a_long_group_is_cut_but_counted),
        cmocka_unit_test(test_another_name_reaches_all_it_stands_for),
        cmocka_unit_test(test_the_queue_is_bounded),
        cmocka_unit_test(test_a_mail_is_proper_and_cannot_be_injected_into),
        cmocka_unit_test(test_a_mail_refused_for_now_goes_later),
        cmocka_unit_test(test_mail_over_tls_with_a_log_in),
        cmocka_unit_test(test_a_wrong_channels_file_is_named_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
