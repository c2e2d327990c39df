/* The storms: see storm_host.h. */
#include "storm_host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;

static unsigned long burn(unsigned long rounds) {
    volatile unsigned long x = 1;
    for (unsigned long i = 0; i < rounds; i++) x = x * 31 + i;
    return x;
}

/* ---- Threads ---- */

static pthread_mutex_t shared = PTHREAD_MUTEX_INITIALIZER;
static long total;

static void *busy_thread(void *arg) {
    long sum = 0;
    for (int i = 0; i < 40; i++) {
        char *memory = malloc(64 + (size_t)(i * 37 % 5000));
        memset(memory, i, 64);
        sum += memory[5];
        pthread_mutex_lock(&shared);
        total += sum;
        pthread_mutex_unlock(&shared);
        free(memory);
        if (i % 16 == 0) sched_yield();
    }
    burn(20000);
    return arg;
}

static int thousand_threads(void) {
    enum { COUNT = 1000 };
    static pthread_t threads[COUNT];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * 1024);
    int made = 0;
    for (int i = 0; i < COUNT; i++) made += pthread_create(&threads[i], &attr, busy_thread, NULL) == 0;
    for (int i = 0; i < made; i++) pthread_join(threads[i], NULL);
    printf("%d threads, total %ld\n", made, total);
    return 0;
}

static int churn(void) {
    long made = 0;
    for (int i = 0; i < 4000; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, busy_thread, NULL) != 0) return 1;
        if (i % 3 == 0)
            pthread_detach(thread);
        else
            pthread_join(thread, NULL);
        made++;
    }
    printf("%ld threads\n", made);
    pthread_exit(NULL); /* the last one ends the process with 0 */
}

/* ---- Processes ---- */

static int children(void) {
    volatile int codes = 0;
    int status;
    for (volatile int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            free(malloc(100000));
            burn(100000);
            _exit(i % 7);
        }
        if (waitpid(child, &status, 0) == child) codes += WEXITSTATUS(status);
        child = vfork();
        if (child == 0) {
            if (i % 2) _exit(3);
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        if (waitpid(child, &status, 0) == child) codes += WEXITSTATUS(status);
        char *words[] = {(char *)"sh", (char *)"-c", (char *)"exit 2", NULL};
        if (posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ) == 0 && waitpid(child, &status, 0) == child)
            codes += WEXITSTATUS(status);
        if (i % 10 == 0) codes += WEXITSTATUS(system("exit 5"));
    }
    printf("codes %d\n", codes);
    errno = 0;
    pid_t none = waitpid(-1, &status, 0); /* a host that waits for any child meets its own alone */
    printf("any child: %d, %s\n", (int)none, strerror(errno));
    return 0;
}

static void *fork_in_thread(void *arg) {
    long codes = 0;
    for (int i = 0; i < 25; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;
            pthread_mutex_lock(&own);
            _exit(1);
        }
        if (waitpid(child, &status, 0) == child) codes += WEXITSTATUS(status);
    }
    *(long *)arg = codes;
    return NULL;
}

static int forks_in_threads(void) {
    pthread_t threads[8];
    long codes[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, fork_in_thread, &codes[i]);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        printf("%ld ", codes[i]);
    }
    puts("");
    return 0;
}

/* ---- Libraries ---- */

static volatile int stop_loading;

static void *compute(void *arg) {
    while (!stop_loading) {
        burn(50000);
        free(malloc(3000));
    }
    return arg;
}

static int libraries(void) {
    static const char *const names[] = {"libz.so.1", "libm.so.6", "libsqlite3.so.0", "liblua5.4.so.0", "libcurl.so.4"};
    pthread_t thread;
    long opened = 0;
    pthread_create(&thread, NULL, compute, NULL);
    for (int i = 0; i < 150; i++) {
        void *library = dlopen(names[i % 5], RTLD_NOW | RTLD_LOCAL);
        opened += library != NULL;
        if (library) dlclose(library);
    }
    stop_loading = 1;
    pthread_join(thread, NULL);
    printf("opened %ld, error %d\n", opened, dlopen("/nonexistent.so", RTLD_NOW) == NULL);
    return 0;
}

/* ---- Stacks ---- */

static ucontext_t main_context, contexts[8];
static long steps;

static void coroutine(int self) {
    for (int i = 0; i < 2000; i++) {
        free(malloc(500));
        burn(1000);
        steps++;
        swapcontext(&contexts[self], &contexts[(self + 1) % 8]);
    }
    setcontext(&main_context);
}

static int coroutines(void) {
    for (int i = 0; i < 8; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = malloc(64 * 1024);
        contexts[i].uc_stack.ss_size = 64 * 1024;
        contexts[i].uc_link = &main_context;
        makecontext(&contexts[i], (void (*)(void))coroutine, 1, i);
    }
    swapcontext(&main_context, &contexts[0]);
    printf("steps %ld\n", steps);
    return 0;
}

static volatile sig_atomic_t user_signals;

static void on_user(int signal) {
    (void)signal;
    user_signals++;
}

/* The smallest alternate stack that the kernel takes, and ticks while it is in use. */
static void *small_stack_thread(void *arg) {
    size_t bytes = 2048;
    stack_t small = {.ss_sp = malloc(64 * 1024), .ss_size = bytes};
    while (sigaltstack(&small, NULL) != 0 && errno == ENOMEM) small.ss_size += 512;
    for (int i = 0; i < 300; i++) {
        pthread_kill(pthread_self(), SIGUSR1);
        burn(20000);
    }
    return arg;
}

static int small_stacks(void) {
    struct sigaction action = {.sa_handler = on_user, .sa_flags = SA_RESTART}; /* not on the small one: too small */
    sigaction(SIGUSR1, &action, NULL);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, small_stack_thread, NULL);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    puts("small stacks");
    return user_signals == 0;
}

/* ---- Jumps ---- */

static sigjmp_buf out_of_wait;

static void jump(int signal) {
    (void)signal;
    siglongjmp(out_of_wait, 1);
}

static int jumps(void) {
    struct sigaction action = {.sa_handler = jump};
    sigaction(SIGALRM, &action, NULL);
    volatile int jumped = 0;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
    for (volatile int i = 0; i < 100; i++) {
        const struct itimerval soon = {.it_value = {0, 3000}};
        if (sigsetjmp(out_of_wait, 1) == 0) {
            setitimer(ITIMER_REAL, &soon, NULL);
            char byte;
            if (i % 2)
                pause();
            else
                read(ends[0], &byte, 1);
        } else {
            jumped++;
        }
        pthread_mutex_lock(&shared);
        pthread_mutex_unlock(&shared);
    }
    printf("jumped %d\n", jumped);
    return 0;
}

/* ---- Signals and descriptors of the host's own ---- */

static volatile sig_atomic_t profile_ticks, faults;
static volatile uintptr_t nowhere = 16;

static void on_profile(int signal) {
    (void)signal;
    profile_ticks++;
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    (void)context;
    faults++;
    siglongjmp(out_of_wait, 1);
}

static int own_handlers(void) {
    struct sigaction profile = {.sa_handler = on_profile, .sa_flags = SA_RESTART};
    struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGPROF, &profile, NULL);
    sigaction(SIGSEGV, &fault, NULL);
    const struct itimerval often = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_PROF, &often, NULL);
    for (volatile int i = 0; i < 50; i++) {
        burn(1000000);
        if (sigsetjmp(out_of_wait, 1) == 0) *(volatile int *)nowhere = 1;
    }
    const struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_PROF, &never, NULL);
    printf("faults %d, ticks %s\n", (int)faults, profile_ticks > 5 ? "many" : "few");
    return 0;
}

static int closes_everything(void) {
    closefrom(3);
    for (int i = 0; i < 200; i++) {
        int fd = open("/dev/null", O_RDONLY);
        if (fd != 3) printf("descriptor %d\n", fd);
        close(fd);
        burn(200000);
        free(malloc(20000));
    }
    puts("closed");
    return 0;
}

static int errors(void) {
    char byte;
    int ends[2];
    struct timespec bad = {0, 2000000000};
    if (pipe(ends) != 0) return 1;
#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        errno = 1234;                                                                                                  \
        long result = (long)(call);                                                                                    \
        printf(#call ": %ld %d\n", result, errno);                                                                     \
    } while (0)
    TRY(read(-1, &byte, 1));
    TRY(write(ends[0], "x", 1));
    TRY(open("/nonexistent", O_RDONLY));
    TRY(connect(0, NULL, 0));
    TRY(fsync(ends[0]));
    TRY(nanosleep(&bad, NULL));
    pthread_mutexattr_t attr;
    pthread_mutex_t checked;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&checked, &attr);
    TRY(pthread_mutex_lock(&checked));
    TRY(pthread_mutex_lock(&checked) == EDEADLK);
    TRY(pthread_mutex_trylock(&checked) == EBUSY);
    TRY(waitpid(-1, NULL, WNOHANG));
    TRY(malloc((size_t)1 << 62) == NULL);
    TRY(realloc(NULL, (size_t)1 << 62) == NULL);
    errno = 1234;
    free(malloc(10));
    printf("free: %d\n", errno);
    TRY(recv(ends[0], &byte, 1, 0));
    TRY(lockf(-1, F_LOCK, 0));
    return 0;
}

static const struct storm {
    const char *name;
    int (*run)(void);
} storms[] = {
    {"thousand_threads", thousand_threads},   {"churn", churn},         {"children", children},
    {"forks_in_threads", forks_in_threads},   {"libraries", libraries}, {"coroutines", coroutines},
    {"small_stacks", small_stacks},           {"jumps", jumps},         {"own_handlers", own_handlers},
    {"closes_everything", closes_everything}, {"errors", errors},       {"exceptions", storm_exceptions},
};

int storm_host(const char *name) {
    setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t i = 0; i < sizeof storms / sizeof *storms; i++)
        if (strcmp(storms[i].name, name) == 0) return storms[i].run();
    return -1;
}
