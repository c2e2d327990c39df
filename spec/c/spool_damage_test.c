/* The spool over damage, failing system calls, full disks and kill -9: what was safe is not lost. */
#include "spool_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

static int mend_disk(void **state) {
    atomic_store(&disk_broken, 0);
    return remove_dir(state);
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

int main(void) {
    now_ms = (int64_t)time(NULL) * 1000;
    const struct CMUnitTest tests[] = {
        ON_DISK(test_a_flipped_bit_costs_one_record),
        ON_DISK(test_a_cut_file_keeps_what_is_whole),
        ON_DISK(test_garbage_in_the_directory_does_not_stop_a_start),
        ON_DISK(test_damage_after_the_start_is_found_when_read),
        ON_DISK(test_a_directory_that_vanishes_is_made_again),
        ON_DISK(test_any_write_or_sync_may_fail),
        cmocka_unit_test_setup_teardown(test_a_broken_disk_leaves_memory_within_bounds_then_recovers, make_dir,
                                        mend_disk),
        ON_DISK(test_the_free_space_floor_is_kept),
        ON_DISK(test_a_directory_that_is_not_ours_is_refused),
        ON_DISK(test_kill_9_loses_nothing_that_was_safe),
        ON_DISK(test_a_full_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
