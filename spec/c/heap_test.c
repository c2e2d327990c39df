/*
 * The heap sampler in this process, against what the test itself allocates: every function, every way of releasing,
 * threads that come and go, and totals that are right on average.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/live.h"
#include "../../collectors/native/probe.h"
#include "../../runtime/ring/drain.h"

static si__region *region;
static si__drain *drain;

/* Keeps the compiler from knowing what the allocation functions do. */
static inline void *opaque(void *p) {
    __asm__ volatile("" : "+r"(p)::"memory");
    return p;
}

static void rate(uint64_t heap_bytes) {
    si__region_set_means(region, 0, 0, 0); /* what threads have drawn so far is forgotten */
    si__probe_retune();
    si__region_set_means(region, heap_bytes, 0, 0);
    si__probe_retune();
}

static int setup(void **state) {
    (void)state;
    const si__probe_options options = {.heap_bytes = 512 * 1024};
    if (si__probe_open(&options) != 0) return -1;
    region = si__probe_region();
    drain = si__drain_new(region);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    si__probe_close();
    si__drain_free(drain);
    return 0;
}

/* ---- A thread of its own: with a distance drawn from the rate now in force ---- */

static void in_thread(void *(*body)(void *), void *arg) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- What is live ---- */

typedef struct lookup {
    const void *address;
    si__live_entry entry;
    int count;
} lookup;

static void match(void *arg, const si__live_entry *entry) {
    lookup *l = arg;
    if (entry->address != (uint64_t)(uintptr_t)l->address) return;
    l->entry = *entry;
    l->count++;
}

/* The bytes that are live at `address`; -1: nothing is. */
static int64_t live_at(const void *address) {
    lookup l = {.address = address};
    si__live_each(region, match, &l);
    if (l.count > 1) abort();
    return l.count ? l.entry.bytes : -1;
}

/* ---- Every function ---- */

static char said[8192]; /* what is wrong, from threads, where cmocka's assertions may not be used */
#define SAY(...)                                                                                                       \
    do {                                                                                                               \
        size_t at_ = strlen(said);                                                                                     \
        snprintf(said + at_, sizeof said - at_, __VA_ARGS__);                                                          \
    } while (0)
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition)) SAY("%d: %s\n", __LINE__, #condition);                                                       \
    } while (0)

enum { SIZE = 3200 }; /* with a mean of 1 byte, all of them are sampled, and each stands for itself */

/* Sanitizers end the program at a failing allocation, unless told. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void) {
    return "allocator_may_return_null=1";
}

static int glibc(void) {
    Dl_info module;
    return dladdr(dlsym(RTLD_DEFAULT, "malloc"), &module) && strstr(module.dli_fname, "/libc.so");
}

static void is_live_until_freed(void *p, const char *what) {
    if (!p || live_at(p) != SIZE) SAY("%s: %ld bytes live\n", what, p ? (long)live_at(p) : -2);
    free(opaque(p));
    if (live_at(p) != -1) SAY("%s: still live\n", what);
}

static void *call_all(void *arg) {
    (void)arg;
    void *p = NULL;
    is_live_until_freed(opaque(malloc(SIZE)), "malloc");
    is_live_until_freed(opaque(calloc(SIZE / 10, 10)), "calloc");
    is_live_until_freed(opaque(realloc(NULL, SIZE)), "realloc of nothing");
    is_live_until_freed(opaque(reallocarray(NULL, SIZE / 10, 10)), "reallocarray");
    EXPECT(posix_memalign(&p, 256, SIZE) == 0);
    is_live_until_freed(opaque(p), "posix_memalign");
    is_live_until_freed(opaque(aligned_alloc(64, SIZE)), "aligned_alloc");
    is_live_until_freed(opaque(memalign(64, SIZE)), "memalign");
    is_live_until_freed(opaque(valloc(SIZE)), "valloc");
    if (glibc())
        is_live_until_freed(opaque(pvalloc(SIZE)), "pvalloc"); /* others leave it to glibc, and cannot free it */
    char text[SIZE];
    memset(text, 'x', SIZE - 1);
    text[SIZE - 1] = '\0';
    if (glibc()) is_live_until_freed(opaque(strdup(text)), "strdup, within libc"); /* sanitizers have their own */
    p = opaque(malloc(0));
    free(opaque(p));
    free(NULL);
    return NULL;
}

static void every_function_is_seen(void **state) {
    (void)state;
    rate(1);
    said[0] = '\0';
    in_thread(call_all, NULL);
    assert_string_equal(said, "");
}

/* Out of sight of the compiler, which knows what realloc does to the old pointer, and what cannot be had. */
static __attribute__((noinline)) void *again(void *p, size_t bytes) {
    return opaque(realloc(opaque(p), bytes));
}
static __attribute__((noinline)) void *again_array(void *p, size_t n) {
    return opaque(reallocarray(opaque(p), n, n));
}
static volatile size_t tera = (size_t)1 << 40, all_there_is = SIZE_MAX;

static void *reallocate(void *arg) {
    (void)arg;
    char *p = opaque(malloc(SIZE)), *q, *pin;
    memset(p, 7, SIZE);
    q = again(p, SIZE - 8); /* in place */
    EXPECT((q == p || !glibc()) && live_at(q) == SIZE - 8);
    pin = opaque(malloc(SIZE)); /* behind it */
    p = again(q, 40 * SIZE);
    EXPECT(live_at(p) == 40 * SIZE && p[0] == 7 && p[SIZE - 9] == 7);
    if (p != q) EXPECT(live_at(q) == -1);
    errno = 0;
    EXPECT(again(p, tera << 22) == NULL && errno == ENOMEM);
    EXPECT(live_at(p) == 40 * SIZE); /* as it was */
    errno = 0;
    EXPECT(again_array(p, tera) == NULL && errno == ENOMEM);
    EXPECT(live_at(p) == 40 * SIZE);
    q = again(p, 0);
    EXPECT(live_at(p) == -1);
    if (glibc())
        EXPECT(q == NULL);
    else
        free(q);
    p = opaque(malloc(300 * SIZE)); /* a mapping of its own: mremap */
    q = again(p, 3000 * SIZE);
    EXPECT(live_at(q) == 3000 * SIZE);
    if (p != q) EXPECT(live_at(p) == -1);
    free(opaque(q));
    free(opaque(pin));
    EXPECT(live_at(q) == -1 && live_at(pin) == -1);
    return NULL;
}

static void realloc_moves_shrinks_fails_and_frees(void **state) {
    (void)state;
    rate(1);
    said[0] = '\0';
    in_thread(reallocate, NULL);
    assert_string_equal(said, "");
}

static void *fail_and_count(void *arg) {
    (void)arg;
    void *p = NULL;
    errno = 0;
    EXPECT(opaque(malloc(tera << 22)) == NULL && errno == ENOMEM);
    EXPECT(opaque(malloc(all_there_is)) == NULL);
    EXPECT(opaque(calloc(tera, tera)) == NULL);
    EXPECT(posix_memalign(&p, 3, 100) == EINVAL);
    errno = 77;
    p = opaque(malloc(SIZE));
    EXPECT(errno == 77 && live_at(p) == SIZE);
    free(opaque(p));
    EXPECT(errno == 77 && live_at(p) == -1);
    return NULL;
}

static void failures_are_the_real_ones_and_errno_is_kept(void **state) {
    (void)state;
    rate(1);
    said[0] = '\0';
    in_thread(fail_and_count, NULL);
    assert_string_equal(said, "");
}

static void *make_one(void *arg) {
    *(void **)arg = opaque(malloc(SIZE));
    return NULL;
}
static void *free_one(void *arg) {
    free(opaque(*(void **)arg));
    return NULL;
}

static void one_thread_allocates_another_frees(void **state) {
    (void)state;
    void *p = NULL;
    rate(1);
    in_thread(make_one, &p);
    assert_int_equal(live_at(p), SIZE); /* its thread is gone, it is not */
    in_thread(free_one, &p);
    assert_int_equal(live_at(p), -1);
    in_thread(make_one, &p);
    free(opaque(p));
    assert_int_equal(live_at(p), -1);
}

/* ---- Where ---- */

typedef struct sites {
    uint64_t leaks, bytes, unknown, serial;
    uint32_t index;
} sites;

static __attribute__((noinline)) void *leak_here(size_t bytes) {
    void *p = opaque(malloc(bytes));
    ((char *)p)[0] = 1;
    return p;
}

static void site(void *arg, const si__drained_event *event) {
    sites *s = arg;
    if (event->type != SI__EVENT_ALLOC) return;
    uint64_t from = (uint64_t)(uintptr_t)leak_here;
    if (event->pcs[0] < from || event->pcs[0] >= from + 200) {
        s->unknown++;
        return;
    }
    s->leaks += event->count;
    s->bytes += (uint64_t)event->value;
    s->index = event->detail;
    assert_int_equal(event->text_bytes, 8);
    memcpy(&s->serial, event->text, 8);
}

static void *leak(void *arg) {
    void **kept = arg;
    for (int i = 0; i < 50; i++) kept[i] = leak_here(10000);
    return NULL;
}

static void a_leak_is_known_by_its_call_site(void **state) {
    (void)state;
    sites s = {0};
    void *kept[50];
    si__live_entry entry;
    rate(1);
    si__drain_events(drain, site, &s);
    s = (sites){0};
    in_thread(leak, kept);
    si__drain_events(drain, site, &s);
    assert_int_equal(s.leaks, 50);
    assert_int_equal(s.bytes, 500000);
    assert_int_equal(si__live_at(region, s.index, s.serial, &entry), 1);
    assert_int_equal(entry.address, (uint64_t)(uintptr_t)kept[49]);
    for (int i = 0; i < 50; i++) free(kept[i]);
    assert_int_equal(si__live_at(region, s.index, s.serial, &entry), 0);
}

/* ---- Totals ---- */

enum { RUNS = 200, BLOCKS = 6000 };

typedef struct estimate {
    double bytes, objects, variance, object_variance;
} estimate;

static void add(void *arg, const si__live_entry *entry) {
    estimate *e = arg;
    double objects = (double)entry->objects_q16 / 65536, bytes = (double)entry->bytes;
    e->bytes += bytes;
    e->objects += objects;
    /* Of S / p, sampled with probability p: S^2 (1 - p) / p is estimated by S^2 (1 - p) / p^2. */
    e->variance += bytes * bytes * (1 - 1 / objects);
    e->object_variance += objects * objects * (1 - 1 / objects);
}

typedef struct run {
    unsigned seed;
    double bytes, blocks;
    estimate made, kept;
    double kept_bytes;
} run;

/* Sizes over four orders of magnitude; a third of the blocks is freed again. */
static void *known_heap(void *arg) {
    static void *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    run *r = arg;
    size_t largest = r->seed % 4 == 0 ? 200 : r->seed % 4 == 1 ? 4000 : r->seed % 4 == 2 ? 60000 : 400000;
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = 16 + (size_t)rand_r(&r->seed) % largest;
        blocks[i] = i % 5 == 0 ? opaque(calloc(1, sizes[i])) : opaque(malloc(sizes[i]));
        r->bytes += (double)sizes[i];
    }
    si__live_each(region, add, &r->made);
    for (int i = 0; i < BLOCKS; i++) {
        if (i % 3 == 0)
            free(blocks[i]);
        else
            r->kept_bytes += (double)sizes[i];
    }
    si__live_each(region, add, &r->kept);
    for (int i = 0; i < BLOCKS; i++)
        if (i % 3 != 0) free(blocks[i]);
    return NULL;
}

static void totals_are_within_two_sigma_and_unbiased(void **state) {
    (void)state;
    double off = 0, variance = 0, objects_off = 0, object_variance = 0, kept_off = 0, kept_variance = 0;
    int outside = 0;
    for (unsigned i = 0; i < RUNS; i++) {
        run r = {.seed = i + 1};
        rate(10000);
        in_thread(known_heap, &r);
        off += r.made.bytes - r.bytes;
        variance += r.made.variance;
        objects_off += r.made.objects - BLOCKS;
        object_variance += r.made.object_variance;
        kept_off += r.kept.bytes - r.kept_bytes;
        kept_variance += r.kept.variance;
        outside += fabs(r.kept.bytes - r.kept_bytes) > 2 * sqrt(r.kept.variance);
    }
    double bias = off / sqrt(variance), kept = kept_off / sqrt(kept_variance);
    double objects = objects_off / sqrt(object_variance);
    print_message("bias over all runs %+.2f sigma, of what is kept %+.2f, of objects %+.2f; %d of %d beyond 2 sigma\n",
                  bias, kept, objects, outside, RUNS);
    /* Few small blocks stand for most objects: what is estimated too low comes with a sigma that is too small. */
    assert_true(fabs(bias) < 5 && fabs(kept) < 5 && fabs(objects) < 7);
    assert_true(outside < RUNS / 8); /* 1 in 20 by chance; sigma is itself an estimate */
}

enum { STORM_RUNS = 200, STORM_BLOCKS = 6000, STORM_KEPT = 300, STORM_BYTES = 4000, STORM_KEPT_BYTES = 2000 };

/* A small heap that comes to be amid forty times as much that is released at once, while R rises fivefold and more. */
static void *keep_little_in_a_storm(void *arg) {
    static void *kept[STORM_KEPT];
    estimate *e = arg;
    for (int i = 0; i < STORM_BLOCKS; i++) {
        free(opaque(malloc(STORM_BYTES)));
        if (i % (STORM_BLOCKS / STORM_KEPT) == 0)
            kept[i / (STORM_BLOCKS / STORM_KEPT)] = opaque(malloc(STORM_KEPT_BYTES));
    }
    si__live_each(region, add, e);
    for (int i = 0; i < STORM_KEPT; i++) free(opaque(kept[i]));
    return NULL;
}

/* What is known of it is little, as R is large beside it; but it is neither forgotten nor made more of. */
static void a_small_live_heap_amid_a_storm_is_unbiased(void **state) {
    (void)state;
    const double truth = (double)STORM_KEPT * STORM_KEPT_BYTES;
    static double off[STORM_RUNS];
    double sum = 0, squares = 0;
    int outside = 0;
    for (int i = 0; i < STORM_RUNS; i++) {
        estimate e = {0};
        rate(4096);
        in_thread(keep_little_in_a_storm, &e);
        off[i] = e.bytes - truth;
        sum += off[i];
        squares += off[i] * off[i];
    }
    double sigma = sqrt(squares / STORM_RUNS);
    for (int i = 0; i < STORM_RUNS; i++) outside += fabs(off[i]) > 2 * sigma;
    print_message("bias over all runs %+.2f sigma; one run's sigma %.0f %%, %d of %d beyond two\n",
                  sum / sigma / sqrt(STORM_RUNS), sigma / truth * 100, outside, STORM_RUNS);
    assert_true(fabs(sum) < 4 * sigma * sqrt(STORM_RUNS));
    assert_true(outside < STORM_RUNS / 6);
}

/* ---- Counts ---- */

enum { THREADS = 64, CALLS = 3000 };

static void *storm(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    void *held[32] = {NULL};
    for (int i = 0; i < CALLS; i++) {
        void **slot = &held[rand_r(&seed) % 32];
        if (*slot) free(opaque(*slot));
        *slot = opaque(malloc(1 + (size_t)rand_r(&seed) % (i % 100 ? 500 : 100000)));
    }
    for (int i = 0; i < 32; i++)
        if (held[i]) free(opaque(held[i]));
    return NULL;
}

static void counts_are_exact_when_threads_end(void **state) {
    (void)state;
    static pthread_t threads[THREADS];
    si__heap_sums before, after;
    rate(4096);
    in_thread(storm, (void *)1); /* what the first thread of all costs */
    for (int round = 0; round < 3; round++) {
        si__heap_sums_read(region, &before);
        for (uintptr_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, storm, (void *)(i + 1)), 0);
        for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
        si__heap_sums_read(region, &after);
        uint64_t mallocs = after.mallocs - before.mallocs, frees = after.frees - before.frees;
        assert_true(mallocs >= THREADS * CALLS && mallocs < THREADS * CALLS + 10 * THREADS);
        assert_true(frees >= THREADS * CALLS && frees < THREADS * CALLS + 10 * THREADS);
        si__drain_events(drain, site, &(sites){0});
    }
    assert_int_equal(after.entries, 0);
    assert_int_equal(si__live_count(), 0);
}

/* ---- Nobody drains ---- */

enum { BURST = 6000, BURST_BYTES = 15000 };

static void *burst(void *arg) {
    static void *blocks[BURST];
    double *live = arg;
    si__heap_sums sums;
    for (int i = 0; i < BURST; i++) blocks[i] = leak_here(BURST_BYTES);
    si__heap_sums_read(region, &sums);
    *live = sums.live_bytes;
    for (int i = 0; i < BURST; i++) free(blocks[i]);
    return NULL;
}

static uint64_t dropped(void) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < atomic_load(&region->slots_used); i++)
        all += atomic_load(&si__region_slot(region, i)->dropped);
    return all;
}

static void a_ring_that_fills_makes_samples_rarer_and_drops_none(void **state) {
    (void)state;
    double live, all = 0;
    enum { TRIES = 20 };
    rate(4096);
    uint64_t before = dropped();
    for (int i = 0; i < TRIES; i++) {
        in_thread(burst, &live);
        all += live;
    }
    assert_int_equal(dropped(), before);
    double wanted = (double)TRIES * BURST * BURST_BYTES;
    print_message("a burst nobody drains: %+.1f %%\n", (all / wanted - 1) * 100);
    assert_true(fabs(all / wanted - 1) < 0.35); /* wide: the last samples stand for megabytes */
    si__drain_events(drain, site, &(sites){0});
}

static void *many_samples(void *arg) {
    (void)arg;
    for (int i = 0; i < 1000000; i++) free(opaque(malloc(4096)));
    return NULL;
}

static void count_alloc(void *arg, const si__drained_event *event) {
    *(uint64_t *)arg += event->type == SI__EVENT_ALLOC;
}

static void samples_become_rarer_when_there_are_many(void **state) {
    (void)state;
    uint64_t samples = 0;
    si__drain_counts before, after;
    rate(4096); /* 632,000 samples, if it stayed at that */
    si__drain_events(drain, count_alloc, &samples);
    si__drain_counts_get(drain, &before);
    samples = 0;
    in_thread(many_samples, NULL);
    si__drain_events(drain, count_alloc, &samples);
    si__drain_counts_get(drain, &after);
    samples += after.dropped - before.dropped;
    assert_true(samples > 100 && samples < 20000);
}

/* ---- Off, and forked ---- */

static void off_means_untouched(void **state) {
    (void)state;
    void *p = NULL;
    si__heap_sums before, after;
    rate(1);
    in_thread(make_one, &p);
    assert_int_equal(live_at(p), SIZE);
    rate(0);
    assert_int_equal(live_at(p), -1); /* its release would not be seen */
    si__heap_sums_read(region, &before);
    in_thread(storm, (void *)1);
    free(p);
    si__heap_sums_read(region, &after);
    assert_int_equal(before.mallocs, after.mallocs);
    assert_int_equal(before.frees, after.frees);
    assert_int_equal(after.entries, 0);
}

static void a_forked_child_leaves_the_parents_region_alone(void **state) {
    (void)state;
    void *p = NULL;
    si__heap_sums before, after;
    rate(1);
    in_thread(make_one, &p);
    si__heap_sums_read(region, &before);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        free(opaque(p)); /* the child's copy */
        storm((void *)3);
        pthread_t thread;
        if (pthread_create(&thread, NULL, storm, (void *)4) == 0) pthread_join(thread, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(live_at(p), SIZE);
    si__heap_sums_read(region, &after);
    assert_true(after.mallocs - before.mallocs < 20);
    assert_true(after.frees - before.frees < 20);
    free(p);
    assert_int_equal(live_at(p), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_is_seen),
        cmocka_unit_test(realloc_moves_shrinks_fails_and_frees),
        cmocka_unit_test(failures_are_the_real_ones_and_errno_is_kept),
        cmocka_unit_test(one_thread_allocates_another_frees),
        cmocka_unit_test(a_leak_is_known_by_its_call_site),
        cmocka_unit_test(totals_are_within_two_sigma_and_unbiased),
        cmocka_unit_test(a_small_live_heap_amid_a_storm_is_unbiased),
        cmocka_unit_test(a_ring_that_fills_makes_samples_rarer_and_drops_none),
        cmocka_unit_test(counts_are_exact_when_threads_end),
        cmocka_unit_test(samples_become_rarer_when_there_are_many),
        cmocka_unit_test(off_means_untouched),
        cmocka_unit_test(a_forked_child_leaves_the_parents_region_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
