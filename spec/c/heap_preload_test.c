/*
 * Heap samples of unmodified programs, with the probe preloaded: C++ with all its operators, on glibc's allocator, on
 * jemalloc and on tcmalloc, linked or preloaded; threads and forked children.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/collector.h"
#include "../../collectors/native/live.h"
#include "preload_agent.h"

enum { KEPT = 40960, FREED = 51200, OPERATORS = 12 };

typedef struct totals {
    pid_t pid;            /* of the program itself */
    unsigned kept, freed; /* of its entries: by what they stand for */
    unsigned child_kept;  /* of its children's */
    unsigned regions;
    uint64_t mallocs, frees;
    unsigned unavailable;
    char reason[SI__REASON_BYTES];
} totals;

static void count(void *arg, const si__live_entry *entry) {
    unsigned *counts = arg;
    counts[0] += entry->bytes == KEPT;
    counts[1] += entry->bytes == FREED;
}

static void take_region(void *arg, si__region *region, pid_t pid) {
    totals *t = arg;
    unsigned counts[2] = {0, 0};
    si__heap_sums sums;
    si__live_each(region, count, counts);
    si__heap_sums_read(region, &sums);
    t->regions++;
    if (pid != t->pid) {
        t->child_kept += counts[0];
        return;
    }
    t->kept += counts[0];
    t->freed += counts[1];
    t->mallocs += sums.mallocs;
    t->frees += sums.frees;
    for (int i = 0; si__collectors[i]; i++)
        if (strcmp(si__collectors[i]->name, "heap") == 0 && region->collectors[i].status == SI__COLLECTOR_UNAVAILABLE) {
            t->unavailable++;
            memcpy(t->reason, region->collectors[i].reason, SI__REASON_BYTES);
        }
}

/* `before` and `behind`: libraries to preload before and behind the probe; NULL: none. */
static void run(const char *program, const char *argument, const char *before, const char *behind, totals *out) {
    char preload[512];
    snprintf(preload, sizeof preload, "%s%s%s%s%s", before ? before : "", before ? ":" : "",
             SI_BINARY_DIR "/lib/libsi-probe.so", behind ? ":" : "", behind ? behind : "");
    preload_agent *agent = preload_agent_new(1, 0);
    memset(out, 0, sizeof *out);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        freopen("/dev/null", "w", stdout);
        setenv("LD_PRELOAD", preload, 1);
        setenv("SI_PROBE_SOCKET", preload_agent_path(agent), 1);
        setenv("SI_PROBE_HEAP_BYTES", "1000", 1); /* what has 40 times as much is always sampled */
        unsetenv("SI_PROBE_MAIN");
        execl(program, program, argument, (char *)NULL);
        _exit(127);
    }
    int status;
    preload_sums sums;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    preload_agent_sum(agent, &sums);
    out->pid = child;
    preload_agent_regions(agent, take_region, out);
    preload_agent_free(agent);
}

static void expect_kept(const totals *t, unsigned kept) {
    if (t->unavailable) print_message("%s\n", t->reason);
    assert_int_equal(t->unavailable, 0);
    assert_int_equal(t->kept, kept);
    assert_int_equal(t->freed, 0);
    assert_true(t->mallocs - t->frees >= kept && t->mallocs > 30);
}

#define HOST SI_BINARY_DIR "/spec/heap_host"
#define LIBRARY(name) "/usr/lib/x86_64-linux-gnu/" name
#define JEMALLOC LIBRARY("libjemalloc.so.2")
#define TCMALLOC LIBRARY("libtcmalloc.so.4")
#define TCMALLOC_MINIMAL LIBRARY("libtcmalloc_minimal.so.4")

static int missing(const char *file) {
    if (access(file, R_OK) == 0) return 0;
    print_message("%s is not here: skipped\n", file);
    return 1;
}

static void every_operator_is_seen(void **state) {
    (void)state;
    totals t;
    run(HOST, "", NULL, NULL, &t);
    expect_kept(&t, OPERATORS);
}

static void beside_allocators_that_are_preloaded(void **state) {
    (void)state;
    static const char *const libraries[] = {JEMALLOC, TCMALLOC, TCMALLOC_MINIMAL};
    for (int i = 0; i < 3; i++) {
        totals t;
        if (missing(libraries[i])) continue;
        run(HOST, "", NULL, libraries[i], &t);
        expect_kept(&t, OPERATORS);
    }
}

static void beside_allocators_that_are_linked(void **state) {
    (void)state;
    static const char *const hosts[] = {HOST "_jemalloc", HOST "_tcmalloc"};
    for (int i = 0; i < 2; i++) {
        totals t;
        if (missing(hosts[i])) continue;
        run(hosts[i], "threads", NULL, NULL, &t);
        expect_kept(&t, OPERATORS);
    }
}

static void an_allocator_in_front_of_us_is_said(void **state) {
    (void)state;
    totals t;
    if (missing(JEMALLOC)) skip();
    run(HOST, "", JEMALLOC, NULL, &t);
    assert_int_equal(t.unavailable, 1);
    assert_non_null(strstr(t.reason, "libjemalloc"));
    assert_int_equal(t.kept, 0);
}

static void an_allocator_within_the_program_is_said(void **state) {
    (void)state;
    totals t;
    run(HOST "_own", "", NULL, NULL, &t);
    assert_int_equal(t.unavailable, 1);
    assert_non_null(strstr(t.reason, "built into the program"));
}

static void threads_hand_in_what_they_counted(void **state) {
    (void)state;
    totals t;
    run(HOST, "threads", NULL, NULL, &t);
    expect_kept(&t, OPERATORS);
    assert_true(t.mallocs >= 64 * 2000 * 2 && t.frees >= 64 * 2000 * 2); /* a string and its text */
    assert_true(t.mallocs - t.frees < 1000);
}

static void children_have_a_live_set_of_their_own(void **state) {
    (void)state;
    totals t;
    run(HOST, "fork", NULL, NULL, &t);
    expect_kept(&t, OPERATORS + 1); /* the child's release is not the parent's */
    assert_int_equal(t.child_kept, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_is_seen),
        cmocka_unit_test(beside_allocators_that_are_preloaded),
        cmocka_unit_test(beside_allocators_that_are_linked),
        cmocka_unit_test(an_allocator_in_front_of_us_is_said),
        cmocka_unit_test(an_allocator_within_the_program_is_said),
        cmocka_unit_test(threads_hand_in_what_they_counted),
        cmocka_unit_test(children_have_a_live_set_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
