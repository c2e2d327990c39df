/* Writes a call tree as a file of speedscope.app: one sampled profile. Any thread. */
#ifndef SI_SERVER_SPEEDSCOPE_H
#define SI_SERVER_SPEEDSCOPE_H

#include "../../runtime/profile/calltree.h"
#include "../../runtime/report/json.h"

/* Nodes with a value below 1 are left out: the format has no room for them. 0 or SI_ENOMEM. */
int si__speedscope_write(si__json_writer *json, const si__calltree *tree, const char *app, const char *type,
                         const char *unit);

#endif
