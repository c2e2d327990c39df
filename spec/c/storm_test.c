/*
 * Host storms: programs that do everything that profilers break, with and without us. Output, exit code and errno are
 * the same; and nothing that may not be called in a signal handler is called in ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storm_host.h"

#define SI SI_BINARY_DIR "/bin/si"

static const char *self_path;

/* Output and wait status of a shell command. */
static int shell(char *out, size_t out_bytes, const char *format, const char *a, const char *b) {
    char command[4096];
    snprintf(command, sizeof command, format, a, b);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, out_bytes - 1, pipe);
    out[got] = '\0';
    return pclose(pipe);
}

static void same(const char *storm) {
    static char plain[65536], observed[65536];
    int expected = shell(plain, sizeof plain, "timeout 60 %s --storm %s 2>&1", self_path, storm);
    int status =
        shell(observed, sizeof observed,
              "timeout 100 " SI " run --hz 500 --state /nonexistent-si 2>/dev/null -- sh -c 'exec %s --storm %s 2>&1'",
              self_path, storm);
    assert_string_equal(observed, plain);
    assert_int_equal(status, expected);
    assert_int_equal(WIFEXITED(expected) ? WEXITSTATUS(expected) : -1, 0);
    assert_true(strlen(plain) > 0);
}

#define STORM(name)                                                                                                    \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        same(#name);                                                                                                   \
    }
STORM(thousand_threads)
STORM(churn)
STORM(children)
STORM(forks_in_threads)
STORM(libraries)
STORM(coroutines)
STORM(small_stacks)
STORM(jumps)
STORM(own_handlers)
STORM(closes_everything)
STORM(errors)
STORM(exceptions)

/* A second preload behind ours knows when one of our handlers runs, and counts what is called there and may not be. */
static void handlers_call_nothing_unsafe(void **state) {
    static char out[65536];
    (void)state;
    static const char *const storms[] = {"thousand_threads", "libraries", "exceptions"};
    for (size_t i = 0; i < sizeof storms / sizeof *storms; i++) {
        int status = shell(out, sizeof out,
                           "LD_PRELOAD=" SI_BINARY_DIR "/spec/libhandler_trap.so timeout 100 " SI
                           " run --hz 1000 2>/dev/null -- %s --storm %s --trapped",
                           self_path, storms[i]);
        assert_int_equal(status, 0);
        const char *counts = strstr(out, "handlers ");
        assert_non_null(counts);
        unsigned long runs = 0, unsafe = 0;
        assert_int_equal(sscanf(counts, "handlers %lu unsafe %lu", &runs, &unsafe), 2);
        assert_true(runs >= 5); /* the trap does see them */
        if (unsafe) print_message("%s", counts);
        assert_int_equal(unsafe, 0);
    }
}

/* Printed by the host itself, at its end. */
static void print_trap(void) {
    extern unsigned long handler_trap_runs(void) __attribute__((weak));
    extern unsigned long handler_trap_unsafe(void) __attribute__((weak));
    extern const char *handler_trap_first(void) __attribute__((weak));
    if (handler_trap_runs)
        printf("handlers %lu unsafe %lu %s\n", handler_trap_runs(), handler_trap_unsafe(), handler_trap_first());
}

int main(int count, char **words) {
    self_path = words[0];
    if (count > 2 && strcmp(words[1], "--storm") == 0) {
        int rc = storm_host(words[2]);
        if (count > 3) print_trap();
        return rc < 0 ? 99 : rc;
    }
    char resolved[4096] = "";
    if (readlink("/proc/self/exe", resolved, sizeof resolved - 1) > 0) self_path = strdup(resolved);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousand_threads),
        cmocka_unit_test(churn),
        cmocka_unit_test(children),
        cmocka_unit_test(forks_in_threads),
        cmocka_unit_test(libraries),
        cmocka_unit_test(coroutines),
        cmocka_unit_test(small_stacks),
        cmocka_unit_test(jumps),
        cmocka_unit_test(own_handlers),
        cmocka_unit_test(closes_everything),
        cmocka_unit_test(errors),
        cmocka_unit_test(exceptions),
        cmocka_unit_test(handlers_call_nothing_unsafe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
