/* What the agent says of itself in reports, and what it keeps in state_dir. Loop thread only. */
#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_parts.h"

enum { FILE_MAX_BYTES = 16 * 1024 * 1024 };

/* ---- Statuses and losses ---- */

void si__agent_status(si__agent *a, const char *name, const char *state, const char *reason) {
    size_t i = 0;
    while (i < a->line_count && strcmp(a->lines[i].name, name) != 0) i++;
    if (i == SI__AGENT_STATUSES) return;
    if (i == a->line_count) a->line_count++;
    si__agent_line *line = &a->lines[i];
    snprintf(line->name, sizeof line->name, "%s", name);
    snprintf(line->state, sizeof line->state, "%s", state);
    snprintf(line->reason, sizeof line->reason, "%s", reason);
}

static void add_status(si__report *report, const char *name, const char *state, const char *reason) {
    si__report_status *s = si__report_add_status(report);
    if (!s) return;
    s->name = si__report_strdup(name);
    s->state = si__report_strdup(state);
    s->reason = si__report_strdup(reason);
}

static void add_loss(si__report *report, const char *name, uint64_t made, uint64_t stored, uint64_t pending,
                     uint64_t dropped, const char *reason) {
    si__report_loss *l = si__report_add_loss(report);
    if (!l) return;
    l->name = si__report_strdup(name);
    l->made = made;
    l->stored = stored;
    l->pending = pending;
    l->dropped = dropped;
    l->reason = si__report_strdup(reason);
}

/* The registry's array gives the names; the first process's region the states of their probe sides. */
static void describe_collectors(const si__agent *a, si__report *report) {
    static const char *const names[] = {"off", "on", "unavailable"};
    for (size_t i = 0; a->collectors[i]; i++) {
        const si__collector *c = a->collectors[i];
        const char *unread = si__meter_reason(a->meter, i);
        if (c->start && a->probes_known && i < SI__COLLECTOR_STATES) {
            const si__probe_state *state = &a->probes[i];
            add_status(report, c->name, names[state->status < 3 ? state->status : 0], state->reason);
        } else if (c->start && !a->probes_known) {
            add_status(report, c->name, "unavailable", "no probe in the observed process");
        } else if (c->read) {
            add_status(report, c->name, *unread ? "degraded" : "on", unread);
        }
    }
}

static void describe_sampling(const si__agent *a, si__report *report) {
    char text[192];
    size_t without = 0;
    uint64_t refused = 0, names_refused = 0;
    for (size_t i = 0; i < a->target_count; i++) {
        const si__region *region = si__target_region(a->targets[i]);
        without += si__target_modules_without_rows(a->targets[i]);
        refused += atomic_load(&region->threads_refused);
        names_refused += atomic_load(&region->instruments_refused);
    }
    double throttle = si__sampler_throttle(a->sampler);
    snprintf(text, sizeof text, "own CPU %.3f %% of a core", a->overhead * 100);
    if (throttle < 1)
        snprintf(text, sizeof text,
                 "own CPU %.3f %% of a core is over the budget: sampling at %.0f %% of the wanted rate",
                 a->overhead * 100, throttle * 100);
    add_status(report, "governor", throttle < 1 ? "degraded" : "on", text);
    if (without) {
        snprintf(text, sizeof text, "%zu modules without unwind tables: frame pointers are used there", without);
        add_status(report, "unwinder", "degraded", text);
    }
    if (refused) add_loss(report, "threads", refused, 0, 0, refused, "no slot or no timer for them");
    if (names_refused) add_loss(report, "names", names_refused, 0, 0, names_refused, "more than 1024 different names");
}

typedef struct failing { /* channels whose last attempt failed */
    char text[256];
    size_t channels;
} failing;

static void note_failing(void *arg, const si__notify_state *state) {
    failing *f = arg;
    size_t n = strlen(f->text);
    if (!*state->error) return;
    snprintf(f->text + n, sizeof f->text - n, "%s%s: %s, tried %u times, %zu waiting", f->channels ? "; " : "",
             state->channel, state->error, state->attempts, state->waiting);
    f->channels++;
}

static void describe_delivery(const si__agent *a, si__report *report) {
    failing f = {.text = ""};
    if (!a->notify) return;
    si__notify_states(a->notify, note_failing, &f);
    const char *nowhere = si__deliver_nowhere(a->deliver);
    if (f.channels || *nowhere) add_status(report, "delivery", "degraded", f.channels ? f.text : nowhere);
}

void si__agent_describe(void *agent, si__report *report) {
    si__agent *a = agent;
    if (a->target_count) si__agent_learn(a, a->targets[0]);
    describe_collectors(a, report);
    describe_sampling(a, report);
    for (size_t i = 0; i < a->line_count; i++)
        add_status(report, a->lines[i].name, a->lines[i].state, a->lines[i].reason);
    si__spool_counts c;
    si__spool_counts_get(a->spool, &c);
    if (!c.disk_ok) add_status(report, "spool", "degraded", c.disk_error);
    add_loss(report, "reports", c.made, c.acked, c.pending,
             c.dropped_size + c.dropped_age + c.dropped_disk + c.dropped_rejected, c.disk_ok ? "" : c.disk_error);
    describe_delivery(a, report);
    const char *outbox = a->notify ? si__notify_keep_error(a->notify) : ""; /* NULL: a close goes on */
    if (*outbox) add_status(report, "outbox", "degraded", outbox);
    if (a->upload) {
        si__upload_state state;
        si__upload_state_get(a->upload, &state);
        add_status(report, "upload", state.reachable ? "on" : "degraded", state.last_error);
    }
}

/* Kept: the last report is made when the process, or its region, is gone. */
static void learn_probes(si__agent *a, const si__region *region) {
    for (size_t i = 0; i < SI__COLLECTOR_STATES; i++) {
        a->probes[i].status = atomic_load(&region->collectors[i].status);
        memcpy(a->probes[i].reason, region->collectors[i].reason, SI__REASON_BYTES);
        a->probes[i].reason[SI__REASON_BYTES] = '\0';
    }
    a->probes_known = 1;
}

int si__agent_has_probe(const si__agent *a, const char *collector) {
    for (size_t i = 0; a->collectors[i] && i < SI__COLLECTOR_STATES; i++)
        if (strcmp(a->collectors[i]->name, collector) == 0)
            return a->probes_known && a->probes[i].status == SI__COLLECTOR_ON;
    return 0;
}

const char *si__agent_why_not(const si__agent *a, const char *collector) {
    for (size_t i = 0; a->collectors[i] && i < SI__COLLECTOR_STATES; i++)
        if (a->probes_known && strcmp(a->collectors[i]->name, collector) == 0 &&
            a->probes[i].status == SI__COLLECTOR_UNAVAILABLE)
            return a->probes[i].reason;
    return NULL;
}

void si__agent_learn(si__agent *a, const si__target *target) {
    learn_probes(a, si__target_region(target));
    const si__space *space = si__target_space(target);
    if (!space || a->identified) return;
    si__identity_learn(&a->identity, space, si__target_pid(target));
    a->identified = 1;
}

/* ---- Files ---- */

int si__read_file(const char *path, char **text, size_t *length) {
    *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not stop the loop */
    if (fd < 0) return SI_EIO;
    struct stat st;
    int rc = fstat(fd, &st) == 0 ? 0 : SI_EIO;
    if (rc == 0 && !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        rc = SI_EIO;
    }
    if (rc == 0 && st.st_size > FILE_MAX_BYTES) {
        errno = EFBIG;
        rc = SI_ELIMIT;
    }
    char *buffer = rc == 0 ? malloc((size_t)st.st_size + 1) : NULL;
    ssize_t got = buffer ? read(fd, buffer, (size_t)st.st_size) : -1;
    int saved = errno;
    close(fd);
    errno = saved;
    if (got < 0) {
        free(buffer);
        return rc ? rc : SI_EIO;
    }
    buffer[got] = '\0';
    *text = buffer;
    *length = (size_t)got;
    return 0;
}

static const char *state_path(const si__agent *a, const char *name, char *out, size_t out_bytes) {
    snprintf(out, out_bytes, "%s/%s", a->settings->state_dir, name);
    return out;
}

/* A file on its way to the disk, on the worker. */
typedef struct saving {
    si__agent *agent;
    char path[4096];
    uint8_t *data;
    size_t length;
    int failed;
} saving;

static void save_work(void *arg) {
    saving *s = arg;
    s->failed = si__history_write(s->path, s->data, s->length) != 0;
}

static void save_after(void *arg) {
    saving *s = arg;
    if (s->failed) si__agent_status(s->agent, "state", "degraded", "baselines and alert states could not be written");
    free(s->data);
    free(s);
}

static void save_file(si__agent *a, const char *name, uint8_t *data, size_t length) {
    saving *s = data ? malloc(sizeof *s) : NULL;
    if (s) {
        *s = (saving){.agent = a, .data = data, .length = length};
        state_path(a, name, s->path, sizeof s->path);
        if (si__worker_submit(a->worker, save_work, save_after, s) == 0) return;
    }
    free(data);
    free(s);
}

void si__agent_save_alerts(si__agent *a) {
    char *text = NULL;
    size_t length = 0;
    a->told = 0;
    if (a->settings->state_dir && si__script_state_save(a->script, &text, &length) == 0)
        save_file(a, "alerts.json", (uint8_t *)text, length);
}

void si__agent_save_state(si__agent *a) {
    a->last_save_ms = a->now_ms;
    if (!a->settings->state_dir) return;
    si__agent_status(a, "state", "on", "");
    uint8_t *data = NULL;
    size_t length = 0;
    if (si__history_encode(a->history, &data, &length) == 0) save_file(a, "history.bin", data, length);
    si__agent_save_alerts(a);
}

static void put_delivery(void *arg, const si__notify_state *state) {
    si__json_writer *json = arg;
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "channel", state->channel);
    si__json_put_string(json, "error", state->error);
    si__json_put_uint(json, "attempts", state->attempts);
    si__json_put_uint(json, "waiting", state->waiting);
    si__json_put_int(json, "paused_until_ms", state->paused_until_ms);
    si__json_object_end(json);
}

static void put_deliveries(void *arg, si__json_writer *json) {
    const si__agent *a = arg;
    const char *nowhere = si__deliver_nowhere(a->deliver);
    if (a->notify) si__notify_states(a->notify, put_delivery, json);
    if (!*nowhere) return;
    const si__notify_state none = {.channel = "", .error = nowhere};
    put_delivery(json, &none);
}

void si__agent_tell_rules(si__agent *a) {
    const si__rules_told told = {.script = a->script,
                                 .error = a->rules_error,
                                 .app = a->settings->app_name,
                                 .rules_dir = a->settings->rules_dir,
                                 .pid = a->identity.pid,
                                 .series = si__history_count(a->history),
                                 .deliveries = put_deliveries,
                                 .deliveries_arg = a};
    si__rules_state_tick(a->rules_state, &told, a->now_ms);
}

void si__agent_load_state(si__agent *a) {
    if (!a->settings->state_dir) return;
    char path[4096], *text = NULL;
    size_t length = 0;
    state_path(a, "history.bin", path, sizeof path);
    if (access(path, F_OK) == 0 && si__history_load(a->history, path) != 0)
        si__settings_log(a->settings, SI_LOG_WARN, "%s is damaged: baselines start anew", path);
    if (si__read_file(state_path(a, "alerts.json", path, sizeof path), &text, &length) == 0 &&
        si__script_state_load(a->script, text, length, a->unix_ms) != 0)
        si__settings_log(a->settings, SI_LOG_WARN, "%s is damaged: alert states start anew", path);
    free(text);
}
