/*
 * Replay: what a rule set would have done over recorded history. Called by `si rules replay` and by tests; no thread of
 * its own, and nothing is touched but a history and an engine made for it.
 *
 * Recorded are minutes (for a day) and ten minutes (for a week): each is fed as a point a minute, at the minute's end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <si/si.h>

#include "../history/series.h"
#include "engine.h"

#define MINUTE_MS ((int64_t)60000)
#define WEEK_MINUTES ((int64_t)7 * 1440)

typedef struct replay_run {
    const si__replay *replay;
    si__history *history;
    si__script *script;
    int64_t now_ms, minute;
    int failed;
} replay_run;

static void on_alert(void *arg, const si__alert *alert) {
    const replay_run *run = arg;
    if (run->replay->on_alert) run->replay->on_alert(run->replay->arg, run->now_ms, alert);
}

static void on_notify(void *arg, const char *destination, const si__alert *alerts, size_t count) {
    const replay_run *run = arg;
    if (run->replay->on_notify) run->replay->on_notify(run->replay->arg, run->now_ms, destination, alerts, count);
}

static void on_log(void *arg, int level, const char *message) {
    const replay_run *run = arg;
    if (run->replay->log) run->replay->log(run->replay->arg, level, message);
}

static const si__series_kind kinds[] = {SI__SERIES_METRIC, SI__SERIES_PROFILE, SI__SERIES_CALLSITE, SI__SERIES_SEGMENT,
                                        SI__SERIES_ERROR};

static void feed_series(void *arg, const char *name, si__series *series) {
    replay_run *run = arg;
    double value;
    if (!si__series_minute(series, run->minute, &value)) return;
    /* by kind: names of two kinds may be the same */
    if (si__history_add(run->history, series->kind, name, (run->minute + 1) * MINUTE_MS, value) == SI_ENOMEM)
        run->failed = SI_ENOMEM;
}

static void feed_minute(replay_run *run, int64_t minute) {
    run->minute = minute;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        si__history_each(run->replay->recorded, kinds[k], feed_series, run);
}

static int run_clock(replay_run *run) {
    const si__replay *r = run->replay;
    int64_t step_ms = r->step_ms > 0 ? r->step_ms : r->to_ms - r->from_ms > 1440 * MINUTE_MS ? MINUTE_MS : 10000;
    int64_t fed = si__slot_of(r->from_ms, MINUTE_MS) - WEEK_MINUTES; /* minutes before this one are in */
    for (run->now_ms = r->from_ms; run->now_ms <= r->to_ms && !run->failed; run->now_ms += step_ms) {
        for (int64_t ended = si__slot_of(run->now_ms, MINUTE_MS); fed < ended && !run->failed; fed++)
            feed_minute(run, fed);
        si__script_tick(run->script, run->now_ms);
    }
    return run->failed;
}

int si__script_replay(const si__replay *replay, char *error, size_t error_bytes) {
    if (error_bytes) error[0] = '\0';
    if (!replay->recorded || replay->from_ms > replay->to_ms) return SI_EINVAL;
    replay_run run = {.replay = replay, .history = si__history_new()};
    si__script_env env = {.history = run.history,
                          .app = replay->app,
                          .environment = replay->environment,
                          .host = replay->host,
                          .cpu_quota = 1,
                          .at_dashboard = replay->at_dashboard,
                          .arg = &run,
                          .log = on_log,
                          .on_alert = on_alert,
                          .on_notify = on_notify};
    run.script = run.history ? si__script_new(&env) : NULL;
    int status = run.script ? si__script_load(run.script, replay->dir, error, error_bytes) : SI_ENOMEM;
    if (!status) status = run_clock(&run);
    si__script_free(run.script);
    si__history_free(run.history);
    return status;
}
