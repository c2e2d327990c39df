/* Looks through a whole store for what should not be: for `si-dashboard check`. Main thread of the subcommand. */
#ifndef SI_SERVER_CHECK_H
#define SI_SERVER_CHECK_H

#include <stdio.h>

/* Reads everything in one consistent state, beside a running server or not, changes nothing, and writes a report.
   Returns the number of findings, 0 when all is well, or SI_E* when it could not be read. */
int si__check(const char *data_dir, FILE *out);

#endif
