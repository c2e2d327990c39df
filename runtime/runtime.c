/*
 * The embedded runtime: the public si_runtime_* and si_profile_* functions.
 *
 * Host threads talk to the loop's thread through a short queue of commands and never wait longer than their timeout.
 * The thread si-loop owns the loop and the agent on it; all signals are blocked in it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "../collectors/collector.h"
#include "../collectors/native/probe.h"
#include "agent.h"
#include "settings.h"

enum { LOOP_STACK_BYTES = 1024 * 1024, START_TIMEOUT_MS = 10000, GRACE_MS = 500 };

typedef enum command_kind { COMMAND_CLOSE, COMMAND_FLUSH, COMMAND_PROFILE_START, COMMAND_PROFILE_STOP } command_kind;

/* Shared by the caller and the loop's thread: whoever is last frees it. */
typedef struct command {
    struct command *next;
    struct si_runtime *runtime;
    command_kind kind;
    uint32_t timeout_ms;
    char workload[64];
    int done, rc, abandoned;
} command;

struct si_runtime {
    pid_t owner; /* a forked child has our memory, but not our thread */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int started, start_rc, ended; /* under mutex */
    command *queue;               /* under mutex, newest first */
    char start_error[256];
    uv_loop_t loop;
    uv_async_t wake;
    si__settings *settings;
    si__agent *agent;
    command *closing;
};

static _Atomic(si_runtime *) open_runtime;
static atomic_int opening;

/* ---- The loop's thread ---- */

static void complete(command *c, int rc) {
    si_runtime *rt = c->runtime;
    pthread_mutex_lock(&rt->mutex);
    c->rc = rc;
    c->done = 1;
    int abandoned = c->abandoned;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
    if (abandoned) free(c);
}

static void on_flushed(void *arg) {
    complete(arg, 0);
}

static void on_agent_freed(void *arg) {
    si_runtime *rt = arg;
    uv_close((uv_handle_t *)&rt->wake, NULL);
}

static void on_stopped(void *arg, int rc) {
    si_runtime *rt = arg;
    rt->closing->rc = rc;
    si__agent_free(rt->agent, on_agent_freed, rt);
}

static void run_command(si_runtime *rt, command *c) {
    switch (c->kind) {
    case COMMAND_CLOSE:
        rt->closing = c;
        si__agent_stop(rt->agent, c->timeout_ms, on_stopped, rt);
        break;
    case COMMAND_FLUSH:
        si__agent_flush(rt->agent, on_flushed, c);
        break;
    case COMMAND_PROFILE_START:
        complete(c, si__agent_manual_profile(rt->agent, 1, c->workload));
        break;
    case COMMAND_PROFILE_STOP:
        complete(c, si__agent_manual_profile(rt->agent, 0, NULL));
        break;
    }
}

static void on_wake(uv_async_t *wake) {
    si_runtime *rt = wake->data;
    pthread_mutex_lock(&rt->mutex);
    command *newest_first = rt->queue;
    rt->queue = NULL;
    pthread_mutex_unlock(&rt->mutex);
    command *in_order = NULL;
    while (newest_first) {
        command *next = newest_first->next;
        newest_first->next = in_order;
        in_order = newest_first;
        newest_first = next;
    }
    while (in_order) {
        command *next = in_order->next;
        if (rt->closing)
            complete(in_order, SI_ESTATE);
        else
            run_command(rt, in_order);
        in_order = next;
    }
}

static void report_start(si_runtime *rt, int rc) {
    pthread_mutex_lock(&rt->mutex);
    rt->started = 1;
    rt->start_rc = rc;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
}

static void report_end(si_runtime *rt) {
    pthread_mutex_lock(&rt->mutex);
    rt->ended = 1;
    if (rt->closing) rt->closing->done = 1;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
}

static int start_parts(si_runtime *rt) {
    if (uv_loop_init(&rt->loop) != 0) return SI_ENOMEM;
    if (uv_async_init(&rt->loop, &rt->wake, on_wake) != 0) return SI_ENOMEM;
    rt->wake.data = rt;
    const si__agent_options options = {.settings = rt->settings, .collectors = si__collectors};
    int rc = si__agent_new(&rt->loop, &options, &rt->agent, rt->start_error, sizeof rt->start_error);
    if (rc == 0) rc = si__agent_observe(rt->agent, rt->owner, si__probe_region(), 1, NULL, NULL);
    return rc;
}

static void *loop_main(void *arg) {
    si_runtime *rt = arg;
    prctl(PR_SET_NAME, "si-loop");
    si__thread_ignore_self();
    int rc = start_parts(rt);
    if (rc != 0 && rt->agent) si__agent_free(rt->agent, on_agent_freed, rt);
    report_start(rt, rc);
    uv_run(&rt->loop, rc == 0 || rt->agent ? UV_RUN_DEFAULT : UV_RUN_NOWAIT);
    uv_loop_close(&rt->loop);
    report_end(rt);
    return NULL;
}

/* ---- Host threads ---- */

static struct timespec deadline_after(uint32_t ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* Waits until *flag is set or the deadline has passed; the mutex is held. Returns the flag. */
static int wait_for(si_runtime *rt, const int *flag, uint32_t timeout_ms) {
    struct timespec deadline = deadline_after(timeout_ms);
    while (!*flag)
        if (pthread_cond_timedwait(&rt->changed, &rt->mutex, &deadline) == ETIMEDOUT) break;
    return *flag;
}

static void runtime_free(si_runtime *rt) {
    si__settings_free(rt->settings);
    pthread_mutex_destroy(&rt->mutex);
    pthread_cond_destroy(&rt->changed);
    free(rt);
}

static si_runtime *runtime_new(void) {
    si_runtime *rt = calloc(1, sizeof *rt);
    if (!rt) return NULL;
    rt->owner = getpid();
    pthread_mutex_init(&rt->mutex, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&rt->changed, &attr);
    pthread_condattr_destroy(&attr);
    return rt;
}

/* Our threads are born with every signal blocked: no handler of the host ever runs on them. */
static int start_thread(si_runtime *rt) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, LOOP_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&rt->thread, &attr, loop_main, rt);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) return SI_ENOMEM;
    pthread_mutex_lock(&rt->mutex);
    int started = wait_for(rt, &rt->started, START_TIMEOUT_MS);
    rc = started ? rt->start_rc : SI_ETIMEDOUT;
    pthread_mutex_unlock(&rt->mutex);
    if (started && rc != 0) pthread_join(rt->thread, NULL);
    return rc;
}

/* A forked child has a copy of everything and runs none of it. */
static void in_forked_child(void) {
    const si_runtime *rt = atomic_load(&open_runtime);
    if (rt && rt->agent) si__agent_after_fork(rt->agent);
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, in_forked_child);
}

static int open_checked(si_runtime **out, const si_options *options) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    if (atomic_load(&open_runtime) && atomic_load(&open_runtime)->owner == getpid()) return SI_EEXIST;
    si_runtime *rt = runtime_new();
    if (!rt) return SI_ENOMEM;
    int rc = si__settings_new(&rt->settings, options, rt->start_error, sizeof rt->start_error);
    if (rc != 0) {
        si__settings_complain(options, rt->start_error);
        runtime_free(rt);
        return rc;
    }
    rc = si__probe_open(NULL);
    if (rc != 0) si__settings_log(rt->settings, SI_LOG_ERROR, "cannot observe this process: %s", si_strerror(rc));
    if (rc == 0) {
        rc = start_thread(rt);
        if (rc != 0) {
            si__settings_log(rt->settings, SI_LOG_ERROR, "cannot start: %s",
                             *rt->start_error ? rt->start_error : si_strerror(rc));
            si__probe_close();
        }
    }
    if (rc == SI_ETIMEDOUT) return rc; /* the thread still uses it */
    if (rc != 0) {
        runtime_free(rt);
        return rc;
    }
    atomic_store(&open_runtime, rt);
    *out = rt;
    return 0;
}

int si_runtime_open(si_runtime **out, const si_options *options) {
    if (!out || !options) return SI_EINVAL;
    *out = NULL;
    if (atomic_exchange(&opening, 1)) return SI_EEXIST;
    int saved = errno;
    int rc = open_checked(out, options);
    atomic_store(&opening, 0);
    errno = saved;
    return rc;
}

/* Hands a command to the loop's thread and waits for its result. */
static int call(si_runtime *rt, command_kind kind, const char *workload, uint32_t timeout_ms, uint32_t wait_ms) {
    if (!rt) return SI_EINVAL;
    if (rt->owner != getpid()) return SI_ESTATE;
    int saved = errno;
    command *c = calloc(1, sizeof *c);
    if (!c) return SI_ENOMEM;
    c->runtime = rt;
    c->kind = kind;
    c->timeout_ms = timeout_ms;
    if (workload) snprintf(c->workload, sizeof c->workload, "%s", workload);
    pthread_mutex_lock(&rt->mutex);
    c->next = rt->queue;
    rt->queue = c;
    uv_async_send(&rt->wake);
    int done = wait_for(rt, &c->done, wait_ms);
    int rc = done ? c->rc : SI_ETIMEDOUT;
    if (!done) c->abandoned = 1;
    pthread_mutex_unlock(&rt->mutex);
    if (done) free(c);
    errno = saved;
    return rc;
}

int si_runtime_flush(si_runtime *rt, uint32_t timeout_ms) {
    return call(rt, COMMAND_FLUSH, NULL, timeout_ms, timeout_ms);
}

int si_runtime_close(si_runtime *rt, uint32_t timeout_ms) {
    if (!rt) return 0;
    si_runtime *expected = rt;
    if (!atomic_compare_exchange_strong(&open_runtime, &expected, NULL)) return SI_ESTATE;
    if (rt->owner != getpid()) return 0; /* a forked child: nothing of ours runs here */
    int saved = errno;
    int rc = call(rt, COMMAND_CLOSE, NULL, timeout_ms, timeout_ms + GRACE_MS);
    si__probe_close();
    pthread_mutex_lock(&rt->mutex);
    int ended = rt->ended;
    pthread_mutex_unlock(&rt->mutex);
    if (ended) {
        pthread_join(rt->thread, NULL);
        runtime_free(rt);
    } else {
        pthread_detach(rt->thread); /* it is in a long step; what it uses stays */
    }
    errno = saved;
    return rc;
}

int si_profile_start(si_runtime *rt, const char *type, const char *workload) {
    if (!rt || !type) return SI_EINVAL;
    if (strcmp(type, "cpu") != 0) return SI_EUNAVAILABLE;
    return call(rt, COMMAND_PROFILE_START, workload, 0, 5000);
}

int si_profile_stop(si_runtime *rt, const char *type) {
    if (!rt || !type) return SI_EINVAL;
    if (strcmp(type, "cpu") != 0) return SI_EUNAVAILABLE;
    return call(rt, COMMAND_PROFILE_STOP, NULL, 0, 5000);
}
