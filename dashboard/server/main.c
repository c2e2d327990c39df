/*
 * si-dashboard: receives reports, stores them, serves the page and its API. This file: the command and its life cycle.
 *
 * Order of starting: store, HTTP server, alerting, self-profiling. Stopping goes the other way round and takes less
 * than two seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "alerting.h"
#include "backup.h"
#include "channels.h"
#include "check.h"
#include "clock.h"
#include "key.h"
#include "schema.h"
#include "self.h"
#include "server.h"

static void log_line(void *arg, int level, const char *message) {
    static const char *const names[] = {"debug", "notice", "warning", "error"};
    (void)arg;
    if (level >= SI_LOG_NOTICE) fprintf(stderr, "si-dashboard: %s: %s\n", names[level & 3], message);
}

static void on_committed(void *arg, unsigned changed) {
    si__server *server = arg;
    if (changed & SI__CHANGED_ALERTS) si__alerting_wake(atomic_load(&server->alerting));
}

/* ---- Subcommands: they write beside a running server ---- */

/* Runs one write in a process without a server. */
static int write_alone(const si__options *options, int (*apply)(si__tx *tx, void *arg), void *arg) {
    char error[512] = "";
    si__db db;
    int failed = si__db_open(&db, options->data_dir, SI__DB_WRITE, error, sizeof error);
    if (!failed) {
        si__tx tx = {.db = &db, .now_ms = si__clock_unix_ms()};
        failed = si__schema_open(&db, 0, error, sizeof error);
        if (!failed) failed = si__db_exec(&db, "BEGIN IMMEDIATE");
        if (!failed) failed = apply(&tx, arg);
        if (!failed) failed = si__db_exec(&db, "COMMIT");
        if (failed && !error[0]) snprintf(error, sizeof error, "%s", sqlite3_errmsg(db.sql));
        si__db_close(&db);
    }
    if (failed) fprintf(stderr, "si-dashboard: %s: %s\n", options->data_dir, error[0] ? error : si_strerror(failed));
    return failed ? 1 : 0;
}

static int make_key(const si__options *options) {
    si__new_key key = {.app = options->app,
                       .environment = options->environment,
                       .label = options->label,
                       .author = "command line",
                       .address = "",
                       .purpose = options->reads ? SI__KEY_READS : SI__KEY_REPORTS};
    if (!si__key_is_name(options->app) || !si__key_is_name(options->environment)) {
        fprintf(stderr, "si-dashboard: %s: a name has 1 to 100 characters, and no slash\n",
                si__key_is_name(options->app) ? "--env" : "--app");
        return 2;
    }
    int failed = write_alone(options, si__key_make_apply, &key);
    if (!failed) puts(key.key);
    return failed;
}

static int sign_in_link_apply(si__tx *tx, void *token) {
    return si__account_sign_in_link(tx, token);
}

/* Where people reach the page, as far as we know: the running server leaves its address in the data directory. */
static void read_address(const si__options *options, char *out, size_t bytes) {
    char path[4096];
    snprintf(out, bytes, "%s", options->public_url ? options->public_url : "");
    snprintf(path, sizeof path, "%s/address", options->data_dir);
    FILE *file = options->public_url ? NULL : fopen(path, "re");
    if (!file) return;
    if (!fgets(out, (int)bytes, file)) out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(file);
}

static int make_sign_in_link(const si__options *options) {
    char token[SI__SECRET_HEX], address[256];
    int failed = write_alone(options, sign_in_link_apply, token);
    read_address(options, address, sizeof address);
    if (!failed) printf("%s/sign-in?token=%s\n", address, token);
    return failed;
}

static int copy_store(const si__options *options) {
    char error[600] = "";
    int (*copy)(const char *, const char *, char *, size_t) =
        options->command == SI__COMMAND_BACKUP ? si__backup_make : si__backup_restore;
    int failed = copy(options->data_dir, options->file, error, sizeof error);
    if (failed)
        fprintf(stderr, "si-dashboard: %s\n", error);
    else if (options->command == SI__COMMAND_BACKUP)
        printf("copied to %s\n", options->file);
    else
        printf("restored from %s; what was there is %s/si.db.before-restore\n", options->file, options->data_dir);
    return failed ? 1 : 0;
}

/* ---- Serving ---- */

/* A small file in the data directory, for this user only. */
static void write_private(const si__options *options, const char *name, const char *text) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", options->data_dir, name);
    unlink(path);
    int fd = *text ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (fd < 0) return;
    if (write(fd, text, strlen(text)) < 0) fprintf(stderr, "si-dashboard: %s: %s\n", path, strerror(errno));
    close(fd);
}

static int setup_link_apply(si__tx *tx, void *token) {
    return si__account_setup_link(tx, token);
}

static void announce(si__server *server) {
    char address[256], token[SI__SECRET_HEX] = "", link[512] = "";
    snprintf(address, sizeof address, "http://%s:%d", server->listen_host, server->port);
    printf("si-dashboard listening on %s\n", address);
    const char *url = server->options->public_url ? server->options->public_url : address;
    snprintf(link, sizeof link, "%s\n", url);
    write_private(server->options, "address", link);
    int failed = si__writer_call(si__store_writer(server->store), setup_link_apply, token);
    if (!failed && token[0]) {
        snprintf(link, sizeof link, "%s/setup?token=%s\n", url, token);
        printf("Make the first account: %s", link);
    } else {
        link[0] = '\0';
    }
    write_private(server->options, "setup-link", link);
    fflush(stdout);
}

/* Until SIGTERM or SIGINT. At first the dashboard's own data is asked for early: a new page should show something at
 * once. */
static void wait_for_end(const si__options *options, const sigset_t *signals) {
    for (int early = options->no_self ? 0 : 12; early > 0; early--) {
        struct timespec wait = {10, 0};
        if (sigtimedwait(signals, NULL, &wait) > 0) return;
        si__self_report_now();
    }
    int got;
    while (sigwait(signals, &got) != 0) continue;
}

static int serve(const si__options *options) {
    char error[512] = "";
    sigset_t signals;
    si__server server = {.options = options};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a full disk is an error to report, not an end */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* every thread inherits it, and this one waits for them; all others
                                                   stay open: the profiler's reach our threads too */
    randombytes_buf(server.secret, sizeof server.secret);
    si__store_options store = {.data_dir = options->data_dir,
                               .retention_ms = options->retention_days * 86400000,
                               .max_bytes = options->max_bytes,
                               .rollup_grace_ms = options->rollup_after_s * 1000,
                               .committed = on_committed,
                               .log = log_line,
                               .arg = &server};
    server.channels = si__channels_new();
    snprintf(error, sizeof error, "out of memory");
    int failed = server.channels ? si__store_open(&store, &server.store, error, sizeof error) : SI_ENOMEM;
    int listens = !failed && !(failed = si__server_start(&server, error, sizeof error));
    if (!failed) failed = si__alerting_start(&server, error, sizeof error);
    if (!failed) {
        announce(&server);
        if (!options->no_self) si__self_start(&server);
        wait_for_end(options, &signals);
        if (!options->no_self) si__self_stop();
    } else {
        fprintf(stderr, "si-dashboard: %s\n", error);
    }
    if (listens) si__server_stop(&server);
    si__alerting_stop(atomic_load(&server.alerting));
    si__store_close(server.store);
    si__channels_delete(server.channels);
    return failed ? 1 : 0;
}

int main(int argc, char **argv) {
    si__options options;
    char error[512];
    if (si__options_parse(&options, argc, argv, error, sizeof error)) {
        fprintf(stderr, "si-dashboard: %s\n", error);
        return 2;
    }
    if (sodium_init() < 0) {
        fputs("si-dashboard: no source of random numbers\n", stderr);
        return 1;
    }
    switch (options.command) {
    case SI__COMMAND_HELP:
        si__options_help(stdout);
        return 0;
    case SI__COMMAND_VERSION:
        puts("si-dashboard " SI_VERSION);
        return 0;
    case SI__COMMAND_KEY:
        return make_key(&options);
    case SI__COMMAND_SIGN_IN_LINK:
        return make_sign_in_link(&options);
    case SI__COMMAND_BACKUP:
    case SI__COMMAND_RESTORE:
        return copy_store(&options);
    case SI__COMMAND_CHECK:
        return si__check(options.data_dir, stdout) ? 1 : 0;
    default:
        return serve(&options);
    }
}
