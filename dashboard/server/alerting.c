/*
 * The alerting thread; see alerting.h. Parts are made by the main thread before it runs and released after it ended.
 */
#include "alerting.h"

#include <errno.h>
#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "../../runtime/history/history.h"
#include "../../runtime/rules_watch.h"
#include "channels.h"
#include "clock.h"
#include "deliver.h"
#include "minute.h"
#include "watch.h"

#define TICK_MS 1000
#define CHANNELS_BYTES ((size_t)1 << 20)

struct si__alerting {
    si__server *server;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer;
    si__reader *reader;
    si__history *history; /* of the router: stays empty */
    si__script *router;
    si__notify *notify;
    si__deliver_out *deliver;
    si__watch *watch;
    si__rules_watch *files;
    si__minute minute;
    uint64_t channels_seen; /* what the file looked like when it was read */
    atomic_int stopping;
    int started, closing;
};

static void on_log(void *arg, int level, const char *message) {
    static const char *const names[] = {"debug", "notice", "warning", "error"};
    (void)arg;
    if (level >= SI_LOG_NOTICE) fprintf(stderr, "si-dashboard: %s: %s\n", names[level & 3], message);
}

/* ---- Files ---- */

static uint64_t mix(uint64_t hash, uint64_t value) {
    return (hash ^ value) * 1099511628211ull;
}

static uint64_t look_at(const char *path) {
    struct stat file;
    if (stat(path, &file) != 0) return 0;
    uint64_t hash = mix(mix(14695981039346656037ull, (uint64_t)file.st_size), (uint64_t)file.st_ino);
    return mix(mix(hash, (uint64_t)file.st_mtim.tv_sec), (uint64_t)file.st_mtim.tv_nsec);
}

/* 0 or SI_E* with the option and the place in error. */
static int load_channels(struct si__alerting *alerting, char *error, size_t error_bytes) {
    const char *path = alerting->server->options->channels_file;
    char why[300] = "";
    if (!path) return SI_OK;
    alerting->channels_seen = look_at(path);
    FILE *file = fopen(path, "re");
    char *text = malloc(CHANNELS_BYTES);
    size_t length = file && text ? fread(text, 1, CHANNELS_BYTES, file) : 0;
    int failed = !file ? SI_EIO : !text ? SI_ENOMEM : length == CHANNELS_BYTES ? SI_ELIMIT : SI_OK;
    if (failed) snprintf(why, sizeof why, "%s", !file ? strerror(errno) : "too large");
    if (file) fclose(file);
    if (!failed) failed = si__notify_channels_load(alerting->notify, text, length, why, sizeof why);
    if (failed)
        si__channels_refused(alerting->server->channels, why);
    else
        si__channels_loaded(alerting->server->channels, text, length);
    free(text);
    if (failed) snprintf(error, error_bytes, "--channels: %s: %s", path, why);
    return failed;
}

static int load_rules(struct si__alerting *alerting, char *error, size_t error_bytes) {
    const char *dir = alerting->server->options->rules_dir;
    char why[400] = "";
    int failed = si__script_load(alerting->router, dir, why, sizeof why);
    if (failed) snprintf(error, error_bytes, "--rules: %s", why);
    return failed;
}

/* Saved files are in force within a second; a broken one changes nothing and is said. */
static void on_files_changed(void *arg) {
    struct si__alerting *alerting = arg;
    const si__options *options = alerting->server->options;
    char error[512];
    if (options->channels_file && look_at(options->channels_file) != alerting->channels_seen) {
        if (load_channels(alerting, error, sizeof error)) on_log(NULL, SI_LOG_ERROR, error);
    }
    if (!options->rules_dir) return;
    if (load_rules(alerting, error, sizeof error)) on_log(NULL, SI_LOG_ERROR, error);
    si__watch_reload(alerting->watch); /* what is wrong is shown for each application too */
    si__watch_tick(alerting->watch, si__clock_unix_ms());
}

/* ---- The loop ---- */

static void on_notify_closed(void *arg) {
    struct si__alerting *alerting = arg;
    alerting->notify = NULL;
}

static void close_handles(struct si__alerting *alerting) {
    if (alerting->closing) return;
    alerting->closing = 1;
    uv_close((uv_handle_t *)&alerting->timer, NULL);
    uv_close((uv_handle_t *)&alerting->wake, NULL);
    si__rules_watch_close(alerting->files);
    if (alerting->notify) si__notify_close(alerting->notify, on_notify_closed, alerting);
}

static void tick(struct si__alerting *alerting) {
    int64_t now = si__clock_unix_ms();
    si__watch_tick(alerting->watch, now);
    si__minute_tick(&alerting->minute, alerting->server, alerting->reader, now);
    si__deliver_out_tick(alerting->deliver, alerting->notify, now);
}

static void on_timer(uv_timer_t *timer) {
    tick(timer->data);
}

static void on_wake(uv_async_t *wake) {
    struct si__alerting *alerting = wake->data;
    if (atomic_load(&alerting->stopping)) {
        close_handles(alerting);
        return;
    }
    si__channels_send_tests(alerting->server->channels, alerting->notify, si__clock_unix_ms());
    si__deliver_out_tick(alerting->deliver, alerting->notify, si__clock_unix_ms());
}

static void on_event(void *arg, const si__notify_event *event) {
    struct si__alerting *alerting = arg;
    if (alerting->closing) return; /* what is in the store as queued is sent by the next process */
    si__channels_event(alerting->server->channels, event);
    si__deliver_out_event(alerting->deliver, event);
}

static void *alerting_main(void *arg) {
    struct si__alerting *alerting = arg;
    pthread_setname_np(pthread_self(), "si-alerting");
    uv_run(&alerting->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- Start and stop ---- */

static int make_parts(struct si__alerting *alerting) {
    si__server *server = alerting->server;
    char link[256], pauses[4096];
    si__notify_options notify = {.link_base = link, .log = on_log, .on_event = on_event, .event_arg = alerting};
    si__script_env env = {.app = "", .environment = "", .host = "", .cpu_quota = 1, .at_dashboard = 1, .log = on_log};
    if (server->options->public_url)
        snprintf(link, sizeof link, "%s", server->options->public_url);
    else
        snprintf(link, sizeof link, "http://%s:%d", server->listen_host, server->port);
    alerting->reader = si__reader_new(server->store);
    alerting->history = env.history = si__history_new();
    alerting->router = alerting->history ? si__script_new(&env) : NULL;
    if (!alerting->reader || !alerting->router) return SI_ENOMEM;
    alerting->deliver = si__deliver_out_new(server->store, alerting->reader, alerting->router);
    si__watch_options watch = {.store = server->store,
                               .reader = alerting->reader,
                               .data_dir = server->options->data_dir,
                               .rules_dir = server->options->rules_dir,
                               .log = on_log};
    alerting->watch = si__watch_new(&watch);
    alerting->notify = alerting->deliver ? si__notify_new(&alerting->loop, &notify) : NULL;
    if (!alerting->watch || !alerting->notify) return SI_ENOMEM;
    snprintf(pauses, sizeof pauses, "%s/channels.pauses", server->options->data_dir);
    return si__notify_keep_pauses(alerting->notify, NULL, pauses);
}

static void release(struct si__alerting *alerting) {
    si__watch_free(alerting->watch);
    si__deliver_out_free(alerting->deliver);
    si__script_free(alerting->router);
    si__history_free(alerting->history);
    si__reader_free(alerting->reader);
    free(alerting);
}

int si__alerting_start(si__server *server, char *error, size_t error_bytes) {
    struct si__alerting *alerting = calloc(1, sizeof *alerting);
    snprintf(error, error_bytes, "out of memory");
    if (!alerting) return SI_ENOMEM;
    alerting->server = server;
    if (uv_loop_init(&alerting->loop)) {
        free(alerting);
        return SI_ENOMEM;
    }
    uv_async_init(&alerting->loop, &alerting->wake, on_wake);
    uv_timer_init(&alerting->loop, &alerting->timer);
    alerting->wake.data = alerting->timer.data = alerting;
    uv_timer_start(&alerting->timer, on_timer, TICK_MS, TICK_MS);
    int failed = make_parts(alerting);
    if (!failed) failed = load_rules(alerting, error, error_bytes);
    if (!failed) failed = load_channels(alerting, error, error_bytes);
    if (!failed && (server->options->rules_dir || server->options->channels_file)) {
        alerting->files = si__rules_watch_new(&alerting->loop, server->options->rules_dir,
                                              server->options->channels_file, on_files_changed, alerting);
        if (!alerting->files) failed = SI_ENOMEM;
    }
    if (!failed && pthread_create(&alerting->thread, NULL, alerting_main, alerting)) failed = SI_ENOMEM;
    alerting->started = !failed;
    if (failed)
        si__alerting_stop(alerting);
    else
        atomic_store(&server->alerting, alerting);
    return failed;
}

void si__alerting_wake(struct si__alerting *alerting) {
    if (alerting) uv_async_send(&alerting->wake);
}

static int nothing_apply(si__tx *tx, void *arg) {
    (void)tx;
    (void)arg;
    return SI_OK;
}

void si__alerting_stop(struct si__alerting *alerting) {
    if (!alerting) return;
    atomic_store(&alerting->server->alerting, NULL);
    si__writer_call(si__store_writer(alerting->server->store), nothing_apply,
                    NULL); /* now the writer wakes nobody here */
    atomic_store(&alerting->stopping, 1);
    if (alerting->started) {
        uv_async_send(&alerting->wake);
        pthread_join(alerting->thread, NULL);
    } else {
        close_handles(alerting);
        uv_run(&alerting->loop, UV_RUN_DEFAULT);
    }
    uv_loop_close(&alerting->loop);
    release(alerting);
}
