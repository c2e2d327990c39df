/*
 * What CPU sampling costs: ours against none and against gperftools', in one run over the same work. `./dev bench cpu`.
 *
 *   cpu_bench [SLICES [DELIVERIES]]
 *
 * One worker process a sampler (cpu_worker.c). They take turns of a tenth of a second, in an order that rotates, so
 * that what else the machine does hits all alike; each turn is compared with the turn of the sampler-less worker beside
 * it. A figure is given with the 95 % interval of its median, so that a difference that is only noise shows as such.
 */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NONE, AGAIN, OURS, OTHER, WORKERS, SLICE_MS = 100, DELIVERY_ROUNDS = 10, RATE_HZ = 100 };

typedef struct worker {
    const char *title, *program;
    pid_t pid; /* 0: not there */
    FILE *to, *from;
    double *ratios;                         /* CPU of the main thread against NONE's turn beside it, per slice */
    double *process_ratios;                 /* the same for the whole process */
    uint64_t cpu_ns, samples, lost;         /* over all slices */
    double delivery_ns[2][DELIVERY_ROUNDS]; /* warm, cold: median of each round */
    uint64_t delivered, delivered_samples, delivered_lost;
} worker;

static worker workers[WORKERS] = {
    {.title = "no sampler", .program = "cpu_worker_none"},
    {.title = "no sampler, a second process", .program = "cpu_worker_none"},
    {.title = "si", .program = "cpu_worker_si"},
    {.title = "gperftools", .program = "cpu_worker_gperftools"},
};

__attribute__((noreturn)) static void die(const char *what) {
    fprintf(stderr, "cpu_bench: %s\n", what);
    for (int i = 0; i < WORKERS; i++)
        if (workers[i].pid > 0) kill(workers[i].pid, SIGKILL);
    exit(1);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

typedef struct spread {
    double median, low, high; /* 95 % interval of the median */
} spread;

/* The interval from the order statistics (sign test): no assumption about how the noise is distributed. */
static spread spread_of(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    int reach = (int)ceil(0.98 * sqrt(count));
    int low = count / 2 - reach, high = count / 2 + reach;
    return (spread){values[count / 2], values[low < 0 ? 0 : low], values[high >= count ? count - 1 : high]};
}

static void start(worker *w, const char *folder) {
    extern char **environ;
    char path[4200];
    int to[2], from[2];
    posix_spawn_file_actions_t actions;
    snprintf(path, sizeof path, "%s/%s", folder, w->program);
    if (access(path, X_OK)) return;
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC)) die("no pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    if (posix_spawn(&w->pid, path, &actions, NULL, (char *[]){path, NULL}, environ)) die("a worker does not start");
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    w->to = fdopen(to[1], "w");
    w->from = fdopen(from[0], "r");
    if (!w->to || !w->from) die("out of memory");
}

/* Sends a command, reads `count` numbers. */
static void ask(worker *w, const char *command, uint64_t *numbers, int count) {
    fprintf(w->to, "%s\n", command);
    fflush(w->to);
    for (int i = 0; i < count; i++)
        if (fscanf(w->from, "%lu", &numbers[i]) != 1) {
            fprintf(stderr, "cpu_bench: %s did not answer \"%s\"\n", w->title, command);
            die("a worker failed");
        }
}

/* How many rounds of the work make a slice. */
static unsigned calibrate(void) {
    uint64_t took[4];
    ask(&workers[NONE], "walk 20000", took, 4);
    ask(&workers[NONE], "walk 20000", took, 4);
    double rounds = 20000.0 * SLICE_MS * 1e6 / (double)took[0];
    return rounds < 1 ? 1 : (unsigned)rounds;
}

static void run_slices(int slices) {
    char command[64];
    snprintf(command, sizeof command, "walk %u", calibrate());
    for (int slice = 0; slice < slices; slice++) {
        uint64_t took[WORKERS][4];
        for (int turn = 0; turn < WORKERS; turn++) {
            int i = (slice + turn) % WORKERS;
            if (!workers[i].pid) continue;
            ask(&workers[i], command, took[i], 4);
            workers[i].cpu_ns += took[i][0];
            workers[i].samples += took[i][2];
            workers[i].lost += took[i][3];
        }
        for (int i = 0; i < WORKERS; i++) {
            if (!workers[i].pid) continue;
            workers[i].ratios[slice] = (double)took[i][0] / (double)took[NONE][0];
            workers[i].process_ratios[slice] = (double)took[i][1] / (double)took[NONE][1];
        }
        if (slice % 100 == 99) fprintf(stderr, "    %d of %d slices\n", slice + 1, slices);
    }
}

static void run_deliveries(unsigned each) {
    for (int round = 0; round < DELIVERY_ROUNDS; round++)
        for (int cold = 0; cold < 2; cold++)
            for (int turn = 0; turn < WORKERS; turn++) {
                worker *w = &workers[(round + turn) % WORKERS];
                char command[64];
                uint64_t answer[5];
                if (!w->pid) continue;
                snprintf(command, sizeof command, "deliver %u %d", each / DELIVERY_ROUNDS, cold);
                ask(w, command, answer, 5);
                w->delivery_ns[cold][round] = (double)answer[1];
                w->delivered += each / DELIVERY_ROUNDS;
                w->delivered_samples += answer[3];
                w->delivered_lost += answer[4];
            }
}

/* A figure is only worth printing if the sampler sampled: a tenth of what was due is no longer noise. */
static int took_samples(const worker *w) {
    double due = (double)w->cpu_ns / 1e9 * RATE_HZ, got = (double)(w->samples + w->lost);
    int enough = got > 0.9 * due && w->delivered_samples + w->delivered_lost >= w->delivered;
    int kept = w->delivered_lost * 100 < w->delivered;
    if (!enough)
        printf("INVALID: %s took %.0f of %.0f samples, %lu of %lu sent\n", w->title, got, due, w->delivered_samples,
               w->delivered);
    if (!kept) printf("INVALID: %s lost %lu of %lu samples\n", w->title, w->delivered_lost, w->delivered);
    return enough && kept;
}

static void print_deliveries(void) {
    static const char *const names[] = {"caches warm", "caches cold"};
    printf(
        "\nOne sample, ns (signal sent to handler returned; median of %d rounds, in brackets its 95 %% interval)\n\n",
        DELIVERY_ROUNDS);
    printf("| | %s | less the signal itself | %s | less the signal itself |\n| --- | --- | --- | --- | --- |\n",
           names[0], names[1]);
    double own[WORKERS][2] = {{0}};
    double signal_ns[2] = {0};
    for (int i = 0; i < WORKERS; i++) {
        if (!workers[i].pid) continue;
        printf("| %s |", workers[i].title);
        for (int cold = 0; cold < 2; cold++) {
            spread s = spread_of(workers[i].delivery_ns[cold], DELIVERY_ROUNDS);
            if (i == NONE) signal_ns[cold] = s.median;
            own[i][cold] = s.median - signal_ns[cold];
            printf(" %.0f [%.0f, %.0f] | %.0f |", s.median, s.low, s.high, own[i][cold]);
        }
        printf("\n");
    }
    if (workers[OTHER].pid)
        printf("\nOur sampler's own cost against gperftools': %.2f warm, %.2f cold. Per whole sample: see the first "
               "columns.\n",
               own[OURS][0] / own[OTHER][0], own[OURS][1] / own[OTHER][1]);
    printf("Expected at %d Hz, cold: %.4f %% of a core.\n", RATE_HZ, (signal_ns[1] + own[OURS][1]) * RATE_HZ / 1e7);
}

static void print_slices(int slices) {
    printf("\nCPU time for the same work at %d Hz, against no sampler (%d slices of %d ms each, median and its 95 %% "
           "interval)\n\n",
           RATE_HZ, slices, SLICE_MS);
    printf("| | the program's thread | the whole process | samples | lost |\n| --- | --- | --- | --- | --- |\n");
    for (int i = AGAIN; i < WORKERS; i++) {
        worker *w = &workers[i];
        if (!w->pid) continue;
        spread thread = spread_of(w->ratios, slices), process = spread_of(w->process_ratios, slices);
        printf("| %s | %+.3f %% [%+.3f, %+.3f] | %+.3f %% [%+.3f, %+.3f] | %lu | %lu |\n", w->title,
               (thread.median - 1) * 100, (thread.low - 1) * 100, (thread.high - 1) * 100, (process.median - 1) * 100,
               (process.low - 1) * 100, (process.high - 1) * 100, w->samples, w->lost);
    }
}

int main(int argc, char **argv) {
    int slices = argc > 1 ? atoi(argv[1]) : 300, valid = 1;
    unsigned deliveries = argc > 2 ? (unsigned)atoi(argv[2]) : 4000;
    if (slices < 10 || deliveries < 100) die("usage: cpu_bench [SLICES [DELIVERIES]]; at least 10 and 100");
    char folder[4096];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (length < 0) die("/proc is needed");
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';
    signal(SIGPIPE, SIG_IGN);

    for (int i = 0; i < WORKERS; i++) {
        start(&workers[i], folder);
        workers[i].ratios = calloc((size_t)slices, sizeof(double));
        workers[i].process_ratios = calloc((size_t)slices, sizeof(double));
        if (!workers[i].ratios || !workers[i].process_ratios) die("out of memory");
    }
    if (!workers[NONE].pid || !workers[OURS].pid) die("the workers were not built");
    if (!workers[OTHER].pid) printf("gperftools is not installed (libgoogle-perftools-dev): no comparison with it\n");
    uint64_t frames;
    ask(&workers[NONE], "frames", &frames, 1);
    printf("Stack of %lu frames, %d workers\n", frames, workers[OTHER].pid ? 4 : 3);
    run_deliveries(deliveries);
    run_slices(slices);
    print_deliveries();
    print_slices(slices);
    for (int i = 0; i < WORKERS; i++) {
        worker *w = &workers[i];
        if (w->pid) {
            fclose(w->to); /* end of its input */
            waitpid(w->pid, NULL, 0);
            fclose(w->from);
            valid &= i < OURS || took_samples(w);
        }
        free(w->ratios);
        free(w->process_ratios);
    }
    return valid ? 0 : 1;
}
