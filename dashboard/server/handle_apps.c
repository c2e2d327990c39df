/* Routes: applications, deleting one, and whether the first report came. Workers' threads; changes on the writer's. */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "handlers.h"
#include "removal.h"

#define UP_MS (5 * 60000ll) /* agents report every two minutes at the latest, by default */
#define CPU_POINTS_MS 3600000ll
#define TYPES_MS 86400000ll

typedef struct cpu_line {
    si__json_writer *json;
    int64_t t;
    double sum, last;
    uint64_t count;
    int any;
} cpu_line;

static void flush_cpu(cpu_line *line) {
    if (!line->count) return;
    si__json_array_begin(line->json, NULL);
    si__json_put_int(line->json, NULL, line->t);
    si__json_put_number(line->json, NULL, line->sum / (double)line->count);
    si__json_array_end(line->json);
    line->last = line->sum / (double)line->count;
    line->any = 1;
    line->sum = 0;
    line->count = 0;
}

/* Share of the cores per minute, averaged over what reported in it. */
static int add_cpu(void *arg, const si__profile_row *row) {
    cpu_line *line = arg;
    int64_t minute = row->start_ms - row->start_ms % 60000;
    if (minute != line->t) flush_cpu(line);
    line->t = minute;
    double available = (double)row->duration_ns * row->cores;
    if (available > 0) {
        line->sum += (double)row->total / available;
        line->count++;
    }
    return 0;
}

static void put_cpu(si__request *request, si__json_writer *json, int64_t app) {
    int64_t now = si__clock_unix_ms();
    si__range range = {app, 0, now - CPU_POINTS_MS, now + 60000};
    cpu_line line = {.json = json};
    si__json_object_begin(json, "cpu");
    si__json_array_begin(json, "points");
    si__read_profiles(request->reader, &range, "cpu", add_cpu, &line);
    flush_cpu(&line);
    si__json_array_end(json);
    if (line.any)
        si__json_put_number(json, "last", line.last);
    else
        si__json_put_null(json, "last");
    si__json_object_end(json);
}

/* Types of profiles that came within a day: what the page's side bar leads to. */
static void put_types(si__request *request, si__json_writer *json, int64_t app) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read =
        si__db_prepare(db, "SELECT type FROM profile_type AS known WHERE app=?1 AND EXISTS(SELECT 1 FROM profile "
                           "WHERE app=?1 AND type=known.type AND start_ms>=?2) ORDER BY type");
    si__db_bind(read, "ii", app, si__clock_unix_ms() - TYPES_MS);
    si__json_array_begin(json, "types");
    while (si__db_step(db, read) == 1) si__json_put_string(json, NULL, si__db_text(read, 0));
    si__json_array_end(json);
}

void si__handle_apps(si__request *request) {
    si__db *db = &request->reader->db;
    si__json_writer json = {0};
    int64_t now = si__clock_unix_ms();
    si__json_object_begin(&json, NULL);
    si__json_array_begin(&json, "apps");
    sqlite3_stmt *read = si__db_prepare(db, "SELECT id,name,environment,last_seen_ms,(SELECT count(*) FROM source "
                                            "WHERE source.app=app.id AND source.last_seen_ms>?),"
                                            "(SELECT count(*) FROM alert WHERE alert.app=app.id AND "
                                            "alert.state='firing') FROM app ORDER BY name,environment LIMIT 500");
    si__db_bind(read, "i", now - UP_MS);
    while (si__db_step(db, read) == 1) {
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "app", si__db_text(read, 1));
        si__json_put_string(&json, "env", si__db_text(read, 2));
        si__json_put_int(&json, "sources", sqlite3_column_int64(read, 4));
        if (sqlite3_column_type(read, 3) == SQLITE_NULL)
            si__json_put_null(&json, "last_seen_ms");
        else
            si__json_put_int(&json, "last_seen_ms", sqlite3_column_int64(read, 3));
        si__json_put_int(&json, "firing", sqlite3_column_int64(read, 5));
        put_types(request, &json, sqlite3_column_int64(read, 0));
        put_cpu(request, &json, sqlite3_column_int64(read, 0));
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* What cannot be undone needs the name a second time: from the person, not from the page. */
void si__handle_app_delete(si__request *request) {
    const char *name = si__request_argument(request, "app", ""),
               *confirm = si__request_argument(request, "confirm", "");
    si__removal removal = {.app = name,
                           .environment = si__request_argument(request, "env", ""),
                           .author = request->user.email,
                           .address = request->address};
    if (!*name || strcmp(name, confirm) != 0)
        si__answer_error(request, 400, "not_confirmed", "To delete an application, give its name again as confirm.",
                         "confirm");
    else if (!si__request_write(request, si__removal_apply, &removal))
        si__answer_nothing(request);
}

void si__handle_first_report(si__request *request) {
    si__db *db = &request->reader->db;
    sqlite3_stmt *read = si__db_prepare(db, "SELECT first_report_ms FROM app WHERE name=? AND environment=?");
    si__db_bind(read, "ss", si__request_argument(request, "app", ""), si__request_argument(request, "env", ""));
    int64_t first = si__db_int(db, read, 0);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_bool(&json, "received", first != 0);
    if (first)
        si__json_put_int(&json, "t", first);
    else
        si__json_put_null(&json, "t");
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}
