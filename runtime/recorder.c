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

enum { RING_SLICES = 30, MESSAGE_BYTES = 256, CUSTOM_METRICS = 512, ENDED_FOCUSES = 8 };
static const uint64_t ring_slice_ns = 10ull * 1000000000;
static const double collect_at = 0.75;

typedef struct focus {
    si__profile *profile; /* NULL: none */
    char trigger[64], workload[64];
    uint64_t start_ns, end_ns, before_ns;
} focus;

typedef struct custom {
    char name[SI__NAME_BYTES];
    int counter;
    double value;
} custom;

struct si__recorder {
    si__stacks *stacks;
    double collect_above; /* fill at which the stack table is worth a collection */
    si__profile *cpu, *whole;
    si__profile_ring *ring;
    focus focus;                /* the one that runs */
    focus ended[ENDED_FOCUSES]; /* for the next cut, oldest first */
    size_t ended_count;
    si__recorded_errors errors;
    si__recorded_segments segments;
    custom customs[CUSTOM_METRICS];
    size_t custom_count;
    si__rename_fn rename;
    void *rename_arg;
    uint64_t start_ns, metrics_ns;
    uint64_t lost, events;
};

static uint64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

si__recorder *si__recorder_new(int keep_whole_run) {
    si__recorder *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->stacks = si__stacks_new(0);
    r->cpu = si__profile_new();
    r->ring = si__profile_ring_new(ring_slice_ns, RING_SLICES);
    if (keep_whole_run) r->whole = si__profile_new();
    if (!r->stacks || !r->cpu || !r->ring || (keep_whole_run && !r->whole)) {
        si__recorder_free(r);
        return NULL;
    }
    r->start_ns = r->metrics_ns = monotonic_ns();
    r->collect_above = collect_at;
    return r;
}

static void forget_ended(si__recorder *r) {
    for (size_t i = 0; i < r->ended_count; i++) si__profile_free(r->ended[i].profile);
    r->ended_count = 0;
}

void si__recorder_free(si__recorder *r) {
    if (!r) return;
    si__recorded_errors_clear(&r->errors);
    si__recorded_segments_clear(&r->segments);
    forget_ended(r);
    if (r->focus.profile) si__profile_free(r->focus.profile);
    if (r->ring) si__profile_ring_free(r->ring);
    if (r->cpu) si__profile_free(r->cpu);
    if (r->whole) si__profile_free(r->whole);
    if (r->stacks) si__stacks_free(r->stacks);
    free(r);
}

void si__recorder_rename(si__recorder *r, si__rename_fn rename, void *arg) {
    r->rename = rename;
    r->rename_arg = arg;
}

/* Lets the stack table keep only what live profiles use. */
static void collect(si__recorder *r) {
    size_t cap = 3 + ENDED_FOCUSES + RING_SLICES + r->errors.count, count = 0;
    si__profile **live = malloc(cap * sizeof *live);
    if (!live) return;
    live[count++] = r->cpu;
    if (r->focus.profile) live[count++] = r->focus.profile;
    if (r->whole) live[count++] = r->whole;
    for (size_t i = 0; i < r->ended_count; i++) live[count++] = r->ended[i].profile;
    count += si__profile_ring_profiles(r->ring, live + count, RING_SLICES);
    for (size_t i = 0; i < r->errors.count; i++) live[count++] = r->errors.items[i].profile;
    si__stacks_collect(r->stacks, live, count);
    free(live);
}

/* When almost everything is in use, a collection brings little: the next one waits until half of the rest is taken. */
static void make_room(si__recorder *r) {
    if (si__stacks_fill(r->stacks) <= r->collect_above) return;
    collect(r);
    double fill = si__stacks_fill(r->stacks);
    double halfway = fill + (1 - fill) / 2;
    r->collect_above = halfway > collect_at ? halfway : collect_at;
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
    make_room(r);
    uint32_t node = si__stacks_intern(r->stacks, space, event->pcs, event->frame_count, event->flags);
    switch (event->type) {
    case SI__EVENT_CPU:
        record_cpu(r, node, event);
        break;
    case SI__EVENT_ERROR:
    case SI__EVENT_CRASH:
        record_error(r, node, event);
        break;
    case SI__EVENT_ALLOC:
    case SI__EVENT_WAIT:
    case SI__EVENT_CALL:
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

void si__recorder_metrics(si__recorder *r, void (*each)(void *arg, const char *name, double value), void *arg) {
    uint64_t now_ns = monotonic_ns();
    double seconds = (double)(now_ns - r->metrics_ns) / 1e9;
    if (seconds < 1) seconds = 1;
    for (size_t i = 0; i < r->custom_count; i++) {
        custom *c = &r->customs[i];
        each(arg, c->name, c->counter ? c->value / seconds : c->value);
        if (c->counter) c->value = 0;
    }
    r->metrics_ns = now_ns;
}

void si__recorder_focus(si__recorder *r, const char *trigger, const char *workload, int64_t before_ms) {
    si__recorder_focus_end(r);
    focus *f = &r->focus;
    uint64_t now_ns = monotonic_ns();
    *f = (focus){.profile = si__profile_new(), .start_ns = now_ns};
    if (!f->profile) return;
    snprintf(f->trigger, sizeof f->trigger, "%s", trigger);
    snprintf(f->workload, sizeof f->workload, "%s", workload ? workload : "");
    if (before_ms <= 0) return;
    uint64_t before_ns = (uint64_t)before_ms * 1000000;
    f->before_ns = si__profile_ring_take(r->ring, now_ns > before_ns ? now_ns - before_ns : 0, now_ns, f->profile);
}

void si__recorder_focus_end(si__recorder *r) {
    if (!r->focus.profile) return;
    if (r->ended_count == ENDED_FOCUSES) { /* nobody fetches them: the oldest goes */
        si__profile_free(r->ended[0].profile);
        memmove(&r->ended[0], &r->ended[1], --r->ended_count * sizeof *r->ended);
    }
    r->focus.end_ns = monotonic_ns();
    r->ended[r->ended_count++] = r->focus;
    r->focus.profile = NULL;
}

int si__recorder_focused(const si__recorder *r) {
    return r->focus.profile != NULL;
}

/* ---- The cut ---- */

typedef struct cutting {
    si__recorder *recorder;
    si__report *report;
    si__unresolved_list *list;
    size_t capacity;
    uint64_t now_ns;
    int64_t now_ms, start_ms;
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

/* Unix time of a moment of the monotonic clock, seen from the cut. */
static int64_t unix_ms_of(const cutting *c, uint64_t time_ns) {
    return c->now_ms - (int64_t)((c->now_ns - time_ns) / 1000000);
}

static int cut_profile(cutting *c, const si__profile *profile, const char *trigger, const char *workload,
                       uint64_t start_ns, uint64_t duration_ns) {
    si__report_profile *p = si__report_add_profile(c->report);
    if (!p) return SI_ENOMEM;
    p->type = si__report_strdup("cpu");
    p->unit = si__report_strdup("ns");
    p->trigger = si__report_strdup(trigger);
    p->workload = si__report_strdup(workload);
    p->start_ms = unix_ms_of(c, start_ns);
    p->duration_ns = duration_ns;
    p->cores = c->cores;
    p->samples = si__profile_total_count(profile);
    p->dropped = c->recorder->lost;
    return 0;
}

static int cut_profiles(cutting *c) {
    const si__recorder *r = c->recorder;
    int rc = cut_profile(c, r->cpu, "cadence", "", r->start_ns, c->duration_ns);
    for (size_t i = 0; rc == 0 && i < r->ended_count; i++) {
        const focus *f = &r->ended[i];
        uint64_t start_ns = f->start_ns - f->before_ns;
        rc = cut_profile(c, f->profile, f->trigger, f->workload, start_ns,
                         f->end_ns > start_ns ? f->end_ns - start_ns : 1);
    }
    return rc;
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

/* Without gaps: trees are matched by position. */
static int cut_errors(cutting *c) {
    const si__recorded_errors *errors = &c->recorder->errors;
    int rc = 0;
    for (size_t i = 0; i < errors->count && rc == 0; i++) rc = cut_error(c, &errors->items[i]);
    return rc;
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
static int want_trees(cutting *c, size_t first_profile, size_t first_error) {
    const si__recorder *r = c->recorder;
    int rc = 0;
    for (size_t i = first_profile; i < c->report->profile_count; i++) {
        size_t n = i - first_profile;
        rc |= want_tree(c, n == 0 ? r->cpu : r->ended[n - 1].profile, &c->report->profiles[i].tree);
    }
    for (size_t i = 0; i < r->errors.count && first_error + i < c->report->error_count; i++)
        if (si__profile_count(r->errors.items[i].profile) > 0)
            rc |= want_tree(c, r->errors.items[i].profile, &c->report->errors[first_error + i].tree);
    return rc;
}

int si__recorder_cut(si__recorder *r, int64_t now_ms, double cores, si__report *report, si__unresolved_list *out) {
    *out = (si__unresolved_list){0};
    cutting c = {.recorder = r, .report = report, .list = out, .cores = cores, .now_ms = now_ms};
    c.now_ns = monotonic_ns();
    c.duration_ns = c.now_ns > r->start_ns ? c.now_ns - r->start_ns : 1;
    c.start_ms = unix_ms_of(&c, r->start_ns);
    report->start_ms = c.start_ms;
    report->end_ms = now_ms;
    size_t first_profile = report->profile_count, first_error = report->error_count;
    int rc = cut_profiles(&c);
    rc |= cut_errors(&c);
    for (size_t i = 0; i < r->segments.count; i++) rc |= cut_segment(&c, &r->segments.items[i]);
    rc |= want_trees(&c, first_profile, first_error);
    si__profile_clear(r->cpu);
    forget_ended(r);
    si__recorded_errors_clear(&r->errors);
    si__recorded_segments_clear(&r->segments);
    r->lost = 0;
    r->start_ns = c.now_ns;
    r->collect_above = collect_at;
    return rc ? SI_ENOMEM : 0;
}

si__rawprofile *si__recorder_whole_run(const si__recorder *r) {
    return r->whole ? si__rawprofile_new(r->stacks, r->whole) : NULL;
}

uint64_t si__recorder_events(const si__recorder *r) {
    return r->events;
}
