/*
 * Settings: defaults, SI_* environment variables and checks of si_options; and where log messages go.
 * si_options_init runs on a host thread; the rest when a runtime opens.
 */
#include "settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PATH_BYTES = 3000 }; /* names are put behind it in buffers of 4096 */

static int env_flag(const char *name, int otherwise) {
    const char *value = getenv(name);
    if (!value || !*value) return otherwise;
    return strcmp(value, "0") != 0 && strcmp(value, "false") != 0 && strcmp(value, "no") != 0;
}

static const char *env_text(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

void si_options_init(si_options *options) {
    if (!options) return;
    int saved = errno;
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    options->agent_key = env_text("SI_AGENT_KEY");
    options->app_name = env_text("SI_APP_NAME");
    options->app_version = env_text("SI_APP_VERSION");
    options->app_environment = env_text("SI_APP_ENVIRONMENT");
    options->host_name = env_text("SI_HOST_NAME");
    options->dashboard_url = env_text("SI_DASHBOARD_URL");
    options->proxy_url = env_text("SI_PROXY_URL");
    options->ca_file = env_text("SI_CA_FILE");
    options->rules_dir = env_text("SI_RULES_DIR");
    options->state_dir = env_text("SI_STATE_DIR");
    options->channels_file = env_text("SI_CHANNELS_FILE");
    options->auto_profiling = env_flag("SI_AUTO_PROFILING", 1);
    options->debug = env_flag("SI_DEBUG", 0);
    options->record_crashes = env_flag("SI_RECORD_CRASHES", 0);
    errno = saved;
}

/*
 * The default log: warnings and errors to standard error, but only while descriptor 2 is still the file that it
 * was at the first message. A daemon may have closed it and opened a database there.
 */
static void log_to_stderr(void *data, si_log_level level, const char *message) {
    static struct stat first;
    static int known;
    (void)data;
    struct stat now;
    if (fstat(STDERR_FILENO, &now) != 0) return;
    if (!known) {
        first = now;
        known = 1;
    }
    if (now.st_dev != first.st_dev || now.st_ino != first.st_ino) return;
    static const char *const names[] = {"debug", "notice", "warning", "error"};
    char line[4300];
    int length = snprintf(line, sizeof line, "si: %s: %s\n", names[level & 3], message);
    if (length < 0) return;
    size_t bytes = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
    ssize_t ignored = write(STDERR_FILENO, line, bytes);
    (void)ignored;
}

void si__settings_log(const si__settings *settings, si_log_level level, const char *format, ...) {
    if (level == SI_LOG_DEBUG && !settings->debug) return;
    if (level == SI_LOG_NOTICE && settings->log == log_to_stderr && !settings->debug) return;
    int saved = errno;
    char message[4200];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    settings->log(settings->log_data, level, message);
    errno = saved;
}

void si__settings_complain(const si_options *options, const char *message) {
    if (options->log)
        options->log(options->log_data, SI_LOG_ERROR, message);
    else
        log_to_stderr(NULL, SI_LOG_ERROR, message);
}

static int fail(char *error, size_t error_bytes, const char *option, const char *why) {
    snprintf(error, error_bytes, "option %s: %s", option, why);
    return SI_EINVAL;
}

static int is_url(const char *url) {
    return strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
}

static int is_plain(const char *text, size_t max) {
    size_t length = strlen(text);
    if (length == 0 || length > max) return 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f) return 0;
    return 1;
}

static int check(const si_options *o, char *error, size_t error_bytes) {
    if (o->size != sizeof *o) return fail(error, error_bytes, "size", "not filled by si_options_init");
    if (o->dashboard_url && !is_url(o->dashboard_url))
        return fail(error, error_bytes, "dashboard_url", "must start with http:// or https://");
    if (o->app_name && !is_plain(o->app_name, 128))
        return fail(error, error_bytes, "app_name", "must be 1 to 128 bytes without control characters");
    if (o->app_environment && !is_plain(o->app_environment, 128))
        return fail(error, error_bytes, "app_environment", "must be 1 to 128 bytes without control characters");
    if (o->host_name && !is_plain(o->host_name, 255))
        return fail(error, error_bytes, "host_name", "must be 1 to 255 bytes without control characters");
    if (o->agent_key && !is_plain(o->agent_key, 256))
        return fail(error, error_bytes, "agent_key", "must be 1 to 256 bytes without control characters");
    if (o->app_version && *o->app_version && !is_plain(o->app_version, 128))
        return fail(error, error_bytes, "app_version", "must be at most 128 bytes without control characters");
    const struct {
        const char *option, *path;
    } paths[] = {{"ca_file", o->ca_file},
                 {"rules_dir", o->rules_dir},
                 {"state_dir", o->state_dir},
                 {"channels_file", o->channels_file}};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (paths[i].path && strlen(paths[i].path) > MAX_PATH_BYTES)
            return fail(error, error_bytes, paths[i].option, "must be at most 3000 bytes");
    return 0;
}

static void remove_last_slashes(char *url) {
    size_t length = strlen(url);
    while (length > 0 && url[length - 1] == '/') url[--length] = '\0';
}

static char *copy_or(const char *value, const char *otherwise) {
    return strdup(value ? value : otherwise);
}

int si__settings_new(si__settings **out, const si_options *o, char *error, size_t error_bytes) {
    *out = NULL;
    int rc = check(o, error, error_bytes);
    if (rc) return rc;
    si__settings *s = calloc(1, sizeof *s);
    if (!s) goto no_memory;
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    s->agent_key = copy_or(o->agent_key, "");
    s->app_name =
        copy_or(o->app_name, is_plain(program_invocation_short_name, 128) ? program_invocation_short_name : "unnamed");
    s->app_version = copy_or(o->app_version, "");
    s->app_environment = copy_or(o->app_environment, "default");
    s->host_name = copy_or(o->host_name, host);
    if (!s->agent_key || !s->app_name || !s->app_version || !s->app_environment || !s->host_name) goto no_memory;
    const char *const from[] = {o->dashboard_url, o->proxy_url, o->ca_file,
                                o->rules_dir,     o->state_dir, o->channels_file};
    char **const to[] = {&s->dashboard_url, &s->proxy_url, &s->ca_file,
                         &s->rules_dir,     &s->state_dir, &s->channels_file};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++)
        if (from[i] && *from[i] && !(*to[i] = strdup(from[i]))) goto no_memory;
    if (s->dashboard_url) remove_last_slashes(s->dashboard_url);
    s->auto_profiling = o->auto_profiling;
    s->debug = o->debug;
    s->record_crashes = o->record_crashes;
    s->log = o->log ? o->log : log_to_stderr;
    s->log_data = o->log_data;
    *out = s;
    return 0;
no_memory:
    si__settings_free(s);
    snprintf(error, error_bytes, "out of memory");
    return SI_ENOMEM;
}

void si__settings_free(si__settings *s) {
    if (!s) return;
    char *const owned[] = {s->agent_key, s->app_name,      s->app_version,  s->app_environment,
                           s->host_name, s->dashboard_url, s->proxy_url,    s->ca_file,
                           s->rules_dir, s->state_dir,     s->channels_file};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    free(s);
}
