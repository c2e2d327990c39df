/*
 * `si sidecar`: observes running processes from outside, by their metrics, under the same rules.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "../collectors/collector.h"
#include "../runtime/agent.h"
#include "../runtime/settings.h"
#include "arguments.h"
#include "command.h"
#include "resident.h"

enum { SCAN_MS = 1000, SEARCH_EVERY = 10, MAX_PROCESSES = 64, STOP_TIMEOUT_MS = 5000 };

typedef struct observed {
    pid_t pid;
    unsigned long long started; /* tells a process from a later one with the same id */
} observed;

typedef struct sidecar {
    uv_loop_t loop;
    si__arguments args;
    si__settings *settings;
    si__agent *agent;
    uv_timer_t scan;
    si__resident resident;
    uv_signal_t term, interrupt;
    observed processes[MAX_PROCESSES];
    size_t count;
    unsigned scans;
    int stopping;
} sidecar;

/* Start time in clock ticks from /proc/PID/stat, and the name between its parentheses. 0: gone. */
static unsigned long long start_time(pid_t pid, char *name, size_t name_bytes) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return 0;
    text[length] = '\0';
    char *open_at = strchr(text, '('), *close_at = strrchr(text, ')');
    if (!open_at || !close_at || close_at < open_at) return 0;
    snprintf(name, name_bytes, "%.*s", (int)(close_at - open_at - 1), open_at + 1);
    if (close_at[1] && close_at[2] == 'Z') return 0;
    unsigned long long started = 0;
    sscanf(close_at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &started);
    return started;
}

/* The kernel's name of a process has 15 bytes at most; the program's file has all of them. */
static int has_name(pid_t pid, const char *comm, const char *name) {
    if (strcmp(comm, name) == 0) return 1;
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) return 0;
    target[length] = '\0';
    const char *slash = strrchr(target, '/');
    return slash && strcmp(slash + 1, name) == 0;
}

static void stop(sidecar *s);

static void forget_ended(sidecar *s) {
    char name[64];
    for (size_t i = s->count; i-- > 0;) {
        if (start_time(s->processes[i].pid, name, sizeof name) == s->processes[i].started) continue;
        si__agent_process_ended(s->agent, s->processes[i].pid);
        s->processes[i] = s->processes[--s->count];
    }
}

static void observe(sidecar *s, pid_t pid, unsigned long long started) {
    for (size_t i = 0; i < s->count; i++)
        if (s->processes[i].pid == pid) return;
    if (s->count == MAX_PROCESSES || si__agent_observe(s->agent, pid, NULL, 0, NULL, NULL) != 0) return;
    s->processes[s->count++] = (observed){pid, started};
}

static void find_by_name(sidecar *s) {
    DIR *proc = opendir("/proc");
    const struct dirent *entry;
    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)atoi(entry->d_name);
        char comm[64];
        if (pid <= 0 || pid == getpid()) continue;
        unsigned long long started = start_time(pid, comm, sizeof comm);
        if (started && has_name(pid, comm, s->args.name)) observe(s, pid, started);
    }
    if (proc) closedir(proc);
}

static void on_scan(uv_timer_t *timer) {
    sidecar *s = timer->data;
    forget_ended(s);
    if (!s->args.name && s->count == 0) stop(s);
    if (!s->args.name) return;
    /* To look at every process of a machine costs; to look at the known ones costs little. */
    if (s->count == 0 || s->scans++ % SEARCH_EVERY == 0) find_by_name(s);
    si__agent_status(s->agent, "process", s->count ? "on" : "degraded", s->count ? "" : "no process of that name runs");
}

static void on_agent_freed(void *arg) {
    sidecar *s = arg;
    uv_close((uv_handle_t *)&s->scan, NULL);
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
}

static void on_stopped(void *arg, int rc) {
    sidecar *s = arg;
    (void)rc;
    si__agent_free(s->agent, on_agent_freed, s);
}

static void stop(sidecar *s) {
    if (s->stopping) return;
    s->stopping = 1;
    si__resident_end(&s->resident);
    uv_timer_stop(&s->scan);
    si__agent_stop(s->agent, STOP_TIMEOUT_MS, on_stopped, s);
}

static void on_signal(uv_signal_t *handle, int number) {
    (void)number;
    stop(handle->data);
}

static int start(sidecar *s) {
    char error[256] = "", comm[64];
    unsigned long long started = s->args.pid ? start_time(s->args.pid, comm, sizeof comm) : 0;
    if (s->args.pid && !started) {
        fprintf(stderr, "si sidecar: option --pid: no process %d\n", (int)s->args.pid);
        return 1;
    }
    const si__agent_options options = {.settings = s->settings, .collectors = si__collectors};
    if (si__agent_new(&s->loop, &options, &s->agent, error, sizeof error) != 0) {
        fprintf(stderr, "si sidecar: %s\n", error);
        return 1;
    }
    si__agent_status(s->agent, "probe", "off", "observed from outside: metrics alone; use 'si run' for profiles");
    if (s->args.pid) observe(s, s->args.pid, started);
    uv_timer_init(&s->loop, &s->scan);
    si__resident_start(&s->resident, &s->loop, s->agent);
    uv_signal_init(&s->loop, &s->term);
    uv_signal_init(&s->loop, &s->interrupt);
    s->scan.data = s->term.data = s->interrupt.data = s;
    uv_timer_start(&s->scan, on_scan, 0, SCAN_MS);
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
    return 0;
}

int si__command_sidecar(int argc, char **argv) {
    static sidecar s;
    char error[256], comm[64] = "";
    si__resident_setup();
    int rc = si__arguments_parse(&s.args, SI__ACCEPT_SIDECAR, argc, argv);
    if (rc) return rc < 0 ? 0 : rc;
    if (s.args.pid) start_time(s.args.pid, comm, sizeof comm);
    if (!s.args.options.app_name) s.args.options.app_name = s.args.name ? s.args.name : *comm ? comm : NULL;
    if (si__settings_new(&s.settings, &s.args.options, error, sizeof error) != 0) {
        si__arguments_refuse("sidecar", error);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* a dashboard that hangs up in the middle of a TLS record */
    if (uv_loop_init(&s.loop) != 0) {
        fprintf(stderr, "si sidecar: no event loop: %s\n", strerror(errno));
        return 1;
    }
    rc = start(&s);
    if (rc) exit(rc);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    si__settings_free(s.settings);
    return 0;
}
