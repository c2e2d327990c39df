/* Options, recorded history and rule set of `si rules`; see rules_input.h. Every mistake names what was given. */
#include "rules_input.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../runtime/agent_parts.h"
#include "../runtime/history/series.h"
#include "../runtime/script/units.h"

#define WEEK_MS ((int64_t)7 * 86400000)

enum {
    OPT_RULES = 256,
    OPT_STATE,
    OPT_HISTORY,
    OPT_LAST,
    OPT_AT,
    OPT_RULE,
    OPT_CHANNELS,
    OPT_APP,
    OPT_ENV,
    OPT_HOST,
    OPT_CA,
    OPT_DASHBOARD,
    OPT_KEY_FILE,
    OPT_SOURCE
};

static const struct option options[] = {{"rules", required_argument, NULL, OPT_RULES},
                                        {"state", required_argument, NULL, OPT_STATE},
                                        {"history", required_argument, NULL, OPT_HISTORY},
                                        {"last", required_argument, NULL, OPT_LAST},
                                        {"at", required_argument, NULL, OPT_AT},
                                        {"rule", required_argument, NULL, OPT_RULE},
                                        {"channels", required_argument, NULL, OPT_CHANNELS},
                                        {"ca-file", required_argument, NULL, OPT_CA},
                                        {"dashboard", required_argument, NULL, OPT_DASHBOARD},
                                        {"key-file", required_argument, NULL, OPT_KEY_FILE},
                                        {"source", required_argument, NULL, OPT_SOURCE},
                                        {"app", required_argument, NULL, OPT_APP},
                                        {"env", required_argument, NULL, OPT_ENV},
                                        {"host", required_argument, NULL, OPT_HOST},
                                        {NULL, 0, NULL, 0}};

static int take_last(si__rules_input *in, const char *value) {
    if (si__duration_parse(value, &in->last_ms) == 0 && in->last_ms >= 60000 && in->last_ms <= WEEK_MS) return 0;
    fprintf(stderr, "si rules: option --last: '%s' is not a time from 1m to 7d, such as 12h\n", value);
    return 2;
}

static int take_at(si__rules_input *in, const char *value) {
    in->at_dashboard = strcmp(value, "dashboard") == 0;
    if (in->at_dashboard || strcmp(value, "agent") == 0) return 0;
    fprintf(stderr, "si rules: option --at: '%s' is neither agent nor dashboard\n", value);
    return 2;
}

static int take(si__rules_input *in, int option, const char *value) {
    switch (option) {
    case OPT_RULES:
        in->options.rules_dir = value;
        return 0;
    case OPT_STATE:
        in->options.state_dir = value;
        return 0;
    case OPT_HISTORY:
        in->history = value;
        return 0;
    case OPT_LAST:
        return take_last(in, value);
    case OPT_AT:
        return take_at(in, value);
    case OPT_RULE:
        in->only_rule = value;
        return 0;
    case OPT_CHANNELS:
        in->options.channels_file = value;
        return 0;
    case OPT_DASHBOARD:
        in->dashboard = value;
        return 0;
    case OPT_KEY_FILE:
        in->key_file = value;
        return 0;
    case OPT_SOURCE:
        in->source = value;
        return 0;
    case OPT_CA:
        in->options.ca_file = value;
        return 0;
    case OPT_APP:
        in->options.app_name = value;
        return 0;
    case OPT_ENV:
        in->options.app_environment = value;
        return 0;
    case OPT_HOST:
        in->options.host_name = value;
        return 0;
    default: /* getopt has said what is wrong */
        fprintf(stderr, "Try 'si rules --help'.\n");
        return 2;
    }
}

int si__rules_input_read(si__rules_input *in, int argc, char **argv) {
    memset(in, 0, sizeof *in);
    si_options_init(&in->options);
    char speaker[64], *subcommand = argv[0]; /* getopt's messages begin with it */
    snprintf(speaker, sizeof speaker, "si rules %s", subcommand);
    argv[0] = speaker;
    optind = 1;
    int wrong = 0;
    for (int option; !wrong && (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        wrong = take(in, option, optarg);
    argv[0] = subcommand;
    if (wrong) return wrong;
    for (; optind < argc; optind++) {
        if (in->word_count == sizeof in->words / sizeof *in->words) {
            fprintf(stderr, "si rules: more words than any subcommand takes\n");
            return 2;
        }
        in->words[in->word_count++] = argv[optind];
    }
    return 0;
}

void si__rules_input_free(si__rules_input *in) {
    si__script_free(in->script);
    si__history_free(in->recorded);
}

/* ---- History ----------------------------------------------------------------------------------------------------- */

static void consider_newest(void *arg, const char *name, si__series *series) {
    (void)name;
    int64_t *newest_ms = arg, last_ms = si__series_last_ms(series);
    if (last_ms > *newest_ms) *newest_ms = last_ms;
}

static void find_now(si__rules_input *in) {
    in->now_ms = 0;
    for (int kind = 0; kind < SI__SERIES_KINDS; kind++)
        si__history_each(in->recorded, (si__series_kind)kind, consider_newest, &in->now_ms);
    if (in->now_ms <= 0) in->now_ms = (int64_t)time(NULL) * 1000;
}

/* The rules say what to ask for. */
static int from_dashboard(si__rules_input *in) {
    int status = si__rules_load(in);
    if (!status) status = si__rules_ask_dashboard(in);
    if (!status) find_now(in);
    return status;
}

int si__rules_history(si__rules_input *in, int required) {
    char path[4096];
    in->recorded = si__history_new();
    if (!in->recorded) {
        fprintf(stderr, "si rules: out of memory\n");
        return 1;
    }
    if (in->dashboard && required) return from_dashboard(in);
    if (!in->history && !in->options.state_dir) {
        find_now(in);
        if (!required) return 0;
        fprintf(stderr, "si rules: no history: give --state DIR (where the program's agent keeps its state), "
                        "--dashboard URL or --history FILE\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s%s", in->history ? in->history : in->options.state_dir,
             in->history ? "" : "/history.bin");
    if (access(path, R_OK) != 0) {
        fprintf(stderr, "si rules: %s: %s%s\n", path, strerror(errno),
                in->history || errno != ENOENT ? "" : " (an agent writes it every few minutes, and when it ends)");
        return 2;
    }
    int status = si__history_load(in->recorded, path);
    if (status) {
        fprintf(stderr, "si rules: %s: %s\n", path,
                status == SI_EFORMAT ? "is damaged, or no history" : si_strerror(status));
        return 2;
    }
    find_now(in);
    return 0;
}

/* ---- Rules ------------------------------------------------------------------------------------------------------- */

static void on_log(void *arg, int level, const char *message) {
    (void)arg;
    if (level >= SI_LOG_WARN) fprintf(stderr, "%s\n", message);
}

static void load_alerts(si__rules_input *in) {
    char path[4096], *text = NULL;
    size_t length = 0;
    if (!in->options.state_dir || in->dashboard) return;
    snprintf(path, sizeof path, "%s/alerts.json", in->options.state_dir);
    if (si__read_file(path, &text, &length) == 0 && si__script_state_load(in->script, text, length, in->now_ms) != 0)
        fprintf(stderr, "si rules: %s is damaged: no alert is known\n", path);
    free(text);
}

int si__rules_load(si__rules_input *in) {
    char error[8192];
    if (in->script) return 0;
    const si__script_env env = {.history = in->recorded,
                                .app = in->options.app_name,
                                .environment = in->options.app_environment,
                                .host = in->options.host_name,
                                .cpu_quota = 1,
                                .at_dashboard = in->at_dashboard,
                                .log = on_log};
    in->script = si__script_new(&env);
    int status = in->script ? si__script_load(in->script, in->options.rules_dir, error, sizeof error) : SI_ENOMEM;
    if (status) {
        fprintf(stderr, "%s\n", status == SI_ERULES ? error : si_strerror(status));
        return 1;
    }
    load_alerts(in);
    return 0;
}
