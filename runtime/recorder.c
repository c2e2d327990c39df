/* The recorder: profiles, errors and segments between two reports. Loop thread only. */
#include "recorder.h"

#include <si/si.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../collectors/native/bucket.h"
#include "recorder_parts.h"
#include "symbol/demangle.h"

enum { RING_SLICES = 30, MESSAGE_BYTES = 256 };
static const uint64_t ring_slice_ns = 10ull * 1000000000;
#define LEFT_NS (5ull * 1000000000)
const double si__recorder_collect_at = 0.75;
static const double no_rest_at = 0.95;

uint64_t si__recorder_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int make_type(si__recorded_type *t, si__profile_type type, int keep_whole_run) {
    t->focus.type = type;
    t->now = si__profile_new();
    if (keep_whole_run) t->whole = si__profile_new();
    int is_level = si__profile_kind_of(type)->is_level;
    if (!is_level) t->ring = si__profile_ring_new(ring_slice_ns, RING_SLICES);
    return t->now && (t->whole || !keep_whole_run) && (t->ring || is_level);
}

si__recorder *si__recorder_new(int keep_whole_run) {
    si__recorder *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->stacks = si__stacks_new(0);
    int made = r->stacks != NULL;
    for (int i = 0; i < SI__PROFILE_TYPES; i++) made &= make_type(&r->types[i], (si__profile_type)i, keep_whole_run);
    if (!made) {
        si__recorder_free(r);
        return NULL;
    }
    r->keeps_whole = keep_whole_run;
    r->enabled = 1u << SI__PROFILE_CPU;
    r->start_ns = r->metrics_ns = si__recorder_clock_ns();
    r->collect_above = si__recorder_collect_at;
    return r;
}

void si__recorder_forget_ended(si__recorder *r) {
    for (size_t i = 0; i < r->ended_count; i++) si__profile_free(r->ended[i].profile);
    r->ended_count = 0;
}

static void free_source(si__source *source) {
    si__heap_live_free(source->live);
    free(source);
}

static void free_type(si__recorded_type *t) {
    if (t->now) si__profile_free(t->now);
    if (t->whole) si__profile_free(t->whole);
    if (t->ring) si__profile_ring_free(t->ring);
    if (t->focus.profile) si__profile_free(t->focus.profile);
}

void si__recorder_free(si__recorder *r) {
    if (!r) return;
    si__recorded_errors_clear(&r->errors);
    si__recorded_errors_clear(&r->whole_errors);
    si__recorded_segments_clear(&r->segments);
    si__recorder_forget_ended(r);
    while (r->sources) {
        si__source *source = r->sources;
        r->sources = source->next;
        free_source(source);
    }
    for (int i = 0; i < SI__PROFILE_TYPES; i++) free_type(&r->types[i]);
    for (int i = 0; i < 2; i++)
        if (r->left[i]) si__profile_free(r->left[i]);
    if (r->stacks) si__stacks_free(r->stacks);
    free(r);
}

void si__recorder_rename(si__recorder *r, si__rename_fn rename, void *arg) {
    r->rename = rename;
    r->rename_arg = arg;
}

/* ---- Processes ---- */

si__source *si__recorder_source_new(si__recorder *r, si__region *region) {
    si__source *source = calloc(1, sizeof *source);
    if (!source) return NULL;
    source->region = region;
    source->next = r->sources;
    r->sources = source;
    return source;
}

/* The whole run has what was live when the program ended: its processes end one after the other, within seconds. Those
   that ended long before have given their memory back. */
static void keep_left(si__recorder *r, si__heap_live *live) {
    uint64_t now_ns = si__recorder_clock_ns();
    if (!r->left[0] || now_ns - r->left_since_ns > LEFT_NS) {
        if (r->left[1]) si__profile_free(r->left[1]);
        r->left[1] = r->left[0] && now_ns - r->left_since_ns <= 2 * LEFT_NS ? r->left[0] : NULL;
        if (r->left[0] && !r->left[1]) si__profile_free(r->left[0]);
        r->left[0] = si__profile_new();
        r->left_since_ns = now_ns;
    }
    if (r->left[0]) si__heap_live_take(live, r->left[0]);
}

void si__recorder_source_end(si__recorder *r, si__source *source) {
    if (!source) return;
    si__source **link = &r->sources;
    while (*link && *link != source) link = &(*link)->next;
    if (*link) *link = source->next;
    si__recorded_type *heap = &r->types[SI__PROFILE_HEAP];
    if (heap->whole && source->live) keep_left(r, source->live);
    if (!r->sources && source->live)
        si__heap_live_take(source->live, heap->now); /* the last report has what was left */
    free_source(source);
}

void si__recorder_take_heap(const si__recorder *r, si__profile *into) {
    for (const si__source *source = r->sources; source; source = source->next)
        if (source->live) si__heap_live_take(source->live, into);
}

void si__recorder_enable(si__recorder *r, unsigned types) {
    r->enabled |= types;
}

/* ---- The stack table ---- */

typedef struct in_use {
    si__profile **profiles;
    size_t profile_count;
    si__node_list *lists;
    size_t list_count;
} in_use;

static size_t list_profiles(si__recorder *r, si__profile **live) {
    size_t count = 0;
    for (int i = 0; i < SI__PROFILE_TYPES; i++) {
        si__recorded_type *t = &r->types[i];
        live[count++] = t->now;
        if (t->whole) live[count++] = t->whole;
        if (t->focus.profile) live[count++] = t->focus.profile;
        if (t->ring) count += si__profile_ring_profiles(t->ring, live + count, RING_SLICES);
    }
    for (size_t i = 0; i < r->ended_count; i++) live[count++] = r->ended[i].profile;
    for (int i = 0; i < 2; i++)
        if (r->left[i]) live[count++] = r->left[i];
    for (size_t i = 0; i < r->errors.count; i++) live[count++] = r->errors.items[i].profile;
    for (size_t i = 0; i < r->whole_errors.count; i++) live[count++] = r->whole_errors.items[i].profile;
    for (size_t i = 0; i < r->segments.count; i++)
        if (r->segments.items[i].profile) live[count++] = r->segments.items[i].profile;
    return count;
}

/* Lets the stack table keep only what live profiles use. */
static void collect(si__recorder *r) {
    size_t cap = SI__PROFILE_TYPES * (3 + RING_SLICES) + 2 + SI__ENDED_FOCUSES + r->errors.count +
                 r->whole_errors.count + r->segments.count;
    size_t sources = 0;
    for (const si__source *s = r->sources; s; s = s->next) sources += s->live != NULL;
    in_use use = {.profiles = malloc(cap * sizeof(si__profile *)), .lists = malloc((sources + 2) * sizeof *use.lists)};
    if (use.profiles && use.lists) {
        use.profile_count = list_profiles(r, use.profiles);
        for (const si__source *s = r->sources; s; s = s->next)
            if (s->live) use.lists[use.list_count++] = si__heap_live_nodes(s->live);
        use.lists[use.list_count++] = (si__node_list){&r->last_node, 1};
        use.lists[use.list_count++] = (si__node_list){&r->crash_node, 1};
        si__stacks_collect(r->stacks, use.profiles, use.profile_count, use.lists, use.list_count);
    }
    free(use.profiles);
    free(use.lists);
}

/* When almost everything is in use, a collection brings little: the next one waits until half of the rest is taken, and
   for the next cut when there is no rest to speak of. A stack that finds no room leaves locations behind that would
   otherwise bring the next collection at once. */
static void make_room(si__recorder *r) {
    if (si__stacks_fill(r->stacks) <= r->collect_above) return;
    collect(r);
    double fill = si__stacks_fill(r->stacks);
    double halfway = fill > no_rest_at ? 1 : fill + (1 - fill) / 2;
    r->collect_above = halfway > si__recorder_collect_at ? halfway : si__recorder_collect_at;
}

/* ---- What comes in ---- */

static void record_sample(si__recorder *r, si__profile_type type, uint32_t node, const si__drained_event *event) {
    si__recorded_type *t = &r->types[type];
    int64_t news = event->value - event->reported;
    si__profile_add(t->now, node, news, event->count);
    if (t->whole && !event->in_progress) si__profile_add(t->whole, node, event->value, event->count);
    if (t->focus.profile) si__profile_add(t->focus.profile, node, news, event->count);
    uint64_t now_ns = si__recorder_clock_ns(); /* a time in the future would empty the ring */
    si__profile_ring_add(t->ring, event->time_ns < now_ns ? event->time_ns : now_ns, node, news, event->count);
}

static void record_allocation(si__recorder *r, si__source *source, uint32_t node, const si__drained_event *event) {
    record_sample(r, SI__PROFILE_ALLOC, node, event);
    if (!source) return;
    if (!source->live) source->live = si__heap_live_new(source->region);
    if (source->live) si__heap_live_note(source->live, event, node);
}

static void public_name(const si__recorder *r, const char *raw, char *out, size_t out_bytes) {
    snprintf(out, out_bytes, "%s", raw);
    if (r->rename) r->rename(r->rename_arg, raw, out, out_bytes);
}

/* Of the call itself, behind the NUL of its name; 0: not said. */
static uint64_t own_duration(const si__drained_event *event) {
    size_t name = strnlen(event->text, event->text_bytes);
    uint64_t duration_ns = 0;
    if (event->text_bytes >= name + 1 + sizeof duration_ns)
        memcpy(&duration_ns, event->text + name + 1, sizeof duration_ns);
    return duration_ns;
}

static void record_call(si__recorder *r, uint32_t node, const si__drained_event *event) {
    char raw[SI__NAME_BYTES], name[256];
    if (event->detail < SI__INSTRUMENT_SEGMENT || event->detail > SI__INSTRUMENT_CALL_OTHER) return;
    snprintf(raw, sizeof raw, "%.*s", (int)strnlen(event->text, event->text_bytes), event->text);
    public_name(r, raw, name, sizeof name);
    si__recorded_segment_stack(&r->segments, name, (si__instrument_kind)event->detail, node, event->value, event->count,
                               own_duration(event));
}

/* Splits "group NUL message" into two terminated strings. */
static void split_text(const char *text, size_t bytes, char *group, size_t group_bytes, char *message,
                       size_t message_bytes) {
    size_t group_length = strnlen(text, bytes);
    size_t rest = bytes > group_length ? bytes - group_length - 1 : 0;
    snprintf(group, group_bytes, "%.*s", (int)group_length, text);
    snprintf(message, message_bytes, "%.*s", (int)strnlen(text + (bytes - rest), rest), text + (bytes - rest));
}

static void add_error(si__recorded_errors *errors, const char *group, const char *message, uint32_t node,
                      uint64_t counted, uint32_t stacks, int met_before) {
    si__recorded_error *error = si__recorded_error_get(errors, group);
    if (!error) return;
    int known = error->taken_back && met_before;
    error->count += counted;
    error->taken_back = 0;
    if (known && strncmp(error->message, message, strlen(message)) == 0) return; /* was told in more words */
    snprintf(error->message, sizeof error->message, "%s", message);
    if (!known) si__profile_add(error->profile, node, 1, stacks ? stacks : 1);
}

/* The crash was none. Its group stays behind with what others left in it. */
static void take_back(si__recorded_errors *errors, const char *group) {
    for (size_t i = 0; i < errors->count; i++) {
        if (strcmp(errors->items[i].group, group) != 0 || !errors->items[i].count) continue;
        errors->items[i].count--;
        errors->items[i].taken_back = 1;
    }
}

static int give_back(si__recorded_errors *errors, const char *group) {
    for (size_t i = 0; i < errors->count; i++) {
        if (strcmp(errors->items[i].group, group) != 0 || !errors->items[i].taken_back) continue;
        errors->items[i].count++;
        errors->items[i].taken_back = 0;
        return 1;
    }
    return 0;
}

/* A host's handler has dealt with the crash before. */
static void crash_was_handled(si__recorder *r, int64_t signal, const char *group) {
    if (r->crash == signal) group = r->crash_group; /* an exception's, for one */
    r->taken_back = r->crash == signal ? signal : 0;
    r->crash = 0;
    take_back(&r->errors, group);
    if (r->keeps_whole) take_back(&r->whole_errors, group);
}

int si__recorder_uphold(si__recorder *r, int64_t signal) {
    if (!r->taken_back || r->taken_back != signal) return 0;
    r->taken_back = 0;
    int given = give_back(&r->errors, r->crash_group);
    if (r->keeps_whole) given |= give_back(&r->whole_errors, r->crash_group);
    return given;
}

int si__recorder_has_stack(const si__recorder *r) {
    return r->last_node != 0;
}

/* "uncaught St13runtime_error: no room" becomes readable, and a group of its own: errors are told apart by type. */
static void name_exception(char *message, size_t message_bytes, char *group, size_t group_bytes) {
    static const char uncaught[] = "uncaught ";
    char symbol[300], name[SI__NAME_MAX];
    if (strncmp(message, uncaught, sizeof uncaught - 1) != 0) return;
    const char *type = message + sizeof uncaught - 1, *end = strstr(type, ": ");
    size_t length = end ? (size_t)(end - type) : strlen(type);
    snprintf(symbol, sizeof symbol, "_ZTS%.*s", (int)length, type);
    si__demangle(symbol, name);
    const char *readable = strncmp(name, "typeinfo name for ", 18) == 0 ? name + 18 : type;
    if (readable == type) return;
    char whole[MESSAGE_BYTES];
    snprintf(whole, sizeof whole, "uncaught %.120s%s", readable, end ? end : "");
    snprintf(message, message_bytes, "%s", whole);
    snprintf(group, group_bytes, "crash: uncaught %.90s", readable);
}

static void record_error(si__recorder *r, uint32_t node, const si__drained_event *event) {
    char group[SI__NAME_BYTES + 32], message[MESSAGE_BYTES];
    uint64_t counted_here = 0;
    int met_before = 0;
    if (event->type == SI__EVENT_CRASH) {
        const char *abbreviation = event->value > 0 && event->value < 64 ? sigabbrev_np((int)event->value) : NULL;
        snprintf(group, sizeof group, "crash: SIG%s%s", abbreviation ? abbreviation : "?",
                 event->flags & SI__EVENT_GUARDED ? " (guarded)" : "");
        snprintf(message, sizeof message, "%.*s", (int)event->text_bytes, event->text);
        counted_here = event->count ? event->count : 1;
        if (event->flags & SI__EVENT_HANDLED) {
            crash_was_handled(r, event->value, group);
            return;
        }
        name_exception(message, sizeof message, group, sizeof group);
        if (!(event->flags & SI__EVENT_GUARDED)) {
            met_before = r->taken_back == event->value && node == r->crash_node; /* the same one, once more */
            r->crash = event->value;
            r->crash_node = node;
            r->taken_back = 0;
            snprintf(r->crash_group, sizeof r->crash_group, "%s", group);
        }
    } else {
        counted_here = event->value == 1;
        split_text(event->text, event->text_bytes, group, sizeof group, message, sizeof message);
    }
    add_error(&r->errors, group, message, node, counted_here, event->count, met_before);
    if (r->keeps_whole) add_error(&r->whole_errors, group, message, node, counted_here, event->count, met_before);
}

int64_t si__recorder_crash(const si__recorder *r) {
    return r->crash;
}

void si__recorder_error(si__recorder *r, const char *group, const char *message, int with_stack) {
    uint32_t node = with_stack ? r->last_node : 0;
    add_error(&r->errors, group, message, node, 1, 1, 0);
    if (r->keeps_whole) add_error(&r->whole_errors, group, message, node, 1, 1, 0);
}

void si__recorder_event(si__recorder *r, si__source *source, const si__space *space, const si__drained_event *event) {
    r->events++;
    make_room(r);
    uint32_t node = si__stacks_intern(r->stacks, space, event->pcs, event->frame_count, event->flags);
    if (node) r->last_node = node;
    switch (event->type) {
    case SI__EVENT_CPU:
        record_sample(r, SI__PROFILE_CPU, node, event);
        break;
    case SI__EVENT_ALLOC:
        record_allocation(r, source, node, event);
        break;
    case SI__EVENT_WAIT:
        if (event->detail < SI__WAIT_CATEGORIES)
            record_sample(r, (si__profile_type)(SI__PROFILE_LOCK + event->detail), node, event);
        break;
    case SI__EVENT_CALL:
        record_call(r, node, event);
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
    si__custom *c = NULL;
    for (size_t i = 0; i < r->custom_count && !c; i++)
        if (strcmp(r->customs[i].name, t->name) == 0) c = &r->customs[i];
    if (!c) {
        if (r->custom_count == SI__CUSTOM_METRICS) return;
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
        error = t->count && r->keeps_whole ? si__recorded_error_get(&r->whole_errors, t->name) : NULL;
        if (error) error->count += t->count;
    } else if (t->count) {
        char name[256];
        public_name(r, t->name, name, sizeof name);
        si__recorded_segment_add(&r->segments, name, t);
    }
}

void si__recorder_metrics(si__recorder *r, void (*each)(void *arg, const char *name, double value), void *arg) {
    uint64_t now_ns = si__recorder_clock_ns();
    double seconds = (double)(now_ns - r->metrics_ns) / 1e9;
    if (seconds < 1) seconds = 1;
    for (size_t i = 0; i < r->custom_count; i++) {
        si__custom *c = &r->customs[i];
        each(arg, c->name, c->counter ? c->value / seconds : c->value);
        if (c->counter) c->value = 0;
    }
    r->metrics_ns = now_ns;
}

/* ---- Closer looks ---- */

void si__recorder_focus(si__recorder *r, si__profile_type type, const char *trigger, const char *workload,
                        int64_t before_ms) {
    si__recorder_focus_end(r, type);
    si__focus *f = &r->types[type].focus;
    uint64_t now_ns = si__recorder_clock_ns();
    *f = (si__focus){.type = type, .profile = si__profile_new(), .start_ns = now_ns};
    if (!f->profile) return;
    snprintf(f->trigger, sizeof f->trigger, "%s", trigger);
    snprintf(f->workload, sizeof f->workload, "%s", workload ? workload : "");
    const si__profile_ring *ring = r->types[type].ring;
    if (before_ms <= 0 || !ring) return;
    uint64_t before_ns = (uint64_t)before_ms * 1000000;
    f->before_ns = si__profile_ring_take(ring, now_ns > before_ns ? now_ns - before_ns : 0, now_ns, f->profile);
}

void si__recorder_focus_end(si__recorder *r, si__profile_type type) {
    si__focus *f = &r->types[type].focus;
    if (!f->profile) return;
    if (r->ended_count == SI__ENDED_FOCUSES) { /* nobody fetches them: the oldest goes */
        si__profile_free(r->ended[0].profile);
        memmove(&r->ended[0], &r->ended[1], --r->ended_count * sizeof *r->ended);
    }
    f->end_ns = si__recorder_clock_ns();
    if (type == SI__PROFILE_HEAP) si__recorder_take_heap(r, f->profile);
    r->ended[r->ended_count++] = *f;
    f->profile = NULL;
}

int si__recorder_focused(const si__recorder *r, si__profile_type type) {
    return r->types[type].focus.profile != NULL;
}

si__rawprofile *si__recorder_whole_run(const si__recorder *r, si__profile_type type) {
    si__profile *whole = r->types[type].whole;
    if (whole && type == SI__PROFILE_HEAP) {
        si__profile_clear(whole);
        for (int i = 0; i < 2; i++)
            if (r->left[i]) si__profile_merge(whole, r->left[i]);
    }
    return whole ? si__rawprofile_new(r->stacks, whole) : NULL;
}

void si__recorder_whole_errors(const si__recorder *r,
                               void (*each)(void *arg, const char *group, const char *message, uint64_t count,
                                            const si__rawprofile *stacks),
                               void *arg) {
    for (size_t i = 0; i < r->whole_errors.count; i++) {
        const si__recorded_error *e = &r->whole_errors.items[i];
        if (!e->count) continue;
        si__rawprofile *stacks = si__profile_count(e->profile) ? si__rawprofile_new(r->stacks, e->profile) : NULL;
        each(arg, e->group, e->message, e->count, stacks);
        if (stacks) si__rawprofile_free(stacks);
    }
}

si__rawprofile *si__recorder_recent(const si__recorder *r, si__profile_type type, int64_t before_ms) {
    const si__profile_ring *ring = r->types[type].ring;
    si__profile *recent = ring ? si__profile_new() : NULL;
    if (!recent) return NULL;
    uint64_t now_ns = si__recorder_clock_ns(), before_ns = (uint64_t)before_ms * 1000000;
    si__profile_ring_take(ring, now_ns > before_ns ? now_ns - before_ns : 0, now_ns, recent);
    si__rawprofile *raw = si__profile_total_value(recent) ? si__rawprofile_new(r->stacks, recent) : NULL;
    si__profile_free(recent);
    return raw;
}

uint64_t si__recorder_whole_samples(const si__recorder *r, si__profile_type type) {
    return r->types[type].whole ? si__profile_total_count(r->types[type].whole) : 0;
}

uint64_t si__recorder_events(const si__recorder *r) {
    return r->events;
}
