/* The dashboard observes itself; see self.h. Main thread. */
#include "self.h"

#include <si/si.h>
#include <stdio.h>
#include <string.h>

#include "key.h"

#if SI_WITH_RUNTIME

static si_runtime *runtime;

/* The key lives in this process only: each start makes a new one and takes the last one back. */
static int self_key_apply(si__tx *tx, void *arg) {
    sqlite3_stmt *revoke =
        si__db_prepare(tx->db, "DELETE FROM agent_key WHERE app='si-dashboard' AND environment='self'"
                               " AND created_by='si-dashboard'");
    int failed = si__db_run(tx->db, revoke);
    return failed ? failed : si__key_make_apply(tx, arg);
}

static void on_log(void *data, si_log_level level, const char *message) {
    (void)data;
    if (level >= SI_LOG_WARN) fprintf(stderr, "si-dashboard: self-profiling: %s\n", message);
}

void si__self_start(si__server *server) {
    char url[128], state_dir[4096];
    si__new_key key = {.app = "si-dashboard",
                       .environment = "self",
                       .label = "the dashboard itself",
                       .author = "si-dashboard",
                       .address = ""};
    int failed = si__writer_call(si__store_writer(server->store), self_key_apply, &key);
    if (failed) {
        fprintf(stderr, "si-dashboard: not profiling itself: no key (%s)\n", si_strerror(failed));
        return;
    }
    const char *host = !strcmp(server->listen_host, "0.0.0.0") ? "127.0.0.1"
                       : !strcmp(server->listen_host, "[::]")  ? "[::1]"
                                                               : server->listen_host;
    snprintf(url, sizeof url, "http://%s:%d", host, server->port);
    snprintf(state_dir, sizeof state_dir, "%s/self", server->options->data_dir);
    si_options options;
    si_options_init(&options);
    options.agent_key = key.key;
    options.app_name = "si-dashboard";
    options.app_version = SI_VERSION;
    options.app_environment = "self";
    options.dashboard_url = url;
    options.proxy_url = "";
    options.rules_dir = NULL; /* the dashboard's own rules are in the library; --rules is for what it watches */
    options.state_dir = state_dir;
    options.channels_file = NULL;
    options.log = on_log;
    failed = si_runtime_open(&runtime, &options);
    if (failed) fprintf(stderr, "si-dashboard: not profiling itself: %s\n", si_strerror(failed));
}

void si__self_report_now(void) {
    if (runtime) si_runtime_flush(runtime, 1);
}

void si__self_stop(void) {
    si_runtime_close(runtime, 700);
    runtime = NULL;
}

#else

void si__self_start(si__server *server) {
    (void)server;
}

void si__self_report_now(void) {}

void si__self_stop(void) {}

#endif
