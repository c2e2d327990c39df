/* The dashboard profiles itself with our own runtime, and reports to itself. */
#ifndef SI_SERVER_SELF_H
#define SI_SERVER_SELF_H

#include "server.h"

/* Opens the runtime for app "si-dashboard", environment "self", with a key of its own. Failing is only said, never
 * fatal. */
void si__self_start(si__server *server);
void si__self_report_now(void); /* instead of at the next cadence; returns at once */
void si__self_stop(void);

#endif
