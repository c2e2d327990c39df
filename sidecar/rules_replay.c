/*
 * `si rules replay`: when the rules would have fired over recorded history, as a table and as a picture. Called by the
 * si command.
 *
 * The picture has a line for each rule and subject, and a column for each stretch of time.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../runtime/history/series.h"
#include "../runtime/script/units.h"
#include "rules_input.h"

#define COLUMNS 72
#define LINES_MOST 200
#define ROWS_MOST 1000
#define DESTINATIONS_MOST 50

typedef struct line { /* of the picture */
    char rule[64], subject[160];
    si__alert_state state;
    int64_t since_ms;
    char cells[COLUMNS + 1];
} line;

typedef struct row {               /* of the table */
    int64_t fired_ms, resolved_ms; /* resolved_ms 0: still firing at the end */
    size_t line;
    double value;
    char severity[16], summary[240];
} row;

typedef struct destination {
    char name[128];
    unsigned messages;
} destination;

typedef struct picture {
    const char *only_rule;
    int64_t from_ms, to_ms;
    line lines[LINES_MOST];
    row rows[ROWS_MOST];
    destination destinations[DESTINATIONS_MOST];
    size_t line_count, row_count, destination_count, left_out;
    int truncated; /* messages to more destinations than there is room for */
} picture;

static size_t column_of(const picture *p, int64_t at_ms) {
    int64_t span = p->to_ms - p->from_ms;
    int64_t column = span > 0 ? (at_ms - p->from_ms) * COLUMNS / span : 0;
    return column < 0 ? 0 : column >= COLUMNS ? COLUMNS - 1 : (size_t)column;
}

/* Firing hides pending, and pending hides silence: a column may have seen all of them. */
static void paint(const picture *p, line *l, int64_t until_ms) {
    char with = l->state == SI__ALERT_FIRING ? '#' : l->state == SI__ALERT_PENDING ? '-' : '.';
    if (with == '.') return;
    for (size_t c = column_of(p, l->since_ms), last = column_of(p, until_ms); c <= last; c++)
        if (l->cells[c] != '#') l->cells[c] = with;
}

static line *line_of(picture *p, const si__alert *alert) {
    for (size_t i = 0; i < p->line_count; i++)
        if (strcmp(p->lines[i].rule, alert->rule) == 0 &&
            strncmp(p->lines[i].subject, alert->subject, sizeof p->lines[i].subject - 1) == 0)
            return &p->lines[i];
    if (p->line_count == LINES_MOST) return NULL;
    line *l = &p->lines[p->line_count++];
    snprintf(l->rule, sizeof l->rule, "%s", alert->rule);
    snprintf(l->subject, sizeof l->subject, "%s", alert->subject);
    l->state = SI__ALERT_INACTIVE;
    memset(l->cells, '.', COLUMNS);
    l->cells[COLUMNS] = '\0';
    return l;
}

static void add_row(picture *p, size_t number, int64_t at_ms, const si__alert *alert) {
    if (p->row_count == ROWS_MOST) {
        p->left_out++;
        return;
    }
    row *r = &p->rows[p->row_count++];
    *r = (row){.fired_ms = at_ms, .line = number, .value = alert->value};
    snprintf(r->severity, sizeof r->severity, "%s", alert->severity);
    snprintf(r->summary, sizeof r->summary, "%s", alert->summary ? alert->summary : "");
    for (char *c = r->summary; *c; c++)
        if (*c == '\n' || *c == '\r' || *c == '\t') *c = ' ';
}

static void on_alert(void *arg, int64_t at_ms, const si__alert *alert) {
    picture *p = arg;
    if (p->only_rule && strcmp(p->only_rule, alert->rule) != 0) return;
    line *l = line_of(p, alert);
    if (!l) {
        p->left_out += alert->state == SI__ALERT_FIRING;
        return;
    }
    size_t number = (size_t)(l - p->lines);
    paint(p, l, at_ms);
    if (alert->state == SI__ALERT_FIRING && l->state != SI__ALERT_FIRING) add_row(p, number, at_ms, alert);
    if (alert->state == SI__ALERT_RESOLVED)
        for (size_t i = p->row_count; i-- > 0;)
            if (p->rows[i].line == number) {
                if (!p->rows[i].resolved_ms) p->rows[i].resolved_ms = at_ms;
                break;
            }
    l->state = alert->state;
    l->since_ms = at_ms;
}

static void on_notify(void *arg, int64_t at_ms, const char *name, const si__alert *alerts, size_t count) {
    picture *p = arg;
    (void)at_ms;
    int wanted = !p->only_rule;
    for (size_t i = 0; i < count && !wanted; i++) wanted = strcmp(alerts[i].rule, p->only_rule) == 0;
    if (!wanted) return;
    for (size_t i = 0; i < p->destination_count; i++)
        if (strcmp(p->destinations[i].name, name) == 0) {
            p->destinations[i].messages++;
            return;
        }
    if (p->destination_count == DESTINATIONS_MOST) {
        p->truncated = 1;
        return;
    }
    destination *d = &p->destinations[p->destination_count++];
    snprintf(d->name, sizeof d->name, "%s", name);
    d->messages = 1;
}

static void on_log(void *arg, int level, const char *message) {
    (void)arg;
    if (level >= SI_LOG_WARN) fprintf(stderr, "%s\n", message);
}

/* ---- Printing ---------------------------------------------------------------------------------------------------- */

static const char *when(int64_t ms, char out[32]) {
    time_t seconds = (time_t)(ms / 1000);
    struct tm local;
    localtime_r(&seconds, &local);
    strftime(out, 32, "%Y-%m-%d %H:%M", &local);
    return out;
}

static void print_table(const picture *p) {
    char fired[32], lasted[40];
    printf("%-16s  %-10s  %-8s  %-20s  %s\n", "fired", "for", "severity", "rule", "about");
    for (size_t i = 0; i < p->row_count; i++) {
        const row *r = &p->rows[i];
        const line *l = &p->lines[r->line];
        if (r->resolved_ms)
            si__duration_format(r->resolved_ms - r->fired_ms, lasted, sizeof lasted);
        else
            snprintf(lasted, sizeof lasted, "at the end");
        printf("%-16s  %-10s  %-8s  %-20s  %s%s%s\n", when(r->fired_ms, fired), lasted, r->severity, l->rule,
               l->subject, *l->subject && *r->summary ? ": " : "", r->summary);
    }
    if (p->left_out) printf("and %zu more\n", p->left_out);
}

static int name_width(const picture *p) {
    int width = 0;
    for (size_t i = 0; i < p->line_count; i++) {
        int length = (int)(strlen(p->lines[i].rule) + (*p->lines[i].subject ? strlen(p->lines[i].subject) + 1 : 0));
        if (length > width) width = length;
    }
    return width > 48 ? 48 : width;
}

static void print_picture(const picture *p) {
    char from[32], to[32], name[240];
    int width = name_width(p);
    printf("\n%*s  %-*s%s\n", width, "", COLUMNS - 16, when(p->from_ms, from), when(p->to_ms, to));
    for (size_t i = 0; i < p->line_count; i++) {
        const line *l = &p->lines[i];
        snprintf(name, sizeof name, "%s%s%s", l->rule, *l->subject ? " " : "", l->subject);
        printf("%-*.*s  %s\n", width, width, name, l->cells);
    }
    printf("%*s  # firing, - pending, . silent; a column is ", width, "");
    printf("%s\n", si__duration_format((p->to_ms - p->from_ms) / COLUMNS, name, sizeof name));
}

static void print_messages(const picture *p) {
    printf("\n");
    if (!p->destination_count) printf("Nobody would have been told.\n");
    for (size_t i = 0; i < p->destination_count; i++)
        printf("%s would have got %u message%s.\n", p->destinations[i].name, p->destinations[i].messages,
               p->destinations[i].messages == 1 ? "" : "s");
    if (p->truncated) printf("There were more destinations than are shown.\n");
}

/* ---- Running ----------------------------------------------------------------------------------------------------- */

static void consider_oldest(void *arg, const char *name, si__series *series) {
    (void)name;
    int64_t *oldest_ms = arg;
    const si__slots *ten = &series->ten; /* what goes back furthest */
    int64_t first_ms = (ten->newest - (int64_t)ten->count + 1) * ten->step_ms;
    if (ten->count && first_ms < *oldest_ms) *oldest_ms = first_ms;
}

/* Not from before there was anything recorded. */
static int64_t oldest_of(const si__rules_input *in) {
    int64_t oldest_ms = in->now_ms;
    for (int kind = 0; kind < SI__SERIES_KINDS; kind++)
        si__history_each(in->recorded, (si__series_kind)kind, consider_oldest, &oldest_ms);
    return oldest_ms;
}

static int is_known(si__rules_input *in) {
    si__rule_info info;
    int status = si__rules_load(in);
    if (status || !in->only_rule) return status;
    for (size_t i = 0; si__script_rule(in->script, i, &info) == 0; i++)
        if (strcmp(info.name, in->only_rule) == 0) return 0;
    fprintf(stderr, "si rules replay: there is no rule '%s'; 'si rules list' shows all\n", in->only_rule);
    return 2;
}

int si__rules_replay(si__rules_input *in) {
    char error[8192], from[32], to[32];
    int status = si__rules_history(in, 1);
    if (!status) status = is_known(in);
    picture *p = status ? NULL : calloc(1, sizeof *p);
    if (!p) return status ? status : 1;
    p->only_rule = in->only_rule;
    p->to_ms = (in->now_ms / 60000 + 1) * 60000; /* the newest minute is judged when it is over */
    p->from_ms = p->to_ms - (in->last_ms ? in->last_ms : (int64_t)86400000);
    int64_t oldest_ms = oldest_of(in);
    if (p->from_ms < oldest_ms) p->from_ms = oldest_ms;
    const si__replay replay = {.dir = in->options.rules_dir,
                               .recorded = in->recorded,
                               .from_ms = p->from_ms,
                               .to_ms = p->to_ms,
                               .app = in->options.app_name,
                               .environment = in->options.app_environment,
                               .host = in->options.host_name,
                               .at_dashboard = in->at_dashboard,
                               .arg = p,
                               .log = on_log,
                               .on_alert = on_alert,
                               .on_notify = on_notify};
    status = si__script_replay(&replay, error, sizeof error);
    if (status) {
        fprintf(stderr, "%s\n", *error ? error : si_strerror(status));
        free(p);
        return 1;
    }
    for (size_t i = 0; i < p->line_count; i++) paint(p, &p->lines[i], p->to_ms);
    printf("%s to %s, %zu series%s\n\n", when(p->from_ms, from), when(p->to_ms, to), si__history_count(in->recorded),
           in->dashboard && !in->source && !in->at_dashboard ? ", averages of all sources" : "");
    if (p->row_count)
        print_table(p);
    else
        printf("Nothing would have fired.\n");
    if (p->line_count) print_picture(p);
    if (p->row_count) print_messages(p);
    free(p);
    return 0;
}
