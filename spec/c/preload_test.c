/*
 * libsi-probe.so in programs that know nothing of it: output, exit status and what they see of their signals are the
 * same as without it, and the samples add up to the CPU time that the kernel says they used.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload_agent.h"
#include "seccomp_host.h"

static const char *self_path;

/* ---- Running a program, with and without ---- */

typedef struct outcome {
    int status;
    char output[1 << 18]; /* standard output and error */
    size_t length;
    double cpu_s; /* of it and all that it waited for */
} outcome;

enum { PLAIN, OBSERVED, OBSERVED_LATER };

static void set_environment(int how, const preload_agent *agent) {
    char number[16];
    if (how == PLAIN) return;
    setenv("LD_PRELOAD", SI_BINARY_DIR "/lib/libsi-probe.so", 1);
    setenv("SI_PROBE_SOCKET", preload_agent_path(agent), 1);
    snprintf(number, sizeof number, "%d", (int)getpid() + (how == OBSERVED_LATER));
    setenv("SI_PROBE_MAIN", number, 1);
    setenv("SI_PROBE_CPU_MHZ", "500000", 1);
    if (how == OBSERVED) unsetenv("SI_PROBE_MAIN");
}

static void run(const char *const argv[], int how, const preload_agent *agent, outcome *out) {
    int pipe_fds[2];
    memset(out, 0, sizeof *out);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(60); /* a hang is a failure, not a hanging test */
        dup2(pipe_fds[1], 1);
        dup2(pipe_fds[1], 2);
        close(0);
        open("/dev/null", O_RDONLY);
        set_environment(how, agent);
        execv(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(pipe_fds[1]);
    ssize_t got;
    while ((got = read(pipe_fds[0], out->output + out->length, sizeof out->output - 1 - out->length)) > 0)
        out->length += (size_t)got;
    close(pipe_fds[0]);
    struct rusage usage;
    assert_int_equal(wait4(child, &out->status, 0, &usage), child);
    out->cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void same(const char *const argv[], int how, preload_sums *sums, double *cpu_s) {
    static outcome plain, observed;
    preload_agent *agent = preload_agent_new(1, 0);
    run(argv, PLAIN, agent, &plain);
    run(argv, how, agent, &observed);
    preload_agent_sum(agent, sums);
    preload_agent_free(agent);
    assert_int_not_equal(WEXITSTATUS(plain.status), 127);
    assert_string_equal(plain.output, observed.output);
    assert_int_equal(plain.length, observed.length);
    assert_int_equal(plain.status, observed.status);
    if (cpu_s) *cpu_s = observed.cpu_s;
}

/* The samples of all processes against the kernel's own account. What runs before the constructor and after the
   destructor (the dynamic linker, the exit) is not sampled: `unseen_s`. */
static void adds_up(const preload_sums *sums, double cpu_s, double unseen_s) {
    double sampled_s = (double)sums->value_ns / 1e9;
    print_message(
        "%.3f s sampled (%.3f late) of %.3f s in %u processes (%u quiet), %lu events, %.1f frames, %lu truncated, "
        "%lu off\n",
        sampled_s, (double)sums->late_ns / 1e9, cpu_s, sums->processes, sums->quiet, sums->events,
        sums->events ? (double)sums->frames / (double)sums->events : 0.0, sums->truncated, sums->off_stack);
    double sigma_s = 0.002 * sqrt(sums->processes + 1.0);
    assert_true(fabs(sampled_s - cpu_s) <= 0.02 * cpu_s + unseen_s + 4 * sigma_s);
}

static int missing(const char *program) {
    if (access(program, X_OK) == 0) return 0;
    print_message("%s is not here: skipped\n", program);
    return 1;
}

/* ---- Programs from the system ---- */

static void ls_lists_the_same(void **state) {
    (void)state;
    preload_sums sums;
    same((const char *const[]){"/bin/ls", "-l", "/usr/bin", NULL}, OBSERVED, &sums, NULL);
    assert_int_equal(sums.processes, 1);
    same((const char *const[]){"/bin/ls", "/nonexistent", NULL}, OBSERVED, &sums, NULL);
}

static void perl_computes_the_same(void **state) {
    (void)state;
    preload_sums sums;
    double cpu_s;
    if (missing("/usr/bin/perl")) skip();
    same((const char *const[]){"/usr/bin/perl", "-e",
                               "$| = 1; my $x = 0; for (1..6000000) { $x = ($x * 31 + $_) % 1000003 } print \"$x\\n\";"
                               "open(F, '<', '/nonexistent') or print \"$!\\n\"; exit 7",
                               NULL},
         OBSERVED, &sums, &cpu_s);
    adds_up(&sums, cpu_s, 0.01);
    assert_true(sums.truncated * 20 <= sums.events);
}

static void perl_forks_the_same(void **state) {
    (void)state;
    preload_sums sums;
    double cpu_s;
    if (missing("/usr/bin/perl")) skip();
    same((const char *const[]){"/usr/bin/perl", "-e",
                               "for my $i (1..8) { my $p = fork; if (!$p) { my $x = 0; $x += $_ * $i for 1..1000000;"
                               "exit($i) } waitpid $p, 0; print $? >> 8, \" \"; }",
                               NULL},
         OBSERVED, &sums, &cpu_s);
    assert_int_equal(sums.processes, 9);
    assert_int_equal(sums.quiet, 8);
    adds_up(&sums, cpu_s, 0.04);
}

static const char *const shell_loop[] = {"/bin/bash", "-c",
                                         "for i in {1..150}; do (echo $i); x=$(echo sub $i); done; echo $x; /bin/true;"
                                         "/bin/false || echo no; ls /usr/bin | wc -l; exit 9",
                                         NULL};

static void a_shell_loop_goes_the_same_way(void **state) {
    (void)state;
    preload_sums sums;
    same(shell_loop, OBSERVED, &sums, NULL);
    assert_true(sums.processes >= 4); /* bash, true, false, ls, wc; most of its 300 forks never came to a tick */
    assert_true(sums.processes < 150);
}

static void short_processes_need_not_speak_to_the_agent(void **state) {
    (void)state;
    preload_sums sums;
    same(shell_loop, OBSERVED_LATER, &sums, NULL);
    assert_true(sums.processes < 150);
    assert_int_equal(sums.processes, sums.quiet);
}

static void sqlite_and_lua_answer_the_same(void **state) {
    (void)state;
    preload_sums sums;
    double cpu_s;
    if (!missing("/usr/bin/sqlite3")) {
        same(
            (const char *const[]){
                "/usr/bin/sqlite3", ":memory:",
                "with recursive n(i, s) as (select 1, 0 union all select i + 1, (s * 31 + i) % 1000003 "
                "from n where i < 700000) select max(s), count(*) from n;",
                NULL},
            OBSERVED, &sums, &cpu_s);
        adds_up(&sums, cpu_s, 0.01);
    }
    if (!missing("/usr/bin/lua5.4")) {
        same((const char *const[]){"/usr/bin/lua5.4", "-e",
                                   "local x = 0 for i = 1, 2e7 do x = (x * 31 + i) % 1000003 end print(x) os.exit(5)",
                                   NULL},
             OBSERVED, &sums, &cpu_s);
        adds_up(&sums, cpu_s, 0.01);
    }
}

static void python_threads_and_children_are_the_same(void **state) {
    (void)state;
    preload_sums sums;
    double cpu_s;
    if (missing("/usr/bin/python3")) skip();
    same(
        (const char *const[]){
            "/usr/bin/python3", "-c",
            "import threading, subprocess, os, signal, sys\n"
            "def work(n):\n    x = 0\n    for i in range(400000): x = (x * 31 + i) % 1000003\n    out[n] = x\n"
            "out = {}\n"
            "ts = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n"
            "[t.start() for t in ts]; [t.join() for t in ts]\n"
            "print(sorted(out.items()))\n"
            "print(subprocess.run(['/bin/echo', 'spawned'], capture_output=True).stdout)\n"
            "os.closerange(3, 2000)\n"
            "print(signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))\n"
            "print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))\n"
            "for s in signal.valid_signals():\n"
            "    try: print(s, signal.signal(s, signal.SIG_DFL))\n"
            "    except OSError as e: print(s, e.errno)\n"
            "work(9)\n"
            "print(signal.sigpending(), signal.sigtimedwait(signal.valid_signals(), 0.05))\n"
            "sys.exit(4)\n",
            NULL},
        OBSERVED, &sums, &cpu_s);
    adds_up(&sums, cpu_s, 0.05);
}

/* ---- Deaths ---- */

static void deaths_are_the_same_and_are_recorded(void **state) {
    (void)state;
    preload_sums sums;
    same((const char *const[]){self_path, "--host", "null", NULL}, OBSERVED, &sums, NULL);
    assert_int_equal(sums.crashes, 1);
    assert_int_equal(sums.crash_signal, SIGSEGV);
    assert_string_equal(sums.crash_text, "SIGSEGV at 0x10");
    assert_true(sums.crash_frames >= 4);
    same((const char *const[]){self_path, "--host", "abort", NULL}, OBSERVED, &sums, NULL);
    assert_int_equal(sums.crash_signal, SIGABRT);
    assert_true(sums.crash_frames >= 4);
    same((const char *const[]){self_path, "--host", "overflow", NULL}, OBSERVED, &sums, NULL);
    same((const char *const[]){self_path, "--host", "divide", NULL}, OBSERVED_LATER, &sums, NULL);
    assert_int_equal(sums.crash_signal, SIGFPE);
    same((const char *const[]){self_path, "--host", "threadcrash", NULL}, OBSERVED, &sums, NULL);
    assert_int_equal(sums.crash_signal, SIGSEGV);
    same((const char *const[]){self_path, "--host", "ownhandler", NULL}, OBSERVED, &sums, NULL);
    same((const char *const[]){"/bin/bash", "-c", "kill -SEGV $$", NULL}, OBSERVED, &sums, NULL);
    same((const char *const[]){"/bin/bash", "-c", "kill -KILL $$", NULL}, OBSERVED, &sums, NULL);
    same((const char *const[]){"/bin/bash", "-c", "kill -TERM $$", NULL}, OBSERVED, &sums, NULL);
}

/* ---- A host that looks at everything: this program, started again ---- */

static void a_nosy_host_sees_no_difference(void **state) {
    (void)state;
    static const char *const hosts[] = {"signals", "threads", "descriptors", "vfork", "exec", "polls"};
    preload_sums sums;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        same((const char *const[]){self_path, "--host", hosts[i], NULL}, OBSERVED, &sums, NULL);
        assert_true(sums.processes >= 1);
        same((const char *const[]){self_path, "--host", hosts[i], NULL}, OBSERVED_LATER, &sums, NULL);
    }
}

static void a_sandbox_kills_nobody(void **state) {
    (void)state;
    static const char *const hosts[] = {"seccomp prctl",        "seccomp syscall",        "seccomp quiet",
                                        "seccomp forked prctl", "seccomp forked syscall", "seccomp strict",
                                        "seccomp clockless"};
    preload_sums sums;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        same((const char *const[]){self_path, "--host", hosts[i], NULL}, OBSERVED, &sums, NULL);
        assert_true(strstr(hosts[i], "quiet") || i > 4 || sums.value_ns > 400000000);
        same((const char *const[]){self_path, "--host", hosts[i], NULL}, OBSERVED_LATER, &sums, NULL);
    }
}

static void threads_add_up(void **state) {
    (void)state;
    preload_sums sums;
    double cpu_s;
    same((const char *const[]){self_path, "--host", "burn", NULL}, OBSERVED, &sums, &cpu_s);
    adds_up(&sums, cpu_s, 0.01);
    same((const char *const[]){self_path, "--host", "burn", NULL}, OBSERVED_LATER, &sums, &cpu_s);
    adds_up(&sums, cpu_s, 0.01);
}

/* ---- Agents that are not there ---- */

static void without_an_agent_the_program_runs(void **state) {
    (void)state;
    static outcome plain, observed;
    static const char *const argv[] = {"/bin/ls", "/usr/bin", NULL};
    preload_agent *mute = preload_agent_new(0, 1); /* takes the connection and never says a word */
    run(argv, PLAIN, mute, &plain);
    run(argv, OBSERVED, mute, &observed);
    assert_string_equal(plain.output, observed.output);
    assert_int_equal(observed.status, 0);
    preload_agent_free(mute);
    preload_agent *gone = preload_agent_new(0, 0);
    unlink(preload_agent_path(gone));
    run(argv, OBSERVED, gone, &observed);
    assert_string_equal(plain.output, observed.output);
    assert_int_equal(observed.status, 0);
    preload_agent_free(gone);
}

static void a_probe_that_cannot_start_says_why(void **state) {
    (void)state;
    preload_sums sums;
    same((const char *const[]){"/bin/bash", "-c", "ulimit -v 60000; exec /bin/ls /usr/bin", NULL}, OBSERVED, &sums,
         NULL);
    assert_int_equal(sums.failed, 1);
    assert_non_null(strstr(sums.reason, "memory"));
}

/* ---- Hosts ---- */

static uint64_t thread_cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static volatile uint64_t sink;
static void burn(uint64_t ns) {
    for (uint64_t end = thread_cpu_ns() + ns; thread_cpu_ns() < end;)
        for (int i = 0; i < 20000; i++) sink = sink * 31 + (uint64_t)i;
}

static void *burn_thread(void *arg) {
    burn(100000000);
    return arg;
}

static void print_set(const char *what, const sigset_t *set) {
    char bits[NSIG] = "";
    for (int i = 1; i < NSIG; i++) bits[i - 1] = sigismember(set, i) == 1 ? '1' : '0';
    printf("%s:%s\n", what, bits); /* in one piece: threads print at once */
}

static void print_actions(void) {
    for (int i = 1; i < NSIG; i++) {
        struct sigaction action;
        memset(&action, 0xee, sizeof action);
        int rc = sigaction(i, NULL, &action);
        printf("%d: %d %s flags %x\n", i, rc,
               rc                             ? "-"
               : action.sa_handler == SIG_DFL ? "default"
                                              : "other",
               rc ? 0 : (unsigned)action.sa_flags);
    }
}

static int host_signals(void) {
    sigset_t set, old;
    print_actions();
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    print_set("mask", &set);
    for (int i = 1; i < NSIG; i++) printf("%d %s\n", i, signal(i, SIG_DFL) == SIG_ERR ? strerror(errno) : "ok");
    burn(50000000);
    sigfillset(&set);
    sigprocmask(SIG_SETMASK, &set, &old);
    print_set("old", &old);
    sigprocmask(SIG_BLOCK, NULL, &set);
    print_set("all", &set);
    burn(50000000);
    sigpending(&set);
    print_set("pending", &set);
    struct timespec soon = {0, 20000000};
    sigfillset(&set);
    siginfo_t info;
    int got = sigtimedwait(&set, &info, &soon);
    printf("sigtimedwait: %d %s\n", got, got < 0 ? strerror(errno) : "");
    kill(getpid(), SIGUSR1);
    got = 0;
    printf("sigwait: %d", sigwait(&set, &got));
    printf(" %d\n", got);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct signalfd_siginfo from;
    burn(50000000);
    printf("signalfd: %zd\n", read(fd, &from, sizeof from));
    close(fd);
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++) {
        sigqueue(getpid(), i, (union sigval){.sival_int = i});
        printf("%d ", sigwaitinfo(&set, &info));
        printf("%d ", info.si_value.sival_int);
    }
    putchar('\n');
    return 0;
}

static void *print_thread_mask(void *arg) {
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    print_set("thread", &set);
    return arg;
}

static int host_threads(void) {
    pthread_t threads[64];
    sigset_t some;
    void *result;
    pthread_create(&threads[0], NULL, print_thread_mask, NULL);
    pthread_join(threads[0], NULL);
    sigfillset(&some);
    pthread_sigmask(SIG_BLOCK, &some, NULL);
    pthread_create(&threads[0], NULL, print_thread_mask, threads);
    pthread_join(threads[0], &result);
    printf("%d\n", result == threads);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 64; i++)
            if (pthread_create(&threads[i], NULL, print_thread_mask + 0, NULL) != 0) return 1;
        for (int i = 0; i < 64; i++) pthread_join(threads[i], NULL);
    }
    pthread_attr_t wrong;
    pthread_attr_init(&wrong);
    printf("%d\n", pthread_attr_setstacksize(&wrong, 1));
    return 3;
}

static int host_descriptors(void) {
    for (int fd = 0; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
    int first = open("/dev/null", O_RDONLY);
    printf("next %d\n", first);
    fflush(stdout);
    syscall(SYS_close_range, 3, ~0u, 0);
    burn(20000000);
    pid_t child = fork();
    if (child == 0) {
        burn(50000000);
        for (int fd = 0; fd < 4096; fd++)
            if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
        printf("next %d\n", open("/dev/null", O_RDONLY));
        fflush(stdout);
        _exit(5);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child %d\n", WEXITSTATUS(status));
    return 0;
}

static int host_vfork(void) {
    sigset_t all, set;
    sigfillset(&all);
    for (volatile int i = 0; i < 50; i++) {
        fflush(stdout);
        pid_t child = vfork();
        if (child == 0) {
            sigprocmask(SIG_SETMASK, &all, NULL);
            signal(SIGSEGV, SIG_DFL);
            execl("/bin/true", "/bin/true", (char *)NULL);
            _exit(127);
        }
        int status;
        waitpid(child, &status, 0);
        printf("%d ", status);
    }
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    print_set("mask", &set);
    printf("%d\n", system("exit 6"));
    FILE *pipe = popen("echo from a pipe", "r");
    char line[64];
    printf("%s", fgets(line, sizeof line, pipe));
    printf("%d\n", pclose(pipe));
    return 0;
}

static int host_exec(void) {
    burn(20000000);
    execl("/bin/bash", "bash", "-c", "echo $$ >/dev/null; trap -p; echo exec; exit 8", (char *)NULL);
    return 1;
}

/* Computes and waits in turn: no wait may be interrupted by a tick. */
static int host_polls(void) {
    int interrupted = 0, fds[2];
    if (pipe(fds) != 0) return 1;
    struct pollfd nothing = {fds[0], POLLIN, 0};
    for (int i = 0; i < 400; i++) {
        burn(500000);
        struct timespec soon = {0, 10000};
        interrupted += poll(&nothing, 1, i % 2) < 0;
        interrupted += nanosleep(&soon, NULL) < 0;
    }
    printf("%d interrupted\n", interrupted);
    return 0;
}

static int host_burn(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, burn_thread, NULL);
    burn(200000000);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return 0;
}

static __attribute__((noinline)) int deep(int n) {
    volatile char space[512];
    space[0] = (char)n;
    return n < 0 ? 0 : deep(n + 1) + space[0];
}

static void *crash_thread(void *arg) {
    *(volatile int *)((char *)arg + 16) = 1;
    return NULL;
}

static void on_own(int signal) {
    static const char text[] = "my own handler\n";
    if (write(1, text, sizeof text - 1) < 0) _exit(1);
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(signal, &action, NULL);
    raise(signal);
}

static volatile int zero;

static int host(const char *what) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (strcmp(what, "signals") == 0) return host_signals();
    if (strcmp(what, "threads") == 0) return host_threads();
    if (strcmp(what, "descriptors") == 0) return host_descriptors();
    if (strcmp(what, "vfork") == 0) return host_vfork();
    if (strcmp(what, "exec") == 0) return host_exec();
    if (strcmp(what, "burn") == 0) return host_burn();
    if (strcmp(what, "polls") == 0) return host_polls();
    if (strncmp(what, "seccomp", 7) == 0) return seccomp_host(what, burn, burn_thread);
    printf("before the end\n");
    fflush(stdout);
    if (strcmp(what, "null") == 0) crash_thread(NULL);
    if (strcmp(what, "abort") == 0) abort();
    if (strcmp(what, "overflow") == 0) return deep(0);
    if (strcmp(what, "divide") == 0) return 5 / zero;
    if (strcmp(what, "threadcrash") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, crash_thread, NULL);
        pthread_join(thread, NULL);
    }
    if (strcmp(what, "ownhandler") == 0) {
        struct sigaction action = {.sa_handler = on_own}, old;
        sigaction(SIGSEGV, &action, &old);
        printf("%d\n", old.sa_handler == SIG_DFL);
        fflush(stdout);
        crash_thread(NULL);
    }
    return 1;
}

int main(int argc, char **argv) {
    static char path[4096];
    if (argc == 3 && strcmp(argv[1], "--host") == 0) return host(argv[2]);
    if (readlink("/proc/self/exe", path, sizeof path - 1) < 0) return 1;
    self_path = path;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ls_lists_the_same),
        cmocka_unit_test(perl_computes_the_same),
        cmocka_unit_test(perl_forks_the_same),
        cmocka_unit_test(a_shell_loop_goes_the_same_way),
        cmocka_unit_test(short_processes_need_not_speak_to_the_agent),
        cmocka_unit_test(sqlite_and_lua_answer_the_same),
        cmocka_unit_test(python_threads_and_children_are_the_same),
        cmocka_unit_test(deaths_are_the_same_and_are_recorded),
        cmocka_unit_test(a_nosy_host_sees_no_difference),
        cmocka_unit_test(a_sandbox_kills_nobody),
        cmocka_unit_test(threads_add_up),
        cmocka_unit_test(without_an_agent_the_program_runs),
        cmocka_unit_test(a_probe_that_cannot_start_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
