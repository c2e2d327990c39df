/*
 * `si run` and `si sidecar` as a user meets them: real programs, their output and exit codes, the files written, and
 * clear words for every mistake. Programs are compiled by the test or come from Debian's base.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SI SI_BINARY_DIR "/bin/si"

static char dir[] = "/tmp/si-run-test-XXXXXX";

/* Runs a shell command in the test's directory; standard output and error together into out. Returns the wait status.
 */
static int shell(char *out, size_t out_bytes, const char *format, ...) {
    char command[4096], line[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    snprintf(line, sizeof line, "cd %s && { %s ; } 2>&1", dir, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, out_bytes - 1, pipe);
    out[got] = '\0';
    char rest[4096];
    while (fread(rest, 1, sizeof rest, pipe) > 0) {}
    return pclose(pipe);
}

static int exit_code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Sum of the counts of all lines of a folded file that contain `needle`. */
static double folded_sum(const char *path, const char *needle) {
    char full[256], line[65536];
    snprintf(full, sizeof full, "%s/%s", dir, path);
    FILE *file = fopen(full, "r");
    assert_non_null(file);
    double sum = 0;
    while (fgets(line, sizeof line, file)) {
        const char *space = strrchr(line, ' ');
        assert_non_null(space);
        if (strstr(line, needle)) sum += atof(space);
    }
    fclose(file);
    return sum;
}

static const char workload[] =
    "#include <stdio.h>\n#include <stdlib.h>\n#include <pthread.h>\n#include <time.h>\n"
    "static double cpu(clockid_t c){struct timespec t;clock_gettime(c,&t);return t.tv_sec+t.tv_nsec/1e9;}\n"
    "#define BURN(name) __attribute__((noinline)) void name(double s){double e=cpu(CLOCK_THREAD_CPUTIME_ID)+s;"
    "while(cpu(CLOCK_THREAD_CPUTIME_ID)<e){for(volatile int i=0;i<20000;i++);}}\n"
    "BURN(small) BURN(large) BURN(threaded)\n"
    "static void*run(void*a){threaded(0.5);return a;}\n"
    "int main(int c,char**v){small(0.5);large(1.5);pthread_t t[2];for(int i=0;i<2;i++)pthread_create(t+i,0,run,0);"
    "for(int i=0;i<2;i++)pthread_join(t[i],0);printf(\"%.6f\\n\",cpu(CLOCK_PROCESS_CPUTIME_ID));return "
    "c>1?atoi(v[1]):0;}\n";

static int set_up(void **state) {
    (void)state;
    char out[4096], path[256];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/work.c", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(workload, file);
    fclose(file);
    assert_int_equal(
        shell(out, sizeof out, "cc -O1 -g -pthread work.c -o work && cc -O1 -static -pthread work.c -o work-static"),
        0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void folded_tells_where_the_time_went(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(exit_code(shell(out, sizeof out, SI " run --folded out -- ./work 3")), 3);
    double cpu = atof(out) * 1e6, total = folded_sum("out/cpu.folded", "");
    assert_true(cpu > 2.9e6);
    assert_true(total > cpu * 0.98 && total < cpu * 1.02);
    /* 10 ms a sample: each share is known to about one over the root of its samples */
    assert_true(folded_sum("out/cpu.folded", ";main;small") > 0.4e6 &&
                folded_sum("out/cpu.folded", ";main;small") < 0.6e6);
    assert_true(folded_sum("out/cpu.folded", ";main;large") > 1.3e6 &&
                folded_sum("out/cpu.folded", ";main;large") < 1.7e6);
    assert_true(folded_sum("out/cpu.folded", ";run;threaded") > 0.8e6 &&
                folded_sum("out/cpu.folded", ";run;threaded") < 1.2e6);
    assert_true(folded_sum("out/cpu.folded", "[truncated]") < total * 0.01);
}

static void pprof_is_written_too(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(
        exit_code(shell(
            out, sizeof out,
            SI " run --pprof out2 -- ./work && gzip -t out2/cpu.pb.gz && zcat out2/cpu.pb.gz | grep -ac threaded")),
        0);
}

static void a_stripped_program_still_has_start_and_main(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(
        exit_code(shell(out, sizeof out, "strip work -o work-stripped && " SI " run --folded out4 -- ./work-stripped")),
        0);
    double total = folded_sum("out4/cpu.folded", "");
    assert_true(total > 2.5e6);
    assert_true(folded_sum("out4/cpu.folded", ";main;[work-stripped+0x") > total * 0.5);
    assert_true(folded_sum("out4/cpu.folded", "_start;") > total * 0.5);
}

/* The program itself looks at what `si` has in memory, until most of what its start touched was given back. */
static void the_agent_beside_a_program_stays_small(void **state) {
    (void)state;
    char out[4096];
    static const char look[] = "for i in $(seq 600); do while read name kb unit; do "
                               "[ $name != VmRSS: ] || [ $kb -gt 12288 ] || exit 5; done < /proc/$agent/status; "
                               "sleep 0.1; done; exit 6";
    assert_int_equal(exit_code(shell(out, sizeof out, SI " run -- sh -c 'sleep 3; agent=$PPID; %s'", look)), 5);
    assert_int_equal(exit_code(shell(out, sizeof out,
                                     "sleep 100 & it=$!; " SI " sidecar --pid $it & agent=$!; sleep 3; (%s); rc=$?; "
                                     "kill $it $agent; wait; exit $rc",
                                     look)),
                     5);
}

/* Processes that are gone before anybody has looked at them: a build. */
static void short_processes_count(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(
        exit_code(shell(out, sizeof out,
                        "printf '#include <time.h>\\nint main(void){while(clock()<30000);return 0;}' > short.c && "
                        "cc -O1 short.c -o short && " SI
                        " run --folded outs -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do ./short & ./short & ./short & "
                        "./short; wait; done'")),
        0);
    double total = folded_sum("outs/cpu.folded", "");
    assert_true(total > 0.9e6 && total < 1.6e6);
    assert_true(folded_sum("outs/cpu.folded", "[anonymous]") < total * 0.05);
}

/* The program is never worse off than without us, and whoever asked for a profile learns why there is none. */
static void limits_are_survived(void **state) {
    (void)state;
    static const char *const limits[] = {"-n 5", "-n 16", "-n 24", "-Sn 40", "-f 0", "-v 60000", "-i 0"};
    char out[4096], plain[4096];
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        int status =
            shell(plain, sizeof plain, "bash -c \"ulimit %s; exec sh -c 'ulimit -n; echo out; exit 4'\"", limits[i]);
        int observed = shell(out, sizeof out,
                             SI " run -- bash -c \"ulimit %s; exec sh -c 'ulimit -n; echo out; exit 4'\"", limits[i]);
        assert_string_equal(out, plain);
        assert_int_equal(observed, status);
    }
    assert_int_equal(exit_code(shell(out, sizeof out, "ulimit -n 5; " SI " run -- sh -c 'exit 4'")), 4);
    assert_non_null(strstr(out, "not observed: at most 5 descriptors"));
    for (int limit = 6; limit <= 20; limit += 2) /* whatever we can open there, the program runs */
        assert_int_equal(exit_code(shell(out, sizeof out, "ulimit -n %d; " SI " run -- sh -c 'exit 4'", limit)), 4);
    assert_int_equal(exit_code(shell(out, sizeof out, "ulimit -n 32; " SI " run --folded out32 -- ./work 3")), 3);
    assert_true(folded_sum("out32/cpu.folded", "") > 2e6);
    assert_int_equal(
        exit_code(shell(out, sizeof out, "bash -c 'ulimit -i 0; exec " SI " run --folded out0 -- ./work 3'")), 3);
    assert_non_null(strstr(out, "no CPU profile: timer_create"));
}

static void children_are_observed(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(
        exit_code(
            shell(out, sizeof out, SI " run --folded out3 -- sh -c './work >/dev/null; (./work >/dev/null) ; exit 5'")),
        5);
    double large = folded_sum("out3/cpu.folded", ";main;large");
    assert_true(large > 2.6e6 && large < 3.4e6);
}

static void output_and_exit_are_the_programs_own(void **state) {
    (void)state;
    static const char *const programs[] = {
        "sh -c 'echo out; echo err >&2; exit 9'",
        "sh -c 'kill -TERM $$'",
        "sh -c 'kill -SEGV $$'",
        "cat /nonexistent",
        "true",
        "false",
        "sh -c 'ls /proc/self/fd | wc -l'",
        "env -u LD_PRELOAD -u SI_PROBE_SOCKET -u SI_PROBE_MAIN -u _ sh -c 'env | sort'",
        "perl -e 'for my $i (1..64) { $SIG{$i} = q(DEFAULT) } print 6*7, qq(\\n); exit 4'",
        "perl -e 'for (1..20) { my $p = fork; exit 0 unless $p; waitpid $p, 0 } print qq(done $?\\n)'",
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        char plain[4096], observed[4096];
        int expected = shell(plain, sizeof plain, "%s; echo \"code $?\"", programs[i]);
        int status = shell(observed, sizeof observed, SI " run -- %s; echo \"code $?\"", programs[i]);
        assert_int_equal(status, expected);
        char *found = strstr(observed, "code "), *wanted = strstr(plain, "code ");
        if (strcmp(found ? found : "", wanted ? wanted : "") != 0 || strlen(plain) != strlen(observed))
            print_message("%s\nplain:\n%s\nobserved:\n%s\n", programs[i], plain, observed);
        assert_string_equal(found, wanted);
        if (!strstr(programs[i], "kill") && !strstr(programs[i], "env")) /* where a number of the process is said */
            assert_string_equal(observed, plain);
    }
}

static const char dying[] = "#include <signal.h>\n#include <stdlib.h>\n#include <string.h>\n"
                            "__attribute__((noinline)) void spin(void) {\n"
                            "  for (volatile unsigned long i = 0; i < 300000000; i++) {}\n}\n"
                            "__attribute__((noinline)) void store(volatile int *p) { *p = 1; }\n"
                            "int main(int count, char **words) {\n"
                            "  spin();\n"
                            "  if (count < 2) return 0;\n"
                            "  if (strcmp(words[1], \"segv\") == 0) store((int *)16);\n"
                            "  if (strcmp(words[1], \"kill\") == 0) raise(SIGKILL);\n"
                            "  return 3;\n}\n";

static void a_death_is_reported_with_its_stack_and_the_last_minute(void **state) {
    (void)state;
    char out[65536];
    char path[256];
    snprintf(path, sizeof path, "%s/dying.c", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(dying, file);
    fclose(file);
    assert_int_equal(exit_code(shell(out, sizeof out, "cc -g -O1 -o dying dying.c")), 0);

    shell(out, sizeof out, SI " run --folded died -- ./dying segv; echo code $?; cat died/errors.txt");
    assert_non_null(strstr(out, "code 139"));
    assert_non_null(strstr(out, "program: killed by SIGSEGV (signal 11)"));
    assert_non_null(strstr(out, "SIGSEGV at 0x10"));
    assert_non_null(strstr(out, "store"));
    assert_non_null(strstr(out, "dying.c:7"));
    assert_non_null(strstr(out, "last minute, CPU:"));

    shell(out, sizeof out, SI " run --pprof died -- ./dying kill; echo code $?; cat died/errors.txt");
    assert_non_null(strstr(out, "code 137"));
    assert_non_null(strstr(out, "killed by SIGKILL (signal 9)"));
    assert_non_null(strstr(out, "spin")); /* where it was seen last */

    shell(out, sizeof out, SI " run --folded died -- ./dying code; echo code $?; cat died/errors.txt");
    assert_non_null(strstr(out, "code 3"));
    assert_non_null(strstr(out, "program: exited with code 3"));

    shell(out, sizeof out, SI " run --folded died -- ./dying; echo code $?; ls died");
    assert_non_null(strstr(out, "code 0"));
    assert_null(strstr(out, "errors.txt")); /* an older one would tell of another run */
}

static const char crashing[] =
    "#include <cstdio>\n#include <cstring>\n#include <stdexcept>\n#include <csignal>\n#include <ucontext.h>\n"
    "#include <unistd.h>\n"
    "struct no_room : std::runtime_error { using std::runtime_error::runtime_error; };\n"
    "__attribute__((noinline)) void take(int n) { if (n) throw no_room(\"no room for it\\nexit: code 3\"); }\n"
    "__attribute__((noinline)) int deep(int n) { volatile char b[512]; b[1] = (char)n; return deep(n + 1) + b[1]; }\n"
    "static int fixed;\n"
    "static void skip(int, siginfo_t *, void *u) { fixed++; ((ucontext_t *)u)->uc_mcontext.gregs[REG_RIP] += 2; }\n"
    "static void leave(int) { _exit(7); }\n"
    "int main(int, char **words) {\n"
    "  if (strcmp(words[1], \"throw\") == 0) take(1);\n"
    "  if (strcmp(words[1], \"deep\") == 0) return deep(0);\n"
    "  if (strcmp(words[1], \"leave\") == 0) { signal(SIGSEGV, leave); *(volatile int *)16 = 1; }\n"
    "  struct sigaction own = {}, now;\n"
    "  own.sa_sigaction = skip; own.sa_flags = SA_SIGINFO;\n"
    "  sigaction(SIGSEGV, &own, nullptr);\n"
    "  for (int i = 0; i < 5; i++) __asm__ volatile(\"xor %%eax,%%eax; movb (%%rax),%%al\" ::: \"eax\", \"memory\");\n"
    "  sigaction(SIGSEGV, nullptr, &now);\n"
    "  stack_t alternate; sigaltstack(nullptr, &alternate);\n"
    "  printf(\"fixed %d own %d none %d\\n\", fixed, now.sa_sigaction == skip, alternate.ss_flags == SS_DISABLE);\n}\n";

static void every_way_to_crash_has_a_stack(void **state) {
    (void)state;
    char out[65536], path[256];
    snprintf(path, sizeof path, "%s/crashing.cc", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(crashing, file);
    fclose(file);
    assert_int_equal(exit_code(shell(out, sizeof out, "c++ -g -O1 -o crashing crashing.cc")), 0);

    shell(out, sizeof out, SI " run --folded crashed -- ./crashing throw; echo code $?; cat crashed/errors.txt");
    assert_non_null(strstr(out, "code 134"));
    assert_non_null(strstr(out, "crash: uncaught no_room"));
    assert_non_null(strstr(out, "no room for it\n      exit: code 3\n"));
    assert_non_null(strstr(out, "take(int)"));

    shell(out, sizeof out, SI " run --folded crashed -- ./crashing deep; echo code $?; cat crashed/errors.txt");
    assert_non_null(strstr(out, "code 139"));
    assert_non_null(strstr(out, "SIGSEGV at 0x")); /* on an alternate stack: the thread's own has no room left */
    assert_non_null(strstr(out, "deep(int)"));

    shell(out, sizeof out, SI " run --folded crashed -- ./crashing leave; echo code $?; cat crashed/errors.txt");
    assert_non_null(strstr(out, "code 7"));
    assert_non_null(strstr(out, "SIGSEGV at 0x10")); /* recorded, then the program's own handler ran */

    shell(out, sizeof out, SI " run --folded crashed -- ./crashing skip; echo code $?; ls crashed");
    assert_non_null(strstr(out, "fixed 5 own 1 none 1"));
    assert_non_null(strstr(out, "code 0"));
    assert_null(strstr(out, "errors.txt")); /* what the program's handler deals with is no crash */
}

static void signals_are_forwarded(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(
        exit_code(shell(
            out, sizeof out,
            SI " run -- sh -c 'trap \"echo got it; exit 6\" USR1; echo ready; while :; do sleep 0.05; done' > log & "
               "p=$!; until grep -q ready log; do sleep 0.05; done; kill -USR1 $p; wait $p")),
        6);
    assert_int_equal(shell(out, sizeof out, "cat log"), 0);
    assert_non_null(strstr(out, "got it"));
}

static void a_static_program_runs_and_we_say_why_it_has_no_profile(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(exit_code(shell(out, sizeof out, SI " run -- ./work-static 7")), 7);
    assert_non_null(strstr(out, "statically linked"));
    assert_int_equal(
        exit_code(shell(out, sizeof out,
                        "printf '#include <unistd.h>\\nint main(int c,char**v){return execv(v[1],v+1);}' > "
                        "launcher.c && cc -w -static launcher.c -o launcher && " SI
                        " run --folded launched -- ./launcher ./work 6")),
        6); /* what it starts is not static */
    assert_true(folded_sum("launched/cpu.folded", "large") > 1e6);
}

static void mistakes_are_named(void **state) {
    (void)state;
    static const struct {
        const char *arguments;
        int code;
        const char *says;
    } cases[] = {
        {"", 2, "no command"},
        {"frobnicate", 2, "unknown command 'frobnicate'"},
        {"run", 2, "no command given"},
        {"run --hz banana -- true", 2, "--hz"},
        {"run --hz 1e9 -- true", 2, "1 to 1000"},
        {"run --rules /nonexistent -- true", 2, "--rules"},
        {"run --folded /proc/nope -- true", 2, "--folded"},
        {"run --dashboard gopher://x -- true", 2, "option --dashboard: must start"},
        {"run --app= -- true", 2, "option --app: "},
        {"rules check --nonsense .", 2, "si rules check: unrecognized option"},
        {"run --nonsense -- true", 2, "--nonsense"},
        {"run --hz", 2, "needs a value"},
        {"run -- /nonexistent/program", 127, "/nonexistent/program"},
        {"run -- /etc/passwd", 126, "/etc/passwd"},
        {"sidecar", 2, "--pid or --name"},
        {"sidecar --pid 0", 2, "--pid"},
        {"sidecar --pid 999999999", 1, "no process"},
        {"sidecar --pid 1 --name x", 2, "either"},
        {"rules", 2, "rules check"},
        {"rules check /nonexistent", 2, "/nonexistent"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[4096];
        int code = exit_code(shell(out, sizeof out, SI " %s", cases[i].arguments));
        if (code != cases[i].code || !strstr(out, cases[i].says))
            print_message("si %s: %d\n%s\n", cases[i].arguments, code, out);
        assert_int_equal(code, cases[i].code);
        assert_non_null(strstr(out, cases[i].says));
    }
}

static void version_and_help(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(shell(out, sizeof out, SI " --version"), 0);
    assert_string_equal(out, "si 0.1.0\n");
    assert_int_equal(
        shell(out, sizeof out, SI " --help && " SI " run --help && " SI " sidecar --help && " SI " rules --help"), 0);
    assert_non_null(strstr(out, "--folded"));
}

static void sidecar_ends_with_its_process(void **state) {
    (void)state;
    char out[4096];
    assert_int_equal(exit_code(shell(out, sizeof out, "sleep 2 & " SI " sidecar --pid $!")), 0);
    assert_string_equal(out, "");
    assert_int_equal(
        exit_code(
            shell(out, sizeof out, SI " sidecar --name si-no-such-program & p=$!; sleep 0.5; kill -TERM $p; wait $p")),
        0);
}

static void nothing_is_left_behind(void **state) {
    (void)state;
    char out[4096];
    shell(out, sizeof out,
          "for i in 1 2 3; do s=$(" SI " run -- sh -c 'echo $SI_PROBE_SOCKET'); "
          "test -n \"$s\" && test ! -e \"${s%%/*}\" || echo left \"$s\"; done");
    assert_string_equal(out, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folded_tells_where_the_time_went),
        cmocka_unit_test(pprof_is_written_too),
        cmocka_unit_test(a_stripped_program_still_has_start_and_main),
        cmocka_unit_test(children_are_observed),
        cmocka_unit_test(short_processes_count),
        cmocka_unit_test(limits_are_survived),
        cmocka_unit_test(output_and_exit_are_the_programs_own),
        cmocka_unit_test(a_death_is_reported_with_its_stack_and_the_last_minute),
        cmocka_unit_test(every_way_to_crash_has_a_stack),
        cmocka_unit_test(signals_are_forwarded),
        cmocka_unit_test(a_static_program_runs_and_we_say_why_it_has_no_profile),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(version_and_help),
        cmocka_unit_test(the_agent_beside_a_program_stays_small),
        cmocka_unit_test(sidecar_ends_with_its_process),
        cmocka_unit_test(nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
