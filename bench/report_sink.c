/*
 * Takes reports as a dashboard does and weighs them: for `./dev bench report`.
 *
 *   report_sink      prints "listening on URL"; on SIGTERM one line of "name=number" each
 *
 * Bytes are counted as they come over the wire. What of them is profiles is found by packing each report's profiles
 * alone again. Threads: the HTTP server's single one weighs, the main thread waits for the signal.
 */
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/report/report.h"

enum { BODY_AT_MOST = 8 * 1024 * 1024 };

typedef struct weighed {
    unsigned long reports, malformed, header_bytes, body_bytes, unpacked_bytes;
    unsigned long profiles, profile_bytes, samples, nodes, segments, errors, alerts, points;
} weighed;

typedef struct exchange {
    uint8_t *body;
    size_t length;
} exchange;

static weighed sum; /* written by the server's thread, read after it has ended */

/* The size of a report that carries the profiles of this one and nothing else. */
static unsigned long profiles_alone(si__report *report) {
    size_t points = report->point_count, segments = report->segment_count, errors = report->error_count,
           alerts = report->alert_count;
    size_t rules = report->rule_count, statuses = report->status_count, losses = report->loss_count, packed_bytes = 0,
           bytes;
    uint8_t *plain = NULL, *packed = NULL;
    report->point_count = report->segment_count = report->error_count = report->alert_count = 0;
    report->rule_count = report->status_count = report->loss_count = 0;
    if (!si__report_encode(report, &plain, &bytes) && si__report_compress(plain, bytes, &packed, &packed_bytes))
        packed_bytes = 0;
    free(plain);
    free(packed);
    report->point_count = points, report->segment_count = segments, report->error_count = errors,
    report->alert_count = alerts;
    report->rule_count = rules, report->status_count = statuses, report->loss_count = losses;
    return packed_bytes;
}

static void weigh(const exchange *received) {
    char error[160];
    si__report *report = NULL;
    uint8_t *plain = NULL;
    size_t bytes;
    sum.reports++;
    sum.body_bytes += received->length;
    if (si__report_decompress(received->body, received->length, BODY_AT_MOST, &plain, &bytes) ||
        si__report_decode(plain, bytes, &report, error, sizeof error)) {
        sum.malformed++;
        free(plain);
        return;
    }
    sum.unpacked_bytes += bytes;
    sum.profiles += report->profile_count;
    sum.points += report->point_count;
    sum.alerts += report->alert_count;
    for (size_t i = 0; i < report->profile_count; i++) {
        sum.samples += report->profiles[i].samples;
        sum.nodes += si__calltree_node_count(report->profiles[i].tree);
    }
    for (size_t i = 0; i < report->segment_count; i++) sum.segments += report->segments[i].count;
    for (size_t i = 0; i < report->error_count; i++) sum.errors += report->errors[i].count;
    if (report->profile_count) sum.profile_bytes += profiles_alone(report);
    si__report_free(report);
    free(plain);
}

static enum MHD_Result weigh_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value) {
    (void)arg, (void)kind;
    sum.header_bytes += strlen(name) + (value ? strlen(value) : 0) + 4; /* ": " and CRLF */
    return MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *upload_bytes, void **state) {
    static char answer[] = "{\"status\":\"stored\"}";
    (void)arg;
    exchange *received = *state;
    if (!received) return (*state = calloc(1, sizeof *received)) ? MHD_YES : MHD_NO;
    if (*upload_bytes) {
        uint8_t *grown = received->length + *upload_bytes > BODY_AT_MOST
                             ? NULL
                             : realloc(received->body, received->length + *upload_bytes);
        if (!grown) return MHD_NO;
        memcpy(grown + received->length, upload, *upload_bytes);
        received->body = grown;
        received->length += *upload_bytes;
        *upload_bytes = 0;
        return MHD_YES;
    }
    int is_report = strcmp(method, "POST") == 0 && strcmp(path, "/api/v1/reports") == 0;
    if (is_report) {
        sum.header_bytes += strlen(method) + strlen(path) + strlen(version) + 6; /* the request line, the empty line */
        MHD_get_connection_values(connection, MHD_HEADER_KIND, weigh_header, NULL);
        weigh(received);
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(answer), answer, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, is_report ? 200 : 404, response);
    MHD_destroy_response(response);
    return result;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode how) {
    (void)arg, (void)connection, (void)how;
    exchange *received = *state;
    if (received) free(received->body);
    free(received);
}

int main(void) {
    sigset_t until;
    int received;
    sigemptyset(&until);
    sigaddset(&until, SIGTERM);
    sigaddset(&until, SIGINT);
    pthread_sigmask(SIG_BLOCK, &until, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct MHD_Daemon *server =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR,
                         &address, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (!server) return 1;
    printf("listening on http://127.0.0.1:%u\n", MHD_get_daemon_info(server, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    sigwait(&until, &received);
    MHD_stop_daemon(server);
    printf("reports=%lu\nmalformed=%lu\nheader_bytes=%lu\nbody_bytes=%lu\nunpacked_bytes=%lu\n", sum.reports,
           sum.malformed, sum.header_bytes, sum.body_bytes, sum.unpacked_bytes);
    printf(
        "profiles=%lu\nprofile_bytes=%lu\nsamples=%lu\nnodes=%lu\nsegments=%lu\nerrors=%lu\nalerts=%lu\npoints=%lu\n",
        sum.profiles, sum.profile_bytes, sum.samples, sum.nodes, sum.segments, sum.errors, sum.alerts, sum.points);
    return 0;
}
