/*
 * Delivery of notifications by the agent: at once when there is no dashboard, and otherwise only once the dashboard has
 * been out of reach for two minutes, because it delivers what reports tell it. Until then, or until the dashboard has
 * the report that tells it, a notification is held by the notifier, on disk where that keeps an outbox: a restart
 * forgets none. Times are milliseconds of a monotonic clock. Loop thread only.
 */
#ifndef SI_DELIVER_H
#define SI_DELIVER_H

#include <stddef.h>
#include <stdint.h>

#include "notify/notify.h"
#include "report/report.h"
#include "report/upload.h"
#include "settings.h"

typedef struct si__deliver si__deliver;

/* `notify` and `upload` are borrowed; upload NULL: there is no dashboard. What the notifier holds from an earlier run
   is taken over. */
si__deliver *si__deliver_new(const si__settings *settings, si__notify *notify, const si__upload *upload);
void si__deliver_free(si__deliver *deliver); /* NULL is allowed */

/* `report`: the one that tells the dashboard the same; its boot and sequence count. */
void si__deliver_send(si__deliver *deliver, const char *destination, const si__alert *alerts, size_t count,
                      const si__report_id *report, int64_t now_ms);

/* The dashboard has this report: it delivers what that one told. `own`: it is of this run; then, because reports go in
   order, the dashboard has those of earlier runs too. */
void si__deliver_stored(si__deliver *deliver, const si__report_id *report, int own);

/* About every second: sends what is held once the dashboard is out of reach for too long, oldest first. */
void si__deliver_tick(si__deliver *deliver, int64_t now_ms);
/* What was routed last to a name that no channel has, and why; "": everything found a channel. "default" without
   channels is nobody's mistake. */
const char *si__deliver_nowhere(const si__deliver *deliver);
size_t si__deliver_held(const si__deliver *deliver);

#endif
