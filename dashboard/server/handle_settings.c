/* Routes: how long telemetry is kept. Workers' threads; changes on the writer's. */
#include <si/si.h>
#include <stdio.h>

#include "audit.h"
#include "handlers.h"
#include "server.h"
#include "upkeep.h"

#define DAY_MS 86400000ll
#define DAYS_MOST 3650
#define BYTES_LEAST ((int64_t)64 << 20)

void si__handle_retention(si__request *request) {
    si__store *store = request->server->store;
    si__db *db = &request->reader->db;
    si__retention retention;
    uint64_t used, unused;
    si__store_retention(store, &retention);
    si__upkeep_size(db, &used, &unused);
    int64_t oldest = si__db_int(
        db,
        si__db_prepare(db, "SELECT min((SELECT start_ms/600000 FROM profile WHERE profile.app=p.app AND"
                           " profile.type=p.type ORDER BY start_ms/600000 LIMIT 1))*600000 FROM profile_type AS p"),
        0);
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_int(&json, "retention_ms", retention.retention_ms);
    si__json_put_int(&json, "default_retention_ms", retention.default_ms);
    si__json_put_uint(&json, "max_bytes", retention.max_bytes);
    si__json_put_string(&json, "by", retention.from_settings ? "settings" : "command line");
    si__json_put_uint(&json, "used_bytes", used);
    si__json_put_uint(&json, "free_bytes", unused);
    if (oldest)
        si__json_put_int(&json, "oldest_ms", oldest);
    else
        si__json_put_null(&json, "oldest_ms");
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

typedef struct change {
    si__request *request;
    si__store_settings settings;
} change;

static int change_apply(si__tx *tx, void *arg) {
    change *c = arg;
    char target[120];
    snprintf(target, sizeof target, "%lld days, %llu bytes", (long long)(c->settings.retention_ms / DAY_MS),
             (unsigned long long)c->settings.max_bytes);
    int failed = si__store_settings_apply(tx, &c->settings);
    return failed ? failed : si__audit(tx, c->request->user.email, "retention changed", target, c->request->address);
}

void si__handle_retention_change(si__request *request) {
    si__json *body;
    si__retention now;
    if (si__request_body(request, &body)) return;
    si__store_retention(request->server->store, &now);
    int64_t days = si__json_get_integer(body, "retention_days", 0);
    int64_t bytes = si__json_get_integer(body, "max_bytes", (int64_t)now.max_bytes);
    change c = {request, {request->server->store, days * DAY_MS, (uint64_t)bytes}};
    if (days < 1 || days > DAYS_MOST)
        si__answer_error(request, 400, "invalid", "Telemetry is kept for 1 to 3650 whole days.", "retention_days");
    else if (bytes != 0 && bytes < BYTES_LEAST)
        si__answer_error(request, 400, "invalid", "A limit is 0 (none), or 64 MiB and more, in bytes.", "max_bytes");
    else if (!si__request_write(request, change_apply, &c)) {
        si__reader_end(request->reader);
        si__reader_begin(request->reader);
        si__handle_retention(request);
    }
    si__json_free(body);
}
