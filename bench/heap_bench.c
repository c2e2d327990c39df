/*
 * What heap profiling costs: added ns per malloc and free, against none and against other heap profilers.
 *
 * `./dev bench heap [SLICES]`. Every way of profiling is a process of its own that runs this program as a worker; they
 * take turns, a slice of a millisecond of CPU time each. A profiler that brings an allocator is compared with that
 * allocator alone. Each difference is one of neighbouring slices; medians come with their 95 % interval (order
 * statistics).
 *
 * Aim: at most 2 ns a pair.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../collectors/native/live.h"
#include "../collectors/native/probe.h"
#include "../runtime/ring/drain.h"

enum { HELD = 256, WORKS = 3, SLICES_MAX = 2000, WARM_UP = 3 };
#define LIBRARY "/usr/lib/x86_64-linux-gnu/"
#define SLICE_NS 1e6

static double now_ns(void) {
    struct timespec now; /* of this thread's CPU: what else the machine does is not our subject */
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* ---- The worker: answers "WORK PAIRS" with the ns that they took ---- */

static void *volatile sink;

static void one_size(unsigned pairs) {
    for (unsigned i = 0; i < pairs; i++) {
        sink = malloc(64);
        free(sink);
    }
}

/* Sizes as programs have them (most small, few large), a few hundred blocks held, released in another order. */
static void mixed(unsigned pairs) {
    static void *held[HELD];
    static uint32_t random = 1;
    for (unsigned i = 0; i < pairs; i++) {
        random = random * 1664525u + 1013904223u;
        void **slot = &held[random >> 24];
        free(*slot);
        *slot = malloc(16 + (random >> 8 & 63) * (random >> 14 & 15 ? 4 : 64));
    }
}

static void large(unsigned pairs) {
    for (unsigned i = 0; i < pairs; i++) {
        sink = malloc(40000);
        free(sink);
    }
}

static void (*const works[WORKS])(unsigned) = {one_size, mixed, large};
static const char *const titles[WORKS] = {"64 bytes", "mixed sizes, 256 held", "40,000 bytes"};

static void no_event(void *arg, const si__drained_event *event) {
    *(uint64_t *)arg += event->type == SI__EVENT_ALLOC;
}

/* The second answer: samples that were taken, as far as the worker knows. */
static int be_worker(int embedded) {
    char line[64];
    si__drain *drain = NULL;
    uint64_t samples = 0;
    if (embedded) {
        const si__probe_options options = {.heap_bytes = 512 * 1024};
        if (si__probe_open(&options) != 0) return 1;
        drain = si__drain_new(si__probe_region());
    }
    while (fgets(line, sizeof line, stdin)) {
        unsigned work = 0, pairs = 0;
        if (sscanf(line, "%u %u", &work, &pairs) != 2 || work >= WORKS) return 1;
        works[work](pairs / 16); /* warm again after the others' turns */
        double began = now_ns();
        works[work](pairs);
        double took = now_ns() - began;
        if (drain) si__drain_events(drain, no_event, &samples);
        printf("%.0f %lu\n", took, samples);
        fflush(stdout);
    }
    return 0;
}

/* ---- The others ---- */

typedef struct worker {
    const char *title;
    int base; /* index of the worker that it is compared with */
    const char *preload, *variable, *value;
    int embedded, run; /* run: under `si run` */
    pid_t pid;
    FILE *to, *from;
    unsigned pairs[WORKS];
    double *ns[WORKS];
    uint64_t samples;
} worker;

static char folder[4096], scratch[64] = "/tmp/si-heap-bench-XXXXXX", profile[128];

enum { NONE, TWIN, EMBEDDED, UNDER_RUN, HEAPTRACK, TCMALLOC, GPERFTOOLS, JEMALLOC, PROF, WORKERS };
static worker workers[WORKERS] = {
    [NONE] = {.title = "none", .base = NONE},
    [TWIN] = {.title = "none, a second process", .base = NONE},
    [EMBEDDED] = {.title = "si, embedded", .base = NONE, .embedded = 1},
    [UNDER_RUN] = {.title = "si run", .base = NONE, .run = 1},
    [HEAPTRACK] = {.title = "heaptrack",
                   .base = NONE,
                   .preload = "/usr/lib/heaptrack/libheaptrack_preload.so",
                   .variable = "DUMP_HEAPTRACK_OUTPUT",
                   .value = "/dev/null"},
    [TCMALLOC] = {.title = "tcmalloc alone", .base = TCMALLOC, .preload = LIBRARY "libtcmalloc.so.4"},
    [GPERFTOOLS] = {.title = "gperftools' heap profiler",
                    .base = TCMALLOC,
                    .preload = LIBRARY "libtcmalloc.so.4",
                    .variable = "HEAPPROFILE",
                    .value = profile},
    [JEMALLOC] = {.title = "jemalloc alone", .base = JEMALLOC, .preload = LIBRARY "libjemalloc.so.2"},
    [PROF] = {.title = "jemalloc's prof",
              .base = JEMALLOC,
              .preload = LIBRARY "libjemalloc.so.2",
              .variable = "MALLOC_CONF",
              .value = "prof:true,prof_active:true,lg_prof_sample:19"},
};

static int jemalloc_has_prof(void) {
    void *library = dlopen(LIBRARY "libjemalloc.so.2", RTLD_NOW | RTLD_LOCAL);
    int (*control)(const char *, void *, size_t *, void *, size_t) = NULL;
    void *found = library ? dlsym(library, "mallctl") : NULL;
    char has = 0;
    size_t bytes = sizeof has;
    memcpy(&control, &found, sizeof found);
    if (control && control("config.prof", &has, &bytes, NULL, 0) != 0) has = 0;
    return has;
}

static void exec_worker(const worker *w) {
    char self[5000], command[5000];
    snprintf(self, sizeof self, "%s/bench/heap_bench", folder);
    snprintf(command, sizeof command, "%s/bin/si", folder);
    if (w->preload) setenv("LD_PRELOAD", w->preload, 1);
    if (w->variable) setenv(w->variable, w->value, 1);
    if (w->run) execl(command, command, "run", "--folded", scratch, "--", self, "--worker", "0", (char *)NULL);
    execl(self, self, "--worker", w->embedded ? "1" : "0", (char *)NULL);
    _exit(127);
}

static int start(worker *w) {
    int to[2], from[2];
    if (w->preload && access(w->preload, R_OK) != 0) return -1;
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) return -1;
    w->pid = fork();
    if (w->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        int quiet = open("/dev/null", O_WRONLY);
        dup2(quiet, 2);
        exec_worker(w);
    }
    close(to[0]);
    close(from[1]);
    w->to = fdopen(to[1], "w");
    w->from = fdopen(from[0], "r");
    return w->pid > 0 && w->to && w->from ? 0 : -1;
}

/* ns a pair; negative: the worker does not answer. */
static double slice(worker *w, unsigned work, unsigned pairs) {
    double took;
    fprintf(w->to, "%u %u\n", work, pairs);
    fflush(w->to);
    return fscanf(w->from, "%lf %lu", &took, &w->samples) == 2 ? took / pairs : -1;
}

static int prepare(worker *w) {
    for (unsigned work = 0; work < WORKS; work++) {
        double ns = -1;
        for (int i = 0; i < WARM_UP; i++) ns = slice(w, work, 200);
        if (ns <= 0) return -1;
        w->pairs[work] = (unsigned)fmax(SLICE_NS / ns, 100);
        w->ns[work] = calloc(SLICES_MAX, sizeof(double));
        if (!w->ns[work]) return -1;
    }
    return 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void print(const worker *w, int slices) {
    static double values[SLICES_MAX];
    int middle = slices / 2, reach = (int)ceil(0.98 * sqrt(slices));
    printf("| %s |", w->title);
    for (unsigned work = 0; work < WORKS; work++) {
        const double *base = workers[w->base].ns[work];
        int alone = base == w->ns[work];
        for (int i = 0; i < slices; i++) values[i] = w->ns[work][i] - (alone ? 0 : base[i]);
        qsort(values, (size_t)slices, sizeof *values, ascending);
        printf(alone ? " %.1f ns [%.1f, %.1f] |" : " %+.2f [%+.2f, %+.2f] |", values[middle], values[middle - reach],
               values[middle + reach]);
    }
    printf("\n");
}

static void stop(worker *w) {
    if (!w->to) return;
    fclose(w->to);
    waitpid(w->pid, NULL, 0);
    fclose(w->from);
    for (unsigned work = 0; work < WORKS; work++) free(w->ns[work]);
}

static void find_folder(void) {
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    folder[length > 0 ? length : 0] = '\0';
    for (int i = 0; i < 2; i++) { /* BUILD/bench/heap_bench */
        char *slash = strrchr(folder, '/');
        if (slash) *slash = '\0';
    }
}

static void remove_scratch(void) {
    char command[160];
    snprintf(command, sizeof command, "rm -rf -- '%s'", scratch);
    if (system(command) != 0) fprintf(stderr, "%s stays behind\n", scratch);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--worker") == 0) return be_worker(atoi(argv[2]));
    int slices = argc > 1 ? atoi(argv[1]) : 300, failed = 0;
    if (slices < 20 || slices > SLICES_MAX || !mkdtemp(scratch)) {
        fprintf(stderr, "usage: heap_bench [SLICES]; 20 to %d\n", SLICES_MAX);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    find_folder();
    snprintf(profile, sizeof profile, "%s/profile", scratch);
    for (int i = 0; i < WORKERS; i++) {
        if (i == PROF && !jemalloc_has_prof()) {
            printf("jemalloc's prof: not in this build of jemalloc\n");
            continue;
        }
        if (start(&workers[i]) == 0 && prepare(&workers[i]) == 0) continue;
        printf("%s: not to be had here\n", workers[i].title);
        workers[i].pairs[0] = 0;
        failed |= i <= UNDER_RUN;
    }
    for (int s = 0; s < slices && !failed; s++)
        for (unsigned work = 0; work < WORKS; work++)
            for (int i = 0; i < WORKERS; i++) {
                worker *w = &workers[(i + s) % WORKERS];
                if (w->pairs[0]) w->ns[work][s] = slice(w, work, w->pairs[work]);
            }
    if (!failed) {
        printf("\n| ns per malloc and free: alone, or added |");
        for (unsigned work = 0; work < WORKS; work++) printf(" %s |", titles[work]);
        printf("\n| --- | --- | --- | --- |\n");
        for (int i = 0; i < WORKERS; i++)
            if (workers[i].pairs[0]) print(&workers[i], slices);
        printf("\n%lu samples taken, embedded\n", workers[EMBEDDED].samples);
        failed = workers[EMBEDDED].samples == 0;
        if (failed) printf("INVALID: nothing was sampled\n");
    }
    for (int i = 0; i < WORKERS; i++) stop(&workers[i]);
    remove_scratch();
    return failed;
}
