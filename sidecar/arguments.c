/* Command-line options of `si run` and `si sidecar`. Every mistake names the option and the value. */
#include "arguments.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "help.h"

enum {
    OPT_FOLDED = 256,
    OPT_PPROF,
    OPT_RULES,
    OPT_DASHBOARD,
    OPT_KEY_FILE,
    OPT_APP,
    OPT_ENV,
    OPT_VERSION,
    OPT_STATE,
    OPT_CHANNELS,
    OPT_HZ,
    OPT_PID,
    OPT_NAME,
    OPT_DEBUG,
    OPT_CA
};

/* What both subcommands take, and the end of a table. */
#define SHARED_OPTIONS                                                                                                 \
    {"rules", required_argument, NULL, OPT_RULES}, {"dashboard", required_argument, NULL, OPT_DASHBOARD},              \
        {"key-file", required_argument, NULL, OPT_KEY_FILE}, {"ca-file", required_argument, NULL, OPT_CA},             \
        {"app", required_argument, NULL, OPT_APP}, {"app-version", required_argument, NULL, OPT_VERSION},              \
        {"env", required_argument, NULL, OPT_ENV}, {"state", required_argument, NULL, OPT_STATE},                      \
        {"channels", required_argument, NULL, OPT_CHANNELS}, {"debug", no_argument, NULL, OPT_DEBUG},                  \
        {"help", no_argument, NULL, 'h'}, {                                                                            \
        NULL, 0, NULL, 0                                                                                               \
    }

static const struct option run_options[] = {{"folded", required_argument, NULL, OPT_FOLDED},
                                            {"pprof", required_argument, NULL, OPT_PPROF},
                                            {"hz", required_argument, NULL, OPT_HZ},
                                            SHARED_OPTIONS};

static const struct option sidecar_options[] = {
    {"pid", required_argument, NULL, OPT_PID}, {"name", required_argument, NULL, OPT_NAME}, SHARED_OPTIONS};

static int wrong(const char *option, const char *value, const char *why) {
    fprintf(stderr, "si: option --%s: '%s' %s\n", option, value, why);
    return 2;
}

/* The first line of a file, kept until the process ends. A key on the command line would be seen by every user. */
static const char *first_line(const char *path) {
    static char line[512];
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    const char *got = fgets(line, sizeof line, file);
    fclose(file);
    if (!got) return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

static int parse_hz(si__arguments *a, const char *value) {
    char *end;
    errno = 0;
    double hz = strtod(value, &end);
    if (errno || *end || end == value || !isfinite(hz) || hz < 1 || hz > 1000)
        return wrong("hz", value, "must be a number from 1 to 1000");
    a->hz = hz;
    return 0;
}

static int parse_pid(si__arguments *a, const char *value) {
    char *end;
    errno = 0;
    long pid = strtol(value, &end, 10);
    if (errno || *end || end == value || pid < 1 || pid > 1 << 30) return wrong("pid", value, "must be a process id");
    a->pid = (pid_t)pid;
    return 0;
}

static int parse_directory(const char **out, const char *option, const char *value) {
    struct stat st;
    if (stat(value, &st) != 0) return wrong(option, value, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return wrong(option, value, "is not a directory");
    *out = value;
    return 0;
}

static int parse_key_file(si__arguments *a, const char *value) {
    a->options.agent_key = first_line(value);
    return a->options.agent_key ? 0 : wrong("key-file", value, "cannot be read");
}

static int take(si__arguments *a, int option, const char *value) {
    si_options *o = &a->options;
    switch (option) {
    case OPT_FOLDED:
        a->folded_dir = value;
        return 0;
    case OPT_PPROF:
        a->pprof_dir = value;
        return 0;
    case OPT_HZ:
        return parse_hz(a, value);
    case OPT_PID:
        return parse_pid(a, value);
    case OPT_NAME:
        a->name = value;
        return *value ? 0 : wrong("name", value, "is empty");
    case OPT_RULES:
        return parse_directory(&o->rules_dir, "rules", value);
    case OPT_DASHBOARD:
        o->dashboard_url = value;
        return 0;
    case OPT_KEY_FILE:
        return parse_key_file(a, value);
    case OPT_CA:
        o->ca_file = value;
        return 0;
    case OPT_APP:
        o->app_name = value;
        return 0;
    case OPT_VERSION:
        o->app_version = value;
        return 0;
    case OPT_ENV:
        o->app_environment = value;
        return 0;
    case OPT_STATE:
        o->state_dir = value;
        return 0;
    case OPT_CHANNELS:
        o->channels_file = value;
        return 0;
    case OPT_DEBUG:
        o->debug = 1;
        return 0;
    default:
        return 2;
    }
}

static int unknown_option(char **argv, int opt, int code) {
    const char *what = opt > 0 ? argv[opt - 1] : "";
    if (code == ':')
        fprintf(stderr, "si %s: option %s needs a value\n", argv[0], what);
    else
        fprintf(stderr, "si %s: unknown option %s\n", argv[0], what);
    fprintf(stderr, "Try 'si %s --help'.\n", argv[0]);
    return 2;
}

int si__arguments_parse(si__arguments *out, si__accept accept, int argc, char **argv) {
    memset(out, 0, sizeof *out);
    si_options_init(&out->options);
    const struct option *table = accept == SI__ACCEPT_RUN ? run_options : sidecar_options;
    optind = 1;
    opterr = 0;
    int code;
    while ((code = getopt_long(argc, argv, "+:h", table, NULL)) != -1) {
        if (code == 'h') {
            si__help_print(argv[0]);
            return -1;
        }
        if (code == '?' || code == ':') return unknown_option(argv, optind, code);
        int rc = take(out, code, optarg);
        if (rc) return rc;
    }
    out->command = argv + optind;
    if (accept == SI__ACCEPT_RUN && !*out->command) {
        fprintf(stderr, "si run: no command given\nTry 'si run --help'.\n");
        return 2;
    }
    if (accept == SI__ACCEPT_SIDECAR) {
        if (*out->command) {
            fprintf(stderr, "si sidecar: unexpected argument '%s'\nTry 'si sidecar --help'.\n", *out->command);
            return 2;
        }
        if (!out->pid == !out->name) {
            fprintf(stderr, "si sidecar: give either --pid or --name\nTry 'si sidecar --help'.\n");
            return 2;
        }
    }
    return 0;
}

void si__arguments_refuse(const char *command, const char *error) {
    static const char *const names[][2] = {
        {"app_name", "--app"},           {"app_version", "--app-version"},
        {"app_environment", "--env"},    {"dashboard_url", "--dashboard"},
        {"agent_key", "--key-file"},     {"ca_file", "--ca-file"},
        {"rules_dir", "--rules"},        {"state_dir", "--state"},
        {"channels_file", "--channels"},
    };
    static const char start[] = "option ";
    const char *name = strncmp(error, start, sizeof start - 1) == 0 ? error + sizeof start - 1 : "";
    size_t length = strcspn(name, ":");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i][0]) != length || strncmp(name, names[i][0], length) != 0) continue;
        fprintf(stderr, "si %s: option %s%s\n", command, names[i][1], name + length);
        return;
    }
    fprintf(stderr, "si %s: %s\n", command, error);
}
