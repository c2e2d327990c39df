/* The help texts of the `si` command and its subcommands. */
#ifndef SI_SIDECAR_HELP_H
#define SI_SIDECAR_HELP_H

/* Prints the help of a subcommand ("run", "sidecar", "rules"), or of `si` itself for any other name, to standard
 * output. */
void si__help_print(const char *subcommand);

#endif
