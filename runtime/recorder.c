/* The recorder: profiles, errors and segments between two reports. Loop thread only. */
#include "recorder.h"

#include <si/si.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../collectors/native/bucket.h"
#include "profile/profile.h"
#include "profile/profile_ring.h"
#include "profile/stack.h"
#include "recorded.h"

enum { RING_SLICES = 30, MESSAGE_BYTES = 256, CUSTOM_METRICS = 512 };
static const uint64_t ring_slice_ns = 10ull * 1000000000;
static const double collect_at = 0.75;

typedef struct focus {
    si__profile *profile;
    char trigger[64], workload[64];
    int64_t start_ms, end_ms; /* end 0: still running */
    uint64_t before_ns;
} focus;

typedef struct custom {
    char name[SI__NAME_BYTES];
    int counter, fresh;
    double value;
} custom;

struct si__recorder {
    si__stacks *stacks;
    si__profile *cpu, *whole;
    si__profile_ring *ring;
    focus focus;
    si__recorded_errors errors;
    si__recorded_segments segments;
    custom customs[CUSTOM_METRICS];
    size_t custom_count;
    si__rename_fn rename;
    void *rename_arg;
    int64_t start_ms, metrics_ms;
    uint64_t lost, events;
};

si__recorder *si__recorder_new(int keep_whole_run, int64_t now_ms) {
    si__recorder *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->stacks = si__stacks_new(0);
    r->cpu = si__profile_new();
    r->ring = si__profile_ring_new(ring_slice_ns, RING_SLICES);
    r->focus.profile = si__profile_new();
    if (keep_whole_run) r->whole = si__profile_new();
    if (!r->stacks || !r->cpu || !r->ring || !r->focus.profile || (keep_whole_run && !r->whole)) {
        si__recorder_free(r);
        return NULL;
    }
    r->start_ms = r->metrics_ms = now_ms;
    return r;
}

void si__recorder_free(si__recorder *r) {
    if (!r) return;
    si__recorded_errors_clear(&r->errors);
    si__recorded_segments_clear(&r->segments);
    if (r->ring) si__profile_ring_free(r->ring);
    if (r->cpu) si__profile_free(r->cpu);
    if (r->whole) si__profile_free(r->whole);
    if (r->focus.profile) si__profile_free(r->focus.profile);
    if (r->stacks) si__stacks_free(r->stacks);
    free(r);
}

void si__recorder_rename(si__recorder *r, si__rename_fn rename, void *arg) {
    r->rename = rename;
    r->rename_arg = arg;
}

/* Lets the stack table keep only what live profiles use. */
static void collect(si__recorder *r) {
    size_t cap = 3 + RING_SLICES + r->errors.count, count = 0;
    si__profile **live = malloc(cap * sizeof *live);
    if (!live) return;
    live[count++] = r->cpu;
    live[count++] = r->focus.profile;
    if (r->whole) live[count++] = r->whole;
    count += si__profile_ring_profiles(r->ring, live + count, RING_SLICES);
    for (size_t i = 0; i < r->errors.count; i++) live[count++] = r->errors.items[i].profile;
    si__stacks_collect(r->stacks, live, count);
    free(live);
}

static uint64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void record_cpu(si__recorder *r, uint32_t node, const si__drained_event *event) {
    si__profile_add(r->cpu, node, event->value, event->count);
    if (r->whole) si__profile_add(r->whole, node, event->value, event->count);
    if (si__recorder_focused(r)) si__profile_add(r->focus.profile, node, event->value, event->count);
    uint64_t now_ns = monotonic_ns(); /* a time in the future would empty the ring */
    si__profile_ring_add(r->ring, event->time_ns < now_ns ? event->time_ns : now_ns, node, event->value, event->count);
}

/* Splits "group NUL message" into two terminated strings. */
static void split_text(const char *text, size_t bytes, char *group, size_t group_bytes, char *message,
                       size_t message_bytes) {
    size_t group_length = strnlen(text, bytes);
    size_t rest = bytes > group_length ? bytes - group_length - 1 : 0;
    snprintf(group, group_bytes, "%.*s", (int)group_length, text);
    snprintf(message, message_bytes, "%.*s", (int)strnlen(text + (bytes - rest), rest), text + (bytes - rest));
}

static void record_error(si__recorder *r, uint32_t node, const si__drained_event *event) {
    char group[SI__NAME_BYTES + 32], message[MESSAGE_BYTES];
    uint64_t counted_here = 0;
    if (event->type == SI__EVENT_CRASH) {
        const char *abbreviation = event->value > 0 && event->value < 64 ? sigabbrev_np((int)event->value) : NULL;
        snprintf(group, sizeof group, "crash: SIG%s%s", abbreviation ? abbreviation : "?",
                 event->flags & SI__EVENT_GUARDED ? " (guarded)" : "");
        snprintf(message, sizeof message, "%.*s", (int)event->text_bytes, event->text);
        counted_here = event->count ? event->count : 1;
    } else {
        split_text(event->text, event->text_bytes, group, sizeof group, message, sizeof message);
    }
    si__recorded_error *error = si__recorded_error_get(&r->errors, group);
    if (!error) return;
    snprintf(error->message, sizeof error->message, "%s", message);
    error->count += counted_here;
    si__profile_add(error->profile, node, 1, event->count ? event->count : 1);
}

void si__recorder_event(si__recorder *r, const si__space *space, const si__drained_event *event) {
    r->events++;
    if (si__stacks_fill(r->stacks) > collect_at) collect(r);
    uint32_t node = si__stacks_intern(r->stacks, space, event->pcs, event->frame_count, event->flags);
    switch (event->type) {
    case SI__EVENT_CPU:
        record_cpu(r, node, event);
        break;
    case SI__EVENT_ERROR:
    case SI__EVENT_CRASH:
        record_error(r, node, event);
        break;
    case SI__EVENT_PAD:
        break;
    }
}

void si__recorder_lost(si__recorder *r, uint64_t events) {
    r->lost += events;
}

static void tally_custom(si__recorder *r, const si__drained_instrument *t) {
    custom *c = NULL;
    for (size_t i = 0; i < r->custom_count && !c; i++)
        if (strcmp(r->customs[i].name, t->name) == 0) c = &r->customs[i];
    if (!c) {
        if (r->custom_count == CUSTOM_METRICS) return;
        c = &r->customs[r->custom_count++];
        snprintf(c->name, sizeof c->name, "%s", t->name);
        c->counter = t->kind == SI__INSTRUMENT_COUNTER;
        c->value = 0;
    }
    c->fresh = 1;
    if (c->counter)
        c->value += t->value;
    else
        c->value = t->value;
}

void si__recorder_tally(si__recorder *r, const si__drained_instrument *t) {
    if (t->kind == SI__INSTRUMENT_GAUGE || t->kind == SI__INSTRUMENT_COUNTER) {
        tally_custom(r, t);
    } else if (t->kind == SI__INSTRUMENT_ERROR) {
        si__recorded_error *error = t->count ? si__recorded_error_get(&r->errors, t->name) : NULL;
        if (error) error->count += t->count;
    } else if (t->count) {
        char name[256];
        snprintf(name, sizeof name, "%s", t->name);
        if (r->rename) r->rename(r->rename_arg, t->name, name, sizeof name);
        si__recorded_segment_add(&r->segments, name, t);
    }
}

void si__recorder_metrics(si__recorder *r, int64_t now_ms, void (*each)(void *arg, const char *name, double value),
                          void *arg) {
    double seconds = (double)(now_ms - r->metrics_ms) / 1000;
    if (seconds <= 0) return;
    for (size_t i = 0; i < r->custom_count; i++) {
        custom *c = &r->customs[i];
        if (!c->fresh && !c->counter) continue;
        each(arg, c->name, c->counter ? c->value / seconds : c->value);
        if (c->counter) c->value = 0;
    }
    r->metrics_ms = now_ms;
}

void si__recorder_focus(si__recorder *r, const char *trigger, const char *workload, int64_t now_ms, int64_t before_ms) {
    focus *f = &r->focus;
    si__profile_clear(f->profile);
    snprintf(f->trigger, sizeof f->trigger, "%s", trigger);
    snprintf(f->workload, sizeof f->workload, "%s", workload ? workload : "");
    f->before_ns = 0;
    if (before_ms > 0) {
        uint64_t now_ns = monotonic_ns();
        uint64_t before_ns = (uint64_t)before_ms * 1000000;
        f->before_ns = si__profile_ring_take(r->ring, now_ns > before_ns ? now_ns - before_ns : 0, now_ns, f->profile);
    }
    f->start_ms = now_ms;
    f->end_ms = 0;
}

void si__recorder_focus_end(si__recorder *r, int64_t now_ms) {
    if (si__recorder_focused(r)) r->focus.end_ms = now_ms;
}

int si__recorder_focused(const si__recorder *r) {
    return r->focus.start_ms != 0 && r->focus.end_ms == 0;
}

/* ---- The cut ---- */

typedef struct cutting {
    si__recorder *recorder;
    si__report *report;
    si__unresolved_list *list;
    size_t capacity;
    int64_t start_ms;
    uint64_t duration_ns;
    double cores;
} cutting;

static int want_tree(cutting *c, const si__profile *profile, si__calltree **tree) {
    si__rawprofile *raw = si__rawprofile_new(c->recorder->stacks, profile);
    if (!raw) return SI_ENOMEM;
    if (c->list->count == c->capacity) {
        size_t capacity = c->capacity ? c->capacity * 2 : 16;
        si__unresolved *grown = realloc(c->list->items, capacity * sizeof *grown);
        if (!grown) {
            si__rawprofile_free(raw);
            return SI_ENOMEM;
        }
        c->list->items = grown;
        c->capacity = capacity;
    }
    c->list->items[c->list->count++] = (si__unresolved){raw, tree};
    return 0;
}

static int cut_profile(cutting *c, const si__profile *profile, const char *trigger, const char *workload,
                       int64_t start_ms, uint64_t duration_ns) {
    si__report_profile *p = si__report_add_profile(c->report);
    if (!p) return SI_ENOMEM;
    p->type = si__report_strdup("cpu");
    p->unit = si__report_strdup("ns");
    p->trigger = si__report_strdup(trigger);
    p->workload = si__report_strdup(workload);
    p->start_ms = start_ms;
    p->duration_ns = duration_ns;
    p->cores = c->cores;
    p->samples = si__profile_total_count(profile);
    p->dropped = c->recorder->lost;
    return 0;
}

static int cut_error(cutting *c, const si__recorded_error *from) {
    si__report_error *e = si__report_add_error(c->report);
    if (!e) return SI_ENOMEM;
    e->group = si__report_strdup(from->group);
    e->message = si__report_strdup(from->message);
    e->start_ms = c->start_ms;
    e->duration_ns = c->duration_ns;
    e->count = from->count;
    return 0;
}

static int cut_segment(cutting *c, si__recorded_segment *from) {
    si__report_segment *s = si__report_add_segment(c->report);
    if (!s) return SI_ENOMEM;
    s->name = si__report_strdup(from->name);
    s->kind = si__report_strdup(si__instrument_kind_name(from->kind));
    s->start_ms = c->start_ms;
    s->duration_ns = c->duration_ns;
    s->count = from->count;
    s->errors = from->errors;
    s->sum_ns = from->sum_ns;
    s->max_ns = from->max_ns;
    s->sketch = from->sketch;
    from->sketch = NULL;
    return 0;
}

/* Elements first, trees after: adding an element may move the earlier ones. */
static int want_trees(cutting *c, size_t first_error) {
    si__recorder *r = c->recorder;
    int rc = 0;
    for (size_t i = 0; i < c->report->profile_count; i++) {
        int focused = i == 1;
        rc |= want_tree(c, focused ? r->focus.profile : r->cpu, &c->report->profiles[i].tree);
    }
    for (size_t i = 0; i < r->errors.count && first_error + i < c->report->error_count; i++)
        if (si__profile_count(r->errors.items[i].profile) > 0)
            rc |= want_tree(c, r->errors.items[i].profile, &c->report->errors[first_error + i].tree);
    return rc ? SI_ENOMEM : 0;
}

int si__recorder_cut(si__recorder *r, int64_t now_ms, double cores, si__report *report, si__unresolved_list *out) {
    *out = (si__unresolved_list){0};
    int64_t wall_ms = now_ms > r->start_ms ? now_ms - r->start_ms : 1;
    cutting c = {.recorder = r,
                 .report = report,
                 .list = out,
                 .start_ms = r->start_ms,
                 .cores = cores,
                 .duration_ns = (uint64_t)wall_ms * 1000000};
    int rc = cut_profile(&c, r->cpu, "cadence", "", r->start_ms, c.duration_ns);
    focus *f = &r->focus;
    if (f->end_ms) {
        uint64_t focused_ns = (uint64_t)(f->end_ms > f->start_ms ? f->end_ms - f->start_ms : 1) * 1000000;
        rc |= cut_profile(&c, f->profile, f->trigger, f->workload, f->start_ms - (int64_t)(f->before_ns / 1000000),
                          focused_ns + f->before_ns);
    }
    size_t first_error = report->error_count;
    for (size_t i = 0; i < r->errors.count; i++) rc |= cut_error(&c, &r->errors.items[i]);
    for (size_t i = 0; i < r->segments.count; i++) rc |= cut_segment(&c, &r->segments.items[i]);
    rc |= want_trees(&c, first_error);
    si__profile_clear(r->cpu);
    if (f->end_ms) {
        si__profile_clear(f->profile);
        f->start_ms = f->end_ms = 0;
    }
    si__recorded_errors_clear(&r->errors);
    si__recorded_segments_clear(&r->segments);
    r->lost = 0;
    r->start_ms = now_ms;
    return rc ? SI_ENOMEM : 0;
}

si__rawprofile *si__recorder_whole_run(const si__recorder *r) {
    return r->whole ? si__rawprofile_new(r->stacks, r->whole) : NULL;
}

uint64_t si__recorder_events(const si__recorder *r) {
    return r->events;
}
