/* One observed process. Loop thread, but for refresh_work. */
#include "target.h"

#include <fcntl.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../collectors/native/probe.h"
#include "ring/drain.h"

enum { MAX_WAITING = 4, MAX_STALE = 1024, MAPS_MAX_BYTES = 64 * 1024 * 1024, RETRY_NS = 1000000000 };

typedef struct waiting {
    void (*ready)(void *arg);
    void *arg;
} waiting;

struct si__target {
    si__target_parts parts;
    pid_t pid;
    si__region *region;
    int own;
    char root[64];
    si__drain *drain;
    si__source *source; /* the recorder's */
    si__waiting_threads *waits;
    si__region_counts counts; /* as told last */
    si__space *space;
    si__module_list modules; /* as read last, and those unmapped since that old samples may lie in */
    /* one refresh at a time */
    int refreshing, again;
    _Atomic int ending;
    uint32_t answering; /* modules_wanted that the running refresh answers */
    si__space *new_space;
    si__module_list new_modules;
    int published;      /* 1: the last refresh made tables */
    uint64_t failed_ns; /* when a refresh failed last; 0: it did not */
    char *first_maps;   /* as they were at the hello: a short process may be gone when the worker comes to it */
    size_t first_maps_bytes;
    size_t without_rows;
    uint64_t lost; /* told to the recorder so far */
    waiting waiting[MAX_WAITING];
    size_t waiting_count;
    void (*freed)(void *arg);
    void *freed_arg;
};

/* Paths in the maps of a process in another mount namespace mean other files. */
static void find_root(si__target *t) {
    char path[64];
    struct stat ours, theirs;
    snprintf(path, sizeof path, "/proc/%d/root", (int)t->pid);
    if (t->own || stat("/", &ours) != 0 || stat(path, &theirs) != 0) return;
    if (ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino) memcpy(t->root, path, sizeof t->root);
}

static char *read_maps(pid_t pid, size_t *length) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    size_t capacity = 64 * 1024;
    char *text = malloc(capacity);
    *length = 0;
    ssize_t n;
    while (text && (n = read(fd, text + *length, capacity - *length)) > 0) {
        *length += (size_t)n;
        if (*length < capacity || capacity >= MAPS_MAX_BYTES) continue;
        char *grown = realloc(text, capacity *= 2);
        if (!grown) break;
        text = grown;
    }
    close(fd);
    return text;
}

si__target *si__target_new(const si__target_parts *parts, pid_t pid, si__region *region, int own) {
    si__target *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->parts = *parts;
    t->pid = pid;
    t->region = region;
    t->own = own;
    t->drain = si__drain_new(region);
    t->source = si__recorder_source_new(parts->recorder, region);
    t->waits = si__waiting_new(region, pid);
    if (!t->drain || !t->source || !t->waits) {
        si__waiting_free(t->waits);
        si__recorder_source_end(parts->recorder, t->source);
        if (t->drain) si__drain_free(t->drain);
        free(t);
        return NULL;
    }
    if (!own) si__drain_from_zero(t->drain);
    find_root(t);
    if (!own) t->first_maps = read_maps(pid, &t->first_maps_bytes);
    return t;
}

pid_t si__target_pid(const si__target *t) {
    return t->pid;
}

const si__space *si__target_space(const si__target *t) {
    return t->space;
}

const si__region *si__target_region(const si__target *t) {
    return t->region;
}

size_t si__target_modules_without_rows(const si__target *t) {
    return t->without_rows;
}

/* ---- Refresh ---- */

static int overlaps(const si__module_list *list, const si__module *m) {
    for (size_t i = 0; i < list->count; i++)
        if (m->start < list->items[i].end && list->items[i].start < m->end) return 1;
    return 0;
}

static int by_start(const void *a, const void *b) {
    const si__module *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

/* Samples taken before a dlclose are drained after it: what was unmapped stays known until something else is there. */
static void keep_stale(si__module_list *now, const si__module_list *before) {
    size_t stale = 0;
    for (size_t i = 0; i < before->count; i++) stale += !overlaps(now, &before->items[i]);
    if (stale == 0 || stale > MAX_STALE) return;
    si__module *grown = realloc(now->items, (now->count + stale) * sizeof *grown);
    if (!grown) return;
    now->items = grown;
    const si__module_list current = {grown, now->count};
    for (size_t i = 0; i < before->count; i++) {
        if (overlaps(&current, &before->items[i])) continue;
        si__module copy = before->items[i];
        copy.path = strdup(copy.path);
        if (copy.path) now->items[now->count++] = copy;
    }
    qsort(now->items, now->count, sizeof *now->items, by_start);
}

/* A process that is gone walks no more. A forked one has its parent's tables, until its modules change. */
static int needs_tables(const si__target *t) {
    return !atomic_load(&t->ending) && (t->answering > 1 || !atomic_load(&t->region->inherits));
}

static void refresh_work(void *arg) {
    si__target *t = arg;
    size_t length = 0;
    char *maps = read_maps(t->pid, &length);
    t->published = 0;
    if (!maps || !length) {
        free(maps);
        maps = t->first_maps;
        length = t->first_maps_bytes;
    } else {
        free(t->first_maps);
    }
    t->first_maps = NULL;
    if (maps && length && si__module_list_parse(maps, length, &t->new_modules) == 0) {
        int published = needs_tables(t) ? si__unwind_publish(t->parts.cache, t->region, t->new_modules.items,
                                                             t->new_modules.count, t->root, &t->without_rows)
                                        : 0;
        if (published >= 0) atomic_store(&t->region->modules_seen, t->answering);
        t->published = published >= 0;
        si__drain_answer_stacks(t->drain, maps, length);
        keep_stale(&t->new_modules, &t->modules);
        t->new_space = si__space_new(t->parts.binaries, &t->new_modules, t->root);
    }
    free(maps);
}

static void finish_end(si__target *t);

static void refresh_after(void *arg) {
    si__target *t = arg;
    if (t->new_space) {
        if (t->space) si__space_free(t->space);
        si__module_list_free(&t->modules);
        t->space = t->new_space;
        t->space->names = t->region;
        t->modules = t->new_modules;
    } else {
        si__module_list_free(&t->new_modules);
    }
    t->new_space = NULL;
    t->new_modules = (si__module_list){0};
    t->failed_ns = t->published ? 0 : si__now_ns();
    t->refreshing = 0;
    waiting ready[MAX_WAITING];
    size_t count = t->waiting_count;
    memcpy(ready, t->waiting, sizeof ready);
    t->waiting_count = 0;
    for (size_t i = 0; i < count; i++) ready[i].ready(ready[i].arg);
    if (t->ending)
        finish_end(t);
    else if (t->again)
        si__target_refresh(t, NULL, NULL);
}

void si__target_refresh(si__target *t, void (*ready)(void *arg), void *arg) {
    if (ready && t->waiting_count < MAX_WAITING) t->waiting[t->waiting_count++] = (waiting){ready, arg};
    t->again = t->refreshing;
    if (t->refreshing) return;
    t->answering = atomic_load(&t->region->modules_wanted);
    t->refreshing = si__worker_submit(t->parts.worker, refresh_work, refresh_after, t) == 0;
}

/* ---- Drain ---- */

static void on_event(void *arg, const si__drained_event *event) {
    si__target *t = arg;
    si__drained_event copy = *event;
    if (copy.type == SI__EVENT_WAIT && copy.frame_count) si__waiting_ended(t->waits, &copy);
    si__recorder_event(t->parts.recorder, t->source, t->space, &copy);
}

static void on_waiting(void *arg, const si__drained_event *event) {
    si__target *t = arg;
    si__recorder_event(t->parts.recorder, t->source, t->space, event);
}

void si__target_waits(si__target *t) {
    if (t->space) si__waiting_report(t->waits, 1, on_waiting, t);
}

void si__target_metrics(si__target *t, si__region_gains *gains, si__stuck *stuck) {
    si__stuck own;
    si__region_metrics_add(t->region, t->pid, &t->counts, gains);
    si__waiting_stuck(t->waits, &own);
    if (own.seconds[SI__WAIT_LOCK] > stuck->seconds[SI__WAIT_LOCK]) memcpy(stuck->words, own.words, sizeof own.words);
    for (int c = 0; c < SI__WAIT_CATEGORIES; c++)
        if (own.seconds[c] > stuck->seconds[c]) stuck->seconds[c] = own.seconds[c];
}

/* The fullest ring's share. */
static double fullest(const si__target *t) {
    uint32_t used = atomic_load(&t->region->slots_used);
    uint64_t most = 0;
    for (uint32_t i = 0; i < used && i < SI__SLOT_COUNT; i++) {
        const si__slot *slot = si__region_slot(t->region, i);
        uint64_t bytes = atomic_load(&slot->reserve_pos) - atomic_load(&slot->read_pos);
        if (bytes > most && bytes <= SI__RING_BYTES) most = bytes;
    }
    return (double)most / SI__RING_BYTES;
}

size_t si__target_drain(si__target *t, double *fill) {
    *fill = fullest(t);
    int outdated = atomic_load(&t->region->modules_wanted) != atomic_load(&t->region->modules_seen) ||
                   si__drain_stacks_wanted(t->drain) || t->waiting_count;
    int wait = t->refreshing || (t->failed_ns && si__now_ns() - t->failed_ns < RETRY_NS);
    if (outdated && !wait && !t->ending) si__target_refresh(t, NULL, NULL);
    if (!t->space || (t->refreshing && !t->ending)) return 0; /* pcs of new modules mean nothing yet */
    return si__drain_events(t->drain, on_event, t);
}

static void on_instrument(void *arg, const si__drained_instrument *gained) {
    si__target *t = arg;
    si__recorder_tally(t->parts.recorder, gained);
}

void si__target_tally(si__target *t) {
    si__drain_instruments(t->drain, on_instrument, t);
    si__drain_counts counts;
    si__drain_counts_get(t->drain, &counts);
    si__recorder_lost(t->parts.recorder, counts.dropped - t->lost);
    t->lost = counts.dropped;
}

void si__target_beat(si__target *t) {
    if (t->own) si__probe_refresh();
}

void si__target_rates(si__target *t, const si__rates *rates) {
    si__region_set_cpu_mhz(t->region, (uint32_t)(rates->cpu_hz * 1000 + 0.5));
    si__region_set_means(t->region, rates->heap_bytes, rates->wait_ns, rates->call_ns);
    if (t->own) si__probe_retune();
}

void si__target_let_go(si__target *t) {
    if (!t->own) si__region_let_go(t->region);
}

/* ---- End ---- */

typedef struct retired { /* a region that nobody drains any more */
    si__unwind_cache *cache;
    si__region *region;
    int own;
} retired;

/* The cache is the worker's: it may be publishing for another process right now. */
static void retire_work(void *arg) {
    const retired *r = arg;
    si__unwind_forget(r->cache, r->region);
    if (!r->own) si__region_unmap(r->region);
}

static void retire(const si__target *t) {
    retired *r = malloc(sizeof *r);
    if (!r) return; /* the mapping stays; so does the worker's idea of it */
    *r = (retired){t->parts.cache, t->region, t->own};
    if (si__worker_submit(t->parts.worker, retire_work, free, r) != 0) free(r);
}

/* A process that was gone before its maps were read has nothing but addresses and the names of the calls that it waited
 * in; its time counts all the same. */
static void finish_end(si__target *t) {
    double fill;
    const si__module_list nothing = {0};
    if (!t->space && (t->space = si__space_new(t->parts.binaries, &nothing, t->root)) != NULL)
        t->space->names = t->region;
    si__target_drain(t, &fill);
    si__target_tally(t);
    si__waiting_report(t->waits, 0, on_waiting, t);
    si__waiting_free(t->waits);
    si__recorder_source_end(t->parts.recorder, t->source);
    if (t->space) si__space_free(t->space);
    si__module_list_free(&t->modules);
    si__drain_free(t->drain);
    free(t->first_maps);
    retire(t);
    void (*freed)(void *arg) = t->freed;
    void *arg = t->freed_arg;
    free(t);
    if (freed) freed(arg);
}

void si__target_end(si__target *t, void (*freed)(void *arg), void *arg) {
    t->ending = 1;
    t->freed = freed;
    t->freed_arg = arg;
    if (!t->refreshing) finish_end(t);
}
