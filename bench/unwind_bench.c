/*
 * Cost of one walk of a 26-frame stack: ours against libgcc's _Unwind_Backtrace and glibc's backtrace(), paired in one
 * run; and of compiling unwind tables. ./dev bench unwind
 *
 * The stack is real: a recursion through qsort's and bsearch's callbacks, so half of its frames are libc's. The three
 * take turns in short batches, so that what else the machine does falls on all alike; the median batch is printed.
 */
#include <execinfo.h>
#include <fcntl.h>
#include <time.h>

#include "../collectors/native/unwind_table.h"
#include "../spec/c/unwind_reference.h"

enum { FRAMES = 26, ROUNDS = 301, BATCH = 200, COLD_BYTES = 8 * 1024 * 1024 };

static si__region *region;
static uint64_t stack_lo, stack_hi;
static volatile unsigned sink;

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- The three walks; each returns its number of frames ---- */

static unsigned walk_si(void) {
    static si__slot slot;
    uint64_t pcs[SI__FRAMES_MAX];
    si__regs regs;
    unsigned flags = 0;
    si__regs_here(&regs);
    return si__unwind(region, &slot, &regs, stack_lo, stack_hi, pcs, FRAMES, &flags);
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg) {
    unsigned *n = arg;
    sink += (unsigned)_Unwind_GetIP(context);
    return ++*n == FRAMES ? _URC_END_OF_STACK : _URC_NO_REASON;
}
static unsigned walk_libgcc(void) {
    unsigned n = 0;
    _Unwind_Backtrace(count_frame, &n);
    return n;
}

static unsigned walk_glibc(void) {
    void *pcs[FRAMES];
    return (unsigned)backtrace(pcs, FRAMES);
}

static const struct {
    const char *name;
    unsigned (*walk)(void);
} walks[] = {{"si__unwind", walk_si}, {"_Unwind_Backtrace", walk_libgcc}, {"backtrace", walk_glibc}};
enum { WALKS = sizeof(walks) / sizeof(*walks) };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n) {
    qsort(v, n, sizeof(*v), by_value);
    return v[n / 2];
}

static void print_walks(const char *title, double medians[WALKS], const unsigned frames[WALKS]) {
    printf("%s\n", title);
    for (unsigned w = 0; w < WALKS; w++)
        printf("  %-18s %10.1f ns  %6.2f ns a frame (%u)  %6.1f x ours\n", walks[w].name, medians[w],
               medians[w] / frames[w], frames[w], medians[w] / medians[0]);
}

static void measure(int cold) {
    static double times[WALKS][ROUNDS];
    static char *evict;
    unsigned frames[WALKS], batch = cold ? 1 : BATCH;
    double medians[WALKS], clock_cost[ROUNDS];
    if (cold && !evict) evict = malloc(COLD_BYTES);
    for (unsigned i = 0; i < ROUNDS; i++) {
        double start = now_ns();
        clock_cost[i] = now_ns() - start;
    }
    double overhead = median(clock_cost, ROUNDS);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned w = 0; w < WALKS; w++) {
            if (evict && cold)
                for (size_t i = 0; i < COLD_BYTES; i += 64) evict[i]++;
            double start = now_ns();
            for (unsigned i = 0; i < batch; i++) frames[w] = walks[w].walk();
            times[w][round] = (now_ns() - start - overhead) / batch;
        }
    }
    for (unsigned w = 0; w < WALKS; w++) medians[w] = median(times[w], ROUNDS);
    print_walks(cold ? "one walk after 8 MiB of other memory were touched" : "one walk in a loop", medians, frames);
}

/* ---- The stack ---- */

static int deeper(int levels);

static int compare(const void *a, const void *b) {
    static int inside;
    (void)b;
    if (!inside) {
        inside = 1;
        sink += (unsigned)deeper(*(const int *)a);
        inside = 0;
    }
    return 0;
}

static __attribute__((noinline)) int deeper(int levels) {
    if (levels == 0) {
        measure(0);
        measure(1);
        return 1;
    }
    int frames = deeper(levels - 1);
    sink += (unsigned)frames; /* not a tail call */
    return frames + 1;
}

static __attribute__((noinline)) int through_libc(int levels) {
    int v[2] = {12, 12};
    if (levels == 0) {
        qsort(v, 2, sizeof(*v), compare);
        return 1;
    }
    int frames = through_libc(levels - 1);
    sink += (unsigned)frames;
    return frames + 1;
}

/* ---- Compiling ---- */

static void compile(const char *path) {
    double best = 1e18;
    si__unwind_table *table = NULL;
    for (int i = 0; i < 5; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return;
        free(table);
        double start = now_ns();
        int rc = si__unwind_compile_fd(fd, &table);
        double took = now_ns() - start;
        close(fd);
        if (rc) {
            printf("  %s: error %d\n", path, rc);
            return;
        }
        if (took < best) best = took;
    }
    printf("  %-46s %7.2f ms %8u rows %9u bytes %5.2f bytes a row\n", path, best / 1e6, table->row_count, table->bytes,
           (double)table->bytes / table->row_count);
    free(table);
}

int main(int argc, char **argv) {
    int fd, error, rows;
    size_t unavailable;
    region = si__region_create(&fd, &error);
    si__unwind_cache *cache = si__unwind_cache_new();
    if (!region || !cache) return 1;
    publish_self(cache, region, &rows, &unavailable);
    main_stack_bounds(&stack_lo, &stack_hi);
    void *first[1];
    backtrace(first, 1); /* loads libgcc now */
    printf("compiling tables\n");
    if (argc > 1) {
        for (int i = 1; i < argc; i++) compile(argv[i]);
    } else {
        compile("/usr/lib/x86_64-linux-gnu/libc.so.6");
        compile("/usr/lib/x86_64-linux-gnu/libstdc++.so.6");
        compile("/usr/bin/python3.11");
    }
    publish_self(cache, region, &rows, &unavailable);
    sink += (unsigned)through_libc(8);
    si__unwind_forget(cache, region);
    si__unwind_cache_free(cache);
    si__region_unmap(region);
    close(fd);
    return 0;
}
