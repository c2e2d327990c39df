/*
 * The writer thread; see writer.h. Everything below `writer_main` runs on it.
 *
 * Each write is a savepoint inside the group's transaction, so that a malformed one cannot take its neighbours along.
 * When SQLite itself fails (disk full, I/O), the whole group is rolled back and everybody in it is told so: nobody was
 * acknowledged.
 */
#include "writer.h"

#include <pthread.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"

#define QUEUE_LIMIT 4096
#define GROUP_LIMIT 512

struct si__writer {
    si__writer_options options;
    si__db db;
    si__intern *intern;
    si__body_codec *codec;
    si__memo *memo;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    si__write *first, **last;
    size_t queued;
    int stopping;
    si__writer_counts counts;
};

static void say(si__writer *writer, const char *what, int result) {
    char text[300];
    snprintf(text, sizeof text, "store: %s: %s (%s)", what, sqlite3_errmsg(writer->db.sql), si_err_name(result));
    if (writer->options.log) writer->options.log(writer->options.arg, SI_LOG_ERROR, text);
}

static si__tx transaction(si__writer *writer) {
    return (si__tx){&writer->db, writer->intern, writer->codec, writer->memo, si__clock_unix_ms(), 0};
}

/* An error after which the transaction as a whole cannot be trusted. */
static int is_fatal(si__writer *writer, int result) {
    return sqlite3_get_autocommit(writer->db.sql) || result == SI_EIO || result == SI_ELIMIT;
}

static void forget(si__writer *writer) {
    si__intern_forget(writer->intern);
    si__memo_forget(writer->memo);
}

/* 0, or what every write of the group shall be told. */
static int apply_group(si__writer *writer, si__tx *tx, si__write *group) {
    for (si__write *write = group; write; write = write->next) {
        int failed = si__db_run(tx->db, si__db_prepare(tx->db, "SAVEPOINT one"));
        if (failed) return failed;
        write->result = write->apply(tx, write->arg);
        if (write->result && is_fatal(writer, write->result)) {
            say(writer, "write", write->result);
            return write->result;
        }
        if (write->result) {
            forget(writer); /* may hold numbers that are undone now */
            failed = si__db_run(tx->db, si__db_prepare(tx->db, "ROLLBACK TO one"));
        }
        failed = failed ? failed : si__db_run(tx->db, si__db_prepare(tx->db, "RELEASE one"));
        if (failed) return failed;
    }
    return SI_OK;
}

static int commit(si__writer *writer, int failed) {
    if (!failed) {
        failed = si__db_exec(&writer->db, "COMMIT");
        if (failed) say(writer, "commit", failed);
    }
    if (!failed) return SI_OK;
    if (!sqlite3_get_autocommit(writer->db.sql)) si__db_exec(&writer->db, "ROLLBACK");
    forget(writer);
    return failed == SI_EEXIST || failed == SI_ENOMEM ? SI_EIO : failed;
}

static void run_group(si__writer *writer, si__write *group) {
    int64_t start = si__clock_monotonic_ns();
    si__tx tx = transaction(writer);
    int failed = si__db_exec(&writer->db, "BEGIN IMMEDIATE");
    if (failed) say(writer, "begin", failed);
    if (!failed) failed = apply_group(writer, &tx, group);
    failed = commit(writer, failed);
    uint64_t writes = 0, failures = 0;
    for (si__write *write = group, *next; write; write = next) {
        next = write->next; /* done may free it */
        writes++;
        int result = failed ? failed : write->result;
        failures += result != 0;
        write->done(write->arg, result);
    }
    if (!failed && tx.changed && writer->options.committed) writer->options.committed(writer->options.arg, tx.changed);
    pthread_mutex_lock(&writer->lock);
    writer->counts.commits += !failed;
    writer->counts.writes += writes;
    writer->counts.failures += failures;
    writer->counts.last_commit_ms = (double)(si__clock_monotonic_ns() - start) / 1e6;
    pthread_mutex_unlock(&writer->lock);
}

/* 1: there is more to do. */
static int run_idle(si__writer *writer) {
    if (!writer->options.idle) return 0;
    si__tx tx = transaction(writer);
    int failed = si__db_exec(&writer->db, "BEGIN IMMEDIATE");
    int more = failed ? 0 : writer->options.idle(&tx, writer->options.arg);
    if (more < 0) say(writer, "upkeep", more);
    failed = commit(writer, failed ? failed : (more < 0 ? more : 0));
    if (!failed && tx.changed && writer->options.committed) writer->options.committed(writer->options.arg, tx.changed);
    return !failed && more > 0;
}

static si__write *take_group(si__writer *writer) { /* lock held */
    si__write *group = writer->first, *end = group;
    if (!group) return NULL;
    size_t count = 1;
    for (; end->next && count < GROUP_LIMIT; end = end->next) count++;
    writer->first = end->next;
    if (!writer->first) writer->last = &writer->first;
    end->next = NULL;
    writer->queued -= count;
    return group;
}

static void wait_for_work(si__writer *writer, int64_t idle_at_ns) { /* lock held */
    while (!writer->first && !writer->stopping) {
        struct timespec until = {idle_at_ns / 1000000000, idle_at_ns % 1000000000};
        if (si__clock_monotonic_ns() >= idle_at_ns) return;
        pthread_cond_timedwait(&writer->wake, &writer->lock, &until);
    }
}

/* Until the next step of upkeep: soon when there is more to do, but while reports come, a fifth of the time at most. */
static int64_t pause_ns(int more, int busy, int64_t took_ns) {
    if (!more) return 1000000000;
    return busy && took_ns * 4 > 5000000 ? took_ns * 4 : 5000000;
}

static void *writer_main(void *arg) {
    si__writer *writer = arg;
    pthread_setname_np(pthread_self(), "si-writer");
    int64_t idle_at = si__clock_monotonic_ns() + 1000000000;
    for (;;) {
        pthread_mutex_lock(&writer->lock);
        wait_for_work(writer, idle_at);
        si__write *group = take_group(writer);
        int stopping = writer->stopping;
        pthread_mutex_unlock(&writer->lock);
        if (group) run_group(writer, group);
        if (!group && stopping) return NULL;
        int64_t now = si__clock_monotonic_ns();
        if (stopping || now < idle_at) continue;
        int more = run_idle(writer);
        idle_at = si__clock_monotonic_ns() + pause_ns(more, group != NULL, si__clock_monotonic_ns() - now);
    }
}

si__writer *si__writer_start(const si__db *db, const si__writer_options *options) {
    si__writer *writer = calloc(1, sizeof *writer);
    if (!writer) return NULL;
    writer->options = *options;
    writer->db = *db;
    writer->last = &writer->first;
    writer->intern = si__intern_new(&writer->db);
    writer->codec = si__body_codec_new();
    writer->memo = si__memo_new();
    pthread_mutex_init(&writer->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&writer->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int failed = !writer->intern || !writer->codec || !writer->memo ||
                 pthread_create(&writer->thread, NULL, writer_main, writer);
    if (!failed) return writer;
    si__intern_free(writer->intern);
    si__body_codec_free(writer->codec);
    si__memo_free(writer->memo);
    si__db_close(&writer->db);
    pthread_mutex_destroy(&writer->lock);
    pthread_cond_destroy(&writer->wake);
    free(writer);
    return NULL;
}

int si__writer_submit(si__writer *writer, si__write *write) {
    write->next = NULL;
    write->result = 0;
    pthread_mutex_lock(&writer->lock);
    int refused = writer->stopping ? SI_ESTATE : writer->queued >= QUEUE_LIMIT ? SI_ELIMIT : SI_OK;
    if (!refused) {
        *writer->last = write;
        writer->last = &write->next;
        writer->queued++;
        pthread_cond_signal(&writer->wake);
    }
    pthread_mutex_unlock(&writer->lock);
    return refused;
}

typedef struct call {
    int (*apply)(si__tx *tx, void *arg);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int finished, result;
} call;

static int call_apply(si__tx *tx, void *arg) {
    call *c = arg;
    return c->apply(tx, c->arg);
}

static void call_done(void *arg, int result) {
    call *c = arg;
    pthread_mutex_lock(&c->lock);
    c->result = result;
    c->finished = 1;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

int si__writer_call(si__writer *writer, int (*apply)(si__tx *tx, void *arg), void *arg) {
    call c = {apply, arg, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    si__write write = {call_apply, call_done, &c, NULL, 0};
    int failed = si__writer_submit(writer, &write);
    if (failed) return failed;
    pthread_mutex_lock(&c.lock);
    while (!c.finished) pthread_cond_wait(&c.wake, &c.lock);
    pthread_mutex_unlock(&c.lock);
    pthread_mutex_destroy(&c.lock);
    pthread_cond_destroy(&c.wake);
    return c.result;
}

void si__writer_counts_get(si__writer *writer, si__writer_counts *out) {
    pthread_mutex_lock(&writer->lock);
    *out = writer->counts;
    out->queued = writer->queued;
    pthread_mutex_unlock(&writer->lock);
}

void si__writer_stop(si__writer *writer) {
    if (!writer) return;
    pthread_mutex_lock(&writer->lock);
    writer->stopping = 1;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    si__intern_free(writer->intern);
    si__memo_free(writer->memo);
    si__body_codec_free(writer->codec);
    si__db_close(&writer->db);
    pthread_mutex_destroy(&writer->lock);
    pthread_cond_destroy(&writer->wake);
    free(writer);
}
