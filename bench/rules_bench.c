/*
 * What 10,000 rule evaluations cost: thresholds, baselines and call sites, over 1,000 series of 24 hours.
 *
 * Everything that happens in 100 seconds of a running agent: a point a minute for every series, and every rule
 * evaluated about every series every ten seconds. Feeding and evaluating are counted apart, in CPU time of this thread.
 * `rules_bench --series FILE` writes the same series as OpenMetrics text, ending now, for those it is compared with
 * (./dev bench rules).
 */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../runtime/history/series.h"
#include "../runtime/script/script.h"

#define SI_RULES_COMPARE "bench/rules_compare/compare.sh" /* ./dev runs it from the checkout */
#define THRESHOLDS 500
#define BASELINES 300
#define CALLSITES 200
#define MINUTES 1440
#define ROUNDS 10
#define REPEATS 20
#define T0 ((int64_t)1700000000000 / 60000 * 60000)

static unsigned fired;

static double cpu_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Noise that is the same in every run. */
static double noise(unsigned series, unsigned minute) {
    unsigned x = series * 2654435761u ^ minute * 40503u;
    x = (x ^ x >> 15) * 2246822519u;
    x = (x ^ x >> 13) * 3266489917u;
    return (double)(x >> 8) / (1 << 24);
}

static double value_of(unsigned series, unsigned minute) {
    if (series < THRESHOLDS) return 0.3 + 0.4 * noise(series, minute);
    if (series < THRESHOLDS + BASELINES) return 100 + 20 * noise(series, minute) + 30 * sin(minute / 229.2);
    return 16e6 + 1e6 * noise(series, minute);
}

static si__series_kind name_of(unsigned series, char name[64]) {
    if (series < THRESHOLDS)
        snprintf(name, 64, "load.%u", series);
    else if (series < THRESHOLDS + BASELINES)
        snprintf(name, 64, "latency.%u", series);
    else
        snprintf(name, 64, "heap|function_%u (program)", series);
    return series < THRESHOLDS + BASELINES ? SI__SERIES_METRIC : SI__SERIES_CALLSITE;
}

static void feed(si__history *history, unsigned minute) {
    char name[64];
    for (unsigned s = 0; s < THRESHOLDS + BASELINES + CALLSITES; s++) {
        si__series_kind kind = name_of(s, name);
        si__history_add(history, kind, name, T0 + (int64_t)minute * 60000, value_of(s, minute));
    }
}

static int write_series(const char *path) {
    FILE *out = fopen(path, "w");
    if (!out) return 1;
    time_t now = time(NULL) / 60 * 60 + 600; /* ten minutes ahead: the comparison takes its time */
    fputs("# TYPE bench gauge\n", out);
    for (unsigned s = 0; s < THRESHOLDS + BASELINES + CALLSITES; s++)
        for (unsigned m = 0; m <= MINUTES; m++)
            fprintf(out, "bench{kind=\"%s\",series=\"%u\"} %.6g %lld\n",
                    s < THRESHOLDS               ? "load"
                    : s < THRESHOLDS + BASELINES ? "latency"
                                                 : "heap",
                    s, value_of(s, m), (long long)now - (MINUTES - (long long)m) * 60);
    fputs("# EOF\n", out);
    return fclose(out) != 0;
}

static void on_alert(void *arg, const si__alert *alert) {
    (void)arg;
    fired += alert->state == SI__ALERT_FIRING;
}

static void on_log(void *arg, int level, const char *message) {
    (void)arg;
    if (level > 1) fprintf(stderr, "rules_bench: %s\n", message);
}

static uint64_t evaluations(si__script *script) {
    uint64_t sum = 0;
    si__report *report = si__report_new();
    if (!report || si__script_describe(script, report)) exit(1);
    for (size_t i = 0; i < report->rule_count; i++) sum += report->rules[i].evaluations;
    for (size_t i = 0; i < report->rule_count; i++)
        if (*report->rules[i].error) {
            fprintf(stderr, "%s: %s\n", report->rules[i].name, report->rules[i].error);
            exit(1);
        }
    si__report_free(report);
    return sum;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    char error[4096], dir[512];
    if (argc == 3 && strcmp(argv[1], "--series") == 0) return write_series(argv[2]);
    snprintf(dir, sizeof dir, "%s", argc > 1 ? argv[1] : "bench/rules_set");
    size_t before = mallinfo2().uordblks;
    si__history *history = si__history_new();
    if (!history) return 1;
    si__history_limit(history, 10000, (size_t)64 << 20);
    for (unsigned minute = 0; minute < MINUTES; minute++) feed(history, minute);
    si__script_env env = {.history = history, .app = "bench", .cpu_quota = 2, .on_alert = on_alert, .log = on_log};
    si__script *script = si__script_new(&env);
    if (!script || si__script_load(script, dir, error, sizeof error)) {
        fprintf(stderr, "rules_bench: %s\n", script ? error : "out of memory");
        return 1;
    }
    int64_t now_ms = T0 + (int64_t)MINUTES * 60000;
    double start = cpu_ms(), feeding = 0, evaluating[REPEATS], first;
    si__script_tick(script, now_ms);
    first = cpu_ms() - start;
    uint64_t counted = evaluations(script), per_run = 0;
    unsigned minute = MINUTES;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        evaluating[repeat] = 0;
        for (int round = 0; round < ROUNDS; round++) {
            now_ms += 10000;
            if (now_ms >= T0 + (int64_t)minute * 60000) {
                start = cpu_ms();
                feed(history, minute++);
                feeding += cpu_ms() - start;
            }
            start = cpu_ms();
            si__script_tick(script, now_ms);
            evaluating[repeat] += cpu_ms() - start;
        }
        uint64_t all = evaluations(script);
        per_run = all - counted;
        counted = all;
    }
    qsort(evaluating, REPEATS, sizeof *evaluating, by_value);
    size_t bytes = si__history_bytes(history), heap = mallinfo2().uordblks - before;
    printf("evaluations %llu in 100 s, of 1,000 series; alerts fired: %u\n", (unsigned long long)per_run, fired);
    printf("si: median %.2f ms CPU, slowest of %d runs %.2f ms (the very first round of 1,000: %.2f ms)\n",
           evaluating[REPEATS / 2], REPEATS, evaluating[REPEATS - 1], first);
    printf("feeding: %.2f ms CPU per 1,000 points\n", feeding / (minute - MINUTES));
    printf("memory: %.1f KB per series of 24 h, as counted; %.1f KB with everything, rules too\n", (double)bytes / 1e6,
           (double)heap / 1e6);
    si__script_free(script);
    si__history_free(history);
    fflush(stdout);
    if (argc > 1) return 0;
    execl(SI_RULES_COMPARE, "compare.sh", argv[0], (char *)NULL);
    perror(SI_RULES_COMPARE);
    return 1;
}
