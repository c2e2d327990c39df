/* Rules that run at the dashboard; see watch.h. Alerting thread; writes wait for the writer. */
#include "watch.h"

#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/script/script.h"
#include "record.h"

#define APPS 500
#define FEED_MS 10000
#define FORGET_MS 86400000ll /* a source that was silent for a day is gone, not down */

typedef struct watched {
    si__watch *watch;
    int64_t app;
    si__history *history;
    si__script *script;
    int changed; /* its state is to be written */
} watched;

struct si__watch {
    si__watch_options options;
    watched *apps;
    size_t count;
    int64_t fed_ms;
};

/* ---- What the rules say goes into the store ---- */

typedef struct alert_write {
    int64_t app;
    const si__alert *alert;
} alert_write;

static int alert_apply(si__tx *tx, void *arg) {
    const alert_write *w = arg;
    return si__record_alert(tx, w->app, 0, w->alert, 0, tx->now_ms);
}

static void on_alert(void *arg, const si__alert *alert) {
    watched *w = arg;
    alert_write write = {w->app, alert};
    si__writer_call(si__store_writer(w->watch->options.store), alert_apply, &write);
    w->changed = 1;
}

typedef struct state_write {
    char name[48];
    char *text;
    size_t length;
} state_write;

static int state_apply(si__tx *tx, void *arg) {
    const state_write *w = arg;
    sqlite3_stmt *put = si__db_prepare(tx->db, "INSERT OR REPLACE INTO meta(key,value) VALUES(?,?)");
    return si__db_run(tx->db, si__db_bind(put, "sb", w->name, w->text, w->length));
}

static void save_state(watched *w) {
    state_write write = {.text = NULL};
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

/* ---- Applications ---- */

static void on_log(void *arg, int level, const char *message) {
    watched *w = arg;
    if (w->watch->options.log) w->watch->options.log(w->watch->options.log_arg, level, message);
}

static void clear_watched(watched *w) {
    si__script_free(w->script);
    si__history_free(w->history);
}

static void load_rules(watched *w) {
    char error[1024];
    if (si__script_load(w->script, w->watch->options.rules_dir, error, sizeof error)) on_log(w, SI_LOG_ERROR, error);
}

static int add_app(si__watch *watch, int64_t app, const char *name, const char *environment, int64_t now_ms) {
    watched *w = &watch->apps[watch->count];
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
    watch->count++;
    load_rules(w);
    load_state(w, now_ms);
    return SI_OK;
}

static watched *find_app(si__watch *watch, int64_t app) {
    for (size_t i = 0; i < watch->count; i++)
        if (watch->apps[i].app == app) return &watch->apps[i];
    return NULL;
}

/* Whoever reported within a day is watched; engines of others rest. */
static void find_apps(si__watch *watch, int64_t now_ms) {
    si__db *db = &watch->options.reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT id,name,environment FROM app WHERE last_seen_ms>? ORDER BY id LIMIT ?");
    si__db_bind(read, "ii", now_ms - FORGET_MS, (int64_t)APPS);
    while (si__db_step(db, read) == 1 && watch->count < APPS) {
        char name[128], environment[128];
        int64_t app = sqlite3_column_int64(read, 0);
        if (find_app(watch, app)) continue;
        snprintf(name, sizeof name, "%s", si__db_text(read, 1));
        snprintf(environment, sizeof environment, "%s", si__db_text(read, 2));
        if (add_app(watch, app, name, environment, now_ms)) break;
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
    for (size_t i = 0; i < watch->count; i++) {
        save_state(&watch->apps[i]);
        clear_watched(&watch->apps[i]);
    }
    free(watch->apps);
    free(watch);
}

void si__watch_reload(si__watch *watch) {
    for (size_t i = 0; i < watch->count; i++) load_rules(&watch->apps[i]);
}

void si__watch_tick(si__watch *watch, int64_t now_ms) {
    if (now_ms - watch->fed_ms >= FEED_MS || now_ms < watch->fed_ms) {
        watch->fed_ms = now_ms;
        find_apps(watch, now_ms);
        feed(watch, now_ms);
    }
    for (size_t i = 0; i < watch->count; i++) {
        si__script_tick(watch->apps[i].script, now_ms);
        save_state(&watch->apps[i]);
    }
}
