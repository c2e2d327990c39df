/* The cut: what was recorded since the last one becomes a part of a report. Loop thread only. */
#include <si/si.h>
#include <stdlib.h>

#include "recorder_parts.h"

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

static int cut_profile(cutting *c, si__profile_type type, const si__profile *profile, const char *trigger,
                       const char *workload, uint64_t start_ns, uint64_t duration_ns) {
    si__report_profile *p = si__report_add_profile(c->report);
    if (!p) return SI_ENOMEM;
    p->type = si__report_strdup(si__profile_kind_of(type)->name);
    p->unit = si__report_strdup(si__profile_kind_of(type)->unit);
    p->trigger = si__report_strdup(trigger);
    p->workload = si__report_strdup(workload);
    p->start_ms = unix_ms_of(c, start_ns);
    p->duration_ns = duration_ns;
    p->cores = c->cores;
    p->samples = si__profile_total_count(profile);
    p->dropped = c->recorder->lost;
    return 0;
}

/* The regular profiles, in the order of their types; then those that have ended. want_trees counts on it. */
static int cut_profiles(cutting *c) {
    const si__recorder *r = c->recorder;
    int rc = 0;
    for (int i = 0; i < SI__PROFILE_TYPES; i++)
        if (r->enabled & 1u << i)
            rc |= cut_profile(c, (si__profile_type)i, r->types[i].now, "cadence", "", r->start_ns, c->duration_ns);
    for (size_t i = 0; rc == 0 && i < r->ended_count; i++) {
        const si__focus *f = &r->ended[i];
        uint64_t start_ns = f->start_ns - f->before_ns;
        rc = cut_profile(c, f->type, f->profile, f->trigger, f->workload, start_ns,
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
static int want_trees(cutting *c, size_t first_profile, size_t first_segment, size_t first_error) {
    const si__recorder *r = c->recorder;
    si__report *report = c->report;
    size_t at = first_profile;
    int rc = 0;
    for (int i = 0; i < SI__PROFILE_TYPES && at < report->profile_count; i++)
        if (r->enabled & 1u << i) rc |= want_tree(c, r->types[i].now, &report->profiles[at++].tree);
    for (size_t i = 0; i < r->ended_count && at < report->profile_count; i++)
        rc |= want_tree(c, r->ended[i].profile, &report->profiles[at++].tree);
    for (size_t i = 0; i < r->segments.count && first_segment + i < report->segment_count; i++)
        if (r->segments.items[i].profile)
            rc |= want_tree(c, r->segments.items[i].profile, &report->segments[first_segment + i].tree);
    for (size_t i = 0; i < r->errors.count && first_error + i < report->error_count; i++)
        if (si__profile_count(r->errors.items[i].profile) > 0)
            rc |= want_tree(c, r->errors.items[i].profile, &report->errors[first_error + i].tree);
    return rc;
}

int si__recorder_cut(si__recorder *r, int64_t now_ms, double cores, si__report *report, si__unresolved_list *out) {
    *out = (si__unresolved_list){0};
    cutting c = {.recorder = r, .report = report, .list = out, .cores = cores, .now_ms = now_ms};
    c.now_ns = si__recorder_clock_ns();
    c.duration_ns = c.now_ns > r->start_ns ? c.now_ns - r->start_ns : 1;
    c.start_ms = unix_ms_of(&c, r->start_ns);
    report->start_ms = c.start_ms;
    report->end_ms = now_ms;
    size_t first_profile = report->profile_count, first_segment = report->segment_count;
    size_t first_error = report->error_count;
    si__recorded_segments_drop_uncounted(&r->segments);
    si__recorded_errors_drop_uncounted(&r->errors);
    si__recorder_take_heap(r, r->types[SI__PROFILE_HEAP].now);
    int rc = cut_profiles(&c);
    rc |= cut_errors(&c);
    for (size_t i = 0; rc == 0 && i < r->segments.count; i++) rc |= cut_segment(&c, &r->segments.items[i]);
    rc |= want_trees(&c, first_profile, first_segment, first_error);
    for (int i = 0; i < SI__PROFILE_TYPES; i++) si__profile_clear(r->types[i].now);
    si__recorder_forget_ended(r);
    si__recorded_errors_clear(&r->errors);
    si__recorded_segments_clear(&r->segments);
    r->lost = 0;
    r->start_ns = c.now_ns;
    r->collect_above = si__recorder_collect_at;
    return rc ? SI_ENOMEM : 0;
}
