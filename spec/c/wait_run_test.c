/*
 * Waits of a program that knows nothing of us, under `si run`: the folded files hold the time that it says it waited,
 * and its output, exit code and children are the same as without us. The program is this test itself, with a word.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SI SI_BINARY_DIR "/bin/si"

static const char *self_path;
static char dir[] = "/tmp/si_wait_run_XXXXXX";

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* ---- The program: each word waits, and prints for how many microseconds ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static sem_t semaphore;
static int ends[2], sockets[2], ready;
static _Atomic uint32_t released;

static void *release_all(void *arg) {
    (void)arg;
    usleep(150000);
    pthread_mutex_unlock(&mutex); /* a plain mutex may be handed on: the first wait ends */
    usleep(150000);
    pthread_mutex_lock(&mutex);
    ready = 1;
    pthread_cond_signal(&condition);
    pthread_mutex_unlock(&mutex);
    usleep(150000);
    if (write(ends[1], "x", 1) != 1) abort();
    usleep(150000);
    if (send(sockets[1], "x", 1, 0) != 1) abort();
    usleep(150000);
    sem_post(&semaphore);
    usleep(150000);
    released = 1;
    syscall(SYS_futex, &released, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    usleep(150000);
    return NULL;
}

#define TIMED(name, statement)                                                                                         \
    do {                                                                                                               \
        double start_us = now_us();                                                                                    \
        statement;                                                                                                     \
        printf("%s %.0f\n", name, now_us() - start_us);                                                                \
    } while (0)

__attribute__((noinline)) static int wait_for_each(void) {
    char byte;
    pthread_t thread;
    sem_init(&semaphore, 0, 0);
    if (pipe(ends) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets)) return 1;
    pthread_mutex_lock(&mutex);
    if (pthread_create(&thread, NULL, release_all, NULL)) return 1;
    TIMED("lock;pthread_mutex_lock", pthread_mutex_lock(&mutex));
    TIMED("lock;pthread_cond_wait", while (!ready) pthread_cond_wait(&condition, &mutex));
    pthread_mutex_unlock(&mutex);
    TIMED("channel;read", if (read(ends[0], &byte, 1) != 1) return 1);
    TIMED("network;recv", if (recv(sockets[0], &byte, 1, 0) != 1) return 1);
    TIMED("channel;sem_wait", sem_wait(&semaphore));
#if defined(__x86_64__) /* elsewhere it is not seen */
    TIMED("lock;futex", while (!released) syscall(SYS_futex, &released, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
#endif
    TIMED("lock;pthread_join", pthread_join(thread, NULL));
    TIMED("system;nanosleep", nanosleep(&(struct timespec){0, 150000000}, NULL));
    return 0;
}

static int start_children(void) {
    extern char **environ;
    char *const argv[] = {"/bin/sh", "-c", "echo spawned; exit 5", NULL};
    int status;
    pid_t child;
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("system %d\n", WEXITSTATUS(system("echo in a shell; exit 3")));
    if (posix_spawn(&child, "/bin/sh", NULL, NULL, argv, environ) || waitpid(child, &status, 0) != child) return 1;
    printf("spawned %d\n", WEXITSTATUS(status));
    child = vfork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY); /* in our parent's memory: hooked calls must not mind */
        if (write(null, "x", 1) != 1 || close(null)) _exit(9);
        usleep(20000);
        execve("/bin/sh", argv, environ);
        _exit(9);
    }
    if (waitpid(child, &status, 0) != child) return 1;
    printf("vforked %d\n", WEXITSTATUS(status));
    child = fork();
    if (child == 0) {
        pthread_mutex_lock(&mutex);
        pthread_mutex_unlock(&mutex);
        usleep(20000);
        _exit(6);
    }
    if (waitpid(child, &status, 0) != child) return 1;
    printf("forked %d\n", WEXITSTATUS(status));
    FILE *shell = popen("read line; echo \"got $line\"", "w");
    if (!shell || fputs("a line\n", shell) < 0 || pclose(shell)) return 1;
    errno = 0;
    printf("read %zd", read(77, NULL, 0));
    printf(" errno %d\n", errno);
    return 7;
}

static int hang(void) {
    pthread_mutex_lock(&mutex);
    alarm(2);
    pthread_mutex_lock(&mutex);
    return 0;
}

/* ---- The tests ---- */

static int shell(char *out, size_t room, const char *format, ...) {
    char command[1024] = "", full[2048];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    snprintf(full, sizeof full, "cd %s && exec 2>&1 && %s", dir, command);
    FILE *pipe = popen(full, "r");
    assert_non_null(pipe);
    size_t got = fread(out, 1, room - 1, pipe);
    out[got] = '\0';
    return pclose(pipe);
}

/* Microseconds of the lines of FOLDER/TYPE.folded that contain `function` and end with `call`. */
static double folded_us(const char *folder, const char *type, const char *function, const char *call) {
    char path[256], line[65536];
    snprintf(path, sizeof path, "%s/%s/%s.folded", dir, folder, type);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    double sum = 0;
    while (fgets(line, sizeof line, file)) {
        char *space = strrchr(line, ' ');
        assert_non_null(space);
        *space = '\0';
        size_t length = strlen(line), tail = strlen(call);
        if (strstr(line, function) && length > tail && strcmp(line + length - tail, call) == 0 &&
            line[length - tail - 1] == ';')
            sum += atof(space + 1);
    }
    fclose(file);
    return sum;
}

/* A sample point is met with p = 1 - exp(-15). */
static void waits_are_what_the_program_says(void **state) {
    (void)state;
    char out[8192], type[32], call[64];
    double told_us;
    int found = 0, length;
    assert_int_equal(shell(out, sizeof out, SI " run --folded out -- %s --wait", self_path), 0);
    for (const char *at = out; sscanf(at, " %31[^;];%63s %lf%n", type, call, &told_us, &length) == 3; at += length) {
        double measured_us = folded_us("out", type, ";wait_for_each;", call);
        double slack_us = 0.02 * told_us + 3000;
        if (measured_us < told_us - slack_us || measured_us > told_us + slack_us)
            print_message("%s: %.0f us, not %.0f\n", call, measured_us, told_us);
        assert_true(measured_us >= told_us - slack_us && measured_us <= told_us + slack_us);
        found++;
    }
#if defined(__x86_64__)
    assert_int_equal(found, 8);
#else
    assert_int_equal(found, 7);
#endif
    double slept_us = folded_us("out", "system", ";release_all;", "usleep");
    assert_true(slept_us >= 7 * 150000 && slept_us < 7 * 150000 * 2);
}

static void children_and_output_are_the_same(void **state) {
    (void)state;
    char plain[4096], observed[4096];
    int expected = shell(plain, sizeof plain, "%s --children", self_path);
    int status = shell(observed, sizeof observed, SI " run --folded out2 -- %s --children", self_path);
    assert_string_equal(observed, plain);
    assert_int_equal(status, expected);
    assert_int_equal(WEXITSTATUS(status), 7);
    assert_true(folded_us("out2", "system", ";start_children;", "waitpid") >= 2 * 20000 * 0.5);
}

static void a_hang_is_in_the_profile_though_it_never_ended(void **state) {
    (void)state;
    char out[4096];
    int status = shell(out, sizeof out, SI " run --folded out3 -- %s --hang", self_path);
    assert_int_equal(WEXITSTATUS(status), 128 + SIGALRM);
    double hung_us = folded_us("out3", "lock", "hang;", "pthread_mutex_lock") + folded_us("out3", "lock", ";", "hang");
    assert_true(hung_us > 1.8e6 && hung_us < 30e6);
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf -- %s", dir);
    return system(command);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--wait") == 0) return wait_for_each();
    if (argc == 2 && strcmp(argv[1], "--children") == 0) return start_children();
    if (argc == 2 && strcmp(argv[1], "--hang") == 0) return hang();
    static char path[4096];
    self_path = realpath(argv[0], path);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_what_the_program_says),
        cmocka_unit_test(children_and_output_are_the_same),
        cmocka_unit_test(a_hang_is_in_the_profile_though_it_never_ended),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
