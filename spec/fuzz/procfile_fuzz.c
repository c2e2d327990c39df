/* The parsers of /proc and /sys, on any text. The first byte chooses one; its results must make sense. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../collectors/host_stat.h"
#include "../../collectors/native/cgroup.h"
#include "../../collectors/native/procfile.h"
#include "../../collectors/process_stat.h"

static void parse_process(const char *text, size_t length) {
    si__process_stat stat;
    uint64_t a, b;
    (void)si__process_stat_parse(text, length, &stat);
    (void)si__kib_parse(text, length, "VmRSS:", &a);
    (void)si__switches_parse(text, length, &a, &b);
    (void)si__process_io_parse(text, length, &a, &b);
    (void)si__file_limit_parse(text, length, &a);
}

static void parse_host(const char *text, size_t length) {
    si__cpu_ticks ticks;
    si__bytes_moved moved;
    si__paging paging;
    double load[3];
    uint64_t some, full;
    if (si__cpu_ticks_parse(text, length, &ticks)) (void)si__cpu_ticks_total(&ticks);
    if (si__load_average_parse(text, length, load) && !(load[0] >= 0)) abort();
    (void)si__network_parse(text, length, &moved);
    (void)si__disks_parse(text, length, &moved);
    (void)si__paging_parse(text, length, &paging);
    (void)si__pressure_parse(text, length, &some, &full);
}

static void parse_cgroup(const char *text, size_t length) {
    char path[64], root[64];
    double cores;
    uint64_t value;
    static const char *const controllers[] = {"", "cpu", "memory"};
    for (size_t i = 0; i < 3; i++) {
        if (si__cgroup_path_parse(text, length, controllers[i], path, sizeof path) && path[0] != '/') abort();
        (void)si__cgroup_mount_parse(text, length, controllers[i], path, sizeof path, root, sizeof root);
    }
    if (si__cgroup_cpu_max_parse(text, length, &cores) && !(cores >= 0)) abort();
    (void)si__cgroup_number_parse(text, length, &value);
    (void)si__cgroup_key_parse(text, length, "inactive_file", &value);
    if (si__cpus_allowed_parse(text, length) > 65536) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    char *text = malloc(size); /* of its exact size: reading beyond it is noticed */
    if (!text) abort();
    memcpy(text, data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        parse_process(text, size - 1);
        break;
    case 1:
        parse_host(text, size - 1);
        break;
    default:
        parse_cgroup(text, size - 1);
    }
    free(text);
    return 0;
}
