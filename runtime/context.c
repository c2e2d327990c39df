/* The context of a report. Loop thread only; reads a few files of /proc and /sys once. */
#include "context.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../collectors/native/cgroup.h"

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

double si__own_cores(void) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    const si__host host = {.root = "", .cpu_count = online > 0 ? (unsigned)online : 1};
    return si__cores_available(&host);
}
