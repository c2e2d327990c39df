/*
 * How long a dashboard's pages take over a store of ten million samples, and of a hundred million.
 *
 *   query_bench [--big] [--samples MILLIONS] [--repeats N]     defaults: 10 million (--big: 100), 15
 *
 * The store holds a day of one program (14,400 profiles of 490 stacks, ten sources) that is asked for, and before it
 * and beside it everything else up to that many samples. It is made once, through the store's own writer, and kept
 * under the build directory; every run works on a copy. Timed in the server's own code and at an HTTP client; then
 * again while reports arrive as fast as they are taken. Prints Markdown.
 */
#include <curl/curl.h>
#include <pthread.h>
#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../dashboard/server/store.h"
#include "../spec/server/dashboard.h"
#include "../spec/server/made_report.h"
#include "report_load.h"

enum { DAY_PROFILES = 14400, STACKS = 490, UNIVERSE = 20000, SOURCES = 10, TREES = 400, REPEATS_MOST = 100 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- The store ---- */

typedef struct loading {
    si__report *reports[TREES]; /* a profile each, stored again and again at other times */
    int64_t app, other;
    uint64_t sequence;
    const char *environment;
} loading;

static int app_apply(si__tx *tx, void *arg) {
    loading *l = arg;
    int failed = si__store_app(tx, "shop", "test", &l->app);
    return failed ? failed : si__store_app(tx, "other", "test", &l->other);
}

typedef struct batch {
    loading *l;
    int64_t app, start_ms, step_ms;
    unsigned count;
} batch;

/* Profiles one after the other, SOURCES at each step of time. */
static int batch_apply(si__tx *tx, void *arg) {
    batch *b = arg;
    int failed = 0;
    for (unsigned i = 0; i < b->count && !failed; i++) {
        si__report *report = b->l->reports[(b->l->sequence * 7 + i) % TREES];
        char host[16];
        int64_t t = b->start_ms + i / SOURCES * b->step_ms + i % SOURCES * 700;
        snprintf(host, sizeof host, "host-%u", i % SOURCES);
        snprintf((char *)report->id.agent, sizeof report->id.agent, "agent-%09u", i % SOURCES + 1);
        free(report->context.host);
        report->context.host = strdup(host);
        report->id.sequence = ++b->l->sequence;
        report->start_ms = report->profiles[0].start_ms = t;
        report->end_ms = t + 2000;
        si__store_report job = {.report = report, .app = b->app};
        failed = si__store_report_apply(tx, &job);
    }
    return failed;
}

static int put(si__store *store, loading *l, int64_t app, int64_t from_ms, unsigned profiles) {
    for (unsigned done = 0; done < profiles;) {
        batch b = {l, app, from_ms + (int64_t)(done / SOURCES) * 60000, 60000,
                   profiles - done < 1000 ? profiles - done : 1000};
        int failed = si__writer_call(si__store_writer(store), batch_apply, &b);
        if (failed) return failed;
        done += b.count;
    }
    return 0;
}

static int64_t ask(si__reader *reader, const char *literal) {
    return si__db_int(&reader->db, si__db_prepare(&reader->db, literal), -1);
}

/* Rolled up but for what is still going on. */
static void settle(si__reader *reader) {
    for (int64_t before = -1, still = 0; still < 10;) {
        int64_t due = ask(reader, "SELECT count(*) FROM rollup_due");
        still = due == before ? still + 1 : 0;
        before = due;
        nanosleep(&(struct timespec){0, 300000000}, NULL);
    }
}

/* Makes the store in dir, ending at end_ms. */
static int make_store(const char *dir, uint64_t samples, int64_t end_ms) {
    char error[300];
    static loading l;
    si__store *store;
    si__store_options options = {.data_dir = dir, .retention_ms = 3650ll * 86400000, .rollup_grace_ms = 1};
    if (si__store_open(&options, &store, error, sizeof error)) {
        fprintf(stderr, "%s\n", error);
        return SI_EIO;
    }
    for (unsigned i = 0; i < TREES; i++) {
        made m = {.agent = 1, .sequence = i + 1, .start_ms = 0, .end_ms = 1};
        l.reports[i] = made_report(&m);
        made_profile(l.reports[i], "cpu", 0, STACKS, UNIVERSE, i + 1);
    }
    int failed = si__writer_call(si__store_writer(store), app_apply, &l);
    unsigned profiles = (unsigned)(samples / STACKS), rest = profiles > DAY_PROFILES ? profiles - DAY_PROFILES : 0;
    int64_t day = end_ms - 86400000;
    if (!failed) failed = put(store, &l, l.other, day - (int64_t)(rest / 2 / SOURCES) * 60000, rest / 2);
    if (!failed) failed = put(store, &l, l.app, day - (int64_t)((rest - rest / 2) / SOURCES) * 60000, rest - rest / 2);
    if (!failed) failed = put(store, &l, l.app, day, DAY_PROFILES);
    si__reader *reader = failed ? NULL : si__reader_new(store);
    if (reader) settle(reader);
    si__reader_free(reader);
    si__store_close(store);
    for (unsigned i = 0; i < TREES; i++) si__report_free(l.reports[i]);
    return failed;
}

/* The kept store's directory; its name ends with when its data ends. 0 when there is none and none could be made. */
static int64_t find_store(char *dir, size_t dir_bytes, uint64_t samples) {
    char marker[700], text[64] = "";
    snprintf(dir, dir_bytes, "build/bench/query_store_%llum", (unsigned long long)(samples / 1000000));
    snprintf(marker, sizeof marker, "%s/complete", dir);
    FILE *file = fopen(marker, "r");
    if (file) {
        int known = fgets(text, sizeof text, file) != NULL;
        fclose(file);
        if (known) return strtoll(text, NULL, 10);
    }
    char command[800];
    snprintf(command, sizeof command, "rm -rf '%s'", dir); /* a name of ours */
    if (system(command) != 0) return 0;
    int64_t end_ms = (int64_t)time(NULL) * 1000 / 600000 * 600000;
    double start = seconds();
    mkdir("build/bench", 0755);
    if (make_store(dir, samples, end_ms)) return 0;
    fprintf(stderr, "made a store of %llu million samples in %.0f s\n", (unsigned long long)(samples / 1000000),
            seconds() - start);
    if (!(file = fopen(marker, "w"))) return 0;
    fprintf(file, "%lld\n", (long long)end_ms);
    fclose(file);
    return end_ms;
}

/* ---- Timing ---- */

typedef struct timing {
    double best, median;
} timing;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static timing summary(double *times, unsigned count) {
    qsort(times, count, sizeof *times, by_value);
    return (timing){times[0] * 1e3, times[count / 2] * 1e3};
}

typedef struct inside {
    si__reader *reader;
    si__range day;
    int64_t profile, node; /* node: a call that is in nearly every profile */
    int64_t points;
} inside;

static int note(void *arg, uint32_t node, int64_t t, int64_t total) {
    (void)node, (void)t, (void)total;
    ((inside *)arg)->points++;
    return 0;
}

static int tree_of(inside *in, si__merge *merge) {
    si__branch *branches = NULL;
    size_t count;
    int failed = si__places_tree(in->reader->places, &in->reader->db, merge->sum, &branches, &count);
    free(branches);
    si__merge_clear(merge);
    return failed;
}

static int day_merge(inside *in) {
    si__merge merge = {0};
    int failed = si__read_merge(in->reader, &in->day, "cpu", &merge);
    return failed || !merge.profiles ? SI_ESTATE : tree_of(in, &merge);
}

static int one_profile(inside *in) {
    si__merge merge = {0};
    int failed = si__read_merge_one(in->reader, in->day.app, in->profile, &merge);
    return failed ? failed : tree_of(in, &merge);
}

static int node_trend(inside *in) {
    return si__read_node_trend(in->reader, &in->day, "cpu", (uint32_t)in->node, note, in);
}

static int function_trend(inside *in) {
    return si__read_function_trend(in->reader, &in->day, "cpu", "function_0", "", note, in);
}

static const struct question {
    const char *name, *path;
    int (*ask)(inside *in);
    double goal_ms;
} questions[] = {
    {"merge of 24 h", "/profiles/tree?%s", day_merge, 30},
    {"one profile", "/profiles/tree?app=shop&env=test&at=%lld", one_profile, 5},
    {"trend of one call over 24 h", "/profiles/trend?%s&node=", node_trend, 10},
    {"trend of a function over 24 h", "/profiles/trend?%s&function=function_0", function_trend, 10},
    {"history of 24 h", "/profiles?%s", NULL, 0},
    {"overview of the last hour", "/overview?%s", NULL, 50},
};
enum { QUESTIONS = sizeof questions / sizeof questions[0] };

static int time_inside(const char *dir, int64_t end_ms, unsigned repeats, int64_t *node, timing out[QUESTIONS]) {
    char error[300];
    si__store *store;
    si__store_options options = {.data_dir = dir, .retention_ms = 3650ll * 86400000};
    if (si__store_open(&options, &store, error, sizeof error)) return SI_EIO;
    inside in = {.reader = si__reader_new(store)};
    int failed = in.reader ? 0 : SI_EIO;
    if (!failed) {
        in.day = (si__range){si__read_app(in.reader, "shop", "test"), 0, end_ms - 86400000, end_ms};
        in.profile = ask(in.reader, "SELECT max(id)-100 FROM profile");
        in.node = *node = ask(in.reader, "SELECT min(node.id)+2 FROM node JOIN app ON app.id=app WHERE name='shop'");
    }
    for (unsigned q = 0; q < QUESTIONS && !failed; q++) {
        double times[REPEATS_MOST];
        for (unsigned i = 0; i < repeats && questions[q].ask && !failed; i++) {
            double start = seconds();
            failed = si__reader_begin(in.reader);
            failed = failed ? failed : questions[q].ask(&in);
            si__reader_end(in.reader);
            times[i] = seconds() - start;
        }
        out[q] = questions[q].ask && !failed ? summary(times, repeats) : (timing){0, 0};
    }
    if (!failed && !in.points) failed = SI_ESTATE;
    si__reader_free(in.reader);
    si__store_close(store);
    return failed;
}

static int time_pages(person *admin, int64_t end_ms, int64_t profile, int64_t node, unsigned repeats,
                      timing out[QUESTIONS]) {
    for (unsigned q = 0; q < QUESTIONS; q++) {
        char path[300], range[120];
        double times[REPEATS_MOST];
        int64_t from = end_ms - (strstr(questions[q].path, "overview") ? 3600000 : 86400000);
        snprintf(range, sizeof range, "app=shop&env=test&from=%lld&to=%lld", (long long)from, (long long)end_ms);
        if (strstr(questions[q].path, "%lld"))
            snprintf(path, sizeof path, "/profiles/tree?app=shop&env=test&at=%lld", (long long)profile);
        else
            snprintf(path, sizeof path, questions[q].path, range);
        if (path[strlen(path) - 1] == '=') snprintf(path + strlen(path), 24, "%lld", (long long)node);
        for (unsigned i = 0; i < repeats; i++) {
            double start = seconds();
            reply r = person_ask(admin, "GET", path, NULL);
            times[i] = seconds() - start;
            if (r.status != 200) {
                printf("INVALID: %s: %ld %.200s\n", path, r.status, r.body ? r.body : "");
                return 1;
            }
            reply_free(&r);
        }
        out[q] = summary(times, repeats);
    }
    return 0;
}

typedef struct background {
    report_load load;
    report_load_result result;
    atomic_int stop;
    int port;
} background;

static void *send_all(void *arg) {
    background *b = arg;
    b->result = report_load_send(&b->load, b->port, 64, &b->stop);
    return NULL;
}

static unsigned number_after(int argc, char **argv, const char *name, unsigned fallback) {
    for (int i = 1; i + 1 < argc; i++)
        if (!strcmp(argv[i], name)) return (unsigned)strtoul(argv[i + 1], NULL, 10);
    return fallback;
}

static int has(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], name)) return 1;
    return 0;
}

int main(int argc, char **argv) {
    unsigned repeats = number_after(argc, argv, "--repeats", 15);
    uint64_t samples = number_after(argc, argv, "--samples", has(argc, argv, "--big") ? 100 : 10) * 1000000ull;
    char kept[600], command[1400], key[128];
    timing in[QUESTIONS], idle[QUESTIONS], busy[QUESTIONS];
    if (sodium_init() < 0 || repeats < 3 || repeats > REPEATS_MOST || samples < 10000000 || samples > 200000000)
        return 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int64_t node = 0, end_ms = find_store(kept, sizeof kept, samples);
    if (!end_ms || time_inside(kept, end_ms, repeats, &node, in)) {
        puts("INVALID: no store");
        return 1;
    }
    dashboard d;
    person admin;
    dashboard_make(&d);
    snprintf(command, sizeof command, "mkdir -p '%s' && cp '%s'/si.db '%s'/", d.dir, kept, d.dir);
    if (system(command) != 0) return 1;
    static const char *const options[] = {"--no-self", "--retention-days", "3650", NULL};
    dashboard_start(&d, options);
    dashboard_key(&d, "shop", "load", key);
    person_sign_in(&admin, &d);
    int64_t profile = (int64_t)(samples / STACKS) - 100;
    int failed = time_pages(&admin, end_ms, profile, node, repeats, idle);
    background b = {.port = atoi(strrchr(d.url, ':') + 1)};
    report_shape shape = report_shape_agent;
    shape.stacks = 30; /* quick to make: there must be enough of them */
    report_load_make(&b.load, &shape, 6000, "load", key, (int64_t)time(NULL) * 1000 - 60000, 1);
    pthread_t thread;
    pthread_create(&thread, NULL, send_all, &b);
    failed = failed || time_pages(&admin, end_ms, profile, node, repeats, busy);
    atomic_store(&b.stop, 1);
    pthread_join(thread, NULL);
    printf("\n%llu million samples; while %.0f reports/s (%.0f profiles/s) were stored, %zu refused\n\n"
           "| question | goal, ms | in the server, best / median | at the client, best / median | the same while "
           "reports arrive |\n"
           "| --- | --- | --- | --- | --- |\n",
           (unsigned long long)(samples / 1000000), (double)b.result.acknowledged / b.result.seconds,
           (double)b.result.acknowledged * b.load.profiles_each / b.result.seconds, b.result.refused);
    if (!b.result.acknowledged || b.result.refused) {
        puts("INVALID: reports were refused");
        failed = 1;
    }
    for (unsigned q = 0; q < QUESTIONS && !failed; q++)
        printf("| %s | %.0f | %.1f / %.1f | %.1f / %.1f | %.1f / %.1f |\n", questions[q].name, questions[q].goal_ms,
               in[q].best, in[q].median, idle[q].best, idle[q].median, busy[q].best, busy[q].median);
    report_load_free(&b.load);
    dashboard_remove(&d);
    return failed;
}
