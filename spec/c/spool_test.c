/*
 * The spool keeps what it was given: over restarts, kill -9, damage, full disks and failing system calls. What it
 * cannot keep it counts, and the counts add up at every moment.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <si/si.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "../../runtime/report/spool.h"
#include "alloc_fail.h"
#include "temporary_dir.h"

/* ---- Failing system calls: linked with --wrap=write,--wrap=fsync ---- */

static atomic_int fail_write_in, fail_fsync_in; /* the call that brings it from 1 to 0 fails */
static atomic_int disk_broken;                  /* all fail */

ssize_t __real_write(int fd, const void *data, size_t length);
int __real_fsync(int fd);
ssize_t __wrap_write(int fd, const void *data, size_t length);
int __wrap_fsync(int fd);

static int is_due(atomic_int *countdown) {
    return atomic_load(countdown) > 0 && atomic_fetch_sub(countdown, 1) == 1;
}

ssize_t __wrap_write(int fd, const void *data, size_t length) {
    if (atomic_load(&disk_broken) || is_due(&fail_write_in)) {
        if (length > 8) __real_write(fd, data, length / 2); /* torn, as a full disk leaves it */
        errno = ENOSPC;
        return -1;
    }
    return __real_write(fd, data, length);
}

int __wrap_fsync(int fd) {
    if (atomic_load(&disk_broken) || is_due(&fail_fsync_in)) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

/* ---- Small parts ---- */

static int64_t now_ms; /* when the tests began, Unix */

static const si__spool_limits small_floor = {.free_floor_bytes = 1};

static si__report_id id_of(uint64_t sequence) {
    si__report_id id = {.sequence = sequence};
    memset(id.agent, 0xa1, sizeof id.agent);
    memset(id.boot, 0xb0, sizeof id.boot);
    return id;
}

/* A payload that can be told to be whole: its length and bytes follow from the sequence. */
static size_t payload_of(uint64_t sequence, uint8_t *out) {
    size_t length = 50 + sequence * 37 % 500;
    for (size_t i = 0; i < length; i++) out[i] = (uint8_t)(sequence * 31 + i * 7);
    return length;
}

static void put(si__spool *spool, uint64_t sequence, si__spool_class klass) {
    uint8_t payload[600];
    size_t length = payload_of(sequence, payload);
    si__report_id id = id_of(sequence);
    si__spool_put(spool, &id, klass, payload, length, now_ms + (int64_t)sequence);
}

static void assert_whole(const si__spool_record *record) {
    uint8_t payload[600];
    size_t length = payload_of(record->id.sequence, payload);
    assert_int_equal(record->length, length);
    assert_memory_equal(record->payload, payload, length);
}

static si__spool_counts counts_of(si__spool *spool) {
    si__spool_counts c;
    si__spool_counts_get(spool, &c);
    assert_int_equal(c.made, c.acked + c.pending + c.dropped_size + c.dropped_age + c.dropped_disk +
                                 c.dropped_rejected + c.damaged);
    return c;
}

static si__spool *open_spool(const char *dir, const si__spool_limits *limits) {
    si__spool *spool;
    char error[200];
    int status = si__spool_open(dir, limits, &spool, error, sizeof error);
    if (status) fail_msg("spool does not open: %d (%s)", status, error);
    return spool;
}

/* Takes all there is; returns a bit per sequence (below 64), and checks each. */
static uint64_t take_all(si__spool *spool, int ack) {
    uint64_t seen = 0;
    si__spool_record record;
    while (si__spool_take(spool, &record) == SI_OK) {
        assert_whole(&record);
        if (record.id.sequence < 64) seen |= 1ull << record.id.sequence;
        free(record.payload);
        if (ack) si__spool_ack(spool, record.handle);
    }
    return seen;
}

static unsigned files_in(const char *dir, const char *sub, const char *ending) {
    char path[400];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/%s", dir, sub);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t length = strlen(e->d_name);
        n += e->d_name[0] != '.' && length >= strlen(ending) && !strcmp(e->d_name + length - strlen(ending), ending);
    }
    if (d) closedir(d);
    return n;
}

static int make_dir(void **state) {
    char *dir = malloc(64);
    temporary_dir_make(dir);
    *state = dir;
    return 0;
}

static int remove_dir(void **state) {
    alloc_fail_at(0);
    atomic_store(&disk_broken, 0);
    temporary_dir_remove(*state);
    free(*state);
    return 0;
}

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

/* ---- Damage ---- */

static void first_file(const char *dir, char path[400]) {
    char spool_dir[100];
    snprintf(spool_dir, sizeof spool_dir, "%s/spool", dir);
    DIR *d = opendir(spool_dir);
    path[0] = '\0';
    for (struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, ".seg")) snprintf(path, 400, "%s/%s", spool_dir, e->d_name);
    closedir(d);
    assert_true(path[0] != '\0');
}

static size_t read_whole(const char *path, uint8_t *out, size_t cap) {
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, out, cap);
    close(fd);
    assert_true(n > 0 && (size_t)n < cap);
    return (size_t)n;
}

static void write_whole(const char *path, const uint8_t *data, size_t length) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(__real_write(fd, data, length), length);
    close(fd);
}

static size_t twenty_records(const char *dir, char *path, uint8_t *data, size_t cap) {
    si__spool *spool = open_spool(dir, &small_floor);
    for (uint64_t i = 1; i <= 20; i++) put(spool, i, SI__SPOOL_METRICS);
    si__spool_close(spool);
    first_file(dir, path);
    return read_whole(path, data, cap);
}

static void test_a_flipped_bit_costs_one_record(void **state) {
    const char *dir = *state;
    char path[400];
    static uint8_t data[20000];
    size_t length = twenty_records(dir, path, data, sizeof data);
    for (size_t at = 0; at < length; at += 23) {
        data[at] ^= (uint8_t)(1 << at % 8);
        write_whole(path, data, length);
        data[at] ^= (uint8_t)(1 << at % 8);
        si__spool *spool = open_spool(dir, &small_floor);
        si__spool_counts c = counts_of(spool);
        assert_int_equal(c.damaged, 1);
        assert_int_equal(c.recovered, 19);
        assert_int_equal(__builtin_popcountll(take_all(spool, 0)), 19);
        si__spool_close(spool);
    }
    assert_true(files_in(dir, "spool/quarantine", "") > 0); /* set aside, within its own bound */
}

static void test_a_cut_file_keeps_what_is_whole(void **state) {
    const char *dir = *state;
    char path[400];
    static uint8_t data[20000];
    size_t length = twenty_records(dir, path, data, sizeof data);
    for (size_t cut = 1; cut < length; cut += 41) {
        write_whole(path, data, cut);
        si__spool *spool = open_spool(dir, &small_floor);
        si__spool_counts c = counts_of(spool);
        assert_true(c.damaged <= 1);
        assert_true(c.recovered < 20);
        assert_int_equal(take_all(spool, 0), ((1ull << c.recovered) - 1) << 1); /* the first ones, none missing */
        si__spool_close(spool);
    }
}

static void test_garbage_in_the_directory_does_not_stop_a_start(void **state) {
    const char *dir = *state;
    char path[400];
    static uint8_t data[20000];
    twenty_records(dir, path, data, sizeof data);
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 2654435761u >> 13);
    snprintf(path, sizeof path, "%s/spool/m00000000000000ff.seg", dir);
    write_whole(path, data, sizeof data);
    snprintf(path, sizeof path, "%s/spool/a00000000000000fe.seg", dir);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/spool/zzz", dir);
    write_whole(path, data, 10);
    si__spool *spool = open_spool(dir, &small_floor);
    assert_int_equal(counts_of(spool).damaged, 2);
    assert_int_equal(take_all(spool, 1), 0x1ffffe);
    put(spool, 30, SI__SPOOL_ALERTS);
    si__spool_write_pending(spool);
    assert_int_equal(counts_of(spool).disk_ok, 1);
    si__spool_close(spool);
}

static void test_damage_after_the_start_is_found_when_read(void **state) {
    const char *dir = *state;
    char path[400];
    static uint8_t data[20000];
    size_t length = twenty_records(dir, path, data, sizeof data);
    si__spool *spool = open_spool(dir, &small_floor);
    data[70] ^= 1;
    write_whole(path, data, length);
    assert_int_equal(take_all(spool, 1), 0x1ffffc);
    assert_int_equal(counts_of(spool).damaged, 1);
    si__spool_close(spool);
}

static void test_a_directory_that_vanishes_is_made_again(void **state) {
    const char *dir = *state;
    char path[100];
    si__spool *spool = open_spool(dir, &small_floor);
    put(spool, 1, SI__SPOOL_ALERTS);
    si__spool_write_pending(spool);
    snprintf(path, sizeof path, "%s/spool", dir);
    temporary_dir_remove(path);
    put(spool, 2, SI__SPOOL_ALERTS);
    si__spool_write_pending(spool);
    assert_int_equal(take_all(spool, 0), 0x4);
    si__spool_counts c = counts_of(spool);
    assert_int_equal(c.damaged, 1);
    assert_int_equal(c.disk_ok, 1);
    si__spool_close(spool);
    spool = open_spool(dir, &small_floor);
    assert_int_equal(take_all(spool, 1), 0x4);
    si__spool_close(spool);
}

/* ---- Failing disks ---- */

static void test_any_write_or_sync_may_fail(void **state) {
    atomic_int *const countdowns[] = {&fail_write_in, &fail_fsync_in};
    for (int which = 0; which < 2; which++)
        for (int nth = 1; nth <= 12; nth++) {
            char dir[100];
            snprintf(dir, sizeof dir, "%s/%d-%d", (char *)*state, which, nth);
            si__spool *spool = open_spool(dir, &small_floor);
            atomic_store(countdowns[which], nth);
            for (uint64_t i = 1; i <= 9; i++) {
                put(spool, i, (si__spool_class)(i % 3));
                si__spool_write_pending(spool);
            }
            int hit = atomic_exchange(countdowns[which], 0) <= 0;
            si__spool_counts c = counts_of(spool);
            assert_int_equal(c.pending, 9);
            assert_int_equal(c.disk_ok, !hit);
            if (nth <= 3) assert_true(hit);
            si__spool_close(spool); /* by then the disk is back */
            spool = open_spool(dir, &small_floor);
            assert_int_equal(take_all(spool, 1), 0x3fe);
            si__spool_close(spool);
        }
}

static void test_a_broken_disk_leaves_memory_within_bounds_then_recovers(void **state) {
    si__spool_limits limits = {.memory_bytes = 50000, .free_floor_bytes = 1};
    si__spool *spool = open_spool(*state, &limits);
    atomic_store(&disk_broken, 1);
    for (uint64_t i = 0; i < 500; i++) {
        put(spool, i, SI__SPOOL_SAMPLES);
        si__spool_write_pending(spool);
    }
    si__spool_counts c = counts_of(spool);
    assert_int_equal(c.disk_ok, 0);
    assert_non_null(strstr(c.disk_error, "No space left"));
    assert_true(c.dropped_disk > 300);
    assert_true(c.pending_bytes <= 50000);
    atomic_store(&disk_broken, 0);
    time_t deadline = time(NULL) + 10; /* the promise */
    do {
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        si__spool_tick(spool, (int64_t)time(NULL) * 1000);
        c = counts_of(spool);
    } while (!c.disk_ok && time(NULL) <= deadline);
    assert_int_equal(c.disk_ok, 1);
    si__spool_close(spool);
    spool = open_spool(*state, &limits);
    assert_int_equal(counts_of(spool).recovered, c.pending);
    si__spool_close(spool);
}

static void test_a_full_file_system(void **state) {
    const char *dir = *state;
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", dir, "tmpfs", 0, "size=256k")) {
        print_message("no right to mount: the full file system is left out\n");
        skip();
    }
    si__spool *spool = open_spool(dir, &small_floor);
    for (uint64_t i = 0; i < 1000 && counts_of(spool).disk_ok; i++) {
        put(spool, i, SI__SPOOL_METRICS);
        si__spool_write_pending(spool);
    }
    si__spool_counts c = counts_of(spool);
    assert_int_equal(c.disk_ok, 0);
    assert_int_equal(c.pending, c.made); /* nothing is lost: the rest is in memory */
    take_all(spool, 1);
    c = counts_of(spool);
    assert_int_equal(c.acked, c.made);
    si__spool_close(spool);

    assert_int_equal(mount("tmpfs", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=256k"), 0);
    spool = open_spool(dir, &small_floor); /* opens all the same */
    put(spool, 1, SI__SPOOL_METRICS);
    si__spool_write_pending(spool);
    c = counts_of(spool);
    assert_int_equal(c.disk_ok, 0);
    assert_non_null(strstr(c.disk_error, "Read-only"));
    assert_int_equal(take_all(spool, 1), 0x2);
    si__spool_close(spool);
    assert_int_equal(umount(dir), 0);
}

static void test_the_free_space_floor_is_kept(void **state) {
    si__spool_limits limits = {.free_floor_bytes = UINT64_MAX / 2};
    si__spool *spool = open_spool(*state, &limits);
    put(spool, 1, SI__SPOOL_METRICS);
    si__spool_write_pending(spool);
    assert_int_equal(counts_of(spool).disk_ok, 0);
    assert_int_equal(files_in(*state, "spool", ".seg"), 0);
    assert_int_equal(take_all(spool, 1), 0x2);
    si__spool_close(spool);
}

static void test_a_directory_that_is_not_ours_is_refused(void **state) {
    char path[100], error[200];
    si__spool *spool;
    snprintf(path, sizeof path, "%s/spool", (char *)*state);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(si__spool_open(*state, &small_floor, &spool, error, sizeof error), SI_OK);
    assert_true(error[0] != '\0');
    assert_int_equal(counts_of(spool).disk_ok, 0);
    si__spool_close(spool);
    assert_int_equal(unlink(path), 0);
}

/* ---- Kill -9 ---- */

/* Writes for ever; says through the pipe which sequence is safe ('+') and which is about to be acked ('-'). */
static void writer(const char *dir, int out, uint64_t from) {
    si__spool *spool;
    char error[200];
    if (si__spool_open(dir, &small_floor, &spool, error, sizeof error)) _exit(3);
    for (uint64_t sequence = from;; sequence++) {
        int64_t message;
        put(spool, sequence, (si__spool_class)(sequence % 3));
        si__spool_write_pending(spool);
        message = (int64_t)sequence;
        if (__real_write(out, &message, sizeof message) < 0) _exit(4);
        if (sequence % 4) continue;
        si__spool_record record;
        if (si__spool_take(spool, &record)) continue;
        message = -(int64_t)record.id.sequence;
        if (__real_write(out, &message, sizeof message) < 0) _exit(4);
        free(record.payload);
        si__spool_ack(spool, record.handle);
    }
}

enum { KILLS = 40, MOST = 200000 };
static uint8_t fate[MOST]; /* 1: on disk, 2: acked or about to be */

static void one_kill(const char *dir, uint64_t *next, unsigned messages) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        writer(dir, ends[1], *next);
    }
    close(ends[1]);
    int64_t message;
    for (unsigned i = 0;; i++) { /* after the kill, what is in the pipe still counts */
        ssize_t n = read(ends[0], &message, sizeof message);
        if (n != sizeof message) break;
        if (message < 0) {
            fate[-message] = 2;
        } else {
            fate[message] = 1;
            *next = (uint64_t)message + 2; /* the one after may be on disk already */
        }
        if (i == messages) kill(child, SIGKILL);
    }
    close(ends[0]);
    int how;
    waitpid(child, &how, 0);
    assert_true(WIFSIGNALED(how));
}

static void test_kill_9_loses_nothing_that_was_safe(void **state) {
    const char *dir = *state;
    uint64_t next = 1;
    for (int round = 0; round < KILLS; round++) {
        one_kill(dir, &next, (unsigned)(round * 7 % 31));
        assert_true(next + 1000 < MOST);
        si__spool *spool = open_spool(dir, &small_floor);
        si__spool_record record;
        static uint8_t found[MOST];
        memset(found, 0, sizeof found);
        while (si__spool_take(spool, &record) == SI_OK) {
            assert_whole(&record);
            assert_true(record.id.sequence < MOST);
            found[record.id.sequence] = 1;
            free(record.payload);
        }
        for (uint64_t i = 0; i < MOST; i++)
            if (fate[i] == 1 && !found[i]) fail_msg("round %d: record %d is lost", round, (int)i);
        /* A kill cuts at most one record short, and files with pending records keep theirs from earlier rounds. */
        assert_true(counts_of(spool).damaged <= (uint64_t)round + 1);
        si__spool_close(spool);
    }
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

/* ---- The agent's uuid ---- */

static void test_an_agent_keeps_its_uuid(void **state) {
    uint8_t a[16], b[16];
    char path[100];
    assert_int_equal(si__agent_uuid(*state, a), SI_OK);
    assert_int_equal(si__agent_uuid(*state, b), SI_OK);
    assert_memory_equal(a, b, 16);
    assert_int_equal(a[6] >> 4, 4);
    snprintf(path, sizeof path, "%s/agent-id", (char *)*state);
    write_whole(path, (const uint8_t *)"garbage\n", 8);
    assert_int_equal(si__agent_uuid(*state, a), SI_OK);
    assert_int_equal(si__agent_uuid(*state, b), SI_OK);
    assert_memory_equal(a, b, 16);
    assert_int_equal(si__agent_uuid(NULL, a), SI_OK);
    assert_memory_not_equal(a, b, 16);
    assert_int_equal(si__agent_uuid("/nonexistent/x", a), SI_EIO);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

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
        ON_DISK(test_a_flipped_bit_costs_one_record),
        ON_DISK(test_a_cut_file_keeps_what_is_whole),
        ON_DISK(test_garbage_in_the_directory_does_not_stop_a_start),
        ON_DISK(test_damage_after_the_start_is_found_when_read),
        ON_DISK(test_a_directory_that_vanishes_is_made_again),
        ON_DISK(test_any_write_or_sync_may_fail),
        ON_DISK(test_a_broken_disk_leaves_memory_within_bounds_then_recovers),
        ON_DISK(test_the_free_space_floor_is_kept),
        ON_DISK(test_a_directory_that_is_not_ours_is_refused),
        ON_DISK(test_kill_9_loses_nothing_that_was_safe),
        ON_DISK(test_any_allocation_may_fail),
        ON_DISK(test_putting_while_the_worker_works),
        ON_DISK(test_an_agent_keeps_its_uuid),
        ON_DISK(test_a_full_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
