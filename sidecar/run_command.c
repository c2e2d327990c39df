/*
 * `si run`: starts a program with the probe preloaded, observes it and what it starts, and ends as it ended.
 */
#include <errno.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "../collectors/collector.h"
#include "../collectors/native/hello.h"
#include "../runtime/agent.h"
#include "../runtime/sampler.h"
#include "../runtime/settings.h"
#include "arguments.h"
#include "child.h"
#include "command.h"
#include "probe_path.h"
#include "probe_server.h"
#include "program.h"
#include "resident.h"

enum { MIN_DESCRIPTORS = 16, STOP_TIMEOUT_MS = 10000, DEFAULT_HZ = 100, LATE_PROBE_MS = 2000 };

typedef struct run {
    uv_loop_t loop;
    si__arguments args;
    si__settings *settings;
    si__agent *agent;
    si__probe_server *server; /* NULL: nothing is preloaded */
    si__child *child;
    uv_timer_t late;
    si__resident resident;
    int wait_status, file_failed;
    int children_only; /* the program itself takes no probe, and we have said so */
} run;

/* ---- Files at the end ---- */

/* A file for each type: "DIR/heap.folded". */
static int save(run *r, const char *dir, const char *extension,
                int (*write)(si__agent *, si__profile_type, const char *)) {
    char path[4200];
    int failed = 0;
    for (int type = 0; dir && type < SI__PROFILE_TYPES; type++) {
        const si__profile_kind *kind = si__profile_kind_of((si__profile_type)type);
        snprintf(path, sizeof path, "%s/%s.%s", dir, kind->name, extension);
        int rc = write(r->agent, (si__profile_type)type, path);
        if (rc) fprintf(stderr, "si run: %s: %s\n", path, rc == SI_EIO ? strerror(errno) : si_strerror(rc));
        failed |= rc != 0;
    }
    return failed;
}

/* Nothing went wrong: no file. */
static int save_errors(run *r, const char *dir) {
    char path[4200];
    if (!dir) return 0;
    snprintf(path, sizeof path, "%s/errors.txt", dir);
    int rc = si__agent_save_errors(r->agent, path);
    if (rc) fprintf(stderr, "si run: %s: %s\n", path, rc == SI_EIO ? strerror(errno) : si_strerror(rc));
    return rc != 0;
}

/* Types without a file's worth of data because their collector does not work there. */
static void explain_missing(const run *r) {
    const char *said = NULL;
    for (int type = 0; type < SI__PROFILE_TYPES; type++) {
        const si__profile_kind *kind = si__profile_kind_of((si__profile_type)type);
        const char *why = si__agent_why_not(r->agent, kind->collector);
        if (!why || why == said) continue; /* one collector may feed several types */
        said = why;
        if (si__agent_samples(r->agent, (si__profile_type)type) == 0)
            fprintf(stderr, "si run: no %s profile: %s\n", kind->title, why);
    }
}

static int make_dir(const char *option, const char *dir) {
    if (!dir) return 0;
    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "si run: option --%s: '%s': %s\n", option, dir, strerror(errno));
        return 2;
    }
    struct stat st;
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || access(dir, W_OK) != 0) {
        fprintf(stderr, "si run: option --%s: '%s' is not a directory that can be written to\n", option, dir);
        return 2;
    }
    return 0;
}

/* ---- The end ---- */

static void on_agent_freed(void *arg) {
    run *r = arg;
    uv_close((uv_handle_t *)&r->late, NULL);
    si__child_free(r->child);
}

static void on_server_closed(void *arg) {
    run *r = arg;
    si__agent_free(r->agent, on_agent_freed, r);
}

static void on_stopped(void *arg, int rc) {
    run *r = arg;
    if (rc && r->settings->dashboard_url)
        fprintf(stderr, "si run: the last report did not reach %s%s\n", r->settings->dashboard_url,
                r->settings->state_dir ? "; it is kept for the next run" : "");
    if (r->args.folded_dir || r->args.pprof_dir) explain_missing(r);
    r->file_failed = save(r, r->args.folded_dir, "folded", si__agent_save_folded);
    r->file_failed |= save(r, r->args.pprof_dir, "pb.gz", si__agent_save_pprof);
    r->file_failed |= save_errors(r, r->args.folded_dir) | save_errors(r, r->args.pprof_dir);
    if (r->server)
        si__probe_server_close(r->server, on_server_closed, r);
    else
        on_server_closed(r);
}

static void on_exited(void *arg, int wait_status) {
    run *r = arg;
    r->wait_status = wait_status;
    si__resident_end(&r->resident);
    si__agent_process_ended(r->agent, si__child_pid(r->child));
    si__agent_program_ended(r->agent, wait_status);
    if (r->server && !r->children_only && si__probe_server_seen(r->server) == 0 &&
        (r->args.folded_dir || r->args.pprof_dir)) {
        const char *why = si__probe_server_refusal(r->server);
        fprintf(stderr, "si run: no CPU profile: %s\n", *why ? why : "the probe was not loaded into the program");
    }
    si__agent_stop(r->agent, STOP_TIMEOUT_MS, on_stopped, r);
}

/* ---- The start ---- */

/* A program that has not said hello by now never will. */
static void on_late(uv_timer_t *timer) {
    run *r = timer->data;
    if (!r->server || r->children_only || si__probe_server_seen(r->server) > 0) return;
    const char *why = si__probe_server_refusal(r->server);
    si__agent_status(r->agent, "probe", "unavailable", *why ? why : "the probe was not loaded into the program");
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The probe if it can be used; says why not. */
static const char *choose_probe(run *r, char *path, size_t path_bytes) {
    char reason[512];
    si__preload can = SI__PRELOAD_NO;
    if (!si__probe_path(path, path_bytes)) {
        snprintf(reason, sizeof reason, "libsi-probe.so was not found beside si (set SI_PROBE)");
    } else {
        can = si__program_can_preload(r->args.command[0], reason, sizeof reason);
    }
    if (can == SI__PRELOAD_YES) return path;
    r->children_only = can == SI__PRELOAD_CHILDREN;
    fprintf(stderr, "si run: CPU profile unavailable: %s; observing metrics %s\n", reason,
            r->children_only ? "and the programs that it starts" : "alone");
    si__agent_status(r->agent, "probe", "unavailable", reason);
    return r->children_only ? path : NULL;
}

/* What we lack must not keep the program from running: it takes our place. Returns only when it cannot be started. */
static int run_unobserved(char *const *command, const char *why) {
    fprintf(stderr, "si run: not observed: %s\n", why);
    si__child_restore_host();
    execvp(command[0], command);
    fprintf(stderr, "si run: %s: %s\n", command[0], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

/* Errors of starting the program itself; all others are ours. */
static int is_the_programs(int negative_errno) {
    return negative_errno == -ENOENT || negative_errno == -EACCES || negative_errno == -ENOEXEC ||
           negative_errno == -ENOTDIR || negative_errno == -E2BIG || negative_errno == -ELOOP;
}

/* Probes that are not connected yet, as of children, begin with these. */
static void set_first_rates(void) {
    char text[24];
    snprintf(text, sizeof text, "%d", SI__FORCED_HEAP_BYTES);
    setenv(SI__PROBE_HEAP_BYTES_VARIABLE, text, 1);
    snprintf(text, sizeof text, "%d", SI__FORCED_WAIT_NS);
    setenv(SI__PROBE_WAIT_NS_VARIABLE, text, 1);
    setenv(SI__PROBE_CALL_NS_VARIABLE, text, 1);
}

static int start(run *r) {
    char error[256] = "", probe_path[4096];
    const int files = r->args.folded_dir || r->args.pprof_dir;
    if (files) set_first_rates();
    const si__agent_options options = {.settings = r->settings,
                                       .collectors = si__collectors,
                                       .force_cpu_hz = r->args.hz > 0 ? r->args.hz
                                                       : files        ? DEFAULT_HZ
                                                                      : 0,
                                       .keep_whole_run = files};
    int rc = si__agent_new(&r->loop, &options, &r->agent, error, sizeof error);
    if (rc) return run_unobserved(r->args.command, error);
    const char *probe = choose_probe(r, probe_path, sizeof probe_path);
    if (probe && si__probe_server_new(&r->loop, r->agent, &r->server, error, sizeof error) != 0) {
        fprintf(stderr, "si run: CPU profile unavailable: %s; observing metrics alone\n", error);
        probe = NULL;
    }
    rc = si__child_start(&r->loop, r->args.command, probe, probe ? si__probe_server_path(r->server) : NULL, on_exited,
                         r, &r->child);
    if (rc && !is_the_programs(rc)) return run_unobserved(r->args.command, strerror(-rc));
    if (rc) {
        fprintf(stderr, "si run: %s: %s\n", r->args.command[0], strerror(-rc));
        return rc == -ENOENT ? 127 : 126;
    }
    si__agent_observe(r->agent, si__child_pid(r->child), NULL, 0, NULL, NULL);
    uv_timer_init(&r->loop, &r->late);
    r->late.data = r;
    uv_timer_start(&r->late, on_late, LATE_PROBE_MS, 0);
    uv_unref((uv_handle_t *)&r->late);
    si__resident_start(&r->resident, &r->loop, r->agent);
    return 0;
}

int si__command_run(int argc, char **argv) {
    static run r;
    char error[256];
    si__resident_setup();
    int rc = si__arguments_parse(&r.args, SI__ACCEPT_RUN, argc, argv);
    if (rc) return rc < 0 ? 0 : rc;
    if ((rc = make_dir("folded", r.args.folded_dir)) || (rc = make_dir("pprof", r.args.pprof_dir))) return rc;
    if (!r.args.options.app_name) r.args.options.app_name = base_name(r.args.command[0]);
    if (si__settings_new(&r.settings, &r.args.options, error, sizeof error) != 0) {
        si__arguments_refuse("run", error);
        return 2;
    }
    struct rlimit descriptors;
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur < MIN_DESCRIPTORS) {
        char why[80];
        snprintf(why, sizeof why, "at most %lu descriptors (ulimit -n)", (unsigned long)descriptors.rlim_cur);
        return run_unobserved(r.args.command, why);
    }
    int loop_error = uv_loop_init(&r.loop);
    if (loop_error) return run_unobserved(r.args.command, uv_strerror(loop_error));
    rc = start(&r);
    if (rc) {
        if (r.server) si__probe_server_close(r.server, NULL, NULL);
        uv_run(&r.loop, UV_RUN_NOWAIT);
        exit(rc); /* threads of the agent end with us */
    }
    uv_run(&r.loop, UV_RUN_DEFAULT);
    si__settings_free(r.settings);
    if (r.file_failed && r.wait_status == 0) return 1;
    si__child_exit_like(r.wait_status);
}
