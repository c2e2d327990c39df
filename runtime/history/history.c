/*
 * The table of series: find by name, bound their number and size, evict the least recently fed.
 *
 * Fed by the runtime (or the dashboard) on its loop thread, read by runtime/script on the same thread.
 */
#include "history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <si/si.h>

#include "series.h"

#define BUCKETS 16384 /* a power of two */
#define DEFAULT_SERIES 10000
#define DEFAULT_BYTES (32u << 20)
#define CLOCK_BACK_MS (600 * (int64_t)1000)

typedef struct kind_list { /* series of one kind, by how recently they were fed */
    si__series *newest, *oldest;
    size_t count;
} kind_list;

struct si__history {
    si__series *buckets[BUCKETS];
    kind_list kinds[SI__SERIES_KINDS];
    size_t count, bytes, max_series, max_bytes;
    uint64_t seed, dropped, evicted, generation;
};

si__history *si__history_new(void) {
    si__history *history = calloc(1, sizeof *history);
    if (!history) return NULL;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    /* Names are hostile text: an unpredictable seed keeps them from all landing in one bucket. */
    history->seed = (uint64_t)now.tv_nsec * 0x9E3779B97F4A7C15u ^ (uint64_t)(uintptr_t)history;
    history->max_series = DEFAULT_SERIES;
    history->max_bytes = DEFAULT_BYTES;
    return history;
}

void si__history_free(si__history *history) {
    if (!history) return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (si__series *series = history->buckets[i], *next; series; series = next) {
            next = series->chain;
            si__series_free(series);
        }
    free(history);
}

void si__history_limit(si__history *history, size_t max_series, size_t max_bytes) {
    history->max_series = max_series < 1 ? 1 : max_series;
    history->max_bytes = max_bytes;
}

size_t si__history_count(const si__history *history) {
    return history->count;
}
size_t si__history_bytes(const si__history *history) {
    return history->bytes;
}
uint64_t si__history_generation(const si__history *history) {
    return history->generation;
}
uint64_t si__history_dropped(const si__history *history) {
    return history->dropped;
}
uint64_t si__history_evicted(const si__history *history) {
    return history->evicted;
}

static uint64_t name_hash(const si__history *history, si__series_kind kind, const char *name, size_t length) {
    uint64_t h = history->seed + (uint64_t)kind;
    for (size_t i = 0; i < length; i++) {
        h = (h ^ (unsigned char)name[i]) * 0xFF51AFD7ED558CCDu;
        h ^= h >> 32;
    }
    return h;
}

static size_t name_length(const char *name) {
    return strnlen(name, SI__SERIES_NAME_BYTES - 1);
}

static si__series *find(const si__history *history, si__series_kind kind, const char *name, size_t length,
                        uint64_t hash) {
    for (si__series *s = history->buckets[hash & (BUCKETS - 1)]; s; s = s->chain)
        if (s->hash == hash && s->kind == kind && strncmp(s->name, name, length) == 0 && s->name[length] == '\0')
            return s;
    return NULL;
}

si__series *si__history_find(si__history *history, si__series_kind kind, const char *name) {
    size_t length = name_length(name);
    return find(history, kind, name, length, name_hash(history, kind, name, length));
}

static void list_remove(kind_list *list, si__series *series) {
    *(series->newer ? &series->newer->older : &list->newest) = series->older;
    *(series->older ? &series->older->newer : &list->oldest) = series->newer;
    list->count--;
}

static void list_push(kind_list *list, si__series *series) {
    series->newer = NULL;
    series->older = list->newest;
    *(list->newest ? &list->newest->newer : &list->oldest) = series;
    list->newest = series;
    list->count++;
}

static void series_remove(si__history *history, si__series *series) {
    history->generation++;
    si__series **link = &history->buckets[series->hash & (BUCKETS - 1)];
    while (*link != series) link = &(*link)->chain;
    *link = series->chain;
    list_remove(&history->kinds[series->kind], series);
    history->count--;
    size_t bytes = si__series_bytes(series);
    history->bytes -= bytes < history->bytes ? bytes : history->bytes;
    si__series_free(series);
}

/* A flood of one kind of name (call sites, segments) must not push out the few metrics: the largest kind pays. */
static void evict_one(si__history *history, const si__series *except) {
    kind_list *largest = &history->kinds[0];
    for (size_t i = 1; i < SI__SERIES_KINDS; i++)
        if (history->kinds[i].count > largest->count) largest = &history->kinds[i];
    if (!largest->oldest || largest->oldest == except) return;
    series_remove(history, largest->oldest);
    history->evicted++;
}

static si__series *series_insert(si__history *history, si__series_kind kind, const char *name, size_t length,
                                 uint64_t hash) {
    si__series *series = si__series_new(kind, name, length, hash);
    if (!series) return NULL;
    if (history->count >= history->max_series) evict_one(history, NULL);
    series->chain = history->buckets[hash & (BUCKETS - 1)];
    history->buckets[hash & (BUCKETS - 1)] = series;
    list_push(&history->kinds[kind], series);
    history->count++;
    history->generation++;
    history->bytes += si__series_bytes(series);
    return series;
}

int si__history_add(si__history *history, si__series_kind kind, const char *name, int64_t time_ms, double value) {
    size_t length = name ? name_length(name) : 0;
    if (!length || !isfinite(value) || (unsigned)kind >= SI__SERIES_KINDS) return SI_EINVAL;
    uint64_t hash = name_hash(history, kind, name, length);
    si__series *series = find(history, kind, name, length, hash);
    if (!series) {
        series = series_insert(history, kind, name, length, hash);
        if (!series) return SI_ENOMEM;
    } else if (time_ms < series->last_ms) {
        if (series->last_ms - time_ms <= CLOCK_BACK_MS) {
            history->dropped++;
            return 0;
        }
        si__series_shift(series, time_ms - series->last_ms);
    }
    kind_list *list = &history->kinds[kind];
    if (list->newest != series) {
        list_remove(list, series);
        list_push(list, series);
    }
    size_t before = si__series_bytes(series);
    int status = si__series_push(series, time_ms, value);
    history->bytes += si__series_bytes(series) - before;
    if (status && series->raw_count == 0) { /* out of memory with its first point: a series has at least one */
        series_remove(history, series);
        return status;
    }
    while (history->bytes > history->max_bytes && history->count > 1) {
        uint64_t evicted = history->evicted;
        evict_one(history, series);
        if (evicted == history->evicted) break;
    }
    return status;
}

void si__history_each(si__history *history, si__series_kind kind,
                      void (*each)(void *arg, const char *name, si__series *series), void *arg) {
    for (si__series *s = history->kinds[kind].newest, *next; s; s = next) {
        next = s->older;
        each(arg, s->name, s);
    }
}

/* For store.c: takes a filled series in place of one of the same name. Oldest first keeps the order of feeding. */
void si__history_take(si__history *history, si__series *filled) {
    size_t length = strlen(filled->name);
    filled->hash = name_hash(history, filled->kind, filled->name, length);
    si__series *known = find(history, filled->kind, filled->name, length, filled->hash);
    if (known) series_remove(history, known);
    if (history->count >= history->max_series) evict_one(history, NULL);
    filled->chain = history->buckets[filled->hash & (BUCKETS - 1)];
    history->buckets[filled->hash & (BUCKETS - 1)] = filled;
    list_push(&history->kinds[filled->kind], filled);
    history->count++;
    history->generation++;
    history->bytes += si__series_bytes(filled);
}

const si__series *si__history_oldest(const si__history *history, si__series_kind kind) {
    return history->kinds[kind].oldest;
}
