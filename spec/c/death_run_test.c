/*
 * Every kind of death under `si run`: the program's own output and end are what they are without us, and errors.txt
 * says what it died of, once, with the stack. The program is dying_host.cc.
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

#define SI SI_BINARY_DIR "/bin/si"
#define HOST SI_BINARY_DIR "/spec/dying_host"

static char dir[] = "/tmp/si-death-XXXXXX";

static int shell(char *out, size_t out_bytes, const char *format, ...) {
    char command[4096], line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    snprintf(line, sizeof line, "cd %s && ulimit -c 0 && { %s ; }", dir, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, out_bytes - 1, pipe);
    out[got] = '\0';
    return pclose(pipe);
}

typedef struct death {
    const char *way;
    const char *group;   /* its only one; NULL: no error at all */
    const char *message; /* what it begins with */
    const char *frames[3];
} death;

static const death deaths[] = {
    {"null", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"wild", "crash: SIGSEGV", "SIGSEGV at 0x123456789000", {"wild()", "main"}},
    {"overflow", "crash: SIGSEGV", "SIGSEGV at 0x", {"deep(int)"}},
    {"twice", "crash: SIGABRT", "SIGABRT: free(): double free detected", {"abort", "twice()", "main"}},
    {"damaged", NULL, NULL, {NULL}}, /* what glibc makes of it differs */
    {"divide", "crash: SIGFPE", "SIGFPE at 0x", {"divide()", "main"}},
    {"illegal", "crash: SIGILL", "SIGILL at 0x", {"illegal()", "main"}},
    {"truncated", "crash: SIGBUS", "SIGBUS at 0x", {"truncated()", "main"}},
    {"pure", "crash: SIGABRT", "SIGABRT", {"__cxa_pure_virtual", "main"}},
    {"raised", "crash: uncaught std::runtime_error", "uncaught std::runtime_error: the text of it", {"raised()"}},
    {"promised", "crash: uncaught std::runtime_error", "uncaught std::runtime_error: the text of it", {"raised()"}},
    {"terminated", "crash: SIGABRT", "SIGABRT", {"std::terminate()", "terminated()"}},
    {"aborted", "crash: SIGABRT", "SIGABRT", {"abort", "aborted()", "main"}},
    {"asserted", "crash: SIGABRT", "SIGABRT: dying_host: ", {"asserted()", "main"}},
    {"killed", "crash: SIGKILL", "killed by SIGKILL (signal 9)", {NULL}},
    {"exit", "exit: code 3", "exited with code 3", {NULL}},
    {"thread", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "enter(void*)"}},
    {"thread-overflow", "crash: SIGSEGV", "SIGSEGV at 0x", {"deep(int)"}},
    {"thread-raised", "crash: uncaught std::runtime_error", "uncaught std::runtime_error: the text", {"raised()"}},
    {"thread-exit", "exit: code 9", "exited with code 9", {NULL}},
    {"thread-blocked", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "enter(void*)"}},
    {"child", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"comes-back-once", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"comes-back-abort", "crash: SIGABRT", "SIGABRT", {"abort", "main"}},
    {"leaves", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"raises-again", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"jumps", NULL, NULL, {NULL}},
    {"jumps-overflow", NULL, NULL, {NULL}},
    {"jumps-then", "crash: SIGFPE", "SIGFPE at 0x", {"divide()"}},
    {"in-handler", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"reports", "crash: SIGSEGV", "SIGSEGV at 0x0", {"null()", "main"}},
    {"reports-abort", "crash: SIGABRT", "SIGABRT", {"abort", "main"}},
    {"blocked-handler", "crash: SIGSEGV", "killed by SIGSEGV", {NULL}},
    {"pending", NULL, NULL, {NULL}},
};

static void check_errors(const death *d, const char *errors) {
    char group[256];
    snprintf(group, sizeof group, "\n%s\n    1 time: %s", d->group, d->message);
    const char *at = strstr(errors, group);
    if (!at) fail_msg("%s: no \"%s\" in:\n%s", d->way, group + 1, errors);
    for (int i = 0; at && i < 3 && d->frames[i]; i++) {
        char frame[128];
        snprintf(frame, sizeof frame, "%s  ", d->frames[i]);
        if (!strstr(at, frame)) fail_msg("%s: no frame %s in:\n%s", d->way, d->frames[i], errors);
        if (i == 0 && !strstr(at, "stack, 1 of 1:")) fail_msg("%s: more than one stack in:\n%s", d->way, errors);
    }
    if (strstr(errors, "libsi-probe")) fail_msg("%s: frames of ours in:\n%s", d->way, errors);
}

/* A program that dies in its first moments may be ahead of an agent that gets no time: its stack is cut then, and says
   so. Such a run is repeated. */
static int observe(const death *d, char *out, size_t out_bytes, char *errors, size_t errors_bytes) {
    int status = 0;
    for (int i = 0; i < 50; i++) {
        status = shell(out, out_bytes, "rm -rf out; exec %s run --folded out -- %s %s 2>/dev/null", SI, HOST, d->way);
        shell(errors, errors_bytes, "cat out/errors.txt 2>/dev/null");
        if (!strstr(errors, "[truncated]")) break;
    }
    return status;
}

static void every_death_is_told_and_unchanged(void **state) {
    static char alone[65536], observed[65536], errors[1 << 20];
    (void)state;
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        const death *d = &deaths[i];
        int status = shell(alone, sizeof alone, "exec %s %s 2>/dev/null", HOST, d->way);
        int with = observe(d, observed, sizeof observed, errors, sizeof errors);
        if (status != with) fail_msg("%s: status %#x alone, %#x under si run", d->way, status, with);
        assert_string_equal(observed, alone);
        assert_int_equal(strncmp(alone, "begin\n", 6), 0);
        if (d->group)
            check_errors(d, errors);
        else if (WIFEXITED(status))
            assert_null(strstr(errors, "crash"));
        else
            assert_non_null(strstr(errors, "\ncrash: SIG"));
    }
}

/* A sanitizer's runtime wants to come first: it is let. */
static void a_sanitized_program_is_not_preloaded(void **state) {
    char alone[4096], observed[4096];
    (void)state;
    if (shell(alone, sizeof alone,
              "echo 'int main(void) { return 4; }' > s.c && cc -fsanitize=address s.c -o s 2>&1") != 0)
        skip(); /* no such runtime here */
    int status = shell(alone, sizeof alone, "exec ./s 2>&1");
    int with = shell(observed, sizeof observed, "exec %s run --folded out -- ./s 2>&1", SI);
    assert_int_equal(with, status);
    assert_non_null(strstr(observed, "./s is built with AddressSanitizer"));
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
    char out[256];
    (void)state;
    return shell(out, sizeof out, "rm -rf %s", dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_death_is_told_and_unchanged),
                                       cmocka_unit_test(a_sanitized_program_is_not_preloaded)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
