/*
 * How the rules in force are, as a file in state_dir that `si rules list` reads: rules.json, written when something
 * about them changes and every ten seconds, which also says that somebody is alive; gone when the agent ends in order.
 *
 * Called by the agent on the loop thread; the worker writes. Without fsync: what is lost in a power cut is old by then.
 */
#include "rules_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/crc32c.h"
#include "report/json.h"

enum { REFRESH_MS = 10000 };

struct si__rules_state {
    si__worker *worker;
    char path[4096];
    uint32_t written;   /* what was written, as a checksum */
    int64_t written_ms; /* 0: nothing yet */
    int writing;        /* the worker has not finished with the file before */
};

typedef struct writing {
    si__rules_state *state;
    char path[4096];
    char *text; /* NULL: the file is to go */
    size_t length;
} writing;

si__rules_state *si__rules_state_new(si__worker *worker, const char *state_dir) {
    si__rules_state *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->worker = worker;
    snprintf(s->path, sizeof s->path, "%s/" SI__RULES_STATE_FILE, state_dir);
    return s;
}

void si__rules_state_free(si__rules_state *s) {
    free(s);
}

/* ---- What is said ------------------------------------------------------------------------------------------------ */

static void put_rule(si__json_writer *json, const si__rule_info *rule) {
    si__json_object_begin(json, NULL);
    si__json_put_string(json, "name", rule->name);
    si__json_put_string(json, "file", rule->file);
    si__json_put_int(json, "line", rule->line);
    si__json_put_string(json, "severity", rule->severity);
    si__json_put_string(json, "state", rule->state);
    si__json_put_string(json, "error", rule->error);
    si__json_put_bool(json, "enabled", rule->enabled);
    si__json_put_bool(json, "at_dashboard", rule->at_dashboard);
    si__json_put_bool(json, "raises_alerts", rule->raises_alerts);
    si__json_put_int(json, "every_ms", rule->every_ms);
    si__json_put_int(json, "hold_ms", rule->hold_ms);
    si__json_put_int(json, "keep_ms", rule->keep_ms);
    si__json_put_uint(json, "evaluations", rule->evaluations);
    si__json_put_uint(json, "cost_ns", rule->cost_ns);
    si__json_put_uint(json, "alerts", rule->alerts);
    si__json_object_end(json);
}

/* Of what is worth writing at once: not of what changes with every tick. */
static uint32_t checksum(const si__rules_told *told) {
    const char *hash = si__script_hash(told->script);
    uint32_t crc = si__crc32c(si__crc32c(0, told->error, strlen(told->error)), hash, strlen(hash));
    si__rule_info rule;
    for (size_t i = 0; si__script_rule(told->script, i, &rule) == 0; i++) {
        crc = si__crc32c(crc, rule.state, strlen(rule.state));
        crc = si__crc32c(crc, rule.error, strlen(rule.error));
        crc = si__crc32c(crc, &rule.alerts, sizeof rule.alerts);
    }
    return crc;
}

static int describe(const si__rules_told *told, char **text, size_t *length) {
    si__json_writer json = {0};
    si__rule_info rule;
    si__json_object_begin(&json, NULL);
    si__json_put_int(&json, "pid", told->pid);
    si__json_put_string(&json, "app", told->app);
    si__json_put_string(&json, "rules_dir", told->rules_dir ? told->rules_dir : "");
    si__json_put_string(&json, "hash", si__script_hash(told->script));
    si__json_put_string(&json, "error", told->error);
    si__json_put_uint(&json, "series", told->series);
    si__json_array_begin(&json, "rules");
    for (size_t i = 0; si__script_rule(told->script, i, &rule) == 0; i++) put_rule(&json, &rule);
    si__json_array_end(&json);
    si__json_array_begin(&json, "deliveries");
    if (told->deliveries) told->deliveries(told->deliveries_arg, &json);
    si__json_array_end(&json);
    si__json_object_end(&json);
    return si__json_take(&json, text, length);
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

static void write_work(void *arg) {
    const writing *w = arg;
    char beside[sizeof w->path + 8];
    if (!w->text) {
        unlink(w->path);
        return;
    }
    snprintf(beside, sizeof beside, "%s.new", w->path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return; /* the state's own status says what is wrong with the directory */
    size_t at = 0;
    while (at < w->length) {
        ssize_t n = write(fd, w->text + at, w->length - at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        at += (size_t)n;
    }
    if (close(fd) != 0 || at < w->length || rename(beside, w->path) != 0) unlink(beside);
}

static void write_after(void *arg) {
    writing *w = arg;
    if (w->state) w->state->writing = 0;
    free(w->text);
    free(w);
}

/* Takes the text. */
static void submit(si__rules_state *s, char *text, size_t length, int last) {
    writing *w = calloc(1, sizeof *w);
    if (!w) {
        free(text);
        return;
    }
    *w = (writing){.state = last ? NULL : s, .text = text, .length = length};
    snprintf(w->path, sizeof w->path, "%s", s->path);
    s->writing = 1;
    if (si__worker_submit(s->worker, write_work, write_after, w) != 0) write_after(w);
}

void si__rules_state_tick(si__rules_state *s, const si__rules_told *told, int64_t now_ms) {
    char *text;
    size_t length;
    uint32_t sum = checksum(told);
    if (s->writing || (s->written_ms && sum == s->written && now_ms - s->written_ms < REFRESH_MS)) return;
    if (describe(told, &text, &length)) return;
    s->written = sum;
    s->written_ms = now_ms;
    submit(s, text, length, 0);
}

void si__rules_state_end(si__rules_state *s) {
    if (s->written_ms) submit(s, NULL, 0, 1);
}
