/* Routes: the dashboard's own health, for people and for Prometheus. Workers' threads. */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "connections.h"
#include "handlers.h"
#include "removal.h"
#include "server.h"
#include "slow.h"
#include "upkeep.h"

#define PAGES_BYTES ((uint64_t)256 << 20) /* sizes per table read every page: not in larger stores */

static void put_ingest(si__json_writer *json, si__server *server, double uptime_s) {
    si__ingest_counts *counts = &server->ingest;
    uint64_t stored = atomic_load(&counts->stored);
    si__json_object_begin(json, "ingest");
    si__json_put_uint(json, "stored", stored);
    si__json_put_uint(json, "duplicates", atomic_load(&counts->duplicates));
    si__json_put_uint(json, "refused", atomic_load(&counts->refused));
    si__json_put_uint(json, "profiles", atomic_load(&counts->profiles));
    si__json_put_uint(json, "bytes", atomic_load(&counts->bytes));
    si__json_put_number(json, "reports_per_second", uptime_s > 0 ? (double)stored / uptime_s : 0);
    si__json_object_end(json);
}

static void put_writer(si__json_writer *json, si__server *server) {
    si__writer_counts counts;
    si__writer_counts_get(si__store_writer(server->store), &counts);
    si__json_object_begin(json, "writer");
    si__json_put_uint(json, "queued", counts.queued);
    si__json_put_uint(json, "commits", counts.commits);
    si__json_put_uint(json, "writes", counts.writes);
    si__json_put_uint(json, "failures", counts.failures);
    si__json_put_number(json, "last_commit_ms", counts.last_commit_ms);
    si__json_object_end(json);
}

/* Rows are counted by their largest number where there is one: an upper bound, in no time. */
static int64_t rows_of(si__db *db, const char *table) {
    static const struct {
        const char *table, *sql;
    } counts[] = {{"profile", "SELECT max(id) FROM profile"}, {"profile_body", "SELECT max(id) FROM profile_body"},
                  {"node", "SELECT max(id) FROM node"},       {"frame", "SELECT max(id) FROM frame"},
                  {"segment", "SELECT max(id) FROM segment"}, {"error", "SELECT max(id) FROM error"},
                  {"series", "SELECT max(id) FROM series"},   {"source", "SELECT count(*) FROM source"},
                  {"rollup", "SELECT count(*) FROM rollup"},  {"rollup_due", "SELECT count(*) FROM rollup_due"},
                  {"alert", "SELECT count(*) FROM alert"},    {"audit", "SELECT max(id) FROM audit"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (!strcmp(counts[i].table, table)) return si__db_int(db, si__db_prepare(db, counts[i].sql), 0);
    return -1;
}

static void put_tables(si__json_writer *json, si__db *db, uint64_t used_bytes) {
    sqlite3_stmt *read = si__db_prepare(
        db, used_bytes <= PAGES_BYTES ? "SELECT tbl_name,sum(pgsize) FROM dbstat JOIN sqlite_schema USING(name)"
                                        " WHERE aggregate=1 GROUP BY tbl_name ORDER BY 2 DESC"
                                      : "SELECT name,NULL FROM sqlite_schema WHERE type='table' ORDER BY name");
    si__json_array_begin(json, "tables");
    while (si__db_step(db, read) == 1) {
        const char *name = si__db_text(read, 0);
        int64_t rows = rows_of(db, name);
        si__json_object_begin(json, NULL);
        si__json_put_string(json, "name", name);
        if (rows >= 0)
            si__json_put_int(json, "rows", rows);
        else
            si__json_put_null(json, "rows");
        if (sqlite3_column_type(read, 1) == SQLITE_NULL)
            si__json_put_null(json, "bytes");
        else
            si__json_put_int(json, "bytes", sqlite3_column_int64(read, 1));
        si__json_object_end(json);
    }
    si__json_array_end(json);
}

void si__handle_self(si__request *request) {
    si__server *server = request->server;
    si__db *db = &request->reader->db;
    uint64_t used, unused;
    double uptime_s = (double)(si__clock_unix_ms() - server->started_ms) / 1000;
    si__upkeep_size(db, &used, &unused);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "version", SI_VERSION);
    si__json_put_number(&json, "uptime_s", uptime_s);
    put_ingest(&json, server, uptime_s);
    put_writer(&json, server);
    si__json_object_begin(&json, "store");
    si__json_put_uint(&json, "used_bytes", used);
    si__json_put_uint(&json, "free_bytes", unused);
    si__json_put_int(&json, "retention_ms", si__store_retention_ms(server->store));
    si__json_object_end(&json);
    si__json_put_int(&json, "removing", si__removal_count(db));
    si__json_put_uint(&json, "connections", si__connections_count(server->connections));
    si__json_put_uint(&json, "requests", atomic_load(&server->requests));
    put_tables(&json, db, used);
    si__slow_write(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

static void metric(FILE *out, const char *name, const char *type, const char *help, double value) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

void si__handle_metrics(si__request *request) {
    si__server *server = request->server;
    si__ingest_counts *counts = &server->ingest;
    si__writer_counts writer;
    uint64_t used, unused;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) {
        si__answer_failure(request, SI_ENOMEM);
        return;
    }
    si__writer_counts_get(si__store_writer(server->store), &writer);
    si__db *db = &request->reader->db;
    si__upkeep_size(db, &used, &unused);
    metric(out, "si_dashboard_reports_stored_total", "counter", "Reports stored.",
           (double)atomic_load(&counts->stored));
    metric(out, "si_dashboard_reports_duplicate_total", "counter", "Reports that were there already.",
           (double)atomic_load(&counts->duplicates));
    metric(out, "si_dashboard_reports_refused_total", "counter", "Reports that were not taken.",
           (double)atomic_load(&counts->refused));
    metric(out, "si_dashboard_profiles_stored_total", "counter", "Profiles stored.",
           (double)atomic_load(&counts->profiles));
    metric(out, "si_dashboard_ingest_bytes_total", "counter", "Bytes of reports received.",
           (double)atomic_load(&counts->bytes));
    metric(out, "si_dashboard_requests_total", "counter", "HTTP requests.", (double)atomic_load(&server->requests));
    metric(out, "si_dashboard_connections", "gauge", "Open connections.",
           (double)si__connections_count(server->connections));
    metric(out, "si_dashboard_write_queue", "gauge", "Writes that wait for the next commit.", (double)writer.queued);
    metric(out, "si_dashboard_commits_total", "counter", "Transactions committed.", (double)writer.commits);
    metric(out, "si_dashboard_write_failures_total", "counter", "Writes that failed.", (double)writer.failures);
    metric(out, "si_dashboard_last_commit_seconds", "gauge", "Duration of the last commit.",
           writer.last_commit_ms / 1000);
    metric(out, "si_dashboard_store_used_bytes", "gauge", "Size of the store.", (double)used);
    metric(out, "si_dashboard_store_free_bytes", "gauge", "Free pages in the store.", (double)unused);
    metric(out, "si_dashboard_rollups_due", "gauge", "Periods whose rollup is still to be made.",
           (double)si__db_int(db, si__db_prepare(db, "SELECT count(*) FROM rollup_due"), 0));
    metric(out, "si_dashboard_start_time_seconds", "gauge", "When it was started, Unix time.",
           (double)server->started_ms / 1000);
    if (fclose(out) != 0) {
        free(text);
        si__answer_failure(request, SI_ENOMEM);
        return;
    }
    si__answer_take(request, "text/plain; version=0.0.4; charset=utf-8", text, length);
}
