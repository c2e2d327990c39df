/* What stays and what goes: levels are averaged, calls that nobody has any more are swept out, snapshots and marks. */
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

#include "../../dashboard/server/annotation.h"
#include "../../dashboard/server/check.h"
#include "../../dashboard/server/snapshot.h"
#include "../../dashboard/server/store.h"
#include "../c/temporary_dir.h"
#include "made_report.h"

#define DEADLINE_MS 30000
#define DAY_MS 86400000ll

typedef struct world {
    char dir[64];
    si__store *store;
    si__reader *reader;
    int64_t app, now_ms;
    uint64_t sequence;
} world;

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int app_apply(si__tx *tx, void *arg) {
    return si__store_app(tx, "shop", "test", arg);
}

static void make(world *w, int64_t retention_ms) {
    char error[300] = "";
    *w = (world){.now_ms = unix_ms()};
    temporary_dir_make(w->dir);
    si__store_options options = {.data_dir = w->dir, .retention_ms = retention_ms, .rollup_grace_ms = 1, .sweep_ms = 1};
    if (si__store_open(&options, &w->store, error, sizeof error)) fail_msg("%s", error);
    w->reader = si__reader_new(w->store);
    assert_non_null(w->reader);
    assert_int_equal(si__writer_call(si__store_writer(w->store), app_apply, &w->app), 0);
}

static void clear(world *w) {
    si__reader_free(w->reader);
    si__store_close(w->store);
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length); /* whatever a test did: the store is sound */
    int findings = si__check(w->dir, out);
    fclose(out);
    if (findings) fail_msg("%s", text);
    free(text);
    temporary_dir_remove(w->dir);
}

static int call(world *w, int (*apply)(si__tx *, void *), void *arg) {
    return si__writer_call(si__store_writer(w->store), apply, arg);
}

static void put(world *w, si__report *report) {
    si__store_report job = {.report = report, .app = w->app};
    assert_int_equal(call(w, si__store_report_apply, &job), 0);
    si__report_free(report);
}

static si__report *report_of(world *w, unsigned agent, int64_t t) {
    char host[16];
    snprintf(host, sizeof host, "host-%u", agent);
    made m = {.agent = agent, .sequence = ++w->sequence, .host = host, .start_ms = t, .end_ms = t + 2000};
    return made_report(&m);
}

static int64_t ask(world *w, const char *literal) {
    return si__db_int(&w->reader->db, si__db_prepare(&w->reader->db, literal), 0);
}

static void wait_until(world *w, const char *literal, int64_t wanted) {
    int64_t deadline = unix_ms() + DEADLINE_MS;
    while (ask(w, literal) != wanted) {
        if (unix_ms() > deadline)
            fail_msg("%s: %lld, not %lld", literal, (long long)ask(w, literal), (long long)wanted);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
}

/* ---- Levels ---- */

static void put_heap(world *w, unsigned agent, int64_t t, int64_t cache_bytes, int64_t main_bytes) {
    si__report *report = report_of(w, agent, t);
    si__report_profile *profile = made_profile(report, "heap", t, 1, 1, 1);
    si__calltree_free(profile->tree);
    profile->tree = si__calltree_new();
    free(profile->unit);
    profile->unit = si__report_strdup("bytes");
    uint32_t outer =
        si__calltree_child(profile->tree, 0, si__calltree_frame(profile->tree, "main", "main.c", 1, "shop"));
    uint32_t inner =
        si__calltree_child(profile->tree, outer, si__calltree_frame(profile->tree, "cache_put", "cache.c", 2, "shop"));
    si__calltree_add(profile->tree, outer, main_bytes, 1);
    si__calltree_add(profile->tree, inner, cache_bytes, 10);
    put(w, report);
}

static int64_t heap_total(world *w, int64_t source, int64_t from, int64_t to) {
    si__merge merge = {0};
    si__range range = {w->app, source, from, to};
    assert_int_equal(si__reader_begin(w->reader), 0);
    assert_int_equal(si__read_merge(w->reader, &range, "heap", &merge), 0);
    si__reader_end(w->reader);
    int64_t total = merge.total;
    si__merge_clear(&merge);
    return total;
}

static int note_last(void *arg, uint32_t node, int64_t t, int64_t total) {
    (void)t;
    ((int64_t *)arg)[node != 0] = total;
    return 0;
}

static void a_level_is_averaged_and_not_added_up(void **state) {
    world w;
    (void)state;
    make(&w, 0);
    int64_t day = (w.now_ms - 3 * DAY_MS) / DAY_MS * DAY_MS;
    for (int i = 0; i < 40;
         i++) { /* one source grows from 100 to 178, the other stays; a third is there in the end only */
        int64_t t = day + i * 600000 + 1000;
        put_heap(&w, 1, t, 100 + i * 2, 1000);
        if (i % 2) put_heap(&w, 2, t, 50, 500);
        if (i >= 36) put_heap(&w, 3, t, 4, 8);
        if (i == 20) wait_until(&w, "SELECT count(*) FROM rollup_due", 0);
    }
    int64_t wanted = (100 + 39 + 1000) + 550 + 12; /* the average of each source, added up */
    assert_int_equal(heap_total(&w, 0, day, day + DAY_MS), wanted);
    wait_until(&w, "SELECT count(*) FROM rollup_due", 0);
    assert_int_equal(heap_total(&w, 0, day, day + DAY_MS), wanted); /* rollups change nothing */
    assert_int_equal(heap_total(&w, 0, day + 1, day + DAY_MS - 1), wanted);
    int64_t second = ask(&w, "SELECT id FROM source WHERE host='host-2'");
    assert_int_equal(heap_total(&w, second, day, day + DAY_MS), 550);
    int64_t last[2] = {0, 0}, named[2] = {0, 0};
    si__range tail = {w.app, 0, day, day + 40 * 600000};
    assert_int_equal(si__reader_begin(w.reader), 0);
    uint32_t node =
        (uint32_t)ask(&w, "SELECT node.id FROM node JOIN frame ON frame.id=frame WHERE function='cache_put'");
    assert_int_equal(si__read_node_trend(w.reader, &tail, "heap", node, note_last, last), 0);
    assert_int_equal(si__read_function_trend(w.reader, &tail, "heap", "cache_put", "", note_last, named), 0);
    si__reader_end(w.reader);
    assert_int_equal(last[0], 178 + 1000 + 550 + 12); /* the last ten minutes */
    assert_int_equal(last[1], 178 + 50 + 4);
    assert_memory_equal(named, last, sizeof last);
    clear(&w);
}

/* ---- Trends ---- */

typedef struct trend {
    int64_t whole, part, points;
} trend;

static int add_up(void *arg, uint32_t node, int64_t t, int64_t total) {
    trend *tr = arg;
    (void)t;
    *(node ? &tr->part : &tr->whole) += total;
    tr->points += node == 0;
    return 0;
}

static void trends_are_there_before_rollups_are_and_stay_the_same(void **state) {
    world w;
    trend before = {0}, after = {0}, hot = {0};
    (void)state;
    make(&w, 0);
    int64_t start = w.now_ms / 600000 * 600000 - 6 * 600000;
    for (int i = 0; i < 60; i++) {
        si__report *report = report_of(&w, 1, start + i * 60000);
        made_profile(report, "cpu", report->start_ms, 30, 500, (uint64_t)i + 1);
        put(&w, report);
    }
    si__range range = {w.app, 0, start, start + 6 * 600000};
    for (int64_t node = ask(&w, "SELECT max(id) FROM node"); node > 0; node -= 37) {
        before = after = hot = (trend){0};
        assert_int_equal(si__reader_begin(w.reader), 0);
        assert_int_equal(si__read_node_trend(w.reader, &range, "cpu", (uint32_t)node, add_up, &before), 0);
        si__reader_end(w.reader);
        assert_true(before.whole > 0 && before.points > 0);
        if (node > 37) continue;
        assert_true(before.part > 0);
        wait_until(&w, "SELECT count(*) FROM rollup WHERE resolution_ms=600000 AND hot IS NOT NULL", 6);
        wait_until(&w, "SELECT count(*) FROM rollup_due WHERE resolution_ms=600000", 0);
        assert_int_equal(si__reader_begin(w.reader), 0);
        assert_int_equal(si__read_node_trend(w.reader, &range, "cpu", (uint32_t)node, add_up, &after), 0);
        assert_int_equal(si__read_hot(w.reader, &range, "cpu", 0, add_up, &hot), 0);
        si__reader_end(w.reader);
        assert_memory_equal(&after, &before, sizeof after);
        assert_int_equal(hot.whole, before.whole);
    }
    clear(&w);
}

/* ---- Sweeping ---- */

static int note_id(void *arg, const si__snapshot_row *row) {
    snprintf(arg, SI__SNAPSHOT_ID, "%s", row->id);
    assert_string_equal(row->title, "before the leak");
    assert_string_equal(row->context, "{\"view\":\"flame\"}");
    return 0;
}

static void what_nobody_has_goes_and_snapshots_stay(void **state) {
    world w;
    (void)state;
    make(&w, 30 * DAY_MS);
    int64_t old = w.now_ms - 2 * DAY_MS;
    for (int i = 0; i < 10; i++) {
        made m = {.agent = 1, .sequence = ++w.sequence, .version = "0.9", .start_ms = old, .end_ms = old + 100};
        si__report *report = made_report(&m);
        made_profile(report, "cpu", old, 40, 4000, (uint64_t)i + 1);
        if (i == 0) made_error(report, "gone soon", "x", old, 1);
        put(&w, report);
    }
    si__merge merge = {0};
    assert_int_equal(si__reader_begin(w.reader), 0);
    int64_t one = ask(&w, "SELECT min(id) FROM profile");
    assert_int_equal(si__read_merge_one(w.reader, w.app, one, &merge), 0);
    si__reader_end(w.reader);
    si__new_snapshot snapshot = {.app = w.app,
                                 .type = "cpu",
                                 .unit = "ns",
                                 .title = "before the leak",
                                 .author = "a@b",
                                 .context = "{\"view\":\"flame\"}",
                                 .from_ms = old,
                                 .to_ms = old + 1000,
                                 .parts = {&merge, NULL}};
    assert_int_equal(call(&w, si__snapshot_make_apply, &snapshot), 0);
    int64_t kept = (int64_t)si__sum_count(merge.sum), nodes = ask(&w, "SELECT count(*) FROM node");
    for (int i = 0; i < 3; i++) { /* what is there now uses calls of its own and some of the old ones */
        si__report *report = report_of(&w, 1, w.now_ms - 60000);
        made_profile(report, "cpu", report->start_ms, 20, 30, (uint64_t)i + 500);
        put(&w, report);
    }
    si__store_settings settings = {w.store, DAY_MS, 0};
    assert_int_equal(call(&w, si__store_settings_apply, &settings), 0);
    wait_until(&w, "SELECT count(*) FROM profile", 3);
    wait_until(&w, "SELECT count(*) FROM error_group WHERE name='gone soon' AND id<(SELECT max(id) FROM error_group)",
               0);
    int64_t deadline = unix_ms() + DEADLINE_MS;
    while (ask(&w, "SELECT count(*) FROM node") > nodes / 2 ||
           ask(&w, "SELECT count(*) FROM context WHERE app_version='0.9'"))
        if (unix_ms() > deadline)
            fail_msg("%lld of %lld calls are left", (long long)ask(&w, "SELECT count(*) FROM node"), (long long)nodes);
        else
            nanosleep(&(struct timespec){0, 5000000}, NULL);
    assert_true(ask(&w, "SELECT count(*) FROM node") >= kept);
    assert_int_equal(ask(&w, "SELECT count(*) FROM frame WHERE id NOT IN (SELECT frame FROM node)"
                             " AND id<(SELECT max(id) FROM frame)"),
                     0);
    /* The snapshot has all its calls still, by name; the next reports find what was spared and make what was not. */
    si__merge again = {0};
    char id[SI__SNAPSHOT_ID] = "";
    assert_int_equal(si__reader_begin(w.reader), 0);
    assert_int_equal(si__read_snapshots(w.reader, w.app, 10, note_id, id), 0);
    assert_string_equal(id, snapshot.id);
    assert_int_equal(si__read_snapshot_merge(w.reader, id, SI__SNAPSHOT_MAIN, &again), 0);
    assert_int_equal(again.total, merge.total);
    si__branch *branches;
    size_t count;
    assert_int_equal(si__places_tree(w.reader->places, &w.reader->db, again.sum, &branches, &count), 0);
    for (size_t i = 1; i < count; i++) {
        si__frame_row frame;
        assert_int_equal(si__read_frame(w.reader, branches[i].frame, &frame), 0);
    }
    free(branches);
    assert_int_equal(si__read_snapshot_merge(w.reader, id, SI__SNAPSHOT_BASE, &again), SI_ENOTFOUND);
    si__reader_end(w.reader);
    si__report *report = report_of(&w, 1, w.now_ms - 50000);
    made_profile(report, "cpu", report->start_ms, 40, 4000, 2);
    put(&w, report);
    assert_int_equal(call(&w, si__snapshot_delete_apply, &(si__snapshot_key){w.app + 1, id}), SI_ENOTFOUND);
    assert_int_equal(call(&w, si__snapshot_delete_apply, &(si__snapshot_key){w.app, id}), 0);
    assert_int_equal(ask(&w, "SELECT count(*) FROM snapshot_part"), 0);
    si__merge_clear(&merge);
    si__merge_clear(&again);
    clear(&w);
}

/* ---- Marks ---- */

static int note_mark(void *arg, const si__annotation *row) {
    int *seen = arg;
    assert_string_equal(row->text, *seen ? "second" : "first");
    assert_string_equal(row->link, "https://ci.example/1");
    ++*seen;
    return 0;
}

static void marks_are_kept_by_time(void **state) {
    world w;
    int seen = 0;
    (void)state;
    make(&w, 0);
    si__annotation second = {.app = w.app,
                             .time_ms = w.now_ms,
                             .kind = "deploy",
                             .text = "second",
                             .link = "https://ci.example/1",
                             .author = "a"};
    si__annotation first = second, empty = second;
    first.time_ms -= 1000;
    first.text = "first";
    empty.text = "";
    assert_int_equal(call(&w, si__annotation_make_apply, &second), 0);
    assert_int_equal(call(&w, si__annotation_make_apply, &first), 0);
    assert_int_equal(call(&w, si__annotation_make_apply, &empty), SI_EINVAL);
    si__range range = {w.app, 0, w.now_ms - 2000, w.now_ms + 1};
    assert_int_equal(si__read_annotations(w.reader, &range, 10, note_mark, &seen), 0);
    assert_int_equal(seen, 2);
    assert_int_equal(call(&w, si__annotation_delete_apply, &first), 0);
    assert_int_equal(call(&w, si__annotation_delete_apply, &first), SI_ENOTFOUND);
    clear(&w);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_level_is_averaged_and_not_added_up),
        cmocka_unit_test(trends_are_there_before_rollups_are_and_stay_the_same),
        cmocka_unit_test(what_nobody_has_goes_and_snapshots_stay),
        cmocka_unit_test(marks_are_kept_by_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
