/* The command line of si-dashboard; see options.h. Main thread, at start. */
#include "options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <si/si.h>
#include <stdlib.h>
#include <string.h>

void si__options_help(FILE *out) {
    fputs("Usage: si-dashboard [--listen ADDR:PORT] [--data DIR] [options]\n"
          "       si-dashboard key --data DIR --app APP --env ENV [--label TEXT] [--read]\n"
          "       si-dashboard sign-in-link --data DIR\n"
          "       si-dashboard backup FILE --data DIR\n"
          "       si-dashboard restore FILE --data DIR\n"
          "       si-dashboard check --data DIR\n"
          "\n"
          "Receives reports of si agents, stores them, and serves the web page and its API.\n"
          "\n"
          "  --listen ADDR:PORT   where to listen (127.0.0.1:8686); port 0 takes a free one, and the first line "
          "printed says which\n"
          "  --data DIR           where everything is stored (./si-dashboard-data); made when missing, for this user "
          "only\n"
          "  --rules DIR          rules that run at the dashboard, and routing (default: the built-in ones)\n"
          "  --channels FILE      JSON: where notifications go, with their secrets\n"
          "  --sources DIR        source files of the programs, to show beside profiles: DIR/APP/path or DIR/path\n"
          "  --public-url URL     how people reach the page, for links in notifications and set-up links\n"
          "  --retention-days N   how long telemetry is kept (30)\n"
          "  --max-bytes N        the oldest telemetry goes when the store is larger; K, M, G may follow (no limit)\n"
          "  --rollup-after S     seconds after the last report of a period until it is summed up (30)\n"
          "  --behind-tls-proxy   a proxy in front terminates TLS: allows other addresses than loopback, secures "
          "cookies\n"
          "  --no-self            do not profile the dashboard itself\n"
          "  --help, --version\n"
          "\n"
          "key           makes an agent key, prints it (once: only its hash is stored); works while the server runs\n"
          "              (--read: one that reads, for Grafana and Prometheus)\n"
          "sign-in-link  prints a link that signs in once, as the first admin (made when there is no user); valid for "
          "15 minutes\n"
          "backup        copies the store to FILE, which must not be there yet; works while the server runs\n"
          "restore       puts FILE in the place of the store, which is kept as si.db.before-restore; not while the "
          "server runs\n"
          "check         looks through the whole store and says what it finds; changes nothing; works while the server "
          "runs\n",
          out);
}

int si__options_is_loopback(const char *host) {
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static int is_address(const char *host) {
    unsigned char any[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, any) == 1 || inet_pton(AF_INET6, host, any) == 1;
}

static int parse_listen(si__options *options, const char *value, char *error, size_t error_bytes) {
    const char *colon = strrchr(value, ':'), *start = value;
    size_t length = colon ? (size_t)(colon - value) : 0;
    if (length >= 2 && value[0] == '[' && value[length - 1] == ']') {
        start++;
        length -= 2;
    }
    char *end = NULL;
    long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtol(colon + 1, &end, 10) : -1;
    if (length == 0 || length >= sizeof options->listen_host || port < 0 || port > 65535 || *end) {
        snprintf(error, error_bytes, "--listen: '%.80s' is not ADDR:PORT, such as 127.0.0.1:8686 or [::1]:8686", value);
        return SI_EINVAL;
    }
    memcpy(options->listen_host, start, length);
    options->listen_host[length] = '\0';
    if (!strcmp(options->listen_host, "localhost")) memcpy(options->listen_host, "127.0.0.1", sizeof "127.0.0.1");
    options->listen_port = (uint16_t)port;
    if (is_address(options->listen_host)) return SI_OK;
    snprintf(error, error_bytes, "--listen: '%.60s' is not an IP address", options->listen_host);
    return SI_EINVAL;
}

/* A whole number with an optional K, M or G. Negative: not one. */
static int64_t parse_number(const char *value, int units) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (errno || end == value || number < 0) return -1;
    int shift = !units || !*end ? 0 : *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : -1;
    if (shift < 0 || number > (INT64_MAX >> 31)) return -1;
    if (shift) end++;
    return *end ? -1 : (int64_t)number << shift;
}

static int set_number(int64_t *out, const char *name, const char *value, int units, char *error, size_t error_bytes) {
    *out = parse_number(value, units);
    if (*out > 0) return SI_OK;
    snprintf(error, error_bytes, "%s: '%.60s' is not a whole number above 0%s", name, value,
             units ? " (K, M or G may follow)" : "");
    return SI_EINVAL;
}

static int set_option(si__options *options, const char *name, const char *value, char *error, size_t error_bytes) {
    int serving = options->command == SI__COMMAND_SERVE, key = options->command == SI__COMMAND_KEY;
    int64_t number = 0;
    int failed = SI_OK;
    if (!strcmp(name, "--data") && *value)
        options->data_dir = value;
    else if (serving && !strcmp(name, "--listen"))
        failed = parse_listen(options, value, error, error_bytes);
    else if (serving && !strcmp(name, "--rules"))
        options->rules_dir = value;
    else if (serving && !strcmp(name, "--sources") && *value)
        options->sources_dir = value;
    else if (serving && !strcmp(name, "--channels"))
        options->channels_file = value;
    else if (serving && !strcmp(name, "--retention-days"))
        failed = set_number(&options->retention_days, name, value, 0, error, error_bytes);
    else if (serving && !strcmp(name, "--rollup-after"))
        failed = set_number(&options->rollup_after_s, name, value, 0, error, error_bytes);
    else if (serving && !strcmp(name, "--max-bytes")) {
        failed = set_number(&number, name, value, 1, error, error_bytes);
        options->max_bytes = (uint64_t)number;
    } else if (!key && !strcmp(name, "--public-url"))
        options->public_url = value;
    else if (key && !strcmp(name, "--app") && *value)
        options->app = value;
    else if (key && !strcmp(name, "--env") && *value)
        options->environment = value;
    else if (key && !strcmp(name, "--label"))
        options->label = value;
    else {
        snprintf(error, error_bytes, *value ? "%.80s: unknown option" : "%.80s: its value is empty", name);
        failed = SI_EINVAL;
    }
    return failed;
}

static int takes_value(const char *name) {
    static const char *const names[] = {"--listen",     "--data",         "--rules", "--channels", "--retention-days",
                                        "--max-bytes",  "--rollup-after", "--app",   "--env",      "--label",
                                        "--public-url", "--sources"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (!strcmp(name, names[i])) return 1;
    return 0;
}

static int takes_file(const si__options *options) {
    return (options->command == SI__COMMAND_BACKUP || options->command == SI__COMMAND_RESTORE) && !options->file;
}

static int check(si__options *options, char *error, size_t error_bytes) {
    if (options->retention_days > 3650) {
        snprintf(error, error_bytes, "--retention-days: at most 3650");
        return SI_EINVAL;
    }
    if (options->rollup_after_s > 3600) {
        snprintf(error, error_bytes, "--rollup-after: at most 3600");
        return SI_EINVAL;
    }
    if (takes_file(options)) {
        snprintf(error, error_bytes, "%s: the file's name is missing",
                 options->command == SI__COMMAND_BACKUP ? "backup" : "restore");
        return SI_EINVAL;
    }
    if (options->command == SI__COMMAND_KEY && (!options->app || !options->environment)) {
        snprintf(error, error_bytes, "%s: missing; a key is for one application and environment",
                 options->app ? "--env" : "--app");
        return SI_EINVAL;
    }
    if (options->public_url && strncmp(options->public_url, "http://", 7) != 0 &&
        strncmp(options->public_url, "https://", 8) != 0) {
        snprintf(error, error_bytes, "--public-url: '%.80s' is not an http:// or https:// URL", options->public_url);
        return SI_EINVAL;
    }
    if (options->command != SI__COMMAND_SERVE || options->behind_tls_proxy ||
        si__options_is_loopback(options->listen_host))
        return SI_OK;
    snprintf(error, error_bytes,
             "--listen: %s is not a loopback address, and plain HTTP would send passwords in the clear;"
             " put a TLS proxy in front and say --behind-tls-proxy",
             options->listen_host);
    return SI_EINVAL;
}

static int read_command(si__options *options, const char *name, char *error, size_t error_bytes) {
    static const struct {
        const char *name;
        si__command command;
    } commands[] = {{"key", SI__COMMAND_KEY},
                    {"sign-in-link", SI__COMMAND_SIGN_IN_LINK},
                    {"backup", SI__COMMAND_BACKUP},
                    {"restore", SI__COMMAND_RESTORE},
                    {"check", SI__COMMAND_CHECK}};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (!strcmp(commands[i].name, name)) {
            options->command = commands[i].command;
            return SI_OK;
        }
    snprintf(error, error_bytes, "%.60s: unknown command; see --help", name);
    return SI_EINVAL;
}

int si__options_parse(si__options *options, int argc, char **argv, char *error, size_t error_bytes) {
    *options =
        (si__options){.listen_host = "127.0.0.1", .listen_port = 8686, .data_dir = "si-dashboard-data", .label = ""};
    int i = 1;
    if (i < argc && argv[i][0] != '-') {
        if (read_command(options, argv[i], error, error_bytes)) return SI_EINVAL;
        i++;
    }
    for (; i < argc; i++) {
        char name[64];
        const char *equals = strchr(argv[i], '='), *value = NULL;
        size_t length = equals && argv[i][0] == '-' ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), argv[i]);
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            options->command = SI__COMMAND_HELP;
            return SI_OK;
        }
        if (!strcmp(name, "--version")) {
            options->command = SI__COMMAND_VERSION;
            return SI_OK;
        }
        if (options->command == SI__COMMAND_SERVE && !strcmp(name, "--behind-tls-proxy"))
            options->behind_tls_proxy = 1;
        else if (options->command == SI__COMMAND_SERVE && !strcmp(name, "--no-self"))
            options->no_self = 1;
        else if (options->command == SI__COMMAND_KEY && !strcmp(name, "--read"))
            options->reads = 1;
        else if (takes_file(options) && argv[i][0] != '-' && *argv[i])
            options->file = argv[i];
        else if (!takes_value(name)) {
            snprintf(error, error_bytes, "%.60s: unknown %s; see --help", argv[i],
                     argv[i][0] == '-' ? "option" : "command");
            return SI_EINVAL;
        } else {
            value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
            if (!value) {
                snprintf(error, error_bytes, "%s: its value is missing", name);
                return SI_EINVAL;
            }
            int failed = set_option(options, name, value, error, error_bytes);
            if (failed) return failed;
        }
    }
    return check(options, error, error_bytes);
}
