/* The routes; see route.h. docs/api.md is the same table for people. */
#include "route.h"

#include <stdio.h>
#include <string.h>

#include "../../runtime/report/limits.h"
#include "handlers.h"

#define JSON_BODY ((size_t)64 << 10)

static const si__route routes[] = {
    {"POST", "/api/v1/reports", SI__ROLE_AGENT, SI__REPORT_MAX_BODY, si__handle_report},

    {"GET", "/api/v1/session", SI__ROLE_PUBLIC, 0, si__handle_session},
    {"POST", "/api/v1/setup", SI__ROLE_PUBLIC, JSON_BODY, si__handle_setup},
    {"POST", "/api/v1/sign-in", SI__ROLE_PUBLIC, JSON_BODY, si__handle_sign_in},
    {"POST", "/api/v1/sign-in-link", SI__ROLE_PUBLIC, JSON_BODY, si__handle_sign_in_link},
    {"POST", "/api/v1/sign-out", SI__ROLE_PUBLIC, JSON_BODY, si__handle_sign_out},
    {"POST", "/api/v1/invite", SI__ROLE_PUBLIC, JSON_BODY, si__handle_accept_invite},
    {"GET", "/api/v1/users", SI__ROLE_ADMIN, 0, si__handle_users},
    {"POST", "/api/v1/users", SI__ROLE_ADMIN, JSON_BODY, si__handle_invite},
    {"POST", "/api/v1/users/:id", SI__ROLE_ADMIN, JSON_BODY, si__handle_user_change},
    {"GET", "/api/v1/keys", SI__ROLE_ADMIN, 0, si__handle_keys},
    {"POST", "/api/v1/keys", SI__ROLE_ADMIN, JSON_BODY, si__handle_key_make},
    {"DELETE", "/api/v1/keys/:id", SI__ROLE_ADMIN, 0, si__handle_key_revoke},
    {"GET", "/api/v1/audit", SI__ROLE_ADMIN, 0, si__handle_audit},

    {"GET", "/api/v1/apps", SI__ROLE_VIEWER, 0, si__handle_apps},
    {"GET", "/api/v1/sources", SI__ROLE_VIEWER, 0, si__handle_sources},
    {"GET", "/api/v1/overview", SI__ROLE_VIEWER, 0, si__handle_overview},
    {"GET", "/api/v1/profiles", SI__ROLE_VIEWER, 0, si__handle_profiles},
    {"GET", "/api/v1/profiles/tree", SI__ROLE_VIEWER, 0, si__handle_tree},
    {"GET", "/api/v1/profiles/trend", SI__ROLE_VIEWER, 0, si__handle_trend},
    {"GET", "/api/v1/profiles/top", SI__ROLE_VIEWER, 0, si__handle_top},
    {"GET", "/api/v1/profiles/sandwich", SI__ROLE_VIEWER, 0, si__handle_sandwich},
    {"GET", "/api/v1/profiles/export", SI__ROLE_VIEWER, 0, si__handle_export},
    {"GET", "/api/v1/segments", SI__ROLE_VIEWER, 0, si__handle_segments},
    {"GET", "/api/v1/errors", SI__ROLE_VIEWER, 0, si__handle_errors},
    {"GET", "/api/v1/errors/tree", SI__ROLE_VIEWER, 0, si__handle_error_tree},
    {"GET", "/api/v1/health", SI__ROLE_VIEWER, 0, si__handle_health},
    {"GET", "/api/v1/versions", SI__ROLE_VIEWER, 0, si__handle_versions},
    {"GET", "/api/v1/collectors", SI__ROLE_VIEWER, 0, si__handle_collectors},
    {"GET", "/api/v1/search", SI__ROLE_VIEWER, 0, si__handle_search},
    {"GET", "/api/v1/movers", SI__ROLE_VIEWER, 0, si__handle_movers},
    {"GET", "/api/v1/bottlenecks", SI__ROLE_VIEWER, 0, si__handle_bottlenecks},
    {"GET", "/api/v1/snapshots", SI__ROLE_VIEWER, 0, si__handle_snapshots},
    {"POST", "/api/v1/snapshots", SI__ROLE_EDITOR, JSON_BODY, si__handle_snapshot_make},
    {"GET", "/api/v1/snapshots/:id", SI__ROLE_VIEWER, 0, si__handle_snapshot},
    {"DELETE", "/api/v1/snapshots/:id", SI__ROLE_EDITOR, 0, si__handle_snapshot_delete},
    {"GET", "/api/v1/alerts", SI__ROLE_VIEWER, 0, si__handle_alerts},
    {"POST", "/api/v1/alerts/:id/ack", SI__ROLE_EDITOR, JSON_BODY, si__handle_alert_ack},
    {"GET", "/api/v1/silences", SI__ROLE_VIEWER, 0, si__handle_silences},
    {"POST", "/api/v1/silences", SI__ROLE_EDITOR, JSON_BODY, si__handle_silence_make},
    {"DELETE", "/api/v1/silences/:id", SI__ROLE_EDITOR, 0, si__handle_silence_end},
    {"GET", "/api/v1/rules", SI__ROLE_VIEWER, 0, si__handle_rules},
    {"GET", "/api/v1/annotations", SI__ROLE_VIEWER, 0, si__handle_annotations},
    {"POST", "/api/v1/annotations", SI__ROLE_EDITOR, JSON_BODY, si__handle_annotation_make},
    {"GET", "/api/v1/first-report", SI__ROLE_VIEWER, 0, si__handle_first_report},
    {"GET", "/api/v1/self", SI__ROLE_VIEWER, 0, si__handle_self},
    {"GET", "/metrics", SI__ROLE_SCRAPER, 0, si__handle_metrics},
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
