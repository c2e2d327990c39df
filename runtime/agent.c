/* The agent: makes the parts, connects them, and beats the time. Loop thread only. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent_parts.h"
#include "crash_notes.h"
#include "profile/folded.h"
#include "profile/pprof.h"
#include "profile/resolve.h"

enum {
    TICK_MIN_MS = 50,
    TICK_MAX_MS = 500,
    SECOND_MS = 1000,
    GOVERNOR_MS = 10000,
    NEWS_MS = 10000,
    SAVE_MS = 5 * 60 * 1000,
    MANUAL_MS = 60 * 1000
};
static const double sample_cost_ns = 4000; /* a signal round trip and a walk; docs/benchmarks.md */

/* ---- Clocks ---- */

static int64_t unix_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t clock_ns(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- Rules: what they want ---- */

static void on_log(void *arg, int level, const char *message) {
    const si__agent *a = arg;
    si__settings_log(a->settings, (si_log_level)level, "%s", message);
}

static void on_cadence(void *arg, const si__cadence *cadence) {
    si__agent *a = arg;
    a->cadence = *cadence;
    si__sampler_cadence(a->sampler, cadence);
}

static void on_alert(void *arg, const si__alert *alert) {
    si__agent *a = arg;
    si__reporter_alert(a->reporter, alert);
    if (alert->state == SI__ALERT_FIRING || alert->state == SI__ALERT_RESOLVED) a->news = 1;
}

static void on_notify(void *arg, const char *destination, const si__alert *alerts, size_t count) {
    si__agent *a = arg;
    si__report_id report = {.sequence = si__reporter_sequence(a->reporter)};
    memcpy(report.boot, a->boot, sizeof report.boot);
    si__deliver_send(a->deliver, destination, alerts, count, &report, a->now_ms);
    a->told = 1;
}

static void on_profile(void *arg, const si__profile_request *request) {
    si__agent *a = arg;
    int type = si__profile_type_named(request->type);
    if (type < 0) return; /* the rules' checker knows the types: this one is newer than us */
    si__sampler_request(a->sampler, (si__profile_type)type, request->hz, a->now_ms + request->span_ms);
    if (si__recorder_focused(a->recorder, (si__profile_type)type)) return;
    si__recorder_focus(a->recorder, (si__profile_type)type, request->rule, "", request->before_ms);
    a->focus_end_ms[type] = a->now_ms + request->span_ms;
}

static void on_stored(void *arg, const si__report_id *id) {
    si__agent *a = arg;
    si__deliver_stored(a->deliver, id, memcmp(id->boot, a->boot, sizeof a->boot) == 0);
}

static void on_rename(void *arg, const char *raw, char *out, size_t out_bytes) {
    si__agent *a = arg;
    si__script_segment_name(a->script, raw, out, out_bytes);
}

static void load_channels(si__agent *a) {
    if (!a->settings->channels_file) return;
    char error[256] = "", *text = NULL;
    size_t length = 0;
    int rc = si__read_file(a->settings->channels_file, &text, &length);
    if (rc == 0)
        rc = si__notify_channels_load(a->notify, text, length, error, sizeof error);
    else
        snprintf(error, sizeof error, "%s", strerror(errno));
    if (rc) si__settings_log(a->settings, SI_LOG_ERROR, "%s: %s", a->settings->channels_file, error);
    si__agent_status(a, "channels", rc ? "degraded" : "on", error);
    free(text);
}

static void load_rules(si__agent *a) {
    char error[4096] = ""; /* every problem of the set, a line each */
    int rc = si__script_load(a->script, a->settings->rules_dir, error, sizeof error);
    if (rc) si__settings_log(a->settings, SI_LOG_ERROR, "rules not loaded, the ones before stay: %s", error);
    si__agent_status(a, "rules", rc ? "degraded" : "on", error);
    snprintf(a->rules_error, sizeof a->rules_error, "%s", rc ? error : "");
}

static void on_rules_changed(void *arg) {
    si__agent *a = arg;
    load_rules(a);
    load_channels(a);
    si__settings_log(a->settings, SI_LOG_NOTICE, "rules: set %s in force", si__script_hash(a->script));
}

/* ---- Metrics ---- */

static void put_metric(si__agent *a, const char *name, const char *unit, double value) {
    if (!isfinite(value)) return;
    si__history_add(a->history, SI__SERIES_METRIC, name, a->unix_ms, value);
    si__reporter_point(a->reporter, name, unit, a->unix_ms, value);
}

static void on_custom_metric(void *arg, const char *name, double value) {
    put_metric(arg, name, "", value);
}

static void on_region_metric(void *arg, const char *name, const char *unit, double value) {
    put_metric(arg, name, unit, value);
}

static void read_regions(si__agent *a, double elapsed_s) {
    static const char *const longest[] = {"process.lock.longest_wait", "process.network.longest_wait",
                                          "process.system.longest_wait", "process.channel.longest_wait"};
    si__region_gains gains = {0};
    si__stuck stuck = {0};
    const si__metric_sink sink = {on_region_metric, a};
    for (size_t i = 0; i < a->target_count; i++) si__target_metrics(a->targets[i], &gains, &stuck);
    si__region_metrics_put(&gains, elapsed_s, &sink);
    for (int c = 0; gains.waits && c < SI__WAIT_CATEGORIES; c++) put_metric(a, longest[c], "s", stuck.seconds[c]);
    if (*stuck.words)
        si__agent_status(a, "waits", "degraded", stuck.words);
    else if (gains.waits)
        si__agent_status(a, "waits", "on", "no thread waits for a lock for long");
}

void si__agent_read_metrics(si__agent *a) {
    if (a->now_ms - a->last_read_ms >= SECOND_MS) { /* a rate over less, in a flush or at the end, would be noise */
        size_t count;
        const si__reading *readings = si__meter_read(a->meter, clock_ns(CLOCK_MONOTONIC), &count);
        for (size_t i = 0; i < count; i++) put_metric(a, readings[i].name, readings[i].unit, readings[i].value);
        read_regions(a, a->last_read_ms < 0 ? 0 : (double)(a->now_ms - a->last_read_ms) / 1000);
        a->last_read_ms = a->now_ms;
    }
    for (size_t i = 0; i < a->target_count; i++) si__target_tally(a->targets[i]);
    si__recorder_metrics(a->recorder, on_custom_metric, a);
}

/* ---- The beat ---- */

static void apply_rates(void *arg, const si__rates *rates) {
    si__agent *a = arg;
    for (size_t i = 0; i < a->target_count; i++) si__target_rates(a->targets[i], rates);
}

/* Reports have the types that are sampled and whose collector works. */
void si__agent_enable_types(si__agent *a) {
    unsigned types = 0;
    if (a->target_count) si__agent_learn(a, a->targets[0]);
    for (int i = 0; i < SI__PROFILE_TYPES; i++)
        if (si__sampler_samples(a->sampler, (si__profile_type)i) &&
            si__agent_has_probe(a, si__profile_kind_of((si__profile_type)i)->collector))
            types |= 1u << i;
    si__recorder_enable(a->recorder, types);
}

static void end_focuses(si__agent *a) {
    for (int i = 0; i < SI__PROFILE_TYPES; i++) {
        if (!a->focus_end_ms[i] || a->now_ms < a->focus_end_ms[i]) continue;
        a->focus_end_ms[i] = 0;
        si__recorder_focus_end(a->recorder, (si__profile_type)i);
    }
}

static double drain_all(si__agent *a) {
    double fullest = 0;
    for (size_t i = 0; i < a->target_count; i++) {
        double fill = 0;
        si__target_drain(a->targets[i], &fill);
        if (fill > fullest) fullest = fill;
    }
    return fullest;
}

/* Our own CPU: this thread, the worker, and what samples cost the observed threads. */
static void govern(si__agent *a) {
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    uint64_t own = clock_ns(CLOCK_THREAD_CPUTIME_ID) + si__worker_cpu_ns(a->worker);
    uint64_t events = si__recorder_events(a->recorder);
    if (a->governed_ns) {
        double wall = (double)(now - a->governed_ns);
        a->overhead = ((double)(own - a->own_cpu_ns) + (double)(events - a->governed_events) * sample_cost_ns) / wall;
        double before = si__sampler_throttle(a->sampler);
        si__sampler_overhead(a->sampler, a->overhead);
        double after = si__sampler_throttle(a->sampler);
        if (after < before)
            si__settings_log(a->settings, SI_LOG_NOTICE,
                             "own CPU at %.2f %% of a core: sampling at %.0f %% of the wanted rate", a->overhead * 100,
                             after * 100);
    }
    a->governed_ns = now;
    a->own_cpu_ns = own;
    a->governed_events = events;
}

static void age_work(void *cache) {
    (void)si__unwind_cache_age(cache);
}

static void every_second(si__agent *a) {
    for (size_t i = 0; i < a->target_count; i++) si__target_beat(a->targets[i]);
    si__script_tick(a->script, a->unix_ms);
    si__deliver_tick(a->deliver, a->now_ms);
    if (a->now_ms - a->last_metrics_ms >= a->cadence.metrics_ms) {
        a->last_metrics_ms = a->now_ms;
        si__agent_read_metrics(a);
    }
    if (a->now_ms - a->last_govern_ms >= GOVERNOR_MS) {
        a->last_govern_ms = a->now_ms;
        govern(a);
        si__worker_submit(a->worker, age_work, NULL, a->cache);
    }
    si__agent_enable_types(a);
    end_focuses(a);
    if (a->rules_state) si__agent_tell_rules(a);
    if (a->told) si__agent_save_alerts(a); /* killed a moment later, it must not tell the same again */
    if (a->now_ms - a->last_save_ms >= SAVE_MS) si__agent_save_state(a);
    int64_t due_ms = a->news && NEWS_MS < a->cadence.report_ms ? NEWS_MS : a->cadence.report_ms;
    if (a->now_ms - a->last_report_ms >= due_ms && !si__reporter_busy(a->reporter)) {
        a->news = 0;
        for (size_t i = 0; i < a->target_count; i++) {
            si__target_tally(a->targets[i]);
            si__target_waits(a->targets[i]);
        }
        a->last_report_ms = a->now_ms;
        si__reporter_make(a->reporter, a->unix_ms, NULL, NULL);
    }
}

void si__agent_look_at_clocks(si__agent *a) {
    a->unix_ms = unix_ms();
    a->now_ms = (int64_t)(clock_ns(CLOCK_MONOTONIC) / 1000000);
}

static void on_beat(uv_timer_t *timer) {
    si__agent *a = timer->data;
    si__agent_look_at_clocks(a);
    int64_t wait_ms = si__sampler_tick(a->sampler, a->now_ms);
    double fill = drain_all(a);
    if (fill > 0.3)
        a->drain_ms /= 2;
    else if (fill < 0.1)
        a->drain_ms += a->drain_ms / 4;
    if (a->drain_ms < TICK_MIN_MS) a->drain_ms = TICK_MIN_MS;
    if (a->drain_ms > a->drain_max_ms) a->drain_ms = a->drain_max_ms;
    if (a->now_ms - a->last_second_ms >= SECOND_MS) {
        a->last_second_ms = a->now_ms;
        every_second(a);
    }
    if (wait_ms > a->drain_ms) wait_ms = a->drain_ms;
    if (!a->stopping) uv_timer_start(&a->beat, on_beat, (uint64_t)wait_ms, 0);
}

/* ---- Processes ---- */

int si__agent_observe(si__agent *a, pid_t pid, si__region *region, int own, void (*ready)(void *arg), void *arg) {
    if (si__meter_add(a->meter, pid) != 0) return SI_ENOMEM;
    if (!a->identity.pid) a->identity.pid = pid;
    if (!region) return 0;
    const si__target_parts parts = {
        .worker = a->worker, .cache = a->cache, .binaries = a->binaries, .recorder = a->recorder};
    si__target **grown = realloc(a->targets, (a->target_count + 1) * sizeof *grown);
    if (grown) a->targets = grown;
    si__target *target = grown ? si__target_new(&parts, pid, region, own) : NULL;
    if (!target) {
        si__meter_remove(a->meter, pid);
        return SI_ENOMEM;
    }
    a->targets[a->target_count++] = target;
    const si__rates rates = si__sampler_rates(a->sampler);
    si__target_rates(target, &rates);
    si__target_refresh(target, ready, arg);
    si__agent_enable_types(a);
    return 0;
}

static size_t find_target(const si__agent *a, pid_t pid) {
    size_t i = 0;
    while (i < a->target_count && si__target_pid(a->targets[i]) != pid) i++;
    return i;
}

void si__agent_refresh(si__agent *a, pid_t pid, void (*ready)(void *arg), void *arg) {
    size_t i = find_target(a, pid);
    if (i < a->target_count)
        si__target_refresh(a->targets[i], ready, arg);
    else if (ready)
        ready(arg);
}

static void on_target_freed(void *arg) {
    si__agent *a = arg;
    a->targets_ending--;
    si__agent_continue(a);
}

void si__agent_process_ended(si__agent *a, pid_t pid) {
    si__meter_remove(a->meter, pid);
    size_t i = find_target(a, pid);
    if (i == a->target_count) return;
    si__target *target = a->targets[i];
    a->targets[i] = a->targets[--a->target_count];
    si__agent_learn(a, target);
    a->targets_ending++;
    si__target_end(target, on_target_freed, a);
}

void si__agent_let_go(si__agent *a) {
    for (size_t i = 0; i < a->target_count; i++) si__target_let_go(a->targets[i]);
}

/* ---- Life ---- */

static int keep_outbox(si__agent *a) {
    char path[4096];
    snprintf(path, sizeof path, "%s/outbox", a->settings->state_dir);
    int rc = si__notify_keep(a->notify, a->worker, path);
    if (rc) return rc;
    snprintf(path, sizeof path, "%s/outbox/pauses", a->settings->state_dir);
    return si__notify_keep_pauses(a->notify, a->worker, path);
}

static int make_parts(si__agent *a, uv_loop_t *loop, const si__agent_options *o, char *error, size_t error_bytes) {
    const si__settings *s = a->settings;
    a->worker = si__worker_new(loop);
    a->cache = si__unwind_cache_new();
    a->binaries = si__binaries_new();
    a->symbolizer = si__symbolizer_new(0);
    a->history = si__history_new();
    a->recorder = si__recorder_new(o->keep_whole_run);
    a->sampler = si__sampler_new(apply_rates, a);
    a->meter = si__meter_new(o->collectors, "");
    const si__notify_options notify = {
        .ca_file = s->ca_file, .proxy_url = s->proxy_url, .link_base = s->dashboard_url, .log = on_log, .log_arg = a};
    a->notify = si__notify_new(loop, &notify);
    const si__script_env env = {.history = a->history,
                                .app = s->app_name,
                                .environment = s->app_environment,
                                .host = s->host_name,
                                .cpu_quota = si__own_cores(),
                                .arg = a,
                                .log = on_log,
                                .on_cadence = on_cadence,
                                .on_alert = on_alert,
                                .on_notify = on_notify,
                                .on_profile = on_profile};
    a->script = a->history ? si__script_new(&env) : NULL;
    if (!a->worker || !a->cache || !a->binaries || !a->symbolizer || !a->history || !a->recorder || !a->sampler ||
        !a->meter || !a->notify || !a->script)
        return SI_ENOMEM;
    int rc = si__spool_open(s->state_dir, NULL, &a->spool, error, error_bytes);
    int rc_disk = rc;         /* another agent may have the directory */
    if (rc && s->state_dir) { /* go on in memory, and say so */
        si__settings_log(s, SI_LOG_ERROR, "spool in memory only: %s", error);
        si__agent_status(a, "spool", "degraded", error);
        rc = si__spool_open(NULL, NULL, &a->spool, error, error_bytes);
    }
    if (rc) return rc;
    si__spool_counts counts;
    si__spool_counts_get(a->spool, &counts);
    if (!counts.disk_ok)
        si__settings_log(s, SI_LOG_ERROR, "spool in memory until the disk is back: %s", counts.disk_error);
    const si__upload_options upload = {.dashboard_url = s->dashboard_url,
                                       .agent_key = s->agent_key,
                                       .proxy_url = s->proxy_url,
                                       .ca_file = s->ca_file,
                                       .log = on_log,
                                       .on_stored = on_stored,
                                       .log_arg = a};
    if (s->state_dir && !rc_disk && keep_outbox(a)) return SI_ENOMEM;
    if (s->dashboard_url && !(a->upload = si__upload_new(loop, a->worker, a->spool, &upload))) return SI_ENOMEM;
    a->deliver = si__deliver_new(s, a->notify, a->upload);
    return a->deliver ? 0 : SI_ENOMEM;
}

static int make_reporter(si__agent *a) {
    if (getrandom(a->boot, sizeof a->boot, 0) != (ssize_t)sizeof a->boot) return SI_EIO;
    if (si__agent_uuid(a->settings->state_dir, a->uuid) != 0)
        si__settings_log(a->settings, SI_LOG_WARN, "%s: the agent's id cannot be kept there", a->settings->state_dir);
    si__identity_init(&a->identity, a->boot);
    const si__reporter_parts parts = {.worker = a->worker,
                                      .settings = a->settings,
                                      .identity = &a->identity,
                                      .recorder = a->recorder,
                                      .history = a->history,
                                      .script = a->script,
                                      .spool = a->spool,
                                      .upload = a->upload,
                                      .symbolizer = a->symbolizer,
                                      .agent = a->uuid,
                                      .boot = a->boot,
                                      .describe = si__agent_describe,
                                      .describe_arg = a};
    a->reporter = si__reporter_new(&parts);
    return a->reporter ? 0 : SI_ENOMEM;
}

int si__agent_new(uv_loop_t *loop, const si__agent_options *o, si__agent **out, char *error, size_t error_bytes) {
    *out = NULL;
    si__agent *a = calloc(1, sizeof *a);
    if (!a) return SI_ENOMEM;
    *out = a;
    a->settings = o->settings;
    a->collectors = o->collectors;
    a->drain_ms = TICK_MIN_MS * 2;
    a->drain_max_ms = o->keep_whole_run ? TICK_MIN_MS * 2 : TICK_MAX_MS;
    a->cadence = (si__cadence){.metrics_ms = 60000,
                               .report_ms = 120000,
                               .cpu_hz = 100,
                               .cpu_every_ms = 8000,
                               .cpu_span_ms = 2000,
                               .cpu_background_hz = 10,
                               .overhead_cpu = 0.01,
                               .heap_bytes = 512 * 1024,
                               .wait_mean_ns = 10000000,
                               .wait_background_ns = 10000000,
                               .wait_every_ms = 16000,
                               .wait_span_ms = 16000};
    uv_timer_init(loop, &a->beat);
    a->beat.data = a;
    si__agent_look_at_clocks(a);
    int rc = make_parts(a, loop, o, error, error_bytes);
    if (rc == 0) rc = make_reporter(a);
    if (rc) {
        if (!*error) snprintf(error, error_bytes, "%s", si_strerror(rc));
        return rc;
    }
    si__recorder_rename(a->recorder, on_rename, a);
    si__sampler_auto(a->sampler, a->settings->auto_profiling);
    si__sampler_force(a->sampler, o->force_cpu_hz);
    a->watch = si__rules_watch_new(loop, a->settings->rules_dir, a->settings->channels_file, on_rules_changed, a);
    char ignored[4096];
    si__script_load(a->script, NULL, ignored,
                    sizeof ignored); /* what stays in force when the directory's set is broken */
    if (a->settings->rules_dir) load_rules(a);
    load_channels(a);
    if (a->settings->state_dir) a->rules_state = si__rules_state_new(a->worker, a->settings->state_dir);
    si__agent_load_state(a); /* after the rules: alerts of unknown ones are dropped */
    size_t crashes = si__crash_notes_take(a->settings->state_dir, a->binaries, a->recorder);
    if (crashes)
        si__settings_log(a->settings, SI_LOG_NOTICE, "%zu crashes of earlier processes are reported now", crashes);
    a->started_unix_ms = a->unix_ms;
    a->started_ms = a->now_ms;
    a->last_report_ms = a->last_save_ms = a->last_second_ms = a->last_govern_ms = a->now_ms;
    a->last_metrics_ms = a->last_read_ms = INT64_MIN / 2; /* due at once */
    if (crashes) {                                        /* before the next one: rules are to know, also after it */
        a->last_report_ms = a->now_ms - a->cadence.report_ms;
        a->last_save_ms = a->now_ms - SAVE_MS + 3 * SECOND_MS;
    }
    si__sampler_tick(a->sampler, a->now_ms);
    uv_timer_start(&a->beat, on_beat, TICK_MIN_MS, 0);
    return 0;
}

int si__agent_manual_profile(si__agent *a, int on, const char *type_name, const char *workload) {
    int type = si__profile_type_named(type_name);
    if (type < 0) return SI_EUNAVAILABLE;
    if (a->target_count) si__agent_learn(a, a->targets[0]);
    if (!si__agent_has_probe(a, si__profile_kind_of((si__profile_type)type)->collector)) return SI_EUNAVAILABLE;
    si__agent_look_at_clocks(a);
    int rc = si__sampler_manual(a->sampler, (si__profile_type)type, on, a->now_ms);
    if (rc) return rc;
    si__sampler_tick(a->sampler, a->now_ms);
    if (on)
        si__recorder_focus(a->recorder, (si__profile_type)type, "manual", workload, 0);
    else
        si__recorder_focus_end(a->recorder, (si__profile_type)type);
    a->focus_end_ms[type] = on ? a->now_ms + MANUAL_MS : 0;
    return 0;
}

void si__agent_after_fork(si__agent *a) {
    if (a->spool) si__spool_after_fork(a->spool);
}

uint64_t si__agent_samples(const si__agent *a, si__profile_type type) {
    return si__recorder_whole_samples(a->recorder, type);
}

void si__agent_program_ended(si__agent *a, int wait_status) {
    si__agent_look_at_clocks(a);
    a->death = (si__death){.wait_status = wait_status, .ran_ms = a->now_ms - a->started_ms};
    a->died = 1;
}

/* ---- Files of the whole run ---- */

int si__agent_save_folded(si__agent *a, si__profile_type type, const char *path) {
    si__symbolizer *symbolizer = si__symbolizer_new(0); /* the agent's own may be in use on the worker */
    si__rawprofile *raw = si__recorder_whole_run(a->recorder, type);
    si__calltree *tree = raw && symbolizer ? si__resolve(raw, symbolizer) : NULL;
    int rc = tree ? si__folded_save(tree, si__profile_kind_of(type)->folded_divisor, path) : SI_ENOMEM;
    if (tree) si__calltree_free(tree);
    if (raw) si__rawprofile_free(raw);
    if (symbolizer) si__symbolizer_free(symbolizer);
    return rc;
}

/* The sampling period of a type, in its pprof unit; 0: it has none. */
static int64_t period_of(const si__agent *a, si__profile_type type) {
    si__rates rates = si__sampler_rates(a->sampler);
    if (type == SI__PROFILE_CPU) return rates.cpu_hz > 0 ? (int64_t)(1e9 / rates.cpu_hz) : 0;
    if (type == SI__PROFILE_HEAP || type == SI__PROFILE_ALLOC) return (int64_t)rates.heap_bytes;
    return (int64_t)rates.wait_ns;
}

int si__agent_save_pprof(si__agent *a, si__profile_type type, const char *path) {
    si__symbolizer *symbolizer = si__symbolizer_new(0);
    si__rawprofile *raw = si__recorder_whole_run(a->recorder, type);
    const si__profile_kind *kind = si__profile_kind_of(type);
    const si__pprof_options options = {.count_type = kind->pprof_count,
                                       .type = kind->pprof_type,
                                       .unit = kind->pprof_unit,
                                       .period = period_of(a, type),
                                       .start_unix_ns = a->started_unix_ms * 1000000,
                                       .duration_ns = (unix_ms() - a->started_unix_ms) * 1000000};
    int rc = raw && symbolizer ? si__pprof_save(raw, symbolizer, &options, path) : SI_ENOMEM;
    if (raw) si__rawprofile_free(raw);
    if (symbolizer) si__symbolizer_free(symbolizer);
    return rc;
}

int si__agent_save_errors(si__agent *a, const char *path) {
    si__symbolizer *symbolizer = si__symbolizer_new(0);
    int rc = symbolizer ? si__death_save(a->recorder, &a->death, symbolizer, path) : SI_ENOMEM;
    if (symbolizer) si__symbolizer_free(symbolizer);
    return rc;
}
