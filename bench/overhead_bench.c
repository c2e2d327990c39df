/*
 * What everything on costs a whole service, and the agent's memory while a program never rests: for overhead.sh.
 *
 * `overhead_bench --churn SECONDS [NAMES]`: threads, allocations, names, errors and modules come and go; memory is
 * printed. `overhead_bench --cpu PID...`: nanoseconds of CPU that these processes have used so far, added up.
 *
 * Churn runs unobserved first: what the program itself needs is known when the runtime opens. It fails when the agent
 * takes more than 16 MiB of resident memory, or when its last third takes more than its second third did.
 */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <si/si.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LANES = 2, HELD = 4000, DEPTH = 12, ALLOWED_KIB = 16 * 1024, GROWTH_KIB = 512, WARM_UP_S = 5 };

static unsigned names = 40; /* of handlers, of segments, of groups of errors: as many as services have */
static atomic_int ends;
static atomic_ulong threads_made, blocks_made, modules_loaded;

static double now_s(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- The program ---- */

/* Stacks of every shape: which branch is taken at each level is the caller's number. */
static void *allocate(uint32_t path, int depth, size_t bytes);
__attribute__((noinline)) static void *left(uint32_t path, int depth, size_t bytes) {
    void *made = allocate(path, depth, bytes);
    __asm__ volatile("" ::: "memory");
    return made;
}
__attribute__((noinline)) static void *right(uint32_t path, int depth, size_t bytes) {
    void *made = allocate(path, depth, bytes);
    __asm__ volatile("nop" ::: "memory");
    return made;
}
__attribute__((noinline)) static void *allocate(uint32_t path, int depth, size_t bytes) {
    if (depth == 0) return malloc(bytes);
    void *made = path & 1 ? left(path >> 1, depth - 1, bytes) : right(path >> 1, depth - 1, bytes);
    __asm__ volatile("" ::: "memory");
    return made;
}

static void *live_shortly(void *arg) {
    char name[64];
    uint32_t random = (uint32_t)(uintptr_t)arg;
    si_call call;
    snprintf(name, sizeof name, "GET /orders/%u", next_random(&random) % names);
    si_handler_start(&call, name);
    for (int i = 0; i < 50; i++) {
        void *made = allocate(next_random(&random), DEPTH, 100 + next_random(&random) % 3000);
        free(made);
    }
    SI_SEGMENT(name + 4) {
        usleep(200);
    }
    si_handler_stop(&call, random % 50 ? 200 : 500);
    snprintf(name, sizeof name, "group %u", next_random(&random) % names);
    if (random % 20 == 0) si_error_record(name, "of many");
    return NULL;
}

/* One lane: holds as much memory as before at all times, in other blocks of other stacks. */
static void *churn(void *arg) {
    void *held[HELD] = {NULL};
    uint32_t random = (uint32_t)(uintptr_t)arg;
    while (!ends) {
        for (int i = 0; i < 2000; i++) {
            void **slot = &held[next_random(&random) % HELD];
            free(*slot);
            *slot = allocate(next_random(&random), DEPTH, 50 + (size_t)(slot - held) % 500 * 4);
        }
        blocks_made += 2000;
        for (int i = 0; i < 5; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, live_shortly, (void *)(uintptr_t)next_random(&random))) continue;
            pthread_join(thread, NULL);
            threads_made++;
        }
        if (arg == (void *)1 && random % 64 == 0) {
            void *module = dlopen("libutil.so.1", RTLD_NOW), *other = dlopen("libanl.so.1", RTLD_NOW);
            if (module) dlclose(module);
            if (other) dlclose(other);
            modules_loaded++;
        }
        usleep(4000);
    }
    for (int i = 0; i < HELD; i++) free(held[i]);
    return NULL;
}

/* ---- What is measured ---- */

typedef struct memory {
    double rss_kib, private_kib;
} memory;

static memory memory_now(void) {
    memory m = {NAN, 0};
    char line[128];
    double kib;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    if (!file) return m;
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "Rss: %lf", &kib) == 1) m.rss_kib = kib;
        if (sscanf(line, "Private_Clean: %lf", &kib) == 1 || sscanf(line, "Private_Dirty: %lf", &kib) == 1)
            m.private_kib += kib;
    }
    fclose(file);
    return m;
}

/* Seconds of CPU of the agent's own threads. */
static double agent_cpu_s(void) {
    static const char command[] = "cat /proc/%d/task/*/stat 2>/dev/null | sed -n 's/^[0-9]* (si-[lw].*) //p' | "
                                  "awk '{ s += $12 + $13 } END { print s + 0 }'";
    char text[256];
    double ticks = 0;
    snprintf(text, sizeof text, command, getpid());
    FILE *pipe = popen(text, "r");
    if (!pipe || fscanf(pipe, "%lf", &ticks) != 1) ticks = NAN;
    if (pipe) pclose(pipe);
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static void print(const char *when, const memory *m, const memory *base) {
    printf("| %s | %.1f | %+.1f | %+.1f | %lu | %lu |\n", when, m->rss_kib / 1024, (m->rss_kib - base->rss_kib) / 1024,
           (m->private_kib - base->private_kib) / 1024, (unsigned long)threads_made, (unsigned long)blocks_made);
    fflush(stdout);
}

static void wait_until(double at_s) {
    while (now_s(CLOCK_MONOTONIC) < at_s) usleep(20000);
}

static int churn_for(double seconds) {
    pthread_t lanes[LANES];
    si_options options;
    si_runtime *runtime;
    double most_kib[3] = {0}, most_added_kib = 0;
    char when[32];
    for (int i = 0; i < LANES; i++)
        if (pthread_create(&lanes[i], NULL, churn, (void *)(uintptr_t)(i + 1))) return 1;
    wait_until(now_s(CLOCK_MONOTONIC) + WARM_UP_S);
    memory base = memory_now();
    printf("\n| churn, s | RSS, MiB | added | private, added | threads so far | blocks so far |\n"
           "| --- | --- | --- | --- | --- | --- |\n");
    print("unobserved", &base, &base);
    si_options_init(&options);
    options.app_name = "churn";
    int rc = si_runtime_open(&runtime, &options);
    if (rc) {
        printf("INVALID: %s\n", si_strerror(rc));
        return 1;
    }
    double start_s = now_s(CLOCK_MONOTONIC), shown = 0;
    double t = 0;
    while (t < seconds) {
        wait_until(now_s(CLOCK_MONOTONIC) + 0.5);
        memory m = memory_now();
        int third = (int)(3 * t / seconds);
        most_kib[third] = fmax(most_kib[third], m.rss_kib);
        most_added_kib = fmax(most_added_kib, m.rss_kib - base.rss_kib);
        if (t >= shown) {
            shown += seconds / 12;
            snprintf(when, sizeof when, "%.0f", t);
            print(when, &m, &base);
        }
        t = now_s(CLOCK_MONOTONIC) - start_s;
    }
    double cpu_s = agent_cpu_s(), took_s = now_s(CLOCK_MONOTONIC) - start_s;
    ends = 1;
    for (int i = 0; i < LANES; i++) pthread_join(lanes[i], NULL);
    si_runtime_close(runtime, 2000);
    double grown_kib = most_kib[2] - most_kib[1];
    int flat = grown_kib <= GROWTH_KIB, small = most_added_kib <= ALLOWED_KIB;
    printf("\nAgent: %.2f %% of a core; at most %.1f MiB added (aim 16)%s; last third against the second: %+.0f KiB%s; "
           "modules came and went %lu times\n",
           cpu_s / took_s * 100, most_added_kib / 1024, small ? "" : " **missed**", grown_kib,
           flat ? ", flat" : " **grows**", (unsigned long)modules_loaded);
    return !flat || !small;
}

/* A process's CPU clock is named by its number, whoever asks. */
static int print_cpu(char **pids) {
    double sum_ns = 0;
    for (; *pids; pids++) {
        clockid_t clock;
        if (clock_getcpuclockid((pid_t)atoi(*pids), &clock) != 0) return 1;
        sum_ns += now_s(clock) * 1e9;
    }
    printf("%.0f\n", sum_ns);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--cpu") == 0) return print_cpu(argv + 2);
    if (argc == 4 && atoi(argv[3]) > 0) names = (unsigned)atoi(argv[3]);
    if (argc >= 3 && strcmp(argv[1], "--churn") == 0 && atof(argv[2]) >= 3) return churn_for(atof(argv[2]));
    fprintf(stderr, "usage: %s --churn SECONDS (3 or more) [NAMES] | --cpu PID...\n", argv[0]);
    return 2;
}
