/* The process collector on a made-up /proc, where every value is known, and on real processes. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "../../collectors/native/cgroup.h"
#include "../../collectors/process_stat.h"
#include "fixture_proc.h"
#include "si/si.h"

#define TEXT(literal) literal, sizeof literal - 1

extern const si__collector si__collector_process;

static const char stat_format[] =
    "77 (a ) b (c) S 1 77 77 0 -1 4194304 %d 0 %d 0 %d %d 0 0 20 0 5 0 1000 1073741824 2560 "
    "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n";

static void write_threads(unsigned voluntary, unsigned involuntary) {
    proc_write("/proc/77/task/77/status", "Name:\ta\nvoluntary_ctxt_switches:\t%u\nnonvoluntary_ctxt_switches:\t%u\n",
               voluntary, involuntary);
}

static void write_process(int minor, int major, int user, int system) {
    proc_write("/proc/77/stat", stat_format, minor, major, user, system);
    proc_write("/proc/77/status",
               "Name:\ta\nVmPeak:\t  99 kB\nVmRSS:\t  10240 kB\nThreads:\t5\nCpus_allowed_list:\t0-3\n");
    proc_write("/proc/77/limits", "Limit                     Soft Limit           Hard Limit           Units\n"
                                  "Max open files            40                   4096                 files\n");
    proc_write("/proc/77/io", "rchar: 1\nwchar: 2\nread_bytes: %d\nwrite_bytes: %d\n", user * 1000, system * 1000);
    proc_write("/proc/77/fd/0", "x");
    proc_write("/proc/77/fd/1", "x");
    proc_write("/proc/77/fd/17", "x");
    proc_write("/proc/77/cgroup", "0::/\n");
    proc_write("/proc/uptime", "110.50 800.00\n");
    proc_write("/proc/self/mountinfo", "1 0 0:1 / / rw - ext4 /dev/x rw\n");
}

static si__host fixture_host(uint64_t now_s) {
    return (si__host){.root = proc_root,
                      .pid = 77,
                      .now_ns = now_s * 1000000000,
                      .cpu_count = 8,
                      .clock_ticks_per_s = 100,
                      .page_bytes = 4096};
}

static void every_value_is_what_the_files_say(void **state) {
    (void)state;
    void *reader = si__collector_process.reader_new();
    write_process(100, 10, 200, 100);
    write_threads(1000, 50);
    si__host host = fixture_host(1000);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), 0);
    assert_string_equal(put_reason, "");
    assert_put("process.memory.usage", 10240 * 1024.0);
    assert_put("process.memory.virtual", 1073741824.0);
    assert_put("process.thread.count", 5);
    assert_put("process.open_file_descriptor.count", 3);
    assert_put("process.open_file_descriptor.utilization", 3 / 40.0);
    assert_put("process.uptime", 100.5);
    assert_not_put("process.cpu.utilization"); /* needs two readings */
    assert_not_put("process.disk.io.read");
    assert_not_put("process.context_switches.voluntary");

    write_process(160, 15, 1000, 300); /* 10 s later: 8 s of user and 2 s of system time */
    write_threads(1400, 60);
    proc_write("/proc/77/task/99/status", "voluntary_ctxt_switches: 100\nnonvoluntary_ctxt_switches: 40\n"); /* new */
    host = fixture_host(1010);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), 0);
    assert_put("process.cpu.time", 1.0);
    assert_put("process.cpu.time.user", 0.8);
    assert_put("process.cpu.time.system", 0.2);
    assert_put("process.cpu.utilization", 0.25); /* of 4 cores that it may run on, though there are 8 */
    assert_put("process.paging.faults.minor", 6);
    assert_put("process.paging.faults.major", 0.5);
    assert_put("process.disk.io.read", 80000);
    assert_put("process.disk.io.write", 20000);
    assert_put("process.context_switches.voluntary", 50);
    assert_put("process.context_switches.involuntary", 5);

    proc_remove("/proc/77/task/99/status"); /* a thread ends: no rate below zero */
    write_threads(1500, 60);
    host = fixture_host(1020);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), 0);
    assert_put("process.context_switches.voluntary", 10);
    assert_put("process.context_switches.involuntary", 0);
    assert_put("process.cpu.utilization", 0);
    si__collector_process.reader_free(reader);
}

static void what_cannot_be_read_is_left_out_with_a_reason(void **state) {
    (void)state;
    void *reader = si__collector_process.reader_new();
    write_process(1, 1, 1, 1);
    write_threads(1, 1);
    proc_remove("/proc/77/io");
    proc_write("/proc/77/limits", "nothing of use\n");
    proc_write("/proc/77/status", "Name:\ta\n");
    si__host host = fixture_host(1);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_EUNAVAILABLE);
    assert_non_null(strstr(put_reason, "process.disk.io: No such file"));
    assert_non_null(strstr(put_reason, "process.open_file_descriptor.utilization: not as expected"));
    assert_non_null(strstr(put_reason, "process.memory.usage: not as expected"));
    assert_not_put("process.memory.usage");
    assert_not_put("process.open_file_descriptor.utilization");
    assert_put("process.open_file_descriptor.count", 3);
    assert_put("process.thread.count", 5);
    si__collector_process.reader_free(reader);
}

static void a_process_that_is_gone_is_an_error(void **state) {
    (void)state;
    void *reader = si__collector_process.reader_new();
    si__host host = fixture_host(1);
    host.pid = 4711;
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_ENOTFOUND);
    assert_string_equal(put_reason, "process 4711 is gone");
    assert_int_equal(put_count, 0);
    host.pid = 0;
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_EINVAL);

    write_process(1, 1, 1, 1);
    host = fixture_host(1);
    take_reading(&si__collector_process, reader, &host);
    proc_write("/proc/77/stat", "77 (other) S 1 77 77 0 -1 0 0 0 0 0 0 0 0 0 20 0 5 0 2000 4096 1\n");
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_ENOTFOUND);
    assert_string_equal(put_reason, "process 77 is gone; another one has its number");
    assert_int_equal(put_count, 0);
    proc_write("/proc/77/stat", "77 (dead) Z 1 77 77 0 -1 0 0 0 0 0 0 0 0 0 20 0 5 0 1000 4096 1\n");
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_ENOTFOUND);
    assert_string_equal(put_reason, "process 77 has ended");
    proc_write("/proc/77/stat", "77 (cut");
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_EUNAVAILABLE);
    si__collector_process.reader_free(reader);
}

static uint64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static si__host real_host(pid_t pid) {
    return (si__host){.root = "",
                      .pid = pid,
                      .now_ns = monotonic_ns(),
                      .cpu_count = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                      .clock_ticks_per_s = (double)sysconf(_SC_CLK_TCK),
                      .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE)};
}

static double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void it_measures_this_very_process(void **state) {
    (void)state;
    void *reader = si__collector_process.reader_new();
    double start_cpu = cpu_s();
    si__host first = real_host(getpid());
    assert_int_equal(take_reading(&si__collector_process, reader, &first), 0);
    assert_true(put_of("process.memory.usage") > 1e6);
    assert_true(put_of("process.memory.virtual") >= put_of("process.memory.usage"));
    assert_put("process.thread.count", 1);
    double descriptors = put_of("process.open_file_descriptor.count");
    assert_true(descriptors >= 3);
    int extra = dup(0);

    volatile uint64_t work = 0;
    while (cpu_s() - start_cpu < 0.3) work++;
    si__host second = real_host(getpid());
    assert_int_equal(take_reading(&si__collector_process, reader, &second), 0);
    double elapsed = (double)(second.now_ns - first.now_ns) / 1e9;
    double cores = si__cores_available(&second);
    assert_true(cores > 0 && cores <= second.cpu_count);
    assert_float_equal(put_of("process.cpu.time") * elapsed, 0.3, 0.06); /* the kernel counts in ticks of 10 ms */
    assert_float_equal(put_of("process.cpu.utilization"), put_of("process.cpu.time") / cores, 1e-6);
    assert_put("process.open_file_descriptor.count", descriptors + 1);
    assert_true(put_of("process.context_switches.voluntary") >= 0);
    assert_true(put_of("process.context_switches.involuntary") >= 0);
    close(extra);
    si__collector_process.reader_free(reader);
}

static void it_measures_another_process_until_its_end(void **state) {
    (void)state;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(pipe_fds[1]);
        _exit(read(pipe_fds[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(pipe_fds[0]);
    void *reader = si__collector_process.reader_new();
    si__host host = real_host(child);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), 0);
    assert_put("process.thread.count", 1);
    assert_true(put_of("process.uptime") < 600);
    host = real_host(child);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), 0);
    assert_true(put_of("process.context_switches.voluntary") >= 0);
    close(pipe_fds[1]);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* a zombie now */
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_ENOTFOUND);
    assert_non_null(strstr(put_reason, "has ended"));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(take_reading(&si__collector_process, reader, &host), SI_ENOTFOUND);
    assert_non_null(strstr(put_reason, "is gone"));
    si__collector_process.reader_free(reader);
}

static void parsers_take_anything(void **state) {
    (void)state;
    si__process_stat stat;
    uint64_t a, b;
    char line[512];
    size_t length = (size_t)snprintf(line, sizeof line, stat_format, 1, 2, 3, 4);
    assert_int_equal(si__process_stat_parse(line, length, &stat), 1);
    assert_int_equal(stat.state, 'S');
    assert_int_equal(stat.start_ticks, 1000);
    size_t whole = (size_t)(strstr(line, " 1073741824") - line) + strlen(" 1073741824");
    for (size_t cut = 0; cut < whole - 10; cut++) assert_int_equal(si__process_stat_parse(line, cut, &stat), 0);
    assert_int_equal(si__kib_parse(TEXT("VmRSS: 99999999999999999999 kB\n"), "VmRSS:", &a), 0);
    assert_int_equal(si__kib_parse(TEXT("VmRSS: 18446744073709551615 kB\n"), "VmRSS:", &a), 0);
    assert_int_equal(si__kib_parse(TEXT("XVmRSS: 1 kB"), "VmRSS:", &a), 0);
    assert_int_equal(si__process_io_parse(TEXT("read_bytes: 5\n"), &a, &b), 0);
    assert_int_equal(si__file_limit_parse(TEXT("Max open files   unlimited   unlimited files\n"), &a), 1);
    assert_int_equal(a, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_value_is_what_the_files_say, proc_open, proc_close),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_left_out_with_a_reason, proc_open, proc_close),
        cmocka_unit_test_setup_teardown(a_process_that_is_gone_is_an_error, proc_open, proc_close),
        cmocka_unit_test(it_measures_this_very_process),
        cmocka_unit_test(it_measures_another_process_until_its_end),
        cmocka_unit_test(parsers_take_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
