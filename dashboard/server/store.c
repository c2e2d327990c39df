/*
 * The store: opens the data directory, runs the writer, hands out readers; see store.h. Opened and closed by the main
 * thread.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <si/si.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hot.h"
#include "schema.h"
#include "sweep.h"
#include "upkeep.h"

#define DEFAULT_RETENTION_MS (30 * 86400000ll)
#define DEFAULT_GRACE_MS 30000
#define DEFAULT_SWEEP_MS (6 * 3600000ll)

struct si__store {
    si__store_options options;
    char *data_dir;
    int lock; /* descriptor of the file that says who owns the directory */
    si__places *places;
    si__upkeep upkeep;
    _Atomic int64_t retention_ms, max_bytes; /* as upkeep has them, for other threads */
    atomic_int from_settings;
    si__writer *writer;
};

static int on_idle(si__tx *tx, void *arg) {
    return si__upkeep_step(tx, &((si__store *)arg)->upkeep);
}

static void on_committed(void *arg, unsigned changed) {
    si__store *store = arg;
    if (store->options.committed) store->options.committed(store->options.arg, changed);
}

static void on_log(void *arg, int level, const char *message) {
    si__store *store = arg;
    if (store->options.log) store->options.log(store->options.arg, level, message);
}

/* One server a directory. Subcommands write beside it without this lock. */
static int lock_directory(si__store *store, char *error, size_t error_bytes) {
    char path[4096];
    if (mkdir(store->data_dir, 0700) != 0 && errno != EEXIST) {
        snprintf(error, error_bytes, "%s: %s", store->data_dir, strerror(errno));
        return SI_EIO;
    }
    snprintf(path, sizeof path, "%s/lock", store->data_dir);
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock < 0) {
        snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        return SI_EIO;
    }
    if (flock(store->lock, LOCK_EX | LOCK_NB) == 0) return SI_OK;
    snprintf(error, error_bytes, "%s is in use by another si-dashboard", store->data_dir);
    return SI_EEXIST;
}

/* What the settings say, if they do. Before the writer runs, then on its thread. */
static void read_settings(si__store *store, si__db *db) {
    sqlite3_stmt *read = si__db_prepare(db, "SELECT value FROM meta WHERE key='retention_ms'");
    int64_t retention_ms = si__db_int(db, read, 0);
    sqlite3_stmt *most = si__db_prepare(db, "SELECT value FROM meta WHERE key='max_bytes'");
    int64_t max_bytes = si__db_int(db, most, -1);
    if (retention_ms > 0) store->upkeep.retention_ms = retention_ms;
    if (max_bytes >= 0) store->upkeep.max_bytes = (uint64_t)max_bytes;
    atomic_store(&store->retention_ms, store->upkeep.retention_ms);
    atomic_store(&store->max_bytes, (int64_t)store->upkeep.max_bytes);
    atomic_store(&store->from_settings, retention_ms > 0);
}

int si__store_settings_apply(si__tx *tx, void *arg) {
    const si__store_settings *settings = arg;
    sqlite3_stmt *put = si__db_prepare(tx->db, "INSERT INTO meta VALUES('retention_ms',?1),('max_bytes',?2)"
                                               " ON CONFLICT(key) DO UPDATE SET value=excluded.value");
    int failed = si__db_run(tx->db, si__db_bind(put, "ii", settings->retention_ms, (int64_t)settings->max_bytes));
    if (failed) return failed;
    read_settings(settings->store, tx->db);
    settings->store->upkeep.next_ms = 0; /* a round begins now */
    return SI_OK;
}

static int start_writer(si__store *store, char *error, size_t error_bytes) {
    si__db db;
    int failed = si__db_open(&db, store->data_dir, SI__DB_WRITE, error, error_bytes);
    if (failed) return failed;
    failed = si__schema_open(&db, 1, error, error_bytes);
    if (failed) {
        si__db_close(&db);
        return failed;
    }
    read_settings(store, &db);
    si__writer_options options = {.idle = on_idle, .committed = on_committed, .log = on_log, .arg = store};
    store->writer = si__writer_start(&db, &options);
    if (store->writer) return SI_OK;
    snprintf(error, error_bytes, "out of memory");
    return SI_ENOMEM;
}

int si__store_open(const si__store_options *options, si__store **out, char *error, size_t error_bytes) {
    *out = NULL;
    si__store *store = calloc(1, sizeof *store);
    if (!store) return SI_ENOMEM;
    store->options = *options;
    store->lock = -1;
    store->data_dir = strdup(options->data_dir);
    store->places = si__places_new();
    snprintf(error, error_bytes, "out of memory");
    int failed = store->data_dir && store->places ? SI_OK : SI_ENOMEM;
    if (!failed) {
        store->upkeep =
            (si__upkeep){.places = store->places,
                         .data_dir = store->data_dir,
                         .retention_ms = options->retention_ms > 0 ? options->retention_ms : DEFAULT_RETENTION_MS,
                         .sweep_ms = options->sweep_ms ? options->sweep_ms : DEFAULT_SWEEP_MS,
                         .grace_ms = options->rollup_grace_ms ? options->rollup_grace_ms : DEFAULT_GRACE_MS,
                         .max_bytes = options->max_bytes};
        failed = lock_directory(store, error, error_bytes);
    }
    if (!failed) failed = start_writer(store, error, error_bytes);
    if (failed)
        si__store_close(store);
    else
        *out = store;
    return failed;
}

void si__store_close(si__store *store) {
    if (!store) return;
    si__writer_stop(store->writer);
    si__sweep_free(store->upkeep.sweep, NULL);
    si__places_free(store->places);
    if (store->lock >= 0) close(store->lock);
    free(store->data_dir);
    free(store);
}

si__writer *si__store_writer(si__store *store) {
    return store->writer;
}

void si__store_retention(const si__store *store, si__retention *out) {
    *out = (si__retention){.retention_ms = atomic_load(&store->retention_ms),
                           .default_ms =
                               store->options.retention_ms > 0 ? store->options.retention_ms : DEFAULT_RETENTION_MS,
                           .max_bytes = (uint64_t)atomic_load(&store->max_bytes),
                           .from_settings = atomic_load(&store->from_settings)};
}

int64_t si__store_retention_ms(const si__store *store) {
    return atomic_load(&store->retention_ms);
}

si__reader *si__reader_new(si__store *store) {
    char error[256];
    si__reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    reader->store = store;
    reader->places = store->places;
    reader->codec = si__body_codec_new();
    if (reader->codec && !si__db_open(&reader->db, store->data_dir, SI__DB_READ, error, sizeof error)) return reader;
    si__reader_free(reader);
    return NULL;
}

void si__reader_free(si__reader *reader) {
    if (!reader) return;
    si__db_close(&reader->db);
    si__hot_free(reader->hot);
    si__body_codec_free(reader->codec);
    free(reader);
}

int si__reader_begin(si__reader *reader) {
    return si__db_exec(&reader->db, "BEGIN");
}

void si__reader_end(si__reader *reader) {
    si__hot_free(reader->hot); /* it was of this snapshot */
    reader->hot = NULL;
    si__db_reset_all(&reader->db);
    if (!sqlite3_get_autocommit(reader->db.sql)) si__db_exec(&reader->db, "COMMIT");
}
