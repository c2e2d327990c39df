/* The context of a report. Loop thread only; reads a few files of /proc and /sys once. */
#include "context.h"

#include <gnu/libc-version.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void hex16(const uint8_t bytes[16], char out[33]) {
    for (int i = 0; i < 16; i++) snprintf(out + i * 2, 3, "%02x", bytes[i]);
}

void si__identity_init(si__identity *id, const uint8_t boot[16]) {
    memset(id, 0, sizeof *id);
    hex16(boot, id->run_id);
    struct utsname u;
    if (uname(&u) == 0) snprintf(id->os, sizeof id->os, "%.40s %.80s %.30s", u.sysname, u.release, u.machine);
    snprintf(id->runtime_version, sizeof id->runtime_version, "glibc %s", gnu_get_libc_version());
    snprintf(id->runtime_type, sizeof id->runtime_type, "C");
}

void si__identity_learn(si__identity *id, const si__space *space, pid_t pid) {
    int cpp = 0, lua = 0;
    id->pid = pid;
    for (size_t i = 0; i < space->count; i++) {
        const si__binary *b = space->mappings[i].binary;
        if (!b) continue;
        cpp |= strncmp(b->name, "libstdc++.so", 12) == 0 || strncmp(b->name, "libc++.so", 9) == 0;
        lua |= strncmp(b->name, "liblua", 6) == 0 || strncmp(b->name, "lua5", 4) == 0 || strcmp(b->name, "lua") == 0;
        if (i == 0) snprintf(id->build_id, sizeof id->build_id, "%s", b->build_id);
    }
    snprintf(id->runtime_type, sizeof id->runtime_type, "%s", lua ? "Lua" : cpp ? "C++" : "C");
}

void si__context_fill(si__context *c, const si__settings *s, const si__identity *id) {
    c->app = si__report_strdup(s->app_name);
    c->environment = si__report_strdup(s->app_environment);
    c->app_version = si__report_strdup(s->app_version);
    c->host = si__report_strdup(s->host_name);
    c->runtime_type = si__report_strdup(id->runtime_type);
    c->runtime_version = si__report_strdup(id->runtime_version);
    c->build_id = si__report_strdup(id->build_id);
    c->run_id = si__report_strdup(id->run_id);
    c->agent_version = si__report_strdup(SI_VERSION);
    c->os = si__report_strdup(id->os);
    c->pid = id->pid;
}

/* The quota of one cgroup v2 directory in cores, or a huge number. */
static double quota_of(const char *dir) {
    char path[4200], text[64] = "";
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", dir);
    FILE *file = fopen(path, "re");
    if (!file) return 1e9;
    double quota, period;
    int got = fgets(text, sizeof text, file) ? sscanf(text, "%lf %lf", &quota, &period) : 0;
    fclose(file);
    return got == 2 && period > 0 && quota > 0 ? quota / period : 1e9;
}

/* The smallest quota from our cgroup up to the root. */
static double cgroup_quota(void) {
    char line[4096] = "", *dir = NULL;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "0::", 3) == 0) {
            dir = line + 3;
            dir[strcspn(dir, "\n")] = '\0';
            break;
        }
    if (file) fclose(file);
    double least = 1e9;
    while (dir && *dir) {
        double quota = quota_of(strcmp(dir, "/") == 0 ? "" : dir);
        if (quota < least) least = quota;
        char *slash = strrchr(dir, '/');
        if (!slash || strcmp(dir, "/") == 0) break;
        if (slash == dir)
            slash[1] = '\0';
        else
            *slash = '\0';
    }
    return least;
}

double si__cores_available(void) {
    cpu_set_t set;
    double cores =
        sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (double)sysconf(_SC_NPROCESSORS_ONLN);
    double quota = cgroup_quota();
    if (quota < cores) cores = quota;
    return cores > 0 ? cores : 1;
}
