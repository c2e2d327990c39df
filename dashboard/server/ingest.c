/*
 * Reports from agents: key, decompression, decoding on the agents' workers; then to the writer, which answers after its
 * commit.
 *
 * 200 is said when the report's data and its row in the ledger are on disk, and not before. A replay is told
 * "duplicate".
 */
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/report/limits.h"
#include "clock.h"
#include "handlers.h"
#include "key.h"
#include "server.h"

typedef struct ingest {
    si__write write;
    si__request *request;
    si__report *report;
    si__store_report job;
    si__callpaths paths;
    char key[17];
} ingest;

static void free_ingest(ingest *i) {
    si__callpaths_free(&i->paths);
    si__report_free(i->report);
    free(i);
}

static int ingest_apply(si__tx *tx, void *arg) {
    ingest *i = arg;
    int failed = si__key_used(tx, i->key);
    return failed ? failed : si__store_report_apply(tx, &i->job);
}

static void answer_stored(si__request *request, int duplicate) {
    si__json_writer json = {0};
    si__json_object_begin(&json, NULL);
    si__json_put_string(&json, "status", duplicate ? "duplicate" : "stored");
    si__json_object_end(&json);
    si__answer_json(request, 200, &json);
}

/* For good: agents give up at this, they do not keep reports for later. */
static void answer_gone(si__request *request) {
    si__answer_error(request, 410, "app_deleted",
                     "The application of this agent key was deleted. To report again, make a new key.", NULL);
}

static void note_wait(si__ingest_counts *counts, uint64_t ns) { /* writer thread */
    atomic_fetch_add(&counts->waits, 1);
    atomic_fetch_add(&counts->waited_ns, ns);
    if (ns > atomic_load(&counts->wait_most_ns)) atomic_store(&counts->wait_most_ns, ns);
}

static void ingest_done(void *arg, int result) {
    ingest *i = arg;
    si__ingest_counts *counts = &i->request->server->ingest;
    if (result == SI_ENOTFOUND) {
        answer_gone(i->request);
        atomic_fetch_add(&counts->refused, 1);
    } else if (result) {
        si__answer_failure(i->request, result == SI_EFORMAT || result == SI_ENOMEM ? result
                                       : result == SI_ELIMIT                       ? SI_ELIMIT
                                                                                   : SI_EIO);
        atomic_fetch_add(&counts->refused, 1);
    } else {
        answer_stored(i->request, i->job.duplicate);
        note_wait(counts, (uint64_t)(si__clock_monotonic_ns() - i->request->started_ns));
        atomic_fetch_add(i->job.duplicate ? &counts->duplicates : &counts->stored, 1);
        if (!i->job.duplicate) atomic_fetch_add(&counts->profiles, i->report->profile_count);
    }
    si__request *request = i->request;
    free_ingest(i);
    si__server_finish(request);
}

/* The report in the body, or NULL: answered. */
static si__report *decode(si__request *request) {
    char why[160], message[220];
    const char *encoding = si__request_header(request, "Content-Encoding");
    uint8_t *raw = NULL;
    const uint8_t *data = (const uint8_t *)request->body;
    size_t length = request->body_length;
    int failed = SI_OK;
    if (encoding && !strcmp(encoding, "zstd")) {
        failed = si__report_decompress_with(si__body_codec_zstd(request->reader->codec), data, length,
                                            SI__REPORT_MAX_BODY, &raw, &length);
        data = raw;
    } else if (encoding && strcmp(encoding, "identity") != 0) {
        si__answer_error(request, 415, "encoding", "Reports are sent with Content-Encoding zstd or identity.", NULL);
        return NULL;
    }
    if (failed == SI_ELIMIT) {
        si__answer_error(request, 413, "too_large", "The report is larger than 8 MiB after decompression.", NULL);
        return NULL;
    }
    if (failed) {
        if (failed == SI_ENOMEM)
            si__answer_failure(request, failed);
        else
            si__answer_error(request, 400, "malformed", "The report cannot be decompressed.", NULL);
        return NULL;
    }
    if (!raw) { /* sent as it is: the request keeps its own */
        if (!(raw = malloc(length ? length : 1))) {
            si__answer_failure(request, SI_ENOMEM);
            return NULL;
        }
        if (data) memcpy(raw, data, length); /* NULL: it has no body */
    }
    si__report *report = NULL;
    failed = si__report_decode_wire(raw, length, &report, why, sizeof why);
    if (!failed) return report;
    snprintf(message, sizeof message, "The report cannot be read: %s", why);
    if (failed == SI_ENOMEM)
        si__answer_failure(request, failed);
    else
        si__answer_error(request, failed == SI_ELIMIT ? 413 : 400, failed == SI_ELIMIT ? "too_large" : "malformed",
                         message, NULL);
    return NULL;
}

/* 0 when the key may report this application; else answered. */
static int check_key(si__request *request, int64_t *app, char *app_name, char *environment, size_t bytes, char id[17]) {
    const char *header = si__request_header(request, "Authorization");
    if (!header || strncmp(header, "Bearer ", 7) != 0) {
        si__answer_error(request, 401, "key", "An agent key is needed: Authorization: Bearer si_...", NULL);
        return SI_EAUTH;
    }
    int failed = si__key_check(request->reader, header + 7, app, app_name, environment, bytes, id);
    if (failed == SI_EAUTH)
        si__answer_error(request, 401, "key", "The agent key is not known here.", NULL);
    else if (failed == SI_ESTATE)
        si__answer_error(request, 403, "revoked", "The agent key was revoked.", NULL);
    else if (failed == SI_ENOTFOUND)
        answer_gone(request);
    else if (failed)
        si__answer_failure(request, failed);
    return failed;
}

static int check_app(si__request *request, const si__context *context, const char *app, const char *environment) {
    char message[420];
    int same_app = context->app && !strcmp(context->app, app);
    if (same_app && context->environment && !strcmp(context->environment, environment)) return SI_OK;
    snprintf(message, sizeof message, "The agent key is for %s in %s, the report is from another %s.", app, environment,
             same_app ? "environment" : "application");
    si__answer_error(request, 403, "wrong_app", message, same_app ? "environment" : "app");
    return SI_EAUTH;
}

void si__handle_report(si__request *request) {
    char app_name[128], environment[128];
    si__ingest_counts *counts = &request->server->ingest;
    ingest *i = calloc(1, sizeof *i);
    if (!i) {
        si__answer_failure(request, SI_ENOMEM);
        si__server_finish(request);
        return;
    }
    atomic_fetch_add(&counts->bytes, request->body_length);
    int failed = check_key(request, &i->job.app, app_name, environment, sizeof app_name, i->key);
    if (!failed) {
        i->report = decode(request);
        failed = i->report ? check_app(request, &i->report->context, app_name, environment) : SI_EFORMAT;
    }
    if (!failed) {
        i->request = request;
        i->job.report = i->report;
        if (!si__callpaths_make(&i->paths, i->job.app, i->report)) i->job.paths = i->paths.keys ? &i->paths : NULL;
        i->write = (si__write){.apply = ingest_apply, .done = ingest_done, .arg = i};
        failed = si__writer_submit(si__store_writer(request->server->store), &i->write);
        if (!failed) return; /* the writer has it now, and may have finished it already */
        request->retry_after_s = 2;
        si__answer_error(request, 503, "busy", "More reports arrive than can be written; try again.", NULL);
    }
    atomic_fetch_add(&counts->refused, 1);
    free_ingest(i);
    si__server_finish(request);
}
