/*
 * The numbers of the pages against a reference that adds everything up by itself: trees, merges with and without
 * rollups, one source, bases, trends, percentiles, health, histories.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "dashboard.h"
#include "made_report.h"

#define UNIVERSE 300
#define STACKS 40
#define AGENTS 3
#define STEP_MS 120000
#define PROFILES 30 /* per agent: an hour */

typedef struct world {
    dashboard d;
    person admin;
    char key[128];
    int64_t start_ms;
    si__calltree *trees[AGENTS][PROFILES]; /* what was sent */
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t time_of(const world *w, int i) {
    return w->start_ms + i * STEP_MS;
}

static uint64_t seed_of(int agent, int i) {
    return (uint64_t)agent * 1000 + i + 17;
}

static void send_all(world *w) {
    for (int agent = 0; agent < AGENTS; agent++) {
        for (int i = 0; i < PROFILES; i++) {
            char host[32], status[32];
            size_t length;
            snprintf(host, sizeof host, "host-%d", agent);
            made m = {.agent = agent + 1,
                      .sequence = i + 1,
                      .host = host,
                      .start_ms = time_of(w, i),
                      .end_ms = time_of(w, i) + 60000};
            m.version = i < PROFILES / 2 ? "1.0" : "2.0";
            si__report *report = made_report(&m);
            si__report_profile *p = made_profile(report, "cpu", time_of(w, i), STACKS, UNIVERSE, seed_of(agent, i));
            w->trees[agent][i] = si__calltree_new();
            si__calltree_merge(w->trees[agent][i], p->tree);
            made_segment(report, "checkout", time_of(w, i), 1000000, 100);
            made_error(report, i % 2 ? "odd" : "even", i % 2 ? "odd one" : "even one", time_of(w, i), 1 + i);
            made_point(report, "queue.length", time_of(w, i), agent * 100 + i);
            uint8_t *bytes = made_bytes(report, &length);
            assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
            free(bytes);
        }
    }
}

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    dashboard_make(&w->d);
    dashboard_start(&w->d, (const char *const[]){"--rollup-after", "6", NULL});
    dashboard_key(&w->d, "shop", "test", w->key);
    /* Two days ago, off the hour: rollups of whole periods, and edges of what was reported. */
    w->start_ms = (unix_ms() - 2 * 86400000ll) / 3600000 * 3600000 + 1234567;
    send_all(w);
    person_sign_in(&w->admin, &w->d);
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    for (int agent = 0; agent < AGENTS; agent++)
        for (int i = 0; i < PROFILES; i++) si__calltree_free(w->trees[agent][i]);
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

/* ---- The reference ---- */

static si__calltree *reference(const world *w, int agent, int64_t from, int64_t to) { /* agent -1: all */
    si__calltree *all = si__calltree_new();
    for (int a = 0; a < AGENTS; a++)
        for (int i = 0; i < PROFILES; i++)
            if ((agent < 0 || a == agent) && time_of(w, i) >= from && time_of(w, i) < to)
                si__calltree_merge(all, w->trees[a][i]);
    return all;
}

/* The tree of an answer as a call tree of our own. Values of a base, when asked for. */
static si__calltree *answered(const si__json *json, int base) {
    si__calltree *tree = si__calltree_new();
    const si__json *nodes = si__json_get(json, "nodes"), *frames = si__json_get(json, "frames");
    uint32_t *ids = calloc(nodes->count, sizeof *ids), *frame_ids = calloc(frames->count, sizeof *frame_ids);
    size_t i = 0;
    for (const si__json *f = frames->first; f; f = f->next)
        frame_ids[i++] =
            si__calltree_frame(tree, at(f, 0)->text, at(f, 1)->text, (uint32_t)at(f, 2)->integer, at(f, 3)->text);
    i = 0;
    for (const si__json *n = nodes->first; n; n = n->next, i++) {
        int64_t parent = at(n, 0)->integer;
        assert_true(i == 0 ? parent == -1 : parent >= 0 && parent < (int64_t)i); /* callers first */
        if (i) ids[i] = si__calltree_child(tree, ids[parent], frame_ids[at(n, 1)->integer]);
        int64_t self = at(n, base ? 4 : 2)->integer;
        si__calltree_add(tree, ids[i], self, base ? 0 : (uint64_t)at(n, 3)->integer);
    }
    free(ids);
    free(frame_ids);
    return tree;
}

static int count_nodes_with_values(const si__calltree *tree) {
    int count = 0;
    for (size_t i = 0; i < si__calltree_node_count(tree); i++) count += si__calltree_node_at(tree, i)->self_value != 0;
    return count;
}

typedef struct numbers {
    int64_t value;
    uint64_t count;
} numbers;

/* Writes the tree's own values by the numbers that `common` gives to its nodes. */
static void spread(const si__calltree *tree, si__calltree *common, numbers *out) {
    uint32_t *ids = calloc(si__calltree_node_count(tree) + 1, sizeof *ids);
    for (size_t i = 1; i < si__calltree_node_count(tree); i++) {
        const si__node *node = si__calltree_node_at(tree, i);
        const si__frame *f = si__calltree_frame_at(tree, node->frame);
        uint32_t frame = si__calltree_frame(common, f->function, f->file, f->line, f->module);
        ids[i] = si__calltree_child(common, ids[node->parent], frame);
        out[ids[i]].value += node->self_value;
        out[ids[i]].count += node->self_count;
    }
    free(ids);
}

static void assert_same_tree(const si__calltree *got, const si__calltree *wanted, int counts) {
    size_t most = si__calltree_node_count(got) + si__calltree_node_count(wanted);
    si__calltree *common = si__calltree_new();
    numbers *left = calloc(most, sizeof *left), *right = calloc(most, sizeof *right);
    spread(got, common, left);
    spread(wanted, common, right);
    assert_true(si__calltree_node_count(wanted) > 1);
    for (size_t i = 0; i < si__calltree_node_count(common); i++) {
        assert_int_equal(left[i].value, right[i].value);
        if (counts) assert_int_equal(left[i].count, right[i].count);
    }
    free(left);
    free(right);
    si__calltree_free(common);
}

static void check_merge(world *w, int64_t from, int64_t to) {
    si__calltree *wanted = reference(w, -1, from, to);
    si__json *json =
        get(w, "/profiles/tree?app=shop&env=test&type=cpu&from=%lld&to=%lld", (long long)from, (long long)to);
    assert_int_equal(si__json_get_integer(json, "total", -1), si__calltree_total_value(wanted));
    assert_int_equal(si__json_get_integer(json, "samples", -1), si__calltree_total_count(wanted));
    assert_string_equal(si__json_get_string(json, "unit", ""), "ns");
    if (si__calltree_total_count(wanted)) {
        si__calltree *got = answered(json, 0);
        assert_same_tree(got, wanted, 1);
        si__calltree_free(got);
    }
    si__json_free(json);
    si__calltree_free(wanted);
}

static void merges_are_what_was_sent(void **state) {
    world *w = *state;
    int64_t hour = time_of(w, 0) - 3600000, end = time_of(w, PROFILES) + 3600000;
    check_merge(w, hour, end);
    check_merge(w, time_of(w, 3) + 1, time_of(w, 20));
    check_merge(w, time_of(w, 5), time_of(w, 6));
    check_merge(w, hour, hour + 1000); /* nothing */
}

/* The same numbers again, before and after the rollups were made by a server whose grace is over. */
static void rollups_change_no_number(void **state) {
    world *w = *state;
    int64_t deadline = unix_ms() + 90000;
    for (;;) { /* the writer makes them when a period has been quiet for 6 s */
        si__json *self = get(w, "/self");
        const si__json *tables = si__json_get(self, "tables");
        int64_t due = -1;
        for (const si__json *t = tables->first; t; t = t->next)
            if (!strcmp(si__json_get_string(t, "name", ""), "rollup_due")) due = si__json_get_integer(t, "rows", -1);
        si__json_free(self);
        if (due == 0) break;
        assert_true(unix_ms() < deadline);
        nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
    merges_are_what_was_sent(state);
    int64_t from = time_of(w, 0) - 3600000, to = time_of(w, PROFILES) + 3600000;
    si__json *json = get(w, "/segments?app=shop&env=test&from=%lld&to=%lld", (long long)from - 86400000, (long long)to);
    assert_int_equal(si__json_get_integer(at(si__json_get(json, "segments"), 0), "count", 0), AGENTS * PROFILES * 100);
    si__json_free(json);
}

static void one_profile_and_its_context(void **state) {
    world *w = *state;
    si__json *history = get(w, "/profiles?app=shop&env=test&type=cpu&from=%lld&to=%lld", (long long)time_of(w, 0),
                            (long long)time_of(w, PROFILES));
    const si__json *points = si__json_get(history, "points");
    assert_int_equal(points->count, AGENTS * PROFILES);
    assert_false(si__json_get_bool(history, "truncated", 1));
    int64_t before = 0;
    for (const si__json *p = points->first; p; p = p->next) {
        assert_true(si__json_get_integer(p, "t", 0) >= before);
        before = si__json_get_integer(p, "t", 0);
        double share = (double)si__json_get_integer(p, "total", 0) / (2e9 * 4);
        assert_true(fabs(si__json_get_number(p, "value", -1) - share) < 1e-9);
    }
    int64_t id = si__json_get_integer(points->first, "id", 0);
    assert_string_equal(si__json_get_string(points->first, "app_version", ""), "1.0");
    si__json *tree = get(w, "/profiles/tree?app=shop&env=test&at=%lld", (long long)id);
    assert_int_equal(si__json_get_integer(tree, "profiles", 0), 1);
    const si__json *context = si__json_get(tree, "context");
    assert_string_equal(si__json_get_string(context, "app_version", ""), "1.0");
    assert_string_equal(si__json_get_string(context, "build_id", ""), "0123456789abcdef");
    si__calltree *got = answered(tree, 0);
    int same = 0;
    for (int agent = 0; agent < AGENTS; agent++)
        same += si__calltree_total_value(got) == si__calltree_total_value(w->trees[agent][0]) &&
                count_nodes_with_values(got) == count_nodes_with_values(w->trees[agent][0]);
    assert_true(same >= 1);
    si__calltree_free(got);
    si__json_free(tree);
    si__json_free(history);
    reply r = person_ask(&w->admin, "GET", "/profiles/tree?app=shop&env=test&at=99999999", NULL);
    assert_int_equal(r.status, 404);
    reply_free(&r);
}

static void one_source_alone(void **state) {
    world *w = *state;
    si__json *sources = get(w, "/sources?app=shop&env=test");
    assert_int_equal(si__json_get(sources, "sources")->count, AGENTS);
    for (const si__json *s = si__json_get(sources, "sources")->first; s; s = s->next) {
        int agent = atoi(si__json_get_string(s, "host", "host-9") + 5);
        si__calltree *wanted = reference(w, agent, time_of(w, 0), time_of(w, PROFILES));
        si__json *json = get(w, "/profiles/tree?app=shop&env=test&from=%lld&to=%lld&src=%lld", (long long)time_of(w, 0),
                             (long long)time_of(w, PROFILES), (long long)si__json_get_integer(s, "id", 0));
        si__calltree *got = answered(json, 0);
        assert_same_tree(got, wanted, 1);
        si__calltree_free(got);
        si__calltree_free(wanted);
        si__json_free(json);
    }
    si__json_free(sources);
}

static void a_base_stands_beside_the_tree(void **state) {
    world *w = *state;
    int64_t from = time_of(w, 15), to = time_of(w, PROFILES), base_from = time_of(w, 0);
    si__calltree *now = reference(w, -1, from, to), *then = reference(w, -1, base_from, from);
    si__json *json = get(w, "/profiles/tree?app=shop&env=test&from=%lld&to=%lld&base_from=%lld&base_to=%lld",
                         (long long)from, (long long)to, (long long)base_from, (long long)from);
    si__calltree *got_now = answered(json, 0), *got_then = answered(json, 1);
    assert_same_tree(got_now, now, 1);
    assert_same_tree(got_then, then, 0);
    assert_int_equal(si__json_get_integer(si__json_get(json, "before"), "total", 0), si__calltree_total_value(then));
    si__calltree_free(got_now);
    si__calltree_free(got_then);
    si__json_free(json);
    json = get(w, "/profiles/tree?app=shop&env=test&from=%lld&to=%lld&trend=1", (long long)from, (long long)to);
    assert_int_equal(si__json_get_integer(si__json_get(json, "before"), "total", 0),
                     si__calltree_total_value(then)); /* the 24 h before */
    assert_non_null(si__json_get(json, "trend"));
    si__json_free(json);
    si__calltree_free(now);
    si__calltree_free(then);
}

/* The share of a function, wherever it is called from; in recursion it counts once. */
static double share_of(const si__calltree *tree, const char *function) {
    int64_t inside = 0;
    for (size_t i = 1; i < si__calltree_node_count(tree); i++) {
        int found = 0;
        for (size_t at_node = i; at_node && !found; at_node = si__calltree_node_at(tree, at_node)->parent)
            found =
                !strcmp(si__calltree_frame_at(tree, si__calltree_node_at(tree, at_node)->frame)->function, function);
        if (found) inside += si__calltree_node_at(tree, i)->self_value;
    }
    return (double)inside / (double)si__calltree_total_value(tree);
}

static void trends_of_functions_and_nodes(void **state) {
    world *w = *state;
    char name[64];
    snprintf(name, sizeof name, "function_%u", made_function(0, 5)); /* of the most frequent stack */
    si__json *json = get(w, "/profiles/trend?app=shop&env=test&type=cpu&from=%lld&to=%lld&function=%s",
                         (long long)time_of(w, 0), (long long)time_of(w, PROFILES), name);
    const si__json *points = si__json_get(json, "points");
    assert_true(points->count >= 6); /* an hour in steps of ten minutes */
    for (const si__json *p = points->first; p; p = p->next) {
        int64_t t = at(p, 0)->integer, from = t < time_of(w, 0) ? time_of(w, 0) : t;
        si__calltree *wanted =
            reference(w, -1, from, t + 600000 < time_of(w, PROFILES) ? t + 600000 : time_of(w, PROFILES));
        assert_true(fabs(at(p, 1)->number - share_of(wanted, name)) < 1e-9);
        si__calltree_free(wanted);
    }
    si__json_free(json);
    /* The heaviest call of the tree, by its node: from the table of hot calls. */
    json = get(w, "/profiles/tree?app=shop&env=test&from=%lld&to=%lld", (long long)time_of(w, 0),
               (long long)time_of(w, PROFILES));
    int64_t node = at(si__json_get(json, "ids"), 1)->integer;
    const char *first =
        at(at(si__json_get(json, "frames"), at(at(si__json_get(json, "nodes"), 1), 1)->integer), 0)->text;
    si__json *trend = get(w, "/profiles/trend?app=shop&env=test&type=cpu&from=%lld&to=%lld&node=%lld",
                          (long long)time_of(w, 0) - 600000, (long long)time_of(w, PROFILES) + 600000, (long long)node);
    assert_true(si__json_get(trend, "points")->count >= 6);
    for (const si__json *p = si__json_get(trend, "points")->first; p; p = p->next) {
        si__calltree *wanted = reference(w, -1, at(p, 0)->integer, at(p, 0)->integer + 600000);
        assert_true(fabs(at(p, 1)->number - share_of(wanted, first)) < 1e-9);
        si__calltree_free(wanted);
    }
    si__json_free(trend);
    si__json_free(json);
}

static void segments_have_the_percentiles_of_all_their_values(void **state) {
    world *w = *state;
    si__json *json = get(w, "/segments?app=shop&env=test&from=%lld&to=%lld", (long long)time_of(w, 0),
                         (long long)time_of(w, PROFILES));
    const si__json *s = at(si__json_get(json, "segments"), 0);
    assert_string_equal(si__json_get_string(s, "name", ""), "checkout");
    assert_int_equal(si__json_get_integer(s, "count", 0), AGENTS * PROFILES * 100);
    assert_true(fabs(si__json_get_number(s, "p50_ms", 0) - 50) < 0.5); /* 1, 2, ... 100 ms each time */
    assert_true(fabs(si__json_get_number(s, "p95_ms", 0) - 95) < 0.95);
    assert_true(fabs(si__json_get_number(s, "p99_ms", 0) - 99) < 0.99);
    assert_true(fabs(si__json_get_number(s, "max_ms", 0) - 100) < 1e-9);
    int64_t count = 0;
    for (const si__json *p = si__json_get(s, "points")->first; p; p = p->next) count += at(p, 4)->integer;
    assert_int_equal(count, AGENTS * PROFILES * 100);
    si__json_free(json);
}

static void errors_are_counted_and_have_their_stacks(void **state) {
    world *w = *state;
    int64_t even = 0, odd = 0;
    for (int i = 0; i < PROFILES; i++) *(i % 2 ? &odd : &even) += AGENTS * (1 + i);
    si__json *json = get(w, "/errors?app=shop&env=test&from=%lld&to=%lld", (long long)time_of(w, 0),
                         (long long)time_of(w, PROFILES));
    const si__json *groups = si__json_get(json, "groups");
    assert_int_equal(groups->count, 2);
    for (const si__json *g = groups->first; g; g = g->next) {
        int is_odd = !strcmp(si__json_get_string(g, "group", ""), "odd");
        int64_t sum = 0;
        assert_string_equal(si__json_get_string(g, "message", ""), is_odd ? "odd one" : "even one");
        assert_int_equal(si__json_get_integer(g, "count", 0), is_odd ? odd : even);
        for (const si__json *p = si__json_get(g, "points")->first; p; p = p->next) sum += at(p, 1)->integer;
        assert_int_equal(sum, is_odd ? odd : even);
    }
    si__json_free(json);
    json = get(w, "/errors/tree?app=shop&env=test&group=odd&from=%lld&to=%lld", (long long)time_of(w, 0),
               (long long)time_of(w, PROFILES));
    si__calltree *got = answered(json, 0);
    assert_int_equal(si__calltree_total_value(got), odd);
    assert_true(share_of(got, "pay") == 1.0);
    si__calltree_free(got);
    si__json_free(json);
}

static void health_tells_average_and_extremes(void **state) {
    world *w = *state;
    si__json *json = get(w, "/health?app=shop&env=test&from=%lld&to=%lld", (long long)time_of(w, 0),
                         (long long)time_of(w, PROFILES));
    const si__json *metrics = si__json_get(json, "metrics");
    assert_int_equal(metrics->count, AGENTS);
    for (const si__json *m = metrics->first; m; m = m->next) {
        assert_string_equal(si__json_get_string(m, "name", ""), "queue.length");
        assert_int_equal(si__json_get(m, "points")->count, PROFILES);
    }
    si__json_free(json);
    /* Over ten days: from the hourly values, whose extremes are those of the points. */
    json = get(w, "/health?app=shop&env=test&from=%lld&to=%lld", (long long)time_of(w, 0) - 8 * 86400000ll,
               (long long)time_of(w, PROFILES) + 3600000);
    double low = 1e9, high = -1e9;
    for (const si__json *m = si__json_get(json, "metrics")->first; m; m = m->next)
        for (const si__json *p = si__json_get(m, "points")->first; p; p = p->next) {
            low = fmin(low, at(p, 2)->number);
            high = fmax(high, at(p, 3)->number);
        }
    assert_true(low == 0 && high == (AGENTS - 1) * 100 + PROFILES - 1);
    si__json_free(json);
}

static void the_overview_has_it_all(void **state) {
    world *w = *state;
    int64_t middle = time_of(w, PROFILES / 2);
    si__json *json =
        get(w, "/overview?app=shop&env=test&from=%lld&to=%lld", (long long)middle, (long long)time_of(w, PROFILES));
    const si__json *type = at(si__json_get(json, "types"), 0);
    assert_string_equal(si__json_get_string(type, "type", ""), "cpu");
    assert_string_equal(si__json_get_string(type, "unit", ""), "ratio");
    assert_true(si__json_get_number(type, "avg", -1) > 0);
    assert_int_equal(si__json_get(json, "segments")->count, 1);
    assert_true(si__json_get_integer(si__json_get(json, "errors"), "count", 0) > 0);
    assert_int_equal(si__json_get(json, "annotations")->count, 1); /* version 2.0 began here */
    assert_string_equal(si__json_get_string(at(si__json_get(json, "annotations"), 0), "text", ""), "version 2.0");
    assert_string_equal(si__json_get_string(at(si__json_get(json, "health"), 0), "name", ""), "queue.length");
    for (const si__json *m = si__json_get(json, "movers")->first; m; m = m->next)
        assert_true(fabs(si__json_get_number(m, "after", 0) - si__json_get_number(m, "before", 0)) >= 0.01);
    si__json_free(json);
    json = get(w, "/apps");
    assert_string_equal(si__json_get_string(at(si__json_get(json, "apps"), 0), "app", ""), "shop");
    assert_int_equal(si__json_get_integer(at(si__json_get(json, "apps"), 0), "sources", 0), AGENTS);
    assert_int_equal(si__json_get(at(si__json_get(json, "apps"), 0), "types")->count, 0); /* none within a day */
    si__json_free(json);
}

static void exports_hold_the_same_numbers(void **state) {
    world *w = *state;
    char path[512];
    snprintf(path, sizeof path, "/profiles/export?app=shop&env=test&from=%lld&to=%lld&format=folded",
             (long long)time_of(w, 0), (long long)time_of(w, PROFILES));
    si__calltree *wanted = reference(w, -1, time_of(w, 0), time_of(w, PROFILES));
    reply r = person_ask(&w->admin, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    int64_t total = 0;
    for (char *line = strtok(r.body, "\n"); line; line = strtok(NULL, "\n"))
        total += strtoll(strrchr(line, ' ') + 1, NULL, 10);
    assert_int_equal(total, si__calltree_total_value(wanted) / 1000); /* microseconds */
    reply_free(&r);
    si__calltree_free(wanted);
    strcpy(strstr(path, "folded"), "pprof");
    r = person_ask(&w->admin, "GET", path, NULL);
    assert_int_equal(r.status, 200);
    static uint8_t plain[1 << 22];
    z_stream stream = {
        .next_in = (uint8_t *)r.body, .avail_in = (unsigned)r.length, .next_out = plain, .avail_out = sizeof plain};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END); /* whole, and its checksum fits */
    inflateEnd(&stream);
    assert_non_null(memmem(plain, stream.total_out, "nanoseconds", 11));
    assert_non_null(memmem(plain, stream.total_out, "function_", 9));
    reply_free(&r);
}

/* A rule's closer look is of time that the regular profile covers too. */
static void closer_looks_are_shown_but_not_added(void **state) {
    world *w = *state;
    char status[32];
    size_t length;
    made m = {.agent = 1, .sequence = 5000, .start_ms = time_of(w, 0), .end_ms = time_of(w, 1)};
    si__report *report = made_report(&m);
    si__report_profile *regular = made_profile(report, "closer", time_of(w, 0), STACKS, UNIVERSE, 3);
    int64_t total = si__calltree_total_value(regular->tree);
    si__report_profile *closer = made_profile(report, "closer", time_of(w, 0), STACKS, UNIVERSE, 4);
    free(closer->trigger);
    closer->trigger = si__report_strdup("slow_search");
    uint8_t *bytes = made_bytes(report, &length);
    assert_int_equal(agent_send(&w->d, w->key, bytes, length, status), 200);
    free(bytes);
    const char *range = "app=shop&env=test&type=closer&from=%lld&to=%lld";
    char path[256];
    snprintf(path, sizeof path, "/profiles?%s", range);
    si__json *history = get(w, path, (long long)time_of(w, 0), (long long)time_of(w, 1));
    assert_int_equal(si__json_get(history, "points")->count, 2);
    si__json_free(history);
    snprintf(path, sizeof path, "/profiles/tree?%s", range);
    si__json *tree = get(w, path, (long long)time_of(w, 0), (long long)time_of(w, 1));
    assert_int_equal(si__json_get_integer(tree, "profiles", 0), 1);
    assert_int_equal(si__json_get_integer(tree, "total", 0), total);
    si__json_free(tree);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_are_what_was_sent),
        cmocka_unit_test(one_profile_and_its_context),
        cmocka_unit_test(one_source_alone),
        cmocka_unit_test(a_base_stands_beside_the_tree),
        cmocka_unit_test(segments_have_the_percentiles_of_all_their_values),
        cmocka_unit_test(errors_are_counted_and_have_their_stacks),
        cmocka_unit_test(health_tells_average_and_extremes),
        cmocka_unit_test(the_overview_has_it_all),
        cmocka_unit_test(exports_hold_the_same_numbers),
        cmocka_unit_test(rollups_change_no_number),
        cmocka_unit_test(trends_of_functions_and_nodes),
        cmocka_unit_test(closer_looks_are_shown_but_not_added),
        cmocka_unit_test(a_base_stands_beside_the_tree),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
