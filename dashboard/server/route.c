/* The routes; see route.h. docs/api.md is the same table for people. */
#include "route.h"

#include <stdio.h>
#include <string.h>

#include "../../runtime/report/limits.h"
#include "handlers.h"
#include "source_text.h"

#define JSON_BODY ((size_t)64 << 10)

static const si__route routes[] = {
    {"POST", "/api/v1/reports", SI__ROLE_AGENT, SI__REPORT_MAX_BODY, si__handle_report, 0},

    {"GET", "/api/v1/session", SI__ROLE_PUBLIC, 0, si__handle_session, 0},
    {"POST", "/api/v1/setup", SI__ROLE_PUBLIC, JSON_BODY, si__handle_setup, 0},
    {"POST", "/api/v1/sign-in", SI__ROLE_PUBLIC, JSON_BODY, si__handle_sign_in, 0},
    {"POST", "/api/v1/sign-in-link", SI__ROLE_PUBLIC, JSON_BODY, si__handle_sign_in_link, 0},
    {"POST", "/api/v1/sign-out", SI__ROLE_PUBLIC, JSON_BODY, si__handle_sign_out, 0},
    {"POST", "/api/v1/invite", SI__ROLE_PUBLIC, JSON_BODY, si__handle_accept_invite, 0},
    {"POST", "/api/v1/password", SI__ROLE_VIEWER, JSON_BODY, si__handle_password, 0},
    {"GET", "/api/v1/sessions", SI__ROLE_VIEWER, 0, si__handle_sessions, 0},
    {"DELETE", "/api/v1/sessions/:id", SI__ROLE_VIEWER, 0, si__handle_session_end, 0},
    {"GET", "/api/v1/invitations", SI__ROLE_ADMIN, 0, si__handle_invitations, 0},
    {"DELETE", "/api/v1/invitations/:id", SI__ROLE_ADMIN, 0, si__handle_invitation_withdraw, 0},
    {"GET", "/api/v1/users", SI__ROLE_ADMIN, 0, si__handle_users, 0},
    {"POST", "/api/v1/users", SI__ROLE_ADMIN, JSON_BODY, si__handle_invite, 0},
    {"POST", "/api/v1/users/:id", SI__ROLE_ADMIN, JSON_BODY, si__handle_user_change, 0},
    {"GET", "/api/v1/keys", SI__ROLE_ADMIN, 0, si__handle_keys, 0},
    {"POST", "/api/v1/keys", SI__ROLE_ADMIN, JSON_BODY, si__handle_key_make, 0},
    {"DELETE", "/api/v1/keys/:id", SI__ROLE_ADMIN, 0, si__handle_key_revoke, 0},
    {"GET", "/api/v1/audit", SI__ROLE_ADMIN, 0, si__handle_audit, 0},

    {"GET", "/api/v1/apps", SI__ROLE_VIEWER, 0, si__handle_apps, 0},
    {"DELETE", "/api/v1/apps", SI__ROLE_ADMIN, 0, si__handle_app_delete, 0},
    {"GET", "/api/v1/sources", SI__ROLE_VIEWER, 0, si__handle_sources, 1},
    {"GET", "/api/v1/overview", SI__ROLE_VIEWER, 0, si__handle_overview, 1},
    {"GET", "/api/v1/profiles", SI__ROLE_VIEWER, 0, si__handle_profiles, 1},
    {"GET", "/api/v1/profiles/tree", SI__ROLE_VIEWER, 0, si__handle_tree, 1},
    {"GET", "/api/v1/profiles/trend", SI__ROLE_VIEWER, 0, si__handle_trend, 1},
    {"GET", "/api/v1/profiles/top", SI__ROLE_VIEWER, 0, si__handle_top, 1},
    {"GET", "/api/v1/profiles/sandwich", SI__ROLE_VIEWER, 0, si__handle_sandwich, 1},
    {"GET", "/api/v1/profiles/source", SI__ROLE_VIEWER, 0, si__handle_source, 0},
    {"POST", "/api/v1/profiles/import", SI__ROLE_DEPLOYER, SI__REPORT_MAX_BODY, si__handle_import, 0},
    {"GET", "/api/v1/source-files", SI__ROLE_VIEWER, 0, si__handle_source_files, 0},
    {"POST", "/api/v1/source-files", SI__ROLE_DEPLOYER, SI__SOURCE_BYTES, si__handle_source_upload, 0},
    {"DELETE", "/api/v1/source-files/:id", SI__ROLE_EDITOR, 0, si__handle_source_delete, 0},
    {"GET", "/api/v1/profiles/export", SI__ROLE_VIEWER, 0, si__handle_export, 1},
    {"GET", "/api/v1/segments", SI__ROLE_VIEWER, 0, si__handle_segments, 1},
    {"GET", "/api/v1/errors", SI__ROLE_VIEWER, 0, si__handle_errors, 1},
    {"GET", "/api/v1/errors/tree", SI__ROLE_VIEWER, 0, si__handle_error_tree, 1},
    {"GET", "/api/v1/health", SI__ROLE_VIEWER, 0, si__handle_health, 1},
    {"GET", "/api/v1/versions", SI__ROLE_VIEWER, 0, si__handle_versions, 1},
    {"GET", "/api/v1/collectors", SI__ROLE_VIEWER, 0, si__handle_collectors, 1},
    {"GET", "/api/v1/search", SI__ROLE_VIEWER, 0, si__handle_search, 0},
    {"GET", "/api/v1/movers", SI__ROLE_VIEWER, 0, si__handle_movers, 1},
    {"GET", "/api/v1/bottlenecks", SI__ROLE_VIEWER, 0, si__handle_bottlenecks, 1},
    {"GET", "/api/v1/bottlenecks/tree", SI__ROLE_VIEWER, 0, si__handle_bottleneck_tree, 1},
    {"GET", "/api/v1/charts", SI__ROLE_VIEWER, 0, si__handle_charts, 1},
    {"GET", "/api/v1/prometheus", SI__ROLE_VIEWER, 0, si__handle_prometheus, 1},
    {"GET", "/api/v1/snapshots", SI__ROLE_VIEWER, 0, si__handle_snapshots, 0},
    {"POST", "/api/v1/snapshots", SI__ROLE_EDITOR, JSON_BODY, si__handle_snapshot_make, 0},
    {"GET", "/api/v1/snapshots/:id", SI__ROLE_VIEWER, 0, si__handle_snapshot, 0},
    {"DELETE", "/api/v1/snapshots/:id", SI__ROLE_EDITOR, 0, si__handle_snapshot_delete, 0},
    {"GET", "/api/v1/alerts", SI__ROLE_VIEWER, 0, si__handle_alerts, 0},
    {"POST", "/api/v1/alerts/:id/ack", SI__ROLE_EDITOR, JSON_BODY, si__handle_alert_ack, 0},
    {"DELETE", "/api/v1/alerts/:id/ack", SI__ROLE_EDITOR, 0, si__handle_alert_unack, 0},
    {"GET", "/api/v1/alerts/:id", SI__ROLE_VIEWER, 0, si__handle_alert, 0},
    {"GET", "/api/v1/deliveries", SI__ROLE_VIEWER, 0, si__handle_deliveries, 0},
    {"GET", "/api/v1/channels", SI__ROLE_VIEWER, 0, si__handle_channels, 0},
    {"POST", "/api/v1/channels/test", SI__ROLE_ADMIN, JSON_BODY, si__handle_channel_test, 0},
    {"GET", "/api/v1/silences", SI__ROLE_VIEWER, 0, si__handle_silences, 0},
    {"POST", "/api/v1/silences", SI__ROLE_EDITOR, JSON_BODY, si__handle_silence_make, 0},
    {"DELETE", "/api/v1/silences/:id", SI__ROLE_EDITOR, 0, si__handle_silence_end, 0},
    {"GET", "/api/v1/rules", SI__ROLE_VIEWER, 0, si__handle_rules, 1},
    {"GET", "/api/v1/history", SI__ROLE_VIEWER, 0, si__handle_history, 1},
    {"GET", "/api/v1/annotations", SI__ROLE_VIEWER, 0, si__handle_annotations, 1},
    {"POST", "/api/v1/annotations", SI__ROLE_DEPLOYER, JSON_BODY, si__handle_annotation_make, 0},
    {"DELETE", "/api/v1/annotations/:id", SI__ROLE_EDITOR, 0, si__handle_annotation_delete, 0},
    {"GET", "/api/v1/first-report", SI__ROLE_VIEWER, 0, si__handle_first_report, 0},
    {"GET", "/api/v1/settings/retention", SI__ROLE_VIEWER, 0, si__handle_retention, 0},
    {"POST", "/api/v1/settings/retention", SI__ROLE_ADMIN, JSON_BODY, si__handle_retention_change, 0},
    {"GET", "/api/v1/self", SI__ROLE_VIEWER, 0, si__handle_self, 0},
    {"GET", "/api/v1/self/history", SI__ROLE_VIEWER, 0, si__handle_self_history, 0},
    {"GET", "/api/v1/openapi.json", SI__ROLE_PUBLIC, 0, si__handle_openapi, 0},
    {"GET", "/metrics", SI__ROLE_SCRAPER, 0, si__handle_metrics, 0},
};

/* Does the path fit the pattern? The part for ":id" goes to parameter. */
static int fits(const char *pattern, const char *path, char *parameter, size_t parameter_bytes) {
    while (*pattern) {
        if (!strncmp(pattern, ":id", 3)) {
            size_t length = strcspn(path, "/");
            if (length == 0 || length >= parameter_bytes) return 0;
            memcpy(parameter, path, length);
            parameter[length] = '\0';
            path += length;
            pattern += 3;
        } else if (*pattern++ != *path++) {
            return 0;
        }
    }
    return *path == '\0';
}

const si__route *si__route_find(const char *method, const char *path, char *parameter, size_t parameter_bytes,
                                int *other_method) {
    const char *wanted = strcmp(method, "HEAD") != 0 ? method : "GET";
    *other_method = 0;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        parameter[0] = '\0';
        if (!fits(routes[i].path, path, parameter, parameter_bytes)) continue;
        if (!strcmp(routes[i].method, wanted)) return &routes[i];
        *other_method = 1;
    }
    return NULL;
}

const si__route *si__route_at(size_t index) {
    return index < sizeof routes / sizeof routes[0] ? &routes[index] : NULL;
}
