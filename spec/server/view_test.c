/*
 * What the page can do with profiles, against numbers that are added up by hand: top, sandwich, comparing, sources,
 * snapshots, downloads; bottlenecks with their trees; search, versions, collectors, charts.
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dashboard.h"
#include "made_report.h"

#define MS 1000000ll /* in ns */

typedef struct world {
    dashboard d;
    person admin;
    char key[128], sources[64];
    int64_t start_ms;
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Adds a stack "main;work;leaf": a function has one line, and lives in the file of its name. */
static void add_path(si__calltree *tree, const char *path, int64_t value, uint64_t count) {
    static const char *const functions[] = {"main", "work", "leaf", "idle", "fresh", "=cmd"};
    uint32_t node = 0;
    while (*path) {
        char name[64], file[128];
        size_t length = strcspn(path, ";");
        unsigned line = 10;
        snprintf(name, sizeof name, "%.*s", (int)length, path);
        snprintf(file, sizeof file, "/build/shop/src/%s.c", name);
        for (unsigned i = 0; i < 6; i++)
            if (!strcmp(functions[i], name)) line = 10 * (i + 1);
        node = si__calltree_child(tree, node, si__calltree_frame(tree, name, file, line, "shop"));
        path += length + (path[length] == ';');
    }
    si__calltree_add(tree, node, value, count);
}

static si__report *begin(world *w, unsigned agent, uint64_t sequence, const char *version, int64_t start_ms) {
    (void)w;
    made m = {
        .agent = agent, .sequence = sequence, .version = version, .start_ms = start_ms, .end_ms = start_ms + 60000};
    return made_report(&m);
}

static si__calltree *add_profile(si__report *report, const char *type, int64_t start_ms) {
    si__report_profile *p = si__report_add_profile(report);
    p->type = si__report_strdup(type);
    p->unit = si__report_strdup("ns");
    p->trigger = si__report_strdup("cadence");
    p->workload = si__report_strdup("");
    p->start_ms = start_ms;
    p->duration_ns = 2000 * MS;
    p->cores = 4;
    p->samples = 20;
    return p->tree = si__calltree_new();
}

/* Each sample of a function stands for two calls. */
static void add_durations(si__calltree *tree, const char *function, uint64_t duration_ns, unsigned samples) {
    si__sketch *sketch = si__sketch_new();
    si__sketch_add(sketch, duration_ns, 2 * samples);
    for (uint32_t i = 1; i < si__calltree_node_count(tree); i++) {
        uint32_t frame = si__calltree_node_at(tree, i)->frame;
        if (!strcmp(si__calltree_frame_at(tree, frame)->function, function))
            assert_int_equal(si__calltree_spread_add(tree, i, sketch, samples), 0);
    }
    si__sketch_free(sketch);
}

static void add_segment(si__report *report, const char *kind, const char *name, int64_t start_ms, uint64_t each_ns,
                        unsigned count, int with_tree) {
    made_segment(report, name, start_ms, each_ns, 1);
    si__report_segment *s = &report->segments[report->segment_count - 1];
    free(s->kind);
    s->kind = si__report_strdup(kind);
    si__sketch_add(s->sketch, each_ns, count - 1);
    s->count = count;
    s->errors = 1;
    s->sum_ns = each_ns * count;
    if (!with_tree) return;
    s->tree = si__calltree_new();
    add_path(s->tree, "main;work", (int64_t)(each_ns * count / 4), count / 2);
    add_path(s->tree, "main;idle", (int64_t)(each_ns * count / 4 * 3), count - count / 2);
    add_durations(s->tree, "work", each_ns, count / 4);
    add_durations(s->tree, "idle", 3 * each_ns, count / 4);
}

static void send(world *w, si__report *report) {
    char status[32];
    size_t length;
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    assert_string_equal(status, "stored");
    free(bytes);
}

static void send_all(world *w) {
    si__report *one = begin(w, 1, 1, "1.0", w->start_ms), *two = begin(w, 2, 1, "2.0", w->start_ms + 60000);
    si__calltree *tree = add_profile(one, "cpu", w->start_ms);
    add_path(tree, "main;work;leaf", 100 * MS, 10);
    add_path(tree, "main;work;work;leaf", 50 * MS, 5);
    add_path(tree, "main;idle", 50 * MS, 5);
    add_segment(one, "sql", "select 1", w->start_ms, 4 * MS, 100, 1);
    add_segment(one, "cache", "other", w->start_ms, 400 * MS, 100, 0);
    add_segment(one, "document", "find", w->start_ms, 1 * MS, 10, 0);
    add_segment(one, "http_handler", "=HYPERLINK(1)", w->start_ms, 2 * MS, 30, 0);
    made_error(one, "payment refused", "no money", w->start_ms, 3);
    made_point(one, "queue.length", w->start_ms, 17);
    si__report_status *status = si__report_add_status(one);
    status->name = si__report_strdup("cpu");
    status->state = si__report_strdup("unavailable");
    status->reason = si__report_strdup("no timers here");
    send(w, one);
    tree = add_profile(two, "cpu", w->start_ms + 60000);
    add_path(tree, "main;work;leaf", 300 * MS, 30);
    add_path(tree, "main;fresh", 20 * MS, 2);
    add_segment(two, "sql", "select 1", w->start_ms + 60000, 8 * MS, 100, 1);
    send(w, two);
}

static void write_file(const char *dir, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    char path[128];
    snprintf(w->sources, sizeof w->sources, "/tmp/si-sources-XXXXXX");
    assert_non_null(mkdtemp(w->sources));
    snprintf(path, sizeof path, "%s/src", w->sources);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(path, "leaf.c", "one\ntwo\r\nthree");
    snprintf(path, sizeof path, "%s/src/idle.c", w->sources);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    dashboard_make(&w->d);
    dashboard_start(&w->d, (const char *const[]){"--sources", w->sources, "--rollup-after", "1", NULL});
    dashboard_key(&w->d, "shop", "test", w->key);
    w->start_ms = unix_ms() / 60000 * 60000 - 20 * 60000;
    send_all(w);
    person_sign_in(&w->admin, &w->d);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    static const char *const made_here[] = {"src/leaf.c", "src/idle.c", "src", ""};
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", w->sources, made_here[i]);
        if (unlink(path) != 0) rmdir(path);
    }
    dashboard_remove(&w->d);
    free(w);
    return 0;
}

static si__json *get(world *w, const char *format, ...) {
    char path[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(path, sizeof path, format, values);
    va_end(values);
    return person_get(&w->admin, path);
}

static const si__json *at(const si__json *array, size_t index) {
    const si__json *item = array->first;
    while (item && index--) item = item->next;
    assert_non_null(item);
    return item;
}

static const si__json *named(const si__json *array, const char *key, const char *name) {
    for (const si__json *item = array->first; item; item = item->next)
        if (!strcmp(si__json_get_string(item, key, ""), name)) return item;
    return NULL;
}

/* ---- Top ---- */

static void check_cost(const si__json *functions, const char *name, int64_t self_ms, int64_t total_ms,
                       int64_t samples) {
    const si__json *f = named(functions, "function", name);
    assert_non_null(f);
    assert_int_equal(si__json_get_integer(f, "self", -1), self_ms * MS);
    assert_int_equal(si__json_get_integer(f, "total", -1), total_ms * MS);
    assert_int_equal(si__json_get_integer(f, "samples", -1), samples);
}

static void functions_are_told_by_what_they_cost(void **state) {
    world *w = *state;
    si__json *json = get(w, "/profiles/top?app=shop&env=test&type=cpu");
    const si__json *functions = si__json_get(json, "functions");
    assert_int_equal(si__json_get_integer(json, "total", 0), 520 * MS);
    assert_string_equal(si__json_get_string(at(functions, 0), "function", ""), "leaf");
    check_cost(functions, "leaf", 450, 450, 45);
    check_cost(functions, "work", 0, 450, 45); /* it calls itself, and counts once */
    check_cost(functions, "main", 0, 520, 52);
    check_cost(functions, "idle", 50, 50, 5);
    assert_int_equal(si__json_get_integer(json, "count", 0), 5);
    si__json_free(json);
    json = get(w, "/profiles/top?app=shop&env=test&type=cpu&limit=1");
    const si__json *hidden = si__json_get(json, "hidden");
    assert_int_equal(si__json_get(json, "functions")->count, 1);
    assert_int_equal(si__json_get_integer(hidden, "functions", 0), 4);
    assert_int_equal(si__json_get_integer(hidden, "value", 0), 70 * MS); /* what is not shown is told */
    assert_float_equal(si__json_get_number(hidden, "share", 0), 70.0 / 520, 1e-9);
    si__json_free(json);
    json = get(w, "/profiles/top?app=shop&env=test&type=cpu&q=FRESH");
    assert_int_equal(si__json_get_integer(json, "count", 0), 1);
    si__json_free(json);
}

/* ---- Sandwich ---- */

static void check_node(const si__json *half, size_t index, int64_t parent, const char *name, int64_t self_ms) {
    const si__json *node = at(si__json_get(half, "nodes"), index);
    const si__json *frame = at(si__json_get(half, "frames"), (size_t)at(node, 1)->integer);
    assert_int_equal(at(node, 0)->integer, parent);
    assert_string_equal(at(frame, 0)->text, name);
    assert_int_equal(at(node, 2)->integer, self_ms * MS);
}

static void a_sandwich_has_callers_and_callees(void **state) {
    world *w = *state;
    si__json *json = get(w, "/profiles/sandwich?app=shop&env=test&type=cpu&function=work");
    const si__json *callers = si__json_get(json, "callers"), *callees = si__json_get(json, "callees");
    assert_int_equal(si__json_get_integer(json, "function_total", 0), 450 * MS);
    assert_int_equal(si__json_get_integer(json, "function_samples", 0), 45);
    assert_int_equal(si__json_get_integer(json, "self", -1), 0);
    assert_int_equal(si__json_get(callers, "nodes")->count, 2);
    check_node(callers, 0, -1, "work", 0);
    check_node(callers, 1, 0, "main", 450);
    assert_int_equal(si__json_get(callees, "nodes")->count, 4); /* work; leaf; work again; its leaf */
    int64_t sum = 0;
    for (const si__json *n = si__json_get(callees, "nodes")->first; n; n = n->next) sum += at(n, 2)->integer;
    assert_int_equal(sum, 450 * MS);
    si__json_free(json);
    assert_int_equal(person_status(&w->admin, "GET", "/profiles/sandwich?app=shop&env=test&function=nobody", NULL),
                     404);
    assert_int_equal(person_status(&w->admin, "GET", "/profiles/sandwich?app=shop&env=test", NULL), 400);
}

/* ---- Comparing ---- */

static void check_comparison(world *w, const char *query, const char *mode, double factor) {
    si__json *json = get(w, "/profiles/tree?app=shop&env=test&type=cpu%s", query);
    const si__json *comparison = si__json_get(json, "comparison");
    assert_string_equal(si__json_get_string(comparison, "mode", ""), mode);
    assert_float_equal(si__json_get_number(comparison, "factor", 0), factor, 1e-9);
    assert_true(strlen(si__json_get_string(comparison, "text", "")) > 20);
    si__json_free(json);
}

static void two_sides_are_compared_honestly(void **state) {
    world *w = *state;
    char query[200];
    check_comparison(w, "&version=2.0&base_version=1.0", "absolute", 1);
    check_comparison(w, "&version=2.0&base_version=&base_src=0", "normalized", 0.5); /* of any version: two profiles */
    snprintf(query, sizeof query, "&base_from=%lld&base_to=%lld", (long long)w->start_ms - 1000,
             (long long)w->start_ms + 1000);
    check_comparison(w, query, "normalized", 2);                         /* two profiles against one */
    check_comparison(w, "&version=2.0&base_version=9.9", "absolute", 1); /* nothing there: says so */
    si__json *json = get(w, "/profiles/top?app=shop&env=test&type=cpu&version=2.0&base_version=1.0");
    const si__json *functions = si__json_get(json, "functions");
    assert_int_equal(si__json_get_integer(named(functions, "function", "leaf"), "self", 0), 300 * MS);
    assert_int_equal(si__json_get_integer(named(functions, "function", "leaf"), "base_self", 0), 150 * MS);
    assert_int_equal(si__json_get_integer(named(functions, "function", "idle"), "base_self", 0), 50 * MS); /* gone */
    assert_int_equal(si__json_get_integer(named(functions, "function", "fresh"), "base_self", -1), 0);
    si__json_free(json);
    json = get(w, "/profiles/tree?app=shop&env=test&type=cpu&src=1&base_src=2");
    assert_int_equal(si__json_get_integer(json, "total", 0), 200 * MS);
    assert_int_equal(si__json_get_integer(si__json_get(json, "before"), "total", 0), 320 * MS);
    si__json_free(json);
}

/* ---- Sources ---- */

static void sources_are_shown_with_their_costs(void **state) {
    world *w = *state;
    si__json *json = get(w, "/profiles/source?app=shop&env=test&type=cpu&file=/build/shop/src/leaf.c");
    assert_string_equal(si__json_get_string(json, "origin", ""), "directory");
    assert_string_equal(si__json_get_string(json, "path", ""), "src/leaf.c");
    assert_int_equal(si__json_get(json, "lines")->count, 3);
    assert_string_equal(at(si__json_get(json, "lines"), 1)->text, "two");
    const si__json *line = at(si__json_get(json, "values"), 0);
    assert_int_equal(at(line, 0)->integer, 30);
    assert_int_equal(at(line, 1)->integer, 450 * MS);
    assert_int_equal(at(line, 2)->integer, 450 * MS);
    si__json_free(json);
    static const char text[] = "int work;\n";
    reply r = key_ask(&w->d, w->key, "POST", "/source-files?version=2.0&path=./x/..//src/work.c", text, strlen(text));
    assert_int_equal(r.status, 201);
    assert_non_null(strstr(r.body, "\"src/work.c\""));
    reply_free(&r);
    json = get(w, "/profiles/source?app=shop&env=test&type=cpu&version=2.0&file=/build/shop/src/work.c");
    assert_string_equal(si__json_get_string(json, "origin", ""), "upload");
    assert_string_equal(si__json_get_string(json, "version", ""), "2.0");
    assert_int_equal(at(at(si__json_get(json, "values"), 0), 2)->integer, 300 * MS);
    si__json_free(json);
    json = get(w, "/source-files?app=shop&env=test");
    assert_int_equal(si__json_get(json, "files")->count, 1);
    assert_int_equal(si__json_get_bool(json, "directory", 0), 1);
    si__json_free(json);
}

static void sources_lead_nowhere_else(void **state) {
    world *w = *state;
    static const char *const paths[] = {"/etc/passwd", "../../../../etc/passwd", "/build/shop/src/../../../etc/passwd",
                                        "src/leaf.c/../../../etc/passwd", "/build/shop/src/idle.c"}; /* a link out */
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        char path[300];
        snprintf(path, sizeof path, "/profiles/source?app=shop&env=test&type=cpu&file=%s", paths[i]);
        reply r = person_ask(&w->admin, "GET", path, NULL);
        assert_int_equal(r.status, 404);
        assert_null(strstr(r.body, "root:"));
        reply_free(&r);
    }
    static const char *const hostile[] = {"", "..", "/", "a%00b", "a%0Ab"};
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        char path[100];
        snprintf(path, sizeof path, "/source-files?app=shop&env=test&path=%s", hostile[i]);
        long status = person_status(&w->admin, "POST", path, "x");
        assert_true(status == 400 || (i == 3 && status == 201)); /* %00 ends a text: "a" */
    }
    /* Profiles name files as they like: one that names a file outside gets nothing either. */
    si__report *report = begin(w, 3, 1, "3.0", w->start_ms);
    si__calltree *tree = add_profile(report, "cpu", w->start_ms);
    uint32_t frame = si__calltree_frame(tree, "evil", "../../../../../../etc/passwd", 1, "shop");
    si__calltree_add(tree, si__calltree_child(tree, 0, frame), 1, 1);
    send(w, report);
    reply r =
        person_ask(&w->admin, "GET",
                   "/profiles/source?app=shop&env=test&type=cpu&version=3.0&file=../../../../../../etc/passwd", NULL);
    assert_int_equal(r.status, 404);
    assert_non_null(strstr(r.body, "no_source"));
    reply_free(&r);
}

/* ---- Downloads ---- */

static void a_selection_can_be_taken_away(void **state) {
    world *w = *state;
    reply r =
        person_ask(&w->admin, "GET", "/profiles/export?app=shop&env=test&type=cpu&version=1.0&format=folded", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "main;work;leaf 100000\n"));
    assert_non_null(strstr(r.body, "main;work;work;leaf 50000\n"));
    reply_free(&r);
    si__json *json = get(w, "/profiles/export?app=shop&env=test&type=cpu&version=1.0&format=speedscope");
    const si__json *profile = at(si__json_get(json, "profiles"), 0);
    int64_t sum = 0;
    for (const si__json *v = si__json_get(profile, "weights")->first; v; v = v->next) sum += v->integer;
    assert_int_equal(sum, 200 * MS);
    assert_int_equal(si__json_get(profile, "samples")->count, si__json_get(profile, "weights")->count);
    assert_int_equal(si__json_get_integer(profile, "endValue", 0), 200 * MS);
    assert_string_equal(si__json_get_string(profile, "unit", ""), "nanoseconds");
    si__json_free(json);
    assert_int_equal(person_status(&w->admin, "GET", "/profiles/export?app=shop&env=test&type=cpu&format=exe", NULL),
                     400);
    r = person_ask(&w->admin, "GET", "/charts?app=shop&env=test&chart=bottlenecks&kind=http_handler", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, ",\"'=HYPERLINK(1)\",http_handler,")); /* no formula for a spreadsheet */
    assert_non_null(strstr(r.head, "text/csv"));
    reply_free(&r);
    r = person_ask(&w->admin, "GET", "/charts?app=shop&env=test&chart=health", NULL);
    assert_non_null(strstr(r.body, ",queue.length,1,1,17,17,17\r\n"));
    reply_free(&r);
}

static void prometheus_gets_what_is_now(void **state) {
    world *w = *state;
    int64_t now = unix_ms();
    si__report *report = begin(w, 6, 1, "2.0", now - 60000);
    add_segment(report, "http_handler", "quoted \"name\"\n", now - 60000, 250 * MS, 4, 0);
    made_point(report, "queue.length", now - 30000, 42);
    add_path(add_profile(report, "cpu", now - 60000), "main", 400 * MS, 40);
    send(w, report);
    reply r = person_ask(&w->admin, "GET", "/prometheus?app=shop&env=test", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\nsi_metric{name=\"queue.length\",unit=\"1\",source=\""));
    assert_non_null(strstr(r.body, "host=\"host-1\"} 42\n"));
    assert_non_null(strstr(r.body, "\nsi_profile{type=\"cpu\",unit=\"ratio\"} 0.05\n")); /* 0.4 s of 2 s on 4 cores */
    assert_non_null(strstr(r.body, "\nsi_calls{kind=\"http_handler\",name=\"quoted \\\"name\\\"\\n\"} 4\n"));
    assert_null(strstr(r.body, "select 1")); /* twenty minutes ago */
    reply_free(&r);
}

/* ---- Snapshots ---- */

static char *nodes_of(const reply *r) {
    const char *from = strstr(r->body, "\"nodes\":"), *to = from ? strstr(from, "\"ids\"") : NULL;
    assert_non_null(to);
    return strndup(from, (size_t)(to - from));
}

static void wait_until_gone(world *w, int64_t from_ms, int64_t to_ms) {
    int64_t deadline = unix_ms() + 60000;
    for (;;) {
        si__json *json =
            get(w, "/profiles?app=shop&env=test&type=cpu&from=%lld&to=%lld", (long long)from_ms, (long long)to_ms);
        int64_t left = si__json_get_integer(json, "profiles", -1);
        si__json_free(json);
        if (left == 0) return;
        if (unix_ms() > deadline) fail_msg("%lld profiles are still here", (long long)left);
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
}

static void snapshots_outlive_retention(void **state) {
    world *w = *state;
    int64_t old_ms = w->start_ms - 3 * 86400000ll;
    char path[300], id[40], url[64];
    si__report *report = begin(w, 4, 1, "0.9", old_ms);
    add_path(add_profile(report, "cpu", old_ms), "main;work;leaf", 70 * MS, 7);
    send(w, report);
    snprintf(path, sizeof path,
             "/snapshots?app=shop&env=test&type=cpu&from=%lld&to=%lld&base_version=1.0&base_from=%lld&base_to=%lld",
             (long long)old_ms - 1000, (long long)old_ms + 60000, (long long)w->start_ms - 1,
             (long long)w->start_ms + 1);
    reply r = person_ask(&w->admin, "POST", path, "{\"title\":\"before\",\"path\":\"/a/shop/test/profiles/cpu\"}");
    assert_int_equal(r.status, 201);
    si__json *json = reply_json(&r);
    snprintf(id, sizeof id, "%s", si__json_get_string(json, "id", ""));
    snprintf(url, sizeof url, "/s/%s", id);
    assert_string_equal(si__json_get_string(json, "url", ""), url);
    si__json_free(json);
    reply_free(&r);
    snprintf(path, sizeof path, "/snapshots/%s", id);
    r = person_ask(&w->admin, "GET", path, NULL);
    char *before = nodes_of(&r);
    assert_non_null(strstr(before, "70000000,7,100000000")); /* with its base */
    reply_free(&r);
    report = begin(w, 5, 1, "2.0", w->start_ms); /* the newest profile of all is never deleted */
    add_path(add_profile(report, "cpu", w->start_ms + 300000), "main", 1, 1);
    send(w, report);
    assert_int_equal(person_status(&w->admin, "POST", "/settings/retention", "{\"retention_days\":2}"), 200);
    wait_until_gone(w, old_ms - 1000, old_ms + 60000);
    person somebody; /* and it is there for others */
    person_join(&w->admin, &somebody, "viewer@example.org", "viewer");
    r = person_ask(&somebody, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    char *after = nodes_of(&r);
    assert_string_equal(before, after);
    free(before);
    free(after);
    reply_free(&r);
    json = get(w, "/profiles/top?app=shop&env=test&snapshot=%s", id);
    assert_int_equal(si__json_get_integer(at(si__json_get(json, "functions"), 0), "self", 0), 70 * MS);
    si__json_free(json);
    assert_int_equal(person_status(&somebody, "DELETE", path, NULL), 403);
    assert_int_equal(person_status(&w->admin, "DELETE", path, NULL), 204);
    assert_int_equal(person_status(&w->admin, "GET", path, NULL), 404);
    assert_int_equal(
        person_status(&w->admin, "POST", "/snapshots?app=shop&env=test&type=cpu", "{\"path\":\"//evil.example\"}"),
        400);
}

/* ---- Bottlenecks ---- */

/* The percentiles of the node of a function: p50, p95, p99 in ms, then how many samples and calls. */
static void check_percentiles(const si__json *tree, const char *function, double p50, double p95, int64_t samples,
                              int64_t calls) {
    const si__json *nodes = si__json_get(tree, "nodes"), *frames = si__json_get(tree, "frames");
    const si__json *all = si__json_get(tree, "percentiles");
    assert_int_equal(all->count, nodes->count);
    for (size_t i = 0; i < nodes->count; i++) {
        const char *name = i ? at(at(frames, (size_t)at(at(nodes, i), 1)->integer), 0)->text : "";
        if (strcmp(name, function) != 0) continue;
        const si__json *of = at(all, i);
        assert_int_equal(of->count, 5);
        assert_float_equal(at(of, 0)->number / MS, p50, p50 / 100);
        assert_float_equal(at(of, 1)->number / MS, p95, p95 / 100);
        assert_float_equal(at(of, 2)->number / MS, p95, p95 / 100);
        assert_int_equal(at(of, 3)->integer, samples);
        assert_int_equal(at(of, 4)->integer, calls);
        return;
    }
    fail_msg("no node of %s", function);
}

/* Of two reports, a minute and a source each: merged, never averaged. */
static void each_call_path_has_percentiles(void **state) {
    world *w = *state;
    static const char path[] = "/bottlenecks/tree?app=shop&env=test&kind=sql&name=select%201";
    si__json *json = get(w, "%s", path);
    check_percentiles(json, "work", 4, 8, 50, 100); /* 50 of 4 ms and 50 of 8 */
    check_percentiles(json, "idle", 12, 24, 50, 100);
    check_percentiles(json, "main", 8, 24, 100, 200); /* and both of these */
    check_percentiles(json, "", 4, 8, 200, 200);      /* the whole is what was counted, not what was sampled */
    si__json_free(json);
    json = get(w, "%s&to=%lld", path, (long long)w->start_ms + 60000);
    check_percentiles(json, "work", 4, 4, 25, 50);
    check_percentiles(json, "main", 4, 12, 50, 100);
    si__json_free(json);
}

static void bottlenecks_are_told_by_kind(void **state) {
    world *w = *state;
    si__json *json = get(w, "/bottlenecks?app=shop&env=test&kind=database");
    const si__json *calls = si__json_get(json, "calls"), *first = at(calls, 0);
    assert_int_equal(calls->count, 3);
    assert_string_equal(si__json_get_string(first, "name", ""), "select 1"); /* "other" took more, and tops nothing */
    assert_string_equal(si__json_get_string(at(calls, 2), "name", ""), "other");
    assert_int_equal(si__json_get_integer(first, "count", 0), 200);
    assert_int_equal(si__json_get_integer(first, "errors", 0), 2);
    assert_float_equal(si__json_get_number(first, "total_ms", 0), 1200, 1e-6);
    assert_float_equal(si__json_get_number(first, "rate", 0), 200.0 / 3600, 1e-6);
    assert_float_equal(si__json_get_number(first, "p50_ms", 0), 4, 0.04);
    assert_float_equal(si__json_get_number(first, "p99_ms", 0), 8, 0.08);
    assert_int_equal(si__json_get_bool(first, "tree", 0), 1);
    assert_int_equal(si__json_get_bool(at(calls, 1), "tree", 1), 0);
    si__json_free(json);
    json = get(w, "/bottlenecks/tree?app=shop&env=test&kind=sql&name=select%%201");
    assert_int_equal(si__json_get_integer(json, "total", 0), 1200 * MS);
    check_node(json, 1, 0, "main", 0);
    int64_t sum = 0;
    for (const si__json *n = si__json_get(json, "nodes")->first; n; n = n->next) sum += at(n, 2)->integer;
    assert_int_equal(sum, 1200 * MS);
    si__json_free(json);
    assert_int_equal(
        person_status(&w->admin, "GET", "/bottlenecks/tree?app=shop&env=test&kind=document&name=find", NULL), 404);
    assert_int_equal(person_status(&w->admin, "GET", "/bottlenecks?app=shop&env=test&kind=all", NULL), 400);
}

/* ---- Finding things ---- */

static void names_are_found(void **state) {
    world *w = *state;
    si__json *json = get(w, "/search?app=shop&env=test&q=wor");
    assert_non_null(named(si__json_get(json, "functions"), "function", "work"));
    si__json_free(json);
    json = get(w, "/search?app=shop&env=test&q=PAYMENT");
    assert_non_null(named(si__json_get(json, "errors"), "group", "payment refused"));
    assert_int_equal(si__json_get(json, "functions")->count, 0);
    si__json_free(json);
    json = get(w, "/search?app=shop&env=test&q=%%25"); /* a sign, not a pattern */
    assert_int_equal(si__json_get(json, "functions")->count, 0);
    si__json_free(json);
    json = get(w, "/versions?app=shop&env=test");
    assert_non_null(named(si__json_get(json, "versions"), "version", "1.0"));
    assert_non_null(named(si__json_get(json, "versions"), "version", "2.0"));
    si__json_free(json);
    json = get(w, "/collectors?app=shop&env=test");
    const si__json *cpu = named(si__json_get(json, "collectors"), "name", "cpu");
    assert_non_null(cpu);
    assert_int_equal(si__json_get_integer(si__json_get(cpu, "sources"), "unavailable", 0), 1);
    assert_string_equal(si__json_get_string(at(si__json_get(cpu, "reasons"), 0), "reason", ""), "no timers here");
    si__json_free(json);
    json = get(w, "/movers?app=shop&env=test&type=cpu&from=%lld&to=%lld&base_from=%lld&base_to=%lld",
               (long long)w->start_ms + 50000, (long long)w->start_ms + 70000, (long long)w->start_ms - 1,
               (long long)w->start_ms + 40000);
    const si__json *idle = named(si__json_get(json, "movers"), "function", "idle");
    assert_non_null(idle);
    assert_float_equal(si__json_get_number(idle, "before", 0), 50.0 / 200, 1e-9);
    assert_float_equal(si__json_get_number(idle, "after", 1), 0, 1e-9);
    si__json_free(json);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_told_by_what_they_cost),
        cmocka_unit_test(a_sandwich_has_callers_and_callees),
        cmocka_unit_test(two_sides_are_compared_honestly),
        cmocka_unit_test(sources_are_shown_with_their_costs),
        cmocka_unit_test(a_selection_can_be_taken_away),
        cmocka_unit_test(bottlenecks_are_told_by_kind),
        cmocka_unit_test(each_call_path_has_percentiles),
        cmocka_unit_test(names_are_found),
        cmocka_unit_test(sources_lead_nowhere_else),
        cmocka_unit_test(prometheus_gets_what_is_now),
        cmocka_unit_test(snapshots_outlive_retention),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
