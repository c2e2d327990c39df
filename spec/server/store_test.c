/* The store by itself: bodies and sums, late reports and rollups, retention by age and size, caps on names, versions of
 * the schema. */
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

#include "../../dashboard/server/rollup.h"
#include "../../dashboard/server/schema.h"
#include "../../dashboard/server/store.h"
#include "../c/temporary_dir.h"
#include "made_report.h"

#define DEADLINE_MS 30000

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

static void open_store(world *w, int64_t retention_ms, uint64_t max_bytes) {
    char error[300] = "";
    si__store_options options = {
        .data_dir = w->dir, .retention_ms = retention_ms, .max_bytes = max_bytes, .rollup_grace_ms = 1};
    if (si__store_open(&options, &w->store, error, sizeof error)) fail_msg("%s", error);
    w->reader = si__reader_new(w->store);
    assert_non_null(w->reader);
    assert_int_equal(si__writer_call(si__store_writer(w->store), app_apply, &w->app), 0);
}

static void close_store(world *w) {
    si__reader_free(w->reader);
    si__store_close(w->store);
}

static void make(world *w, int64_t retention_ms, uint64_t max_bytes) {
    *w = (world){.now_ms = unix_ms()};
    temporary_dir_make(w->dir);
    open_store(w, retention_ms, max_bytes);
}

static void clear(world *w) {
    close_store(w);
    temporary_dir_remove(w->dir);
}

static void put(world *w, si__report *report) {
    si__store_report job = {.report = report, .app = w->app};
    assert_int_equal(si__writer_call(si__store_writer(w->store), si__store_report_apply, &job), 0);
    assert_false(job.duplicate);
    si__report_free(report);
}

static si__report *report_at(world *w, int64_t t) {
    made m = {.agent = 1, .sequence = ++w->sequence, .start_ms = t, .end_ms = t + 2000};
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

static int64_t total_of(world *w, int64_t from, int64_t to, uint64_t *rollups) {
    si__merge merge = {0};
    si__range range = {w->app, 0, from, to};
    assert_int_equal(si__reader_begin(w->reader), 0);
    assert_int_equal(si__read_merge(w->reader, &range, "cpu", &merge), 0);
    si__reader_end(w->reader);
    si__branch *branches;
    size_t count;
    assert_int_equal(si__places_tree(w->reader->places, &w->reader->db, merge.sum, &branches, &count), 0);
    assert_int_equal(branches[0].total, merge.total); /* what the nodes say is what the rows say */
    free(branches);
    int64_t total = merge.total;
    *rollups = merge.rollups;
    si__merge_clear(&merge);
    return total;
}

/* ---- Bodies ---- */

static void bodies_come_back_as_they_were(void **state) {
    si__body_codec *codec = si__body_codec_new();
    uint64_t seed = 5;
    (void)state;
    for (int round = 0; round < 300; round++) {
        size_t count = made_random(&seed) % 500, length;
        si__entry *entries = calloc(count + 1, sizeof *entries), *back;
        si__sum *wanted = si__sum_new(), *got = si__sum_new();
        int fixed = round % 2;
        for (size_t i = 0; i < count; i++) {
            uint64_t samples = made_random(&seed) % (round % 3 ? 20 : UINT64_MAX);
            int64_t value = fixed ? (int64_t)(samples * 10000000) : (int64_t)made_random(&seed);
            entries[i] =
                (si__entry){(uint32_t)(made_random(&seed) % (round % 5 ? 2000 : SI__NODE_LIMIT)), samples, value};
            assert_int_equal(si__sum_add(wanted, entries[i].node, samples, value), 0);
        }
        const uint8_t *body;
        assert_int_equal(si__body_encode(codec, entries, count, &body, &length), 0);
        uint8_t *copy = malloc(length);
        memcpy(copy, body, length);
        assert_int_equal(si__sum_add_body(got, codec, copy, length), 0);
        assert_int_equal(si__sum_count(got), si__sum_count(wanted));
        back = calloc(count + 1, 2 * sizeof *back);
        si__sum_entries(got, back);
        si__sum_entries(wanted, back + si__sum_count(got));
        assert_memory_equal(back, back + si__sum_count(got), si__sum_count(got) * sizeof *back);
        for (size_t cut = 0; cut < length; cut += 1 + length / 7) { /* damage is told, or harmless */
            si__sum *damaged = si__sum_new();
            si__sum_add_body(damaged, codec, copy, cut);
            si__sum_free(damaged);
        }
        for (int i = 0; i < 20; i++) {
            si__sum *damaged = si__sum_new();
            copy[made_random(&seed) % length] ^= (uint8_t)(1u << made_random(&seed) % 8);
            si__sum_add_body(damaged, codec, copy, length);
            si__sum_free(damaged);
        }
        free(copy);
        free(back);
        free(entries);
        si__sum_free(wanted);
        si__sum_free(got);
    }
    si__body_codec_free(codec);
}

/* ---- Rollups ---- */

static void late_reports_are_seen_at_once_and_rolled_up_again(void **state) {
    world w;
    uint64_t rollups, seed = 9;
    int64_t sum = 0;
    (void)state;
    make(&w, 0, 0);
    int64_t day = (w.now_ms - 3 * 86400000ll) / 86400000 * 86400000;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 12; i++) {
            si__report *report = report_at(&w, day + (int64_t)(made_random(&seed) % 86400000));
            sum += si__calltree_total_value(
                made_profile(report, "cpu", report->start_ms, 10, 60, made_random(&seed))->tree);
            put(&w, report);
            assert_int_equal(total_of(&w, day, day + 86400000, &rollups),
                             sum); /* whatever is rolled up at this moment */
        }
        wait_until(&w, "SELECT count(*) FROM rollup_due", 0);
        assert_int_equal(total_of(&w, day, day + 86400000, &rollups), sum);
        assert_int_equal(rollups, 1); /* the whole day, from one blob */
        assert_int_equal(total_of(&w, day - 1, day + 86400000 + 1, &rollups), sum);
    }
    int64_t first = total_of(&w, day, day + 40000000, &rollups),
            second = total_of(&w, day + 40000000, day + 86400000, &rollups);
    assert_int_equal(first + second, sum);
    clear(&w);
}

/* ---- Retention ---- */

static void what_is_too_old_goes(void **state) {
    world w;
    (void)state;
    make(&w, 86400000, 0);
    for (int i = 0; i < 20; i++) {
        int64_t t = w.now_ms - (i < 10 ? 2 * 86400000ll : 3600000ll);
        si__report *report = report_at(&w, t + i * 1000);
        made_profile(report, "cpu", report->start_ms, 5, 50, (uint64_t)i + 1);
        made_segment(report, "checkout", report->start_ms, 1000, 5);
        made_error(report, "payment", "declined", report->start_ms, 1);
        made_point(report, "queue.length", report->start_ms, 1);
        made_alert(report, "cpu_high", SI__ALERT_RESOLVED, report->start_ms);
        put(&w, report);
    }
    wait_until(&w, "SELECT count(*) FROM profile", 10);
    wait_until(&w, "SELECT count(*) FROM profile_body", 10);
    wait_until(&w, "SELECT count(*) FROM segment WHERE resolution_ms=0", 10);
    wait_until(&w, "SELECT count(*) FROM error", 10);
    wait_until(&w, "SELECT count(*) FROM point WHERE resolution_ms=0", 10);
    assert_int_equal(ask(&w, "SELECT count(*) FROM alert"), 20);
    assert_int_equal(ask(&w, "SELECT count(*) FROM ledger"), 20); /* a replay of them is still known */
    clear(&w);
}

static void a_store_that_is_too_large_loses_the_oldest_first(void **state) {
    world w;
    (void)state;
    make(&w, 30 * 86400000ll, 1 << 20);
    for (int i = 0; i < 240; i++) { /* two hours apart: far more than fits */
        si__report *report = report_at(&w, w.now_ms - (240 - i) * 7200000ll);
        made_profile(report, "cpu", report->start_ms, 300, 3000, (uint64_t)i + 1);
        put(&w, report);
    }
    int64_t deadline = unix_ms() + DEADLINE_MS, newest = ask(&w, "SELECT max(start_ms) FROM profile");
    while (ask(&w, "SELECT min(start_ms) FROM profile") < w.now_ms - 235 * 7200000ll) {
        if (unix_ms() > deadline) fail_msg("nothing was deleted");
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    assert_int_equal(ask(&w, "SELECT max(start_ms) FROM profile"), newest);
    clear(&w);
}

/* ---- Caps ---- */

static void names_cannot_fill_the_store(void **state) {
    world w;
    (void)state;
    make(&w, 0, 0);
    for (int i = 0; i < 3; i++) {
        si__report *report = report_at(&w, w.now_ms - 60000);
        for (int j = 0; j < 1000; j++) {
            char name[64];
            snprintf(name, sizeof name, "order %d", i * 1000 + j);
            made_error(report, name, "x", w.now_ms - 60000, 1);
            snprintf(name, sizeof name, "type-%d", i * 1000 + j);
            if (j < 50) made_profile(report, name, w.now_ms - 60000, 1, 10, 1);
        }
        put(&w, report);
    }
    assert_true(ask(&w, "SELECT count(*) FROM error_group") <= 2001);
    assert_int_equal(ask(&w, "SELECT sum(count) FROM error"), 3000); /* none is lost: the rest is under "other" */
    assert_true(ask(&w, "SELECT sum(count) FROM error JOIN error_group ON error_group.id=error.name WHERE "
                        "error_group.name='other'") >= 1000);
    assert_int_equal(ask(&w, "SELECT count(*) FROM profile_type"), 64);
    clear(&w);
}

static void a_name_longer_than_its_column_is_cut_between_characters(void **state) {
    world w;
    char name[1000] = "";
    (void)state;
    make(&w, 0, 0);
    for (int i = 0; i < 300; i++) strcat(name, "\xC3\xA4"); /* two bytes each */
    si__report *report = report_at(&w, w.now_ms);
    made_error(report, name, name, w.now_ms, 1);
    put(&w, report);
    assert_int_equal(ask(&w, "SELECT length(CAST(name AS BLOB)) FROM error_group"), 254);
    assert_int_equal(ask(&w, "SELECT length(name) FROM error_group"), 127);
    clear(&w);
}

/* ---- Schema ---- */

static void newer_and_foreign_files_are_refused(void **state) {
    world w;
    si__db db;
    si__store *store;
    char error[400], path[100];
    (void)state;
    make(&w, 0, 0);
    close_store(&w);
    assert_int_equal(si__db_open(&db, w.dir, SI__DB_WRITE, error, sizeof error), 0);
    assert_int_equal(si__schema_open(&db, 1, error, sizeof error), 0); /* again: nothing to do */
    assert_int_equal(si__db_exec(&db, "PRAGMA user_version=99"), 0);
    si__db_close(&db);
    si__store_options options = {.data_dir = w.dir};
    assert_int_equal(si__store_open(&options, &store, error, sizeof error), SI_EFORMAT);
    assert_non_null(strstr(error, "newer"));
    snprintf(path, sizeof path, "%s/si.db", w.dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(si__db_open(&db, w.dir, SI__DB_WRITE, error, sizeof error), 0);
    assert_int_equal(si__db_exec(&db, "CREATE TABLE recipe(name)"), 0);
    si__db_close(&db);
    assert_int_equal(si__store_open(&options, &store, error, sizeof error), SI_EFORMAT);
    assert_non_null(strstr(error, "not a store"));
    temporary_dir_remove(w.dir);
}

static void the_audit_log_only_grows(void **state) {
    world w;
    si__db db;
    char error[300];
    (void)state;
    make(&w, 0, 0);
    assert_int_equal(si__db_open(&db, w.dir, SI__DB_WRITE, error, sizeof error), 0);
    assert_int_equal(
        si__db_exec(&db, "INSERT INTO audit(time_ms,user,action,target,address) VALUES(1,'a','b','c','d')"), 0);
    assert_true(si__db_exec(&db, "DELETE FROM audit") != 0);
    assert_true(si__db_exec(&db, "UPDATE audit SET user='x'") != 0);
    si__db_close(&db);
    clear(&w);
}

int main(void) {
    if (sodium_init() < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_come_back_as_they_were),
        cmocka_unit_test(late_reports_are_seen_at_once_and_rolled_up_again),
        cmocka_unit_test(what_is_too_old_goes),
        cmocka_unit_test(a_store_that_is_too_large_loses_the_oldest_first),
        cmocka_unit_test(names_cannot_fill_the_store),
        cmocka_unit_test(a_name_longer_than_its_column_is_cut_between_characters),
        cmocka_unit_test(newer_and_foreign_files_are_refused),
        cmocka_unit_test(the_audit_log_only_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
