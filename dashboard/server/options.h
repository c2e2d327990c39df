/* The command line of si-dashboard. */
#ifndef SI_SERVER_OPTIONS_H
#define SI_SERVER_OPTIONS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum si__command {
    SI__COMMAND_SERVE,
    SI__COMMAND_KEY,
    SI__COMMAND_SIGN_IN_LINK,
    SI__COMMAND_BACKUP,
    SI__COMMAND_RESTORE,
    SI__COMMAND_CHECK,
    SI__COMMAND_HELP,
    SI__COMMAND_VERSION
} si__command;

typedef struct si__options { /* strings are borrowed from argv */
    si__command command;
    char listen_host[64]; /* an IPv4 or IPv6 address, without brackets */
    uint16_t listen_port;
    const char *data_dir, *rules_dir, *channels_file, *public_url, *sources_dir;
    int64_t retention_days, rollup_after_s; /* 0: the store's defaults */
    uint64_t max_bytes;
    int behind_tls_proxy, no_self, reads;  /* reads: a key that reads */
    const char *app, *environment, *label; /* key */
    const char *file;                      /* backup, restore */
} si__options;

/* 0, or SI_EINVAL with "--listen: ..." in error. */
int si__options_parse(si__options *options, int argc, char **argv, char *error, size_t error_bytes);
void si__options_help(FILE *out);
int si__options_is_loopback(const char *host);

#endif
