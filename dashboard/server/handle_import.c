/*
 * Route: a pprof file becomes profiles of an application, as if an agent had reported them: so everything that shows,
 * merges, compares and forgets profiles does so with these too. Workers' threads; stored on the writer's.
 */
#include <si/si.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "handlers.h"
#include "key.h"
#include "pprof_in.h"
#include "server.h"

typedef struct import {
    si__request *request;
    si__pprof_in in;
    si__report *report;
    si__store_report job;
    const char *app, *environment, *name;
    char app_name[128], environment_name[128];
    int64_t start_ms;
    int moved;
} import;

static int import_apply(si__tx *tx, void *arg) {
    import *i = arg;
    int failed = i->job.app ? SI_OK : si__store_app(tx, i->app, i->environment, &i->job.app);
    failed = failed ? failed : si__store_report_apply(tx, &i->job);
    if (failed || i->job.duplicate) return failed;
    char target[400];
    snprintf(target, sizeof target, "%.120s into %.120s/%.120s", i->name, i->app, i->environment);
    return si__audit(tx, i->request->user.email, "profile imported", target, i->request->address);
}

/* Which application: the key's, or the one that is named. 0, or answered. */
static int choose_app(si__request *request, import *i) {
    i->app = si__request_argument(request, "app", "");
    i->environment = si__request_argument(request, "env", "");
    if (request->key_app) {
        if (si__request_app(request, &i->job.app)) return SI_EAUTH;
        si__db *db = &request->reader->db;
        sqlite3_stmt *read = si__db_prepare(db, "SELECT name,environment FROM app WHERE id=?");
        if (si__db_step(db, si__db_bind(read, "i", i->job.app)) == 1) {
            snprintf(i->app_name, sizeof i->app_name, "%s", si__db_text(read, 0));
            snprintf(i->environment_name, sizeof i->environment_name, "%s", si__db_text(read, 1));
            sqlite3_reset(read);
        }
        i->app = i->app_name;
        i->environment = i->environment_name;
    }
    if (si__key_is_name(i->app) && si__key_is_name(i->environment)) return SI_OK;
    si__answer_error(request, 400, "invalid",
                     "Names of application and environment have 1 to 100 characters, and no slash.",
                     si__key_is_name(i->app) ? "env" : "app");
    return SI_EINVAL;
}

/* When: as asked, or as the file says while that is in reach of retention, or now. 0, or answered. */
static int choose_time(si__request *request, import *i) {
    int64_t now = si__clock_unix_ms(), asked, long_ms = i->in.duration_ns > 0 ? i->in.duration_ns / 1000000 : 0;
    int64_t oldest = now - si__store_retention_ms(request->server->store) + 60000;
    if (si__request_time(request, "time_ms", 0, &asked)) return SI_EINVAL;
    i->start_ms = asked ? asked : i->in.time_ms;
    if (long_ms > 30 * 86400000ll) long_ms = 0;
    int usable = i->start_ms >= oldest && i->start_ms <= now && i->start_ms + long_ms <= now + 60000;
    if (usable) return SI_OK;
    if (asked) {
        si__answer_error(request, 400, "invalid", "This time is not within what is kept.", "time_ms");
        return SI_EINVAL;
    }
    i->start_ms = now - long_ms < oldest ? now : now - long_ms;
    i->moved = 1;
    return SI_OK;
}

static int set(char **out, const char *text) {
    free(*out);
    *out = si__report_strdup(text);
    return *out ? SI_OK : SI_ENOMEM;
}

static int fill_context(import *i) {
    si__context *c = &i->report->context;
    si__report_status *ended = si__report_add_status(i->report); /* nobody waits for its next report */
    if (!ended) return SI_ENOMEM;
    int failed = set(&c->app, i->app) | set(&c->environment, i->environment) | set(&c->host, "imported") |
                 set(&c->app_version, si__request_argument(i->request, "version", "")) |
                 set(&c->runtime_type, "pprof") | set(&c->agent_version, "") | set(&c->runtime_version, "") |
                 set(&c->build_id, "") | set(&c->run_id, "") | set(&c->os, "") | set(&ended->name, "agent") |
                 set(&ended->state, "off") | set(&ended->reason, "imported");
    return failed ? SI_ENOMEM : SI_OK;
}

/* The trees go over to the report. */
static int fill_profiles(import *i) {
    char workload[160];
    snprintf(workload, sizeof workload, "imported%s%.140s", *i->name ? " " : "", i->name);
    for (size_t k = 0; k < i->in.count; k++) {
        si__pprof_profile *from = &i->in.profiles[k];
        si__report_profile *to = si__report_add_profile(i->report);
        if (!to) return SI_ENOMEM;
        if (set(&to->type, from->type) || set(&to->unit, from->unit) || set(&to->trigger, "background") ||
            set(&to->workload, workload))
            return SI_ENOMEM;
        to->start_ms = i->start_ms;
        to->duration_ns = i->in.duration_ns > 0 ? (uint64_t)i->in.duration_ns : 0;
        to->cores = 1;
        to->samples = from->samples;
        to->tree = from->tree;
        from->tree = NULL;
    }
    return SI_OK;
}

/* The same bytes for the same application are the same report: a second time is a duplicate. */
static int fill_report(import *i) {
    i->report = si__report_new();
    if (!i->report) return SI_ENOMEM;
    const si__request *request = i->request;
    crypto_generichash(i->report->id.agent, 16, (const unsigned char *)"si import", 9, NULL, 0);
    crypto_generichash(i->report->id.boot, 16, (const unsigned char *)request->body, request->body_length, NULL, 0);
    i->report->id.sequence = i->moved ? 1 : (uint64_t)i->start_ms;
    i->report->start_ms = i->start_ms;
    i->report->end_ms = i->start_ms + (i->in.duration_ns > 0 ? i->in.duration_ns / 1000000 : 0);
    if (!(i->report->rules_hash = si__report_strdup(""))) return SI_ENOMEM;
    int failed = fill_context(i);
    return failed ? failed : fill_profiles(i);
}

static void answer_import(import *i) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "status", i->job.duplicate ? "duplicate" : "stored");
    si__json_put_string(&json, "app", i->app);
    si__json_put_string(&json, "env", i->environment);
    si__json_put_int(&json, "start_ms", i->start_ms);
    si__json_put_bool(&json, "moved", i->moved);
    si__json_array_begin(&json, "profiles");
    for (size_t k = 0; k < i->report->profile_count; k++) {
        const si__report_profile *profile = &i->report->profiles[k];
        si__json_object_begin(&json, NULL);
        si__json_put_string(&json, "type", profile->type);
        si__json_put_string(&json, "unit", profile->unit);
        si__json_put_int(&json, "total", si__calltree_total_value(profile->tree));
        si__json_put_uint(&json, "samples", profile->samples);
        si__json_put_uint(&json, "nodes", si__calltree_node_count(profile->tree) - 1);
        si__json_object_end(&json);
    }
    si__json_array_end(&json);
    si__json_put_uint(&json, "stacks", i->in.stacks);
    si__json_put_uint(&json, "cut_stacks", i->in.cut_stacks);
    si__json_object_end(&json);
    si__answer_json(i->request, i->job.duplicate ? 200 : 201, &json);
}

static void answer_refused(si__request *request, int failed, const char *why) {
    char message[300];
    if (failed == SI_EFORMAT || failed == SI_ELIMIT) {
        snprintf(message, sizeof message, "The profile cannot be read: %s.", why);
        si__answer_error(request, failed == SI_ELIMIT ? 413 : 400, failed == SI_ELIMIT ? "too_large" : "malformed",
                         message, NULL);
    } else {
        si__answer_failure(request, failed);
    }
}

void si__handle_import(si__request *request) {
    char why[200] = "";
import i = {.request = request, .name = si__request_argument(request, "name", "") };
    if (choose_app(request, &i)) return;
    int failed = si__pprof_read((const uint8_t *)(request->body ? request->body : ""), request->body_length, &i.in, why,
                                sizeof why);
    if (failed) {
        answer_refused(request, failed, why);
        return;
    }
    if (!choose_time(request, &i)) {
        failed = fill_report(&i);
        i.job.report = i.report;
        if (failed)
            si__answer_failure(request, failed);
        else if (!si__request_write(request, import_apply, &i))
            answer_import(&i);
    }
    si__report_free(i.report);
    si__pprof_in_clear(&i.in);
}
