/*
 * The programs that are observed for accuracy.h. They know nothing of us, and measure themselves what they do: CPU time
 * by the thread's clock, waits by the monotonic one, live bytes by adding up what they asked for.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "accuracy.h"

#define FUNCTION __attribute__((noinline, noclone)) static
/* The frame of the function stays below the call, and the function is not left by a jump. */
#define STAY __asm__ volatile("" ::: "memory")

static double us_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void say(const char *type, const char *function, const char *call, double truth, double sigma) {
    printf("%s %s %s %.3f %.3f\n", type, function, call, truth, sigma);
}

/* ---- CPU: turns of 2 to 30 ms, in no step with any timer ---- */

static double spin(double us) {
    double start = us_of(CLOCK_THREAD_CPUTIME_ID), now;
    do {
        for (volatile int i = 0; i < 3000; i++) continue;
        now = us_of(CLOCK_THREAD_CPUTIME_ID);
    } while (now < start + us);
    return now - start;
}

/* Each has a word of its own, else the compiler makes one function of them. */
#define COLOUR(name)                                                                                                   \
    static const char *volatile name##_word;                                                                           \
    FUNCTION double name(double us) {                                                                                  \
        name##_word = #name;                                                                                           \
        double spent = spin(us);                                                                                       \
        STAY;                                                                                                          \
        return spent;                                                                                                  \
    }
COLOUR(red)
COLOUR(green)
COLOUR(blue)
COLOUR(amber)

FUNCTION void *first_worker(void *turns) {
    double *spent = malloc(sizeof *spent);
    *spent = 0;
    uint32_t random = 7;
    for (int i = 0; i < *(int *)turns; i++) *spent += amber(2000 + next_random(&random) % 28000);
    STAY;
    return spent;
}
FUNCTION void *second_worker(void *turns) {
    double *spent = malloc(sizeof *spent);
    *spent = 0;
    uint32_t random = 8;
    for (int i = 0; i < 2 * *(int *)turns; i++) *spent += amber(2000 + next_random(&random) % 28000);
    STAY;
    return spent;
}

static int split_cpu(int scale) {
    double of[3] = {0};
    int turns = 15 * scale;
    uint32_t random = 1;
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, first_worker, &turns) ||
        pthread_create(&threads[1], NULL, second_worker, &turns))
        return 1;
    for (int i = 0; i < 70 * scale; i++) {
        uint32_t which = next_random(&random) % 10;
        double us = 2000 + next_random(&random) % 28000;
        if (which < 5)
            of[0] += red(us);
        else if (which < 8)
            of[1] += green(us);
        else
            of[2] += blue(us);
    }
    void *spent[2];
    for (int i = 0; i < 2; i++) pthread_join(threads[i], &spent[i]);
    say("cpu", "red", "share", of[0], 0); /* of what this thread takes */
    say("cpu", "green", "share", of[1], 0);
    say("cpu", "blue", "share", of[2], 0);
    say("cpu", "first_worker", "-", *(double *)spent[0], 0);
    say("cpu", "second_worker", "-", *(double *)spent[1], 0);
    say("cpu", "amber", "-", *(double *)spent[0] + *(double *)spent[1], 0);
    return 0;
}

/* ---- Waits: two threads a kind, one of which lets the other wait ---- */

static int wait_scale;

static void pause_us(double us) {
    struct timespec t = {(time_t)(us / 1e6), (long)(us * 1000) % 1000000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

typedef struct kind {
    const char *type, *function, *call;
    void *(*waiter)(void *), *(*other)(void *);
    int waits;
    double shortest_us, longest_us;
    double waited_us, variance; /* truth, and what sampling may make of it */
    pthread_mutex_t mutex;
    sem_t semaphore;
    int ends[2];
} kind;

/* A wait of w us is sampled with p = 1 - exp(-w / 1000) at the rate of `si run --folded`, and stands for w / p. */
static void add(kind *k, double us) {
    double p = -expm1(-us / 1000);
    k->waited_us += us;
    k->variance += us * us * (1 - p) / p;
}

static double wait_of(const kind *k, uint32_t *random) {
    return k->shortest_us + next_random(random) % 1000 * (k->longest_us - k->shortest_us) / 1000;
}

#define WAITER(name, ...)                                                                                              \
    FUNCTION void *name(void *arg) {                                                                                   \
        kind *k = arg;                                                                                                 \
        for (int i = 0; i < k->waits * wait_scale; i++) {                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
        STAY;                                                                                                          \
        return NULL;                                                                                                   \
    }
#define TIMED(statement)                                                                                               \
    do {                                                                                                               \
        double start_us = us_of(CLOCK_MONOTONIC);                                                                      \
        statement;                                                                                                     \
        add(k, us_of(CLOCK_MONOTONIC) - start_us);                                                                     \
    } while (0)

/* The holder tells by the semaphore that it holds, so every lock of the waiter is contended. */
FUNCTION void *hold(void *arg) {
    kind *k = arg;
    uint32_t random = 2;
    for (int i = 0; i < k->waits * wait_scale; i++) {
        char byte;
        pthread_mutex_lock(&k->mutex);
        sem_post(&k->semaphore);
        pause_us(wait_of(k, &random));
        pthread_mutex_unlock(&k->mutex);
        if (recv(k->ends[1], &byte, 1, 0) != 1) abort();
    }
    return NULL;
}
WAITER(
    wait_for_lock, while (sem_wait(&k->semaphore) != 0) {} TIMED(pthread_mutex_lock(&k->mutex));
    pthread_mutex_unlock(&k->mutex); if (send(k->ends[0], "x", 1, 0) != 1) abort();)
WAITER(
    wait_briefly_for_lock, while (sem_wait(&k->semaphore) != 0) {} TIMED(pthread_mutex_lock(&k->mutex));
    pthread_mutex_unlock(&k->mutex); if (send(k->ends[0], "x", 1, 0) != 1) abort();)

static uint32_t sleep_random = 4;
WAITER(sleep_long, struct timespec t = {0, (long)(wait_of(k, &sleep_random) * 1000)}; TIMED(nanosleep(&t, NULL));)
static uint32_t brief_random = 5;
WAITER(sleep_briefly, struct timespec t = {0, (long)(wait_of(k, &brief_random) * 1000)}; TIMED(nanosleep(&t, NULL));)

FUNCTION void *feed(void *arg) {
    kind *k = arg;
    uint32_t random = 3;
    for (int i = 0; i < k->waits * wait_scale; i++) {
        pause_us(wait_of(k, &random));
        if (write(k->ends[1], "xxxxxxxx", 8) != 8) abort();
    }
    return NULL;
}
FUNCTION void *post(void *arg) {
    kind *k = arg;
    uint32_t random = 6;
    for (int i = 0; i < k->waits * wait_scale; i++) {
        pause_us(wait_of(k, &random));
        sem_post(&k->semaphore);
    }
    return NULL;
}
static void take(kind *k) {
    char bytes[8];
    if (read(k->ends[0], bytes, 8) != 8) abort();
}
WAITER(read_pipe, TIMED(take(k));)
WAITER(receive, char bytes[8]; TIMED(if (recv(k->ends[0], bytes, 8, MSG_WAITALL) != 8) abort());)
WAITER(receive_briefly, char bytes[8]; TIMED(if (recv(k->ends[0], bytes, 8, MSG_WAITALL) != 8) abort());)
WAITER(wait_for_post, TIMED(while (sem_wait(&k->semaphore) != 0){});)
WAITER(poll_socket, struct pollfd p = {.fd = k->ends[0], .events = POLLIN}; TIMED(if (poll(&p, 1, -1) != 1) abort());
       take(k);)
FUNCTION void *poll_many(void *arg) {
    kind *k = arg;
    int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(set, EPOLL_CTL_ADD, k->ends[0], &event)) abort();
    for (int i = 0; i < k->waits * wait_scale; i++) {
        TIMED(if (epoll_wait(set, &event, 1, -1) != 1) abort());
        take(k);
    }
    close(set);
    return NULL;
}

#define KIND(type, function, call, other, waits, shortest_us, longest_us)                                              \
    {                                                                                                                  \
        type, #function, #call, function, other, waits, shortest_us, longest_us, 0, 0, PTHREAD_MUTEX_INITIALIZER,      \
            {{0}}, {                                                                                                   \
            0, 0                                                                                                       \
        }                                                                                                              \
    }
static kind kinds[] = {
    KIND("lock", wait_for_lock, pthread_mutex_lock, hold, 60, 8000, 20000),
    KIND("lock", wait_briefly_for_lock, pthread_mutex_lock, hold, 600, 100, 900),
    KIND("system", sleep_long, nanosleep, NULL, 60, 8000, 20000),
    KIND("system", sleep_briefly, nanosleep, NULL, 600, 100, 900),
    KIND("channel", read_pipe, read, feed, 60, 8000, 20000),
    KIND("channel", wait_for_post, sem_wait, post, 60, 8000, 20000),
    KIND("network", receive, recv, feed, 60, 8000, 20000),
    KIND("network", receive_briefly, recv, feed, 600, 100, 900),
    KIND("network", poll_socket, poll, feed, 60, 8000, 20000),
    KIND("network", poll_many, epoll_wait, feed, 60, 8000, 20000),
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int wait_in_all_ways(int scale) {
    pthread_t threads[KINDS][2];
    wait_scale = scale;
    for (int i = 0; i < KINDS; i++) {
        kind *k = &kinds[i];
        if (sem_init(&k->semaphore, 0, 0)) return 1;
        int is_pipe = strcmp(k->function, "read_pipe") == 0;
        if (is_pipe ? pipe(k->ends) : socketpair(AF_UNIX, SOCK_STREAM, 0, k->ends)) return 1;
        if (pthread_create(&threads[i][0], NULL, k->waiter, k)) return 1;
        if (k->other && pthread_create(&threads[i][1], NULL, k->other, k)) return 1;
    }
    for (int i = 0; i < KINDS; i++) {
        pthread_join(threads[i][0], NULL);
        if (kinds[i].other) pthread_join(threads[i][1], NULL);
        say(kinds[i].type, kinds[i].function, kinds[i].call, kinds[i].waited_us, sqrt(kinds[i].variance));
    }
    return 0;
}

/* ---- The heap ---- */

static void *volatile last;
static double variance; /* of the estimate of what was kept, at one sample in 64 KiB */

typedef struct block {
    struct block *next;
} block;
static block *held;

static double keep(size_t bytes, double mean) {
    block *made = malloc(bytes);
    if (!made) abort();
    made->next = held;
    held = made;
    double p = -expm1(-(double)bytes / mean);
    variance += (double)bytes * (double)bytes * (1 - p) / p;
    return (double)bytes;
}

static size_t some_size(uint32_t *random) { /* most are small */
    uint32_t r = next_random(random);
    return 16 + (r & 1023) * (r >> 10 & 15 ? 1 : 32);
}

FUNCTION double keep_some(double total) {
    double kept = 0;
    uint32_t random = 9;
    while (kept < total) kept += keep(some_size(&random), 65536);
    STAY;
    return kept;
}
FUNCTION double leak_buffers(int count) {
    double leaked = 0;
    for (int i = 0; i < count; i++) {
        leaked += 262144;
        last = malloc(262144);
    }
    STAY;
    return leaked;
}
FUNCTION void come_and_go(int count) {
    uint32_t random = 10;
    for (int i = 0; i < count; i++) {
        last = malloc(some_size(&random));
        free(last);
    }
    STAY;
}

static void *nothing(void *arg) {
    return arg;
}

/* A thread makes us known to the agent (a program that only lives some milliseconds may never be); then the rate of
   `si run` is in force soon. */
static void settle(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) == 0) pthread_join(thread, NULL);
    pause_us(150000);
}

/* The live set is 4 MiB, which 64 samples tell: the mean distance stays as it is (it grows from 100 a second on). */
static int live(void) {
    settle();
    double kept = keep_some(4 << 20);
    say("heap", "keep_some", "-", kept, sqrt(variance));
    return 0;
}

/* Blocks of 256 KiB are found nearly always at a mean of 64 to 128 KiB. What comes and goes leaves nothing. */
static int leak(int scale) {
    settle();
    double kept = keep_some(4 << 20);
    say("heap", "keep_some", "-", kept, sqrt(variance));
    double leaked = leak_buffers(40), p = -expm1(-2.0);
    say("heap", "leak_buffers", "-", leaked, sqrt(40 * 262144.0 * 262144.0 * (1 - p) / p));
    come_and_go(20000 * scale);
    say("heap", "come_and_go", "-", 0, 0);
    return 0;
}

int accuracy_program(const char *name, int scale) {
    if (strcmp(name, "cpu") == 0) return split_cpu(scale);
    if (strcmp(name, "waits") == 0) return wait_in_all_ways(scale);
    if (strcmp(name, "live") == 0) return live();
    if (strcmp(name, "leak") == 0) return leak(scale);
    return 2;
}
