/*
 * The observed program as a child. We fork and exec ourselves rather than through uv_spawn, because the child must
 * get the signal mask that we were started with, and signals from a terminal reach it without our help.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct si__child {
    pid_t pid;
    int signal_fd;
    uv_poll_t poll;
    int done;
    void (*exited)(void *arg, int wait_status);
    void *arg;
};

static const int forwarded[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1, SIGUSR2,
                                SIGCONT, SIGALRM, SIGWINCH, SIGPWR,  SIGURG};

/* Would end us where an error is enough: a dashboard that hangs up, a file size limit. The child gets what we had. */
static const int ignored_signals[] = {SIGPIPE, SIGXFSZ};
enum { IGNORED_SIGNALS = sizeof ignored_signals / sizeof ignored_signals[0] };
static struct sigaction actions_before[IGNORED_SIGNALS];
static struct rlimit descriptors_before;
static int prepared;

static const char main_variable[] = "SI_PROBE_MAIN=";

/* In the child: its own process id, which introduces itself at once. */
static void fill_main(char **env) {
    for (; *env; env++)
        if (strncmp(*env, main_variable, sizeof main_variable - 1) == 0)
            snprintf(*env + sizeof main_variable - 1, 21, "%d", (int)getpid());
}

static char **environment_with(const char *preload, const char *socket_path) {
    size_t count = 0;
    while (environ[count]) count++;
    char **env = calloc(count + 4, sizeof *env);
    if (!env) return NULL;
    size_t out = 0;
    const char *earlier = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], "LD_PRELOAD=", 11) == 0)
            earlier = environ[i] + 11;
        else if (strncmp(environ[i], "SI_PROBE_SOCKET=", 16) != 0)
            env[out++] = environ[i];
    }
    if (asprintf(&env[out++], "LD_PRELOAD=%s%s%s", preload, earlier && *earlier ? ":" : "", earlier ? earlier : "") <
            0 ||
        asprintf(&env[out++], "SI_PROBE_SOCKET=%s", socket_path) < 0 ||
        asprintf(&env[out++], "%s%20d", main_variable, 0) < 0) {
        free(env);
        return NULL;
    }
    return env; /* lives until exec */
}

/* Reaps the child if it has ended. */
static void reap(si__child *child) {
    int status;
    if (child->done || waitpid(child->pid, &status, WNOHANG) != child->pid) return;
    child->done = 1;
    child->exited(child->arg, status);
}

/* A signal that the kernel sent (a terminal's Ctrl-C) reached the whole process group already. */
static void on_signal(uv_poll_t *poll, int status, int events) {
    si__child *child = poll->data;
    (void)status;
    (void)events;
    struct signalfd_siginfo info;
    while (read(child->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) continue;
        if (info.ssi_code == SI_KERNEL) continue;
        if (!child->done) kill(child->pid, (int)info.ssi_signo);
    }
    reap(child);
}

/* Each process below the program costs us descriptors. */
static void prepare_ourselves(void) {
    prepared = 1;
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    for (int i = 0; i < IGNORED_SIGNALS; i++) sigaction(ignored_signals[i], &ignore, &actions_before[i]);
    getrlimit(RLIMIT_NOFILE, &descriptors_before);
    struct rlimit more = descriptors_before;
    more.rlim_cur = more.rlim_max;
    setrlimit(RLIMIT_NOFILE, &more);
}

void si__child_restore_host(void) {
    if (!prepared) return;
    for (int i = 0; i < IGNORED_SIGNALS; i++) sigaction(ignored_signals[i], &actions_before[i], NULL);
    setrlimit(RLIMIT_NOFILE, &descriptors_before);
}

static void run_in_child(char *const argv[], char **env, const sigset_t *mask, int error_fd) {
    si__child_restore_host();
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (env) {
        fill_main(env);
        environ = env;
    }
    execvp(argv[0], argv);
    int error = errno;
    ssize_t ignored = write(error_fd, &error, sizeof error);
    (void)ignored;
    _exit(127);
}

/* 0 or the negative errno of a failed exec, learnt through a pipe that a successful exec closes. */
static int spawn(si__child *child, char *const argv[], char **env, const sigset_t *mask) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return -errno;
    child->pid = fork();
    if (child->pid == 0) run_in_child(argv, env, mask, fds[1]);
    int error = child->pid < 0 ? errno : 0;
    close(fds[1]);
    ssize_t n = 0;
    if (!error) do
            n = read(fds[0], &error, sizeof error);
        while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof error && child->pid > 0) error = 0;
    close(fds[0]);
    if (error && child->pid > 0) waitpid(child->pid, NULL, 0);
    return -error;
}

int si__child_start(uv_loop_t *loop, char *const argv[], const char *preload, const char *socket_path,
                    void (*exited)(void *arg, int wait_status), void *arg, si__child **out) {
    *out = NULL;
    si__child *child = calloc(1, sizeof *child);
    if (!child) return -ENOMEM;
    child->exited = exited;
    child->arg = arg;
    sigset_t set, before;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) sigaddset(&set, forwarded[i]);
    sigaddset(&set, SIGCHLD);
    prepare_ourselves();
    pthread_sigmask(SIG_BLOCK, &set, &before);
    child->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    char **env = preload ? environment_with(preload, socket_path) : NULL;
    int rc = child->signal_fd < 0 ? -errno : preload && !env ? -ENOMEM : spawn(child, argv, env, &before);
    if (rc == 0) rc = uv_poll_init(loop, &child->poll, child->signal_fd);
    if (rc != 0) {
        if (child->signal_fd >= 0) close(child->signal_fd);
        free(child);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return rc;
    }
    child->poll.data = child;
    uv_poll_start(&child->poll, UV_READABLE, on_signal);
    *out = child;
    reap(child);
    return 0;
}

pid_t si__child_pid(const si__child *child) {
    return child->pid;
}

static void on_closed(uv_handle_t *handle) {
    si__child *child = handle->data;
    close(child->signal_fd);
    free(child);
}

void si__child_free(si__child *child) {
    if (child) uv_close((uv_handle_t *)&child->poll, on_closed);
}

void si__child_exit_like(int wait_status) {
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core); /* the child has dumped its own */
        prctl(PR_SET_DUMPABLE, 0);
        signal(number, SIG_DFL);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, number);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        raise(number);
        _exit(128 + number);
    }
    exit(WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 1);
}
