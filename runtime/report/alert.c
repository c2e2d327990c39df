/*
 * Alerts as values: copy, clear, and the names of their states.
 *
 * Called by the rule engine, the report codec, notify and the dashboard; any thread, no shared state.
 */
#include "alert.h"

#include <si/si.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {"inactive", "pending", "firing", "resolved"};

static char *copy_text(const char *text) {
    return strdup(text ? text : "");
}

int si__alert_copy(si__alert *to, const si__alert *from) {
    si__alert copy = *from;
    copy.rule = copy_text(from->rule);
    copy.subject = copy_text(from->subject);
    copy.severity = copy_text(from->severity);
    copy.summary = copy_text(from->summary);
    copy.runbook = copy_text(from->runbook);
    copy.detail = copy_text(from->detail);
    copy.app = copy_text(from->app);
    copy.environment = copy_text(from->environment);
    copy.host = copy_text(from->host);
    copy.fingerprint[sizeof copy.fingerprint - 1] = '\0';
    *to = copy;
    if (copy.rule && copy.subject && copy.severity && copy.summary && copy.runbook && copy.detail && copy.app &&
        copy.environment && copy.host)
        return SI_OK;
    si__alert_clear(to);
    return SI_ENOMEM;
}

void si__alert_clear(si__alert *alert) {
    if (!alert) return;
    free(alert->rule);
    free(alert->subject);
    free(alert->severity);
    free(alert->summary);
    free(alert->runbook);
    free(alert->detail);
    free(alert->app);
    free(alert->environment);
    free(alert->host);
    memset(alert, 0, sizeof *alert);
}

const char *si__alert_state_name(si__alert_state state) {
    if ((unsigned)state >= sizeof state_names / sizeof *state_names) return "inactive";
    return state_names[state];
}

int si__alert_state_parse(const char *name) {
    for (int i = 0; name && i < (int)(sizeof state_names / sizeof *state_names); i++)
        if (!strcmp(name, state_names[i])) return i;
    return -1;
}
