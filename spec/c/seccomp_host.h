/* Programs that forbid themselves nearly everything, for preload_test: they must live as long as without the probe. */
#ifndef SI_SPEC_SECCOMP_HOST_H
#define SI_SPEC_SECCOMP_HOST_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FATAL(number)                                                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

/* Calls that only a probe makes are fatal from here on; so is the return from a handler, unless `signals`. */
static int seccomp_enter(int by_prctl, int signals) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        FATAL(SYS_gettid),
        FATAL(SYS_timer_create),
        FATAL(SYS_timer_settime),
        FATAL(SYS_timer_delete),
        FATAL(SYS_prctl),
        FATAL(SYS_socket),
        FATAL(SYS_memfd_create),
        FATAL(signals ? SYS_reboot : SYS_rt_sigreturn),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof code[0], code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    if (by_prctl) return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
}

/* In the sandbox: computes, starts a thread, forks, changes its mask, ends. `burn` uses CPU time. */
static int seccomp_work(void (*burn)(uint64_t ns), void *(*burn_thread)(void *)) {
    pthread_t thread;
    int status;
    burn(500000000); /* more than 64 ticks */
    pthread_create(&thread, NULL, burn_thread, NULL);
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0) {
        burn(50000000);
        _exit(4);
    }
    waitpid(child, &status, 0);
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    printf("%d in the sandbox\n", WEXITSTATUS(status));
    return 6;
}

/* For programs that may read no clock from here on: computes, and waits for a child that lives longer than some ticks.
 */
static int clockless_work(const int *from_child, long left) {
    char byte = 0;
    for (volatile long i = 0; i < 100000000; i++) {}
    return read(from_child[0], &byte, 1) == 1 && byte == 'x' && write(1, "woken\n", 6) == 6 ? (int)left : 1;
}

static int clockless_host(int strict) {
    int from_child[2];
    if (pipe(from_child) != 0) return 1;
    pid_t child = fork();
    if (child == 0) {
        usleep(400000);
        _exit(write(from_child[1], "x", 1) == 1 ? 0 : 1);
    }
    if (strict) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return 1;
        syscall(SYS_exit, clockless_work(from_child, 7));
    }
#if defined(__x86_64__)
    if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV) != 0) return 1;
#endif
    return clockless_work(from_child, 8);
}

/* `what`: prctl or syscall, quiet (no handler may return), forked (a child enters it), strict, clockless. */
static int seccomp_host(const char *what, void (*burn)(uint64_t ns), void *(*burn_thread)(void *)) {
    int status = 0;
    burn(20000000);
    if (strstr(what, "forked") && fork() != 0) {
        wait(&status);
        return WEXITSTATUS(status);
    }
    if (strstr(what, "strict") || strstr(what, "clockless")) return clockless_host(strstr(what, "strict") != NULL);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) != -1) return 1; /* as one asks whether there is any */
    if (seccomp_enter(strstr(what, "prctl") != NULL, !strstr(what, "quiet")) != 0) return 2;
    return seccomp_work(burn, burn_thread);
}

#endif
