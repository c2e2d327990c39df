/*
 * Programs made of many short processes, as shells and build tools are, under `si run`: the CPU time of children that
 * live for a few milliseconds and leave by _exit or exec is counted, and every form of exec does what libc's does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "temporary_dir.h"

#define SI SI_BINARY_DIR "/bin/si"

enum { CHILDREN = 400, CHILD_MS = 4 };

static char self_path[4096];

/* ---- What is observed ---- */

static double cpu_of(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void burn(void) {
    struct timespec now;
    do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    while (now.tv_sec == 0 && now.tv_nsec < CHILD_MS * 1000000L);
}

/* Children one after the other. Prints the CPU time of all. */
static int many(int by_exec) {
    for (int i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0) {
            if (by_exec) execl(self_path, self_path, "--host", "brief", NULL);
            burn();
            _exit(0);
        }
        if (waitpid(child, NULL, 0) != child) return 1;
    }
    printf("%.6f\n", cpu_of(RUSAGE_SELF) + cpu_of(RUSAGE_CHILDREN));
    return 0;
}

static void start_again(int form) {
    char *const argv[] = {self_path, "--host", "says", "a", "b c", NULL};
    char *const envp[] = {"SAID=in its own environment", NULL};
    switch (form) {
    case 0:
        execl(self_path, self_path, "--host", "says", "a", "b c", NULL);
        break;
    case 1:
        execlp(self_path, self_path, "--host", "says", "a", "b c", NULL);
        break;
    case 2:
        execle(self_path, self_path, "--host", "says", "a", "b c", NULL, envp);
        break;
    case 3:
        execv(self_path, argv);
        break;
    case 4:
        execvp(self_path, argv);
        break;
    case 5:
        execvpe(self_path, argv, envp);
        break;
    case 6:
        execve(self_path, argv, envp);
        break;
    case 7:
        execlp("sh", "sh", "-c", "echo \"$0\" found; exit 9", "sh", NULL);
        break;
    case 8:
        execl("/nowhere/program", "program", NULL);
        _exit(100);
    default:
        execlp("no-such-program-anywhere", "x", "1", "2", "3", "4", "5", "6", NULL);
        _exit(101);
    }
}

/* What waitpid says of a child that starts one, or -1. */
static int outcome(int form) {
    int status = -1;
    pid_t child;
    if (form % 2)
        child = fork();
    else
        child = vfork(); // NOLINT
    if (child == 0) {
        start_again(form); // NOLINT
        _exit(99);
    }
    waitpid(child, &status, 0);
    return status;
}

static int forms(void) {
    setenv("SAID", "in the environment", 1);
    for (int form = 0; form < 10; form++) {
        fflush(stdout);
        printf("%d: %d\n", form, outcome(form));
    }
    fflush(stdout);
    quick_exit(7);
}

static int host(int argc, char **argv) {
    if (strcmp(argv[2], "brief") == 0) {
        burn();
        return 0;
    }
    if (strcmp(argv[2], "says") == 0) {
        const char *said = getenv("SAID");
        printf("%d: %s, %s, %s\n", argc, argv[3], argv[4], said ? said : "nothing");
        fflush(stdout);
        _Exit(8);
    }
    if (strcmp(argv[2], "forms") == 0) return forms();
    return many(strcmp(argv[2], "exec") == 0);
}

/* ---- The tests ---- */

static int run(const char *before, const char *what, char *out, size_t out_bytes) {
    char command[16384];
    snprintf(command, sizeof command, "%s %s --host %s 2>&1", before, self_path, what);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, out_bytes - 1, pipe);
    out[got] = '\0';
    return pclose(pipe);
}

/* 320 samples and more. Above, 25 % are more than four standard deviations; below there is room for what the kernel
   does at the end of a process, and for an agent that gets no processor while its queue of new processes is full. */
static void counted(const char *what) {
    char dir[64], before[4096], out[4096], path[128];
    static char line[65536];
    temporary_dir_make(dir);
    snprintf(before, sizeof before, SI " run --hz 200 --folded %s --", dir);
    assert_int_equal(run(before, what, out, sizeof out), 0);
    double used = atof(out) * 1e6, sum = 0;
    snprintf(path, sizeof path, "%s/cpu.folded", dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) sum += atof(strrchr(line, ' '));
    fclose(file);
    temporary_dir_remove(dir);
    print_message("%s: %.3f s of %.3f s\n", what, sum / 1e6, used / 1e6);
    assert_true(used > CHILDREN * CHILD_MS * 1e3 * 0.9);
    assert_true(sum > 0.55 * used && sum < 1.25 * used);
}

static void children_that_leave_at_once_count(void **state) {
    (void)state;
    counted("exit");
}

static void children_that_start_programs_count(void **state) {
    (void)state;
    counted("exec");
}

static void every_form_of_exec_is_libcs(void **state) {
    (void)state;
    char plain[8192], observed[8192];
    int status = run("", "forms", plain, sizeof plain);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_non_null(strstr(plain, "5: a, b c, in its own environment"));
    assert_non_null(strstr(plain, "sh found"));
    assert_int_equal(run(SI " run --", "forms", observed, sizeof observed), status);
    assert_string_equal(observed, plain);
}

int main(int argc, char **argv) {
    if (readlink("/proc/self/exe", self_path, sizeof self_path - 1) < 0) return 1;
    if (argc >= 3 && strcmp(argv[1], "--host") == 0) return host(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_that_leave_at_once_count),
        cmocka_unit_test(children_that_start_programs_count),
        cmocka_unit_test(every_form_of_exec_is_libcs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
