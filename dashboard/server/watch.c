/* Rules that run at the dashboard; see watch.h. Alerting thread; writes wait for the writer. */
#include "watch.h"

#include <dirent.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/report/crc32c.h"
#include "../../runtime/report/json.h"
#include "../../runtime/script/script.h"
#include "clock.h"
#include "record.h"
#include "watch_feed.h"
#include "watch_sites.h"

#define APPS 500
#define FEED_MS 5000
#define FORGET_MS 86400000ll              /* a source that was silent for a day is gone, not down */
#define HISTORY_BYTES ((size_t)256 << 20) /* of all applications together */
#define HISTORY_MOST ((size_t)16 << 20)   /* of one */
#define SERIES_MOST 10000
#define SAVE_MS (5 * 60 * 1000)
#define CATCH_UP_NS 100000000 /* a tick, for reading what the store has */
#define PUBLISH_MS 60000      /* what rules cost; their states at once */

typedef struct watched { /* script NULL: nobody, the application was removed */
    si__watch *watch;
    int64_t app;
    si__history *history;
    si__script *script;
    int changed;    /* its state is to be written */
    char file[200]; /* of its history */
    int64_t fed_to_ms, saved_ms, published_ms;
    si__watch_sites sites;
    uint32_t published; /* what people were told of the rules, as a checksum */
} watched;

struct si__watch {
    si__watch_options options;
    watched *apps;
    size_t count;
    int64_t fed_ms;
    size_t turn;      /* whose history is filled next */
    char error[1024]; /* why the rules were not loaded; "" */
};

/* ---- What the rules say goes into the store ---- */

typedef struct alert_write {
    int64_t app;
    const si__alert *alert;
} alert_write;

static int alert_apply(si__tx *tx, void *arg) {
    const alert_write *w = arg;
    if (!si__store_has_app(tx, w->app)) return SI_ENOTFOUND;
    return si__record_alert(tx, w->app, 0, w->alert, 0, tx->now_ms);
}

static void on_alert(void *arg, const si__alert *alert) {
    watched *w = arg;
    alert_write write = {w->app, alert};
    si__writer_call(si__store_writer(w->watch->options.store), alert_apply, &write);
    w->changed = 1;
}

typedef struct state_write {
    int64_t app;
    char name[48];
    char *text;
    size_t length;
} state_write;

static int state_apply(si__tx *tx, void *arg) {
    const state_write *w = arg;
    if (!si__store_has_app(tx, w->app)) return SI_ENOTFOUND;
    sqlite3_stmt *put = si__db_prepare(tx->db, "INSERT OR REPLACE INTO meta(key,value) VALUES(?,?)");
    return si__db_run(tx->db, si__db_bind(put, "sb", w->name, w->text, w->length));
}

static void save_state(watched *w) {
    state_write write = {.app = w->app};
    if (!w->changed) return;
    snprintf(write.name, sizeof write.name, "rules_state:%lld", (long long)w->app);
    if (si__script_state_save(w->script, &write.text, &write.length)) return;
    if (!si__writer_call(si__store_writer(w->watch->options.store), state_apply, &write)) w->changed = 0;
    free(write.text);
}

static void load_state(watched *w, int64_t now_ms) {
    char name[48];
    si__db *db = &w->watch->options.reader->db;
    snprintf(name, sizeof name, "rules_state:%lld", (long long)w->app);
    sqlite3_stmt *read = si__db_prepare(db, "SELECT value FROM meta WHERE key=?");
    if (si__db_step(db, si__db_bind(read, "s", name)) != 1) return;
    si__script_state_load(w->script, sqlite3_column_blob(read, 0), (size_t)sqlite3_column_bytes(read, 0), now_ms);
    sqlite3_reset(read);
}

/* ---- The history outlives us ---- */

static void save_history(watched *w, int64_t now_ms) {
    w->saved_ms = now_ms;
    if (*w->file) si__history_save(w->history, w->file); /* a failure costs time: the store has it all */
}

/* Its name tells applications apart whose number was given to another one. */
static void load_history(watched *w, const char *name, const char *environment, int64_t now_ms) {
    char dir[150];
    const char *base = w->watch->options.data_dir;
    uint32_t sum = si__crc32c(si__crc32c(0, name, strlen(name) + 1), environment, strlen(environment));
    w->saved_ms = now_ms;
    if (base && (size_t)snprintf(dir, sizeof dir, "%s/rules", base) < sizeof dir) {
        mkdir(dir, 0700);
        snprintf(w->file, sizeof w->file, "%s/%lld-%08x.history", dir, (long long)w->app, sum);
        if (si__history_load(w->history, w->file) == SI_EFORMAT)
            unlink(w->file); /* damaged: made anew from the store */
    }
    const si__watch_feed f = {
        .reader = w->watch->options.reader, .app = w->app, .history = w->history, .script = w->script};
    w->fed_to_ms = si__watch_feed_begin(&f, now_ms);
}

/* ---- What people see of the rules ---- */

/* The set in force, as JSON; the checksum leaves out what changes with every tick. */
static int describe(watched *w, state_write *write, uint32_t *sum) {
    si__json_writer json = {0};
    si__rule_info rule;
    uint32_t crc = si__crc32c(0, w->watch->error, strlen(w->watch->error));
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "hash", si__script_hash(w->script));
    si__json_put_string(&json, "error", w->watch->error);
    si__json_array_begin(&json, "rules");
    crc = si__crc32c(crc, si__script_hash(w->script), strlen(si__script_hash(w->script)));
    for (size_t i = 0; si__script_rule(w->script, i, &rule) == SI_OK; i++) {
        if (!rule.at_dashboard) continue;
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "name", rule.name);
        si__json_put_string(&json, "file", rule.file);
        si__json_put_int(&json, "line", rule.line);
        si__json_put_string(&json, "severity", rule.severity);
        si__json_put_string(&json, "state", rule.state);
        si__json_put_string(&json, "error", rule.error);
        si__json_put_uint(&json, "alerts", rule.alerts);
        si__json_put_uint(&json, "evaluations", rule.evaluations);
        si__json_put_uint(&json, "cost_ns", rule.cost_ns);
        si__json_object_end(&json);
        crc = si__crc32c(crc, rule.state, strlen(rule.state));
        if (rule.error) crc = si__crc32c(crc, rule.error, strlen(rule.error));
        crc = si__crc32c(crc, &rule.alerts, sizeof rule.alerts);
    }
    si__json_array_end(&json);
    si__json_put_uint(&json, "series", si__history_count(w->history));
    si__json_object_end(&json);
    *sum = crc;
    return si__json_take(&json, &write->text, &write->length);
}

static void publish(watched *w, int64_t now_ms) {
    state_write write = {.app = w->app};
    uint32_t sum;
    if (describe(w, &write, &sum)) return;
    snprintf(write.name, sizeof write.name, "rules_loaded:%lld", (long long)w->app);
    int due = now_ms - w->published_ms >= PUBLISH_MS || now_ms < w->published_ms;
    if ((due || sum != w->published) &&
        !si__writer_call(si__store_writer(w->watch->options.store), state_apply, &write)) {
        w->published_ms = now_ms;
        w->published = sum;
    }
    free(write.text);
}

/* ---- Applications ---- */

static void on_log(void *arg, int level, const char *message) {
    watched *w = arg;
    if (w->watch->options.log) w->watch->options.log(w->watch->options.log_arg, level, message);
}

static void clear_watched(watched *w) {
    si__watch_sites_clear(&w->sites);
    si__script_free(w->script);
    si__history_free(w->history);
    w->script = NULL;
    w->history = NULL;
    w->app = 0;
}

static void load_rules(watched *w) {
    char *error = w->watch->error;
    error[0] = '\0';
    if (si__script_load(w->script, w->watch->options.rules_dir, error, sizeof w->watch->error))
        on_log(w, SI_LOG_ERROR, error);
    else
        error[0] = '\0';
}

static watched *free_place(si__watch *watch) {
    for (size_t i = 0; i < watch->count; i++)
        if (!watch->apps[i].script) return &watch->apps[i];
    return watch->count < APPS ? &watch->apps[watch->count] : NULL;
}

static int add_app(si__watch *watch, watched *w, int64_t app, const char *name, const char *environment,
                   int64_t now_ms) {
    *w = (watched){.watch = watch, .app = app, .history = si__history_new()};
    si__script_env env = {.history = w->history,
                          .app = name,
                          .environment = environment,
                          .host = "",
                          .cpu_quota = 1,
                          .at_dashboard = 1,
                          .arg = w,
                          .log = on_log,
                          .on_alert = on_alert};
    w->script = w->history ? si__script_new(&env) : NULL;
    if (!w->script) {
        clear_watched(w);
        return SI_ENOMEM;
    }
    if (w == &watch->apps[watch->count]) watch->count++;
    size_t bytes = HISTORY_BYTES / watch->count;
    for (size_t i = 0; i < watch->count; i++)
        if (watch->apps[i].history)
            si__history_limit(watch->apps[i].history, SERIES_MOST, bytes < HISTORY_MOST ? bytes : HISTORY_MOST);
    load_rules(w);
    load_state(w, now_ms);
    load_history(w, name, environment, now_ms);
    return SI_OK;
}

static watched *find_app(si__watch *watch, int64_t app) {
    for (size_t i = 0; i < watch->count; i++)
        if (watch->apps[i].app == app) return &watch->apps[i];
    return NULL;
}

static int is_app(si__watch *watch, int64_t app) {
    si__db *db = &watch->options.reader->db;
    return si__db_int(db, si__db_bind(si__db_prepare(db, "SELECT 1 FROM app WHERE id=?"), "i", app), 0) != 0;
}

/* Applications that were removed go, with their histories. */
static void drop_removed(si__watch *watch) {
    for (size_t i = 0; i < watch->count; i++) {
        watched *w = &watch->apps[i];
        if (!w->script || is_app(watch, w->app) || watch->options.reader->db.failures) continue;
        clear_watched(w);
        if (*w->file) unlink(w->file);
    }
}

/* Histories of applications that were removed while nobody watched, or just when we were stopped. */
static void drop_files(si__watch *watch) {
    char path[4400];
    const char *base = watch->options.data_dir;
    if (!base || (size_t)snprintf(path, sizeof path, "%s/rules", base) > sizeof path - 300) return;
    DIR *dir = opendir(path);
    size_t length = strlen(path);
    for (struct dirent *file; dir && (file = readdir(dir)) != NULL;) {
        char *end;
        int64_t app = strtoll(file->d_name, &end, 10);
        if (app <= 0 || *end != '-' || is_app(watch, app) || watch->options.reader->db.failures) continue;
        snprintf(path + length, sizeof path - length, "/%s", file->d_name);
        unlink(path);
    }
    if (dir) closedir(dir);
}

/* Whoever reported within a day is watched; engines of others rest. */
static void find_apps(si__watch *watch, int64_t now_ms) {
    si__db *db = &watch->options.reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT id,name,environment FROM app WHERE last_seen_ms>? ORDER BY id LIMIT ?");
    si__db_bind(read, "ii", now_ms - FORGET_MS, (int64_t)APPS);
    while (si__db_step(db, read) == 1) {
        char name[128], environment[128];
        int64_t app = sqlite3_column_int64(read, 0);
        watched *place = free_place(watch);
        if (!place) break;
        if (find_app(watch, app)) continue;
        snprintf(name, sizeof name, "%s", si__db_text(read, 1));
        snprintf(environment, sizeof environment, "%s", si__db_text(read, 2));
        if (add_app(watch, place, app, name, environment, now_ms)) break;
    }
    if (read) sqlite3_reset(read);
}

/* ---- Series ---- */

static void feed(si__watch *watch, int64_t now_ms) {
    si__db *db = &watch->options.reader->db;
    sqlite3_stmt *read = si__db_prepare(
        db, "SELECT source.id,app,host,last_seen_ms FROM source WHERE last_seen_ms>?1"
            " AND NOT EXISTS(SELECT 1 FROM source AS next WHERE next.app=source.app AND next.host=source.host"
            " AND next.id>source.id AND next.first_seen_ms>=source.last_seen_ms)"
            " AND instr(coalesce(statuses,''),'{\"name\":\"agent\",\"state\":\"off\"')=0");
    si__db_bind(read, "i", now_ms - FORGET_MS);
    while (si__db_step(db, read) == 1) {
        char series[400];
        watched *w = find_app(watch, sqlite3_column_int64(read, 1));
        if (!w) continue;
        snprintf(series, sizeof series, "agent.silence/%.300s/%lld", si__db_text(read, 2),
                 (long long)sqlite3_column_int64(read, 0));
        double seconds = (double)(now_ms - sqlite3_column_int64(read, 3)) / 1000;
        si__history_add(w->history, SI__SERIES_METRIC, series, now_ms, seconds > 0 ? seconds : 0);
    }
}

/* Goes round until everybody has what there is, or the time is up: the next tick goes on where this one stopped. */
static void catch_up(si__watch *watch, int64_t now_ms) {
    int64_t until_ns = si__clock_monotonic_ns() + CATCH_UP_NS;
    for (size_t i = 0; i < watch->count; i++) {
        watched *w = &watch->apps[watch->turn++ % watch->count];
        if (!w->script) continue;
        const si__watch_feed f = {
            .reader = watch->options.reader, .app = w->app, .history = w->history, .script = w->script};
        int64_t ready = si__watch_feed_ready(&f, now_ms);
        if (w->fed_to_ms < now_ms - FORGET_MS || w->fed_to_ms > now_ms) w->fed_to_ms = si__watch_feed_begin(&f, now_ms);
        for (; w->fed_to_ms + SI__WATCH_MINUTE_MS <= ready; w->fed_to_ms += SI__WATCH_MINUTE_MS) {
            if (si__clock_monotonic_ns() > until_ns) return;
            si__watch_feed_minute(&f, w->fed_to_ms);
        }
        si__watch_sites_feed(&f, &w->sites, ready, now_ms, until_ns);
    }
}

/* ---- Life ---- */

si__watch *si__watch_new(const si__watch_options *options) {
    si__watch *watch = calloc(1, sizeof *watch);
    if (!watch) return NULL;
    watch->options = *options;
    watch->apps = calloc(APPS, sizeof *watch->apps);
    if (watch->apps) return watch;
    free(watch);
    return NULL;
}

void si__watch_free(si__watch *watch) {
    if (!watch) return;
    drop_removed(watch);
    si__db_reset_all(&watch->options.reader->db);
    for (size_t i = 0; i < watch->count; i++) {
        if (!watch->apps[i].script) continue;
        save_state(&watch->apps[i]);
        save_history(&watch->apps[i], 0);
        clear_watched(&watch->apps[i]);
    }
    free(watch->apps);
    free(watch);
}

void si__watch_reload(si__watch *watch) {
    for (size_t i = 0; i < watch->count; i++)
        if (watch->apps[i].script) load_rules(&watch->apps[i]);
}

void si__watch_tick(si__watch *watch, int64_t now_ms) {
    if (now_ms - watch->fed_ms >= FEED_MS || now_ms < watch->fed_ms) {
        if (!watch->fed_ms) drop_files(watch);
        watch->fed_ms = now_ms;
        drop_removed(watch);
        find_apps(watch, now_ms);
        feed(watch, now_ms);
    }
    if (watch->count) catch_up(watch, now_ms);
    si__db_reset_all(&watch->options.reader->db);
    int saved = 0; /* one history a tick: they may be large */
    for (size_t i = 0; i < watch->count; i++) {
        watched *w = &watch->apps[i];
        if (!w->script) continue;
        si__script_tick(w->script, now_ms);
        save_state(w);
        publish(w, now_ms);
        if (!saved && (now_ms - w->saved_ms >= SAVE_MS || now_ms < w->saved_ms)) {
            save_history(w, now_ms);
            saved = 1;
        }
    }
}
