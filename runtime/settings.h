/*
 * Settings: the runtime's own copy of si_options, with every default resolved and every value checked.
 * Made once when a runtime opens; read-only afterwards, so any thread may read it.
 */
#ifndef SI_SETTINGS_H
#define SI_SETTINGS_H

#include <si/si.h>

typedef struct si__settings {
    char *agent_key, *app_name, *app_version, *app_environment, *host_name; /* agent_key "" when there is none */
    char *dashboard_url, *proxy_url, *ca_file, *rules_dir, *state_dir, *channels_file; /* NULL when not given */
    int auto_profiling, debug, record_crashes;
    si_log_fn log;
    void *log_data;
} si__settings;

/* Copies and checks. 0, SI_ENOMEM, or SI_EINVAL with the option's name in error. *out is released with
 * si__settings_free. */
int si__settings_new(si__settings **out, const si_options *options, char *error, size_t error_bytes);
void si__settings_free(si__settings *settings);

/* Logs an error about options that could not become settings, where these options say. */
void si__settings_complain(const si_options *options, const char *message);

/* Makes a message and hands it to the settings' log function; debug messages only when debug is on. */
void si__settings_log(const si__settings *settings, si_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
