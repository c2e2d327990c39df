/*
 * The embedded runtime: the public si_runtime_* and si_profile_* functions.
 *
 * Host threads talk to the loop's thread through a short queue of commands and never wait longer than their timeout.
 * The thread si-loop owns the loop and the agent on it; all signals are blocked in it. Whoever leaves last frees the
 * runtime: the closer, or the loop's thread when the closer had no time to wait for it.
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

typedef enum command_kind { COMMAND_FLUSH, COMMAND_PROFILE_START, COMMAND_PROFILE_STOP } command_kind;

/* Shared by the caller and the loop's thread: whoever is last frees it. */
typedef struct command {
    struct command *next;
    struct si_runtime *runtime;
    command_kind kind;
    char type[16], workload[64];
    int done, rc, abandoned; /* under mutex */
} command;

struct si_runtime {
    pid_t owner;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* under mutex */
    int started, start_rc;
    command *queue; /* newest first */
    int close_wanted, close_rc;
    uint32_t close_timeout_ms;
    int deaf;   /* the loop takes no command any more */
    int ended;  /* the thread touches nothing any more */
    int orphan; /* nobody waits for the thread: it frees the runtime */
    /* the loop's thread */
    char start_error[256];
    uv_loop_t loop;
    uv_async_t wake;
    int loop_made, wake_made, closing;
    si__agent *agent;
    si__settings *settings; /* read-only */
};

static atomic_int taken;                /* from the start of an open until that runtime is freed */
static _Atomic(si_runtime *) current;   /* open, and nobody has begun to close it */
static _Atomic(si_runtime *) inherited; /* the parent's, in a forked child */
static atomic_int callers;              /* threads that may be looking at *current */

/* ---- The end of a runtime ---- */

static void runtime_free(si_runtime *rt) {
    si__settings_free(rt->settings);
    pthread_mutex_destroy(&rt->mutex);
    pthread_cond_destroy(&rt->changed);
    free(rt);
    atomic_store(&taken, 0);
}

/* Callers that got in before the close began have their answers by now: they are on their way out. */
static void wait_for_callers(void) {
    const struct timespec nap = {0, 200000};
    while (atomic_load(&callers) > 0) nanosleep(&nap, NULL);
}

/* ---- The loop's thread ---- */

/* The mutex is held. */
static void complete_locked(command *c, int rc) {
    c->rc = rc;
    c->done = 1;
    if (c->abandoned) free(c);
}

static void complete(command *c, int rc) {
    si_runtime *rt = c->runtime;
    pthread_mutex_lock(&rt->mutex);
    complete_locked(c, rc);
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
}

static void on_flushed(void *arg) {
    complete(arg, 0);
}

static void on_agent_freed(void *arg) {
    si_runtime *rt = arg;
    rt->agent = NULL;
    pthread_mutex_lock(&rt->mutex);
    rt->deaf = 1;
    pthread_mutex_unlock(&rt->mutex);
    uv_close((uv_handle_t *)&rt->wake, NULL);
}

static void on_stopped(void *arg, int rc) {
    si_runtime *rt = arg;
    pthread_mutex_lock(&rt->mutex);
    rt->close_rc = rc;
    pthread_mutex_unlock(&rt->mutex);
    si__agent_free(rt->agent, on_agent_freed, rt);
}

static void run_command(si_runtime *rt, command *c) {
    switch (c->kind) {
    case COMMAND_FLUSH:
        si__agent_flush(rt->agent, on_flushed, c);
        break;
    case COMMAND_PROFILE_START:
        complete(c, si__agent_manual_profile(rt->agent, 1, c->type, c->workload));
        break;
    case COMMAND_PROFILE_STOP:
        complete(c, si__agent_manual_profile(rt->agent, 0, c->type, NULL));
        break;
    }
}

static command *reversed(command *newest_first) {
    command *in_order = NULL;
    while (newest_first) {
        command *next = newest_first->next;
        newest_first->next = in_order;
        in_order = newest_first;
        newest_first = next;
    }
    return in_order;
}

static void on_wake(uv_async_t *wake) {
    si_runtime *rt = wake->data;
    pthread_mutex_lock(&rt->mutex);
    command *queue = reversed(rt->queue);
    rt->queue = NULL;
    int close_now = rt->close_wanted && !rt->closing;
    uint32_t timeout_ms = rt->close_timeout_ms;
    pthread_mutex_unlock(&rt->mutex);
    while (queue) {
        command *c = queue;
        queue = c->next;
        if (rt->closing)
            complete(c, SI_ESTATE);
        else
            run_command(rt, c);
    }
    if (!close_now) return;
    rt->closing = 1;
    si__agent_stop(rt->agent, timeout_ms, on_stopped, rt);
}

/* uv_loop_init (libuv 1.44.2) leaves its epoll descriptor open when a later step of it fails. The loop is all zeros
   when it failed before that one was made. */
static void close_half_made(uv_loop_t *loop) {
    if (uv_backend_fd(loop) > 0) close(uv_backend_fd(loop));
}

static int start_parts(si_runtime *rt) {
    if (uv_loop_init(&rt->loop) != 0) { /* no descriptors left, most likely */
        close_half_made(&rt->loop);
        return SI_EIO;
    }
    rt->loop_made = 1;
    if (uv_async_init(&rt->loop, &rt->wake, on_wake) != 0) return SI_EIO;
    rt->wake_made = 1;
    rt->wake.data = rt;
    const si__agent_options options = {.settings = rt->settings, .collectors = si__collectors};
    int rc = si__agent_new(&rt->loop, &options, &rt->agent, rt->start_error, sizeof rt->start_error);
    if (rc == 0) rc = si__agent_observe(rt->agent, rt->owner, si__probe_region(), 1, NULL, NULL);
    return rc;
}

static void undo_start(si_runtime *rt) {
    if (rt->agent)
        si__agent_free(rt->agent, on_agent_freed, rt);
    else if (rt->wake_made)
        uv_close((uv_handle_t *)&rt->wake, NULL);
}

/* Returns whether the opener has gone already. */
static int report_start(si_runtime *rt, int rc) {
    pthread_mutex_lock(&rt->mutex);
    rt->started = 1;
    rt->start_rc = rc;
    rt->deaf = rc != 0;
    int orphan = rt->orphan;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
    return orphan;
}

static void end_thread(si_runtime *rt) {
    pthread_mutex_lock(&rt->mutex);
    rt->ended = 1;
    while (rt->queue) {
        command *c = rt->queue;
        rt->queue = c->next;
        complete_locked(c, SI_ESTATE);
    }
    int orphan = rt->orphan;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
    if (!orphan) return; /* whoever waits may have freed it by now */
    wait_for_callers();
    runtime_free(rt);
}

static void *loop_main(void *arg) {
    si_runtime *rt = arg;
    prctl(PR_SET_NAME, "si-loop");
    si__thread_ignore_self();
    int rc = start_parts(rt);
    if (rc != 0) undo_start(rt);
    if (report_start(rt, rc) && rc == 0) undo_start(rt);
    if (rt->loop_made) {
        uv_run(&rt->loop, UV_RUN_DEFAULT);
        uv_loop_close(&rt->loop);
    }
    end_thread(rt);
    return NULL;
}

/* ---- Host threads: open ---- */

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

/* Waits for the thread to end, then frees; when it is in a long step, the thread is left to do it. */
static void leave(si_runtime *rt, uint32_t wait_ms) {
    pthread_t thread = rt->thread;
    pthread_mutex_lock(&rt->mutex);
    int ended = wait_for(rt, &rt->ended, wait_ms);
    rt->orphan = !ended;
    if (!ended) pthread_detach(thread); /* under the mutex: the thread cannot be gone yet */
    pthread_mutex_unlock(&rt->mutex);
    if (!ended) return;
    pthread_join(thread, NULL);
    wait_for_callers();
    runtime_free(rt);
}

/* Our threads are born with every signal blocked: no handler of the host ever runs on them. */
static int start_thread(si_runtime *rt) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, LOOP_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&rt->thread, &attr, loop_main, rt);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed ? SI_ENOMEM : 0;
}

static int start_runtime(si_runtime *rt) {
    int rc = start_thread(rt);
    if (rc != 0) {
        si__settings_log(rt->settings, SI_LOG_ERROR, "cannot start: no thread");
        si__probe_close();
        runtime_free(rt);
        return rc;
    }
    pthread_mutex_lock(&rt->mutex);
    rc = wait_for(rt, &rt->started, START_TIMEOUT_MS) ? rt->start_rc : SI_ETIMEDOUT;
    pthread_mutex_unlock(&rt->mutex);
    if (rc == 0) return 0;
    if (rc != SI_ETIMEDOUT) /* the thread may still be writing its reason */
        si__settings_log(rt->settings, SI_LOG_ERROR, "cannot start: %s",
                         *rt->start_error ? rt->start_error : si_strerror(rc));
    si__probe_close();
    leave(rt, rc == SI_ETIMEDOUT ? 0 : START_TIMEOUT_MS);
    return rc;
}

/* A forked child has a copy of everything and runs none of it. */
static void in_forked_child(void) {
    si_runtime *rt = atomic_exchange(&current, NULL);
    if (rt) atomic_store(&inherited, rt);
    if (rt && rt->agent) si__agent_after_fork(rt->agent);
    atomic_store(&callers, 0);
    atomic_store(&taken, 0);
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, in_forked_child);
}

static int open_taken(si_runtime **out, const si_options *options) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    si_runtime *rt = runtime_new();
    if (!rt) {
        atomic_store(&taken, 0);
        return SI_ENOMEM;
    }
    int rc = si__settings_new(&rt->settings, options, rt->start_error, sizeof rt->start_error);
    if (rc != 0) {
        si__settings_complain(options, rt->start_error);
        runtime_free(rt);
        return rc;
    }
    const si__probe_options probe = {.crashes = rt->settings->record_crashes, .crash_dir = rt->settings->state_dir};
    rc = si__probe_open(&probe);
    if (rc != 0) {
        si__settings_log(rt->settings, SI_LOG_ERROR, "cannot observe this process: %s", si_strerror(rc));
        runtime_free(rt);
        return rc;
    }
    rc = start_runtime(rt);
    if (rc != 0) return rc;
    *out = rt;
    atomic_store(&current, rt);
    return 0;
}

int si_runtime_open(si_runtime **out, const si_options *options) {
    if (!out || !options) return SI_EINVAL;
    *out = NULL;
    if (atomic_exchange(&taken, 1)) return SI_EEXIST;
    int saved = errno;
    int rc = open_taken(out, options);
    errno = saved;
    return rc;
}

/* ---- Host threads: calls ---- */

/* Hands a command to the loop's thread and waits for its result. */
static int call_entered(si_runtime *rt, command_kind kind, const char *type, const char *workload,
                        uint32_t timeout_ms) {
    command *c = calloc(1, sizeof *c);
    if (!c) return SI_ENOMEM;
    c->runtime = rt;
    c->kind = kind;
    if (type) snprintf(c->type, sizeof c->type, "%s", type);
    if (workload) snprintf(c->workload, sizeof c->workload, "%s", workload);
    pthread_mutex_lock(&rt->mutex);
    if (rt->deaf) {
        pthread_mutex_unlock(&rt->mutex);
        free(c);
        return SI_ESTATE;
    }
    c->next = rt->queue;
    rt->queue = c;
    uv_async_send(&rt->wake);
    int done = wait_for(rt, &c->done, timeout_ms);
    int rc = done ? c->rc : SI_ETIMEDOUT;
    c->abandoned = !done;
    pthread_mutex_unlock(&rt->mutex);
    if (done) free(c);
    return rc;
}

static int call(si_runtime *rt, command_kind kind, const char *type, const char *workload, uint32_t timeout_ms) {
    if (!rt) return SI_EINVAL;
    int saved = errno;
    atomic_fetch_add(&callers, 1); /* first: whoever closes after this look waits for us */
    int rc = atomic_load(&current) == rt ? call_entered(rt, kind, type, workload, timeout_ms) : SI_ESTATE;
    atomic_fetch_sub(&callers, 1);
    errno = saved;
    return rc;
}

int si_runtime_flush(si_runtime *rt, uint32_t timeout_ms) {
    return call(rt, COMMAND_FLUSH, NULL, NULL, timeout_ms);
}

int si_runtime_close(si_runtime *rt, uint32_t timeout_ms) {
    if (!rt) return 0;
    si_runtime *expected = rt;
    if (!atomic_compare_exchange_strong(&current, &expected, NULL))
        return atomic_load(&inherited) == rt ? 0 : SI_ESTATE; /* a forked child: nothing of ours runs here */
    int saved = errno;
    uint32_t wait_ms = timeout_ms < UINT32_MAX - GRACE_MS ? timeout_ms + GRACE_MS : UINT32_MAX;
    pthread_mutex_lock(&rt->mutex);
    rt->close_wanted = 1;
    rt->close_timeout_ms = timeout_ms;
    rt->close_rc = SI_ETIMEDOUT;
    uv_async_send(&rt->wake);
    int ended = wait_for(rt, &rt->ended, wait_ms);
    int rc = ended ? rt->close_rc : SI_ETIMEDOUT;
    pthread_mutex_unlock(&rt->mutex);
    si__probe_close();
    leave(rt, 0);
    errno = saved;
    return rc;
}

int si_profile_start(si_runtime *rt, const char *type, const char *workload) {
    if (!rt || !type) return SI_EINVAL;
    if (si__profile_type_named(type) < 0) return SI_EUNAVAILABLE;
    return call(rt, COMMAND_PROFILE_START, type, workload, 5000);
}

int si_profile_stop(si_runtime *rt, const char *type) {
    if (!rt || !type) return SI_EINVAL;
    if (si__profile_type_named(type) < 0) return SI_EUNAVAILABLE;
    return call(rt, COMMAND_PROFILE_STOP, type, NULL, 5000);
}
