/*
 * What is reported against what is true, for programs whose truth is known: a fast part of `./dev bench accuracy`, with
 * the same programs (bench/accuracy*.c). Allowed is what chance passes once in a hundred times; what misses by chance
 * does not miss again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../bench/accuracy.h"
#include "temporary_dir.h"

static char dir[64], self[512];

/* A second try, which a true error fails as well. */
static void is_true(void (*measure)(accuracy *)) {
    for (int tries = 0; tries < 2; tries++) {
        accuracy a = {.si = SI_BINARY_DIR "/bin/si", .self = self, .dir = dir, .scale = 1, .runs = 8};
        measure(&a);
        assert_true(a.rows > 0);
        if (a.failed == 0) return;
    }
    fail_msg("beyond what is allowed, twice");
}

static void cpu_time_of_functions_and_threads(void **state) {
    (void)state;
    is_true(accuracy_cpu);
}
static void waits_of_every_category(void **state) {
    (void)state;
    is_true(accuracy_waits);
}
static void what_is_live_and_what_leaks(void **state) {
    (void)state;
    is_true(accuracy_leak);
}
static void a_live_heap_over_and_over(void **state) {
    (void)state;
    is_true(accuracy_live_rounds);
}
static void latencies_and_counts(void **state) {
    (void)state;
    is_true(accuracy_requests);
}
static void a_live_heap_in_many_processes(void **state) {
    (void)state;
    is_true(accuracy_live_runs);
}

static int set_up(void **state) {
    (void)state;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    temporary_dir_make(dir);
    return length > 0 ? 0 : -1;
}
static int tear_down(void **state) {
    temporary_dir_remove(dir);
    return *state != NULL;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--program") == 0) return accuracy_program(argv[2], atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_time_of_functions_and_threads),
        cmocka_unit_test(waits_of_every_category),
        cmocka_unit_test(what_is_live_and_what_leaks),
        cmocka_unit_test(a_live_heap_over_and_over),
        cmocka_unit_test(latencies_and_counts),
        cmocka_unit_test(a_live_heap_in_many_processes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
