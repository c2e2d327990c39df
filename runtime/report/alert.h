/* An alert as it travels: from the rule engine into reports, notifications and the dashboard. Owned strings. */
#ifndef SI_REPORT_ALERT_H
#define SI_REPORT_ALERT_H

#include <stdint.h>

typedef enum si__alert_state {
    SI__ALERT_INACTIVE,
    SI__ALERT_PENDING,
    SI__ALERT_FIRING,
    SI__ALERT_RESOLVED
} si__alert_state;

typedef struct si__alert {
    char fingerprint[33]; /* hex; stable over restarts: rule + app + environment + host + subject */
    char *rule;           /* "cpu_high" */
    char *subject;        /* what it is about within the rule: series, profile type, call site, segment; "" */
    char *severity;       /* "critical", "warning", "info" */
    char *summary;        /* one sentence */
    char *runbook;        /* URL or "" */
    char *detail;         /* several lines of text, such as top growth; "" */
    char *app, *environment, *host;
    si__alert_state state;
    double value;        /* what the rule saw last; NaN: none */
    int64_t started_ms;  /* Unix time: pending since */
    int64_t fired_ms;    /* 0: not yet */
    int64_t resolved_ms; /* 0: not yet */
    int acked;           /* 1: the message is that somebody has seen it. In notifications only, never on the wire */
} si__alert;

int si__alert_copy(si__alert *to, const si__alert *from); /* 0 or SI_ENOMEM; *to is overwritten, not freed */
void si__alert_clear(si__alert *alert);                   /* frees the strings */
const char *si__alert_state_name(si__alert_state state);  /* "inactive", "pending", "firing", "resolved" */
int si__alert_state_parse(const char *name);              /* or -1 */

#endif
