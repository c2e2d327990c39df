/* The options that the `si` subcommands share, parsed from the command line over the SI_* environment variables. */
#ifndef SI_SIDECAR_ARGUMENTS_H
#define SI_SIDECAR_ARGUMENTS_H

#include <si/si.h>
#include <sys/types.h>

typedef enum si__accept { SI__ACCEPT_RUN = 1, SI__ACCEPT_SIDECAR = 2 } si__accept; /* which options are allowed */

typedef struct si__arguments {
    si_options options;     /* strings borrowed from argv or the environment */
    const char *folded_dir; /* NULL: not wanted */
    const char *pprof_dir;
    double hz;        /* 0: as the rules say, or 100 when files are wanted */
    pid_t pid;        /* sidecar: 0 when not given */
    const char *name; /* sidecar: NULL when not given */
    char **command;   /* run: what follows the options; NULL-terminated */
} si__arguments;

/* Parses argv[1..] (argv[0] is the subcommand). Returns 0, or the exit code after printing what is wrong (2) or the
 * help (0 as -1). */
int si__arguments_parse(si__arguments *out, si__accept accept, int argc, char **argv);

/* Prints what si__settings_new said, "option app_name: ...", by the name that the option has on the command line.
 * `command`: the subcommand. */
void si__arguments_refuse(const char *command, const char *error);

#endif
