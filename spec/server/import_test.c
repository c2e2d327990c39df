/*
 * pprof files from outside: real ones of a Go program (fixtures/go_profiles.go made them) against what `go tool pprof`
 * says of them; our own downloads back in; files that are cut, flipped, made up to cost memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "../../dashboard/server/pprof_in.h"
#include "../../runtime/profile/protobuf.h"
#include "dashboard.h"
#include "made_report.h"

typedef struct bytes {
    uint8_t *data;
    size_t length;
} bytes;

static bytes fixture(const char *name) {
    char path[512];
    bytes b = {malloc(65536), 0};
    snprintf(path, sizeof path, "%s/spec/server/fixtures/%s", SI_SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    b.length = fread(b.data, 1, 65536, file);
    assert_true(b.length > 0 && b.length < 65536);
    fclose(file);
    return b;
}

static bytes unpacked(const char *name) {
    bytes packed = fixture(name), b = {malloc(1 << 20), 0};
    z_stream stream = {.next_in = packed.data, .avail_in = (unsigned)packed.length};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_out = b.data;
    stream.avail_out = 1 << 20;
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    b.length = stream.total_out;
    inflateEnd(&stream);
    free(packed.data);
    return b;
}

static int64_t self_of(const si__calltree *tree, const char *function) {
    int64_t sum = 0;
    for (size_t i = 1; i < si__calltree_node_count(tree); i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        if (!strcmp(si__calltree_frame_at(tree, node->frame)->function, function)) sum += node->self_value;
    }
    return sum;
}

/* ---- Real files ---- */

static void profiles_of_go_say_what_go_says(void **state) {
    si__pprof_in in;
    char why[200];
    (void)state;
    bytes b = fixture("go_cpu.pb.gz");
    assert_int_equal(si__pprof_read(b.data, b.length, &in, why, sizeof why), 0);
    assert_int_equal(in.count, 1);
    assert_string_equal(in.profiles[0].type, "cpu");
    assert_string_equal(in.profiles[0].unit, "ns");
    assert_int_equal(in.profiles[0].samples, 9); /* of its "samples/count" */
    assert_int_equal(si__calltree_total_value(in.profiles[0].tree), 90000000);
    assert_int_equal(self_of(in.profiles[0].tree, "main.burn"), 60000000);
    assert_true(in.duration_ns > 2000000000 && in.duration_ns < 3000000000);
    si__pprof_in_clear(&in);
    free(b.data);
    b = fixture("go_heap.pb.gz");
    assert_int_equal(si__pprof_read(b.data, b.length, &in, why, sizeof why), 0);
    assert_int_equal(in.count, 2);
    assert_string_equal(in.profiles[1].type, "heap");
    assert_string_equal(in.profiles[1].unit, "bytes");
    assert_int_equal(si__calltree_total_value(in.profiles[1].tree), 8580218);
    assert_int_equal(self_of(in.profiles[1].tree, "main.alloc"), 7531386);
    si__pprof_in_clear(&in);
    free(b.data);
    b = fixture("go_mutex.pb.gz");
    assert_int_equal(si__pprof_read(b.data, b.length, &in, why, sizeof why), 0);
    assert_string_equal(in.profiles[0].type, "delay");
    assert_int_equal(self_of(in.profiles[0].tree, "sync.(*Mutex).Unlock"), 134870436);
    si__pprof_in_clear(&in);
    free(b.data);
}

/* ---- Hostile files ---- */

static void broken_files_are_refused_or_read_and_nothing_else(void **state) {
    char why[200];
    uint64_t random = 4711;
    (void)state;
    bytes whole = unpacked("go_heap.pb.gz");
    for (size_t length = 0; length < whole.length; length++) { /* cut at every byte; malloc'ed, so that ASan sees */
        si__pprof_in in;
        uint8_t *cut = malloc(length + 1);
        memcpy(cut, whole.data, length);
        int failed = si__pprof_read(cut, length, &in, why, sizeof why);
        assert_true(failed == 0 || failed == SI_EFORMAT || failed == SI_ELIMIT);
        si__pprof_in_clear(&in);
        free(cut);
    }
    for (int i = 0; i < 5000; i++) {
        si__pprof_in in;
        uint8_t *flipped = malloc(whole.length);
        memcpy(flipped, whole.data, whole.length);
        for (int k = 0; k < 3; k++)
            flipped[made_random(&random) % whole.length] ^= (uint8_t)(1 << made_random(&random) % 8);
        int failed = si__pprof_read(flipped, whole.length, &in, why, sizeof why);
        assert_true(failed == 0 || failed == SI_EFORMAT || failed == SI_ELIMIT);
        si__pprof_in_clear(&in);
        free(flipped);
    }
    free(whole.data);
}

static bytes gzipped(const uint8_t *data, size_t length) {
    z_stream stream = {.next_in = (uint8_t *)data, .avail_in = (unsigned)length};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    bytes b = {malloc(deflateBound(&stream, length)), 0};
    stream.next_out = b.data;
    stream.avail_out = (unsigned)deflateBound(&stream, length);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    b.length = stream.total_out;
    deflateEnd(&stream);
    return b;
}

static void bombs_stay_small(void **state) {
    si__pprof_in in;
    char why[200];
    size_t length = SI__PPROF_MOST_BYTES + 1000;
    (void)state;
    uint8_t *zeros = calloc(1, length);
    bytes bomb = gzipped(zeros, length);
    assert_true(bomb.length < 100000);
    assert_int_equal(si__pprof_read(bomb.data, bomb.length, &in, why, sizeof why), SI_ELIMIT);
    assert_non_null(strstr(why, "MiB"));
    free(bomb.data);
    for (size_t i = 0; i + 1 < length; i += 2) zeros[i] = 6 << 3 | 2; /* 32 million empty strings */
    bomb = gzipped(zeros, SI__PPROF_MOST_BYTES - 1000);
    assert_int_equal(si__pprof_read(bomb.data, bomb.length, &in, why, sizeof why), SI_ELIMIT);
    assert_non_null(strstr(why, "strings"));
    free(bomb.data);
    free(zeros);
}

/* A file with one stack of `depth` calls to the same function. */
static bytes deep_file(unsigned depth, uint64_t location) {
    si__protobuf whole = {0}, part = {0};
    uint64_t *stack = malloc(depth * sizeof *stack), values[] = {7};
    for (unsigned i = 0; i < depth; i++) stack[i] = location;
    si__protobuf_number(&part, 1, 1);
    si__protobuf_number(&part, 2, 2);
    si__protobuf_message(&whole, 1, &part);
    si__protobuf_packed(&part, 1, stack, depth);
    si__protobuf_packed(&part, 2, values, 1);
    si__protobuf_message(&whole, 2, &part);
    si__protobuf_number(&part, 1, 5); /* a location with an address alone */
    si__protobuf_number(&part, 3, 0x1234);
    si__protobuf_message(&whole, 4, &part);
    static const char *const texts[] = {"", "wall", "microseconds"};
    for (int i = 0; i < 3; i++) si__protobuf_bytes(&whole, 6, texts[i], strlen(texts[i]));
    si__protobuf_free(&part);
    free(stack);
    return (bytes){whole.bytes, whole.length};
}

static void odd_files_are_read_as_far_as_they_make_sense(void **state) {
    si__pprof_in in;
    char why[200];
    (void)state;
    bytes b = deep_file(3, 5);
    assert_int_equal(si__pprof_read(b.data, b.length, &in, why, sizeof why), 0);
    assert_string_equal(in.profiles[0].type, "wall");
    assert_string_equal(in.profiles[0].unit, "ns");
    assert_int_equal(self_of(in.profiles[0].tree, "[unknown+0x1234]"), 7000); /* microseconds */
    assert_int_equal(si__calltree_node_count(in.profiles[0].tree), 4);
    si__pprof_in_clear(&in);
    free(b.data);
    b = deep_file(5000, 5);
    assert_int_equal(si__pprof_read(b.data, b.length, &in, why, sizeof why), 0);
    assert_int_equal(in.cut_stacks, 1); /* and says so */
    assert_int_equal(si__calltree_node_count(in.profiles[0].tree), SI__PPROF_MOST_DEPTH + 1);
    si__pprof_in_clear(&in);
    free(b.data);
    b = deep_file(3, 6);
    assert_int_equal(si__pprof_read(b.data, b.length, &in, why, sizeof why), SI_EFORMAT);
    assert_non_null(strstr(why, "location 6"));
    free(b.data);
    assert_int_equal(si__pprof_read((const uint8_t *)"hello", 5, &in, why, sizeof why), SI_EFORMAT);
    assert_int_equal(si__pprof_read((const uint8_t *)"", 0, &in, why, sizeof why), SI_EFORMAT);
}

/* ---- Through the server ---- */

typedef struct world {
    dashboard d;
    person admin;
    char key[128];
} world;

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    dashboard_make(&w->d);
    dashboard_start(&w->d, NULL);
    dashboard_key(&w->d, "shop", "test", w->key);
    person_sign_in(&w->admin, &w->d);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    dashboard_remove(&w->d);
    free(w);
    return 0;
}

static reply import(person *p, const char *query, const void *data, size_t length) {
    char url[500], origin[120], csrf[120];
    snprintf(url, sizeof url, "%s/api/v1/profiles/import?%s", p->d->url, query);
    snprintf(origin, sizeof origin, "Origin: %s", p->d->url);
    snprintf(csrf, sizeof csrf, "X-CSRF-Token: %s", p->csrf);
    return http("POST", url, (const char *[]){p->cookie, origin, csrf, NULL}, data, length);
}

static void an_import_is_a_profile_like_any_other(void **state) {
    world *w = *state;
    bytes b = fixture("go_cpu.pb.gz");
    reply r = import(&w->admin, "app=gopher&env=dev&name=cpu.pb.gz", b.data, b.length);
    assert_int_equal(r.status, 201);
    reply_free(&r);
    r = import(&w->admin, "app=gopher&env=dev&name=again", b.data, b.length);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\"duplicate\""));
    reply_free(&r);
    si__json *json = person_get(
        &w->admin, "/profiles/top?app=gopher&env=dev&type=cpu&from=0&to=9999999999999"); /* it was taken long ago */
    assert_int_equal(si__json_get_integer(json, "total", 0), 90000000);
    const si__json *first = si__json_get(json, "functions")->first;
    assert_string_equal(si__json_get_string(first, "function", ""), "main.burn");
    assert_int_equal(si__json_get_integer(first, "self", 0), 60000000);
    si__json_free(json);
    r = import(&w->admin, "app=gopher&env=dev", b.data, b.length - 30);
    assert_int_equal(r.status, 400);
    assert_non_null(strstr(r.body, "malformed"));
    reply_free(&r);
    r = import(&w->admin, "app=a/b&env=dev", b.data, b.length);
    assert_int_equal(r.status, 400);
    reply_free(&r);
    r = key_ask(&w->d, w->key, "POST", "/profiles/import?app=gopher&env=dev", b.data, b.length);
    assert_int_equal(r.status, 403); /* the key is for another application */
    reply_free(&r);
    r = key_ask(&w->d, w->key, "POST", "/profiles/import?name=x", b.data, b.length);
    assert_int_equal(r.status, 201);
    assert_non_null(strstr(r.body, "\"app\":\"shop\""));
    reply_free(&r);
    free(b.data);
}

static void our_own_files_come_back_the_same(void **state) {
    world *w = *state;
    struct timespec now;
    char status[32];
    size_t length;
    clock_gettime(CLOCK_REALTIME, &now);
    made m = {.agent = 1,
              .sequence = 1,
              .start_ms = (int64_t)now.tv_sec * 1000 - 600000,
              .end_ms = (int64_t)now.tv_sec * 1000 - 540000};
    si__report *report = made_report(&m);
    made_profile(report, "wall", m.start_ms, 50, 200, 99);
    uint8_t *packed = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, packed, length, status), 200);
    free(packed);
    reply r = person_ask(&w->admin, "GET", "/profiles/export?app=shop&env=test&type=wall&format=pprof", NULL);
    assert_int_equal(r.status, 200);
    reply back = import(&w->admin, "app=back&env=test", r.body, r.length);
    assert_int_equal(back.status, 201);
    reply_free(&back);
    reply_free(&r);
    r = person_ask(&w->admin, "GET", "/profiles/export?app=shop&env=test&type=wall&format=folded", NULL);
    back = person_ask(&w->admin, "GET", "/profiles/export?app=back&env=test&type=wall&format=folded", NULL);
    assert_true(r.length > 1000);
    si__json *one = person_get(&w->admin, "/profiles/tree?app=shop&env=test&type=wall");
    si__json *two = person_get(&w->admin, "/profiles/tree?app=back&env=test&type=wall");
    assert_int_equal(si__json_get_integer(one, "total", 1), si__json_get_integer(two, "total", 2));
    assert_int_equal(si__json_get_integer(one, "samples", 1), si__json_get_integer(two, "samples", 2));
    assert_int_equal(si__json_get(one, "nodes")->count, si__json_get(two, "nodes")->count);
    assert_int_equal(back.length, r.length); /* the same lines, in whatever order */
    si__json_free(one);
    si__json_free(two);
    reply_free(&r);
    reply_free(&back);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_of_go_say_what_go_says),
        cmocka_unit_test(broken_files_are_refused_or_read_and_nothing_else),
        cmocka_unit_test(bombs_stay_small),
        cmocka_unit_test(odd_files_are_read_as_far_as_they_make_sense),
        cmocka_unit_test(an_import_is_a_profile_like_any_other),
        cmocka_unit_test(our_own_files_come_back_the_same),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
