/*
 * Percentiles per call path: what the agent says of each path to a statement is what its calls took. By the sampler's
 * own arithmetic over many calls of known durations, with the real SQLite and a real PostgreSQL server called from two
 * functions; and bounded.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include "../../collectors/native/bucket.h"
#include "../../collectors/native/poisson.h"
#include "../../collectors/native/probe.h"
#include "../../collectors/native/unwind.h"
#include "../../runtime/profile/resolve.h"
#include "../../runtime/recorded.h"
#include "../../runtime/recorder.h"
#include "database_server.h"

static si__region *region;
static int region_fd;
static si__recorder *recorder;
static si__space named; /* frames that have names instead of addresses */

static int set_up(void **state) {
    int error;
    (void)state;
    region = si__region_create(&region_fd, &error);
    recorder = si__recorder_new(0);
    named = (si__space){.serial = 7, .names = region};
    return region && recorder ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    si__recorder_free(recorder);
    si__region_unmap(region);
    close(region_fd);
    return 0;
}

static uint64_t frame(uint32_t index, const char *function) {
    si__name *n = si__region_name(region, index);
    strcpy(n->function, function);
    atomic_store(&n->hash, index + 1);
    atomic_store(&n->state, 2);
    return si__name_pc(index);
}

static si__report *cut(void) {
    si__unresolved_list list;
    si__report *report = si__report_new();
    si__symbolizer *symbolizer = si__symbolizer_new(0);
    assert_int_equal(si__recorder_cut(recorder, 1700000000000, 2, report, &list), 0);
    for (size_t i = 0; i < list.count; i++) {
        *list.items[i].tree = si__resolve(list.items[i].raw, symbolizer);
        si__rawprofile_free(list.items[i].raw);
    }
    free(list.items);
    si__symbolizer_free(symbolizer);
    return report;
}

/* The calls of every path through a function, as the dashboard adds them up; samples 0: none. */
static si__spread through(const si__calltree *tree, const char *function) {
    si__spread sum = {si__sketch_new(), 0};
    for (size_t i = 0; i < si__calltree_node_count(tree); i++) {
        const si__spread *own = si__calltree_spread_at(tree, i);
        for (size_t n = i; n; n = si__calltree_node_at(tree, n)->parent) {
            uint32_t at = si__calltree_node_at(tree, n)->frame;
            if (!own || strcmp(si__calltree_frame_at(tree, at)->function, function) != 0) continue;
            assert_int_equal(si__sketch_merge(sum.sketch, own->sketch), 0);
            sum.samples += own->samples;
            break;
        }
    }
    return sum;
}

/* ---- Known durations ---- */

static const char statement[] = "SELECT name FROM t WHERE id = ?";

/* As the probe writes it. */
static void sampled(const uint64_t *pcs, const si__weight *weight, uint64_t duration_ns) {
    char text[sizeof statement + 8];
    memcpy(text, statement, sizeof statement);
    memcpy(text + sizeof statement, &duration_ns, 8);
    const si__drained_event e = {.type = SI__EVENT_CALL,
                                 .detail = SI__INSTRUMENT_CALL_SQL,
                                 .value = weight->quantity,
                                 .count = weight->calls,
                                 .frame_count = 2,
                                 .pcs = pcs,
                                 .text = text,
                                 .text_bytes = sizeof text};
    si__recorder_event(recorder, NULL, &named, &e);
}

static void counted(uint64_t count) {
    const si__drained_instrument all = {.kind = SI__INSTRUMENT_CALL_SQL, .name = statement, .count = count};
    si__recorder_tally(recorder, &all);
}

static double uniform(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

/* Exponential durations of a mean, which have a long tail: the q-quantile is -mean * ln(1 - q). */
static uint64_t exponential(uint64_t *seed, double mean_ns) {
    return 1 + (uint64_t)(-mean_ns * log(uniform(seed)));
}

/* Two paths to one statement, one of 0.4 ms and one of 4 ms on average, sampled every 10 ms: of the short calls one in
   25. Each path's percentiles are its own, and short calls count for as many as they stand for. */
static void each_path_has_its_own_percentiles(void **state) {
    (void)state;
    enum { CALLS = 400000 };
    static const double means[] = {400e3, 4e6};
    static const char *const names[] = {"list_orders", "checkout"};
    uint64_t seed = 20261123, serve = frame(1, "serve");
    uint64_t pcs[2][2] = {{frame(2, names[0]), serve}, {frame(3, names[1]), serve}};
    si__poisson sampler = {.state = 4711};
    unsigned taken = 0;
    for (int i = 0; i < CALLS; i++) {
        int path = i % 4 == 0;
        uint64_t duration_ns = exponential(&seed, means[path]);
        si__weight weight;
        if (!si__poisson_hit(&sampler, duration_ns) || !si__poisson_weight(&sampler, duration_ns, 10000000, &weight))
            continue;
        sampled(pcs[path], &weight, duration_ns);
        taken++;
    }
    counted(CALLS);
    assert_true(taken > CALLS / 20 && taken < CALLS / 3);
    si__report *report = cut();
    assert_int_equal(report->segment_count, 1);
    const si__calltree *tree = report->segments[0].tree;
    for (int path = 0; path < 2; path++) {
        si__spread of = through(tree, names[path]);
        double calls = path ? CALLS / 4 : CALLS * 3 / 4, p95 = si__sketch_quantile(of.sketch, 0.95);
        double right = -means[path] * log(0.05), p50 = si__sketch_quantile(of.sketch, 0.5);
        print_message("%s: %llu samples, %.0f calls for %.0f, p95 %.3f ms for %.3f\n", names[path],
                      (unsigned long long)of.samples, (double)si__sketch_count(of.sketch), calls, p95 / 1e6,
                      right / 1e6);
        assert_true(fabs(p95 / right - 1) < 0.02);
        /* A short call is sampled rarely and stands for many: what is known of the middle is less. */
        assert_true(fabs(p50 / (-means[path] * log(0.5)) - 1) < 0.15);
        assert_true(fabs((double)si__sketch_count(of.sketch) / calls - 1) < 0.03);
        si__sketch_free(of.sketch);
    }
    si__spread all = through(tree, "serve"); /* neither's, and no average of theirs */
    assert_int_equal(all.samples, taken);
    double p95 = si__sketch_quantile(all.sketch, 0.95);
    /* 3/4 exp(-x/0.4) + 1/4 exp(-x/4) = 0.05 at 6.438 ms */
    assert_true(fabs(p95 / 6.438e6 - 1) < 0.02);
    si__sketch_free(all.sketch);
    si__report_free(report);
}

static void what_an_older_probe_says_has_no_percentiles(void **state) {
    (void)state;
    const uint64_t pcs[] = {frame(2, "checkout"), frame(1, "serve")};
    const si__drained_event e = {.type = SI__EVENT_CALL,
                                 .detail = SI__INSTRUMENT_CALL_SQL,
                                 .value = 5000,
                                 .count = 3,
                                 .frame_count = 2,
                                 .pcs = pcs,
                                 .text = statement,
                                 .text_bytes = sizeof statement - 1};
    si__recorder_event(recorder, NULL, &named, &e);
    counted(3);
    si__report *report = cut();
    si__spread of = through(report->segments[0].tree, "checkout");
    assert_int_equal(of.samples, 0);
    assert_int_equal(si__calltree_total_count(report->segments[0].tree), 3);
    si__sketch_free(of.sketch);
    si__report_free(report);
}

/* More durations than an agent keeps: totals stay right, and the report says of fewer calls how long they took. */
static void what_is_kept_is_bounded(void **state) {
    (void)state;
    uint64_t samples = 0, buckets = 0, calls = 0;
    const uint64_t serve = frame(0, "serve");
    for (uint32_t path = 1; path <= 60; path++) {
        char name[32];
        snprintf(name, sizeof name, "path_%u", path);
        const uint64_t pcs[] = {frame(path, name), serve};
        for (uint32_t bucket = 300; bucket < 1800; bucket++, calls++) {
            const si__weight weight = {.quantity = (int64_t)si__bucket_low(bucket), .calls = 1};
            sampled(pcs, &weight, si__bucket_low(bucket));
        }
    }
    counted(calls);
    si__report *report = cut();
    const si__calltree *tree = report->segments[0].tree;
    assert_int_equal(si__calltree_total_count(tree), calls);
    for (size_t i = 0; i < si__calltree_node_count(tree); i++) {
        const si__spread *of = si__calltree_spread_at(tree, i);
        samples += of ? of->samples : 0;
        buckets += of ? si__sketch_buckets(of->sketch) : 0;
    }
    assert_int_equal(buckets, SI__PATH_BUCKETS);
    assert_int_equal(samples, SI__PATH_BUCKETS);
    si__report_free(report);
    const uint64_t pcs[] = {frame(1, "path_1"), serve};
    const si__weight weight = {.quantity = 5000, .calls = 1};
    sampled(pcs, &weight, 5000); /* and the next report begins anew */
    counted(1);
    report = cut();
    si__spread of = through(report->segments[0].tree, "path_1");
    assert_int_equal(of.samples, 1);
    si__sketch_free(of.sketch);
    si__report_free(report);
}

/* ---- Real databases ---- */

enum { CALLS = 60, CALL_NS = 1000000 };
typedef struct path_times {
    uint64_t ns[CALLS];
    unsigned count;
} path_times;
static path_times quick, slow;
static sqlite3 *lite; /* one of the two is there */
static PGconn *postgres;

static uint64_t host_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void nap(sqlite3_context *context, int argc, sqlite3_value **argv) {
    struct timespec duration = {0, 1000000L * sqlite3_value_int(argv[0])};
    (void)argc;
    nanosleep(&duration, NULL);
    sqlite3_result_int(context, 1);
}

/* A statement that sleeps. */
static void query(int milliseconds, path_times *times) {
    char sql[64];
    uint64_t since_ns = host_ns();
    if (lite) {
        snprintf(sql, sizeof sql, "SELECT nap(%d)", milliseconds);
        assert_int_equal(sqlite3_exec(lite, sql, NULL, NULL, NULL), SQLITE_OK);
    } else {
        snprintf(sql, sizeof sql, "SELECT pg_sleep(0.%03d)", milliseconds);
        PGresult *result = PQexec(postgres, sql);
        assert_int_equal(PQresultStatus(result), PGRES_TUPLES_OK);
        PQclear(result);
    }
    times->ns[times->count++] = host_ns() - since_ns;
}

__attribute__((noinline)) static void list_orders(int i) {
    query(i % 5 ? 8 : 12, &quick);
    __asm__ volatile("");
}

__attribute__((noinline)) static void checkout(int i) {
    query(i % 5 ? 20 : 31, &slow);
    __asm__ volatile("");
}

static void record(void *arg, const si__drained_event *event) {
    si__recorder_event(recorder, NULL, arg, event);
}

static void tally(void *arg, const si__drained_instrument *instrument) {
    (void)arg;
    si__recorder_tally(recorder, instrument);
}

/* A fifth of the calls sleeps `longest_ms` and none sleeps less than it says; and no call took longer than the test saw
   it take. On a machine with nothing else to do both bounds are one. */
static void check_path(const si__calltree *tree, const char *function, path_times *times, double longest_ms) {
    si__spread of = through(tree, function);
    qsort(times->ns, times->count, sizeof times->ns[0], by_time);
    /* Nearest rank, give or take one: a call of 8 ms is missed by a sampler of 1 ms once in 3,000. */
    unsigned rank = (unsigned)ceil(0.95 * times->count) - 1;
    double low = longest_ms * 1e6, high = (double)times->ns[rank + 1], p95 = si__sketch_quantile(of.sketch, 0.95);
    print_message("%s: %llu samples, p95 %.3f ms, from %.3f to %.3f\n", function, (unsigned long long)of.samples,
                  p95 / 1e6, low / 1e6, high / 1e6);
    assert_in_range(of.samples, CALLS - 2, CALLS);
    assert_in_range(si__sketch_count(of.sketch), CALLS - 2, CALLS + 2);
    assert_true(p95 >= low * 0.99 && p95 <= high * 1.01);
    si__sketch_free(of.sketch);
}

/* Both functions, observed; what the report says of them. */
static void observe(const char *name) {
    size_t unavailable;
    si__module_list modules;
    si__region *probed = si__probe_region();
    si__unwind_cache *cache = si__unwind_cache_new();
    assert_int_equal(si__module_list_read(getpid(), &modules), 0);
    si__unwind_publish(cache, probed, modules.items, modules.count, "", &unavailable);
    si__binaries *binaries = si__binaries_new();
    si__space *space = si__space_new(binaries, &modules, "");
    si__drain *drain = si__drain_new(probed);
    quick.count = slow.count = 0;
    for (int i = 0; i < CALLS; i++) {
        list_orders(i);
        checkout(i);
    }
    si__drain_events(drain, record, space);
    si__drain_instruments(drain, tally, NULL);
    si__report *report = cut();
    const si__report_segment *found = NULL;
    for (size_t i = 0; i < report->segment_count; i++)
        if (strcmp(report->segments[i].name, name) == 0) found = &report->segments[i];
    assert_non_null(found);
    assert_int_equal(found->count, 2 * CALLS);
    check_path(found->tree, "list_orders", &quick, 12);
    check_path(found->tree, "checkout", &slow, 31);
    si__report_free(report);
    si__drain_free(drain);
    si__space_free(space);
    si__binaries_free(binaries);
    si__module_list_free(&modules);
    si__unwind_cache_free(cache);
}

static const si__probe_options options = {.call_ns = CALL_NS};

static void two_functions_that_call_sqlite(void **state) {
    (void)state;
    assert_int_equal(si__probe_open(&options), 0);
    assert_int_equal(sqlite3_open(":memory:", &lite), SQLITE_OK);
    sqlite3_create_function(lite, "nap", 1, SQLITE_UTF8, NULL, nap, NULL, NULL);
    observe("SELECT nap(?)");
    sqlite3_close(lite);
    lite = NULL;
    si__probe_close();
}

static void two_functions_that_call_postgres(void **state) {
    (void)state;
    database_server server;
    char where[80];
    postgres_server_start(&server);
    snprintf(where, sizeof where, "host=127.0.0.1 port=%d user=si dbname=postgres", server.port);
    postgres = PQconnectdb(where);
    if (PQstatus(postgres) != CONNECTION_OK) print_message("%s\n", PQerrorMessage(postgres));
    assert_int_equal(PQstatus(postgres), CONNECTION_OK);
    assert_int_equal(si__probe_open(&options), 0);
    observe("SELECT pg_sleep(?)");
    PQfinish(postgres);
    si__probe_close();
    database_server_stop(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_path_has_its_own_percentiles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_an_older_probe_says_has_no_percentiles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_kept_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_functions_that_call_sqlite, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_functions_that_call_postgres, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
