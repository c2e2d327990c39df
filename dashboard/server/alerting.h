/*
 * Alerting at the dashboard: routes what agents report, runs the rules that are the dashboard's (a silent agent),
 * delivers.
 *
 * One thread with a libuv loop of its own; the rule engine and the sender live on it. The store's outbox is what it
 * works from, so nothing is lost by a restart.
 */
#ifndef SI_SERVER_ALERTING_H
#define SI_SERVER_ALERTING_H

#include "server.h"

/* Starts the thread; sets server->alerting. 0; SI_EINVAL: the channels file or the rules are wrong (error says where);
 * SI_ENOMEM. */
int si__alerting_start(si__server *server, char *error, size_t error_bytes);
void si__alerting_wake(struct si__alerting *alerting); /* any thread: the outbox has something new. NULL is allowed */
void si__alerting_stop(struct si__alerting *alerting); /* before the store is closed. NULL is allowed */

#endif
