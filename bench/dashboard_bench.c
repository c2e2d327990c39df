/*
 * What a dashboard costs: a day of profiles sent to a real si-dashboard over HTTP, and the pages that people then look
 * at.
 *
 *   dashboard_bench [--profiles N] [--stacks N] [--senders N]     defaults: 14400 (ten programs, one a minute, a day),
 * 490, 8
 *
 * Prints one "name=number" a line. Reports are made before the clock runs, so only sending and storing is measured;
 * "acknowledged" means that the server has said 200, after its fsync. Queries are timed at the HTTP client, best and
 * median of several.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../spec/server/dashboard.h"
#include "../spec/server/made_report.h"

enum { UNIVERSE = 20000, AGENTS = 10, SENDERS_MOST = 64, REPEATS = 15 };

typedef struct load {
    dashboard d;
    person admin;
    char key[128];
    unsigned profiles, stacks;
    uint8_t **bytes;
    size_t *lengths;
    int64_t start_ms, end_ms;
    atomic_uint next, refused;
} load;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void make_reports(load *l) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    l->end_ms = (int64_t)now.tv_sec * 1000;
    int64_t step = 86400000ll * AGENTS / l->profiles;
    l->start_ms = l->end_ms - 86400000ll;
    l->bytes = calloc(l->profiles, sizeof *l->bytes);
    l->lengths = calloc(l->profiles, sizeof *l->lengths);
    for (unsigned i = 0; i < l->profiles; i++) {
        char host[16];
        int64_t t = l->start_ms + i / AGENTS * step + i % AGENTS * 700;
        snprintf(host, sizeof host, "host-%u", i % AGENTS);
        made m = {.agent = i % AGENTS + 1, .sequence = i + 1, .host = host, .start_ms = t, .end_ms = t + 2000};
        si__report *report = made_report(&m);
        made_profile(report, "cpu", t, l->stacks, UNIVERSE, i + 1);
        l->bytes[i] = made_bytes(report, &l->lengths[i]);
    }
}

static size_t ignore(char *data, size_t size, size_t count, void *arg) {
    (void)data, (void)arg;
    return size * count;
}

static void *sender(void *arg) {
    load *l = arg;
    char url[128], authorization[200];
    snprintf(url, sizeof url, "%s/api/v1/reports", l->d.url);
    snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", l->key);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(curl_slist_append(NULL, "Expect:"), "Content-Encoding: zstd");
    headers = curl_slist_append(headers, authorization);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    for (unsigned i; (i = atomic_fetch_add(&l->next, 1)) < l->profiles;) {
        long status = 0;
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)l->lengths[i]);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, l->bytes[i]);
        if (curl_easy_perform(curl) == CURLE_OK) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        if (status != 200) atomic_fetch_add(&l->refused, 1);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return NULL;
}

/* CPU time of the server so far. */
static double server_cpu_s(const load *l) {
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)l->d.pid);
    FILE *file = fopen(path, "r");
    if (file && fgets(text, sizeof text, file)) {
        const char *after_name = strrchr(text, ')');
        if (after_name) sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    }
    if (file) fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void send_all(load *l, int senders) {
    pthread_t threads[SENDERS_MOST];
    uint64_t wire = 0;
    for (unsigned i = 0; i < l->profiles; i++) wire += l->lengths[i];
    double start = seconds(), cpu = server_cpu_s(l);
    for (int i = 0; i < senders; i++) pthread_create(&threads[i], NULL, sender, l);
    for (int i = 0; i < senders; i++) pthread_join(threads[i], NULL);
    double took = seconds() - start;
    printf("reports_acknowledged_per_second=%.0f\nserver_cpu_ms_per_profile=%.3f\nrefused=%u\nwire_bytes_per_profile=%."
           "0f\n",
           l->profiles / took, (server_cpu_s(l) - cpu) * 1e3 / l->profiles, atomic_load(&l->refused),
           (double)wire / l->profiles);
}

/* Waits until every rollup is made that can be: then its state is that of a dashboard which has run for a day. */
static void wait_for_rollups(load *l) {
    double start = seconds();
    int64_t due = -1, before = -2;
    for (int still = 0; still < 40 && seconds() - start < 300;) {
        si__json *self = person_get(&l->admin, "/self");
        for (const si__json *t = si__json_get(self, "tables")->first; t; t = t->next)
            if (!strcmp(si__json_get_string(t, "name", ""), "rollup_due")) due = si__json_get_integer(t, "rows", -1);
        si__json_free(self);
        still = due == before ? still + 1 : 0;
        before = due;
        nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
    printf("rollup_seconds=%.1f\nrollups_due=%lld\n", seconds() - start, (long long)due);
}

static void print_sizes(load *l) {
    si__json *self = person_get(&l->admin, "/self");
    double all = si__json_get_number(si__json_get(self, "store"), "used_bytes", 0);
    printf("store_bytes_per_profile=%.0f\n", all / l->profiles);
    for (const si__json *t = si__json_get(self, "tables")->first; t; t = t->next) {
        double bytes = si__json_get_number(t, "bytes", 0) / l->profiles;
        if (bytes >= 1) printf("table_%s_bytes_per_profile=%.0f\n", si__json_get_string(t, "name", ""), bytes);
    }
    si__json_free(self);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_page(load *l, const char *name, const char *path) {
    double times[REPEATS];
    size_t length = 0;
    for (int i = 0; i < REPEATS; i++) {
        double start = seconds();
        reply r = person_ask(&l->admin, "GET", path, NULL);
        times[i] = seconds() - start;
        if (r.status != 200) fprintf(stderr, "%s: %ld %.200s\n", path, r.status, r.body);
        length = r.length;
        reply_free(&r);
    }
    double first = times[0];
    qsort(times, REPEATS, sizeof times[0], by_value);
    printf("%s_first_ms=%.1f\n%s_median_ms=%.1f\n%s_best_ms=%.1f\n%s_bytes=%zu\n", name, first * 1e3, name,
           times[REPEATS / 2] * 1e3, name, times[0] * 1e3, name, length);
}

static void time_pages(load *l) {
    char path[300], range[100];
    snprintf(range, sizeof range, "app=shop&env=test&from=%lld&to=%lld", (long long)l->start_ms,
             (long long)l->end_ms + 60000);
    snprintf(path, sizeof path, "/profiles/tree?%s", range);
    time_page(l, "merge_24h", path);
    snprintf(path, sizeof path, "/profiles?%s", range);
    time_page(l, "history_24h", path);
    snprintf(path, sizeof path, "/profiles/trend?%s&function=function_0", range);
    time_page(l, "function_trend_24h", path);
    snprintf(path, sizeof path, "/profiles/trend?%s&node=1", range);
    time_page(l, "node_trend_24h", path);
    snprintf(path, sizeof path, "/profiles/tree?app=shop&env=test&at=%u", l->profiles / 2);
    time_page(l, "one_profile", path);
    snprintf(path, sizeof path, "/profiles/tree?app=shop&env=test&at=%u&trend=1", l->profiles / 2);
    time_page(l, "one_profile_with_trend", path);
    snprintf(path, sizeof path, "/overview?app=shop&env=test&from=%lld&to=%lld", (long long)l->end_ms - 3600000,
             (long long)l->end_ms);
    time_page(l, "overview_1h", path);
}

static unsigned number_after(int argc, char **argv, const char *name, unsigned fallback) {
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name)) return (unsigned)strtoul(argv[i + 1], NULL, 10);
    return fallback;
}

int main(int argc, char **argv) {
    load l = {.profiles = number_after(argc, argv, "--profiles", 14400),
              .stacks = number_after(argc, argv, "--stacks", 490)};
    unsigned senders = number_after(argc, argv, "--senders", 8);
    if (sodium_init() < 0 || !l.profiles || !l.stacks || !senders || senders > SENDERS_MOST) return 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    make_reports(&l);
    dashboard_make(&l.d);
    const char *options[] = {"--rollup-after", "5", NULL};
    dashboard_start(&l.d, options);
    dashboard_key(&l.d, "shop", "test", l.key);
    person_sign_in(&l.admin, &l.d);
    send_all(&l, (int)senders);
    time_pages(&l);
    puts("-- with rollups");
    wait_for_rollups(&l);
    print_sizes(&l);
    time_pages(&l);
    dashboard_remove(&l.d);
    for (unsigned i = 0; i < l.profiles; i++) free(l.bytes[i]);
    free(l.bytes);
    free(l.lengths);
    return 0;
}
