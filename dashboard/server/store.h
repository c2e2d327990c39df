/*
 * The store: one data directory with everything the dashboard knows. The small interface behind which SQLite sits.
 *
 * Writing goes through the writer thread (writer.h); reading through readers, one per thread, each seeing a consistent
 * state between si__reader_begin and si__reader_end. Telemetry is read with the functions here; accounts, keys and
 * alerts live in files of their own beside it.
 */
#ifndef SI_SERVER_STORE_H
#define SI_SERVER_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "../../runtime/profile/sketch.h"
#include "../../runtime/report/report.h"
#include "body.h"
#include "callpath.h"
#include "db.h"
#include "places.h"
#include "writer.h"

typedef struct si__store si__store;

typedef struct si__store_options {
    const char *data_dir;
    int64_t retention_ms;    /* telemetry older than this goes; 0: 30 days */
    uint64_t max_bytes;      /* the store's size above which the oldest telemetry goes; 0: no limit but the disk's */
    int64_t sweep_ms;        /* how often calls that nobody has any more are deleted, at most; 0: 6 h */
    int64_t rollup_grace_ms; /* how long a period must be quiet before its rollup is made; 0: 30 s */
    void (*committed)(void *arg, unsigned changed); /* writer thread */
    void (*log)(void *arg, int level, const char *message);
    void *arg;
} si__store_options;

/* Opens (or makes) the store, checks and migrates it, starts the writer. 0 or SI_E* with error set. */
int si__store_open(const si__store_options *options, si__store **out, char *error, size_t error_bytes);
void si__store_close(si__store *store); /* after all readers are freed */
si__writer *si__store_writer(si__store *store);

/* How long telemetry is kept, and how much of it. The options say it until somebody changes it in the settings. */
typedef struct si__retention {
    int64_t retention_ms, default_ms; /* default_ms: what the options say */
    uint64_t max_bytes;               /* 0: no limit but the disk's */
    int from_settings;
} si__retention;
void si__store_retention(const si__store *store, si__retention *out); /* any thread */
int64_t si__store_retention_ms(const si__store *store);

/* The writer's `apply`; its argument is an si__store_settings. In force at once. 0 or SI_E*. */
typedef struct si__store_settings {
    si__store *store;
    int64_t retention_ms;
    uint64_t max_bytes;
} si__store_settings;
int si__store_settings_apply(si__tx *tx, void *settings);

/* ---- Reports ---- */

/* The writer's `apply` for a decoded report: everything in it and its ledger row. SI_ENOTFOUND: there is no such
   application (any more). */
typedef struct si__store_report {
    const si__report *report;   /* borrowed */
    int64_t app;                /* from the agent's key */
    const si__callpaths *paths; /* borrowed; NULL: every call is looked for by itself */
    int duplicate;              /* out: it was stored before, nothing was changed */
} si__store_report;
int si__store_report_apply(si__tx *tx, void *store_report);

/* The number of an application and environment, made when missing; never one that another had. 0 or SI_E*. */
int si__store_app(si__tx *tx, const char *name, const char *environment, int64_t *app);
int si__store_has_app(si__tx *tx, int64_t app); /* 0: it was removed; asked by whatever writes for an application */

/* ---- Reading ---- */

typedef struct si__hot si__hot;

typedef struct si__reader { /* one thread at a time */
    si__store *store;
    si__db db;
    si__places *places; /* borrowed from the store */
    si__body_codec *codec;
    si__hot *hot; /* see hot.h; NULL: nothing was read yet */
} si__reader;

si__reader *si__reader_new(si__store *store); /* NULL: could not be opened */
void si__reader_free(si__reader *reader);
int si__reader_begin(si__reader *reader); /* one snapshot until end */
void si__reader_end(si__reader *reader);

typedef struct si__range { /* what a page looks at */
    int64_t app, source;   /* source 0: all */
    int64_t from_ms, to_ms;
} si__range;

int64_t si__read_app(si__reader *reader, const char *name, const char *environment); /* 0: unknown */

typedef struct si__profile_row {
    int64_t id, app, start_ms, source, context, total;
    uint64_t duration_ns, samples;
    double cores;
    const char *type, *app_version, *trigger; /* borrowed until the next row */
} si__profile_row;

typedef int (*si__profile_each)(void *arg, const si__profile_row *row); /* not 0: stop */
int si__read_profiles(si__reader *reader, const si__range *range, const char *type, si__profile_each each, void *arg);
int si__read_profile(si__reader *reader, int64_t app, int64_t id, si__profile_each each, void *arg); /* SI_ENOTFOUND */

typedef struct si__merge { /* zero-initialised; profiles added up */
    si__sum *sum;
    uint64_t profiles, samples, duration_ns;
    int64_t total, start_ms, end_ms;
    double core_ns, cores; /* core_ns: sum of duration x cores; cores: the most seen */
    uint64_t rollups;      /* how many of the parts were rollups */
} si__merge;

/* Adds every profile of the range, from rollups where whole periods are inside it. Of a level (kind.h): the average of
   each source, added up; `merge` must be empty then. 0 or SI_E*. */
int si__read_merge(si__reader *reader, const si__range *range, const char *type, si__merge *merge);
/* The same of one app version, from profiles one by one: rollups are of all versions. version NULL or "": any. */
int si__read_merge_version(si__reader *reader, const si__range *range, const char *type, const char *version,
                           si__merge *merge);
int si__read_merge_one(si__reader *reader, int64_t app, int64_t id, si__merge *merge);
int si__read_merge_errors(si__reader *reader, const si__range *range, const char *group, si__merge *merge);
void si__merge_clear(si__merge *merge);

typedef struct si__frame_row {
    const char *function, *file, *module;
    uint32_t line;
} si__frame_row;
int si__read_frame(si__reader *reader, uint32_t id,
                   si__frame_row *row); /* borrowed until the next call; SI_ENOTFOUND */

/* Totals of a call over time, one value a rollup step (10 minutes for up to 2 days, an hour for up to 14, else a day);
   node 0 is the whole. Quick when asked for many calls of one range after the other. Of a period that is rolled up,
   only its 200 heaviest calls are known: others are not told. */
typedef int (*si__trend_each)(void *arg, uint32_t node, int64_t t, int64_t total);
int si__read_hot(si__reader *reader, const si__range *range, const char *type, uint32_t node, si__trend_each each,
                 void *arg);
/* The same for one call, whatever it weighs. each's node: 0 the whole, then the call, for each time. */
int si__read_node_trend(si__reader *reader, const si__range *range, const char *type, uint32_t node,
                        si__trend_each each, void *arg);
/* The same for a function wherever it is called from, from rollups and what is not rolled up yet. each's node: 0 the
   whole, 1 the function. module "": any. */
int si__read_function_trend(si__reader *reader, const si__range *range, const char *type, const char *function,
                            const char *module, si__trend_each each, void *arg);

typedef struct si__segment_row {
    const char *kind, *name;
    int64_t name_id, t;
    uint64_t duration_ns, count, errors, sum_ns, max_ns;
    const void *sketch;
    size_t sketch_bytes;
} si__segment_row;
typedef int (*si__segment_each)(void *arg, const si__segment_row *row);
/* In no order; from rollups when the range is long and no source is chosen. Rows inside from..to only. */
int si__read_segments(si__reader *reader, const si__range *range, si__segment_each each, void *arg);

typedef struct si__point_row {
    int64_t series, source, t;
    const char *name, *unit;
    double average, low, high;
} si__point_row;
typedef int (*si__point_each)(void *arg, const si__point_row *row);
/* Ordered by series, then time, at most about 400 a series. name NULL: all. */
int si__read_points(si__reader *reader, const si__range *range, const char *name, si__point_each each, void *arg);

#endif
