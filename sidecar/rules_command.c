/*
 * `si rules`: check, list, explain, replay, route, send-test. Nothing of a running program is touched: what it has
 * recorded is read from its state directory, or asked of a dashboard.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "help.h"
#include "rules_input.h"

static void print_line(void *arg, const char *line) {
    (void)arg;
    printf("%s\n", line);
}

static void print_and_count(void *arg, const char *line) {
    int *lines = arg;
    ++*lines;
    printf("%s\n", line);
}

static int check(si__rules_input *in) {
    const char *path = in->word_count ? in->words[0] : in->options.rules_dir;
    if (!path) {
        fprintf(stderr, "si rules check: which directory? Write: si rules check DIR\n");
        return 2;
    }
    DIR *dir = opendir(path);
    if (!dir) {
        fprintf(stderr, "si rules check: %s: %s\n", path, strerror(errno));
        return 2;
    }
    closedir(dir);
    int lines = 0, problems = si__script_check(path, print_and_count, &lines), warnings = lines - problems;
    if (problems > 0)
        printf("%d problem%s", problems, problems == 1 ? "" : "s");
    else
        printf("no problems");
    if (warnings > 0) printf(", %d warning%s", warnings, warnings == 1 ? "" : "s");
    printf("\n");
    return problems > 0 ? 1 : 0;
}

/* ---- explain ----------------------------------------------------------------------------------------------------- */

static int unknown_rule(const si__rules_input *in, const char *subcommand, const char *name) {
    si__rule_info rule;
    fprintf(stderr, "si rules %s: there is no rule '%s'. There are:", subcommand, name);
    for (size_t i = 0; si__script_rule(in->script, i, &rule) == 0; i++)
        if (rule.raises_alerts) fprintf(stderr, " %s", rule.name);
    fprintf(stderr, "\n");
    return 2;
}

static int explain(si__rules_input *in) {
    if (in->word_count != 1) {
        fprintf(stderr, "si rules explain: which rule? Write: si rules explain NAME --state DIR\n");
        return 2;
    }
    int status = si__rules_history(in, 1);
    if (!status) status = si__rules_load(in);
    if (status) return status;
    status = si__script_explain(in->script, in->words[0], in->now_ms, print_line, NULL);
    if (status == SI_ENOTFOUND) return unknown_rule(in, "explain", in->words[0]);
    if (status) fprintf(stderr, "si rules explain: %s\n", si_strerror(status));
    return status != 0;
}

/* ---- route ------------------------------------------------------------------------------------------------------- */

typedef struct labels {
    char rule[64], severity[16], subject[160], app[128], environment[128], host[128];
} labels;

/* "label=value" into its place. 0 or -1. */
static int set_label(labels *l, const char *word) {
    const struct {
        const char *name;
        char *to;
        size_t bytes;
    } known[] = {{"rule", l->rule, sizeof l->rule},
                 {"severity", l->severity, sizeof l->severity},
                 {"subject", l->subject, sizeof l->subject},
                 {"app", l->app, sizeof l->app},
                 {"environment", l->environment, sizeof l->environment},
                 {"host", l->host, sizeof l->host}};
    size_t length = strcspn(word, "=");
    if (word[length] != '=') return -1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == length && strncmp(known[i].name, word, length) == 0) {
            snprintf(known[i].to, known[i].bytes, "%s", word + length + 1);
            return 0;
        }
    return -1;
}

static int read_labels(const si__rules_input *in, labels *l) {
    memset(l, 0, sizeof *l);
    snprintf(l->app, sizeof l->app, "%s", in->options.app_name ? in->options.app_name : "");
    snprintf(l->environment, sizeof l->environment, "%s",
             in->options.app_environment ? in->options.app_environment : "");
    snprintf(l->host, sizeof l->host, "%s", in->options.host_name ? in->options.host_name : "");
    for (size_t i = 0; i < in->word_count; i++) {
        if (!strchr(in->words[i], '=') && !*l->rule)
            snprintf(l->rule, sizeof l->rule, "%s", in->words[i]);
        else if (set_label(l, in->words[i])) {
            fprintf(stderr,
                    "si rules route: '%s': write label=value; labels are rule, severity, subject, app, environment, "
                    "host\n",
                    in->words[i]);
            return 2;
        }
    }
    return 0;
}

/* A rule's name says its severity. */
static int look_up_severity(const si__rules_input *in, labels *l) {
    si__rule_info rule;
    if (!*l->rule) return 0;
    for (size_t i = 0; si__script_rule(in->script, i, &rule) == 0; i++) {
        if (strcmp(rule.name, l->rule) != 0) continue;
        if (!*l->severity) snprintf(l->severity, sizeof l->severity, "%s", rule.severity);
        return 0;
    }
    return unknown_rule(in, "route", l->rule);
}

static int route(si__rules_input *in) {
    labels l;
    char to[2048] = "";
    if (!in->word_count) {
        fprintf(stderr, "si rules route: of what? Write: si rules route cpu_high, or: si rules route severity=warning "
                        "app=shop\n");
        return 2;
    }
    int status = read_labels(in, &l);
    if (!status) status = si__rules_history(in, 0);
    if (!status) status = si__rules_load(in);
    if (!status) status = look_up_severity(in, &l);
    if (status) return status;
    if (!*l.severity) snprintf(l.severity, sizeof l.severity, "warning");
    const si__alert alert = {.rule = l.rule,
                             .subject = l.subject,
                             .severity = l.severity,
                             .app = l.app,
                             .environment = l.environment,
                             .host = l.host,
                             .state = SI__ALERT_FIRING};
    status = si__script_route(in->script, &alert, to, sizeof to);
    if (status) {
        fprintf(stderr, "si rules route: %s\n", si_strerror(status));
        return 1;
    }
    printf("an alert with");
    if (*l.rule) printf(" rule=%s", l.rule);
    printf(" severity=%s", l.severity);
    if (*l.subject) printf(" subject=%s", l.subject);
    if (*l.app) printf(" app=%s", l.app);
    if (*l.environment) printf(" environment=%s", l.environment);
    if (*l.host) printf(" host=%s", l.host);
    printf("\nwould go to ");
    if (!*to) printf("nobody; the dashboard shows it");
    for (const char *c = to; *c; c++) *c == ',' ? printf(", ") : putchar(*c);
    printf("\n");
    return 0;
}

/* ---- The rest ---------------------------------------------------------------------------------------------------- */

static int replay(si__rules_input *in) {
    if (in->word_count == 0) return si__rules_replay(in);
    fprintf(stderr, "si rules replay: '%s' is no option; one rule alone: --rule %s\n", in->words[0], in->words[0]);
    return 2;
}

static int send_test(si__rules_input *in) {
    if (in->word_count == 1) return si__rules_send_test(in);
    fprintf(stderr, "si rules send-test: to whom? Write: si rules send-test slack:perf --channels FILE\n");
    return 2;
}

int si__command_rules(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*run)(si__rules_input *in);
    } subcommands[] = {{"check", check},   {"list", si__rules_list}, {"explain", explain},
                       {"replay", replay}, {"route", route},         {"send-test", send_test}};
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            si__help_print("rules");
            return 0;
        }
    for (size_t i = 0; argc > 1 && i < sizeof subcommands / sizeof *subcommands; i++) {
        si__rules_input in;
        if (strcmp(argv[1], subcommands[i].name) != 0) continue;
        int status = si__rules_input_read(&in, argc - 1, argv + 1);
        if (!status) status = subcommands[i].run(&in);
        si__rules_input_free(&in);
        return status;
    }
    if (argc > 1) fprintf(stderr, "si rules: unknown subcommand '%s'\n", argv[1]);
    fprintf(stderr, "Usage: si rules check|list|explain|replay|route|send-test ...\nTry 'si rules --help'.\n");
    return 2;
}
