/*
 * Between the outbox and the rule engine: what agents and the dashboard's own rules reported is given to the engine,
 * which groups, waits, repeats, escalates and holds back; the messages it makes become deliveries in the store.
 *
 * Alerting thread only; writes wait for the writer. What the engine remembers is written with the deliveries, in one
 * transaction: a restart repeats nothing and forgets nothing.
 */
#ifndef SI_SERVER_DISPATCH_H
#define SI_SERVER_DISPATCH_H

#include "../../runtime/script/script.h"
#include "store.h"

#define SI__DISPATCH_MOST 50 /* alerts in one message */

/* The columns of an alert in a query over alert and app, for si__dispatch_read_alert. */
#define SI__ALERT_SELECT                                                                                               \
    " alert.fingerprint,alert.rule,alert.subject,alert.severity,alert.summary,alert.runbook,alert.detail,app.name,"    \
    "app.environment,alert.host,alert.value,alert.started_ms,alert.fired_ms,alert.resolved_ms"

typedef struct si__dispatch si__dispatch;

/* Called with a message whose deliveries are in the store; alerts are borrowed. */
typedef void (*si__dispatch_send)(void *arg, const char *destination, const si__alert *alerts,
                                  const int64_t *deliveries, size_t count, int64_t now_ms);

/* The channels that a destination stands for, as si__notify_channels gives them: each has deliveries of its own. */
typedef size_t (*si__dispatch_channels)(void *arg, const char *destination, const char **names, size_t most);

/* All borrowed. `router` evaluates no rules from now on. NULL: out of memory. */
si__dispatch *si__dispatch_new(si__store *store, si__reader *reader, si__script *router, si__dispatch_send send,
                               si__dispatch_channels channels, void *arg);
void si__dispatch_free(si__dispatch *dispatch); /* NULL is allowed */
void si__dispatch_tick(si__dispatch *dispatch, int64_t now_ms);

/* From the columns of SI__ALERT_SELECT, starting at `first`; about: "firing", "acked" or "resolved". 0 or SI_ENOMEM. */
int si__dispatch_read_alert(sqlite3_stmt *row, int first, const char *about, si__alert *alert);

#endif
