/*
 * Reports a second that a dashboard acknowledges after fsync, and what they take in the store.
 *
 *   ingest_bench [--reports N] [--large N] [--connections N]     defaults: 5000 of an agent's shape, 14400 large, 128
 *
 * Two shapes over real HTTP on loopback: what an agent with all samplers on sends (eight profiles of about 365
 * call-tree nodes, metrics, segments), and one profile of 490 stacks a report. Reports are made before the clock runs.
 * Sender and server share the machine's cores. Prints Markdown; INVALID when anything was refused or nothing was
 * stored.
 */
#include <curl/curl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../spec/server/dashboard.h"
#include "report_load.h"

static double cpu_s(pid_t pid) {
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file && fgets(text, sizeof text, file)) {
        const char *after_name = strrchr(text, ')');
        if (after_name) sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    }
    if (file) fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double self_number(person *admin, const char *object, const char *name) {
    si__json *self = person_get(admin, "/self");
    double value = si__json_get_number(si__json_get(self, object), name, 0);
    si__json_free(self);
    return value;
}

static double rows_of(person *admin, const char *table) {
    double rows = -1;
    si__json *self = person_get(admin, "/self");
    for (const si__json *t = si__json_get(self, "tables")->first; t; t = t->next)
        if (!strcmp(si__json_get_string(t, "name", ""), table)) rows = si__json_get_number(t, "rows", -1);
    si__json_free(self);
    return rows;
}

/* Until all that can be rolled up is: then the store is as large as it will be. */
static void settle(person *admin) {
    double before = -1, now = -2;
    for (int still = 0, rounds = 0; still < 15 && rounds < 600; rounds++) {
        now = rows_of(admin, "rollup_due");
        still = now == before ? still + 1 : 0;
        before = now;
        nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
}

static int run(const char *name, const report_shape *shape, size_t reports, unsigned connections) {
    dashboard d;
    person admin;
    report_load load;
    char key[128];
    static const char *const options[] = {"--no-self", "--rollup-after", "5", NULL};
    dashboard_make(&d);
    dashboard_start(&d, options);
    dashboard_key(&d, "shop", "test", key);
    person_sign_in(&admin, &d);
    report_load_make(&load, shape, reports, "test", key, (int64_t)time(NULL) * 1000 - 3600000, 1);
    double empty = self_number(&admin, "store", "used_bytes");
    int port = atoi(strrchr(d.url, ':') + 1);
    report_load first = load, rest = load; /* the first fifth: every function is new to the dashboard but once */
    first.count = reports / 5;
    rest.count -= first.count;
    rest.requests += first.count;
    rest.lengths += first.count;
    report_load_result warm = report_load_send(&first, port, connections, NULL);
    double cpu = cpu_s(d.pid);
    report_load_result result = report_load_send(&rest, port, connections, NULL);
    cpu = cpu_s(d.pid) - cpu;
    settle(&admin);
    double bytes = self_number(&admin, "store", "used_bytes") - empty, profiles = (double)reports * shape->profiles;
    double measured = (double)result.acknowledged;
    result.acknowledged += warm.acknowledged;
    result.refused += warm.refused;
    int valid = result.refused == 0 && result.acknowledged == reports && rows_of(&admin, "profile") == profiles;
    if (valid)
        printf("| %s | %.0f | %.0f | %.3f | %.1f / %.1f | %.0f | %.0f | %.0f |\n", name, measured / result.seconds,
               measured * shape->profiles / result.seconds, cpu * 1e3 / measured / shape->profiles, result.p50_ms,
               result.p99_ms, (double)load.nodes / profiles, (double)load.wire_bytes / profiles, bytes / profiles);
    else
        printf("INVALID: %s: acknowledged %zu, refused %zu of %zu\n", name, result.acknowledged, result.refused,
               reports);
    fflush(stdout);
    report_load_free(&load);
    dashboard_remove(&d);
    return valid;
}

static unsigned number_after(int argc, char **argv, const char *name, unsigned fallback) {
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name)) return (unsigned)strtoul(argv[i + 1], NULL, 10);
    return fallback;
}

int main(int argc, char **argv) {
    unsigned reports = number_after(argc, argv, "--reports", 5000), large = number_after(argc, argv, "--large", 14400),
             connections = number_after(argc, argv, "--connections", 128);
    if (sodium_init() < 0 || reports < 100 || large < 100 || !connections) return 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    printf(
        "\n| reports | reports/s after fsync | profiles/s | server CPU, ms a profile | p50 / p99 of one report, ms | "
        "nodes a profile "
        "| bytes a profile on the wire | in the store, all in |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    int valid = run("as agents send them, 8 profiles each", &report_shape_agent, reports, connections);
    valid &= run("one profile of 490 stacks each", &report_shape_large, large, connections);
    return valid ? 0 : 1;
}
