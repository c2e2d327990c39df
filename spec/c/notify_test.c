/*
 * Notifications to real HTTP servers: delivered until accepted, signed, grouped, and proof against names that try to be
 * more than names. Mail: notify_mail_test.c; receivers that fail: notify_failure_test.c; restarts: notify_keep_test.c.
 */
#include "notify_world.h"

#include <locale.h>
#include <math.h>
#include <signal.h>

#include "../../runtime/notify/sha256.h"
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

static void test_a_message_leads_to_the_profile_that_fired(void **state) {
    (void)state;
    world w;
    const server_answer answers[] = {{ANSWER, 200, "ok", NULL, NULL}};
    http_server *server = http_server_start(answers, 1);
    begin(&w);
    load(&w,
         "{\"channels\":{\"webhook:ops\":{\"url\":\"http://127.0.0.1:%u/\"},\"slack:perf\":{\"url\":\"http://"
         "127.0.0.1:%u/\"},"
         "\"pagerduty:core\":{\"routing_key\":\"k\",\"url\":\"http://127.0.0.1:%u/\"}}}",
         server->port, server->port, server->port);
    si__alert a = alert_of("hotspot", "x", SI__ALERT_FIRING), b = alert_of("leak", "y", SI__ALERT_RESOLVED);
    a.subject = "cpu";
    a.app = "shop & co/x";
    b.subject = "heap|cache_put<int> (libshop.so)";
    const si__alert alerts[] = {a, b};
    send_alerts(&w, "webhook:ops", alerts, 2);
    LOOP_UNTIL(&w.loop, w.sent == 1);
    send_alerts(&w, "slack:perf", &b, 1);
    LOOP_UNTIL(&w.loop, w.sent == 2);
    send_alerts(&w, "pagerduty:core", &b, 1);
    LOOP_UNTIL(&w.loop, w.sent == 3);
    static const char leak[] =
        "https://si.example.org/a/shop/production/profiles/heap?from=1699999100000&to=1700000420000"
        "&q=cache_put%3Cint%3E";
    si__json *hook = json_body(http_server_request(server, 0)), *slack = json_body(http_server_request(server, 1)),
             *pager = json_body(http_server_request(server, 2));
    const si__json *told = si__json_get(hook, "alerts")->first;
    assert_string_equal(si__json_get_string(told, "profile", ""),
                        "https://si.example.org/a/shop%20%26%20co%2Fx/production/profiles/cpu?from=1699999100000&to="
                        "1700000360000");
    assert_string_equal(si__json_get_string(told->next, "profile", ""), leak);
    char named[400];
    int found = 0;
    snprintf(named, sizeof named, "<%s|the profile that fired>", leak);
    for (const si__json *f = si__json_get(si__json_get(slack, "attachments")->first, "fields")->first; f; f = f->next)
        found += !strcmp(si__json_get_string(f, "value", ""), named);
    assert_int_equal(found, 1);
    assert_string_equal(si__json_get_string(si__json_get(pager, "links")->first->next, "href", ""), leak);
    si__json_free(hook);
    si__json_free(slack);
    si__json_free(pager);
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
    load(&w, "{\"channels\":{\"slack:perf\":{\"url\":\"http://127.0.0.1:%u/again\"}}}",
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
    for (int i = 0; i < 510; i++) send_alerts(&w, "webhook:ops", &a, 1);
    assert_int_equal(si__notify_pending(w.notify), 500); /* the newest, and the one that is under way */
    assert_int_equal(w.failed, 10);
    assert_non_null(strstr(w.log, "too much was waiting"));
    end(&w);
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
        cmocka_unit_test(test_a_message_leads_to_the_profile_that_fired),
        cmocka_unit_test(test_it_is_tried_again_until_accepted),
        cmocka_unit_test(test_retry_after_is_obeyed),
        cmocka_unit_test(test_what_is_refused_every_time_fails_visibly),
        cmocka_unit_test(test_closing_with_a_delivery_under_way),
        cmocka_unit_test(test_slack_gets_text_not_markup_and_one_message_a_second),
        cmocka_unit_test(test_pagerduty_gets_one_event_per_alert),
        cmocka_unit_test(test_a_long_group_is_cut_but_counted),
        cmocka_unit_test(test_another_name_reaches_all_it_stands_for),
        cmocka_unit_test(test_the_queue_is_bounded),
        cmocka_unit_test(test_a_wrong_channels_file_is_named_and_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
