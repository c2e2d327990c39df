/*
 * What notifications say: the subject, the text, and the JSON of webhooks, Slack and PagerDuty.
 *
 * Called by notify.c when a message is queued. JSON goes through the writer of report/json.h; Slack's own markup is
 * escaped here; line breaks never get into a subject.
 */
#include "message.h"

#include <math.h>
#include <si/si.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../profile/profile_type.h"
#include "../report/json.h"

#define LINK_BYTES 1024

static size_t count_state(const si__message *m, si__alert_state state) {
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) n += m->alerts[i].state == state;
    return n;
}

static const char *or_empty(const char *text) {
    return text ? text : "";
}

void si__message_subject(const si__message *m, char *out, size_t bytes) {
    const si__alert *a = m->alerts;
    size_t resolved = count_state(m, SI__ALERT_RESOLVED), firing = m->count - resolved;
    const char *rule = or_empty(a->rule), *app = or_empty(a->app), *environment = or_empty(a->environment);
    if (m->count == 1)
        snprintf(out, bytes, "[%s] %s: %s (%s/%s)", resolved ? "RESOLVED" : "FIRING", rule, or_empty(a->summary), app,
                 environment);
    else if (firing && resolved)
        snprintf(out, bytes, "[FIRING %zu, RESOLVED %zu] %s and %zu more (%s/%s)", firing, resolved, rule, m->count - 1,
                 app, environment);
    else
        snprintf(out, bytes, "[%s %zu] %s and %zu more (%s/%s)", resolved ? "RESOLVED" : "FIRING", m->count, rule,
                 m->count - 1, app, environment);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = ' ';
}

/* The page of one alert, or of all. Empty when there is no dashboard. */
static void link_to(const si__message *m, const si__alert *alert, char *out, size_t bytes) {
    out[0] = '\0';
    if (!m->link_base || !*m->link_base) return;
    size_t length = strlen(m->link_base);
    while (length && m->link_base[length - 1] == '/') length--;
    int hex =
        alert && *alert->fingerprint && strspn(alert->fingerprint, "0123456789abcdef") == strlen(alert->fingerprint);
    snprintf(out, bytes, "%.*s/alerts%s%s", (int)length, m->link_base, hex ? "?fingerprint=" : "",
             hex ? alert->fingerprint : "");
}

static void escape_into(char *out, size_t bytes, const char *text) {
    size_t n = 0;
    for (const char *c = text; *c && n + 4 < bytes; c++) {
        int plain = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '-' ||
                    *c == '_' || *c == '.';
        n += (size_t)snprintf(out + n, bytes - n, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    out[n] = '\0';
}

/* The profile that the alert is about, around the time it began: its subject says of which kind ("cpu", or "heap|call
   (module)", then that call is looked for). Empty when it is not about a profile, or there is no dashboard. */
static void link_to_profile(const si__message *m, const si__alert *a, char *out, size_t bytes) {
    char type[24], app[400], environment[400], call[400] = "";
    const char *subject = or_empty(a->subject);
    size_t length = strcspn(subject, "|/"), base = m->link_base ? strlen(m->link_base) : 0;
    int64_t begin = a->started_ms ? a->started_ms : a->fired_ms, end = a->resolved_ms ? a->resolved_ms : a->fired_ms;
    out[0] = '\0';
    if (!base || length >= sizeof type || begin <= 0 || !*or_empty(a->app) || !*or_empty(a->environment)) return;
    snprintf(type, sizeof type, "%.*s", (int)length, subject);
    if (si__profile_type_named(type) < 0) return;
    while (base && m->link_base[base - 1] == '/') base--;
    escape_into(app, sizeof app, a->app);
    escape_into(environment, sizeof environment, a->environment);
    if (subject[length] == '|') {
        char name[128];
        const char *function = subject + length + 1, *module = strstr(function, " (");
        snprintf(name, sizeof name, "%.*s", (int)(module ? (size_t)(module - function) : strlen(function)), function);
        escape_into(call, sizeof call, name);
    }
    if (end < begin) end = begin;
    int n = snprintf(out, bytes, "%.*s/a/%s/%s/profiles/%s?from=%lld&to=%lld%s%s", (int)base, m->link_base, app,
                     environment, type, (long long)(begin - 15 * 60 * 1000), (long long)(end + 5 * 60 * 1000),
                     *call ? "&q=" : "", call);
    if (n < 0 || (size_t)n >= bytes) out[0] = '\0'; /* half a link leads nowhere */
}

/* "2026-11-23 05:07:36 UTC", without the locale. */
static void time_text(int64_t time_ms, char out[80]) {
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm;
    if (time_ms <= 0 || !gmtime_r(&seconds, &tm))
        snprintf(out, 80, "-");
    else
        snprintf(out, 80, "%04d-%02d-%02d %02d:%02d:%02d UTC", (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void line(FILE *to, const char *label, const char *value) {
    if (value && *value) fprintf(to, "%-12s%s\n", label, value);
}

static void alert_text(FILE *to, const si__message *m, const si__alert *a) {
    char when[80], number[40], where[512], link[LINK_BYTES];
    fprintf(to, "%s  %s: %s\n", a->state == SI__ALERT_RESOLVED ? "RESOLVED" : "FIRING", or_empty(a->rule),
            or_empty(a->summary));
    line(to, "  severity", a->severity);
    line(to, "  about", a->subject);
    if (isfinite(a->value)) {
        si__json_number(a->value, number);
        line(to, "  value", number);
    }
    snprintf(where, sizeof where, "%s / %s on %s", or_empty(a->app), or_empty(a->environment), or_empty(a->host));
    line(to, "  where", where);
    time_text(a->fired_ms ? a->fired_ms : a->started_ms, when);
    line(to, "  since", when);
    if (a->state == SI__ALERT_RESOLVED) {
        time_text(a->resolved_ms, when);
        line(to, "  until", when);
    }
    line(to, "  runbook", a->runbook);
    link_to(m, a, where, sizeof where);
    line(to, "  dashboard", where);
    link_to_profile(m, a, link, sizeof link);
    line(to, "  profile", link);
    if (a->detail && *a->detail) fprintf(to, "\n%s\n", a->detail);
}

char *si__message_text(const si__message *m) {
    char *text = NULL;
    size_t length;
    FILE *to = open_memstream(&text, &length);
    if (!to) return NULL;
    for (size_t i = 0; i < m->count && i < SI__MESSAGE_ALERTS_MOST; i++) {
        if (i) fputc('\n', to);
        alert_text(to, m, &m->alerts[i]);
    }
    if (m->count > SI__MESSAGE_ALERTS_MOST) fprintf(to, "\nand %zu more\n", m->count - SI__MESSAGE_ALERTS_MOST);
    int failed = ferror(to);
    if (fclose(to) || failed) {
        free(text);
        return NULL;
    }
    return text;
}

/* ---- Webhook ---- */

static void put_alert(si__json_writer *w, const si__message *m, const si__alert *a) {
    char link[512], profile[LINK_BYTES];
    link_to(m, a, link, sizeof link);
    link_to_profile(m, a, profile, sizeof profile);
    si__json_object_begin(w, NULL);
    si__json_put_string(w, "fingerprint", a->fingerprint);
    si__json_put_string(w, "rule", or_empty(a->rule));
    si__json_put_string(w, "subject", or_empty(a->subject));
    si__json_put_string(w, "severity", or_empty(a->severity));
    si__json_put_string(w, "state", si__alert_state_name(a->state));
    si__json_put_string(w, "summary", or_empty(a->summary));
    si__json_put_string(w, "detail", or_empty(a->detail));
    si__json_put_string(w, "runbook", or_empty(a->runbook));
    si__json_put_string(w, "app", or_empty(a->app));
    si__json_put_string(w, "environment", or_empty(a->environment));
    si__json_put_string(w, "host", or_empty(a->host));
    si__json_put_number(w, "value", a->value);
    si__json_put_int(w, "started_ms", a->started_ms);
    si__json_put_int(w, "fired_ms", a->fired_ms);
    si__json_put_int(w, "resolved_ms", a->resolved_ms);
    if (*link) si__json_put_string(w, "link", link);
    if (*profile) si__json_put_string(w, "profile", profile);
    si__json_object_end(w);
}

static void put_webhook(si__json_writer *w, const si__message *m) {
    char subject[512], link[512];
    si__message_subject(m, subject, sizeof subject);
    link_to(m, NULL, link, sizeof link);
    si__json_object_begin(w, NULL);
    si__json_put_int(w, "version", 1);
    si__json_put_string(w, "delivery", m->delivery);
    si__json_put_int(w, "time_ms", m->time_ms);
    si__json_put_string(w, "state", count_state(m, SI__ALERT_RESOLVED) == m->count ? "resolved" : "firing");
    si__json_put_string(w, "title", subject);
    if (*link) si__json_put_string(w, "link", link);
    si__json_array_begin(w, "alerts");
    for (size_t i = 0; i < m->count; i++) put_alert(w, m, &m->alerts[i]);
    si__json_array_end(w);
    si__json_object_end(w);
}

/* ---- Slack ---- */

/* Slack reads &, < and > as markup: <!channel> in a rule's name would wake everybody. malloc'ed, or NULL. */
static char *slack_escaped(const char *text, size_t most) {
    size_t length = strnlen(text, most), n = 0;
    while (length > 0 && length == most && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--; /* whole characters */
    char *out = malloc(5 * length + 1);
    if (!out) return NULL;
    for (size_t i = 0; i < length; i++) {
        const char *entity = text[i] == '&' ? "&amp;" : text[i] == '<' ? "&lt;" : text[i] == '>' ? "&gt;" : NULL;
        if (entity)
            n += strlen(strcpy(out + n, entity));
        else
            out[n++] = text[i];
    }
    out[n] = '\0';
    return out;
}

static void put_slack_text(si__json_writer *w, const char *key, const char *text, size_t most) {
    char *escaped = slack_escaped(text, most);
    if (escaped)
        si__json_put_string(w, key, escaped);
    else
        w->failed = 1;
    free(escaped);
}

static void put_slack_field(si__json_writer *w, const char *title, const char *value) {
    if (!*value) return;
    si__json_object_begin(w, NULL);
    si__json_put_string(w, "title", title);
    put_slack_text(w, "value", value, 500);
    si__json_put_bool(w, "short", 1);
    si__json_object_end(w);
}

static void put_slack_alert(si__json_writer *w, const si__message *m, const si__alert *a) {
    char link[512], where[512], number[40] = "", profile[LINK_BYTES], named[LINK_BYTES + 40];
    int resolved = a->state == SI__ALERT_RESOLVED, critical = a->severity && !strcmp(a->severity, "critical");
    link_to(m, a, link, sizeof link);
    snprintf(where, sizeof where, "%s / %s on %s", or_empty(a->app), or_empty(a->environment), or_empty(a->host));
    if (isfinite(a->value)) si__json_number(a->value, number);
    si__json_object_begin(w, NULL);
    si__json_put_string(w, "color", resolved ? "#2e7d32" : critical ? "#c62828" : "#ef6c00");
    put_slack_text(w, "title", or_empty(a->rule), 200);
    if (*link) si__json_put_string(w, "title_link", link);
    put_slack_text(w, "text", or_empty(a->summary), 1000);
    si__json_array_begin(w, "fields");
    put_slack_field(w, "State", resolved ? "resolved" : "firing");
    put_slack_field(w, "Severity", or_empty(a->severity));
    put_slack_field(w, "About", or_empty(a->subject));
    put_slack_field(w, "Value", number);
    put_slack_field(w, "Where", where);
    put_slack_field(w, "Runbook", or_empty(a->runbook));
    put_slack_field(w, "Detail", or_empty(a->detail));
    link_to_profile(m, a, profile, sizeof profile);
    if (*profile) {
        snprintf(named, sizeof named, "<%s|the profile that fired>", profile); /* escaped text in it, and ours */
        si__json_object_begin(w, NULL);
        si__json_put_string(w, "title", "Profile");
        si__json_put_string(w, "value", named);
        si__json_put_bool(w, "short", 1);
        si__json_object_end(w);
    }
    si__json_array_end(w);
    si__json_put_int(w, "ts", (a->fired_ms ? a->fired_ms : a->started_ms) / 1000);
    si__json_object_end(w);
}

static void put_slack(si__json_writer *w, const si__message *m) {
    char subject[512], more[64];
    si__message_subject(m, subject, sizeof subject);
    si__json_object_begin(w, NULL);
    put_slack_text(w, "text", subject, sizeof subject);
    si__json_array_begin(w, "attachments");
    for (size_t i = 0; i < m->count && i < SI__MESSAGE_ALERTS_MOST; i++) put_slack_alert(w, m, &m->alerts[i]);
    if (m->count > SI__MESSAGE_ALERTS_MOST) {
        snprintf(more, sizeof more, "and %zu more", m->count - SI__MESSAGE_ALERTS_MOST);
        si__json_object_begin(w, NULL);
        si__json_put_string(w, "text", more);
        si__json_object_end(w);
    }
    si__json_array_end(w);
    si__json_object_end(w);
}

/* ---- PagerDuty, events v2 ---- */

static const char *pagerduty_severity(const si__alert *a) {
    const char *severity = or_empty(a->severity);
    return !strcmp(severity, "critical") || !strcmp(severity, "warning") ? severity : "info";
}

static void put_pagerduty_link(si__json_writer *w, const char *text, const char *href) {
    si__json_object_begin(w, NULL);
    si__json_put_string(w, "href", href);
    si__json_put_string(w, "text", text);
    si__json_object_end(w);
}

static void put_pagerduty(si__json_writer *w, const si__message *m) {
    const si__alert *a = m->alerts;
    si__message one = *m;
    char subject[1024], link[LINK_BYTES];
    one.count = 1;
    si__message_subject(&one, subject, sizeof subject);
    link_to(m, a, link, sizeof link);
    si__json_object_begin(w, NULL);
    si__json_put_string(w, "event_action",
                        a->state == SI__ALERT_RESOLVED ? "resolve"
                        : a->acked                     ? "acknowledge"
                                                       : "trigger");
    si__json_put_string(w, "dedup_key", a->fingerprint);
    si__json_object_begin(w, "payload");
    si__json_put_string(w, "summary", subject);
    si__json_put_string(w, "source", or_empty(a->host)[0] ? a->host : "si");
    si__json_put_string(w, "severity", pagerduty_severity(a));
    si__json_put_string(w, "component", or_empty(a->app));
    si__json_put_string(w, "group", or_empty(a->environment));
    si__json_put_string(w, "class", or_empty(a->rule));
    si__json_object_begin(w, "custom_details");
    si__json_put_string(w, "about", or_empty(a->subject));
    si__json_put_number(w, "value", a->value);
    si__json_put_string(w, "runbook", or_empty(a->runbook));
    si__json_put_string(w, "detail", or_empty(a->detail));
    si__json_object_end(w);
    si__json_object_end(w);
    if (*link) {
        si__json_array_begin(w, "links");
        put_pagerduty_link(w, "Dashboard", link);
        link_to_profile(m, a, link, sizeof link);
        if (*link) put_pagerduty_link(w, "Profile", link);
        si__json_array_end(w);
    }
    si__json_object_end(w);
}

char *si__message_json(const si__message *m, const si__channel *channel, size_t *length) {
    si__json_writer w = {0};
    char *out;
    if (channel->kind == SI__CHANNEL_SLACK)
        put_slack(&w, m);
    else if (channel->kind == SI__CHANNEL_PAGERDUTY)
        put_pagerduty(&w, m);
    else
        put_webhook(&w, m);
    return si__json_take(&w, &out, length) ? NULL : out;
}
