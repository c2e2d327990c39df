/* The reporter: one report from the cut to the spool. Loop thread, but for the functions named *_work. */
#include "reporter.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "callsites.h"
#include "profile/resolve.h"
#include "recorded.h"

enum { CALLSITES = 64, MAX_POINTS = 20000, MAX_QUIET_ERRORS = 512 };

typedef struct waiting {
    struct waiting *next;
    void (*done)(void *arg);
    void *arg;
} waiting;

struct si__reporter {
    si__reporter_parts parts;
    int sends;          /* there is, or was, an upload */
    si__report *next;   /* points and alerts collect here */
    si__report *report; /* in the making */
    si__unresolved_list unresolved;
    struct { /* of each type's regular profile */
        si__callsite items[CALLSITES];
        size_t count;
    } callsites[SI__PROFILE_TYPES];
    uint8_t *payload;
    size_t payload_bytes;
    si__spool_class klass;
    uint64_t sequence;
    int64_t now_ms, again_ms; /* Unix times of the report in the making, and of the last wish for one after it */
    waiting *current, *later; /* newest first */
    int busy, again;
};

si__reporter *si__reporter_new(const si__reporter_parts *parts) {
    si__reporter *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->parts = *parts;
    r->sends = parts->upload != NULL;
    r->next = si__report_new();
    if (!r->next) {
        free(r);
        return NULL;
    }
    return r;
}

void si__reporter_free(si__reporter *r) {
    if (!r) return;
    si__report_free(r->next);
    free(r);
}

int si__reporter_busy(const si__reporter *r) {
    return r->busy;
}

void si__reporter_detach(si__reporter *r) {
    if (r) r->parts.upload = NULL;
}

uint64_t si__reporter_sequence(const si__reporter *r) {
    return r->sequence + 1;
}

void si__reporter_point(si__reporter *r, const char *name, const char *unit, int64_t time_ms, double value) {
    if (r->next->point_count >= MAX_POINTS) return;
    si__point *p = si__report_add_point(r->next);
    if (!p) return;
    p->name = si__report_strdup(name);
    p->unit = si__report_strdup(unit);
    p->time_ms = time_ms;
    p->value = value;
}

void si__reporter_alert(si__reporter *r, const si__alert *alert) {
    si__alert *a = si__report_add_alert(r->next);
    if (a) si__alert_copy(a, alert);
}

/* ---- The steps ---- */

static void start(si__reporter *r);

static void tell(waiting *newest_first) {
    waiting *in_order = NULL;
    for (waiting *w = newest_first, *next; w; w = next) {
        next = w->next;
        w->next = in_order;
        in_order = w;
    }
    for (waiting *w = in_order, *next; w; w = next) {
        next = w->next;
        w->done(w->arg);
        free(w);
    }
}

static void forget_unresolved(si__reporter *r) {
    for (size_t i = 0; i < r->unresolved.count; i++) si__rawprofile_free(r->unresolved.items[i].raw);
    free(r->unresolved.items);
    r->unresolved = (si__unresolved_list){0};
}

static void finish(si__reporter *r) {
    forget_unresolved(r);
    if (r->report) si__report_free(r->report);
    r->report = NULL;
    free(r->payload);
    r->payload = NULL;
    r->busy = 0;
    waiting *served = r->current;
    r->current = NULL;
    if (r->again) {
        r->again = 0;
        r->now_ms = r->again_ms;
        r->current = r->later;
        r->later = NULL;
        start(r);
    }
    tell(served);
}

static void lose(si__reporter *r, const char *why) {
    si__settings_log(r->parts.settings, SI_LOG_ERROR, "a report was lost: %s", why);
    finish(r);
}

static void write_work(void *arg) {
    si__reporter *r = arg;
    si__spool_write_pending(r->parts.spool);
}

static void write_after(void *arg) {
    si__reporter *r = arg;
    if (r->parts.upload) si__upload_kick(r->parts.upload);
    finish(r);
}

static void encode_work(void *arg) {
    si__reporter *r = arg;
    uint8_t *encoded = NULL;
    size_t length = 0;
    if (si__report_encode(r->report, &encoded, &length) != 0) return;
    if (si__report_compress(encoded, length, &r->payload, &r->payload_bytes) != 0) r->payload = NULL;
    free(encoded);
}

static void encode_after(void *arg) {
    si__reporter *r = arg;
    if (!r->payload) {
        lose(r, "out of memory");
        return;
    }
    si__spool_put(r->parts.spool, &r->report->id, r->klass, r->payload, r->payload_bytes, r->now_ms);
    if (si__worker_submit(r->parts.worker, write_work, write_after, r) != 0) finish(r);
}

/* The type of a profile of the cadence; -1: a closer look, which history does not know. */
static int regular_type(const si__report_profile *p) {
    return strcmp(p->trigger, "cadence") == 0 ? si__profile_type_named(p->type) : -1;
}

/* Trees and call sites; everything that may take long. */
static void resolve_work(void *arg) {
    si__reporter *r = arg;
    for (size_t i = 0; i < r->unresolved.count; i++) {
        si__unresolved *u = &r->unresolved.items[i];
        *u->tree = si__resolve(u->raw, r->parts.symbolizer);
    }
    forget_unresolved(r);
    for (size_t i = 0; i < r->report->profile_count; i++) {
        const si__report_profile *p = &r->report->profiles[i];
        int type = regular_type(p);
        if (type < 0 || !p->tree) continue;
        int heap = type == SI__PROFILE_HEAP || type == SI__PROFILE_ALLOC;
        r->callsites[type].count = si__callsites_top(p->tree, heap ? SI__CALLSITE_ORIGIN : SI__CALLSITE_INCLUSIVE,
                                                     r->callsites[type].items, CALLSITES);
    }
}

static void add_history(si__reporter *r, si__series_kind kind, const char *name, double value) {
    if (isfinite(value)) si__history_add(r->parts.history, kind, name, r->now_ms, value);
}

/* What one unit of a rule's number is, in the profile's unit: docs/rules.md lists them. */
static double rule_unit(const si__report_profile *p, int type) {
    double seconds = (double)p->duration_ns / 1e9;
    if (type == SI__PROFILE_CPU) return (double)p->duration_ns * p->cores / 100; /* a percent of what the cores had */
    if (type == SI__PROFILE_HEAP) return 1;                                      /* bytes */
    if (type == SI__PROFILE_ALLOC) return seconds;                               /* bytes a second */
    return seconds * 1e6;                                                        /* milliseconds waited a second */
}

static void remember_profile(si__reporter *r, const si__report_profile *p) {
    int type = regular_type(p);
    double unit = type < 0 ? 0 : rule_unit(p, type);
    if (!p->tree || unit <= 0) return;
    add_history(r, SI__SERIES_PROFILE, p->type, (double)si__calltree_total_value(p->tree) / unit);
    for (size_t i = 0; i < r->callsites[type].count; i++) {
        const si__callsite *site = &r->callsites[type].items[i];
        char name[200];
        snprintf(name, sizeof name, "%s|%s", p->type, site->name);
        add_history(r, SI__SERIES_CALLSITE, name, (double)site->total / unit);
    }
}

typedef struct absent { /* error series that the report says nothing of */
    const si__reporter *reporter;
    char (*names)[sizeof((si__recorded_error *)0)->group];
    size_t count, capacity;
} absent;

static void list_absent(void *arg, const char *name, si__series *series) {
    (void)series;
    absent *a = arg;
    const si__report *report = a->reporter->report;
    for (size_t i = 0; i < report->error_count; i++)
        if (strcmp(report->errors[i].group, name) == 0) return;
    if (a->count < a->capacity) snprintf(a->names[a->count++], sizeof *a->names, "%s", name);
}

/* Groups that were quiet count zero. Listed first: adding to a history while looking through it is not allowed. */
static void remember_quiet_errors(si__reporter *r) {
    absent a = {.reporter = r, .capacity = MAX_QUIET_ERRORS};
    a.names = malloc(a.capacity * sizeof *a.names);
    if (!a.names) return;
    si__history_each(r->parts.history, SI__SERIES_ERROR, list_absent, &a);
    for (size_t i = 0; i < a.count; i++) add_history(r, SI__SERIES_ERROR, a.names[i], 0);
    free(a.names);
}

static void remember(si__reporter *r) {
    for (size_t i = 0; i < r->report->profile_count; i++) remember_profile(r, &r->report->profiles[i]);
    for (size_t i = 0; i < r->report->segment_count; i++) {
        const si__report_segment *s = &r->report->segments[i];
        si__script_segment_observe(r->parts.script, s->name, s->sketch, s->count, s->errors, s->duration_ns, r->now_ms);
    }
    remember_quiet_errors(r);
    for (size_t i = 0; i < r->report->error_count; i++) {
        const si__report_error *e = &r->report->errors[i];
        /* Per minute; what came in less is not made more of: a crash counts at most once. */
        double minutes = fmax((double)e->duration_ns / 60e9, 1);
        add_history(r, SI__SERIES_ERROR, e->group, (double)e->count / minutes);
    }
}

static void resolve_after(void *arg) {
    si__reporter *r = arg;
    remember(r);
    if (!r->sends) { /* nobody to tell; the rules have their numbers */
        finish(r);
        return;
    }
    si__script_describe(r->parts.script, r->report);
    r->parts.describe(r->parts.describe_arg, r->report);
    si__context_fill(&r->report->context, r->parts.settings, r->parts.identity);
    r->report->rules_hash = si__report_strdup(si__script_hash(r->parts.script));
    r->klass = r->report->alert_count ? SI__SPOOL_ALERTS : SI__SPOOL_METRICS;
    if (si__worker_submit(r->parts.worker, encode_work, encode_after, r) != 0) lose(r, "no worker");
}

static void start(si__reporter *r) {
    r->busy = 1;
    r->report = r->next;
    r->next = si__report_new();
    if (!r->next) { /* keep collecting into the old one; try again at the next cadence */
        r->next = r->report;
        r->report = NULL;
        finish(r);
        return;
    }
    si__report *report = r->report;
    memcpy(report->id.agent, r->parts.agent, 16);
    memcpy(report->id.boot, r->parts.boot, 16);
    report->id.sequence = ++r->sequence;
    si__recorder_cut(r->parts.recorder, r->now_ms, si__own_cores(), report, &r->unresolved);
    if (si__worker_submit(r->parts.worker, resolve_work, resolve_after, r) != 0) lose(r, "no worker");
}

void si__reporter_make(si__reporter *r, int64_t now_ms, void (*done)(void *arg), void *arg) {
    waiting *w = done ? malloc(sizeof *w) : NULL;
    waiting **list = r->busy ? &r->later : &r->current;
    if (w) *list = memcpy(w, &(waiting){*list, done, arg}, sizeof *w);
    if (r->busy) {
        r->again = 1;
        r->again_ms = now_ms;
    } else {
        r->now_ms = now_ms;
        start(r);
    }
    if (done && !w) done(arg); /* no way to remember the caller: it must not wait for ever */
}
