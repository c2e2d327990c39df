/*
 * The spool keeps what it was given, over restarts and within its bounds; what it cannot keep it counts, and the counts
 * add up at every moment. Damage, failing disks and kill -9: spool_damage_test.c.
 */
#include "spool_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- The ordinary way ---- */

static void test_what_is_acked_leaves_nothing_behind(void **state) {
    const char *dir = *state;
    si__spool *spool = open_spool(dir, &small_floor);
    for (uint64_t i = 1; i <= 10; i++) put(spool, i, SI__SPOOL_SAMPLES);
    si__spool_write_pending(spool);
    assert_int_equal(files_in(dir, "spool", ".seg"), 1);
    assert_int_equal(counts_of(spool).pending, 10);
    assert_int_equal(take_all(spool, 1), 0x7fe);
    assert_int_equal(files_in(dir, "spool", ".seg"), 0);
    si__spool_counts c = counts_of(spool);
    assert_int_equal(c.acked, 10);
    assert_int_equal(c.pending, 0);
    assert_int_equal(c.pending_bytes, 0);
    si__spool_close(spool);
    struct stat st;
    char path[100];
    snprintf(path, sizeof path, "%s/spool", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_what_was_not_acked_is_there_after_a_restart(void **state) {
    const char *dir = *state;
    si__spool_record record;
    si__spool *spool = open_spool(dir, &small_floor);
    for (uint64_t i = 1; i <= 10; i++) put(spool, i, i % 2 ? SI__SPOOL_SAMPLES : SI__SPOOL_METRICS);
    si__spool_close(spool); /* writes what is pending */
    spool = open_spool(dir, &small_floor);
    si__spool_counts c = counts_of(spool);
    assert_int_equal(c.recovered, 10);
    assert_int_equal(c.pending, 10);
    assert_int_equal(c.damaged, 0);
    assert_int_equal(si__spool_take(spool, &record), SI_OK);
    assert_int_equal(record.id.sequence, 2); /* metrics before samples, oldest first */
    assert_int_equal(record.klass, SI__SPOOL_METRICS);
    assert_int_equal(record.made_ms, now_ms + 2);
    assert_whole(&record);
    free(record.payload);
    si__spool_return(spool, record.handle);
    assert_int_equal(take_all(spool, 1), 0x7fe);
    si__spool_close(spool);
    spool = open_spool(dir, &small_floor);
    assert_int_equal(counts_of(spool).made, 0);
    si__spool_close(spool);
}

static void test_alerts_go_first_and_what_is_returned_comes_again(void **state) {
    si__spool *spool = open_spool(NULL, NULL);
    si__spool_record a, b;
    (void)state;
    put(spool, 1, SI__SPOOL_SAMPLES);
    put(spool, 2, SI__SPOOL_METRICS);
    put(spool, 3, SI__SPOOL_ALERTS);
    put(spool, 4, SI__SPOOL_ALERTS);
    assert_int_equal(si__spool_take(spool, &a), SI_OK);
    assert_int_equal(a.id.sequence, 3);
    assert_int_equal(si__spool_take(spool, &b), SI_OK);
    assert_int_equal(b.id.sequence, 4);
    si__spool_return(spool, a.handle);
    free(a.payload);
    free(b.payload);
    assert_int_equal(si__spool_take(spool, &a), SI_OK);
    assert_int_equal(a.id.sequence, 3);
    free(a.payload);
    si__spool_ack(spool, a.handle);
    si__spool_ack(spool, b.handle);
    si__spool_ack(spool, b.handle); /* twice: once */
    si__spool_ack(spool, 999);
    assert_int_equal(take_all(spool, 1), 0x6);
    assert_int_equal(counts_of(spool).acked, 4);
    si__spool_close(spool);
}

static void test_what_is_refused_is_set_aside(void **state) {
    const char *dir = *state;
    si__spool *spool = open_spool(dir, &small_floor);
    si__spool_record record;
    put(spool, 1, SI__SPOOL_SAMPLES);
    put(spool, 2, SI__SPOOL_SAMPLES);
    si__spool_write_pending(spool);
    assert_int_equal(si__spool_take(spool, &record), SI_OK);
    free(record.payload);
    si__spool_reject(spool, record.handle);
    assert_int_equal(files_in(dir, "spool/quarantine", "-1"), 1);
    assert_int_equal(counts_of(spool).dropped_rejected, 1);
    assert_int_equal(take_all(spool, 1), 0x4);
    si__spool_close(spool);
}

static void test_there_is_one_owner(void **state) {
    si__spool *spool = open_spool(*state, &small_floor), *second;
    char error[200];
    assert_int_equal(si__spool_open(*state, NULL, &second, error, sizeof error), SI_EEXIST);
    assert_null(second);
    assert_non_null(strstr(error, "another agent"));
    pid_t child = fork(); /* which lets go of what it inherited */
    if (child == 0) {
        si__spool_after_fork(spool);
        for (;;) pause();
    }
    put(spool, 1, SI__SPOOL_ALERTS);
    si__spool_close(spool);
    int opened = 0;
    for (int i = 0; i < 500 && !opened; i++) { /* the child may not have come to it yet */
        opened = si__spool_open(*state, &small_floor, &spool, error, sizeof error) == SI_OK;
        if (!opened) nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(opened);
    assert_int_equal(counts_of(spool).recovered, 1);
    si__spool_close(spool);
}

/* ---- Bounds ---- */

static void test_memory_is_bounded_lowest_class_first(void **state) {
    (void)state;
    si__spool_limits limits = {.memory_bytes = 20000};
    si__spool *spool = open_spool(NULL, &limits);
    for (uint64_t i = 0; i < 10; i++) put(spool, i, SI__SPOOL_ALERTS);
    for (uint64_t i = 100; i < 200; i++) {
        put(spool, i, SI__SPOOL_SAMPLES);
        assert_true(counts_of(spool).pending_bytes <= 20000);
    }
    si__spool_record record;
    for (uint64_t i = 0; i < 10; i++) { /* the alerts outlived the samples */
        assert_int_equal(si__spool_take(spool, &record), SI_OK);
        assert_int_equal(record.id.sequence, i);
        free(record.payload);
        si__spool_ack(spool, record.handle);
    }
    uint64_t first = 0, last = 0;
    while (si__spool_take(spool, &record) == SI_OK) {
        if (!first) first = record.id.sequence;
        last = record.id.sequence;
        free(record.payload);
    }
    assert_true(first > 100); /* the oldest went */
    assert_int_equal(last, 199);
    assert_true(counts_of(spool).dropped_size > 50);
    si__spool_close(spool);

    limits.memory_bytes = 2000;
    spool = open_spool(NULL, &limits);
    for (uint64_t i = 0; i < 20; i++) put(spool, i, SI__SPOOL_ALERTS);
    uint64_t alerts = counts_of(spool).pending;
    put(spool, 50, SI__SPOOL_SAMPLES); /* no alert goes for a sample */
    assert_int_equal(counts_of(spool).pending, alerts);
    si__spool_close(spool);
}

static void test_disk_is_bounded_lowest_class_first(void **state) {
    const char *dir = *state;
    si__spool_limits limits = {.disk_bytes = 64 * 1024, .free_floor_bytes = 1};
    si__spool *spool = open_spool(dir, &limits);
    for (uint64_t i = 0; i < 20; i++) put(spool, i, SI__SPOOL_ALERTS);
    for (uint64_t i = 100; i < 600; i++) {
        put(spool, i, SI__SPOOL_SAMPLES);
        if (i % 3 == 0) si__spool_write_pending(spool);
        counts_of(spool);
    }
    si__spool_write_pending(spool);
    si__spool_counts c = counts_of(spool);
    assert_true(c.dropped_size > 200);
    assert_true(c.pending_bytes <= limits.disk_bytes);
    si__spool_close(spool);
    spool = open_spool(dir, &limits);
    assert_int_equal(counts_of(spool).pending, c.pending); /* what was dropped does not come back */
    assert_int_equal(take_all(spool, 0) & 0xfffff, 0xfffff);
    for (uint64_t i = 1000; i < 1500; i++) put(spool, i, SI__SPOOL_SAMPLES); /* while all is taken */
    si__spool_write_pending(spool);
    counts_of(spool);
    si__spool_close(spool);
}

static void test_a_record_that_cannot_fit_is_counted(void **state) {
    (void)state;
    si__spool *spool = open_spool(NULL, NULL);
    si__report_id id = id_of(1);
    uint8_t *big = calloc(1, (4 << 20) + 1);
    si__spool_put(spool, &id, SI__SPOOL_ALERTS, big, (4 << 20) + 1, 0);
    assert_int_equal(counts_of(spool).dropped_size, 1);
    si__spool_put(spool, &id, SI__SPOOL_ALERTS, big, (4 << 20) - 64, 0);
    si__spool_put(spool, &id, SI__SPOOL_ALERTS, NULL, 0, 0);
    assert_int_equal(counts_of(spool).pending, 2);
    free(big);
    si__spool_close(spool);
}

static void test_old_records_go_but_not_when_the_clock_jumps(void **state) {
    const int64_t minute = 60000, day = 86400000, start = now_ms;
    si__spool_limits limits = {.age_ms = 10 * minute, .free_floor_bytes = 1};
    si__spool *spool = open_spool(*state, &limits);
    si__spool_tick(spool, start);
    put(spool, 1, SI__SPOOL_ALERTS);
    si__spool_write_pending(spool);
    si__spool_tick(spool, start + 400 * day); /* set forward, and back */
    si__spool_tick(spool, start);
    assert_int_equal(counts_of(spool).pending, 1);
    for (int i = 1; i <= 10; i++) si__spool_tick(spool, start + i * minute);
    put(spool, 2, SI__SPOOL_ALERTS);
    assert_int_equal(counts_of(spool).pending, 2);
    si__spool_tick(spool, start + 11 * minute);
    assert_int_equal(counts_of(spool).dropped_age, 1);
    assert_int_equal(take_all(spool, 1), 0x4);
    si__spool_close(spool);
}

static void test_age_counts_over_a_restart(void **state) {
    si__spool *spool = open_spool(*state, &small_floor);
    si__report_id id = id_of(1);
    si__spool_put(spool, &id, SI__SPOOL_ALERTS, (const uint8_t *)"x", 1, now_ms - 8ll * 86400000);
    id.sequence = 2;
    si__spool_put(spool, &id, SI__SPOOL_ALERTS, (const uint8_t *)"x", 1, now_ms - 6ll * 86400000);
    id.sequence = 3;
    si__spool_put(spool, &id, SI__SPOOL_ALERTS, (const uint8_t *)"x", 1, 1000); /* made before the clock was set */
    si__spool_close(spool);
    spool = open_spool(*state, &small_floor);
    si__spool_tick(spool, now_ms);
    assert_int_equal(counts_of(spool).dropped_age, 1);
    assert_int_equal(counts_of(spool).pending, 2);
    si__spool_close(spool);
}

/* ---- Memory, threads ---- */

static void test_any_allocation_may_fail(void **state) {
    for (long nth = 1;; nth++) {
        char dir[100], error[200];
        snprintf(dir, sizeof dir, "%s/%ld", (char *)*state, nth);
        si__spool *spool;
        for (int pass = 0; pass < 2; pass++) { /* into an empty directory, then over what is there */
            alloc_fail_at(pass ? nth : 0);
            int status = si__spool_open(dir, &small_floor, &spool, error, sizeof error);
            if (!pass) alloc_fail_at(nth);
            if (status) {
                assert_int_equal(status, SI_ENOMEM);
                assert_null(spool);
                continue;
            }
            for (uint64_t i = 1; i <= 3; i++) put(spool, i, SI__SPOOL_METRICS);
            si__spool_write_pending(spool);
            si__spool_record record;
            if (si__spool_take(spool, &record) == SI_OK) {
                free(record.payload);
                if (nth % 2)
                    si__spool_reject(spool, record.handle);
                else
                    si__spool_return(spool, record.handle);
            }
            alloc_fail_at(alloc_fail_hit ? 0 : alloc_fail_countdown);
            counts_of(spool);
            si__spool_close(spool);
        }
        int hit = alloc_fail_hit;
        alloc_fail_at(0);
        if (!hit) break;
    }
}

static void *putter(void *arg) {
    for (uint64_t i = 0; i < 2000; i++) put(arg, i, (si__spool_class)(i % 3));
    return NULL;
}

static void test_putting_while_the_worker_works(void **state) {
    si__spool_limits limits = {.memory_bytes = 30000, .disk_bytes = 1 << 20, .free_floor_bytes = 1};
    si__spool *spool = open_spool(*state, &limits);
    pthread_t thread;
    pthread_create(&thread, NULL, putter, spool);
    si__spool_record record;
    uint64_t got = 0;
    while (counts_of(spool).made < 2000 || counts_of(spool).pending > 0) {
        si__spool_write_pending(spool);
        for (int i = 0; i < 20 && si__spool_take(spool, &record) == SI_OK; i++) {
            assert_whole(&record);
            free(record.payload);
            got++;
            si__spool_ack(spool, record.handle);
        }
    }
    pthread_join(thread, NULL);
    assert_int_equal(counts_of(spool).acked, got);
    assert_int_equal(files_in(*state, "spool", ".seg"), 0);
    si__spool_close(spool);
}

int main(void) {
    now_ms = (int64_t)time(NULL) * 1000;
    const struct CMUnitTest tests[] = {
        ON_DISK(test_what_is_acked_leaves_nothing_behind),
        ON_DISK(test_what_was_not_acked_is_there_after_a_restart),
        cmocka_unit_test(test_alerts_go_first_and_what_is_returned_comes_again),
        ON_DISK(test_what_is_refused_is_set_aside),
        ON_DISK(test_there_is_one_owner),
        cmocka_unit_test(test_memory_is_bounded_lowest_class_first),
        ON_DISK(test_disk_is_bounded_lowest_class_first),
        cmocka_unit_test(test_a_record_that_cannot_fit_is_counted),
        ON_DISK(test_old_records_go_but_not_when_the_clock_jumps),
        ON_DISK(test_age_counts_over_a_restart),
        ON_DISK(test_any_allocation_may_fail),
        ON_DISK(test_putting_while_the_worker_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
