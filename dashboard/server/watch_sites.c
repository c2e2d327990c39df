/* Call sites over all sources, from the store; see watch_sites.h. Called by watch.c on the alerting thread. */
#include "watch_sites.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/callsites.h"
#include "../../runtime/history/series.h"
#include "clock.h"

#define DAY_MS 86400000ll
#define SITES 64         /* of one type, in one minute: as many as an agent keeps */
#define SOURCES 4000     /* with a profile in one minute */
#define FUNCTIONS 200000 /* names that are kept; then they are looked up anew */
#define FINE 1e6         /* values are added up in millionths: a tree has whole numbers */

typedef struct source_unit { /* what one unit of a rule's number is, in the profile's unit */
    int64_t source;
    double unit;
} source_unit;

typedef struct stretch {
    const si__watch_feed *feed;
    si__watch_sites *sites;
    si__profile_type type;
    const char *name;                /* of the type */
    int64_t from_ms, to_ms, time_ms; /* time: of the points */
    source_unit *sources;            /* ordered by source */
    size_t count;
} stretch;

/* ---- Which profiles ---- */

/* A profile tells of a minute that it overlaps; the index knows when it began, and none is longer than ten minutes. */
#define OF_MINUTE                                                                                                      \
    " WHERE profile.app=?1 AND type=?2 AND start_ms/600000 BETWEEN (?3-600000)/600000 AND ?4/600000 AND start_ms<?4"   \
    " AND start_ms+max(duration_ns/1000000,1)>?3 AND trigger='cadence'"                                                \
    " AND (?5=0 OR source=?5)"

static void find_sources(stretch *m) {
    si__db *db = &m->feed->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT source,sum(duration_ns),sum(duration_ns*cores),count(*) FROM profile" OF_MINUTE
                           " GROUP BY source ORDER BY source LIMIT ?6");
    si__db_bind(read, "isiiii", m->feed->app, m->name, m->from_ms, m->to_ms, m->feed->source, (int64_t)SOURCES);
    while (si__db_step(db, read) == 1) {
        double one = si__watch_profile_value(m->type, 1, sqlite3_column_double(read, 1), sqlite3_column_double(read, 2),
                                             sqlite3_column_double(read, 3));
        if (!isfinite(one) || one <= 0) continue;
        m->sources[m->count++] = (source_unit){sqlite3_column_int64(read, 0), one};
    }
}

static double unit_of(const stretch *m, int64_t source) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->sources[middle].source < source)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->count && m->sources[low].source == source ? m->sources[low].unit : 0;
}

static int add_bodies(stretch *m, si__sum *sum) {
    si__reader *reader = m->feed->reader;
    int failed = SI_OK, row = 0;
    sqlite3_stmt *read =
        si__db_prepare(&reader->db, "SELECT source,body FROM profile CROSS JOIN profile_body USING(id)" OF_MINUTE);
    si__db_bind(read, "isiii", m->feed->app, m->name, m->from_ms, m->to_ms, m->feed->source);
    while (!failed && (row = si__db_step(&reader->db, read)) == 1) {
        const si__entry *entries;
        size_t count;
        double unit = unit_of(m, sqlite3_column_int64(read, 0)) * FINE;
        if (si__body_decode(reader->codec, sqlite3_column_blob(read, 1), (size_t)sqlite3_column_bytes(read, 1),
                            &entries, &count))
            continue; /* damaged: the page about profiles says so */
        for (size_t i = 0; i < count && !failed; i++) {
            double value = (double)entries[i].value * unit;
            if (fabs(value) < 9e18) failed = si__sum_add(sum, entries[i].node, entries[i].count, llround(value));
        }
    }
    if (row == 1) sqlite3_reset(read);
    return failed;
}

/* ---- What the functions have ---- */

static int name_branches(stretch *m, const si__branch *branches, size_t count, si__calltree *tree, uint32_t *nodes) {
    nodes[0] = 0;
    for (size_t i = 1; i < count; i++) {
        uint32_t number = si__functions_of(m->sites->functions, branches[i].frame);
        if (number == UINT32_MAX) return SI_ENOMEM;
        const si__function *f = si__functions_at(m->sites->functions, number);
        uint32_t frame = si__calltree_frame(tree, f->function, "", 0, f->module);
        nodes[i] = frame == UINT32_MAX ? UINT32_MAX : si__calltree_child(tree, nodes[branches[i].parent], frame);
        if (nodes[i] == UINT32_MAX) return SI_ENOMEM;
        si__calltree_add(tree, nodes[i], branches[i].self, branches[i].self_count);
    }
    return SI_OK;
}

/* The sum as a tree of functions; NULL: out of memory. */
static si__calltree *named(stretch *m, const si__branch *branches, size_t count) {
    si__calltree *tree = si__calltree_new();
    uint32_t *nodes = calloc(count + 1, sizeof *nodes);
    int failed = tree && nodes ? name_branches(m, branches, count, tree, nodes) : SI_ENOMEM;
    free(nodes);
    if (!failed) return tree;
    si__calltree_free(tree);
    return NULL;
}

static void add_sites(stretch *m, const si__calltree *tree) {
    int heap = m->type == SI__PROFILE_HEAP || m->type == SI__PROFILE_ALLOC;
    si__callsite top[SITES];
    size_t count = si__callsites_top(tree, heap ? SI__CALLSITE_ORIGIN : SI__CALLSITE_INCLUSIVE, top, SITES);
    for (size_t i = 0; i < count; i++) {
        char series[200];
        snprintf(series, sizeof series, "%.30s|%.159s", m->name, top[i].name);
        si__history_add(m->feed->history, SI__SERIES_CALLSITE, series, m->time_ms,
                        (double)top[i].total / FINE / (double)m->count);
    }
}

static int prepare_functions(si__watch_sites *sites, si__reader *reader) {
    if (sites->functions && si__functions_count(sites->functions) > FUNCTIONS) si__watch_sites_clear(sites);
    if (!sites->functions) sites->functions = si__functions_new(reader);
    return sites->functions ? SI_OK : SI_ENOMEM;
}

void si__watch_sites_step(const si__watch_feed *feed, si__watch_sites *sites, si__profile_type type, int64_t from_ms,
                          int64_t to_ms, int64_t time_ms) {
    si__reader *reader = feed->reader;
    stretch m = {.feed = feed,
                 .sites = sites,
                 .type = type,
                 .name = si__profile_kind_of(type)->name,
                 .from_ms = from_ms,
                 .to_ms = to_ms,
                 .time_ms = time_ms,
                 .sources = malloc(SOURCES * sizeof *m.sources)};
    si__branch *branches = NULL;
    size_t count = 0;
    if (m.sources) find_sources(&m);
    si__sum *sum = m.count && !prepare_functions(sites, reader) ? si__sum_new() : NULL;
    if (sum && !add_bodies(&m, sum) && !si__places_tree(reader->places, &reader->db, sum, &branches, &count)) {
        si__calltree *tree = named(&m, branches, count);
        if (tree) add_sites(&m, tree);
        si__calltree_free(tree);
    }
    free(branches);
    si__sum_free(sum);
    free(m.sources);
}

/* ---- How far ---- */

typedef struct search {
    const char *name;
    size_t length;
    int64_t last_ms;
} search;

static void newest(void *arg, const char *name, si__series *series) {
    search *s = arg;
    int64_t ms = si__series_last_ms(series);
    if (!strncmp(name, s->name, s->length) && name[s->length] == '|' && ms > s->last_ms) s->last_ms = ms;
}

/* After what the history has; with nothing, where the store's profiles of a day begin. */
static int64_t begin(const si__watch_feed *feed, const char *name, int64_t now_ms) {
    search s = {name, strlen(name), 0};
    si__history_each(feed->history, SI__SERIES_CALLSITE, newest, &s);
    int64_t oldest = now_ms - DAY_MS;
    if (s.last_ms <= oldest || s.last_ms > now_ms) {
        si__db *db = &feed->reader->db;
        sqlite3_stmt *read = si__db_prepare(
            db, "SELECT min(start_ms/600000)*600000 FROM profile WHERE app=? AND type=? AND start_ms/600000>=?/600000");
        s.last_ms = si__db_int(db, si__db_bind(read, "isi", feed->app, name, oldest), 0);
        if (s.last_ms <= oldest) s.last_ms = s.last_ms ? oldest : now_ms;
    }
    return s.last_ms - s.last_ms % SI__WATCH_MINUTE_MS;
}

void si__watch_sites_feed(const si__watch_feed *feed, si__watch_sites *sites, int64_t ready_ms, int64_t now_ms,
                          int64_t until_ns) {
    for (int type = 0; type < SI__PROFILE_TYPES; type++) {
        const char *name = si__profile_kind_of((si__profile_type)type)->name;
        int64_t *at = &sites->fed_to_ms[type];
        if (!si__script_wants_callsites(feed->script, name, 1)) {
            *at = 0;
            continue;
        }
        if (*at < now_ms - DAY_MS || *at > now_ms) *at = begin(feed, name, now_ms);
        for (; *at + SI__WATCH_MINUTE_MS <= ready_ms; *at += SI__WATCH_MINUTE_MS) {
            if (si__clock_monotonic_ns() > until_ns) return;
            int64_t end_ms = *at + SI__WATCH_MINUTE_MS;
            si__watch_sites_step(feed, sites, (si__profile_type)type, *at, end_ms, end_ms);
        }
    }
}

void si__watch_sites_clear(si__watch_sites *sites) {
    si__functions_free(sites->functions);
    sites->functions = NULL;
}
