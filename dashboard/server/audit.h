/* The audit log: who changed what, from where. Append-only, by triggers in the schema. */
#ifndef SI_SERVER_AUDIT_H
#define SI_SERVER_AUDIT_H

#include "request.h"

/* user: an e-mail address, or what stands for one ("command line"). 0 or SI_E*. */
int si__audit(si__tx *tx, const char *user, const char *action, const char *target, const char *address);

#endif
