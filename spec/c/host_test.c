/* The host collector on a made-up /proc and /sys, and on this machine: values, control groups of both versions,
 * absences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "../../collectors/host_stat.h"
#include "../../collectors/native/cgroup.h"
#include "fixture_proc.h"
#include "si/si.h"

#define TEXT(literal) literal, sizeof literal - 1

extern const si__collector si__collector_host;

static si__host fixture_host(uint64_t now_s) {
    return (si__host){.root = proc_root,
                      .pid = 77,
                      .now_ns = now_s * 1000000000,
                      .cpu_count = 4,
                      .clock_ticks_per_s = 100,
                      .page_bytes = 4096};
}

static void write_host(void) {
    proc_write("/proc/stat", "cpu  1000 100 500 8000 300 50 50 100 700 0\ncpu0 1 1 1 1 1 1 1 1 1 1\nctxt 5\n");
    proc_write("/proc/loadavg", "1.25 0.50 0.07 3/500 12345\n");
    proc_write("/proc/meminfo", "MemTotal:        1000 kB\nMemFree:   100 kB\nMemAvailable:     400 kB\n"
                                "SwapTotal:   200 kB\nSwapFree:  150 kB\n");
    proc_write("/proc/vmstat", "nr_free_pages 1\npgmajfault 100\npswpin 10\npswpout 20\n");
    proc_write("/proc/net/dev", "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n"
                                "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
                                "  eth0: 1000 1 2 0 0 0 0 0 500 1 1 0 0 0 0 0\n"
                                "wlan-long-name:5000 1 0 0 0 0 0 0 50 1 0 0 0 0 0 0\n");
    proc_write("/proc/diskstats", "   7 0 loop0 9 9 9 9 9 9 9 9 9 9 9\n 254 0 vda 10 0 100 1 20 0 200 1 0 1 1\n"
                                  " 254 1 vda1 10 0 100 1 20 0 200 1 0 1 1\n 259 0 nvme0n1 1 0 8 1 1 0 4 1 0 1 1\n"
                                  " 259 1 nvme0n1p1 1 0 8 1 1 0 4 1 0 1 1\n 254 16 vdb 1 0 2 1 1 0 4 1 0 1 1 0 0 0 0\n"
                                  " 253 0 dm-0 1 0 50 1 1 0 50 1 0 1 1\n");
    proc_write("/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n");
    proc_write("/proc/pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=500\n"
                                    "full avg10=0.00 avg60=0.00 avg300=0.00 total=400\n");
    proc_write("/proc/77/cgroup", "0::/\n");
    proc_write("/proc/77/status", "Cpus_allowed_list:\t0-3\n");
    proc_write("/proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
}

static void every_value_is_what_the_files_say(void **state) {
    (void)state;
    void *reader = si__collector_host.reader_new();
    write_host();
    si__host host = fixture_host(100);
    assert_int_equal(take_reading(&si__collector_host, reader, &host), 0);
    assert_string_equal(put_reason, "");
    assert_not_put("system.cpu.utilization");
    assert_put("system.cpu.load_average.1m", 1.25);
    assert_put("system.cpu.load_average.15m", 0.07);
    assert_put("system.cpu.logical.count", 4);
    assert_put("system.memory.usage", 600 * 1024.0);
    assert_put("system.memory.available", 400 * 1024.0);
    assert_put("system.memory.utilization", 0.6);
    assert_put("system.paging.usage", 50 * 1024.0);
    assert_put("system.paging.utilization", 0.25);
    assert_not_put("container.cpu.limit"); /* the root group of the host is no container */
    assert_not_put("container.memory.usage");

    /* 10 s later: 1000 ticks, of them 400 idle and 100 waiting for storage. */
    proc_write("/proc/stat", "cpu  1200 100 600 8400 400 100 50 200 900 0\n");
    proc_write("/proc/vmstat", "pgmajfault 150\npswpin 10\npswpout 120\n");
    proc_write("/proc/net/dev",
               "Inter-|\n face |bytes\n    lo: 99999 1 0 0 0 0 0 0 99999 1 0 0 0 0 0 0\n"
               "  eth0: 21000 1 2 0 0 0 0 0 1500 1 11 0 0 0 0 0\nwlan-long-name:5000 1 0 0 0 0 0 0 50 1 0 0 0 0 0 0\n");
    proc_write("/proc/diskstats", " 254 0 vda 10 0 300 1 20 0 600 1 0 1 1\n 254 1 vda1 10 0 999 1 20 0 999 1 0 1 1\n"
                                  " 259 0 nvme0n1 1 0 8 1 1 0 4 1 0 1 1\n 254 16 vdb 1 0 2 1 1 0 4 1 0 1 1\n");
    proc_write("/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=3500000\n");
    proc_write("/proc/pressure/io", "some avg10=0.00 total=1000500\nfull avg10=0.00 total=500400\n");
    host = fixture_host(110);
    assert_int_equal(take_reading(&si__collector_host, reader, &host), 0);
    assert_put("system.cpu.utilization", 450 / 950.0);
    assert_put("system.cpu.utilization.user", 200 / 950.0);
    assert_put("system.cpu.utilization.system", 100 / 950.0);
    assert_put("system.cpu.utilization.idle", 400 / 950.0);
    assert_put("system.cpu.utilization.iowait", 100 / 950.0);
    assert_put("system.cpu.utilization.interrupt", 50 / 950.0);
    assert_put("system.cpu.utilization.steal", 100 / 950.0);
    assert_put("system.paging.operations.in", 0);
    assert_put("system.paging.operations.out", 10);
    assert_put("system.paging.faults.major", 5);
    assert_put("system.network.io.receive", 2000);
    assert_put("system.network.io.transmit", 100);
    assert_put("system.network.errors", 1);
    assert_put("system.disk.io.read", 200 * 512 / 10.0);
    assert_put("system.disk.io.write", 400 * 512 / 10.0);
    assert_put("system.linux.psi.cpu.some", 0.25);
    assert_put("system.linux.psi.io.some", 0.1);
    assert_put("system.linux.psi.io.full", 0.05);
    assert_not_put("system.linux.psi.memory.some"); /* there is no such file */

    take_reading(&si__collector_host, reader, &host); /* at the same time: no rates, nothing divided by zero */
    assert_not_put("system.network.io.receive");
    assert_not_put("system.cpu.utilization");
    si__collector_host.reader_free(reader);
}

static void what_cannot_be_read_is_left_out_with_a_reason(void **state) {
    (void)state;
    void *reader = si__collector_host.reader_new();
    si__host host = fixture_host(1);
    assert_int_equal(take_reading(&si__collector_host, reader, &host), SI_EUNAVAILABLE);
    assert_non_null(strstr(put_reason, "system.cpu.utilization: No such file"));
    assert_non_null(strstr(put_reason, "system.memory: No such file"));
    assert_int_equal(put_count, 1); /* the number of CPUs, which it was told */
    write_host();
    proc_write("/proc/meminfo", "MemTotal: 10 kB\nMemAvailable: 20 kB\n"); /* cannot be */
    proc_write("/proc/stat", "intr 5\n");
    assert_int_equal(take_reading(&si__collector_host, reader, &host), SI_EUNAVAILABLE);
    assert_non_null(strstr(put_reason, "system.cpu.utilization: not as expected"));
    assert_not_put("system.memory.utilization");
    assert_put("system.cpu.load_average.1m", 1.25);
    si__collector_host.reader_free(reader);
}

static void a_container_of_version_2_has_its_limits(void **state) {
    (void)state;
    write_host();
    proc_write("/proc/77/cgroup", "0::/pod/app\n");
    proc_write("/sys/fs/cgroup/pod/app/cpu.max", "max 100000\n");
    proc_write("/sys/fs/cgroup/pod/cpu.max", "150000 100000\n"); /* the pod's limit applies */
    proc_write("/sys/fs/cgroup/pod/app/memory.max", "8388608\n");
    proc_write("/sys/fs/cgroup/pod/memory.max", "max\n");
    proc_write("/sys/fs/cgroup/pod/app/memory.current", "6291456\n");
    proc_write("/sys/fs/cgroup/pod/app/memory.stat", "anon 1\ninactive_file 2097152\n");
    proc_write("/sys/fs/cgroup/pod/app/cpu.stat", "usage_usec 1\nthrottled_usec 1000000\n");
    void *reader = si__collector_host.reader_new();
    si__host host = fixture_host(1);
    assert_int_equal(take_reading(&si__collector_host, reader, &host), 0);
    assert_put("container.cpu.limit", 1.5);
    assert_put("container.memory.limit", 8388608.0);
    assert_put("container.memory.usage", 6291456.0);
    assert_put("container.memory.working_set", 4194304.0);
    assert_put("container.memory.utilization", 0.5);
    assert_float_equal(si__cores_available(&host), 1.5, 1e-9);
    proc_write("/sys/fs/cgroup/pod/app/cpu.stat", "usage_usec 1\nthrottled_usec 3000000\n");
    host = fixture_host(11);
    take_reading(&si__collector_host, reader, &host);
    assert_put("container.cpu.throttled", 0.2);
    proc_write("/proc/77/status", "Cpus_allowed_list:\t2\n"); /* affinity is tighter still */
    assert_float_equal(si__cores_available(&host), 1, 1e-9);
    si__collector_host.reader_free(reader);
}

static void a_group_that_is_mounted_as_root_is_found(void **state) {
    (void)state;
    si__cgroup group;
    write_host();
    /* Inside a container: the group's own directory is what is mounted. */
    proc_write("/proc/77/cgroup", "0::/docker/abc\n");
    proc_write("/proc/self/mountinfo",
               "30 20 0:26 /docker/abc /sys/fs/cgroup ro,nosuid master:11 - cgroup2 cgroup rw\n");
    proc_write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
    proc_write("/sys/fs/cgroup/memory.max", "1000\n");
    si__host host = fixture_host(1);
    assert_int_equal(si__cgroup_read(&host, &group), 0);
    assert_float_equal(group.cpu_cores, 0.5, 1e-9);
    assert_int_equal(group.memory_limit_bytes, 1000);
    /* With a name space of its own the group seems to be outside. */
    proc_write("/proc/77/cgroup", "0::/../../other\n");
    assert_int_equal(si__cgroup_read(&host, &group), 0);
    assert_float_equal(group.cpu_cores, 0.5, 1e-9);
}

static void a_container_of_version_1_has_its_limits(void **state) {
    (void)state;
    write_host();
    proc_write("/proc/77/cgroup",
               "9:name=systemd:/docker/abc\n4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n");
    proc_write("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / "
                                       "/sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                                       "35 31 0:32 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n");
    proc_write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "25000\n");
    proc_write("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    proc_write("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
    proc_write("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
    proc_write("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    proc_write("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "4000\n");
    proc_write("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "3000\n");
    proc_write("/sys/fs/cgroup/memory/docker/abc/memory.stat", "cache 5\ntotal_inactive_file 1000\n");
    void *reader = si__collector_host.reader_new();
    si__host host = fixture_host(1);
    assert_int_equal(take_reading(&si__collector_host, reader, &host), 0);
    assert_put("container.cpu.limit", 0.25);
    assert_put("container.memory.limit", 4000);
    assert_put("container.memory.usage", 3000);
    assert_put("container.memory.utilization", 0.5);
    assert_float_equal(si__cores_available(&host), 0.25, 1e-9);
    si__collector_host.reader_free(reader);
}

static void this_machine_is_read(void **state) {
    (void)state;
    void *reader = si__collector_host.reader_new();
    si__host host = {.root = "",
                     .pid = getpid(),
                     .now_ns = 1000000000,
                     .cpu_count = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
                     .clock_ticks_per_s = (double)sysconf(_SC_CLK_TCK),
                     .page_bytes = 4096};
    take_reading(&si__collector_host, reader, &host);
    double start = (double)clock() / CLOCKS_PER_SEC; /* enough work for the host's ticks to move */
    while ((double)clock() / CLOCKS_PER_SEC - start < 0.2) continue;
    host.now_ns = 1200000000;
    assert_int_equal(take_reading(&si__collector_host, reader, &host), 0);
    assert_true(put_of("system.cpu.utilization") > 0 && put_of("system.cpu.utilization") <= 1);
    assert_true(put_of("system.memory.utilization") > 0 && put_of("system.memory.utilization") < 1);
    assert_true(put_of("system.network.io.receive") >= 0);
    for (size_t i = 0; i < put_count; i++) assert_true(isfinite(puts_[i].value) && puts_[i].value >= 0);
    si__collector_host.reader_free(reader);
}

static void parsers_take_odd_text(void **state) {
    (void)state;
    char path[32], root[32];
    double cores, load[3];
    uint64_t value;
    si__bytes_moved moved;
    assert_int_equal(si__cgroup_path_parse(TEXT("0::/a\n"), "cpu", path, sizeof path), 0);
    assert_int_equal(si__cgroup_path_parse(TEXT("3:cpuset:/a\n3:cpu:/b"), "cpu", path, sizeof path), 1);
    assert_string_equal(path, "/b");
    assert_int_equal(si__cgroup_path_parse(TEXT("0::/this-is-longer-than-there-is-room-for-it"), "", path, sizeof path),
                     0);
    assert_int_equal(si__cgroup_mount_parse(TEXT("1 2 3 / /a - cgroup2\n"), "", path, sizeof path, root, sizeof root),
                     1);
    assert_int_equal(si__cgroup_mount_parse(TEXT("1 2 3 / /a - cgroup\n"), "cpu", path, sizeof path, root, sizeof root),
                     0);
    assert_int_equal(si__cgroup_cpu_max_parse(TEXT("1000 0\n"), &cores), 0);
    assert_int_equal(si__cgroup_cpu_max_parse(TEXT("max\n"), &cores), 1);
    assert_int_equal(si__cgroup_number_parse(TEXT("-1\n"), &value), 0);
    assert_int_equal(si__cpus_allowed_parse("Cpus_allowed_list:\t0-3,8,10-11\n", 31), 7);
    assert_int_equal(si__cpus_allowed_parse("Cpus_allowed_list:\t3-0\n", 23), 0);
    assert_int_equal(si__cpus_allowed_parse("Cpus_allowed_list:\t0-99999999999\n", 33), 0);
    assert_int_equal(si__load_average_parse(TEXT("1.5 2"), load), 0);
    assert_int_equal(si__network_parse(TEXT(""), &moved), 0);
    assert_int_equal(si__disks_parse(TEXT("x y z\n"), &moved), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_value_is_what_the_files_say, proc_open, proc_close),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_left_out_with_a_reason, proc_open, proc_close),
        cmocka_unit_test_setup_teardown(a_container_of_version_2_has_its_limits, proc_open, proc_close),
        cmocka_unit_test_setup_teardown(a_group_that_is_mounted_as_root_is_found, proc_open, proc_close),
        cmocka_unit_test_setup_teardown(a_container_of_version_1_has_its_limits, proc_open, proc_close),
        cmocka_unit_test(this_machine_is_read),
        cmocka_unit_test(parsers_take_odd_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
